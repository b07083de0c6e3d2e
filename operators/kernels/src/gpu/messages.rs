//! Relational SpMM over rows of states, forward and backward: what [`crate::layer`] does with messages.

use super::{Error, Gpu, State, Vector, View, address};
use crate::rows::Rows;
use crate::rspmm::{ByRelation, Csr};

/// Edges of one row that one block sums up; a hub's are cut into parts of this many.
pub(super) const SPLIT: usize = 512;
/// Edges of one relation that one block sums up at least.
const CHUNK: usize = 32;
/// At most about this many chunks: each has a row of partial sums.
const MAX_CHUNKS: usize = 1 << 15;
/// Partial sums that one thread adds up.
const JOIN: usize = 64;

/// A message function, see [`crate::message`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Function {
    /// `x + w`.
    TransE,
    /// `x ∘ w`.
    DistMult,
    /// Complex product.
    RotatE,
}

impl Function {
    fn tag(self) -> &'static str {
        match self {
            Function::TransE => "transe",
            Function::DistMult => "distmult",
            Function::RotatE => "rotate",
        }
    }

    /// Threads that have something to do in a row of `dim` values.
    pub(super) fn threads(self, dim: usize) -> usize {
        let parts = if self == Function::RotatE { 2 } else { 1 };
        match dim.is_multiple_of(4 * parts) {
            true => dim / (4 * parts),
            false => dim / parts,
        }
    }

    pub(super) fn kernel<S: State>(self, name: &str) -> String {
        format!("{name}_{}_{}", self.tag(), S::TAG)
    }
}

/// One grouping of a graph's edges.
pub(super) struct Grouping {
    pub(super) offsets: Vector<u32>,
    pub(super) other: Vector<u32>,
    pub(super) relation: Vector<u32>,
    /// Nodes with more than [`SPLIT`] edges: node, first edge, end.
    hubs: Vec<[u32; 3]>,
}

impl Grouping {
    fn new(gpu: &Gpu, csr: Csr<'_>) -> Result<Self, Error> {
        let hubs = csr.offsets.windows(2).enumerate();
        let hubs = hubs.filter(|(_, w)| (w[1] - w[0]) as usize > SPLIT);
        Ok(Grouping {
            offsets: gpu.vector(csr.offsets)?,
            other: gpu.vector(csr.other)?,
            relation: gpu.vector(csr.relation)?,
            hubs: hubs.map(|(v, w)| [v as u32, w[0], w[1]]).collect(),
        })
    }
}

/// A graph's edges on a device, in the direction messages run.
pub struct Edges {
    pub(super) nodes: usize,
    relations: usize,
    pub(super) into: Grouping,
    pub(super) out_of: Grouping,
    pub(super) receiver: Vector<u32>,
    pub(super) sender: Vector<u32>,
    /// Offsets of chunks of one relation each.
    pub(super) chunks: Vector<u32>,
    /// The relation of each chunk.
    pub(super) chunk_relation: Vector<u32>,
    /// Which rows of partial sums are added up, level by level, until there is one row a relation.
    joins: Vec<Vector<u32>>,
}

/// Entries of edges in each grouping: by who receives, by who sends, by relation.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Marks {
    /// In the order of `into`.
    pub into: Vec<u32>,
    /// In the order of `out_of`.
    pub out_of: Vec<u32>,
    /// In the order of `by_relation`.
    pub by_relation: Vec<u32>,
}

/// [`Marks`] on a device.
pub struct DeviceMarks([Vector<u32>; 3]);

impl DeviceMarks {
    /// Copies them there.
    ///
    /// # Errors
    /// When there is not enough memory.
    pub fn new(gpu: &Gpu, marks: &Marks) -> Result<Self, Error> {
        Ok(DeviceMarks([
            gpu.vector(&marks.into)?,
            gpu.vector(&marks.out_of)?,
            gpu.vector(&marks.by_relation)?,
        ]))
    }
}

