//! A pass backward.

use gfm_pipe_kernels::gpu::extremes::AggregateGrads;
use gfm_pipe_kernels::gpu::messages::Starts;
use gfm_pipe_kernels::gpu::norms::NormGrads;
use gfm_pipe_kernels::gpu::products::{Matrix, product};
use gfm_pipe_kernels::gpu::rows::{
    add, add_from_states, divide_rows, relu_backward, sum_rows, weigh_rows_backward,
};
use gfm_pipe_kernels::gpu::scales::Scales;
use gfm_pipe_kernels::gpu::{State, Vector, View};

use super::Result;
use super::forward::{MadeOf, Model, Projection, Tape, layer_name};
use super::head::HeadGrad;
use super::weights::{Places, Weights};

/// Gradients of all parameters, laid out as these are.
pub(crate) struct Gradients<S: State> {
    places: Places,
    pub values: Vector<S::Acc>,
}

/// What a layer's linear map saw of its messages, and the gradients of all it saw.
struct Joined<'a, S: State> {
    features: Vector<S>,
    /// Of the features as it saw them.
    dinput: Vector<S>,
    /// Of the states.
    dstate: Vector<S>,
    /// Of the output, where the shortcut passes it on.
    dy: Option<View<'a, S>>,
}

impl<S: State> Gradients<S> {
    /// Room for them; between parameters there are zeros.
    pub fn new(weights: &Weights<S>) -> Result<Self> {
        Ok(Gradients {
            values: weights.gpu().zeros(weights.places.len())?,
            places: weights.places.clone(),
        })
    }

    pub fn part(&self, name: &str) -> View<'_, S::Acc> {
        self.places.part(&self.values, name)
    }

    pub fn matrix(&self, name: &str) -> Matrix<'_, S::Acc> {
        self.places.matrix(&self.values, name)
    }

    pub fn columns(&self, name: &str, from: usize, columns: usize) -> Matrix<'_, S::Acc> {
        self.places.columns(&self.values, name, from, columns)
    }
}

