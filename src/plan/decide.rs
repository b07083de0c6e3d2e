//! Decides what happens to a stage: it is cached, or it runs and why.
//!
//! The executor and the `plan` subcommand ask the same [`Planner`], so a plan agrees with the run
//! by construction. Where the output of an input stage is not known yet, neither is the stage's
//! key; [`Planner::walk`] says so instead of guessing.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use gfm_pipe_api::items::Items;
use gfm_pipe_api::{
    Artifact, Cancel, Context, Environment, Estimate, Nowhere, OpError, Operator, RequestCount,
    Requests, ranks,
};

use super::explain::{LastEnd, LastLook, Reason, differences, own_differences};
use super::files::{FileTrouble, Files, Seen};
use super::fingerprint::{Ingredients, InputId, Key};
use super::request::Request;
use super::select::{Role, order};
use crate::pinned::{self, Found, Pinned};
use crate::silent::Silent;
use crate::spec::{Pipeline, Stage};
use crate::store::{Lookup, Manifest, Remote, Store, StoreError};

/// Why it cannot be decided what happens to a stage.
#[derive(Debug, thiserror::Error)]
pub enum DecideError {
    /// Files it reads are missing or unreadable.
    #[error("{}", list(.0))]
    Files(Vec<FileTrouble>),
    /// The store cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The operator returned an error: it refused its parameters, or failed to fetch its files.
    #[error(transparent)]
    Operator(#[from] OpError),
}

impl DecideError {
    /// What the user can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            DecideError::Files(files) if files.iter().any(|f| f.missing) => {
                let hint = files.iter().find_map(|f| f.hint.clone());
                Some(hint.unwrap_or_else(|| {
                    "paths are relative to the working directory; -C DIR changes it".to_owned()
                }))
            }
            DecideError::Operator(e) => e.advice().map(ToOwned::to_owned),
            DecideError::Files(_) => None,
            DecideError::Store(e) => e.hint(),
        }
    }
}

fn list(troubles: &[FileTrouble]) -> String {
    let texts: Vec<String> = troubles.iter().map(ToString::to_string).collect();
    texts.join("; ")
}

/// What happens to a stage whose inputs are known.
#[derive(Debug)]
pub struct Decision {
    /// What its key is made of.
    pub ingredients: Ingredients,
    /// Its key.
    pub key: Key,
    /// The files it reads, as they were when the key was made.
    pub seen: Vec<Seen>,
    /// The artifact of an earlier run that it is, for a stage of `pinned`.
    pub pinned: Option<Found>,
    /// Whether it is cached or runs.
    pub outcome: Outcome,
}

/// Where the result of a stage comes from.
#[derive(Debug)]
pub enum Outcome {
    /// The store has it.
    Cached(Box<Manifest>),
    /// The remote has it.
    Remote {
        /// The manifest of what it has.
        manifest: Box<Manifest>,
        /// Why the stage runs if the remote fails to deliver.
        otherwise: Vec<Reason>,
    },
    /// It runs.
    Run(Vec<Reason>),
}

/// Decides what happens to the stages of one pipeline.
#[derive(Debug)]
pub struct Planner {
    pipeline: String,
    store: Store,
    remote: Option<Arc<Remote>>,
    files: Files,
    forced: BTreeSet<String>,
    estimates: Option<String>,
    /// What operators add to keys, by operator and parameters.
    fingerprints: Mutex<BTreeMap<(&'static str, String), Option<String>>>,
}

impl Planner {
    /// Makes a planner. The stages in `forced` run even when they are cached.
    pub fn new(pipeline: &str, store: &Store, request: &Request, forced: BTreeSet<String>) -> Self {
        Planner {
            pipeline: pipeline.to_owned(),
            store: store.clone(),
            remote: request.remote.clone(),
            files: Files::open(store, &request.base),
            forced,
            estimates: request.estimates.clone(),
            fingerprints: Mutex::default(),
        }
    }

    /// The store in which results are looked up.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// The remote in which results are looked up that the store lacks.
    pub fn remote(&self) -> Option<&Arc<Remote>> {
        self.remote.as_ref()
    }

    /// The pipeline's name.
    pub fn pipeline(&self) -> &str {
        &self.pipeline
    }

    /// Whether the user wants the stage computed even when it is cached.
    pub fn is_forced(&self, stage: &str) -> bool {
        self.forced.contains(stage)
    }

