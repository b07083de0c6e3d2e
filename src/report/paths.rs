//! Why documents were found: the table `paths` of an `explain` stage, for the questions that a
//! report shows.

use std::collections::{BTreeSet, HashMap};

use arrow::array::{Array, RecordBatch};
use gfm_pipe_api::answer::arrow;
use gfm_pipe_api::{OpError, columns, kinds};
use serde::Serialize;

use super::run::Run;

/// A path in words.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Path {
    weight: String,
    walk: String,
    /// What the documents say of its steps, where known.
    evidence: Vec<Evidence>,
}

/// A sentence that states a step of a path.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Evidence {
    sentence: String,
    title: String,
}

/// The paths of documents, heaviest first, by system, question and rank.
pub type Paths = HashMap<(String, String, u32), Vec<Path>>;

/// The paths of some questions, from all stages that explain the rankings of a stage. What is not
/// in the store any more is left out: a report shows its documents without them.
pub fn read(run: &Run<'_>, stage: &str, questions: &BTreeSet<&str>) -> Paths {
    let mut out = Paths::new();
    let ranked = Some((stage.to_owned(), "rankings".to_owned()));
    for (by, port) in run.of_kind(kinds::PATHS.name) {
        if run.input(&by, "rankings") != ranked {
            continue;
        }
        if let Ok(table) = run.table((&by, &port), "paths")
            && let Ok(paths) = of_table(&table, questions)
        {
            out.extend(paths);
        }
    }
    out
}

fn of_table(t: &RecordBatch, questions: &BTreeSet<&str>) -> Result<Paths, OpError> {
    let text = |name| columns::text(t, name);
    let (question, system) = (text("question")?, text("system")?);
    let (head, relation, tail) = (text("head")?, text("relation")?, text("tail")?);
    let (title, sentence) = (text("evidence")?, text("sentence")?);
    let (rank, number) = (columns::u32s(t, "rank")?, columns::u32s(t, "path")?);
    let (weight, inverse) = (columns::f64s(t, "weight")?, columns::bools(t, "inverse")?);
    let mut out = Paths::new();
    for row in (0..t.num_rows()).filter(|row| questions.contains(question.value(*row))) {
        let key = (
            system.value(row).to_owned(),
            question.value(row).to_owned(),
            rank.value(row),
        );
        let paths = out.entry(key).or_default();
        // The rows of a path follow each other, and paths are numbered from 1.
        if paths.len() < number.value(row) as usize {
            paths.push(Path {
                weight: format!("{:.4}", weight.value(row)),
                ..Path::default()
            });
        }
        let Some(path) = paths.last_mut() else {
            continue;
        };
        if head.is_null(row) {
            path.walk
                .push_str("the search started at it, or at what it mentions");
            continue;
        }
        let [from, to] = if inverse.value(row) {
            [tail.value(row), head.value(row)]
        } else {
            [head.value(row), tail.value(row)]
        };
        if path.walk.is_empty() {
            path.walk.push_str(from);
        }
        path.walk
            .push_str(&arrow(relation.value(row), inverse.value(row)));
        path.walk.push_str(to);
        if sentence.is_valid(row) {
            let evidence = Evidence {
                sentence: sentence.value(row).to_owned(),
                title: title.value(row).to_owned(),
            };
            if !path.evidence.contains(&evidence) {
                path.evidence.push(evidence);
            }
        }
    }
    Ok(out)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, BooleanArray, Float64Array, StringArray, UInt32Array};

    use super::*;

    #[test]
    fn rows_become_paths_of_the_wanted_questions() {
        let texts =
            |all: &[Option<&str>]| -> ArrayRef { Arc::new(StringArray::from(all.to_vec())) };
        let same = |text| texts(&[Some(text); 5]);
        let numbers = |all: &[u32]| -> ArrayRef { Arc::new(UInt32Array::from(all.to_vec())) };
        let columns = vec![
            texts(&[Some("q1"), Some("q1"), Some("q1"), Some("q1"), Some("q2")]),
            same("model"),
            numbers(&[1, 1, 1, 3, 1]),
            same("Doc"),
            numbers(&[1, 1, 2, 1, 1]),
            Arc::new(Float64Array::from(vec![0.5, 0.5, 0.25, 0.125, 1.0])),
            numbers(&[1, 2, 1, 0, 1]),
            texts(&[Some("a"), Some("c"), Some("a"), None, Some("x")]),
            texts(&[Some("r"), Some("s"), Some("t"), None, Some("r")]),
            texts(&[Some("b"), Some("b"), Some("c"), None, Some("y")]),
            Arc::new(BooleanArray::from(vec![
                Some(false),
                Some(true),
                Some(false),
                None,
                Some(false),
            ])),
            texts(&[Some("D"), None, None, None, None]),
            texts(&[Some("A is b."), None, None, None, None]),
        ];
        let table = columns::batch(&kinds::PATHS.tables[0], columns).unwrap();
        let paths = of_table(&table, &BTreeSet::from(["q1"])).unwrap();
        let at = |rank| paths[&("model".to_owned(), "q1".to_owned(), rank)].as_slice();
        let walks = |rank| at(rank).iter().map(|p| p.walk.as_str()).collect::<Vec<_>>();
        assert_eq!(walks(1), ["a –r→ b ←s– c", "a –t→ c"]);
        assert_eq!(
            walks(3),
            ["the search started at it, or at what it mentions"]
        );
        assert_eq!(at(1)[0].weight, "0.5000");
        let evidence = [Evidence {
            sentence: "A is b.".to_owned(),
            title: "D".to_owned(),
        }];
        assert_eq!(at(1)[0].evidence, evidence);
        assert_eq!(paths.len(), 2);
    }
}
