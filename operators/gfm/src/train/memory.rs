//! Lower bounds of the memory that a training on the CPU needs, so that one that cannot fit is
//! rejected before it starts.

use gfm_pipe_api::OpResult;
use gfm_pipe_api::memory::Demand;

use super::estimate::FirstBatch;
use gfm_pipe_model::model::{Class, ModelConfig, Params, size};

/// Copies of the weights: the weights, their two moments, and those of the best epoch.
const COPIES: usize = 4;

/// Sizes of a data set that memory depends on.
pub(crate) struct Sizes {
    pub nodes: usize,
    /// Candidates per query; `None` scores all nodes.
    pub candidates: Option<usize>,
    /// Number of documents, if any loss is over documents, else 0.
    pub documents: usize,
    /// Parameters that reduce memory, for messages.
    pub lower: &'static str,
}

/// Sizes of a model that memory depends on.
pub(crate) struct ModelSize<'a> {
    pub config: &'a ModelConfig,
    /// Number of weights.
    pub weights: usize,
    /// Bytes per number.
    pub bytes: usize,
}

impl<'a> ModelSize<'a> {
    fn of(params: &'a Params) -> Self {
        ModelSize {
            config: &params.config,
            weights: params.count(),
            bytes: params.dtype().size_in_bytes(),
        }
    }
}

/// Checks that the weights of a model fit into memory, before they are allocated.
///
/// # Errors
/// When they do not fit.
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

/// Checks by sizes alone that a model and a step on this many queries fit into memory.
///
/// # Errors
/// When they do not fit.
pub(crate) fn check_sizes(model: &ModelSize<'_>, sizes: &Sizes, queries: usize) -> OpResult<()> {
    certain(model, sizes, queries).check(sizes.lower)
}

/// What a step on this many queries needs, whatever nodes it reaches.
fn certain(model: &ModelSize<'_>, sizes: &Sizes, queries: usize) -> Demand {
    let scored = sizes.candidates.unwrap_or(sizes.nodes);
    // Of a model that reads texts: their states, a share, the boundary and its hidden values.
    let read = match model.config.use_ent_emb {
        Some(_) => sizes.nodes,
        None => 0,
    };
    // Scores are held three times: the model's, a copy in f64, and their gradient.
    Demand::new()
        .and("weights", &[COPIES, model.weights, model.bytes])
        .and(
            "places of states",
            &[model.config.layers() + 1, sizes.nodes, queries + 1, 4],
        )
        .and("scores", &[queries, scored, model.bytes + 16])
        .and(
            "states of texts",
            &[4, read, model.config.input_dim, model.bytes],
        )
        .and("scores of documents", &[queries, sizes.documents, 16])
        .and("negatives", &[queries, sizes.candidates.unwrap_or(0), 4])
}

/// Checks that a step fits into memory: by sizes alone, and if those fit, also with the states that
/// its first batch reaches.
///
/// # Errors
/// When it does not fit.
pub(crate) fn check_step(
    params: &Params,
    sizes: &Sizes,
    queries: usize,
    first: impl FnOnce() -> FirstBatch,
) -> OpResult<()> {
    let model = ModelSize::of(params);
    check_sizes(&model, sizes, queries)?;
    with_states(&model, sizes, queries, &first()).check(sizes.lower)
}

/// The same as [`certain`], with the states before the first layer and after each: the backward
/// pass needs them all.
fn with_states(model: &ModelSize<'_>, sizes: &Sizes, queries: usize, first: &FirstBatch) -> Demand {
    let widths = std::iter::once(&model.config.input_dim).chain(&model.config.hidden_dims);
    let rows = first.reach.rows.iter();
    let states: usize = rows.zip(widths).map(|(rows, d)| rows.len() * d).sum();
    certain(model, sizes, queries).and("states", &[states, model.bytes])
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use candle_core::DType;

    use super::*;
    use gfm_pipe_model::model::Reach;

    #[test]
    fn the_buffers_of_a_step_are_added_up() {
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
            dropout: None,
        };
        let weights = 4 * 4 * params.count() as u64;
        let places = 3 * 100 * 4 * 4;
        let (scores, negatives) = (3 * 11 * 20, 3 * 11 * 4);
        let states = 3 * (3 * 100 * 8) * 4;
        let demand = with_states(&ModelSize::of(&params), &sizes, 3, &first);
        assert_eq!(
            demand.total(),
            weights + places + scores + negatives + states
        );
        // So many negatives are rejected by sizes alone, before any batch is made.
        let many = Sizes {
            candidates: Some(1_000_000_000_000),
            ..sizes
        };
        let e = check_step(&params, &many, 3, || unreachable!()).unwrap_err();
        assert!(e.to_string().contains("scores 54.6 TiB"), "{e}");
        assert!(e.advice().unwrap().contains("`train.batch_size`"));
    }

    #[test]
    fn weights_too_large_for_memory_are_rejected_before_allocation() {
        let config = ModelConfig::new(65_536, vec![65_536; 1000]);
        let e = check_weights(Class::QueryGNN, &config, 256, 4).unwrap_err();
        assert!(e.advice().unwrap().contains("input_dim"), "{e}");
        let config = ModelConfig::new(8, vec![8]);
        check_weights(Class::QueryGNN, &config, 256, 4).unwrap();
    }
}
