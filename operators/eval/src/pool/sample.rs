//! The bootstrap of answers by several trainings: it draws questions and trainings again.
//!
//! In each resample, every data set draws as many of its questions as it has, with replacement.
//! Questions that several trainings answered also draw trainings: of m they draw m - 1 with
//! replacement, because m draws would show only (m - 1) / m of how much trainings differ (Rao and
//! Wu 1988). This draw is the same for all questions with as many answers, of all folds: a bad
//! training is bad for all its questions, and those of one seed may share their pre-training, so
//! what they have in common must not be evened out over questions or folds.
//!
//! Systems share all draws, so that differences between them are paired.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::statistics::{Check, Streams, Values, below};

/// The questions that a figure is about, by data set.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// Questions, those of a set side by side.
    pub questions: Vec<usize>,
    /// The places of each set's questions in the list; sets without questions are left out.
    sets: Vec<Range<usize>>,
}

impl Sample {
    /// A sample of these questions; `set_of` has the set of every question.
    pub fn new(mut questions: Vec<usize>, set_of: &[usize]) -> Self {
        questions.sort_by_key(|q| set_of[*q]);
        let mut sets: Vec<Range<usize>> = Vec::new();
        for (place, q) in questions.iter().enumerate() {
            match sets.last_mut() {
                Some(last) if set_of[questions[last.start]] == set_of[*q] => last.end = place + 1,
                _ => sets.push(place..place + 1),
            }
        }
        Sample { questions, sets }
    }

    /// Number of questions.
    pub fn len(&self) -> usize {
        self.questions.len()
    }

    /// Whether there are enough questions for intervals: one question says nothing about others.
    pub fn has_intervals(&self) -> bool {
        !self.sets.is_empty() && self.sets.iter().all(|set| set.len() > 1)
    }

    /// By place, what a question's value is multiplied by, so that the mean over questions is the
    /// mean over sets of their means. Exactly 1 where there is one set.
    pub fn weights(&self) -> Vec<f64> {
        let share = self.len() as f64 / self.sets.len() as f64;
        let of = self.sets.iter();
        of.flat_map(|set| vec![share / set.len() as f64; set.len()])
            .collect()
    }

    /// The mean of every column over sets, of values with one row per question.
    pub fn means(&self, values: &Values) -> Vec<f64> {
        self.weighted(values).means()
    }

    /// Values with one row per question, multiplied by [`Sample::weights`].
    pub fn weighted(&self, values: &Values) -> Values {
        let rows = values.rows().zip(self.weights());
        Values::new(rows.map(|(row, weight)| row.iter().map(|x| x * weight).collect()))
    }

    /// The means of resamples: one row per resample, one column per column of `values`. These have
    /// a row for each answer to each question, by training; `answers` is their number by place.
    ///
    /// # Errors
    /// Those of `check`.
    pub fn resampled<E: Send>(
        &self,
        values: &Values,
        answers: &[usize],
        resamples: usize,
        streams: Streams<'_>,
        check: Check<'_, E>,
    ) -> Result<Vec<Vec<f64>>, E> {
        let of_set = self.weights();
        let n = self.len() as f64;
        let weigh = |r: usize, weights: &mut [f64]| {
            let mut times = vec![0.0; self.len()];
            let mut rng = streams.of("bootstrap", r);
            for set in &self.sets {
                for _ in set.clone() {
                    times[set.start + below(&mut rng, set.len())] += 1.0;
                }
            }
            let mut drawn: BTreeMap<usize, Vec<f64>> = BTreeMap::new();
            let mut weights = weights.iter_mut();
            for (place, m) in answers.iter().enumerate() {
                let shares = drawn.entry(*m).or_insert_with(|| shares(*m, r, streams));
                for (share, weight) in shares.iter().zip(&mut weights) {
                    *weight = times[place] * of_set[place] * share;
                }
            }
        };
        let mut sums = values.weighted(resamples, weigh, check)?;
        for sum in sums.iter_mut().flatten() {
            *sum /= n;
        }
        Ok(sums)
    }
}

