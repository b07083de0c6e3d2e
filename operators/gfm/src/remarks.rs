//! What the user should know about a training or an evaluation before relying on it, and what to
//! try: made from the tables, so that a cached result has it too.

use std::collections::BTreeMap;

use arrow::array::Array;
use gfm_pipe_api::{Artifact, OpResult, columns};

use crate::baselines::BASELINES;

/// The metric that systems are compared by; the closing table shows its interval.
const METRIC: &str = "recall@5";

/// Cross-entropy of scores that say nothing is ln 2; so near it, a loss has not left it.
const NEAR: f64 = 0.01;

/// A loss that ends at this share of its first value has not fallen.
const FALLEN: f64 = 0.99;

/// Where a sum of losses ends below this share of its first value, something was learned whatever
/// one of its parts says.
const LEARNED: f64 = 0.9;

/// Losses at the end whose mean is looked at: one alone is of one batch.
const LAST: usize = 3;

/// What is known of a training besides its history.
pub(crate) struct Training {
    /// Losses that are binary cross-entropies: names of parts, or the whole where it has none.
    pub entropies: Vec<Option<String>>,
    /// Whether it was meant to be validated.
    pub validates: bool,
    /// How it gets something to validate on.
    pub validate: &'static str,
}

/// Values of the history by name, in order.
type Values = BTreeMap<String, Vec<f64>>;

impl Training {
    /// Remarks on a training, by its `history`.
    pub fn remarks(&self, history: &Artifact) -> OpResult<Vec<String>> {
        let t = history.read("history")?;
        let (names, values) = (columns::text(&t, "metric")?, columns::f64s(&t, "value")?);
        let mut by_name = Values::new();
        for (name, value) in names.iter().zip(values) {
            let of_name = by_name.entry(name.unwrap_or_default().to_owned());
            of_name.or_default().extend(value);
        }
        Ok(self.of(&by_name))
    }

    fn of(&self, history: &Values) -> Vec<String> {
        let values = |name: &str| history.get(name).map_or(&[][..], Vec::as_slice);
        let losses = values("loss");
        let end = mean(&losses[losses.len().saturating_sub(LAST)..]);
        let try_this = "try more epochs or steps (`train.num_epoch`, `train.batch_per_epoch`), or another `optimizer.lr`";
        let mut out = Vec::new();
        let chance = self.entropies.iter().find_map(|part| {
            let (name, value) = match part {
                None => ("the loss".to_owned(), end?),
                Some(_) if end? < LEARNED * losses.first()? => return None,
                Some(part) => {
                    let last = *values(&format!("mean_loss:{part}")).last()?;
                    (format!("the loss `{part}`"), last)
                }
            };
            let near = (value - std::f64::consts::LN_2).abs() < NEAR;
            near.then(|| {
                format!("{name} ended at chance, {value:.3} (ln 2, as of scores that say nothing): {try_this}")
            })
        });
        let still = || {
            let (first, end) = (*losses.first()?, end?);
            let still = losses.len() > 1 && end > FALLEN * first;
            still.then(|| format!("the loss did not fall, from {first:.3} to {end:.3}: {try_this}"))
        };
        out.extend(chance.or_else(still));
        let trained = history.contains_key("mean_loss");
        if trained && !history.keys().any(|name| name.starts_with("valid:")) {
            let what = match self.validates {
                true => self.validate,
                false => "`train.do_eval: no` asks for it, which suits few questions only",
            };
            out.push(format!(
                "nothing was validated, so the last epoch is kept whether or not it is the best one: {what}"
            ));
        }
        out
    }
}

fn mean(values: &[f64]) -> Option<f64> {
    match values.len() {
        0 => None,
        n => Some(values.iter().sum::<f64>() / n as f64),
    }
}

/// A system's figure over all questions.
#[derive(Debug, Clone, PartialEq)]
struct Figure {
    system: String,
    ranker: String,
    value: f64,
}

/// The interval of the model's figure minus a system's, by its label.
type Intervals = BTreeMap<String, (f64, f64)>;

