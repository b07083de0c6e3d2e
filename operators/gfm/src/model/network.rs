//! The entity model: NBFNet layers over relation states, and the scoring head, with one explicit tape.
//!
//! The tape is the list of what each layer left; [`Network::backward`] walks it from the end. Both tasks share this
//! file and differ only in where queries and seeds come from.

use std::collections::BTreeMap;

use candle_core::{Result, Tensor};

use super::Params;
use super::params::head_name;
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

struct Layer {
    /// Between the two linear maps of the relation projection, after ReLU, `[2R, d]`.
    projection: Tensor,
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
}

impl Network<'_> {
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
        let (projected, projection) = self.project(i, relations)?;
        let input = LayerInput {
            graph: self.graph,
            x,
            relations: &projected,
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
    fn project(&self, layer: usize, relations: &Tensor) -> Result<(Tensor, Tensor)> {
        let [w0, b0, w2, b2] = self.projection(layer)?;
        let hidden = ops::linear(relations, w0, b0)?.relu()?;
        Ok((ops::linear(&hidden, w2, b2)?, hidden))
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

    /// Scores without a tape.
    ///
    /// # Errors
    /// When shapes do not fit.
    pub fn score_all(&self, relations: &Tensor, query: &Tensor, seeds: &Seeds) -> Result<Tensor> {
        let states = join(self.run(relations, query, seeds, Keep::Nothing)?.states)?;
        Ok(ops::head(&states, query, &self.params.head()?)?.0)
    }

    /// Gradients of the entity model's parameters, and of relation states `[2R, d]` and queries `[B, d]`.
    ///
    /// # Errors
    /// When shapes do not fit.
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
            let [w0, _, w2, _] = self.projection(i)?;
            let second = ops::linear_backward(&layer.projection, w2, &g.relations)?;
            let open = layer.projection.gt(0f64)?.to_dtype(second.x.dtype())?;
            let first = ops::linear_backward(&tape.relations, w0, &(second.x * open)?)?;
            drelations = (drelations + first.x)?;
            let p = format!("{p}.relation_projection");
            grads.insert(format!("{p}.0.weight"), first.weight);
            grads.insert(format!("{p}.0.bias"), first.bias);
            grads.insert(format!("{p}.2.weight"), second.weight);
            grads.insert(format!("{p}.2.bias"), second.bias);
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
fn join(mut parts: Vec<Tensor>) -> Result<Tensor> {
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
