//! All parameters of a model in one vector on the device, and whatever else has their shape: gradients and moments.

use std::collections::BTreeMap;

use candle_core::Tensor;
use gfm_pipe_kernels::gpu::products::Matrix;
use gfm_pipe_kernels::gpu::rows::cast;
use gfm_pipe_kernels::gpu::{Gpu, State, Vector, View};

use super::Result;
use crate::model::Params;
use crate::tensor::{tensor, to_f64};

/// Values between which a parameter starts: kernels read four at a time.
const ALIGNED: usize = 64;

/// Where a parameter lies.
#[derive(Debug, Clone)]
struct Slot {
    at: usize,
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
    fn of(params: &Params) -> Self {
        let mut out = Places::default();
        for (name, t) in params.iter() {
            let slot = Slot {
                at: out.len,
                shape: t.dims().to_vec(),
            };
            out.len += slot.len().next_multiple_of(ALIGNED);
            out.slots.insert(name.to_owned(), slot);
        }
        out
    }

    fn slot(&self, name: &str) -> &Slot {
        match self.slots.get(name) {
            Some(slot) => slot,
            // Names are made by this crate, for parameters that every model of this configuration has.
            None => unreachable!("no parameter `{name}`"),
        }
    }

    /// The part of a vector that is a parameter's.
    pub fn part<'a, A: State>(&self, values: &'a Vector<A>, name: &str) -> View<'a, A> {
        let slot = self.slot(name);
        values.part(slot.at, slot.len())
    }

    /// The same as a matrix.
    pub fn matrix<'a, A: State>(&self, values: &'a Vector<A>, name: &str) -> Matrix<'a, A> {
        let shape = &self.slot(name).shape;
        Matrix::new(self.part(values, name), shape[0], shape[1])
    }

    /// Columns `from..from + columns` of a matrix.
    pub fn columns<'a, A: State>(
        &self,
        values: &'a Vector<A>,
        name: &str,
        from: usize,
        columns: usize,
    ) -> Matrix<'a, A> {
        let shape = &self.slot(name).shape;
        let all = self.part(values, name);
        let rest = all.part(from, all.len() - from);
        Matrix::strided(rest, shape[0], columns, shape[1])
    }

    /// Values between parameters included.
    pub fn len(&self) -> usize {
        self.len
    }

    /// One vector of all values.
    pub fn pack<'t>(
        &self,
        tensors: impl Fn(&str) -> Option<&'t Tensor>,
    ) -> candle_core::Result<Vec<f64>> {
        let mut out = vec![0.0; self.len];
        for (name, slot) in &self.slots {
            let Some(t) = tensors(name) else {
                candle_core::bail!("no values of parameter `{name}`")
            };
            out[slot.at..][..slot.len()].copy_from_slice(&to_f64(t)?);
        }
        Ok(out)
    }

    /// A tensor for each parameter, of the element type of `like`.
    pub fn unpack(
        &self,
        values: &[f64],
        like: &Params,
        mut take: impl FnMut(&str, Tensor) -> candle_core::Result<()>,
    ) -> candle_core::Result<()> {
        for (name, slot) in &self.slots {
            let part = values[slot.at..][..slot.len()].to_vec();
            let t = tensor(part, slot.shape.clone())?.to_dtype(like.dtype())?;
            take(name, t)?;
        }
        Ok(())
    }
}

/// Parameters on a device: as they are trained, and as states are multiplied with them.
pub(crate) struct Weights<S: State> {
    pub places: Places,
    /// Trained, and what is small is computed with these.
    pub values: Vector<S::Acc>,
    /// The same in the states' element type.
    pub low: Vector<S>,
}

/// f64 values on a device in another type.
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
    /// Copies a model's parameters.
    pub fn new(gpu: &Gpu, params: &Params) -> candle_core::Result<Self> {
        let places = Places::of(params);
        let values = places.pack(|name| params.get(name).ok())?;
        let made = || -> Result<Self> {
            let out = Weights {
                values: upload::<S::Acc>(gpu, &values)?,
                low: gpu.dirty(values.len())?,
                places: places.clone(),
            };
            out.lower()?;
            Ok(out)
        };
        made().map_err(candle_core::Error::wrap)
    }

    /// Makes [`Weights::low`] anew, after a step.
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

    /// A parameter that is a matrix.
    pub fn matrix(&self, name: &str) -> Matrix<'_, S::Acc> {
        self.places.matrix(&self.values, name)
    }

    /// Some of its columns, to be multiplied with states.
    pub fn low_columns(&self, name: &str, from: usize, columns: usize) -> Matrix<'_, S> {
        self.places.columns(&self.low, name, from, columns)
    }
}
