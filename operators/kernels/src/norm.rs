//! Layer normalisation (Ba et al., 2016), the activation and the shortcut of a layer, fused,
//! forward and backward.
//!
//! Rows are `dim` wide. The forward pass turns the linear output into the normalised values in
//! place, because these (and not the linear output) are what the backward pass needs.

use rayon::prelude::*;

use crate::Real;
use crate::activation::{Activate, Activation, by_activation};
use crate::simd::vectorised;

/// Number of rows that one task handles.
const TASK_ROWS: usize = 512;
/// Epsilon under the square root, as in PyTorch's default.
const EPS: f64 = 1e-5;

/// Scale and shift of the normalisation, `dim` values each.
#[derive(Debug, Clone, Copy)]
pub struct Affine<'a, T> {
    /// The scale.
    pub gamma: &'a [T],
    /// The shift.
    pub beta: &'a [T],
}

/// The results of the forward pass that the backward pass needs.
#[derive(Debug, Clone, Copy)]
pub struct Normed<'a, T> {
    /// The normalised values (without normalisation: the linear output).
    pub values: &'a [T],
    /// 1 / deviation of each row.
    pub rstd: &'a [T],
}

/// `out = activation(norm(lin)) + shortcut`; `lin` becomes the normalised values and `rstd` (one
/// per row) 1 / deviation.
///
/// Without `affine` there is no normalisation: `out = activation(lin) + shortcut`, and `rstd` is
/// not written.
///
/// # Panics
/// When lengths do not fit.
pub fn norm_activate<T: Real>(
    out: &mut [T],
    lin: &mut [T],
    rstd: &mut [T],
    affine: Option<Affine<'_, T>>,
    activation: Activation,
    shortcut: Option<&[T]>,
    dim: usize,
) {
    assert_eq!(out.len(), lin.len());
    assert_eq!(out.len(), rstd.len() * dim);
    assert!(shortcut.is_none_or(|s| s.len() == out.len()));
    out.par_chunks_mut(TASK_ROWS * dim)
        .zip(lin.par_chunks_mut(TASK_ROWS * dim))
        .zip(rstd.par_chunks_mut(TASK_ROWS))
        .enumerate()
        .for_each(|(task, ((out, lin), rstd))| {
            let shortcut = shortcut.map(|s| &s[task * TASK_ROWS * dim..][..out.len()]);
            vectorised(
                #[inline(always)]
                || by_activation!(activation, A => forward::<A, T>(out, lin, rstd, affine, shortcut, dim)),
            );
        });
}

#[inline(always)]
pub(crate) fn forward<A: Activate, T: Real>(
    out: &mut [T],
    lin: &mut [T],
    rstd: &mut [T],
    affine: Option<Affine<'_, T>>,
    shortcut: Option<&[T]>,
    dim: usize,
) {
    let n = T::of(dim as f64);
    for (row, rstd) in rstd.iter_mut().enumerate() {
        let at = row * dim;
        let (out, lin) = (&mut out[at..][..dim], &mut lin[at..][..dim]);
        if let Some(Affine { gamma, beta }) = affine {
            let mean = sum(lin) / n;
            for x in lin.iter_mut() {
                *x -= mean;
            }
            *rstd = T::one() / (dot(lin, lin) / n + T::of(EPS)).sqrt();
            for x in lin.iter_mut() {
                *x *= *rstd;
            }
            for (((o, x), g), b) in out.iter_mut().zip(lin.iter()).zip(gamma).zip(beta) {
                *o = A::value(*x * *g + *b);
            }
        } else {
            for (o, x) in out.iter_mut().zip(lin.iter()) {
                *o = A::value(*x);
            }
        }
        if let Some(s) = shortcut {
            for (o, s) in out.iter_mut().zip(&s[at..][..dim]) {
                *o += *s;
            }
        }
    }
}

