//! What a training gets from the configuration: data sets, text encoder, document ranker.

use gfm_pipe_api::schema::as_switch;
use serde_json::{Value, json};

use super::ImportError;
use super::convert::{Import, Tree, known};
use super::kind::{Training, class};

/// The data sets of a training.
pub(super) struct DataSets {
    pub root: String,
    pub train: Vec<String>,
    pub valid: Vec<String>,
    /// Keys that belong to the training loop in a pipeline.
    pub loop_keys: Tree,
}

/// A key whose value is not repeated anywhere.
const SECRET: &str = "api_key";

/// The text encoder.
pub(super) struct Encoder {
    /// The model for the `embed` operator.
    pub model: String,
    /// Further settings for `embed`.
    pub with: Tree,
    /// The settings as written in the configuration.
    pub settings: Tree,
}

impl Import<'_> {
    /// The document ranker, for the validation and the evaluation.
    pub fn ranker(&mut self) -> Option<Value> {
        if self.training == Training::Pretrain {
            if let Some(given) = self.root.remove("doc_ranker") {
                self.note(format!(
                    "`doc_ranker` ({given}): pre-training ranks no documents"
                ));
            }
            return None;
        }
        let mut given = self.section("doc_ranker");
        if given.is_empty() {
            return None;
        }
        let target = given.remove("_target_").unwrap_or_default();
        let name = match class(target.as_str().unwrap_or_default()) {
            "SimpleRanker" => "simple",
            "IDFWeightedRanker" => "idf",
            "TopKRanker" => "topk",
            "IDFWeightedTopKRanker" => "idf_topk",
            _ => {
                let why = match target {
                    Value::Null => "names no class".to_owned(),
                    other => format!("there is no ranker {other}"),
                };
                self.wrong(
                    "doc_ranker._target_",
                    format!("`doc_ranker`: {why}: idf_topk is used instead"),
                );
                "idf_topk"
            }
        };
        let mut out = json!({"name": name});
        if let Some(k) = given.remove("top_k") {
            out["top_k"] = k;
        }
        for (key, value) in given {
            self.unknown(format!("doc_ranker.{key}"), value);
        }
        Some(out)
    }

    /// The data sets, and the keys of `datasets` that belong to the training loop in a pipeline.
    pub fn datasets(&mut self) -> DataSets {
        let mut section = self.section("datasets");
        if let Some(given) = section.remove("_target_") {
            let (op, expected) = (self.training.op(), self.family.datasets(self.training));
            if given.as_str().map(class) != Some(expected) {
                let key = "datasets._target_";
                self.wrong(
                    key,
                    format!("`{key}` must be corrected: {op} reads a {expected}, found {given}"),
                );
            }
        }
        let mut cfgs = self.mapping("datasets.cfgs", section.remove("cfgs"));
        let root = match cfgs.remove("root") {
            Some(Value::String(root)) => Some(root),
            None | Some(Value::Null) => None,
            Some(other) => {
                self.unknown("datasets.cfgs.root", other);
                None
            }
        };
        if let Some(force) = cfgs.remove("force_rebuild")
            && as_switch(&force) != Some(false)
        {
            let key = self.places.written("datasets.cfgs.force_rebuild");
            self.note(format!(
                "`{key}`: stages run again when their inputs change; `--force STAGE` makes them"
            ));
        }
        match cfgs.remove("text_emb_model_cfgs") {
            Some(encoder @ Value::Object(_)) => {
                let key = "text_emb_model".to_owned();
                self.places.moved(&key, "datasets.cfgs.text_emb_model_cfgs");
                if let Some(mut other) = self.root.insert(key, encoder.clone())
                    && other != encoder
                {
                    if let Value::Object(other) = &mut other {
                        other.remove(SECRET);
                    }
                    self.note(format!("`text_emb_model` ({other}) is not read: `datasets.cfgs.text_emb_model_cfgs` is another encoder"));
                }
            }
            None | Some(Value::Null) => {}
            Some(other) => self.unknown("datasets.cfgs.text_emb_model_cfgs", other),
        }
        let train = self.names("train_names", section.remove("train_names"));
        let valid = self.names("valid_names", section.remove("valid_names"));
        if section.remove("init_datasets").is_some() | section.remove("feat_dim").is_some() {
            self.note("`datasets.init_datasets` and `feat_dim` are not needed: stages prepare each data set once, and the encoder says its width");
        }
        let mut loop_keys = Tree::new();
        for key in ["max_datasets_in_memory", "data_loading_workers"] {
            if let Some(value) = section.remove(key) {
                loop_keys.insert(key.to_owned(), value);
                let (to, from) = (format!("train.{key}"), format!("datasets.{key}"));
                self.note(format!("`{from}` moved to `{to}`"));
                self.places.moved(to, from);
            }
        }
        if train.is_empty() {
            self.note("`datasets.train_names` is empty: name a data set in `vars.train_names`");
        }
        if self.training == Training::Pretrain && !valid.is_empty() {
            self.note(format!(
                "`datasets.valid_names` ({}): the reference only prepares them; validation is on triples held out of the training graphs (`train.valid_fraction`; 0 ranks training triples, as the reference)",
                valid.join(", ")
            ));
        }
        for (key, value) in cfgs {
            self.unknown(format!("datasets.cfgs.{key}"), value);
        }
        for (key, value) in section {
            self.unknown(format!("datasets.{key}"), value);
        }
        DataSets {
            root: root.unwrap_or_else(|| "./data".to_owned()),
            train,
            valid,
            loop_keys,
        }
    }

    /// A list of names of data sets.
    fn names(&mut self, key: &str, value: Option<Value>) -> Vec<String> {
        let mut out = Vec::new();
        for item in match value {
            Some(Value::Array(all)) => all,
            None | Some(Value::Null) => Vec::new(),
            Some(one) => vec![one],
        } {
            match item {
                Value::String(name) => out.push(name),
                Value::Number(name) => out.push(name.to_string()),
                other => self.unknown(format!("datasets.{key}"), other),
            }
        }
        out
    }

    /// The text encoder: the configured one where the `embed` operator of this build takes it,
    /// otherwise the static one.
    pub fn encoder(&mut self) -> Result<Encoder, ImportError> {
        let mut given = self.section("text_emb_model");
        if let Some(target) = given.remove("_target_") {
            let known = ["BaseTextEmbModel", "NVEmbedV2", "Qwen3TextEmbModel"];
            if !target.as_str().is_some_and(|c| known.contains(&class(c))) {
                self.unknown("text_emb_model._target_", target);
            }
        }
        self.server_of_encoder(&mut given);
        let op = self.op("embed")?;
        let name = match given.remove("text_emb_model_name") {
            Some(Value::String(name)) => Some(name),
            None | Some(Value::Null) => None,
            Some(other) => {
                self.unknown("text_emb_model.text_emb_model_name", other);
                None
            }
        };
        let settings = given.clone();
        let mut with = Tree::new();
        let Some(name) = name else {
            self.note("no text encoder is named: `encoder: static` is used instead");
            self.unused(given);
            return Ok(Encoder {
                model: "static".to_owned(),
                with,
                settings,
            });
        };
        let taken = op.validate(&json!({"model": name})).is_ok();
        if !taken {
            let key = "text_emb_model.text_emb_model_name";
            self.wrong(key, format!(
                "`text_emb_model` is `{name}`: this version embeds with the compiled-in static encoder only; `encoder: static` is used instead, so weights trained with the other one do not fit"
            ));
            self.unused(given);
            return Ok(Encoder {
                model: "static".to_owned(),
                with,
                settings,
            });
        }
        for (key, value) in given {
            if value.is_null() && known(&op.schema, &key).is_some() {
                continue;
            }
            if known(&op.schema, &key).is_some() {
                with.insert(key, value);
            } else {
                self.unknown(format!("text_emb_model.{key}"), value);
            }
        }
        Ok(Encoder {
            model: name.clone(),
            with,
            settings,
        })
    }

    /// Takes out what 2.0 tells a server of encoders.
    fn server_of_encoder(&mut self, given: &mut Tree) {
        for key in ["api_base", SECRET, "vllm_timeout"] {
            if given.remove(key).is_some_and(|v| !v.is_null()) {
                self.note(format!(
                    "`text_emb_model.{key}`: the encoder runs in gfm-pipe, not on a server"
                ));
            }
        }
        if given.get("tokenizer_kwargs").is_some_and(Value::is_null) {
            given.remove("tokenizer_kwargs");
        }
    }

    /// Notes the keys of another encoder that the static one does not use; unknown keys are listed.
    fn unused(&mut self, given: Tree) {
        let known = [
            "normalize",
            "batch_size",
            "query_instruct",
            "passage_instruct",
            "model_kwargs",
            "truncate_dim",
        ];
        let (unused, unknown): (Vec<_>, Vec<_>) = given
            .into_iter()
            .filter(|(_, v)| !v.is_null())
            .partition(|(k, _)| known.contains(&k.as_str()));
        if !unused.is_empty() {
            let keys: Vec<String> = unused.iter().map(|(k, v)| format!("{k}: {v}")).collect();
            self.note(format!(
                "`text_emb_model`: the static encoder has no use for {}",
                keys.join(", ")
            ));
        }
        for (key, value) in unknown {
            self.unknown(format!("text_emb_model.{key}"), value);
        }
    }
}
