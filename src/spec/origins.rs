//! Where the parts of a stage were written: what `gfm-pipe config` shows beside each value.
//!
//! Only what was written in a file or an override has a place; a value without one is the
//! operator's default.

use std::collections::BTreeMap;

use gfm_pipe_api::{PathSeg, schema::path_text};

use super::error::Place;
use super::node::{Entry, Kind, Node};
use super::source::Sources;
use super::templates::{Vars, is_template};

/// Where the parts of one stage were written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Written {
    /// The places of the keys of the stage's body (`op`, `with`, …); inputs are `in.PORT`.
    pub keys: BTreeMap<String, Place>,
    /// Values of parameters by path (`task.losses[0].weight`).
    values: BTreeMap<String, Value>,
}

/// A value as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Value {
    /// Where it was written.
    pub place: Place,
    /// The variables that its template used, each with the place it got its value from.
    pub vars: Vec<(String, Place)>,
}

impl Written {
    /// Collects the places of a stage's body.
    pub(super) fn of(body: &[Entry], vars: &Vars, sources: &Sources) -> Self {
        let mut out = Written::default();
        for e in body {
            let key = e.key.text.as_str();
            let place = Place::of(sources, e.point());
            out.keys.insert(key.to_owned(), place);
            match key {
                "in" => {
                    for port in e.value.entries().unwrap_or_default() {
                        let place = Place::of(sources, port.point());
                        out.keys.insert(format!("in.{}", port.key.text), place);
                    }
                }
                "with" => out.collect(&e.value, &mut Vec::new(), vars, sources),
                _ => {}
            }
        }
        out
    }

    fn collect(&mut self, node: &Node, path: &mut Vec<PathSeg>, vars: &Vars, sources: &Sources) {
        match &node.kind {
            Kind::Map(entries) if !entries.is_empty() => {
                for e in entries {
                    path.push(PathSeg::Key(e.key.text.clone()));
                    self.collect(&e.value, path, vars, sources);
                    path.pop();
                }
            }
            Kind::List(items) if !items.is_empty() => {
                for (i, item) in items.iter().enumerate() {
                    path.push(PathSeg::Index(i));
                    self.collect(item, path, vars, sources);
                    path.pop();
                }
            }
            Kind::Scalar { text, .. } if is_template(text) => {
                let used = vars.used(text);
                let used = used
                    .into_iter()
                    .map(|(name, span)| (name, Place::of(sources, span)));
                self.put(path, node, used.collect(), sources);
            }
            _ => self.put(path, node, Vec::new(), sources),
        }
    }

    fn put(
        &mut self,
        path: &[PathSeg],
        node: &Node,
        vars: Vec<(String, Place)>,
        sources: &Sources,
    ) {
        let place = Place::of(sources, node.span);
        self.values.insert(path_text(path), Value { place, vars });
    }

    /// How the value of a parameter was written; `None` for a default. A value inside the result of
    /// a template was written as that template.
    pub fn value(&self, path: &[PathSeg]) -> Option<&Value> {
        (0..=path.len())
            .rev()
            .find_map(|n| self.values.get(&path_text(&path[..n])))
    }
}
