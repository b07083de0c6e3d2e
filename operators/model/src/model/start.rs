//! How a batch begins and ends: the inputs of the network for triples and for questions, and the
//! gradients of all parameters from those of the network.

use std::sync::Arc;

use candle_core::{Result, Tensor, bail};

use super::Params;
use super::backward::NetworkGrads;
use super::forward::Queries;
use super::node_states::NodeStates;
use super::params::{Class, FeatureHead, Grads};
use super::retriever::Question;
use super::texts::Texts;
use crate::graph::TailQuery;
use crate::ops::{self, Linear, Seeds};
use crate::tensor::tensor;

/// What is the same for all queries of a model on a graph.
#[derive(Clone)]
pub(super) struct Shared {
    /// Relation states, `[2R, d]`.
    pub relations: Tensor,
    /// The texts of nodes, if the model reads them.
    pub nodes: Option<Arc<NodeStates>>,
}

/// The inputs of the network for a batch.
pub(super) struct Start {
    shared: Shared,
    /// Query vectors, `[B, d]`.
    vectors: Tensor,
    seeds: Seeds,
    /// What the query vectors are made of.
    pub source: Source,
}

/// What query vectors are made of.
pub(super) enum Source {
    /// The states of these relations.
    Relations(Vec<u32>),
    /// Text embeddings, `[B, text]`, in the type of the parameters.
    Texts(Tensor),
}

impl Shared {
    pub fn new(params: &Params, texts: Texts<'_>) -> Result<Self> {
        Ok(Shared {
            relations: ops::linear(texts.relations, &params.tensors.relations)?,
            nodes: NodeStates::new(params, texts.nodes)?.map(Arc::new),
        })
    }
}

impl Start {
    pub fn queries(&self) -> Queries<'_> {
        Queries {
            relations: &self.shared.relations,
            vectors: &self.vectors,
            seeds: &self.seeds,
            nodes: self.shared.nodes.as_ref(),
        }
    }

    /// For tail queries on a graph of `nodes` nodes: they start at their heads. `embeddings` are
    /// those of relation names, `[2R, text]`.
    pub fn of_links(
        params: &Params,
        shared: Shared,
        embeddings: &Tensor,
        queries: &[TailQuery],
        nodes: usize,
    ) -> Result<Self> {
        let count = shared.relations.dims2()?.0;
        let (mut ids, mut seeds) = (Vec::new(), Seeds::new());
        for q in queries {
            if q.relation as usize >= count || q.head as usize >= nodes {
                bail!("query ({}, {}, ?) is outside the graph", q.head, q.relation);
            }
            ids.push(q.relation);
            seeds.push(vec![(q.head, 1.0)]);
        }
        let at = Tensor::new(ids.as_slice(), shared.relations.device())?;
        let rows = |of: &Tensor| of.index_select(&at, 0)?.contiguous();
        let (vectors, source) = match params.class {
            Class::QueryGNN | Class::GNNRetriever => {
                (rows(&shared.relations)?, Source::Relations(ids))
            }
            Class::GraphReasoner => {
                let texts = rows(embeddings)?;
                let vectors = ops::linear(&texts, question_map(params)?)?;
                (vectors, Source::Texts(texts))
            }
        };
        Ok(Start {
            shared,
            vectors,
            seeds,
            source,
        })
    }

    /// For questions.
    pub fn of_questions(params: &Params, shared: Shared, batch: &[Question<'_>]) -> Result<Self> {
        let texts: Vec<f32> = batch.iter().flat_map(|q| q.embedding).copied().collect();
        let texts = tensor(texts, (batch.len(), params.text_dim))?.to_dtype(params.dtype())?;
        Ok(Start {
            shared,
            vectors: ops::linear(&texts, question_map(params)?)?,
            seeds: batch.iter().map(|q| q.seeds.to_vec()).collect(),
            source: Source::Texts(texts),
        })
    }
}

/// The linear map from embeddings of questions to query vectors.
fn question_map(params: &Params) -> Result<&Linear> {
    match &params.tensors.questions {
        Some(map) => Ok(map),
        None => bail!("a {} answers no questions", params.class.name()),
    }
}

/// Gradients of all parameters from those of the network, for query vectors made of `source`.
pub(super) fn grads(
    network: NetworkGrads,
    texts: Texts<'_>,
    source: &Source,
    params: &Params,
) -> Result<Grads> {
    let (mut drelations, mut questions) = (network.relations, None);
    match source {
        Source::Relations(ids) => {
            // A query vector is a row of the relation states, so its gradient is added to that row.
            let ids = Tensor::new(ids.as_slice(), drelations.device())?;
            let sum = drelations.index_add(&ids, &network.query, 0)?;
            drelations = sum.contiguous()?;
        }
        Source::Texts(texts) => {
            let weight = &question_map(params)?.weight;
            let grads = ops::linear_backward(texts, weight, &network.query)?;
            questions = Some(grads.params);
        }
    }
    let weight = &params.tensors.relations.weight;
    let relations = ops::linear_backward(texts.relations, weight, &drelations)?;
    let nodes = match (network.nodes, texts.nodes) {
        (Some(grads), Some(texts)) => Some(grads.of_maps(params, texts)?),
        _ => None,
    };
    // The feature head is not part of the network: the losses compute its gradients.
    let features = params.tensors.features.as_ref();
    let features = features.map(FeatureHead::zeros_like).transpose()?;
    Ok(Grads {
        layers: network.layers,
        head: network.head,
        late_head: params.tensors.late_head,
        relations: relations.params,
        questions,
        nodes,
        features,
    })
}