impl<S: State> Model<'_, S> {
    /// Backward of [`super::forward::linear`], without ReLU: the gradient of its input, where that is wanted.
    fn linear_backward(
        &self,
        name: &str,
        (x, dy): (View<'_, S::Acc>, View<'_, S::Acc>),
        rows: usize,
        grads: &Gradients<S>,
        wanted: bool,
    ) -> Result<Option<Vector<S::Acc>>> {
        let (k, n) = (x.len() / rows.max(1), dy.len() / rows.max(1));
        let (weight, bias) = (format!("{name}.weight"), format!("{name}.bias"));
        let dy_rows = Matrix::new(dy, rows, n);
        product(
            grads.matrix(&weight),
            dy_rows.t(),
            Matrix::new(x, rows, k),
            false,
        )?;
        sum_rows(dy, grads.part(&bias), n)?;
        if !wanted {
            return Ok(None);
        }
        let dx = self.gpu().dirty(rows * k)?;
        let weight = self.weights.matrix(&weight);
        product(Matrix::new(dx.view(), rows, k), dy_rows, weight, false)?;
        Ok(Some(dx))
    }

    /// Backward of [`Model::project`], added to the gradient of the relations before it.
    fn project_backward(
        &self,
        i: usize,
        relations: &Vector<S::Acc>,
        projection: &Projection<S>,
        dprojected: View<'_, S::Acc>,
        (grads, drelations): (&Gradients<S>, View<'_, S::Acc>),
    ) -> Result<()> {
        let rows = self.graph.relations;
        let name = |j: usize| layer_name(i, &format!("relation_projection.{j}"));
        let hidden = projection.hidden.view();
        let second = (hidden, dprojected);
        if let Some(dhidden) = self.linear_backward(&name(2), second, rows, grads, true)? {
            relu_backward(dhidden.view(), hidden)?;
            let first = (relations.view(), dhidden.view());
            if let Some(d) = self.linear_backward(&name(0), first, rows, grads, true)? {
                add(drelations, d.view())?;
            }
        }
        Ok(())
    }

    /// From the gradients of what layer `i`'s linear map saw to those of the states and relations it came from, which are replaced, and of the
    /// boundary, which is added to.
    fn through_messages(
        &self,
        i: usize,
        tape: &Tape<'_, S>,
        joined: Joined<'_, S>,
        (dx, dprojected, drows): (View<'_, S>, View<'_, S::Acc>, View<'_, S::Acc>),
    ) -> Result<()> {
        let (d, reach, removed) = (self.dim(), &tape.ask.reach, tape.ask.removed);
        let to = &reach.rows[i + 1];
        let starts = self.starts(&tape.boundary, &reach.host.rows[i + 1])?;
        let seen = (tape.states[i].view(), None);
        let messages = self.messages(i, reach, seen, &tape.projections[i]);
        let degrees = self.graph.degrees(removed);
        let by_row = starts.by_row(to.len())?;
        let at = by_row.as_ref().map(|at| Starts {
            at: at.view(),
            rows: tape.boundary.rows.view(),
        });
        let dstate = (joined.dstate.view(), joined.dy);
        let Some(aggregate) = self.aggregate(messages, degrees, at) else {
            let dsum = joined.dinput.view();
            if let Some(degrees) = degrees {
                divide_rows(dsum, degrees.counts.view(), to.node(), d)?;
            }
            let (row, k) = (starts.row.view(), starts.boundary.view());
            add_from_states(drows, dsum, k, row, d)?;
            messages.relation_grad(dsum, dprojected)?;
            return messages.state_grad(dsum, dstate.0, dstate.1, dx);
        };
        let dfeatures = match degrees.and_then(|d| d.scales.as_ref()) {
            None => joined.dinput,
            Some([scale, inverse]) => {
                let out = self.gpu().dirty::<S>(joined.features.len())?;
                let scales = Scales {
                    scale: scale.view(),
                    inverse: inverse.view(),
                };
                scales.widen_backward(joined.dinput.view(), to.node(), out.view(), d)?;
                out
            }
        };
        let to = AggregateGrads {
            x: dx,
            relations: dprojected,
            starts: at.map(|_| drows),
        };
        aggregate.backward(joined.features.view(), dfeatures.view(), dstate, to)
    }

    /// Gradients of all parameters from that of the scores. The tape is used up.
    pub(super) fn backward(
        &self,
        mut tape: Tape<'_, S>,
        dscores: View<'_, S::Acc>,
        grads: &Gradients<S>,
    ) -> Result<()> {
        let (gpu, d) = (self.gpu(), self.dim());
        let (dquery, head) = self.head_backward(&mut tape, dscores, grads)?;
        let layers = self.config.layers();
        let mut dy = None;
        let mut dseen = None;
        match head {
            HeadGrad::Last(last) => dy = Some(last),
            HeadGrad::Seen(seen) => dseen = Some(seen),
        }
        let drows = gpu.zeros::<S::Acc>(tape.boundary.rows.len())?;
        let drelations = gpu.zeros::<S::Acc>(tape.relations.len())?;
        for i in (0..layers).rev() {
            let out = self.config.hidden_dims[i];
            let to = &tape.ask.reach.rows[i + 1];
            let m = to.len();
            // The states after this layer have served the layer that follows.
            tape.states.truncate(i + 1);
            let upper = match dy.take() {
                Some(dy) => dy,
                None => gpu.zeros(m * out)?,
            };
            if let Some(dseen) = &dseen {
                self.give_back(&tape, i + 1, dseen, upper.view())?;
            }
            let removed = tape.ask.removed;
            let x = tape.states[i].view();
            let projection = &tape.projections[i];
            let left = match tape.layers.pop().flatten() {
                Some(left) => left,
                None => {
                    let at = (&tape.ask.reach, removed);
                    self.layer(i, at, (x, None), projection, &tape.boundary)?.1
                }
            };
            let dlin = gpu.dirty::<S>(m * out)?;
            let part = |name: &str| grads.part(&layer_name(i, name));
            let params = NormGrads {
                bias: part("linear.bias"),
                affine: self
                    .config
                    .layer_norm
                    .then(|| (part("layer_norm.weight"), part("layer_norm.bias"))),
            };
            let normed = (left.normed.view(), left.rstd.view());
            self.norm(i)
                .backward(normed, upper.view(), dlin.view(), params)?;
            drop((left.normed, left.rstd));
            let gathered = self.seen(i, &tape.ask.reach, x, None)?;
            let states = gathered.as_ref().map_or(x, Vector::view);
            let name = layer_name(i, "linear.weight");
            let dl = Matrix::new(dlin.view(), m, out);
            let through = |seen: View<'_, S>, from: usize, width: usize| -> Result<Vector<S>> {
                let to = grads.columns(&name, from, width);
                product(to, dl.t(), Matrix::new(seen, m, width), false)?;
                let dseen = gpu.dirty(m * width)?;
                let weight = self.weights.low_columns(&name, from, width);
                product(Matrix::new(dseen.view(), m, width), dl, weight, false)?;
                Ok(dseen)
            };
            let dstate = through(states, 0, d)?;
            let widened = self.widened(left.features.view(), to, removed)?;
            let input = widened.as_ref().unwrap_or(&left.features);
            let dinput = through(input.view(), d, self.config.aggregate_func.width() * d)?;
            drop((dlin, gathered, widened));
            let dx = gpu.dirty::<S>(x.len())?;
            let dprojected = gpu.dirty::<S::Acc>(projection.low.len())?;
            let joined = Joined {
                features: left.features,
                dinput,
                dstate,
                dy: self.shortcut(i).then(|| upper.view()),
            };
            let to = (dx.view(), dprojected.view(), drows.view());
            self.through_messages(i, &tape, joined, to)?;
            let relations = (grads, drelations.view());
            self.project_backward(i, &tape.relations, projection, dprojected.view(), relations)?;
            dy = Some(dx);
        }
        // The states before the first layer are the boundary.
        let starts = self.starts(&tape.boundary, &tape.ask.reach.host.rows[0])?;
        if let Some(dx) = dy {
            let (row, k) = (starts.row.view(), starts.boundary.view());
            add_from_states(drows.view(), dx.view(), k, row, d)?;
        }
        let of = tape.boundary.query.view();
        let weight = Some(tape.boundary.weight.view());
        weigh_rows_backward(dquery.view(), weight, of, drows.view(), d)?;
        match &tape.queries.made_of {
            MadeOf::Relations(ids) => {
                weigh_rows_backward(drelations.view(), None, ids.view(), dquery.view(), d)?;
            }
            MadeOf::Texts(texts) => {
                let rows = dquery.len() / d.max(1);
                let both = (texts.view(), dquery.view());
                self.linear_backward("question_mlp", both, rows, grads, false)?;
            }
        }
        let both = (self.graph.embeddings.view(), drelations.view());
        self.linear_backward("rel_mlp", both, self.graph.relations, grads, false)?;
        Ok(())
    }
}
