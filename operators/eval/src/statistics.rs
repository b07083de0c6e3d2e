//! How sure a mean over questions is, and whether two systems differ: bootstrap intervals, a paired
//! test, and a correction for several tests.
//!
//! Only the questions are resampled: intervals say how a mean varies over questions like these, not
//! over repeated trainings. All columns share the same resamples and sign flips, so differences are
//! paired. Each resample has its own random stream, and sums are split in a way that depends only
//! on sizes, so no number depends on the number of threads. docs/metrics.md explains what the
//! numbers mean.

use gfm_pipe_api::random::stream;
use gfm_pipe_kernels::gemm::{Mat, product};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::Rng;
use rayon::prelude::*;

/// Confidence level of the intervals.
const LEVEL: f64 = 0.95;
/// Resamples per matrix product: enough to use a processor well, few enough that the weights fit
/// its cache when there are many questions.
const AT_ONCE: usize = 64;

/// A 95 % interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Interval {
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

/// Selects the random streams of resamples and flips.
#[derive(Debug, Clone, Copy)]
pub struct Streams<'a> {
    /// The seed that the user set.
    pub seed: u64,
    /// What is resampled; different purposes draw different numbers.
    pub purpose: &'a str,
}

impl Streams<'_> {
    pub(crate) fn of(self, what: &str, draw: usize) -> ChaCha8Rng {
        stream(self.seed, &format!("{what} {} {draw}", self.purpose))
    }
}

/// Called between pieces of the work; an error stops it.
pub type Check<'a, E> = &'a (dyn Fn() -> Result<(), E> + Sync);

/// Values of several metrics (columns) for several questions (rows).
#[derive(Debug, Clone, Default)]
pub struct Values {
    columns: usize,
    rows: Vec<f64>,
}

impl Values {
    /// Takes one row per question, all of the same length.
    pub fn new(rows: impl IntoIterator<Item = Vec<f64>>) -> Self {
        let mut out = Values::default();
        for row in rows {
            out.columns = row.len();
            out.rows.extend(row);
        }
        out
    }

    /// Number of questions.
    pub fn len(&self) -> usize {
        match self.columns {
            0 => 0,
            c => self.rows.len() / c,
        }
    }

    /// Whether there is no value.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The rows, one per question.
    pub fn rows(&self) -> impl Iterator<Item = &[f64]> {
        self.rows.chunks_exact(self.columns.max(1))
    }

    /// Mean of every column.
    pub fn means(&self) -> Vec<f64> {
        let mut sums = vec![0.0; self.columns];
        for row in self.rows() {
            for (sum, x) in sums.iter_mut().zip(row) {
                *sum += x;
            }
        }
        for sum in &mut sums {
            *sum /= self.len() as f64;
        }
        sums
    }

    /// Sums of the columns under `draws` random weightings of the questions: one row per draw.
    /// `weigh` writes the weights of a draw.
    pub(crate) fn weighted<E: Send>(
        &self,
        draws: usize,
        weigh: impl Fn(usize, &mut [f64]) + Sync,
        check: Check<'_, E>,
    ) -> Result<Vec<Vec<f64>>, E> {
        let (n, columns) = (self.len(), self.columns);
        let parts: Result<Vec<Vec<f64>>, E> = (0..draws.div_ceil(AT_ONCE))
            .into_par_iter()
            .map(|part| {
                check()?;
                let first = part * AT_ONCE;
                let rows = AT_ONCE.min(draws - first);
                let mut weights = vec![0.0; rows * n];
                for (i, row) in weights.chunks_exact_mut(n).enumerate() {
                    weigh(first + i, row);
                }
                let mut sums = vec![0.0; rows * columns];
                product(
                    &mut sums,
                    Mat::new(&weights, rows, n),
                    Mat::new(&self.rows, n, columns),
                    false,
                );
                Ok(sums)
            })
            .collect();
        let split = |part: Vec<f64>| -> Vec<Vec<f64>> {
            part.chunks_exact(columns).map(<[f64]>::to_vec).collect()
        };
        Ok(parts?.into_iter().flat_map(split).collect())
    }
}

