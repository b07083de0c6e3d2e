//! One layer on the CPU: aggregate, linear map, norm, activation, shortcut.

use candle_core::{Result, Tensor};
use gfm_pipe_kernels::gemm::{Mat, add_rows, gemm, gemm_tn};
use gfm_pipe_kernels::message::Message;
use gfm_pipe_kernels::norm::{Affine, Normed, norm_activate, norm_activate_backward};

use super::aggregate::{self, Rows, scales};
use super::{repeat, same};
use crate::graph::Graph;
use crate::ops::{
    AggregateFunc, Boundary, LayerGrads, LayerInput, LayerKind, LayerParams, LayerTape,
};
use crate::tensor::{Elem, View, tensor, view};

fn affine<'a, T: Elem>(
    norm: &'a Option<(View<'a, T>, View<'a, T>)>,
) -> Result<Option<Affine<'a, T>>> {
    Ok(match norm {
        Some((g, b)) => Some(Affine {
            gamma: g.slice()?,
            beta: b.slice()?,
        }),
        None => None,
    })
}

/// The linear map's columns as products of their own: the state's, then one block per function of the degree.
///
/// The reference orders PNA's 12 d columns by feature, then statistic, then function of the degree; features lie here by
/// statistic, and the functions of the degree multiply the product's rows instead of widening its input.
struct Columns<T> {
    /// `[out, width]` per function of the degree.
    blocks: Vec<Vec<T>>,
    width: usize,
}

/// Where block `s`'s column `k` stands among the weight's columns.
fn column(aggregate: AggregateFunc, d: usize, s: usize, k: usize) -> usize {
    match aggregate {
        AggregateFunc::Pna => d + (k % d) * 12 + (k / d) * 3 + s,
        _ => d + k,
    }
}

impl<T: Elem> Columns<T> {
    fn read(aggregate: AggregateFunc, weight: &[T], out: usize, d: usize) -> Self {
        let (count, width) = Self::sizes(aggregate, d);
        let full = weight.len() / out.max(1);
        let blocks = (0..count)
            .map(|s| {
                weight
                    .chunks_exact(full)
                    .flat_map(|row| (0..width).map(move |k| row[column(aggregate, d, s, k)]))
                    .collect()
            })
            .collect();
        Columns { blocks, width }
    }

    fn sizes(aggregate: AggregateFunc, d: usize) -> (usize, usize) {
        match aggregate {
            AggregateFunc::Pna => (3, 4 * d),
            _ => (1, d),
        }
    }
}

/// Rows times the function of their node's degree.
fn scaled<T: Elem>(rows: &[T], scale: &[T], width: usize) -> Vec<T> {
    let mut out = Vec::with_capacity(rows.len());
    for (row, s) in rows.chunks_exact(width).zip(scale.iter().cycle()) {
        out.extend(row.iter().map(|x| *x * *s));
    }
    out
}

pub(in crate::ops) fn layer<M: Message, T: Elem>(
    kind: LayerKind,
    input: &LayerInput<'_>,
    params: &LayerParams,
) -> Result<(Tensor, LayerTape)> {
    let LayerInput {
        graph,
        x,
        relations,
        boundary,
    } = *input;
    let ((b, n, d), (out, columns)) = (x.dims3()?, params.weight.dims2()?);
    same("nodes", n, graph.nodes())?;
    same("relations", relations.dims2()?.0, 2 * graph.relations())?;
    same(
        "width of the layer's input",
        (1 + kind.aggregate.width()) * d,
        columns,
    )?;
    same("width of the boundary", boundary.rows.dims2()?.1, d)?;
    // As in the reference: the shortcut applies only where shapes match.
    let shortcut = kind.shortcut && out == d;
    let m = b * n;

    let (xv, rv, sv) = (
        view::<T>(x)?,
        view::<T>(relations)?,
        view::<T>(&boundary.rows)?,
    );
    let (xs, rows) = (xv.slice()?, Rows::new(boundary, n, sv.slice()?));
    let features = aggregate::forward::<M, T>(kind, graph, &rows, xs, rv.slice()?, d);

    let (wv, bv) = (view::<T>(&params.weight)?, view::<T>(&params.bias)?);
    let w = wv.slice()?;
    let mut lin = repeat(bv.slice()?, m);
    gemm(
        &mut lin,
        Mat::new(xs, m, d),
        Mat::strided(w, out, d, columns).t(),
        true,
    );
    if kind.aggregate == AggregateFunc::Pna {
        let c = Columns::read(kind.aggregate, w, out, d);
        let input = Mat::new(&features, m, c.width);
        gemm(
            &mut lin,
            input,
            Mat::new(&c.blocks[0], out, c.width).t(),
            true,
        );
        for (block, scale) in c.blocks[1..].iter().zip(&scales::<T>(graph)) {
            let mut part = vec![T::zero(); m * out];
            gemm(&mut part, input, Mat::new(block, out, c.width).t(), false);
            for ((o, p), s) in lin
                .chunks_exact_mut(out)
                .zip(part.chunks_exact(out))
                .zip(scale.iter().cycle())
            {
                o.iter_mut().zip(p).for_each(|(o, p)| *o += *s * *p);
            }
        }
    } else {
        gemm(
            &mut lin,
            Mat::new(&features, m, d),
            Mat::strided(&w[d..], out, d, columns).t(),
            true,
        );
    }

    let norm = match &params.norm {
        Some((g, b)) => Some((view::<T>(g)?, view::<T>(b)?)),
        None => None,
    };
    let (mut y, mut rstd) = (vec![T::zero(); m * out], vec![T::zero(); m]);
    norm_activate(
        &mut y,
        &mut lin,
        &mut rstd,
        affine(&norm)?,
        kind.activation.kernel(),
        shortcut.then_some(xs),
        out,
    );
    let width = features.len() / m.max(1);
    let tape = LayerTape {
        x: x.clone(),
        relations: relations.clone(),
        features: tensor(features, (b, n, width))?,
        normed: tensor(lin, (b, n, out))?,
        rstd: tensor(rstd, m)?,
        shortcut,
    };
    Ok((tensor(y, (b, n, out))?, tape))
}

