//! The card at the top of a page: how the run ended, its main figure, what that is to be compared with, and what to do next.
//!
//! Invariant: it says nothing that the page does not have below, apart from advice. Whatever is missing (no evaluation, no audit, a
//! failed stage), the card says so in the place of the figure.

use serde::Serialize;

use super::audit::Audit;
use super::evaluation::{HEADLINE, interval};
use super::rows::intervals::{self, Bar};
use super::summary::{Against, Summary};
use super::training::Training;
use crate::record::{JournalFile, RunStatus, StageRecord, StageStatus};
use crate::ui;

/// Evaluations listed.
const LISTED: usize = 8;
/// Failed stages shown.
const TROUBLES: usize = 3;
/// Pieces of advice.
const ADVICE: usize = 4;
/// A share of questions that cannot be asked above which something is wrong with the data.
const UNASKED: f64 = 0.1;
/// A gap to the ceiling that is worth looking into.
const GAP: f64 = 0.05;

/// The card.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Card {
    headline: Option<Headline>,
    /// Instead of a headline, where there are several evaluations.
    lines: Vec<Line>,
    /// Evaluations that are not listed.
    more: usize,
    metric: &'static str,
    facts: Vec<Fact>,
    troubles: Vec<Trouble>,
    next: Vec<Advice>,
}

/// The main figure.
#[derive(Debug, Clone, Serialize)]
struct Headline {
    /// What is measured, of what: `recall@5 of model (idf_topk)`.
    label: String,
    value: String,
    about: String,
    drawing: Option<String>,
}

/// An evaluation among several.
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
    /// good, bad, or nothing.
    tone: &'static str,
    /// The section that says more.
    link: Option<&'static str>,
}

/// A stage that failed.
#[derive(Debug, Clone, Serialize)]
struct Trouble {
    stage: String,
    error: String,
    hint: Option<String>,
}

/// Something to do.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct Advice {
    text: String,
    command: Option<String>,
}

impl Advice {
    fn new(text: impl Into<String>, command: Option<String>) -> Self {
        Advice {
            text: text.into(),
            command,
        }
    }
}

/// What a run left, as far as the card needs it.
pub struct Left<'a> {
    /// What happened.
    pub journal: &'a JournalFile,
    /// Evaluations, in the order of the pipeline.
    pub summaries: &'a [Summary],
    /// Trainings.
    pub trainings: &'a [Training],
    /// Audits.
    pub audits: &'a [Audit],
}

impl Left<'_> {
    /// The card.
    pub fn card(&self) -> Card {
        let mut card = Card {
            metric: HEADLINE,
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

    /// What stands for the result of a run that evaluated nothing: how far the last training came.
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
                let about = match self.has_audit() {
                    true => "the audit was not part of this run, or did not come to its end",
                    false => "no stage of the pipeline audits the data",
                };
                fact("not done", about, "", None)
            }
        }
    }

    /// Whether the pipeline audits its data.
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
                Some(format!("gfm-pipe show {}.findings", shell(&a.stage))),
            ));
        }
        out.extend(self.summaries.iter().flat_map(advice));
        let done = self.journal.status == RunStatus::Ok;
        if done && self.summaries.is_empty() {
            out.push(self.unmeasured());
        }
        if !self.has_audit() {
            out.push(Advice::new(
                "Look for faults of the data: misspelled names, leaks between splits.",
                Some(format!("gfm-pipe audit {}", shell(&self.journal.file))),
            ));
        }
        if done && let Some(t) = self.trainings.last() {
            out.push(Advice::new(
                "Train with another seed to see how much of the figure is chance: the same command with",
                Some(format!("--set {}.with.seed=1", shell(&t.stage))),
            ));
        }
        out.dedup();
        out.truncate(ADVICE);
        out
    }
}

impl Left<'_> {
    /// What to do about a run without figures.
    fn unmeasured(&self) -> Advice {
        let measures = |s: &&StageRecord| matches!(s.op.as_str(), "evaluate" | "compare");
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
        label: format!("{HEADLINE} of {}", s.system.name),
        value: figure(s.system.value),
        about: format!(
            "{}{} of {}",
            sure.unwrap_or_default(),
            ui::number(s.questions, "question"),
            s.set()
        ),
        drawing: Some(intervals::draw(
            &format!("{HEADLINE} of {}", s.set()),
            &bars,
            s.ceiling,
        )),
    }
}

