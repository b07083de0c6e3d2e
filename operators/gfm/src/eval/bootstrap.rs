//! How sure a mean over questions is, and whether two systems differ: bootstrap intervals and a paired test.
//!
//! Questions are what varies: intervals are over questions like these, not over trainings. All systems share the same resamples and
//! sign flips, so differences are paired. Each resample has a random stream of its own, and sums are taken in one order:
//! no number depends on the number of threads. docs/metrics.md says what the numbers mean.

use rand_chacha::rand_core::Rng;
use rayon::prelude::*;

use crate::model::rng;

/// Mass of an interval.
const LEVEL: f64 = 0.95;

/// Lower and upper end of a 95 % interval.
pub type Interval = (f64, f64);

/// Means of the columns of `rows`, one row a question.
pub fn means(rows: &[Vec<f64>]) -> Vec<f64> {
    let columns = rows.first().map_or(0, Vec::len);
    let mut sums = vec![0.0; columns];
    for row in rows {
        add(&mut sums, row);
    }
    for sum in &mut sums {
        *sum /= rows.len() as f64;
    }
    sums
}

fn add(sums: &mut [f64], row: &[f64]) {
    for (sum, x) in sums.iter_mut().zip(row) {
        *sum += x;
    }
}

/// 95 % percentile bootstrap intervals of the means of the columns of `rows` (Efron and Tibshirani 1993, chapter 13), from `resamples`
/// samples of as many questions, with replacement. `None` without resamples or with fewer than two questions: one question says
/// nothing about others.
pub fn intervals(
    rows: &[Vec<f64>],
    resamples: usize,
    (seed, purpose): (u64, &str),
) -> Option<Vec<Interval>> {
    let n = rows.len();
    if resamples == 0 || n < 2 {
        return None;
    }
    let columns = rows[0].len();
    let samples: Vec<Vec<f64>> = (0..resamples)
        .into_par_iter()
        .map(|r| {
            let mut rng = rng(seed, &format!("bootstrap {purpose} {r}"));
            let mut sums = vec![0.0; columns];
            for _ in 0..n {
                add(&mut sums, &rows[below(&mut rng, n)]);
            }
            sums.iter().map(|s| s / n as f64).collect()
        })
        .collect();
    let tail = (1.0 - LEVEL) / 2.0;
    let of = (0..columns).into_par_iter().map(|c| {
        let mut sorted: Vec<f64> = samples.iter().map(|s| s[c]).collect();
        sorted.sort_by(f64::total_cmp);
        (quantile(&sorted, tail), quantile(&sorted, 1.0 - tail))
    });
    Some(of.collect())
}

/// A number below `n`, by a 64-bit draw (its bias is below n / 2^64).
fn below(rng: &mut impl Rng, n: usize) -> usize {
    ((u128::from(rng.next_u64()) * n as u128) >> 64) as usize
}

/// Linear between the two nearest order statistics.
fn quantile(sorted: &[f64], p: f64) -> f64 {
    let at = p * (sorted.len() - 1) as f64;
    let (low, part) = (at.floor() as usize, at.fract());
    let high = (low + 1).min(sorted.len() - 1);
    sorted[low] + part * (sorted[high] - sorted[low])
}

/// Two-sided p-values of a paired randomisation test (sign flips of each question's difference: Fisher 1935; for retrieval,
/// Smucker, Allan and Carterette 2007), one a column of `differences`, one row a question. An estimate from `flips` random
/// flips, (1 + as extreme ones) / (1 + flips), so never 0.
pub fn sign_flip(
    differences: &[Vec<f64>],
    flips: usize,
    (seed, purpose): (u64, &str),
) -> Option<Vec<f64>> {
    if flips == 0 || differences.is_empty() {
        return None;
    }
    let columns = differences[0].len();
    let mut observed = vec![0.0; columns];
    differences.iter().for_each(|row| add(&mut observed, row));
    // Sums in another order differ in their last bits: an equal one must count as as extreme.
    let limit: Vec<f64> = observed.iter().map(|s| s.abs() - 1e-9).collect();
    let extreme: Vec<u64> = (0..flips)
        .into_par_iter()
        .map(|r| {
            let mut rng = rng(seed, &format!("flips {purpose} {r}"));
            let mut sums = vec![0.0; columns];
            let mut bits = 0;
            for (i, row) in differences.iter().enumerate() {
                if i % 64 == 0 {
                    bits = rng.next_u64();
                }
                let sign = if bits >> (i % 64) & 1 == 0 { 1.0 } else { -1.0 };
                for (sum, x) in sums.iter_mut().zip(row) {
                    *sum += sign * x;
                }
            }
            sums.iter()
                .zip(&limit)
                .map(|(s, l)| u64::from(s.abs() >= *l))
                .collect::<Vec<u64>>()
        })
        .reduce(
            || vec![0; columns],
            |mut a, b| {
                a.iter_mut().zip(b).for_each(|(x, y)| *x += y);
                a
            },
        );
    Some(
        extreme
            .iter()
            .map(|e| (1 + e) as f64 / (1 + flips) as f64)
            .collect(),
    )
}

