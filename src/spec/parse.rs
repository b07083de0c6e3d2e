//! YAML text to a tree with positions.
//!
//! Invariant: whatever the text, building the tree takes memory in proportion to
//! [`super::MAX_BYTES`] and [`super::MAX_VALUES`], copies for aliases included, and recursion of at
//! most [`super::MAX_DEPTH`]. What a pipeline never needs is refused with a hint on what to write
//! instead: merge keys, tags, several documents, keys that are not plain text. A syntax error stops
//! the parser; other mistakes are collected, and the tree leaves out the parts that are wrong.

use std::collections::HashMap;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, ScanError, Span as YamlSpan};

use super::error::Mistake;
use super::node::{Entry, Key, Kind, Node, quote};
use super::source::{Pos, SourceId, Span};
use super::{MAX_BYTES, MAX_DEPTH, MAX_VALUES};

/// What a text is for. It decides the message for an empty text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// A pipeline's own file.
    Pipeline,
    /// A file or value that becomes part of a pipeline.
    Part,
}

/// The limits that all files of a pipeline share.
#[derive(Debug)]
pub(super) struct Budget {
    /// Values read so far, copies included.
    nodes: usize,
    /// How much text copies for anchors, aliases and repeated includes may still take.
    bytes: usize,
}

impl Default for Budget {
    fn default() -> Self {
        Budget {
            nodes: 0,
            bytes: MAX_BYTES,
        }
    }
}

impl Budget {
    /// Counts a copy of a whole tree. When the copy is too large, that mistake is at `span`.
    pub fn copy(&mut self, node: &Node, span: Span) -> Result<(), Mistake> {
        self.spend(Size::of(node), span)
    }

    fn spend(&mut self, size: Size, span: Span) -> Result<(), Mistake> {
        self.count(size.nodes, span)?;
        self.bytes = self.bytes.checked_sub(size.bytes).ok_or_else(|| {
            Mistake::new(span, "anchors and aliases make this file too large")
                .hint(format!("they may add up to {} MiB", MAX_BYTES >> 20))
        })?;
        Ok(())
    }

    fn count(&mut self, nodes: usize, span: Span) -> Result<(), Mistake> {
        self.nodes += nodes;
        if self.nodes > MAX_VALUES {
            let message = format!("more than {MAX_VALUES} values");
            return Err(Mistake::new(span, message).hint("is this a pipeline?"));
        }
        Ok(())
    }
}

/// Reads one document. Returns `None`, and adds a mistake, when there is no tree to continue with.
pub(super) fn parse(
    id: SourceId,
    text: &str,
    purpose: Purpose,
    budget: &mut Budget,
    mistakes: &mut Vec<Mistake>,
) -> Option<Node> {
    let mut builder = Builder {
        id,
        text,
        purpose,
        frames: Vec::new(),
        root: None,
        anchors: HashMap::new(),
        budget,
        mistakes,
    };
    match builder.run() {
        Ok(()) => builder.root,
        Err(fatal) => {
            mistakes.push(fatal);
            None
        }
    }
}

/// A collection that is being read.
struct Frame {
    start: Pos,
    anchor: usize,
    inside: Inside,
}

enum Inside {
    List(Vec<Node>),
    Map {
        entries: Vec<Entry>,
        seen: HashMap<String, Pos>,
        pending: Pending,
        flawed: bool,
    },
}

/// The key whose value comes next.
enum Pending {
    /// There is none: a key comes next.
    No,
    Key(Key),
    /// A key that was refused; its value is dropped.
    Refused,
}

/// A node an alias may stand for.
struct Anchored {
    node: Node,
    size: Size,
}

/// Size of a tree.
#[derive(Clone, Copy)]
struct Size {
    nodes: usize,
    bytes: usize,
    /// How deeply collections are nested.
    height: usize,
}

struct Builder<'a> {
    id: SourceId,
    text: &'a str,
    purpose: Purpose,
    frames: Vec<Frame>,
    root: Option<Node>,
    anchors: HashMap<usize, Anchored>,
    budget: &'a mut Budget,
    mistakes: &'a mut Vec<Mistake>,
}

fn pos(m: &Marker) -> Pos {
    Pos {
        line: m.line().max(1),
        column: m.col() + 1,
    }
}