/// What the figure of an evaluation is to be compared with.
fn comparison(s: &Summary) -> Vec<Fact> {
    let mut out = Vec::new();
    if let Some(a) = &s.against {
        out.push(Fact {
            name: match a.is_baseline {
                true => "Best baseline",
                false => "Best other system",
            },
            value: format!("{} {}", a.other.name, figure(a.other.value)),
            about: told(a),
            tone: match a.verdict {
                "better" => "good",
                "worse" => "bad",
                _ => "",
            },
            link: Some("results"),
        });
    } else {
        out.push(Fact {
            name: match s.is_model {
                true => "Best baseline",
                false => "Model",
            },
            value: "none".to_owned(),
            about: match s.is_model {
                true => "nothing was evaluated beside the model",
                false => "only systems that learn nothing were evaluated",
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

/// The difference to another system, and whether it is more than chance.
fn told(a: &Against) -> String {
    let range = a.interval.as_ref().map(|i| format!(" ({i})"));
    let p = a.p.as_ref().map(|p| format!(", p = {p}"));
    let (range, p) = (range.unwrap_or_default(), p.unwrap_or_default());
    let verdict = match a.verdict {
        "better" => "the model is better, told apart statistically",
        "worse" => "the model is worse, told apart statistically",
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

/// What follows from an evaluation.
fn advice(s: &Summary) -> Vec<Advice> {
    let mut out = Vec::new();
    let system = &s.system.name;
    if let Some(a) = &s.against {
        let other = &a.other.name;
        match a.verdict {
            "worse" => out.push(Advice::new(
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

/// A word as it is written for a shell.
fn shell(word: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "._-+/@%:,=".contains(c);
    match !word.is_empty() && word.chars().all(plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::report::summary::Measured;
    use crate::report::training::Outcome;

    fn journal(status: RunStatus, stages: &[(&str, &str, StageStatus)]) -> JournalFile {
        JournalFile {
            format: 1,
            run: "r".to_owned(),
            pipeline: "p".to_owned(),
            file: "my pipelines/p.yaml".to_owned(),
            version: "0".to_owned(),
            started: String::new(),
            ended: None,
            status,
            stages: stages
                .iter()
                .map(|(name, op, status)| StageRecord::new(name, op, *status))
                .collect(),
        }
    }

    fn summary(stage: &str, verdict: &'static str) -> Summary {
        let measured = |name: &str, value| Measured {
            name: name.to_owned(),
            value,
        };
        Summary {
            stage: stage.to_owned(),
            dataset: "d".to_owned(),
            split: "test".to_owned(),
            system: measured("model (idf_topk)", 0.9),
            is_model: true,
            interval: Some((0.8, 0.95)),
            questions: 100,
            unasked: 0,
            against: Some(Against {
                other: measured("ppr", 0.7),
                is_baseline: true,
                difference: "+0.200".to_owned(),
                interval: Some("+0.100 to +0.300".to_owned()),
                p: Some("0.0010".to_owned()),
                verdict,
            }),
            ceiling: Some(1.0),
            better_ranker: None,
        }
    }

    fn card(journal: &JournalFile, summaries: &[Summary], trainings: &[Training]) -> Card {
        Left {
            journal,
            summaries,
            trainings,
            audits: &[],
        }
        .card()
    }

    fn advice_of(card: &Card) -> Vec<(&str, Option<&str>)> {
        assert!(card.next.len() <= ADVICE);
        let next = card.next.iter();
        next.map(|a| (a.text.as_str(), a.command.as_deref()))
            .collect()
    }

    #[test]
    fn one_evaluation_is_a_figure_with_what_to_compare_it_with() {
        let ok = journal(
            RunStatus::Ok,
            &[("evaluate", "evaluate", StageStatus::Cached)],
        );
        let got = card(&ok, &[summary("evaluate", "better")], &[]);
        let h = got.headline.as_ref().unwrap();
        assert_eq!(
            (h.label.as_str(), h.value.as_str()),
            ("recall@5 of model (idf_topk)", "0.900")
        );
        assert_eq!(
            h.about,
            "95 % interval 0.800 to 0.950; 100 questions of d, test"
        );
        let facts: Vec<(&str, &str, &str)> = got
            .facts
            .iter()
            .map(|f| (f.name, f.value.as_str(), f.tone))
            .collect();
        assert_eq!(
            facts,
            [
                ("Best baseline", "ppr 0.700", "good"),
                ("Ceiling", "1.000", ""),
                ("Audit of the data", "not done", ""),
                ("Run", "ok", "good"),
            ]
        );
        assert_eq!(
            got.facts[0].about,
            "the model is better, told apart statistically: difference +0.200 (+0.100 to +0.300), p = 0.0010"
        );
        assert_eq!(
            got.facts[1].about,
            "what a perfect ranking reaches; model (idf_topk) has 90 % of it"
        );
        // The ceiling is far, and nobody audited the data.
        let next = advice_of(&got);
        assert!(
            next[0].0.starts_with("Look at the questions of d, test"),
            "{next:?}"
        );
        assert_eq!(next[1].1, Some("gfm-pipe audit 'my pipelines/p.yaml'"));
    }

    #[test]
    fn a_model_that_is_no_better_gets_advice() {
        let ok = journal(RunStatus::Ok, &[]);
        let mut s = summary("evaluate", "worse");
        let got = card(&ok, &[s.clone()], &[]);
        assert_eq!(got.facts[0].tone, "bad");
        assert!(
            advice_of(&got)[0]
                .0
                .starts_with("ppr beats model (idf_topk) on d, test.")
        );
        s.against.as_mut().unwrap().verdict = "not told apart";
        s.unasked = 30;
        s.better_ranker = Some(Measured {
            name: "model (simple)".to_owned(),
            value: 0.95,
        });
        let got = card(&ok, &[s], &[]);
        let next = advice_of(&got);
        assert!(
            next[0]
                .0
                .starts_with("100 questions of d, test do not tell model (idf_topk) from ppr")
        );
        assert!(next[1].0.starts_with("30 of 100 questions have no entity"));
        assert!(next[2].0.starts_with("model (simple) reaches 0.950"));
        assert_eq!(next.len(), ADVICE);
    }

    #[test]
    fn several_evaluations_are_lines() {
        let ok = journal(RunStatus::Ok, &[]);
        let stages: Vec<String> = (0..LISTED + 2).map(|i| format!("evaluate[{i}]")).collect();
        let all: Vec<Summary> = stages.iter().map(|s| summary(s, "better")).collect();
        let got = card(&ok, &all, &[]);
        assert!(got.headline.is_none());
        assert_eq!((got.lines.len(), got.more), (LISTED, 2));
        assert_eq!(
            (got.lines[1].stage.as_str(), got.lines[1].verdict),
            ("evaluate[1]", "better")
        );
        // What is to be said of all of them is said once.
        assert_eq!(
            got.next
                .iter()
                .filter(|a| a.text.starts_with("Look at"))
                .count(),
            1
        );
    }

    #[test]
    fn a_run_without_an_evaluation_says_what_there_is() {
        let trained = [Training::with_outcome(
            "pretrain",
            Outcome {
                metric: "valid:mrr".to_owned(),
                value: 0.4,
                first: 0.1,
            },
        )];
        let ok = journal(RunStatus::Ok, &[("pretrain", "pretrain", StageStatus::Ran)]);
        let got = card(&ok, &[], &trained);
        let h = got.headline.as_ref().unwrap();
        assert_eq!(
            (h.label.as_str(), h.value.as_str()),
            ("Best validation mrr of pretrain", "0.400")
        );
        assert!(advice_of(&got)[0].0.starts_with("Measure the model"));

        let got = card(&journal(RunStatus::Ok, &[]), &[], &[]);
        assert!(got.headline.is_none());
        assert_eq!(advice_of(&got)[0].1, Some("gfm-pipe init DATA"));
        for (status, told) in [
            (StageStatus::Skipped, "This run left the evaluation out."),
            (
                StageStatus::Cached,
                "The figures of this run are not in the store",
            ),
        ] {
            let ok = journal(RunStatus::Ok, &[("e", "evaluate", status)]);
            let got = card(&ok, &[], &[]);
            let next = advice_of(&got);
            assert!(next[0].0.starts_with(told), "{next:?}");
        }
    }

    #[test]
    fn a_failed_run_says_first_what_failed() {
        let mut failed = journal(
            RunStatus::Failed,
            &[
                ("kg", "ingest-kg", StageStatus::Failed),
                ("evaluate", "evaluate", StageStatus::Skipped),
            ],
        );
        failed.stages[0].error = Some("kg.txt: no such file".to_owned());
        failed.stages[0].hint = Some("look for it".to_owned());
        let got = card(&failed, &[], &[]);
        assert_eq!(got.troubles.len(), 1);
        assert_eq!(got.troubles[0].error, "kg.txt: no such file");
        assert_eq!(got.facts.last().unwrap().tone, "bad");
        let next = advice_of(&got);
        assert!(next[0].0.starts_with("Correct what failed"), "{next:?}");
        // Nothing about an evaluation that could not be reached.
        assert!(
            !next.iter().any(|n| n.0.contains("left the evaluation out")),
            "{next:?}"
        );
        let next = card(&journal(RunStatus::Interrupted, &[]), &[], &[]).next;
        assert!(next[0].text.contains("goes on from where it stopped"));
    }

    #[test]
    fn words_are_fit_for_a_shell() {
        assert_eq!(shell("pipelines/a-b.yaml"), "pipelines/a-b.yaml");
        assert_eq!(shell("it's; rm"), r"'it'\''s; rm'");
        assert_eq!(shell(""), "''");
    }
}
