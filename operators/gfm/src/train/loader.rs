//! Keeps a limited number of data sets in memory and reads the next ones in the background.
//!
//! The caller names the data set that it needs now and those that it will need next. The loader
//! keeps the first of them and drops the rest. Invariant: the loader never holds more data sets
//! than allowed, and its results do not depend on the number of workers. An error of a worker is
//! stored, and returned when that data set is requested.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::Duration;

use gfm_pipe_api::{Context, OpError, OpResult};

/// Reads data set number `i`.
pub type Load<D> = Box<dyn Fn(usize) -> OpResult<D> + Send + Sync>;

/// How often a waiting caller checks for cancellation.
const CANCEL_INTERVAL: Duration = Duration::from_millis(100);

enum Slot<D> {
    Loading,
    Ready(Arc<D>),
    Failed(OpError),
}

struct State<D> {
    slots: BTreeMap<usize, Slot<D>>,
    /// Data sets to hold, in the order they are needed.
    window: Vec<usize>,
    stop: bool,
}

struct Shared<D> {
    state: Mutex<State<D>>,
    changed: Condvar,
    load: Load<D>,
    /// Name of each data set, for messages.
    labels: Vec<String>,
    /// Maximum number of data sets in memory.
    capacity: usize,
}

/// Loads data sets with background threads.
pub struct Loader<D: Send + Sync + 'static> {
    shared: Arc<Shared<D>>,
    workers: Vec<JoinHandle<()>>,
}

impl<D> Shared<D> {
    fn lock(&self) -> MutexGuard<'_, State<D>> {
        // No code that can panic runs under the lock, so a poisoned state is still consistent.
        self.state.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Picks the first data set of the window that is neither read nor being read, if there is
    /// room, and marks it as being read. `only` restricts the choice to one data set.
    fn claim(&self, state: &mut State<D>, only: Option<usize>) -> Option<usize> {
        if state.slots.len() >= self.capacity {
            return None;
        }
        let next = state
            .window
            .iter()
            .copied()
            .find(|i| !state.slots.contains_key(i) && only.is_none_or(|o| o == *i))?;
        state.slots.insert(next, Slot::Loading);
        Some(next)
    }

    /// Reads a data set and stores the result, unless the window has moved on.
    fn fill(&self, set: usize) {
        let read = catch_unwind(AssertUnwindSafe(|| (self.load)(set))).unwrap_or_else(|panic| {
            let why = panic
                .downcast_ref::<String>()
                .map(String::as_str)
                .or_else(|| panic.downcast_ref::<&str>().copied())
                .unwrap_or("no message");
            Err(OpError::internal(format!(
                "reading data set `{}` panicked: {why}",
                self.labels[set]
            )))
        });
        let mut state = self.lock();
        if state.window.contains(&set) {
            let slot = match read {
                Ok(data) => Slot::Ready(Arc::new(data)),
                Err(e) => Slot::Failed(e),
            };
            state.slots.insert(set, slot);
        } else {
            state.slots.remove(&set);
        }
        drop(state);
        self.changed.notify_all();
    }

    /// The loop of a background thread.
    fn work(&self) {
        let mut state = self.lock();
        while !state.stop {
            match self.claim(&mut state, None) {
                Some(set) => {
                    drop(state);
                    self.fill(set);
                    state = self.lock();
                }
                None => {
                    state = self.changed.wait(state).unwrap_or_else(|e| e.into_inner());
                }
            }
        }
    }
}

impl<D: Send + Sync + 'static> Loader<D> {
    /// A loader that holds at most `capacity` data sets (at least one) and reads ahead with up to
    /// `workers` threads.
    pub fn new(labels: Vec<String>, capacity: usize, workers: usize, load: Load<D>) -> Self {
        let capacity = capacity.max(1);
        // One data set is in use; only the others can be read ahead.
        let useful = capacity.min(labels.len()).saturating_sub(1);
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                slots: BTreeMap::new(),
                window: Vec::new(),
                stop: false,
            }),
            changed: Condvar::new(),
            load,
            labels,
            capacity,
        });
        let workers = (0..workers.min(useful))
            .filter_map(|_| {
                let shared = Arc::clone(&shared);
                // Without the thread, the caller reads what it needs itself.
                std::thread::Builder::new()
                    .name("data-loader".to_owned())
                    .spawn(move || shared.work())
                    .ok()
            })
            .collect();
        Loader { shared, workers }
    }

    /// Number of data sets.
    pub fn count(&self) -> usize {
        self.shared.labels.len()
    }

    /// Names of the data sets, for messages and the history.
    pub fn labels(&self) -> &[String] {
        &self.shared.labels
    }

    /// Returns a data set, waiting for it if needed. Drop the previous one before the call, or it
    /// stays in memory as well.
    ///
    /// # Errors
    /// When the data set cannot be read, or the user interrupts.
    pub fn get(
        &self,
        ctx: &Context,
        wanted: usize,
        upcoming: impl IntoIterator<Item = usize>,
    ) -> OpResult<Arc<D>> {
        let mut state = self.shared.lock();
        state.window = vec![wanted];
        for set in upcoming {
            if state.window.len() >= self.shared.capacity {
                break;
            }
            if !state.window.contains(&set) {
                state.window.push(set);
            }
        }
        let State { slots, window, .. } = &mut *state;
        slots.retain(|i, slot| window.contains(i) || matches!(slot, Slot::Loading));
        self.shared.changed.notify_all();
        loop {
            match state.slots.get(&wanted) {
                Some(Slot::Ready(data)) => return Ok(Arc::clone(data)),
                Some(Slot::Failed(_)) => {
                    if let Some(Slot::Failed(e)) = state.slots.remove(&wanted) {
                        return Err(e);
                    }
                }
                Some(Slot::Loading) => {}
                None => {
                    if self.shared.claim(&mut state, Some(wanted)).is_some() {
                        drop(state);
                        self.shared.fill(wanted);
                        state = self.shared.lock();
                        continue;
                    }
                }
            }
            ctx.check_cancelled()?;
            state = self
                .shared
                .changed
                .wait_timeout(state, CANCEL_INTERVAL)
                .map_or_else(|e| e.into_inner().0, |(state, _)| state);
        }
    }
}