/// Chunks of edges in relation order, each of one relation, and the levels of adding up their partial sums.
fn chunks(offsets: &[u32]) -> (Vec<u32>, Vec<Vec<u32>>) {
    let edges = offsets.last().copied().unwrap_or(0) as usize;
    let size = CHUNK.max(edges.div_ceil(MAX_CHUNKS));
    let (mut ends, mut of_relation) = (vec![0u32], vec![0u32]);
    for w in offsets.windows(2) {
        let mut at = w[0] as usize;
        while at < w[1] as usize {
            at = (at + size).min(w[1] as usize);
            ends.push(at as u32);
        }
        of_relation.push(ends.len() as u32 - 1);
    }
    // Rows of partial sums of each relation, and how many are left of them after each level.
    let mut levels = Vec::new();
    let mut now = of_relation;
    loop {
        let most = now.windows(2).map(|w| (w[1] - w[0]) as usize).max();
        if most.unwrap_or(0) <= JOIN {
            levels.push(now);
            return (ends, levels);
        }
        let (mut firsts, mut next) = (Vec::new(), vec![0u32]);
        for w in now.windows(2) {
            firsts.extend((w[0]..w[1]).step_by(JOIN));
            next.push(firsts.len() as u32);
        }
        firsts.push(now.last().copied().unwrap_or(0));
        levels.push(firsts);
        now = next;
    }
}

/// The relation of each chunk.
fn relations_of(ends: &[u32], offsets: &[u32]) -> Vec<u32> {
    let mut relation = 0;
    let of = |end: &u32| {
        while offsets[relation + 1] < *end {
            relation += 1;
        }
        relation as u32
    };
    ends[1..].iter().map(of).collect()
}

/// About how many chunks of edges there are, each with a row of partial sums in the backward pass: at most one more a relation.
pub fn chunk_count(edges: usize, relations: usize) -> usize {
    edges.div_ceil(CHUNK.max(edges.div_ceil(MAX_CHUNKS))) + relations
}

impl Edges {
    /// Copies a graph to a device: edges grouped by the node that receives, by the node that sends, by relation (there `destination` is
    /// the node that receives).
    ///
    /// # Errors
    /// When there is not enough memory.
    pub fn new(
        gpu: &Gpu,
        into: Csr<'_>,
        out_of: Csr<'_>,
        by_relation: ByRelation<'_>,
    ) -> Result<Self, Error> {
        let (ends, levels) = chunks(by_relation.offsets);
        Ok(Edges {
            nodes: into.nodes(),
            relations: by_relation.offsets.len() - 1,
            into: Grouping::new(gpu, into)?,
            out_of: Grouping::new(gpu, out_of)?,
            receiver: gpu.vector(by_relation.destination)?,
            sender: gpu.vector(by_relation.source)?,
            chunks: gpu.vector(&ends)?,
            chunk_relation: gpu.vector(&relations_of(&ends, by_relation.offsets))?,
            joins: levels
                .iter()
                .map(|level| gpu.vector(level))
                .collect::<Result<_, _>>()?,
        })
    }

    /// Takes edges out of the graph, or puts them back: calling it twice changes nothing.
    ///
    /// # Errors
    /// When the device does not do it.
    pub fn flip(
        &self,
        DeviceMarks([into, out_of, by_relation]): &DeviceMarks,
    ) -> Result<(), Error> {
        for (values, at) in [
            (&self.into.relation, into),
            (&self.out_of.relation, out_of),
            (&self.receiver, by_relation),
        ] {
            #[derive(Clone, Copy)]
            #[repr(C)]
            struct Args {
                values: u64,
                at: u64,
                count: u32,
            }
            let args = Args {
                values: values.at,
                at: at.at,
                count: at.len() as u32,
            };
            let grid = [at.len().div_ceil(256), 1, 1];
            values
                .gpu()
                .launch("flip_marks", grid, [256, 1, 1], 0, &args)?;
        }
        Ok(())
    }
}

