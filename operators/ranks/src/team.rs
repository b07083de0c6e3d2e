//! All ranks of a run: they connect, rank 0 gives orders, and the others follow them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use gfm_pipe_api::ranks::Shared;
use gfm_pipe_api::{Cancel, Collective, ErrorKind, OpError, OpResult};
use serde_json::Value;

use crate::abortable::{Abortable, Caller};
use crate::control::{
    Claim, Door, End, Meeting, Member, Message, Settings, Trouble, Watch, attend, lock,
};

/// How long rank 0 waits for the others after its own part failed, before it asks them to stop:
/// ranks that fail for the same reason end by themselves.
const SAME_FAILURE: Duration = Duration::from_secs(3);

/// How long rank 0, after its own part failed, waits in all until it gives up on the others.
const STOPPING: Duration = Duration::from_secs(60);

/// How long MPI may take to end.
const ENDING: Duration = Duration::from_secs(10);

/// The ranks of a run.
pub struct Team {
    caller: Arc<Caller>,
    watch: Arc<Watch>,
    members: Vec<Member>,
    /// Number of orders given.
    orders: AtomicU64,
    /// Why nothing more can be computed together, although all ranks are alive.
    broken: Mutex<Option<Trouble>>,
}

/// What rank 0 orders another rank to do.
#[derive(Debug)]
pub enum Order {
    /// Prepare to compute the order with this number and content, then call [`Team::begin`].
    Compute(u64, Value),
    /// The run is over.
    Over,
}

impl Team {
    /// Connects to the other ranks. `link` is called on the thread that makes all collective calls.
    /// Every rank must have the same `claims`.
    ///
    /// # Errors
    /// When a rank does not connect in time or has other claims; the error names the rank and the
    /// difference.
    pub fn meet(
        link: impl FnOnce() -> OpResult<Box<dyn Collective>> + Send + 'static,
        claims: Vec<Claim>,
        settings: Settings,
    ) -> OpResult<Self> {
        let caller = Caller::start(link)?;
        let ranks = Abortable(Arc::clone(&caller));
        let calls = {
            let caller = Arc::clone(&caller);
            move || caller.calls()
        };
        let unclear =
            |e| OpError::wrap("ranks do not understand each other", e).with_kind(ErrorKind::User);
        let (watch, members) = if ranks.rank() == 0 {
            let door = Door::open().map_err(|e| OpError::wrap("rank 0 cannot listen", e))?;
            let text = serde_json::to_vec(&door.meeting).map_err(unclear)?;
            ranks.broadcast(0, text)?;
            door.meet(ranks.size(), &claims, settings, calls)?
        } else {
            let text = ranks.broadcast(0, Vec::new())?;
            let meeting: Meeting = serde_json::from_slice(&text).map_err(unclear)?;
            attend(ranks.rank(), &meeting, claims, settings, calls)?
        };
        caller.watch(Arc::clone(&watch));
        Ok(Team {
            caller,
            watch,
            members,
            orders: AtomicU64::new(0),
            broken: Mutex::new(None),
        })
    }

    /// This rank.
    pub fn rank(&self) -> usize {
        Abortable(Arc::clone(&self.caller)).rank()
    }

    /// All ranks, in rank order.
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// The functions that all ranks call together.
    fn collective(&self) -> Shared {
        Arc::new(Abortable(Arc::clone(&self.caller)))
    }

    /// Why the ranks cannot go on, if one of them is gone or has failed.
    pub fn lost(&self) -> Option<OpError> {
        let known = self.watch.known();
        let failed = known.failed.as_ref().map(|(_, told)| told);
        known.trouble.as_ref().or(failed).map(Trouble::error)
    }

    /// Why no stage can be computed together any more.
    fn trouble(&self) -> Option<Trouble> {
        self.watch
            .known()
            .trouble
            .clone()
            .or_else(|| lock(&self.broken).clone())
    }

