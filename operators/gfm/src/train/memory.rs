//! What a training on the CPU holds at the same time, at the least, so that one that cannot fit is
//! refused before it starts.

use gfm_pipe_api::OpResult;
use gfm_pipe_api::memory::Demand;

use super::foresee::FirstBatch;
use gfm_pipe_model::model::{Class, ModelConfig, Params, size};

/// Copies of the weights: they themselves, their two moments and the best epoch's.
const COPIES: usize = 4;

/// Sizes of a data set that memory depends on.
pub(crate) struct Sizes {
    pub nodes: usize,
    /// Candidates of each query; all nodes where there are none.
    pub candidates: Option<usize>,
    /// Documents, where losses are over them.
    pub documents: usize,
    /// Parameters that make it smaller, for messages.
    pub lower: &'static str,
}

/// Checks that the weights of a model fit, before there are any.
///
/// # Errors
/// When they do not.
pub(crate) fn check_weights(
    class: Class,
    config: &ModelConfig,
    text: usize,
    bytes: usize,
) -> OpResult<()> {
    Demand::new()
        .and("weights", &[COPIES, size(class, config, text), bytes])
        .check("`model.entity_model.input_dim`, `hidden_dims` or `num_mlp_layer`")
}

/// Checks that the weights of a model and what a step on this many queries holds for certain fit,
/// before there is any of it. `bytes` is the size of a number.
///
/// # Errors
/// When they do not.
pub(crate) fn check_sizes(
    (class, config): (Class, &ModelConfig),
    (text, bytes): (usize, usize),
    sizes: &Sizes,
    queries: usize,
) -> OpResult<()> {
    let weights = size(class, config, text);
    certain((config, weights, bytes), sizes, queries).check(sizes.lower)
}

/// What a step on this many queries holds, whatever their reach, of a model with so many weights of
/// so many bytes.
fn certain(
    (config, weights, bytes): (&ModelConfig, usize, usize),
    sizes: &Sizes,
    queries: usize,
) -> Demand {
    let seen = sizes.candidates.unwrap_or(sizes.nodes);
    // Of scores there are the model's, a copy in f64, and their gradient.
    Demand::new()
        .and("weights", &[COPIES, weights, bytes])
        .and(
            "places of states",
            &[config.layers() + 1, sizes.nodes, queries + 1, 4],
        )
        .and("scores", &[queries, seen, bytes + 16])
        .and("scores of documents", &[queries, sizes.documents, 16])
        .and("negatives", &[queries, sizes.candidates.unwrap_or(0), 4])
}

/// Checks that a step fits: by sizes alone, then, where that does, with the states that its first
/// batch reaches.
///
/// # Errors
/// When it does not.
pub(crate) fn check_step(
    params: &Params,
    sizes: &Sizes,
    queries: usize,
    first: impl FnOnce() -> FirstBatch,
) -> OpResult<()> {
    certain(numbers(params), sizes, queries).check(sizes.lower)?;
    with_states(params, sizes, queries, &first()).check(sizes.lower)
}

/// The same with the states before the first layer and after each: the backward pass needs them
/// all.
fn with_states(params: &Params, sizes: &Sizes, queries: usize, first: &FirstBatch) -> Demand {
    let config = &params.config;
    let widths = std::iter::once(&config.input_dim).chain(&config.hidden_dims);
    let rows = first.reach.rows.iter();
    let states: usize = rows.zip(widths).map(|(rows, d)| rows.len() * d).sum();
    let (_, _, bytes) = numbers(params);
    certain(numbers(params), sizes, queries).and("states", &[states, bytes])
}

/// Configuration, number of weights, and bytes of each.
fn numbers(params: &Params) -> (&ModelConfig, usize, usize) {
    let bytes = params.dtype().size_in_bytes();
    (&params.config, params.count(), bytes)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use candle_core::DType;

    use super::*;
    use gfm_pipe_model::model::Reach;

    #[test]
    fn a_steps_buffers_are_added_up() {
        let config = ModelConfig::new(8, vec![8, 8]);
        let params = Params::init(Class::QueryGNN, &config, 16, 1, DType::F32).unwrap();
        let sizes = Sizes {
            nodes: 100,
            candidates: Some(11),
            documents: 0,
            lower: "`train.batch_size`",
        };
        let first = FirstBatch {
            reach: Reach::whole(100, 3, 2),
            seeds: 3,
        };
        let weights = 4 * 4 * params.count() as u64;
        let places = 3 * 100 * 4 * 4;
        let (scores, negatives) = (3 * 11 * 20, 3 * 11 * 4);
        let states = 3 * (3 * 100 * 8) * 4;
        let demand = with_states(&params, &sizes, 3, &first);
        assert_eq!(
            demand.total(),
            weights + places + scores + negatives + states
        );
        // A thousand billion negatives are refused by sizes alone: nothing is looked at.
        let many = Sizes {
            candidates: Some(1_000_000_000_000),
            ..sizes
        };
        let e = check_step(&params, &many, 3, || unreachable!()).unwrap_err();
        assert!(e.to_string().contains("scores 54.6 TiB"), "{e}");
        assert!(e.advice().unwrap().contains("`train.batch_size`"));
    }

    #[test]
    fn weights_that_cannot_fit_are_refused_before_they_are_made() {
        let config = ModelConfig::new(65_536, vec![65_536; 1000]);
        let e = check_weights(Class::QueryGNN, &config, 256, 4).unwrap_err();
        assert!(e.advice().unwrap().contains("input_dim"), "{e}");
        let config = ModelConfig::new(8, vec![8]);
        check_weights(Class::QueryGNN, &config, 256, 4).unwrap();
    }
}
