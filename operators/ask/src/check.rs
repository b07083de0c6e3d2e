//! Finds out whether the inputs of a retriever belong together, without loading it: its tables are
//! read once and not kept.

use std::sync::Arc;

use gfm_pipe_api::answer::About;
use gfm_pipe_api::artifact::check_made_from_texts_of;
use gfm_pipe_api::{Context, OpResult};
use gfm_pipe_eval::EntityDocuments;
use gfm_pipe_eval::baselines::asked::edge_weights;
use gfm_pipe_eval::baselines::ppr::check_weight;
use gfm_pipe_eval::features::fusion::Fusion;
use gfm_pipe_eval::passages::Passages;
use gfm_pipe_eval::pieces::Pieces;
use gfm_pipe_index::{Check, checks, read_links};
use gfm_pipe_text::ReadyEncoder;
use rayon::prelude::*;

use crate::answers::examples;
use crate::corpus::check_ids;
use crate::params::RetrieverParams;
use crate::scoring::{encoder, read_model};
use crate::systems::Systems;
use crate::tables::{each_evidence, each_triple};
use crate::writer::Writer;

/// Checks what a stage is connected to, apart from the vectors, and says what is there. Whatever it
/// accepts can be loaded.
///
/// # Errors
/// When the inputs do not belong together.
pub fn check(params: &RetrieverParams, ctx: &Context) -> OpResult<About> {
    let prompt = params.prompts.answer.as_deref();
    let writer = Writer::open(params.llm.clone(), prompt, ctx)?;
    let documents = ctx.input("documents")?.rows("documents")?;
    let graph = ctx.input_opt("entities").map(|of| of.rows("entities"));
    let nodes = graph.transpose()?;
    let encoder = encoder(params, ctx)?;
    let embedded = encoder.is_some();

    let mut all: Vec<Check<'_>> = Vec::new();
    all.push(Box::new(|| of_documents(ctx, documents)));
    if let Some(nodes) = nodes {
        all.push(Box::new(move || of_triples(ctx, nodes)));
        all.push(Box::new(move || of_graph(ctx, documents, nodes)));
        all.extend(checks(ctx, documents, nodes, embedded));
    } else if let Some(embeddings) = ctx.input_opt("corpus_embeddings") {
        all.push(Box::new(move || {
            check_made_from_texts_of(embeddings, ctx.input("documents")?)
        }));
    }
    // Of several mistakes always the same one is reported.
    let results: Vec<OpResult<()>> = all.par_iter().map(|check| check()).collect();
    results.into_iter().collect::<OpResult<()>>()?;

    let fused = ctx.input_opt("fusion").map(Fusion::read).transpose()?;
    let model = match nodes.filter(|_| ctx.input_opt("model").is_some()) {
        Some(nodes) => {
            let mentioned = read_links(ctx, documents, nodes)?;
            let matrix = EntityDocuments::from_mentioned(nodes, &mentioned);
            read_model(params, ctx, embedded, Some(Arc::new(matrix)))?
        }
        None => None,
    };
    let has = Systems {
        model: model.is_some(),
        fused: fused.as_ref(),
        graph: nodes.is_some(),
        dense: documents > 0 && ctx.input_opt("corpus_embeddings").is_some(),
    };
    let system = params.system.as_ref();
    let triples = nodes.map(|_| ctx.input("triples")?.rows("triples"));
    Ok(About {
        system: system.map_or(has.best(), |s| s.0).name.to_owned(),
        documents,
        nodes: nodes.unwrap_or(0),
        triples: triples.transpose()?.unwrap_or(0),
        encoder: encoder.as_ref().map(|e: &ReadyEncoder| e.name().to_owned()),
        examples: examples(ctx)?,
        model: writer.map(|writer| writer.model().to_owned()),
    })
}

fn of_documents(ctx: &Context, documents: usize) -> OpResult<()> {
    let artifact = ctx.input("documents")?;
    let mut first = 0;
    for batch in artifact.batches_of("documents", &["id"])? {
        let batch = batch?;
        check_ids(artifact, &batch, first)?;
        first += batch.num_rows();
    }
    let sources = ctx.input_opt("sources");
    let pieces = sources.map(|sources| Pieces::read(sources, documents));
    pieces.transpose().map(drop)
}

/// Checks the triples of a graph with this number of nodes, and what they were made from.
fn of_triples(ctx: &Context, nodes: usize) -> OpResult<()> {
    let relations = ctx.input("relations")?;
    relations.check()?;
    each_triple(ctx, nodes, relations.rows("relations")?, &mut |_| {})?;
    let triples = ctx.input("triples")?.rows("triples")?;
    if let Some(weights) = edge_weights(ctx, triples)? {
        let mut weights = weights.values().iter();
        weights.try_for_each(|weight| check_weight(f64::from(*weight)))?;
    }
    if let (Some(evidence), Some(facts)) = (ctx.input_opt("evidence"), ctx.input_opt("facts")) {
        each_evidence(evidence, triples, facts.rows("facts")?, &mut |_, _| {})?;
    }
    Ok(())
}

/// Checks the names and types of nodes.
fn of_graph(ctx: &Context, documents: usize, nodes: usize) -> OpResult<()> {
    ctx.input("entities")?.check()?;
    let types = ctx.input_opt("nodes");
    let types = types.map(|types| Passages::read(types, nodes, documents));
    types.transpose().map(drop)
}
