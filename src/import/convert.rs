//! A configuration's tree to stages.
//!
//! What an operator's schema knows goes into `with`; data sets and encoder become stages. Class defaults of the reference that
//! its configuration files do not have (no shortcut, no layer norm) are written out.

use std::path::Path;

use gfm_pipe_api::schema::as_switch;
use gfm_pipe_api::{Field, OpEntry, Schema, Type, path_text};
use serde_json::{Map, Value, json};

use super::{ImportError, Imported};

type Tree = Map<String, Value>;

/// Which of the reference's two trainings a configuration is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Training {
    Pretrain,
    Finetune,
}

impl Training {
    fn op(self) -> &'static str {
        match self {
            Training::Pretrain => "pretrain",
            Training::Finetune => "finetune",
        }
    }

    fn of(file: &Path, root: &Tree) -> Result<Self, ImportError> {
        let refused = |what: &str, hint| {
            Err(ImportError::Kind {
                file: file.to_owned(),
                what: what.to_owned(),
                hint,
            })
        };
        let has = |key: &str| root.contains_key(key);
        if [
            "kg_constructor",
            "qa_constructor",
            "ner_model",
            "openie_model",
            "el_model",
        ]
        .iter()
        .any(|k| has(k))
        {
            return refused(
                "this configures stage 1 (documents to a knowledge graph), which gfm-pipe does not do yet",
                "make kg.txt and document2entities.json with GFM-RAG; import-config takes stage2_kg_pretrain and stage2_qa_finetune",
            );
        }
        if [
            "graph_retriever",
            "qa_prompt",
            "agent_prompt",
            "llm",
            "test",
        ]
        .iter()
        .any(|k| has(k))
        {
            return refused(
                "this configures stage 3 (answering with a language model), which gfm-pipe does not do yet",
                "import-config takes stage2_kg_pretrain and stage2_qa_finetune; `evaluate` measures a trained retriever",
            );
        }
        let root = Value::Object(root.clone());
        let class = |at: &Value| {
            let target = at["_target_"].as_str().unwrap_or_default();
            target.rsplit('.').next().unwrap_or_default().to_owned()
        };
        let classes = [class(&root["model"]), class(&root["datasets"])];
        let is = |names: [&str; 2]| classes.iter().any(|c| names.contains(&c.as_str()));
        if is(["GNNRetriever", "QADataset"]) || !root["task"]["losses"].is_null() {
            return Ok(Training::Finetune);
        }
        if is(["QueryGNN", "KGDataset"]) || !root["task"]["num_negative"].is_null() {
            return Ok(Training::Pretrain);
        }
        refused(
            "neither a pre-training nor a fine-tuning of GFM-RAG: model._target_ is neither QueryGNN nor GNNRetriever",
            "import-config takes stage2_kg_pretrain.yaml, stage2_qa_finetune.yaml and files like them",
        )
    }
}

struct Import<'a> {
    file: &'a Path,
    ops: &'a [OpEntry],
    training: Training,
    root: Tree,
    notes: Vec<String>,
    unknown: Vec<(String, String)>,
}

pub(super) fn convert(
    file: &Path,
    root: Tree,
    notes: Vec<String>,
    ops: &[OpEntry],
) -> Result<Imported, ImportError> {
    let training = Training::of(file, &root)?;
    let mut import = Import {
        file,
        ops,
        training,
        root,
        notes,
        unknown: Vec::new(),
    };
    import.slips();
    let pipeline = import.pipeline()?;
    import.references(&mut Vec::new(), &pipeline);
    Ok(Imported {
        yaml: import.text(&pipeline),
        notes: import.notes,
        unknown: import.unknown,
    })
}

