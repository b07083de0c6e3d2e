//! Converts the tree of a configuration to stages.
//!
//! Keys that an operator's schema knows go into `with`; data sets and encoder become stages. The
//! reference's classes have defaults that its configuration files do not repeat (no shortcut, no
//! layer norm): these are written out.

use std::collections::BTreeSet;
use std::path::Path;

use gfm_pipe_api::printable::one_line;
use gfm_pipe_api::schema::as_switch;
use gfm_pipe_api::{Field, OpEntry, Schema, Type, path_text};
use serde_json::{Map, Value, json};

use super::hydra::{Config, has_no_effect};
use super::kind::{Family, Training};
use super::places::Places;
use super::{ImportError, Imported, Problem};

pub(super) type Tree = Map<String, Value>;

/// The state of an import.
pub(super) struct Import<'a> {
    file: &'a Path,
    ops: &'a [OpEntry],
    pub training: Training,
    pub family: Family,
    /// The type of the nodes that are entities.
    pub target_type: String,
    /// Whether a fine-tuned model is evaluated.
    pub evaluates: bool,
    /// What is left of the configuration: each part is taken out when it is understood.
    pub root: Tree,
    pub places: Places,
    followed: BTreeSet<String>,
    notes: Vec<String>,
    unknown: Vec<(String, String)>,
    problems: Vec<Problem>,
}

/// The pipeline of a configuration, and the parts of the configuration that are not understood.
pub(super) fn convert(
    file: &Path,
    config: Config,
    ops: &[OpEntry],
) -> Result<(Imported, Vec<Problem>), ImportError> {
    let (training, family) = Training::of(&config)?;
    let mut import = Import {
        file,
        ops,
        training,
        family,
        target_type: "entity".to_owned(),
        evaluates: true,
        root: config.tree,
        places: config.places,
        followed: config.followed,
        notes: config.notes,
        unknown: Vec::new(),
        problems: config.problems,
    };
    match family {
        Family::First => import.slips(),
        Family::EntityGraph | Family::TypedGraph => import.second(),
    }
    let pipeline = import.pipeline()?;
    import.references(&mut Vec::new(), &pipeline);
    let imported = Imported {
        yaml: import.text(&pipeline),
        notes: import.notes,
        unknown: import.unknown,
    };
    Ok((imported, import.problems))
}

