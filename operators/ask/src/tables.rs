//! Tables of a graph, row by row, for those who load them and for those who only check them.

use std::sync::Arc;

use gfm_pipe_api::text_list::TextList;
use gfm_pipe_api::{Artifact, Context, OpError, OpResult, columns};
use gfm_pipe_eval::by_node::Triples;

/// The triples of a graph.
///
/// # Errors
/// When one names a node or relation that does not exist.
pub fn triples(ctx: &Context, nodes: usize, relations: usize) -> OpResult<Triples> {
    let mut all = Vec::with_capacity(ctx.input("triples")?.rows("triples")?);
    each_triple(ctx, nodes, relations, &mut |triple| all.push(triple))?;
    Ok(Triples::new(nodes, all)?)
}

/// Calls `each` with the head, relation and tail of each triple, in the order of the table.
///
/// # Errors
/// When one names a node or relation that does not exist.
pub fn each_triple(
    ctx: &Context,
    nodes: usize,
    relations: usize,
    each: &mut dyn FnMut([u32; 3]),
) -> OpResult<()> {
    let artifact = ctx.input("triples")?;
    let mut row = 0;
    for batch in artifact.batches("triples")? {
        let batch = batch?;
        let column = |name| columns::u32s(&batch, name);
        let (heads, of, tails) = (column("head")?, column("relation")?, column("tail")?);
        for i in 0..batch.num_rows() {
            let triple = [heads.value(i), of.value(i), tails.value(i)];
            let [head, relation, tail] = triple.map(|id| id as usize);
            if head >= nodes || tail >= nodes || relation >= relations {
                return Err(OpError::new(
                    "a triple names an entity or relation that does not exist",
                )
                .artifact(&artifact.name)
                .row(row)
                .hint("connect `entities`, `relations` and `triples` of the same stage"));
            }
            each(triple);
            row += 1;
        }
    }
    Ok(())
}

/// Calls `each` with a triple and a fact that it was made from, in the order of the table
/// `evidence`.
///
/// # Errors
/// When there are fewer triples or facts than it says.
pub fn each_evidence(
    evidence: &Artifact,
    triples: usize,
    facts: usize,
    each: &mut dyn FnMut(usize, usize),
) -> OpResult<()> {
    for batch in evidence.batches("evidence")? {
        let batch = batch?;
        let rows = columns::u64s(&batch, "triple")?.values().iter();
        for (triple, fact) in rows.zip(columns::u64s(&batch, "fact")?.values()) {
            let (triple, fact) = (*triple as usize, *fact as usize);
            if triple >= triples || fact >= facts {
                return Err(
                    OpError::new("evidence names a triple or fact that does not exist")
                        .artifact(&evidence.name)
                        .hint("connect what was made from the same documents"),
                );
            }
            each(triple, fact);
        }
    }
    Ok(())
}

/// The form in which each entity is written most often, of equally frequent ones the first; its
/// name where no form is known.
///
/// # Errors
/// When the table cannot be read.
pub fn labels(ctx: &Context, names: &Arc<TextList>) -> OpResult<Arc<TextList>> {
    let Some(labels) = ctx.input_opt("labels") else {
        return Ok(Arc::clone(names));
    };
    let mut all = TextList::new();
    // For each node the largest count, and where its form is.
    let mut most: Vec<(u64, usize)> = vec![(0, 0); names.len()];
    for batch in labels.batches("labels")? {
        let batch = batch?;
        let (nodes, counts) = (
            columns::u32s(&batch, "entity")?,
            columns::u64s(&batch, "count")?,
        );
        let texts = columns::text(&batch, "label")?;
        for row in 0..batch.num_rows() {
            let count = counts.value(row);
            let most = most.get_mut(nodes.value(row) as usize);
            if let Some(most) = most.filter(|most| count > most.0) {
                *most = (count, all.len());
                all.push(texts.value(row));
            }
        }
    }
    let of_nodes = most.iter().zip(names.iter());
    let of_nodes = of_nodes.map(|((count, form), name)| match count {
        0 => name,
        _ => &all[*form],
    });
    Ok(Arc::new(of_nodes.collect()))
}
