//! `finetune`: trains a GNNRetriever on questions and the entities of their gold documents, over one data set or many.
//!
//! Invariant: no question is both trained and validated on, and the best epoch is never chosen on a test split (nothing here
//! sees one).

mod data;
mod params;
mod task;

use std::collections::BTreeMap;
use std::path::Path;

use std::sync::Arc;

use gfm_pipe_api::{
    Accepts, Arity, Artifact, Connected, Context, Estimate, InPort, InputFile, Kind, OpResult,
    Operator, OutPort, Problem, Schema, kinds,
};

use crate::inputs::{EncoderId, labels, zip_problem};
use crate::remarks::Training;
use crate::train::{Loader, output_ports, run_loop, start_problem, start_weights, write_outcome};
use gfm_pipe_model::divided::Dividing;
use gfm_pipe_model::model::Class;
use gfm_pipe_model::optimizer::Optimizer;
use gfm_pipe_model::tensor_error;

use data::{DataSet, data_sets, groups};
pub use params::Params;
use task::QuestionAnswering;

/// The operator.
pub struct Finetune;

impl Operator for Finetune {
    type Params = Params;
    const NAME: &'static str = "finetune";
    const VERSION: u32 = 5;
    const ON_GPU: bool = true;
    const ABOUT: &'static str =
        "trains a GNNRetriever on questions and their gold documents' entities";

    fn schema() -> Schema {
        params::schema()
    }

    fn inputs() -> Vec<InPort> {
        fn port(
            name: &'static str,
            kind: &'static [&'static Kind],
            arity: Arity,
            about: &'static str,
        ) -> InPort {
            InPort {
                name,
                accepts: Accepts::Kinds(kind),
                arity,
                about,
            }
        }
        let (many, any) = (Arity::Many, Arity::Any);
        vec![
            port(
                "graph",
                &[&kinds::GRAPH],
                many,
                "the graphs, one a data set",
            ),
            port(
                "documents",
                &[&kinds::ENTITY_DOCUMENTS],
                many,
                "entity-document matrix of each graph",
            ),
            port(
                "train",
                &[&kinds::QUESTIONS],
                many,
                "training questions of each graph",
            ),
            port(
                "train_embeddings",
                &[&kinds::EMBEDDINGS],
                many,
                "their embeddings",
            ),
            port(
                "starts",
                &[&kinds::STARTS],
                any,
                "nodes that the training questions of each graph start from, with weights; without it they start from their entities",
            ),
            port(
                "valid",
                &[&kinds::QUESTIONS],
                any,
                "validation questions of each graph (of each `valid_graph` where that is connected)",
            ),
            port(
                "valid_embeddings",
                &[&kinds::EMBEDDINGS],
                any,
                "their embeddings",
            ),
            port(
                "valid_starts",
                &[&kinds::STARTS],
                any,
                "nodes that the validation questions start from",
            ),
            port(
                "valid_graph",
                &[&kinds::GRAPH],
                any,
                "graphs of the validation questions, where they are not those trained on",
            ),
            port(
                "valid_documents",
                &[&kinds::ENTITY_DOCUMENTS],
                any,
                "their entity-document matrices",
            ),
            port(
                "init",
                &[&kinds::MODEL],
                Arity::Optional,
                "model to start from, e.g. a pre-trained one",
            ),
        ]
    }

    fn outputs() -> Vec<OutPort> {
        output_ports("weights of the best epoch by `train.best_by` on the validation questions")
    }

    fn check(p: &Params) -> Vec<Problem> {
        p.problems()
    }

    fn check_inputs(p: &Params, inputs: &Connected) -> Vec<Problem> {
        let start = start_problem(inputs, p.train.common.checkpoint.as_deref());
        let zips = groups(inputs).into_iter();
        let zips = zips.filter_map(|(ports, optional)| zip_problem(inputs, ports, optional));
        // The first says it: a port is in several groups.
        start.into_iter().chain(zips.take(1)).collect()
    }

    fn files(p: &Params, _: &Path) -> Vec<InputFile> {
        p.train.common.files()
    }

    fn estimate(
        p: Params,
        inputs: &BTreeMap<String, Vec<Artifact>>,
        device: &str,
    ) -> OpResult<Option<Estimate>> {
        task::foresee(&p, inputs, device)
    }

    fn on_ranks(_: &Params) -> bool {
        true
    }

    fn per_rank(p: &Params) -> &'static [&'static str] {
        p.train.common.per_rank()
    }

    fn remarks(p: &Params, outputs: &BTreeMap<String, Artifact>) -> OpResult<Vec<String>> {
        let training = Training {
            entropies: p.entropies().map(|name| Some(name.to_owned())).collect(),
            validates: p.train.own.do_eval,
            validate: "connect `valid` and `valid_embeddings` to questions of a valid.json, or raise `train.valid_fraction`",
        };
        outputs
            .get("history")
            .map_or(Ok(Vec::new()), |h| training.remarks(h))
    }

    fn run(mut p: Params, ctx: &Context) -> OpResult<()> {
        let sets = data_sets(ctx)?;
        let mut encoders = Vec::new();
        for set in &sets {
            encoders.extend(set.encoders()?);
        }
        let encoder = EncoderId::same(&encoders)?;
        let checkpoint = p.train.common.checkpoint.clone();
        let weights = start_weights(
            ctx,
            Class::GNNRetriever,
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
        let names: Vec<String> = sets
            .iter()
            .map(DataSet::name)
            .collect::<OpResult<Vec<_>>>()?;
        let names = labels(names);
        if sets.len() > 1 {
            for (name, set) in names.iter().zip(&sets) {
                ctx.info(format!("data set {name} is on {}", set.graph()));
            }
        }
        // Where validation questions come with graphs of their own, or nothing is validated, all others are trained on.
        let hold_out = p.train.own.do_eval && !sets.iter().any(DataSet::only_validates);
        let loader = Loader::new(
            names,
            common.max_datasets_in_memory,
            common.data_loading_workers,
            {
                let (p, dividing) = (Arc::clone(&p), dividing.clone());
                Box::new(move |i| sets[i].read(&p, hold_out, dividing.as_deref()))
            },
        );
        let optimizer = Optimizer::new(p.optimizer.adamw(), &weights).map_err(tensor_error)?;
        let task = QuestionAnswering { p: &p };
        let settings = common.settings(p.seed);
        let out = run_loop(ctx, &settings, &task, &loader, weights, optimizer)?;
        if let Some(dividing) = &dividing {
            dividing.report(ctx)?;
        }
        write_outcome(ctx, Self::NAME, encoder, &out)
    }
}
