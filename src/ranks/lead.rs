//! Rank 0: makes the other ranks take part in a stage.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, TryLockError};
use std::time::Duration;

use gfm_pipe_api::ranks::{Shared, single};
use gfm_pipe_api::{Artifact, Cancel, ErrorKind, OpError, OpResult};
use gfm_pipe_ranks::{Session, Team};

use super::order::{Given, Order};
use crate::plan::FileId;
use crate::spec::Stage;

const POLL: Duration = Duration::from_millis(20);

/// The ranks of a run, as seen by rank 0.
pub struct Lead {
    team: Team,
    /// Held while a stage is computed by all ranks, so that there is only one at a time.
    turn: Mutex<()>,
    /// Whether such a stage is being computed.
    busy: AtomicBool,
}

impl fmt::Debug for Lead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ranks", self.team.members().len())
    }
}

/// A stage that all ranks compute.
pub struct Together<'a> {
    session: Option<Session<'a>>,
    busy: &'a AtomicBool,
    _turn: MutexGuard<'a, ()>,
}

impl Together<'_> {
    /// How the ranks communicate during the stage.
    pub fn ranks(&self) -> Shared {
        match &self.session {
            Some(session) => session.ranks(),
            None => single(),
        }
    }

    /// See [`Session::end`].
    ///
    /// # Errors
    /// See [`Session::end`].
    pub fn end(mut self, result: OpResult<()>) -> OpResult<()> {
        match self.session.take() {
            Some(session) => session.end(result),
            None => result,
        }
    }
}

impl Drop for Together<'_> {
    fn drop(&mut self) {
        self.busy.store(false, Ordering::Relaxed);
    }
}

impl Lead {
    /// Creates it from a team whose ranks have connected.
    pub fn new(team: Team) -> Self {
        Lead {
            team,
            turn: Mutex::new(()),
            busy: AtomicBool::new(false),
        }
    }

    /// Who takes part, for the user: `4 ranks: 2 on a, 2 on b`.
    pub fn summary(&self) -> String {
        let members = self.team.members();
        let mut hosts: Vec<(&str, usize)> = Vec::new();
        for member in members {
            match hosts.iter_mut().find(|(host, _)| *host == member.host) {
                Some((_, count)) => *count += 1,
                None => hosts.push((&member.host, 1)),
            }
        }
        let hosts = hosts.iter().map(|(host, n)| format!("{n} on {host}"));
        let hosts: Vec<String> = hosts.collect();
        format!("{} ranks: {}", members.len(), hosts.join(", "))
    }

    /// An error if a rank is gone, so that the stage computed by all ranks can no longer end by
    /// itself.
    pub fn stuck(&self) -> Option<OpError> {
        self.team
            .lost()
            .filter(|_| self.busy.load(Ordering::Relaxed))
    }

    /// See [`Team::on_interrupt`].
    pub fn on_interrupt(&self, cancel: &Cancel) {
        self.team.on_interrupt(cancel);
    }

    /// See [`Team::close`].
    pub fn close(&self) -> bool {
        self.team.close()
    }

    /// Waits until the ranks compute no other stage, then makes all of them prepare to compute this
    /// one.
    ///
    /// # Errors
    /// When a rank is gone or cannot compute it, or the user wants to stop.
    pub fn start(
        &self,
        stage: &Stage,
        inputs: &BTreeMap<String, Vec<Artifact>>,
        files: &[FileId],
        cancel: &Cancel,
    ) -> OpResult<Together<'_>> {
        let turn = loop {
            match self.turn.try_lock() {
                Ok(turn) => break turn,
                // A stage that panicked is over, so its lock can be taken.
                Err(TryLockError::Poisoned(e)) => break e.into_inner(),
                Err(TryLockError::WouldBlock) if cancel.is_cancelled() => {
                    return Err(OpError::Cancelled);
                }
                Err(TryLockError::WouldBlock) => std::thread::sleep(POLL),
            }
        };
        let given = |artifacts: &Vec<Artifact>| artifacts.iter().map(Given::of).collect();
        let order = Order {
            stage: stage.name.clone(),
            op: stage.op.name.to_owned(),
            params: stage.params.clone(),
            inputs: inputs
                .iter()
                .map(|(port, artifacts)| (port.clone(), given(artifacts)))
                .collect(),
            files: files.to_vec(),
        };
        let order = serde_json::to_value(order).map_err(|e| {
            OpError::wrap("failed to write an order for the other ranks", e)
                .with_kind(ErrorKind::Internal)
        })?;
        let session = self.team.start(order, cancel)?;
        self.busy.store(true, Ordering::Relaxed);
        Ok(Together {
            session: Some(session),
            busy: &self.busy,
            _turn: turn,
        })
    }
}
