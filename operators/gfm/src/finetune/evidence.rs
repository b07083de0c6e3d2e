//! Ranking features in fine-tuning: which inputs they need, and what training sees of them.

use std::borrow::Cow;

use gfm_pipe_api::node_types::DOCUMENT;
use gfm_pipe_api::{Artifact, Connected, Context, OpResult, Problem, is_connected};
use gfm_pipe_eval::features::COUNT;
use gfm_pipe_eval::features::fit::Weights;
use gfm_pipe_eval::features::fusion::{self, Fusion};
use gfm_pipe_eval::features::of_question::QuestionFeatures;
use gfm_pipe_model::model::uniform;
use gfm_pipe_model::questions::Questions;
use rand_chacha::ChaCha8Rng;

use super::Params;
use super::params::Ranked;

/// What is wrong with the ports of ranking features.
pub(super) fn problems(p: &Params, inputs: &Connected) -> Option<Problem> {
    let connected = is_connected(inputs);
    if !connected("features") {
        if p.features.dropout > 0.0 {
            let why = "it sets ranking features to 0, and none are connected";
            return Some(
                Problem::at("features.dropout", why)
                    .hint("connect `features`, or leave the parameter out"),
            );
        }
        let other = ["valid_features", "fusion"]
            .into_iter()
            .find(|port| connected(port))?;
        let why = format!("`{other}` is connected, and `features` is not");
        return Some(Problem::at_root(why).hint(
            "connect `features` of a `rank-features` stage on the training questions, or leave both out",
        ));
    }
    if connected("valid") && !connected("valid_features") {
        let why = "the model has ranking features, but those of the validation questions are not connected";
        return Some(Problem::at_root(why).hint(
            "connect `valid_features` of a `rank-features` stage on the questions of `valid`",
        ));
    }
    // Whether types are known makes no difference to which losses rank documents.
    let mut losses = p.task.losses.iter();
    if losses.any(|loss| loss.ranked(true) == Ranked::Documents) {
        return None;
    }
    let why = "ranking features change scores of documents, but no loss ranks documents: nothing would train their weights";
    Some(Problem::at("task.losses", why).hint(
        "add a loss with `cfg: {is_doc_loss: yes}`, such as ListSoftmaxLoss, or disconnect `features`",
    ))
}

/// The weights that features start with: those of the port `fusion`, or those that come with the
/// program. `None` without features.
pub(super) fn start(ctx: &Context) -> OpResult<Option<Weights>> {
    if ctx.inputs("features").is_empty() {
        return Ok(None);
    }
    let given = ctx.input_opt("fusion").map(Fusion::read).transpose()?;
    Ok(Some(
        given.map_or(*fusion::builtin(), |fusion| fusion.weights),
    ))
}

/// Warns if the start, which ranks documents by features alone, is compared by another metric.
pub(super) fn say(p: &Params, ctx: &Context) {
    let metric = p.best_by().metric;
    if !metric.starts_with(&format!("{DOCUMENT}:")) {
        ctx.warn(format!(
            "`train.best_by` is {metric}, which ranking features do not change, so it cannot say whether training is better than the features alone: choose by a metric of documents, such as document:mrr_filtered"
        ));
    }
}

/// Whether these inputs give a model ranking features.
pub(super) fn given(features: &[Artifact]) -> bool {
    !features.is_empty()
}

/// The features of a batch of questions, each 0 with the probability `dropout`; empty without
/// features. Numbers are drawn for all questions of the batch, so that all ranks draw the same.
pub(super) fn of_batch<'d>(
    questions: &'d Questions,
    all: &[usize],
    mine: std::ops::Range<usize>,
    dropout: f64,
    rng: &mut ChaCha8Rng,
) -> Vec<Cow<'d, QuestionFeatures>> {
    if !questions.have_features() {
        return Vec::new();
    }
    let mut out = Vec::with_capacity(mine.len());
    for (place, i) in all.iter().enumerate() {
        let mut dropped = [false; COUNT];
        if dropout > 0.0 {
            dropped = std::array::from_fn(|_| f64::from(uniform(rng)) < dropout);
        }
        let Some(features) = questions.features(*i).filter(|_| mine.contains(&place)) else {
            continue;
        };
        out.push(if dropped.contains(&true) {
            Cow::Owned(without(features, &dropped))
        } else {
            Cow::Borrowed(features)
        });
    }
    out
}

/// The same with some features set to 0, their mean over all documents.
fn without(features: &QuestionFeatures, dropped: &[bool; COUNT]) -> QuestionFeatures {
    let mut out = features.clone();
    for row in out
        .values
        .chunks_exact_mut(COUNT)
        .chain([&mut out.others[..]])
    {
        for (x, dropped) in row.iter_mut().zip(dropped) {
            if *dropped {
                *x = 0.0;
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dropped_feature_is_0_for_every_document() {
        let features = QuestionFeatures {
            documents: vec![2, 5],
            values: (1..=2 * COUNT).map(|i| i as f32).collect(),
            others: [-1.0; COUNT],
        };
        let dropped = std::array::from_fn(|f| f % 3 == 0);
        let got = without(&features, &dropped);
        assert_eq!(got.documents, features.documents);
        for document in [2, 5, 7] {
            let pairs = got.of(document).iter().zip(features.of(document));
            for (f, (got, before)) in pairs.enumerate() {
                assert_eq!(*got, if dropped[f] { 0.0 } else { *before });
            }
        }
    }
}
