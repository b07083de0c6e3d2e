//! Where the values of a YAML text are written, for files that are not pipelines but whose mistakes
//! are reported in the same way.

use std::collections::BTreeMap;
use std::path::Path;

use gfm_pipe_api::PathSeg;
use gfm_pipe_api::schema::path_text;

use super::error::Place;
use super::node::{Kind, Node};
use super::parse::{Budget, Purpose, parse};
use super::source::{Sources, Span};

/// The place of every key and every item of a list, by its path (`task.losses[0].name`). Empty for
/// a text that cannot be read: the reader of its values reports why.
pub(crate) fn places(file: &Path, text: &str) -> BTreeMap<String, Place> {
    let mut sources = Sources::default();
    let id = sources.add_file(file, text);
    let mut out = BTreeMap::new();
    let (mut budget, mut mistakes) = (Budget::default(), Vec::new());
    if let Some(root) = parse(id, text, Purpose::Part, &mut budget, &mut mistakes) {
        let mut put = |path: &[PathSeg], span: Span| {
            out.insert(path_text(path), Place::of(&sources, span));
        };
        collect(&root, &mut Vec::new(), &mut put);
    }
    out
}

fn collect(node: &Node, path: &mut Vec<PathSeg>, put: &mut dyn FnMut(&[PathSeg], Span)) {
    match &node.kind {
        Kind::Map(entries) => {
            for e in entries {
                path.push(PathSeg::Key(e.key.text.clone()));
                put(path, e.key.span);
                collect(&e.value, path, put);
                path.pop();
            }
        }
        Kind::List(items) => {
            for (i, item) in items.iter().enumerate() {
                path.push(PathSeg::Index(i));
                put(path, item.span);
                collect(item, path, put);
                path.pop();
            }
        }
        Kind::Scalar { .. } => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_items_have_their_places() {
        let got = places(Path::new("c.yaml"), "a:\n  b: [x, {c: 1}]\nd: 2\n");
        let got: Vec<String> = got.iter().map(|(k, at)| format!("{k} {at}")).collect();
        let want = [
            "a c.yaml:1:1",
            "a.b c.yaml:2:3",
            "a.b[0] c.yaml:2:7",
            "a.b[1] c.yaml:2:10",
            "a.b[1].c c.yaml:2:11",
            "d c.yaml:3:1",
        ];
        assert_eq!(got, want);
        assert!(places(Path::new("c.yaml"), "a: [").is_empty());
    }
}
