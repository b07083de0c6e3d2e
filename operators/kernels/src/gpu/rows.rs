//! Kernels that move rows: gathering, adding, scaling, casting.

use half::bf16;

use super::device_rows::DeviceRows;
use super::layout::kernel_arguments;
pub use super::sums::sum_rows;
use super::{Error, State, View, address, flat};

/// Which rows' states are copied to which rows.
#[derive(Clone, Copy)]
pub struct Gather<'a> {
    /// The rows that have states.
    pub from: &'a DeviceRows,
    /// The rows that need them.
    pub to: &'a DeviceRows,
}

impl Gather<'_> {
    /// Copies to each row of `to` the state of the same node and query, `to.len() x dim`. `far` are
    /// the states of nodes without a row, `nodes x dim`; zero if there are none.
    ///
    /// # Errors
    /// If the device reports one.
    ///
    /// # Panics
    /// If lengths do not match.
    pub fn states<S: State>(
        &self,
        x: View<'_, S>,
        far: Option<View<'_, S>>,
        out: View<'_, S>,
        dim: usize,
    ) -> Result<(), Error> {
        let (from, to) = (self.from, self.to);
        assert_eq!(
            (x.len(), out.len()),
            (from.len() * dim, to.len() * dim),
            "states"
        );
        assert_eq!(from.map().len(), to.map().len(), "rows of another graph");
        let args = GatherStatesArgs {
            x: x.at,
            far: address(far),
            out: out.at,
            row_node: to.node().at,
            row_query: to.query().at,
            map: from.map().at,
            rows: to.len() as u32,
            d: dim as u32,
            width: from.queries() as u32 + 1,
        };
        let name = format!("gather_states_{}", S::TAG);
        out.gpu().launch_rows(&name, to.len(), dim, &args)
    }
}

/// Some columns of wider rows.
#[derive(Clone, Copy)]
pub struct Block {
    /// Width of a whole row.
    pub stride: usize,
    /// First column.
    pub column: usize,
    /// Number of columns.
    pub dim: usize,
}

/// States of nodes without a row.
#[derive(Clone, Copy)]
pub struct Far<'a, S> {
    /// `nodes x dim`
    pub states: View<'a, S>,
    /// The node of each state that is taken.
    pub node: View<'a, u32>,
}

/// `out[j, block] = x[index[j]]`. If the index is [`crate::rows::NONE`], it is the node's state in
/// `far`, or zero if there is no `far`.
///
/// # Errors
/// If the device reports one.
///
/// # Panics
/// If lengths do not match.
pub fn take_states<S: State>(
    x: View<'_, S>,
    far: Option<Far<'_, S>>,
    index: View<'_, u32>,
    out: View<'_, S::Acc>,
    block: Block,
) -> Result<(), Error> {
    assert_eq!(out.len(), index.len() * block.stride, "rows");
    assert!(block.column + block.dim <= block.stride, "columns");
    let args = TakeStatesArgs {
        x: x.at,
        far: address(far.map(|f| f.states)),
        out: out.at,
        index: index.at,
        node: address(far.map(|f| f.node)),
        rows: index.len() as u32,
        d: block.dim as u32,
        stride: block.stride as u32,
        column: block.column as u32,
    };
    let name = format!("take_states_{}", S::TAG);
    out.gpu().launch_rows(&name, index.len(), block.dim, &args)
}

/// Where rows of states were copied to by [`take_states`]: row `row[g]` to
/// `positions[offsets[g]..offsets[g + 1]]`.
#[derive(Clone, Copy)]
pub struct Groups<'a> {
    /// Distinct rows.
    pub row: View<'a, u32>,
    /// One more value than rows.
    pub offsets: View<'a, u32>,
    /// Indices of rows of the output.
    pub positions: View<'a, u32>,
}

/// Backward of [`take_states`], added to `dx`.
///
/// # Errors
/// If the device reports one.
///
/// # Panics
/// If lengths do not match.
pub fn give_states<S: State>(
    dx: View<'_, S>,
    dout: View<'_, S::Acc>,
    groups: Groups<'_>,
    block: Block,
) -> Result<(), Error> {
    assert_eq!(groups.offsets.len(), groups.row.len() + 1, "groups");
    let args = GiveStatesArgs {
        x: dx.at,
        dout: dout.at,
        row: groups.row.at,
        offsets: groups.offsets.at,
        positions: groups.positions.at,
        rows: groups.row.len() as u32,
        d: block.dim as u32,
        stride: block.stride as u32,
        column: block.column as u32,
    };
    let name = format!("give_states_{}", S::TAG);
    dx.gpu()
        .launch_rows(&name, groups.row.len(), block.dim, &args)
}

