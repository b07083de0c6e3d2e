//! The scoring head with two linear maps over [`Rows`]:
//! `score(v, q) = w2 · relu(p(v, q) + share(q)) + b2` for every node and query.
//!
//! `p` is the first map's share of the states, one row for each state; `share` is the query's, with
//! the bias. The values between the maps are never stored: the backward pass computes them again,
//! and overwrites `p` with its gradient.

use std::ops::Range;

use rayon::prelude::*;

use crate::Real;
use crate::csr::row;
use crate::rows::{NONE, Rows, cut};
use crate::simd::vectorised;

/// Tasks of a pass.
const TASKS: usize = 32;

/// The input of both passes.
#[derive(Clone, Copy)]
pub struct Head<'a, T> {
    /// Rows of the states.
    pub rows: &'a Rows,
    /// `queries x width`.
    pub share: &'a [T],
    /// `width`.
    pub w2: &'a [T],
    /// Of the second map.
    pub b2: T,
}

/// Gradients, each added to what is there.
pub struct Grads<'a, T> {
    /// Of `share`.
    pub share: &'a mut [T],
    /// Of `w2`.
    pub w2: &'a mut [T],
    /// Of `b2`.
    pub b2: &'a mut T,
}

impl<T: Real> Head<'_, T> {
    fn tasks(&self) -> Vec<Range<usize>> {
        self.rows.tasks(TASKS, |_| 1)
    }

    fn check(&self, p: usize, scores: usize) {
        let (width, queries) = (self.w2.len(), self.rows.queries());
        assert_eq!(p, self.rows.len() * width, "states");
        assert_eq!(self.share.len(), queries * width, "queries");
        assert_eq!(scores, self.rows.nodes() * queries, "scores");
    }
}

/// Scores, `nodes x queries`, of `p`, `rows.len() x width`; `far` is the same of the nodes without
/// a row, `nodes x width`, zero where there is none.
///
/// # Panics
/// When lengths do not fit.
pub fn scores<T: Real>(head: &Head<'_, T>, p: &[T], far: Option<&[T]>, out: &mut [T]) {
    head.check(p.len(), out.len());
    let fits = |far: &[T]| far.len() == head.rows.nodes() * head.w2.len();
    assert!(far.is_none_or(fits), "states of nodes without a row");
    if out.is_empty() {
        return;
    }
    let (width, queries) = (head.w2.len(), head.rows.queries());
    let tasks = head.tasks();
    let pieces = cut(out, tasks.iter().map(|t| t.end * queries));
    let zeros = vec![T::zero(); width];
    tasks.into_par_iter().zip(pieces).for_each(|(nodes, out)| {
        vectorised(
            #[inline(always)]
            || {
                for (v, out) in nodes.clone().zip(out.chunks_exact_mut(queries)) {
                    for (q, out) in out.iter_mut().enumerate() {
                        let p = match head.rows.find(v, q) {
                            NONE => far.map_or(&zeros[..], |far| row(far, v, width)),
                            at => row(p, at as usize, width),
                        };
                        *out = head.b2 + dot_relu(p, row(head.share, q, width), head.w2);
                    }
                }
            },
        );
    });
}

/// `w · relu(a + b)` with eight running sums; their order is part of the result.
#[inline(always)]
fn dot_relu<T: Real>(a: &[T], b: &[T], w: &[T]) -> T {
    let term = |a: T, b: T, w: T| {
        let h = a + b;
        // A NaN passes through.
        if h <= T::zero() { T::zero() } else { h * w }
    };
    let mut sums = [T::zero(); 8];
    let n = a.len() / 8 * 8;
    for ((a, b), w) in a[..n]
        .chunks_exact(8)
        .zip(b[..n].chunks_exact(8))
        .zip(w[..n].chunks_exact(8))
    {
        for i in 0..8 {
            sums[i] += term(a[i], b[i], w[i]);
        }
    }
    let rest: T = (n..a.len()).map(|i| term(a[i], b[i], w[i])).sum();
    sums.iter().copied().sum::<T>() + rest
}

struct Partial<T> {
    share: Vec<T>,
    w2: Vec<T>,
    b2: T,
}

