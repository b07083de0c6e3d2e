//! Why a stage runs: the difference between what it is made of now and what it was made of when
//! last asked for.
//!
//! The last look at a stage is kept by the names of the pipeline and the stage. It never decides
//! whether a stage runs (the key does); losing it costs an explanation, not a result.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::fingerprint::{FileId, Ingredients, InputId, Key};
use super::listing::MANY;
use crate::store::{Store, StoreError};

const FORMAT: u32 = 1;

/// How a stage ended when it was last asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LastEnd {
    /// The stage ran or was cached.
    Stored,
    /// It failed.
    Failed,
    /// It was interrupted.
    Interrupted,
}

/// What a stage was made of when it was last asked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LastLook {
    format: u32,
    /// Its key.
    pub key: Key,
    /// What the key was made of.
    pub ingredients: Ingredients,
    /// How it ended.
    pub end: LastEnd,
    /// The key of the last look that ended with a stored result; files of earlier versions have
    /// none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stored: Option<Key>,
}

impl LastLook {
    /// A look that just ended. `before` is the last one until now.
    pub fn new(
        key: Key,
        ingredients: Ingredients,
        end: LastEnd,
        before: Option<&LastLook>,
    ) -> Self {
        let stored = match end {
            LastEnd::Stored => Some(key.clone()),
            _ => before.and_then(|b| b.stored.clone()),
        };
        LastLook {
            format: FORMAT,
            key,
            ingredients: ingredients.brief(),
            end,
            stored,
        }
    }

    /// The look with the files that were left out of it, as far as the store knows them: those of
    /// this look, or else of the last one that ended with a stored result.
    #[must_use]
    pub fn with_files(mut self, store: &Store) -> Self {
        if self.ingredients.is_brief() {
            let keys = [Some(&self.key), self.stored.as_ref()];
            let manifests = keys.into_iter().flatten().map(|key| store.manifest(key));
            let known = manifests.filter_map(|manifest| store.ingredients(&manifest.ok()??).ok());
            if let Some(known) = known.into_iter().next() {
                self.ingredients.listing = known.listing;
                self.ingredients.files = known.files;
                self.ingredients.unread = known.unread;
            }
        }
        self
    }

    /// The last look at a stage; `None` when there is none that can be read.
    pub fn read(store: &Store, pipeline: &str, stage: &str) -> Option<Self> {
        crate::store::read_json(&store.last_path(pipeline, stage), FORMAT..=FORMAT)
            .ok()
            .flatten()
    }

    /// Saves the look, unless it equals the one that is saved already.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&self, store: &Store, pipeline: &str, stage: &str) -> Result<(), StoreError> {
        if Self::read(store, pipeline, stage).as_ref() == Some(self) {
            return Ok(());
        }
        let path = store.last_path(pipeline, stage);
        if let Some(dir) = path.parent() {
            std::fs::create_dir_all(dir).map_err(StoreError::io("create", dir))?;
        }
        crate::store::write_json(&path, self)
    }
}

/// One reason why a stage runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// No earlier run is known.
    NeverRan,
    /// The user asked for it.
    Forced,
    /// The store had it, but a file is gone.
    ArtifactMissing,
    /// The store had it, but a file is not what it should be.
    ArtifactDamaged,
    /// The last attempt with the same key failed.
    FailedLastTime,
    /// The last attempt with the same key was stopped.
    InterruptedLastTime,
    /// Checkpoints of this key are left from a run that was killed, or from another pipeline.
    Unfinished,
    /// The stage has another operator.
    Operator {
        /// Before.
        old: String,
        /// Now.
        new: String,
    },
    /// The operator has another version.
    Version {
        /// Operator.
        operator: String,
        /// Before.
        old: u32,
        /// Now.
        new: u32,
    },
    /// What the operator itself adds to the key has changed.
    Fingerprint {
        /// Operator.
        operator: String,
    },
    /// A parameter has changed.
    Param {
        /// Dotted path.
        path: String,
        /// Before.
        old: String,
        /// Now.
        new: String,
    },
    /// A file that the stage reads has changed.
    File {
        /// What happened to which file.
        what: String,
    },
    /// The content of an input has changed.
    InputChanged {
        /// `STAGE.PORT`.
        from: String,
    },
    /// Other outputs are connected to an input port.
    Rewired {
        /// Input port.
        port: String,
        /// Before.
        old: String,
        /// Now.
        new: String,
    },
    /// An input stage runs, so its output is not known yet.
    InputRuns {
        /// The stage.
        stage: String,
    },
    /// The format of keys has changed.
    CacheFormat,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::NeverRan => f.write_str("never ran"),
            Reason::Forced => f.write_str("forced"),
            Reason::ArtifactMissing => f.write_str("artifact missing"),
            Reason::ArtifactDamaged => f.write_str("artifact damaged"),
            Reason::FailedLastTime => f.write_str("failed last time"),
            Reason::InterruptedLastTime => f.write_str("interrupted last time"),
            Reason::Unfinished => f.write_str("begun before, not finished"),
            Reason::Operator { old, new } => write!(f, "operator {old} -> {new}"),
            Reason::Version { operator, old, new } => {
                write!(f, "{operator} version {old} -> {new}")
            }
            Reason::Fingerprint { operator } => {
                write!(f, "what else counts for {operator} changed")
            }
            Reason::Param { path, old, new } => write!(f, "{path} {old} -> {new}"),
            Reason::File { what } => f.write_str(what),
            Reason::InputChanged { from } => write!(f, "input {from} changed"),
            Reason::Rewired { port, old, new } => write!(f, "input {port}: {old} -> {new}"),
            Reason::InputRuns { stage } => write!(f, "input {stage} runs"),
            Reason::CacheFormat => f.write_str("cache format changed"),
        }
    }
}

