//! One AdamW step (Loshchilov and Hutter, 2019) as PyTorch does it: decay first, then the
//! bias-corrected update.

use rayon::prelude::*;

use crate::Real;

/// Number of elements that one task handles.
const TASK: usize = 1 << 15;

/// Hyper-parameters of AdamW.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamW {
    /// Learning rate of this step.
    pub lr: f64,
    /// Decay rates of the two moments.
    pub betas: (f64, f64),
    /// Added to the root of the second moment.
    pub eps: f64,
    /// Decoupled weight decay.
    pub weight_decay: f64,
}

impl AdamW {
    /// Updates parameters and moments in place; `step` is one-based.
    ///
    /// # Panics
    /// When lengths differ.
    pub fn step<T: Real>(&self, step: u64, param: &mut [T], grad: &[T], m: &mut [T], v: &mut [T]) {
        assert!(param.len() == grad.len() && m.len() == grad.len() && v.len() == grad.len());
        let (b1, b2) = self.betas;
        let t = step as f64;
        let step_size = T::of(self.lr / (1.0 - b1.powf(t)));
        let root_correction = T::of((1.0 - b2.powf(t)).sqrt());
        let keep = T::of(1.0 - self.lr * self.weight_decay);
        let (b1, b2, c1, c2, eps) = (
            T::of(b1),
            T::of(b2),
            T::of(1.0 - b1),
            T::of(1.0 - b2),
            T::of(self.eps),
        );
        param
            .par_chunks_mut(TASK)
            .zip(grad.par_chunks(TASK))
            .zip(m.par_chunks_mut(TASK).zip(v.par_chunks_mut(TASK)))
            .for_each(|((param, grad), (m, v))| {
                for (((p, g), m), v) in param.iter_mut().zip(grad).zip(m).zip(v) {
                    *m = b1 * *m + c1 * *g;
                    *v = b2 * *v + c2 * *g * *g;
                    *p = *p * keep - step_size * *m / (v.sqrt() / root_correction + eps);
                }
            });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_step_moves_by_the_learning_rate() {
        let opt = AdamW {
            lr: 0.1,
            betas: (0.9, 0.999),
            eps: 1e-8,
            weight_decay: 0.5,
        };
        let (mut p, mut m, mut v) = ([2.0f64], [0.0], [0.0]);
        opt.step(1, &mut p, &[4.0], &mut m, &mut v);
        // Decay: 2 * (1 - 0.1 * 0.5) = 1.9; bias-corrected moments are 4 and 16, so the update is
        // 0.1 * 4 / 4.
        assert!((p[0] - 1.8).abs() < 1e-9);
        assert!((m[0] - 0.4).abs() < 1e-12 && (v[0] - 0.016).abs() < 1e-12);
    }
}
