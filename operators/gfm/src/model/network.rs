//! The entity model: NBFNet layers over relation states, and the scoring head, with one explicit tape.
//!
//! The tape is the list of what each layer left; [`Network::backward`] walks it from the end. Both tasks share this
//! file and differ only in where queries and seeds come from.

use std::collections::BTreeMap;

use candle_core::{Result, Tensor};
use serde::{Deserialize, Serialize};

use super::Params;
use super::background::Background;
use super::params::head_name;
use super::reach::Reach;
use super::rowwise::{RowTape, check_nodes};
use crate::graph::Graph;
use crate::ops::{self, Boundary, HeadTape, LayerInput, LayerTape, Seeds};

/// Gradients by parameter name.
pub type Grads = BTreeMap<String, Tensor>;

/// A forward pass's memory.
pub struct Tape {
    /// Relation states before any layer's projection, `[2R, d]`.
    relations: Tensor,
    boundary: Boundary,
    layers: Vec<Left>,
    /// What the head sees: states after the last layer, or after every layer with `concat_hidden`, `[B, N, out]` each.
    states: Vec<Tensor>,
    /// Query vectors, `[B, d]`.
    query: Tensor,
}

/// What a layer left: all its backward pass needs, or what it is computed from once more.
enum Left {
    Kept(Layer),
    /// The states the layer saw, `[B, N, d]`.
    Input(Tensor),
}

/// A layer's own view of the relations.
pub(super) struct Projection {
    /// `[2R, d]`.
    pub relations: Tensor,
    /// Between the two linear maps, after ReLU, `[2R, d]`.
    pub hidden: Tensor,
}

struct Layer {
    projection: Projection,
    tape: LayerTape,
    #[cfg(test)]
    out: Tensor,
}

/// What a forward pass leaves behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Keep {
    Nothing,
    Inputs,
    All,
}

/// What the head left, and at which nodes it was asked.
pub struct Scored {
    /// `[B, M]`.
    pub scores: Tensor,
    tape: HeadTape,
    nodes: Option<Vec<Vec<u32>>>,
}

/// The entity model with its parameters on one graph.
pub struct Network<'a> {
    /// Parameters.
    pub params: &'a Params,
    /// The graph messages are passed on.
    pub graph: &'a Graph,
    /// Whether the backward pass computes each layer once more instead of keeping what it needs: a third of the memory of
    /// a step, for a forward pass more. The numbers are the same.
    pub recompute: bool,
    /// Which states are computed.
    pub compute: Compute,
}

/// Which states a pass computes. All give the same scores and gradients but for rounding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compute {
    /// Dense or sparse, whichever is less work for the sizes at hand.
    #[default]
    Auto,
    /// Every state of every query.
    Dense,
    /// Only states that differ between queries or matter for the scores; the others once for the batch, or not at all.
    Sparse,
    /// Every state, over whole tensors: what max, min and PNA need, and what the others are tested against.
    #[serde(skip)]
    Whole,
}

/// A forward pass's memory, whichever way it went.
pub enum Memory {
    /// Over whole tensors.
    Whole {
        /// What the layers left.
        tape: Tape,
        /// What the head left.
        scored: Scored,
    },
    /// Over rows.
    Rows(RowTape),
}

impl Memory {
    /// States computed, of all there are: layers x queries x nodes. The background's are among them, once for the batch.
    pub fn share(&self) -> f64 {
        match self {
            Memory::Whole { .. } => 1.0,
            Memory::Rows(tape) => tape.share,
        }
    }
}

