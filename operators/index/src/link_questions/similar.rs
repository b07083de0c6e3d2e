//! Finds facts, sentences and documents that are most similar to a question.

use ahash::{AHashMap, AHashSet};
use gfm_pipe_api::OpResult;

use super::graph::Graph;
use super::nearest::{Near, Vectors};
use super::{Found, Start};

/// Number of facts or sentences that are looked at, for each that counts: cosines are scaled by
/// them.
const BESIDE: usize = 4;

/// A table with texts and their embeddings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Texts {
    /// Facts that documents state.
    Facts,
    /// Sentences of documents.
    Sentences,
    /// Whole documents.
    Documents,
}

/// Texts by row.
pub type TextOf = AHashMap<u64, String>;
/// Nodes by row.
pub type NodesOf = AHashMap<u64, Vec<u32>>;

/// Access to the rows of tables. Tables are read batch by batch from files, or they are in memory;
/// both give the same numbers.
pub trait Lookup {
    /// Finds the `k` rows that are most similar to each vector.
    ///
    /// # Errors
    /// When the table cannot be read, or was embedded by another encoder.
    fn nearest(&self, texts: Texts, vectors: &Vectors, k: usize) -> OpResult<Vec<Vec<Near>>>;

    /// The texts of these rows.
    ///
    /// # Errors
    /// When the table cannot be read.
    fn texts(&self, texts: Texts, rows: &AHashSet<u64>) -> OpResult<TextOf>;

    /// The distinct heads and tails of the triples of these facts, by row of `facts`.
    ///
    /// # Errors
    /// When a table cannot be read.
    fn ends(&self, facts: &AHashSet<u64>) -> OpResult<NodesOf>;

    /// The distinct entities that these sentences mention, by row of `sentences`.
    ///
    /// # Errors
    /// When a table cannot be read.
    fn mentioned(&self, sentences: &AHashSet<u64>) -> OpResult<NodesOf>;
}

/// Rows with their scores, by question.
pub type Scored = Vec<Vec<(u32, f64)>>;

/// Chooses among the facts that are most similar to each question.
pub trait Choose {
    /// Number of facts of a question that it chooses among.
    fn among(&self) -> usize;

    /// Returns those of the candidates that count, in their order.
    ///
    /// # Errors
    /// When it cannot choose.
    fn choose(&self, candidates: Scored) -> OpResult<Scored>;
}

/// The first `top` rows with scaled scores: 1 for the best, and 0 for the worst of all that were
/// looked at.
pub fn between_0_and_1(near: &[Near], top: usize) -> Vec<(u32, f64)> {
    let (Some(best), Some(worst)) = (near.first(), near.last()) else {
        return Vec::new();
    };
    let spread = best.1 - worst.1;
    let score = |cosine: f64| {
        if spread > 0.0 {
            (cosine - worst.1) / spread
        } else {
            1.0
        }
    };
    let top = near.iter().take(top);
    top.map(|(row, cosine)| (*row, score(*cosine))).collect()
}

/// Finds, for each question, the `top` most similar rows of a table. Scores are scaled by the
/// `looked_at` most similar rows.
fn rows(
    by: &dyn Lookup,
    texts: Texts,
    vectors: &Vectors,
    top: usize,
    looked_at: usize,
) -> OpResult<Scored> {
    let near = by.nearest(texts, vectors, looked_at)?;
    Ok(near.iter().map(|near| between_0_and_1(near, top)).collect())
}

/// Finds documents with the most similar texts.
pub fn documents(by: &dyn Lookup, graph: &Graph, vectors: &Vectors, top: usize) -> OpResult<Found> {
    let found = rows(by, Texts::Documents, vectors, top, top)?;
    Ok(found.iter().map(|rows| of_documents(graph, rows)).collect())
}

/// Starts at the nodes of documents, in proportion to their scores.
pub fn of_documents(graph: &Graph, rows: &[(u32, f64)]) -> Vec<Start> {
    let starts = rows.iter().flat_map(|(document, score)| {
        let start = move |(node, share)| Start {
            node,
            weight: score * share,
            text: graph.titles[*document as usize].to_owned(),
        };
        graph.shares(*document).into_iter().map(start)
    });
    starts.collect()
}

/// Finds entities of the most similar facts. The share of an entity is the mean score of its facts
/// / number of documents that mention it (as in HippoRAG 2, Gutiérrez et al. 2025). The `top` most
/// similar ones count, or those that `choose` keeps, as its language model does.
pub fn facts(
    by: &dyn Lookup,
    graph: &Graph,
    vectors: &Vectors,
    top: usize,
    choose: Option<&dyn Choose>,
) -> OpResult<Found> {
    let best = |top| rows(by, Texts::Facts, vectors, top, top * BESIDE);
    let found = match choose {
        None => best(top)?,
        Some(choose) => choose.choose(best(choose.among())?)?,
    };
    let wanted: AHashSet<u64> = found.iter().flatten().map(|f| u64::from(f.0)).collect();
    let ends = by.ends(&wanted)?;
    let texts = by.texts(Texts::Facts, &wanted)?;
    let found = found.into_iter().map(|rows| {
        let mut of_node: AHashMap<u32, (f64, u32)> = AHashMap::new();
        let mut starts = Vec::new();
        for (fact, score) in rows {
            let fact = u64::from(fact);
            for node in ends.get(&fact).into_iter().flatten() {
                let of = of_node.entry(*node).or_default();
                *of = (of.0 + score, of.1 + 1);
                starts.push(Start {
                    node: *node,
                    weight: score * graph.specificity(*node),
                    text: texts[&fact].clone(),
                });
            }
        }
        // Shares of a node are added later, so each is divided here: their sum is the mean.
        for start in &mut starts {
            start.weight /= f64::from(of_node[&start.node].1);
        }
        starts
    });
    Ok(found.collect())
}

/// Finds entities of the most similar sentences. The share of an entity is the sum of the scores of
/// its sentences / number of documents that mention it.
pub fn sentences(by: &dyn Lookup, graph: &Graph, vectors: &Vectors, top: usize) -> OpResult<Found> {
    let found = rows(by, Texts::Sentences, vectors, top, top * BESIDE)?;
    let wanted: AHashSet<u64> = found.iter().flatten().map(|s| u64::from(s.0)).collect();
    let mentioned = by.mentioned(&wanted)?;
    let texts = by.texts(Texts::Sentences, &wanted)?;
    let found = found.into_iter().map(|rows| {
        let starts = rows.into_iter().flat_map(|(sentence, score)| {
            let sentence = u64::from(sentence);
            let text = &texts[&sentence];
            let nodes = mentioned.get(&sentence).into_iter().flatten();
            nodes.map(move |node| Start {
                node: *node,
                weight: score * graph.specificity(*node),
                text: text.clone(),
            })
        });
        starts.collect()
    });
    Ok(found.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cosines_are_scaled_between_best_and_worst() {
        let near = [(4, 0.9), (2, 0.7), (7, 0.5)];
        let got = between_0_and_1(&near, 2);
        assert_eq!(got[0], (4, 1.0));
        assert!(got[1].0 == 2 && (got[1].1 - 0.5).abs() < 1e-12);
        assert_eq!(got.len(), 2);
        assert_eq!(
            between_0_and_1(&[(1, 0.3), (2, 0.3)], 5),
            [(1, 1.0), (2, 1.0)]
        );
        assert!(between_0_and_1(&[], 5).is_empty());
    }
}