/// 95 % percentile bootstrap intervals of the means of the columns (Efron and Tibshirani 1993,
/// chapter 13), from `resamples` samples of as many questions, with replacement. `None` without
/// resamples or with fewer than two questions: one question says nothing about others.
///
/// # Errors
/// Those of `check`.
pub fn intervals<E: Send>(
    values: &Values,
    resamples: usize,
    streams: Streams<'_>,
    check: Check<'_, E>,
) -> Result<Option<Vec<Interval>>, E> {
    let n = values.len();
    if resamples == 0 || n < 2 {
        return Ok(None);
    }
    let weigh = |r: usize, weights: &mut [f64]| {
        let mut rng = streams.of("bootstrap", r);
        for _ in 0..n {
            weights[below(&mut rng, n)] += 1.0;
        }
    };
    let samples = values.weighted(resamples, weigh, check)?;
    let of = (0..values.columns).into_par_iter();
    let of = of.map(|c| percentiles(samples.iter().map(|s| s[c] / n as f64)));
    Ok(Some(of.collect()))
}

/// The interval that leaves out as many resamples below as above.
pub(crate) fn percentiles(resamples: impl Iterator<Item = f64>) -> Interval {
    let tail = (1.0 - LEVEL) / 2.0;
    let mut sorted: Vec<f64> = resamples.collect();
    sorted.sort_by(f64::total_cmp);
    Interval {
        low: quantile(&sorted, tail),
        high: quantile(&sorted, 1.0 - tail),
    }
}

/// A random number below `n` from one 64-bit draw (the bias is below n / 2^64).
pub(crate) fn below(rng: &mut impl Rng, n: usize) -> usize {
    ((u128::from(rng.next_u64()) * n as u128) >> 64) as usize
}

/// The quantile `p`, interpolated linearly between the two nearest order statistics.
fn quantile(sorted: &[f64], p: f64) -> f64 {
    let at = p * (sorted.len() - 1) as f64;
    let (low, part) = (at.floor() as usize, at.fract());
    let high = (low + 1).min(sorted.len() - 1);
    sorted[low] + part * (sorted[high] - sorted[low])
}

/// Two-sided p-values of a paired randomisation test (sign flips of each question's difference:
/// Fisher 1935; for retrieval, Smucker, Allan and Carterette 2007), one per column of
/// `differences`. Each is an estimate from `flips` random flips, (1 + those at least as extreme) /
/// (1 + flips), so it is never 0. `None` without flips or differences.
///
/// # Errors
/// Those of `check`.
pub fn sign_flip<E: Send>(
    differences: &Values,
    flips: usize,
    streams: Streams<'_>,
    check: Check<'_, E>,
) -> Result<Option<Vec<f64>>, E> {
    if flips == 0 || differences.is_empty() {
        return Ok(None);
    }
    let weigh = |r: usize, weights: &mut [f64]| {
        let mut rng = streams.of("flips", r);
        for signs in weights.chunks_mut(64) {
            let bits = rng.next_u64();
            for (i, sign) in signs.iter_mut().enumerate() {
                *sign = if bits >> i & 1 == 0 { 1.0 } else { -1.0 };
            }
        }
    };
    let sums = differences.weighted(flips, weigh, check)?;
    let n = differences.len() as f64;
    let p = differences
        .means()
        .into_iter()
        .enumerate()
        .map(|(c, mean)| {
            // Sums in another order differ in their last bits; an equal sum must count as extreme.
            let limit = (mean * n).abs() - 1e-9;
            let extreme = sums.iter().filter(|s| s[c].abs() >= limit).count();
            (1 + extreme) as f64 / (1 + flips) as f64
        });
    Ok(Some(p.collect()))
}