fn add_args(
    to: u64,
    from: u64,
    to_at: View<'_, u32>,
    from_at: View<'_, u32>,
    dim: usize,
) -> AddRowsArgs {
    assert_eq!(to_at.len(), from_at.len(), "rows to and from");
    AddRowsArgs {
        to,
        from,
        to_at: to_at.at,
        from_at: from_at.at,
        rows: to_at.len() as u32,
        d: dim as u32,
    }
}

/// `states[to_at[j]] += rows[from_at[j]]`. No two values of `to_at` are the same.
///
/// # Errors
/// If the device reports one.
///
/// # Panics
/// If lengths do not match.
pub fn add_to_states<S: State>(
    states: View<'_, S>,
    rows: View<'_, S::Acc>,
    to_at: View<'_, u32>,
    from_at: View<'_, u32>,
    dim: usize,
) -> Result<(), Error> {
    let args = add_args(states.at, rows.at, to_at, from_at, dim);
    let name = format!("add_to_states_{}", S::TAG);
    states.gpu().launch_rows(&name, to_at.len(), dim, &args)
}

/// `rows[to_at[j]] += states[from_at[j]]`. No two values of `to_at` are the same.
///
/// # Errors
/// If the device reports one.
///
/// # Panics
/// If lengths do not match.
pub fn add_from_states<S: State>(
    rows: View<'_, S::Acc>,
    states: View<'_, S>,
    to_at: View<'_, u32>,
    from_at: View<'_, u32>,
    dim: usize,
) -> Result<(), Error> {
    let args = add_args(rows.at, states.at, to_at, from_at, dim);
    let name = format!("add_from_states_{}", S::TAG);
    states.gpu().launch_rows(&name, to_at.len(), dim, &args)
}

/// `states[j] = rows[index[j]]`
///
/// # Errors
/// If the device reports one.
///
/// # Panics
/// If lengths do not match.
pub fn fill_rows<S: State>(
    states: View<'_, S>,
    rows: View<'_, S::Acc>,
    index: View<'_, u32>,
    dim: usize,
) -> Result<(), Error> {
    assert_eq!(states.len(), index.len() * dim, "rows");
    let args = FillRowsArgs {
        to: states.at,
        from: rows.at,
        index: index.at,
        rows: index.len() as u32,
        d: dim as u32,
    };
    let name = format!("fill_rows_{}", S::TAG);
    states.gpu().launch_rows(&name, index.len(), dim, &args)
}

/// Adds to each row of `nodes`, `nodes x dim`, the sum of the states of this node's rows; with an
/// `index`, only of those rows whose value in it is the node.
///
/// # Errors
/// If the device reports one.
///
/// # Panics
/// If lengths do not match.
pub fn sum_nodes<S: State>(
    nodes: View<'_, S::Acc>,
    states: View<'_, S>,
    rows: &DeviceRows,
    index: Option<View<'_, u32>>,
    dim: usize,
) -> Result<(), Error> {
    let count = rows.offsets.len() - 1;
    assert_eq!(nodes.len(), count * dim, "nodes");
    assert_eq!(states.len(), rows.len() * dim, "rows");
    assert!(index.is_none_or(|i| i.len() == rows.len()), "index");
    let args = SumNodesArgs {
        to: nodes.at,
        from: states.at,
        offsets: rows.offsets.at,
        index: address(index),
        nodes: count as u32,
        d: dim as u32,
    };
    let name = format!("sum_nodes_{}", S::TAG);
    nodes.gpu().launch_rows(&name, count, dim, &args)
}

/// `values[at[j]] = by[j]`. No two values of `at` are the same.
///
/// # Errors
/// If the device reports one.
///
/// # Panics
/// If lengths do not match.
pub fn set_at(values: View<'_, u32>, at: View<'_, u32>, by: View<'_, u32>) -> Result<(), Error> {
    assert_eq!(at.len(), by.len(), "values");
    let args = SetAtArgs {
        values: values.at,
        at: at.at,
        by: by.at,
        count: at.len() as u32,
    };
    let grid = [at.len().div_ceil(256), 1, 1];
    values.gpu().launch("set_at", grid, [256, 1, 1], 0, &args)
}

