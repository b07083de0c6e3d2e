//! The weights of a graph's triples, for personalised PageRank.

use gfm_pipe_api::{Artifact, Context, OpResult, columns};
use gfm_pipe_eval::baselines::asked::edge_weights;

/// Head, tail and weight of the direct triples of a `graph` artifact, in the order of the triples;
/// `None` if the port `edge_weights` is not connected.
///
/// # Errors
/// When the number of weights differs from the number of triples.
pub(crate) fn weighted_triples(
    ctx: &Context,
    graph: &Artifact,
) -> OpResult<Option<Vec<(u32, u32, f64)>>> {
    let info = graph.read("info")?;
    let triples = columns::u64s(&info, "triples")?.value(0) as usize;
    let Some(weights) = edge_weights(ctx, triples)? else {
        return Ok(None);
    };
    let mut out = vec![(0, 0, 0.0); triples];
    for batch in graph.batches("edges")? {
        let batch = batch?;
        let column = |name| columns::u32s(&batch, name);
        let (heads, tails) = (column("head")?, column("tail")?);
        let positions = column("position")?;
        for (i, position) in positions.values().iter().enumerate() {
            // Inverses come after all direct triples.
            if let Some(triple) = out.get_mut(*position as usize) {
                let weight = f64::from(weights.at(*position as usize));
                *triple = (heads.value(i), tails.value(i), weight);
            }
        }
    }
    Ok(Some(out))
}
