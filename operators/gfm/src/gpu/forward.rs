//! A pass forward: relations, boundary, layers, head.

use std::collections::BTreeMap;

use gfm_pipe_kernels::gpu::extremes::{Aggregate, Kind, Path};
use gfm_pipe_kernels::gpu::messages::{DeviceRows, Function, Messages, Starts};
use gfm_pipe_kernels::gpu::norms::Norm;
use gfm_pipe_kernels::gpu::products::{Matrix, product};
use gfm_pipe_kernels::gpu::rows::{
    add_to_states, bias_rows, cast, gather_states, set_at, weigh_rows,
};
use gfm_pipe_kernels::gpu::scales::Scales;
use gfm_pipe_kernels::gpu::{Gpu, State, Vector, View};
use gfm_pipe_kernels::rows::{NONE, Rows};

use super::Result;
use super::graph::{Degrees, DeviceGraph, DeviceReach, Removed};
use super::head::HeadLeft;
use super::weights::{Weights, upload};
use crate::model::{ModelConfig, Reach};
use crate::ops::{AggregateFunc, MessageFunc, Seeds};

/// A model on a graph, both on the device.
#[derive(Clone, Copy)]
pub(crate) struct Model<'a, S: State> {
    pub config: &'a ModelConfig,
    pub weights: &'a Weights<S>,
    pub graph: &'a DeviceGraph<S>,
    /// Whether layers are computed again in the backward pass instead of kept.
    pub recompute: bool,
}

/// What a batch asks: where queries come from, where they start, and whose scores are wanted.
pub(crate) struct Ask<'a, S: State> {
    /// Query vectors.
    pub query: Query<'a>,
    /// Where they start.
    pub seeds: &'a Seeds,
    /// Nodes whose scores are wanted, as many for each query; all where there are none.
    pub candidates: Option<&'a [Vec<u32>]>,
    /// The rows to compute.
    pub reach: DeviceReach,
    /// Edges that are out of the graph at the moment.
    pub removed: Option<&'a Removed<S>>,
}

/// Where query vectors come from.
#[derive(Clone, Copy)]
pub(crate) enum Query<'a> {
    /// The states of these relations.
    Relations(&'a [u32]),
    /// Embeddings of questions, `[B, text]`.
    Texts(&'a [f32]),
}

/// Query vectors `[B, d]` and what they were made of.
pub(super) struct Queries<A: State> {
    pub vectors: Vector<A>,
    pub made_of: MadeOf<A>,
}

pub(super) enum MadeOf<A: State> {
    Relations(Vector<u32>),
    Texts(Vector<A>),
}

/// The states queries start with: `[K, d]`, one for each seed of each query.
pub(super) struct Boundary<A: State> {
    pub rows: Vector<A>,
    pub weight: Vector<A>,
    /// The query of each.
    pub query: Vector<u32>,
    /// Node and query of each, on the host.
    pub at: Vec<(u32, u32)>,
}

/// Rows of a layer at which the boundary is not zero.
pub(super) struct StartRows {
    pub row: Vector<u32>,
    pub boundary: Vector<u32>,
}

impl StartRows {
    /// For each of `rows` rows its boundary state, or none; `None` where no row has one.
    pub fn by_row(&self, rows: usize) -> Result<Option<Vector<u32>>> {
        if self.row.is_empty() {
            return Ok(None);
        }
        let out = self.row.gpu().dirty::<u32>(rows)?;
        out.view().fill_bytes(0xff)?;
        set_at(out.view(), self.row.view(), self.boundary.view())?;
        Ok(Some(out))
    }
}

/// A layer's own view of the relations.
pub(super) struct Projection<S: State> {
    pub hidden: Vector<S::Acc>,
    pub low: Vector<S>,
}

/// What a layer's backward pass needs.
pub(super) struct Left<S: State> {
    /// Messages and boundary joined, `[rows, d]`; for PNA `[rows, 4 d]`.
    pub features: Vector<S>,
    pub normed: Vector<S>,
    pub rstd: Vector<S::Acc>,
}

/// What a forward pass leaves.
pub(super) struct Tape<'a, S: State> {
    pub ask: Ask<'a, S>,
    pub relations: Vector<S::Acc>,
    pub queries: Queries<S::Acc>,
    pub boundary: Boundary<S::Acc>,
    pub projections: Vec<Projection<S>>,
    /// States before the first layer and after each.
    pub states: Vec<Vector<S>>,
    pub layers: Vec<Option<Left<S>>>,
    pub head: HeadLeft<S>,
}

