//! The nearest of a table's vectors. Where these are coded, their cosines are those of the decoded
//! vectors. A few queries are compared with the codes, which selects candidates, and many with
//! decoded vectors, by products of matrices; both find the same. In a table with sketches, these
//! select candidates for any number of queries. A neighbour may be missed where its estimate is too
//! low by more than [`SketchQuery::error`].

use std::ops::Range;

use gfm_pipe_api::points::{Points, dot};
use gfm_pipe_api::vector_table::{Codes, Query, SketchQuery, VectorTable};
use gfm_pipe_api::{Cancel, OpError, OpResult};
use rayon::prelude::*;

use super::nearest::{Allowed, Candidates, Near, any, nearest_first, nearest_of};

/// Number of coded vectors that a thread compares with all queries before the next ones: they fit
/// into its cache.
const ROWS: usize = 4096;
/// Number of coded vectors that a thread compares at least.
const PART: usize = 16 * ROWS;
/// Number of queries from which on decoding vectors pays.
const MANY: usize = 8;
/// Number of candidates of sketches whose codes are compared first.
const COMPARED: usize = 1024;
/// All codes are compared where more than one row in so many is a candidate: that is faster then.
const SHARE: usize = 16;

/// Finds, for each query, the `most` nearest of the vectors that `allowed` accepts.
///
/// # Errors
/// When the stage is cancelled, or vectors on disk cannot be read.
pub fn nearest_in(
    cancel: &Cancel,
    queries: &Points,
    table: &VectorTable,
    most: usize,
    allowed: &Allowed<'_>,
) -> OpResult<Vec<Vec<Near>>> {
    match table {
        VectorTable::Exact(keys) => nearest_of(cancel, queries, keys, any(most), allowed),
        VectorTable::Coded(codes) if codes.has_sketches() => {
            let of = |q| nearest_by_sketches(cancel, (queries, q), codes, most, allowed);
            (0..queries.len()).map(of).collect()
        }
        VectorTable::Coded(codes) => {
            nearest_by_codes(cancel, queries, (codes, 0..codes.len()), most, allowed)
        }
    }
}

/// [`nearest_in`] for one of the queries, in a table with sketches.
///
/// # Errors
/// See [`nearest_in`].
pub fn nearest_by_sketches(
    cancel: &Cancel,
    (queries, number): (&Points, usize),
    codes: &Codes,
    most: usize,
    allowed: &Allowed<'_>,
) -> OpResult<Vec<Near>> {
    let query = queries.row(number);
    if most == 0 {
        return Ok(Vec::new());
    }
    let sketched = SketchQuery::new(query);
    let compare_all = || {
        let query = queries.select(&[number as u32]);
        let allowed = |_, row| allowed(number, row);
        let all = nearest_by_codes(cancel, &query, (codes, 0..codes.len()), most, &allowed)?;
        Ok(all.into_iter().next().unwrap_or_default())
    };
    // A zero vector is equally near to all.
    if sketched.error() == 0.0 {
        return compare_all();
    }
    let parts = (0..codes.len()).into_par_iter().step_by(PART);
    let parts = parts.map(|first| {
        let part = first..codes.len().min(first + PART);
        let mut candidates = Candidates::with_error(sketched.error() as f32, any(most));
        let mut estimates = Vec::with_capacity(ROWS);
        for first in part.clone().step_by(ROWS) {
            if cancel.is_cancelled() {
                return Err(OpError::Cancelled);
            }
            estimates.clear();
            codes.estimates(&sketched, first..part.end.min(first + ROWS), &mut estimates);
            candidates.add(first as u32, &estimates, |row| allowed(number, row));
        }
        Ok(candidates.thinned())
    });
    let parts = parts.collect::<OpResult<Vec<_>>>()?;
    let mut candidates: Vec<(u32, f32)> = parts.into_iter().flatten().collect();
    let order = |a: &(u32, f32), b: &(u32, f32)| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0));
    if most < candidates.len() {
        // Parts keep more than that, so it makes no difference where a row is.
        let (_, (_, of_last), _) = candidates.select_nth_unstable_by(most - 1, order);
        let floor = *of_last - 2.0 * sketched.error() as f32;
        candidates.retain(|(_, estimate)| *estimate >= floor);
    }
    if candidates.len() > COMPARED.max(codes.len() / SHARE) {
        return compare_all();
    }
    let compare = |some: &[(u32, f32)]| -> OpResult<Vec<Near>> {
        let some = some.par_iter();
        let cosines = some.map(|(row, _)| {
            if cancel.is_cancelled() {
                return Err(OpError::Cancelled);
            }
            let place = *row as usize;
            Ok((*row, dot(query, codes.decoded(place..place + 1)?.row(0))))
        });
        cosines.collect()
    };
    // The best of them say how near the others must be.
    let first = COMPARED.max(most);
    if first < candidates.len() {
        candidates.select_nth_unstable_by(first, order);
    }
    let (first, rest) = candidates.split_at(first.min(candidates.len()));
    let mut near = compare(first)?;
    near.sort_unstable_by(nearest_first);
    near.truncate(most);
    if let Some((_, last)) = near.last() {
        let floor = last - sketched.error();
        let rest = rest.iter().copied();
        let rest: Vec<(u32, f32)> = rest.filter(|(_, e)| f64::from(*e) >= floor).collect();
        near.extend(compare(&rest)?);
        near.sort_unstable_by(nearest_first);
        near.truncate(most);
    }
    Ok(near)
}

