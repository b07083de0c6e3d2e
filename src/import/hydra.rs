//! A Hydra configuration as one tree: overrides applied, `defaults` merged in, `${…}` references
//! resolved.
//!
//! Group files (`text_emb_model: mpnet`) are read beside the configuration; where they are missing,
//! the files of GFM-RAG 1.0.0 are known by name. Resolvers that need a running Hydra (`${now:…}`)
//! stay as they are.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use gfm_pipe_api::{encoding, files};
use serde_json::{Map, Value, json};

use super::places::Places;
use super::{ImportError, Problem};
use crate::spec::STDIN;

/// Deepest chain of references.
const DEPTH: usize = 20;
/// Largest number of references that are followed.
const MOST_REFERENCES: usize = 10_000;
/// Longest text that references may produce, in bytes.
const LONGEST: usize = 1 << 16;
/// Largest file, in bytes.
const MAX_BYTES: u64 = 4 << 20;

/// A configuration as one tree.
pub(super) struct Config {
    pub tree: Map<String, Value>,
    /// Where its keys were written.
    pub places: Places,
    /// The groups of its `defaults`, with the option chosen.
    pub groups: Vec<(String, String)>,
    /// Paths that references lead to.
    pub followed: BTreeSet<String>,
    /// Notes on keys that are written in the wrong place.
    pub notes: Vec<String>,
    /// Parts that are not understood; each is among the notes too.
    pub problems: Vec<Problem>,
}

/// Reads a configuration.
pub(super) fn read(file: &Path, overrides: &[String]) -> Result<Config, ImportError> {
    let mut notes = Vec::new();
    let (mut root, text) = parse(file)?;
    let mut places = Places::new(file, &text);
    if let Some(Value::Object(hydra)) = root.get_mut("hydra")
        && let Some(defaults) = hydra.remove("defaults")
    {
        notes.push("`defaults` stands under `hydra`: taken as the configuration's own".to_owned());
        root.entry("defaults").or_insert(defaults);
        places.moved("defaults", "hydra.defaults");
    }
    let mut groups = Groups::of(root.remove("defaults"), file)?;
    let mut sets = Vec::new();
    for text in overrides {
        let wrong = || ImportError::Override(text.clone());
        if let Some(key) = text.strip_prefix('~') {
            let key = key.split('=').next().unwrap_or(key);
            sets.push((text, steps(key).ok_or_else(wrong)?, None));
            continue;
        }
        let (key, value) = text.split_once('=').ok_or_else(wrong)?;
        let key = key.trim_start_matches('+');
        let value: Value = serde_yaml::from_str(value).map_err(|_| wrong())?;
        if groups.choose(key, &value) {
            places.set(text, &[format!("defaults.{key}")]);
        } else {
            sets.push((text, steps(key).ok_or_else(wrong)?, Some(value)));
        }
    }
    let mut problems = Vec::new();
    let mut merged = groups.merge(root, file, &mut places)?;
    for (key, message) in merged.missing.drain(..) {
        notes.push(message.clone());
        let place = places.get(&key);
        problems.push(Problem {
            place,
            key,
            message,
        });
    }
    let mut tree = Value::Object(merged.tree);
    for (text, steps, value) in sets {
        set(&mut tree, &steps, value).ok_or_else(|| ImportError::Override(text.clone()))?;
        places.set(text, &steps);
    }
    let resolver = Resolver {
        root: &tree,
        left: Cell::new(MOST_REFERENCES),
        followed: RefCell::default(),
    };
    let resolved = resolver.resolve(&tree, DEPTH);
    Ok(Config {
        followed: resolver.followed.take(),
        tree: match resolved {
            Value::Object(tree) => tree,
            _ => Map::new(),
        },
        places,
        groups: merged.groups,
        notes,
        problems,
    })
}