/// `x[i] /= by[node[i]]`
///
/// # Errors
/// If the device reports one.
///
/// # Panics
/// If lengths do not match.
pub fn divide_rows<S: State>(
    x: View<'_, S>,
    by: View<'_, S::Acc>,
    node: View<'_, u32>,
    dim: usize,
) -> Result<(), Error> {
    assert_eq!(x.len(), node.len() * dim, "rows");
    let args = DivideRowsArgs {
        x: x.at,
        by: by.at,
        node: node.at,
        rows: node.len() as u32,
        d: dim as u32,
    };
    let name = format!("divide_rows_{}", S::TAG);
    x.gpu().launch_rows(&name, node.len(), dim, &args)
}

fn weigh_args<A: State>(
    x: View<'_, A>,
    weight: Option<View<'_, A>>,
    index: View<'_, u32>,
    out: View<'_, A>,
    dim: usize,
) -> WeighRowsArgs {
    assert_eq!(out.len(), index.len() * dim, "rows");
    assert!(weight.is_none_or(|w| w.len() == index.len()), "weights");
    WeighRowsArgs {
        x: x.at,
        weight: address(weight),
        out: out.at,
        index: index.at,
        rows: index.len() as u32,
        d: dim as u32,
    }
}

/// `out[j] = weight[j] x[index[j]]`
///
/// # Errors
/// If the device reports one.
///
/// # Panics
/// If lengths do not match.
pub fn weigh_rows<A: State<Acc = A>>(
    x: View<'_, A>,
    weight: Option<View<'_, A>>,
    index: View<'_, u32>,
    out: View<'_, A>,
    dim: usize,
) -> Result<(), Error> {
    let args = weigh_args(x, weight, index, out, dim);
    let name = format!("weigh_rows_{}", A::TAG);
    out.gpu().launch_rows(&name, index.len(), dim, &args)
}

/// Backward of [`weigh_rows`]: `dx[index[j]] += weight[j] dout[j]`, in order.
///
/// # Errors
/// If the device reports one.
///
/// # Panics
/// If lengths do not match.
pub fn weigh_rows_backward<A: State<Acc = A>>(
    dx: View<'_, A>,
    weight: Option<View<'_, A>>,
    index: View<'_, u32>,
    dout: View<'_, A>,
    dim: usize,
) -> Result<(), Error> {
    if index.is_empty() {
        return Ok(());
    }
    let args = weigh_args(dx, weight, index, dout, dim);
    let name = format!("unweigh_rows_{}", A::TAG);
    dx.gpu()
        .launch(&name, [dim.div_ceil(128), 1, 1], [128, 1, 1], 0, &args)
}

/// `x[i] += bias[i / per]`, rows of `dim` values; then ReLU if `relu`.
///
/// # Errors
/// If the device reports one.
///
/// # Panics
/// If lengths do not match.
pub fn bias_rows<A: State<Acc = A>>(
    x: View<'_, A>,
    bias: View<'_, A>,
    per: usize,
    relu: bool,
    dim: usize,
) -> Result<(), Error> {
    let rows = x.len() / dim.max(1);
    assert_eq!(bias.len(), rows.div_ceil(per.max(1)) * dim, "bias");
    let args = BiasRowsArgs {
        x: x.at,
        bias: bias.at,
        rows: rows as u32,
        d: dim as u32,
        per: per.max(1) as u32,
        relu: relu.into(),
    };
    let name = format!("bias_rows_{}", A::TAG);
    x.gpu().launch_rows(&name, rows, dim, &args)
}

/// What [`each`] does with values of `x` and `y`. The numbers are those of `gpu/rows.cuh`.
#[derive(Clone, Copy)]
enum EachOp {
    Add = 0,
    ReluBackward = 1,
}