/// Eight running sums, so that the compiler may use vector registers; the order is part of the
/// result.
#[inline(always)]
pub(crate) fn dot<T: Real>(a: &[T], b: &[T]) -> T {
    let mut acc = [T::zero(); 8];
    let (ca, cb) = (a.chunks_exact(8), b.chunks_exact(8));
    let rest: T = ca
        .remainder()
        .iter()
        .zip(cb.remainder())
        .map(|(x, y)| *x * *y)
        .sum();
    for (x, y) in ca.zip(cb) {
        for i in 0..8 {
            acc[i] += x[i] * y[i];
        }
    }
    acc.iter().copied().sum::<T>() + rest
}

#[inline(always)]
fn sum<T: Real>(a: &[T]) -> T {
    let mut acc = [T::zero(); 8];
    let ca = a.chunks_exact(8);
    let rest: T = ca.remainder().iter().copied().sum();
    for x in ca {
        for i in 0..8 {
            acc[i] += x[i];
        }
    }
    acc.iter().copied().sum::<T>() + rest
}

/// The backward pass of [`norm_activate`]: computes the gradient of the linear output, and adds to
/// `dgamma` and `dbeta`.
///
/// `dout` is the gradient of the output. (The caller handles the shortcut, whose gradient is `dout`
/// itself.)
///
/// # Panics
/// When lengths do not fit.
pub fn norm_activate_backward<T: Real>(
    dlin: &mut [T],
    dout: &[T],
    normed: Normed<'_, T>,
    affine: Option<Affine<'_, T>>,
    activation: Activation,
    grads: Option<(&mut [T], &mut [T])>,
    dim: usize,
) {
    let Normed {
        values: normed,
        rstd,
    } = normed;
    assert_eq!(dlin.len(), dout.len());
    assert_eq!(dlin.len(), normed.len());
    assert_eq!(dlin.len(), rstd.len() * dim);
    let partial: Vec<(Vec<T>, Vec<T>)> = dlin
        .par_chunks_mut(TASK_ROWS * dim)
        .enumerate()
        .map(|(task, dlin)| {
            let at = task * TASK_ROWS * dim;
            let (dout, normed) = (&dout[at..][..dlin.len()], &normed[at..][..dlin.len()]);
            let rstd = &rstd[task * TASK_ROWS..][..dlin.len() / dim];
            let (mut dg, mut db) = (vec![T::zero(); dim], vec![T::zero(); dim]);
            vectorised(
                #[inline(always)]
                || {
                    let grads = (&mut dg[..], &mut db[..]);
                    by_activation!(activation, A => backward::<A, T>(dlin, dout, normed, rstd, affine, grads, dim));
                },
            );
            (dg, db)
        })
        .collect();
    if let Some((dgamma, dbeta)) = grads {
        for (dg, db) in &partial {
            dgamma.iter_mut().zip(dg).for_each(|(o, p)| *o += *p);
            dbeta.iter_mut().zip(db).for_each(|(o, p)| *o += *p);
        }
    }
}

