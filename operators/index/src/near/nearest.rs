//! Exact nearest-neighbour search, which compares all pairs.
//!
//! Products of blocks in 32 bits select candidates, and sums in 64 bits decide among them. So the
//! result does not depend on blocks, threads or the processor.

use std::ops::Range;

use gfm_pipe_api::points::{Points, dot};
use gfm_pipe_api::{Cancel, OpError, OpResult};
use gfm_pipe_kernels::gemm::{Mat, gemm};
use rayon::prelude::*;

/// Number of queries whose products are computed at once: the block fits into the L2 cache.
const QUERIES: usize = 256;
const KEYS: usize = 1024;
/// Number of keys that a thread compares with a block of queries, in blocks of [`KEYS`].
const PART: usize = 64 * KEYS;
/// Number of spare candidates that a query may have before they are thinned out.
const SPARE: usize = 64;

/// What is searched for.
#[derive(Debug, Clone, Copy)]
pub struct Wanted {
    /// Largest number of neighbours.
    pub most: usize,
    /// Least cosine of a neighbour.
    pub at_least: f64,
}

/// The row of a key, and its cosine.
pub type Near = (u32, f64);

/// Order of neighbours: nearest first, and by row if equally near.
pub fn nearest_first(a: &Near, b: &Near) -> std::cmp::Ordering {
    b.1.total_cmp(&a.1).then(a.0.cmp(&b.0))
}

/// The `most` nearest, however far they are.
pub fn any(most: usize) -> Wanted {
    let at_least = -2.0;
    Wanted { most, at_least }
}

/// Whether a key may be a neighbour of a query.
pub type Allowed<'a> = dyn Fn(usize, u32) -> bool + Sync + 'a;

/// Finds the nearest keys for each query.
///
/// # Errors
/// When the stage is cancelled.
pub fn nearest(
    cancel: &Cancel,
    queries: &Points,
    keys: &Points,
    wanted: Wanted,
) -> OpResult<Vec<Vec<Near>>> {
    nearest_of(cancel, queries, keys, wanted, &|_, _| true)
}

/// Finds, for each query, the nearest of the keys that `allowed` accepts.
///
/// # Errors
/// When the stage is cancelled.
pub fn nearest_of(
    cancel: &Cancel,
    queries: &Points,
    keys: &Points,
    wanted: Wanted,
    allowed: &Allowed<'_>,
) -> OpResult<Vec<Vec<Near>>> {
    let blocks = (0..queries.len()).step_by(QUERIES);
    let blocks: Vec<_> = blocks
        .map(|from| from..queries.len().min(from + QUERIES))
        .collect();
    let of_block = |rows: &Range<usize>| {
        // Threads share the keys too, for the sake of a single question.
        let parts = (0..keys.len()).into_par_iter().step_by(PART);
        let parts = parts.map(|first| {
            let part = first..keys.len().min(first + PART);
            block_of(cancel, queries, rows.clone(), (keys, part), wanted, allowed)
        });
        let mut all = vec![Vec::new(); rows.len()];
        for part in parts.collect::<OpResult<Vec<_>>>()? {
            for (all, near) in all.iter_mut().zip(part) {
                all.extend(near);
            }
        }
        for near in &mut all {
            near.sort_unstable_by(nearest_first);
            near.truncate(wanted.most);
        }
        Ok(all)
    };
    let all: OpResult<Vec<Vec<Vec<Near>>>> = blocks.par_iter().map(of_block).collect();
    Ok(all?.into_iter().flatten().collect())
}

