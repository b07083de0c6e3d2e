//! A whole pass forward. The one loop over layers is [`Model::layers`]; training, scoring and the
//! background differ in what they pass to it and in what they keep.

use std::sync::Arc;

use gfm_pipe_kernels::gpu::{State, Vector};

use super::error::Result;
use super::graph::{DeviceReach, Removed};
use super::head::{HeadInput, HeadTape};
use super::layer::{LayerInput, LayerTape};
use super::model::{Background, BatchInput, Boundary, Model, Projection, Queries};
use super::node_states::NodeStates;
use crate::model::Reach;
use crate::ops::Seeds;

/// What a forward pass leaves for the backward pass.
pub(super) struct Tape<'a, S: State> {
    pub input: BatchInput<'a, S>,
    pub relations: Arc<Vector<S::Acc>>,
    pub nodes: Option<Arc<NodeStates<S::Acc>>>,
    pub queries: Queries<S::Acc>,
    pub boundary: Boundary<S::Acc>,
    pub layers: Layers<S>,
    pub head: HeadTape<S>,
}

/// What the loop over layers leaves.
pub(super) struct Layers<S: State> {
    /// States before the first layer and after each; empty where they were not kept.
    pub states: Vec<Vector<S>>,
    /// Each layer's projection of the relations, where it was kept.
    pub projections: Vec<Arc<Projection<S>>>,
    /// What each layer's backward pass needs, where it was kept.
    pub tapes: Vec<Option<LayerTape<S>>>,
}

/// What the loop over layers reads.
struct LayersInput<'a, S: State> {
    reach: &'a DeviceReach,
    removed: Option<&'a Removed<S>>,
    relations: &'a Vector<S::Acc>,
    boundary: &'a Boundary<S::Acc>,
    /// The states of nodes without a row, and all projections, if they are known already.
    background: Option<&'a Background<S>>,
}

/// What the loop over layers keeps in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Keep {
    /// The states that the head reads.
    HeadStates,
    /// All states and projections.
    States,
    /// All states and projections, and what each layer's backward pass needs.
    Tapes,
}

impl<S: State> Model<'_, S> {
    /// Runs all layers.
    fn layers(&self, input: &LayersInput<'_, S>, keep: Keep) -> Result<Layers<S>> {
        let first = self.first_states(input.reach, input.boundary)?;
        let mut out = Layers {
            states: vec![first],
            projections: Vec::new(),
            tapes: Vec::new(),
        };
        for i in 0..self.config.layers() {
            let projection = match input.background {
                Some(background) => Arc::clone(&background.projections[i]),
                None => Arc::new(self.project(i, input.relations)?),
            };
            let (y, tape) = self.layer(&LayerInput {
                index: i,
                reach: input.reach,
                removed: input.removed,
                states: out.states[i].view(),
                background: input.background.and_then(|b| b.before(i)),
                projection: &projection,
                boundary: input.boundary,
            })?;
            if keep == Keep::HeadStates {
                if !self.head_reads(i) {
                    out.states[i] = self.gpu().dirty(0)?;
                }
            } else {
                out.projections.push(projection);
                out.tapes.push((keep == Keep::Tapes).then_some(tape));
            }
            out.states.push(y);
        }
        Ok(out)
    }

    /// Scores `[B, M]` of the candidates, or `[B, N]` of all nodes, and what the backward pass
    /// needs.
    pub(super) fn forward<'b>(
        &self,
        input: BatchInput<'b, S>,
    ) -> Result<(Vector<S::Acc>, Tape<'b, S>)> {
        let relations = Arc::new(self.relations()?);
        let nodes = self.node_states()?.map(Arc::new);
        let queries = self.queries(input.query, &relations)?;
        let boundary = self.boundary(input.seeds, &queries.vectors, nodes.as_deref())?;
        let pass = LayersInput {
            reach: &input.reach,
            removed: input.removed,
            relations: &relations,
            boundary: &boundary,
            background: None,
        };
        let keep = if self.recompute {
            Keep::States
        } else {
            Keep::Tapes
        };
        let layers = self.layers(&pass, keep)?;
        let (scores, head) = self.head(&HeadInput {
            batch: &input,
            queries: &queries.vectors,
            states: &layers.states,
            background: None,
            nodes: nodes.as_deref(),
        })?;
        let tape = Tape {
            input,
            relations,
            nodes,
            queries,
            boundary,
            layers,
            head,
        };
        Ok((scores, tape))
    }

    /// Scores of all nodes, `[B, N]`. With a background, only what queries reach is computed.
    pub fn scores(
        &self,
        input: &BatchInput<'_, S>,
        background: Option<&Background<S>>,
    ) -> Result<Vector<S::Acc>> {
        let (relations, nodes) = match background {
            Some(background) => (Arc::clone(&background.relations), background.nodes.clone()),
            None => (
                Arc::new(self.relations()?),
                self.node_states()?.map(Arc::new),
            ),
        };
        let queries = self.queries(input.query, &relations)?;
        let boundary = self.boundary(input.seeds, &queries.vectors, nodes.as_deref())?;
        let pass = LayersInput {
            reach: &input.reach,
            removed: input.removed,
            relations: &relations,
            boundary: &boundary,
            background,
        };
        let layers = self.layers(&pass, Keep::HeadStates)?;
        let (scores, _) = self.head(&HeadInput {
            batch: input,
            queries: &queries.vectors,
            states: &layers.states,
            background,
            nodes: nodes.as_deref(),
        })?;
        Ok(scores)
    }

    /// What does not depend on the query. Only sum and mean have it.
    pub fn background(&self) -> Result<Background<S>> {
        let silent = self.config.starts_silent();
        let reach = Reach::background(self.graph.nodes, self.config.layers(), silent);
        let reach = self.graph.rows(reach)?;
        let relations = Arc::new(self.relations()?);
        let no_queries = self.gpu().dirty(0)?;
        let nodes = self.node_states()?.map(Arc::new);
        let boundary = self.boundary(&Seeds::new(), &no_queries, nodes.as_deref())?;
        let pass = LayersInput {
            reach: &reach,
            removed: None,
            relations: &relations,
            boundary: &boundary,
            background: None,
        };
        let layers = self.layers(&pass, Keep::States)?;
        let head = match layers.states.last() {
            Some(last) if self.config.head_by_rows() => {
                let rows = &reach.rows[self.config.layers()];
                Some(self.first_map(last.view(), nodes.as_deref(), rows)?)
            }
            _ => None,
        };
        Ok(Background {
            relations,
            projections: layers.projections,
            states: layers.states,
            head,
            nodes,
        })
    }
}