#[inline(always)]
pub(crate) fn backward<A: Activate, T: Real>(
    dlin: &mut [T],
    dout: &[T],
    normed: &[T],
    rstd: &[T],
    affine: Option<Affine<'_, T>>,
    (dg, db): (&mut [T], &mut [T]),
    dim: usize,
) {
    let n = T::of(dim as f64);
    for (row, rstd) in rstd.iter().enumerate() {
        let at = row * dim;
        let (dlin, dout, x) = (
            &mut dlin[at..][..dim],
            &dout[at..][..dim],
            &normed[at..][..dim],
        );
        let Some(Affine { gamma, beta }) = affine else {
            for ((d, g), x) in dlin.iter_mut().zip(dout).zip(x) {
                *d = A::back(*x, *g);
            }
            continue;
        };
        for i in 0..dim {
            let dy = A::back(x[i] * gamma[i] + beta[i], dout[i]);
            dg[i] += dy * x[i];
            db[i] += dy;
            dlin[i] = dy * gamma[i];
        }
        let (mean, slope) = (sum(dlin) / n, dot(dlin, x) / n);
        for (d, x) in dlin.iter_mut().zip(x) {
            *d = (*d - mean - *x * slope) * *rstd;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ALL: [Activation; 8] = [
        Activation::Relu,
        Activation::Gelu,
        Activation::Silu,
        Activation::Tanh,
        Activation::Sigmoid,
        Activation::Elu,
        Activation::LeakyRelu,
        Activation::Softplus,
    ];

    fn value(
        lin: &[f64],
        gamma: &[f64],
        beta: &[f64],
        (norm, activation): (bool, Activation),
        dout: &[f64],
        dim: usize,
    ) -> f64 {
        let (mut lin, mut out) = (lin.to_vec(), vec![0.0; lin.len()]);
        let mut rstd = vec![0.0; lin.len() / dim];
        let affine = norm.then_some(Affine { gamma, beta });
        norm_activate(&mut out, &mut lin, &mut rstd, affine, activation, None, dim);
        out.iter().zip(dout).map(|(a, b)| a * b).sum()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]
        #[test]
        fn gradients_equal_finite_differences(
            dim in 2usize..20, rows in 1usize..5, norm: bool, activation in proptest::sample::select(ALL.to_vec()),
            numbers in proptest::collection::vec(-1.0..1.0f64, 300),
        ) {
            let n = dim * rows;
            let (lin, rest) = numbers.split_at(n);
            let (dout, rest) = rest.split_at(n);
            let gamma: Vec<f64> = rest[..dim].iter().map(|x| x + 1.5).collect();
            let beta = &rest[dim..2 * dim];
            let affine = norm.then_some(Affine { gamma: &gamma, beta });
            let (mut normed, mut out, mut rstd) = (lin.to_vec(), vec![0.0; n], vec![0.0; rows]);
            norm_activate(&mut out, &mut normed, &mut rstd, affine, activation, None, dim);
            let (mut dlin, mut dg, mut db) = (vec![0.0; n], vec![0.0; dim], vec![0.0; dim]);
            norm_activate_backward(&mut dlin, dout, Normed { values: &normed, rstd: &rstd }, affine, activation, Some((&mut dg, &mut db)), dim);
            let h = 1e-6;
            // Near a kink of the ReLU the two sides differ: skip coordinates whose difference
            // quotients disagree.
            let quotient = |f: &dyn Fn(f64) -> f64| {
                let (up, mid, down) = (f(h), f(0.0), f(-h));
                ((up - mid) / h, (mid - down) / h)
            };
            for i in 0..n {
                let (a, b) = quotient(&|e| { let mut l = lin.to_vec(); l[i] += e; value(&l, &gamma, beta, (norm, activation), dout, dim) });
                if (a - b).abs() < 1e-3 {
                    prop_assert!((dlin[i] - (a + b) / 2.0).abs() < 1e-3, "dlin {} {}", dlin[i], a);
                }
            }
            if norm {
                for i in 0..dim {
                    let (a, b) = quotient(&|e| { let mut g = gamma.clone(); g[i] += e; value(lin, &g, beta, (norm, activation), dout, dim) });
                    if (a - b).abs() < 1e-4 {
                        prop_assert!((dg[i] - a).abs() < 1e-4);
                    }
                    let (a, b) = quotient(&|e| { let mut t = beta.to_vec(); t[i] += e; value(lin, &gamma, &t, (norm, activation), dout, dim) });
                    if (a - b).abs() < 1e-4 {
                        prop_assert!((db[i] - a).abs() < 1e-4);
                    }
                }
            }
        }
    }

    #[test]
    fn normalises_and_adds_the_shortcut() {
        let (gamma, beta) = ([1.0, 1.0], [0.0, 0.0]);
        let (mut lin, mut out, mut rstd) = (vec![1.0, 3.0], vec![0.0; 2], vec![0.0]);
        let affine = Some(Affine {
            gamma: &gamma,
            beta: &beta,
        });
        norm_activate(
            &mut out,
            &mut lin,
            &mut rstd,
            affine,
            Activation::Relu,
            Some(&[10.0, 20.0]),
            2,
        );
        // Mean 2, deviation 1: normalised to -1 and 1 (up to epsilon), then ReLU.
        let unit = 1.0 / (1.0f64 + 1e-5).sqrt();
        assert_eq!(out, [10.0, 20.0 + unit]);
    }
}
