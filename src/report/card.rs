//! The card at the top of a page: how the run ended, its main figure, what to compare it
//! with, and what to do next.
//!
//! Invariant: it says nothing that is not also on the page below, apart from advice. If something
//! is missing (no evaluation, no audit, a failed stage), the card says so in place of the figure.

mod advice;

use serde::Serialize;

use super::audit::Audit;
use super::evaluation::interval;
use super::rows::intervals::{self, Bar};
use super::summary::{Against, Summary};
use super::training::Training;
use crate::record::{JournalFile, RunStatus, StageRecord, StageStatus};
use crate::spec::STDIN;
use crate::ui;
use advice::{Advice, advice};
use gfm_pipe_api::shell::quote;
use gfm_pipe_eval::POOL;
use gfm_pipe_eval::shown::headline_metric;

/// Maximum number of evaluations listed.
const LISTED: usize = 8;
/// Maximum number of failed stages shown.
const TROUBLES: usize = 3;
/// Maximum number of pieces of advice.
const ADVICE: usize = 4;

/// The card.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Card {
    headline: Option<Headline>,
    /// Used instead of a headline when there are several evaluations.
    lines: Vec<Line>,
    /// Number of evaluations that are not listed.
    more: usize,
    metric: &'static str,
    facts: Vec<Fact>,
    troubles: Vec<Trouble>,
    next: Vec<Advice>,
}

/// The run's main figure.
#[derive(Debug, Clone, Serialize)]
struct Headline {
    /// The metric and the system: `recall@5 of model (idf_topk)`.
    label: String,
    value: String,
    about: String,
    drawing: Option<String>,
}

/// One of several evaluations.
#[derive(Debug, Clone, Serialize)]
struct Line {
    stage: String,
    set: String,
    system: String,
    value: String,
    interval: String,
    against: String,
    verdict: &'static str,
    ceiling: String,
}

/// Something to compare the figure with.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct Fact {
    name: &'static str,
    value: String,
    about: String,
    /// `good`, `bad` or empty.
    tone: &'static str,
    /// Anchor of the section with the details.
    link: Option<&'static str>,
}

/// A stage that failed.
#[derive(Debug, Clone, Serialize)]
struct Trouble {
    stage: String,
    error: String,
    hint: Option<String>,
}

/// What the card is made from.
pub struct CardInputs<'a> {
    /// The run's journal.
    pub journal: &'a JournalFile,
    /// Summaries of evaluations, in pipeline order.
    pub summaries: &'a [Summary],
    /// The run's trainings, in pipeline order.
    pub trainings: &'a [Training],
    /// The run's audits.
    pub audits: &'a [Audit],
}

