//! The learning rate's schedule: warm-up, then decay.
//!
//! Invariant: the factor depends on the step's number and the settings alone, and is exactly 1 with
//! the defaults. A new decay is one [`DecayKind`] in this file and its place in [`DECAYS`].

use std::f64::consts::PI;
use std::sync::LazyLock;

use gfm_pipe_api::named::{Choice, Named};
use gfm_pipe_api::{Field, Type};

/// No decay.
pub static CONSTANT: DecayKind = DecayKind {
    name: "none",
    factor: |_| 1.0,
};

/// Half a cosine, to zero at the last step.
pub static COSINE: DecayKind = DecayKind {
    name: "cosine",
    factor: |done| 0.5 * (1.0 + (PI * done).cos()),
};

/// A line, to zero at the last step.
pub static LINEAR: DecayKind = DecayKind {
    name: "linear",
    factor: |done| 1.0 - done,
};

/// Every decay, in the order of schemas; the first is the default.
pub static DECAYS: [&DecayKind; 3] = [&CONSTANT, &COSINE, &LINEAR];

/// How the learning rate falls after the warm-up.
pub struct DecayKind {
    /// Name in pipelines.
    pub name: &'static str,
    /// What the learning rate is multiplied by, when this share of the steps after the warm-up is
    /// done.
    factor: fn(f64) -> f64,
}

/// A parameter that names a decay.
pub type Decay = Choice<DecayKind>;

impl Named for DecayKind {
    const WHAT: &'static str = "decay";

    fn all() -> &'static [&'static Self] {
        &DECAYS
    }

    fn name(&self) -> &'static str {
        self.name
    }
}

/// The parameter `decay`.
pub fn decay_field() -> Field {
    static NAMES: LazyLock<Vec<&str>> = LazyLock::new(DecayKind::names);
    Field::new(
        "decay",
        Type::one_of(&NAMES),
        CONSTANT.name,
        "how the learning rate falls after the warm-up, to zero at the last step",
    )
}

/// Warm-up and decay.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Schedule {
    /// Steps in which the rate rises linearly to its full value.
    pub warmup_steps: u64,
    /// What comes after the warm-up.
    pub decay: Decay,
}

impl Schedule {
    /// The factor of the learning rate at one-based `step` of `total`.
    pub fn factor(&self, step: u64, total: u64) -> f64 {
        if step < self.warmup_steps {
            return step as f64 / self.warmup_steps as f64;
        }
        let (start, end) = (self.warmup_steps.min(total), total);
        let done = if end > start {
            (step.min(end) - start) as f64 / (end - start) as f64
        } else {
            0.0
        };
        (self.decay.0.factor)(done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn course(warmup_steps: u64, decay: &'static DecayKind, total: u64) -> Vec<f64> {
        let s = Schedule {
            warmup_steps,
            decay: Choice(decay),
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
        assert!(course(0, &CONSTANT, 7).iter().all(|f| *f == 1.0));
    }

    #[test]
    fn it_rises_in_a_line_and_falls_to_zero_at_the_last_step() {
        close(&course(4, &CONSTANT, 6), &[0.25, 0.5, 0.75, 1.0, 1.0, 1.0]);
        close(&course(2, &LINEAR, 6), &[0.5, 1.0, 0.75, 0.5, 0.25, 0.0]);
        let c = course(2, &COSINE, 6);
        let r = std::f64::consts::FRAC_1_SQRT_2;
        close(&c, &[0.5, 1.0, (1.0 + r) / 2.0, 0.5, (1.0 - r) / 2.0, 0.0]);
        close(&course(0, &LINEAR, 4), &[0.75, 0.5, 0.25, 0.0]);
    }

    #[test]
    fn a_warm_up_longer_than_the_training_only_rises() {
        close(&course(8, &LINEAR, 4), &[0.125, 0.25, 0.375, 0.5]);
        assert!(course(4, &COSINE, 4).iter().all(|f| f.is_finite()));
    }
}