/// p-values of a family of tests, raised so that the chance of any false alarm among them is that
/// of a single test (Holm 1979).
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

    const NAMED: Streams<'static> = named(1, "test");

    const fn named(seed: u64, purpose: &str) -> Streams<'_> {
        Streams { seed, purpose }
    }

    fn rows(values: &[f64]) -> Values {
        Values::new(values.iter().map(|v| vec![*v]))
    }

    fn go_on() -> Result<(), ()> {
        Ok(())
    }

    fn intervals(values: &Values, resamples: usize, streams: Streams<'_>) -> Option<Vec<Interval>> {
        super::intervals(values, resamples, streams, &go_on).unwrap()
    }

    fn sign_flip(values: &Values, flips: usize, streams: Streams<'_>) -> Option<Vec<f64>> {
        super::sign_flip(values, flips, streams, &go_on).unwrap()
    }

    #[test]
    fn an_error_of_the_check_stops_the_work() {
        let stop = || Err("stopped");
        let values = rows(&[1.0, 0.0, 1.0]);
        assert_eq!(super::intervals(&values, 9, NAMED, &stop), Err("stopped"));
        assert_eq!(super::sign_flip(&values, 9, NAMED, &stop), Err("stopped"));
    }

    #[test]
    fn resamples_agree_with_drawing_rows_one_by_one() {
        // The same streams, added up row by row. 130 resamples are three products; the last is
        // shorter.
        let data: Vec<Vec<f64>> = (0..37)
            .map(|i| vec![f64::from(i % 5) / 4.0, f64::from(i * i % 7), 0.25])
            .collect();
        let got = intervals(&Values::new(data.clone()), 130, NAMED).unwrap();
        for (c, Interval { low, high }) in got.into_iter().enumerate() {
            let mut means: Vec<f64> = (0..130)
                .map(|r| {
                    let mut rng = NAMED.of("bootstrap", r);
                    let drawn = (0..37).map(|_| data[below(&mut rng, 37)][c]);
                    drawn.sum::<f64>() / 37.0
                })
                .collect();
            means.sort_by(f64::total_cmp);
            assert!((low - quantile(&means, 0.025)).abs() < 1e-12);
            assert!((high - quantile(&means, 0.975)).abs() < 1e-12);
        }
    }

    #[test]
    fn intervals_agree_with_the_normal_one_where_that_holds() {
        // 400 questions, 300 of them right: the mean .75 has standard error sqrt(.75 * .25 / 400) =
        // .02165.
        let values: Vec<f64> = (0..400).map(|i| f64::from(u8::from(i % 4 > 0))).collect();
        let Interval { low, high } = intervals(&rows(&values), 4000, NAMED).unwrap()[0];
        assert!((low - (0.75 - 1.96 * 0.02165)).abs() < 0.004, "{low}");
        assert!((high - (0.75 + 1.96 * 0.02165)).abs() < 0.004, "{high}");
    }

    #[test]
    fn too_few_questions_have_no_interval() {
        assert_eq!(intervals(&rows(&[1.0]), 100, NAMED), None);
        assert_eq!(intervals(&rows(&[1.0, 0.0]), 0, NAMED), None);
        assert_eq!(intervals(&Values::default(), 100, NAMED), None);
        assert_eq!(
            intervals(&rows(&[0.5; 9]), 100, NAMED).unwrap(),
            [Interval {
                low: 0.5,
                high: 0.5
            }]
        );
        assert!(Values::default().means().is_empty());
        assert_eq!(sign_flip(&Values::default(), 100, NAMED), None);
    }

    #[test]
    fn the_same_seed_gives_the_same_numbers_on_any_number_of_threads() {
        let values = Values::new((0..50).map(|i| vec![f64::from(i % 7), f64::from(i % 3)]));
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
            intervals(&values, 200, named(2, "test"))
        );
    }

    #[test]
    fn flips_agree_with_all_of_them() {
        // Exact: among the 2^5 sign patterns of 3, 1, 1, 2, 1, those with |sum| >= 6 have the sums
        // 8 and 6 and their negatives. There is one way to 8, and three to 6 (flipping one of the
        // ones): 2 * 4 / 32.
        let p = sign_flip(&rows(&[3.0, 1.0, 1.0, 2.0, -1.0]), 20_000, NAMED).unwrap()[0];
        assert!((p - 0.25).abs() < 0.01, "{p}");
        // Without any difference there is no evidence.
        assert_eq!(sign_flip(&rows(&[0.0; 4]), 100, NAMED).unwrap(), [1.0]);
        // Forty questions, all better: the smallest p-value that 999 flips can show.
        assert_eq!(sign_flip(&rows(&[1.0; 40]), 999, NAMED).unwrap(), [0.001]);
    }

    #[test]
    fn a_true_null_is_rejected_as_often_as_promised() {
        // 300 experiments of 30 questions whose differences are symmetric around 0.
        let mut rng = stream(5, "null");
        let mut low = 0;
        for i in 0..300 {
            let values: Vec<f64> = (0..30)
                .map(|_| (rng.next_u64() >> 11) as f64 / (1u64 << 53) as f64 - 0.5)
                .collect();
            let p = sign_flip(&rows(&values), 400, named(i, "null")).unwrap()[0];
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