/// A file's tree and its text.
fn parse(file: &Path) -> Result<(Map<String, Value>, String), ImportError> {
    let read = |source| ImportError::Read {
        file: file.to_owned(),
        source,
    };
    let wrong = |message: String| ImportError::Yaml {
        file: file.to_owned(),
        message,
    };
    let too_large = || wrong("too large for a configuration".to_owned());
    let bytes = if file == Path::new(STDIN) {
        let mut bytes = Vec::new();
        let mut input = io::stdin().lock().take(MAX_BYTES + 1);
        input.read_to_end(&mut bytes).map_err(read)?;
        bytes
    } else {
        if files::metadata(file).map_err(read)?.len() > MAX_BYTES {
            return Err(too_large());
        }
        files::read(file).map_err(read)?
    };
    if bytes.len() as u64 > MAX_BYTES {
        return Err(too_large());
    }
    if let Some(encoding) = encoding::foreign(&bytes) {
        let (what, hint) = (encoding.describe(), encoding.hint());
        return Err(wrong(format!("the file is {what}, not UTF-8: {hint}")));
    }
    let invalid = |e| read(io::Error::new(io::ErrorKind::InvalidData, e));
    let text = String::from_utf8(bytes).map_err(invalid)?;
    match serde_yaml::from_str(&text).map_err(|e| wrong(e.to_string()))? {
        Value::Object(map) => Ok((map, text)),
        Value::Null => Ok((Map::new(), text)),
        _ => Err(wrong("a configuration is a mapping".to_owned())),
    }
}

/// The `defaults` list: groups with the option chosen, and the position of the configuration's own
/// keys among them.
struct Groups {
    chosen: Vec<Chosen>,
    /// How many groups come before the configuration itself, which then wins over them.
    before_self: usize,
}

/// A group with its option.
struct Chosen {
    group: String,
    option: String,
    /// Where it is written: `defaults[1]`.
    at: String,
}

/// A configuration with its groups merged in.
struct Merged {
    tree: Map<String, Value>,
    groups: Vec<(String, String)>,
    /// Keys of groups whose file is not there and that could change the training, with a message
    /// for each.
    missing: Vec<(String, String)>,
}

impl Groups {
    fn of(defaults: Option<Value>, file: &Path) -> Result<Self, ImportError> {
        let wrong = || ImportError::Yaml {
            file: file.to_owned(),
            message: "`defaults` is a list of `_self_` and `GROUP: OPTION`".to_owned(),
        };
        let mut out = Groups {
            chosen: Vec::new(),
            before_self: usize::MAX,
        };
        let items = match defaults {
            None | Some(Value::Null) => Vec::new(),
            Some(Value::Array(items)) => items,
            Some(_) => return Err(wrong()),
        };
        for (i, item) in items.into_iter().enumerate() {
            match item {
                Value::String(s) if s == "_self_" => out.before_self = out.chosen.len(),
                Value::Object(map) => {
                    for (group, option) in map {
                        let option = option.as_str().ok_or_else(wrong)?.to_owned();
                        let group = group.trim_start_matches("override ").to_owned();
                        let at = format!("defaults[{i}]");
                        out.chosen.push(Chosen { group, option, at });
                    }
                }
                _ => return Err(wrong()),
            }
        }
        out.before_self = out.before_self.min(out.chosen.len());
        Ok(out)
    }

    /// Applies a `GROUP=OPTION` from the command line. Returns whether there is such a group.
    fn choose(&mut self, key: &str, value: &Value) -> bool {
        let chosen = self.chosen.iter_mut().find(|c| c.group == key);
        match (chosen, value.as_str()) {
            (Some(chosen), Some(new)) => {
                new.clone_into(&mut chosen.option);
                chosen.at = format!("defaults.{key}");
                true
            }
            _ => false,
        }
    }

