//! What is most like a question: facts, sentences, documents.

use ahash::{AHashMap, AHashSet};
use gfm_pipe_api::{Artifact, Context, OpResult, columns};

use super::graph::Graph;
use super::named::each_label;
use super::nearest::{Near, Vectors};
use super::{Found, Start};

/// Facts and sentences that cosines are set beside, for each that counts.
const BESIDE: usize = 4;

/// What counts of what was found, with its score scaled: the best is 1, the worst of all that was
/// looked at 0.
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

/// For each question the rows of a table that count, with their scores.
fn rows(
    ctx: &Context,
    vectors: &Vectors,
    (embeddings, of): (&str, &str),
    (top, looked_at): (usize, usize),
) -> OpResult<Vec<Vec<(u32, f64)>>> {
    let tables = (ctx.input(embeddings)?, ctx.input(of)?);
    let near = vectors.nearest(ctx, tables, looked_at, &|_, _| true)?;
    Ok(near.iter().map(|near| between_0_and_1(near, top)).collect())
}

/// Documents whose text is most like the question.
pub fn documents(ctx: &Context, graph: &Graph, vectors: &Vectors, top: usize) -> OpResult<Found> {
    let found = rows(ctx, vectors, ("corpus_embeddings", "documents"), (top, top))?;
    Ok(found.iter().map(|rows| of_documents(graph, rows)).collect())
}

/// Starts at documents with their scores.
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

/// Entities of the facts most like the question: each has the mean score of its facts / number of
/// documents that mention it (as HippoRAG 2, Gutiérrez et al. 2025, does before its language model
/// chooses among the facts).
pub fn facts(ctx: &Context, graph: &Graph, vectors: &Vectors, top: usize) -> OpResult<Found> {
    let found = rows(
        ctx,
        vectors,
        ("fact_embeddings", "facts"),
        (top, top * BESIDE),
    )?;
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
        // Shares of a node are added up: together they are the mean.
        for start in &mut starts {
            start.weight /= f64::from(of_node[&start.node].1);
        }
        starts
    });
    Ok(found.collect())
}

/// Heads and tails of the triples that facts were made into; each node once.
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

/// The texts of some rows.
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

/// Entities of the sentences most like the question: each has the scores of its sentences / number
/// of documents that mention it.
pub fn sentences(ctx: &Context, graph: &Graph, vectors: &Vectors, top: usize) -> OpResult<Found> {
    let found = rows(
        ctx,
        vectors,
        ("sentence_embeddings", "sentences"),
        (top, top * BESIDE),
    )?;
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

/// Entities that some sentences mention, by row of `sentences`; each once.
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
