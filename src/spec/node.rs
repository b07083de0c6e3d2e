//! The tree of a pipeline file: scalars, lists and mappings, each with its span.
//!
//! Invariant: keys of a mapping are plain texts and unique; a file's nodes are at most
//! [`super::MAX_DEPTH`] deep, and overrides add as much again, so that recursion over a tree is
//! safe. Scalars hold text as written: what it means is decided in `scalar` and `render`.

use gfm_pipe_api::PathSeg;

use super::scalar;
use super::source::Span;
use super::templates::is_template;

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Node {
    pub span: Span,
    pub kind: Kind,
    /// A part of it (not of its children) was refused, which is reported: what seems to be missing
    /// may be that part.
    pub flawed: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Kind {
    /// `plain` scalars are typed by YAML's core schema, quoted and block ones are text.
    Scalar {
        text: String,
        plain: bool,
    },
    List(Vec<Node>),
    Map(Vec<Entry>),
}

/// A key with its value.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Entry {
    pub key: Key,
    pub value: Node,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Key {
    pub text: String,
    pub span: Span,
}

impl Node {
    pub fn new(span: Span, kind: Kind) -> Self {
        Node {
            span,
            kind,
            flawed: false,
        }
    }

    /// A plain scalar.
    pub fn plain(span: Span, text: String) -> Self {
        Node::new(span, Kind::Scalar { text, plain: true })
    }

    pub fn is_null(&self) -> bool {
        matches!(&self.kind, Kind::Scalar { text, plain: true } if scalar::is_null(text))
    }

    /// Entries of a mapping; an absent value (null) is an empty one. `None` for anything else.
    pub fn entries(&self) -> Option<&[Entry]> {
        match &self.kind {
            Kind::Map(entries) => Some(entries),
            _ if self.is_null() => Some(&[]),
            _ => None,
        }
    }

    /// For messages: `a list`, `the text "x"`, `nothing`.
    pub fn found(&self) -> String {
        match &self.kind {
            Kind::Map(_) => "a mapping".to_owned(),
            Kind::List(_) => "a list".to_owned(),
            Kind::Scalar { .. } if self.is_null() => "nothing".to_owned(),
            Kind::Scalar { text, .. } => format!("`{}`", quote(text)),
        }
    }
}

impl Entry {
    /// Where to point for a value: at itself when it is a scalar with text, else at its key.
    pub fn point(&self) -> Span {
        self.value.own_span().unwrap_or(self.key.span)
    }

    /// Where to point for what is wrong at `path` inside the value.
    ///
    /// A path may lead on where the tree ends (inside what a template expands to, or to a key that
    /// is missing): the deepest place that is written counts.
    pub fn locate(&self, path: &[PathSeg], on_key: bool) -> Span {
        let mut node = &self.value;
        let mut holder = self.key.span;
        let mut left = path.iter();
        for seg in left.by_ref() {
            let next = match (seg, &node.kind) {
                (PathSeg::Key(k), Kind::Map(entries)) => entries
                    .iter()
                    .find(|e| e.key.text == *k)
                    .map(|e| (&e.value, e.key.span)),
                (PathSeg::Index(i), Kind::List(items)) => items.get(*i).map(|n| (n, n.span)),
                _ => None,
            };
            let Some((child, span)) = next else {
                return node.own_span().unwrap_or(holder);
            };
            (node, holder) = (child, span);
        }
        if on_key {
            return holder;
        }
        node.own_span().unwrap_or(holder)
    }
}

impl Entry {
    /// The text of the scalar at `path` inside the value, or of the one that a template there
    /// expands to more.
    pub fn text(&self, path: &[PathSeg]) -> Option<&str> {
        match &self.reached(path)?.0.kind {
            Kind::Scalar { text, .. } => Some(text),
            Kind::List(_) | Kind::Map(_) => None,
        }
    }

    /// The plain scalar that stands at exactly this path inside the value; `None` for anything
    /// else, templates included.
    pub fn plain(&self, path: &[PathSeg]) -> Option<&str> {
        let (node, whole) = self.reached(path)?;
        match &node.kind {
            Kind::Scalar { text, plain: true } if whole && !is_template(text) => Some(text),
            _ => None,
        }
    }

    /// The node that a path leads to, and whether the whole path was followed: it ends early at a
    /// scalar. `None` for a key or an item that is not there.
    fn reached(&self, path: &[PathSeg]) -> Option<(&Node, bool)> {
        let mut node = &self.value;
        for seg in path {
            node = match (seg, &node.kind) {
                (PathSeg::Key(k), Kind::Map(entries)) => {
                    &entries.iter().find(|e| e.key.text == *k)?.value
                }
                (PathSeg::Index(i), Kind::List(items)) => items.get(*i)?,
                _ => return Some((node, false)),
            };
        }
        Some((node, true))
    }
}

impl Node {
    /// The span of a scalar that has text. (What an override sets has none, and neither has its
    /// key.)
    fn own_span(&self) -> Option<Span> {
        match &self.kind {
            Kind::Scalar { .. } if self.span.start != self.span.end => Some(self.span),
            Kind::Scalar { .. } | Kind::List(_) | Kind::Map(_) => None,
        }
    }
}

/// The near name for a mistyped one. Very long words are skipped: they are not typos, and the
/// comparison takes time proportional to the product of the lengths.
pub(super) fn near<'a>(
    word: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    const LONGEST: usize = 100;
    if word.len() > LONGEST {
        return None;
    }
    let short = candidates.into_iter().filter(|c| c.len() <= LONGEST);
    gfm_pipe_api::schema::nearest(word, short)
}

/// The start of a text, on one line, for messages.
pub(super) fn quote(text: &str) -> String {
    const LONGEST: usize = 80;
    let mut out = String::new();
    for (i, c) in text.chars().enumerate() {
        if i == LONGEST {
            out.push('…');
            break;
        }
        out.push(if c == '\n' || c == '\r' { ' ' } else { c });
    }
    out
}
