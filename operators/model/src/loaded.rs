//! Artifacts that a model works on, loaded into memory: graphs, backgrounds, and which encoder they
//! were embedded with.

use candle_core::{DType, Tensor};
use gfm_pipe_api::{Artifact, OpError, OpResult, columns};

use crate::graph::Graph;
use crate::model::partition::Part;
use crate::model::{Class, ModelConfig, Params, StoredModel, Texts};
use crate::tensor::tensor;
use crate::tensor_error;

/// A `graph` artifact, loaded into memory.
pub struct LoadedGraph {
    /// Triples with their inverses.
    pub graph: Graph,
    /// Embeddings of its texts.
    pub texts: GraphTexts,
    /// Width of text embeddings.
    pub text_dim: usize,
    /// Name of the encoder.
    pub encoder: String,
    /// Digest of the encoder.
    pub encoder_digest: String,
}

/// Embeddings of the texts of a graph; see [`Texts`].
pub struct GraphTexts {
    /// Of relation names, `[2R, text]`.
    pub relations: Tensor,
    /// Of nodes, `[N, text]`, if the graph has their texts.
    pub nodes: Option<Tensor>,
}

/// Where embeddings of nodes' texts come from.
pub const NODE_TEXTS_HINT: &str = "embed `node_texts` of the ingest-graph stage, or the `texts` of a node-texts stage, and connect the embeddings to input `nodes` of build-graph";

impl GraphTexts {
    /// As models take them.
    pub fn borrowed(&self) -> Texts<'_> {
        Texts {
            relations: &self.relations,
            nodes: self.nodes.as_ref(),
        }
    }

    /// Checks that they have what such a model reads.
    ///
    /// # Errors
    /// When the texts of nodes are missing.
    pub fn check(&self, config: &ModelConfig) -> OpResult<()> {
        if config.use_ent_emb.is_none() || self.nodes.is_some() {
            return Ok(());
        }
        let why = "the model reads the texts of nodes, but the graph has no embeddings of them";
        Err(OpError::new(why).hint(NODE_TEXTS_HINT))
    }

    /// Keeps the texts of a part's nodes only, in the order of its local numbers.
    ///
    /// # Errors
    /// When the graph has fewer nodes.
    pub fn keep(&mut self, part: &Part) -> OpResult<()> {
        if let Some(all) = &self.nodes {
            let here = [part.own(), part.halo()].concat();
            let here = Tensor::new(here.as_slice(), all.device());
            let rows = here.and_then(|here| all.index_select(&here, 0)?.contiguous());
            self.nodes = Some(rows.map_err(tensor_error)?);
        }
        Ok(())
    }

    /// Converts them to the element type that a model computes in.
    ///
    /// # Errors
    /// When candle cannot convert them.
    pub fn into_dtype(self, dtype: DType) -> OpResult<Self> {
        let convert = |t: Tensor| t.to_dtype(dtype).map_err(tensor_error);
        Ok(GraphTexts {
            relations: convert(self.relations)?,
            nodes: self.nodes.map(convert).transpose()?,
        })
    }
}

impl LoadedGraph {
    /// Reads a `graph` artifact.
    pub fn read(artifact: &Artifact) -> OpResult<Self> {
        let graph = Graph::read(artifact)?;
        let encoder = EncoderId::of_graph(artifact)?;
        let (text_dim, values) = vectors(artifact, "relation_embeddings")?;
        let (_, of_nodes) = vectors(artifact, "node_embeddings")?;
        let of_nodes = (!of_nodes.is_empty() || graph.nodes() == 0)
            .then(|| tensor(of_nodes, (graph.nodes(), text_dim)).map_err(tensor_error));
        let relations = tensor(values, (2 * graph.relations(), text_dim)).map_err(tensor_error)?;
        Ok(LoadedGraph {
            texts: GraphTexts {
                relations,
                nodes: of_nodes.transpose()?,
            },
            graph,
            text_dim,
            encoder: encoder.name,
            encoder_digest: encoder.digest,
        })
    }

    /// Checks that a model was trained with the encoder of this graph. `name` is the model's
    /// artifact.
    pub fn fits(&self, model: &StoredModel, name: &str) -> OpResult<()> {
        if model.origin.encoder_digest == self.encoder_digest {
            let check = self.texts.check(&model.params.config);
            return check.map_err(|e| e.artifact(name));
        }
        Err(OpError::new(format!(
            "the model was trained with the encoder {}, but the graph is embedded with {}",
            model.origin.encoder, self.encoder
        ))
        .artifact(name)
        .hint("embed with the encoder that the model was trained with"))
    }

