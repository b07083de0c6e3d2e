//! Inputs of training and evaluation other than documents and questions: graphs, encoders, and
//! labels of data sets.
//!
//! Invariant: embeddings of two encoders are never mixed. Everything that a model sees was embedded
//! by one encoder, which is checked from one-row tables before anything large is read.

pub(crate) use gfm_pipe_model::loaded::{EncoderId, LoadedGraph};

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
