//! All parameters of a model in one vector on the device, and what is laid out the same way:
//! gradients and moments.

use std::collections::BTreeMap;

use candle_core::Tensor;
use gfm_pipe_kernels::gpu::products::Matrix;
use gfm_pipe_kernels::gpu::rows::cast;
use gfm_pipe_kernels::gpu::{Gpu, State, Vector, View};

use super::error::Result;
use crate::model::Params;
use crate::tensor::{tensor, to_f64};

/// Every parameter starts at a multiple of this many values: kernels read four at a time.
const ALIGNED: usize = 64;

/// Where one parameter lies.
#[derive(Debug, Clone)]
struct Slot {
    first: usize,
    shape: Vec<usize>,
}

impl Slot {
    fn len(&self) -> usize {
        self.shape.iter().product()
    }
}

/// Where all parameters lie in one vector.
#[derive(Debug, Clone, Default)]
pub(crate) struct Places {
    slots: BTreeMap<String, Slot>,
    len: usize,
}

impl Places {
    /// Lays out parameters of these names and shapes, in the order of their names.
    pub fn new(shapes: impl IntoIterator<Item = (String, Vec<usize>)>) -> Self {
        let mut out = Places::default();
        let shapes: BTreeMap<String, Vec<usize>> = shapes.into_iter().collect();
        for (name, shape) in shapes {
            let slot = Slot {
                first: out.len,
                shape,
            };
            out.len += slot.len().next_multiple_of(ALIGNED);
            out.slots.insert(name, slot);
        }
        out
    }

    fn slot(&self, name: &str) -> &Slot {
        match self.slots.get(name) {
            Some(slot) => slot,
            // This crate makes the names, and every model of this configuration has them.
            None => unreachable!("no parameter `{name}`"),
        }
    }

    /// One parameter's part of a vector.
    pub fn part<'a, A: State>(&self, values: &'a Vector<A>, name: &str) -> View<'a, A> {
        let slot = self.slot(name);
        values.part(slot.first, slot.len())
    }

    /// One parameter's part of a vector, as a matrix.
    pub fn matrix<'a, A: State>(&self, values: &'a Vector<A>, name: &str) -> Matrix<'a, A> {
        let shape = &self.slot(name).shape;
        Matrix::new(self.part(values, name), shape[0], shape[1])
    }

    /// Columns `first..first + columns` of a matrix.
    pub fn columns<'a, A: State>(
        &self,
        values: &'a Vector<A>,
        name: &str,
        first: usize,
        columns: usize,
    ) -> Matrix<'a, A> {
        let shape = &self.slot(name).shape;
        let all = self.part(values, name);
        let rest = all.part(first, all.len() - first);
        Matrix::strided(rest, shape[0], columns, shape[1])
    }

    /// Number of values, including the gaps between parameters.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Copies all parameters into one vector; gaps are zero.
    pub fn pack<'t>(
        &self,
        tensors: impl Fn(&str) -> Option<&'t Tensor>,
    ) -> candle_core::Result<Vec<f64>> {
        let mut out = vec![0.0; self.len];
        for (name, slot) in &self.slots {
            let Some(t) = tensors(name) else {
                candle_core::bail!("no values of parameter `{name}`")
            };
            out[slot.first..][..slot.len()].copy_from_slice(&to_f64(t)?);
        }
        Ok(out)
    }

    /// Passes each parameter to `take`, as a tensor of the element type of `like`.
    pub fn unpack(
        &self,
        values: &[f64],
        like: &Params,
        mut take: impl FnMut(&str, Tensor) -> candle_core::Result<()>,
    ) -> candle_core::Result<()> {
        for (name, slot) in &self.slots {
            let part = values[slot.first..][..slot.len()].to_vec();
            let t = tensor(part, slot.shape.clone())?.to_dtype(like.dtype())?;
            take(name, t)?;
        }
        Ok(())
    }
}

/// Parameters on a device, in two element types.
pub(crate) struct Weights<S: State> {
    pub places: Places,
    /// The trained values; small products use them.
    pub values: Vector<S::Acc>,
    /// The same values in the states' element type; products with states use them.
    pub low: Vector<S>,
}

/// Copies f64 values to a device, in another element type.
pub(super) fn upload<A: State>(gpu: &Gpu, values: &[f64]) -> Result<Vector<A>> {
    let values: Vec<A::Acc> = values
        .iter()
        .map(|x| <A::Acc as gfm_pipe_kernels::Real>::of(*x))
        .collect();
    let wide = gpu.vector(&values)?;
    let out = gpu.dirty::<A>(wide.len())?;
    cast(out.view(), wide.view())?;
    Ok(out)
}

impl<S: State> Weights<S> {
    /// Copies a model's parameters to a device.
    pub fn new(gpu: &Gpu, params: &Params) -> candle_core::Result<Self> {
        let shapes = params
            .iter()
            .map(|(name, t)| (name.to_owned(), t.dims().to_vec()));
        let places = Places::new(shapes);
        let values = places.pack(|name| params.get(name).ok())?;
        let made = || -> Result<Self> {
            let out = Weights::with(upload::<S::Acc>(gpu, &values)?, places)?;
            out.lower()?;
            Ok(out)
        };
        made().map_err(candle_core::Error::wrap)
    }

    /// Weights with these values; [`Weights::low`] is not set yet.
    pub fn with(values: Vector<S::Acc>, places: Places) -> Result<Self> {
        Ok(Weights {
            low: values.gpu().dirty(values.len())?,
            values,
            places,
        })
    }

    /// Computes [`Weights::low`] again, after a step.
    pub fn lower(&self) -> Result<()> {
        cast(self.low.view(), self.values.view())
    }

    pub fn gpu(&self) -> &Gpu {
        self.values.gpu()
    }

    /// A parameter.
    pub fn part(&self, name: &str) -> View<'_, S::Acc> {
        self.places.part(&self.values, name)
    }

    /// A parameter, as a matrix.
    pub fn matrix(&self, name: &str) -> Matrix<'_, S::Acc> {
        self.places.matrix(&self.values, name)
    }

    /// Columns `first..first + columns` of a matrix.
    pub fn columns(&self, name: &str, first: usize, columns: usize) -> Matrix<'_, S::Acc> {
        self.places.columns(&self.values, name, first, columns)
    }

    /// The same columns in the states' element type.
    pub fn low_columns(&self, name: &str, first: usize, columns: usize) -> Matrix<'_, S> {
        self.places.columns(&self.low, name, first, columns)
    }
}

/// Gradients of all parameters, laid out as these are.
pub(crate) struct Gradients<S: State> {
    places: Places,
    pub values: Vector<S::Acc>,
}

impl<S: State> Gradients<S> {
    /// Zeros; the gaps between parameters stay zero.
    pub fn new(weights: &Weights<S>) -> Result<Self> {
        Ok(Gradients {
            values: weights.gpu().zeros(weights.places.len())?,
            places: weights.places.clone(),
        })
    }

    /// A parameter's gradient.
    pub fn part(&self, name: &str) -> View<'_, S::Acc> {
        self.places.part(&self.values, name)
    }

    /// A parameter's gradient, as a matrix.
    pub fn matrix(&self, name: &str) -> Matrix<'_, S::Acc> {
        self.places.matrix(&self.values, name)
    }

    /// Columns `first..first + columns` of a matrix's gradient.
    pub fn columns(&self, name: &str, first: usize, columns: usize) -> Matrix<'_, S::Acc> {
        self.places.columns(&self.values, name, first, columns)
    }
}
