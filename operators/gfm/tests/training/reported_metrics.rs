//! The metrics that a training reports while it runs.

use std::collections::BTreeSet;

use gfm_pipe_api::local::Local;
use serde_json::json;

use crate::resume::stopped_and_ended;
use crate::toy::*;

/// Steps and values of a metric, as reported.
fn reported(out: &Local, name: &str) -> Vec<(u64, f64)> {
    let all = out.metrics.iter().filter(|m| m.name == name);
    all.map(|m| (m.step, m.value)).collect()
}

fn steps(out: &Local, name: &str) -> Vec<u64> {
    reported(out, name)
        .into_iter()
        .map(|(step, _)| step)
        .collect()
}

fn close(a: f64, b: f64) {
    assert!((a - b).abs() <= 1e-12 * b.abs(), "{a} {b}");
}

#[test]
fn means_are_reported_per_log_interval_and_at_the_end_of_an_epoch() {
    let dir = tempfile::tempdir().unwrap();
    let d = data(dir.path());
    let given = inputs(&[("graph", &d.graph)]);
    let params = |interval: u64| {
        with(
            pretrain_params(2),
            &[
                ("train.log_interval", json!(interval)),
                ("train.warmup_steps", json!(5)),
                ("train.decay", json!("linear")),
                ("train.clip_norm", json!(0.5)),
                ("optimizer.lr", json!(0.01)),
            ],
        )
    };
    let each = run_in(dir.path(), "each", "pretrain", &params(1), &given).unwrap();
    let out = run_in(dir.path(), "some", "pretrain", &params(4), &given).unwrap();
    assert_eq!(digests(&each), digests(&out));
    // 43 triples in batches of 4: 11 steps an epoch.
    let at = [4, 8, 11, 12, 16, 20, 22];
    for name in [
        "loss",
        "lr",
        "grad_norm",
        "step_seconds",
        "samples_per_second",
    ] {
        assert_eq!(steps(&out, name), at, "{name}");
    }
    let losses = reported(&each, "loss");
    assert_eq!(losses.len(), 22);
    let mut from = 0;
    for (step, mean) in reported(&out, "loss") {
        let to = step as usize;
        let sum: f64 = losses[from..to].iter().map(|(_, v)| v).sum();
        close(mean, sum / (to - from) as f64);
        from = to;
    }
    for (step, rate) in reported(&each, "lr") {
        let factor = match step {
            1..5 => step as f64 / 5.0,
            _ => 1.0 - (step - 5) as f64 / 17.0,
        };
        close(rate, 0.01 * factor);
    }
    assert!(reported(&out, "grad_norm").iter().all(|(_, v)| *v > 0.0));
    for name in ["mean_loss", "valid:mrr"] {
        assert_eq!(steps(&out, name), [11, 22], "{name}");
        let values: Vec<f64> = reported(&out, name).into_iter().map(|(_, v)| v).collect();
        assert_eq!(values, history(out.port("history"), name), "{name}");
    }
    let epochs: BTreeSet<(u32, u64)> = out.metrics.iter().map(|m| (m.epoch, m.step)).collect();
    assert!(epochs.contains(&(1, 11)) && epochs.contains(&(2, 12)));
    assert_eq!(epochs.len(), at.len());
}

#[test]
fn parts_of_a_loss_are_reported_and_a_norm_only_with_clipping() {
    let dir = tempfile::tempdir().unwrap();
    let d = data(dir.path());
    let out = run(
        dir.path(),
        "finetune",
        finetune_params(2),
        finetune_inputs(&[&d]),
    )
    .unwrap();
    let names: BTreeSet<&str> = out.metrics.iter().map(|m| m.name.as_str()).collect();
    assert!(!names.contains("grad_norm"), "{names:?}");
    let parts: Vec<&&str> = names.iter().filter(|n| n.starts_with("loss:")).collect();
    assert!(parts.len() > 1, "{names:?}");
    for part in parts {
        // An epoch is shorter than the interval, so its mean is reported at its end.
        let means = history(out.port("history"), &format!("mean_{part}"));
        assert_eq!(means.len(), 2);
        for ((_, value), mean) in reported(&out, part).into_iter().zip(means) {
            close(value, mean);
        }
    }
    assert!(names.contains("valid:entity:mrr_filtered"), "{names:?}");
}

#[test]
fn a_continued_training_reports_only_what_follows_its_checkpoint() {
    let dir = tempfile::tempdir().unwrap();
    let d = data(dir.path());
    let given = inputs(&[("graph", &d.graph)]);
    let params = with(pretrain_params(2), &[("train.log_interval", json!(1))]);
    let whole = run_in(dir.path(), "whole", "pretrain", &params, &given).unwrap();
    let folder = dir.path().join("again");
    let out = stopped_and_ended(&folder, "pretrain", &params, &given, &[14], 2);
    assert_eq!(reported(&out, "loss"), reported(&whole, "loss")[14..]);
    assert_eq!(steps(&out, "valid:mrr"), [22]);
}
