//! Where text came from: files and command-line overrides, and positions in them.
//!
//! Invariant: every [`Span`] names one of the [`Sources`] it was made with; lines are split exactly
//! as the YAML parser splits them, so that its line numbers refer to the right lines. This module
//! reads no files.

use std::path::{Path, PathBuf};

/// The index of one of the [`Sources`]. The main file is the first, then come the files it
/// includes, then overrides and files of variables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct SourceId(usize);

/// A place in a source: one-based, columns in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Pos {
    pub line: usize,
    pub column: usize,
}

/// A range in a source; `end` is exclusive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Span {
    pub source: SourceId,
    pub start: Pos,
    pub end: Pos,
}

pub(super) enum Source {
    /// A file, under the name the user gave it.
    File { name: PathBuf, lines: Lines },
    /// An override as the user would write it: `--set STAGE.with.KEY=VALUE`.
    Override(String),
}

/// All sources of a pipeline.
#[derive(Default)]
pub(super) struct Sources(Vec<Source>);

impl Sources {
    pub fn add_file(&mut self, name: &Path, text: &str) -> SourceId {
        self.0.push(Source::File {
            name: name.to_owned(),
            lines: Lines::of(text),
        });
        SourceId(self.0.len() - 1)
    }

    /// The names of all files.
    pub fn files(&self) -> Vec<PathBuf> {
        let name = |source: &Source| match source {
            Source::File { name, .. } => Some(name.clone()),
            Source::Override(_) => None,
        };
        self.0.iter().filter_map(name).collect()
    }

    pub fn add_override(&mut self, text: String) -> Span {
        self.0.push(Source::Override(text));
        let start = Pos { line: 1, column: 1 };
        Span {
            source: SourceId(self.0.len() - 1),
            start,
            end: start,
        }
    }

    pub fn get(&self, id: SourceId) -> &Source {
        &self.0[id.0]
    }
}

/// A text whose lines can be looked up by number.
pub(super) struct Lines {
    text: String,
    /// Byte range of each line, without its break.
    ranges: Vec<(usize, usize)>,
}

impl Lines {
    fn of(text: &str) -> Self {
        let mut ranges = Vec::new();
        let mut start = 0;
        let bytes = text.as_bytes();
        for (i, b) in bytes.iter().enumerate() {
            match b {
                // The `\r` of a `\r\n` has already ended the line.
                b'\n' if i > 0 && bytes[i - 1] == b'\r' => start = i + 1,
                b'\n' | b'\r' => {
                    ranges.push((start, i));
                    start = i + 1;
                }
                _ => {}
            }
        }
        ranges.push((start, text.len()));
        Lines {
            text: text.to_owned(),
            ranges,
        }
    }

    /// A line by its one-based number; empty past the end.
    pub fn get(&self, number: usize) -> &str {
        let range = number.checked_sub(1).and_then(|i| self.ranges.get(i));
        range.map_or("", |(from, to)| &self.text[*from..*to])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_break_of_yaml_ends_a_line_once() {
        let lines = Lines::of("a\r\nb\nc\rd\n");
        let all: Vec<&str> = (0..7).map(|n| lines.get(n)).collect();
        assert_eq!(all, ["", "a", "b", "c", "d", "", ""]);
    }
}
