//! What training and evaluation read besides documents and questions: graphs in memory, who embedded what, and ports that
//! take several data sets.
//!
//! Invariant: numbers of two encoders are never mixed. Everything one model sees was embedded by one encoder, and that is
//! checked from one-row tables before anything large is read.

use candle_core::{DType, Tensor};
use gfm_pipe_api::{Artifact, Connected, Context, OpError, OpResult, Problem, columns};

use crate::documents::Questions;
use gfm_pipe_model::graph::Graph;
use gfm_pipe_model::model::StoredModel;
use gfm_pipe_model::tensor::tensor;
use gfm_pipe_model::tensor_error;

/// A `graph` artifact in memory.
pub(crate) struct LoadedGraph {
    /// The graph.
    pub graph: Graph,
    /// Relation embeddings, `[2R, text]`.
    pub embeddings: Tensor,
    /// Width of text embeddings.
    pub text_dim: usize,
    /// Encoder's name.
    pub encoder: String,
    /// Encoder's digest.
    pub encoder_digest: String,
}

impl LoadedGraph {
    /// Reads a `graph` artifact.
    pub fn read(artifact: &Artifact) -> OpResult<Self> {
        let graph = Graph::read(artifact)?;
        let encoder = EncoderId::of_graph(artifact)?;
        let (text_dim, values) = vectors(artifact, "relation_embeddings")?;
        Ok(LoadedGraph {
            embeddings: tensor(values, (2 * graph.relations(), text_dim)).map_err(tensor_error)?,
            graph,
            text_dim,
            encoder: encoder.name,
            encoder_digest: encoder.digest,
        })
    }

    /// Checks that a model knows the encoder that this graph is embedded with. `name` is the model's artifact.
    pub fn fits(&self, model: &StoredModel, name: &str) -> OpResult<()> {
        if model.origin.encoder_digest == self.encoder_digest {
            return Ok(());
        }
        Err(OpError::new(format!(
            "the model was trained with the encoder {}, the graph is embedded with {}",
            model.origin.encoder, self.encoder
        ))
        .artifact(name)
        .hint("embed with the encoder the model was trained with"))
    }

    /// The same with embeddings of another element type, for a model that computes in it.
    pub fn into_dtype(mut self, dtype: DType) -> OpResult<Self> {
        self.embeddings = self.embeddings.to_dtype(dtype).map_err(tensor_error)?;
        Ok(self)
    }
}

/// The column `vector` of a table of an artifact: length of a vector, and all values.
pub(crate) fn vectors(artifact: &Artifact, table: &str) -> OpResult<(usize, Vec<f32>)> {
    columns::vectors(&artifact.read(table)?, "vector")
        .map_err(|e| e.artifact(format!("{}.{table}", artifact.name)))
}

/// The encoder some texts were embedded with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct EncoderId {
    /// The artifact, `STAGE.PORT`.
    pub of: String,
    /// Encoder's name.
    pub name: String,
    /// Encoder's digest.
    pub digest: String,
    /// Length of its vectors.
    pub dim: usize,
}

impl EncoderId {
    /// Of a graph's relations.
    pub fn of_graph(artifact: &Artifact) -> OpResult<Self> {
        Self::read(artifact, "info", ("encoder", "encoder_digest"))
    }

    /// Of embeddings.
    pub fn of_embeddings(artifact: &Artifact) -> OpResult<Self> {
        Self::read(artifact, "encoder", ("name", "digest"))
    }

    fn read(artifact: &Artifact, table: &str, (name, digest): (&str, &str)) -> OpResult<Self> {
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

    /// Holds that all were embedded with the first one's encoder, and gives it.
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

/// Whether two names can be those of one encoder: a name without an organisation fits that of any.
pub(crate) fn same_name(a: &str, b: &str) -> bool {
    let short = |name: &str| name.rsplit('/').next().map(str::to_owned);
    match a.contains('/') && b.contains('/') {
        true => a == b,
        false => short(a) == short(b),
    }
}

/// Holds that questions and graph were embedded by one encoder.
pub(crate) fn same_encoder(q: &Questions, graph: &LoadedGraph) -> OpResult<()> {
    if q.encoder_digest == graph.encoder_digest && q.text_dim == graph.text_dim {
        return Ok(());
    }
    Err(OpError::new(format!(
        "questions `{}` are embedded with {} ({} wide), the graph's relations with {} ({} wide)",
        q.name, q.encoder, q.text_dim, graph.encoder, graph.text_dim
    ))
    .hint("give both `embed` stages the same `model`"))
}

/// What is wrong with ports whose artifacts belong together by position: they must have the same number of them, and where these
/// are stages of a `foreach`, for the same values in the same order. A port of `optional` may be empty.
pub(crate) fn zip_problem(
    inputs: &Connected,
    ports: &[&str],
    optional: &[&str],
) -> Option<Problem> {
    let of = |port: &str| inputs.get(port).map_or(&[][..], Vec::as_slice);
    let first = of(ports.first()?);
    let used = || {
        let more = optional.iter().filter(|p| !of(p).is_empty());
        ports.iter().chain(more)
    };
    if used().any(|p| of(p).len() != first.len()) {
        let counts: Vec<String> = used()
            .map(|p| format!("`{p}` has {}", of(p).len()))
            .collect();
        return Some(
            Problem::at_root(format!(
                "data sets are put together by position, but {}",
                counts.join(", ")
            ))
            .hint("give every one of these ports one artifact a data set, in the same order"),
        );
    }
    for (i, a) in first.iter().enumerate() {
        let other =
            used().find(|p| matches!((label(a), label(&of(p)[i])), (Some(x), Some(y)) if x != y));
        if let Some(port) = other {
            return Some(
                Problem::at_root(format!(
                    "data sets are put together by position, but number {} is `{a}` in `{}` and `{}` in `{port}`",
                    i + 1,
                    ports[0],
                    of(port)[i]
                ))
                .hint("name them in the same order"),
            );
        }
    }
    None
}

/// What stands between the brackets of a stage that `foreach` made.
fn label(name: &str) -> Option<&str> {
    Some(name.split_once('[')?.1.split_once(']')?.0)
}

/// What a stage that runs was given, by name.
pub(crate) fn connected(ctx: &Context) -> Connected {
    let names = |all: &Vec<Artifact>| all.iter().map(|a| a.name.clone()).collect();
    let inputs = ctx.inputs.iter();
    inputs
        .map(|(port, all)| (port.clone(), names(all)))
        .collect()
}

/// [`zip_problem`] of what a stage that runs was given, as an error; else the number of data sets.
pub(crate) fn zipped(ctx: &Context, ports: &[&str], optional: &[&str]) -> OpResult<usize> {
    match zip_problem(&connected(ctx), ports, optional) {
        None => Ok(ports.first().map_or(0, |p| ctx.inputs(p).len())),
        Some(problem) => Err(problem_error(problem)),
    }
}

/// A problem of what is connected, where it is met by a stage that runs.
pub(crate) fn problem_error(problem: Problem) -> OpError {
    let error = OpError::new(problem.message);
    match problem.hint {
        Some(hint) => error.hint(hint),
        None => error,
    }
}

/// Labels for the data sets of one stage: position and name are enough to find one, whatever the stages are called.
///
/// Outputs name data sets by these, so they come from content alone: renaming a stage changes no result.
pub(crate) fn labels(names: Vec<String>) -> Vec<String> {
    names
        .iter()
        .enumerate()
        .map(|(i, name)| {
            if names.iter().filter(|n| *n == name).count() > 1 {
                format!("{name}#{}", i + 1)
            } else {
                name.clone()
            }
        })
        .collect()
}