impl Network<'_> {
    /// The rows to compute; `None` where whole tensors are. `background`: whether its states are known.
    fn reach(
        &self,
        seeds: &Seeds,
        candidates: Option<&[Vec<u32>]>,
        background: bool,
    ) -> Result<Option<Reach>> {
        check_nodes(self.graph.nodes(), seeds, candidates)?;
        if self.compute == Compute::Whole || !self.has_rows() {
            return Ok(None);
        }
        let config = &self.params.config;
        let asked = (seeds, candidates);
        let chosen = Reach::chosen(config, self.graph, self.compute, asked, background);
        Ok(Some(chosen))
    }

    /// Scores `[B, M]` of candidates (the same number in every row), or `[B, N]` of all nodes, and what the backward pass needs.
    ///
    /// # Errors
    /// When shapes do not fit.
    pub fn scores(
        &self,
        (relations, query): (&Tensor, &Tensor),
        seeds: &Seeds,
        candidates: Option<Vec<Vec<u32>>>,
    ) -> Result<(Tensor, Memory)> {
        let Some(reach) = self.reach(seeds, candidates.as_deref(), false)? else {
            let tape = self.forward(relations, query, seeds)?;
            let scored = self.score(&tape, candidates)?;
            return Ok((scored.scores.clone(), Memory::Whole { tape, scored }));
        };
        let (scores, tape) = self.forward_rows(reach, (relations, query), seeds, candidates)?;
        Ok((scores, Memory::Rows(tape)))
    }

    /// Gradients of the entity model's parameters, and of relation states `[2R, d]` and queries `[B, d]`. The memory is used up.
    ///
    /// # Errors
    /// When shapes do not fit, or rows were used up before.
    pub fn gradients(
        &self,
        memory: &mut Memory,
        dscores: &Tensor,
        seeds: &Seeds,
        grads: &mut Grads,
    ) -> Result<(Tensor, Tensor)> {
        match memory {
            Memory::Whole { tape, scored } => self.backward(tape, scored, dscores, seeds, grads),
            Memory::Rows(tape) => self.backward_rows(tape, dscores, seeds, grads),
        }
    }

    /// Runs all layers: relation states `[2R, d]`, queries `[B, d]`, and where they start.
    ///
    /// # Errors
    /// When shapes do not fit.
    pub fn forward(&self, relations: &Tensor, query: &Tensor, seeds: &Seeds) -> Result<Tape> {
        let keep = if self.recompute {
            Keep::Inputs
        } else {
            Keep::All
        };
        self.run(relations, query, seeds, keep)
    }

    fn run(&self, relations: &Tensor, query: &Tensor, seeds: &Seeds, keep: Keep) -> Result<Tape> {
        let config = &self.params.config;
        let boundary = ops::boundary(query, seeds)?;
        let mut x = ops::first_states(&boundary, self.graph.nodes())?;
        let (mut layers, mut states) = (Vec::new(), Vec::new());
        for i in 0..config.layers() {
            let (out, layer) = self.layer(i, relations, &boundary, &x)?;
            match keep {
                Keep::Nothing => {}
                Keep::Inputs => layers.push(Left::Input(x)),
                Keep::All => layers.push(Left::Kept(layer)),
            }
            if config.concat_hidden || i + 1 == config.layers() {
                states.push(out.clone());
            }
            x = out;
        }
        Ok(Tape {
            relations: relations.clone(),
            boundary,
            layers,
            states,
            query: query.clone(),
        })
    }

    /// One layer: its output, and what its backward pass needs.
    fn layer(
        &self,
        i: usize,
        relations: &Tensor,
        boundary: &Boundary,
        x: &Tensor,
    ) -> Result<(Tensor, Layer)> {
        let projection = self.project(i, relations)?;
        let input = LayerInput {
            graph: self.graph,
            x,
            relations: &projection.relations,
            boundary,
        };
        let kind = self.params.config.layer_kind();
        let (out, tape) = ops::layer(kind, &input, &self.params.layer(i)?)?;
        let layer = Layer {
            projection,
            tape,
            #[cfg(test)]
            out: out.clone(),
        };
        Ok((out, layer))
    }

    /// A layer's own view of the relations: Linear, ReLU, Linear.
    pub(super) fn project(&self, layer: usize, relations: &Tensor) -> Result<Projection> {
        let [w0, b0, w2, b2] = self.projection(layer)?;
        let hidden = ops::relu(&ops::linear(relations, w0, b0)?)?;
        Ok(Projection {
            relations: ops::linear(&hidden, w2, b2)?,
            hidden,
        })
    }

    /// Backward of [`Network::project`]: the gradient of the relations before it.
    pub(super) fn project_backward(
        &self,
        layer: usize,
        relations: &Tensor,
        projection: &Projection,
        dprojected: &Tensor,
        grads: &mut Grads,
    ) -> Result<Tensor> {
        let [w0, _, w2, _] = self.projection(layer)?;
        let second = ops::linear_backward(&projection.hidden, w2, dprojected)?;
        let open = projection.hidden.gt(0f64)?.to_dtype(second.x.dtype())?;
        let first = ops::linear_backward(relations, w0, &(second.x * open)?)?;
        let p = format!("entity_model.layers.{layer}.relation_projection");
        grads.insert(format!("{p}.0.weight"), first.weight);
        grads.insert(format!("{p}.0.bias"), first.bias);
        grads.insert(format!("{p}.2.weight"), second.weight);
        grads.insert(format!("{p}.2.bias"), second.bias);
        Ok(first.x)
    }

    fn projection(&self, layer: usize) -> Result<[&Tensor; 4]> {
        let p = format!("entity_model.layers.{layer}.relation_projection");
        Ok([
            self.params.get(&format!("{p}.0.weight"))?,
            self.params.get(&format!("{p}.0.bias"))?,
            self.params.get(&format!("{p}.2.weight"))?,
            self.params.get(&format!("{p}.2.bias"))?,
        ])
    }

    /// Scores of all nodes, or of the given ones (the same number in every row).
    ///
    /// # Errors
    /// When shapes do not fit.
    pub fn score(&self, tape: &Tape, nodes: Option<Vec<Vec<u32>>>) -> Result<Scored> {
        let states = match &nodes {
            Some(nodes) => {
                let parts = tape.states.iter().map(|x| ops::gather(x, nodes));
                join(parts.collect::<Result<_>>()?)?
            }
            None => join(tape.states.clone())?,
        };
        let (scores, head) = ops::head(&states, &tape.query, &self.params.head()?)?;
        Ok(Scored {
            scores,
            tape: head,
            nodes,
        })
    }

    /// Scores of all nodes without a tape.
    ///
    /// # Errors
    /// When shapes do not fit.
    pub fn score_all(
        &self,
        relations: &Tensor,
        query: &Tensor,
        seeds: &Seeds,
        background: Option<&Background>,
    ) -> Result<Tensor> {
        if let Some(reach) = self.reach(seeds, None, background.is_some())? {
            return self.score_rows(&reach, (relations, query), seeds, background);
        }
        let states = join(self.run(relations, query, seeds, Keep::Nothing)?.states)?;
        Ok(ops::head(&states, query, &self.params.head()?)?.0)
    }

    /// Gradients of the entity model's parameters, and of relation states `[2R, d]` and queries `[B, d]`. The memory is used up.
    ///
    /// # Errors
    /// When shapes do not fit, or rows were used up before.
    pub fn backward(
        &self,
        tape: &Tape,
        scored: &Scored,
        dscores: &Tensor,
        seeds: &Seeds,
        grads: &mut Grads,
    ) -> Result<(Tensor, Tensor)> {
        let head = ops::head_backward(&scored.tape, &self.params.head()?, dscores)?;
        // One gradient per tensor the head saw, the last layer's last.
        let mut dstates = split(&head.x, &tape.states)?;
        if let Some(nodes) = &scored.nodes {
            for d in &mut dstates {
                *d = ops::gather_backward(d, nodes, self.graph.nodes())?;
            }
        }
        let mut dx = dstates.pop();
        for (i, (weight, bias)) in std::iter::once(head.params.first)
            .chain(head.params.rest)
            .enumerate()
        {
            let p = head_name(i);
            grads.insert(format!("{p}.weight"), weight);
            grads.insert(format!("{p}.bias"), bias);
        }
        let mut drows = tape.boundary.rows.zeros_like()?;
        let mut drelations = tape.relations.zeros_like()?;
        for (i, left) in tape.layers.iter().enumerate().rev() {
            let again;
            let layer = match left {
                Left::Kept(layer) => layer,
                Left::Input(x) => {
                    again = self.layer(i, &tape.relations, &tape.boundary, x)?.1;
                    &again
                }
            };
            let p = format!("entity_model.layers.{i}");
            let dout = dx.take().ok_or_else(no_layers)?;
            let kind = self.params.config.layer_kind();
            let params = self.params.layer(i)?;
            let g = ops::layer_backward(
                kind,
                self.graph,
                &layer.tape,
                &tape.boundary,
                &params,
                &dout,
            )?;
            dx = Some(match dstates.pop() {
                Some(seen) => (g.x + seen)?,
                None => g.x,
            });
            drows = (drows + g.boundary)?;
            grads.insert(format!("{p}.linear.weight"), g.params.weight);
            grads.insert(format!("{p}.linear.bias"), g.params.bias);
            if let Some((gamma, beta)) = g.params.norm {
                grads.insert(format!("{p}.layer_norm.weight"), gamma);
                grads.insert(format!("{p}.layer_norm.bias"), beta);
            }
            let d =
                self.project_backward(i, &tape.relations, &layer.projection, &g.relations, grads)?;
            drelations = (drelations + d)?;
        }
        let dx = dx.ok_or_else(no_layers)?;
        drows = (drows + ops::first_states_backward(&dx, &tape.boundary)?)?;
        let dquery = (head.query + ops::boundary_backward(&drows, seeds)?)?;
        Ok((drelations, dquery))
    }
}