/// What no query changes: a model's view of the relations, and the states of nodes that no query reaches.
pub(crate) struct Background<S: State> {
    relations: Vector<S::Acc>,
    projections: Vec<Projection<S>>,
    /// States before each layer and after the last, `[N, d]`; none where they are zero and send nothing.
    states: Vec<Option<Vector<S>>>,
    /// The head's first map of what it sees, `[N, f]`, where it goes over all nodes row by row.
    head: Option<Vector<S>>,
}

pub(super) fn function(message: MessageFunc) -> Function {
    match message {
        MessageFunc::TransE => Function::TransE,
        MessageFunc::DistMult => Function::DistMult,
        MessageFunc::RotatE => Function::RotatE,
    }
}

/// Name of a layer's parameter.
pub(super) fn layer_name(i: usize, rest: &str) -> String {
    format!("entity_model.layers.{i}.{rest}")
}

/// `x wᵀ + b`, `[m, k] -> [m, n]`, with ReLU where asked for.
pub(super) fn linear<S: State>(
    weights: &Weights<S>,
    name: &str,
    x: View<'_, S::Acc>,
    rows: usize,
    relu: bool,
) -> Result<Vector<S::Acc>> {
    let bias = weights.part(&format!("{name}.bias"));
    let weight = weights.matrix(&format!("{name}.weight"));
    let n = bias.len();
    let out = weights.gpu().dirty(rows * n)?;
    let x = Matrix::new(x, rows, x.len() / rows.max(1));
    product(Matrix::new(out.view(), rows, n), x, weight.t(), false)?;
    bias_rows(out.view(), bias, rows, relu, n)?;
    Ok(out)
}

