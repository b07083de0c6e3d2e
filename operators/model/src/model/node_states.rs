//! What the texts of nodes add to the network: the fusions of G-reasoner (GFM-RAG 2.0).
//!
//! With e a node's text state, p the query vector and s the node's start weight, early fusion makes
//! the boundary state of every node `mlp([s p ; e])`, and late fusion lets the scoring head read e
//! beside the last state and p. Both maps that read e are linear in it, so that its share of them
//! is computed once for each node and not for each query. A boundary state depends on the query
//! only where s is not 0.

use candle_core::{Result, Tensor, bail};

use super::Params;
use super::params::NodeMaps;
use crate::ops::{self, Boundary, First, Linear, Seeds};
use crate::tensor::{Elem, by_dtype, tensor, view};

/// What is the same for all queries of a model on a graph.
pub(super) struct NodeStates {
    /// The states of nodes' texts, e, `[N, d]`.
    states: Tensor,
    /// For early fusion.
    early: Option<Early>,
    /// For late fusion: the share of `states` in the head's first map, `[N, f]`.
    head: Option<Tensor>,
}

struct Early {
    /// The share of the text states in the first map, with its bias, `[N, d]`.
    share: Tensor,
    /// The boundary states of nodes where no query starts, `[N, d]`.
    boundary: Tensor,
}

/// Gradients of what nodes' texts are passed through.
pub(super) struct NodeGrads {
    /// Of the text states, `[N, d]`.
    pub states: Tensor,
    /// Of the two maps of early fusion.
    pub early: Option<[Linear; 2]>,
}

/// Gradients of early fusion.
pub(super) struct EarlyGrads {
    pub maps: [Linear; 2],
    /// Of the text states, `[N, d]`.
    pub states: Tensor,
    /// Of the query vectors, `[B, d]`.
    pub queries: Tensor,
}

impl NodeStates {
    /// `None` if the model does not read the texts of nodes, whose embeddings are `[N, text]`.
    ///
    /// # Errors
    /// When the model reads them and there are none, or when shapes do not fit.
    pub fn new(params: &Params, texts: Option<&Tensor>) -> Result<Option<Self>> {
        let Some(maps) = &params.tensors.nodes else {
            return Ok(None);
        };
        let Some(texts) = texts else {
            bail!("the model reads the texts of nodes, but the graph has no embeddings of them")
        };
        let states = ops::linear(texts, &maps.text)?;
        let early = match &maps.early {
            Some([first, second]) => {
                let share = by_dtype!(states.dtype(), T => {
                    // Here the text state stands where the scoring head has the query.
                    let share = First::<T>::open(first, &states)?.of_queries()?;
                    tensor(share, states.shape())?
                });
                let boundary = ops::linear(&ops::relu(&share)?, second)?;
                Some(Early { share, boundary })
            }
            None => None,
        };
        let head = if params.config.reads_nodes_late() {
            Some(ops::linear(&states, &head_of_states(params)?)?)
        } else {
            None
        };
        Ok(Some(NodeStates {
            states,
            early,
            head,
        }))
    }

    /// The boundary states of nodes where no query starts, `[N, d]`; `None` if these are zeros.
    pub fn far(&self) -> Option<&Tensor> {
        self.early.as_ref().map(|early| &early.boundary)
    }

    /// The share of the nodes in the head's first map, `[N, f]`; `None` if the head does not read
    /// texts.
    pub fn of_head(&self) -> Option<&Tensor> {
        self.head.as_ref()
    }

    /// The boundary of queries `[B, d]`, and the hidden values of early fusion at start nodes,
    /// `[K, d]`, if the model has it.
    pub fn boundary(
        &self,
        params: &Params,
        queries: &Tensor,
        seeds: &Seeds,
    ) -> Result<(Boundary, Option<Tensor>)> {
        let (Some(early), Some([first, second])) = (&self.early, early_maps(params)) else {
            return Ok((ops::boundary(queries, seeds)?, None));
        };
        let hidden =
            by_dtype!(queries.dtype(), T => start_hidden::<T>(early, first, queries, seeds))?;
        let nodes = seeds.iter().map(|row| row.iter().map(|s| s.0).collect());
        let boundary = Boundary {
            nodes: nodes.collect(),
            rows: ops::linear(&hidden, second)?,
            of_nodes: Some(early.boundary.clone()),
        };
        Ok((boundary, Some(hidden)))
    }

