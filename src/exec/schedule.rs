//! Runs stages in the order of their dependencies, with dagrs as the scheduler.
//!
//! dagrs provides the topology, the cycle check, the spawning of tasks and the channels between
//! them; everything else is done here. All nodes start at once and wait for one message from each
//! input. Invariant: every node sends exactly one message along each edge on every code path, even
//! when its work panics, because a successor that gets none would wait for ever.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use dagrs::async_trait::async_trait;
use dagrs::{
    Content, DagrsError, EnvVar, Graph, InChannels, Node, NodeId, NodeTable, OutChannels, Output,
};
use gfm_pipe_api::Artifact;

use super::permits::{Permit, Permits};
use super::stage::{Ports, StageRunner};
use crate::plan::select::Role;
use crate::record::{Event, StageRecord, StageStatus};
use crate::spec::{Pipeline, PortRef, Stage};

/// A message along an edge, from a stage to one that depends on it.
#[derive(Debug, Clone)]
enum Signal {
    /// The stage's artifacts are in the store.
    Ready { stage: String, ports: Arc<Ports> },
    /// The stage's artifacts are not in the store and will not be in this run.
    Failed { stage: String },
    /// The stage was not started.
    Skipped { stage: String },
}

/// How a stage ended, and its artifacts where it is stored.
pub(super) type Ended = (StageRecord, Option<Arc<Ports>>);

/// What all nodes of a run share.
pub(super) struct Shared {
    pub(super) runner: StageRunner,
    pub(super) permits: Permits,
    pub(super) keep_going: bool,
    /// Set when a stage failed and nothing new may start.
    pub(super) halted: AtomicBool,
    pub(super) ended: Mutex<HashMap<String, Ended>>,
}

impl Shared {
    fn finish(&self, record: StageRecord, ports: Option<Arc<Ports>>) {
        let sink = &self.runner.sink;
        sink.emit(&Event::StageFinished(Box::new(record.clone())));
        let mut ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        ended.insert(record.name.clone(), (record, ports));
    }
}

struct StageNode {
    id: NodeId,
    stage: Arc<Stage>,
    role: Role,
    shared: Arc<Shared>,
    inputs: InChannels,
    outputs: OutChannels,
}

#[async_trait]
impl Node for StageNode {
    fn id(&self) -> NodeId {
        self.id
    }

    fn name(&self) -> String {
        self.stage.name.clone()
    }

    fn input_channels(&mut self) -> &mut InChannels {
        &mut self.inputs
    }

    fn output_channels(&mut self) -> &mut OutChannels {
        &mut self.outputs
    }

    async fn run(&mut self, _env: Arc<EnvVar>) -> Output {
        let mut signals = Vec::new();
        for from in self.inputs.get_sender_ids() {
            let signal = match self.inputs.recv_from(&from).await {
                Ok(content) => content.get::<Signal>().cloned(),
                Err(_) => None,
            };
            // A closed channel or an unexpected message means that the predecessor broke down.
            signals.push(signal.unwrap_or(Signal::Failed {
                stage: "(an input)".to_owned(),
            }));
        }
        let (stage, role) = (Arc::clone(&self.stage), self.role);
        let shared = Arc::clone(&self.shared);
        // In a task of its own, so that a panic of the engine itself ends here and the messages
        // below are still sent.
        let work = tokio::spawn(work(Arc::clone(&stage), role, shared, signals));
        // The permit is held until every successor knows that the stage ended, so that a successor
        // never sees more stages running at once than are allowed.
        let ((record, ports), _permit) = work.await.unwrap_or_else(|e| {
            let error = format!("the engine failed: {e}");
            let record = StageRecord::engine_failed(&stage.name, stage.op.name, error);
            self.shared.halted.store(true, Ordering::Relaxed);
            ((record, None), None)
        });
        let name = stage.name.clone();
        let signal = match (&ports, record.status) {
            (Some(ports), _) => Signal::Ready {
                stage: name,
                ports: Arc::clone(ports),
            },
            (None, StageStatus::Skipped) => Signal::Skipped { stage: name },
            (None, _) => Signal::Failed { stage: name },
        };
        self.shared.finish(wired(record, &stage), ports);
        for to in self.outputs.get_receiver_ids() {
            // A receiver that is gone needs no message.
            let _ = self
                .outputs
                .send_to(&to, Content::new(signal.clone()))
                .await;
        }
        Output::empty()
    }
}

