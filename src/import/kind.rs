//! What a configuration is for: one of the trainings of GFM-RAG, or something that cannot be
//! imported.

use serde_json::Value;

use super::ImportError;
use super::hydra::Config;

/// Which of the reference's two trainings a configuration is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Training {
    Pretrain,
    Finetune,
}

impl Training {
    /// The operator that runs this training.
    pub fn op(self) -> &'static str {
        match self {
            Training::Pretrain => "pretrain",
            Training::Finetune => "finetune",
        }
    }

    /// The training that a configuration is for, and the family of its model.
    pub fn of(config: &Config) -> Result<(Self, Family), ImportError> {
        if let Some(second) = version_2(config)? {
            return Ok(second);
        }
        let refused = |key: &str, what: &str, hint| {
            Err(ImportError::Kind {
                place: config.places.get(key),
                what: what.to_owned(),
                hint,
            })
        };
        let first = |keys: &[&'static str]| {
            let mut keys = keys.iter().copied();
            keys.find(|k| config.tree.contains_key(*k))
        };
        if let Some(key) = first(&STAGE_1) {
            return refused(
                key,
                "this configures stage 1 (documents to a knowledge graph), which gfm-pipe does not do yet",
                "make kg.txt and document2entities.json with GFM-RAG; import-config takes stage2_kg_pretrain and stage2_qa_finetune",
            );
        }
        if let Some(key) = first(&STAGE_3) {
            return refused(
                key,
                "this configures stage 3 (answering with a language model), which gfm-pipe does not do yet",
                "import-config takes stage2_kg_pretrain and stage2_qa_finetune; `evaluate` measures a trained retriever",
            );
        }
        let classes = ["model", "datasets"].map(|key| class(target(config, key)));
        let is = |names: [&str; 2]| classes.iter().any(|c| names.contains(c));
        let set = |path: &str| at(config, path).is_some_and(|v| !v.is_null());
        if is(["GNNRetriever", "QADataset"]) || set("task.losses") {
            return Ok((Training::Finetune, Family::First));
        }
        if is(["QueryGNN", "KGDataset"]) || set("task.num_negative") {
            return Ok((Training::Pretrain, Family::First));
        }
        refused(
            "model._target_",
            "neither a pre-training nor a fine-tuning of GFM-RAG: model._target_ is neither QueryGNN nor GNNRetriever",
            TAKEN,
        )
    }
}

/// Which models, and which files of data sets, a configuration is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    /// GFM-RAG 1.0.
    First,
    /// `gfm_rag_v1` of 2.0: the model of 1.0 on the nodes of one type.
    EntityGraph,
    /// `gfm_reasoner` of 2.0: a GraphReasoner on all nodes.
    TypedGraph,
}

impl Family {
    /// The reference's class for the data sets of a training.
    pub fn datasets(self, training: Training) -> &'static str {
        match (self, training) {
            (Family::First, Training::Pretrain) => "KGDataset",
            (Family::First, Training::Finetune) => "QADataset",
            (Family::EntityGraph, _) => "GraphIndexDatasetV1",
            (Family::TypedGraph, _) => "GraphIndexDataset",
        }
    }

    /// The family in 2.0, by the model or by the data sets.
    fn of_2(config: &Config) -> Option<Self> {
        let model = target(config, "model");
        match (model, class(model), class(target(config, "datasets"))) {
            (model, _, _) if model.contains(".gfm_rag_v1.") => Some(Family::EntityGraph),
            (model, _, _) if model.contains(".gfm_reasoner.") => Some(Family::TypedGraph),
            (_, "GNNRetriever", _) | (_, _, "GraphIndexDatasetV1") => Some(Family::EntityGraph),
            (_, "GraphReasoner", _) | (_, _, "GraphIndexDataset") => Some(Family::TypedGraph),
            _ => None,
        }
    }
}

/// What import-config takes.
const TAKEN: &str = "import-config takes the trainings of GFM-RAG: stage2_kg_pretrain.yaml and stage2_qa_finetune.yaml of 1.0, kgc_training.yaml and sft_training.yaml of 2.0, and files like them";

/// Keys that only stage 1 has.
const STAGE_1: [&str; 5] = [
    "kg_constructor",
    "qa_constructor",
    "ner_model",
    "openie_model",
    "el_model",
];
/// Keys that only stage 3 has.
const STAGE_3: [&str; 5] = [
    "graph_retriever",
    "qa_prompt",
    "agent_prompt",
    "llm",
    "test",
];

/// The value at a path of mappings.
fn at<'a>(config: &'a Config, path: &str) -> Option<&'a Value> {
    let mut keys = path.split('.');
    let first = config.tree.get(keys.next()?)?;
    keys.try_fold(first, |at, key| at.get(key))
}

/// The class that a section names; empty where it names none.
fn target<'a>(config: &'a Config, section: &str) -> &'a str {
    let class = at(config, &format!("{section}._target_"));
    class.and_then(Value::as_str).unwrap_or_default()
}