/// The ingredients as they would come back from a file. A float may differ there in its last digit,
/// so that only ingredients that were both written and read can be compared.
fn reread(i: &Ingredients) -> Ingredients {
    let text = serde_json::to_string(&i.params).unwrap_or_default();
    let params = serde_json::from_str(&text).unwrap_or_else(|_| i.params.clone());
    Ingredients {
        params,
        ..i.clone()
    }
}

/// The differences between a stage as it was last looked at and as it is now, inputs included.
pub fn differences(last: &LastLook, new: &Ingredients) -> Vec<Reason> {
    let old = &last.ingredients;
    let mut out = own_differences(last, new);
    inputs(&old.inputs, &new.inputs, new.names, &mut out);
    if out.is_empty() {
        out.push(Reason::CacheFormat);
    }
    out
}

/// The differences apart from those of the inputs.
pub fn own_differences(last: &LastLook, new: &Ingredients) -> Vec<Reason> {
    let (old, new) = (&last.ingredients, &reread(new));
    let mut out = Vec::new();
    if old.operator != new.operator {
        // Parameters of another operator are not comparable.
        out.push(Reason::Operator {
            old: old.operator.clone(),
            new: new.operator.clone(),
        });
        return out;
    }
    if old.version != new.version {
        out.push(Reason::Version {
            operator: new.operator.clone(),
            old: old.version,
            new: new.version,
        });
    }
    let before = out.len();
    params("", Some(&old.params), Some(&new.params), &mut out);
    if old.is_brief() {
        // Nobody knows any more which files these were.
        if old.listing != new.listing {
            let what = "the files that it reads or finds changed".to_owned();
            out.push(Reason::File { what });
        } else if old.fingerprint != new.fingerprint {
            out.push(Reason::Fingerprint {
                operator: new.operator.clone(),
            });
        }
        return out;
    }
    let renamed = files(&old.files, &new.files, &mut out);
    // Some fingerprints are of the parameters and the list of files, which say more. A key has the
    // files' digests in order, and another name may give a file another place.
    let in_order = |i: &Ingredients| i.files.iter().map(|f| f.digest.clone()).collect::<Vec<_>>();
    let files_differ = in_order(old) != in_order(new);
    if (old.fingerprint != new.fingerprint || files_differ) && out.len() == before {
        out.extend(renamed);
    }
    if old.fingerprint != new.fingerprint {
        unread(old, new, &mut out);
    }
    if old.fingerprint != new.fingerprint && out.len() == before {
        out.push(Reason::Fingerprint {
            operator: new.operator.clone(),
        });
    }
    bounded(out)
}

/// The reasons without files beyond the first [`MANY`], which are counted.
fn bounded(mut reasons: Vec<Reason>) -> Vec<Reason> {
    let mut left = 0_usize;
    let mut named = 0;
    reasons.retain(|reason| {
        let file = matches!(reason, Reason::File { .. });
        named += usize::from(file);
        let kept = !file || named <= MANY;
        left += usize::from(!kept);
        kept
    });
    if left > 0 {
        let what = format!("and {left} other files");
        reasons.push(Reason::File { what });
    }
    reasons
}

