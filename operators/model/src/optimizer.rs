//! AdamW over named parameters. Its state is public, so that training can stop and resume.

use std::collections::BTreeMap;

use candle_core::{Result, Tensor, bail};
use gfm_pipe_kernels::adamw::AdamW;
use rayon::prelude::*;

use crate::model::{Grads, Params};
use crate::tensor::{Elem, by_dtype, tensor, view};

/// The moments of one parameter, in its shape.
#[derive(Debug, Clone)]
pub struct Moments {
    /// First moment: running mean of the gradient.
    pub exp_avg: Tensor,
    /// Second moment: running mean of the squared gradient.
    pub exp_avg_sq: Tensor,
}

/// The optimizer and its state.
#[derive(Debug, Clone)]
pub struct Optimizer {
    /// Hyper-parameters.
    pub settings: AdamW,
    /// Number of steps so far.
    pub steps: u64,
    /// Moments by parameter name.
    pub moments: BTreeMap<String, Moments>,
}

impl Optimizer {
    /// A fresh optimizer for these parameters.
    ///
    /// # Errors
    /// When candle cannot create a tensor.
    pub fn new(settings: AdamW, params: &Params) -> Result<Self> {
        let moments = params
            .iter()
            .map(|(n, t)| {
                let zero = Moments {
                    exp_avg: t.zeros_like()?,
                    exp_avg_sq: t.zeros_like()?,
                };
                Ok((n, zero))
            })
            .collect::<Result<_>>()?;
        Ok(Optimizer {
            settings,
            steps: 0,
            moments,
        })
    }

    /// One step on every parameter.
    ///
    /// # Errors
    /// When a parameter has no gradient: to skip it silently would train a wrong model.
    pub fn step(&mut self, params: &mut Params, grads: &Grads) -> Result<()> {
        self.step_scaled(params, grads, 1.0)
    }

    /// One step with the learning rate times `factor`.
    ///
    /// # Errors
    /// See [`Optimizer::step`].
    pub fn step_scaled(&mut self, params: &mut Params, grads: &Grads, factor: f64) -> Result<()> {
        self.steps += 1;
        let settings = AdamW {
            lr: self.settings.lr * factor,
            ..self.settings
        };
        let mut grads = grads.named();
        for (name, param) in params.tensors.named_mut() {
            let Some(grad) = grads.remove(&name) else {
                bail!("parameter `{name}` has no gradient")
            };
            let Some(moments) = self.moments.get_mut(&name) else {
                bail!("the optimizer has no state for parameter `{name}`")
            };
            *param = by_dtype!(param.dtype(), T =>
                update::<T>(&settings, self.steps, param, grad, moments)?);
        }
        Ok(())
    }
}

/// Scales all gradients so that their common norm is at most `most`, like PyTorch's
/// `clip_grad_norm_`. Returns the norm before scaling.
///
/// # Errors
/// When a gradient cannot be read.
pub fn clip(grads: &mut Grads, most: f64) -> Result<f64> {
    let mut squares = 0.0;
    for grad in grads.named().values() {
        squares += by_dtype!(grad.dtype(), T => sum_of_squares::<T>(grad)?);
    }
    let norm = squares.sqrt();
    let factor = most / (norm + 1e-6);
    if factor < 1.0 {
        for grad in grads.named_mut().into_values() {
            *grad = (&*grad * factor)?;
        }
    }
    Ok(norm)
}

/// The sum of squares in f64. Blocks have a fixed length and are added in order, so that the result
/// does not depend on the number of threads.
fn sum_of_squares<T: Elem>(t: &Tensor) -> Result<f64> {
    let view = view::<T>(t)?;
    let parts: Vec<f64> = view
        .slice()?
        .par_chunks(1 << 15)
        .map(|row| row.iter().map(|x| x.f64() * x.f64()).sum())
        .collect();
    Ok(parts.iter().sum())
}

fn update<T: Elem>(
    settings: &AdamW,
    step: u64,
    param: &Tensor,
    grad: &Tensor,
    moments: &mut Moments,
) -> Result<Tensor> {
    let mut p = view::<T>(param)?.slice()?.to_vec();
    let mut m = view::<T>(&moments.exp_avg)?.slice()?.to_vec();
    let mut v = view::<T>(&moments.exp_avg_sq)?.slice()?.to_vec();
    settings.step(step, &mut p, view::<T>(grad)?.slice()?, &mut m, &mut v);
    moments.exp_avg = tensor(m, param.shape())?;
    moments.exp_avg_sq = tensor(v, param.shape())?;
    tensor(p, param.shape())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::ops::Linear;

    #[test]
    fn gradients_are_scaled_together_and_only_when_too_long() {
        let make = || {
            let relations = Linear {
                weight: tensor(vec![0.0f64, 4.0], 2).unwrap(),
                bias: tensor(vec![3.0f64, 0.0], 2).unwrap(),
            };
            Grads {
                layers: Vec::new(),
                head: Vec::new(),
                late_head: false,
                relations,
                questions: None,
                nodes: None,
                features: None,
            }
        };
        let values = |g: &Grads| -> Vec<f64> {
            g.named()
                .values()
                .flat_map(|t| t.to_vec1::<f64>().unwrap())
                .collect()
        };
        let mut grads = make();
        assert_eq!(clip(&mut grads, 6.0).unwrap(), 5.0);
        assert_eq!(values(&grads), [3.0, 0.0, 0.0, 4.0]);
        assert_eq!(clip(&mut grads, 1.0).unwrap(), 5.0);
        // PyTorch divides by the norm + 1e-6.
        let want = [3.0 / 5.000001, 0.0, 0.0, 4.0 / 5.000001];
        for (got, want) in values(&grads).iter().zip(want) {
            assert!((got - want).abs() < 1e-12, "{got} {want}");
        }
    }
}
