//! The boundary: the states that queries start with. Every layer adds them as one more message.

use candle_core::{Result, Tensor};

use super::same;
use crate::tensor::{Elem, by_dtype, tensor, view};

/// Where each query of a batch starts: distinct nodes with weights. The first state of a node is
/// weight * query.
pub type Seeds = Vec<Vec<(u32, f64)>>;

/// Boundary states. Those that are not mentioned are zero.
#[derive(Debug, Clone)]
pub struct Boundary {
    /// Per query, the distinct nodes that have a boundary state.
    pub nodes: Vec<Vec<u32>>,
    /// The states of all these nodes, in that order, `[K, d]`.
    pub rows: Tensor,
    /// The boundary states of all other nodes, the same for every query, `[N, d]`; `None` if these
    /// are zero.
    pub of_nodes: Option<Tensor>,
}

impl Boundary {
    /// A boundary without nodes, for states of this width and type.
    ///
    /// # Errors
    /// When candle cannot create the tensor.
    pub fn none<T: Elem>(dim: usize) -> Result<Self> {
        Ok(Boundary {
            nodes: Vec::new(),
            rows: tensor(Vec::<T>::new(), (0, dim))?,
            of_nodes: None,
        })
    }
}

/// The boundary of queries `[B, d]`: query times weight at each of its seeds.
///
/// # Errors
/// When shapes or types do not fit.
pub fn boundary(query: &Tensor, seeds: &Seeds) -> Result<Boundary> {
    fn of<T: Elem>(query: &Tensor, seeds: &Seeds) -> Result<Tensor> {
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
        tensor(rows, (seeds.iter().map(Vec::len).sum::<usize>(), d))
    }
    let nodes = seeds.iter().map(|row| row.iter().map(|s| s.0).collect());
    Ok(Boundary {
        nodes: nodes.collect(),
        rows: by_dtype!(query.dtype(), T => of::<T>(query, seeds))?,
        of_nodes: None,
    })
}

/// Backward of [`boundary`]: the gradient of the queries, `[B, d]`, from the gradient of the rows,
/// `[K, d]`.
///
/// # Errors
/// See [`boundary`].
pub fn boundary_backward(drows: &Tensor, seeds: &Seeds) -> Result<Tensor> {
    fn of<T: Elem>(drows: &Tensor, seeds: &Seeds) -> Result<Tensor> {
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
    by_dtype!(drows.dtype(), T => of::<T>(drows, seeds))
}