/// The name of a class of GFM-RAG without its package; empty for a class of another package, which
/// may do anything.
pub(super) fn class(path: &str) -> &str {
    match path.rsplit_once('.') {
        None => path,
        Some((package, class)) if package == "gfmrag" || package.starts_with("gfmrag.") => class,
        Some(_) => "",
    }
}

/// Keys that no file of 1.0 has. (Other keys of 2.0 were moved, or are in files of both.)
const KEYS_OF_2: [&str; 10] = [
    "trainer",
    "losses",
    "load_model_from_pretrained",
    "graph_constructor",
    "sft_constructor",
    "test_max_sample",
    "test.n_sample",
    "test.node_path",
    "graph_retriever.target_type",
    "graph_retriever.graph_constructor",
];
/// Groups that 1.0 does not have.
const GROUPS_OF_2: [&str; 2] = ["graph_constructor", "sft_constructor"];
/// Packages that 1.0 does not have.
const PACKAGES_OF_2: [&str; 6] = [
    "gfmrag.graph_index_datasets.",
    "gfmrag.graph_index_construction.",
    "gfmrag.trainers.",
    "gfmrag.models.gfm_rag_v1.",
    "gfmrag.models.gfm_reasoner.",
    "gfmrag.models.ultra.",
];

/// What a configuration of GFM-RAG 2.0 is for; `None` if it is one of 1.0. 2.0 has other keys for
/// the same settings, so that reading it as one of 1.0 would result in a training with default
/// values.
fn version_2(config: &Config) -> Result<Option<(Training, Family)>, ImportError> {
    let key = KEYS_OF_2.into_iter().find(|k| at(config, k).is_some());
    let group = || {
        let mut groups = config.groups.iter().map(|g| g.0.as_str());
        groups.find(|g| GROUPS_OF_2.contains(g))
    };
    let (path, mark) = if let Some(key) = key {
        (key.to_owned(), format!("`{key}`"))
    } else if let Some((path, class)) = class_of_2(config) {
        (path, format!("`{class}`"))
    } else if let Some(group) = group() {
        ("defaults".to_owned(), format!("the group `{group}`"))
    } else {
        return Ok(None);
    };
    let what = match (purpose_of_2(config), Family::of_2(config)) {
        (Purpose::Training(training), Some(family)) => return Ok(Some((training, family))),
        (Purpose::Training(_), None) => {
            "its model and data sets are not those of gfm_rag_v1 or gfm_reasoner"
        }
        (Purpose::Other(what), _) => what,
    };
    Err(ImportError::Kind {
        place: config.places.get(&path),
        what: format!(
            "this is a configuration of GFM-RAG 2.0 ({what}; {mark} is not in 1.0), which import-config does not read"
        ),
        hint: TAKEN,
    })
}

/// What a configuration of 2.0 is for.
enum Purpose {
    Training(Training),
    /// Something else, in words.
    Other(&'static str),
}

/// The first class that belongs to a package of 2.0, with the path of its key.
fn class_of_2(config: &Config) -> Option<(String, String)> {
    fn find(path: &str, value: &Value) -> Option<(String, String)> {
        match value {
            Value::Object(map) => map.iter().find_map(|(key, value)| {
                let path = if path.is_empty() {
                    key.clone()
                } else {
                    format!("{path}.{key}")
                };
                let class = value.as_str().filter(|_| key == "_target_");
                match class.filter(|c| PACKAGES_OF_2.iter().any(|p| c.starts_with(p))) {
                    Some(class) => Some((path, class.to_owned())),
                    None => find(&path, value),
                }
            }),
            Value::Array(items) => {
                let mut items = items.iter().enumerate();
                items.find_map(|(i, item)| find(&format!("{path}[{i}]"), item))
            }
            _ => None,
        }
    }
    config.tree.iter().find_map(|(key, value)| {
        let within = Value::Object([(key.clone(), value.clone())].into_iter().collect());
        find("", &within)
    })
}

fn purpose_of_2(config: &Config) -> Purpose {
    let has = |path: &str| at(config, path).is_some();
    let model = class(target(config, "model"));
    match class(target(config, "trainer")) {
        "KGCTrainer" => return Purpose::Training(Training::Pretrain),
        "SFTTrainer" => return Purpose::Training(Training::Finetune),
        _ => {}
    }
    if has("trainer") || has("losses") || has("model") {
        return Purpose::Training(match model {
            "QueryGNN" if !has("losses") => Training::Pretrain,
            _ => Training::Finetune,
        });
    }
    Purpose::Other(if has("graph_retriever") {
        "retrieval in steps with a language model"
    } else if has("test") || has("llm") {
        "answering with a language model"
    } else if has("test_max_sample") {
        "explaining answers by paths"
    } else {
        "indexing of documents"
    })
}
