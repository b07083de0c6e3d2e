//! What a configuration is for: one of the trainings of GFM-RAG 1.0, or something that cannot be
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

    /// The reference's class for its data sets.
    pub fn datasets(self) -> &'static str {
        match self {
            Training::Pretrain => "KGDataset",
            Training::Finetune => "QADataset",
        }
    }

    /// The training that a configuration is for.
    pub fn of(config: &Config) -> Result<Self, ImportError> {
        version_2(config)?;
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
            return Ok(Training::Finetune);
        }
        if is(["QueryGNN", "KGDataset"]) || set("task.num_negative") {
            return Ok(Training::Pretrain);
        }
        refused(
            "model._target_",
            "neither a pre-training nor a fine-tuning of GFM-RAG: model._target_ is neither QueryGNN nor GNNRetriever",
            "import-config takes stage2_kg_pretrain.yaml, stage2_qa_finetune.yaml and files like them",
        )
    }
}

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

/// Refuses a configuration of GFM-RAG 2.0. It has other keys for the same settings, so that reading
/// it as one of 1.0 would result in a training with default values.
fn version_2(config: &Config) -> Result<(), ImportError> {
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
        return Ok(());
    };
    Err(ImportError::Kind {
        place: config.places.get(&path),
        what: format!(
            "this is a configuration of GFM-RAG 2.0 ({}; {mark} is not in 1.0), which gfm-pipe does not read yet",
            purpose_of_2(config)
        ),
        hint: "import-config reads those of GFM-RAG 1.0, stage2_kg_pretrain.yaml and stage2_qa_finetune.yaml; `gfm-pipe init DATA` writes a pipeline for a folder of data",
    })
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

/// What a configuration of 2.0 is for, in words.
fn purpose_of_2(config: &Config) -> String {
    let has = |path: &str| at(config, path).is_some();
    let trainer = class(target(config, "trainer"));
    let model = target(config, "model");
    let what = if trainer == "KGCTrainer" || (trainer.is_empty() && class(model) == "QueryGNN") {
        "pre-training on knowledge graph completion"
    } else if has("trainer") || has("losses") || has("model") {
        "supervised fine-tuning"
    } else if has("graph_retriever") {
        "retrieval in steps with a language model"
    } else if has("test") || has("llm") {
        "answering with a language model"
    } else if has("test_max_sample") {
        "explaining answers by paths"
    } else {
        "indexing of documents"
    };
    let family = if model.starts_with("gfmrag.models.gfm_reasoner.") {
        " of G-reasoner"
    } else {
        ""
    };
    format!("{what}{family}")
}
