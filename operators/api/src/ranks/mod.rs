//! Ranks: processes that compute one stage together, and how they communicate.
//!
//! A run on several ranks is one program started several times. Rank 0 runs the pipeline; where an
//! operator is [`crate::Operator::on_ranks`], the others run the same operator on the same inputs
//! at the same time, and all of them call the same functions of a [`Collective`] in the same order.
//! Ranks exchange whole messages, and a rank that has nothing to send takes part with an empty
//! message.
//!
//! Invariant: sums are taken in the order of ranks, in f64, and every rank gets the same bits. A
//! training on k ranks is as reproducible as one on a single rank. (Devices that add up gradients
//! themselves do it in an order of their own.)

mod threads;

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

pub use self::threads::{on_threads, threads};
use crate::error::{ErrorKind, OpError, OpResult};

/// Numbers that ranks add up.
#[derive(Debug)]
pub enum Numbers<'a> {
    /// Single precision.
    F32(&'a mut [f32]),
    /// Double precision.
    F64(&'a mut [f64]),
}

/// How ranks communicate. All ranks call the same functions in the same order.
///
/// Every function fails when another rank has failed or cannot be reached. After that every further
/// call fails too: the stage cannot go on.
pub trait Collective {
    /// This rank: 0 up to [`Collective::size`].
    fn rank(&self) -> usize;

    /// Number of ranks W.
    fn size(&self) -> usize;

    /// Sends message `i` of `to` to rank `i`, and returns what each rank sent here, by rank.
    /// Messages may have any length.
    ///
    /// # Errors
    /// See above.
    fn exchange(&self, to: Vec<Vec<u8>>) -> OpResult<Vec<Vec<u8>>>;

    /// Every rank's message, by rank.
    ///
    /// # Errors
    /// See above.
    fn all_gather(&self, mine: Vec<u8>) -> OpResult<Vec<Vec<u8>>> {
        self.exchange(vec![mine; self.size()])
    }

    /// Returns rank `root`'s `mine` on every rank.
    ///
    /// # Errors
    /// See above.
    fn broadcast(&self, root: usize, mine: Vec<u8>) -> OpResult<Vec<u8>> {
        let to = if self.rank() == root {
            vec![mine; self.size()]
        } else {
            vec![Vec::new(); self.size()]
        };
        Ok(self.exchange(to)?.swap_remove(root))
    }

    /// Waits until every rank is here.
    ///
    /// # Errors
    /// See above.
    fn barrier(&self) -> OpResult<()> {
        self.all_gather(Vec::new()).map(|_| ())
    }

    /// Sets how long calls may wait for other ranks from now on; `None` means without limit.
    fn be_patient(&self, most: Option<Duration>) {
        let _ = most;
    }

    /// Replaces each number by its sum over all ranks; every rank passes the same count of numbers.
    /// Each rank adds up its share of them in rank order, in f64, and sends the sums to the others.
    /// So each rank sends 2 (W - 1) / W of the numbers, as in a ring.
    ///
    /// # Errors
    /// See above.
    fn all_reduce(&self, numbers: Numbers<'_>) -> OpResult<()> {
        if self.size() == 1 {
            return Ok(());
        }
        match numbers {
            Numbers::F32(x) => summed(self, x, |x| f64::from(*x), |x| x as f32),
            Numbers::F64(x) => summed(self, x, |x| *x, |x| x),
        }
    }
}

/// A [`Collective`] that threads share.
pub type Shared = Arc<dyn Collective + Send + Sync>;

/// The [`Collective`] of a process that runs alone.
#[derive(Debug, Clone, Copy, Default)]
pub struct Single;

impl Collective for Single {
    fn rank(&self) -> usize {
        0
    }

    fn size(&self) -> usize {
        1
    }

    fn exchange(&self, to: Vec<Vec<u8>>) -> OpResult<Vec<Vec<u8>>> {
        Ok(to)
    }
}

/// [`Single`], in the form that a [`crate::Context`] holds.
pub fn single() -> Shared {
    Arc::new(Single)
}

fn summed<T: bytemuck::Pod, C: Collective + ?Sized>(
    ranks: &C,
    numbers: &mut [T],
    widen: fn(&T) -> f64,
    narrow: fn(f64) -> T,
) -> OpResult<()> {
    let size = ranks.size();
    let share = |rank| part(numbers.len(), rank, size);
    let sent = (0..size).map(|r| bytes(&numbers[share(r)]));
    let got = ranks.exchange(sent.collect())?;
    let mut sums = vec![0f64; share(ranks.rank()).len()];
    for theirs in &got {
        let theirs = numbers_of::<T>(theirs, sums.len())?;
        for (sum, x) in sums.iter_mut().zip(&theirs) {
            *sum += widen(x);
        }
    }
    let mine: Vec<T> = sums.into_iter().map(narrow).collect();
    for (rank, theirs) in ranks.all_gather(bytes(&mine))?.iter().enumerate() {
        let to = part(numbers.len(), rank, size);
        let theirs = numbers_of::<T>(theirs, to.len())?;
        numbers[to].copy_from_slice(&theirs);
    }
    Ok(())
}

/// The positions, out of `count`, that `rank` is responsible for. Shares are in rank order, and
/// their sizes differ by one at most.
pub fn part(count: usize, rank: usize, size: usize) -> Range<usize> {
    count * rank / size..count * (rank + 1) / size
}

/// The bytes of some numbers, to be sent as a message.
pub fn bytes<T: bytemuck::NoUninit>(numbers: &[T]) -> Vec<u8> {
    bytemuck::cast_slice(numbers).to_vec()
}

/// Reads back a message of `count` numbers.
///
/// # Errors
/// When the message has another length, which means that the ranks do not compute the same thing.
pub fn numbers_of<T: bytemuck::Pod>(message: &[u8], count: usize) -> OpResult<Vec<T>> {
    if message.len() != count * size_of::<T>() {
        return Err(OpError::new(format!(
            "another rank sent {} bytes where {} were due: the ranks do not compute the same",
            message.len(),
            count * size_of::<T>()
        ))
        .hint("start the same program with the same arguments on every host"));
    }
    Ok(bytemuck::pod_collect_to_vec(message))
}

/// Every rank's value, by rank.
///
/// # Errors
/// See [`Collective`]; and when a value cannot be written as JSON.
pub fn gather<T: Serialize + DeserializeOwned>(
    ranks: &dyn Collective,
    mine: &T,
) -> OpResult<Vec<T>> {
    let unclear =
        |e| OpError::wrap("ranks do not understand each other", e).with_kind(ErrorKind::User);
    let mine = serde_json::to_vec(mine).map_err(unclear)?;
    let all = ranks.all_gather(mine)?;
    all.iter()
        .map(|text| serde_json::from_slice(text).map_err(unclear))
        .collect()
}

/// The items of all ranks in one list, in rank order.
///
/// # Errors
/// See [`gather`].
pub fn all_of<T: Serialize + DeserializeOwned>(
    ranks: &dyn Collective,
    mine: Vec<T>,
) -> OpResult<Vec<T>> {
    match ranks.size() {
        1 => Ok(mine),
        _ => Ok(gather(ranks, &mine)?.into_iter().flatten().collect()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn shares_are_disjoint_and_whole() {
        for count in 0..20 {
            for size in 1..6 {
                let all: Vec<usize> = (0..size).flat_map(|r| part(count, r, size)).collect();
                assert_eq!(all, (0..count).collect::<Vec<_>>());
                let lengths: Vec<usize> = (0..size).map(|r| part(count, r, size).len()).collect();
                assert!(lengths.iter().max().unwrap() - lengths.iter().min().unwrap() <= 1);
            }
        }
    }

    #[test]
    fn sums_are_those_of_a_plain_loop_and_the_same_on_every_rank() {
        for size in 1..5 {
            for count in [0usize, 1, 2, 7, 100] {
                let number = |rank: usize, i: usize| ((rank * 31 + i * 7) % 11) as f32 * 0.1 - 0.3;
                let sums = on_threads(size, |ranks| {
                    let mut x: Vec<f32> = (0..count).map(|i| number(ranks.rank(), i)).collect();
                    ranks.all_reduce(Numbers::F32(&mut x)).unwrap();
                    x
                });
                let want: Vec<f32> = (0..count)
                    .map(|i| (0..size).map(|r| f64::from(number(r, i))).sum::<f64>() as f32)
                    .collect();
                assert!(sums.iter().all(|s| *s == want), "{size} {count}");
            }
        }
    }

    #[test]
    fn everybody_gets_what_was_sent_to_them() {
        let got = on_threads(3, |ranks| {
            let me = ranks.rank() as u8;
            let to = (0..3).map(|r| vec![me; usize::from(me) * 3 + r]).collect();
            let got = ranks.exchange(to).unwrap();
            assert_eq!(ranks.broadcast(1, vec![me]).unwrap(), [1]);
            assert_eq!(ranks.all_gather(vec![me]).unwrap(), [[0], [1], [2]]);
            assert_eq!(gather(ranks, &(me, 0.1)).unwrap()[2], (2, 0.1));
            ranks.barrier().unwrap();
            got
        });
        for (to, got) in got.iter().enumerate() {
            for (from, message) in got.iter().enumerate() {
                assert_eq!(*message, vec![from as u8; from * 3 + to]);
            }
        }
    }

    #[test]
    fn who_waits_for_a_rank_that_is_gone_is_told() {
        let ended = on_threads(2, |ranks| match ranks.rank() {
            0 => ranks.barrier().map_err(|e| e.to_string()),
            _ => Ok(()),
        });
        assert_eq!(ended[0], Err("rank 1 is gone".to_owned()));
    }

    #[test]
    fn ranks_that_differ_in_what_they_send_are_refused() {
        let ended = on_threads(2, |ranks| {
            let mut x = vec![0f64; 3 + ranks.rank()];
            ranks.all_reduce(Numbers::F64(&mut x)).is_err()
        });
        assert!(ended.contains(&true));
    }
}
