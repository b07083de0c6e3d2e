//! Checks of questions, within a split and between splits.

use std::collections::HashMap;
use std::hash::Hash;

use super::checks;
use super::data::{Data, Finding, Place};
use super::normal::normal;

/// Reports questions without an entity to start from or without a known gold document.
pub fn questions(data: &Data) -> Vec<Finding> {
    let mut out = Vec::new();
    // Questions that were never linked to a graph have no entities, and are not meant to.
    let tied = data.questions().any(|(_, _, q)| !q.entities.is_empty());
    for (split, row, question) in data.questions() {
        let place = || data.places.first(&split.name, row);
        if tied && question.entities.is_empty() {
            out.push(Finding::new(
                &checks::QUESTION_WITHOUT_ENTITY,
                place(),
                &question.id,
                "names no entity of the graph",
            ));
        }
        if question.documents.is_empty() {
            let message = match question.gold_titles {
                0 => "names no gold document".to_owned(),
                1 => "its gold title is no document".to_owned(),
                n => format!("none of its {n} gold titles is a document"),
            };
            out.push(Finding::new(
                &checks::QUESTION_WITHOUT_GOLD,
                place(),
                &question.id,
                message,
            ));
        }
    }
    out
}

/// The split and row of a question.
type At = (usize, usize);

/// By key, the first question of each split.
struct Firsts<K>(HashMap<K, Vec<At>>);

impl<K: Eq + Hash> Firsts<K> {
    /// Returns the first question with this key in an earlier split, and in the question's own
    /// split.
    fn meet(&mut self, key: K, at: At) -> (Option<At>, Option<At>) {
        let firsts = self.0.entry(key).or_default();
        let own = firsts.iter().find(|f| f.0 == at.0).copied();
        let other = firsts.iter().find(|f| f.0 != at.0).copied();
        if own.is_none() {
            firsts.push(at);
        }
        (other, own)
    }
}

/// Reports questions that are repeated, in their own split or another.
pub fn repeated(data: &Data) -> Vec<Finding> {
    let mut out = Vec::new();
    let mut texts = Firsts(HashMap::new());
    let mut targets = Firsts(HashMap::new());
    let place = |(split, row): At| data.places.first(&data.splits[split].name, row);
    let named = |at: At| {
        let split = &data.splits[at.0];
        let near = place(at)
            .as_ref()
            .map_or(String::new(), |p: &Place| format!(" ({p})"));
        format!("`{}` of {}{near}", split.questions[at.1].id, split.name)
    };
    for (s, split) in data.splits.iter().enumerate() {
        for (row, question) in split.questions.iter().enumerate() {
            let at = (s, row);
            let mut tell = |check, message: String| {
                out.push(Finding::new(check, place(at), &question.id, message));
            };
            let mut text = normal(&question.text);
            if text.is_empty() {
                text.clone_from(&question.text);
            }
            let (leak, twice) = texts.meet(text, at);
            if let Some(first) = leak {
                tell(
                    &checks::LEAKED_QUESTION,
                    format!("is asked by {} too", named(first)),
                );
            }
            if let Some(first) = twice {
                tell(
                    &checks::DUPLICATE_QUESTION,
                    format!("is asked by {} already", named(first)),
                );
            }
            if question.entities.is_empty() || question.documents.is_empty() {
                continue;
            }
            let sorted = |ids: &[u32]| {
                let mut ids = ids.to_vec();
                ids.sort_unstable();
                ids
            };
            let target = (sorted(&question.entities), sorted(&question.documents));
            let (other, _) = targets.meet(target, at);
            if let (None, Some(first)) = (leak, other) {
                let message = format!("has the entities and gold documents of {}", named(first));
                tell(&checks::SHARED_TARGET, message);
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::testing::{graph, reported, with_split};
    use super::*;

    #[test]
    fn questions_need_a_beginning_and_an_end() {
        let data = with_split(
            graph("a,r,b"),
            "train",
            &[
                ("q1", "Who?", &["a"], &[0]),
                ("q2", "Why?", &["z"], &[]),
                ("q3", "How?", &["a"], &[]),
            ],
        );
        let mut data = data;
        data.splits[0].questions[2].gold_titles = 2;
        assert_eq!(
            reported(&questions(&data)),
            [
                "question-without-entity train.json:3 q2: names no entity of the graph",
                "question-without-gold train.json:3 q2: names no gold document",
                "question-without-gold train.json:4 q3: none of its 2 gold titles is a document",
            ]
        );
    }

    #[test]
    fn questions_come_again_within_and_across_splits() {
        let data = graph("a,r,b\nb,r,c");
        let data = with_split(
            data,
            "train",
            &[
                ("q1", "Who is it?", &["a", "b"], &[0, 1]),
                ("q2", "who is it", &["a"], &[0]),
                ("q3", "Other?", &["c"], &[2]),
            ],
        );
        let data = with_split(data, "valid", &[("v1", "Someone?", &["b", "a"], &[1, 0])]);
        let data = with_split(
            data,
            "test",
            &[
                ("t1", "WHO IS IT…", &["a"], &[0]),
                ("t2", "someone", &["b"], &[0]),
                ("t3", "None?", &[], &[2]),
                ("t4", "New?", &["c"], &[1]),
            ],
        );
        assert_eq!(
            reported(&repeated(&data)),
            [
                "duplicate-question train.json:3 q2: is asked by `q1` of train (train.json:2) already",
                "shared-target valid.json:2 v1: has the entities and gold documents of `q1` of train (train.json:2)",
                "leaked-question test.json:2 t1: is asked by `q1` of train (train.json:2) too",
                "leaked-question test.json:3 t2: is asked by `v1` of valid (valid.json:2) too",
            ]
        );
    }
}
