//! Linear maps and ReLU.

use candle_core::{Result, Tensor};
use gfm_pipe_kernels::gemm::{Mat, add_rows, gemm, gemm_tn};

use super::same;
use crate::tensor::{Elem, by_dtype, tensor, view};

/// The parameters of a linear map, or their gradients.
#[derive(Debug, Clone)]
pub struct Linear {
    /// The weight, `[n, k]`.
    pub weight: Tensor,
    /// The bias, `[n]`.
    pub bias: Tensor,
}

/// Gradients of a linear map.
#[derive(Debug)]
pub struct LinearGrads {
    /// Gradient of the input, `[M, k]`.
    pub x: Tensor,
    /// Gradients of the parameters.
    pub params: Linear,
}

/// max(x, 0). NaN stays NaN; candle's own function would hide it as 0.
///
/// # Errors
/// When the tensor is not contiguous, or its element type is not one of the model's.
pub fn relu(x: &Tensor) -> Result<Tensor> {
    fn of<T: Elem>(x: &Tensor) -> Result<Tensor> {
        let values = view::<T>(x)?;
        let zero = T::zero();
        let open = |v: &T| if *v <= zero { zero } else { *v };
        tensor(
            values.slice()?.iter().map(open).collect::<Vec<T>>(),
            x.shape(),
        )
    }
    by_dtype!(x.dtype(), T => of::<T>(x))
}

/// `x wᵀ + b`: `[M, k] -> [M, n]`.
///
/// # Errors
/// When shapes or types do not fit.
pub fn linear(x: &Tensor, params: &Linear) -> Result<Tensor> {
    fn of<T: Elem>(x: &Tensor, Linear { weight, bias }: &Linear) -> Result<Tensor> {
        let ((m, k), (n, k2)) = (x.dims2()?, weight.dims2()?);
        same("width of input and weight", k, k2)?;
        same("bias", bias.elem_count(), n)?;
        let (xv, wv, bv) = (view::<T>(x)?, view::<T>(weight)?, view::<T>(bias)?);
        let mut y = bv.slice()?.repeat(m);
        gemm(
            &mut y,
            Mat::new(xv.slice()?, m, k),
            Mat::new(wv.slice()?, n, k).t(),
            true,
        );
        tensor(y, (m, n))
    }
    by_dtype!(x.dtype(), T => of::<T>(x, params))
}

/// Backward of [`linear`].
///
/// # Errors
/// See [`linear`].
pub fn linear_backward(x: &Tensor, weight: &Tensor, dy: &Tensor) -> Result<LinearGrads> {
    fn of<T: Elem>(x: &Tensor, weight: &Tensor, dy: &Tensor) -> Result<LinearGrads> {
        let ((m, k), (n, k2), (m2, n2)) = (x.dims2()?, weight.dims2()?, dy.dims2()?);
        same("width of input and weight", k, k2)?;
        same("rows", m, m2)?;
        same("width of output", n, n2)?;
        let (xv, wv, dv) = (view::<T>(x)?, view::<T>(weight)?, view::<T>(dy)?);
        let (xs, ws, ds) = (xv.slice()?, wv.slice()?, dv.slice()?);
        let mut dx = vec![T::zero(); m * k];
        gemm(&mut dx, Mat::new(ds, m, n), Mat::new(ws, n, k), false);
        let mut dw = vec![T::zero(); n * k];
        gemm_tn(&mut dw, Mat::new(ds, m, n), Mat::new(xs, m, k));
        let mut db = vec![T::zero(); n];
        add_rows(&mut db, ds);
        Ok(LinearGrads {
            x: tensor(dx, (m, k))?,
            params: Linear {
                weight: tensor(dw, (n, k))?,
                bias: tensor(db, n)?,
            },
        })
    }
    by_dtype!(x.dtype(), T => of::<T>(x, weight, dy))
}