/// Hubs' rows cut into parts.
pub(super) struct Parts {
    /// Row, first edge, end, of each part.
    pub(super) parts: Vector<u32>,
    /// Row, first part, end, of each row.
    pub(super) joins: Vector<u32>,
}

impl Parts {
    fn new(gpu: &Gpu, rows: &Rows, hubs: &[[u32; 3]]) -> Result<Self, Error> {
        let (mut parts, mut joins) = (Vec::new(), Vec::new());
        for [v, from, to] in hubs {
            for row in rows.of(*v as usize) {
                let first = parts.len() as u32 / 3;
                let mut at = *from;
                while at < *to {
                    let end = (at + SPLIT as u32).min(*to);
                    parts.extend([row as u32, at, end]);
                    at = end;
                }
                joins.extend([row as u32, first, parts.len() as u32 / 3]);
            }
        }
        Ok(Parts {
            parts: gpu.vector(&parts)?,
            joins: gpu.vector(&joins)?,
        })
    }
}

/// [`Rows`] on a device.
pub struct DeviceRows {
    len: usize,
    pub(super) width: usize,
    pub(super) offsets: Vector<u32>,
    query: Vector<u32>,
    node: Vector<u32>,
    map: Vector<u32>,
    /// Of these rows as those that receive, and as those that send.
    pub(super) receiving: Parts,
    pub(super) sending: Parts,
}

#[derive(Clone, Copy)]
#[repr(C)]
struct MapArgs {
    map: u64,
    row_node: u64,
    offsets: u64,
    row_query: u64,
    nodes: u32,
    width: u32,
}

impl DeviceRows {
    /// Copies rows of a graph's nodes to its device.
    ///
    /// # Errors
    /// When there is not enough memory.
    ///
    /// # Panics
    /// When they are of another number of nodes.
    pub fn new(edges: &Edges, rows: &Rows) -> Result<Self, Error> {
        assert_eq!(rows.nodes(), edges.nodes, "rows of another graph");
        let gpu = edges.chunks.gpu();
        let width = rows.queries() + 1;
        let out = DeviceRows {
            len: rows.len(),
            width,
            offsets: gpu.vector(rows.offsets())?,
            query: gpu.vector(rows.query())?,
            node: gpu.dirty(rows.len())?,
            map: gpu.dirty(rows.nodes() * width)?,
            receiving: Parts::new(gpu, rows, &edges.into.hubs)?,
            sending: Parts::new(gpu, rows, &edges.out_of.hubs)?,
        };
        let args = MapArgs {
            map: out.map.at,
            row_node: out.node.at,
            offsets: out.offsets.at,
            row_query: out.query.at,
            nodes: rows.nodes() as u32,
            width: width as u32,
        };
        let grid = [rows.nodes().div_ceil(256), 1, 1];
        gpu.launch("rows_map", grid, [256, 1, 1], 0, &args)?;
        Ok(out)
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Queries, without the background.
    pub fn queries(&self) -> usize {
        self.width - 1
    }

    /// The node of each row.
    pub fn node(&self) -> View<'_, u32> {
        self.node.view()
    }

    /// The query of each row.
    pub fn query(&self) -> View<'_, u32> {
        self.query.view()
    }

    /// For each pair of node and query the row, see [`Rows::find`].
    pub fn map(&self) -> View<'_, u32> {
        self.map.view()
    }
}

/// Messages of a layer.
#[derive(Clone, Copy)]
pub struct Messages<'a, S: State> {
    /// Message function.
    pub function: Function,
    /// The graph.
    pub edges: &'a Edges,
    /// Rows of the input.
    pub from: &'a DeviceRows,
    /// Rows of the output.
    pub to: &'a DeviceRows,
    /// States, `from.len() x dim`.
    pub x: View<'a, S>,
    /// States of the nodes without a row, `nodes x dim`; zero where there are none. The backward pass knows no gradient of them.
    pub far: Option<View<'a, S>>,
    /// Relation states, `relations x dim`.
    pub relations: View<'a, S>,
    /// Width of states.
    pub dim: usize,
}