pub(in crate::ops) fn layer_backward<M: Message, T: Elem>(
    kind: LayerKind,
    graph: &Graph,
    tape: &LayerTape,
    boundary: &Boundary,
    params: &LayerParams,
    dout: &Tensor,
) -> Result<LayerGrads> {
    let ((b, n, d), (out, columns)) = (tape.x.dims3()?, params.weight.dims2()?);
    let m = b * n;
    let dov = view::<T>(dout)?;
    let dout = dov.slice()?;
    same("gradient of the output", dout.len(), m * out)?;

    let norm = match &params.norm {
        Some((g, b)) => Some((view::<T>(g)?, view::<T>(b)?)),
        None => None,
    };
    let mut dlin = vec![T::zero(); m * out];
    let (mut dg, mut db) = (vec![T::zero(); out], vec![T::zero(); out]);
    let (normed, rstd) = (view::<T>(&tape.normed)?, view::<T>(&tape.rstd)?);
    norm_activate_backward(
        &mut dlin,
        dout,
        Normed {
            values: normed.slice()?,
            rstd: rstd.slice()?,
        },
        affine(&norm)?,
        kind.activation.kernel(),
        Some((&mut dg, &mut db)),
        out,
    );

    let (xv, fv) = (view::<T>(&tape.x)?, view::<T>(&tape.features)?);
    let (xs, features) = (xv.slice()?, fv.slice()?);
    let dl = Mat::new(&dlin, m, out);
    let wv = view::<T>(&params.weight)?;
    let w = wv.slice()?;
    let mut dw = vec![T::zero(); out * columns];
    let mut wx = vec![T::zero(); out * d];
    gemm_tn(&mut wx, dl, Mat::new(xs, m, d));
    for (to, from) in dw.chunks_exact_mut(columns).zip(wx.chunks_exact(d)) {
        to[..d].copy_from_slice(from);
    }
    let mut dbias = vec![T::zero(); out];
    add_rows(&mut dbias, &dlin);

    let mut dx = if tape.shortcut {
        dout.to_vec()
    } else {
        vec![T::zero(); m * d]
    };
    gemm(&mut dx, dl, Mat::strided(w, out, d, columns), true);

    let mut dfeatures = vec![T::zero(); features.len()];
    let (blocks, width) = Columns::<T>::sizes(kind.aggregate, d);
    let input = Mat::new(features, m, width);
    let mut place = |block: &[T], s: usize| {
        for (to, from) in dw.chunks_exact_mut(columns).zip(block.chunks_exact(width)) {
            for (k, value) in from.iter().enumerate() {
                to[column(kind.aggregate, d, s, k)] = *value;
            }
        }
    };
    if blocks > 1 {
        let c = Columns::read(kind.aggregate, w, out, d);
        let scales = scales::<T>(graph);
        for (s, block) in c.blocks.iter().enumerate() {
            let rows = (s > 0).then(|| scaled(&dlin, &scales[s - 1], out));
            let dl = rows.as_ref().map_or(dl, |rows| Mat::new(rows, m, out));
            let mut wa = vec![T::zero(); out * width];
            gemm_tn(&mut wa, dl, input);
            place(&wa, s);
            gemm(&mut dfeatures, dl, Mat::new(block, out, width), s > 0);
        }
    } else {
        let mut wa = vec![T::zero(); out * width];
        gemm_tn(&mut wa, dl, input);
        place(&wa, 0);
        gemm(
            &mut dfeatures,
            dl,
            Mat::strided(&w[d..], out, d, columns),
            false,
        );
    }

    let (rv, sv) = (view::<T>(&tape.relations)?, view::<T>(&boundary.rows)?);
    let (rel, starts) = (rv.slice()?, sv.slice()?);
    let mut drel = vec![T::zero(); rel.len()];
    let mut drows = vec![T::zero(); starts.len()];
    aggregate::backward::<M, T>(
        kind,
        graph,
        &Rows::new(boundary, n, starts),
        features,
        dfeatures,
        (xs, rel),
        aggregate::Grads {
            x: &mut dx,
            w: &mut drel,
            boundary: &mut drows,
        },
        d,
    );

    Ok(LayerGrads {
        x: tensor(dx, (b, n, d))?,
        relations: tensor(drel, (rel.len() / d, d))?,
        boundary: tensor(drows, boundary.rows.shape())?,
        params: LayerParams {
            weight: tensor(dw, (out, columns))?,
            bias: tensor(dbias, out)?,
            norm: match &params.norm {
                Some(_) => Some((tensor(dg, out)?, tensor(db, out)?)),
                None => None,
            },
        },
    })
}
