//! What ranks send each other: states to the ranks that have copies, gradients of copies to the
//! owners, and scores to all. Counts the bytes that were sent.

use std::sync::{Mutex, PoisonError};

use gfm_pipe_api::ranks::{Collective, Numbers, bytes, gather, numbers_of};
use gfm_pipe_api::{OpError, OpResult};
use gfm_pipe_kernels::rows::Rows;
use serde::{Deserialize, Serialize};

use super::Part;
use crate::buffers::Buffer;
use crate::model::forward;
use crate::model::passes::Taped;

/// Element types that ranks can send each other.
pub(super) trait Number: Taped {
    fn message(numbers: &[Self]) -> Vec<u8>;
    fn read(message: &[u8], count: usize) -> OpResult<Vec<Self>>;
    fn to_sum(numbers: &mut [Self]) -> Numbers<'_>;
}

macro_rules! number {
    ($T:ty, $variant:ident) => {
        impl Number for $T {
            fn message(numbers: &[Self]) -> Vec<u8> {
                bytes(numbers)
            }

            fn read(message: &[u8], count: usize) -> OpResult<Vec<Self>> {
                numbers_of(message, count)
            }

            fn to_sum(numbers: &mut [Self]) -> Numbers<'_> {
                Numbers::$variant(numbers)
            }
        }
    };
}

number!(f32, F32);
number!(f64, F64);

/// Bytes that a rank sent to others since the model was created.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traffic {
    /// Bytes for each layer.
    pub layers: Vec<LayerTraffic>,
    /// Bytes to find out which states matter; 0 if all states are computed.
    pub reach: u64,
    /// Bytes of scores.
    pub scores: u64,
}

/// Bytes sent for one layer. The first layer has none: all ranks know the states before it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerTraffic {
    /// Bytes of the states that the layer reads.
    pub forward: u64,
    /// Bytes of their gradients.
    pub backward: u64,
}

impl Traffic {
    /// Adds the bytes of another model or rank.
    pub fn add(&mut self, other: &Traffic) {
        let layers = self.layers.len().max(other.layers.len());
        self.layers.resize(layers, LayerTraffic::default());
        for (mine, theirs) in self.layers.iter_mut().zip(&other.layers) {
            mine.forward += theirs.forward;
            mine.backward += theirs.backward;
        }
        self.reach += other.reach;
        self.scores += other.scores;
    }

    /// All bytes together.
    pub fn total(&self) -> u64 {
        let layers = self.layers.iter().map(|l| l.forward + l.backward);
        layers.sum::<u64>() + self.reach + self.scores
    }

    /// The sum over all ranks. All of them must call this.
    ///
    /// # Errors
    /// See [`Collective`].
    pub fn of_all(&self, ranks: &dyn Collective) -> OpResult<Traffic> {
        let mut out = Traffic::default();
        for theirs in gather(ranks, self)? {
            out.add(&theirs);
        }
        Ok(out)
    }
}

/// One rank's end of the communication.
pub(super) struct Exchange<'a> {
    pub part: &'a Part,
    pub ranks: &'a dyn Collective,
    sent: Mutex<Traffic>,
}

impl<'a> Exchange<'a> {
    /// # Errors
    /// When the part belongs to another rank.
    pub fn new(part: &'a Part, ranks: &'a dyn Collective, layers: usize) -> OpResult<Self> {
        if part.rank() != ranks.rank() || part.partition().ranks() != ranks.size() {
            return Err(OpError::internal(format!(
                "the part of rank {} of {} is used on rank {} of {}",
                part.rank(),
                part.partition().ranks(),
                ranks.rank(),
                ranks.size()
            )));
        }
        let sent = Traffic {
            layers: vec![LayerTraffic::default(); layers],
            ..Traffic::default()
        };
        Ok(Exchange {
            part,
            ranks,
            sent: Mutex::new(sent),
        })
    }

    pub fn sent(&self) -> Traffic {
        self.with(|sent| sent.clone())
    }

