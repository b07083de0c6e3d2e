//! Relational SpMM over rows of states, forward and backward, as [`crate::layer`] does it.

pub use super::device_rows::DeviceRows;
use super::device_rows::Parts;
use super::edges::SPLIT;
pub use super::edges::{DeviceMarks, Edges, Marks};
use super::layout::{Arguments, kernel_arguments};
use super::{Error, State, View, address};
pub use crate::message::Function;

impl Function {
    /// Threads that have work in a row of `dim` values.
    pub(super) fn threads(self, dim: usize) -> usize {
        let columns = if self.pairs() { dim / 2 } else { dim };
        // A thread takes four columns at once if they can be divided so.
        if columns.is_multiple_of(4) {
            columns / 4
        } else {
            columns
        }
    }

    /// The name of a kernel of this function for states of type `S`.
    pub(super) fn kernel<S: State>(self, name: &str) -> String {
        format!("{name}_{}_{}", self.name(), S::TAG)
    }
}

/// Messages of a layer.
#[derive(Clone, Copy)]
pub struct Messages<'a, S: State> {
    /// Message function.
    pub function: Function,
    /// The edges that messages travel along.
    pub edges: &'a Edges,
    /// Rows of the input.
    pub from: &'a DeviceRows,
    /// Rows of the output.
    pub to: &'a DeviceRows,
    /// States, `from.len() x dim`.
    pub x: View<'a, S>,
    /// States of nodes without a row, `nodes x dim`; zero if there are none. They have no gradient.
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
    /// Boundary states, `dim` values each.
    pub rows: View<'a, S::Acc>,
}

