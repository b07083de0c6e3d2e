//! A graph's edges on a device, and the order in which sums over the edges of a relation are made.

use super::layout::kernel_arguments;
use super::sums::join_rows;
use super::{Error, Gpu, State, Vector, View};
use crate::csr::{ByRelation, Csr};

/// Edges of a node that one block adds up. The edges of a node with more are cut into parts.
pub(super) const SPLIT: usize = 512;
/// The least number of edges of one relation that one block adds up.
const CHUNK: usize = 32;
/// About the largest number of chunks, each of which has a row of partial sums.
const MAX_CHUNKS: usize = 1 << 15;
/// Partial sums that one thread adds up.
const JOIN: usize = 64;

/// A node with more than [`SPLIT`] edges in a grouping, and where these lie.
#[derive(Debug, Clone, Copy)]
pub(super) struct Hub {
    pub(super) node: u32,
    pub(super) first: u32,
    pub(super) end: u32,
}

/// A graph's edges, grouped by the node at one of their ends.
pub(super) struct Grouping {
    pub(super) offsets: Vector<u32>,
    pub(super) other: Vector<u32>,
    pub(super) relation: Vector<u32>,
    pub(super) hubs: Vec<Hub>,
}

impl Grouping {
    fn new(gpu: &Gpu, csr: Csr<'_>) -> Result<Self, Error> {
        let hubs = csr.offsets.windows(2).enumerate();
        let hubs = hubs.filter(|(_, w)| (w[1] - w[0]) as usize > SPLIT);
        Ok(Grouping {
            offsets: gpu.vector(csr.offsets)?,
            other: gpu.vector(csr.other)?,
            relation: gpu.vector(csr.relation)?,
            hubs: hubs
                .map(|(v, w)| Hub {
                    node: v as u32,
                    first: w[0],
                    end: w[1],
                })
                .collect(),
        })
    }
}

/// A graph's edges on a device, in the direction in which messages travel.
pub struct Edges {
    pub(super) nodes: usize,
    pub(super) relations: usize,
    pub(super) into: Grouping,
    pub(super) out_of: Grouping,
    pub(super) receiver: Vector<u32>,
    pub(super) sender: Vector<u32>,
    /// Offsets of chunks of one relation each.
    pub(super) chunks: Vector<u32>,
    /// The relation of each chunk.
    pub(super) chunk_relation: Vector<u32>,
    /// Which rows of partial sums are added up on each level. After the last level there is one row
    /// per relation.
    joins: Vec<Vector<u32>>,
}

/// The places of some edges in each grouping: by receiving node, by sending node, by relation.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Marks {
    /// Places in `into`.
    pub into: Vec<u32>,
    /// Places in `out_of`.
    pub out_of: Vec<u32>,
    /// Places in `by_relation`.
    pub by_relation: Vec<u32>,
}

/// [`Marks`] on a device.
pub struct DeviceMarks {
    into: Vector<u32>,
    out_of: Vector<u32>,
    by_relation: Vector<u32>,
}

impl DeviceMarks {
    /// Copies places to a device.
    ///
    /// # Errors
    /// If there is not enough memory.
    pub fn new(gpu: &Gpu, marks: &Marks) -> Result<Self, Error> {
        Ok(DeviceMarks {
            into: gpu.vector(&marks.into)?,
            out_of: gpu.vector(&marks.out_of)?,
            by_relation: gpu.vector(&marks.by_relation)?,
        })
    }
}

/// The order in which sums over the edges of each relation are made.
#[derive(Debug, PartialEq, Eq)]
struct Chunks {
    /// Edges in relation order are cut at these places into chunks of one relation each; every
    /// chunk has a row of partial sums.
    offsets: Vec<u32>,
    /// Row `j` after a level is the sum of rows `level[j]..level[j + 1]` before it.
    levels: Vec<Vec<u32>>,
}

impl Chunks {
    /// Cuts edges that are grouped by relation.
    fn new(relations: &[u32]) -> Self {
        let edges = relations.last().copied().unwrap_or(0) as usize;
        let size = CHUNK.max(edges.div_ceil(MAX_CHUNKS));
        let (mut offsets, mut of_relation) = (vec![0u32], vec![0u32]);
        for w in relations.windows(2) {
            let mut at = w[0] as usize;
            while at < w[1] as usize {
                at = (at + size).min(w[1] as usize);
                offsets.push(at as u32);
            }
            of_relation.push(offsets.len() as u32 - 1);
        }
        // The rows of each relation that are left after each level.
        let (mut rows, mut levels) = (of_relation, Vec::new());
        loop {
            let most = rows.windows(2).map(|w| (w[1] - w[0]) as usize).max();
            if most.unwrap_or(0) <= JOIN {
                levels.push(rows);
                return Chunks { offsets, levels };
            }
            let (mut firsts, mut next) = (Vec::new(), vec![0u32]);
            for w in rows.windows(2) {
                firsts.extend((w[0]..w[1]).step_by(JOIN));
                next.push(firsts.len() as u32);
            }
            firsts.push(rows.last().copied().unwrap_or(0));
            levels.push(firsts);
            rows = next;
        }
    }
}

