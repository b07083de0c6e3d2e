//! The weights of a graph's triples, for personalised PageRank.

use gfm_pipe_api::{Artifact, OpError, OpResult, columns};

/// Head, tail and weight of the direct triples of a `graph` artifact, in the order of the triples.
///
/// # Errors
/// When the number of weights differs from the number of triples.
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
            "there are {} weights, but the graph has {triples} triples",
            weights_of.values().len()
        ))
        .artifact(&weights.name)
        .hint("connect `edge_weights` of the stage whose triples `build-graph` has"));
    }
    let mut out = vec![(0, 0, 0.0); triples];
    for batch in graph.batches("edges")? {
        let batch = batch?;
        let column = |name| columns::u32s(&batch, name);
        let (heads, tails) = (column("head")?, column("tail")?);
        let positions = column("position")?;
        for (i, position) in positions.values().iter().enumerate() {
            // Inverses come after all direct triples.
            if let Some(triple) = out.get_mut(*position as usize) {
                let weight = f64::from(weights_of.value(*position as usize));
                *triple = (heads.value(i), tails.value(i), weight);
            }
        }
    }
    Ok(out)
}
