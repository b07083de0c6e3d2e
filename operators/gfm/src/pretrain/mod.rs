//! `pretrain`: trains a QueryGNN to complete the triples of one graph or of many.
//!
//! Invariant: a triple that is validated on stands in no graph that messages are passed on, neither
//! itself nor its inverse nor the same fact under a near-duplicate of its relation (but with
//! `valid_fraction: 0`, the reference's way, where training triples are ranked).

mod params;
mod task;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use gfm_pipe_api::{
    Accepts, Arity, Artifact, Connected, Context, Estimate, InPort, InputFile, OpResult, Operator,
    OutPort, Problem, Schema, kinds,
};

use crate::inputs::{EncoderId, labels, zip_problem, zipped};
use crate::remarks::Training;
use crate::train::foresee::port;
use crate::train::{Loader, output_ports, run_loop, start_problem, start_weights, write_outcome};
use gfm_pipe_model::divided::Dividing;
use gfm_pipe_model::model::Class;
use gfm_pipe_model::optimizer::Optimizer;
use gfm_pipe_model::tensor_error;

pub use params::Params;
use task::{DataSet, LinkPrediction};

/// The operator.
pub struct Pretrain;

impl Operator for Pretrain {
    type Params = Params;
    const NAME: &'static str = "pretrain";
    const VERSION: u32 = 5;
    const ON_GPU: bool = true;
    const ABOUT: &'static str =
        "trains a QueryGNN on synthetic queries sampled from the triples of one or more graphs";

    fn schema() -> Schema {
        params::schema()
    }

    fn inputs() -> Vec<InPort> {
        vec![
            InPort {
                name: "graph",
                accepts: Accepts::Kinds(&[&kinds::GRAPH]),
                arity: Arity::Many,
                about: "the graphs to learn, one a data set",
            },
            InPort {
                name: "valid",
                accepts: Accepts::Kinds(&[&kinds::TRIPLES]),
                arity: Arity::Any,
                about: "triples to validate on, one artifact a graph; taken out of the graph where they stand in it",
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
        task::foresee(&p, port(inputs, "graph"), port(inputs, "valid"), device)
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

    fn run(mut p: Params, ctx: &Context) -> OpResult<()> {
        let n = zipped(ctx, &["graph"], &["valid"])?;
        let graphs = ctx.inputs("graph");
        let encoders: Vec<EncoderId> = graphs
            .iter()
            .map(EncoderId::of_graph)
            .collect::<OpResult<_>>()?;
        let encoder = EncoderId::same(&encoders)?;
        let checkpoint = p.train.common.checkpoint.clone();
        let weights = start_weights(
            ctx,
            Class::QueryGNN,
            &mut p.model,
            checkpoint.as_deref(),
            encoder,
            (p.seed, p.train.common.dtype()),
        )?;
        let p = Arc::new(p);
        let common = &p.train.common;
        let dividing = Dividing::new(ctx, common.divides_graphs())?;
        if let Some(dividing) = &dividing {
            dividing.check(&p.model.entity_model.config())?;
        }
        // A graph does not say what it is a graph of, and stage names may change without changing a result: the history
        // counts data sets, the log says which is which.
        let names = labels((1..=n).map(|i| i.to_string()).collect());
        if n > 1 {
            for (name, graph) in names.iter().zip(graphs) {
                ctx.info(format!("data set {name} is {}", graph.name));
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
        let loader = Loader::new(
            names,
            common.max_datasets_in_memory,
            common.data_loading_workers,
            {
                let (p, dividing) = (Arc::clone(&p), dividing.clone());
                Box::new(move |i| sets[i].read(&p, dividing.as_deref()))
            },
        );
        let optimizer = Optimizer::new(p.optimizer.adamw(), &weights).map_err(tensor_error)?;
        let task = LinkPrediction { p: &p };
        let settings = common.settings(p.seed);
        let out = run_loop(ctx, &settings, &task, &loader, weights, optimizer)?;
        if let Some(dividing) = &dividing {
            dividing.report(ctx)?;
        }
        write_outcome(ctx, Self::NAME, encoder, &out)
    }
}