/// Boundary states that are not zero.
#[derive(Clone, Copy)]
pub struct Starts<'a, S: State> {
    /// For each row of the output the index of its boundary state, or [`crate::rows::NONE`].
    pub at: View<'a, u32>,
    /// `dim` values each.
    pub rows: View<'a, S::Acc>,
}

#[derive(Clone, Copy)]
#[repr(C)]
struct SumArgs {
    x: u64,
    w: u64,
    far: u64,
    boundary: u64,
    counts: u64,
    out: u64,
    row_node: u64,
    row_query: u64,
    map: u64,
    offsets: u64,
    other: u64,
    relation: u64,
    start: u64,
    parts: u64,
    rows: u32,
    d: u32,
    width: u32,
    split: u32,
}

#[derive(Clone, Copy)]
#[repr(C)]
pub(super) struct JoinArgs {
    pub(super) parts: u64,
    pub(super) boundary: u64,
    pub(super) counts: u64,
    pub(super) out: u64,
    pub(super) joins: u64,
    pub(super) start: u64,
    pub(super) row_node: u64,
    pub(super) rows: u32,
    pub(super) d: u32,
}

#[derive(Clone, Copy)]
#[repr(C)]
struct StateArgs {
    dsum: u64,
    dstate: u64,
    dy: u64,
    w: u64,
    out: u64,
    row_node: u64,
    row_query: u64,
    map: u64,
    to_offsets: u64,
    to_query: u64,
    to_map: u64,
    offsets: u64,
    other: u64,
    relation: u64,
    parts: u64,
    rows: u32,
    d: u32,
    width: u32,
    split: u32,
}

#[derive(Clone, Copy)]
#[repr(C)]
struct RelationArgs {
    dsum: u64,
    x: u64,
    out: u64,
    to_offsets: u64,
    to_query: u64,
    map: u64,
    chunks: u64,
    receiver: u64,
    sender: u64,
    rows: u32,
    d: u32,
    width: u32,
}

#[derive(Clone, Copy)]
#[repr(C)]
struct JoinRowsArgs {
    x: u64,
    out: u64,
    first: u64,
    rows: u32,
    d: u32,
}

/// `out[j] = Σ x[first[j]..first[j + 1]]`, rows of `dim` values, in order.
///
/// # Errors
/// When the device does not do it.
///
/// # Panics
/// When lengths do not fit.
pub(super) fn join_rows<A: State<Acc = A>>(
    x: View<'_, A>,
    first: View<'_, u32>,
    out: View<'_, A>,
    dim: usize,
) -> Result<(), Error> {
    let rows = first.len() - 1;
    assert_eq!(out.len(), rows * dim, "sums");
    let args = JoinRowsArgs {
        x: x.at,
        out: out.at,
        first: first.at,
        rows: rows as u32,
        d: dim as u32,
    };
    let name = format!("join_rows_{}", A::TAG);
    out.gpu().launch(
        &name,
        [rows, 1, 1],
        [dim.next_multiple_of(32).min(256) as u32, 1, 1],
        0,
        &args,
    )
}

