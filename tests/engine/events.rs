//! What a run records while it goes on.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use gfm_pipe::record::{
    Event, EventReader, EventSink, Life, Recorder, RunStatus, Series, StageStatus, events_of,
    history, life, metrics_of, now_ms,
};
use gfm_pipe::store::{Store, StoreError};
use gfm_pipe::ui::{Closing, Look, closing};
use gfm_pipe_api::{Cancel, columns, table};

use crate::lab::{Events, Lab};

const FIT: &str = "
stages:
  f: {op: fit, with: {steps: 12}}
  n: {op: count, in: {text: f}}
";

/// The table of a run's metrics, as rows of stage, epoch, step, metric and value.
fn rows(path: &Path) -> Vec<(String, u64, u64, String, f64)> {
    let mut out = Vec::new();
    for batch in table::reader(path).unwrap() {
        let batch = batch.unwrap();
        let (stage, metric) = (
            columns::text(&batch, "stage").unwrap(),
            columns::text(&batch, "metric").unwrap(),
        );
        let value = columns::f64s(&batch, "value").unwrap();
        let step = columns::u64s(&batch, "step").unwrap();
        let epoch = columns::u32s(&batch, "epoch").unwrap();
        for i in 0..batch.num_rows() {
            out.push((
                stage.value(i).to_owned(),
                u64::from(epoch.value(i)),
                step.value(i),
                metric.value(i).to_owned(),
                value.value(i),
            ));
        }
    }
    out
}

fn flat(all: &[Series]) -> Vec<(String, u64, u64, String, f64)> {
    let of = |s: &Series| -> Vec<_> {
        let points = s.points.iter();
        points
            .map(|p| {
                (
                    s.stage.clone(),
                    u64::from(p.epoch),
                    p.step,
                    s.metric.clone(),
                    p.value,
                )
            })
            .collect()
    };
    all.iter().flat_map(of).collect()
}

fn steps(all: &[Series], metric: &str) -> Vec<u64> {
    let series = all.iter().find(|s| s.metric == metric).unwrap();
    series.points.iter().map(|p| p.step).collect()
}

#[test]
fn what_is_to_be_known_of_a_result_is_told_at_the_end_of_every_run() {
    let few = "stages:\n  f: {op: fit, with: {steps: 7}}\n  n: {op: count, in: {text: f}}\n";
    let lab = Lab::new();
    for status in [StageStatus::Ran, StageStatus::Cached] {
        let events = Arc::new(Events::default());
        let summary = lab.run_heard(few, &lab.options(), events.clone(), &Cancel::default());
        let record = summary.stage("f").unwrap();
        assert_eq!((record.status, record.warnings.len()), (status, 1));
        assert_eq!(record.warnings[0], "7 steps: too few to learn");
        assert_eq!(events.warnings(), record.warnings);
        let all = events.0.lock().unwrap();
        let last = &all[all.len() - 2..];
        assert!(matches!(&last[0], Event::Message { stage, .. } if stage == "f"));
        assert!(matches!(&last[1], Event::RunFinished { .. }));
        let text = closing(&Closing {
            summary: &summary,
            store: &lab.store(),
            seconds: 1.0,
            look: Look::default(),
        });
        let line = "warning: f: 7 steps: too few to learn\n";
        assert_eq!(text.matches(line).count(), 1, "{text}");
    }
    // A result with other parameters has no warnings.
    assert!(lab.run(FIT).stage("f").unwrap().warnings.is_empty());
}

#[test]
fn events_metrics_and_times_of_a_run() {
    let lab = Lab::new();
    let begin = now_ms();
    let summary = lab.run(FIT);
    let end = now_ms();
    let store = lab.store();
    assert!(summary.warnings.is_empty(), "{:?}", summary.warnings);
    let events = events_of(&store, &summary.run).unwrap().unwrap();
    assert!(matches!(&events[0].event, Event::RunStarted { run, .. } if *run == summary.run));
    assert!(matches!(
        &events.last().unwrap().event,
        Event::RunFinished {
            status: RunStatus::Ok,
            ..
        }
    ));
    assert!(events.iter().all(|e| (begin..=end).contains(&e.time_ms)));
    let kinds = |want: fn(&Event) -> bool| events.iter().filter(|e| want(&e.event)).count();
    assert_eq!(kinds(|e| matches!(e, Event::StageStarted { .. })), 2);
    assert_eq!(kinds(|e| matches!(e, Event::Metric { .. })), 14);
    // The twelve steps take almost no time, so only the first and the last are recorded.
    assert_eq!(kinds(|e| matches!(e, Event::Progress { .. })), 2);

    let metrics = metrics_of(&store, &summary.run).unwrap();
    assert_eq!(steps(&metrics, "loss"), (1..=12).collect::<Vec<_>>());
    assert_eq!(steps(&metrics, "valid:score"), [5, 10]);
    assert_eq!(metrics[0].points[4].value, 0.2);
    assert_eq!(metrics[0].points[11].epoch, 3);
    assert_eq!(rows(&store.metrics_path(&summary.run)), flat(&metrics));

    let journal = &history::runs(&store).unwrap().0[0].journal;
    assert_eq!(life(&store, journal), Life::Ended(RunStatus::Ok));
    for stage in &journal.stages {
        let (from, to) = (stage.started_ms.unwrap(), stage.ended_ms.unwrap());
        assert!(begin <= from && from <= to && to <= end, "{stage:?}");
        let took = (to - from) as f64 / 1000.0;
        assert!((took - stage.seconds).abs() < 0.005, "{stage:?}");
    }
    assert!(journal.stages[0].ended_ms <= journal.stages[1].started_ms);

    // A run without metrics writes no table. Cached stages have times too.
    let again = lab.run(FIT);
    assert!(metrics_of(&store, &again.run).unwrap().is_empty());
    assert!(!store.metrics_path(&again.run).exists());
    assert!(again.stages.iter().all(|s| s.started_ms.is_some()));
}