/// The relation of each chunk, from where chunks end and where relations start.
fn relations_of(ends: &[u32], offsets: &[u32]) -> Vec<u32> {
    let mut relation = 0;
    let relation_of = |end: &u32| {
        while offsets[relation + 1] < *end {
            relation += 1;
        }
        relation as u32
    };
    ends[1..].iter().map(relation_of).collect()
}

impl Edges {
    /// Copies a graph to a device: edges grouped by the node that receives, by the node that sends,
    /// and by relation, where `destination` is the node that receives.
    ///
    /// # Errors
    /// If there is not enough memory.
    pub fn new(
        gpu: &Gpu,
        into: Csr<'_>,
        out_of: Csr<'_>,
        by_relation: ByRelation<'_>,
    ) -> Result<Self, Error> {
        let chunks = Chunks::new(by_relation.offsets);
        let chunk_relation = relations_of(&chunks.offsets, by_relation.offsets);
        Ok(Edges {
            nodes: into.nodes(),
            relations: by_relation.offsets.len() - 1,
            into: Grouping::new(gpu, into)?,
            out_of: Grouping::new(gpu, out_of)?,
            receiver: gpu.vector(by_relation.destination)?,
            sender: gpu.vector(by_relation.source)?,
            chunks: gpu.vector(&chunks.offsets)?,
            chunk_relation: gpu.vector(&chunk_relation)?,
            joins: chunks
                .levels
                .iter()
                .map(|level| gpu.vector(level))
                .collect::<Result<_, _>>()?,
        })
    }

    /// Takes edges out of the graph; a second call puts them back.
    ///
    /// # Errors
    /// If the device reports one.
    pub fn flip(&self, marks: &DeviceMarks) -> Result<(), Error> {
        flip_marks(&self.into.relation, &marks.into)?;
        flip_marks(&self.out_of.relation, &marks.out_of)?;
        flip_marks(&self.receiver, &marks.by_relation)
    }

    /// Adds up the partial sums of chunks, to one row per relation.
    pub(super) fn join_chunks<A: State<Acc = A>>(
        &self,
        mut partial: Vector<A>,
        out: View<'_, A>,
        dim: usize,
    ) -> Result<(), Error> {
        for (i, first) in self.joins.iter().enumerate() {
            if i + 1 == self.joins.len() {
                return join_rows(partial.view(), first.view(), out, dim);
            }
            let next = out.gpu().dirty::<A>((first.len() - 1) * dim)?;
            join_rows(partial.view(), first.view(), next.view(), dim)?;
            partial = next;
        }
        Ok(())
    }
}

/// Flips the mark of the values at some places.
fn flip_marks(values: &Vector<u32>, at: &Vector<u32>) -> Result<(), Error> {
    let args = FlipMarksArgs {
        values: values.at,
        at: at.at,
        count: at.len() as u32,
    };
    let grid = [at.len().div_ceil(256), 1, 1];
    let gpu = values.gpu();
    gpu.launch("flip_marks", grid, [256, 1, 1], 0, &args)
}

kernel_arguments! {
    struct FlipMarksArgs {
        values: u64,
        at: u64,
        count: u32,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_are_of_one_relation_and_levels_end_with_one_row_per_relation() {
        // Relations with 0, 5,000, 0, 1 and 31 edges.
        let offsets = [0, 0, 5000, 5000, 5001, 5032];
        let Chunks {
            offsets: ends,
            levels,
        } = Chunks::new(&offsets);
        assert!(
            ends.windows(2)
                .all(|w| w[0] < w[1] && w[1] - w[0] <= CHUNK as u32)
        );
        assert!(offsets[1..].iter().all(|o| ends.contains(o)));
        let of = relations_of(&ends, &offsets);
        assert_eq!(of.len(), ends.len() - 1);
        assert_eq!(
            (of[0], of[of.len() - 3], &of[of.len() - 2..]),
            (1, 1, &[3, 4][..])
        );
        // The number of edges that each row stands for, level by level.
        let mut rows: Vec<u32> = ends.windows(2).map(|w| w[1] - w[0]).collect();
        for level in &levels {
            assert!(level.windows(2).all(|w| (w[1] - w[0]) as usize <= JOIN));
            rows = level
                .windows(2)
                .map(|w| rows[w[0] as usize..w[1] as usize].iter().sum())
                .collect();
        }
        assert_eq!(rows, [0, 5000, 0, 1, 31]);
        let none = Chunks {
            offsets: vec![0],
            levels: vec![vec![0]],
        };
        assert_eq!(Chunks::new(&[0]), none);
        assert!(relations_of(&[0], &[0]).is_empty());
    }
}