impl<S: State> Messages<'_, S> {
    pub(super) fn check(&self) {
        let d = self.dim;
        assert!(
            self.function != Function::RotatE || d.is_multiple_of(2),
            "rows are pairs"
        );
        assert_eq!(self.x.len(), self.from.len * d, "states");
        assert_eq!(self.relations.len(), self.edges.relations * d, "relations");
        let nodes = self.edges.nodes;
        assert!(
            self.far.is_none_or(|far| far.len() == nodes * d),
            "states of nodes without a row"
        );
        assert_eq!(self.from.width, self.to.width, "rows of other queries");
        assert_eq!(
            self.from.map.len(),
            self.to.map.len(),
            "rows of other nodes"
        );
    }

    /// Sums of messages and boundary, over the numbers of messages of a node where there are any: `to.len() x dim`.
    ///
    /// # Errors
    /// When the device does not do it.
    ///
    /// # Panics
    /// When lengths do not fit.
    pub fn sum(
        &self,
        starts: Option<Starts<'_, S>>,
        counts: Option<View<'_, S::Acc>>,
        out: View<'_, S>,
    ) -> Result<(), Error> {
        self.check();
        assert_eq!(out.len(), self.to.len * self.dim, "sums");
        assert!(counts.is_none_or(|c| c.len() == self.edges.nodes), "counts");
        assert!(starts.is_none_or(|s| s.at.len() == self.to.len), "boundary");
        let gpu = out.gpu();
        let into = &self.edges.into;
        let args = SumArgs {
            x: self.x.at,
            w: self.relations.at,
            far: address(self.far),
            boundary: address(starts.map(|s| s.rows)),
            counts: address(counts),
            out: out.at,
            row_node: self.to.node.at,
            row_query: self.to.query.at,
            map: self.from.map.at,
            offsets: into.offsets.at,
            other: into.other.at,
            relation: into.relation.at,
            start: address(starts.map(|s| s.at)),
            parts: self.to.receiving.parts.at,
            rows: self.to.len as u32,
            d: self.dim as u32,
            width: self.from.width as u32,
            split: SPLIT as u32,
        };
        let name = self.function.kernel::<S>("messages");
        gpu.launch_rows(&name, self.to.len, self.function.threads(self.dim), &args)?;
        let name = self.function.kernel::<S>("messages_part");
        self.parts(&self.to.receiving, &name, out, |partial, parts| {
            (
                SumArgs {
                    out: partial,
                    rows: parts,
                    ..args
                },
                JoinArgs {
                    parts: partial,
                    boundary: args.boundary,
                    counts: args.counts,
                    out: out.at,
                    joins: self.to.receiving.joins.at,
                    start: args.start,
                    row_node: args.row_node,
                    rows: 0,
                    d: args.d,
                },
            )
        })
    }

    /// Does hubs' rows part by part.
    pub(super) fn parts<A: Copy>(
        &self,
        parts: &Parts,
        name: &str,
        out: View<'_, S>,
        args: impl Fn(u64, u32) -> (A, JoinArgs),
    ) -> Result<(), Error> {
        let (count, rows) = (parts.parts.len() / 3, parts.joins.len() / 3);
        if count == 0 {
            return Ok(());
        }
        let gpu = out.gpu();
        let partial = gpu.dirty::<S::Acc>(count * self.dim)?;
        let (args, join) = args(partial.at, count as u32);
        gpu.launch_rows(name, count, self.function.threads(self.dim), &args)?;
        let join = JoinArgs {
            rows: rows as u32,
            ..join
        };
        let name = format!("join_parts_{}", S::TAG);
        gpu.launch_rows(&name, rows, self.dim, &join)
    }

    /// Gradient of the states, `from.len() x dim`, from those of the sums, of the states the linear map saw, and of the output where the
    /// shortcut passes it on, each `to.len() x dim`.
    ///
    /// # Errors
    /// When the device does not do it.
    ///
    /// # Panics
    /// When lengths do not fit.
    pub fn state_grad(
        &self,
        dsum: View<'_, S>,
        dstate: View<'_, S>,
        dy: Option<View<'_, S>>,
        out: View<'_, S>,
    ) -> Result<(), Error> {
        self.check();
        assert!(self.far.is_none(), "states without a gradient");
        let len = self.to.len * self.dim;
        assert_eq!((dsum.len(), dstate.len()), (len, len), "gradients");
        assert!(dy.is_none_or(|dy| dy.len() == len), "the output's gradient");
        assert_eq!(out.len(), self.x.len(), "the states' gradient");
        let gpu = out.gpu();
        let out_of = &self.edges.out_of;
        let args = StateArgs {
            dsum: dsum.at,
            dstate: dstate.at,
            dy: address(dy),
            w: self.relations.at,
            out: out.at,
            row_node: self.from.node.at,
            row_query: self.from.query.at,
            map: self.from.map.at,
            to_offsets: self.to.offsets.at,
            to_query: self.to.query.at,
            to_map: self.to.map.at,
            offsets: out_of.offsets.at,
            other: out_of.other.at,
            relation: out_of.relation.at,
            parts: self.from.sending.parts.at,
            rows: self.from.len as u32,
            d: self.dim as u32,
            width: self.from.width as u32,
            split: SPLIT as u32,
        };
        let name = self.function.kernel::<S>("state_grad");
        gpu.launch_rows(&name, self.from.len, self.function.threads(self.dim), &args)?;
        let name = self.function.kernel::<S>("state_grad_part");
        self.parts(&self.from.sending, &name, out, |partial, parts| {
            (
                StateArgs {
                    out: partial,
                    rows: parts,
                    ..args
                },
                JoinArgs {
                    parts: partial,
                    boundary: 0,
                    counts: 0,
                    out: out.at,
                    joins: self.from.sending.joins.at,
                    start: 0,
                    row_node: args.row_node,
                    rows: 0,
                    d: args.d,
                },
            )
        })
    }

    /// Gradient of the relations, `relations x dim`, from that of the sums.
    ///
    /// # Errors
    /// When the device does not do it, or has no memory for partial sums.
    ///
    /// # Panics
    /// When lengths do not fit.
    pub fn relation_grad(&self, dsum: View<'_, S>, out: View<'_, S::Acc>) -> Result<(), Error> {
        self.check();
        assert!(self.far.is_none(), "states without a gradient");
        assert_eq!(dsum.len(), self.to.len * self.dim, "gradients");
        assert_eq!(out.len(), self.relations.len(), "the relations' gradient");
        let gpu = out.gpu();
        let chunks = self.edges.chunks.len() - 1;
        let partial = gpu.dirty::<S::Acc>(chunks * self.dim)?;
        let args = RelationArgs {
            dsum: dsum.at,
            x: self.x.at,
            out: partial.at,
            to_offsets: self.to.offsets.at,
            to_query: self.to.query.at,
            map: self.from.map.at,
            chunks: self.edges.chunks.at,
            receiver: self.edges.receiver.at,
            sender: self.edges.sender.at,
            rows: chunks as u32,
            d: self.dim as u32,
            width: self.from.width as u32,
        };
        let name = self.function.kernel::<S>("relation_grad");
        gpu.launch_rows(&name, chunks, self.function.threads(self.dim), &args)?;
        self.edges.join_chunks(partial, out, self.dim)
    }
}

impl Edges {
    /// Adds up chunks' partial sums: one row a relation.
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

#[cfg(test)]
mod chunk_tests {
    use super::*;

    #[test]
    fn chunks_are_of_one_relation_and_levels_end_with_one_row_each() {
        // 0, 5,000, 0, 1 and 31 edges.
        let offsets = [0, 0, 5000, 5000, 5001, 5032];
        let (ends, levels) = chunks(&offsets);
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
        // The number of edges a row stands for, summed up level by level.
        let mut rows: Vec<u32> = ends.windows(2).map(|w| w[1] - w[0]).collect();
        for level in &levels {
            assert!(level.windows(2).all(|w| (w[1] - w[0]) as usize <= JOIN));
            rows = level
                .windows(2)
                .map(|w| rows[w[0] as usize..w[1] as usize].iter().sum())
                .collect();
        }
        assert_eq!(rows, [0, 5000, 0, 1, 31]);
        assert_eq!(chunks(&[0]), (vec![0], vec![vec![0]]));
        assert!(relations_of(&[0], &[0]).is_empty());
    }
}