fn each<A: State<Acc = A>>(x: View<'_, A>, y: View<'_, A>, op: EachOp) -> Result<(), Error> {
    assert_eq!(x.len(), y.len(), "values");
    let args = EachArgs {
        x: x.at,
        y: y.at,
        count: x.len() as u64,
        op: op as u32,
    };
    let (grid, block) = flat(x.len());
    let name = format!("each_{}", A::TAG);
    x.gpu().launch(&name, grid, block, 0, &args)
}

/// `x += y`
///
/// # Errors
/// If the device reports one.
///
/// # Panics
/// If lengths do not match.
pub fn add<A: State<Acc = A>>(x: View<'_, A>, y: View<'_, A>) -> Result<(), Error> {
    each(x, y, EachOp::Add)
}

/// Backward of ReLU, from its output: `dx = 0` where `y` is not above zero.
///
/// # Errors
/// If the device reports one.
///
/// # Panics
/// If lengths do not match.
pub fn relu_backward<A: State<Acc = A>>(dx: View<'_, A>, y: View<'_, A>) -> Result<(), Error> {
    each(dx, y, EachOp::ReluBackward)
}

/// A conversion that there is a kernel for.
pub trait CastFrom<E>: Sized {
    /// The kernel's name; `None` if the types are the same, which needs only a copy.
    const KERNEL: Option<&'static str>;
}

impl CastFrom<f32> for f32 {
    const KERNEL: Option<&'static str> = None;
}

impl CastFrom<f64> for f64 {
    const KERNEL: Option<&'static str> = None;
}

impl CastFrom<f32> for bf16 {
    const KERNEL: Option<&'static str> = Some("cast_bf16_f32");
}

impl CastFrom<f64> for f32 {
    const KERNEL: Option<&'static str> = Some("cast_f32_f64");
}

/// Copies with a conversion, rounding to nearest.
///
/// # Errors
/// If the device reports one.
///
/// # Panics
/// If lengths do not match.
pub fn cast<To: State + CastFrom<From>, From: State>(
    to: View<'_, To>,
    from: View<'_, From>,
) -> Result<(), Error> {
    assert_eq!(to.len(), from.len(), "values");
    let Some(kernel) = <To as CastFrom<From>>::KERNEL else {
        let bytes = to.len() * size_of::<To>();
        return if bytes == 0 {
            Ok(())
        } else {
            to.gpu().shared.driver.copy(to.at, from.at, bytes)
        };
    };
    let args = CastArgs {
        to: to.at,
        from: from.at,
        count: to.len() as u64,
    };
    let (grid, block) = flat(to.len());
    to.gpu().launch(kernel, grid, block, 0, &args)
}

kernel_arguments! {
    struct GatherStatesArgs {
        x: u64,
        far: u64,
        out: u64,
        row_node: u64,
        row_query: u64,
        map: u64,
        rows: u32,
        d: u32,
        width: u32,
    }

    struct TakeStatesArgs {
        x: u64,
        far: u64,
        out: u64,
        index: u64,
        node: u64,
        rows: u32,
        d: u32,
        stride: u32,
        column: u32,
    }

    struct GiveStatesArgs {
        x: u64,
        dout: u64,
        row: u64,
        offsets: u64,
        positions: u64,
        rows: u32,
        d: u32,
        stride: u32,
        column: u32,
    }

    struct AddRowsArgs {
        to: u64,
        from: u64,
        to_at: u64,
        from_at: u64,
        rows: u32,
        d: u32,
    }

    struct FillRowsArgs {
        to: u64,
        from: u64,
        index: u64,
        rows: u32,
        d: u32,
    }

    struct SumNodesArgs {
        to: u64,
        from: u64,
        offsets: u64,
        index: u64,
        nodes: u32,
        d: u32,
    }

    struct SetAtArgs {
        values: u64,
        at: u64,
        by: u64,
        count: u32,
    }

    struct DivideRowsArgs {
        x: u64,
        by: u64,
        node: u64,
        rows: u32,
        d: u32,
    }

    struct WeighRowsArgs {
        x: u64,
        weight: u64,
        out: u64,
        index: u64,
        rows: u32,
        d: u32,
    }

    struct BiasRowsArgs {
        x: u64,
        bias: u64,
        rows: u32,
        d: u32,
        per: u32,
        relu: u32,
    }

    struct EachArgs {
        x: u64,
        y: u64,
        count: u64,
        op: u32,
    }

    struct CastArgs {
        to: u64,
        from: u64,
        count: u64,
    }
}