fn show(v: Option<&Value>) -> String {
    match v {
        None => "(unset)".to_owned(),
        // Quoted where the text would be unclear without quotes.
        Some(Value::String(s)) if s.is_empty() || s.contains(char::is_whitespace) => {
            format!("{s:?}")
        }
        Some(Value::String(s)) => s.clone(),
        Some(Value::Bool(b)) => if *b { "yes" } else { "no" }.to_owned(),
        Some(other) => {
            let text = other.to_string();
            if text.chars().count() <= 60 {
                return text;
            }
            let head: String = text.chars().take(59).collect();
            format!("{head}…")
        }
    }
}

fn params(path: &str, old: Option<&Value>, new: Option<&Value>, out: &mut Vec<Reason>) {
    if old == new {
        return;
    }
    match (old, new) {
        (Some(Value::Object(a)), Some(Value::Object(b))) => {
            let mut keys: Vec<&String> = a.keys().chain(b.keys()).collect();
            keys.sort();
            keys.dedup();
            for k in keys {
                let path = if path.is_empty() {
                    k.clone()
                } else {
                    format!("{path}.{k}")
                };
                params(&path, a.get(k), b.get(k), out);
            }
        }
        // Lists of different lengths are shown whole: items have no names to match them by.
        (Some(Value::Array(a)), Some(Value::Array(b)))
            if a.len() == b.len() && a.iter().chain(b).any(Value::is_object) =>
        {
            for (i, (a, b)) in a.iter().zip(b).enumerate() {
                params(&format!("{path}[{i}]"), Some(a), Some(b), out);
            }
        }
        _ => out.push(Reason::Param {
            path: path.to_owned(),
            old: show(old),
            new: show(new),
        }),
    }
}

/// Adds the differences between files. Returns those that were only renamed, which matters to
/// few operators.
fn files(old: &[FileId], new: &[FileId], out: &mut Vec<Reason>) -> Vec<Reason> {
    let was: HashMap<&str, &FileId> = old.iter().map(|f| (f.path.as_str(), f)).collect();
    let is: HashSet<&str> = new.iter().map(|f| f.path.as_str()).collect();
    let mut gone: Vec<&FileId> = old.iter().filter(|f| !is.contains(&*f.path)).collect();
    let mut come: Vec<&FileId> = new.iter().filter(|f| !was.contains_key(&*f.path)).collect();
    // A file that came with the content of one that is gone has another name.
    let mut by_content: HashMap<_, Vec<&FileId>> = HashMap::new();
    for file in gone.iter().rev() {
        by_content.entry(&file.digest).or_default().push(file);
    }
    let (mut renamed, mut taken) = (Vec::new(), HashSet::new());
    come.retain(|file| {
        let Some(other) = by_content.get_mut(&file.digest).and_then(Vec::pop) else {
            return true;
        };
        renamed.push(moved(other, file));
        taken.insert(&other.path);
        false
    });
    gone.retain(|file| !taken.contains(&file.path));
    for file in new {
        let path = &file.path;
        let Some(before) = was.get(&**path) else {
            continue;
        };
        let what = match (&before.digest, &file.digest) {
            (a, b) if a == b => continue,
            (None, _) => format!("file {path} appeared"),
            (_, None) => format!("file {path} is gone"),
            _ => format!("file {path} changed"),
        };
        out.push(Reason::File { what });
    }
    if let ([old], [new]) = (&gone[..], &come[..]) {
        out.push(moved(old, new));
        return renamed;
    }
    let said = |file: &FileId, what: &str| Reason::File {
        what: format!("file {} {what}", file.path),
    };
    out.extend(come.iter().map(|file| said(file, "is new")));
    out.extend(gone.iter().map(|file| said(file, "is not read any more")));
    renamed
}

/// Adds the differences between the files that are found but not read. A file that one of the two
/// reads is left out: [`files`] has added it.
fn unread(old: &Ingredients, new: &Ingredients, out: &mut Vec<Reason>) {
    let seen = |i: &Ingredients| -> HashSet<String> {
        let read = i.files.iter().map(|f| f.path.clone());
        read.chain(i.unread.iter().cloned()).collect()
    };
    let (was, is) = (seen(old), seen(new));
    let mut tell = |paths: &[String], elsewhere: &HashSet<String>, what: &str| {
        let other = paths.iter().filter(|path| !elsewhere.contains(*path));
        out.extend(other.map(|path| Reason::File {
            what: format!("file {path}, which is not read, {what}"),
        }));
    };
    tell(&new.unread, &was, "is new");
    tell(&old.unread, &is, "is gone");
}

