//! Where the keys of a configuration were written: in its file, in the file of a group, or on the
//! command line.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::spec::{Place, places};

/// Places by path (`task.losses[0].name`).
#[derive(Debug, Default)]
pub(super) struct Places {
    file: PathBuf,
    of: BTreeMap<String, Place>,
    /// Keys that were moved: the new path with the one under which it was written.
    moved: Vec<(String, String)>,
}

impl Places {
    /// The places in the configuration's own file.
    pub fn new(file: &Path, text: &str) -> Self {
        Places {
            file: file.to_owned(),
            of: places(file, text),
            moved: Vec::new(),
        }
    }

    /// Adds the places in a group's file, for keys that the configuration's own file does not have.
    pub fn group(&mut self, group: &str, file: &Path, text: &str) {
        let whole = Place::Whole(file.to_owned());
        self.of.entry(group.to_owned()).or_insert(whole);
        for (path, place) in places(file, text) {
            self.of.entry(format!("{group}.{path}")).or_insert(place);
        }
    }

    /// Records that an override set the value at these steps.
    pub fn set(&mut self, text: &str, steps: &[String]) {
        let mut path = String::new();
        for step in steps {
            match step.parse::<usize>() {
                Ok(i) => path.push_str(&format!("[{i}]")),
                Err(_) if path.is_empty() => path.push_str(step),
                Err(_) => path.push_str(&format!(".{step}")),
            }
        }
        // The override replaced everything that was there.
        self.of.retain(|p, _| !inside(p, &path));
        self.of.insert(path, Place::Override(text.to_owned()));
    }

    /// Records that a key moved away from where it was written.
    pub fn moved(&mut self, to: impl Into<String>, from: impl Into<String>) {
        self.moved.push((to.into(), from.into()));
    }

    /// The paths that a key may have been written under: those before it was moved, then its own.
    fn before(&self, path: &str) -> Vec<String> {
        let moved = self.moved.iter().rev().filter(|(to, _)| inside(path, to));
        let before = moved.map(|(to, from)| format!("{from}{}", &path[to.len()..]));
        before.chain([path.to_owned()]).collect()
    }

    /// The path that a key was written under.
    pub fn written(&self, path: &str) -> String {
        let mut paths = self.before(path).into_iter();
        let written = paths.find(|p| self.of.contains_key(p));
        written.unwrap_or_else(|| path.to_owned())
    }

    /// Where a key, or the part of the configuration that it belongs to, was written.
    pub fn get(&self, path: &str) -> Place {
        let paths = self.before(path);
        let exact = paths.iter().find_map(|p| self.of.get(p));
        let near = || paths.iter().find_map(|p| self.nearest(p));
        exact.or_else(near).cloned().unwrap_or_else(|| self.whole())
    }

    /// The configuration's file as a whole.
    pub fn whole(&self) -> Place {
        Place::Whole(self.file.clone())
    }

    /// The place of the longest path that leads to a key.
    fn nearest(&self, path: &str) -> Option<&Place> {
        let ends = path.rmatch_indices(['.', '[']);
        ends.map(|(at, _)| &path[..at]).find_map(|p| self.of.get(p))
    }
}

/// Whether a path equals another one or lies inside it.
fn inside(path: &str, outer: &str) -> bool {
    let rest = path.strip_prefix(outer);
    rest.is_some_and(|r| r.is_empty() || r.starts_with(['.', '[']))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_where_it_was_written_last() {
        let mut places = Places::new(Path::new("c.yaml"), "a:\n  b: 1\n  c: {d: 2}\nold: 3\n");
        places.group("a", Path::new("a/x.yaml"), "b: 7\ne: 8\n");
        places.set("a.c={f: 1}", &["a".to_owned(), "c".to_owned()]);
        places.moved("new.key", "old");
        for (path, want) in [
            ("a.b", "c.yaml:2:3"),
            ("a.e", "a/x.yaml:2:1"),
            ("a.c.f", "a.c={f: 1}"),
            ("a.c.d", "a.c={f: 1}"),
            ("a.zebra", "c.yaml:1:1"),
            ("new.key", "c.yaml:4:1"),
            ("nowhere", "c.yaml"),
        ] {
            assert_eq!(places.get(path).to_string(), want, "{path}");
        }
        assert_eq!(places.written("new.key"), "old");
        assert_eq!(places.written("a.b"), "a.b");
    }
}
