//! One layer: messages, linear map, normalisation, activation and shortcut, forward and backward.

use std::sync::Arc;

use gfm_pipe_kernels::gpu::extremes::{Aggregate, AggregateGrads, Kind};
use gfm_pipe_kernels::gpu::messages::{Messages, Starts};
use gfm_pipe_kernels::gpu::norms::{Affine, Norm, NormGrads, Normed};
use gfm_pipe_kernels::gpu::products::{Matrix, product};
use gfm_pipe_kernels::gpu::rows::{Gather, add, cast, divide_rows, relu_backward, weigh_rows};
use gfm_pipe_kernels::gpu::scales::Scales;
use gfm_pipe_kernels::gpu::{State, Vector, View};

use super::error::Result;
use super::graph::{DeviceReach, Removed};
use super::linear::{Then, input_grad, linear, parameters_grad};
use super::model::{Boundary, Model, Projection, StartRows};
use super::weights::Gradients;
use crate::ops::AggregateFunc;

/// What layer `index` reads.
#[derive(Clone, Copy)]
pub(super) struct LayerInput<'a, S: State> {
    /// Which layer; zero-based.
    pub index: usize,
    pub reach: &'a DeviceReach,
    pub removed: Option<&'a Removed<S>>,
    /// States before the layer, one per row.
    pub states: View<'a, S>,
    /// States before the layer of nodes without a row, `[N, d]`; zero if there are none.
    pub background: Option<View<'a, S>>,
    pub projection: &'a Projection<S>,
    pub boundary: &'a Boundary<S::Acc>,
}

impl<S: State> LayerInput<'_, S> {
    /// Number of rows of the layer's output.
    fn rows(&self) -> usize {
        self.reach.rows[self.index + 1].len()
    }
}

/// What a layer's backward pass needs besides its input.
pub(super) struct LayerTape<S: State> {
    /// Messages and boundary, aggregated, `[rows, d]`; for PNA `[rows, 4 d]`.
    features: Vector<S>,
    normed: Vector<S>,
    rstd: Vector<S::Acc>,
}

/// Gradients that layers add to, one after the other.
#[derive(Clone, Copy)]
pub(super) struct SharedGrads<'a, S: State> {
    pub parameters: &'a Gradients<S>,
    /// Of the relation states, `[2R, d]`.
    pub relations: View<'a, S::Acc>,
    /// Of the boundary, `[K, d]`.
    pub boundary: View<'a, S::Acc>,
}

/// Gradients of what a layer's linear map reads, and of what else leads back to the layer's input.
struct LinearInputGrads<'a, S: State> {
    features: Vector<S>,
    /// Of the features as the linear map reads them; PNA's are scaled by the degree.
    input: Vector<S>,
    /// Of the states.
    states: Vector<S>,
    /// Of the layer's output, if a shortcut adds the states to it.
    shortcut: Option<View<'a, S>>,
}

/// Name of a layer's parameter.
fn layer_name(i: usize, rest: &str) -> String {
    format!("entity_model.layers.{i}.{rest}")
}

impl<'a, S: State> Model<'a, S> {
    /// Layer `i`'s projection of the relation states: Linear, ReLU, Linear.
    pub(super) fn project(&self, i: usize, relations: &Vector<S::Acc>) -> Result<Projection<S>> {
        let rows = self.graph.relations;
        let name = |j: usize| layer_name(i, &format!("relation_projection.{j}"));
        let hidden = linear(self.weights, &name(0), relations.view(), rows, Then::Relu)?;
        let wide = linear(self.weights, &name(2), hidden.view(), rows, Then::Nothing)?;
        let relations = self.gpu().dirty(wide.len())?;
        cast(relations.view(), wide.view())?;
        Ok(Projection { hidden, relations })
    }

