//! The parts of the machine that running stages occupy.
//!
//! Invariant: permits are taken in one order (mutexes by name, GPUs, memory, CPUs, then a place
//! among the stages that run), and a stage that asks for more than there is takes all there is. So
//! every stage gets its turn, and no two stages wait for each other.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};

use crate::spec::{Limits, Resources};

/// The unit in which memory is counted. Permits are a `u32`, which is too small to count bytes.
const MIB: u64 = 1 << 20;

/// What all running stages may occupy together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// Number of stages at the same time.
    pub jobs: u32,
    /// Number of CPUs.
    pub cpu: u32,
    /// Number of GPUs.
    pub gpu: u32,
    /// Bytes of memory. `None` when that is not known; memory is not counted then.
    pub memory: Option<u64>,
}

/// The permits that the stages of one run share.
pub(super) struct Permits {
    room: Room,
    mutexes: BTreeMap<String, Arc<Semaphore>>,
    gpu: Arc<Semaphore>,
    memory: Arc<Semaphore>,
    cpu: Arc<Semaphore>,
    jobs: Arc<Semaphore>,
}

/// Held while a stage runs; frees the room when it is dropped.
pub(super) struct Permit {
    _held: Vec<OwnedSemaphorePermit>,
}

fn mib(bytes: u64) -> u32 {
    u32::try_from(bytes.div_ceil(MIB)).unwrap_or(u32::MAX)
}

fn semaphore(permits: u32) -> Arc<Semaphore> {
    let permits = usize::try_from(permits).unwrap_or(usize::MAX);
    Arc::new(Semaphore::new(permits.min(Semaphore::MAX_PERMITS)))
}

impl Permits {
    /// The permits for stages with these limits.
    pub(super) fn new<'a>(room: Room, limits: impl Iterator<Item = &'a Limits>) -> Self {
        let names = limits.flat_map(|limits| &limits.mutex);
        Permits {
            room,
            mutexes: names.map(|name| (name.clone(), semaphore(1))).collect(),
            gpu: semaphore(room.gpu),
            memory: semaphore(room.memory.map_or(0, mib)),
            cpu: semaphore(room.cpu),
            jobs: semaphore(room.jobs.max(1)),
        }
    }

    /// Waits until there is room.
    pub(super) async fn acquire(&self, limits: &Limits) -> Result<Permit, AcquireError> {
        let wanted = limits.resources;
        let memory = self.room.memory.map_or(0, mib);
        let mut held = Vec::new();
        // The names are sorted.
        for mutex in limits
            .mutex
            .iter()
            .filter_map(|name| self.mutexes.get(name))
        {
            held.push(Arc::clone(mutex).acquire_owned().await?);
        }
        for (semaphore, n) in [
            (&self.gpu, wanted.gpu.min(self.room.gpu)),
            (&self.memory, mib(wanted.memory).min(memory)),
            (&self.cpu, wanted.cpu.min(self.room.cpu)),
            (&self.jobs, 1),
        ] {
            if n > 0 {
                held.push(Arc::clone(semaphore).acquire_many_owned(n).await?);
            }
        }
        Ok(Permit { _held: held })
    }

    /// What a stage asks for that is more than there is: `8 CPUs (there are 2)`.
    pub(super) fn beyond(&self, wanted: Resources) -> Option<String> {
        let mut out = Vec::new();
        if wanted.cpu > self.room.cpu {
            out.push(format!("{} CPUs (there are {})", wanted.cpu, self.room.cpu));
        }
        if wanted.gpu > self.room.gpu {
            out.push(format!("{} GPUs (there are {})", wanted.gpu, self.room.gpu));
        }
        if let Some(memory) = self.room.memory.filter(|m| wanted.memory > *m) {
            out.push(format!(
                "{} MiB of memory (there are {})",
                mib(wanted.memory),
                mib(memory)
            ));
        }
        (!out.is_empty()).then(|| out.join(", "))
    }
}
