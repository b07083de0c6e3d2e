//! The page that compares two runs.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;

use arrow::array::Array;
use gfm_pipe_api::{OpError, columns};
use gfm_pipe_eval::metrics::{Answer, Metric};
use gfm_pipe_eval::shown::{HEADLINE, MAIN, label};
use gfm_pipe_eval::statistics::{Interval, Streams, Values, intervals, sign_flip};
use gfm_pipe_eval::systems::MODEL;
use gfm_pipe_eval::tables::Target;
use minijinja::context;
use serde::Serialize;

use super::run::{Lacking, Run, other_version};
use super::svg::curves::{self, Series};
use super::{ReportError, of, page, stages};
use crate::record::{JournalFile, diff};
use crate::store::Store;
use crate::ui;

/// Maximum number of questions listed.
const LISTED: usize = 20;
/// Number of sign flips and of resamples in the paired test.
const RESAMPLES: usize = 2000;
const STREAMS: Streams<'static> = Streams {
    seed: 1024,
    purpose: "two runs",
};

/// Something that differs between the runs.
#[derive(Serialize)]
struct Change {
    name: String,
    old: String,
    new: String,
    change: String,
}

/// A metric of one system in both runs, on the questions that both were asked.
#[derive(Serialize)]
struct Paired {
    stage: String,
    system: String,
    metric: String,
    old: String,
    new: String,
    change: String,
    interval: Option<String>,
    p: Option<String>,
    better: usize,
    worse: usize,
    questions: usize,
}

/// A question whose answer ranks differently in the two runs.
#[derive(Serialize)]
struct Moved {
    stage: String,
    question: String,
    system: String,
    old: String,
    new: String,
}

/// The page that compares two runs, the older one first.
///
/// # Errors
/// When the page's template cannot be rendered.
pub fn compare(store: &Store, old: &JournalFile, new: &JournalFile) -> Result<String, ReportError> {
    let (a, b) = (Run::read(store, old), Run::read(store, new));
    let made = changes(
        &diff::made_of(store, old),
        &diff::made_of(store, new),
        String::clone,
        |_, _| String::new(),
    );
    let metrics = changes(
        &diff::metrics(store, old),
        &diff::metrics(store, new),
        |v| format!("{v:.4}"),
        |x, y| format!("{:+.4}", y - x),
    );
    let times = changes(&times(old), &times(new), String::clone, |_, _| {
        String::new()
    });
    let mut lacking: Vec<String> = Vec::new();
    let (mut paired, mut moved) = (Vec::new(), Vec::new());
    let stages: BTreeSet<String> = [&a, &b]
        .into_iter()
        .flat_map(|run| run.of_kind("ranks"))
        .map(|(stage, _)| stage)
        .collect();
    for stage in stages {
        if a.asked(&stage)
            .zip(b.asked(&stage))
            .is_some_and(|(x, y)| x != y)
        {
            lacking.push(format!(
                "{stage}: the runs were not asked the same questions, which are not paired then"
            ));
            continue;
        }
        match (answers(&a, &stage), answers(&b, &stage)) {
            (Ok(x), Ok(y)) => {
                paired.extend(pair(&stage, &x, &y));
                moved.extend(moves(&stage, &x, &y));
            }
            (Err(why), _) | (_, Err(why)) => lacking.push(why),
        }
    }
    moved.sort_by(|x, y| y.0.total_cmp(&x.0));
    let mut moved: Vec<Moved> = moved.into_iter().map(|m| m.1).collect();
    moved.truncate(LISTED);
    let charts: Vec<(String, String)> = b
        .of_kind("history")
        .into_iter()
        .map(|(stage, port)| {
            let series: Vec<Series> = [(&a, old), (&b, new)]
                .into_iter()
                .filter_map(|(run, j)| losses(run, &stage, &port, &j.run))
                .collect();
            let title = format!("Loss of {stage}");
            (title.clone(), curves::draw(&title, "step", &series))
        })
        .collect();
    page(
        "compare.html",
        context! {
            title => format!("{} and {}", old.run, new.run),
            old => of(&stages::head(old)),
            new => of(&stages::head(new)),
            made => of(&made),
            times => of(&times),
            metrics => of(&metrics),
            paired => of(&paired),
            moved => of(&moved),
            charts => of(&charts),
            lacking => of(&lacking),
        },
    )
}

/// What differs between two runs. `show` formats a value, `by` the change between two values.
fn changes<V: PartialEq>(
    a: &BTreeMap<String, V>,
    b: &BTreeMap<String, V>,
    show: impl Fn(&V) -> String,
    by: impl Fn(&V, &V) -> String,
) -> Vec<Change> {
    let names: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
    let cell = |v: Option<&V>| v.map_or_else(|| "-".to_owned(), &show);
    names
        .into_iter()
        .map(|name| (name, a.get(name), b.get(name)))
        .filter(|(_, x, y)| x != y)
        .map(|(name, x, y)| Change {
            name: name.clone(),
            old: cell(x),
            new: cell(y),
            change: x.zip(y).map_or_else(String::new, |(x, y)| by(x, y)),
        })
        .collect()
}

fn times(journal: &JournalFile) -> BTreeMap<String, String> {
    let each = journal.stages.iter().map(|s| {
        let took = format!("{} {}", stages::status(s.status), ui::duration(s.seconds));
        (s.name.clone(), took)
    });
    each.collect()
}

/// Answers by system (with its ranker) and question.
type Answers = BTreeMap<(String, String), Answer>;