/// [`nearest_of`] for the queries in `rows`, among the keys in `part`.
fn block_of(
    cancel: &Cancel,
    queries: &Points,
    rows: Range<usize>,
    (keys, part): (&Points, Range<usize>),
    wanted: Wanted,
    allowed: &Allowed<'_>,
) -> OpResult<Vec<Vec<Near>>> {
    let (from, to) = (rows.start, rows.end);
    let dim = queries.dim();
    let mut candidates: Vec<Candidates> =
        (from..to).map(|_| Candidates::new(dim, wanted)).collect();
    let mut products = vec![0.0_f32; (to - from) * KEYS];
    for first in part.clone().step_by(KEYS) {
        if cancel.is_cancelled() {
            return Err(OpError::Cancelled);
        }
        let behind = part.end.min(first + KEYS);
        let count = behind - first;
        let products = &mut products[..(to - from) * count];
        let a = Mat::new(queries.rows(from, to), to - from, dim);
        let b = Mat::new(keys.rows(first, behind), count, dim).t();
        gemm(products, a, b, false);
        let of_queries = candidates.iter_mut().zip(products.chunks_exact(count));
        for (query, (of_query, products)) in (from..).zip(of_queries) {
            of_query.add(first as u32, products, |key| allowed(query, key));
        }
    }
    let exact = |(query, candidates): (usize, Candidates)| {
        let query = queries.row(query);
        candidates.finish(|key| Ok(dot(query, keys.row(key as usize))))
    };
    (from..to).zip(candidates).map(exact).collect()
}

/// The keys that may be among the nearest to a query.
pub(super) struct Candidates {
    wanted: Wanted,
    /// Largest difference between a product and the cosine.
    error: f32,
    /// Keys with a product below this cannot be among the nearest.
    floor: f32,
    /// Number of candidates at which they are thinned out.
    limit: usize,
    all: Vec<(u32, f32)>,
}

impl Candidates {
    fn new(dim: usize, wanted: Wanted) -> Self {
        // The error of a sum of n products of unit vectors is less than n roundings.
        Self::with_error(dim as f32 * f32::EPSILON, wanted)
    }

    /// Takes the largest difference between a product and the cosine.
    pub fn with_error(error: f32, wanted: Wanted) -> Self {
        Candidates {
            wanted,
            error,
            floor: wanted.at_least as f32 - error,
            limit: 2 * wanted.most + SPARE,
            all: Vec::new(),
        }
    }

    pub fn add(&mut self, first: u32, products: &[f32], allowed: impl Fn(u32) -> bool) {
        for (key, product) in (first..).zip(products) {
            if *product >= self.floor && allowed(key) {
                self.all.push((key, *product));
                if self.all.len() >= self.limit {
                    self.thin();
                }
            }
        }
    }

    /// Drops keys that are certainly not among the nearest.
    fn thin(&mut self) {
        if self.all.len() > self.wanted.most
            && let Some(last) = self.wanted.most.checked_sub(1)
        {
            let (_, (_, of_last), _) = self
                .all
                .select_nth_unstable_by(last, |a, b| b.1.total_cmp(&a.1));
            self.floor = self.floor.max(*of_last - 2.0 * self.error);
            self.all.retain(|(_, product)| *product >= self.floor);
        }
        // Many keys may be equally near. The limit grows, so that they are not scanned again for
        // each further key.
        self.limit = self.limit.max(2 * self.all.len());
    }

    /// Those that may be among the nearest, in any order.
    pub fn thinned(mut self) -> Vec<(u32, f32)> {
        self.thin();
        self.all
    }

    pub fn finish(mut self, exact: impl Fn(u32) -> OpResult<f64>) -> OpResult<Vec<Near>> {
        self.thin();
        let all = self.all.iter();
        let all = all.map(|(key, _)| Ok((*key, exact(*key)?)));
        let mut out: Vec<Near> = all.collect::<OpResult<_>>()?;
        out.retain(|(_, cosine)| *cosine >= self.wanted.at_least);
        out.sort_unstable_by(nearest_first);
        out.truncate(self.wanted.most);
        Ok(out)
    }
}

