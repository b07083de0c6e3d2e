//! Losses of scores and their gradients, in f64 whatever type the model computes in.
//!
//! The formulas are those of GFM-RAG (Luo et al., 2025, eq. 5 to 7) and its implementation. Weights
//! of negatives are constants: no gradient flows through them. Ranks may each compute a part of a
//! batch. Every loss is divided by the rows of the whole batch, so that the losses and gradients of
//! the parts add up to those of the whole. Invariant: with no usable row, the loss and its gradient
//! are 0, never NaN.
//!
//! To add a fine-tuning loss, write one [`LossKind`] in this file and add it to [`LOSSES`].

use std::fmt;
use std::sync::LazyLock;

use gfm_pipe_api::named::Named;
use gfm_pipe_kernels::gpu::losses::Loss;
use serde::{Deserialize, Serialize};

/// A loss, and its gradient with respect to the scores.
#[derive(Debug, Clone)]
pub struct Value {
    /// Mean over the rows of the whole batch.
    pub loss: f64,
    /// Gradient, `[B, M]` row-major like the scores.
    pub grad: Vec<f64>,
}

/// ln(1 + exp(x)) without overflow.
fn softplus(x: f64) -> f64 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

/// The logistic function.
pub fn sigmoid(x: f64) -> f64 {
    if x >= 0.0 {
        1.0 / (1.0 + (-x).exp())
    } else {
        let e = x.exp();
        e / (1.0 + e)
    }
}

/// softmax(x / temperature); uniform at temperature 0.
fn adversarial(scores: &[f64], temperature: f64) -> Vec<f64> {
    if temperature <= 0.0 {
        return vec![1.0 / scores.len() as f64; scores.len()];
    }
    let max = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let e: Vec<f64> = scores
        .iter()
        .map(|s| ((s - max) / temperature).exp())
        .collect();
    let sum: f64 = e.iter().sum();
    e.into_iter().map(|x| x / sum).collect()
}

/// Pre-training: binary cross-entropy of one positive (column 0) and negatives weighted by
/// softmax(score / temperature) (Sun et al., 2019, self-adversarial sampling). Each row is
/// normalised by its weights; `rows` is the number of rows of the whole batch.
pub fn link_prediction(scores: &[f64], columns: usize, temperature: f64, rows: usize) -> Value {
    let mut out = Value {
        loss: 0.0,
        grad: Vec::with_capacity(scores.len()),
    };
    for row in scores.chunks_exact(columns) {
        let weights = adversarial(&row[1..], temperature);
        let total = 1.0 + weights.iter().sum::<f64>();
        let scale = 1.0 / (total * rows as f64);
        out.loss += softplus(-row[0]) * scale;
        out.grad.push((sigmoid(row[0]) - 1.0) * scale);
        for (s, w) in row[1..].iter().zip(weights) {
            out.loss += w * softplus(*s) * scale;
            out.grad.push(w * sigmoid(*s) * scale);
        }
    }
    out
}

/// Binary cross-entropy. Each of n positives has weight 1/n, negatives have weights softmax(score /
/// temperature), and all weights are divided by their sum.
pub static BCE: LossKind = LossKind {
    name: "BCELoss",
    meaning: "binary cross-entropy",
    cross_entropy: true,
    has_temperature: true,
    distils: false,
    has_reduction: false,
    counts: |_| true,
    row: |row, grad| bce_row(row, grad),
    on_device: Some(|temperature| Loss::Bce { temperature }),
};

/// The mean of -ln(p / (Σ p + 1e-5) + 1e-5) over the positives, where p is the sigmoid of the
/// score. Rows without positives do not count.
pub static LIST_CE: LossKind = LossKind {
    name: "ListCELoss",
    meaning: "cross-entropy of each positive's share of all probabilities",
    cross_entropy: false,
    has_temperature: false,
    distils: false,
    has_reduction: false,
    counts: |positives| !positives.is_empty(),
    row: |row, grad| list_ce_row(row, grad),
    on_device: Some(|_| Loss::ListCe),
};

/// The mean of (p - y)² over rows and columns, where y = (c + 1) / 2 and c is the similarity of the
/// texts of question and node (GFM-RAG 2.0).
pub static MSE: LossKind = LossKind {
    name: "MSELoss",
    meaning: "squared distance of probabilities from the similarity of texts",
    cross_entropy: false,
    has_temperature: false,
    distils: true,
    has_reduction: false,
    counts: |_| true,
    row: |row, grad| mse_row(row, grad),
    on_device: None,
};