/// The record of a stage, with the outputs that its inputs are connected to, and with what is
/// needed to ask it questions.
pub(super) fn wired(mut record: StageRecord, stage: &Stage) -> StageRecord {
    let named = |(port, from): (&String, &Vec<PortRef>)| {
        (port.clone(), from.iter().map(PortRef::to_string).collect())
    };
    record.inputs = stage.inputs.iter().map(named).collect();
    record.after.clone_from(&stage.after);
    record.params = stage.op.answers_questions.then(|| stage.params.clone());
    record
}

/// The word in messages for a stage that another one waits for.
fn what(stage: &Stage, other: &str) -> &'static str {
    let taken = stage.inputs.values().flatten().any(|r| r.stage == other);
    if stage.after.iter().any(|a| a == other) && !taken {
        "earlier stage"
    } else {
        "input"
    }
}

async fn work(
    stage: Arc<Stage>,
    role: Role,
    shared: Arc<Shared>,
    signals: Vec<Signal>,
) -> (Ended, Option<Permit>) {
    let skip = |why: String| {
        let record = StageRecord::skipped(&stage.name, stage.op.name, why);
        ((record, None), None)
    };
    if let Some(record) = shared.runner.troubled(&stage) {
        return ((record, None), None);
    }
    let mut ready: HashMap<String, Arc<Ports>> = HashMap::new();
    for signal in signals {
        match signal {
            Signal::Ready { stage, ports } => drop(ready.insert(stage, ports)),
            Signal::Failed { stage: from } => {
                return skip(format!("{} {from} failed", what(&stage, &from)));
            }
            Signal::Skipped { .. } if shared.runner.cancel.is_cancelled() => {
                return skip("interrupted".to_owned());
            }
            Signal::Skipped { stage: from } => {
                return skip(format!("{} {from} was skipped", what(&stage, &from)));
            }
        }
    }
    let mut inputs: BTreeMap<String, Vec<Artifact>> = BTreeMap::new();
    for (port, refs) in &stage.inputs {
        for r in refs {
            let Some(artifact) = ready.get(&r.stage).and_then(|p| p.get(&r.port)) else {
                return skip(format!("input {r} is not there"));
            };
            inputs
                .entry(port.clone())
                .or_default()
                .push(artifact.clone());
        }
    }
    let Ok(permit) = shared.permits.acquire(&stage.limits).await else {
        return skip("the run ended".to_owned());
    };
    if shared.runner.cancel.is_cancelled() {
        return skip("interrupted".to_owned());
    }
    if shared.halted.load(Ordering::Relaxed) {
        return skip("another stage failed (--keep-going goes on)".to_owned());
    }
    let blocking = {
        let (shared, stage) = (Arc::clone(&shared), Arc::clone(&stage));
        tokio::task::spawn_blocking(move || shared.runner.run(&stage, role, inputs))
    };
    let (record, ports) = match blocking.await {
        Ok(done) => done,
        Err(e) => {
            let error = format!("the engine failed: {e}");
            let record = StageRecord::engine_failed(&stage.name, stage.op.name, error);
            (record, None)
        }
    };
    if record.status == StageStatus::Failed && !shared.keep_going {
        shared.halted.store(true, Ordering::Relaxed);
    }
    ((record, ports.map(Arc::new)), Some(permit))
}

/// Runs every stage whose role is not [`Role::Skip`]; returns when all of them have ended.
pub(super) async fn schedule(
    pipeline: &Pipeline,
    roles: &[Role],
    shared: &Arc<Shared>,
) -> Result<(), DagrsError> {
    let mut table = NodeTable::new();
    let mut graph = Graph::new();
    let mut ids: HashMap<&str, NodeId> = HashMap::new();
    for (stage, role) in pipeline.stages.iter().zip(roles) {
        if *role == Role::Skip {
            continue;
        }
        let id = table.alloc_id_for(&stage.name);
        graph.add_node(StageNode {
            id,
            stage: Arc::new(stage.clone()),
            role: *role,
            shared: Arc::clone(shared),
            inputs: InChannels::default(),
            outputs: OutChannels::default(),
        })?;
        ids.insert(&stage.name, id);
    }
    for (stage, role) in pipeline.stages.iter().zip(roles) {
        let Some(&to) = ids.get(stage.name.as_str()) else {
            continue;
        };
        let inputs = stage.inputs.values().flatten().map(|r| r.stage.as_str());
        // A stage that is only looked up in the store need not wait for the stages in its `after`.
        let before = stage.after.iter().map(String::as_str);
        let before = before.filter(|_| *role == Role::Run);
        let mut from: Vec<NodeId> = inputs
            .chain(before)
            .filter_map(|name| ids.get(name).copied())
            .collect();
        from.sort();
        from.dedup();
        for from in from {
            graph.add_edge(from, [to])?;
        }
    }
    if ids.is_empty() {
        return Ok(());
    }
    graph.async_start().await.map(drop)
}
