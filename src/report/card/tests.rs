//! Tests of the card, with runs of every kind.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::report::summary::Measured;
use crate::report::training::Outcome;

fn journal(status: RunStatus, stages: &[(&str, &str, StageStatus)]) -> JournalFile {
    JournalFile {
        format: 1,
        run: "r".to_owned(),
        sequence: None,
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
    CardInputs {
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
fn what_operators_remark_on_is_on_the_card() {
    let mut ok = journal(
        RunStatus::Ok,
        &[
            ("finetune", "finetune", StageStatus::Ran),
            ("evaluate", "evaluate", StageStatus::Cached),
        ],
    );
    ok.stages[0].warnings = vec!["the loss did not fall".to_owned()];
    ok.stages[1].warnings = vec!["bm25 is better than the model".to_owned()];
    let got = card(&ok, &[summary("evaluate", "worse")], &[]);
    let next = advice_of(&got);
    assert_eq!(next[0].0, "finetune: the loss did not fall");
    assert_eq!(next[1].0, "evaluate: bm25 is better than the model");
    assert!(!next.iter().any(|n| n.0.contains(" beats ")), "{next:?}");
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
        "the model is better, a significant difference: difference +0.200 (+0.100 to +0.300), p = 0.0010"
    );
    assert_eq!(
        got.facts[1].about,
        "what a perfect ranking reaches; model (idf_topk) has 90 % of it"
    );
    // The ceiling is far away, and the data was not audited.
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
    // Advice that applies to all evaluations is given only once.
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
    for (status, text) in [
        (StageStatus::Skipped, "This run left the evaluation out."),
        (
            StageStatus::Cached,
            "The figures of this run are not in the store",
        ),
    ] {
        let ok = journal(RunStatus::Ok, &[("e", "evaluate", status)]);
        let got = card(&ok, &[], &[]);
        let next = advice_of(&got);
        assert!(next[0].0.starts_with(text), "{next:?}");
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
    // There is no advice about an evaluation that the run could not reach.
    assert!(
        !next.iter().any(|n| n.0.contains("left the evaluation out")),
        "{next:?}"
    );
    let next = card(&journal(RunStatus::Interrupted, &[]), &[], &[]).next;
    assert!(next[0].text.contains("goes on from where it stopped"));
}