/// The sum of y ln(y / p) + (1 - y) ln((1 - y) / (1 - p)) over columns, with y as in [`MSE`]; p and
/// y are at least 1e-6 away from 0 and 1 (GFM-RAG 2.0).
pub static KL_DIV: LossKind = LossKind {
    name: "KLDivLoss",
    meaning: "Kullback-Leibler divergence of probabilities from the similarity of texts",
    cross_entropy: false,
    has_temperature: false,
    distils: true,
    has_reduction: true,
    counts: |_| true,
    row: |row, grad| kl_row(row, grad),
    on_device: None,
};

/// The mean of -ln(share) over the positives, where a column's share is softmax(score) among all
/// columns. It is what a fusion of ranking features is fitted by
/// ([`gfm_pipe_eval::features::fit`]). Rows without positives do not count.
pub static LIST_SOFTMAX: LossKind = LossKind {
    name: "ListSoftmaxLoss",
    meaning: "cross-entropy of each positive's share by softmax of the scores",
    cross_entropy: false,
    has_temperature: false,
    distils: false,
    has_reduction: false,
    counts: |positives| !positives.is_empty(),
    row: |row, grad| list_softmax_row(row, grad),
    on_device: None,
};

/// Every fine-tuning loss, in the order in which schemas list them.
pub static LOSSES: [&LossKind; 5] = [&BCE, &LIST_CE, &LIST_SOFTMAX, &MSE, &KL_DIV];

/// The losses that the reference does not have, so that they have no name there.
static OWN: [&LossKind; 1] = [&LIST_SOFTMAX];

/// What the divergences of [`KL_DIV`] are divided by, with the reference's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reduction {
    /// The number of rows.
    #[default]
    BatchMean,
    /// The number of rows times that of columns.
    Mean,
    /// Nothing.
    Sum,
}

impl Reduction {
    /// The names of all of them.
    pub const NAMES: [&'static str; 3] = ["batchmean", "mean", "sum"];
}

/// Prefix of the names of losses in the reference.
const PREFIX: &str = "gfmrag.losses.";

/// A loss function of fine-tuning.
pub struct LossKind {
    /// Name in pipelines. The files of the reference may write `gfmrag.losses.` before it.
    pub name: &'static str,
    /// A short description for help texts.
    pub meaning: &'static str,
    /// Whether scores of 0, which carry no information, have a loss of ln 2.
    pub cross_entropy: bool,
    /// Whether `adversarial_temperature` changes it.
    pub has_temperature: bool,
    /// Whether it compares scores with the similarity of texts, not with the gold answers.
    pub distils: bool,
    /// Whether `reduction` changes it.
    pub has_reduction: bool,
    /// Whether a row with these positives counts.
    counts: fn(&[u32]) -> bool,
    /// Returns the loss of a row that counts, and writes the gradient of its scores.
    row: fn(&Row<'_>, &mut [f64]) -> f64,
    /// The GPU kernel for a temperature. Without one, a training on a GPU computes the loss on the
    /// CPU.
    on_device: Option<fn(f64) -> Loss>,
}

/// A row of scores.
struct Row<'a> {
    scores: &'a [f64],
    /// Columns of the positives.
    positives: &'a [u32],
    /// The similarity of the texts of question and column, from -1 to 1; empty for losses that do
    /// not read it.
    similar: &'a [f64],
    /// Number of rows that the loss is the mean of.
    rows: usize,
    temperature: f64,
    reduction: Reduction,
}

impl Named for LossKind {
    const WHAT: &'static str = "loss";

    fn all() -> &'static [&'static Self] {
        &LOSSES
    }

    fn name(&self) -> &'static str {
        self.name
    }
}

/// The value of a parameter that names a loss, with or without the reference's prefix.
#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct LossName {
    /// The loss.
    pub kind: &'static LossKind,
    prefixed: bool,
}

impl LossName {
    /// All values that a pipeline may write.
    pub fn words() -> &'static [&'static str] {
        static WORDS: LazyLock<Vec<String>> = LazyLock::new(|| {
            let theirs = LOSSES.iter().filter(|l| !l.is_own());
            let prefixed = theirs.map(|l| format!("{PREFIX}{}", l.name));
            prefixed
                .chain(LOSSES.iter().map(|l| l.name.to_owned()))
                .collect()
        });
        static SLICES: LazyLock<Vec<&str>> =
            LazyLock::new(|| WORDS.iter().map(String::as_str).collect());
        &SLICES
    }
}

impl TryFrom<String> for LossName {
    type Error = String;