/// Backward of [`scores`], where every node without a row is zero, from their gradient,
/// `nodes x queries`: `p` becomes its own gradient.
///
/// # Panics
/// When lengths do not fit.
pub fn scores_backward<T: Real>(
    head: &Head<'_, T>,
    p: &mut [T],
    dscores: &[T],
    grads: Grads<'_, T>,
) {
    head.check(p.len(), dscores.len());
    let (width, queries) = (head.w2.len(), head.rows.queries());
    let tasks = head.tasks();
    let ends = tasks.iter().map(|t| head.rows.of_all(t).end * width);
    let pieces = cut(p, ends);
    let zeros = vec![T::zero(); width];
    let partial: Vec<Partial<T>> = tasks
        .into_par_iter()
        .zip(pieces)
        .map(|(nodes, p)| {
            let mut sums = Partial {
                share: vec![T::zero(); queries * width],
                w2: vec![T::zero(); width],
                b2: T::zero(),
            };
            let start = head.rows.of_all(&nodes).start;
            // All rows of a node: several queries read them before they may be overwritten.
            let mut dp = vec![T::zero(); (queries + 1) * width];
            // The gradient of a state that is zero is not used.
            let mut nowhere = vec![T::zero(); width];
            vectorised(
                #[inline(always)]
                || {
                    for v in nodes.clone() {
                        let own = head.rows.of_all(&(v..v + 1));
                        let p = &mut p[(own.start - start) * width..(own.end - start) * width];
                        let dp = &mut dp[..p.len()];
                        dp.fill(T::zero());
                        for q in 0..queries {
                            let ds = dscores[v * queries + q];
                            if ds == T::zero() {
                                continue;
                            }
                            let (p, dp) = match head.rows.find(v, q) {
                                NONE => (&zeros[..], &mut nowhere[..]),
                                at => {
                                    let at = (at as usize - own.start) * width;
                                    (&p[at..][..width], &mut dp[at..][..width])
                                }
                            };
                            let share = row(head.share, q, width);
                            let dshare = &mut sums.share[q * width..][..width];
                            let (w2, dw2) = (&head.w2[..width], &mut sums.w2[..width]);
                            for i in 0..width {
                                let h = p[i] + share[i];
                                let (open, h) = if h <= T::zero() {
                                    (T::zero(), T::zero())
                                } else {
                                    (ds, h)
                                };
                                let dh = open * w2[i];
                                dp[i] += dh;
                                dshare[i] += dh;
                                dw2[i] += ds * h;
                            }
                            sums.b2 += ds;
                        }
                        p.copy_from_slice(dp);
                    }
                },
            );
            sums
        })
        .collect();
    for part in &partial {
        let pairs = [(&mut *grads.share, &part.share), (&mut *grads.w2, &part.w2)];
        for (to, from) in pairs {
            to.iter_mut().zip(from).for_each(|(o, p)| *o += *p);
        }
        *grads.b2 += part.b2;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gfm_pipe_testing::Random;
    use proptest::prelude::*;

    fn some(n: usize, seed: u64) -> Vec<f64> {
        Random::new(seed).signed(n)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]

        #[test]
        fn equals_the_obvious_loop(width in 1usize..20, nodes in 1usize..9, marks in proptest::collection::vec(any::<bool>(), 27), seed: u64) {
            let rows = Rows::new(nodes, 2, |v, q| marks[v * 3 + q]);
            let (p, share, w2) = (some(rows.len() * width, seed), some(2 * width, seed ^ 1), some(width, seed ^ 2));
            let ds = some(nodes * 2, seed ^ 3);
            let far = some(nodes * width, seed ^ 4);
            let head = Head { rows: &rows, share: &share, w2: &w2, b2: 0.3 };
            let (mut got, mut got_far) = (vec![f64::NAN; nodes * 2], vec![f64::NAN; nodes * 2]);
            scores(&head, &p, None, &mut got);
            scores(&head, &p, Some(&far), &mut got_far);
            let (mut dp, mut dshare, mut dw2, mut db2) = (p.clone(), vec![0.0; share.len()], vec![0.0; width], 0.0);
            scores_backward(&head, &mut dp, &ds, Grads { share: &mut dshare, w2: &mut dw2, b2: &mut db2 });
            let (mut wp, mut wshare, mut ww2) = (vec![0.0; p.len()], vec![0.0; share.len()], vec![0.0; width]);
            for v in 0..nodes {
                for q in 0..2 {
                    let (mut want, mut want_far, g) = (0.3, 0.3, ds[v * 2 + q]);
                    for i in 0..width {
                        let at = rows.find(v, q);
                        let (state, state_far) = match at {
                            NONE => (0.0, far[v * width + i]),
                            at => (p[at as usize * width + i], p[at as usize * width + i]),
                        };
                        want_far += (state_far + share[q * width + i]).max(0.0) * w2[i];
                        let h = state + share[q * width + i];
                        want += h.max(0.0) * w2[i];
                        if h > 0.0 {
                            if at != NONE {
                                wp[at as usize * width + i] += g * w2[i];
                            }
                            wshare[q * width + i] += g * w2[i];
                            ww2[i] += g * h;
                        }
                    }
                    prop_assert!((got[v * 2 + q] - want).abs() < 1e-10);
                    prop_assert!((got_far[v * 2 + q] - want_far).abs() < 1e-10);
                }
            }
            prop_assert!((db2 - ds.iter().sum::<f64>()).abs() < 1e-10);
            for (a, b) in [(&dp, &wp), (&dshare, &wshare), (&dw2, &ww2)] {
                for (a, b) in a.iter().zip(b) {
                    prop_assert!((a - b).abs() < 1e-10);
                }
            }
        }
    }

    #[test]
    fn does_not_depend_on_the_number_of_threads() {
        let rows = Rows::new(500, 3, |v, q| !(v + q).is_multiple_of(3));
        let (p, share, w2) = (some(rows.len() * 9, 1), some(27, 2), some(9, 3));
        let ds = some(1500, 4);
        let head = Head {
            rows: &rows,
            share: &share,
            w2: &w2,
            b2: 0.1,
        };
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
            pool.unwrap().install(|| {
                let mut out = vec![0.0; 1500];
                scores(&head, &p, None, &mut out);
                let (mut dp, mut dshare, mut dw2, mut db2) =
                    (p.clone(), vec![0.0; 27], vec![0.0; 9], 0.0);
                let grads = Grads {
                    share: &mut dshare,
                    w2: &mut dw2,
                    b2: &mut db2,
                };
                scores_backward(&head, &mut dp, &ds, grads);
                (out, dp, dshare, dw2, db2)
            })
        };
        assert_eq!(run(1), run(3));
    }
}
