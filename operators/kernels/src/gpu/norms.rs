//! Bias, layer normalisation, activation and shortcut of a layer, fused, as in [`crate::norm`].

use super::layout::kernel_arguments;
use super::sums::{MAX_PARTS, join_rows};
use super::{Error, State, View, address};
use crate::activation::Activation;

/// Rows per block; each has one warp.
const WARPS: u32 = 8;

/// Scale and shift of a normalisation, `dim` values each, or their gradients.
#[derive(Clone, Copy)]
pub struct Affine<'a, A> {
    /// The factor of each column.
    pub scale: View<'a, A>,
    /// What is added to each column.
    pub shift: View<'a, A>,
}

/// What a normalisation keeps for its backward pass.
#[derive(Clone, Copy)]
pub struct Normed<'a, S: State> {
    /// Normalised values, `rows x dim`.
    pub values: View<'a, S>,
    /// 1 / standard deviation of each row.
    pub rstd: View<'a, S::Acc>,
}

/// What follows a layer's linear map.
#[derive(Clone, Copy)]
pub struct Norm<'a, S: State> {
    /// Bias of the linear map, `dim` values.
    pub bias: View<'a, S::Acc>,
    /// Scale and shift of the normalisation; `None` if there is no normalisation.
    pub affine: Option<Affine<'a, S::Acc>>,
    /// Activation function.
    pub activation: Activation,
    /// Width of rows.
    pub dim: usize,
}

/// Gradients of a [`Norm`]'s parameters.
#[derive(Clone, Copy)]
pub struct NormGrads<'a, A: State> {
    /// Of the bias.
    pub bias: View<'a, A>,
    /// Of scale and shift.
    pub affine: Option<Affine<'a, A>>,
}

fn code(activation: Activation) -> u32 {
    match activation {
        Activation::Relu => 0,
        Activation::Gelu => 1,
        Activation::Silu => 2,
        Activation::Tanh => 3,
        Activation::Sigmoid => 4,
        Activation::Elu => 5,
        Activation::LeakyRelu => 6,
        Activation::Softplus => 7,
    }
}

impl<S: State> Norm<'_, S> {
    fn rows(&self, x: View<'_, S>) -> usize {
        assert_eq!(self.bias.len(), self.dim, "bias");
        let fits = |a: Affine<'_, S::Acc>| (a.scale.len(), a.shift.len()) == (self.dim, self.dim);
        assert!(self.affine.is_none_or(fits), "scale and shift");
        x.len() / self.dim.max(1)
    }

    /// `y = activation(norm(lin + bias)) + shortcut`. `lin` becomes the normalised values, and
    /// `rstd` 1 / standard deviation of each row.
    ///
    /// # Errors
    /// If the device reports one.
    ///
    /// # Panics
    /// If lengths do not match.
    pub fn forward(
        &self,
        lin: View<'_, S>,
        rstd: View<'_, S::Acc>,
        shortcut: Option<View<'_, S>>,
        y: View<'_, S>,
    ) -> Result<(), Error> {
        let rows = self.rows(lin);
        assert_eq!((y.len(), rstd.len()), (lin.len(), rows), "output");
        assert!(shortcut.is_none_or(|s| s.len() == y.len()), "shortcut");
        let args = NormForwardArgs {
            lin: lin.at,
            y: y.at,
            rstd: rstd.at,
            bias: self.bias.at,
            gamma: address(self.affine.map(|a| a.scale)),
            beta: address(self.affine.map(|a| a.shift)),
            shortcut: address(shortcut),
            rows: rows as u32,
            n: self.dim as u32,
            activation: code(self.activation),
        };
        let grid = [rows.div_ceil(WARPS as usize), 1, 1];
        let name = format!("norm_forward_{}", S::TAG);
        y.gpu().launch(&name, grid, [32, WARPS, 1], 0, &args)
    }

    /// Gradients of the linear output and of the parameters, which are replaced, from that of the
    /// output. The gradient of the shortcut is `dy` itself, which the caller adds.
    ///
    /// # Errors
    /// If the device reports one, or has no memory for partial sums.
    ///
    /// # Panics
    /// If lengths do not match.
    pub fn backward(
        &self,
        normed: Normed<'_, S>,
        dy: View<'_, S>,
        dlin: View<'_, S>,
        grads: NormGrads<'_, S::Acc>,
    ) -> Result<(), Error> {
        let (rows, n) = (self.rows(dy), self.dim);
        let values = normed.values.len();
        assert_eq!((values, dlin.len()), (dy.len(), dy.len()), "output");
        assert_eq!(normed.rstd.len(), rows, "one deviation per row");
        let gpu = dy.gpu();
        let per = rows.div_ceil(MAX_PARTS).max(64);
        let parts = rows.div_ceil(per);
        let partial = gpu.dirty::<S::Acc>(parts * 3 * n)?;
        let args = NormBackwardArgs {
            dy: dy.at,
            normed: normed.values.at,
            rstd: normed.rstd.at,
            gamma: address(self.affine.map(|a| a.scale)),
            beta: address(self.affine.map(|a| a.shift)),
            dlin: dlin.at,
            partial: partial.at,
            rows: rows as u32,
            n: n as u32,
            activation: code(self.activation),
            per: per as u32,
        };
        let grid = [rows.div_ceil(WARPS as usize), 1, 1];
        let name = format!("norm_backward_{}", S::TAG);
        gpu.launch(&name, grid, [32, WARPS, 1], 0, &args)?;
        let name = format!("norm_sums_{}", S::TAG);
        let shared = 3 * 32 * WARPS as usize * size_of::<S::Acc>();
        gpu.launch(
            &name,
            [n.div_ceil(32), parts, 1],
            [32, WARPS, 1],
            shared,
            &args,
        )?;
        let sums = gpu.dirty::<S::Acc>(3 * n)?;
        let all = gpu.vector(&[0, parts as u32])?;
        join_rows(partial.view(), all.view(), sums.view(), 3 * n)?;
        grads.bias.copy(sums.part(0, n))?;
        if let Some(affine) = grads.affine {
            affine.scale.copy(sums.part(n, n))?;
            affine.shift.copy(sums.part(2 * n, n))?;
        }
        Ok(())
    }
}

kernel_arguments! {
    struct NormForwardArgs {
        lin: u64,
        y: u64,
        rstd: u64,
        bias: u64,
        gamma: u64,
        beta: u64,
        shortcut: u64,
        rows: u32,
        n: u32,
        activation: u32,
    }

    struct NormBackwardArgs {
        dy: u64,
        normed: u64,
        rstd: u64,
        gamma: u64,
        beta: u64,
        dlin: u64,
        partial: u64,
        rows: u32,
        n: u32,
        activation: u32,
        per: u32,
    }
}
