//! Splits for cross-validation: decides which questions are used for training and which for
//! testing. The same ids and seed give the same splits.

use gfm_pipe_api::{Field, Problem, Schema, Type};
use serde::{Deserialize, Serialize};

/// Most folds. (Each fold is a training of its own.)
const MAX_FOLDS: i64 = 1000;

/// The parameter `folds`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Folds {
    /// Number of folds.
    pub k: u64,
    /// The fold that is used for testing, from 0.
    pub fold: u64,
    /// Seed of the division.
    pub seed: u64,
    /// Whether the next fold is used for validation.
    pub valid: bool,
}

/// What a question is used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Training.
    Train,
    /// Validation.
    Valid,
    /// Test.
    Test,
}

/// The schema of the parameter `folds`.
pub fn field() -> Field {
    let schema = Schema::new(vec![
        Field::required(
            "k",
            Type::Int {
                min: 2,
                max: MAX_FOLDS,
            },
            "number of folds",
        ),
        Field::required(
            "fold",
            Type::Int {
                min: 0,
                max: MAX_FOLDS - 1,
            },
            "the fold that is tested, from 0; the others train",
        ),
        Field::new(
            "seed",
            Type::int(0),
            0,
            "another seed gives another division",
        ),
        Field::new(
            "valid",
            Type::Bool,
            false,
            "whether the fold after the tested one validates instead of training",
        ),
    ]);
    Field::new(
        "folds",
        Type::Object(schema).or_null(),
        serde_json::Value::Null,
        "divides all questions given again, for cross-validation; parts of a question (`sub_ID_n`) stay with it",
    )
}

impl Folds {
    /// Mistakes in the parameters.
    pub fn check(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        if self.fold >= self.k {
            problems.push(Problem::at(
                "folds.fold",
                format!("there are {} folds, from 0 to {}", self.k, self.k - 1),
            ));
        }
        if self.valid && self.k < 3 {
            problems.push(
                Problem::at(
                    "folds.valid",
                    "with two folds nothing would be left for training",
                )
                .hint("set `k` to 3 or more"),
            );
        }
        problems
    }

    /// The part of each question. Groups are dealt out in an order that depends on the seed, so
    /// that folds have equal sizes.
    pub fn divide(&self, ids: &[&str]) -> Vec<Part> {
        let groups: Vec<&str> = ids.iter().map(|id| group(id)).collect();
        let mut order: Vec<([u8; 32], &str)> =
            groups.iter().map(|g| (self.digest(g), *g)).collect();
        order.sort_unstable();
        order.dedup();
        let dealt: ahash::AHashMap<&str, u64> = (0..)
            .zip(&order)
            .map(|(i, (_, g))| (*g, i % self.k))
            .collect();
        let validates = (self.fold + 1) % self.k;
        groups
            .iter()
            .map(|g| match dealt[g] {
                fold if fold == self.fold => Part::Test,
                fold if self.valid && fold == validates => Part::Valid,
                _ => Part::Train,
            })
            .collect()
    }

    fn digest(&self, group: &str) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.seed.to_le_bytes());
        hasher.update(group.as_bytes());
        *hasher.finalize().as_bytes()
    }
}

/// The id that a question is grouped by: `ID` for a one-hop part `sub_ID_0`, else its own.
fn group(id: &str) -> &str {
    let part = id
        .strip_prefix("sub_")
        .and_then(|rest| rest.rsplit_once('_'));
    match part {
        Some((parent, n))
            if !parent.is_empty() && !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()) =>
        {
            parent
        }
        _ => id,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folds(k: u64, fold: u64) -> Folds {
        Folds {
            k,
            fold,
            seed: 7,
            valid: false,
        }
    }

    #[test]
    fn parts_belong_to_their_question() {
        for (id, want) in [
            ("sub_2hop__1_2_0", "2hop__1_2"),
            ("sub_a_12", "a"),
            ("sub_a", "sub_a"),
            ("sub__1", "sub__1"),
            ("sub_a_x", "sub_a_x"),
            ("2hop__1_2", "2hop__1_2"),
        ] {
            assert_eq!(group(id), want);
        }
    }

    #[test]
    fn every_question_is_tested_once_and_parts_with_their_question() {
        let ids: Vec<String> = (0..23)
            .flat_map(|i| {
                [
                    format!("q{i}"),
                    format!("sub_q{i}_0"),
                    format!("sub_q{i}_1"),
                ]
            })
            .collect();
        let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
        let mut tested = vec![0; ids.len()];
        for fold in 0..5 {
            let parts = folds(5, fold).divide(&ids);
            for (i, part) in parts.iter().enumerate() {
                tested[i] += u32::from(*part == Part::Test);
                assert_eq!(*part, parts[i - i % 3]);
            }
            let questions = parts.iter().filter(|p| **p == Part::Test).count() / 3;
            assert!((4..=5).contains(&questions), "{questions}");
        }
        assert!(tested.iter().all(|n| *n == 1));
    }

    #[test]
    fn the_order_of_questions_does_not_matter_and_the_seed_does() {
        let ids = ["a", "b", "c", "d", "e", "f", "g", "h"];
        let mut back = ids;
        back.reverse();
        let mut parts = folds(2, 0).divide(&back);
        parts.reverse();
        assert_eq!(folds(2, 0).divide(&ids), parts);
        let other = Folds {
            seed: 8,
            ..folds(2, 0)
        };
        assert_ne!(other.divide(&ids), parts);
    }

    #[test]
    fn the_next_fold_validates_where_that_is_wanted() {
        let ids: Vec<String> = (0..9).map(|i| i.to_string()).collect();
        let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
        let of = |fold| {
            let folds = Folds {
                valid: true,
                ..folds(3, fold)
            };
            folds.divide(&ids)
        };
        let (last, first) = (of(2), of(0));
        for i in 0..9 {
            assert_eq!(last[i] == Part::Valid, first[i] == Part::Test);
        }
        assert_eq!(last.iter().filter(|p| **p == Part::Train).count(), 3);
    }

    #[test]
    fn folds_that_cannot_be_are_refused() {
        assert!(folds(3, 2).check().is_empty());
        assert_eq!(folds(3, 3).check().len(), 1);
        let valid = Folds {
            valid: true,
            ..folds(2, 0)
        };
        assert_eq!(valid.check().len(), 1);
    }
}