#[cfg(test)]
pub mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use gfm_pipe_api::local;
    use gfm_pipe_testing::Random;
    use proptest::prelude::*;

    /// Numbers between -1 and 1 from a seed.
    pub fn numbers(seed: u64) -> impl FnMut() -> f64 {
        let mut at = 0_u64;
        move || {
            at += 1;
            let mut bytes = [0; 8];
            let hash = blake3::hash(&[seed.to_le_bytes(), at.to_le_bytes()].concat());
            bytes.copy_from_slice(&hash.as_bytes()[..8]);
            u64::from_le_bytes(bytes) as f64 / u64::MAX as f64 * 2.0 - 1.0
        }
    }

    /// Vectors around `centres` centres, so near that their cosine is about 0.9.
    pub fn clustered(seed: u64, count: usize, centres: usize, dim: usize) -> Points {
        let mut out = Points::new(dim);
        out.extend(&Random::new(seed).clustered(count, centres, dim));
        out
    }

    fn slow(
        queries: &Points,
        keys: &Points,
        wanted: Wanted,
        allowed: &Allowed<'_>,
    ) -> Vec<Vec<Near>> {
        let of = |query: usize| {
            let cosine = |key: u32| dot(queries.row(query), keys.row(key as usize));
            let taken = (0..keys.len() as u32).filter(|key| allowed(query, *key));
            let mut all: Vec<Near> = taken.map(|key| (key, cosine(key))).collect();
            all.sort_by(nearest_first);
            all.retain(|near| near.1 >= wanted.at_least);
            all.truncate(wanted.most);
            all
        };
        (0..queries.len()).map(of).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn the_nearest_are_those_of_a_sort(
            seed: u64, queries in 1_usize..300, keys in 0_usize..1500, centres in 1_usize..40,
            dim in 1_usize..20, most in 1_usize..12, at_least in -1.0..1.0,
        ) {
            let keys = clustered(seed, keys, centres, dim);
            // Some of them are keys.
            let queries = clustered(seed, queries, centres, dim);
            let wanted = Wanted { most, at_least };
            let got = nearest(&Cancel::default(), &queries, &keys, wanted).unwrap();
            prop_assert_eq!(got, slow(&queries, &keys, wanted, &|_, _| true));
            let allowed = |query: usize, key: u32| !(query + key as usize).is_multiple_of(3);
            let got = nearest_of(&Cancel::default(), &queries, &keys, wanted, &allowed).unwrap();
            prop_assert_eq!(got, slow(&queries, &keys, wanted, &allowed));
        }
    }

    #[test]
    fn keys_that_several_threads_search_give_the_same() {
        // The keys repeat, so that equally near ones are in different parts.
        let some = clustered(7, 1000, 30, 4);
        let mut keys = Points::new(4);
        for i in 0..PART + 1500 {
            keys.extend(some.row(i % 1000));
        }
        let queries = clustered(8, 3, 2, 4);
        let wanted = super::any(100);
        let got = nearest(&Cancel::default(), &queries, &keys, wanted).unwrap();
        assert_eq!(got, slow(&queries, &keys, wanted, &|_, _| true));
    }

    #[test]
    fn of_equally_near_ones_the_first_count() {
        let mut points = Points::new(3);
        for _ in 0..1000 {
            points.push([1.0, 2.0, 3.0].into_iter());
        }
        let wanted = Wanted {
            most: 3,
            at_least: 0.5,
        };
        for near in nearest(&Cancel::default(), &points, &points, wanted).unwrap() {
            let rows: Vec<u32> = near.iter().map(|n| n.0).collect();
            assert_eq!(rows, [0, 1, 2]);
        }
    }

    #[test]
    fn a_cancelled_stage_stops() {
        let ctx = local::context();
        ctx.cancel.cancel();
        let points = clustered(1, 10, 2, 3);
        let wanted = Wanted {
            most: 3,
            at_least: 0.5,
        };
        assert!(nearest(&ctx.cancel, &points, &points, wanted).is_err());
    }
}