/// How much each of `m` trainings counts in a resample; in sum 1.
fn shares(m: usize, resample: usize, streams: Streams<'_>) -> Vec<f64> {
    if m < 2 {
        return vec![1.0; m];
    }
    let mut rng = streams.of(&format!("trainings {m}"), resample);
    let mut shares = vec![0.0; m];
    for _ in 1..m {
        shares[below(&mut rng, m)] += 1.0 / (m - 1) as f64;
    }
    shares
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;
    use crate::statistics::{Interval, intervals, percentiles};

    const STREAMS: Streams<'static> = Streams {
        seed: 7,
        purpose: "all",
    };

    fn go_on() -> Result<(), ()> {
        Ok(())
    }

    fn column(rows: &[f64]) -> Values {
        Values::new(rows.iter().map(|x| vec![*x]))
    }

    fn resampled(sample: &Sample, values: &Values, by: &[usize], n: usize) -> Vec<f64> {
        let all = sample.resampled(values, by, n, STREAMS, &go_on).unwrap();
        all.into_iter().flatten().collect()
    }

    fn deviation(values: &[f64]) -> f64 {
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        (values.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n).sqrt()
    }

    #[test]
    fn one_set_and_one_training_are_the_bootstrap_of_evaluate() {
        let values: Vec<f64> = (0..23).map(|i| f64::from(i * i % 7) / 7.0).collect();
        let values = column(&values);
        let sample = Sample::new((0..23).collect(), &[0; 23]);
        let got = percentiles(resampled(&sample, &values, &[1; 23], 300).into_iter());
        let want = intervals(&values, 300, STREAMS, &go_on).unwrap().unwrap();
        assert_eq!([got], *want);
        assert_eq!(sample.means(&values), values.means());
    }

    #[test]
    fn resamples_agree_with_drawing_one_by_one() {
        // Two sets of 3 and 2 questions, with two answers to three of them, one, and three answers.
        let set_of = [0, 1, 0, 1, 0];
        let sample = Sample::new((0..5).collect(), &set_of);
        assert_eq!(sample.questions, [0, 2, 4, 1, 3]);
        let answers = [
            vec![0.1, 0.9],
            vec![0.4],
            vec![0.3, 0.8],
            vec![0.2, 0.6, 1.0],
            vec![0.7, 0.5],
        ];
        let values = column(&answers.concat());
        let by = [2, 1, 2, 3, 2];
        let got = resampled(&sample, &values, &by, 90);
        for (r, got) in got.into_iter().enumerate() {
            let mut rng = STREAMS.of("bootstrap", r);
            let draws = |m: usize| -> Vec<usize> {
                let mut rng = STREAMS.of(&format!("trainings {m}"), r);
                (1..m).map(|_| below(&mut rng, m)).collect()
            };
            let drawn = [vec![], vec![0], draws(2), draws(3)];
            let mut means = Vec::new();
            for set in [0..3, 3..5] {
                let of_question = |place: usize| {
                    let draws = &drawn[by[place]];
                    draws.iter().map(|d| answers[place][*d]).sum::<f64>() / draws.len() as f64
                };
                let n = set.len();
                let all = (0..n).map(|_| of_question(set.start + below(&mut rng, n)));
                means.push(all.sum::<f64>() / n as f64);
            }
            let want = (means[0] + means[1]) / 2.0;
            assert!((got - want).abs() < 1e-12, "{r}: {got} {want}");
        }
    }

    #[test]
    fn sets_weigh_the_same_whatever_their_sizes() {
        let set_of = [0, 0, 0, 0, 1];
        let sample = Sample::new((0..5).collect(), &set_of);
        let values = column(&[1.0, 1.0, 1.0, 1.0, 0.0]);
        assert!((sample.means(&values)[0] - 0.5).abs() < 1e-12);
        assert!(!sample.has_intervals());
        assert!(Sample::new((0..4).collect(), &set_of).has_intervals());
        assert!(!Sample::new(Vec::new(), &set_of).has_intervals());
    }

    #[test]
    fn what_trainings_share_is_not_evened_out_over_questions() {
        // All questions are alike, so only trainings matter: three, with the figures 0, 1 and 2.
        // Their mean has the standard error 1 / sqrt(3).
        let n = 50;
        let sample = Sample::new((0..n).collect(), &vec![0; n]);
        let values = column(&[0.0, 1.0, 2.0].repeat(n));
        let got = resampled(&sample, &values, &vec![3; n], 4000);
        let error = deviation(&got);
        assert!((error - (1.0f64 / 3.0).sqrt()).abs() < 0.02, "{error}");
        // Of two trainings, each resample has one.
        let values = column(&[0.0, 1.0].repeat(n));
        let got = resampled(&sample, &values, &vec![2; n], 4000);
        assert!(got.iter().all(|x| x.abs().min((x - 1.0).abs()) < 1e-9));
        assert!((deviation(&got) - 0.5).abs() < 0.01);
    }

    #[test]
    fn intervals_cover_questions_and_trainings() {
        // The truth is 0; a question adds noise of deviation 0.3, a training of 0.1.
        let mut rng = gfm_pipe_api::random::stream(3, "cover");
        let mut normal = |deviation: f64| {
            let uniform: f64 = (0..12)
                .map(|_| below(&mut rng, 1 << 20) as f64 / (1 << 20) as f64)
                .sum();
            (uniform - 6.0) * deviation
        };
        let (n, m) = (60, 8);
        let sample = Sample::new((0..n).collect(), &vec![0; n]);
        let mut covered = 0;
        for seed in 0..200 {
            let trainings: Vec<f64> = (0..m).map(|_| normal(0.1)).collect();
            let answers = (0..n).flat_map(|_| {
                let question = normal(0.3);
                trainings
                    .iter()
                    .map(move |t| t + question)
                    .collect::<Vec<_>>()
            });
            let values = column(&answers.collect::<Vec<_>>());
            let streams = Streams { seed, ..STREAMS };
            let by = vec![m; n];
            let got = sample
                .resampled(&values, &by, 300, streams, &go_on)
                .unwrap();
            let Interval { low, high } = percentiles(got.into_iter().flatten());
            covered += usize::from(low <= 0.0 && high >= 0.0);
        }
        // 95 % promised; the bootstrap of few values covers a little less.
        assert!(covered >= 178, "{covered} of 200");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn intervals_hold_their_means_and_stay_in_range(
            answers in prop::collection::vec(
                (prop::collection::vec(0.0f64..1.0, 1..4), 0usize..3),
                2..12,
            ),
            seed in 0u64..1000,
        ) {
            let set_of: Vec<usize> = answers.iter().map(|a| a.1).collect();
            let sample = Sample::new((0..answers.len()).collect(), &set_of);
            let of = |q: &usize| &answers[*q].0;
            let by: Vec<usize> = sample.questions.iter().map(|q| of(q).len()).collect();
            let values: Vec<f64> = sample.questions.iter().flat_map(|q| of(q).clone()).collect();
            let mean_of = |q: &usize| of(q).iter().sum::<f64>() / of(q).len() as f64;
            let means = sample.questions.iter().map(mean_of);
            let mean = sample.means(&column(&means.collect::<Vec<_>>()))[0];
            let streams = Streams { seed, ..STREAMS };
            let run = || sample.resampled(&column(&values), &by, 400, streams, &go_on).unwrap();
            let threads = rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap();
            let got = threads.install(run);
            prop_assert_eq!(&got, &run());
            let Interval { low, high } = percentiles(got.into_iter().flatten());
            let least = values.iter().copied().fold(1.0, f64::min);
            let most = values.iter().copied().fold(0.0, f64::max);
            prop_assert!(least - 1e-9 <= low && low <= high && high <= most + 1e-9);
            prop_assert!(low <= mean + 1e-9 && mean - 1e-9 <= high, "{} {} {}", low, mean, high);
        }
    }
}