    fn with<R>(&self, f: impl FnOnce(&mut Traffic) -> R) -> R {
        // Counters stay valid when another thread panics.
        f(&mut self.sent.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Sends one message to each rank, returns those received, and counts the bytes that go to
    /// others.
    pub fn send(
        &self,
        messages: Vec<Vec<u8>>,
        count: impl FnOnce(&mut Traffic) -> &mut u64,
    ) -> OpResult<Vec<Vec<u8>>> {
        let others = messages.iter().enumerate();
        let others = others.filter(|(to, _)| *to != self.ranks.rank());
        let bytes: u64 = others.map(|(_, m)| m.len() as u64).sum();
        self.with(|sent| *count(sent) += bytes);
        self.ranks.exchange(messages)
    }

    /// Sums scores over ranks, in place.
    pub fn sum_scores<T: Number>(&self, scores: &mut [T]) -> OpResult<()> {
        let (size, rank) = (self.ranks.size(), self.ranks.rank());
        // This rank sends the others what they add up, and then to each of them the part that it
        // adds up itself.
        let mine = gfm_pipe_api::ranks::part(scores.len(), rank, size).len();
        let sent = (scores.len() - mine + mine * (size - 1)) * size_of::<T>();
        self.with(|traffic| traffic.scores += sent as u64);
        self.ranks.all_reduce(T::to_sum(scores))
    }

    /// Scores of all nodes, `[B, N]`, from the scores of own nodes, `[B, own]`.
    pub fn all_scores<T: Number>(&self, queries: usize, own: &[T]) -> OpResult<Vec<T>> {
        let got = self.send(vec![T::message(own); self.ranks.size()], |t| &mut t.scores)?;
        let partition = self.part.partition();
        let mut counts = vec![0; got.len()];
        // The rank of each node, and its position among the nodes of that rank.
        let places = partition.owners().iter().map(|r| {
            let r = *r as usize;
            counts[r] += 1;
            (r, counts[r] - 1)
        });
        let places: Vec<(usize, usize)> = places.collect();
        let read = got.iter().zip(&counts);
        let parts = read.map(|(message, count)| T::read(message, count * queries));
        let parts = parts.collect::<OpResult<Vec<Vec<T>>>>()?;
        let mut out = Vec::with_capacity(queries * places.len());
        for q in 0..queries {
            out.extend(places.iter().map(|(r, i)| parts[*r][q * counts[*r] + i]));
        }
        Ok(out)
    }
}

impl<T: Number> forward::Exchange<T> for Exchange<'_> {
    /// States of own nodes come first, then copies in the order of their ranks.
    fn states(&self, layer: usize, rows: &Rows, own: &[T], width: usize) -> OpResult<Buffer<T>> {
        let messages = self.part.to().iter().map(|nodes| {
            let mut out = Vec::new();
            for v in nodes {
                let at = rows.of(*v as usize);
                out.extend_from_slice(&own[at.start * width..at.end * width]);
            }
            T::message(&out)
        });
        let got = self.send(messages.collect(), |t| &mut t.layers[layer].forward)?;
        let mut out = Buffer::dirty(rows.len() * width);
        out[..own.len()].copy_from_slice(own);
        for (nodes, message) in self.part.from().iter().zip(&got) {
            let at = rows.of_all(nodes);
            let to = &mut out[at.start * width..at.end * width];
            to.copy_from_slice(&T::read(message, to.len())?);
        }
        Ok(out)
    }

    /// Adds in the order of ranks, so that sums do not depend on timing.
    fn gradients(
        &self,
        layer: usize,
        rows: &Rows,
        dx: &mut Buffer<T>,
        width: usize,
    ) -> OpResult<()> {
        let messages = self.part.from().iter().map(|nodes| {
            let at = rows.of_all(nodes);
            T::message(&dx[at.start * width..at.end * width])
        });
        let got = self.send(messages.collect(), |t| &mut t.layers[layer].backward)?;
        for (nodes, message) in self.part.to().iter().zip(&got) {
            let count: usize = nodes.iter().map(|v| rows.of(*v as usize).len()).sum();
            let theirs = T::read(message, count * width)?;
            let mut theirs = theirs.as_slice();
            for v in nodes {
                let at = rows.of(*v as usize);
                let to = &mut dx[at.start * width..at.end * width];
                let (mine, rest) = theirs.split_at(to.len());
                to.iter_mut().zip(mine).for_each(|(o, g)| *o += *g);
                theirs = rest;
            }
        }
        Ok(())
    }
}