impl Import<'_> {
    fn note(&mut self, text: impl Into<String>) {
        self.notes.push(text.into());
    }

    fn op(&self, name: &'static str) -> Result<OpEntry, ImportError> {
        let found = self.ops.iter().find(|o| o.name == name);
        found.cloned().ok_or(ImportError::Operator(name))
    }

    /// A mapping at the top, taken out.
    fn section(&mut self, key: &str) -> Tree {
        match self.root.remove(key) {
            None | Some(Value::Null) => Tree::new(),
            Some(Value::Object(map)) => map,
            Some(other) => {
                self.unknown.push((key.to_owned(), other.to_string()));
                Tree::new()
            }
        }
    }

    /// Keys that stand in another place than they mean, as in the guide's own examples.
    fn slips(&mut self) {
        if let Some(Value::Object(task)) = self.root.get_mut("task") {
            let empty = task.get("optimizer").is_some_and(Value::is_null);
            let keys = ["_target_", "lr", "betas", "eps", "weight_decay"];
            let moved: Tree = keys
                .iter()
                .filter(|k| empty || **k == "lr")
                .filter_map(|k| Some(((*k).to_owned(), task.remove(*k)?)))
                .collect();
            if empty {
                task.remove("optimizer");
            }
            if !moved.is_empty() {
                let names: Vec<String> = moved.keys().map(|k| format!("`task.{k}`")).collect();
                self.moved("optimizer", moved);
                self.note(format!("{} moved to `optimizer`", names.join(" and ")));
            }
        }
        if let Some(checkpoint) = self.root.remove("checkpoint") {
            let moved = Tree::from_iter([("checkpoint".to_owned(), checkpoint)]);
            self.moved("train", moved);
            self.note("`checkpoint` moved to `train.checkpoint`");
        }
    }

    /// Puts keys into a section; where one holds another value already, that stays and the moved one is listed.
    fn moved(&mut self, section: &str, keys: Tree) {
        let slot = self.root.entry(section).or_insert(Value::Null);
        if slot.is_null() {
            *slot = Value::Object(Tree::new());
        }
        let Value::Object(map) = slot else {
            let lost = keys.into_iter().map(|(k, v)| (k, v.to_string()));
            self.unknown.extend(lost);
            return;
        };
        for (key, value) in keys {
            let old = map.entry(key.clone()).or_insert(Value::Null);
            if old.is_null() {
                *old = value;
            } else if *old != value && !value.is_null() {
                let kept = format!("{value} (`{section}.{key}` is {old})");
                self.unknown.push((key, kept));
            }
        }
    }

    fn pipeline(&mut self) -> Result<Value, ImportError> {
        if let Value::Object(hydra) = self.root.remove("hydra").unwrap_or_default() {
            let dir = Value::Object(hydra)["run"]["dir"].clone();
            let dir = dir.as_str().map(|d| format!(" ({d})")).unwrap_or_default();
            self.note(format!(
                "`hydra`{dir}: results go to the store, `--store DIR` says where"
            ));
        }
        let datasets = self.datasets();
        let encoder = self.encoder()?;
        let mut with = Tree::new();
        if let Some(seed) = self.root.remove("seed") {
            with.insert("seed".to_owned(), seed);
        }
        let mut model = self.section("model");
        self.class_defaults(&mut model);
        let ranker = self.ranker();
        let mut train = self.section("train");
        train.extend(datasets.loop_keys.clone());
        let save = train.get("save_pretrained").cloned();
        if let Some(path) = train.get("checkpoint").and_then(Value::as_str) {
            let path = path.to_owned();
            self.note(format!(
                "`train.checkpoint` is `{path}`: a file or folder here; a model on a hub is not fetched, put its config.json and model.pth into that folder"
            ));
        }
        let op = self.op(self.training.op())?;
        for (key, section) in [
            ("model", model),
            ("task", self.section("task")),
            ("optimizer", self.section("optimizer")),
            ("train", train),
        ] {
            if let Some(field) = op.schema.fields.iter().find(|f| f.name == key) {
                let kept = self.keep(key, section, field);
                with.insert(key.to_owned(), kept);
            }
        }
        if let Some(ranker) = &ranker {
            with.insert("doc_ranker".to_owned(), ranker.clone());
        }
        for (key, value) in std::mem::take(&mut self.root) {
            self.unknown.push((key, value.to_string()));
        }
        let with = Value::Object(with);
        if let Err(problems) = op.validate(&with) {
            for p in problems {
                let hint = p.hint.map(|h| format!(" ({h})")).unwrap_or_default();
                self.note(format!(
                    "`{}` has to be mended: {}{hint}",
                    path_text(&p.path),
                    p.message
                ));
            }
        }
        let exports = save.is_some_and(|v| as_switch(&v) == Some(true));
        let stages = self.stages(&datasets, &encoder, with, ranker.as_ref(), exports);
        let mut vars = Tree::new();
        vars.insert("data".to_owned(), datasets.root.into());
        vars.insert("train_names".to_owned(), datasets.train.into());
        if self.training == Training::Finetune && !datasets.valid.is_empty() {
            vars.insert("valid_names".to_owned(), datasets.valid.into());
        }
        vars.insert("encoder".to_owned(), encoder.model.into());
        Ok(json!({"version": 1, "name": self.name(), "vars": vars, "stages": stages}))
    }

    /// Says which values still hold a reference that only a running Hydra could follow.
    fn references(&mut self, path: &mut Vec<String>, value: &Value) {
        match value {
            Value::String(text) if text.contains("${") => {
                let message = format!(
                    "`{}` has to be mended: `{text}` needs a running Hydra",
                    path.join(".")
                );
                self.note(message);
            }
            Value::Array(items) => items.iter().for_each(|v| self.references(path, v)),
            Value::Object(map) => {
                for (key, value) in map {
                    path.push(key.clone());
                    self.references(path, value);
                    path.pop();
                }
            }
            _ => {}
        }
    }

    /// The pipeline's name: the file's.
    fn name(&self) -> String {
        let stem = self.file.file_stem().unwrap_or_default().to_string_lossy();
        let name: String = stem
            .chars()
            .map(|c| {
                if c.is_ascii_alphanumeric() || c == '_' {
                    c
                } else {
                    '-'
                }
            })
            .take(90)
            .collect();
        if name.starts_with(|c: char| c.is_ascii_alphabetic()) {
            name
        } else {
            self.training.op().to_owned()
        }
    }

    /// Keeps of a section what the schema knows; the rest is listed as unknown.
    fn keep(&mut self, path: &str, section: Tree, field: &Field) -> Value {
        let Type::Object(schema) = &field.ty else {
            return Value::Object(section);
        };
        let mut out = Tree::new();
        for (key, value) in section {
            let path = format!("{path}.{key}");
            match (known(schema, &key), value) {
                (Some(f), Value::Object(inner)) if matches!(f.ty, Type::Object(_)) => {
                    let kept = self.keep(&path, inner, f);
                    out.insert(key, kept);
                }
                (Some(_), value) => {
                    out.insert(key, value);
                }
                (None, value) => self.unknown.push((path, value.to_string())),
            }
        }
        Value::Object(out)
    }

    fn class_defaults(&mut self, model: &mut Tree) {
        let Some(Value::Object(entity)) = model.get_mut("entity_model") else {
            return;
        };
        for key in ["short_cut", "layer_norm"] {
            if !entity.contains_key(key) {
                entity.insert(key.to_owned(), json!(false));
                self.notes.push(format!(
                    "`model.entity_model.{key}` is not set: written out as no, the default of the reference's class"
                ));
            }
        }
    }

    fn ranker(&mut self) -> Option<Value> {
        if self.training == Training::Pretrain {
            return None;
        }
        let mut given = self.section("doc_ranker");
        if given.is_empty() {
            return None;
        }
        let target = given.remove("_target_");
        let class = target.as_ref().and_then(Value::as_str).unwrap_or_default();
        let name = match class.rsplit('.').next().unwrap_or_default() {
            "" => {
                self.note("`doc_ranker` names no class: idf_topk stands in its place");
                "idf_topk"
            }
            "SimpleRanker" => "simple",
            "IDFWeightedRanker" => "idf",
            "TopKRanker" => "topk",
            "IDFWeightedTopKRanker" => "idf_topk",
            other => {
                let message = format!(
                    "`doc_ranker`: there is no ranker `{other}`: idf_topk stands in its place"
                );
                self.note(message);
                "idf_topk"
            }
        };
        let mut out = json!({"name": name});
        if let Some(k) = given.remove("top_k") {
            out["top_k"] = k;
        }
        for (key, value) in given {
            self.unknown
                .push((format!("doc_ranker.{key}"), value.to_string()));
        }
        Some(out)
    }

    fn datasets(&mut self) -> DataSets {
        let mut section = self.section("datasets");
        section.remove("_target_");
        let mut cfgs = match section.remove("cfgs") {
            Some(Value::Object(map)) => map,
            _ => Tree::new(),
        };
        let root = cfgs
            .remove("root")
            .and_then(|v| v.as_str().map(str::to_owned));
        if let Some(force) = cfgs.remove("force_rebuild")
            && force != json!(false)
            && force != json!("no")
        {
            self.note("`datasets.cfgs.force_rebuild`: stages run again when their inputs change; `--force STAGE` makes them");
        }
        if let Some(Value::Object(encoder)) = cfgs.remove("text_emb_model_cfgs") {
            self.root
                .insert("text_emb_model".to_owned(), Value::Object(encoder));
        }
        let unknown = &mut self.unknown;
        let mut names = |key: &str| -> Vec<String> {
            match section.remove(key) {
                Some(Value::Array(all)) => all
                    .iter()
                    .map(|v| v.as_str().map_or_else(|| v.to_string(), str::to_owned))
                    .collect(),
                Some(Value::String(one)) => vec![one],
                None | Some(Value::Null) => Vec::new(),
                Some(other) => {
                    unknown.push((format!("datasets.{key}"), other.to_string()));
                    Vec::new()
                }
            }
        };
        let (train, valid) = (names("train_names"), names("valid_names"));
        if section.remove("init_datasets").is_some() | section.remove("feat_dim").is_some() {
            self.note("`datasets.init_datasets` and `feat_dim` are not needed: stages prepare each data set once, and the encoder says its width");
        }
        let mut loop_keys = Tree::new();
        for key in ["max_datasets_in_memory", "data_loading_workers"] {
            if let Some(value) = section.remove(key) {
                loop_keys.insert(key.to_owned(), value);
                self.note(format!("`datasets.{key}` moved to `train.{key}`"));
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
            self.unknown
                .push((format!("datasets.cfgs.{key}"), value.to_string()));
        }
        for (key, value) in section {
            self.unknown
                .push((format!("datasets.{key}"), value.to_string()));
        }
        DataSets {
            root: root.unwrap_or_else(|| "./data".to_owned()),
            train,
            valid,
            loop_keys,
        }
    }

    /// The encoder: what the `embed` operator of this build takes, else the static one.
    fn encoder(&mut self) -> Result<Encoder, ImportError> {
        let mut given = self.section("text_emb_model");
        given.remove("_target_");
        let op = self.op("embed")?;
        let name = given.remove("text_emb_model_name");
        let name = name.as_ref().and_then(Value::as_str).map(str::to_owned);
        let settings = given.clone();
        let mut with = Tree::new();
        let Some(name) = name else {
            self.note("no text encoder is named: `encoder: static` stands in its place");
            self.unused(given);
            return Ok(Encoder {
                model: "static".to_owned(),
                with,
                settings,
            });
        };
        let taken = op.validate(&json!({"model": name})).is_ok();
        if !taken {
            self.note(format!(
                "`text_emb_model` is `{name}`: this version embeds with the compiled-in static encoder only; `encoder: static` stands in its place, so weights trained with the other one do not fit"
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
                self.unknown
                    .push((format!("text_emb_model.{key}"), value.to_string()));
            }
        }
        Ok(Encoder {
            model: name.clone(),
            with,
            settings,
        })
    }

    /// Says which keys of another encoder the static one has no use for; those nobody knows are listed.
    fn unused(&mut self, given: Tree) {
        let known = [
            "normalize",
            "batch_size",
            "query_instruct",
            "passage_instruct",
            "model_kwargs",
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
            self.unknown
                .push((format!("text_emb_model.{key}"), value.to_string()));
        }
    }

    fn stages(
        &mut self,
        datasets: &DataSets,
        encoder: &Encoder,
        with: Value,
        ranker: Option<&Value>,
        exports: bool,
    ) -> Value {
        let init_entities_weight = with.pointer("/train/init_entities_weight").cloned();
        let mut stages = Tree::new();
        let finetune = self.training == Training::Finetune;
        let valid = finetune && !datasets.valid.is_empty();
        family(
            &mut stages,
            "",
            "train_names",
            finetune.then_some("train"),
            encoder,
        );
        if valid {
            family(&mut stages, "valid_", "valid_names", Some("test"), encoder);
        }
        let name = self.training.op();
        let inputs = match (finetune, valid) {
            (false, _) => json!({"graph": "graph[*]"}),
            (true, false) => json!({
                "graph": "graph[*]", "documents": "documents[*]",
                "train": "questions[*].train", "train_embeddings": "asked[*]",
            }),
            (true, true) => json!({
                "graph": "graph[*]", "documents": "documents[*]",
                "train": "questions[*].train", "train_embeddings": "asked[*]",
                "valid": "valid_questions[*].test", "valid_embeddings": "valid_asked[*]",
                "valid_graph": "valid_graph[*]", "valid_documents": "valid_documents[*]",
            }),
        };
        stages.insert(
            name.to_owned(),
            json!({"op": name, "in": inputs, "with": with}),
        );
        if valid {
            let ranker = ranker
                .cloned()
                .unwrap_or_else(|| json!({"name": "idf_topk"}));
            let mut with = json!({"rankers": [ranker["name"]]});
            if !ranker["top_k"].is_null() {
                with["top_k"] = ranker["top_k"].clone();
            }
            if let Some(weighted) = init_entities_weight {
                with["init_entities_weight"] = weighted;
            }
            self.note("the epoch is chosen on test.json of `valid_names`, as in the reference, and `evaluate` reports on the same questions: name other data sets there than those you report on");
            stages.insert(
                "evaluate".to_owned(),
                json!({
                    "op": "evaluate",
                    "foreach": {"ds": "{{ valid_names }}"},
                    "in": {
                        "model": "finetune.model", "graph": "valid_graph", "documents": "valid_documents",
                        "corpus": "valid_questions.documents", "questions": "valid_questions.test",
                        "question_embeddings": "valid_asked",
                    },
                    "with": with,
                }),
            );
        }
        if exports {
            let path = format!("outputs/{}/pretrained", self.name());
            self.note(format!(
                "`train.save_pretrained`: stage `export` writes config.json and model.pth to {path}"
            ));
            let mut text = Tree::new();
            for (key, value) in &encoder.settings {
                if key != "model_kwargs" && encoder.model != "static" {
                    text.insert(key.clone(), value.clone());
                }
            }
            // Not the encoder's name: `export` takes that of the embeddings, whatever `-p encoder=` makes of them.
            let mut with = json!({"path": path});
            if !text.is_empty() {
                with["text_emb_model"] = Value::Object(text);
            }
            let model = format!("{name}.model");
            stages.insert(
                "export".to_owned(),
                json!({"op": "export", "in": {"model": model}, "with": with}),
            );
        }
        Value::Object(stages)
    }

    fn text(&self, pipeline: &Value) -> String {
        let file = self.file.file_name().unwrap_or_default().to_string_lossy();
        let mut out = format!(
            "# Made from {} by `gfm-pipe import-config`.\n",
            one_line(&file)
        );
        for note in &self.notes {
            out += &format!("# - {}\n", one_line(note));
        }
        for (key, value) in &self.unknown {
            out += &format!(
                "# - not known, left out: {}\n",
                one_line(&format!("{key}: {value}"))
            );
        }
        out + &serde_yaml::to_string(pipeline).unwrap_or_else(|_| pipeline.to_string())
    }
}

struct DataSets {
    root: String,
    train: Vec<String>,
    valid: Vec<String>,
    /// Keys that are the training loop's here.
    loop_keys: Tree,
}

struct Encoder {
    /// For `embed`.
    model: String,
    /// Its further settings there.
    with: Tree,
    /// As the configuration has them.
    settings: Tree,
}

fn known<'a>(schema: &'a Schema, key: &str) -> Option<&'a Field> {
    schema
        .fields
        .iter()
        .find(|f| f.name == key && f.refused.is_none())
}

