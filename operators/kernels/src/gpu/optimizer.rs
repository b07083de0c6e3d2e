//! An AdamW step over all parameters at once, and the norm of all gradients, which stays on the
//! device.

use super::layout::kernel_arguments;
use super::{Error, State, Vector, View, flat};
use crate::adamw::AdamW;

/// Σ x², one value.
///
/// # Errors
/// If the device reports one.
pub fn sum_of_squares<A: State<Acc = A>>(x: View<'_, A>) -> Result<Vector<f64>, Error> {
    let gpu = x.gpu();
    let per = x.len().div_ceil(1024).max(4096);
    let parts = x.len().div_ceil(per).max(1);
    let (partial, out) = (gpu.dirty::<f64>(parts)?, gpu.dirty::<f64>(1)?);
    let args = SquaresArgs {
        x: x.at,
        out: partial.at,
        count: x.len() as u64,
        per: per as u64,
        squared: 0,
    };
    let name = format!("squares_{}", A::TAG);
    gpu.launch(&name, [parts, 1, 1], [256, 1, 1], 64, &args)?;
    let all = SquaresArgs {
        x: partial.at,
        out: out.at,
        count: parts as u64,
        per: parts as u64,
        squared: 1,
    };
    gpu.launch("squares_f64", [1, 1, 1], [256, 1, 1], 64, &all)?;
    Ok(out)
}

/// What a step updates, all of one length.
#[derive(Clone, Copy)]
pub struct Adam<'a, A: State> {
    /// Parameters.
    pub param: View<'a, A>,
    /// Gradients.
    pub grad: View<'a, A>,
    /// First moments.
    pub m: View<'a, A>,
    /// Second moments.
    pub v: View<'a, A>,
}

/// Scales gradients down if their norm is too large.
pub struct Clip {
    /// [`sum_of_squares`] of the gradients.
    pub squares: Vector<f64>,
    /// The largest norm that is not scaled down.
    pub norm: f64,
}

impl<A: State<Acc = A>> Adam<'_, A> {
    /// Queues step `step` (one-based), as [`AdamW::step`].
    ///
    /// # Errors
    /// If the device reports one.
    ///
    /// # Panics
    /// If lengths differ.
    pub fn step(&self, adamw: &AdamW, step: u64, clip: Option<&Clip>) -> Result<(), Error> {
        let n = self.param.len();
        assert_eq!(
            (self.grad.len(), self.m.len(), self.v.len()),
            (n, n, n),
            "values"
        );
        let (b1, b2) = adamw.betas;
        let t = step as f64;
        let args = AdamArgs {
            param: self.param.at,
            grad: self.grad.at,
            m: self.m.at,
            v: self.v.at,
            squares: clip.map_or(0, |c| c.squares.at),
            count: n as u64,
            b1,
            b2,
            c1: 1.0 - b1,
            c2: 1.0 - b2,
            step_size: adamw.lr / (1.0 - b1.powf(t)),
            root: (1.0 - b2.powf(t)).sqrt(),
            keep: 1.0 - adamw.lr * adamw.weight_decay,
            eps: adamw.eps,
            most: clip.map_or(0.0, |c| c.norm),
        };
        let (grid, block) = flat(n);
        let name = format!("adamw_{}", A::TAG);
        self.param.gpu().launch(&name, grid, block, 0, &args)
    }
}

kernel_arguments! {
    struct SquaresArgs {
        x: u64,
        out: u64,
        count: u64,
        per: u64,
        squared: u32,
    }

    struct AdamArgs {
        param: u64,
        grad: u64,
        m: u64,
        v: u64,
        squares: u64,
        count: u64,
        b1: f64,
        b2: f64,
        c1: f64,
        c2: f64,
        step_size: f64,
        root: f64,
        keep: f64,
        eps: f64,
        most: f64,
    }
}