    /// Saves the digests of files and objects for the next run.
    pub fn save(&self) {
        self.files.save();
        self.store.save_digests();
    }

    /// What the key of a stage is made of, with its files as they are now.
    ///
    /// # Errors
    /// Missing or unreadable files.
    pub fn ingredients(
        &self,
        stage: &Stage,
        inputs: &BTreeMap<String, Vec<Artifact>>,
    ) -> Result<(Ingredients, Vec<Seen>), DecideError> {
        self.made_of(stage, inputs)
            .map(|(ingredients, seen, _)| (ingredients, seen))
    }

    /// The ingredients, and the artifact that a stage of `pinned` stands for.
    fn made_of(
        &self,
        stage: &Stage,
        inputs: &BTreeMap<String, Vec<Artifact>>,
    ) -> Result<(Ingredients, Vec<Seen>, Option<Found>), DecideError> {
        let files = stage.op.files(&stage.params, self.files.base())?;
        let (ids, seen) = self.files.identify(&files).map_err(DecideError::Files)?;
        let fingerprint = self.fingerprint(stage)?;
        let (op, params) = (&stage.op, &stage.params);
        let unread = files.iter().filter(|file| !file.read);
        let unread = unread.map(|f| f.path.display().to_string()).collect();
        let mut ingredients = Ingredients::collect(op, params, fingerprint, inputs, ids, unread);
        let mut found = None;
        if op.name == Pinned::NAME {
            let artifact = pinned::find(&self.store, params)?;
            let id = InputId {
                from: artifact.name.clone(),
                digest: artifact.digest.clone(),
            };
            ingredients.inputs.insert(pinned::PORT.to_owned(), vec![id]);
            found = Some(artifact);
        }
        Ok((ingredients, seen, found))
    }

    /// What the operator adds to the key. Computed once for the same parameters, because the
    /// operator may hash megabytes.
    fn fingerprint(&self, stage: &Stage) -> Result<Option<String>, OpError> {
        let asked = (stage.op.name, stage.params.to_string());
        let known = self.fingerprints.lock();
        if let Some(f) = known.unwrap_or_else(PoisonError::into_inner).get(&asked) {
            return Ok(f.clone());
        }
        let f = stage.op.fingerprint(&stage.params, self.files.base())?;
        let known = self.fingerprints.lock();
        known
            .unwrap_or_else(PoisonError::into_inner)
            .insert(asked, f.clone());
        Ok(f)
    }

    /// Decides what happens to a stage whose inputs are known.
    ///
    /// # Errors
    /// See [`DecideError`].
    pub fn decide(
        &self,
        stage: &Stage,
        inputs: &BTreeMap<String, Vec<Artifact>>,
    ) -> Result<Decision, DecideError> {
        let (ingredients, seen, pinned) = self.made_of(stage, inputs)?;
        let key = ingredients.key();
        let lookup = self.store.lookup(&key, &stage.op)?;
        let forced = self.is_forced(&stage.name);
        let outcome = match lookup {
            // Nothing is computed for a pinned artifact, so there is nothing to force.
            Lookup::Hit(_) if forced && pinned.is_none() => Outcome::Run(vec![Reason::Forced]),
            Lookup::Hit(manifest) => Outcome::Cached(manifest),
            absent => {
                let reasons = match absent {
                    Lookup::Damaged { missing: true, .. } => vec![Reason::ArtifactMissing],
                    Lookup::Damaged { .. } => vec![Reason::ArtifactDamaged],
                    _ => self.reasons(stage, &key, &ingredients),
                };
                let elsewhere = self.remote.as_ref().filter(|_| !forced);
                match elsewhere.and_then(|remote| remote.find(&key, &stage.op)) {
                    Some(manifest) => Outcome::Remote {
                        manifest: Box::new(manifest),
                        otherwise: reasons,
                    },
                    None => {
                        if let Some(found) = &pinned {
                            found.ports()?;
                        }
                        Outcome::Run(reasons)
                    }
                }
            }
        };
        Ok(Decision {
            ingredients,
            key,
            seen,
            pinned,
            outcome,
        })
    }

