//! The learning rate's course: warm-up, then decay.
//!
//! Invariant: the factor depends on the step's number and the settings alone, and is exactly 1 with the defaults.

use serde::{Deserialize, Serialize};

/// How the learning rate falls after the warm-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Decay {
    /// It stays.
    None,
    /// Half a cosine, to zero at the last step.
    Cosine,
    /// A line, to zero at the last step.
    Linear,
}

/// Warm-up and decay.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Schedule {
    /// Steps in which the rate rises linearly to its full value.
    pub warmup_steps: u64,
    /// What comes after.
    pub decay: Decay,
}

impl Schedule {
    /// What the learning rate of one-based `step` of `total` is multiplied by.
    pub fn factor(&self, step: u64, total: u64) -> f64 {
        if step < self.warmup_steps {
            return step as f64 / self.warmup_steps as f64;
        }
        let (start, end) = (self.warmup_steps.min(total), total);
        let gone = if end > start {
            (step.min(end) - start) as f64 / (end - start) as f64
        } else {
            0.0
        };
        match self.decay {
            Decay::None => 1.0,
            Decay::Linear => 1.0 - gone,
            Decay::Cosine => 0.5 * (1.0 + (std::f64::consts::PI * gone).cos()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn course(warmup_steps: u64, decay: Decay, total: u64) -> Vec<f64> {
        let s = Schedule {
            warmup_steps,
            decay,
        };
        (1..=total).map(|i| s.factor(i, total)).collect()
    }

    fn close(got: &[f64], want: &[f64]) {
        assert_eq!(got.len(), want.len());
        for (g, w) in got.iter().zip(want) {
            assert!((g - w).abs() < 1e-12, "{got:?} {want:?}");
        }
    }

    #[test]
    fn the_default_is_exactly_one() {
        assert!(course(0, Decay::None, 7).iter().all(|f| *f == 1.0));
    }

    #[test]
    fn it_rises_in_a_line_and_falls_to_zero_at_the_last_step() {
        close(
            &course(4, Decay::None, 6),
            &[0.25, 0.5, 0.75, 1.0, 1.0, 1.0],
        );
        close(
            &course(2, Decay::Linear, 6),
            &[0.5, 1.0, 0.75, 0.5, 0.25, 0.0],
        );
        let c = course(2, Decay::Cosine, 6);
        let r = std::f64::consts::FRAC_1_SQRT_2;
        close(&c, &[0.5, 1.0, (1.0 + r) / 2.0, 0.5, (1.0 - r) / 2.0, 0.0]);
        close(&course(0, Decay::Linear, 4), &[0.75, 0.5, 0.25, 0.0]);
    }

    #[test]
    fn a_warm_up_longer_than_the_training_only_rises() {
        close(&course(8, Decay::Linear, 4), &[0.125, 0.25, 0.375, 0.5]);
        assert!(course(4, Decay::Cosine, 4).iter().all(|f| f.is_finite()));
    }
}