/// Remarks on an evaluation, by its `metrics` and `comparisons`.
pub(crate) fn on_evaluation(metrics: &Artifact, comparisons: &Artifact) -> OpResult<Vec<String>> {
    let t = metrics.read("metrics")?;
    let text = |name| columns::text(&t, name);
    let (system, ranker, target) = (text("system")?, text("ranker")?, text("target")?);
    let (group, metric) = (text("group")?, text("metric")?);
    let (value, n) = (columns::f64s(&t, "value")?, columns::u64s(&t, "n")?);
    let figures = (0..t.num_rows()).filter(|i| {
        (target.value(*i), group.value(*i), metric.value(*i)) == ("document", "all", METRIC)
            && n.value(*i) > 0
    });
    let figures: Vec<Figure> = figures
        .map(|i| Figure {
            system: system.value(i).to_owned(),
            ranker: ranker.value(i).to_owned(),
            value: value.value(i),
        })
        .collect();
    let t = comparisons.read("comparisons")?;
    let text = |name| columns::text(&t, name);
    let (other, group, metric) = (text("other")?, text("group")?, text("metric")?);
    let (low, high) = (columns::f64s(&t, "low")?, columns::f64s(&t, "high")?);
    let rows = (0..t.num_rows()).filter(|i| {
        (group.value(*i), metric.value(*i)) == ("all", METRIC)
            && low.is_valid(*i)
            && high.is_valid(*i)
    });
    let intervals = rows.map(|i| (other.value(i).to_owned(), (low.value(i), high.value(i))));
    Ok(beaten(&figures, &intervals.collect()))
}