    fn merge(
        self,
        own: Map<String, Value>,
        file: &Path,
        places: &mut Places,
    ) -> Result<Merged, ImportError> {
        let mut out = Map::new();
        let mut own = Some(own);
        let mut missing = Vec::new();
        for (i, Chosen { group, option, at }) in self.chosen.iter().enumerate() {
            if i == self.before_self
                && let Some(own) = own.take()
            {
                overlay(&mut out, own);
            }
            let beside = beside(file, group, option);
            let value = if beside.is_file() {
                let (tree, text) = parse(&beside)?;
                places.group(group, &beside, &text);
                Value::Object(tree)
            } else if let Some(known) = known(group, option) {
                known
            } else {
                if !has_no_effect(group) {
                    let message = format!(
                        "`defaults`: there is no {group}/{option}.yaml beside the configuration and `{option}` is none of GFM-RAG's own"
                    );
                    missing.push((at.clone(), message));
                }
                continue;
            };
            overlay(&mut out, Map::from_iter([(group.clone(), value)]));
        }
        if let Some(own) = own {
            overlay(&mut out, own);
        }
        let groups = self.chosen.into_iter().map(|c| (c.group, c.option));
        Ok(Merged {
            tree: out,
            groups: groups.collect(),
            missing,
        })
    }
}

/// Parts of a configuration that only control how a run is started and logged. They cannot change
/// what is trained.
const NO_EFFECT: [&str; 8] = [
    "hydra",
    "wandb",
    "logging",
    "logger",
    "log_dir",
    "log_level",
    "output_dir",
    "tensorboard",
];

/// Whether a key at the top, or a group, cannot change what is trained.
pub(super) fn has_no_effect(key: &str) -> bool {
    let first = key.split('/').next().unwrap_or(key);
    NO_EFFECT.contains(&first)
}

fn beside(file: &Path, group: &str, option: &str) -> PathBuf {
    let folder = file.parent().unwrap_or(Path::new(""));
    folder.join(group).join(format!("{option}.yaml"))
}

/// The content of a group file of GFM-RAG 1.0.0 or 2.0.0, where it matters here.
fn known(group: &str, option: &str) -> Option<Value> {
    const ASK: &str =
        "Instruct: Given a question, retrieve entities that can help answer the question\nQuery: ";
    let encoder = |name: &str, normalize: bool, query: Option<&str>| {
        json!({"text_emb_model_name": name, "normalize": normalize, "batch_size": 32, "query_instruct": query,
               "passage_instruct": null, "model_kwargs": null})
    };
    let qwen = |name: &str, width: u32| {
        let ask = "Instruct: Given a web search query, retrieve relevant passages that answer the query\nQuery: ";
        let mut out = encoder(name, true, Some(ask));
        out["truncate_dim"] = json!(width);
        out
    };
    let ranker = |class: &str| json!({"_target_": format!("gfmrag.doc_rankers.{class}")});
    let top = |class: &str, k: u32| json!({"_target_": format!("gfmrag.doc_rankers.{class}"), "top_k": k});
    Some(match (group, option) {
        ("text_emb_model", "mpnet") => {
            encoder("sentence-transformers/all-mpnet-base-v2", false, None)
        }
        ("text_emb_model", "bge_large_en") => encoder(
            "BAAI/bge-large-en",
            true,
            Some("Represent this sentence for searching relevant passages: "),
        ),
        ("text_emb_model", "gte_large_en_1.5") => {
            encoder("Alibaba-NLP/gte-large-en-v1.5", false, None)
        }
        ("text_emb_model", "gte_qwen2_1.5b") => {
            encoder("Alibaba-NLP/gte-Qwen2-1.5B-instruct", false, Some(ASK))
        }
        ("text_emb_model", "gte_qwen2_7b") => {
            encoder("Alibaba-NLP/gte-Qwen2-7B-instruct", true, Some(ASK))
        }
        ("text_emb_model", "nv_embed_v2") => {
            let mut out = encoder("nvidia/NV-Embed-v2", true, Some(ASK));
            out["model_kwargs"] = json!({"torch_dtype": "bfloat16"});
            out
        }
        ("text_emb_model", "qwen3") => qwen("Qwen/Qwen3-Embedding-0.6B", 1024),
        ("text_emb_model", "qwen3_8b") => qwen("Qwen/Qwen3-Embedding-8B", 4096),
        ("doc_ranker", "simple_ranker") => ranker("SimpleRanker"),
        ("doc_ranker", "idf_ranker") => ranker("IDFWeightedRanker"),
        ("doc_ranker", "topk_ranker") => top("TopKRanker", 10),
        ("doc_ranker", "idf_topk_ranker") => top("IDFWeightedTopKRanker", 20),
        _ => return None,
    })
}

