//! Collective calls that can be abandoned: they are made on a separate thread, and the waiting
//! caller checks whether the other ranks are alive.
//!
//! MPI has no way to leave a call whose partner is gone. The thread that made the call stays in it,
//! and the process ends without waiting for that thread.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use gfm_pipe_api::{Cancel, Collective, ErrorKind, OpError, OpResult};

use crate::control::{Trouble, Watch, lock};

type Job = Box<dyn FnOnce(&dyn Collective) + Send>;

/// How often a waiting caller checks whether a rank is gone.
const LOOK: Duration = Duration::from_millis(20);

/// How long a rank waits for the others after it was asked to stop. Usually they arrive within this
/// time, and then all stop at the same place.
const COURTESY: Duration = Duration::from_secs(5);

/// How long a rank goes on after another one has failed, so that it can meet and report the same
/// failure itself.
const GRACE: Duration = Duration::from_secs(1);

/// The thread that makes the calls.
pub(crate) struct Caller {
    rank: usize,
    size: usize,
    jobs: Mutex<Option<Sender<Job>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
    /// Numbers of calls that have begun and ended.
    begun: AtomicU64,
    ended: AtomicU64,
    watch: OnceLock<Arc<Watch>>,
    /// Longest time that a call may take; `None` means without limit.
    patience: Mutex<Option<Duration>>,
    /// Set when this rank is asked to stop.
    cancel: Mutex<Option<Cancel>>,
}

impl Caller {
    /// Starts the thread; `link` is made on it.
    pub fn start(
        link: impl FnOnce() -> OpResult<Box<dyn Collective>> + Send + 'static,
    ) -> OpResult<Arc<Self>> {
        let (jobs, todo) = mpsc::channel::<Job>();
        let (tell, told) = mpsc::channel();
        let run = move || {
            let link = match link() {
                Ok(link) => link,
                Err(e) => return drop(tell.send(Err(e))),
            };
            let _ = tell.send(Ok((link.rank(), link.size())));
            while let Ok(job) = todo.recv() {
                job(&*link);
            }
        };
        let thread = std::thread::Builder::new()
            .name("gfm-rank-calls".to_owned())
            .spawn(run)
            .map_err(|e| OpError::wrap("failed to start a thread", e))?;
        let gone = |_| OpError::resource("MPI ended while it started");
        let (rank, size) = told.recv().map_err(gone)??;
        Ok(Arc::new(Caller {
            rank,
            size,
            jobs: Mutex::new(Some(jobs)),
            thread: Mutex::new(Some(thread)),
            begun: AtomicU64::new(0),
            ended: AtomicU64::new(0),
            watch: OnceLock::new(),
            patience: Mutex::new(None),
            cancel: Mutex::new(None),
        }))
    }

    /// From now on, calls are abandoned once `watch` finds that a rank is gone.
    pub fn watch(&self, watch: Arc<Watch>) {
        let _ = self.watch.set(watch);
    }

    /// Sets the flag that, once set, ends calls that the other ranks do not join.
    pub fn heed(&self, cancel: Option<Cancel>) {
        *lock(&self.cancel) = cancel;
    }

    /// Sets the longest time that calls may take from now on.
    pub fn be_patient(&self, most: Option<Duration>) {
        *lock(&self.patience) = most;
    }

    /// Number of calls begun so far.
    pub fn calls(&self) -> u64 {
        self.begun.load(Ordering::Relaxed)
    }

    /// Whether a call is still waiting for other ranks.
    pub fn is_stuck(&self) -> bool {
        self.begun.load(Ordering::Relaxed) != self.ended.load(Ordering::Relaxed)
    }

    /// Waits for the thread to end, which ends MPI.
    pub fn close(&self) {
        drop(lock(&self.jobs).take());
        if let Some(thread) = lock(&self.thread).take() {
            // A panic of this thread comes from MPI, which has ended: there is nothing left to do
            // about it.
            let _ = thread.join();
        }
    }