    fn reasons(&self, stage: &Stage, key: &Key, now: &Ingredients) -> Vec<Reason> {
        let begun = std::fs::read_dir(self.store.workdir(key.as_str()))
            .is_ok_and(|mut entries| entries.next().is_some());
        let mut out = match LastLook::read(&self.store, &self.pipeline, &stage.name) {
            None if begun => vec![Reason::Unfinished],
            None => vec![Reason::NeverRan],
            Some(last) if last.key == *key => vec![match last.end {
                LastEnd::Stored => Reason::ArtifactMissing,
                LastEnd::Failed => Reason::FailedLastTime,
                LastEnd::Interrupted => Reason::InterruptedLastTime,
            }],
            Some(last) => {
                let mut out = differences(&last.with_files(&self.store), now);
                if begun {
                    out.push(Reason::Unfinished);
                }
                out
            }
        };
        if self.is_forced(&stage.name) {
            out.insert(0, Reason::Forced);
        }
        out
    }

    /// Returns what a run would do, without running; and the stages for which that cannot be
    /// decided, each with the reason.
    pub fn walk(&self, pipeline: &Pipeline, roles: &[Role]) -> (Vec<StagePlan>, Vec<StageTrouble>) {
        let mut plans: BTreeMap<usize, StagePlan> = BTreeMap::new();
        let mut known: Known<'_> = BTreeMap::new();
        let mut troubles = Vec::new();
        for i in order(pipeline) {
            let stage = &pipeline.stages[i];
            let role = roles.get(i).copied().unwrap_or(Role::Run);
            let (key, verdict) = if role == Role::Skip {
                (None, Verdict::NotSelected)
            } else {
                match self.judge(stage, role, &known) {
                    Ok(judged) => judged,
                    Err(error) => {
                        troubles.push(StageTrouble {
                            place: stage.origin.to_string(),
                            stage: stage.name.clone(),
                            error,
                        });
                        continue;
                    }
                }
            };
            if let Verdict::Cached(manifest) | Verdict::Remote(manifest) = &verdict {
                let artifacts = self.store.artifacts(&stage.name, &stage.op, manifest);
                known.insert(&stage.name, artifacts);
            }
            let plan = StagePlan {
                name: stage.name.clone(),
                op: stage.op.name.to_owned(),
                key,
                on_gpu: stage.on_gpu(),
                estimate: self.estimate(stage, &verdict, &known),
                requests: self.requests(stage, &verdict, &known),
                verdict,
            };
            plans.insert(i, plan);
        }
        (plans.into_values().collect(), troubles)
    }

    /// An estimate of what a stage that would run needs on the device of the request.
    fn estimate(&self, stage: &Stage, verdict: &Verdict, known: &Known<'_>) -> Option<Estimate> {
        let device = self.estimates.as_deref()?;
        if !matches!(verdict, Verdict::Run(_) | Verdict::Depends(_)) {
            return None;
        }
        // A port that still lacks an artifact is left out.
        let (mut inputs, waits) = inputs_of(stage, known);
        inputs.retain(|port, _| !waits.iter().any(|(p, _)| p == port));
        let estimate = stage.op.estimate(stage.params.clone(), &inputs, device);
        // An error is ignored here: the run reports what is wrong with an input.
        estimate.ok().flatten()
    }

    /// How many answers of a language model a stage that would run needs, where it can be counted.
    fn requests(
        &self,
        stage: &Stage,
        verdict: &Verdict,
        known: &Known<'_>,
    ) -> Option<RequestCount> {
        self.estimates.as_deref()?;
        let runs = matches!(verdict, Verdict::Run(_) | Verdict::Depends(_));
        if !runs || !stage.op.asks_model(&stage.params).ok()? {
            return None;
        }
        let (inputs, waits) = inputs_of(stage, known);
        if !waits.is_empty() {
            return None;
        }
        let requests = Arc::new(Requests::default());
        let ctx = Context {
            stage: stage.name.clone(),
            inputs,
            outputs: Arc::new(Nowhere),
            reporter: Arc::new(Silent),
            cancel: Cancel::default(),
            base: self.files.base().to_owned(),
            workdir: PathBuf::new(),
            items: Items::read_only(self.store.items_root(), String::new()),
            device: "cpu".to_owned(),
            environment: Environment::new(),
            offline: true,
            requests: Some(Arc::clone(&requests)),
            ranks: ranks::single(),
        };
        // Other errors are ignored here: the run reports them.
        match stage.op.run(stage.params.clone(), &ctx) {
            Ok(()) | Err(OpError::Cancelled) => Some(requests.counted()),
            Err(OpError::Failed(_)) => None,
        }
    }

