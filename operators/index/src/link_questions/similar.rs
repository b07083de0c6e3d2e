//! Finds facts, sentences and documents that are most similar to a question.

use ahash::{AHashMap, AHashSet};
use gfm_pipe_api::{Artifact, Context, OpResult, columns};

use super::graph::Graph;
use super::named::each_label;
use super::nearest::{Embedded, Near, Vectors};
use super::{Found, Start};

/// Number of facts or sentences that are looked at, for each that counts: cosines are scaled by
/// them.
const BESIDE: usize = 4;

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

/// The ports of a table with texts and of their embeddings.
struct Ports {
    texts: &'static str,
    embeddings: &'static str,
}

/// Finds, for each question, the `top` most similar rows of a table. Scores are scaled by the
/// `looked_at` most similar rows.
fn rows(
    ctx: &Context,
    vectors: &Vectors,
    ports: Ports,
    top: usize,
    looked_at: usize,
) -> OpResult<Vec<Vec<(u32, f64)>>> {
    let table = Embedded {
        texts: ctx.input(ports.texts)?,
        embeddings: ctx.input(ports.embeddings)?,
    };
    let near = vectors.nearest(ctx, table, looked_at, &|_, _| true)?;
    Ok(near.iter().map(|near| between_0_and_1(near, top)).collect())
}

/// Finds documents with the most similar texts.
pub fn documents(ctx: &Context, graph: &Graph, vectors: &Vectors, top: usize) -> OpResult<Found> {
    let ports = Ports {
        texts: "documents",
        embeddings: "corpus_embeddings",
    };
    let found = rows(ctx, vectors, ports, top, top)?;
    Ok(found.iter().map(|rows| of_documents(graph, rows)).collect())
}

/// Starts at the nodes of documents, in proportion to their scores.
pub fn of_documents(graph: &Graph, rows: &[(u32, f64)]) -> Vec<Start> {
    let starts = rows.iter().flat_map(|(document, score)| {
        let start = move |(node, share)| Start {
            node,
            weight: score * share,
            text: graph.titles[*document as usize].clone(),
        };
        graph.shares(*document).into_iter().map(start)
    });
    starts.collect()
}

