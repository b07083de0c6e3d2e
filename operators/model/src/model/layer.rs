//! One layer over rows, forward and backward: turns tensors into the slices that the kernel works
//! on.

use candle_core::{Result, Tensor};
use gfm_pipe_kernels::layer::{self, Cone, Gain, Layer, Out, Saved};
use gfm_pipe_kernels::message::Message;
use gfm_pipe_kernels::norm::Affine;
use gfm_pipe_kernels::rows::{NONE, Rows};

use super::forward::slice_of;
use super::params::{LayerParams, Norm};
use crate::buffers::Buffer;
use crate::graph::Graph;
use crate::ops::{Boundary, Degrees, LayerKind, Linear};
use crate::tensor::{Elem, View, tensor, view};

/// The inputs of a layer besides its parameters.
pub(super) struct LayerInput<'a, T> {
    pub kind: LayerKind,
    pub graph: &'a Graph,
    pub degrees: &'a Degrees<T>,
    /// Rows of the states that the layer reads.
    pub from: &'a Rows,
    /// Rows of the states that the layer writes.
    pub to: &'a Rows,
    /// States of the rows in `from`, `[rows, d]`.
    pub x: &'a [T],
    /// States of nodes without a row, `[N, d]`; `None` means that they are zero.
    pub far: Option<&'a [T]>,
    /// Relations after the layer's projection, `[2R, d]`.
    pub relations: &'a Tensor,
    pub boundary: &'a Boundary,
}

/// What a layer's forward pass saves for its backward pass, per row of its output.
pub(super) struct SavedLayer<T: Elem> {
    pub features: Buffer<T>,
    normed: Buffer<T>,
    rstd: Buffer<T>,
}

/// Gradients of boundary states.
pub(super) struct BoundaryGrads<T> {
    /// Of start nodes, `[K, d]`.
    pub rows: Vec<T>,
    /// Of all other nodes, `[N, d]`, if they have boundary states.
    pub nodes: Option<Vec<T>>,
}

impl<T: Elem> BoundaryGrads<T> {
    /// Zeros.
    pub fn zeros(boundary: &Boundary) -> Self {
        let zeros = |like: &Tensor| vec![T::zero(); like.elem_count()];
        BoundaryGrads {
            rows: zeros(&boundary.rows),
            nodes: boundary.of_nodes.as_ref().map(zeros),
        }
    }
}

impl<T: Elem> SavedLayer<T> {
    fn slices(&self) -> Saved<'_, T> {
        Saved {
            features: &self.features,
            normed: &self.normed,
            rstd: &self.rstd,
        }
    }
}

/// Gradients from a layer's backward pass.
pub(super) struct LayerGrads<T: Elem> {
    /// Gradient of the states that the layer read.
    pub x: Buffer<T>,
    /// Gradient of the relations after the layer's projection, `[2R, d]`.
    pub relations: Tensor,
    pub linear: Linear,
    pub norm: Option<Norm>,
}

/// The rows that have a boundary state, in increasing order, each with the index of that state.
pub(super) fn boundary_at(boundary: &Boundary, rows: &Rows) -> Vec<(u32, u32)> {
    let all = boundary.nodes.iter().enumerate();
    let all = all.flat_map(|(q, nodes)| nodes.iter().map(move |v| (*v as usize, q)));
    let mut at: Vec<(u32, u32)> = all
        .enumerate()
        .filter_map(|(k, (v, q))| match rows.own(v, q) {
            NONE => None,
            row => Some((row, k as u32)),
        })
        .collect();
    at.sort_unstable();
    at
}

/// Read access to the tensors of a layer.
struct Views<'a, T> {
    weight: View<'a, T>,
    bias: View<'a, T>,
    norm: Option<(View<'a, T>, View<'a, T>)>,
    relations: View<'a, T>,
    boundary: View<'a, T>,
    boundary_of_nodes: Option<View<'a, T>>,
    /// See [`boundary_at`], for the rows of the output.
    boundary_at: Vec<(u32, u32)>,
}

