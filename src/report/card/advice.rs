//! What to do next, as far as it follows from the figures of an evaluation.

use serde::Serialize;

use super::figure;
use crate::report::summary::Summary;
use crate::ui;

/// If more than this share of questions cannot be asked, something is wrong with the data.
const UNASKED: f64 = 0.1;
/// A gap to the ceiling that is worth investigating.
const GAP: f64 = 0.05;

/// Something to do.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Advice {
    /// What to do.
    pub text: String,
    /// The command for it, if there is one.
    pub command: Option<String>,
}

impl Advice {
    pub fn new(text: impl Into<String>, command: Option<String>) -> Self {
        Advice {
            text: text.into(),
            command,
        }
    }
}

/// Advice that follows from an evaluation. If its operator `remarked` on the result, that a system
/// beats the model was already said there.
pub(super) fn advice(s: &Summary, remarked: bool) -> Vec<Advice> {
    let mut out = Vec::new();
    let system = &s.system.name;
    if let Some(a) = &s.against {
        let other = &a.other.name;
        match a.verdict {
            "worse" if !remarked => out.push(Advice::new(
                format!("{other} beats {system} on {}. Train longer (`train.num_epoch`), start from a pre-trained model (`train.checkpoint`), or use a stronger text encoder.", s.set()),
                None,
            )),
            "not told apart" => out.push(Advice::new(
                format!("{} of {} do not tell {system} from {other}: evaluate on more, or train longer.", ui::number(s.questions, "question"), s.set()),
                None,
            )),
            _ => {}
        }
    }
    if !s.is_model {
        out.push(Advice::new(
            "No model was evaluated. A pipeline that trains one on a folder of data is written by:",
            Some("gfm-pipe init DATA".to_owned()),
        ));
    }
    if s.unasked as f64 > UNASKED * s.questions as f64 {
        out.push(Advice::new(
            format!(
                "{} of {} have no entity in the graph and count as 0: correct the names of entities in the questions.",
                ui::count(s.unasked),
                ui::number(s.questions, "question")
            ),
            None,
        ));
    }
    if let Some(better) = &s.better_ranker {
        out.push(Advice::new(
            format!(
                "{} reaches {} on {}. Choose between rankers on validation questions, not on these.",
                better.name,
                figure(better.value),
                s.set()
            ),
            None,
        ));
    }
    if s.is_model && s.ceiling.is_some_and(|c| c - s.system.value > GAP) {
        out.push(Advice::new(
            format!(
                "Look at the questions of {} below on which another system finds more.",
                s.set()
            ),
            None,
        ));
    }
    out
}