/// Says which systems are better than the model, if there is one.
fn beaten(figures: &[Figure], intervals: &Intervals) -> Vec<String> {
    let Some(model) = figures.iter().find(|f| f.system == "model") else {
        return Vec::new();
    };
    let better = |names: &[&str]| {
        let others = figures.iter().filter(|f| {
            names.contains(&&*f.system)
                && ["-", &model.ranker].contains(&&*f.ranker)
                && f.value > model.value + 1e-9
        });
        let mut others: Vec<&Figure> = others.collect();
        // Of equal ones the first in the table stays first.
        others.sort_by(|a, b| b.value.total_cmp(&a.value));
        others
    };
    let said = |other: &Figure| {
        let label = match &*other.ranker {
            "-" => other.system.clone(),
            ranker => format!("{} ({ranker})", other.system),
        };
        let sure = match intervals.get(&label) {
            Some((low, high)) if *high < 0.0 => {
                format!("; 95 % interval of the difference {low:.3} to {high:.3}")
            }
            Some((low, high)) => {
                format!("; it may be chance: 95 % interval of the difference {low:.3} to {high:.3}")
            }
            None => String::new(),
        };
        format!(
            "{label} is better than model ({}): {METRIC} {:.3} against {:.3}{sure}",
            model.ranker, other.value, model.value
        )
    };
    let mut out = Vec::new();
    if let [best, rest @ ..] = better(&BASELINES).as_slice() {
        let rest: Vec<&str> = rest.iter().map(|f| f.system.as_str()).collect();
        let rest = match rest.as_slice() {
            [] => String::new(),
            names => format!(" (also better: {})", names.join(", ")),
        };
        out.push(format!(
            "{}{rest}: try more epochs or steps, a lower `optimizer.lr` or another text encoder, or use `retrieve` with `system: {}`",
            said(best),
            best.system
        ));
    }
    for (name, what) in [
        (
            "pretrained",
            "fine-tuning made it worse: try a lower `optimizer.lr`, or more training questions",
        ),
        (
            "untrained",
            "training taught it nothing: try more epochs or steps, or another `optimizer.lr`",
        ),
    ] {
        let worse = better(&[name]);
        out.extend(
            worse
                .first()
                .map(|other| format!("{}: {what}", said(other))),
        );
    }
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn training(parts: &[&str]) -> Training {
        let parts = parts.iter().map(|p| Some((*p).to_owned()));
        Training {
            entropies: match parts.len() {
                0 => vec![None],
                _ => parts.collect(),
            },
            validates: true,
            validate: "give it some",
        }
    }

    fn history(losses: &[f64], more: &[(&str, &[f64])]) -> Values {
        let more = more
            .iter()
            .map(|(name, v)| ((*name).to_owned(), v.to_vec()));
        more.chain([("loss".to_owned(), losses.to_vec())]).collect()
    }

    #[test]
    fn a_loss_at_chance_or_that_did_not_fall_is_told() {
        let valid: (&str, &[f64]) = ("valid:mrr", &[0.1]);
        let said = |t: &Training, h: &Values| t.of(h);
        let falling = history(&[0.9, 0.6, 0.4, 0.3], &[valid]);
        assert!(said(&training(&[]), &falling).is_empty());
        // From bad to chance: it fell, and says nothing all the same.
        let chance = history(&[0.9, 0.72, 0.695, 0.693, 0.692], &[valid]);
        let told = said(&training(&[]), &chance);
        assert!(
            told[0].starts_with("the loss ended at chance, 0.693"),
            "{told:?}"
        );
        assert_eq!(told.len(), 1);
        let still = history(&[0.40, 0.45, 0.41], &[valid]);
        let told = said(&training(&[]), &still);
        assert!(
            told[0].starts_with("the loss did not fall, from 0.400 to 0.420"),
            "{told:?}"
        );
        // One step has nothing to be compared with.
        assert!(said(&training(&[]), &history(&[0.5], &[valid])).is_empty());
        // Of a sum of losses, the part that is an entropy is at chance.
        let part: (&str, &[f64]) = ("mean_loss:bce", &[0.75, 0.69]);
        let learned = history(&[6.0, 5.0, 4.5], &[valid, part]);
        assert!(said(&training(&["bce"]), &learned).is_empty());
        let sum = history(&[6.0, 5.9, 5.8], &[valid, part]);
        let told = said(&training(&["bce"]), &sum);
        assert!(
            told[0].contains("the loss `bce` ended at chance, 0.690"),
            "{told:?}"
        );
        assert!(said(&training(&["other"]), &sum).is_empty());
        // A sum that happens to be ln 2 is not at chance.
        assert!(
            said(
                &training(&["other"]),
                &history(&[0.9, 0.693, 0.693], &[valid])
            )
            .is_empty()
        );
    }

    #[test]
    fn a_training_that_was_not_validated_is_told() {
        let h = history(&[0.9, 0.3], &[("mean_loss", &[0.6])]);
        let told = training(&[]).of(&h);
        assert_eq!(told.len(), 1);
        assert!(
            told[0].starts_with("nothing was validated") && told[0].ends_with(": give it some")
        );
        let off = Training {
            validates: false,
            ..training(&[])
        };
        let told = off.of(&h);
        assert!(told[0].starts_with("nothing was validated") && told[0].contains("do_eval: no"));
        // Of no epochs there is nothing to say.
        assert!(training(&[]).of(&Values::new()).is_empty());
    }

    fn figure(system: &str, ranker: &str, value: f64) -> Figure {
        Figure {
            system: system.to_owned(),
            ranker: ranker.to_owned(),
            value,
        }
    }

    #[test]
    fn a_baseline_that_is_better_than_the_model_is_told() {
        let mut all = vec![
            figure("model", "idf_topk", 0.52),
            figure("model", "simple", 0.9),
            figure("pretrained", "idf_topk", 0.3),
            figure("pretrained", "simple", 0.95),
            figure("dense", "-", 0.6),
            figure("bm25", "-", 0.8),
            figure("ppr", "-", 0.52),
            figure("ceiling", "-", 1.0),
        ];
        let intervals: Intervals = [("bm25".to_owned(), (-0.4, -0.1))].into();
        let told = beaten(&all, &intervals);
        assert_eq!(
            told,
            [
                "bm25 is better than model (idf_topk): recall@5 0.800 against 0.520; 95 % interval of the difference -0.400 to -0.100 \
                 (also better: dense): try more epochs or steps, a lower `optimizer.lr` or another text encoder, or use `retrieve` with `system: bm25`"
            ]
        );
        let unsure: Intervals = [("bm25".to_owned(), (-0.4, 0.1))].into();
        assert!(beaten(&all, &unsure)[0].contains("it may be chance"));
        all[0].value = 0.85;
        assert!(beaten(&all, &intervals).is_empty());
        all[2].value = 0.87;
        all.push(figure("untrained", "idf_topk", 0.86));
        let told = beaten(&all, &intervals);
        assert!(
            told[0].starts_with("pretrained (idf_topk) is better")
                && told[0].contains("made it worse")
        );
        assert!(told[1].contains("taught it nothing"), "{told:?}");
        assert!(beaten(&all[2..], &intervals).is_empty());
    }
}