    /// Orders all other ranks to prepare to compute something, and waits until they are ready. Only
    /// for rank 0, and for one order at a time.
    ///
    /// # Errors
    /// When a rank is gone or cannot compute it; the error says which one and why. Also when
    /// `cancel` is set.
    pub fn start(&self, order: Value, cancel: &Cancel) -> OpResult<Session<'_>> {
        if let Some(told) = self.trouble() {
            return Err(told.error());
        }
        let number = self.orders.fetch_add(1, Ordering::Relaxed) + 1;
        {
            let mut known = self.watch.known();
            known.failed = None;
            known.inbox.clear();
        }
        self.watch.tell(&Message::Order { number, order });
        let mut ready = vec![None; self.members.len()];
        ready[0] = Some(None);
        while let Some(rank) = ready.iter().position(Option::is_none) {
            let found = self.watch.wait(Some(Duration::from_millis(100)), |known| {
                if let Some(told) = &known.trouble {
                    return Some(Err(told.error()));
                }
                let at = known.inbox.iter().position(|(from, m)| {
                    *from == rank && matches!(m, Message::Ready { number: n, .. } if *n == number)
                })?;
                match known.inbox.remove(at) {
                    Some((_, Message::Ready { trouble, .. })) => Some(Ok(trouble)),
                    _ => None,
                }
            });
            if let Some(found) = found {
                ready[rank] = Some(found?);
            }
            if cancel.is_cancelled() {
                self.watch.tell(&Message::Go {
                    number,
                    begin: false,
                });
                return Err(OpError::Cancelled);
            }
        }
        let refused = ready.into_iter().flatten().flatten().next();
        let begin = refused.is_none();
        self.watch.tell(&Message::Go { number, begin });
        if let Some(told) = refused {
            return Err(told.error());
        }
        self.caller.heed(Some(cancel.clone()));
        self.caller.be_patient(None);
        Ok(Session { team: self, number })
    }

    /// Waits for the next order. For all ranks but rank 0.
    ///
    /// # Errors
    /// When rank 0 is gone; [`OpError::Cancelled`] when rank 0 ended the run and reports the reason
    /// itself.
    pub fn next(&self) -> OpResult<Order> {
        self.watch
            .wait(None, |known| {
                if let Some(told) = &known.trouble {
                    return Some(Err(if known.aborted {
                        OpError::Cancelled
                    } else {
                        told.error()
                    }));
                }
                while let Some((_, message)) = known.inbox.pop_front() {
                    match message {
                        Message::Order { number, order } => {
                            known.stop = false;
                            return Some(Ok(Order::Compute(number, order)));
                        }
                        Message::Over => return Some(Ok(Order::Over)),
                        _ => {}
                    }
                }
                None
            })
            .unwrap_or(Ok(Order::Over))
    }

    /// Reports that this rank is ready to compute an order, or why not, and waits until all others
    /// have reported. Returns `None` when a rank is not ready.
    ///
    /// # Errors
    /// When rank 0 is gone.
    pub fn begin(&self, number: u64, ready: Result<(), &OpError>) -> OpResult<Option<Shared>> {
        let here = &self.members[self.rank()];
        let trouble = ready.err().map(|e| Trouble {
            message: format!("{here}: {e}"),
            ..Trouble::of(e)
        });
        self.watch.tell(&Message::Ready { number, trouble });
        let go = self.watch.wait(None, |known| {
            if let Some(told) = &known.trouble {
                return Some(Err(told.error()));
            }
            let at = known
                .inbox
                .iter()
                .position(|(_, m)| matches!(m, Message::Go { number: n, .. } if *n == number))?;
            match known.inbox.remove(at) {
                Some((_, Message::Go { begin, .. })) => Some(Ok(begin)),
                _ => None,
            }
        });
        match go {
            Some(Ok(true)) => {
                self.caller.be_patient(None);
                Ok(Some(self.collective()))
            }
            Some(Ok(false)) | None => Ok(None),
            Some(Err(e)) => Err(e),
        }
    }

    /// Reports to rank 0 how this rank's part ended.
    pub fn done(&self, number: u64, result: &OpResult<()>) {
        let end = End {
            stuck: self.caller.is_stuck(),
            calls: self.caller.calls(),
            failed: result.as_ref().err().map(Trouble::of),
        };
        self.watch.tell(&Message::Done { number, end });
    }

    /// Whether rank 0 wants this rank's part to stop.
    pub fn is_stopped(&self) -> bool {
        let known = self.watch.known();
        known.stop || known.trouble.is_some()
    }

    /// Reports to rank 0 that somebody asked this process to stop.
    pub fn interrupt(&self) {
        self.watch.tell(&Message::Interrupt);
    }

    /// From now on, `cancel` is set when another rank is asked to stop. Only for rank 0.
    pub fn on_interrupt(&self, cancel: &Cancel) {
        let mut known = self.watch.known();
        if known.interrupted {
            cancel.cancel();
        }
        known.interrupt = Some(cancel.clone());
    }

    /// Ends the run on this rank; on rank 0 it also informs the others. Returns whether MPI was
    /// ended properly; otherwise it is left in the middle of a call and ends with the process.
    pub fn close(&self) -> bool {
        let whole = self.trouble().is_none() && !self.caller.is_stuck();
        if self.rank() == 0 {
            match self.trouble() {
                None => self.watch.tell(&Message::Over),
                Some(told) => self.watch.tell(&Message::Abort { told }),
            }
        }
        self.watch.known().over = true;
        if !whole {
            return false;
        }
        let caller = Arc::clone(&self.caller);
        let (tell, told) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            caller.close();
            let _ = tell.send(());
        });
        told.recv_timeout(ENDING).is_ok()
    }
}