/// The answers of those systems of a stage that rank documents.
fn answers(run: &Run<'_>, stage: &str) -> Result<Answers, Lacking> {
    let t = run.table((stage, "ranks"), "ranks")?;
    let read = || -> Result<Answers, OpError> {
        let text = |name| columns::text(&t, name);
        let (question, system) = (text("question")?, text("system")?);
        let (ranker, target) = (text("ranker")?, text("target")?);
        let (asked, gold) = (columns::bools(&t, "asked")?, columns::u32s(&t, "gold")?);
        let ranks = columns::list_u32(&t, "ranks")?;
        let rows = ranks.into_iter().enumerate();
        Ok(rows
            .filter(|(i, _)| target.value(*i) == Target::Document.name())
            .map(|(i, ranks)| {
                let system = label(system.value(i), ranker.value(i));
                let of = (system, question.value(i).to_owned());
                let answer = Answer::of_ranks(asked.value(i), &ranks, gold.value(i));
                (of, answer)
            })
            .collect())
    };
    read().map_err(other_version)
}

fn value(metric: Metric, answer: &Answer) -> f64 {
    answer
        .values(&[metric])
        .first()
        .copied()
        .unwrap_or_default()
}

/// Compares the systems that both runs have, on the questions that both were asked.
fn pair(stage: &str, a: &Answers, b: &Answers) -> Vec<Paired> {
    let systems: BTreeSet<&String> = a.keys().map(|k| &k.0).collect();
    let mut out = Vec::new();
    for system in systems {
        let both: Vec<(&Answer, &Answer)> = a
            .iter()
            .filter(|(k, _)| &k.0 == system)
            .filter_map(|(k, x)| Some((x, b.get(k)?)))
            .collect();
        if both.is_empty() || both.iter().all(|(x, y)| x == y) {
            continue;
        }
        for metric in MAIN {
            let values = both
                .iter()
                .map(|(x, y)| (value(metric, x), value(metric, y)));
            let values: Vec<(f64, f64)> = values.collect();
            let n = values.len() as f64;
            let mean = |of: fn(&(f64, f64)) -> f64| values.iter().map(of).sum::<f64>() / n;
            let (old, new) = (mean(|v| v.0), mean(|v| v.1));
            let differences: Vec<f64> = values.iter().map(|v| v.1 - v.0).collect();
            let Certainty { interval, p } = certainty(&differences);
            let count = |sign: f64| differences.iter().filter(|d| *d * sign > 1e-12).count();
            out.push(Paired {
                stage: stage.to_owned(),
                system: system.clone(),
                metric: metric.name(),
                old: format!("{old:.3}"),
                new: format!("{new:.3}"),
                change: signed(new - old),
                interval: interval.map(|i| format!("{} to {}", signed(i.low), signed(i.high))),
                p: p.map(|p| format!("{p:.4}")),
                better: count(1.0),
                worse: count(-1.0),
                questions: values.len(),
            });
        }
    }
    out
}

/// A number with its sign, to three decimals; a number that rounds to zero has no sign.
fn signed(x: f64) -> String {
    match format!("{x:+.3}").as_str() {
        "-0.000" | "+0.000" => "0.000".to_owned(),
        text => text.to_owned(),
    }
}

/// The 95 % interval of a mean difference and the p-value of its paired test, where there are any.
#[derive(Default)]
struct Certainty {
    interval: Option<Interval>,
    p: Option<f64>,
}

fn certainty(differences: &[f64]) -> Certainty {
    let values = Values::new(differences.iter().map(|d| vec![*d]));
    let go_on = || Ok::<(), Infallible>(());
    let Ok(interval) = intervals(&values, RESAMPLES, STREAMS, &go_on);
    let Ok(p) = sign_flip(&values, RESAMPLES, STREAMS, &go_on);
    Certainty {
        interval: interval.and_then(|all| all.first().copied()),
        p: p.and_then(|all| all.first().copied()),
    }
}

/// The model's questions whose [`HEADLINE`] changed, each with the size of the change.
fn moves(stage: &str, a: &Answers, b: &Answers) -> Vec<(f64, Moved)> {
    a.iter()
        .filter(|(k, _)| k.0.split(" (").next() == Some(MODEL.name))
        .filter_map(|(k, x)| {
            let y = b.get(k)?;
            let change = (value(HEADLINE, y) - value(HEADLINE, x)).abs();
            let shown = |answer: &Answer| {
                let ranks = answer.ranks().into_iter().take(8);
                let ranks: Vec<String> = ranks.map(|rank| rank.to_string()).collect();
                ranks.join(", ")
            };
            let moved = Moved {
                stage: stage.to_owned(),
                question: k.1.clone(),
                system: k.0.clone(),
                old: shown(x),
                new: shown(y),
            };
            (change > 0.0).then_some((change, moved))
        })
        .collect()
}

fn losses(run: &Run<'_>, stage: &str, port: &str, name: &str) -> Option<Series> {
    let t = run.table((stage, port), "history").ok()?;
    let (step, metric) = (
        columns::u64s(&t, "step").ok()?,
        columns::text(&t, "metric").ok()?,
    );
    let value = columns::f64s(&t, "value").ok()?;
    let rows = (0..t.num_rows()).filter(|i| metric.is_valid(*i) && metric.value(*i) == "loss");
    Some(Series {
        name: name.to_owned(),
        points: rows
            .map(|i| (step.value(i) as f64, value.value(i)))
            .collect(),
    })
}
