//! Approximate nearest-neighbour search among very many vectors.
//!
//! Each vector is in the list of the nearest centre, and is compared with the vectors in the lists
//! of its [`PROBES`] nearest centres. So a neighbour may be missed, but rarely. The order of the
//! rows (by digest) does not depend on the input. So the first rows are a random sample, from which
//! the centres are computed, and equal sets give equal centres.

use gfm_pipe_api::points::Points;
use gfm_pipe_api::{Context, OpResult};
use rayon::prelude::*;

use crate::near::nearest::{Near, Wanted, any, nearest, nearest_first};

/// Number of lists in which a vector's neighbours are searched.
const PROBES: usize = 16;
/// Number of sample vectors per centre.
const SAMPLE: usize = 32;
/// Number of times that centres are moved to the middle of the sample vectors nearest to them.
const ROUNDS: usize = 4;
/// Number of lists that are searched at once: their results are in memory together.
const AT_ONCE: usize = 64;

/// Finds, for each vector, the nearest others, almost always.
///
/// # Errors
/// When the stage is cancelled.
pub fn approximate(ctx: &Context, points: &Points, wanted: Wanted) -> OpResult<Vec<Vec<Near>>> {
    let lists = Lists::new(ctx, points)?;
    let mut out: Vec<Vec<Near>> = vec![Vec::new(); points.len()];
    let total = lists.members.len() as u64;
    let waves = lists
        .members
        .chunks(AT_ONCE)
        .zip(lists.asking.chunks(AT_ONCE));
    for (wave, (members, asking)) in waves.enumerate() {
        ctx.progress((wave * AT_ONCE) as u64, total, "lists", "near names");
        let pairs = members.par_iter().zip(asking);
        let found: OpResult<Vec<_>> = pairs
            .map(|(members, asking)| {
                nearest(
                    &ctx.cancel,
                    &points.select(asking),
                    &points.select(members),
                    wanted,
                )
            })
            .collect();
        for ((members, asking), found) in members.iter().zip(asking).zip(found?) {
            for (query, near) in asking.iter().zip(found) {
                for (key, cosine) in near {
                    let key = members[key as usize];
                    // The search from one of the two need not find the other.
                    out[*query as usize].push((key, cosine));
                    out[key as usize].push((*query, cosine));
                }
            }
        }
        out.par_iter_mut().for_each(|near| {
            near.sort_unstable_by(nearest_first);
            near.dedup();
            near.truncate(wanted.most);
        });
    }
    ctx.progress(total, total, "lists", "near names");
    Ok(out)
}

/// Rows by their nearest centre.
struct Lists {
    /// Rows of each list, ascending.
    members: Vec<Vec<u32>>,
    /// Rows whose neighbours may be in each list, ascending.
    asking: Vec<Vec<u32>>,
}

impl Lists {
    fn new(ctx: &Context, points: &Points) -> OpResult<Lists> {
        let centres = centres(ctx, points)?;
        let mut lists = Lists {
            members: vec![Vec::new(); centres.len()],
            asking: vec![Vec::new(); centres.len()],
        };
        let probes = nearest(&ctx.cancel, points, &centres, any(PROBES))?;
        for (row, near) in (0..).zip(probes) {
            for (rank, (centre, _)) in near.into_iter().enumerate() {
                if rank == 0 {
                    lists.members[centre as usize].push(row);
                }
                lists.asking[centre as usize].push(row);
            }
        }
        Ok(lists)
    }
}

fn centres(ctx: &Context, points: &Points) -> OpResult<Points> {
    // With this number, comparing with centres takes about as long as comparing with the lists.
    let count = (4.0 * (points.len() as f64).sqrt()).ceil() as usize;
    let count = count.min(points.len());
    let sample = points.first(points.len().min(count * SAMPLE));
    let mut centres = points.first(count);
    for _ in 0..ROUNDS {
        let nearest = nearest(&ctx.cancel, &sample, &centres, any(1))?;
        centres = moved(&centres, &sample, &nearest);
    }
    Ok(centres)
}

/// Moves centres to the middle of the vectors nearest to them.
fn moved(centres: &Points, sample: &Points, nearest: &[Vec<Near>]) -> Points {
    let dim = centres.dim();
    let mut sums = vec![0.0_f64; centres.len() * dim];
    for (row, near) in nearest.iter().enumerate() {
        for (centre, _) in near {
            let sum = &mut sums[*centre as usize * dim..][..dim];
            for (sum, x) in sum.iter_mut().zip(sample.row(row)) {
                *sum += f64::from(*x);
            }
        }
    }
    let mut out = Points::new(dim);
    for (centre, sum) in sums.chunks_exact(dim).enumerate() {
        // A centre stays where it is if nothing is near, or if the near vectors cancel out.
        if sum.iter().map(|x| x * x).sum::<f64>() > 1e-12 {
            out.push(sum.iter().copied())
        } else {
            out.push(centres.row(centre).iter().map(|x| f64::from(*x)))
        }
    }
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::near::nearest::tests::clustered;
    use gfm_pipe_api::local;

    #[test]
    fn almost_all_neighbours_are_found() {
        let ctx = local::context();
        let wanted = Wanted {
            most: 8,
            at_least: 0.8,
        };
        for (seed, centres) in [(1, 30), (2, 400), (3, 2000)] {
            let points = clustered(seed, 6000, centres, 24);
            let exact = nearest(&ctx.cancel, &points, &points, wanted).unwrap();
            let got = approximate(&ctx, &points, wanted).unwrap();
            let (mut there, mut found) = (0, 0);
            for (exact, got) in exact.iter().zip(&got) {
                there += exact.len();
                found += exact.iter().filter(|near| got.contains(near)).count();
            }
            assert!(
                there > 6000 * 2,
                "{there} neighbours around {centres} centres"
            );
            let recall = found as f64 / there as f64;
            assert!(recall >= 0.95, "recall {recall} around {centres} centres");
        }
    }

    #[test]
    fn equal_vectors_and_few_vectors_are_no_trouble() {
        let ctx = local::context();
        let wanted = Wanted {
            most: 3,
            at_least: 0.9,
        };
        assert!(
            approximate(&ctx, &Points::new(4), wanted)
                .unwrap()
                .is_empty()
        );
        for count in [1, 2, 100] {
            let mut points = Points::new(2);
            for _ in 0..count {
                points.push([3.0, 4.0].into_iter());
            }
            let near = approximate(&ctx, &points, wanted).unwrap();
            assert!(near.iter().all(|n| n.len() == count.min(3)));
        }
        let mut opposite = Points::new(1);
        opposite.push([1.0].into_iter());
        opposite.push([-1.0].into_iter());
        let near = approximate(&ctx, &opposite, wanted).unwrap();
        assert_eq!(near, [vec![(0, 1.0)], vec![(1, 1.0)]]);
    }
}
