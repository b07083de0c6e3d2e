//! The aggregates max, min and PNA, forward and backward, from states to features.
//!
//! They need *whole* rows: every node has one for every query, in input and output alike. `M` is
//! the number of rows, `d` the width of states. The backward pass computes messages again and
//! compares them with the extremes, to find the edges that attain them.

use super::device_rows::DeviceRows;
use super::edges::SPLIT;
use super::layout::kernel_arguments;
use super::messages::{Messages, Starts};
use super::{Error, State, View, address};
pub use crate::message::Path;

/// An aggregate.
#[derive(Clone, Copy)]
pub enum Kind<'a, A> {
    /// Largest message of each feature.
    Max,
    /// Smallest message.
    Min,
    /// Mean, max, min and standard deviation, one after the other. The counts are the number of
    /// messages into each node, counting the boundary.
    Pna(View<'a, A>),
}

/// Messages and boundary of a layer, aggregated by an extreme or by several statistics.
#[derive(Clone, Copy)]
pub struct Aggregate<'a, S: State> {
    /// The aggregate.
    pub kind: Kind<'a, S::Acc>,
    /// How ties are shared, and what PNA's squares are of.
    pub path: Path,
    /// Messages, over whole rows, without states of nodes without a row.
    pub messages: Messages<'a, S>,
    /// One more message into every row, zero for rows without a start. No two rows have the same
    /// start.
    pub starts: Option<Starts<'a, S>>,
}

/// The gradients that an aggregate's backward pass computes.
#[derive(Clone, Copy)]
pub struct AggregateGrads<'a, S: State> {
    /// Of the states, `M x d`; replaced.
    pub x: View<'a, S>,
    /// Of the relations, `relations x d`; replaced.
    pub relations: View<'a, S::Acc>,
    /// Of the starts; added to. `None` if there are no starts.
    pub starts: Option<View<'a, S::Acc>>,
}

fn whole(rows: &DeviceRows) -> bool {
    rows.len() * rows.width == rows.map().len() * rows.queries()
}