    /// Turns a model into a retriever for this graph. `name` is the model's artifact.
    ///
    /// # Errors
    /// When the graph was embedded by another encoder.
    pub fn retriever(&self, stored: StoredModel, name: &str) -> OpResult<Params> {
        self.fits(&stored, name)?;
        match stored.params.class {
            Class::GNNRetriever | Class::GraphReasoner => Ok(stored.params),
            Class::QueryGNN => Ok(stored.params.as_retriever()),
        }
    }

    /// Converts the embeddings to the element type that a model computes in.
    pub fn into_dtype(mut self, dtype: DType) -> OpResult<Self> {
        self.texts = self.texts.into_dtype(dtype)?;
        Ok(self)
    }
}

/// Reads the column `vector` of an artifact's table: the length of a vector, and all values.
pub fn vectors(artifact: &Artifact, table: &str) -> OpResult<(usize, Vec<f32>)> {
    columns::vectors(&artifact.read(table)?, "vector")
        .map_err(|e| e.artifact(format!("{}.{table}", artifact.name)))
}

/// The encoder that texts were embedded with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncoderId {
    /// The artifact, `STAGE.PORT`.
    pub of: String,
    /// Name of the encoder.
    pub name: String,
    /// Digest of the encoder.
    pub digest: String,
    /// Length of its vectors.
    pub dim: usize,
}

impl EncoderId {
    /// The encoder of a graph's relations.
    pub fn of_graph(artifact: &Artifact) -> OpResult<Self> {
        Self::read(artifact, "info", "encoder", "encoder_digest")
    }

    /// The encoder of an `embeddings` artifact.
    pub fn of_embeddings(artifact: &Artifact) -> OpResult<Self> {
        Self::read(artifact, "encoder", "name", "digest")
    }

    fn read(artifact: &Artifact, table: &str, name: &str, digest: &str) -> OpResult<Self> {
        let row = artifact.read(table)?;
        let text =
            |column| -> OpResult<String> { Ok(columns::text(&row, column)?.value(0).to_owned()) };
        Ok(EncoderId {
            of: artifact.name.clone(),
            name: text(name)?,
            digest: text(digest)?,
            dim: columns::u32s(&row, "dim")?.value(0) as usize,
        })
    }

    /// Checks that all are the same encoder, and returns it.
    pub fn same(ids: &[EncoderId]) -> OpResult<&EncoderId> {
        let first = ids
            .first()
            .ok_or_else(|| OpError::new("nothing is connected to input `graph`"))?;
        match ids
            .iter()
            .find(|i| (&i.digest, i.dim) != (&first.digest, first.dim))
        {
            None => Ok(first),
            Some(other) => Err(OpError::new(format!(
                "`{}` is embedded with {} ({} wide), `{}` with {} ({} wide): one model needs one encoder",
                first.of, first.name, first.dim, other.of, other.name, other.dim
            ))
            .hint("give all `embed` stages the same `model`")),
        }
    }
}

/// Reads the states after each layer, `[N, out]`, from a `background` artifact.
///
/// # Errors
/// When it was computed from another model or graph.
pub fn read_background(
    artifact: &Artifact,
    model: &Artifact,
    graph: &Artifact,
) -> OpResult<Vec<Tensor>> {
    let info = artifact.read("info")?;
    for (column, given) in [("model", model), ("graph", graph)] {
        if columns::text(&info, column)?.value(0) != given.digest() {
            return Err(OpError::new(format!(
                "the background was computed from another {column} than `{}`",
                given.name
            ))
            .artifact(&artifact.name)
            .hint(format!(
                "connect the same {column} to this stage and to the `build-background` stage"
            )));
        }
    }
    let nodes = columns::u64s(&info, "nodes")?.value(0) as usize;
    let mut out = Vec::new();
    for table in ["states", "last"] {
        let (dim, values) = vectors(artifact, table)?;
        let one = (nodes * dim).max(1);
        for layer in values.chunks(one) {
            out.push(tensor(layer.to_vec(), (nodes, dim)).map_err(tensor_error)?);
        }
    }
    Ok(out)
}
