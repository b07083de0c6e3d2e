//! Titles of documents: from a file's name, and made distinct.

use ahash::{AHashMap, AHashSet};

use crate::formats::ending;

/// A text on one line: every run of whitespace becomes a space.
pub fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The title for a file's name: without its ending, with spaces for `_`.
pub fn of_name(name: &str) -> String {
    let last = name.rsplit('/').next().unwrap_or(name);
    let stem = match ending(last) {
        Some(ending) => &last[..last.len() - ending.len() - 1],
        None => last,
    };
    let title = one_line(&stem.replace('_', " "));
    if title.is_empty() {
        last.to_owned()
    } else {
        title
    }
}

/// The folder of a file's name; empty for the folder that is read.
pub fn folder(name: &str) -> &str {
    name.rsplit_once('/').map_or("", |(folder, _)| folder)
}

/// A title as it is in a document's source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceTitle {
    /// The title on one line.
    pub title: String,
    /// Index of the file.
    pub file: u32,
}

/// Makes titles distinct: equal titles get the name of their folder added, and titles that are
/// still equal get a number. `folders` has the folder of each file. A title that only one document
/// has never changes.
pub fn distinct(written: &[SourceTitle], folders: &[&str]) -> Vec<String> {
    let mut times: AHashMap<&str, usize> = AHashMap::new();
    for w in written {
        *times.entry(&w.title).or_default() += 1;
    }
    let mut taken: AHashSet<String> = times
        .iter()
        .filter(|(_, n)| **n == 1)
        .map(|(title, _)| (*title).to_owned())
        .collect();
    let mut next: AHashMap<(&str, &str), usize> = AHashMap::new();
    let mut out = Vec::with_capacity(written.len());
    for w in written {
        let title = w.title.as_str();
        if times[title] == 1 {
            out.push(title.to_owned());
            continue;
        }
        let folder = folders[w.file as usize];
        let number = next.entry((title, folder)).or_insert(1);
        loop {
            let given = match (folder, *number) {
                ("", 1) => title.to_owned(),
                ("", n) => format!("{title} ({n})"),
                (folder, 1) => format!("{title} ({folder})"),
                (folder, n) => format!("{title} ({folder}, {n})"),
            };
            *number += 1;
            if taken.insert(given.clone()) {
                out.push(given);
                break;
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_of_files_give_titles() {
        for (name, want) in [
            ("docs/Paris_(France).txt", "Paris (France)"),
            ("Dr. Strangelove", "Dr. Strangelove"),
            ("a__b .tar.md", "a b .tar"),
            ("_.txt", "_.txt"),
            ("x/İstanbul.html", "İstanbul"),
        ] {
            assert_eq!(of_name(name), want);
        }
        assert_eq!((folder("a/b/c.txt"), folder("c.txt")), ("a/b", ""));
    }

    fn named(all: &[(&str, u32)], folders: &[&str]) -> Vec<String> {
        let written: Vec<SourceTitle> = all
            .iter()
            .map(|(title, file)| SourceTitle {
                title: (*title).to_owned(),
                file: *file,
            })
            .collect();
        distinct(&written, folders)
    }

    #[test]
    fn the_same_titles_get_their_folder_then_a_number() {
        let folders = ["", "a", "a/b"];
        assert_eq!(
            named(
                &[
                    ("Intro", 0),
                    ("Intro", 1),
                    ("Alone", 1),
                    ("Intro", 2),
                    ("Intro", 1),
                    ("Intro", 0)
                ],
                &folders
            ),
            [
                "Intro",
                "Intro (a)",
                "Alone",
                "Intro (a/b)",
                "Intro (a, 2)",
                "Intro (2)"
            ]
        );
        // A document keeps a title that is exactly its own.
        assert_eq!(
            named(
                &[("X", 0), ("X", 0), ("X (2)", 0), ("X (a)", 0), ("X", 1)],
                &folders
            ),
            ["X", "X (3)", "X (2)", "X (a)", "X (a, 2)"]
        );
    }

    #[test]
    fn many_equal_titles_are_told_apart_quickly() {
        let all = vec![("x", 0); 200_000];
        assert_eq!(named(&all, &[""]).last().unwrap(), "x (200000)");
    }

    proptest! {
        #[test]
        fn titles_become_distinct_and_single_ones_stay(
            all in prop::collection::vec(("(x|y)( \\((2|3|a|a, 2)\\))?", 0u32..3), 0..30),
        ) {
            let folders = ["", "a", "b"];
            let all: Vec<(&str, u32)> = all.iter().map(|(t, f)| (t.as_str(), *f)).collect();
            let got = named(&all, &folders);
            let distinct: AHashSet<&String> = got.iter().collect();
            prop_assert_eq!(distinct.len(), all.len());
            for (i, (title, _)) in all.iter().enumerate() {
                if all.iter().filter(|(t, _)| t == title).count() == 1 {
                    prop_assert_eq!(got[i].as_str(), *title);
                }
            }
        }
    }
}
