//! Pools the states of a text's tokens into one vector (Reimers and Gurevych, Sentence-BERT, 2019),
//! and scales vectors to norm 1.

/// A way to pool states.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// The first token's state.
    Cls,
    /// The largest value of each column.
    Max,
    /// The mean of all states.
    Mean,
    /// The sum, divided by the square root of the number of tokens.
    MeanSqrtLength,
    /// The mean weighted by position, counted from 1.
    WeightedMean,
    /// The last token's state.
    Last,
}

/// One or more modes, whose vectors are concatenated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pooling {
    pub(crate) modes: Vec<Mode>,
    /// Whether the tokens of the prompt count.
    pub(crate) include_prompt: bool,
}

impl Pooling {
    pub(crate) fn mean() -> Self {
        Pooling {
            modes: vec![Mode::Mean],
            include_prompt: true,
        }
    }

    /// The first token that is pooled of a text with `tokens` tokens, of which the first `prompt`
    /// belong to the prompt. At least one token is pooled, even if the text is only its prompt.
    pub(crate) fn first(&self, tokens: usize, prompt: usize) -> usize {
        if self.include_prompt {
            0
        } else {
            prompt.min(tokens.saturating_sub(1))
        }
    }

    /// Pools `states`, row-major `tokens x width`, of which the first `prompt` tokens belong to the
    /// prompt.
    pub(crate) fn pool(&self, states: &[f32], width: usize, prompt: usize) -> Vec<f32> {
        let tokens = states.len() / width;
        let from = self.first(tokens, prompt);
        let mut out = Vec::with_capacity(width * self.modes.len());
        for mode in &self.modes {
            let rows = states.chunks_exact(width).skip(from);
            match mode {
                // The first token is the text's own, even if the prompt is left out.
                Mode::Cls => out.extend_from_slice(&states[..width]),
                Mode::Last => out.extend_from_slice(&states[(tokens - 1) * width..]),
                Mode::Max => {
                    let mut most = vec![f32::NEG_INFINITY; width];
                    for row in rows {
                        for (m, x) in most.iter_mut().zip(row) {
                            // Keeps a NaN, which `max` would drop.
                            if *x > *m || x.is_nan() {
                                *m = *x;
                            }
                        }
                    }
                    out.extend(most);
                }
                Mode::Mean | Mode::MeanSqrtLength | Mode::WeightedMean => {
                    let mut sum = vec![0.0_f32; width];
                    let mut total = 0.0_f32;
                    for (i, row) in rows.enumerate() {
                        let weight = if *mode == Mode::WeightedMean {
                            (from + i + 1) as f32
                        } else {
                            1.0
                        };
                        sum.iter_mut().zip(row).for_each(|(s, x)| *s += weight * *x);
                        total += weight;
                    }
                    let by = if *mode == Mode::MeanSqrtLength {
                        total.sqrt()
                    } else {
                        total
                    };
                    out.extend(sum.into_iter().map(|s| s / by));
                }
            }
        }
        out
    }
}

/// Scales a row to norm 1. A row without a direction becomes exactly zero. A row that is not finite
/// becomes NaN as a whole, because a zero would hide it.
pub(crate) fn normalise(row: &mut [f32]) -> bool {
    // In f64, the squares of a long text's sum neither overflow nor lose the small components.
    let norm = row
        .iter()
        .map(|&value| f64::from(value) * f64::from(value))
        .sum::<f64>()
        .sqrt();
    if norm.is_normal() {
        for value in row.iter_mut() {
            *value = (f64::from(*value) / norm) as f32;
        }
        return true;
    }
    row.fill(if norm.is_finite() { 0.0 } else { f32::NAN });
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_number_stays_none() {
        let pool = |states: &[f32]| {
            let modes = vec![Mode::Max, Mode::Mean];
            let all = Pooling {
                modes,
                include_prompt: true,
            };
            all.pool(states, 1, 0)
        };
        for states in [[f32::NAN, 1.0], [1.0, f32::NAN]] {
            assert!(pool(&states).iter().all(|x| x.is_nan()));
        }
        for bad in [f32::NAN, f32::INFINITY] {
            let mut row = [1.0, bad];
            assert!(!normalise(&mut row));
            assert!(row.iter().all(|x| x.is_nan()));
        }
        let mut zero = [0.0, 0.0];
        assert!(!normalise(&mut zero));
        assert_eq!(zero, [0.0, 0.0]);
    }

    #[test]
    fn modes_are_put_side_by_side() {
        let states = [1.0, -8.0, 3.0, 2.0, 8.0, 0.0, 4.0, -2.0];
        let pool = |modes: &[Mode], include_prompt, prompt| {
            Pooling {
                modes: modes.to_vec(),
                include_prompt,
            }
            .pool(&states, 2, prompt)
        };
        assert_eq!(
            pool(&[Mode::Cls, Mode::Max], true, 0),
            [1.0, -8.0, 8.0, 2.0]
        );
        assert_eq!(
            pool(&[Mode::Mean, Mode::Last], true, 0),
            [4.0, -2.0, 4.0, -2.0]
        );
        assert_eq!(pool(&[Mode::MeanSqrtLength], true, 0), [8.0, -4.0]);
        // (1 + 6 + 24 + 16) / 10, (-8 + 4 + 0 - 8) / 10
        assert_eq!(pool(&[Mode::WeightedMean], true, 0), [4.7, -1.2]);
        assert_eq!(pool(&[Mode::Mean], false, 2), [6.0, -1.0]);
        assert_eq!(pool(&[Mode::Mean], true, 2), [4.0, -2.0]);
        assert_eq!(
            pool(&[Mode::Mean], false, 9),
            [4.0, -2.0],
            "one token is always left"
        );
    }
}
