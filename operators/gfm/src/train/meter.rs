//! Metrics that a training reports while it runs: means over the steps since the last report.
//!
//! Nothing here is part of the training's state: a checkpoint does not contain it, and no output
//! depends on it.

use std::time::{Duration, Instant};

use gfm_pipe_api::{Context, Metric};

/// Sums over the steps since the last report.
pub(super) struct Meter {
    steps: u64,
    samples: usize,
    /// Sum of the loss, then of each of its parts.
    losses: Vec<f64>,
    /// Sum of the gradients' norms, if steps compute one.
    norms: Option<f64>,
    /// Time spent in steps only, without reading, validation and checkpoints.
    spent: Duration,
    begun: Instant,
}

impl Meter {
    /// A meter for a loss that has `parts` parts.
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

    /// Marks the start of a step.
    pub fn begin(&mut self) {
        self.begun = Instant::now();
    }

    /// Marks the end of a step. `losses` are the loss and its parts.
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

    /// Reports the means since the last report and resets them. Without any step it reports
    /// nothing.
    pub fn report(&mut self, ctx: &Context, epoch: u32, step: u64, parts: &[String], rate: f64) {
        if self.steps == 0 {
            return;
        }
        let report = |name: &str, value: f64| {
            ctx.metric(Metric {
                epoch,
                step,
                name,
                value,
            });
        };
        let steps = self.steps as f64;
        report("loss", self.losses[0] / steps);
        for (part, sum) in parts.iter().zip(&self.losses[1..]) {
            report(&format!("loss:{part}"), sum / steps);
        }
        report("lr", rate);
        if let Some(sum) = self.norms {
            report("grad_norm", sum / steps);
        }
        let seconds = self.spent.as_secs_f64();
        report("step_seconds", seconds / steps);
        if seconds > 0.0 {
            report("samples_per_second", self.samples as f64 / seconds);
        }
        *self = Meter::new(parts.len());
    }
}