impl<S: State> Aggregate<'_, S> {
    /// Width of features: `d`, or `4 d` for PNA.
    pub fn width(&self) -> usize {
        match self.kind {
            Kind::Pna(_) => 4 * self.messages.dim,
            Kind::Max | Kind::Min => self.messages.dim,
        }
    }

    fn counts(&self) -> Option<View<'_, S::Acc>> {
        match self.kind {
            Kind::Pna(counts) => Some(counts),
            Kind::Max | Kind::Min => None,
        }
    }

    fn squares_of_parts(&self) -> bool {
        self.path == Path::Fused && self.messages.function.squares_of_parts()
    }

    fn check(&self) {
        let m = &self.messages;
        m.check();
        assert!(m.far.is_none(), "states of nodes without a row");
        assert!(whole(m.from) && whole(m.to), "rows are whole");
        let nodes = m.edges.nodes;
        assert!(self.counts().is_none_or(|c| c.len() == nodes), "counts");
        let fits = |s: Starts<'_, S>| {
            s.at.len() == m.to.len() && s.rows.len().is_multiple_of(m.dim.max(1))
        };
        assert!(self.starts.is_none_or(fits), "boundary");
    }

    fn args(&self) -> AggregateArgs {
        let m = &self.messages;
        let into = &m.edges.into;
        AggregateArgs {
            x: m.x.at,
            w: m.relations.at,
            boundary: address(self.starts.map(|s| s.rows)),
            counts: address(self.counts()),
            features: 0,
            grads: 0,
            dboundary: 0,
            partial: 0,
            row_node: m.to.node().at,
            row_query: m.to.query().at,
            map: m.from.map().at,
            offsets: into.offsets.at,
            other: into.other.at,
            relation: into.relation.at,
            start: address(self.starts.map(|s| s.at)),
            parts: 0,
            rows: m.to.len() as u32,
            d: m.dim as u32,
            width: m.from.width as u32,
            split: SPLIT as u32,
            stride: self.width() as u32,
            column: 0,
            flag: 0,
        }
    }

    /// Runs a kernel over the rows of the output; over hubs' rows in parts, which have `totals`
    /// rows of accumulators each.
    fn over_rows(&self, name: &str, totals: usize, args: AggregateArgs) -> Result<(), Error> {
        let m = &self.messages;
        let gpu = m.x.gpu();
        let kernel = |name: &str| m.function.kernel::<S>(name);
        let columns = m.function.threads(m.dim);
        gpu.launch_rows(&kernel(name), m.to.len(), columns, &args)?;
        let parts = &m.to.receiving;
        let (count, rows) = (parts.parts(), parts.rows());
        if count == 0 {
            return Ok(());
        }
        let partial = gpu.dirty::<S::Acc>(count * totals * m.dim)?;
        let args = AggregateArgs {
            partial: partial.at,
            parts: parts.parts.at,
            rows: count as u32,
            ..args
        };
        let part = kernel(&format!("{name}_part"));
        gpu.launch_rows(&part, count, columns, &args)?;
        let args = AggregateArgs {
            parts: parts.joins.at,
            rows: rows as u32,
            ..args
        };
        let join = format!("{name}_join_{}", S::TAG);
        gpu.launch_rows(&join, rows, m.dim, &args)
    }

    /// Features of every row, `M x `[`Aggregate::width`].
    ///
    /// # Errors
    /// If the device reports one, or has no memory for hubs' partial results.
    ///
    /// # Panics
    /// If lengths do not match, or rows are not whole.
    pub fn forward(&self, features: View<'_, S>) -> Result<(), Error> {
        self.check();
        let rows = self.messages.to.len();
        assert_eq!(features.len(), rows * self.width(), "features");
        let args = AggregateArgs {
            features: features.at,
            ..self.args()
        };
        let flag = |flag: bool| AggregateArgs {
            flag: flag.into(),
            ..args
        };
        match self.kind {
            Kind::Max => self.over_rows("extreme", 1, flag(false)),
            Kind::Min => self.over_rows("extreme", 1, flag(true)),
            Kind::Pna(_) => self.over_rows("pna", 4, flag(self.squares_of_parts())),
        }
    }

    /// Gradients of states, relations and starts, from the features of [`Aggregate::forward`] and
    /// their gradient, which is overwritten. `dstate` (`M x d`), and `dy` if there is a shortcut,
    /// are added to the gradient of the states.
    ///
    /// # Errors
    /// If the device reports one, or has no memory for partial sums.
    ///
    /// # Panics
    /// If lengths do not match, rows are not whole, or only one of starts and their gradient is
    /// given.
    pub fn backward(
        &self,
        features: View<'_, S>,
        dfeatures: View<'_, S>,
        dstate: View<'_, S>,
        dy: Option<View<'_, S>>,
        grads: AggregateGrads<'_, S>,
    ) -> Result<(), Error> {
        self.check();
        let m = &self.messages;
        let (rows, len) = (m.to.len(), m.to.len() * m.dim);
        let wide = rows * self.width();
        assert_eq!((features.len(), dfeatures.len()), (wide, wide), "features");
        assert_eq!((dstate.len(), grads.x.len()), (len, len), "states");
        assert!(dy.is_none_or(|dy| dy.len() == len), "the output's gradient");
        assert_eq!(grads.relations.len(), m.relations.len(), "relations");
        assert_eq!(
            grads.starts.map(|g| g.len()),
            self.starts.map(|s| s.rows.len()),
            "the boundary's gradient"
        );
        let args = AggregateArgs {
            features: features.at,
            grads: dfeatures.at,
            dboundary: address(grads.starts),
            flag: (self.path == Path::Plain).into(),
            ..self.args()
        };
        let extremes: &[u32] = match self.kind {
            Kind::Pna(_) => {
                self.moments_grad(&args)?;
                &[1, 2]
            }
            Kind::Max | Kind::Min => &[0],
        };
        for at in extremes {
            let column = at * args.d;
            self.over_rows("split_extreme", 1, AggregateArgs { column, ..args })?;
        }
        let up = UpstreamArgs {
            features: features.at,
            grads: dfeatures.at,
            stride: args.stride,
            pna: matches!(self.kind, Kind::Pna(_)).into(),
            parts: self.squares_of_parts().into(),
        };
        self.state_grad(up, dstate, dy, grads.x)?;
        self.relation_grad(up, grads.relations)
    }

    fn moments_grad(&self, of: &AggregateArgs) -> Result<(), Error> {
        let m = &self.messages;
        let args = MomentsGradArgs {
            features: of.features,
            counts: of.counts,
            boundary: of.boundary,
            grads: of.grads,
            dboundary: of.dboundary,
            row_node: of.row_node,
            start: of.start,
            rows: of.rows,
            d: of.d,
        };
        let name = format!("moments_grad_{}", S::TAG);
        m.x.gpu().launch_rows(&name, m.to.len(), m.dim, &args)
    }

    fn state_grad(
        &self,
        up: UpstreamArgs,
        dstate: View<'_, S>,
        dy: Option<View<'_, S>>,
        out: View<'_, S>,
    ) -> Result<(), Error> {
        let m = &self.messages;
        let out_of = &m.edges.out_of;
        let args = UpstreamStateArgs {
            up,
            x: m.x.at,
            w: m.relations.at,
            dstate: dstate.at,
            dy: address(dy),
            out: out.at,
            row_node: m.from.node().at,
            row_query: m.from.query().at,
            map: m.to.map().at,
            offsets: out_of.offsets.at,
            other: out_of.other.at,
            relation: out_of.relation.at,
            parts: m.from.sending.parts.at,
            rows: m.from.len() as u32,
            d: m.dim as u32,
            width: m.from.width as u32,
            split: SPLIT as u32,
        };
        let name = m.function.kernel::<S>("upstream_state_grad");
        out.gpu()
            .launch_rows(&name, m.from.len(), m.function.threads(m.dim), &args)?;
        let name = m.function.kernel::<S>("upstream_state_grad_part");
        let join = m.join(&m.from.sending, out, args.row_node);
        m.in_parts(&m.from.sending, &name, join, |out, rows| {
            UpstreamStateArgs { out, rows, ..args }
        })
    }

    fn relation_grad(&self, up: UpstreamArgs, out: View<'_, S::Acc>) -> Result<(), Error> {
        let m = &self.messages;
        let edges = m.edges;
        let chunks = edges.chunks.len() - 1;
        let partial = out.gpu().dirty::<S::Acc>(chunks * m.dim)?;
        let args = UpstreamRelationArgs {
            up,
            x: m.x.at,
            w: m.relations.at,
            out: partial.at,
            to_offsets: m.to.offsets.at,
            to_query: m.to.query().at,
            map: m.from.map().at,
            chunks: edges.chunks.at,
            of: edges.chunk_relation.at,
            receiver: edges.receiver.at,
            sender: edges.sender.at,
            rows: chunks as u32,
            d: m.dim as u32,
            width: m.from.width as u32,
        };
        let name = m.function.kernel::<S>("upstream_relation_grad");
        out.gpu()
            .launch_rows(&name, chunks, m.function.threads(m.dim), &args)?;
        edges.join_chunks(partial, out, m.dim)
    }
}