impl Size {
    fn of(node: &Node) -> Size {
        let inside = |bytes| Size {
            nodes: 1,
            bytes,
            height: 1,
        };
        match &node.kind {
            Kind::Scalar { text, .. } => Size {
                height: 0,
                ..inside(text.len())
            },
            Kind::List(items) => items.iter().map(Size::of).fold(inside(0), Size::with),
            Kind::Map(entries) => {
                let keys = entries.iter().map(|e| e.key.text.len()).sum();
                let values = entries.iter().map(|e| Size::of(&e.value));
                values.fold(inside(keys), Size::with)
            }
        }
    }

    fn with(self, child: Size) -> Size {
        Size {
            nodes: self.nodes + child.nodes,
            bytes: self.bytes + child.bytes,
            height: self.height.max(child.height + 1),
        }
    }
}

impl Builder<'_> {
    fn run(&mut self) -> Result<(), Mistake> {
        let text = self.text;
        let mut parser = Parser::new_from_str(text);
        let mut documents = 0;
        while let Some(event) = parser.next_event() {
            let (event, at) = event.map_err(|e| self.syntax(&e))?;
            let span = self.span(&at);
            match event {
                Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => {}
                Event::DocumentStart(_) => {
                    documents += 1;
                    if documents > 1 {
                        return Err(Mistake::new(span, "a second YAML document starts here")
                            .hint("a pipeline is one document: remove the `---`"));
                    }
                }
                Event::Alias(anchor) => self.alias(anchor, span)?,
                Event::Scalar(text, style, anchor, tag) => {
                    self.tag(tag.is_some(), span);
                    let kind = Kind::Scalar {
                        text: text.into_owned(),
                        plain: style == ScalarStyle::Plain,
                    };
                    self.add(Node::new(span, kind), anchor)?;
                }
                Event::SequenceStart(anchor, tag) => {
                    self.tag(tag.is_some(), span);
                    self.open(span, anchor, Inside::List(Vec::new()))?;
                }
                Event::MappingStart(anchor, tag) => {
                    self.tag(tag.is_some(), span);
                    let inside = Inside::Map {
                        entries: Vec::new(),
                        seen: HashMap::new(),
                        pending: Pending::No,
                        flawed: false,
                    };
                    self.open(span, anchor, inside)?;
                }
                Event::SequenceEnd | Event::MappingEnd => self.close(span)?,
            }
        }
        if self.root.as_ref().is_none_or(Node::is_null) {
            let start = Pos { line: 1, column: 1 };
            let span = Span {
                source: self.id,
                start,
                end: start,
            };
            let mistake = Mistake::new(span, "the file is empty");
            return Err(match self.purpose {
                Purpose::Pipeline => {
                    mistake.hint("a pipeline has at least `stages:` with one stage")
                }
                Purpose::Part => mistake,
            });
        }
        Ok(())
    }

    fn span(&self, at: &YamlSpan) -> Span {
        let start = pos(&at.start);
        Span {
            source: self.id,
            start,
            end: pos(&at.end).max(start),
        }
    }

    fn tag(&mut self, present: bool, span: Span) {
        if present {
            self.mistakes.push(
                Mistake::new(span, "tags (`!…`) are not supported")
                    .hint("write the value alone; in quotes it is text"),
            );
        }
    }

    fn open(&mut self, span: Span, anchor: usize, inside: Inside) -> Result<(), Mistake> {
        if self.frames.len() >= MAX_DEPTH {
            return Err(too_deep(span));
        }
        self.frames.push(Frame {
            start: span.start,
            anchor,
            inside,
        });
        Ok(())
    }

    fn close(&mut self, end: Span) -> Result<(), Mistake> {
        let Some(frame) = self.frames.pop() else {
            return Ok(());
        };
        let (kind, flawed) = match frame.inside {
            Inside::List(items) => (Kind::List(items), false),
            Inside::Map {
                entries, flawed, ..
            } => (Kind::Map(entries), flawed),
        };
        let node = Node {
            span: Span {
                source: self.id,
                start: frame.start,
                end: end.end.max(frame.start),
            },
            kind,
            flawed,
        };
        self.add(node, frame.anchor)
    }

    fn alias(&mut self, anchor: usize, span: Span) -> Result<(), Mistake> {
        let Some(known) = self.anchors.get(&anchor) else {
            return Err(Mistake::new(
                span,
                "this alias stands inside its own anchor",
            ));
        };
        if self.frames.len() + known.size.height > MAX_DEPTH {
            return Err(too_deep(span));
        }
        let size = known.size;
        let node = known.node.clone();
        self.budget.spend(size, span)?;
        self.add(node, 0)
    }

    /// Adds a finished node to the collection that is being read, or makes it the root.
    fn add(&mut self, node: Node, anchor: usize) -> Result<(), Mistake> {
        self.budget.count(1, node.span)?;
        if anchor > 0 {
            let size = Size::of(&node);
            self.budget.spend(size, node.span)?;
            let known = Anchored {
                node: node.clone(),
                size,
            };
            self.anchors.insert(anchor, known);
        }
        let in_stages = self.in_stages();
        let Some(frame) = self.frames.last_mut() else {
            self.root = Some(node);
            return Ok(());
        };
        match &mut frame.inside {
            Inside::List(items) => items.push(node),
            Inside::Map {
                entries,
                seen,
                pending,
                flawed,
            } => match std::mem::replace(pending, Pending::No) {
                Pending::Refused => {}
                Pending::Key(key) => entries.push(Entry { key, value: node }),
                Pending::No => match key(node, seen, in_stages, frame.start) {
                    Ok(key) => *pending = Pending::Key(key),
                    Err((m, twice)) => {
                        self.mistakes.push(m);
                        // Of a key that is there twice, the first one stays.
                        *flawed |= !twice;
                        *pending = Pending::Refused;
                    }
                },
            },
        }
        Ok(())
    }

    /// Whether the next key is the name of a stage.
    fn in_stages(&self) -> bool {
        match self.frames.as_slice() {
            [
                Frame {
                    inside:
                        Inside::Map {
                            pending: Pending::Key(key),
                            ..
                        },
                    ..
                },
                _,
            ] => key.text == "stages",
            _ => false,
        }
    }

    fn syntax(&self, e: &ScanError) -> Mistake {
        let start = pos(e.marker());
        let at = |start: Pos| Span {
            source: self.id,
            start,
            end: start,
        };
        // The parser may notice the mistake a line later, at the token after it.
        let lines = self.text.lines().enumerate();
        let around = lines.skip(start.line.saturating_sub(2)).take(2);
        for (i, line) in around {
            let indent: String = line.chars().take_while(|c| c.is_whitespace()).collect();
            if let Some(tab) = indent.chars().position(|c| c == '\t') {
                let place = Pos {
                    line: i + 1,
                    column: tab + 1,
                };
                return Mistake::new(at(place), "a tab in the indentation")
                    .hint("YAML is indented with spaces");
            }
            if let Some(column) = unquoted_template(line) {
                let place = Pos {
                    line: i + 1,
                    column,
                };
                return template_needs_quotes(at(place));
            }
        }
        let mistake = Mistake::new(at(start), format!("this is not valid YAML: {}", e.info()));
        if e.info().contains("flow") {
            mistake.hint("is there a `{` or `[` above that is not closed?")
        } else {
            mistake
        }
    }
}

