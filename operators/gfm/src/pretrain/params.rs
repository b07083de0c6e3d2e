//! The `with:` parameters of `pretrain`: those of GFM-RAG's training guide, and new ones.

use gfm_pipe_api::{Field, Problem, Schema, Type};
use gfm_pipe_eval::link_metrics;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::train::BestBy;
use crate::train::operator::{Shared, TrainingParams};
use crate::train::settings::{
    Model, OptimizerSettings, PRETRAINED, Train, TrainDefaults, best_by_problem, model_field,
    optimizer_field, top_fields, train_fields,
};
use gfm_pipe_model::link_ranks::{EvalEdges, Ranking};
use gfm_pipe_model::sampling::EasyEdges;
use gfm_pipe_model::twins::Twins;

/// Parameters of `pretrain`.
#[derive(Debug, Serialize, Deserialize)]
pub struct Params {
    pub(super) seed: u64,
    pub(super) model: Model,
    pub(super) task: TaskSettings,
    pub(super) optimizer: OptimizerSettings,
    pub(super) train: Train<TrainSettings>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct TaskSettings {
    pub num_negative: usize,
    pub strict_negative: bool,
    pub adversarial_temperature: f64,
    pub metric: Vec<String>,
    pub twin_share: Option<f64>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct TrainSettings {
    pub fast_test: usize,
    pub valid_fraction: f64,
    pub eval_edges: EvalEdges,
    pub best_by: String,
}

impl TrainingParams for Params {
    fn shared(&mut self) -> Shared<'_> {
        Shared {
            seed: self.seed,
            model: &mut self.model,
            optimizer: &self.optimizer,
            common: &self.train.common,
        }
    }
}

impl Params {
    /// Which edges are removed before a triple is scored.
    pub(super) fn easy_edges<'a>(&self, twins: &'a Twins) -> EasyEdges<'a> {
        if self.model.entity_model.remove_one_hop {
            EasyEdges::Pair
        } else if twins.is_empty() {
            EasyEdges::Relation
        } else {
            EasyEdges::Twins(twins)
        }
    }

    /// How validation triples are ranked.
    pub(super) fn ranking<'a>(&self, twins: &'a Twins) -> Ranking<'a> {
        Ranking {
            batch_size: self.train.common.batch_size,
            edges: self.train.own.eval_edges,
            easy: self.easy_edges(twins),
        }
    }

    /// Names of the validation metrics: those in `task.metric`, and the default of `train.best_by`.
    pub(super) fn metrics(&self) -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        for name in self.task.metric.iter().map(String::as_str).chain(["mrr"]) {
            if !names.iter().any(|n| n == name) {
                names.push(name.to_owned());
            }
        }
        names
    }

    /// The metric that the best epoch is chosen by.
    pub(super) fn best_by(&self) -> BestBy {
        BestBy {
            smaller: link_metrics::smaller_is_better(&self.train.own.best_by),
            metric: self.train.own.best_by.clone(),
        }
    }

    /// Problems that the schema cannot express.
    pub(super) fn problems(&self) -> Vec<Problem> {
        let mut out = self.model.problems();
        out.extend(self.optimizer.problems());
        out.extend(
            self.train
                .common
                .problems(self.model.entity_model.aggregate_func),
        );
        out.extend(best_by_problem(&self.train.own.best_by, &self.metrics()));
        out
    }
}

/// The schema of `with:`.
pub(super) fn schema() -> Schema {
    let task = Schema::new(vec![
        Field::new("num_negative", Type::int(1), 256, "negatives per triple")
            .at_most(1e6, "each is scored for every triple of a batch"),
        Field::new(
            "strict_negative",
            Type::Bool,
            true,
            "negatives are never true triples",
        ),
        Field::new(
            "adversarial_temperature",
            Type::float(0.0),
            1.0,
            "weights negatives by softmax(score / temperature); 0 weighs them equally",
        )
        .at_most(1e6, "negatives already have equal weights far below it"),
        Field::new(
            "metric",
            Type::list(Type::Form {
                form: &link_metrics::SCHEMA_FORM,
                check: link_metrics::check_name,
            }),
            json!(["mr", "mrr", "hits@1", "hits@3", "hits@10"]),
            "metrics of the validation; hits@k_n estimates hits@k among n candidates, -tail counts tails only",
        ),
        Field::new(
            "twin_share",
            Type::Float { min: 0.5, max: 1.0 }.or_null(),
            gfm_pipe_api::twins::SHARE,
            "two relations are near-duplicates if this share of the entity pairs of one, as they are or reversed, are pairs of the other (or of the relation itself, reversed): \
             when a triple is removed from the graph, for validation or in a step, its twins under near-duplicates are removed too; null keeps them, as GFM-RAG does",
        ),
    ]);
    let mut train = train_fields(&TrainDefaults {
        num_epoch: 10,
        save_best_only: false,
        save_pretrained: false,
    });
    train.extend([
        Field::new("fast_test", Type::int(1), 500, "maximum number of validation triples of a data set")
            .at_most(1e9, "each is ranked against all entities"),
        Field::new(
            "valid_fraction",
            Type::Float { min: 0.0, max: 0.5 },
            0.05,
            "without `in.valid`: fraction of a graph's triples held out for validation (with inverses; at most fast_test); 0 validates on training triples, as GFM-RAG does",
        ),
        Field::new(
            "eval_edges",
            Type::one_of(&["triple", "batch"]),
            "triple",
            "edges removed during validation: each triple's own, or those of the whole batch, as GFM-RAG does",
        ),
        Field::new(
            "best_by",
            Type::Text,
            "mrr",
            "metric of the validation that chooses the best epoch: mrr or one of task.metric; over several data sets, their plain mean",
        ),
    ]);
    let mut fields = top_fields();
    fields.extend([
        model_field(&PRETRAINED),
        Field::group("task", task, "the task"),
        optimizer_field(),
        Field::group("train", Schema::new(train), "the loop"),
        Field::refused(
            "doc_ranker",
            "pre-training does not rank documents: remove it",
        ),
    ]);
    Schema::new(fields)
}