impl<S: State> Messages<'_, S> {
    pub(super) fn check(&self) {
        let d = self.dim;
        assert!(
            !self.function.pairs() || d.is_multiple_of(2),
            "rows are pairs"
        );
        assert_eq!(self.x.len(), self.from.len() * d, "states");
        assert_eq!(self.relations.len(), self.edges.relations * d, "relations");
        let nodes = self.edges.nodes;
        assert!(
            self.far.is_none_or(|far| far.len() == nodes * d),
            "states of nodes without a row"
        );
        assert_eq!(self.from.width, self.to.width, "rows of other queries");
        assert_eq!(
            self.from.map().len(),
            self.to.map().len(),
            "rows of other nodes"
        );
    }

    /// Sums of messages and boundary, `to.len() x dim`, divided by each node's count if there are
    /// counts.
    ///
    /// # Errors
    /// If the device reports one.
    ///
    /// # Panics
    /// If lengths do not match.
    pub fn sum(
        &self,
        starts: Option<Starts<'_, S>>,
        counts: Option<View<'_, S::Acc>>,
        out: View<'_, S>,
    ) -> Result<(), Error> {
        self.check();
        assert_eq!(out.len(), self.to.len() * self.dim, "sums");
        assert!(counts.is_none_or(|c| c.len() == self.edges.nodes), "counts");
        assert!(
            starts.is_none_or(|s| s.at.len() == self.to.len()),
            "boundary"
        );
        let gpu = out.gpu();
        let into = &self.edges.into;
        let args = MessagesArgs {
            x: self.x.at,
            w: self.relations.at,
            far: address(self.far),
            boundary: address(starts.map(|s| s.rows)),
            counts: address(counts),
            out: out.at,
            row_node: self.to.node().at,
            row_query: self.to.query().at,
            map: self.from.map().at,
            offsets: into.offsets.at,
            other: into.other.at,
            relation: into.relation.at,
            start: address(starts.map(|s| s.at)),
            parts: self.to.receiving.parts.at,
            rows: self.to.len() as u32,
            d: self.dim as u32,
            width: self.from.width as u32,
            split: SPLIT as u32,
        };
        let name = self.function.kernel::<S>("messages");
        gpu.launch_rows(&name, self.to.len(), self.function.threads(self.dim), &args)?;
        let name = self.function.kernel::<S>("messages_part");
        let join = JoinPartsArgs {
            boundary: args.boundary,
            counts: args.counts,
            start: args.start,
            ..self.join(&self.to.receiving, out, args.row_node)
        };
        self.in_parts(&self.to.receiving, &name, join, |out, rows| MessagesArgs {
            out,
            rows,
            ..args
        })
    }

    /// How the partial sums of hubs' rows become rows of `out`.
    pub(super) fn join(&self, parts: &Parts, out: View<'_, S>, row_node: u64) -> JoinPartsArgs {
        JoinPartsArgs {
            parts: 0,
            boundary: 0,
            counts: 0,
            out: out.at,
            joins: parts.joins.at,
            start: 0,
            row_node,
            rows: parts.rows() as u32,
            d: self.dim as u32,
        }
    }

    /// Runs a kernel over the parts of hubs' rows, and joins their sums. `args` makes the kernel's
    /// argument from where its sums go and how many there are.
    pub(super) fn in_parts<A: Arguments>(
        &self,
        parts: &Parts,
        name: &str,
        join: JoinPartsArgs,
        args: impl FnOnce(u64, u32) -> A,
    ) -> Result<(), Error> {
        let count = parts.parts();
        if count == 0 {
            return Ok(());
        }
        let gpu = self.x.gpu();
        let partial = gpu.dirty::<S::Acc>(count * self.dim)?;
        let args = args(partial.at, count as u32);
        gpu.launch_rows(name, count, self.function.threads(self.dim), &args)?;
        let join = JoinPartsArgs {
            parts: partial.at,
            ..join
        };
        let name = format!("join_parts_{}", S::TAG);
        gpu.launch_rows(&name, parts.rows(), self.dim, &join)
    }

    /// Gradient of the states, `from.len() x dim`, from the gradients of the sums, of the states
    /// that the linear map read, and of the output if there is a shortcut, each `to.len() x dim`.
    ///
    /// # Errors
    /// If the device reports one.
    ///
    /// # Panics
    /// If lengths do not match.
    pub fn state_grad(
        &self,
        dsum: View<'_, S>,
        dstate: View<'_, S>,
        dy: Option<View<'_, S>>,
        out: View<'_, S>,
    ) -> Result<(), Error> {
        self.check();
        assert!(self.far.is_none(), "states without a gradient");
        let len = self.to.len() * self.dim;
        assert_eq!((dsum.len(), dstate.len()), (len, len), "gradients");
        assert!(dy.is_none_or(|dy| dy.len() == len), "the output's gradient");
        assert_eq!(out.len(), self.x.len(), "the states' gradient");
        let gpu = out.gpu();
        let out_of = &self.edges.out_of;
        let args = StateGradArgs {
            dsum: dsum.at,
            dstate: dstate.at,
            dy: address(dy),
            w: self.relations.at,
            out: out.at,
            row_node: self.from.node().at,
            row_query: self.from.query().at,
            map: self.from.map().at,
            to_offsets: self.to.offsets.at,
            to_query: self.to.query().at,
            to_map: self.to.map().at,
            offsets: out_of.offsets.at,
            other: out_of.other.at,
            relation: out_of.relation.at,
            parts: self.from.sending.parts.at,
            rows: self.from.len() as u32,
            d: self.dim as u32,
            width: self.from.width as u32,
            split: SPLIT as u32,
        };
        let name = self.function.kernel::<S>("state_grad");
        gpu.launch_rows(
            &name,
            self.from.len(),
            self.function.threads(self.dim),
            &args,
        )?;
        let name = self.function.kernel::<S>("state_grad_part");
        let join = self.join(&self.from.sending, out, args.row_node);
        self.in_parts(&self.from.sending, &name, join, |out, rows| StateGradArgs {
            out,
            rows,
            ..args
        })
    }

    /// Gradient of the relations, `relations x dim`, from that of the sums.
    ///
    /// # Errors
    /// If the device reports one, or has no memory for partial sums.
    ///
    /// # Panics
    /// If lengths do not match.
    pub fn relation_grad(&self, dsum: View<'_, S>, out: View<'_, S::Acc>) -> Result<(), Error> {
        self.check();
        assert!(self.far.is_none(), "states without a gradient");
        assert_eq!(dsum.len(), self.to.len() * self.dim, "gradients");
        assert_eq!(out.len(), self.relations.len(), "the relations' gradient");
        let gpu = out.gpu();
        let chunks = self.edges.chunks.len() - 1;
        let partial = gpu.dirty::<S::Acc>(chunks * self.dim)?;
        let args = RelationGradArgs {
            dsum: dsum.at,
            x: self.x.at,
            out: partial.at,
            to_offsets: self.to.offsets.at,
            to_query: self.to.query().at,
            map: self.from.map().at,
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

kernel_arguments! {
    struct MessagesArgs {
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

    struct StateGradArgs {
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

    struct RelationGradArgs {
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

    pub(super) struct JoinPartsArgs {
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
}
