//! Decides what a difference between two outputs of an operator means for its VERSION.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::content::Content;

/// The recorded output of every operator, by operator name.
pub type Golden = BTreeMap<String, Operator>;

/// One operator with its stages.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Operator {
    pub version: u32,
    pub stages: BTreeMap<String, Stage>,
}

/// One stage that uses the operator.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Stage {
    /// Digest of what its key is made of, except the version and the content of its inputs.
    pub given: String,
    /// The stages that its inputs come from.
    pub inputs: BTreeSet<String>,
    /// Its output, by `PORT.TABLE`.
    pub tables: BTreeMap<String, Content>,
}

/// What has to be done about a stage.
#[derive(Debug, Clone, PartialEq)]
pub enum Finding {
    /// The same key has another output: VERSION was not raised, and caches would return the old
    /// output for ever.
    Forgotten(String),
    /// VERSION, parameters, files or inputs changed: the golden file must be rewritten.
    Stale(String),
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Finding::Forgotten(what) => write!(
                f,
                "{what}\n  = hint: raise its VERSION, or caches go on giving the old output; then UPDATE_GOLDEN=1 cargo test \
                 --test versions\n  = hint: where nobody's cache can be wrong, delete the operator's entry from \
                 tests/versions.json and say why in the commit"
            ),
            Finding::Stale(what) => write!(
                f,
                "{what}\n  = hint: UPDATE_GOLDEN=1 cargo test --test versions, and read the difference"
            ),
        }
    }
}

/// The first difference between two outputs of a stage.
fn difference(now: &Stage, then: &Stage) -> Option<String> {
    if !now.tables.keys().eq(then.tables.keys()) {
        return Some("it has other tables".to_owned());
    }
    let mut tables = now.tables.iter().zip(then.tables.values());
    tables.find_map(|((name, now), then)| {
        let what = now.differs(then)?;
        Some(format!("{name} changed: {what}"))
    })
}

/// Compares all operators with their recorded output. An empty result means that every VERSION is
/// right.
pub fn judge(then: &Golden, now: &Golden) -> Vec<Finding> {
    let stages = |all: &Golden| -> BTreeMap<String, Stage> {
        let stages = all.values().flat_map(|o| o.stages.clone());
        stages.collect()
    };
    let before = stages(then);
    // When an input of a stage has changed, its output may change too, which says nothing about its
    // operator.
    let moved: BTreeSet<String> = stages(now)
        .into_iter()
        .filter(|(name, stage)| {
            let then = before.get(name);
            then.is_none_or(|then| difference(stage, then).is_some())
        })
        .map(|(name, _)| name)
        .collect();
    let mut out = Vec::new();
    for (op, now) in now {
        let Some(was) = then.get(op) else {
            out.push(Finding::Stale(format!("`{op}` has no golden output")));
            continue;
        };
        if now.version != was.version {
            let text = format!("`{op}`: VERSION {} -> {}", was.version, now.version);
            out.push(Finding::Stale(text));
            continue;
        }
        for (name, stage) in &now.stages {
            let Some(then) = was.stages.get(name) else {
                let text = format!("`{op}`: stage `{name}` has no golden output");
                out.push(Finding::Stale(text));
                continue;
            };
            let input = stage.inputs.iter().find(|i| moved.contains(*i));
            let excuse = match input {
                _ if stage.given != then.given => Some("parameters or files".to_owned()),
                _ if stage.inputs != then.inputs => Some("inputs".to_owned()),
                Some(input) => Some(format!("what `{input}` gives")),
                None => None,
            };
            match (difference(stage, then), excuse) {
                (None, _) if stage.given == then.given && stage.inputs == then.inputs => {}
                (Some(what), None) => out.push(Finding::Forgotten(format!(
                    "`{op}` (VERSION {}), stage `{name}`: {what}; its parameters, files and inputs did not",
                    now.version
                ))),
                (_, excuse) => out.push(Finding::Stale(format!(
                    "`{op}`, stage `{name}`: {} changed",
                    excuse.unwrap_or_default()
                ))),
            }
        }
        for name in was.stages.keys().filter(|n| !now.stages.contains_key(*n)) {
            out.push(Finding::Stale(format!("`{op}`: stage `{name}` is gone")));
        }
    }
    for op in then.keys().filter(|op| !now.contains_key(*op)) {
        out.push(Finding::Stale(format!("`{op}` is no operator any more")));
    }
    out
}