/// [`nearest_in`] among these rows, whose codes are all compared.
///
/// # Errors
/// See [`nearest_in`].
pub fn nearest_by_codes(
    cancel: &Cancel,
    queries: &Points,
    (codes, rows): (&Codes, Range<usize>),
    most: usize,
    allowed: &Allowed<'_>,
) -> OpResult<Vec<Vec<Near>>> {
    let parts = rows.clone().into_par_iter().step_by(PART);
    let parts = parts.map(|first| {
        let part = first..rows.end.min(first + PART);
        if queries.len() < MANY {
            by_codes(cancel, queries, (codes, part), most, allowed)
        } else {
            by_decoded(cancel, queries, (codes, part), most, allowed)
        }
    });
    // The order of parts makes no difference: neighbours have an order of their own.
    parts.try_reduce(
        || vec![Vec::new(); queries.len()],
        |mut all, part| {
            add(&mut all, part, most);
            Ok(all)
        },
    )
}

/// Adds neighbours to those of each query, and keeps the nearest.
pub fn add(all: &mut [Vec<Near>], more: Vec<Vec<Near>>, most: usize) {
    for (all, more) in all.iter_mut().zip(more) {
        all.extend(more);
        all.sort_unstable_by(nearest_first);
        all.truncate(most);
    }
}

/// [`nearest_in`] among the vectors in `part`, for a few queries.
fn by_codes(
    cancel: &Cancel,
    queries: &Points,
    (codes, part): (&Codes, Range<usize>),
    most: usize,
    allowed: &Allowed<'_>,
) -> OpResult<Vec<Vec<Near>>> {
    let queries: Vec<&[f32]> = (0..queries.len()).map(|q| queries.row(q)).collect();
    let coded: Vec<Query<'_>> = queries.iter().map(|query| Query::new(query)).collect();
    let mut candidates: Vec<Candidates> = coded
        .iter()
        .map(|query| Candidates::with_error(query.error() as f32, any(most)))
        .collect();
    let mut products = vec![Vec::new(); coded.len()];
    for first in part.clone().step_by(ROWS) {
        if cancel.is_cancelled() {
            return Err(OpError::Cancelled);
        }
        let rows = first..part.end.min(first + ROWS);
        products.iter_mut().for_each(Vec::clear);
        codes.dots(&coded, rows, |q, _, product| {
            products[q].push(product as f32)
        })?;
        for (i, (products, candidates)) in products.iter().zip(&mut candidates).enumerate() {
            candidates.add(first as u32, products, |row| allowed(i, row));
        }
    }
    let exact = |(query, candidates): (&[f32], Candidates)| {
        candidates.finish(|row| {
            let row = row as usize;
            Ok(dot(query, codes.decoded(row..row + 1)?.row(0)))
        })
    };
    queries.into_iter().zip(candidates).map(exact).collect()
}

