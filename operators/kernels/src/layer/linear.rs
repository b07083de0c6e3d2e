//! The layer's linear map, as products of its own for the state and for the features, and its
//! backward pass.

use std::ops::Range;

use rayon::prelude::*;

use super::{Aggregate, Layer, PARTIAL_BYTES, Saved, TASKS, add, blocks};
use crate::Real;
use crate::activation::by_activation;
use crate::gemm::{Mat, product};
use crate::norm::backward as norm_backward;
use crate::rows::cut;
use crate::simd::vectorised;

/// Some of the linear map's columns.
pub(super) struct Map<'a, T> {
    /// Whether they multiply the state; else the features.
    pub of_state: bool,
    /// How many.
    pub width: usize,
    /// `out x width`, or its transpose.
    pub weight: Vec<T>,
    /// The rows of the product are multiplied by this function of their node.
    pub scale: Option<&'a [T]>,
    /// Place among the maps.
    index: usize,
}

impl<'a, T: Real> Layer<'a, T> {
    /// Columns of the weight.
    pub(super) fn columns(&self) -> usize {
        let degrees = match self.aggregate {
            Aggregate::Sum | Aggregate::Mean(_) | Aggregate::Max(_) | Aggregate::Min(_) => 1,
            Aggregate::Pna(_) => 3,
        };
        self.dim + degrees * self.width()
    }

    /// Where column `k` of a map stands among the weight's columns. The reference orders PNA's 12 d
    /// columns by feature, then statistic, then function of the degree; here features lie by
    /// statistic.
    fn column(&self, map: usize, k: usize) -> usize {
        let d = self.dim;
        match self.aggregate {
            _ if map == 0 => k,
            Aggregate::Sum | Aggregate::Mean(_) | Aggregate::Max(_) | Aggregate::Min(_) => d + k,
            Aggregate::Pna(_) => d + (k % d) * 12 + (k / d) * 3 + (map - 1),
        }
    }

    /// Where the columns of a map begin among the weight's, if they lie side by side.
    fn first_column(&self, map: usize) -> Option<usize> {
        match self.aggregate {
            _ if map == 0 => Some(0),
            Aggregate::Sum | Aggregate::Mean(_) | Aggregate::Max(_) | Aggregate::Min(_) => {
                Some(self.dim)
            }
            Aggregate::Pna(_) => None,
        }
    }

    /// The map of the state, and one of the features for each function of the degree, without their
    /// weights.
    fn empty_maps(&self) -> Vec<Map<'a, T>> {
        let scales = match self.aggregate {
            Aggregate::Sum | Aggregate::Mean(_) | Aggregate::Max(_) | Aggregate::Min(_) => {
                vec![None]
            }
            Aggregate::Pna(pna) => vec![None, Some(pna.scales[0]), Some(pna.scales[1])],
        };
        let of_features = scales.into_iter().map(|scale| (false, self.width(), scale));
        std::iter::once((true, self.dim, None))
            .chain(of_features)
            .enumerate()
            .map(|(index, (of_state, width, scale))| Map {
                of_state,
                width,
                weight: Vec::new(),
                scale,
                index,
            })
            .collect()
    }

    /// Weights `width x out`: products with them are faster than with the weight read across, and
    /// it is small.
    pub(super) fn transposed_maps(&self) -> Vec<Map<'a, T>> {
        let (n, columns) = (self.out, self.columns());
        let mut maps = self.empty_maps();
        for map in &mut maps {
            map.weight = vec![T::zero(); map.width * n];
            for (r, row) in self.weight.chunks_exact(columns).enumerate() {
                for k in 0..map.width {
                    map.weight[k * n + r] = row[self.column(map.index, k)];
                }
            }
        }
        maps
    }

    /// Weights `out x width`.
    pub(super) fn maps(&self) -> Vec<Map<'a, T>> {
        let columns = self.columns();
        let mut maps = self.empty_maps();
        for map in &mut maps {
            let (index, width) = (map.index, map.width);
            let rows = self.weight.chunks_exact(columns);
            let rows = rows.flat_map(|row| (0..width).map(move |k| row[self.column(index, k)]));
            map.weight = rows.collect();
        }
        maps
    }

    /// Multiplies the rows of some nodes, `width` values each, by a value for each node.
    pub(super) fn scale_rows(
        &self,
        nodes: Range<usize>,
        rows: &mut [T],
        scale: &[T],
        width: usize,
    ) {
        let first = self.to.of_all(&nodes).start;
        for v in nodes {
            for at in self.to.of(v) {
                let row = &mut rows[(at - first) * width..][..width];
                row.iter_mut().for_each(|x| *x *= scale[v]);
            }
        }
    }
}