fn no_layers() -> candle_core::Error {
    candle_core::Error::Msg("the model has no layers".to_owned())
}

/// What the head sees of several tensors, side by side.
pub(super) fn join(mut parts: Vec<Tensor>) -> Result<Tensor> {
    match parts.len() {
        1 => Ok(parts.remove(0)),
        _ => Tensor::cat(&parts, 2)?.contiguous(),
    }
}

/// Backward of [`join`].
fn split(dx: &Tensor, parts: &[Tensor]) -> Result<Vec<Tensor>> {
    let mut at = 0;
    parts
        .iter()
        .map(|p| {
            let width = p.dims3()?.2;
            at += width;
            dx.narrow(2, at - width, width)?.contiguous()
        })
        .collect()
}

#[cfg(test)]
impl Tape {
    /// Aggregates and outputs of layer `i`, for the parity tests.
    pub(crate) fn layer(&self, i: usize) -> (&Tensor, &Tensor) {
        let layer = self.kept(i);
        (layer.tape.features(), &layer.out)
    }

    fn kept(&self, i: usize) -> &Layer {
        match &self.layers[i] {
            Left::Kept(layer) => layer,
            Left::Input(_) => panic!("layer {i} is to be computed again"),
        }
    }

    /// States before the first layer.
    pub(crate) fn first(&self) -> Tensor {
        self.kept(0).tape.input().clone()
    }

    pub(crate) fn query(&self) -> Tensor {
        self.query.clone()
    }

    pub(crate) fn relation_states(&self) -> Tensor {
        self.relations.clone()
    }
}