kernel_arguments! {
    struct AggregateArgs {
        x: u64,
        w: u64,
        boundary: u64,
        counts: u64,
        features: u64,
        grads: u64,
        dboundary: u64,
        partial: u64,
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
        stride: u32,
        column: u32,
        flag: u32,
    }

    struct UpstreamArgs {
        features: u64,
        grads: u64,
        stride: u32,
        pna: u32,
        parts: u32,
    }

    struct UpstreamStateArgs {
        up: UpstreamArgs,
        x: u64,
        w: u64,
        dstate: u64,
        dy: u64,
        out: u64,
        row_node: u64,
        row_query: u64,
        map: u64,
        offsets: u64,
        other: u64,
        relation: u64,
        parts: u64,
        rows: u32,
        d: u32,
        width: u32,
        split: u32,
    }

    struct UpstreamRelationArgs {
        up: UpstreamArgs,
        x: u64,
        w: u64,
        out: u64,
        to_offsets: u64,
        to_query: u64,
        map: u64,
        chunks: u64,
        of: u64,
        receiver: u64,
        sender: u64,
        rows: u32,
        d: u32,
        width: u32,
    }

    struct MomentsGradArgs {
        features: u64,
        counts: u64,
        boundary: u64,
        grads: u64,
        dboundary: u64,
        row_node: u64,
        start: u64,
        rows: u32,
        d: u32,
    }
}
