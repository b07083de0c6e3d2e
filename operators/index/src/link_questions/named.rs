//! What a question names: documents by their titles, entities by any of their written forms or, in
//! other words, by embedding.

use std::ops::Range;

use gfm_pipe_api::{Artifact, Context, OpError, OpResult, columns};

use super::asked::Asked;
use super::graph::Graph;
use super::nearest::Vectors;
use super::phrases::Phrases;
use super::{Found, Start};
use crate::extract::gazetteer::{self, MAX_DOCUMENTS};
use crate::near::digits;

/// The port that entities are found by in other words, with the mentions of the questions.
pub const ENTITY_EMBEDDINGS: &str = "entity_embeddings";

/// Documents whose title or alias a question names. One that several documents have counts for each
/// in part.
pub fn titles(graph: &Graph, questions: &[String]) -> Found {
    let mut names = Phrases::default();
    for (document, title) in (0..).zip(&graph.titles) {
        // Of a document in pieces the first stands for it.
        if graph.parents[document as usize] == document {
            for alias in gazetteer::aliases(title) {
                names.add(alias, document);
            }
        }
    }
    names.drop_shared(MAX_DOCUMENTS);
    let found = questions.iter().map(|question| {
        let mut starts = Vec::new();
        for phrase in names.find(question) {
            for document in phrase.ids {
                let part = 1.0 / phrase.ids.len() as f64;
                starts.extend(
                    graph
                        .shares(*document)
                        .into_iter()
                        .map(|(node, share)| Start {
                            node,
                            weight: part * share,
                            text: question[phrase.range.clone()].to_owned(),
                        }),
                );
            }
        }
        starts
    });
    found.collect()
}

/// Entities that a question names, each by 1 / number of documents that mention it.
///
/// # Errors
/// When what is connected does not belong together.
pub fn entities(
    ctx: &Context,
    graph: &Graph,
    asked: &Asked<'_>,
    similarity: f64,
) -> OpResult<Found> {
    let names = written(ctx, graph)?;
    let mut found = Found::new();
    let mut taken: Vec<Vec<Range<usize>>> = Vec::new();
    for question in &asked.texts {
        let phrases = names.find(question);
        let starts = phrases.iter().flat_map(|phrase| {
            phrase.ids.iter().map(|node| Start {
                node: *node,
                weight: graph.specificity(*node) / phrase.ids.len() as f64,
                text: question[phrase.range.clone()].to_owned(),
            })
        });
        found.push(starts.collect());
        taken.push(phrases.into_iter().map(|phrase| phrase.range).collect());
    }
    if let Some(entities) = ctx.input_opt(ENTITY_EMBEDDINGS) {
        for (split, _, rows) in &asked.splits {
            let tables = ctx
                .input_opt(split.mentions)
                .zip(ctx.input_opt(split.mention_embeddings));
            if let Some(tables) = tables {
                let (taken, found) = (&taken[rows.clone()], &mut found[rows.clone()]);
                by_embedding(ctx, graph, (tables, entities), (taken, similarity), found)?;
            }
        }
    }
    Ok(found)
}

/// Entities by their written forms, or by their names where no forms are known.
fn written(ctx: &Context, graph: &Graph) -> OpResult<Phrases> {
    let mut names = Phrases::default();
    let Some(labels) = ctx.input_opt("labels") else {
        for (node, name) in (0..).zip(&graph.names) {
            if graph.is_entity(node) {
                names.add(name, node);
            }
        }
        return Ok(names);
    };
    each_label(ctx, graph, labels, &mut |node, label| {
        names.add(label, node)
    })?;
    Ok(names)
}

/// Calls `each` with the written forms of entities.
///
/// # Errors
/// When a form is of no node.
pub fn each_label(
    ctx: &Context,
    graph: &Graph,
    labels: &Artifact,
    each: &mut dyn FnMut(u32, &str),
) -> OpResult<()> {
    for batch in labels.batches("labels")? {
        let batch = batch?;
        ctx.check_cancelled()?;
        let nodes = columns::u32s(&batch, "entity")?;
        for (node, label) in nodes.values().iter().zip(columns::text(&batch, "label")?) {
            if *node as usize >= graph.names.len() {
                return Err(OpError::new("a label is of an entity that does not exist")
                    .artifact(&labels.name)
                    .hint("connect `entities` and `labels` of the same `build-kg` stage"));
            }
            if graph.is_entity(*node) {
                each(*node, label.unwrap_or_default());
            }
        }
    }
    Ok(())
}

/// Adds the entity most like each mention of a question that has no entity of its name.
fn by_embedding(
    ctx: &Context,
    graph: &Graph,
    ((mentions, vectors), entities): ((&Artifact, &Artifact), &Artifact),
    (taken, similarity): (&[Vec<Range<usize>>], f64),
    found: &mut [Vec<Start>],
) -> OpResult<()> {
    let table = mentions.read("mentions")?;
    let (of, texts) = (
        columns::u32s(&table, "document")?,
        columns::text(&table, "text")?,
    );
    let (starts, ends) = (
        columns::u64s(&table, "start")?,
        columns::u64s(&table, "end")?,
    );
    let open = |row: usize| {
        let range = starts.value(row) as usize..ends.value(row) as usize;
        let taken = taken.get(of.value(row) as usize);
        taken.is_some_and(|taken| {
            let apart = |t: &Range<usize>| t.end <= range.start || range.end <= t.start;
            taken.iter().all(apart)
        })
    };
    let wanted = |row: usize, node: u32| {
        graph.is_entity(node)
            && open(row)
            && digits(texts.value(row)) == digits(&graph.names[node as usize])
    };
    let vectors = Vectors::joined(&[(vectors, mentions)])?;
    let nearest = vectors.nearest(ctx, (entities, ctx.input("entities")?), 1, &wanted)?;
    for (row, near) in nearest.into_iter().enumerate() {
        for (node, cosine) in near.into_iter().filter(|(_, cosine)| *cosine >= similarity) {
            let question = &mut found[of.value(row) as usize];
            question.push(Start {
                node,
                weight: cosine.max(0.0) * graph.specificity(node),
                text: texts.value(row).to_owned(),
            });
        }
    }
    Ok(())
}
