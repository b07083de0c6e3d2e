//! Ranks that are threads of one process: for tests, and for trying a computation on k ranks
//! without starting k programs.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};

use super::{Collective, Shared};
use crate::error::{OpError, OpResult};

struct Thread {
    rank: usize,
    /// A sender to each rank.
    to: Vec<Mutex<Sender<Vec<u8>>>>,
    /// A receiver from each rank.
    from: Vec<Mutex<Receiver<Vec<u8>>>>,
}

impl Collective for Thread {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.to.len()
    }

    fn exchange(&self, to: Vec<Vec<u8>>) -> OpResult<Vec<Vec<u8>>> {
        let gone = |rank| move || OpError::resource(format!("rank {rank} is gone"));
        for (rank, message) in to.into_iter().enumerate() {
            let sender = self.to[rank].lock().unwrap_or_else(PoisonError::into_inner);
            sender.send(message).ok().ok_or_else(gone(rank))?;
        }
        let receivers = self.from.iter().enumerate();
        receivers
            .map(|(rank, from)| {
                let receiver = from.lock().unwrap_or_else(PoisonError::into_inner);
                receiver.recv().ok().ok_or_else(gone(rank))
            })
            .collect()
    }
}

/// Creates `size` connected ranks, one for each thread. Once a rank is dropped, calls that need it
/// fail on the other ranks.
pub fn threads(size: usize) -> Vec<Shared> {
    let mut ranks: Vec<Thread> = (0..size)
        .map(|rank| Thread {
            rank,
            to: Vec::new(),
            from: Vec::new(),
        })
        .collect();
    for from in 0..size {
        for to in 0..size {
            let (sender, receiver) = channel();
            ranks[from].to.push(Mutex::new(sender));
            ranks[to].from.push(Mutex::new(receiver));
        }
    }
    let shared = |rank| Arc::new(rank) as Shared;
    ranks.into_iter().map(shared).collect()
}

/// Runs a function on `size` ranks, each a thread, and returns the results in rank order.
///
/// # Panics
/// When the function panics on one of the ranks.
pub fn on_threads<T: Send>(size: usize, run: impl Fn(&dyn Collective) -> T + Sync) -> Vec<T> {
    let run = &run;
    std::thread::scope(|scope| {
        let ranks = threads(size).into_iter();
        let started: Vec<_> = ranks.map(|rank| scope.spawn(move || run(&*rank))).collect();
        let joined = started.into_iter().map(std::thread::ScopedJoinHandle::join);
        joined
            .map(|ended| ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    })
}