impl<T: Elem> LayerInput<'_, T> {
    fn open<'a>(&'a self, params: &'a LayerParams) -> Result<Views<'a, T>> {
        Ok(Views {
            weight: view(&params.linear.weight)?,
            bias: view(&params.linear.bias)?,
            norm: match &params.norm {
                Some(norm) => Some((view(&norm.weight)?, view(&norm.bias)?)),
                None => None,
            },
            relations: view(self.relations)?,
            boundary: view(&self.boundary.rows)?,
            boundary_of_nodes: self.boundary.of_nodes.as_ref().map(view).transpose()?,
            boundary_at: boundary_at(self.boundary, self.to),
        })
    }

    fn kernel<'a>(&'a self, views: &'a Views<'_, T>) -> Result<Layer<'a, T>> {
        let (into, out_of) = self.graph.flow(self.kind.path);
        let bias = views.bias.slice()?;
        let (dim, out) = (self.boundary.rows.dims2()?.1, bias.len());
        Ok(Layer {
            from: self.from,
            to: self.to,
            into,
            out_of,
            x: self.x,
            far: self.far,
            relations: views.relations.slice()?,
            dim,
            out,
            weight: views.weight.slice()?,
            bias,
            affine: match &views.norm {
                Some((gamma, beta)) => Some(Affine {
                    gamma: gamma.slice()?,
                    beta: beta.slice()?,
                }),
                None => None,
            },
            activation: self.kind.activation.kernel(),
            // As in the reference: the shortcut applies only where shapes match.
            shortcut: self.kind.shortcut && dim == out,
            boundary: layer::Boundary {
                at: &views.boundary_at,
                rows: views.boundary.slice()?,
                nodes: slice_of(&views.boundary_of_nodes)?,
            },
            aggregate: self.degrees.aggregate(),
        })
    }

    /// Runs the layer. Returns the states that it writes and what its backward pass needs.
    pub fn forward<M: Message>(&self, params: &LayerParams) -> Result<(Buffer<T>, SavedLayer<T>)> {
        let views = self.open(params)?;
        Ok(run::<M, T>(&self.kernel(&views)?))
    }

    /// Backward of [`LayerInput::forward`], from the gradient `dy` of the states that the layer
    /// wrote. Without `saved` the layer is computed again first. Adds the gradients of boundary
    /// states to `dboundary`.
    pub fn backward<M: Message>(
        &self,
        params: &LayerParams,
        saved: Option<SavedLayer<T>>,
        dy: &[T],
        dboundary: &mut BoundaryGrads<T>,
    ) -> Result<LayerGrads<T>> {
        let views = self.open(params)?;
        let kernel = self.kernel(&views)?;
        let saved = saved.unwrap_or_else(|| run::<M, T>(&kernel).1);
        let (dim, out, rows) = (kernel.dim, kernel.out, self.to.len());
        let width = kernel.aggregate.width(dim);
        let mut dx = Buffer::zeros(self.from.len() * dim);
        let mut dstate = Buffer::dirty(rows * dim);
        let mut dfeatures = Buffer::dirty(rows * width);
        let zeros = |n: usize| vec![T::zero(); n];
        let (mut dweight, mut dbias) = (zeros(kernel.weight.len()), zeros(out));
        let (mut dgamma, mut dbeta) = (zeros(out), zeros(out));
        let mut drelations = zeros(kernel.relations.len());
        layer::backward::<M, T>(
            &kernel,
            saved.slices(),
            dy,
            layer::Grads {
                x: &mut dx,
                state: &mut dstate,
                features: &mut dfeatures,
                relations: &mut drelations,
                boundary: &mut dboundary.rows,
                nodes: dboundary.nodes.as_deref_mut(),
                weight: &mut dweight,
                bias: &mut dbias,
                affine: Some((&mut dgamma, &mut dbeta)),
            },
        );
        Ok(LayerGrads {
            x: dx,
            relations: tensor(drelations, self.relations.shape())?,
            linear: Linear {
                weight: tensor(dweight, params.linear.weight.shape())?,
                bias: tensor(dbias, out)?,
            },
            norm: match &params.norm {
                Some(_) => Some(Norm {
                    weight: tensor(dgamma, out)?,
                    bias: tensor(dbeta, out)?,
                }),
                None => None,
            },
        })
    }
}

impl<T: Elem> LayerInput<'_, T> {
    /// The gains of the edges of a cone, from the gradient `dy` of its output, `[cone.to, out]`.
    /// Adds the gradient of its input to `dx`, `[cone.from, d]`; see [`layer::edge_gains`].
    pub fn edge_gains<M: Message>(
        &self,
        params: &LayerParams,
        saved: &SavedLayer<T>,
        cone: Cone<'_>,
        dy: &[T],
        dx: &mut [T],
    ) -> Result<Vec<Gain<T>>> {
        let views = self.open(params)?;
        let kernel = self.kernel(&views)?;
        let saved = saved.slices();
        Ok(layer::edge_gains::<M, T>(&kernel, saved, cone, dy, dx))
    }
}

fn run<M: Message, T: Elem>(kernel: &Layer<'_, T>) -> (Buffer<T>, SavedLayer<T>) {
    let (rows, out) = (kernel.to.len(), kernel.out);
    let mut y = Buffer::dirty(rows * out);
    let mut saved = SavedLayer {
        features: Buffer::dirty(rows * kernel.aggregate.width(kernel.dim)),
        normed: Buffer::dirty(rows * out),
        rstd: Buffer::dirty(rows),
    };
    layer::forward::<M, T>(
        kernel,
        Out {
            features: &mut saved.features,
            normed: &mut saved.normed,
            rstd: &mut saved.rstd,
            y: &mut y,
        },
    );
    (y, saved)
}