    fn try_from(written: String) -> Result<Self, String> {
        let (name, prefixed) = match written.strip_prefix(PREFIX) {
            Some(name) => (name, true),
            None => (written.as_str(), false),
        };
        let kind = LossKind::named(name).filter(|kind| !prefixed || !kind.is_own());
        let kind = kind.ok_or_else(|| {
            format!(
                "there is no loss `{written}`; use {}",
                Self::words().join(", ")
            )
        })?;
        Ok(LossName { kind, prefixed })
    }
}

impl From<LossName> for String {
    fn from(name: LossName) -> String {
        let prefix = if name.prefixed { PREFIX } else { "" };
        format!("{prefix}{}", name.kind.name)
    }
}

impl fmt::Debug for LossName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind.name)
    }
}

/// A fine-tuning loss with its parameter.
#[derive(Clone, Copy)]
pub struct ListLoss {
    kind: &'static LossKind,
    temperature: f64,
    reduction: Reduction,
}

impl fmt::Debug for ListLoss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}", self.kind.name, self.temperature)
    }
}

const EPS: f64 = 1e-5;

impl LossKind {
    /// The same loss without its GPU kernel.
    #[cfg(all(test, any(feature = "cuda", feature = "gpu-emulation")))]
    pub(crate) const fn without_kernel(&self) -> LossKind {
        LossKind {
            on_device: None,
            ..*self
        }
    }

    fn is_own(&self) -> bool {
        OWN.iter().any(|own| own.name == self.name)
    }

    /// The loss with this temperature for the weights of negatives; with 0 all weights are equal. A
    /// loss without a temperature ignores it.
    pub const fn at(&'static self, temperature: f64) -> ListLoss {
        ListLoss {
            kind: self,
            temperature,
            reduction: Reduction::BatchMean,
        }
    }
}

impl ListLoss {
    /// The same loss with another reduction, if it has one.
    #[must_use]
    pub const fn reduced(self, reduction: Reduction) -> Self {
        ListLoss { reduction, ..self }
    }

    /// See [`LossKind::distils`].
    pub fn distils(&self) -> bool {
        self.kind.distils
    }

    /// Number of rows that the loss is the mean of, for a whole batch with these positives.
    pub fn used(&self, positives: &[Vec<u32>]) -> usize {
        positives.iter().filter(|p| (self.kind.counts)(p)).count()
    }

    /// The kernel that computes the loss on a GPU, if there is one.
    pub(crate) fn on_device(&self) -> Option<Loss> {
        let kernel = self.kind.on_device?;
        Some(kernel(self.temperature))
    }

    /// The loss of scores `[B, columns]`, given the positive columns of each row and, if the loss
    /// [`distils`](ListLoss::distils), the similarity of texts, `[B, columns]`. `used` is
    /// [`ListLoss::used`] of the whole batch.
    pub fn value(
        &self,
        scores: &[f64],
        columns: usize,
        positives: &[Vec<u32>],
        similar: &[f64],
        used: usize,
    ) -> Value {
        let mut out = Value {
            loss: 0.0,
            grad: vec![0.0; scores.len()],
        };
        let rows = scores.chunks_exact(columns).zip(positives).enumerate();
        for ((i, (scores, positives)), grad) in rows.zip(out.grad.chunks_exact_mut(columns)) {
            if (self.kind.counts)(positives) {
                let row = Row {
                    scores,
                    positives,
                    similar: similar
                        .get(i * columns..(i + 1) * columns)
                        .unwrap_or_default(),
                    rows: used,
                    temperature: self.temperature,
                    reduction: self.reduction,
                };
                out.loss += (self.kind.row)(&row, grad);
            }
        }
        out
    }
}

fn bce_row(row: &Row<'_>, grad: &mut [f64]) -> f64 {
    let (pos, rows, temperature) = (row.positives, row.rows, row.temperature);
    let row = row.scores;
    let mut positive = vec![false; row.len()];
    for p in pos {
        positive[*p as usize] = true;
    }
    let negatives: Vec<f64> = row
        .iter()
        .zip(&positive)
        .filter(|(_, p)| !**p)
        .map(|(s, _)| *s)
        .collect();
    let mut negative_weights = adversarial(&negatives, temperature).into_iter();
    let total =
        if pos.is_empty() { 0.0 } else { 1.0 } + if negatives.is_empty() { 0.0 } else { 1.0 };
    let scale = 1.0 / (total * rows as f64);
    let mut loss = 0.0;
    for ((s, p), g) in row.iter().zip(&positive).zip(grad) {
        if *p {
            let w = scale / pos.len() as f64;
            loss += w * softplus(-s);
            *g = w * (sigmoid(*s) - 1.0);
        } else {
            let w = scale * negative_weights.next().unwrap_or(0.0);
            loss += w * softplus(*s);
            *g = w * sigmoid(*s);
        }
    }
    loss
}