/// p-values of a family of tests, raised so that the chance of one false alarm among them stays what a single one's is
/// (Holm 1979).
pub fn holm(p: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p.len()).collect();
    order.sort_by(|a, b| p[*a].total_cmp(&p[*b]));
    let mut out = vec![1.0; p.len()];
    let mut highest = 0.0f64;
    for (rank, i) in order.into_iter().enumerate() {
        highest = highest.max(p[i] * (p.len() - rank) as f64).min(1.0);
        out[i] = highest;
    }
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const NAMED: (u64, &str) = (1, "test");

    fn rows(values: &[f64]) -> Vec<Vec<f64>> {
        values.iter().map(|v| vec![*v]).collect()
    }

    #[test]
    fn intervals_agree_with_the_normal_one_where_that_holds() {
        // 400 questions, 300 of them right: the mean .75 has standard error sqrt(.75 * .25 / 400) = .02165.
        let values: Vec<f64> = (0..400).map(|i| f64::from(u8::from(i % 4 > 0))).collect();
        let (low, high) = intervals(&rows(&values), 4000, NAMED).unwrap()[0];
        assert!((low - (0.75 - 1.96 * 0.02165)).abs() < 0.004, "{low}");
        assert!((high - (0.75 + 1.96 * 0.02165)).abs() < 0.004, "{high}");
    }

    #[test]
    fn nothing_is_said_from_nothing() {
        assert_eq!(intervals(&rows(&[1.0]), 100, NAMED), None);
        assert_eq!(intervals(&rows(&[1.0, 0.0]), 0, NAMED), None);
        assert_eq!(intervals(&[], 100, NAMED), None);
        assert_eq!(
            intervals(&rows(&[0.5; 9]), 100, NAMED).unwrap(),
            [(0.5, 0.5)]
        );
        assert!(means(&[]).is_empty());
        assert_eq!(sign_flip(&[], 100, NAMED), None);
    }

    #[test]
    fn the_same_seed_gives_the_same_numbers_on_any_number_of_threads() {
        let values: Vec<Vec<f64>> = (0..50)
            .map(|i| vec![f64::from(i % 7), f64::from(i % 3)])
            .collect();
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
            pool.build().unwrap().install(|| {
                (
                    intervals(&values, 200, NAMED),
                    sign_flip(&values, 200, NAMED),
                )
            })
        };
        assert_eq!(run(1), run(3));
        assert_ne!(
            intervals(&values, 200, NAMED),
            intervals(&values, 200, (2, "test"))
        );
    }

    #[test]
    fn flips_agree_with_all_of_them() {
        // Exact: of the 2^5 sign patterns of 3, 1, 1, 2, 1 those with |sum| >= 6 are 8, 6 and their negatives: sum 8 in one way,
        // sum 6 by flipping one of the three ones, so 2 * 4 / 32.
        let p = sign_flip(&rows(&[3.0, 1.0, 1.0, 2.0, -1.0]), 20_000, NAMED).unwrap()[0];
        assert!((p - 0.25).abs() < 0.01, "{p}");
        // No difference anywhere is no evidence.
        assert_eq!(sign_flip(&rows(&[0.0; 4]), 100, NAMED).unwrap(), [1.0]);
        // Forty questions all better: as rare as can be seen.
        assert_eq!(sign_flip(&rows(&[1.0; 40]), 999, NAMED).unwrap(), [0.001]);
    }

    #[test]
    fn a_true_null_is_rejected_as_often_as_promised() {
        // 300 experiments of 30 questions whose differences are symmetric around 0.
        let mut rng = rng(5, "null");
        let mut low = 0;
        for i in 0..300 {
            let values: Vec<f64> = (0..30)
                .map(|_| (rng.next_u64() >> 11) as f64 / (1u64 << 53) as f64 - 0.5)
                .collect();
            let p = sign_flip(&rows(&values), 400, (i, "null")).unwrap()[0];
            low += usize::from(p <= 0.1);
        }
        // 30 expected, standard deviation 5.2.
        assert!((12..=48).contains(&low), "{low}");
    }

    #[test]
    fn holm_by_hand() {
        let close = |got: Vec<f64>, want: &[f64]| {
            for (g, w) in got.iter().zip(want) {
                assert!((g - w).abs() < 1e-12, "{got:?}");
            }
        };
        close(holm(&[0.04, 0.01, 0.03]), &[0.06, 0.03, 0.06]);
        close(holm(&[0.9, 0.6]), &[1.0, 1.0]);
        assert!(holm(&[]).is_empty());
    }
}