impl CardInputs<'_> {
    /// Makes the card.
    pub fn card(&self) -> Card {
        let mut card = Card {
            metric: headline_metric(),
            troubles: self.troubles(),
            next: self.next(),
            ..Card::default()
        };
        match self.summaries {
            [] => card.headline = self.trained(),
            [one] => {
                card.headline = Some(headline(one));
                card.facts.extend(comparison(one));
            }
            several => {
                card.lines = several.iter().take(LISTED).map(line).collect();
                card.more = several.len() - card.lines.len();
            }
        }
        card.facts.push(self.audit());
        card.facts.push(self.stages());
        card
    }

    fn troubles(&self) -> Vec<Trouble> {
        let failed = |s: &&StageRecord| s.status == StageStatus::Failed;
        let failed = self.journal.stages.iter().filter(failed).take(TROUBLES);
        failed
            .map(|s| Trouble {
                stage: s.name.clone(),
                error: s.error.clone().unwrap_or_else(|| "it failed".to_owned()),
                hint: s.hint.clone(),
            })
            .collect()
    }

    /// The headline of a run that evaluated nothing: how far the last training got.
    fn trained(&self) -> Option<Headline> {
        let training = self.trainings.iter().rev().find(|t| t.outcome.is_some())?;
        let outcome = training.outcome.as_ref()?;
        let (which, metric) = match outcome.metric.strip_prefix("valid:") {
            Some(metric) => ("Best validation", metric),
            None => ("Last", outcome.metric.as_str()),
        };
        Some(Headline {
            label: format!("{which} {metric} of {}", training.stage),
            value: figure(outcome.value),
            about: format!(
                "from {} at the start; nothing was evaluated on test questions",
                figure(outcome.first)
            ),
            drawing: None,
        })
    }

    fn audit(&self) -> Fact {
        let fact = |value: &str, about: &str, tone, link| Fact {
            name: "Audit of the data",
            value: value.to_owned(),
            about: about.to_owned(),
            tone,
            link,
        };
        let unfit = self.audits.iter().find(|a| !a.fit);
        match (unfit, self.audits) {
            (Some(a), _) => fact(&a.verdict, &a.stage, "bad", Some("data")),
            (None, [a]) => fact(&a.verdict, "", "good", Some("data")),
            (None, [_, ..]) => {
                let about = format!("{} audits", self.audits.len());
                fact("fit", &about, "good", Some("data"))
            }
            (None, []) => {
                let about = if self.has_audit() {
                    "the audit was not part of this run, or did not come to its end"
                } else {
                    "no stage of the pipeline audits the data"
                };
                fact("not done", about, "", None)
            }
        }
    }

    fn has_audit(&self) -> bool {
        self.journal.stages.iter().any(|s| s.op == "audit")
    }

    fn stages(&self) -> Fact {
        let head = super::stages::head(self.journal);
        Fact {
            name: "Run",
            value: head.status.to_owned(),
            about: format!("{} in {}", head.counts, head.seconds),
            tone: match self.journal.status {
                RunStatus::Ok => "good",
                RunStatus::Failed => "bad",
                RunStatus::Interrupted | RunStatus::Running => "",
            },
            link: Some("pipeline"),
        }
    }

    fn next(&self) -> Vec<Advice> {
        let mut out = Vec::new();
        match self.journal.status {
            RunStatus::Ok => {}
            RunStatus::Failed => out.push(Advice::new(
                "Correct what failed and give the same command again: stages that are done are kept.",
                None,
            )),
            RunStatus::Interrupted | RunStatus::Running => out.push(Advice::new(
                "The run did not come to its end. The same command goes on from where it stopped.",
                None,
            )),
        }
        for a in self.audits.iter().filter(|a| !a.fit) {
            out.push(Advice::new(
                "Correct the data before trusting any figure: the audit found errors.",
                Some(format!("gfm-pipe show {}.findings", quote(&a.stage))),
            ));
        }
        for stage in &self.journal.stages {
            let remarks = stage.warnings.iter();
            out.extend(remarks.map(|w| Advice::new(format!("{}: {w}", stage.name), None)));
        }
        let remarked = |s: &Summary| {
            let mut stages = self.journal.stages.iter();
            stages.any(|stage| stage.name == s.stage && !stage.warnings.is_empty())
        };
        let summaries = self.summaries.iter();
        out.extend(summaries.flat_map(|s| advice(s, remarked(s))));
        let done = self.journal.status == RunStatus::Ok;
        if done && self.summaries.is_empty() {
            out.push(self.unmeasured());
        }
        // A pipeline read from standard input has no file to name in the command.
        if !self.has_audit() && self.journal.file != STDIN {
            out.push(Advice::new(
                "Look for faults of the data: misspelled names, leaks between splits.",
                Some(format!("gfm-pipe audit {}", quote(&self.journal.file))),
            ));
        }
        if done && let Some(t) = self.trainings.last() {
            out.push(Advice::new(
                "Train with another seed to see how much of the figure is chance: the same command with",
                Some(format!("--set {}.with.seed=1", quote(&t.stage))),
            ));
        }
        out.dedup();
        out.truncate(ADVICE);
        out
    }
}