fn list_ce_row(row: &Row<'_>, grad: &mut [f64]) -> f64 {
    let (pos, rows) = (row.positives, row.rows);
    let row = row.scores;
    let p: Vec<f64> = row.iter().map(|s| sigmoid(*s)).collect();
    let sum = p.iter().sum::<f64>() + EPS;
    let scale = 1.0 / (pos.len() as f64 * rows as f64);
    // d/dp_i of Σ_j -ln(p_j / S + ε) with S = Σ p + ε' and q_j = p_j / S: a positive i has its own
    // term -1 / (S (q_i + ε)), and every i has + q_j / (S (q_j + ε)) for each positive j, because S
    // contains every p_i.
    let (mut loss, mut through_sum) = (0.0, 0.0);
    for j in pos {
        let q = p[*j as usize] / sum;
        loss -= (q + EPS).ln() * scale;
        through_sum += q / (q + EPS) / sum * scale;
    }
    for (g, p) in grad.iter_mut().zip(&p) {
        *g = through_sum * p * (1.0 - p);
    }
    for j in pos {
        let p = p[*j as usize];
        grad[*j as usize] -= scale / (sum * (p / sum + EPS)) * p * (1.0 - p);
    }
    loss
}

fn list_softmax_row(row: &Row<'_>, grad: &mut [f64]) -> f64 {
    let scale = 1.0 / row.rows as f64;
    let each = scale / row.positives.len() as f64;
    let largest = row.scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let total: f64 = row.scores.iter().map(|s| (s - largest).exp()).sum();
    for (g, s) in grad.iter_mut().zip(row.scores) {
        *g = scale * (s - largest).exp() / total;
    }
    let mut loss = 0.0;
    for j in row.positives {
        loss += each * (total.ln() + largest - row.scores[*j as usize]);
        grad[*j as usize] -= each;
    }
    loss
}

fn mse_row(row: &Row<'_>, grad: &mut [f64]) -> f64 {
    let scale = 1.0 / (row.scores.len() as f64 * row.rows as f64);
    let mut loss = 0.0;
    for ((s, c), g) in row.scores.iter().zip(row.similar).zip(grad) {
        let p = sigmoid(*s);
        let gap = p - f64::midpoint(*c, 1.0);
        loss += gap * gap * scale;
        *g = 2.0 * gap * p * (1.0 - p) * scale;
    }
    loss
}

/// Probabilities are clamped to stay this far from 0 and 1.
const CLAMP: f64 = 1e-6;

