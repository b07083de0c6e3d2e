//! Everything that takes long reports its progress: validations, evaluations and backgrounds. Work
//! that comes later is announced. Also tests the estimates of `plan`.

use std::path::Path;
use std::sync::{Arc, Mutex};

use gfm_pipe_api::local;
use gfm_pipe_api::{Context, Level, Nowhere, Reporter};
use serde_json::{Value, json};

use crate::toy::*;

/// Collects reported progress: unit, units done, total units.
#[derive(Default)]
struct Progress(Mutex<Vec<(String, u64, u64)>>);

impl Reporter for Progress {
    fn progress(&self, done: u64, total: u64, unit: &str, _note: &str) {
        let mut all = self.0.lock().unwrap();
        all.push((unit.to_owned(), done, total));
    }
    fn message(&self, _level: Level, _text: &str) {}
    fn resumed_at(&self, _step: u64) {}
}

/// The progress that an operator reports.
fn progress_of(dir: &Path, name: &str, params: &Value, given: &Inputs) -> Vec<(String, u64, u64)> {
    let reporter = Arc::new(Progress::default());
    let ctx = Context {
        inputs: given.clone(),
        outputs: Arc::new(Nowhere),
        reporter: reporter.clone(),
        workdir: dir.join("work"),
        ..local::context()
    };
    std::fs::create_dir_all(&ctx.workdir).unwrap();
    let entry = op(name);
    entry.run(entry.validate(params).unwrap(), &ctx).unwrap();
    std::mem::take(&mut *reporter.0.lock().unwrap())
}

/// The numbers of done units in order, and the total, for one unit.
fn counted(all: &[(String, u64, u64)], unit: &str) -> (Vec<u64>, u64) {
    let of_unit = all.iter().filter(|(u, ..)| u == unit);
    let done: Vec<u64> = of_unit.clone().map(|(_, done, _)| *done).collect();
    let mut totals: Vec<u64> = of_unit.map(|(.., total)| *total).collect();
    totals.dedup();
    assert_eq!(totals.len(), 1, "{unit}: {all:?}");
    (done, totals[0])
}

#[test]
fn a_training_announces_its_validations_and_reports_them() {
    let dir = tempfile::tempdir().unwrap();
    let d = data(dir.path());
    for (name, params, given) in trainings(&d, 3) {
        let params = with(params, &[("train.valid_fraction", json!(0.5))]);
        let all = progress_of(&dir.path().join(name), name, &params, &given);
        let (done, total) = counted(&all, "validation samples");
        // In each of three epochs: half of 48 triples, or those of 24 questions that a hash
        // chooses.
        let each = total / 3;
        assert!(each > 4 && total % 3 == 0, "{name}: {total}");
        assert!(name == "finetune" || each == 24, "{total}");
        assert!(done.is_sorted() && done.last() == Some(&total), "{done:?}");
        // Batches of 4 within an epoch: progress is reported before its end.
        assert!(done.iter().any(|n| n % each != 0), "{name}: {done:?}");
        assert_eq!(
            all[0].0, "validation samples",
            "known before the first step"
        );
        assert_eq!((&*all[1].0, all[1].1), ("steps", 0));
        let (steps, total) = counted(&all, "steps");
        assert_eq!(steps.last(), Some(&total));
        let last = all.iter().rposition(|(u, ..)| u == "steps").unwrap();
        let after = all[last..]
            .iter()
            .filter(|(u, ..)| u == "validation samples");
        assert!(
            after.count() > 1,
            "the last validation comes after all steps"
        );
    }
}

#[test]
fn evaluations_and_backgrounds_report_their_progress() {
    let dir = tempfile::tempdir().unwrap();
    let d = data(dir.path());
    let model = finetuned(dir.path(), &d, 1);
    let given = evaluate_inputs(&model, &d, &[("corpus_embeddings", &d.corpus_embeddings)]);
    let n = u64::from(NODES);
    let all = progress_of(dir.path(), "evaluate", &json!({"resamples": 9}), &given);
    let (done, total) = counted(&all, "questions to models");
    // `model` and `untrained`.
    assert_eq!((total, done.last()), (2 * n, Some(&(2 * n))));
    assert!(
        done.is_sorted() && done.contains(&8) && done.contains(&(n + 8)),
        "{done:?}"
    );
    let (done, total) = counted(&all, "questions to baselines");
    assert_eq!((total, done.len() as u64), (n, 1 + n));
    assert_eq!(
        all[0],
        ("questions to baselines".to_owned(), 0, n),
        "announced"
    );
    let (done, total) = counted(&all, "groups of questions");
    assert_eq!(done.last(), Some(&total));

    let mut given = given;
    given.remove("corpus_embeddings");
    for (system, batches) in [("model", vec![0, 8, 16, 24]), ("bm25", vec![0, 24])] {
        let all = progress_of(dir.path(), "retrieve", &json!({"system": system}), &given);
        assert_eq!(counted(&all, "questions"), (batches, n), "{system}");
    }
    let given = inputs(&[("model", model.port("model")), ("graph", &d.graph)]);
    let all = progress_of(dir.path(), "build-background", &json!({}), &given);
    assert_eq!(counted(&all, "layers"), (vec![0, 1, 2, 3], 3));
}

#[test]
fn the_metric_that_chooses_the_epoch_is_logged() {
    let dir = tempfile::tempdir().unwrap();
    let d = data(dir.path());
    let params = with(pretrain_params(3), &[("train.valid_fraction", json!(0.25))]);
    let given = inputs(&[("graph", &d.graph)]);
    let out = run(dir.path(), "pretrain", params, given).unwrap();
    let values = history(out.port("history"), "valid:mrr");
    let kept = epoch(out.port("model"));
    let mut best = 0;
    for (at, value) in values.iter().enumerate() {
        let (now, epoch) = (at + 1, format!("epoch {} mrr {value:.4}", at + 1));
        if best == 0 || *value > values[best - 1] {
            best = now;
            assert!(said(
                &out,
                &format!("{epoch}: the best so far, this epoch is kept")
            ));
        } else {
            let stays = format!(
                "{epoch}: epoch {best} stays the best, with {:.4}",
                values[best - 1]
            );
            assert!(said(&out, &stays), "{stays}: {:?}", out.messages);
        }
    }
    assert_eq!(kept, best as u64);
}

#[test]
fn the_time_and_memory_of_a_training_are_estimated() {
    let dir = tempfile::tempdir().unwrap();
    let d = data(dir.path());
    for (name, params, given) in trainings(&d, 40) {
        let params = with(params, &[("train.valid_fraction", json!(0.25))]);
        let entry = op(name);
        let seconds = |epochs: u32, given: &Inputs| {
            let params = with(params.clone(), &[("train.num_epoch", json!(epochs))]);
            let full = entry.validate(&params).unwrap();
            let found = entry.estimate(full, given, "cpu").unwrap();
            found.map(|e| {
                assert_eq!(e.device, "cpu");
                assert!(e.memory > 0);
                e.seconds
            })
        };
        let (few, many) = (seconds(1, &given).unwrap(), seconds(1000, &given).unwrap());
        // Clocks of a busy machine are imprecise, so a thousand times the work must take at least
        // ten times as long.
        assert!(
            few > 0.0 && many > 10.0 * few && many.is_finite(),
            "{name}: {few} {many}"
        );
        // Without the graph there is no estimate.
        let mut without = given.clone();
        without.remove("graph");
        assert_eq!(seconds(1, &without), None);
    }
}
