//! Inputs of training and evaluation other than documents and questions: graphs, encoders, and
//! ports that take several data sets.
//!
//! Invariant: embeddings of two encoders are never mixed. Everything that a model sees was embedded
//! by one encoder, which is checked from one-row tables before anything large is read.

use gfm_pipe_api::{Artifact, Connected, Context, OpError, OpResult, Problem};
pub(crate) use gfm_pipe_model::loaded::{EncoderId, LoadedGraph, vectors};

use crate::documents::Questions;

/// Whether two names can mean the same encoder. A name without an organisation matches any
/// organisation.
pub(crate) fn same_name(a: &str, b: &str) -> bool {
    let short = |name: &str| name.rsplit('/').next().map(str::to_owned);
    if a.contains('/') && b.contains('/') {
        a == b
    } else {
        short(a) == short(b)
    }
}

/// Checks that questions and graph were embedded by one encoder.
pub(crate) fn same_encoder(q: &Questions, graph: &LoadedGraph) -> OpResult<()> {
    if q.encoder_digest == graph.encoder_digest && q.text_dim == graph.text_dim {
        return Ok(());
    }
    Err(OpError::new(format!(
        "questions `{}` are embedded with {} ({} wide), the graph's relations with {} ({} wide)",
        q.name, q.encoder, q.text_dim, graph.encoder, graph.text_dim
    ))
    .hint("give both `embed` stages the same `model`"))
}

/// Checks ports whose artifacts belong together by position. All need the same number of artifacts;
/// if these come from a `foreach`, also the same values in the same order. Ports in `optional` may
/// be empty.
pub(crate) fn zip_problem(
    inputs: &Connected,
    ports: &[&str],
    optional: &[&str],
) -> Option<Problem> {
    let of = |port: &str| inputs.get(port).map_or(&[][..], Vec::as_slice);
    let first = of(ports.first()?);
    let used = || {
        let more = optional.iter().filter(|p| !of(p).is_empty());
        ports.iter().chain(more)
    };
    if used().any(|p| of(p).len() != first.len()) {
        let counts: Vec<String> = used()
            .map(|p| format!("`{p}` has {}", of(p).len()))
            .collect();
        return Some(
            Problem::at_root(format!(
                "data sets are matched by position, but {}",
                counts.join(", ")
            ))
            .hint("give each of these ports one artifact per data set, in the same order"),
        );
    }
    for (i, a) in first.iter().enumerate() {
        let other =
            used().find(|p| matches!((label(a), label(&of(p)[i])), (Some(x), Some(y)) if x != y));
        if let Some(port) = other {
            return Some(
                Problem::at_root(format!(
                    "data sets are matched by position, but number {} is `{a}` in `{}` and `{}` in `{port}`",
                    i + 1,
                    ports[0],
                    of(port)[i]
                ))
                .hint("name them in the same order"),
            );
        }
    }
    None
}

/// The text in the brackets of a stage that `foreach` made.
fn label(name: &str) -> Option<&str> {
    Some(name.split_once('[')?.1.split_once(']')?.0)
}

/// Names of the artifacts that a running stage was given, by port.
pub(crate) fn connected(ctx: &Context) -> Connected {
    let names = |all: &Vec<Artifact>| all.iter().map(|a| a.name.clone()).collect();
    let inputs = ctx.inputs.iter();
    inputs
        .map(|(port, all)| (port.clone(), names(all)))
        .collect()
}

/// Runs [`zip_problem`] on the inputs of a running stage. Returns the number of data sets.
pub(crate) fn zipped(ctx: &Context, ports: &[&str], optional: &[&str]) -> OpResult<usize> {
    match zip_problem(&connected(ctx), ports, optional) {
        None => Ok(ports.first().map_or(0, |p| ctx.inputs(p).len())),
        Some(problem) => Err(problem_error(problem)),
    }
}

/// A problem with what is connected, as the error of a running stage.
pub(crate) fn problem_error(problem: Problem) -> OpError {
    let error = OpError::new(problem.message);
    match problem.hint {
        Some(hint) => error.hint(hint),
        None => error,
    }
}

/// Unique labels for the data sets of one stage: repeated names get their position.
///
/// Outputs contain these labels, so they must depend on content only: renaming a stage must not
/// change a result.
pub(crate) fn labels(names: Vec<String>) -> Vec<String> {
    names
        .iter()
        .enumerate()
        .map(|(i, name)| {
            if names.iter().filter(|n| *n == name).count() > 1 {
                format!("{name}#{}", i + 1)
            } else {
                name.clone()
            }
        })
        .collect()
}
