//! What personalised PageRank reads besides a graph: which nodes are documents, and the weights of
//! triples.

use gfm_pipe_api::{Artifact, OpError, OpResult, columns};
use gfm_pipe_eval::rankers::NO_SCORE;

/// The nodes of documents, by document.
pub(crate) struct Passages(Vec<Option<u32>>);

impl Passages {
    /// Reads a `nodes` artifact; `None` where no document is a node.
    ///
    /// # Errors
    /// When it is of another number of nodes, or names a document that does not exist.
    pub fn read(of: &Artifact, nodes: usize, documents: usize) -> OpResult<Option<Passages>> {
        let table = of.read("nodes")?;
        let stands_for = columns::u32s(&table, "document")?;
        if stands_for.len() != nodes {
            return Err(OpError::new(format!(
                "there are types of {} nodes, and the graph has {nodes}",
                stands_for.len()
            ))
            .artifact(&of.name)
            .hint("connect `nodes` of the stage that the graph is made from"));
        }
        let mut passages = vec![None; documents];
        for (node, document) in (0..).zip(stands_for) {
            let Some(document) = document else { continue };
            let place = passages.get_mut(document as usize).ok_or_else(|| {
                OpError::new(format!(
                    "a node stands for document {document}, and there are {documents}"
                ))
                .artifact(&of.name)
                .row(u64::from(node))
            })?;
            *place = Some(node);
        }
        let any = passages.iter().any(Option::is_some);
        Ok(any.then_some(Passages(passages)))
    }

    /// Scores to rank documents by: the masses of their own nodes.
    pub fn ranking(&self, masses: &[f64]) -> Vec<f64> {
        let mass = |node: &Option<u32>| node.map_or(NO_SCORE, |node| masses[node as usize]);
        self.0.iter().map(mass).collect()
    }
}

/// Head, tail and weight of the direct triples of a `graph` artifact, in the order of the triples.
///
/// # Errors
/// When there is not a weight for each.
pub(crate) fn weighted_triples(
    graph: &Artifact,
    weights: &Artifact,
) -> OpResult<Vec<(u32, u32, f64)>> {
    let info = graph.read("info")?;
    let triples = columns::u64s(&info, "triples")?.value(0) as usize;
    let table = weights.read("edge_weights")?;
    let weights_of = columns::f32s(&table, "weight")?;
    if weights_of.values().len() != triples {
        return Err(OpError::new(format!(
            "there are {} weights, and the graph has {triples} triples",
            weights_of.values().len()
        ))
        .artifact(&weights.name)
        .hint("connect `edge_weights` of the stage that gave `build-graph` its triples"));
    }
    let mut out = vec![(0, 0, 0.0); triples];
    for batch in graph.batches("edges")? {
        let batch = batch?;
        let column = |name| columns::u32s(&batch, name);
        let (heads, tails) = (column("head")?, column("tail")?);
        let positions = column("position")?;
        for (i, position) in positions.values().iter().enumerate() {
            // Inverses stand behind all direct triples.
            if let Some(triple) = out.get_mut(*position as usize) {
                let weight = f64::from(weights_of.value(*position as usize));
                *triple = (heads.value(i), tails.value(i), weight);
            }
        }
    }
    Ok(out)
}