/// Without [`Team::close`] the others would wait for a process that no longer takes part.
impl Drop for Team {
    fn drop(&mut self) {
        self.watch.hang_up();
    }
}

/// An order that all ranks are computing now.
pub struct Session<'a> {
    team: &'a Team,
    number: u64,
}

impl Session<'_> {
    /// The functions that all ranks call together.
    pub fn ranks(&self) -> Shared {
        self.team.collective()
    }

    /// Waits for the other ranks after this rank's part has ended with `result`.
    ///
    /// # Errors
    /// The error in `result`, if this rank failed; otherwise the error that another rank reported.
    pub fn end(self, result: OpResult<()>) -> OpResult<()> {
        let team = self.team;
        team.caller.heed(None);
        let start = Instant::now();
        if result.is_err() && team.caller.is_stuck() {
            team.watch.tell(&Message::Stop);
        }
        let mut ends: Vec<Option<End>> = vec![None; team.members.len()];
        let mut told_to_stop = false;
        let lost = loop {
            let trouble = team.watch.wait(Some(Duration::from_millis(50)), |known| {
                known.inbox.retain(|(from, message)| match message {
                    Message::Done { number, end } if *number == self.number => {
                        ends[*from] = Some(end.clone());
                        false
                    }
                    _ => true,
                });
                let all = ends.iter().skip(1).all(Option::is_some);
                (all || known.trouble.is_some()).then(|| known.trouble.clone())
            });
            if let Some(trouble) = trouble {
                break trouble;
            }
            if result.is_err() && !told_to_stop && start.elapsed() > SAME_FAILURE {
                team.watch.tell(&Message::Stop);
                told_to_stop = true;
            }
            if result.is_err() && start.elapsed() > STOPPING {
                // Another rank is in a long computation, or waits for a device that waits for
                // others. The error to report is this rank's own.
                let hint = "start the run again: what is stored is not computed again";
                team.watch.fail(Trouble {
                    kind: ErrorKind::Resource,
                    message: "other ranks did not stop".to_owned(),
                    hint: Some(hint.to_owned()),
                });
                return result;
            }
        };
        if let Some(told) = lost {
            return Err(told.error());
        }
        let calls = team.caller.calls();
        let in_step =
            !team.caller.is_stuck() && ends.iter().flatten().all(|e| !e.stuck && e.calls == calls);
        if !in_step {
            *lock(&team.broken) = Some(Trouble {
                kind: ErrorKind::Resource,
                message: "the ranks are out of step: they stopped in different places of an earlier stage".to_owned(),
                hint: Some("start the run again: what is stored is not computed again".to_owned()),
            });
        }
        let theirs = team.watch.known().failed.take();
        match (result, theirs) {
            (Ok(()), Some((_, told))) => Err(told.error()),
            (result, _) => result,
        }
    }
}
