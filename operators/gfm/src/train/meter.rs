//! What a training tells while it goes on: means of the steps since it last did.
//!
//! Nothing here is part of the training's state: a checkpoint does not hold it, and no output depends on it.

use std::time::{Duration, Instant};

use gfm_pipe_api::{Context, Metric};

/// Sums over the steps since the last report.
pub(super) struct Meter {
    steps: u64,
    samples: usize,
    /// Of the loss, then of its parts.
    losses: Vec<f64>,
    /// Of the gradients' norm, where steps have one.
    norms: Option<f64>,
    /// In steps alone: neither reading, validation nor checkpoints.
    spent: Duration,
    begun: Instant,
}

impl Meter {
    /// For a loss and its `parts`.
    pub fn new(parts: usize) -> Self {
        Meter {
            steps: 0,
            samples: 0,
            losses: vec![0.0; 1 + parts],
            norms: None,
            spent: Duration::ZERO,
            begun: Instant::now(),
        }
    }

    /// A step begins.
    pub fn begin(&mut self) {
        self.begun = Instant::now();
    }

    /// It ended.
    pub fn end(&mut self, samples: usize, losses: impl Iterator<Item = f64>, norm: Option<f64>) {
        self.spent += self.begun.elapsed();
        self.steps += 1;
        self.samples += samples;
        for (sum, value) in self.losses.iter_mut().zip(losses) {
            *sum += value;
        }
        if let Some(norm) = norm {
            *self.norms.get_or_insert(0.0) += norm;
        }
    }

    /// Reports the means since the last report, and starts over; nothing where there was no step.
    pub fn report(&mut self, ctx: &Context, at: (u32, u64), parts: &[String], rate: f64) {
        if self.steps == 0 {
            return;
        }
        let (epoch, step) = at;
        let tell = |name: &str, value: f64| {
            ctx.metric(Metric {
                epoch,
                step,
                name,
                value,
            });
        };
        let steps = self.steps as f64;
        tell("loss", self.losses[0] / steps);
        for (part, sum) in parts.iter().zip(&self.losses[1..]) {
            tell(&format!("loss:{part}"), sum / steps);
        }
        tell("lr", rate);
        if let Some(sum) = self.norms {
            tell("grad_norm", sum / steps);
        }
        let seconds = self.spent.as_secs_f64();
        tell("step_seconds", seconds / steps);
        if seconds > 0.0 {
            tell("samples_per_second", self.samples as f64 / seconds);
        }
        *self = Meter::new(parts.len());
    }
}
