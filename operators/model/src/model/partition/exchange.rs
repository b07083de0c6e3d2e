//! States of own nodes for those that have copies of them, gradients of copies for those that have the nodes, and scores for all; and how
//! much was sent.

use std::sync::{Mutex, PoisonError};

use gfm_pipe_api::ranks::{Collective, Numbers, bytes, gather, numbers_of};
use gfm_pipe_api::{OpError, OpResult};
use gfm_pipe_kernels::rows::Rows;
use serde::{Deserialize, Serialize};

use super::Part;
use crate::buffers::Buffer;
use crate::model::forward;
use crate::model::passes::Taped;

/// Numbers that ranks send each other.
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

/// Bytes a rank sent to others, since the model was made.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traffic {
    /// Of each layer.
    pub layers: Vec<LayerTraffic>,
    /// To find out which states matter; nothing where all are computed.
    pub reach: u64,
    /// Scores.
    pub scores: u64,
}

/// Bytes sent for one layer. States before the first one are known everywhere: it has none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerTraffic {
    /// States the layer sees.
    pub forward: u64,
    /// Their gradients.
    pub backward: u64,
}

impl Traffic {
    /// Adds another model's.
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

    /// All of it.
    pub fn total(&self) -> u64 {
        let layers = self.layers.iter().map(|l| l.forward + l.backward);
        layers.sum::<u64>() + self.reach + self.scores
    }

    /// What all ranks sent together. All of them must ask.
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

/// One rank's side of what is sent.
pub(super) struct Exchange<'a> {
    pub part: &'a Part,
    pub ranks: &'a dyn Collective,
    sent: Mutex<Traffic>,
}

impl<'a> Exchange<'a> {
    /// # Errors
    /// When the part is not this rank's.
    pub fn new(part: &'a Part, ranks: &'a dyn Collective, layers: usize) -> OpResult<Self> {
        if part.rank() != ranks.rank() || part.partition().ranks() != ranks.size() {
            return Err(OpError::new(format!(
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
        // Only counters: as good as they were when somebody panicked.
        f(&mut self.sent.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Sends messages, and counts what goes to others.
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

    /// Sums of scores over ranks, in place.
    pub fn sum_scores<T: Number>(&self, scores: &mut [T]) -> OpResult<()> {
        let (size, rank) = (self.ranks.size(), self.ranks.rank());
        // What others add up of these, and to each of them what this rank adds up.
        let mine = gfm_pipe_api::ranks::part(scores.len(), rank, size).len();
        let sent = (scores.len() - mine + mine * (size - 1)) * size_of::<T>();
        self.with(|traffic| traffic.scores += sent as u64);
        self.ranks.all_reduce(T::to_sum(scores))
    }

    /// Scores of all nodes `[B, N]` from those of own nodes, `[B, own]`.
    pub fn all_scores<T: Number>(&self, queries: usize, own: &[T]) -> OpResult<Vec<T>> {
        let got = self.send(vec![T::message(own); self.ranks.size()], |t| &mut t.scores)?;
        let partition = self.part.partition();
        let mut counts = vec![0; got.len()];
        // Of each node, its rank and its number there.
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
    /// States of own nodes come first, then copies as their ranks send them.
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

    /// In the order of ranks, the gradients that these computed of their copies.
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
