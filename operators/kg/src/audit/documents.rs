//! Checks of documents.

use std::collections::HashMap;

use super::checks;
use super::data::{Data, Finding};
use crate::layout::{CORPUS, MENTIONS};

/// Documents without a text, with the text of another, or without an entity; entities without a document.
pub fn documents(data: &Data) -> Vec<Finding> {
    let mut out = Vec::new();
    let Some(documents) = &data.documents else {
        return out;
    };
    let corpus = |row| data.places.within(CORPUS, "documents", row);
    let mut first: HashMap<&str, usize> = HashMap::new();
    for (row, text) in documents.texts.iter().enumerate() {
        let title = &documents.titles[row];
        if text.trim().is_empty() {
            // One without a place in the corpus is told of elsewhere.
            if documents.in_corpus[row] {
                let message = "the text is empty";
                out.push(Finding::new(
                    &checks::EMPTY_DOCUMENT,
                    corpus(row),
                    title,
                    message,
                ));
            }
            continue;
        }
        let earlier = *first.entry(text).or_insert(row);
        if earlier != row {
            let at = corpus(earlier).map_or(String::new(), |p| format!(" ({p})"));
            let message = format!("has the text of `{}`{at}", documents.titles[earlier]);
            out.push(Finding::new(
                &checks::DUPLICATE_DOCUMENT,
                corpus(row),
                title,
                message,
            ));
        }
    }
    let Some(entities) = &documents.entities else {
        return out;
    };
    let mut linked = vec![false; data.graph.len()];
    for (row, mentioned) in entities.iter().enumerate() {
        for &entity in mentioned {
            linked[entity as usize] = true;
        }
        if mentioned.is_empty() {
            out.push(Finding::new(
                &checks::DOCUMENT_WITHOUT_ENTITY,
                data.places.within(MENTIONS, "documents", row),
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
    use super::super::testing::{graph, told, with_documents};
    use super::*;

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
            told(&documents(&data)),
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