    /// Backward of [`Model::project`], added to the gradient of the relation states.
    fn project_backward(
        &self,
        i: usize,
        relations: &Vector<S::Acc>,
        projection: &Projection<S>,
        dprojected: View<'_, S::Acc>,
        grads: SharedGrads<'_, S>,
    ) -> Result<()> {
        let rows = self.graph.relations;
        let (first, second) = (
            layer_name(i, "relation_projection.0"),
            layer_name(i, "relation_projection.2"),
        );
        let hidden = projection.hidden.view();
        parameters_grad(grads.parameters, &second, hidden, dprojected, rows)?;
        let dhidden = input_grad(self.weights, &second, dprojected, rows)?;
        relu_backward(dhidden.view(), hidden)?;
        let (x, dy) = (relations.view(), dhidden.view());
        parameters_grad(grads.parameters, &first, x, dy, rows)?;
        let dx = input_grad(self.weights, &first, dy, rows)?;
        add(grads.relations, dx.view())
    }

    /// What follows layer `i`'s linear map.
    fn norm(&self, i: usize) -> Norm<'a, S> {
        let part = |name: &str| self.weights.part(&layer_name(i, name));
        Norm {
            bias: part("linear.bias"),
            affine: self.config.layer_norm.then(|| Affine {
                scale: part("layer_norm.weight"),
                shift: part("layer_norm.bias"),
            }),
            activation: self.config.activation.kernel(),
            dim: self.config.hidden_dims[i],
        }
    }

    /// Whether layer `i` adds its input to its output.
    fn has_shortcut(&self, i: usize) -> bool {
        self.config.short_cut && self.config.hidden_dims[i] == self.dim()
    }

    /// The states before the layer, one per row of its output; `None` if its rows are the same.
    fn states_of_output_rows(&self, input: &LayerInput<'_, S>) -> Result<Option<Vector<S>>> {
        let rows = &input.reach.rows;
        let (from, to) = (&rows[input.index], &rows[input.index + 1]);
        if Arc::ptr_eq(from, to) {
            return Ok(None);
        }
        let out = self.gpu().dirty(to.len() * self.dim())?;
        let gather = Gather { from, to };
        gather.states(input.states, input.background, out.view(), self.dim())?;
        Ok(Some(out))
    }

    fn messages<'m>(&'m self, input: &LayerInput<'m, S>) -> Messages<'m, S> {
        Messages {
            function: self.config.message_func,
            edges: &self.graph.edges,
            from: &input.reach.rows[input.index],
            to: &input.reach.rows[input.index + 1],
            x: input.states,
            far: input.background,
            relations: input.projection.relations.view(),
            dim: self.dim(),
        }
    }

    /// How messages are aggregated, unless by a sum or a mean.
    fn aggregate<'m>(
        &'m self,
        input: &LayerInput<'m, S>,
        starts: Option<Starts<'m, S>>,
    ) -> Option<Aggregate<'m, S>> {
        let kind = match self.config.aggregate_func {
            AggregateFunc::Sum | AggregateFunc::Mean => return None,
            AggregateFunc::Max => Kind::Max,
            AggregateFunc::Min => Kind::Min,
            AggregateFunc::Pna => Kind::Pna(self.graph.degrees(input.removed)?.counts.view()),
        };
        Some(Aggregate {
            kind,
            path: self.config.message_func.path(),
            messages: self.messages(input),
            starts,
        })
    }

    /// Messages and boundary of the output's rows, aggregated.
    fn features(
        &self,
        input: &LayerInput<'_, S>,
        starts: Option<Starts<'_, S>>,
    ) -> Result<Vector<S>> {
        if let Some(aggregate) = self.aggregate(input, starts) {
            let out = self.gpu().dirty(input.rows() * aggregate.width())?;
            aggregate.forward(out.view())?;
            return Ok(out);
        }
        let out = self.gpu().dirty(input.rows() * self.dim())?;
        let degrees = self.graph.degrees(input.removed);
        let counts = degrees.map(|d| d.counts.view());
        self.messages(input).sum(starts, counts, out.view())?;
        Ok(out)
    }

    /// PNA's functions of the degree; `None` for the other aggregates.
    fn scales<'m>(&'m self, removed: Option<&'m Removed<S>>) -> Option<Scales<'m, S::Acc>> {
        let scales = self.graph.degrees(removed)?.scales.as_ref()?;
        Some(Scales {
            scale: scales.scale.view(),
            inverse: scales.inverse.view(),
        })
    }

    /// PNA's features times the functions of the degree, `[rows, 12 d]`; `None` for the others.
    fn scaled(
        &self,
        input: &LayerInput<'_, S>,
        features: View<'_, S>,
    ) -> Result<Option<Vector<S>>> {
        let Some(scales) = self.scales(input.removed) else {
            return Ok(None);
        };
        let node = input.reach.rows[input.index + 1].node();
        let out = self.gpu().dirty(input.rows() * 12 * self.dim())?;
        scales.widen(features, node, out.view(), self.dim())?;
        Ok(Some(out))
    }

    /// A layer's output, and what its backward pass needs.
    pub(super) fn layer(&self, input: &LayerInput<'_, S>) -> Result<(Vector<S>, LayerTape<S>)> {
        let (gpu, d, i) = (self.gpu(), self.dim(), input.index);
        let (m, out) = (input.rows(), self.config.hidden_dims[i]);
        let starts = self.starts(input.boundary, &input.reach.host.rows[i + 1])?;
        let start = starts.by_row(&input.reach.rows[i + 1])?;
        let starts = start.as_ref().map(|index| Starts {
            at: index.view(),
            rows: input.boundary.rows.view(),
        });
        let features = self.features(input, starts)?;
        let scaled = self.scaled(input, features.view())?;
        let linear_input = scaled.as_ref().unwrap_or(&features).view();
        let gathered = self.states_of_output_rows(input)?;
        let states = gathered.as_ref().map_or(input.states, Vector::view);
        let normed = gpu.dirty(m * out)?;
        let lin = || Matrix::new(normed.view(), m, out);
        let name = layer_name(i, "linear.weight");
        let wide = self.config.aggregate_func.width() * d;
        let of_states = self.weights.low_columns(&name, 0, d);
        product(lin(), Matrix::new(states, m, d), of_states.t(), false)?;
        let of_features = self.weights.low_columns(&name, d, wide);
        let features_rows = Matrix::new(linear_input, m, wide);
        product(lin(), features_rows, of_features.t(), true)?;
        let (y, rstd) = (gpu.dirty(m * out)?, gpu.dirty(m)?);
        let shortcut = self.has_shortcut(i).then_some(states);
        self.norm(i)
            .forward(normed.view(), rstd.view(), shortcut, y.view())?;
        let tape = LayerTape {
            features,
            normed,
            rstd,
        };
        Ok((y, tape))
    }

    /// The gradient of a layer's input states from that of its output. `relations` are the relation
    /// states that the projection was computed from.
    pub(super) fn layer_backward(
        &self,
        input: &LayerInput<'_, S>,
        tape: LayerTape<S>,
        dy: View<'_, S>,
        relations: &Vector<S::Acc>,
        grads: SharedGrads<'_, S>,
    ) -> Result<Vector<S>> {
        let (gpu, d, i) = (self.gpu(), self.dim(), input.index);
        let (m, out) = (input.rows(), self.config.hidden_dims[i]);
        let dlin = gpu.dirty::<S>(m * out)?;
        let part = |name: &str| grads.parameters.part(&layer_name(i, name));
        let norm_grads = NormGrads {
            bias: part("linear.bias"),
            affine: self.config.layer_norm.then(|| Affine {
                scale: part("layer_norm.weight"),
                shift: part("layer_norm.bias"),
            }),
        };
        let normed = Normed {
            values: tape.normed.view(),
            rstd: tape.rstd.view(),
        };
        self.norm(i).backward(normed, dy, dlin.view(), norm_grads)?;
        drop((tape.normed, tape.rstd));
        let gathered = self.states_of_output_rows(input)?;
        let states = gathered.as_ref().map_or(input.states, Vector::view);
        let name = layer_name(i, "linear.weight");
        let dl = Matrix::new(dlin.view(), m, out);
        // Some columns of the linear map: the gradient of the weight, and that of what they read.
        let columns = |x: View<'_, S>, first: usize, width: usize| -> Result<Vector<S>> {
            let to = grads.parameters.columns(&name, first, width);
            product(to, dl.t(), Matrix::new(x, m, width), false)?;
            let dx = gpu.dirty(m * width)?;
            let weight = self.weights.low_columns(&name, first, width);
            product(Matrix::new(dx.view(), m, width), dl, weight, false)?;
            Ok(dx)
        };
        let dstates = columns(states, 0, d)?;
        let scaled = self.scaled(input, tape.features.view())?;
        let linear_input = scaled.as_ref().unwrap_or(&tape.features).view();
        let dinput = columns(linear_input, d, self.config.aggregate_func.width() * d)?;
        drop((dlin, gathered, scaled));
        let dx = gpu.dirty::<S>(input.states.len())?;
        let dprojected = gpu.dirty::<S::Acc>(input.projection.relations.len())?;
        let linear_grads = LinearInputGrads {
            features: tape.features,
            input: dinput,
            states: dstates,
            shortcut: self.has_shortcut(i).then_some(dy),
        };
        let to = AggregateGrads {
            x: dx.view(),
            relations: dprojected.view(),
            starts: Some(grads.boundary),
        };
        self.aggregate_backward(input, linear_grads, to)?;
        self.project_backward(i, relations, input.projection, dprojected.view(), grads)?;
        Ok(dx)
    }

    /// From the gradients of what the linear map read to those of the states and projected
    /// relations, which are replaced, and of the boundary, which is added to.
    fn aggregate_backward(
        &self,
        input: &LayerInput<'_, S>,
        linear: LinearInputGrads<'_, S>,
        to: AggregateGrads<'_, S>,
    ) -> Result<()> {
        let rows = &input.reach.rows[input.index + 1];
        let starts = self.starts(input.boundary, &input.reach.host.rows[input.index + 1])?;
        let by_row = starts.by_row(rows)?;
        let starts_by_row = by_row.as_ref().map(|index| Starts {
            at: index.view(),
            rows: input.boundary.rows.view(),
        });
        let Some(aggregate) = self.aggregate(input, starts_by_row) else {
            return self.sum_backward(input, &starts, &linear, to);
        };
        let dfeatures = match self.scales(input.removed) {
            None => linear.input,
            Some(scales) => {
                let out = self.gpu().dirty::<S>(linear.features.len())?;
                scales.widen_backward(linear.input.view(), rows.node(), out.view(), self.dim())?;
                out
            }
        };
        let backward = |aggregate: Aggregate<'_, S>, starts| {
            aggregate.backward(
                linear.features.view(),
                dfeatures.view(),
                linear.states.view(),
                linear.shortcut,
                AggregateGrads { starts, ..to },
            )
        };
        let (Some(by_row), true, Some(boundary)) = (&by_row, starts.nodes, to.starts) else {
            let starts = to.starts.filter(|_| starts_by_row.is_some());
            return backward(aggregate, starts);
        };
        // Several rows have the boundary state of one node. The kernel adds to each state once, so
        // every row gets a copy.
        let (gpu, d) = (self.gpu(), self.dim());
        let copies = gpu.dirty(rows.len() * d)?;
        let of_boundary = input.boundary.rows.view();
        weigh_rows(of_boundary, None, by_row.view(), copies.view(), d)?;
        let own = gpu.vector(&(0..rows.len() as u32).collect::<Vec<u32>>())?;
        let dcopies = gpu.zeros::<S::Acc>(rows.len() * d)?;
        let starts_of_rows = Starts {
            at: own.view(),
            rows: copies.view(),
        };
        if let Some(aggregate) = self.aggregate(input, Some(starts_of_rows)) {
            backward(aggregate, Some(dcopies.view()))?;
        }
        self.add_boundary_grad(boundary, dcopies.view(), (&starts, &**rows))
    }

    /// [`Model::aggregate_backward`] of a sum or a mean.
    fn sum_backward(
        &self,
        input: &LayerInput<'_, S>,
        starts: &StartRows,
        linear: &LinearInputGrads<'_, S>,
        to: AggregateGrads<'_, S>,
    ) -> Result<()> {
        let (d, dsum) = (self.dim(), linear.input.view());
        if let Some(degrees) = self.graph.degrees(input.removed) {
            let node = input.reach.rows[input.index + 1].node();
            divide_rows(dsum, degrees.counts.view(), node, d)?;
        }
        if let Some(boundary) = to.starts {
            let rows = &input.reach.rows[input.index + 1];
            self.add_boundary_grad(boundary, dsum, (starts, &**rows))?;
        }
        let messages = self.messages(input);
        messages.relation_grad(dsum, to.relations)?;
        messages.state_grad(dsum, linear.states.view(), linear.shortcut, to.x)
    }
}
