//! Losses of documents whose scores have ranking features, for the CPU and, since such losses have
//! no kernel, for devices too.

use crate::backend::{Target, Term};
use crate::model::{FeatureSums, FeatureWeights};

/// A loss of documents, by question.
pub(crate) struct DocumentLoss {
    /// Each question's part of the loss, without the term's weight.
    pub rows: Vec<f64>,
    /// The gradient of the network's scores, without the term's weight, `[B, documents]`.
    pub grad: Vec<f64>,
}

/// The loss of a term, from the network's scores of documents, `[B, documents]`. Adds the gradients
/// of the head of features, with the term's weight, to `sums`.
pub(crate) fn document_loss(
    head: &FeatureWeights,
    term: &Term,
    target: &Target<'_>,
    network: &[f64],
    sums: &mut FeatureSums,
) -> DocumentLoss {
    let columns = network.len() / target.features.len().max(1);
    let used = term.loss.used(&target.whole);
    let mut out = DocumentLoss {
        rows: Vec::with_capacity(target.features.len()),
        grad: Vec::with_capacity(network.len()),
    };
    let rows = network.chunks_exact(columns.max(1)).enumerate();
    for ((i, network), features) in rows.zip(&target.features) {
        let mut scores = network.to_vec();
        head.apply(features, &mut scores);
        let similar = target.similar.get(i * columns..(i + 1) * columns);
        let (gold, similar) = (&target.gold[i..=i], similar.unwrap_or_default());
        let value = term.loss.value(&scores, columns, gold, similar, used);
        out.rows.push(value.loss);
        sums.add(features, network, &value.grad, term.weight);
        out.grad.extend(value.grad.iter().map(|g| head.gate * g));
    }
    out
}
