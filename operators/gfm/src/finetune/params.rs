//! The `with:` parameters of `finetune`: those of GFM-RAG's training guide, and new ones.

use std::sync::LazyLock;

use gfm_pipe_api::named::listed;
use gfm_pipe_api::node_types::{DOCUMENT, ENTITY};
use gfm_pipe_api::{Field, PathSeg, Problem, Schema, Type};
use gfm_pipe_eval::metrics::{self, MRR_FILTERED, Metric};
use gfm_pipe_eval::rankers::{self, DEFAULT_TOP_K, Ranker, RankerName, ranker_type, top_k_field};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::train::BestBy;
use crate::train::operator::{Shared, TrainingParams};
use crate::train::settings::{
    FINETUNED, Model, OptimizerSettings, Train, TrainDefaults, best_by_problem, model_field,
    optimizer_field, top_fields, train_fields,
};
use gfm_pipe_model::loss::{LOSSES, ListLoss, LossKind, LossName, Reduction};

/// What is ranked, in the order of the history's metrics.
pub(super) const TARGETS: [&str; 2] = [ENTITY, DOCUMENT];

/// Parameters of `finetune`.
#[derive(Debug, Serialize, Deserialize)]
pub struct Params {
    pub(super) seed: u64,
    pub(super) model: Model,
    pub(super) task: TaskSettings,
    pub(super) optimizer: OptimizerSettings,
    pub(super) train: Train<TrainSettings>,
    pub(super) doc_ranker: DocRanker,
    pub(super) features: FeatureSettings,
}

/// The mapping `features`.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct FeatureSettings {
    pub dropout: f64,
}

impl FeatureSettings {
    fn schema() -> Schema {
        let dropout = Field::new(
            "dropout",
            Type::Float { min: 0.0, max: 0.9 },
            0.0,
            "probability with which a feature of a training question is 0 in a step",
        );
        Schema::new(vec![dropout])
    }
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct TaskSettings {
    metric: Vec<String>,
    pub losses: Vec<LossSettings>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct LossSettings {
    pub name: String,
    loss: LossFunction,
    pub cfg: LossUse,
}

#[derive(Debug, Serialize, Deserialize)]
struct LossFunction {
    #[serde(rename = "_target_")]
    target: LossName,
    adversarial_temperature: Option<f64>,
    reduction: Option<Reduction>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct LossUse {
    pub weight: f64,
    is_doc_loss: bool,
    target_node_type: Option<String>,
    is_distillation_loss: bool,
}

/// What a loss ranks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Ranked {
    /// All nodes: in a graph of 1.0, its entities.
    AllNodes,
    Documents,
    /// The nodes of a type.
    Type(String),
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct TrainSettings {
    pub do_eval: bool,
    pub init_entities_weight: bool,
    pub valid_fraction: f64,
    pub edge_dropout: f64,
    best_by: String,
}

/// The mapping `doc_ranker`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct DocRanker {
    name: RankerName,
    top_k: usize,
}

impl DocRanker {
    fn schema() -> Schema {
        Schema::new(vec![
            Field::new(
                "name",
                ranker_type(),
                rankers::DEFAULT.name,
                "how entity scores become document scores",
            ),
            top_k_field(DEFAULT_TOP_K),
        ])
    }

    /// The ranker, with `top_k` applied.
    pub fn ranker(&self) -> Ranker {
        self.name.0.top_k(self.top_k)
    }
}

impl LossSettings {
    /// The loss function, with its temperature and reduction.
    pub fn function(&self) -> ListLoss {
        let temperature = self.loss.adversarial_temperature.unwrap_or(0.0);
        let reduction = self.loss.reduction.unwrap_or_default();
        self.loss.target.kind.at(temperature).reduced(reduction)
    }

    /// What it ranks. `typed`: whether the types of nodes are known.
    pub fn ranked(&self, typed: bool) -> Ranked {
        match self.cfg.target_node_type.as_deref() {
            _ if self.cfg.is_doc_loss => Ranked::Documents,
            Some(DOCUMENT) => Ranked::Documents,
            Some(ENTITY) if !typed => Ranked::AllNodes,
            Some(other) => Ranked::Type(other.to_owned()),
            None => Ranked::AllNodes,
        }
    }

    /// Problems of one loss, with their keys.
    fn problems(&self) -> Vec<(&'static [&'static str], String)> {
        let (kind, cfg) = (self.loss.target.kind, &self.cfg);
        let mut out: Vec<(&'static [&'static str], String)> = Vec::new();
        if !kind.has_temperature && self.loss.adversarial_temperature.is_some() {
            let why = format!("only {} has an adversarial_temperature", *WITH_TEMPERATURE);
            out.push((&["loss", "adversarial_temperature"], why));
        }
        if !kind.has_reduction && self.loss.reduction.is_some() {
            let why = format!("only {} has a reduction", *WITH_REDUCTION);
            out.push((&["loss", "reduction"], why));
        }
        if kind.distils != cfg.is_distillation_loss {
            let why = if kind.distils {
                format!(
                    "{} compares scores with the similarity of texts: set `is_distillation_loss: yes`",
                    kind.name
                )
            } else {
                format!(
                    "{} compares scores with the gold answers: only {} compare them with the similarity of texts",
                    kind.name, *DISTILLING
                )
            };
            out.push((&["cfg", "is_distillation_loss"], why));
        }
        let other = cfg.target_node_type.as_deref().filter(|t| *t != DOCUMENT);
        if let (true, Some(other)) = (cfg.is_doc_loss, other) {
            let why = format!(
                "`is_doc_loss: yes` ranks documents, `target_node_type` says {other}: remove one of them"
            );
            out.push((&["cfg", "target_node_type"], why));
        }
        out
    }
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
    /// Names of the losses that are binary cross-entropies.
    pub(super) fn entropies(&self) -> impl Iterator<Item = &str> {
        let losses = self.task.losses.iter();
        losses
            .filter(|l| l.loss.target.kind.cross_entropy)
            .map(|l| l.name.as_str())
    }