/// The key that a node stands for. The error says why the node cannot be a key, and whether that is
/// because the key is there twice.
fn key(
    node: Node,
    seen: &mut HashMap<String, Pos>,
    in_stages: bool,
    parent: Pos,
) -> Result<Key, (Mistake, bool)> {
    let span = node.span;
    let Kind::Scalar { text: name, plain } = node.kind else {
        // A mapping directly after its parent's `{` is a template without quotes.
        let behind = Pos {
            column: parent.column + 1,
            ..parent
        };
        if matches!(node.kind, Kind::Map(_)) && span.start == behind {
            let whole = Span {
                start: parent,
                ..span
            };
            return Err((template_needs_quotes(whole), false));
        }
        return Err((Mistake::new(span, "a key must be plain text"), false));
    };
    if plain && name == "<<" {
        let mistake = Mistake::new(span, "merge keys (`<<`) are not supported")
            .hint("write the keys out, or share a whole value: `key: &a …`, then `other: *a`");
        return Err((mistake, false));
    }
    if plain && name.is_empty() {
        return Err((Mistake::new(span, "a key is missing before `:`"), false));
    }
    if let Some(first) = seen.get(&name) {
        let what = if in_stages { "stage" } else { "key" };
        let message = format!("duplicate {what} `{}`", quote(&name));
        let hint = format!("the first is on line {}", first.line);
        return Err((Mistake::new(span, message).hint(hint), true));
    }
    seen.insert(name.clone(), span.start);
    Ok(Key { text: name, span })
}

