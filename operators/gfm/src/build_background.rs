//! `build-background`: the states that a model computes on a graph without any question, so that a
//! question only costs the nodes that it reaches.

use std::sync::Arc;

use arrow::array::{StringArray, UInt32Array, UInt64Array};
use candle_core::Tensor;
use gfm_pipe_api::{
    Arity, Context, InPort, OpError, OpResult, Operator, OutPort, Schema, TableSpec, columns, kinds,
};
use serde::{Deserialize, Serialize};

use crate::inputs::LoadedGraph;
use gfm_pipe_model::buffers::Lease;
use gfm_pipe_model::model::{Retriever, read_model};
use gfm_pipe_model::tensor::to_f32;
use gfm_pipe_model::tensor_error;

/// The operator `build-background`.
pub struct BuildBackground;

/// It has no parameters.
#[derive(Debug, Serialize, Deserialize)]
pub struct Params {}

impl Operator for BuildBackground {
    type Params = Params;
    const NAME: &'static str = "build-background";
    const VERSION: u32 = 2;
    const ABOUT: &'static str = "computes once for a model and a graph the states that nodes have before a query reaches them";

    fn schema() -> Schema {
        Schema::default()
    }

    fn inputs() -> Vec<InPort> {
        let port = |name, kind, about| InPort::of(name, kind, Arity::One, about);
        vec![
            port(
                "model",
                &[&kinds::MODEL],
                "the model; its aggregate must be sum or mean",
            ),
            port("graph", &[&kinds::GRAPH], "the graph"),
        ]
    }

    fn outputs() -> Vec<OutPort> {
        vec![OutPort {
            name: "background",
            kind: &kinds::BACKGROUND,
            about: "the states, for `retrieve` and `evaluate`",
        }]
    }

    fn run(_params: Params, ctx: &Context) -> OpResult<()> {
        let _lease = Lease;
        let (model, graph) = (ctx.input("model")?, ctx.input("graph")?);
        let stored = read_model(model)?;
        let input = LoadedGraph::read(graph)?;
        input.fits(&stored, &model.name)?;
        let ready = Retriever::new(&stored.params, &input.graph, input.texts.borrowed())
            .prepared_with(None, &|done, all| {
                ctx.progress(done as u64, all as u64, "layers", "");
            })?;
        let Some(background) = ready.background() else {
            return Err(OpError::new(
                "this model has no background: its aggregate_func depends on single messages, and each may come from a query",
            )
            .artifact(&model.name)
            .hint("leave the stage out: `retrieve` and `evaluate` work without it"));
        };
        let states = background.states();
        let [inner, last, info] = kinds::BACKGROUND.tables else {
            return Err(OpError::internal("the kind's tables changed"));
        };
        let (outermost, before) = states
            .split_last()
            .ok_or_else(|| OpError::internal("the model has no layers"))?;
        write(ctx, inner, stored.params.config.input_dim, before)?;
        write(
            ctx,
            last,
            stored.params.config.hidden_dims[before.len()],
            std::slice::from_ref(outermost),
        )?;
        let row = columns::batch(
            info,
            vec![
                Arc::new(UInt32Array::from(vec![states.len() as u32])),
                Arc::new(UInt64Array::from(vec![input.graph.nodes() as u64])),
                Arc::new(StringArray::from(vec![model.digest()])),
                Arc::new(StringArray::from(vec![graph.digest()])),
            ],
        )?;
        ctx.write("background", info.name, &row)
    }
}

/// Writes states of width `width`, one layer after the other.
fn write(ctx: &Context, table: &TableSpec, width: usize, layers: &[Tensor]) -> OpResult<()> {
    let schema = Arc::new(table.schema(width));
    let mut sink = ctx.outputs.create("background", table.name, schema)?;
    for states in layers {
        ctx.check_cancelled()?;
        let values = to_f32(states).map_err(tensor_error)?;
        if let Some(at) = values.iter().position(|v| !v.is_finite()) {
            return Err(OpError::data(format!(
                "the model's states are not finite: that of entity {} contains {}",
                at / width.max(1),
                values[at]
            ))
            .hint("its weights are too large: train it again with a lower `optimizer.lr`"));
        }
        sink.write(&columns::batch(
            table,
            vec![columns::build_vectors(width, values)?],
        )?)?;
    }
    sink.finish()
}