/// Mappings are merged, everything else is replaced.
fn overlay(under: &mut Map<String, Value>, over: Map<String, Value>) {
    for (key, value) in over {
        match (under.get_mut(&key), value) {
            (Some(Value::Object(a)), Value::Object(b)) => overlay(a, b),
            (_, value) => {
                under.insert(key, value);
            }
        }
    }
}

/// The keys of an override's path: `task.losses[0].cfg` or `task.losses.0.cfg`.
fn steps(path: &str) -> Option<Vec<String>> {
    let path = path.replace('[', ".").replace(']', "");
    let steps: Vec<String> = path.split('.').map(str::to_owned).collect();
    (steps.len() <= 50 && steps.iter().all(|s| !s.is_empty())).then_some(steps)
}

/// Sets a value, or removes it when it is `None`. Returns `None` where the path leads through
/// something that has no parts: a number, or a reference, whose target has to be set instead.
fn set(at: &mut Value, steps: &[String], value: Option<Value>) -> Option<()> {
    let (first, rest) = steps.split_first()?;
    if at.is_null() {
        *at = Value::Object(Map::new());
    }
    match at {
        Value::Object(map) if rest.is_empty() => {
            match value {
                Some(value) => drop(map.insert(first.clone(), value)),
                None => drop(map.remove(first)),
            }
            Some(())
        }
        Value::Object(map) => set(map.entry(first.clone()).or_insert(Value::Null), rest, value),
        Value::Array(items) => {
            let i: usize = first.parse().ok()?;
            let item = items.get_mut(i)?;
            if !rest.is_empty() {
                return set(item, rest, value);
            }
            match value {
                Some(value) => *item = value,
                None => drop(items.remove(i)),
            }
            Some(())
        }
        _ => None,
    }
}

/// Replaces references; those that lead nowhere, or need a running Hydra, stay as they are.
struct Resolver<'a> {
    root: &'a Value,
    /// How many more references are followed: references to references multiply.
    left: Cell<usize>,
    /// The paths that the replaced references led to.
    followed: RefCell<BTreeSet<String>>,
}

impl Resolver<'_> {
    fn resolve(&self, value: &Value, depth: usize) -> Value {
        match value {
            Value::String(text) if depth > 0 => self.reference(text, depth),
            Value::Array(items) => items.iter().map(|v| self.resolve(v, depth)).collect(),
            Value::Object(map) => {
                let pairs = map.iter().map(|(k, v)| (k.clone(), self.resolve(v, depth)));
                Value::Object(pairs.collect())
            }
            other => other.clone(),
        }
    }

    fn lookup(&self, path: &str, depth: usize) -> Option<Value> {
        self.left.set(self.left.get().checked_sub(1)?);
        let found = path.split('.').try_fold(self.root, |at, key| at.get(key))?;
        self.followed.borrow_mut().insert(path.to_owned());
        Some(self.resolve(found, depth - 1))
    }

    fn reference(&self, text: &str, depth: usize) -> Value {
        let whole = text.strip_prefix("${").and_then(|t| t.strip_suffix('}'));
        if let Some(path) = whole.filter(|p| !p.contains(['$', '}'])) {
            return self.lookup(path, depth).unwrap_or_else(|| text.into());
        }
        let mut out = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("${") {
            out.push_str(before);
            let Some((path, after)) = after.split_once('}') else {
                out.push_str("${");
                rest = after;
                continue;
            };
            match self.lookup(path, depth) {
                Some(Value::String(s)) if out.len() + s.len() < LONGEST => out.push_str(&s),
                Some(v @ (Value::Number(_) | Value::Bool(_))) => out.push_str(&v.to_string()),
                _ => out.push_str(&format!("${{{path}}}")),
            }
            rest = after;
        }
        out.push_str(rest);
        Value::String(out)
    }
}