    fn call<T: Send + 'static>(
        &self,
        call: impl FnOnce(&dyn Collective) -> OpResult<T> + Send + 'static,
    ) -> OpResult<T> {
        let watch = self.watch.get();
        if let Some(watch) = watch {
            problem(watch)?;
        }
        let (tell, told) = mpsc::channel();
        let job: Job = Box::new(move |link| drop(tell.send(call(link))));
        let number = self.begun.fetch_add(1, Ordering::Relaxed) + 1;
        let sent = lock(&self.jobs).as_ref().map(|jobs| jobs.send(job));
        if !matches!(sent, Some(Ok(()))) {
            return Err(OpError::resource("MPI has ended"));
        }
        let start = Instant::now();
        let patience = *lock(&self.patience);
        let mut asked: Option<Instant> = None;
        loop {
            match told.recv_timeout(LOOK) {
                Ok(done) => {
                    self.ended.fetch_add(1, Ordering::Relaxed);
                    return done;
                }
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(OpError::resource("MPI ended in the middle of a call"));
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
            let Some(watch) = watch else { continue };
            problem(watch)?;
            if lock(&self.cancel)
                .as_ref()
                .is_some_and(Cancel::is_cancelled)
                && asked.get_or_insert_with(Instant::now).elapsed() > COURTESY
            {
                return Err(OpError::Cancelled);
            }
            // Only rank 0 knows which of the other ranks have joined the call.
            if self.rank == 0 && patience.is_some_and(|most| start.elapsed() > most) {
                watch.fail(late(watch, number, start.elapsed()));
            }
        }
    }
}

/// Returns the error for which calls must be abandoned, if there is one.
fn problem(watch: &Watch) -> OpResult<()> {
    let known = watch.known();
    match (&known.trouble, &known.failed) {
        (Some(told), _) => Err(told.error()),
        (None, Some((when, told))) if when.elapsed() > GRACE => Err(told.error()),
        _ if known.stop => Err(OpError::Cancelled),
        _ => Ok(()),
    }
}

fn late(watch: &Watch, call: u64, waited: Duration) -> Trouble {
    let known = watch.known();
    let behind: Vec<String> = known
        .peers
        .iter()
        .map(|peer| lock(peer))
        .filter(|peer| peer.calls < call)
        .map(|peer| peer.member.to_string())
        .collect();
    let who = if behind.is_empty() {
        "the ranks are".to_owned()
    } else {
        format!("{} did not come:", behind.join(", "))
    };
    Trouble {
        kind: ErrorKind::Resource,
        message: format!(
            "{who} waited for in a collective operation for {} min",
            waited.as_secs().div_ceil(60)
        ),
        hint: Some(
            "`train.timeout` (minutes) says how long may be waited; the run goes on from its last checkpoint when it is started again".to_owned(),
        ),
    }
}

/// The [`Collective`] that stages use: every call goes through the [`Caller`].
pub(crate) struct Abortable(pub Arc<Caller>);

impl Collective for Abortable {
    fn rank(&self) -> usize {
        self.0.rank
    }

    fn size(&self) -> usize {
        self.0.size
    }

    fn exchange(&self, to: Vec<Vec<u8>>) -> OpResult<Vec<Vec<u8>>> {
        self.0.call(move |link| link.exchange(to))
    }

    fn all_gather(&self, mine: Vec<u8>) -> OpResult<Vec<Vec<u8>>> {
        self.0.call(move |link| link.all_gather(mine))
    }

    fn broadcast(&self, root: usize, mine: Vec<u8>) -> OpResult<Vec<u8>> {
        self.0.call(move |link| link.broadcast(root, mine))
    }

    fn barrier(&self) -> OpResult<()> {
        self.0.call(|link| link.barrier())
    }

    fn be_patient(&self, most: Option<Duration>) {
        self.0.be_patient(most);
    }
}
