//! CPU side of the operations: shapes are taken apart here, arithmetic is the kernels'.

mod aggregate;
mod head;
mod layer;

use candle_core::{Result, Tensor, bail};
use gfm_pipe_kernels::gemm::{Mat, add_rows, gemm, gemm_tn};

use self::aggregate::Rows;
pub(super) use self::aggregate::{messages, scales_of};
pub(crate) use self::head::First;
pub(super) use self::head::{head, head_backward};
pub(super) use self::layer::{layer, layer_backward};
use super::{Boundary, LinearGrads, Seeds};
use crate::tensor::{Elem, tensor, view};

fn same(what: &str, a: usize, b: usize) -> Result<()> {
    if a != b {
        bail!("{what}: {a} and {b} do not fit");
    }
    Ok(())
}

/// `rows` copies of a vector.
fn repeat<T: Elem>(row: &[T], rows: usize) -> Vec<T> {
    row.repeat(rows)
}

pub(super) fn linear<T: Elem>(x: &Tensor, weight: &Tensor, bias: &Tensor) -> Result<Tensor> {
    let ((m, k), (n, k2)) = (x.dims2()?, weight.dims2()?);
    same("width of input and weight", k, k2)?;
    same("bias", bias.elem_count(), n)?;
    let (xv, wv, bv) = (view::<T>(x)?, view::<T>(weight)?, view::<T>(bias)?);
    let mut y = repeat(bv.slice()?, m);
    gemm(
        &mut y,
        Mat::new(xv.slice()?, m, k),
        Mat::new(wv.slice()?, n, k).t(),
        true,
    );
    tensor(y, (m, n))
}

pub(super) fn linear_backward<T: Elem>(
    x: &Tensor,
    weight: &Tensor,
    dy: &Tensor,
) -> Result<LinearGrads> {
    let ((m, k), (n, k2), (m2, n2)) = (x.dims2()?, weight.dims2()?, dy.dims2()?);
    same("width of input and weight", k, k2)?;
    same("rows", m, m2)?;
    same("width of output", n, n2)?;
    let (xv, wv, dv) = (view::<T>(x)?, view::<T>(weight)?, view::<T>(dy)?);
    let (xs, ws, ds) = (xv.slice()?, wv.slice()?, dv.slice()?);
    let mut dx = vec![T::zero(); m * k];
    gemm(&mut dx, Mat::new(ds, m, n), Mat::new(ws, n, k), false);
    let mut dw = vec![T::zero(); n * k];
    gemm_tn(&mut dw, Mat::new(ds, m, n), Mat::new(xs, m, k));
    let mut db = vec![T::zero(); n];
    add_rows(&mut db, ds);
    Ok(LinearGrads {
        x: tensor(dx, (m, k))?,
        weight: tensor(dw, (n, k))?,
        bias: tensor(db, n)?,
    })
}

pub(super) fn boundary<T: Elem>(query: &Tensor, seeds: &Seeds) -> Result<Boundary> {
    let (b, d) = query.dims2()?;
    same("rows of seeds", seeds.len(), b)?;
    let qv = view::<T>(query)?;
    let q = qv.slice()?;
    let mut rows = Vec::new();
    for (b, seeds) in seeds.iter().enumerate() {
        for (_, weight) in seeds {
            let w = T::of(*weight);
            rows.extend(q[b * d..][..d].iter().map(|q| w * *q));
        }
    }
    let nodes = seeds.iter().map(|row| row.iter().map(|s| s.0).collect());
    Ok(Boundary {
        rows: tensor(rows, (seeds.iter().map(Vec::len).sum::<usize>(), d))?,
        nodes: nodes.collect(),
    })
}

pub(super) fn boundary_backward<T: Elem>(drows: &Tensor, seeds: &Seeds) -> Result<Tensor> {
    let d = drows.dims2()?.1;
    let gv = view::<T>(drows)?;
    let mut rows = gv.slice()?.chunks_exact(d);
    let mut dq = vec![T::zero(); seeds.len() * d];
    for (dq, seeds) in dq.chunks_exact_mut(d).zip(seeds) {
        for ((_, weight), row) in seeds.iter().zip(&mut rows) {
            let w = T::of(*weight);
            dq.iter_mut().zip(row).for_each(|(o, g)| *o += w * *g);
        }
    }
    tensor(dq, (seeds.len(), d))
}

pub(super) fn first_states<T: Elem>(boundary: &Boundary, nodes: usize) -> Result<Tensor> {
    let (b, d) = (boundary.nodes.len(), boundary.rows.dims2()?.1);
    let rows = view::<T>(&boundary.rows)?;
    let mut x = vec![T::zero(); b * nodes * d];
    Rows::new(boundary, nodes, rows.slice()?).add(&mut x, d);
    tensor(x, (b, nodes, d))
}

pub(super) fn first_states_backward<T: Elem>(dx: &Tensor, boundary: &Boundary) -> Result<Tensor> {
    let (_, n, d) = dx.dims3()?;
    let (g, rows) = (view::<T>(dx)?, view::<T>(&boundary.rows)?);
    let out = Rows::new(boundary, n, rows.slice()?).gather(g.slice()?, d);
    tensor(out, boundary.rows.shape())
}

pub(super) fn gather<T: Elem>(x: &Tensor, nodes: &[Vec<u32>]) -> Result<Tensor> {
    let (b, n, d) = x.dims3()?;
    same("rows of nodes", nodes.len(), b)?;
    let m = nodes.first().map_or(0, Vec::len);
    let xv = view::<T>(x)?;
    let xs = xv.slice()?;
    let mut out = Vec::with_capacity(b * m * d);
    for (row, nodes) in nodes.iter().enumerate() {
        same("nodes of a row", nodes.len(), m)?;
        for v in nodes {
            out.extend_from_slice(&xs[(row * n + *v as usize) * d..][..d]);
        }
    }
    tensor(out, (b, m, d))
}

pub(super) fn gather_backward<T: Elem>(
    dx: &Tensor,
    nodes: &[Vec<u32>],
    num_nodes: usize,
) -> Result<Tensor> {
    let (b, m, d) = dx.dims3()?;
    let dv = view::<T>(dx)?;
    let ds = dv.slice()?;
    let mut out = vec![T::zero(); b * num_nodes * d];
    for (row, nodes) in nodes.iter().enumerate() {
        for (i, v) in nodes.iter().enumerate() {
            let from = &ds[(row * m + i) * d..][..d];
            let to = &mut out[(row * num_nodes + *v as usize) * d..][..d];
            for (o, g) in to.iter_mut().zip(from) {
                *o += *g;
            }
        }
    }
    tensor(out, (b, num_nodes, d))
}