    /// Backward of [`NodeStates::boundary`] with early fusion, from the gradients of the boundary
    /// states at start nodes, `[K, d]`, and of those of all other nodes, `[N, d]`.
    pub fn boundary_backward(
        &self,
        params: &Params,
        (queries, seeds, hidden): (&Tensor, &Seeds, &Tensor),
        [drows, dnodes]: [&Tensor; 2],
    ) -> Result<EarlyGrads> {
        let (Some(early), Some([first, second])) = (&self.early, early_maps(params)) else {
            bail!("a model without early fusion has no gradient of it")
        };
        let hidden = Tensor::cat(&[hidden, &ops::relu(&early.share)?], 0)?;
        let douts = Tensor::cat(&[drows, dnodes], 0)?;
        let grads = ops::linear_backward(&hidden, &second.weight, &douts)?;
        let open = hidden.gt(0f64)?.to_dtype(grads.x.dtype())?;
        let dhidden = (grads.x * open)?;
        let (dfirst, states, dqueries) = by_dtype!(queries.dtype(), T => {
            first_backward::<T>(&self.states, first, (queries, seeds), &dhidden)
        })?;
        Ok(EarlyGrads {
            maps: [dfirst, grads.params],
            states,
            queries: dqueries,
        })
    }

    /// Backward of [`NodeStates::of_head`]: the gradients of the text states and of the columns of
    /// the head's first map that read them, from the gradient of the share, `[N, f]`.
    pub fn head_backward(&self, params: &Params, dshare: &Tensor) -> Result<(Tensor, Tensor)> {
        let weight = head_of_states(params)?.weight;
        let grads = ops::linear_backward(&self.states, &weight, dshare)?;
        Ok((grads.x, grads.params.weight))
    }
}

fn early_maps(params: &Params) -> Option<&[Linear; 2]> {
    params.tensors.nodes.as_ref()?.early.as_ref()
}

/// The columns of the head's first map that read text states, without the bias.
fn head_of_states(params: &Params) -> Result<Linear> {
    let Linear { weight, bias } = &params.tensors.head[0];
    let d = params.config.input_dim;
    let before = weight.dims2()?.1 - d;
    Ok(Linear {
        weight: weight.narrow(1, before, d)?.contiguous()?,
        bias: bias.zeros_like()?,
    })
}

/// The hidden values of early fusion at start nodes, `[K, d]`.
fn start_hidden<T: Elem>(
    early: &Early,
    first: &Linear,
    queries: &Tensor,
    seeds: &Seeds,
) -> Result<Tensor> {
    let (b, d) = queries.dims2()?;
    let share = view::<T>(&early.share)?;
    let share = share.slice()?;
    let mut of_queries = vec![T::zero(); b * d];
    // The map's first columns read the query.
    First::<T>::open(first, &early.share)?.of_states(
        &mut of_queries,
        view::<T>(queries)?.slice()?,
        false,
    )?;
    let mut out = Vec::new();
    for (query, seeds) in of_queries.chunks_exact(d).zip(seeds) {
        for (v, weight) in seeds {
            let (weight, node) = (T::of(*weight), &share[*v as usize * d..][..d]);
            let sums = query.iter().zip(node).map(|(q, e)| weight * *q + *e);
            out.extend(sums.map(|h| if h <= T::zero() { T::zero() } else { h }));
        }
    }
    let rows = out.len() / d.max(1);
    tensor(out, (rows, d))
}

/// Backward of the first map of early fusion, from the gradient of its output at start nodes and
/// then at all nodes, `[K + N, d]`: the gradients of the map, of the text states, and of the query
/// vectors.
fn first_backward<T: Elem>(
    states: &Tensor,
    first: &Linear,
    (queries, seeds): (&Tensor, &Seeds),
    dhidden: &Tensor,
) -> Result<(Linear, Tensor, Tensor)> {
    let (b, d) = queries.dims2()?;
    let dv = view::<T>(dhidden)?;
    let starts = seeds.iter().map(Vec::len).sum::<usize>();
    let (of_starts, of_nodes) = dv.slice()?.split_at(starts * d);
    let (mut dnodes, mut dshare) = (of_nodes.to_vec(), vec![T::zero(); b * d]);
    let mut rows = of_starts.chunks_exact(d);
    for (dquery, seeds) in dshare.chunks_exact_mut(d).zip(seeds) {
        for ((v, weight), row) in seeds.iter().zip(&mut rows) {
            let (weight, node) = (T::of(*weight), &mut dnodes[*v as usize * d..][..d]);
            for ((dq, dn), g) in dquery.iter_mut().zip(node).zip(row) {
                *dq += weight * *g;
                *dn += *g;
            }
        }
    }
    let mut dqueries = vec![T::zero(); b * d];
    let qv = view::<T>(queries)?;
    let (map, dstates) =
        First::<T>::open(first, states)?.backward(qv.slice()?, &dshare, &dnodes, &mut dqueries)?;
    let dstates = tensor(dstates, states.shape())?;
    Ok((map, dstates, tensor(dqueries, (b, d))?))
}

impl NodeGrads {
    /// The gradients of all maps that read the texts of nodes, `[N, text]`.
    pub fn of_maps(self, params: &Params, texts: &Tensor) -> Result<NodeMaps> {
        let Some(maps) = &params.tensors.nodes else {
            bail!("a model that does not read the texts of nodes has no gradient of them")
        };
        Ok(NodeMaps {
            text: ops::linear_backward(texts, &maps.text.weight, &self.states)?.params,
            early: self.early,
        })
    }
}