#[test]
fn a_step_that_is_told_again_after_a_retry_is_there_once() {
    let lab = Lab::new();
    let yaml = "stages: {f: {op: fit, retries: 1, with: {steps: 12, fail_at: 8}}}";
    let summary = lab.run(yaml);
    assert_eq!(summary.status, RunStatus::Ok);
    let store = lab.store();
    let events = events_of(&store, &summary.run).unwrap().unwrap();
    let told = events.iter().filter(
        |e| matches!(&e.event, Event::Metric { name, step, .. } if name == "loss" && *step == 7),
    );
    assert_eq!(told.count(), 2);
    let metrics = metrics_of(&store, &summary.run).unwrap();
    assert_eq!(steps(&metrics, "loss"), (1..=12).collect::<Vec<_>>());
    assert_eq!(rows(&store.metrics_path(&summary.run)), flat(&metrics));
}

#[test]
fn a_run_that_goes_on_from_a_checkpoint_has_a_file_of_its_own() {
    let lab = Lab::new();
    let yaml = "stages: {f: {op: fit, with: {steps: 12, fail_at: 8}}}";
    let (first, second) = (lab.run(yaml), lab.run(yaml));
    assert_eq!(first.status, RunStatus::Failed);
    let store = lab.store();
    let of = |run: &str| steps(&metrics_of(&store, run).unwrap(), "loss");
    assert_eq!(of(&first.run), (1..=8).collect::<Vec<_>>());
    assert_eq!(of(&second.run), (6..=12).collect::<Vec<_>>());
    assert_eq!(second.stages[0].resumed_at_step, Some(5));
}

#[test]
fn others_see_a_run_while_it_goes_on() {
    let lab = Lab::new();
    let store = lab.store();
    let yaml = "stages: {f: {op: fit, with: {steps: 2000, step_ms: 5}}}";
    let cancel = Cancel::default();
    let run = std::thread::scope(|scope| {
        let run = scope
            .spawn(|| lab.run_heard(yaml, &lab.options(), Arc::new(Events::default()), &cancel));
        let begin = Instant::now();
        let journal = loop {
            assert!(begin.elapsed() < Duration::from_secs(30));
            if let Some(run) = history::runs(&store).unwrap().0.first() {
                break run.journal.clone();
            }
        };
        let mut reader = EventReader::open(&store, &journal.run).unwrap().unwrap();
        let mut seen = Vec::new();
        while seen.len() < 20 {
            assert!(begin.elapsed() < Duration::from_secs(30));
            seen.extend(reader.poll().unwrap());
            std::thread::sleep(Duration::from_millis(2));
        }
        assert_eq!(life(&store, &journal), Life::GoesOn);
        cancel.cancel();
        let run = run.join().unwrap();
        seen.extend(reader.poll().unwrap());
        let whole = events_of(&store, &run.run).unwrap().unwrap();
        assert_eq!(format!("{seen:?}"), format!("{whole:?}"));
        run
    });
    assert_eq!(run.stages[0].status, StageStatus::Skipped);
    assert_eq!(store.run_held(&run.run), Some(false));
}

