//! The nearest of some vectors, found by comparing all pairs.
//!
//! Products of blocks in 32 bits say who comes into question, sums in 64 bits decide. So the result
//! does not depend on blocks, threads or the processor.

use gfm_pipe_api::{Context, OpResult};
use gfm_pipe_kernels::gemm::{Mat, gemm};
use rayon::prelude::*;

use super::points::{Points, dot};

/// Queries and keys whose products are computed at once: they fit into the L2 cache.
const QUERIES: usize = 256;
const KEYS: usize = 1024;
/// A query's candidates are thinned out when there are so many more than wanted.
const SPARE: usize = 64;

/// What is looked for.
#[derive(Debug, Clone, Copy)]
pub struct Wanted {
    /// How many of the nearest.
    pub most: usize,
    /// How near at least: a cosine.
    pub at_least: f64,
}

/// A key with its cosine.
pub type Near = (u32, f64);

/// Nearest first; of equally near ones the first row.
pub fn nearest_first(a: &Near, b: &Near) -> std::cmp::Ordering {
    b.1.total_cmp(&a.1).then(a.0.cmp(&b.0))
}

/// The nearest ones, however far they are.
pub fn any(most: usize) -> Wanted {
    let at_least = -2.0;
    Wanted { most, at_least }
}

/// Whether a key may be given for a query.
pub type Takes<'a> = dyn Fn(usize, u32) -> bool + Sync + 'a;

/// For each query the nearest keys.
///
/// # Errors
/// When the stage is cancelled.
pub fn nearest(
    ctx: &Context,
    queries: &Points,
    keys: &Points,
    wanted: Wanted,
) -> OpResult<Vec<Vec<Near>>> {
    nearest_of(ctx, queries, keys, wanted, &|_, _| true)
}

/// For each query the nearest of the keys that `takes` allows.
///
/// # Errors
/// When the stage is cancelled.
pub fn nearest_of(
    ctx: &Context,
    queries: &Points,
    keys: &Points,
    wanted: Wanted,
    takes: &Takes<'_>,
) -> OpResult<Vec<Vec<Near>>> {
    let blocks = queries.len().div_ceil(QUERIES);
    let of_block = |block: usize| {
        let from = block * QUERIES;
        let to = queries.len().min(from + QUERIES);
        block_of(ctx, queries, (from, to), keys, (wanted, takes))
    };
    let all: OpResult<Vec<Vec<Vec<Near>>>> = (0..blocks).into_par_iter().map(of_block).collect();
    Ok(all?.into_iter().flatten().collect())
}

fn block_of(
    ctx: &Context,
    queries: &Points,
    (from, to): (usize, usize),
    keys: &Points,
    (wanted, takes): (Wanted, &Takes<'_>),
) -> OpResult<Vec<Vec<Near>>> {
    let dim = queries.dim();
    let mut candidates: Vec<Candidates> =
        (from..to).map(|_| Candidates::new(dim, wanted)).collect();
    let mut products = vec![0.0_f32; (to - from) * KEYS];
    for first in (0..keys.len()).step_by(KEYS) {
        ctx.check_cancelled()?;
        let behind = keys.len().min(first + KEYS);
        let count = behind - first;
        let products = &mut products[..(to - from) * count];
        let a = Mat::new(queries.rows(from, to), to - from, dim);
        let b = Mat::new(keys.rows(first, behind), count, dim).t();
        gemm(products, a, b, false);
        let of_queries = candidates.iter_mut().zip(products.chunks_exact(count));
        for (query, (of_query, products)) in (from..).zip(of_queries) {
            of_query.add(first as u32, products, |key| takes(query, key));
        }
    }
    let exact = |(query, candidates): (usize, Candidates)| {
        let query = queries.row(query);
        candidates.finish(|key| dot(query, keys.row(key as usize)))
    };
    Ok((from..to).zip(candidates).map(exact).collect())
}

/// The keys that may be among the nearest of a query.
struct Candidates {
    wanted: Wanted,
    /// How far a product in 32 bits may be from the cosine.
    error: f32,
    /// Products below this do not come into question.
    floor: f32,
    /// Number of candidates at which they are thinned out.
    limit: usize,
    all: Vec<(u32, f32)>,
}

impl Candidates {
    fn new(dim: usize, wanted: Wanted) -> Self {
        // A sum of n products of unit vectors is off by less than n roundings.
        let error = dim as f32 * f32::EPSILON;
        Candidates {
            wanted,
            error,
            floor: wanted.at_least as f32 - error,
            limit: 2 * wanted.most + SPARE,
            all: Vec::new(),
        }
    }

    fn add(&mut self, first: u32, products: &[f32], takes: impl Fn(u32) -> bool) {
        for (key, product) in (first..).zip(products) {
            if *product >= self.floor && takes(key) {
                self.all.push((key, *product));
                if self.all.len() >= self.limit {
                    self.thin();
                }
            }
        }
    }

    /// Drops those that are surely not among the nearest.
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
        // Many may be equally near: then they are not looked through for each one more.
        self.limit = self.limit.max(2 * self.all.len());
    }

    fn finish(mut self, exact: impl Fn(u32) -> f64) -> Vec<Near> {
        self.thin();
        let mut out: Vec<Near> = self
            .all
            .iter()
            .map(|(key, _)| (*key, exact(*key)))
            .collect();
        out.retain(|(_, cosine)| *cosine >= self.wanted.at_least);
        out.sort_unstable_by(nearest_first);
        out.truncate(self.wanted.most);
        out
    }
}

#[cfg(test)]
pub mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use gfm_pipe_api::local;
    use proptest::prelude::*;

    /// Numbers between -1 and 1 that a seed gives.
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

    /// Vectors around as many centres, so near that their cosine is about 0.9.
    pub fn clustered(seed: u64, count: usize, centres: usize, dim: usize) -> Points {
        let mut number = numbers(seed);
        let centres: Vec<f64> = (0..centres * dim).map(|_| number()).collect();
        let mut out = Points::new(dim);
        for i in 0..count {
            let at = i % (centres.len() / dim) * dim;
            let centre = &centres[at..at + dim];
            let vector: Vec<f64> = centre.iter().map(|x| x + number() / 3.0).collect();
            out.push(vector.into_iter());
        }
        out
    }

    fn slow(queries: &Points, keys: &Points, wanted: Wanted, takes: &Takes<'_>) -> Vec<Vec<Near>> {
        let of = |query: usize| {
            let cosine = |key: u32| dot(queries.row(query), keys.row(key as usize));
            let taken = (0..keys.len() as u32).filter(|key| takes(query, *key));
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
            let got = nearest(&local::context(), &queries, &keys, wanted).unwrap();
            prop_assert_eq!(got, slow(&queries, &keys, wanted, &|_, _| true));
            let takes = |query: usize, key: u32| !(query + key as usize).is_multiple_of(3);
            let got = nearest_of(&local::context(), &queries, &keys, wanted, &takes).unwrap();
            prop_assert_eq!(got, slow(&queries, &keys, wanted, &takes));
        }
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
        for near in nearest(&local::context(), &points, &points, wanted).unwrap() {
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
        assert!(nearest(&ctx, &points, &points, wanted).is_err());
    }
}
