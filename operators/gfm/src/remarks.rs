//! What the user should know about a training before relying on it, and what to try. It is made
//! from the tables, so that a cached result has it too.

use std::collections::BTreeMap;

use gfm_pipe_api::{Artifact, OpResult, columns};

/// Distance from ln 2, the cross-entropy of random scores, within which a loss has learned nothing.
const NEAR: f64 = 0.01;

/// A loss that ends above this share of its first value has not fallen.
const FALLEN: f64 = 0.99;

/// Where a sum of losses ends below this share of its first value, something was learned, whatever
/// one of its parts shows.
const LEARNED: f64 = 0.9;

/// Number of last losses that are averaged: a single one is of one batch only.
const LAST: usize = 3;

/// What is known about a training besides its history.
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
            let what = if self.validates {
                self.validate
            } else {
                "`train.do_eval: no` asks for it, which suits few questions only"
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
    fn a_loss_at_chance_or_that_did_not_fall_is_reported() {
        let valid: (&str, &[f64]) = ("valid:mrr", &[0.1]);
        let said = |t: &Training, h: &Values| t.of(h);
        let falling = history(&[0.9, 0.6, 0.4, 0.3], &[valid]);
        assert!(said(&training(&[]), &falling).is_empty());
        // From bad to chance: it fell, and says nothing all the same.
        let chance = history(&[0.9, 0.72, 0.695, 0.693, 0.692], &[valid]);
        let remarks = said(&training(&[]), &chance);
        assert!(
            remarks[0].starts_with("the loss ended at chance, 0.693"),
            "{remarks:?}"
        );
        assert_eq!(remarks.len(), 1);
        let still = history(&[0.40, 0.45, 0.41], &[valid]);
        let remarks = said(&training(&[]), &still);
        assert!(
            remarks[0].starts_with("the loss did not fall, from 0.400 to 0.420"),
            "{remarks:?}"
        );
        // One step has nothing to be compared with.
        assert!(said(&training(&[]), &history(&[0.5], &[valid])).is_empty());
        // In a sum of losses, the part that is a cross-entropy is at chance.
        let part: (&str, &[f64]) = ("mean_loss:bce", &[0.75, 0.69]);
        let learned = history(&[6.0, 5.0, 4.5], &[valid, part]);
        assert!(said(&training(&["bce"]), &learned).is_empty());
        let sum = history(&[6.0, 5.9, 5.8], &[valid, part]);
        let remarks = said(&training(&["bce"]), &sum);
        assert!(
            remarks[0].contains("the loss `bce` ended at chance, 0.690"),
            "{remarks:?}"
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
    fn a_training_that_was_not_validated_is_reported() {
        let h = history(&[0.9, 0.3], &[("mean_loss", &[0.6])]);
        let remarks = training(&[]).of(&h);
        assert_eq!(remarks.len(), 1);
        assert!(
            remarks[0].starts_with("nothing was validated")
                && remarks[0].ends_with(": give it some")
        );
        let off = Training {
            validates: false,
            ..training(&[])
        };
        let remarks = off.of(&h);
        assert!(
            remarks[0].starts_with("nothing was validated") && remarks[0].contains("do_eval: no")
        );
        // Of no epochs there is nothing to say.
        assert!(training(&[]).of(&Values::new()).is_empty());
    }
}