/// [`nearest_in`] among the vectors in `part`, for many queries.
fn by_decoded(
    cancel: &Cancel,
    queries: &Points,
    (codes, part): (&Codes, Range<usize>),
    most: usize,
    allowed: &Allowed<'_>,
) -> OpResult<Vec<Vec<Near>>> {
    let mut all = vec![Vec::new(); queries.len()];
    for first in part.clone().step_by(ROWS) {
        let keys = codes.decoded(first..part.end.min(first + ROWS))?;
        let allowed = |query: usize, key: u32| allowed(query, first as u32 + key);
        let mut found = nearest_of(cancel, queries, &keys, any(most), &allowed)?;
        for near in found.iter_mut().flatten() {
            near.0 += first as u32;
        }
        add(&mut all, found, most);
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::near::nearest::tests::clustered;
    use gfm_pipe_api::vector_table::Keep;
    use proptest::prelude::*;

    fn coded(points: &Points) -> VectorTable {
        let mut table = VectorTable::new(Keep::Coded, points.dim());
        table.extend(points.rows(0, points.len()));
        table
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(12))]
        #[test]
        fn the_nearest_by_codes_are_those_of_a_sort(
            seed: u64, queries in 1_usize..2 * MANY, keys in 0_usize..9000, centres in 1_usize..40,
            most in 0_usize..40,
        ) {
            let table = coded(&clustered(seed, keys, centres, 8));
            let queries = clustered(seed, queries, centres, 8);
            let allowed = |query: usize, key: u32| !(query + key as usize).is_multiple_of(3);
            let got = nearest_in(&Cancel::default(), &queries, &table, most, &allowed).unwrap();
            let decoded = match &table {
                VectorTable::Coded(codes) => codes.decoded(0..keys).unwrap(),
                VectorTable::Exact(_) => panic!(),
            };
            for (q, got) in got.iter().enumerate() {
                let cosine = |row: u32| dot(queries.row(q), decoded.row(row as usize));
                let taken = (0..keys as u32).filter(|row| allowed(q, *row));
                let mut want: Vec<Near> = taken.map(|row| (row, cosine(row))).collect();
                want.sort_by(nearest_first);
                want.truncate(most);
                prop_assert_eq!(got, &want);
            }
        }
    }

    /// Of the nearest by their codes, nearly all are the nearest, and cosines are nearly right.
    #[test]
    fn codes_find_what_an_exact_search_finds() {
        let points = clustered(3, PART + 3000, 900, 256);
        let queries = clustered(4, 20, 900, 256);
        let (cancel, most) = (Cancel::default(), 20);
        let exact = VectorTable::Exact(points.clone());
        let want = nearest_in(&cancel, &queries, &exact, most, &|_, _| true).unwrap();
        let got = nearest_in(&cancel, &queries, &coded(&points), most, &|_, _| true).unwrap();
        let (mut found, mut worst) = (0, 0.0_f64);
        for (want, got) in want.iter().zip(&got) {
            found += want
                .iter()
                .filter(|(row, _)| got.iter().any(|g| g.0 == *row))
                .count();
            let pairs = want.iter().zip(got);
            worst = pairs.fold(worst, |worst, (a, b)| worst.max((a.1 - b.1).abs()));
        }
        assert!(found * 100 >= queries.len() * most * 97, "{found}");
        assert!(worst < 0.003, "{worst}");
    }

    /// Sketches choose what is compared, and what they find is what all codes find.
    #[test]
    fn sketches_find_what_codes_find() {
        let cancel = Cancel::default();
        for (dim, centres) in [(64, 900), (256, 40)] {
            let points = clustered(3, PART + 3000, centres, dim);
            let queries = clustered(4, MANY + 1, centres, dim);
            let mut queries = queries;
            // One that is like nothing, and so equally near to all.
            queries.extend(&vec![0.0; dim]);
            let table = coded(&points);
            let VectorTable::Coded(codes) = coded(&points) else {
                panic!()
            };
            let sketched = VectorTable::Coded(codes.sketched().unwrap());
            let allowed = |query: usize, key: u32| !(query + key as usize).is_multiple_of(3);
            for most in [0, 1, 20] {
                let near = |table| nearest_in(&cancel, &queries, table, most, &allowed).unwrap();
                assert_eq!(near(&sketched), near(&table), "{dim} {most}");
            }
        }
    }

    #[test]
    fn of_equally_near_ones_the_first_count() {
        let mut points = Points::new(3);
        for _ in 0..PART + 2000 {
            points.push([1.0, 2.0, 3.0].into_iter());
        }
        let queries = points.first(2);
        let table = coded(&points);
        for near in nearest_in(&Cancel::default(), &queries, &table, 3, &|_, _| true).unwrap() {
            let rows: Vec<u32> = near.iter().map(|n| n.0).collect();
            assert_eq!(rows, [0, 1, 2]);
        }
        let cancel = Cancel::default();
        cancel.cancel();
        assert!(nearest_in(&cancel, &queries, &table, 3, &|_, _| true).is_err());
        let mut equal = Points::new(64);
        (0..PART + 2000).for_each(|_| equal.push((0..64).map(f64::from)));
        let VectorTable::Coded(codes) = coded(&equal) else {
            panic!()
        };
        let table = VectorTable::Coded(codes.sketched().unwrap());
        let near = nearest_in(&Cancel::default(), &equal.first(1), &table, 3, &|_, _| true);
        let rows: Vec<u32> = near.unwrap()[0].iter().map(|n| n.0).collect();
        assert_eq!(rows, [0, 1, 2]);
        assert!(nearest_in(&cancel, &equal.first(1), &table, 3, &|_, _| true).is_err());
    }
}