fn one_line(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

/// The stages of the data sets of one list: graph, and with a split also documents and questions.
fn family(stages: &mut Tree, prefix: &str, list: &str, split: Option<&str>, encoder: &Encoder) {
    let embed = |texts: String, query: bool| {
        let mut with = json!({"model": "{{ encoder }}"});
        if query {
            with["is_query"] = true.into();
        }
        for (key, value) in &encoder.with {
            with[key] = value.clone();
        }
        json!({"op": "embed", "in": {"texts": texts}, "with": with})
    };
    let p = |name: &str| format!("{prefix}{name}");
    let mut all = vec![
        (
            "kg",
            json!({"op": "ingest-kg", "with": {"path": "{{ data }}/{{ ds }}/processed/stage1/kg.txt"}}),
        ),
        ("relations", embed(p("kg.relations"), false)),
        (
            "graph",
            json!({"op": "build-graph", "in": {
                "triples": p("kg.triples"), "entities": p("kg.entities"), "relations": p("relations"),
            }}),
        ),
    ];
    if let Some(split) = split {
        all.push((
            "questions",
            json!({"op": "ingest-qa", "in": {"entities": p("kg.entities")},
                   "with": {"root": "{{ data }}/{{ ds }}", "dataset": "{{ ds }}"}}),
        ));
        all.push((
            "documents",
            json!({"op": "build-documents", "in": {
                "entities": p("kg.entities"), "documents": p("questions.documents"), "links": p("questions.links"),
            }}),
        ));
        all.push(("asked", embed(p(&format!("questions.{split}")), true)));
    }
    for (name, mut body) in all {
        body["foreach"] = json!({"ds": format!("{{{{ {list} }}}}")});
        // `op` first, then what it goes over.
        if let Value::Object(map) = &mut body {
            let foreach = map.shift_remove("foreach").unwrap_or_default();
            map.shift_insert(1, "foreach".to_owned(), foreach);
        }
        stages.insert(p(name), body);
    }
}
