//! `finetune`: trains a GNNRetriever or a GraphReasoner on questions and what they ask for, over
//! one or more data sets.
//!
//! Invariant: no question is both trained and validated on, and the best epoch is never chosen by a
//! test split, because this operator has no input for one.

mod data;
mod evidence;
mod params;
mod ranked;
mod task;

use std::collections::BTreeMap;
use std::path::Path;

use gfm_pipe_api::{
    Arity, Artifact, Connected, Context, Estimate, InPort, InputFile, OpResult, Operator, OutPort,
    Problem, Schema, kinds,
};

use crate::inputs::{EncoderId, labels};
use crate::train::operator::{Job, train};
use crate::train::remarks::Training;
use crate::train::{output_ports, start_problem};
use gfm_pipe_api::zip::{connected, problem_error, zip_problem};
use gfm_pipe_model::divided::Dividing;
use gfm_pipe_model::model::all_features;

use data::{DataSet, data_sets, groups};
pub use params::Params;
use task::QuestionAnswering;

/// The operator `finetune`.
pub struct Finetune;

impl Operator for Finetune {
    type Params = Params;
    const NAME: &'static str = "finetune";
    const VERSION: u32 = 6;
    const ABOUT: &'static str = "trains a GNNRetriever or a GraphReasoner on questions and their gold entities and documents";

    fn schema() -> Schema {
        params::schema()
    }

    fn inputs() -> Vec<InPort> {
        let port = InPort::of;
        let (many, any) = (Arity::Many, Arity::Any);
        vec![
            port(
                "graph",
                &[&kinds::GRAPH],
                many,
                "the graphs, one per data set",
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
                "nodes that the training questions of each graph start from, with weights; otherwise they start from their entities",
            ),
            port(
                "valid",
                &[&kinds::QUESTIONS],
                any,
                "validation questions of each graph (of each `valid_graph` if that is connected)",
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
                "graphs of the validation questions, if they differ from the training graphs",
            ),
            port(
                "valid_documents",
                &[&kinds::ENTITY_DOCUMENTS],
                any,
                "their entity-document matrices",
            ),
            port(
                "nodes",
                &[&kinds::NODES],
                any,
                "types of each graph's nodes, for losses and validation over nodes of one type",
            ),
            port(
                "valid_nodes",
                &[&kinds::NODES],
                any,
                "types of the nodes of each `valid_graph`",
            ),
            port(
                "features",
                &[&kinds::FEATURES],
                any,
                "ranking features of the training questions of each graph: the model then adds their weighted sum to its scores of documents",
            ),
            port(
                "valid_features",
                &[&kinds::FEATURES],
                any,
                "those of the validation questions",
            ),
            port(
                "fusion",
                &[&kinds::FUSION],
                Arity::Optional,
                "weights that the features start with; otherwise those that come with the program",
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
        let zips = zips.filter_map(|group| zip_problem(inputs, group.required, group.optional));
        // A port is in several groups, so the first problem is enough.
        let problems = start.into_iter().chain(zips.take(1));
        problems.chain(evidence::problems(p, inputs)).collect()
    }

    fn files(p: &Params, _: &Path) -> Vec<InputFile> {
        p.train.common.files()
    }

    fn estimate(
        p: Params,
        inputs: &BTreeMap<String, Vec<Artifact>>,
        device: &str,
    ) -> OpResult<Option<Estimate>> {
        task::estimate(p, inputs, device)
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
        if let Some(problem) = evidence::problems(&p, &connected(ctx)) {
            return Err(problem_error(problem));
        }
        let features = evidence::start(ctx)?;
        if features.is_some() {
            p.model.features = all_features();
            evidence::say(&p, ctx);
        }
        let sets = data_sets(ctx)?;
        let mut encoders = Vec::new();
        for set in &sets {
            encoders.extend(set.encoders()?);
        }
        let names: Vec<String> = sets.iter().map(DataSet::name).collect::<OpResult<_>>()?;
        let labels = labels(names);
        if sets.len() > 1 {
            for (label, set) in labels.iter().zip(&sets) {
                ctx.info(format!("data set {label} is on {}", set.graph()));
            }
        }
        // Nothing is held out without validation, or if validation has its own graphs.
        let hold_out = p.train.own.do_eval && !sets.iter().any(DataSet::only_validates);
        let job = Job {
            operator: Self::NAME,
            class: p.model.class(),
            encoder: EncoderId::same(&encoders)?,
            labels,
            features,
        };
        let read = move |i: usize, p: &Params, dividing: Option<&Dividing>| {
            sets[i].read(p, hold_out, dividing)
        };
        train(ctx, p, job, read, QuestionAnswering::new)
    }
}