    fn judge(
        &self,
        stage: &Stage,
        role: Role,
        known: &Known<'_>,
    ) -> Result<(Option<Key>, Verdict), DecideError> {
        let (inputs, waits) = inputs_of(stage, known);
        let waits: BTreeSet<String> = waits.into_iter().map(|(_, stage)| stage).collect();
        if !waits.is_empty() {
            let mut reasons = Vec::new();
            if self.is_forced(&stage.name) {
                reasons.push(Reason::Forced);
            }
            // Files are checked all the same: a missing one is better reported now than in an hour.
            let (now, _) = self.ingredients(stage, &inputs)?;
            match LastLook::read(&self.store, &self.pipeline, &stage.name) {
                None => reasons.push(Reason::NeverRan),
                Some(last) => {
                    reasons.extend(own_differences(&last.with_files(&self.store), &now));
                }
            }
            reasons.extend(waits.into_iter().map(|stage| Reason::InputRuns { stage }));
            return Ok((None, Verdict::Depends(reasons)));
        }
        let decision = self.decide(stage, &inputs)?;
        let verdict = match decision.outcome {
            Outcome::Cached(manifest) => Verdict::Cached(manifest),
            Outcome::Remote { manifest, .. } => Verdict::Remote(manifest),
            // Taking an artifact of an earlier run computes nothing.
            Outcome::Run(reasons) if decision.pinned.is_some() => Verdict::Run(reasons),
            Outcome::Run(_) if role == Role::FromCache => Verdict::NotStored,
            Outcome::Run(reasons) => Verdict::Run(reasons),
        };
        Ok((Some(decision.key), verdict))
    }
}

/// Artifacts of a stage's inputs, by port.
type Inputs = BTreeMap<String, Vec<Artifact>>;
/// Artifacts of stages, by stage and port.
type Known<'a> = BTreeMap<&'a str, BTreeMap<String, Artifact>>;

/// The artifacts that a stage's ports get, and the port and stage of each artifact that is not
/// there yet.
fn inputs_of(stage: &Stage, known: &Known<'_>) -> (Inputs, BTreeSet<(String, String)>) {
    let mut inputs = Inputs::new();
    let mut waits = BTreeSet::new();
    for (port, refs) in &stage.inputs {
        for r in refs {
            match known.get(r.stage.as_str()).and_then(|a| a.get(&r.port)) {
                Some(a) => inputs.entry(port.clone()).or_default().push(a.clone()),
                None => drop(waits.insert((port.clone(), r.stage.clone()))),
            }
        }
    }
    (inputs, waits)
}

/// What a run would do to a stage.
#[derive(Debug)]
pub struct StagePlan {
    /// Name of the stage.
    pub name: String,
    /// Name of the operator.
    pub op: String,
    /// Its key; `None` where the inputs are not known yet.
    pub key: Option<Key>,
    /// What would happen.
    pub verdict: Verdict,
    /// Whether its operator computes on a GPU where there is one.
    pub on_gpu: bool,
    /// An estimate of what running it needs on the requested device, where one can be made.
    pub estimate: Option<Estimate>,
    /// How many answers of a language model it needs, where that can be counted.
    pub requests: Option<RequestCount>,
}

/// What would happen to a stage.
#[derive(Debug)]
pub enum Verdict {
    /// It is taken from the store.
    Cached(Box<Manifest>),
    /// It is taken from the remote.
    Remote(Box<Manifest>),
    /// It runs.
    Run(Vec<Reason>),
    /// An input runs: the stage runs too, unless that input's output or an earlier run of this
    /// stage is the same.
    Depends(Vec<Reason>),
    /// The selection leaves it out but needs its output, which the store does not have.
    NotStored,
    /// The selection leaves it out.
    NotSelected,
}

/// How long each stage that will or may run took last time, in seconds.
pub fn expected(plan: &[StagePlan], earlier: &BTreeMap<String, f64>) -> BTreeMap<String, f64> {
    let runs = plan
        .iter()
        .filter(|p| matches!(p.verdict, Verdict::Run(_) | Verdict::Depends(_)));
    runs.filter_map(|p| Some((p.name.clone(), *earlier.get(&p.name)?)))
        .collect()
}

/// A stage for which it cannot be decided what happens.
#[derive(Debug)]
pub struct StageTrouble {
    /// Where the stage is written: `file:line:column`.
    pub place: String,
    /// Name of the stage.
    pub stage: String,
    /// Why it cannot be decided.
    pub error: DecideError,
}
