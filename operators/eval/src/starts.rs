//! The weighted nodes that a question starts from.

use std::collections::BTreeSet;
use std::sync::Arc;

use gfm_pipe_api::artifact::texts_digest;
use gfm_pipe_api::{Artifact, OpError, OpResult, columns};

/// Nodes with their weights. Each node occurs once.
pub type Starts = Vec<(u32, f64)>;

/// Joins entries of the same node: ascending nodes, weights added in the given order.
pub fn merged(mut starts: Starts) -> Starts {
    // A stable sort, so that weights are added in the given order.
    starts.sort_by_key(|s| s.0);
    starts.dedup_by(|next, kept| {
        let same = next.0 == kept.0;
        if same {
            kept.1 += next.1;
        }
        same
    });
    starts
}

/// A node that a source found for a question.
#[derive(Debug, Clone, PartialEq)]
pub struct SourcedStart<S> {
    /// The node.
    pub node: u32,
    /// The source's name, as in `link-questions`.
    pub source: S,
    /// Its weight, above 0.
    pub weight: f64,
}

/// Reads the starts of every question, in the order of the questions, with ascending nodes. Weights
/// of the same node are added.
///
/// # Errors
/// When the artifact was made for other questions, or a row has an unknown question or node or an
/// invalid weight.
pub fn read_starts(artifact: &Artifact, texts: &[String], of: &str) -> OpResult<Vec<Starts>> {
    let sourced = read_sourced_starts(artifact, texts, of)?.into_iter();
    let nodes = sourced.map(|starts| starts.into_iter().map(|s| (s.node, s.weight)).collect());
    Ok(nodes.map(merged).collect())
}

/// Reads the starts of every question with their sources, in the order of the table.
///
/// # Errors
/// See [`read_starts`].
pub fn read_sourced_starts(
    artifact: &Artifact,
    texts: &[String],
    of: &str,
) -> OpResult<Vec<Vec<SourcedStart<Arc<str>>>>> {
    let info = artifact.read("info")?;
    if columns::text(&info, "texts_digest")?.value(0) != texts_digest(texts) {
        return Err(
            OpError::new(format!("these starts were not made for `{of}`"))
                .artifact(&artifact.name)
                .hint("connect `questions` and `starts` of the same `link-questions` stage"),
        );
    }
    let nodes = columns::u64s(&info, "nodes")?.value(0);
    let mut out = vec![Vec::new(); texts.len()];
    // There are few sources.
    let mut names: BTreeSet<Arc<str>> = BTreeSet::new();
    let mut row = 0;
    for batch in artifact.batches("starts")? {
        let batch = batch?;
        let (questions, of_nodes) = (
            columns::u32s(&batch, "question")?,
            columns::u32s(&batch, "node")?,
        );
        let weights = columns::f64s(&batch, "weight")?;
        let sources = columns::text(&batch, "source")?;
        for i in 0..batch.num_rows() {
            let (node, weight) = (of_nodes.value(i), weights.value(i));
            let starts = out.get_mut(questions.value(i) as usize);
            match starts {
                Some(starts) if u64::from(node) < nodes && weight.is_finite() && weight > 0.0 => {
                    let name = sources.value(i);
                    let source = names.get(name).cloned().unwrap_or_else(|| {
                        let name: Arc<str> = name.into();
                        names.insert(Arc::clone(&name));
                        name
                    });
                    starts.push(SourcedStart {
                        node,
                        source,
                        weight,
                    });
                }
                _ => {
                    return Err(OpError::data(
                        "a start has an unknown question or node, or its weight is not above 0",
                    )
                    .artifact(format!("{}.starts", artifact.name))
                    .row(row));
                }
            }
            row += 1;
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_of_a_node_are_added_in_order() {
        let big = 1e16;
        let got = merged(vec![(3, big), (1, 0.5), (3, 1.0), (3, -big), (1, 0.25)]);
        assert_eq!(got, [(1, 0.75), (3, big + 1.0 - big)]);
        assert!(merged(Vec::new()).is_empty());
    }
}
