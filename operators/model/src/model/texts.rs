//! Embeddings of the texts that a graph carries.

use candle_core::Tensor;

/// Text embeddings of a graph, in the element type that the model computes in.
#[derive(Debug, Clone, Copy)]
pub struct Texts<'a> {
    /// Embeddings of relation names, `[2R, text]`.
    pub relations: &'a Tensor,
    /// Embeddings of nodes' texts, `[N, text]`, for models that read them. On a rank's part of a
    /// divided graph, those of the part's nodes.
    pub nodes: Option<&'a Tensor>,
}

impl<'a> From<&'a Tensor> for Texts<'a> {
    /// Of relation names alone.
    fn from(relations: &'a Tensor) -> Self {
        Texts {
            relations,
            nodes: None,
        }
    }
}
