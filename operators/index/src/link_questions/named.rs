//! Finds what a question names: documents by their titles, and entities by any of their written
//! forms or by embedding.

use std::ops::Range;

use gfm_pipe_api::bm25::Bm25;
use gfm_pipe_api::{Artifact, Context, OpError, OpResult, columns};

use super::graph::Graph;
use super::nearest::{Embedded, Vectors};
use super::partial;
use super::phrases::{self, Phrases};
use super::question_set::QuestionSet;
use super::{Found, Start};
use crate::extract::gazetteer::{self, MAX_DOCUMENTS};
use crate::near::digits;

/// The port with the embeddings of entities, which are compared with mentions of the questions.
pub const ENTITY_EMBEDDINGS: &str = "entity_embeddings";

/// The names that a question may contain.
pub struct Names {
    /// Titles of documents, and their aliases.
    titles: Phrases,
    /// Written forms of entities.
    entities: Phrases,
    /// The words of these forms, if the source `partial` has a weight.
    partial: Option<partial::Words>,
}

impl Names {
    /// Collects the names.
    ///
    /// # Errors
    /// When the inputs do not belong together.
    pub fn read(ctx: &Context, graph: &Graph, wants_partial: bool) -> OpResult<Names> {
        let mut titles = phrases::Builder::default();
        for (document, title) in (0..).zip(graph.titles.iter()) {
            // The first piece represents a document in pieces.
            if graph.parents[document as usize] == document {
                for alias in gazetteer::aliases(title) {
                    titles.add(alias, document);
                }
            }
        }
        let mut entities = phrases::Builder::default();
        let mut partial = wants_partial.then(partial::Builder::default);
        each_form(ctx, graph, &mut |node, form| {
            entities.add(form, node);
            if let Some(partial) = &mut partial {
                partial.add(form, node);
            }
        })?;
        Ok(Names {
            titles: titles.finish(MAX_DOCUMENTS),
            entities: entities.finish(usize::MAX),
            partial: partial.map(partial::Builder::finish),
        })
    }
}

/// Finds documents whose title or alias a question names. A title that several documents share
/// counts for each in part.
pub fn titles(graph: &Graph, names: &Names, questions: &[String]) -> Found {
    let names = &names.titles;
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

/// The entities that questions name.
#[derive(Clone)]
pub struct NamedEntities {
    pub found: Found,
    /// For each question, the ranges where names were found.
    taken: Vec<Vec<Range<usize>>>,
}

/// Finds entities that a question names. The share of each is 1 / number of documents that mention
/// it.
pub fn entities(graph: &Graph, names: &Names, questions: &[String]) -> NamedEntities {
    let mut found = Found::new();
    let mut taken: Vec<Vec<Range<usize>>> = Vec::new();
    for question in questions {
        let phrases = names.entities.find(question);
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
    NamedEntities { found, taken }
}

/// Finds entities that questions name in part, apart from those that were found as a whole.
pub fn partial(
    graph: &Graph,
    names: &Names,
    documents: &Bm25,
    questions: &[String],
    whole: &NamedEntities,
) -> Found {
    match &names.partial {
        Some(words) => partial::entities(graph, words, documents, questions, &whole.taken),
        None => vec![Vec::new(); questions.len()],
    }
}

/// Adds entities whose names are similar to mentions of the questions, where embeddings of both are
/// connected.
///
/// # Errors
/// When the inputs do not belong together.
pub fn add_similar(
    ctx: &Context,
    graph: &Graph,
    set: &QuestionSet<'_>,
    similarity: f64,
    named: &mut NamedEntities,
) -> OpResult<()> {
    if let Some(entities) = ctx.input_opt(ENTITY_EMBEDDINGS) {
        let entities = Embedded {
            texts: ctx.input("entities")?,
            embeddings: entities,
        };
        for split in &set.splits {
            let tables = ctx
                .input_opt(split.ports.mentions)
                .zip(ctx.input_opt(split.ports.mention_embeddings));
            if let Some((texts, embeddings)) = tables {
                let search = Search {
                    mentions: Embedded { texts, embeddings },
                    entities,
                    taken: &named.taken[split.rows.clone()],
                    similarity,
                };
                by_embedding(ctx, graph, &search, &mut named.found[split.rows.clone()])?;
            }
        }
    }
    Ok(())
}

/// Calls `each` with the written forms of entities, or with their names where no forms are known.
fn each_form(ctx: &Context, graph: &Graph, each: &mut dyn FnMut(u32, &str)) -> OpResult<()> {
    let Some(labels) = ctx.input_opt("labels") else {
        for (node, name) in (0..).zip(graph.names.iter()) {
            if graph.is_entity(node) {
                each(node, name);
            }
        }
        return Ok(());
    };
    each_label(ctx, graph, labels, each)
}

/// Calls `each` with the written forms of entities.
///
/// # Errors
/// When the node of a form does not exist.
pub fn each_label(
    ctx: &Context,
    graph: &Graph,
    labels: &Artifact,
    each: &mut dyn FnMut(u32, &str),
) -> OpResult<()> {
    each_label_of(ctx, graph.names.len(), labels, &mut |node, label| {
        if graph.is_entity(node) {
            each(node, label);
        }
    })
}

/// Calls `each` with the written forms of these nodes.
///
/// # Errors
/// When the node of a form does not exist.
pub fn each_label_of(
    ctx: &Context,
    nodes: usize,
    labels: &Artifact,
    each: &mut dyn FnMut(u32, &str),
) -> OpResult<()> {
    for batch in labels.batches_of("labels", &["entity", "label"])? {
        let batch = batch?;
        ctx.check_cancelled()?;
        let of = columns::u32s(&batch, "entity")?.values().iter();
        for (node, label) in of.zip(columns::text(&batch, "label")?) {
            if *node as usize >= nodes {
                return Err(OpError::new("a label is of an entity that does not exist")
                    .artifact(&labels.name)
                    .hint("connect `entities` and `labels` of the same `build-kg` stage"));
            }
            each(*node, label.unwrap_or_default());
        }
    }
    Ok(())
}

/// The inputs of a search for entities by embedding.
struct Search<'a> {
    mentions: Embedded<'a>,
    entities: Embedded<'a>,
    /// For each question, the ranges where names were found.
    taken: &'a [Vec<Range<usize>>],
    /// Least cosine.
    similarity: f64,
}

/// Adds the most similar entity for each mention of a question that no known name overlaps.
fn by_embedding(
    ctx: &Context,
    graph: &Graph,
    search: &Search<'_>,
    found: &mut [Vec<Start>],
) -> OpResult<()> {
    let table = search.mentions.texts.read("mentions")?;
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
        let taken = search.taken.get(of.value(row) as usize);
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
    let vectors = Vectors::joined(&[search.mentions])?;
    let nearest = vectors.nearest(ctx, search.entities, 1, &wanted)?;
    for (row, near) in nearest.into_iter().enumerate() {
        let near = near.into_iter();
        for (node, cosine) in near.filter(|(_, cosine)| *cosine >= search.similarity) {
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
