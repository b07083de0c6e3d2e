//! The documents of several searches, together.

use gfm_pipe_api::answer::{Answer, Found};
use gfm_pipe_eval::rankings::RankedList;

use crate::generate::Shown;

/// The best documents of several searches. A document has its best score.
pub struct Merged {
    most: usize,
    system: Option<String>,
    /// The best first.
    documents: Vec<Document>,
}

struct Document {
    id: u32,
    title: String,
    text: String,
    score: f64,
}

impl Merged {
    /// No documents yet, and later at most this many.
    pub fn new(most: usize) -> Self {
        Merged {
            most,
            system: None,
            documents: Vec::new(),
        }
    }

    /// Adds what a search has found. Of equal scores, those of earlier searches come first.
    ///
    /// Where a thought starts nowhere in the graph, another system ranks documents, and its scores
    /// mean something else: its documents get the scores of those that are in their places.
    pub fn add(&mut self, found: Answer) {
        if found.documents.is_empty() {
            return;
        }
        let same = *self.system.get_or_insert_with(|| found.system.clone()) == found.system;
        let places: Vec<f64> = self.documents.iter().map(|d| d.score).collect();
        for (place, document) in found.documents.into_iter().enumerate() {
            let own = document.score.unwrap_or(f64::NEG_INFINITY);
            let of_place = places.get(place).or(places.last());
            let score = if same {
                own
            } else {
                of_place.copied().unwrap_or(own)
            };
            self.add_one(document, score);
        }
        self.documents.sort_by(|a, b| b.score.total_cmp(&a.score));
        self.documents.truncate(self.most);
    }

    fn add_one(&mut self, found: Found, score: f64) {
        let document = Document {
            id: found.id,
            title: found.title,
            text: found.text,
            score,
        };
        match self.documents.iter_mut().find(|d| d.id == document.id) {
            // Its text is the piece that this search is about.
            Some(known) if score > known.score => *known = document,
            Some(_) => {}
            None => self.documents.push(document),
        }
    }

    /// Whether nothing was found.
    pub fn is_empty(&self) -> bool {
        self.documents.is_empty()
    }

    /// The documents as a model sees them.
    pub fn shown(&self) -> Vec<Shown> {
        let shown = self.documents.iter().map(|d| Shown {
            title: d.title.clone(),
            text: d.text.clone(),
        });
        shown.collect()
    }

    /// The documents with their scores.
    pub fn ranked(&self) -> RankedList {
        self.documents.iter().map(|d| (d.id, d.score)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(system: &str, documents: &[(u32, f64)]) -> Answer {
        let documents = documents.iter().map(|(id, score)| Found {
            id: *id,
            rank: None,
            title: format!("d{id}"),
            score: Some(*score),
            sentence: None,
            text: format!("{system} {score}"),
            source: None,
            paths: Vec::new(),
        });
        Answer {
            question: String::new(),
            system: system.to_owned(),
            notes: Vec::new(),
            seconds: 0.0,
            answer: None,
            start: Vec::new(),
            documents: documents.collect(),
            why_not: Vec::new(),
        }
    }

    #[test]
    fn a_document_has_its_best_score_and_the_best_stay() {
        let mut merged = Merged::new(3);
        merged.add(found("ppr", &[]));
        assert!(merged.is_empty());
        merged.add(found("ppr", &[(1, 0.5), (2, 0.4), (3, 0.1)]));
        merged.add(found("ppr", &[(4, 0.6), (2, 0.5), (1, 0.2)]));
        // 1 was first with 0.5.
        assert_eq!(merged.ranked(), [(4, 0.6), (1, 0.5), (2, 0.5)]);
        let texts: Vec<String> = merged.shown().into_iter().map(|d| d.text).collect();
        assert_eq!(texts, ["ppr 0.6", "ppr 0.5", "ppr 0.5"]);
    }

    #[test]
    fn the_scores_of_another_system_are_not_compared() {
        let mut merged = Merged::new(4);
        merged.add(found("ppr", &[(1, 0.5), (2, -0.4)]));
        merged.add(found("bm25", &[(3, 21.0), (2, 20.0), (4, 19.0)]));
        let want = [(1, 0.5), (3, 0.5), (2, -0.4), (4, -0.4)];
        assert_eq!(merged.ranked(), want);
        // The first system goes on.
        merged.add(found("ppr", &[(4, 0.45)]));
        assert_eq!(merged.ranked()[2], (4, 0.45));
    }
}