impl<'a, S: State> Model<'a, S> {
    pub fn gpu(&self) -> &'a Gpu {
        self.weights.gpu()
    }

    /// Width of states.
    pub(super) fn dim(&self) -> usize {
        self.config.input_dim
    }

    /// Relation states, `[2R, d]`.
    pub(super) fn relations(&self) -> Result<Vector<S::Acc>> {
        let embeddings = self.graph.embeddings.view();
        linear(
            self.weights,
            "rel_mlp",
            embeddings,
            self.graph.relations,
            false,
        )
    }

    fn queries(&self, query: Query<'_>, relations: &Vector<S::Acc>) -> Result<Queries<S::Acc>> {
        let (gpu, d) = (self.gpu(), self.dim());
        match query {
            Query::Relations(ids) => {
                let ids = gpu.vector(ids)?;
                let vectors = gpu.dirty(ids.len() * d)?;
                weigh_rows(relations.view(), None, ids.view(), vectors.view(), d)?;
                Ok(Queries {
                    vectors,
                    made_of: MadeOf::Relations(ids),
                })
            }
            Query::Texts(texts) => {
                let wide: Vec<f64> = texts.iter().map(|x| f64::from(*x)).collect();
                let texts = upload::<S::Acc>(gpu, &wide)?;
                let width = self.graph.embeddings.len() / self.graph.relations.max(1);
                let rows = texts.len() / width.max(1);
                Ok(Queries {
                    vectors: linear(self.weights, "question_mlp", texts.view(), rows, false)?,
                    made_of: MadeOf::Texts(texts),
                })
            }
        }
    }

    fn boundary(&self, seeds: &Seeds, queries: &Vector<S::Acc>) -> Result<Boundary<S::Acc>> {
        let (gpu, d) = (self.gpu(), self.dim());
        let all = || {
            let rows = seeds.iter().enumerate();
            rows.flat_map(|(q, row)| row.iter().map(move |(v, w)| (*v, q as u32, *w)))
        };
        let weights: Vec<f64> = all().map(|(_, _, w)| w).collect();
        let of: Vec<u32> = all().map(|(_, q, _)| q).collect();
        let (weight, query) = (upload::<S::Acc>(gpu, &weights)?, gpu.vector(&of)?);
        let rows = gpu.dirty(of.len() * d)?;
        weigh_rows(
            queries.view(),
            Some(weight.view()),
            query.view(),
            rows.view(),
            d,
        )?;
        Ok(Boundary {
            rows,
            weight,
            query,
            at: all().map(|(v, q, _)| (v, q)).collect(),
        })
    }

    /// Which of a layer's rows have a boundary state.
    pub(super) fn starts(&self, boundary: &Boundary<S::Acc>, rows: &Rows) -> Result<StartRows> {
        let found = boundary.at.iter().enumerate();
        let found = found.filter_map(|(k, (v, q))| match rows.own(*v as usize, *q as usize) {
            NONE => None,
            row => Some((row, k as u32)),
        });
        let (row, k): (Vec<u32>, Vec<u32>) = found.unzip();
        Ok(StartRows {
            row: self.gpu().vector(&row)?,
            boundary: self.gpu().vector(&k)?,
        })
    }

    /// Layer `i`'s view of the relations: Linear, ReLU, Linear.
    pub(super) fn project(&self, i: usize, relations: &Vector<S::Acc>) -> Result<Projection<S>> {
        let rows = self.graph.relations;
        let name = |j: usize| layer_name(i, &format!("relation_projection.{j}"));
        let hidden = linear(self.weights, &name(0), relations.view(), rows, true)?;
        let wide = linear(self.weights, &name(2), hidden.view(), rows, false)?;
        let low = self.gpu().dirty(wide.len())?;
        cast(low.view(), wide.view())?;
        Ok(Projection { hidden, low })
    }

    /// What follows layer `i`'s linear map.
    pub(super) fn norm(&self, i: usize) -> Norm<'a, S> {
        let part = |name: &str| self.weights.part(&layer_name(i, name));
        let affine = self.config.layer_norm;
        Norm {
            bias: part("linear.bias"),
            affine: affine.then(|| (part("layer_norm.weight"), part("layer_norm.bias"))),
            activation: self.config.activation.kernel(),
            dim: self.config.hidden_dims[i],
        }
    }

    /// Whether layer `i` adds its input to its output.
    pub(super) fn shortcut(&self, i: usize) -> bool {
        self.config.short_cut && self.config.hidden_dims[i] == self.dim()
    }

    pub(super) fn messages<'m>(
        &'m self,
        i: usize,
        reach: &'m DeviceReach,
        (x, far): (View<'m, S>, Option<View<'m, S>>),
        projection: &'m Projection<S>,
    ) -> Messages<'m, S> {
        Messages {
            function: function(self.config.message_func),
            edges: &self.graph.edges,
            from: &reach.rows[i],
            to: &reach.rows[i + 1],
            x,
            far,
            relations: projection.low.view(),
            dim: self.dim(),
        }
    }

    /// The states that layer `i`'s rows see of the rows before; `None` where these are the same.
    pub(super) fn seen(
        &self,
        i: usize,
        reach: &DeviceReach,
        x: View<'_, S>,
        far: Option<View<'_, S>>,
    ) -> Result<Option<Vector<S>>> {
        let (from, to) = (&reach.rows[i], &reach.rows[i + 1]);
        if std::sync::Arc::ptr_eq(from, to) {
            return Ok(None);
        }
        let out = self.gpu().dirty(to.len() * self.dim())?;
        gather_states((from, to), x, far, out.view(), self.dim())?;
        Ok(Some(out))
    }

    /// Layer `i`: its output, and what its backward pass needs.
    pub(super) fn layer(
        &self,
        i: usize,
        (reach, removed): (&DeviceReach, Option<&Removed<S>>),
        (x, far): (View<'_, S>, Option<View<'_, S>>),
        projection: &Projection<S>,
        boundary: &Boundary<S::Acc>,
    ) -> Result<(Vector<S>, Left<S>)> {
        let (gpu, d) = (self.gpu(), self.dim());
        let (m, out) = (reach.rows[i + 1].len(), self.config.hidden_dims[i]);
        let starts = self.starts(boundary, &reach.host.rows[i + 1])?;
        let start = starts.by_row(m)?;
        let at = start.as_ref().map(|at| Starts {
            at: at.view(),
            rows: boundary.rows.view(),
        });
        let features = self.features(i, (reach, removed), (x, far), projection, at)?;
        let widened = self.widened(features.view(), &reach.rows[i + 1], removed)?;
        let input = widened.as_ref().unwrap_or(&features).view();
        let gathered = self.seen(i, reach, x, far)?;
        let states = gathered.as_ref().map_or(x, Vector::view);
        let normed = gpu.dirty(m * out)?;
        let lin = || Matrix::new(normed.view(), m, out);
        let name = layer_name(i, "linear.weight");
        let wide = self.config.aggregate_func.width() * d;
        let of_states = self.weights.low_columns(&name, 0, d);
        product(lin(), Matrix::new(states, m, d), of_states.t(), false)?;
        let of_features = self.weights.low_columns(&name, d, wide);
        product(lin(), Matrix::new(input, m, wide), of_features.t(), true)?;
        let (y, rstd) = (gpu.dirty(m * out)?, gpu.dirty(m)?);
        let shortcut = self.shortcut(i).then_some(states);
        self.norm(i)
            .forward(normed.view(), rstd.view(), shortcut, y.view())?;
        let left = Left {
            features,
            normed,
            rstd,
        };
        Ok((y, left))
    }

    /// Messages and boundary of layer `i`'s rows, joined.
    fn features(
        &self,
        i: usize,
        (reach, removed): (&DeviceReach, Option<&Removed<S>>),
        seen: (View<'_, S>, Option<View<'_, S>>),
        projection: &Projection<S>,
        starts: Option<Starts<'_, S>>,
    ) -> Result<Vector<S>> {
        let messages = self.messages(i, reach, seen, projection);
        let rows = reach.rows[i + 1].len();
        let degrees = self.graph.degrees(removed);
        let Some(aggregate) = self.aggregate(messages, degrees, starts) else {
            let out = self.gpu().dirty(rows * self.dim())?;
            let counts = degrees.map(|d| d.counts.view());
            messages.sum(starts, counts, out.view())?;
            return Ok(out);
        };
        let out = self.gpu().dirty(rows * aggregate.width())?;
        aggregate.forward(out.view())?;
        Ok(out)
    }

    /// How messages are joined where that is no sum and no mean.
    pub(super) fn aggregate<'m>(
        &self,
        messages: Messages<'m, S>,
        degrees: Option<&'m Degrees<S::Acc>>,
        starts: Option<Starts<'m, S>>,
    ) -> Option<Aggregate<'m, S>> {
        let kind = match (self.config.aggregate_func, degrees) {
            (AggregateFunc::Max, _) => Kind::Max,
            (AggregateFunc::Min, _) => Kind::Min,
            (AggregateFunc::Pna, Some(degrees)) => Kind::Pna(degrees.counts.view()),
            _ => return None,
        };
        let path = match self.config.message_func.path() {
            crate::ops::Path::Fused => Path::Fused,
            crate::ops::Path::Plain => Path::Plain,
        };
        Some(Aggregate {
            kind,
            path,
            messages,
            starts,
        })
    }

    /// PNA's features times the functions of the degree, `[rows, 12 d]`; `None` for the others.
    pub(super) fn widened(
        &self,
        features: View<'_, S>,
        rows: &DeviceRows,
        removed: Option<&Removed<S>>,
    ) -> Result<Option<Vector<S>>> {
        let degrees = self.graph.degrees(removed);
        let Some([scale, inverse]) = degrees.and_then(|d| d.scales.as_ref()) else {
            return Ok(None);
        };
        let out = self.gpu().dirty(rows.len() * 12 * self.dim())?;
        let scales = Scales {
            scale: scale.view(),
            inverse: inverse.view(),
        };
        scales.widen(features, rows.node(), out.view(), self.dim())?;
        Ok(Some(out))
    }

    /// The boundary at the rows before the first layer.
    fn first(&self, reach: &DeviceReach, boundary: &Boundary<S::Acc>) -> Result<Vector<S>> {
        let d = self.dim();
        let out = self.gpu().zeros(reach.rows[0].len() * d)?;
        let at = self.starts(boundary, &reach.host.rows[0])?;
        let rows = boundary.rows.view();
        add_to_states(out.view(), rows, at.row.view(), at.boundary.view(), d)?;
        Ok(out)
    }

    /// Scores `[B, M]` of the candidates, or `[B, N]` of all nodes, and what the backward pass needs.
    pub(super) fn forward<'b>(&self, ask: Ask<'b, S>) -> Result<(Vector<S::Acc>, Tape<'b, S>)> {
        let relations = self.relations()?;
        let queries = self.queries(ask.query, &relations)?;
        let boundary = self.boundary(ask.seeds, &queries.vectors)?;
        let mut states = vec![self.first(&ask.reach, &boundary)?];
        let (mut projections, mut layers) = (Vec::new(), Vec::new());
        for i in 0..self.config.layers() {
            let projection = self.project(i, &relations)?;
            let at = (&ask.reach, ask.removed);
            let x = (states[i].view(), None);
            let (y, left) = self.layer(i, at, x, &projection, &boundary)?;
            projections.push(projection);
            layers.push((!self.recompute).then_some(left));
            states.push(y);
        }
        let far = BTreeMap::new();
        let (scores, head) = self.head(&ask, &queries.vectors, &states, (&far, None))?;
        let tape = Tape {
            ask,
            relations,
            queries,
            boundary,
            projections,
            states,
            layers,
            head,
        };
        Ok((scores, tape))
    }

    /// What no query changes; of a model that has rows.
    pub fn background(&self) -> Result<Background<S>> {
        let gpu = self.gpu();
        let (nodes, d) = (self.graph.nodes, self.dim());
        let silent = crate::model::zeros_are_silent(self.config.message_func);
        let layers = self.config.layers();
        let reach = self.graph.rows(Reach::background(nodes, layers, silent))?;
        let relations = self.relations()?;
        let nobody = self.boundary(&Seeds::new(), &gpu.dirty(0)?)?;
        let first = gpu.zeros::<S>(reach.rows[0].len() * d)?;
        let (mut projections, mut states) = (Vec::new(), vec![Some(first)]);
        for i in 0..layers {
            let projection = self.project(i, &relations)?;
            let empty = gpu.dirty(0)?;
            let x = states[i].as_ref().unwrap_or(&empty).view();
            let (y, _) = self.layer(i, (&reach, None), (x, None), &projection, &nobody)?;
            projections.push(projection);
            states.push(Some(y));
        }
        if silent {
            states[0] = None;
        }
        let head = match states.last() {
            Some(Some(last)) if self.head_by_rows() => Some(self.first_map(last.view())?),
            _ => None,
        };
        Ok(Background {
            relations,
            projections,
            states,
            head,
        })
    }

    /// Scores of all nodes, `[B, N]`, without a tape; with a background only what queries reach is computed.
    pub fn score_all(
        &self,
        ask: &Ask<'_, S>,
        background: Option<&Background<S>>,
    ) -> Result<Vector<S::Acc>> {
        let own;
        let relations = match background {
            Some(b) => &b.relations,
            None => {
                own = self.relations()?;
                &own
            }
        };
        let queries = self.queries(ask.query, relations)?;
        let boundary = self.boundary(ask.seeds, &queries.vectors)?;
        let before = |i: usize| background.and_then(|b| b.states[i].as_ref());
        let mut states = vec![self.first(&ask.reach, &boundary)?];
        let mut far = BTreeMap::new();
        for i in 0..self.config.layers() {
            let here;
            let projection = match background {
                Some(b) => &b.projections[i],
                None => {
                    here = self.project(i, relations)?;
                    &here
                }
            };
            let x = (states[i].view(), before(i).map(Vector::view));
            let at = (&ask.reach, ask.removed);
            let (y, _) = self.layer(i, at, x, projection, &boundary)?;
            if !self.gathers(i.wrapping_sub(1)) {
                // Nobody looks at it any more.
                states[i] = self.gpu().dirty(0)?;
            }
            states.push(y);
            if let Some(b) = before(i + 1) {
                far.insert(i + 1, b);
            }
        }
        let of_head = background.and_then(|b| b.head.as_ref());
        let far = (&far, of_head.map(Vector::view));
        Ok(self.head(ask, &queries.vectors, &states, far)?.0)
    }
}
