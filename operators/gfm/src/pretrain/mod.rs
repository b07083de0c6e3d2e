//! `pretrain`: trains a QueryGNN or a GraphReasoner to complete the triples of one or more graphs.
//!
//! Invariant: a validation triple is in no graph that messages are passed on. This holds for the
//! triple, its inverse, and the same fact under a near-duplicate of its relation. The exception is
//! `valid_fraction: 0`, which ranks training triples as GFM-RAG does.

mod params;
mod task;

use std::collections::BTreeMap;
use std::path::Path;

use gfm_pipe_api::{
    Accepts, Arity, Artifact, Connected, Context, Estimate, InPort, InputFile, OpResult, Operator,
    OutPort, Problem, Schema, kinds,
};

use crate::inputs::{EncoderId, labels};
use crate::train::estimate::port;
use crate::train::operator::{Job, train};
use crate::train::remarks::Training;
use crate::train::{output_ports, start_problem};
use gfm_pipe_api::zip::{zip_problem, zipped};
use gfm_pipe_model::divided::Dividing;

pub use params::Params;
use task::{DataSet, LinkPrediction};

/// The operator `pretrain`.
pub struct Pretrain;

impl Operator for Pretrain {
    type Params = Params;
    const NAME: &'static str = "pretrain";
    const VERSION: u32 = 6;
    const ABOUT: &'static str = "trains a QueryGNN or a GraphReasoner on synthetic queries sampled from the triples of one or more graphs";

    fn schema() -> Schema {
        params::schema()
    }

    fn inputs() -> Vec<InPort> {
        vec![
            InPort {
                name: "graph",
                accepts: Accepts::Kinds(&[&kinds::GRAPH]),
                arity: Arity::Many,
                about: "the graphs to train on, one per data set",
            },
            InPort {
                name: "valid",
                accepts: Accepts::Kinds(&[&kinds::TRIPLES]),
                arity: Arity::Any,
                about: "validation triples, one artifact per graph; they are removed from the graph",
            },
            InPort {
                name: "init",
                accepts: Accepts::Kinds(&[&kinds::MODEL]),
                arity: Arity::Optional,
                about: "model to start from",
            },
        ]
    }

    fn outputs() -> Vec<OutPort> {
        output_ports("weights of the best epoch by `train.best_by`")
    }

    fn check(p: &Params) -> Vec<Problem> {
        p.problems()
    }

    fn check_inputs(p: &Params, inputs: &Connected) -> Vec<Problem> {
        let start = start_problem(inputs, p.train.common.checkpoint.as_deref());
        let zip = zip_problem(inputs, &["graph"], &["valid"]);
        start.into_iter().chain(zip).collect()
    }

    fn files(p: &Params, _: &Path) -> Vec<InputFile> {
        p.train.common.files()
    }

    fn estimate(
        p: Params,
        inputs: &BTreeMap<String, Vec<Artifact>>,
        device: &str,
    ) -> OpResult<Option<Estimate>> {
        task::estimate(p, port(inputs, "graph"), port(inputs, "valid"), device)
    }

    fn on_gpu(_: &Params) -> bool {
        true
    }

    fn on_ranks(_: &Params) -> bool {
        true
    }

    fn per_rank(p: &Params) -> &'static [&'static str] {
        p.train.common.per_rank()
    }

    fn remarks(_: &Params, outputs: &BTreeMap<String, Artifact>) -> OpResult<Vec<String>> {
        let training = Training {
            entropies: vec![None],
            validates: true,
            validate: "connect `valid` to triples, or raise `train.valid_fraction`",
        };
        outputs
            .get("history")
            .map_or(Ok(Vec::new()), |h| training.remarks(h))
    }

    fn run(p: Params, ctx: &Context) -> OpResult<()> {
        let n = zipped(ctx, &["graph"], &["valid"])?;
        let graphs = ctx.inputs("graph");
        let encoders: Vec<EncoderId> = graphs
            .iter()
            .map(EncoderId::of_graph)
            .collect::<OpResult<_>>()?;
        // Stage names must not change a result, and a graph has no name of its own. So the history
        // numbers the data sets, and the log says which is which.
        let labels = labels((1..=n).map(|i| i.to_string()).collect());
        if n > 1 {
            for (label, graph) in labels.iter().zip(graphs) {
                ctx.info(format!("data set {label} is {}", graph.name));
            }
        }
        let sets: Vec<DataSet> = graphs
            .iter()
            .enumerate()
            .map(|(i, graph)| DataSet {
                graph: graph.clone(),
                valid: ctx.inputs("valid").get(i).cloned(),
            })
            .collect();
        let job = Job {
            operator: Self::NAME,
            class: p.model.class(),
            encoder: EncoderId::same(&encoders)?,
            labels,
            features: None,
        };
        let read =
            move |i: usize, p: &Params, dividing: Option<&Dividing>| sets[i].read(p, dividing);
        train(ctx, p, job, read, LinkPrediction::new)
    }
}
