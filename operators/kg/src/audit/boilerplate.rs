//! Finds lines or sentences that many documents begin or end with: menus, notices, footers.

use std::collections::{BTreeSet, HashMap};

use super::checks;
use super::data::{Data, Finding};
use super::unicode::{beginning, shown};
use super::words::{parts, words};

/// Number of lines or sentences that are compared at each end.
const DEEP: usize = 3;
/// Fewest words of such a line: shorter ones are headings.
const WORDS: usize = 3;
/// Fewest documents that must have the line.
const FEWEST: usize = 5;
/// At least one in this many documents must have the line.
const ONE_IN: usize = 10;

/// Lines or sentences that many documents begin or end with, each once, in its first document.
pub fn boilerplate(data: &Data) -> Vec<Finding> {
    let Some(documents) = &data.documents else {
        return Vec::new();
    };
    // Documents by the lines they begin or end with. Pieces count as the whole document, and equal
    // texts count once.
    let mut having: HashMap<&str, BTreeSet<usize>> = HashMap::new();
    let mut first: HashMap<&str, usize> = HashMap::new();
    let mut all = BTreeSet::new();
    for (row, text) in documents.texts.iter().enumerate() {
        if text.trim().is_empty() || *first.entry(text).or_insert(row) != row {
            continue;
        }
        let parent = data.parent(row);
        all.insert(parent);
        let parts = parts(text);
        for part in parts.iter().take(DEEP).chain(parts.iter().rev().take(DEEP)) {
            if words(part).take(WORDS).count() == WORDS {
                having.entry(part).or_default().insert(parent);
            }
        }
    }
    having.retain(|_, rows| rows.len() >= FEWEST && rows.len() * ONE_IN >= all.len());
    let found = having.into_iter().map(|(part, rows)| (rows, part));
    let mut found: Vec<(BTreeSet<usize>, &str)> = found.collect();
    found.sort_unstable();
    let findings = found.into_iter().filter_map(|(rows, part)| {
        let row = *rows.first()?;
        let (count, all) = (rows.len() - 1, all.len() - 1);
        let message = format!(
            "begins or ends with `{}`, as do {count} of the other {all} documents",
            shown(&beginning(part))
        );
        let (place, title) = (data.document(row), &documents.titles[row]);
        Some(Finding::new(&checks::BOILERPLATE, place, title, message))
    });
    findings.collect()
}

#[cfg(test)]
mod tests {
    use super::super::testing::{graph, reported, with_documents};
    use super::*;

    #[test]
    fn lines_that_many_documents_share_are_told_once() {
        let bodies: Vec<String> = (0..12)
            .map(|i| {
                let menu = if i < 7 {
                    "Home | About | Contact us\n\n"
                } else {
                    ""
                };
                let notice = if i % 2 == 0 {
                    "\nAll rights reserved.\n(c) 2020 The Mill"
                } else {
                    ""
                };
                let same = "\nRead more";
                format!("{menu}Text number {i} is here.{notice}{same}")
            })
            .collect();
        let of = |bodies: &[String]| {
            let documents: Vec<(String, &str)> = bodies
                .iter()
                .enumerate()
                .map(|(i, b)| (format!("D{i}"), b.as_str()))
                .collect();
            let documents: Vec<(&str, &str, &[&str])> = documents
                .iter()
                .map(|(t, b)| (t.as_str(), *b, &[][..]))
                .collect();
            reported(&boilerplate(&with_documents(graph("a,r,b"), &documents)))
        };
        assert_eq!(
            of(&bodies),
            [
                "boilerplate corpus.json:2 D0: begins or ends with `Home | About | Contact us`, as do 6 of the other 11 documents",
                "boilerplate corpus.json:2 D0: begins or ends with `(c) 2020 The Mill`, as do 5 of the other 11 documents",
                "boilerplate corpus.json:2 D0: begins or ends with `All rights reserved.`, as do 5 of the other 11 documents",
            ]
        );
        // Sentences of texts of one line; a text that is there twice counts once.
        let line = |i: usize| format!("Sentence {i}, and more. Sent from my mobile phone.");
        let lines: Vec<String> = (0..5).map(line).collect();
        assert_eq!(of(&lines).len(), 1);
        let copies: Vec<String> = (0..9).map(|i| line(i % 4)).collect();
        assert_eq!(of(&copies).len(), 0);
    }
}