fn moved(old: &FileId, new: &FileId) -> Reason {
    Reason::File {
        what: format!("file {} -> {}", old.path, new.path),
    }
}

fn inputs(
    old: &BTreeMap<String, Vec<InputId>>,
    new: &BTreeMap<String, Vec<InputId>>,
    named: bool,
    out: &mut Vec<Reason>,
) {
    let mut ports: Vec<&String> = old.keys().chain(new.keys()).collect();
    ports.sort();
    ports.dedup();
    for port in ports {
        let a = old.get(port).map_or(&[][..], Vec::as_slice);
        let b = new.get(port).map_or(&[][..], Vec::as_slice);
        let same = |x: &[InputId], y: &[InputId], of: fn(&InputId) -> &String| {
            x.iter().map(of).eq(y.iter().map(of))
        };
        if same(a, b, |i| &i.digest) && (!named || same(a, b, |i| &i.from)) {
            continue;
        }
        if same(a, b, |i| &i.from) {
            for (x, y) in a.iter().zip(b).filter(|(x, y)| x.digest != y.digest) {
                debug_assert_eq!(x.from, y.from);
                let reason = Reason::InputChanged {
                    from: y.from.clone(),
                };
                if !out.contains(&reason) {
                    out.push(reason);
                }
            }
        } else {
            let names = |ids: &[InputId]| {
                if ids.is_empty() {
                    return "(nothing)".to_owned();
                }
                let names: Vec<&str> = ids.iter().map(|i| i.from.as_str()).collect();
                names.join(", ")
            };
            out.push(Reason::Rewired {
                port: port.clone(),
                old: names(a),
                new: names(b),
            });
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    fn made(params: Value) -> Ingredients {
        Ingredients {
            operator: "op".to_owned(),
            version: 1,
            params,
            fingerprint: None,
            inputs: BTreeMap::new(),
            files: Vec::new(),
            unread: Vec::new(),
            listing: None,
            names: false,
        }
    }

    fn text(old: &Ingredients, new: &Ingredients) -> Vec<String> {
        // As it is after it was written to the store and read again.
        let last = LastLook::new(old.key(), old.clone(), LastEnd::Stored, None);
        let last: LastLook = serde_json::from_str(&serde_json::to_string(&last).unwrap()).unwrap();
        let reasons = differences(&last, new);
        reasons.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn parameters_are_named_by_their_path() {
        let a = made(
            json!({"optimizer": {"lr": 5e-4}, "losses": [{"w": 0.3}], "dims": [1, 2], "deep": true}),
        );
        let b = made(
            json!({"optimizer": {"lr": 1e-4}, "losses": [{"w": 0.7}], "dims": [1, 3], "deep": false, "n": 1}),
        );
        assert_eq!(
            text(&a, &b),
            [
                "deep yes -> no",
                "dims [1,2] -> [1,3]",
                "losses[0].w 0.3 -> 0.7",
                "n (unset) -> 1",
                "optimizer.lr 0.0005 -> 0.0001",
            ]
        );
    }

    #[test]
    fn files_and_inputs_are_told_apart_by_name_and_content() {
        let id = |from: &str, digest: &str| InputId {
            from: from.to_owned(),
            digest: digest.to_owned(),
        };
        let file = |path: &str, digest: Option<&str>| FileId {
            path: path.to_owned(),
            digest: digest.map(ToOwned::to_owned),
        };
        let mut a = made(json!({}));
        a.inputs
            .insert("in".to_owned(), vec![id("kg.triples", "1")]);
        a.inputs.insert("q".to_owned(), vec![id("qa.train", "1")]);
        a.inputs.insert("same".to_owned(), vec![id("old.x", "1")]);
        a.files = vec![
            file("a", Some("1")),
            file("b", None),
            file("c", Some("1")),
            file("moved", Some("9")),
        ];
        let mut b = made(json!({}));
        b.inputs
            .insert("in".to_owned(), vec![id("kg.triples", "2")]);
        b.inputs.insert("q".to_owned(), vec![id("qa.valid", "2")]);
        b.inputs.insert("same".to_owned(), vec![id("new.x", "1")]);
        b.files = vec![
            file("a", Some("2")),
            file("b", Some("1")),
            file("d", Some("2")),
            file("moved-here", Some("9")),
        ];
        assert_eq!(
            text(&a, &b),
            [
                "file a changed",
                "file b appeared",
                "file c -> d",
                "input kg.triples changed",
                "input q: qa.train -> qa.valid",
            ]
        );
        // Where names reach the output, another name is a reason.
        let mut a = made(json!({}));
        a.names = true;
        a.inputs.insert("same".to_owned(), vec![id("old.x", "1")]);
        let mut b = a.clone();
        b.inputs.insert("same".to_owned(), vec![id("new.x", "1")]);
        assert_ne!(a.key(), b.key());
        assert_eq!(text(&a, &b), ["input same: old.x -> new.x"]);
    }

    #[test]
    fn a_float_of_many_digits_does_not_differ_from_itself() {
        for x in [
            0.1 + 0.2,
            1.0 / 3.0,
            -331_564_093.197_518_3,
            5e-324,
            f64::MAX,
        ] {
            let a = made(json!({"x": x}));
            assert_eq!(text(&a, &a), ["cache format changed"]);
        }
    }

    #[test]
    fn files_of_a_folder_are_compared_by_name() {
        let folder = |files: &[(&str, &str)]| {
            let file = |(path, digest): &(&str, &str)| FileId {
                path: (*path).to_owned(),
                digest: Some((*digest).to_owned()),
            };
            Ingredients {
                files: files.iter().map(file).collect(),
                // That of the list of files.
                fingerprint: Some(format!("{files:?}")),
                ..made(json!({}))
            }
        };
        let a = folder(&[("b", "1"), ("c", "2")]);
        let more = folder(&[("a", "3"), ("b", "1"), ("c", "2")]);
        assert_eq!(text(&a, &more), ["file a is new"]);
        assert_eq!(text(&more, &a), ["file a is not read any more"]);
        let renamed = folder(&[("b", "1"), ("d", "2")]);
        assert_eq!(text(&a, &renamed), ["file c -> d"]);
        let moved = Ingredients {
            fingerprint: None,
            ..folder(&[("b", "1"), ("a", "2")])
        };
        let unmoved = Ingredients {
            fingerprint: None,
            ..folder(&[("b", "1"), ("c", "2")])
        };
        // As a listing sorts them.
        let mut sorted = moved.clone();
        sorted.files.reverse();
        assert_eq!(text(&unmoved, &sorted), ["file c -> a"]);
        let several = folder(&[("b", "4"), ("d", "2"), ("e", "5"), ("f", "6")]);
        assert_eq!(
            text(&a, &several),
            ["file b changed", "file e is new", "file f is new"]
        );
    }

    #[test]
    fn files_that_are_not_read_are_told_where_they_count() {
        let folder = |read: &[&str], unread: &[&str]| Ingredients {
            files: read
                .iter()
                .map(|path| FileId {
                    path: (*path).to_owned(),
                    digest: Some("1".to_owned()),
                })
                .collect(),
            unread: unread.iter().map(|path| (*path).to_owned()).collect(),
            fingerprint: Some(format!("{read:?} {unread:?}")),
            ..made(json!({}))
        };
        let a = folder(&["a"], &[]);
        let more = folder(&["a"], &["b.pdf"]);
        assert_eq!(text(&a, &more), ["file b.pdf, which is not read, is new"]);
        assert_eq!(text(&more, &a), ["file b.pdf, which is not read, is gone"]);
        // It grew over the limit of sizes.
        let large = folder(&[], &["a"]);
        assert_eq!(text(&a, &large), ["file a is not read any more"]);
        assert_eq!(text(&large, &a), ["file a is new"]);
        let elsewhere = Ingredients {
            fingerprint: a.fingerprint.clone(),
            version: 2,
            ..more
        };
        assert_eq!(text(&a, &elsewhere), ["op version 1 -> 2"]);
    }

    #[test]
    fn there_is_always_a_reason() {
        let a = made(json!({}));
        assert_eq!(text(&a, &a), ["cache format changed"]);
        let b = Ingredients {
            operator: "other".to_owned(),
            params: json!({"x": 1}),
            ..a.clone()
        };
        assert_eq!(text(&a, &b), ["operator op -> other"]);
        let c = Ingredients {
            version: 2,
            fingerprint: Some("x".to_owned()),
            ..a.clone()
        };
        assert_eq!(
            text(&a, &c),
            ["op version 1 -> 2", "what else counts for op changed"]
        );
    }
}
