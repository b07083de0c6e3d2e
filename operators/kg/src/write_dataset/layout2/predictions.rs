//! The documents that a system ranked, as GFM-RAG 2.0 writes its predictions: its scripts for
//! answers (`qa.py`) read them with nodes.csv.

use std::collections::{BTreeSet, HashMap};

use gfm_pipe_api::node_types::DOCUMENT;
use gfm_pipe_api::{Artifact, Context, OpError, OpResult, columns};
use serde_json::Number;

use super::super::files::Report;
use super::super::questions::{Split, WrittenQuestion};
use super::graph::Graph;
use crate::json::Json;
use crate::tables::Reject;

/// The documents ranked for questions.
pub struct Predictions {
    /// Name of the file, which names the data set.
    pub file: String,
    /// By question id: documents with their scores, best first.
    ranked: Ranked,
    /// The splits whose questions are ranked.
    splits: Vec<&'static str>,
}

/// Documents with their scores, best first, by question id.
type Ranked = HashMap<String, Vec<(u32, f64)>>;

impl Predictions {
    /// Reads what `system` ranked, if `rankings` is connected. Documents have these `titles`.
    ///
    /// # Errors
    /// When there is no such system, or rankings are of other questions or documents.
    pub fn read(
        ctx: &Context,
        system: &str,
        titles: &[String],
        splits: &[Split],
        report: Report<'_>,
    ) -> OpResult<Option<Predictions>> {
        let Some(artifact) = ctx.input_opt("rankings") else {
            return Ok(None);
        };
        let ranked = ranked(artifact, system, titles)?;
        let of_splits =
            ranked_splits(&ranked, splits, report).map_err(|e| e.artifact(&artifact.name))?;
        let dataset = splits.first().map_or("", |s| &s.dataset);
        // The name of a data set may be any text.
        let dataset = dataset.replace(['/', '\\', '\0'], "_");
        Ok(Some(Predictions {
            file: format!("predictions_{dataset}.json"),
            ranked,
            splits: of_splits,
        }))
    }

    /// Whether the rankings are of the questions of this split.
    pub fn has(&self, split: &Split) -> bool {
        self.splits.contains(&split.name)
    }

    /// The value of `predictions` for a question: pairs of node and score, by type; `None` where
    /// nothing is ranked for it.
    pub fn of(&self, question: &WrittenQuestion, graph: &Graph) -> Option<Json> {
        let pair = |(document, score): &(u32, f64)| {
            let node = &graph.nodes[graph.of_document[*document as usize] as usize];
            let score = Number::from_f64(*score).map_or(Json::Null, Json::Number);
            Json::List(vec![Json::Text(node.key.clone()), score])
        };
        let documents = self.ranked.get(&question.row.id)?;
        let documents = Json::List(documents.iter().map(pair).collect());
        Some(Json::Object(vec![(DOCUMENT.to_owned(), documents)]))
    }
}

/// The splits whose questions are ranked. Rankings do not name a split, and two splits may have
/// questions with the same id.
fn ranked_splits(
    ranked: &Ranked,
    splits: &[Split],
    report: Report<'_>,
) -> OpResult<Vec<&'static str>> {
    let mut found: HashMap<&str, Vec<&'static str>> = HashMap::new();
    for split in splits {
        for question in &split.questions {
            if ranked.contains_key(&question.row.id) {
                found.entry(&question.row.id).or_default().push(split.name);
            }
        }
    }
    let names: Vec<&'static str> = splits.iter().map(|s| s.name).collect();
    let count = |name: &str| found.values().filter(|of| of.contains(&name)).count();
    let hint = "connect to `questions` what the rankings answer";
    if found.is_empty() {
        return Err(OpError::new("the rankings are of none of the connected questions").hint(hint));
    }
    let mut unknown: Vec<&String> = ranked
        .keys()
        .filter(|id| !found.contains_key(id.as_str()))
        .collect();
    unknown.sort_unstable();
    for id in unknown {
        report(&Reject {
            source: "rankings",
            line: None,
            item: Some(id),
            reason: "the question is in none of the connected splits: left out",
            text: "",
        })?;
    }
    if found.values().all(|of| of.len() == 1) {
        return Ok(names.into_iter().filter(|name| count(name) > 0).collect());
    }
    let whole = names.into_iter().filter(|name| count(name) == found.len());
    match whole.collect::<Vec<_>>().as_slice() {
        [one] => Ok(vec![one]),
        _ => Err(OpError::new(
            "two splits have questions with the same ids, and the rankings may be of either",
        )
        .hint(hint)),
    }
}

/// The documents that a system ranked, by question id.
fn ranked(artifact: &Artifact, system: &str, titles: &[String]) -> OpResult<Ranked> {
    // Rankings name a document by its title; of equal titles, the first is meant.
    let mut ids: HashMap<&str, u32> = HashMap::with_capacity(titles.len());
    for (id, title) in (0..).zip(titles) {
        ids.entry(title).or_insert(id);
    }
    let mut rows: HashMap<String, Vec<(u32, u32, f64)>> = HashMap::new();
    let mut systems = BTreeSet::new();
    let mut at = 0;
    for batch in artifact.batches("rankings")? {
        let batch = batch?;
        let text = |name| columns::text(&batch, name);
        let (questions, by, documents) = (text("question")?, text("system")?, text("document")?);
        let ranks = columns::u32s(&batch, "rank")?.values();
        let scores = columns::f64s(&batch, "score")?.values();
        for i in 0..batch.num_rows() {
            at += 1;
            if by.value(i) != system {
                systems.insert(by.value(i).to_owned());
                continue;
            }
            let document = ids.get(documents.value(i)).ok_or_else(|| {
                OpError::data(format!("no document is called {:?}", documents.value(i)))
                    .artifact(format!("{}.rankings", artifact.name))
                    .row(at - 1)
                    .hint("connect the documents that were ranked")
            })?;
            let of = rows.entry(questions.value(i).to_owned()).or_default();
            of.push((ranks[i], *document, scores[i]));
        }
    }
    if rows.is_empty() {
        let known: Vec<String> = systems.into_iter().collect();
        let known = if known.is_empty() {
            "there are no rankings".to_owned()
        } else {
            format!("set `system` to one of {}", known.join(", "))
        };
        return Err(OpError::new(format!("nothing is ranked by `{system}`"))
            .artifact(&artifact.name)
            .hint(known));
    }
    let sorted = rows.into_iter().map(|(question, mut list)| {
        list.sort_by_key(|(rank, ..)| *rank);
        let list = list.into_iter();
        (
            question,
            list.map(|(_, document, score)| (document, score)).collect(),
        )
    });
    Ok(sorted.collect())
}
