//! A model on a graph, both on the device, and what a batch is before the first layer: relation
//! states, query vectors and the boundary.

use std::sync::Arc;

use gfm_pipe_kernels::gpu::rows::{add_to_states, set_at, weigh_rows};
use gfm_pipe_kernels::gpu::{Gpu, State, Vector, View};
use gfm_pipe_kernels::rows::{NONE, Rows};

use super::error::Result;
use super::graph::{DeviceGraph, DeviceReach, Removed};
use super::linear::{Then, linear};
use super::weights::{Weights, upload};
use crate::model::ModelConfig;
use crate::ops::Seeds;

/// A model on a graph.
#[derive(Clone, Copy)]
pub(crate) struct Model<'a, S: State> {
    pub config: &'a ModelConfig,
    pub weights: &'a Weights<S>,
    pub graph: &'a DeviceGraph<S>,
    /// Whether the backward pass computes layers again instead of keeping what it needs of them.
    pub recompute: bool,
}

/// A batch of queries.
pub(crate) struct BatchInput<'a, S: State> {
    pub query: QuerySource<'a>,
    /// Where each query starts.
    pub seeds: &'a Seeds,
    /// Nodes to score, equally many for each query; `None` scores all nodes.
    pub candidates: Option<&'a [Vec<u32>]>,
    /// The rows to compute.
    pub reach: DeviceReach,
    /// Edges that are out of the graph while the batch runs.
    pub removed: Option<&'a Removed<S>>,
}

/// What query vectors are computed from.
#[derive(Clone, Copy)]
pub(crate) enum QuerySource<'a> {
    /// The states of these relations.
    Relations(&'a [u32]),
    /// Embeddings of questions, `[B, text]`.
    Texts(&'a [f32]),
}

/// Query vectors, and their source on the device.
pub(super) struct Queries<A: State> {
    /// `[B, d]`
    pub vectors: Vector<A>,
    pub source: DeviceQuerySource<A>,
}

/// [`QuerySource`] on the device.
pub(super) enum DeviceQuerySource<A: State> {
    Relations(Vector<u32>),
    Texts(Vector<A>),
}

/// The states that queries start with, one for each seed of each query.
pub(super) struct Boundary<A: State> {
    /// `[K, d]`
    pub rows: Vector<A>,
    pub weight: Vector<A>,
    /// The query of each.
    pub query: Vector<u32>,
    /// Node and query of each, on the host.
    pub places: Vec<(u32, u32)>,
}

/// The rows of a layer that have a boundary state, with the index of that state.
pub(super) struct StartRows {
    pub row: Vector<u32>,
    pub boundary: Vector<u32>,
}

impl StartRows {
    /// For each of `rows` rows the index of its boundary state, or [`NONE`]. `None` if no row has
    /// one.
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

/// The relation states as one layer projects them, and the hidden values of that projection.
pub(super) struct Projection<S: State> {
    pub hidden: Vector<S::Acc>,
    pub relations: Vector<S>,
}

/// What does not depend on the query: relation states, their projections, and the states of nodes
/// that no query reaches.
pub(crate) struct Background<S: State> {
    pub(super) relations: Arc<Vector<S::Acc>>,
    pub(super) projections: Vec<Arc<Projection<S>>>,
    /// States before the first layer and after each, `[N, d]`; empty where they are zero and send
    /// nothing.
    pub(super) states: Vec<Vector<S>>,
    /// The head's first map of the last states, `[N, f]`, if the head works row by row.
    pub(super) head: Option<Vector<S>>,
}

impl<S: State> Background<S> {
    /// States before layer `i`; after the last layer for `i` equal to the number of layers.
    pub(super) fn before(&self, i: usize) -> Option<View<'_, S>> {
        let states = &self.states[i];
        (!states.is_empty()).then(|| states.view())
    }
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
        let rows = self.graph.relations;
        linear(self.weights, "rel_mlp", embeddings, rows, Then::Nothing)
    }

    /// Query vectors.
    pub(super) fn queries(
        &self,
        query: QuerySource<'_>,
        relations: &Vector<S::Acc>,
    ) -> Result<Queries<S::Acc>> {
        let (gpu, d) = (self.gpu(), self.dim());
        match query {
            QuerySource::Relations(ids) => {
                let ids = gpu.vector(ids)?;
                let vectors = gpu.dirty(ids.len() * d)?;
                weigh_rows(relations.view(), None, ids.view(), vectors.view(), d)?;
                Ok(Queries {
                    vectors,
                    source: DeviceQuerySource::Relations(ids),
                })
            }
            QuerySource::Texts(texts) => {
                let wide: Vec<f64> = texts.iter().map(|x| f64::from(*x)).collect();
                let texts = upload::<S::Acc>(gpu, &wide)?;
                let width = self.graph.embeddings.len() / self.graph.relations.max(1);
                let rows = texts.len() / width.max(1);
                let x = texts.view();
                Ok(Queries {
                    vectors: linear(self.weights, "question_mlp", x, rows, Then::Nothing)?,
                    source: DeviceQuerySource::Texts(texts),
                })
            }
        }
    }

    /// The boundary: each seed's weight times its query's vector.
    pub(super) fn boundary(
        &self,
        seeds: &Seeds,
        queries: &Vector<S::Acc>,
    ) -> Result<Boundary<S::Acc>> {
        let (gpu, d) = (self.gpu(), self.dim());
        let all = || {
            let of_queries = seeds.iter().enumerate();
            of_queries.flat_map(|(q, seeds)| seeds.iter().map(move |(v, w)| (*v, q as u32, *w)))
        };
        let weights: Vec<f64> = all().map(|(_, _, w)| w).collect();
        let query: Vec<u32> = all().map(|(_, q, _)| q).collect();
        let (weight, query) = (upload::<S::Acc>(gpu, &weights)?, gpu.vector(&query)?);
        let rows = gpu.dirty(query.len() * d)?;
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
            places: all().map(|(v, q, _)| (v, q)).collect(),
        })
    }

    /// Finds which of some rows have a boundary state.
    pub(super) fn starts(&self, boundary: &Boundary<S::Acc>, rows: &Rows) -> Result<StartRows> {
        let found = boundary.places.iter().enumerate();
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

    /// The states before the first layer: the boundary, and zero elsewhere.
    pub(super) fn first_states(
        &self,
        reach: &DeviceReach,
        boundary: &Boundary<S::Acc>,
    ) -> Result<Vector<S>> {
        let d = self.dim();
        let out = self.gpu().zeros(reach.rows[0].len() * d)?;
        let starts = self.starts(boundary, &reach.host.rows[0])?;
        let (row, k) = (starts.row.view(), starts.boundary.view());
        add_to_states(out.view(), boundary.rows.view(), row, k, d)?;
        Ok(out)
    }
}
