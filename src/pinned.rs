//! `pinned`: an artifact of an earlier run, so that a model trained on yesterday's graph answers on
//! today's.
//!
//! The engine finds the artifact when it makes the stage's key, which has the artifact's digest in
//! it, and stores a manifest with the artifact's own tables. Nothing is computed or copied.

use std::collections::BTreeMap;

use gfm_pipe_api::schema::nearest;
use gfm_pipe_api::{
    Context, Field, InPort, Kind, OpError, OpResult, Operator, OutPort, Problem, Schema, Type,
    kinds,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::record::{history, journal_of, tags};
use crate::store::{Look, MadeOn, PortEntry, Store};

/// The operator `pinned`.
pub struct Pinned;

/// The name of its output port.
pub const PORT: &str = "artifact";

/// Most artifacts that an error names.
const MOST_NAMES: usize = 20;

/// Parameters of [`Pinned`].
#[derive(Debug, Serialize, Deserialize)]
pub struct PinnedParams {
    run: Option<String>,
    tag: Option<String>,
    port: String,
    kind: String,
}

fn port(text: &str) -> Result<(), String> {
    match text.rsplit_once('.') {
        Some((stage, port)) if !stage.is_empty() && !port.is_empty() => Ok(()),
        _ => Err(format!("expected STAGE.PORT, found `{text}`")),
    }
}

impl Operator for Pinned {
    type Params = PinnedParams;
    const NAME: &'static str = "pinned";
    const VERSION: u32 = 1;
    const ABOUT: &'static str = "takes an artifact of an earlier run";
    const SHAPED: bool = true;

    fn schema() -> Schema {
        let name = || Type::Nullable(Box::new(Type::Text));
        Schema::new(vec![
            Field::new(
                "run",
                name(),
                Value::Null,
                "the run, by its name or the start of it (`gfm-pipe runs` lists them)",
            )
            .no_effect(),
            Field::new(
                "tag",
                name(),
                Value::Null,
                "the run, by a name that `gfm-pipe tag RUN NAME` gave it",
            )
            .no_effect(),
            Field::required(
                "port",
                Type::Form {
                    form: "STAGE.PORT",
                    check: port,
                },
                "the artifact in that run (`finetune.model`)",
            )
            .no_effect(),
            Field::new(
                "kind",
                Type::one_of(&kinds::NAMES),
                "model",
                "its kind, which the stages that take it expect",
            ),
        ])
    }

    fn inputs() -> Vec<InPort> {
        Vec::new()
    }

    fn outputs() -> Vec<OutPort> {
        vec![output(&kinds::MODEL)]
    }

    fn ports(params: &PinnedParams, _: &[&str]) -> (Vec<InPort>, Vec<OutPort>) {
        let kind = kinds::ALL.iter().find(|k| k.name == params.kind);
        // The schema accepts only names of kinds, so the default is never used.
        (
            Vec::new(),
            vec![output(kind.copied().unwrap_or(&kinds::DATA))],
        )
    }

    fn check(params: &PinnedParams) -> Vec<Problem> {
        let problem = match (&params.run, &params.tag) {
            (Some(_), Some(_)) => Problem::at("tag", "`run` names a run already"),
            (None, None) => Problem::at("run", "it is not said which run has the artifact")
                .hint("give `run`, or `tag` (gfm-pipe tag RUN NAME)"),
            (Some(run), None) if run == "latest" => {
                Problem::at("run", "the latest run is another one after each run")
                    .hint("name a run, or give it a tag: gfm-pipe tag latest NAME")
            }
            _ => return Vec::new(),
        };
        vec![problem]
    }

    fn run(_: PinnedParams, _: &Context) -> OpResult<()> {
        Err(OpError::internal(
            "only a run of a pipeline can take an artifact of another run",
        ))
    }
}

fn output(kind: &'static Kind) -> OutPort {
    OutPort {
        name: PORT,
        kind,
        about: "the artifact, as that run stored it",
    }
}

/// An artifact of an earlier run.
#[derive(Debug, Clone)]
pub struct Found {
    /// The port and the run, for people.
    pub name: String,
    /// The artifact's digest.
    pub digest: String,
    /// The machine that it was made on, where that is known.
    pub made_on: Option<MadeOn>,
    /// Its tables. `None` where the stage that made it is not in the store any more: the artifact
    /// may be there all the same, because a stage took it earlier.
    entry: Option<PortEntry>,
}

impl Found {
    /// The ports of the stage that takes it.
    ///
    /// # Errors
    /// When its tables are gone.
    pub fn ports(&self) -> OpResult<BTreeMap<String, PortEntry>> {
        let entry = self.entry.clone().ok_or_else(|| {
            OpError::new(format!("{} is not in the store any more", self.name)).hint(
                "run that pipeline again; gfm-pipe tag RUN NAME keeps what a run made from `gc`",
            )
        })?;
        Ok(BTreeMap::from([(PORT.to_owned(), entry)]))
    }
}

/// Finds the artifact that the parameters of a stage name.
///
/// # Errors
/// When there is no such run or artifact, it has another kind, or its tables are gone.
pub fn find(store: &Store, params: &Value) -> OpResult<Found> {
    let params: PinnedParams = serde_json::from_value(params.clone())
        .map_err(|e| OpError::wrap("parameters of `pinned` do not fit its schema", e))?;
    let store_error = |e| OpError::wrap("failed to find the artifact", e);
    let run = match (&params.tag, &params.run) {
        (Some(tag), _) => tags::tagged(store, tag)
            .map_err(store_error)?
            .ok_or_else(|| {
                OpError::new(format!(
                    "there is no tag `{tag}` in {}",
                    store.root().display()
                ))
                .hint(format!("gfm-pipe tag RUN {tag} gives a run this name"))
            })?,
        (None, run) => {
            let text = run.as_deref().unwrap_or_default();
            history::named(store, text)
                .map_err(store_error)?
                .map_err(|several| {
                    let e = OpError::new(match several.len() {
                        0 => format!("there is no run `{text}` in {}", store.root().display()),
                        n => format!("`{text}` may be any of {n} runs"),
                    });
                    match several.len() {
                        0 => e.hint("gfm-pipe runs lists them"),
                        _ => e.hint(several.join(", ")),
                    }
                })?
        }
    };
    let journal = journal_of(store, &run).map_err(store_error)?;
    let journal =
        journal.ok_or_else(|| OpError::new(format!("the journal of run {run} is gone")))?;
    let (stage, port) = params.port.rsplit_once('.').unwrap_or((&params.port, ""));
    let ended = journal.stages.iter().filter(|s| !s.outputs.is_empty());
    let all: Vec<String> = ended
        .clone()
        .flat_map(|s| s.outputs.keys().map(|port| format!("{}.{port}", s.name)))
        .collect();
    let absent = || {
        let e = OpError::new(format!("run {run} has no artifact `{}`", params.port));
        match nearest(&params.port, all.iter().map(String::as_str)) {
            Some(near) => e.hint(format!("did you mean `{near}`?")),
            None => {
                let some: Vec<&str> = all.iter().take(MOST_NAMES).map(String::as_str).collect();
                let more = if all.len() > MOST_NAMES { ", …" } else { "" };
                e.hint(format!("it has {}{more}", some.join(", ")))
            }
        }
    };
    let record = ended.clone().find(|s| s.name == stage).ok_or_else(absent)?;
    let digest = record.outputs.get(port).ok_or_else(absent)?;
    let stored = record.key.as_ref().map(|key| store.manifest(key));
    let manifest = stored.transpose().map_err(store_error)?.flatten();
    let made_on = manifest.as_ref().map(|m| m.made_on.clone());
    let mut entry = manifest.and_then(|m| m.ports.get(port).cloned());
    if let Some(entry) = entry.as_ref().filter(|entry| entry.kind != params.kind) {
        return Err(OpError::new(format!(
            "{} of run {run} is of the kind `{}`, and `kind` says `{}`",
            params.port, entry.kind, params.kind
        ))
        .hint(format!("write `kind: {}`", entry.kind)));
    }
    if let Some(tables) = &entry
        && store
            .flaw(tables.tables.iter().flat_map(|t| &t.objects), Look::Stamp)
            .map_err(store_error)?
            .is_some()
    {
        entry = None;
    }
    Ok(Found {
        name: format!("{} of run {run}", params.port),
        digest: digest.clone(),
        made_on,
        // A stage that was computed again since may have given another result.
        entry: entry.filter(|entry| entry.digest == *digest),
    })
}
