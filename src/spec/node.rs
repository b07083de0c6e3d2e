//! The tree of a pipeline file: scalars, lists and mappings, each with its span.
//!
//! Invariant: keys of a mapping are plain texts and unique; a file's nodes are at most
//! [`super::MAX_DEPTH`] deep, and overrides add as much again, so that recursion over a tree is
//! safe. Scalars hold text as written: `scalar` and `templates` decide what it means.

use gfm_pipe_api::PathSeg;

use super::scalar;
use super::source::Span;
use super::templates::is_template;

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Node {
    pub span: Span,
    pub kind: Kind,
    /// Whether a part of it (not of its children) was refused, which is reported: what seems to be
    /// missing may be that part.
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

    pub fn plain(span: Span, text: String) -> Self {
        Node::new(span, Kind::Scalar { text, plain: true })
    }

    pub fn is_null(&self) -> bool {
        matches!(&self.kind, Kind::Scalar { text, plain: true } if scalar::is_null(text))
    }

    /// The entries of a mapping; null (no value) counts as an empty one. `None` for anything else.
    pub fn entries(&self) -> Option<&[Entry]> {
        match &self.kind {
            Kind::Map(entries) => Some(entries),
            _ if self.is_null() => Some(&[]),
            _ => None,
        }
    }

    /// A description for messages: `a list`, `the text "x"`, `nothing`.
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
    /// The span that a mistake in the value is reported at: the value's own when it is a scalar
    /// with text, else its key's.
    pub fn point(&self) -> Span {
        self.value.own_span().unwrap_or(self.key.span)
    }

    /// The span that a mistake at `path` inside the value is reported at.
    ///
    /// A path may go on where the tree ends (into what a template expands to, or to a key that is
    /// missing). Then it is the span of the deepest part that is written.
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
    /// The text of the scalar at `path` inside the value, or of a template on the way that expands
    /// to more than a scalar.
    pub fn text(&self, path: &[PathSeg]) -> Option<&str> {
        match &self.reached(path)?.0.kind {
            Kind::Scalar { text, .. } => Some(text),
            Kind::List(_) | Kind::Map(_) => None,
        }
    }

    /// The text of the plain scalar at exactly this path inside the value; `None` for anything
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
    /// The span of a scalar that has text. (A value that an override sets has an empty span, and so
    /// does its key.)
    fn own_span(&self) -> Option<Span> {
        match &self.kind {
            Kind::Scalar { .. } if self.span.start != self.span.end => Some(self.span),
            Kind::Scalar { .. } | Kind::List(_) | Kind::Map(_) => None,
        }
    }
}

/// The candidate closest to a mistyped name. Very long words are skipped: they are not typos, and
/// the comparison takes time proportional to the product of the lengths.
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
