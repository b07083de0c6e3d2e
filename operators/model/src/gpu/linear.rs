//! Small linear maps whose inputs and outputs are accumulators: of relations, queries and
//! questions.

use gfm_pipe_kernels::gpu::products::{Matrix, product};
use gfm_pipe_kernels::gpu::rows::{bias_rows, sum_rows};
use gfm_pipe_kernels::gpu::{State, Vector, View};

use super::error::Result;
use super::weights::{Gradients, Weights};

/// Whether a linear map is followed by a ReLU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Then {
    Nothing,
    Relu,
}

/// `x wᵀ + b`, `[rows, k]` to `[rows, n]`, of the parameters `name.weight` and `name.bias`.
pub(super) fn linear<S: State>(
    weights: &Weights<S>,
    name: &str,
    x: View<'_, S::Acc>,
    rows: usize,
    then: Then,
) -> Result<Vector<S::Acc>> {
    let bias = weights.part(&format!("{name}.bias"));
    let weight = weights.matrix(&format!("{name}.weight"));
    let n = bias.len();
    let out = weights.gpu().dirty(rows * n)?;
    let x = Matrix::new(x, rows, x.len() / rows.max(1));
    product(Matrix::new(out.view(), rows, n), x, weight.t(), false)?;
    bias_rows(out.view(), bias, rows, then == Then::Relu, n)?;
    Ok(out)
}

/// Replaces the gradients of a linear map's weight and bias, from its input `x` and the gradient
/// `dy` of its output before any ReLU.
pub(super) fn parameters_grad<S: State>(
    grads: &Gradients<S>,
    name: &str,
    x: View<'_, S::Acc>,
    dy: View<'_, S::Acc>,
    rows: usize,
) -> Result<()> {
    let (k, n) = (x.len() / rows.max(1), dy.len() / rows.max(1));
    let weight = grads.matrix(&format!("{name}.weight"));
    let dy_rows = Matrix::new(dy, rows, n);
    product(weight, dy_rows.t(), Matrix::new(x, rows, k), false)?;
    sum_rows(dy, grads.part(&format!("{name}.bias")), n)
}

/// The gradient of a linear map's input, `[rows, k]`, from that of its output before any ReLU.
pub(super) fn input_grad<S: State>(
    weights: &Weights<S>,
    name: &str,
    dy: View<'_, S::Acc>,
    rows: usize,
) -> Result<Vector<S::Acc>> {
    let weight = weights.matrix(&format!("{name}.weight"));
    let (n, k) = (dy.len() / rows.max(1), weight.columns());
    let dx = weights.gpu().dirty(rows * k)?;
    let dy = Matrix::new(dy, rows, n);
    product(Matrix::new(dx.view(), rows, k), dy, weight, false)?;
    Ok(dx)
}