fn kl_row(row: &Row<'_>, grad: &mut [f64]) -> f64 {
    let scale = match row.reduction {
        Reduction::Sum => 1.0,
        Reduction::BatchMean => 1.0 / row.rows as f64,
        Reduction::Mean => 1.0 / (row.scores.len() as f64 * row.rows as f64),
    };
    let mut loss = 0.0;
    for ((s, c), g) in row.scores.iter().zip(row.similar).zip(grad) {
        let y = f64::midpoint(*c, 1.0).clamp(CLAMP, 1.0 - CLAMP);
        let p = sigmoid(*s);
        let kept = p.clamp(CLAMP, 1.0 - CLAMP);
        loss += (y * (y / kept).ln() + (1.0 - y) * ((1.0 - y) / (1.0 - kept)).ln()) * scale;
        // Where p was moved, it does not matter what it was.
        *g = if p == kept { (p - y) * scale } else { 0.0 };
    }
    loss
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Compares a gradient with finite differences.
    fn check(
        value: impl Fn(&[f64]) -> f64,
        scores: &[f64],
        grad: &[f64],
    ) -> Result<(), TestCaseError> {
        for i in 0..scores.len() {
            let h = 1e-6;
            let (mut up, mut down) = (scores.to_vec(), scores.to_vec());
            up[i] += h;
            down[i] -= h;
            let want = (value(&up) - value(&down)) / (2.0 * h);
            prop_assert!((grad[i] - want).abs() < 1e-7, "{i}: {} {want}", grad[i]);
        }
        Ok(())
    }

    proptest! {
        #[test]
        fn gradients_equal_finite_differences(scores in proptest::collection::vec(-4.0..4.0f64, 12), first in 0u32..3) {
            let pos = vec![vec![first, first + 2], vec![]];
            let ce = LIST_CE.at(0.0);
            let g = ce.value(&scores, 6, &pos, &[], 1).grad;
            check(|s| ce.value(s, 6, &pos, &[], 1).loss, &scores, &g)?;
            let softmax = LIST_SOFTMAX.at(0.0);
            let g = softmax.value(&scores, 6, &pos, &[], 1).grad;
            check(|s| softmax.value(s, 6, &pos, &[], 1).loss, &scores, &g)?;
            // At temperature 0 the weights are constant, so plain differences apply.
            let bce = BCE.at(0.0);
            let g = bce.value(&scores, 6, &pos, &[], 2).grad;
            check(|s| bce.value(s, 6, &pos, &[], 2).loss, &scores, &g)?;
            let similar: Vec<f64> = scores.iter().rev().map(|s| s / 4.0).collect();
            let [mean, sum] = [Reduction::Mean, Reduction::Sum].map(|r| KL_DIV.at(0.0).reduced(r));
            for loss in [MSE.at(0.0), KL_DIV.at(0.0), mean, sum] {
                let g = loss.value(&scores, 6, &pos, &similar, 2).grad;
                check(|s| loss.value(s, 6, &pos, &similar, 2).loss, &scores, &g)?;
            }
            let g = link_prediction(&scores, 4, 0.0, 3).grad;
            check(|s| link_prediction(s, 4, 0.0, 3).loss, &scores, &g)?;
        }
    }

    #[test]
    fn parts_of_a_batch_add_up_to_the_whole() {
        let scores: Vec<f64> = (0..12).map(|i| f64::from(i * 5 % 7) - 3.0).collect();
        let positives = vec![vec![0], vec![], vec![1, 2]];
        let near = |a: f64, b: f64| assert!((a - b).abs() < 1e-12, "{a} {b}");
        let similar: Vec<f64> = (0..12).map(|i| f64::from(i * 3 % 11) / 6.0 - 0.9).collect();
        let gold = [LIST_CE.at(0.0), LIST_SOFTMAX.at(0.0), BCE.at(0.5)];
        for l in gold.into_iter().chain([MSE.at(0.0), KL_DIV.at(0.0)]) {
            let used = l.used(&positives);
            let whole = l.value(&scores, 4, &positives, &similar, used);
            let a = l.value(&scores[..4], 4, &positives[..1], &similar[..4], used);
            let b = l.value(&scores[4..], 4, &positives[1..], &similar[4..], used);
            near(whole.loss, a.loss + b.loss);
            for (x, y) in whole.grad.iter().zip(a.grad.iter().chain(&b.grad)) {
                near(*x, *y);
            }
        }
        let whole = link_prediction(&scores, 4, 0.5, 3);
        let (a, b) = (
            link_prediction(&scores[..4], 4, 0.5, 3),
            link_prediction(&scores[4..], 4, 0.5, 3),
        );
        near(whole.loss, a.loss + b.loss);
        for (x, y) in whole.grad.iter().zip(a.grad.iter().chain(&b.grad)) {
            near(*x, *y);
        }
    }

    #[test]
    fn rows_without_positives_do_not_make_nan() {
        for loss in [LIST_CE.at(0.0), LIST_SOFTMAX.at(0.0)] {
            let v = loss.value(&[1.0, 2.0], 2, &[vec![]], &[], 0);
            assert_eq!((v.loss, v.grad), (0.0, vec![0.0, 0.0]));
        }
    }

    #[test]
    fn a_share_is_that_of_softmax_however_large_the_scores() {
        let loss = LIST_SOFTMAX.at(0.0);
        let v = loss.value(&[1e4, 1e4, -1e4], 3, &[vec![0, 2]], &[], 1);
        // ln 2 and ln 2 + 2e4, in the mean.
        assert!((v.loss - (2f64.ln() + 1e4)).abs() < 1e-6, "{}", v.loss);
        assert_eq!(v.grad, [0.0, 0.5, -0.5]);
    }

    #[test]
    fn only_losses_of_the_reference_have_names_there() {
        let named = |name: &str| LossName::try_from(name.to_owned());
        assert!(named("gfmrag.losses.ListCELoss").is_ok());
        assert!(named("ListSoftmaxLoss").is_ok());
        assert!(named("gfmrag.losses.ListSoftmaxLoss").is_err());
        assert!(!LossName::words().contains(&"gfmrag.losses.ListSoftmaxLoss"));
    }

    #[test]
    fn equal_negatives_weigh_equally_at_any_temperature() {
        let a = link_prediction(&[0.0, 1.0, 1.0], 3, 1.0, 1);
        let b = link_prediction(&[0.0, 1.0, 1.0], 3, 0.0, 1);
        assert!((a.loss - b.loss).abs() < 1e-12);
        // (softplus(0) + softplus(1)) / 2
        assert!((a.loss - (2f64.ln() + (1.0 + 1f64.exp()).ln()) / 2.0).abs() < 1e-12);
    }
}
