//! Checks of documents.

use std::collections::HashMap;

use super::checks;
use super::data::{Data, Documents, Finding};
use super::words::words;
use crate::layout::MENTIONS;

/// Documents without a text, with the text of another, too long, or without an entity; entities
/// without a document.
pub fn documents(data: &Data, max_words: usize) -> Vec<Finding> {
    let Some(documents) = &data.documents else {
        return Vec::new();
    };
    let mut out = texts(data, documents, max_words);
    out.extend(links(data, documents));
    out
}

fn texts(data: &Data, documents: &Documents, max_words: usize) -> Vec<Finding> {
    let mut out = Vec::new();
    let mut first: HashMap<&str, usize> = HashMap::new();
    // Where no document has any, nothing was looked for: patterns do not find facts.
    let found = |having: &Option<Vec<bool>>| having.clone().filter(|all| all.contains(&true));
    let extracted = [
        (
            found(&data.details.mentions),
            &checks::DOCUMENT_WITHOUT_MENTION,
            "no mention was found in the text",
        ),
        (
            found(&data.details.facts),
            &checks::DOCUMENT_WITHOUT_FACT,
            "no fact was found in the text",
        ),
    ];
    for (row, text) in documents.texts.iter().enumerate() {
        let mut tell = |check, message: String| {
            let (place, title) = (data.document(row), &documents.titles[row]);
            out.push(Finding::new(check, place, title, message));
        };
        if text.trim().is_empty() {
            // A document that the corpus does not have is reported elsewhere.
            if documents.in_corpus[row] {
                tell(&checks::EMPTY_DOCUMENT, "the text is empty".to_owned());
            }
            continue;
        }
        let number = words(text).count();
        if number > max_words {
            let message = format!(
                "the text has {number} words, and encoders read the first {max_words} or so: what comes later is not found by its meaning"
            );
            tell(&checks::LONG_DOCUMENT, message);
        }
        for (having, check, message) in &extracted {
            if having.as_ref().is_some_and(|all| !all[row]) {
                tell(check, (*message).to_owned());
            }
        }
        let earlier = *first.entry(text).or_insert(row);
        if earlier != row {
            let at = data.document(earlier);
            let at = at.map_or(String::new(), |p| format!(" ({p})"));
            let message = format!("has the text of `{}`{at}", documents.titles[earlier]);
            tell(&checks::DUPLICATE_DOCUMENT, message);
        }
    }
    out
}

fn links(data: &Data, documents: &Documents) -> Vec<Finding> {
    let mut out = Vec::new();
    let Some(entities) = &documents.entities else {
        return out;
    };
    let mut linked = vec![false; data.graph.len()];
    for (row, mentioned) in entities.iter().enumerate() {
        for &entity in mentioned {
            linked[entity as usize] = true;
        }
        // A document's own node does not say what the document is about.
        if mentioned.iter().all(|entity| data.is_document(*entity)) {
            out.push(Finding::new(
                &checks::DOCUMENT_WITHOUT_ENTITY,
                data.document_in(MENTIONS, row),
                &documents.titles[row],
                "mentions no entity of the graph",
            ));
        }
    }
    for (id, _) in (0u32..).zip(&linked).filter(|(_, linked)| !**linked) {
        out.push(Finding::new(
            &checks::UNLINKED_ENTITY,
            data.entity(id),
            data.entities.get(id),
            "no document mentions it",
        ));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::testing::{graph, reported, with_documents};
    use super::*;

    #[test]
    fn long_texts_and_those_without_mention_or_fact_are_reported() {
        let data = graph("a,r,b\na,is mentioned in,A\nb,is mentioned in,A");
        let texts = [
            ("A", "one two three", &["a", "b", "A"][..]),
            ("B", "one, two.", &["A"]),
            ("C", " ", &["a"]),
        ];
        let mut data = with_documents(data, &texts);
        data.document_nodes = vec![false, false, true];
        data.details.mentions = Some(vec![true, false, false]);
        data.details.facts = Some(vec![false, true, false]);
        assert_eq!(
            reported(&documents(&data, 2)),
            [
                "long-document corpus.json:2 A: the text has 3 words, and encoders read the first 2 or so: what comes later is not found by its meaning",
                "document-without-fact corpus.json:2 A: no fact was found in the text",
                "document-without-mention corpus.json:3 B: no mention was found in the text",
                "empty-document corpus.json:4 C: the text is empty",
                "document-without-entity corpus.json:3 B: mentions no entity of the graph",
            ]
        );
        // No facts were extracted.
        data.details.facts = Some(vec![false; 3]);
        assert_eq!(reported(&documents(&data, 3)).len(), 3);
    }

    #[test]
    fn texts_and_links_are_looked_at() {
        let mut data = with_documents(
            graph("a,r,b\nc,r,a"),
            &[
                ("A", "same", &["a", "b"]),
                ("B", " \n", &["b"]),
                ("C", "same", &[]),
                ("D", "", &["a"]),
                ("E", "same", &["a"]),
            ],
        );
        if let Some(documents) = &mut data.documents {
            documents.in_corpus[3] = false;
        }
        assert_eq!(
            reported(&documents(&data, 300)),
            [
                "empty-document corpus.json:3 B: the text is empty",
                "duplicate-document corpus.json:4 C: has the text of `A` (corpus.json:2)",
                "duplicate-document corpus.json:6 E: has the text of `A` (corpus.json:2)",
                "document-without-entity corpus.json:4 C: mentions no entity of the graph",
                "unlinked-entity kg.txt:2 c: no document mentions it",
            ]
        );
    }
}