impl Import<'_> {
    pub fn note(&mut self, text: impl Into<String>) {
        self.notes.push(text.into());
    }

    /// Adds a note and a problem for something that is not understood and could change the
    /// training.
    pub fn wrong(&mut self, key: &str, text: impl Into<String>) {
        let message = text.into();
        self.note(message.clone());
        self.problem(key, message);
    }

    /// Adds a problem for an unknown key, and lists the key as unknown.
    pub fn unknown(&mut self, key: impl Into<String>, value: impl std::fmt::Display) {
        let (key, value) = (key.into(), value.to_string());
        self.problem(&key, format!("`{key}` is not known ({value})"));
        self.unknown.push((key, value));
    }

    fn problem(&mut self, key: &str, message: String) {
        self.problems.push(Problem {
            place: self.places.get(key),
            key: key.to_owned(),
            message,
        });
    }

    /// Whether a value refers to the value at this path.
    pub fn is_followed(&self, path: &str) -> bool {
        self.followed.contains(path)
    }

    pub fn op(&self, name: &'static str) -> Result<OpEntry, ImportError> {
        let found = self.ops.iter().find(|o| o.name == name);
        found.cloned().ok_or(ImportError::Operator(name))
    }

    /// Takes a mapping out of the top of the configuration.
    pub fn section(&mut self, key: &str) -> Tree {
        let value = self.root.remove(key);
        self.mapping(key, value)
    }

    /// A value that has to be a mapping, empty where there is none. `path` is where it was written.
    pub fn mapping(&mut self, path: &str, value: Option<Value>) -> Tree {
        match value {
            None | Some(Value::Null) => Tree::new(),
            Some(Value::Object(map)) => map,
            Some(other) => {
                self.unknown(path, other);
                Tree::new()
            }
        }
    }

    /// Moves keys that are written in the wrong place, as in the guide's own examples.
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
                self.moved("optimizer", "task.", moved);
                self.note(format!("{} moved to `optimizer`", names.join(" and ")));
            }
        }
        if let Some(checkpoint) = self.root.remove("checkpoint") {
            let moved = Tree::from_iter([("checkpoint".to_owned(), checkpoint)]);
            self.moved("train", "", moved);
            self.note("`checkpoint` moved to `train.checkpoint`");
        }
    }

    /// Moves keys that were written elsewhere into a section (`from` is the beginning of their
    /// paths there). Where the section already has another value, that value stays and the moved
    /// one is listed as unknown.
    fn moved(&mut self, section: &str, from: &str, keys: Tree) {
        let slot = self.root.entry(section).or_insert(Value::Null);
        if slot.is_null() {
            *slot = Value::Object(Tree::new());
        }
        let mut lost = Vec::new();
        for (key, value) in keys {
            let (to, from) = (format!("{section}.{key}"), format!("{from}{key}"));
            let Value::Object(map) = &mut *slot else {
                lost.push((from, value.to_string()));
                continue;
            };
            let old = map.entry(key).or_insert(Value::Null);
            if old.is_null() {
                *old = value;
                self.places.moved(to, from);
            } else if *old != value && !value.is_null() {
                lost.push((from, format!("{value}; `{to}` is {old}")));
            }
        }
        for (key, value) in lost {
            self.unknown(key, value);
        }
    }

    fn pipeline(&mut self) -> Result<Value, ImportError> {
        if let Some(hydra) = self.root.remove("hydra") {
            let dir = hydra["run"]["dir"].as_str();
            let dir = dir.map(|d| format!(" ({d})")).unwrap_or_default();
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
            let key = self.places.written("train.checkpoint");
            self.note(format!(
                "`{key}` is `{path}`: a file or folder here; a model on a hub is not fetched, put its config.json and model.pth into that folder"
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
        self.left_over();
        let with = Value::Object(with);
        if let Err(problems) = op.validate(&with) {
            for p in problems {
                let hint = p.hint.map(|h| format!(" ({h})")).unwrap_or_default();
                let key = path_text(&p.path);
                let written = self.places.written(&key);
                self.wrong(
                    &key,
                    format!("`{written}` must be corrected: {}{hint}", p.message),
                );
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

    /// Reports the keys of the configuration that were not used.
    fn left_over(&mut self) {
        for (key, value) in std::mem::take(&mut self.root) {
            let within = format!("{key}.");
            let mut followed = self.followed.iter();
            if has_no_effect(&key) {
                self.note(format!(
                    "`{key}` ({value}) cannot change the training: left out"
                ));
            } else if followed.any(|p| *p == key || p.starts_with(&within)) {
                self.note(format!(
                    "`{key}` ({value}) stands in the values that refer to it"
                ));
            } else {
                self.unknown(key, value);
            }
        }
    }

    /// Reports the values that still hold a reference that only a running Hydra could resolve.
    fn references(&mut self, path: &mut Vec<String>, value: &Value) {
        match value {
            Value::String(text) if text.contains("${") => {
                let path = path.join(".");
                let why = format!("`{text}` needs a running Hydra");
                self.note(format!("`{path}` must be corrected: {why}"));
                let key = written_as(&path);
                let written = self.places.written(&key);
                self.problem(&key, format!("`{written}` must be corrected: {why}"));
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

    /// The pipeline's name, made from the file's name.
    pub fn name(&self) -> String {
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

    /// Keeps the keys of a section that the schema knows, and lists the others as unknown.
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
                (None, value) => self.unknown(path, value),
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

/// The key of the configuration that the value at a path of the pipeline came from.
fn written_as(path: &str) -> String {
    let keys = [
        ("vars.data", "datasets.cfgs.root"),
        ("vars.train_names", "datasets.train_names"),
        ("vars.valid_names", "datasets.valid_names"),
        ("vars.encoder", "text_emb_model.text_emb_model_name"),
    ];
    if let Some((_, key)) = keys.iter().find(|(var, _)| *var == path) {
        return (*key).to_owned();
    }
    let parameter = path.split_once(".with.").map(|(_, key)| key);
    parameter.unwrap_or(path).to_owned()
}

/// The field of a schema for a key; `None` when there is none, or it must not be set.
pub(super) fn known<'a>(schema: &'a Schema, key: &str) -> Option<&'a Field> {
    schema
        .fields
        .iter()
        .find(|f| f.name == key && f.refused.is_none())
}
