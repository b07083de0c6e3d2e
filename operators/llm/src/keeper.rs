//! Keeps answers before they are used.
//!
//! One thread reads and writes the store, for all threads that ask: whatever answers arrive while
//! it writes are synced together next time. It also sees to it that a request which several threads
//! have at the same time is sent once.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::mpsc::{Receiver, Sender, channel};

use gfm_pipe_api::items::{Id, Work};
use gfm_pipe_api::{OpError, OpResult};

/// What is known of a request.
pub(crate) enum Known {
    /// Its answer.
    Kept(Vec<u8>),
    /// Nothing. The caller must send the request, and then call [`Store::keep`] or
    /// [`Store::give_up`].
    Unknown,
}

type Found = OpResult<Known>;

enum Order {
    Get(Id, Sender<Found>),
    Keep(Id, Vec<u8>, Sender<OpResult<()>>),
    GiveUp(Id),
}

/// How threads reach the keeper.
#[derive(Clone)]
pub(crate) struct Store {
    orders: Sender<Order>,
}

fn gone() -> OpError {
    OpError::internal("the keeper of answers has ended")
}

impl Store {
    /// The store, and what [`keep`] works on. The keeper ends when all clones of the store are
    /// gone.
    pub(crate) fn new() -> (Store, Orders) {
        let (orders, received) = channel();
        (Store { orders }, Orders(received))
    }

    /// Looks for an answer. Where another thread has sent the same request, this waits for it.
    ///
    /// # Errors
    /// When the answer would have to be asked for, and could not be kept.
    pub(crate) fn get(&self, id: Id) -> OpResult<Known> {
        let (answer, answered) = channel();
        let sent = self.orders.send(Order::Get(id, answer));
        sent.map_err(|_| gone())?;
        answered.recv().map_err(|_| gone())?
    }

    /// Keeps an answer; it is on the disk when this returns.
    pub(crate) fn keep(&self, id: Id, bytes: Vec<u8>) -> OpResult<()> {
        let (answer, answered) = channel();
        let sent = self.orders.send(Order::Keep(id, bytes, answer));
        sent.map_err(|_| gone())?;
        answered.recv().map_err(|_| gone())?
    }

    /// There is no answer: another thread that waits for it may try.
    pub(crate) fn give_up(&self, id: Id) {
        // If the keeper has ended, nobody waits.
        let _ = self.orders.send(Order::GiveUp(id));
    }
}

/// What threads want of the keeper.
pub(crate) struct Orders(Receiver<Order>);

/// Serves all threads until they have ended. `recorded` are answers from elsewhere. With `asks`,
/// what is not known will be asked for: before the first request, this finds out whether the disk
/// takes answers at all.
pub(crate) fn keep(
    work: &mut Work<'_>,
    orders: Orders,
    recorded: &HashMap<Id, Vec<u8>>,
    asks: bool,
) {
    let mut writable = !asks;
    let mut underway: HashSet<Id> = HashSet::new();
    let mut waiting: HashMap<Id, VecDeque<Sender<Found>>> = HashMap::new();
    while let Ok(first) = orders.0.recv() {
        let more = orders.0.try_iter();
        let mut new: Vec<(Id, Vec<u8>)> = Vec::new();
        let mut senders: Vec<Sender<OpResult<()>>> = Vec::new();
        let mut given_up: Vec<Id> = Vec::new();
        for order in std::iter::once(first).chain(more) {
            match order {
                Order::Get(id, answer) => {
                    let kept = work.get(id).or_else(|| {
                        let bytes = recorded.get(&id).cloned()?;
                        // Later runs find it without the file. Should answers follow that are
                        // paid for, they are in the same log: its name must be on the disk.
                        let _ = prepared(work, &mut writable);
                        work.keep(&[(id, bytes.clone())]);
                        Some(bytes)
                    });
                    let found = match kept {
                        Some(bytes) => Ok(Known::Kept(bytes)),
                        None if underway.contains(&id) => {
                            waiting.entry(id).or_default().push_back(answer);
                            continue;
                        }
                        None => prepared(work, &mut writable).map(|()| Known::Unknown),
                    };
                    if let Ok(Known::Unknown) = found {
                        underway.insert(id);
                    }
                    // A thread that does not wait any more needs nothing.
                    let _ = answer.send(found);
                }
                Order::Keep(id, bytes, answer) => {
                    new.push((id, bytes));
                    senders.push(answer);
                }
                Order::GiveUp(id) => given_up.push(id),
            }
        }
        if !new.is_empty() {
            let failed = work.keep_paid(&new).err().map(|e| e.to_string());
            let lost = |e: &String| {
                let e = OpError::resource(e.clone());
                e.hint("the answer is lost: make room, and run again")
            };
            for ((id, bytes), answer) in new.into_iter().zip(senders) {
                let _ = answer.send(failed.as_ref().map_or(Ok(()), |e| Err(lost(e))));
                underway.remove(&id);
                for waits in waiting.remove(&id).unwrap_or_default() {
                    let known = || Ok(Known::Kept(bytes.clone()));
                    let _ = waits.send(failed.as_ref().map_or_else(known, |e| Err(lost(e))));
                }
            }
        }
        for id in given_up {
            match waiting.get_mut(&id).and_then(VecDeque::pop_front) {
                Some(next) => drop(next.send(Ok(Known::Unknown))),
                None => drop(underway.remove(&id)),
            }
        }
    }
}

/// Finds out, once, whether answers can be kept.
fn prepared(work: &mut Work<'_>, writable: &mut bool) -> OpResult<()> {
    if !*writable {
        work.keep_paid(&[])
            .map_err(|e| e.hint("see whether that folder can be written to; nothing was sent"))?;
        *writable = true;
    }
    Ok(())
}
