//! A model on a graph, both on the device, and what a batch is before the first layer: relation
//! states, query vectors and the boundary.

use std::sync::Arc;

use gfm_pipe_kernels::gpu::messages::DeviceRows;
use gfm_pipe_kernels::gpu::rows::{
    add_from_states, add_to_states, fill_rows, set_at, sum_nodes, weigh_rows,
};
use gfm_pipe_kernels::gpu::{Gpu, State, Vector, View};
use gfm_pipe_kernels::rows::{NONE, Rows};

use super::error::Result;
use super::graph::{DeviceGraph, DeviceReach, Removed};
use super::linear::{Then, linear};
use super::node_states::{NodeStates, Seeded};
use super::weights::{Weights, upload};
use crate::model::{Class, ModelConfig};
use crate::ops::Seeds;

/// A model on a graph.
#[derive(Clone, Copy)]
pub(crate) struct Model<'a, S: State> {
    pub class: Class,
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

/// The states that queries start with.
pub(super) struct Boundary<A: State> {
    /// One for each seed of each query, `[K, d]`. With early fusion those of all nodes where no
    /// query starts come first, `[N + K, d]`.
    pub rows: Vector<A>,
    pub seeded: Seeded<A>,
    /// With early fusion, the values between its two maps, like `rows`.
    pub hidden: Option<Vector<A>>,
    /// Number of rows before those of the seeds.
    pub nodes: usize,
}

/// The rows of a layer where a query starts, with the index of their boundary state.
pub(super) struct StartRows {
    pub row: Vector<u32>,
    pub boundary: Vector<u32>,
    /// Whether all other rows have the boundary state of their node.
    pub nodes: bool,
}

impl StartRows {
    /// For each of these rows the index of its boundary state, or [`NONE`]. `None` if no row has
    /// one.
    pub fn by_row(&self, rows: &DeviceRows) -> Result<Option<Vector<u32>>> {
        if self.row.is_empty() && !self.nodes {
            return Ok(None);
        }
        let out = self.row.gpu().dirty::<u32>(rows.len())?;
        if self.nodes {
            out.view().copy(rows.node())?;
        } else {
            out.view().fill_bytes(0xff)?;
        }
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
    /// The head's first map of the last states and of texts, `[N, f]`, if the head works row by
    /// row.
    pub(super) head: Option<Vector<S>>,
    /// The texts of nodes, if the model reads them.
    pub(super) nodes: Option<Arc<NodeStates<S::Acc>>>,
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
            QuerySource::Relations(ids) if self.class == Class::GraphReasoner => {
                let ids = gpu.vector(ids)?;
                let width = self.graph.embeddings.len() / self.graph.relations.max(1);
                let texts = gpu.dirty(ids.len() * width)?;
                let embeddings = self.graph.embeddings.view();
                weigh_rows(embeddings, None, ids.view(), texts.view(), width)?;
                self.queries_of(texts)
            }
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
                self.queries_of(upload::<S::Acc>(gpu, &wide)?)
            }
        }
    }

    /// Query vectors of these text embeddings.
    fn queries_of(&self, texts: Vector<S::Acc>) -> Result<Queries<S::Acc>> {
        let width = self.graph.embeddings.len() / self.graph.relations.max(1);
        let rows = texts.len() / width.max(1);
        let x = texts.view();
        Ok(Queries {
            vectors: linear(self.weights, "question_mlp", x, rows, Then::Nothing)?,
            source: DeviceQuerySource::Texts(texts),
        })
    }

    /// The boundary: each seed's weight times its query's vector, or what early fusion makes of it.
    pub(super) fn boundary(
        &self,
        seeds: &Seeds,
        queries: &Vector<S::Acc>,
        nodes: Option<&NodeStates<S::Acc>>,
    ) -> Result<Boundary<S::Acc>> {
        let (gpu, d) = (self.gpu(), self.dim());
        let all = || {
            let of_queries = seeds.iter().enumerate();
            of_queries.flat_map(|(q, seeds)| seeds.iter().map(move |(v, w)| (*v, q as u32, *w)))
        };
        let weights: Vec<f64> = all().map(|(_, _, w)| w).collect();
        let query: Vec<u32> = all().map(|(_, q, _)| q).collect();
        let seeded = Seeded {
            weight: upload::<S::Acc>(gpu, &weights)?,
            query: gpu.vector(&query)?,
            places: all().map(|(v, q, _)| (v, q)).collect(),
        };
        let fused = match nodes {
            Some(nodes) => self.fused_boundary(nodes, queries, &seeded)?,
            None => None,
        };
        if let Some([rows, hidden]) = fused {
            return Ok(Boundary {
                rows,
                seeded,
                hidden: Some(hidden),
                nodes: self.graph.nodes,
            });
        }
        let rows = gpu.dirty(seeded.query.len() * d)?;
        let (by, query) = (Some(seeded.weight.view()), seeded.query.view());
        weigh_rows(queries.view(), by, query, rows.view(), d)?;
        Ok(Boundary {
            rows,
            seeded,
            hidden: None,
            nodes: 0,
        })
    }

    /// Finds at which of some rows a query starts.
    pub(super) fn starts(&self, boundary: &Boundary<S::Acc>, rows: &Rows) -> Result<StartRows> {
        let found = boundary.seeded.places.iter().enumerate();
        let found = found.filter_map(|(k, (v, q))| match rows.own(*v as usize, *q as usize) {
            NONE => None,
            row => Some((row, (boundary.nodes + k) as u32)),
        });
        let (row, k): (Vec<u32>, Vec<u32>) = found.unzip();
        Ok(StartRows {
            row: self.gpu().vector(&row)?,
            boundary: self.gpu().vector(&k)?,
            nodes: boundary.hidden.is_some(),
        })
    }

    /// The states before the first layer: the boundary.
    pub(super) fn first_states(
        &self,
        reach: &DeviceReach,
        boundary: &Boundary<S::Acc>,
    ) -> Result<Vector<S>> {
        let d = self.dim();
        let starts = self.starts(boundary, &reach.host.rows[0])?;
        let all = starts.by_row(&reach.rows[0])?.filter(|_| starts.nodes);
        if let Some(all) = all {
            let out = self.gpu().dirty(reach.rows[0].len() * d)?;
            fill_rows(out.view(), boundary.rows.view(), all.view(), d)?;
            return Ok(out);
        }
        let out = self.gpu().zeros(reach.rows[0].len() * d)?;
        let (row, k) = (starts.row.view(), starts.boundary.view());
        add_to_states(out.view(), boundary.rows.view(), row, k, d)?;
        Ok(out)
    }

    /// Adds the gradients of rows of states or sums to that of the boundary states that they had.
    pub(super) fn add_boundary_grad<F>(
        &self,
        dboundary: View<'_, S::Acc>,
        drows: View<'_, F>,
        (starts, rows): (&StartRows, &DeviceRows),
    ) -> Result<()>
    where
        F: State<Acc = S::Acc>,
    {
        let d = self.dim();
        let (row, k) = (starts.row.view(), starts.boundary.view());
        add_from_states(dboundary, drows, k, row, d)?;
        if let Some(all) = starts.by_row(rows)?.filter(|_| starts.nodes) {
            let of_nodes = dboundary.part(0, self.graph.nodes * d);
            sum_nodes(of_nodes, drows, rows, Some(all.view()), d)?;
        }
        Ok(())
    }
}