fn too_deep(span: Span) -> Mistake {
    Mistake::new(span, format!("nested deeper than {MAX_DEPTH} levels"))
}

fn template_needs_quotes(span: Span) -> Mistake {
    Mistake::new(span, "a template must stand in quotes")
        .hint("without them YAML takes `{` for the start of a mapping: key: \"{{ name }}\"")
}

/// Column of a `{{` that starts a value without quotes.
fn unquoted_template(line: &str) -> Option<usize> {
    let at = line.find("{{")?;
    let before = &line[..at];
    let starts_value = before.trim_end().ends_with([':', '-', '[', ',', '{']);
    let quoted = before.contains(['"', '\'', '#']);
    (starts_value && !quoted).then(|| before.chars().count() + 1)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::path::Path;

    use super::super::source::Sources;
    use super::*;

    fn read(text: &str) -> (Option<Node>, Vec<String>) {
        let mut mistakes = Vec::new();
        let id = Sources::default().add_file(Path::new("p.yaml"), text);
        let purpose = Purpose::Pipeline;
        let node = parse(id, text, purpose, &mut Budget::default(), &mut mistakes);
        let at = |m: &Mistake| {
            let Pos { line, column } = m.span.start;
            format!("{line}:{column}: {}", m.message)
        };
        (node, mistakes.iter().map(at).collect())
    }

    fn first(text: &str) -> String {
        read(text).1.into_iter().next().unwrap_or_default()
    }

    #[test]
    fn spans_are_those_of_the_text() {
        let (node, mistakes) = read("äö: [1, \"two\"]\nb:\n  - x y # c\n");
        assert_eq!(mistakes, Vec::<String>::new());
        let node = node.unwrap();
        let [a, b] = node.entries().unwrap() else {
            panic!("two entries")
        };
        let place = |s: Span| (s.start.line, s.start.column, s.end.line, s.end.column);
        assert_eq!(place(a.key.span), (1, 1, 1, 3));
        let Kind::List(items) = &a.value.kind else {
            panic!("a list")
        };
        assert_eq!(place(items[0].span), (1, 6, 1, 7));
        assert_eq!(place(items[1].span), (1, 9, 1, 14));
        let Kind::List(items) = &b.value.kind else {
            panic!("a list")
        };
        assert_eq!(place(items[0].span), (3, 5, 3, 8));
    }

    #[test]
    fn aliases_are_copies_on_a_budget() {
        let (node, mistakes) = read("a: &x {k: [1]}\nb: *x\n");
        assert_eq!(mistakes, Vec::<String>::new());
        let node = node.unwrap();
        let [a, b] = node.entries().unwrap() else {
            panic!("two entries")
        };
        assert_eq!(a.value, b.value);

        let mut laughs = "a0: &a0 [x, x, x, x, x, x, x, x]\n".to_owned();
        for i in 1..12 {
            let inner = format!("*a{}, ", i - 1).repeat(8);
            laughs.push_str(&format!("a{i}: &a{i} [{inner}]\n"));
        }
        assert!(first(&laughs).contains("more than"), "{}", first(&laughs));
        let long = "x".repeat(1 << 20);
        let text = format!("a: &a {long}\nb: [*a, *a, *a, *a]\n");
        assert!(first(&text).contains("too large"), "{}", first(&text));
        assert!(first("a: &x [*x]").contains("inside its own anchor"));
    }

    #[test]
    fn depth_is_bounded_also_through_aliases() {
        let deep = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
        assert_eq!(first(&format!("a: {}", deep(MAX_DEPTH - 1))), "");
        assert!(first(&format!("a: {}", deep(MAX_DEPTH))).contains("nested deeper"));
        let half = deep(MAX_DEPTH / 2);
        let text = format!("a: &a {half}\nb: {}", half.replace("[]", "[*a]"));
        assert!(first(&text).contains("nested deeper"), "{}", first(&text));
    }

    #[test]
    fn hostile_texts_end_soon() {
        let began = std::time::Instant::now();
        for unit in [
            "[", "{", "- ", "? ", "a: ", "&a ", "*a ", "!a ", "'", "\"", "|\n", "[,", "{,", "\t",
            "- - ", "a:\n", "#", "\r", "x\n",
        ] {
            let text = unit.repeat((1 << 20) / unit.len());
            let (_, _) = read(&text);
            assert!(began.elapsed().as_secs() < 5, "{unit:?}");
        }
    }
}