/// Finds entities of the most similar facts. The share of an entity is the mean score of its facts
/// / number of documents that mention it (as in HippoRAG 2, Gutiérrez et al. 2025, before its
/// language model chooses among the facts).
pub fn facts(ctx: &Context, graph: &Graph, vectors: &Vectors, top: usize) -> OpResult<Found> {
    let ports = Ports {
        texts: "facts",
        embeddings: "fact_embeddings",
    };
    let found = rows(ctx, vectors, ports, top, top * BESIDE)?;
    let wanted: AHashSet<u64> = found.iter().flatten().map(|f| u64::from(f.0)).collect();
    let ends = ends(ctx, graph, &wanted)?;
    let texts = texts(ctx.input("facts")?, "facts", &wanted)?;
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

/// The distinct heads and tails of the triples of these facts, by fact.
fn ends(ctx: &Context, graph: &Graph, wanted: &AHashSet<u64>) -> OpResult<AHashMap<u64, Vec<u32>>> {
    let mut of_triple: AHashMap<u64, Vec<u64>> = AHashMap::new();
    for batch in ctx.input("evidence")?.batches("evidence")? {
        let batch = batch?;
        let (triples, facts) = (
            columns::u64s(&batch, "triple")?,
            columns::u64s(&batch, "fact")?,
        );
        for (triple, fact) in triples.values().iter().zip(facts.values()) {
            if wanted.contains(fact) {
                of_triple.entry(*triple).or_default().push(*fact);
            }
        }
    }
    let mut out: AHashMap<u64, Vec<u32>> = AHashMap::new();
    let mut row = 0;
    let triples = ctx.input("triples")?;
    for batch in triples.batches("triples")? {
        let batch = batch?;
        ctx.check_cancelled()?;
        let (heads, tails) = (
            columns::u32s(&batch, "head")?,
            columns::u32s(&batch, "tail")?,
        );
        for (head, tail) in heads.values().iter().zip(tails.values()) {
            for fact in of_triple.get(&row).into_iter().flatten() {
                let nodes = out.entry(*fact).or_default();
                for node in [*head, *tail] {
                    graph.check(node, triples)?;
                    if !nodes.contains(&node) {
                        nodes.push(node);
                    }
                }
            }
            row += 1;
        }
    }
    Ok(out)
}

/// Reads the texts of these rows.
fn texts(
    artifact: &Artifact,
    table: &str,
    wanted: &AHashSet<u64>,
) -> OpResult<AHashMap<u64, String>> {
    let mut out = AHashMap::new();
    let mut row = 0;
    for batch in artifact.batches(table)? {
        let batch = batch?;
        for text in columns::text(&batch, "text")? {
            if wanted.contains(&row) {
                out.insert(row, text.unwrap_or_default().to_owned());
            }
            row += 1;
        }
    }
    Ok(out)
}

/// Finds entities of the most similar sentences. The share of an entity is the sum of the scores of
/// its sentences / number of documents that mention it.
pub fn sentences(ctx: &Context, graph: &Graph, vectors: &Vectors, top: usize) -> OpResult<Found> {
    let ports = Ports {
        texts: "sentences",
        embeddings: "sentence_embeddings",
    };
    let found = rows(ctx, vectors, ports, top, top * BESIDE)?;
    let wanted: AHashSet<u64> = found.iter().flatten().map(|s| u64::from(s.0)).collect();
    let mentioned = mentioned(ctx, graph, &wanted)?;
    let texts = texts(ctx.input("sentences")?, "sentences", &wanted)?;
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

/// The distinct entities that these sentences mention, by row of `sentences`.
fn mentioned(
    ctx: &Context,
    graph: &Graph,
    wanted: &AHashSet<u64>,
) -> OpResult<AHashMap<u64, Vec<u32>>> {
    let mut rows: AHashMap<(u32, u32), u64> = AHashMap::new();
    let mut row = 0;
    for batch in ctx.input("sentences")?.batches("sentences")? {
        let batch = batch?;
        let (documents, numbers) = (
            columns::u32s(&batch, "document")?,
            columns::u32s(&batch, "sentence")?,
        );
        for place in documents.values().iter().zip(numbers.values()) {
            if wanted.contains(&row) {
                rows.insert((*place.0, *place.1), row);
            }
            row += 1;
        }
    }
    let mut written: AHashMap<u64, Vec<String>> = AHashMap::new();
    let mut forms: AHashMap<String, Vec<u32>> = AHashMap::new();
    for batch in ctx.input("mentions")?.batches("mentions")? {
        let batch = batch?;
        ctx.check_cancelled()?;
        let documents = columns::u32s(&batch, "document")?;
        let (numbers, texts) = (
            columns::u32s(&batch, "sentence")?,
            columns::text(&batch, "text")?,
        );
        for ((document, number), text) in documents.values().iter().zip(numbers).zip(texts) {
            let place = number.and_then(|number| rows.get(&(*document, number)));
            if let (Some(row), Some(text)) = (place, text) {
                forms.entry(text.trim().to_owned()).or_default();
                written
                    .entry(*row)
                    .or_default()
                    .push(text.trim().to_owned());
            }
        }
    }
    each_label(ctx, graph, ctx.input("labels")?, &mut |node, label| {
        if let Some(nodes) = forms.get_mut(label) {
            nodes.push(node);
        }
    })?;
    let distinct = written.into_iter().map(|(row, texts)| {
        let mut nodes: Vec<u32> = texts
            .iter()
            .flat_map(|t| forms[t].iter().copied())
            .collect();
        nodes.sort_unstable();
        nodes.dedup();
        (row, nodes)
    });
    Ok(distinct.collect())
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