impl<D: Send + Sync + 'static> Drop for Loader<D> {
    fn drop(&mut self) {
        self.shared.lock().stop = true;
        self.shared.changed.notify_all();
        for worker in self.workers.drain(..) {
            // The worker catches and reports panics itself.
            let _ = worker.join();
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::atomic::{AtomicUsize, Ordering};

    use gfm_pipe_api::local;

    use super::*;

    /// Counts its live instances, and the largest number there ever was.
    struct Counted(usize, Arc<(AtomicUsize, AtomicUsize)>);

    impl Counted {
        fn new(i: usize, counts: &Arc<(AtomicUsize, AtomicUsize)>) -> Self {
            let now = counts.0.fetch_add(1, Ordering::SeqCst) + 1;
            counts.1.fetch_max(now, Ordering::SeqCst);
            Counted(i, Arc::clone(counts))
        }
    }

    impl Drop for Counted {
        fn drop(&mut self) {
            self.1.0.fetch_sub(1, Ordering::SeqCst);
        }
    }

    fn names(n: usize) -> Vec<String> {
        (0..n).map(|i| format!("set{i}")).collect()
    }

    #[test]
    fn the_capacity_is_respected_and_the_requested_data_set_returned() {
        for (capacity, workers) in [(1, 4), (2, 0), (2, 1), (3, 4), (10, 4)] {
            let counts = Arc::new((AtomicUsize::new(0), AtomicUsize::new(0)));
            let inner = Arc::clone(&counts);
            let load: Load<Counted> = Box::new(move |i| {
                let data = Counted::new(i, &inner);
                std::thread::sleep(Duration::from_millis(1));
                Ok(data)
            });
            let loader = Loader::new(names(6), capacity, workers, load);
            let ctx = local::context();
            let visits: Vec<usize> = (0..60).map(|i| i * 7 % 6).collect();
            for (at, set) in visits.iter().enumerate() {
                let got = loader
                    .get(&ctx, *set, visits[at + 1..].iter().copied())
                    .unwrap();
                assert_eq!(got.0, *set);
            }
            drop(loader);
            assert!(
                counts.1.load(Ordering::SeqCst) <= capacity,
                "{capacity} {workers}"
            );
            assert_eq!(counts.0.load(Ordering::SeqCst), 0);
        }
    }

    #[test]
    fn the_next_data_set_is_read_while_the_first_is_used() {
        let (sender, receiver) = std::sync::mpsc::channel();
        let sender = Mutex::new(sender);
        let load: Load<usize> = Box::new(move |i| {
            sender.lock().unwrap().send(i).unwrap();
            Ok(i)
        });
        let loader = Loader::new(names(3), 2, 1, load);
        let first = loader.get(&local::context(), 0, [1, 2]).unwrap();
        let seen: Vec<usize> = (0..2)
            .map(|_| receiver.recv_timeout(Duration::from_secs(20)).unwrap())
            .collect();
        assert_eq!((*first, seen), (0, vec![0, 1]));
        // The third has no room while two are held.
        assert!(receiver.recv_timeout(Duration::from_millis(50)).is_err());
    }

    #[test]
    fn an_error_is_returned_with_its_cause_when_the_data_set_is_requested() {
        for workers in [0, 3] {
            let load: Load<usize> = Box::new(|i| match i {
                1 => Err(
                    OpError::wrap("failed to read", std::io::Error::other("disk gone"))
                        .artifact("graph[b].graph"),
                ),
                2 => panic!("index out of bounds"),
                i => Ok(i),
            });
            let loader = Loader::new(names(4), 4, workers, load);
            let ctx = local::context();
            assert_eq!(*loader.get(&ctx, 0, [1, 2, 3]).unwrap(), 0);
            let e = loader.get(&ctx, 1, [2, 3]).unwrap_err().to_string();
            assert_eq!(e, "graph[b].graph: failed to read: disk gone");
            let e = loader.get(&ctx, 2, [3]).unwrap_err().to_string();
            assert_eq!(e, "reading data set `set2` panicked: index out of bounds");
            assert_eq!(*loader.get(&ctx, 3, []).unwrap(), 3);
        }
    }

    #[test]
    fn waiting_ends_when_the_user_interrupts() {
        let (go, gone) = std::sync::mpsc::channel::<()>();
        let gone = Mutex::new(gone);
        let load: Load<usize> = Box::new(move |i| {
            if i == 1 {
                let _ = gone.lock().unwrap().recv();
            }
            Ok(i)
        });
        let loader = Loader::new(names(2), 2, 1, load);
        let ctx = local::context();
        loader.get(&ctx, 0, [1]).unwrap();
        while !matches!(loader.shared.lock().slots.get(&1), Some(Slot::Loading)) {
            std::thread::sleep(Duration::from_millis(1));
        }
        ctx.cancel.cancel();
        assert!(matches!(loader.get(&ctx, 1, []), Err(OpError::Cancelled)));
        drop(go);
    }
}