#[test]
fn a_line_that_is_being_written_is_waited_for_and_strange_ones_are_passed_over() {
    let lab = Lab::new();
    let summary = lab.run(FIT);
    let store = lab.store();
    let path = store.events_path(&summary.run);
    let whole = fs::read(&path).unwrap();
    let all = events_of(&store, &summary.run).unwrap().unwrap().len();
    // If the file is cut anywhere, the whole lines before the cut can be read, and the rest later.
    for cut in (0..whole.len()).step_by(whole.len() / 50) {
        fs::write(&path, &whole[..cut]).unwrap();
        let mut reader = EventReader::open(&store, &summary.run).unwrap().unwrap();
        let lines = whole[..cut].iter().filter(|b| **b == b'\n').count();
        let before = reader.poll().unwrap().len();
        assert_eq!(before, lines.saturating_sub(1));
        let mut file = fs::File::options().append(true).open(&path).unwrap();
        file.write_all(&whole[cut..]).unwrap();
        assert_eq!(before + reader.poll().unwrap().len(), all);
    }
    let text = String::from_utf8(whole).unwrap();
    let (head, rest) = text.split_once('\n').unwrap();
    let strange = "{\"time_ms\":1,\"event\":\"of_tomorrow\"}";
    fs::write(&path, format!("{head}\n{strange}\n{rest}")).unwrap();
    assert_eq!(events_of(&store, &summary.run).unwrap().unwrap().len(), all);
    assert!(history::faults(&store).unwrap().is_empty());

    fs::write(&path, text.replace("\"format\":1", "\"format\":7")).unwrap();
    let e = events_of(&store, &summary.run).unwrap_err();
    assert!(matches!(e, StoreError::Version { .. }), "{e}");
    fs::remove_file(&path).unwrap();
    assert!(events_of(&store, &summary.run).unwrap().is_none());
    assert!(events_of(&store, "../x").unwrap().is_none());
}

#[test]
fn a_value_that_is_no_number_is_kept_as_such() {
    let lab = Lab::new();
    let store = lab.store();
    let recorder = Recorder::start(&store, "r", "p");
    for (step, value) in [(1, f64::NAN), (2, 0.1 + 0.2)] {
        recorder.emit(&Event::Metric {
            stage: "f".to_owned(),
            epoch: 1,
            step,
            name: "loss".to_owned(),
            value,
        });
    }
    recorder.finish().unwrap();
    let metrics = metrics_of(&store, "r").unwrap();
    let table = rows(&store.metrics_path("r"));
    for values in [
        metrics[0]
            .points
            .iter()
            .map(|p| p.value)
            .collect::<Vec<_>>(),
        table.into_iter().map(|row| row.4).collect(),
    ] {
        assert!(values[0].is_nan());
        assert_eq!(values[1..], [0.1 + 0.2]);
    }
}

#[test]
fn damage_is_found() {
    let lab = Lab::new();
    let summary = lab.run(FIT);
    let store = lab.store();
    let (events, table) = (
        store.events_path(&summary.run),
        store.metrics_path(&summary.run),
    );
    let text = fs::read_to_string(&events).unwrap();
    fs::write(&events, text.replacen("\"event\"", "\"event", 1)).unwrap();
    let bytes = fs::read(&table).unwrap();
    fs::write(&table, &bytes[..bytes.len() / 2]).unwrap();
    let found = history::faults(&store).unwrap();
    let paths: Vec<_> = found.iter().map(|(path, _)| path.clone()).collect();
    assert_eq!(paths, [events, table]);
    assert!(found[0].1.starts_with("line 2: "), "{found:?}");
}

/// A run that cannot record its events goes on all the same, and says so.
#[test]
fn what_cannot_be_recorded_is_told_and_fails_nothing() {
    let lab = Lab::new();
    let store = lab.store();
    let listen = |store: &Store| {
        let recorder = Recorder::start(store, "r", "p");
        let journal = lab.run(FIT);
        for recorded in events_of(&lab.store(), &journal.run).unwrap().unwrap() {
            recorder.emit(&recorded.event);
        }
        recorder.finish()
    };
    fs::create_dir(store.events_path("r")).unwrap();
    let e = listen(&store).unwrap_err().to_string();
    assert!(e.contains("r.events.jsonl"), "{e}");
    fs::remove_dir(store.events_path("r")).unwrap();

    // Remove the stored stages, so that the next run reports metrics again.
    fs::remove_dir_all(store.root().join("stages")).unwrap();
    fs::create_dir(store.root().join("stages")).unwrap();
    fs::create_dir_all(store.metrics_path("r").join("x")).unwrap();
    let e = listen(&store).unwrap_err().to_string();
    assert!(e.contains("r.metrics.parquet"), "{e}");
    assert!(!events_of(&store, "r").unwrap().unwrap().is_empty());
    assert_eq!(store.run_held("r"), Some(false));
}

#[test]
fn journals_of_older_versions_are_read() {
    let lab = Lab::new();
    let summary = lab.run(FIT);
    let store = lab.store();
    let path = store.journal_path(&summary.run);
    let mut journal: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    for stage in journal["stages"].as_array_mut().unwrap() {
        let stage = stage.as_object_mut().unwrap();
        stage.remove("started_ms").unwrap();
        stage.remove("ended_ms").unwrap();
    }
    fs::write(&path, journal.to_string()).unwrap();
    let read = &history::runs(&store).unwrap().0[0].journal;
    assert_eq!(read.stages.len(), 2);
    assert_eq!(read.stages[0].started_ms, None);
}
