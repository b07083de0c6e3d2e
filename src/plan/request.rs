//! What the user wants to run, checked against the pipeline.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use gfm_pipe_api::schema::nearest;

use super::decide::{DecideError, Planner, StagePlan, StageTrouble, Verdict};
use super::select::{Role, SelectError, Selection, named, needed};
use crate::spec::Pipeline;
use crate::store::{Remote, Store};

/// What to run, and which stages to compute even when they are cached.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// The folder that relative paths in parameters are relative to.
    pub base: PathBuf,
    /// Which stages to run.
    pub selection: Selection,
    /// Stages to compute even when they are cached.
    pub force: Vec<String>,
    /// A shared store elsewhere, in which results are looked up that the local store lacks.
    pub remote: Option<Arc<Remote>>,
    /// The device for which a plan estimates memory and time: `cpu`, or a GPU's name, which is
    /// empty where it is not known. `None` for no estimates: a run needs none.
    pub estimates: Option<String>,
}

impl Request {
    /// A request for these stages and whatever they depend on.
    pub fn until(stages: impl IntoIterator<Item = String>) -> Self {
        Request {
            selection: Selection {
                until: stages.into_iter().collect(),
                ..Selection::default()
            },
            ..Request::default()
        }
    }
}

/// Why a request cannot be met. Nothing has run.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// A selection that does not fit the pipeline.
    #[error(transparent)]
    Select(#[from] SelectError),
    /// A stage to force that the pipeline does not have.
    #[error("--force {name}: the pipeline has no stage `{name}`")]
    UnknownForced {
        /// The name given.
        name: String,
        /// What to write instead.
        hint: String,
    },
    /// A stage to force that is not selected.
    #[error("--force {0}: --only, --from or --until leave this stage out")]
    ForcedNotSelected(String),
    /// Two stages that write to the same place outside the store.
    #[error("stages `{first}` and `{second}` both write to {}", place.display())]
    SamePlace {
        /// The folder.
        place: PathBuf,
        /// A stage.
        first: String,
        /// Another one.
        second: String,
    },
    /// Stages for which it cannot be decided what happens.
    #[error("{}", walk_text(.0))]
    Stages(Vec<StageTrouble>),
    /// Stages that the selection leaves out, although their output is needed and not in the store.
    #[error("{} left out, but not in the store", names(.0))]
    NotStored(Vec<String>),
}

fn names(stages: &[String]) -> String {
    let names: Vec<String> = stages.iter().map(|s| format!("`{s}`")).collect();
    let verb = if stages.len() == 1 { "is" } else { "are" };
    format!("{} {verb}", names.join(", "))
}

fn walk_text(troubles: &[StageTrouble]) -> String {
    let lines: Vec<String> = troubles
        .iter()
        .map(|t| format!("{}: stage `{}`: {}", t.place, t.stage, t.error))
        .collect();
    lines.join("\n")
}

impl RequestError {
    /// What the user can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            RequestError::Select(_) => None,
            RequestError::UnknownForced { hint, .. } => Some(hint.clone()),
            RequestError::ForcedNotSelected(name) => {
                Some(format!("select `{name}` too, or do not force it"))
            }
            RequestError::SamePlace { .. } => {
                Some("give each a folder of its own; with foreach: \"out/{{ NAME }}\"".to_owned())
            }
            RequestError::Stages(troubles) => troubles.iter().find_map(|t| t.error.hint()),
            RequestError::NotStored(stages) => Some(format!(
                "run it first: gfm-pipe run … --until {}",
                stages.join(",")
            )),
        }
    }
}

/// A request that fits its pipeline.
#[derive(Debug)]
pub struct Prepared {
    /// Decides what happens to stages.
    pub planner: Planner,
    /// The role that the request gives each stage, in the order written.
    pub roles: Vec<Role>,
    /// What will happen, in the order written, without those in `troubles`.
    pub plan: Vec<StagePlan>,
    /// Stages that cannot run because files they read are missing or unreadable.
    pub troubles: Vec<StageTrouble>,
}

/// Checks that no two stages write to the same place: it would be chance which result stays.
fn places(pipeline: &Pipeline) -> Result<(), RequestError> {
    let mut taken: BTreeMap<PathBuf, &str> = BTreeMap::new();
    for stage in &pipeline.stages {
        // Parameters of a loaded pipeline are valid.
        for place in stage.op.places(&stage.params).unwrap_or_default() {
            let place: PathBuf = place.components().collect();
            if let Some(first) = taken.insert(place.clone(), &stage.name) {
                return Err(RequestError::SamePlace {
                    place,
                    first: first.to_owned(),
                    second: stage.name.clone(),
                });
            }
        }
    }
    Ok(())
}

/// Checks a request and determines what will happen.
///
/// # Errors
/// See [`RequestError`]; missing input files are among them.
pub fn prepare(
    pipeline: &Pipeline,
    store: &Store,
    request: &Request,
) -> Result<Prepared, RequestError> {
    let mut prepared = prepare_run(pipeline, store, request)?;
    match std::mem::take(&mut prepared.troubles) {
        troubles if troubles.is_empty() => Ok(prepared),
        troubles => Err(RequestError::Stages(troubles)),
    }
}

/// Like [`prepare`], but for a run: a stage whose input files are missing is not an error here, it
/// is in [`Prepared::troubles`] and will fail.
///
/// # Errors
/// See [`RequestError`].
pub fn prepare_run(
    pipeline: &Pipeline,
    store: &Store,
    request: &Request,
) -> Result<Prepared, RequestError> {
    let roles = needed(pipeline, &request.selection)?;
    places(pipeline)?;
    let mut forced = BTreeSet::new();
    for name in &request.force {
        let meant = named(pipeline, name);
        if meant.is_empty() {
            let known: Vec<&str> = pipeline.stages.iter().map(|s| s.name.as_str()).collect();
            let hint = match nearest(name, known.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("stages: {}", known.join(", ")),
            };
            return Err(RequestError::UnknownForced {
                name: name.clone(),
                hint,
            });
        }
        let selected = meant.iter().filter(|i| roles[**i] == Role::Run);
        let mut selected = selected.peekable();
        if selected.peek().is_none() {
            return Err(RequestError::ForcedNotSelected(name.clone()));
        }
        forced.extend(selected.map(|i| pipeline.stages[*i].name.clone()));
    }
    let planner = Planner::new(&pipeline.name, store, request, forced);
    let (plan, troubles) = planner.walk(pipeline, &roles);
    if troubles
        .iter()
        .any(|t| !matches!(t.error, DecideError::Files(_)))
    {
        return Err(RequestError::Stages(troubles));
    }
    let not_stored: Vec<String> = plan
        .iter()
        .filter(|p| matches!(p.verdict, Verdict::NotStored))
        .map(|p| p.name.clone())
        .collect();
    if !not_stored.is_empty() {
        return Err(RequestError::NotStored(not_stored));
    }
    Ok(Prepared {
        planner,
        roles,
        plan,
        troubles,
    })
}
