//! The aggregates max, min and PNA, forward and backward, from states to features: what [`crate::extremes`] has the parts of.
//!
//! They need *whole* rows: every node has one for every query, the same in input and output. `M` is the number of rows, `d` the
//! width of states. Messages are computed again in the backward pass, and compared with the extremes to find who attains them.

use super::messages::{DeviceRows, Function, JoinArgs, Messages, Parts, SPLIT, Starts};
use super::{Error, State, View, address};

/// Which aggregate.
#[derive(Clone, Copy)]
pub enum Kind<'a, A> {
    /// Largest message of each feature.
    Max,
    /// Smallest message.
    Min,
    /// Mean, max, min and standard deviation, one after the other. Means are over these counts: the number of messages of each node,
    /// the boundary included.
    Pna(View<'a, A>),
}

/// How edges and boundary share the gradient of an extreme that several attain, and what the deviation's squares are of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Path {
    /// As the reference's own kernels: half for the boundary and half for *each* edge; all of it for each edge, or for the
    /// boundary, where only one side attains it. TransE squares state and relation instead of their sum.
    Fused,
    /// As PyTorch's `scatter_reduce`: equal shares, of which an extreme of zero takes one more for the zeros it starts from.
    Plain,
}

/// Messages and boundary of a layer, joined by an extreme or several statistics.
#[derive(Clone, Copy)]
pub struct Aggregate<'a, S: State> {
    /// Which.
    pub kind: Kind<'a, S::Acc>,
    /// Whose conventions.
    pub path: Path,
    /// Messages, over whole rows and without far states.
    pub messages: Messages<'a, S>,
    /// One more message of every node, zero for rows that are not among these. No two rows have the same start.
    pub starts: Option<Starts<'a, S>>,
}

/// What an aggregate's backward pass gives.
#[derive(Clone, Copy)]
pub struct AggregateGrads<'a, S: State> {
    /// Of the states, `M x d`: replaced.
    pub x: View<'a, S>,
    /// Of the relations, `relations x d`: replaced.
    pub relations: View<'a, S::Acc>,
    /// Of the starts' rows, as many: added to what is there. None where there are no starts.
    pub starts: Option<View<'a, S::Acc>>,
}

#[derive(Clone, Copy)]
#[repr(C)]
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

#[derive(Clone, Copy)]
#[repr(C)]
struct Upstream {
    features: u64,
    grads: u64,
    stride: u32,
    pna: u32,
    parts: u32,
}

#[derive(Clone, Copy)]
#[repr(C)]
struct StateArgs {
    up: Upstream,
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

#[derive(Clone, Copy)]
#[repr(C)]
struct RelationArgs {
    up: Upstream,
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

#[derive(Clone, Copy)]
#[repr(C)]
struct MomentsArgs {
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

fn whole(rows: &DeviceRows) -> bool {
    rows.len() * rows.width == rows.map().len() * rows.queries()
}

impl<S: State> Aggregate<'_, S> {
    /// Width of features: `d`, or `4 d` for PNA.
    pub fn width(&self) -> usize {
        match self.kind {
            Kind::Pna(_) => 4 * self.messages.dim,
            _ => self.messages.dim,
        }
    }

    fn counts(&self) -> Option<View<'_, S::Acc>> {
        match self.kind {
            Kind::Pna(counts) => Some(counts),
            _ => None,
        }
    }

    fn squares_of_parts(&self) -> bool {
        self.path == Path::Fused && self.messages.function == Function::TransE
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

    /// Runs a kernel over the rows that receive; hubs' rows part by part, each with `totals` rows of accumulators.
    fn over_rows(&self, name: &str, totals: usize, args: AggregateArgs) -> Result<(), Error> {
        let m = &self.messages;
        let gpu = m.x.gpu();
        let kernel = |name: &str| m.function.kernel::<S>(name);
        let columns = m.function.threads(m.dim);
        gpu.launch_rows(&kernel(name), m.to.len(), columns, &args)?;
        let Parts { parts, joins } = &m.to.receiving;
        let (count, rows) = (parts.len() / 3, joins.len() / 3);
        if count == 0 {
            return Ok(());
        }
        let partial = gpu.dirty::<S::Acc>(count * totals * m.dim)?;
        let args = AggregateArgs {
            partial: partial.at,
            parts: parts.at,
            rows: count as u32,
            ..args
        };
        let part = kernel(&format!("{name}_part"));
        gpu.launch_rows(&part, count, columns, &args)?;
        let args = AggregateArgs {
            parts: joins.at,
            rows: rows as u32,
            ..args
        };
        let join = format!("{name}_join_{}", S::TAG);
        gpu.launch_rows(&join, rows, m.dim, &args)
    }

    /// Features of every row, `M x `[`Aggregate::width`].
    ///
    /// # Errors
    /// When the device does not do it, or has no memory for hubs' partial results.
    ///
    /// # Panics
    /// When lengths do not fit, or rows are not whole.
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

    /// Gradients of states, relations and starts, from `features` as [`Aggregate::forward`] gave them and their gradient, which is
    /// used up. `dstate` (`M x d`), and `dy` where there is a shortcut, are added to the gradient of the states.
    ///
    /// # Errors
    /// When the device does not do it, or has no memory for partial sums.
    ///
    /// # Panics
    /// When lengths do not fit, rows are not whole, or there are starts without a gradient or the other way round.
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
            _ => &[0],
        };
        for at in extremes {
            let column = at * args.d;
            self.over_rows("split_extreme", 1, AggregateArgs { column, ..args })?;
        }
        let up = Upstream {
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
        let args = MomentsArgs {
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
        up: Upstream,
        dstate: View<'_, S>,
        dy: Option<View<'_, S>>,
        out: View<'_, S>,
    ) -> Result<(), Error> {
        let m = &self.messages;
        let out_of = &m.edges.out_of;
        let args = StateArgs {
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
        m.parts(&m.from.sending, &name, out, |partial, parts| {
            let join = JoinArgs {
                parts: partial,
                boundary: 0,
                counts: 0,
                out: out.at,
                joins: m.from.sending.joins.at,
                start: 0,
                row_node: args.row_node,
                rows: 0,
                d: args.d,
            };
            let args = StateArgs {
                out: partial,
                rows: parts,
                ..args
            };
            (args, join)
        })
    }

    fn relation_grad(&self, up: Upstream, out: View<'_, S::Acc>) -> Result<(), Error> {
        let m = &self.messages;
        let edges = m.edges;
        let chunks = edges.chunks.len() - 1;
        let partial = out.gpu().dirty::<S::Acc>(chunks * m.dim)?;
        let args = RelationArgs {
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