/// Gradients of the linear map: `state` and `features` are written, the others added to.
pub(super) struct LinearGrads<'a, T> {
    pub state: &'a mut [T],
    pub features: &'a mut [T],
    pub weight: &'a mut [T],
    pub bias: &'a mut [T],
    pub affine: Option<(&'a mut [T], &'a mut [T])>,
}

/// Partial gradients of a task.
struct Partial<T> {
    /// `out x width` of each map.
    weights: Vec<Vec<T>>,
    bias: Vec<T>,
    gamma: Vec<T>,
    beta: Vec<T>,
}

/// From the output's gradient `dy` to that of what the linear map saw.
pub(super) fn backward<T: Real>(
    layer: &Layer<'_, T>,
    saved: Saved<'_, T>,
    dy: &[T],
    grads: &mut LinearGrads<'_, T>,
) {
    let (d, width) = (layer.dim, layer.width());
    let most = PARTIAL_BYTES / size_of_val(layer.weight).max(1);
    let most = most.clamp(4, TASKS);
    let tasks = layer
        .to
        .tasks(layer.worth(most), |v| layer.to.of(v).len() as u64);
    let ends = |width: usize| tasks.iter().map(move |t| layer.to.of_all(t).end * width);
    let maps = layer.maps();
    let pieces: Vec<_> = tasks
        .iter()
        .zip(cut(grads.state, ends(d)))
        .zip(cut(grads.features, ends(width)))
        .collect();
    let partial: Vec<Partial<T>> = pieces
        .into_par_iter()
        .map(|((nodes, dstate), dfeatures)| {
            task_backward(layer, &maps, saved, dy, nodes.clone(), dstate, dfeatures)
        })
        .collect();
    let columns = layer.columns();
    for p in &partial {
        for (map, part) in maps.iter().zip(&p.weights) {
            let rows = part.chunks_exact(map.width);
            for (to, from) in grads.weight.chunks_exact_mut(columns).zip(rows) {
                match layer.first_column(map.index) {
                    Some(first) => add(&mut to[first..first + map.width], from),
                    None => {
                        for (k, value) in from.iter().enumerate() {
                            to[layer.column(map.index, k)] += *value;
                        }
                    }
                }
            }
        }
        add(grads.bias, &p.bias);
        if let Some((gamma, beta)) = &mut grads.affine {
            add(gamma, &p.gamma);
            add(beta, &p.beta);
        }
    }
}

/// [`backward`] for the rows of some nodes.
fn task_backward<T: Real>(
    layer: &Layer<'_, T>,
    maps: &[Map<'_, T>],
    saved: Saved<'_, T>,
    dy: &[T],
    nodes: Range<usize>,
    dstate: &mut [T],
    dfeatures: &mut [T],
) -> Partial<T> {
    let (d, n, width) = (layer.dim, layer.out, layer.width());
    let zeros = |len: usize| vec![T::zero(); len];
    let mut sums = Partial {
        weights: maps.iter().map(|map| zeros(n * map.width)).collect(),
        bias: zeros(n),
        gamma: zeros(n),
        beta: zeros(n),
    };
    let first = layer.to.of_all(&nodes).start;
    let (mut dlin, mut states, mut scaled) = (Vec::new(), Vec::new(), Vec::new());
    for block in blocks(layer.to, nodes) {
        let rows = layer.to.of_all(&block);
        let count = rows.len();
        dlin.resize(count * n, T::zero());
        states.resize(count * d, T::zero());
        vectorised(
            #[inline(always)]
            || {
                let grads = (&mut sums.gamma[..], &mut sums.beta[..]);
                by_activation!(layer.activation, A => norm_backward::<A, T>(
                    &mut dlin,
                    &dy[rows.start * n..rows.end * n],
                    &saved.normed[rows.start * n..rows.end * n],
                    &saved.rstd[rows.clone()],
                    layer.affine,
                    grads,
                    n,
                ));
                for dlin in dlin.chunks_exact(n) {
                    add(&mut sums.bias, dlin);
                }
                layer.states(block.clone(), &mut states);
            },
        );
        let features = &saved.features[rows.start * width..rows.end * width];
        let at = rows.start - first..rows.end - first;
        for (map, dweight) in maps.iter().zip(&mut sums.weights) {
            let dl = match map.scale {
                None => &dlin,
                Some(scale) => {
                    scaled.clone_from(&dlin);
                    layer.scale_rows(block.clone(), &mut scaled, scale, n);
                    &scaled
                }
            };
            let dl = Mat::new(dl, count, n);
            let (seen, part) = if map.of_state {
                (&states[..], &mut dstate[at.start * d..at.end * d])
            } else {
                (features, &mut dfeatures[at.start * width..at.end * width])
            };
            product(dweight, dl.t(), Mat::new(seen, count, map.width), true);
            let weight = Mat::new(&map.weight, n, map.width);
            product(part, dl, weight, map.scale.is_some());
        }
    }
    sums
}