    /// Validation metrics: those in `task.metric`, and the default of `train.best_by`.
    pub(super) fn metrics(&self) -> Vec<Metric> {
        let mut out: Vec<Metric> = Vec::new();
        let requested = self.task.metric.iter().filter_map(|n| Metric::parse(n));
        for metric in requested.chain([MRR_FILTERED.whole()]) {
            if !out.contains(&metric) {
                out.push(metric);
            }
        }
        out
    }

    /// Names of the metrics in the history, for each target.
    fn metric_names(&self) -> Vec<String> {
        TARGETS
            .iter()
            .flat_map(|t| self.metrics().into_iter().map(|m| name_of(t, m)))
            .collect()
    }

    /// The metric that the best epoch is chosen by.
    pub(super) fn best_by(&self) -> BestBy {
        let metric = self.train.own.best_by.clone();
        let parsed = metric.split_once(':').and_then(|(_, m)| Metric::parse(m));
        BestBy {
            smaller: parsed.is_some_and(Metric::smaller_is_better),
            metric,
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
        out.extend(best_by_problem(
            &self.train.own.best_by,
            &self.metric_names(),
        ));
        let at = |i: usize, keys: &[&str], message: String| {
            let mut problem = Problem::at("task.losses", message);
            problem.path.push(PathSeg::Index(i));
            let keys = keys.iter().map(|k| PathSeg::Key((*k).to_owned()));
            problem.path.extend(keys);
            problem
        };
        for (i, l) in self.task.losses.iter().enumerate() {
            let problems = l.problems().into_iter();
            out.extend(problems.map(|(keys, why)| at(i, keys, why)));
            if self.task.losses[..i].iter().any(|o| o.name == l.name) {
                out.push(
                    at(i, &["name"], format!("two losses are named `{}`", l.name))
                        .hint("the history tells losses apart by name"),
                );
            }
        }
        out
    }
}

/// A metric's name in the history.
pub(super) fn name_of(target: &str, metric: Metric) -> String {
    format!("{target}:{}", metric.name())
}

/// Names of some losses, for messages.
fn losses_that(has: fn(&LossKind) -> bool) -> String {
    let losses = LOSSES.iter().filter(|l| has(l));
    let names: Vec<&str> = losses.map(|l| l.name).collect();
    listed(&names, "or")
}

static WITH_TEMPERATURE: LazyLock<String> = LazyLock::new(|| losses_that(|l| l.has_temperature));
static WITH_REDUCTION: LazyLock<String> = LazyLock::new(|| losses_that(|l| l.has_reduction));
static DISTILLING: LazyLock<String> = LazyLock::new(|| losses_that(|l| l.distils));

static TEMPERATURE_ABOUT: LazyLock<String> = LazyLock::new(|| {
    format!(
        "{}: weights negatives by softmax(score / temperature); 0 or null weights them equally",
        *WITH_TEMPERATURE
    )
});

static REDUCTION_ABOUT: LazyLock<String> = LazyLock::new(|| {
    format!(
        "{}: batchmean divides by the number of questions, mean by that of questions times nodes, sum by nothing; null is batchmean",
        *WITH_REDUCTION
    )
});

fn loss_schema() -> Schema {
    Schema::new(vec![
        Field::required(
            "name",
            Type::Text,
            "any name; it names the loss in the history",
        ),
        Field::required(
            "loss",
            Type::Object(Schema::new(vec![
                Field::required(
                    "_target_",
                    Type::one_of(LossName::words()),
                    "class of the loss",
                ),
                Field::new(
                    "adversarial_temperature",
                    Type::float(0.0).or_null(),
                    json!(null),
                    &TEMPERATURE_ABOUT,
                )
                .at_most(1e6, "negatives already have equal weights far below it"),
                Field::new(
                    "reduction",
                    Type::one_of(&Reduction::NAMES).or_null(),
                    json!(null),
                    &REDUCTION_ABOUT,
                )
                .added_later(),
            ])),
            "the loss function",
        ),
        Field::group(
            "cfg",
            Schema::new(vec![
                Field::new(
                    "weight",
                    Type::float(0.0),
                    1.0,
                    "factor of this loss in the sum",
                )
                .at_most(1e6, "gradients overflow single precision above it"),
                Field::new(
                    "is_doc_loss",
                    Type::Bool,
                    false,
                    "whether the loss compares document scores (sums of entity scores) with gold documents, instead of entities",
                ),
                Field::new(
                    "target_node_type",
                    Type::Text.or_null(),
                    json!(null),
                    "type of the nodes that the loss ranks, as in GFM-RAG 2.0: document is the same as `is_doc_loss: yes`, other types need `in.nodes` (without it, entity is all nodes of a graph whose documents are not nodes); null ranks all nodes",
                )
                .added_later(),
                Field::new(
                    "is_distillation_loss",
                    Type::Bool,
                    false,
                    "whether the loss compares scores with the similarity of the texts of question and node: yes for MSELoss and KLDivLoss, no for the others",
                )
                .added_later(),
            ]),
            "how the loss is used",
        ),
    ])
}

/// The schema of `with:`.
pub(super) fn schema() -> Schema {
    let task = Schema::new(vec![
        Field::new(
            "strict_negative",
            Type::Bool,
            true,
            "not used; GFM-RAG does not use it either",
        )
        .no_effect(),
        Field::new(
            "metric",
            Type::list(Type::Form {
                form: &metrics::FORMS,
                check: metrics::check_name,
            }),
            json!([
                "mrr", "hits@1", "hits@2", "hits@3", "hits@5", "hits@10", "hits@20", "hits@50",
                "hits@100"
            ]),
            "metrics of the validation, for entities and documents; recall@k and mrr are the standard ones, hits@k and mrr_filtered use filtered ranks",
        ),
        Field::new(
            "losses",
            Type::list(Type::Object(loss_schema())),
            json!([
                {"name": "ent_bce_loss",
                 "loss": {"_target_": "gfmrag.losses.BCELoss", "adversarial_temperature": 0.2, "reduction": null},
                 "cfg": {"weight": 0.3, "is_doc_loss": false, "target_node_type": null, "is_distillation_loss": false}},
                {"name": "ent_pcr_loss",
                 "loss": {"_target_": "gfmrag.losses.ListCELoss", "adversarial_temperature": null, "reduction": null},
                 "cfg": {"weight": 0.7, "is_doc_loss": false, "target_node_type": null, "is_distillation_loss": false}},
            ]),
            "losses; their weighted sum is minimised",
        ),
    ]);
    let mut train = train_fields(&TrainDefaults {
        num_epoch: 20,
        save_best_only: true,
        save_pretrained: true,
    });
    train.extend([
        Field::new("do_eval", Type::Bool, true, "yes validates after each epoch and keeps the best one; no trains on all questions and keeps the last one"),
        Field::new(
            "init_entities_weight",
            Type::Bool,
            true,
            "yes starts a question entity with weight 1 / number of its documents, no with 1",
        ),
        Field::new(
            "valid_fraction",
            Type::Float { min: 0.0, max: 0.5 },
            0.1,
            "without `in.valid`: fraction of the questions, chosen by a hash of seed and id, that are used for validation instead of training",
        ),
        Field::new(
            "edge_dropout",
            Type::Float { min: 0.0, max: 0.9 },
            0.0,
            "probability with which a triple, its duplicates and its inverses are left out of the graph in a step",
        )
        .added_later(),
        Field::new(
            "best_by",
            Type::Text,
            name_of("entity", MRR_FILTERED.whole()),
            "metric of the validation that chooses the best epoch, e.g. document:recall@5: entity: or document:, then mrr_filtered or one of task.metric; over several data sets, their plain mean",
        ),
    ]);
    let mut fields = top_fields();
    fields.extend([
        model_field(&FINETUNED),
        Field::group("task", task, "the task"),
        optimizer_field(),
        Field::group("train", Schema::new(train), "the loop"),
        Field::group(
            "doc_ranker",
            DocRanker::schema(),
            "document ranker of the validation",
        ),
        Field::group(
            "features",
            FeatureSettings::schema(),
            "ranking features, where `in.features` is connected",
        )
        .added_later(),
    ]);
    Schema::new(fields)
}