impl CardInputs<'_> {
    /// What to do about a run that has no evaluation results.
    fn unmeasured(&self) -> Advice {
        let measures = |s: &&StageRecord| matches!(s.op.as_str(), "evaluate" | "compare" | POOL);
        let stage = self.journal.stages.iter().find(measures);
        match (stage.map(|s| s.status), self.trainings) {
            (Some(StageStatus::Skipped), _) => Advice::new(
                "This run left the evaluation out. Without a selection of stages, the same command makes it.",
                None,
            ),
            (Some(_), _) => Advice::new(
                "The figures of this run are not in the store any more. The same command computes them again.",
                None,
            ),
            (None, []) => Advice::new(
                "Nothing was trained or evaluated. A pipeline that does both is written for a folder of data by:",
                Some("gfm-pipe init DATA".to_owned()),
            ),
            (None, _) => Advice::new(
                "Measure the model: add an `evaluate` stage, as pipelines/full.yaml has one.",
                None,
            ),
        }
    }
}

fn figure(x: f64) -> String {
    format!("{x:.3}")
}

fn headline(s: &Summary) -> Headline {
    let bar = |name: &str, value, interval, main| Bar {
        name: name.to_owned(),
        value,
        interval,
        main,
    };
    let mut bars = vec![bar(&s.system.name, s.system.value, s.interval, true)];
    let other = s.against.as_ref().map(|a| &a.other);
    bars.extend(other.map(|o| bar(&o.name, o.value, None, false)));
    let sure = s
        .interval
        .map(|i| format!("95 % interval {}; ", interval(i)));
    Headline {
        label: format!("{} of {}", headline_metric(), s.system.name),
        value: figure(s.system.value),
        about: format!(
            "{}{} of {}",
            sure.unwrap_or_default(),
            ui::number(s.questions, "question"),
            s.set()
        ),
        drawing: Some(intervals::draw(
            &format!("{} of {}", headline_metric(), s.set()),
            &bars,
            s.ceiling,
        )),
    }
}

/// What to compare an evaluation's figure with.
fn comparison(s: &Summary) -> Vec<Fact> {
    let mut out = Vec::new();
    if let Some(a) = &s.against {
        out.push(Fact {
            name: if a.is_baseline {
                "Best baseline"
            } else {
                "Best other system"
            },
            value: format!("{} {}", a.other.name, figure(a.other.value)),
            about: comparison_text(a),
            tone: match a.verdict {
                "better" => "good",
                "worse" => "bad",
                _ => "",
            },
            link: Some("results"),
        });
    } else {
        out.push(Fact {
            name: if s.is_model { "Best baseline" } else { "Model" },
            value: "none".to_owned(),
            about: if s.is_model {
                "nothing was evaluated beside the model"
            } else {
                "only systems that learn nothing were evaluated"
            }
            .to_owned(),
            tone: "",
            link: Some("results"),
        });
    }
    if let Some(ceiling) = s.ceiling {
        let share = 100.0 * s.system.value / ceiling.max(f64::MIN_POSITIVE);
        out.push(Fact {
            name: "Ceiling",
            value: figure(ceiling),
            about: format!(
                "what a perfect ranking reaches; {} has {share:.0} % of it",
                s.system.name
            ),
            tone: "",
            link: Some("results"),
        });
    }
    out
}

/// The difference to another system, and whether it is statistically significant.
fn comparison_text(a: &Against) -> String {
    let range = a.interval.as_ref().map(|i| format!(" ({i})"));
    let p = a.p.as_ref().map(|p| format!(", p = {p}"));
    let (range, p) = (range.unwrap_or_default(), p.unwrap_or_default());
    let verdict = match a.verdict {
        "better" => "the model is better, a significant difference",
        "worse" => "the model is worse, a significant difference",
        "not told apart" => "not told apart from the model",
        _ => "not tested",
    };
    format!("{verdict}: difference {}{range}{p}", a.difference)
}

fn line(s: &Summary) -> Line {
    let other = s.against.as_ref();
    Line {
        stage: s.stage.clone(),
        set: s.set(),
        system: s.system.name.clone(),
        value: figure(s.system.value),
        interval: s.interval.map(interval).unwrap_or_default(),
        against: other.map_or_else(
            || "-".to_owned(),
            |a| format!("{} {}", a.other.name, figure(a.other.value)),
        ),
        verdict: other.map_or("-", |a| a.verdict),
        ceiling: s.ceiling.map_or_else(|| "-".to_owned(), figure),
    }
}

#[cfg(test)]
mod tests;
