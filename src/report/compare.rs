//! Two runs side by side as one page.

use std::collections::{BTreeMap, BTreeSet};

use arrow::array::Array;
use gfm_pipe_api::{OpError, columns};
use minijinja::context;
use serde::Serialize;

use super::run::{Lacking, Run, other_version};
use super::svg::curves::{self, Series};
use super::{ReportError, of, page, stages};
use crate::record::{JournalFile, diff};
use crate::store::Store;
use crate::ui::{self, MAIN};

/// Questions listed.
const LISTED: usize = 20;
/// Sign flips and resamples of the paired test.
const RESAMPLES: usize = 2000;
const SEED: u64 = 1024;

/// Something that is not the same.
#[derive(Serialize)]
struct Change {
    name: String,
    old: String,
    new: String,
    change: String,
}

/// A metric of a system on the questions both runs were asked.
#[derive(Serialize)]
struct Paired {
    stage: String,
    system: String,
    metric: &'static str,
    old: String,
    new: String,
    change: String,
    interval: Option<String>,
    p: Option<String>,
    better: usize,
    worse: usize,
    questions: usize,
}

/// A question that went another way.
#[derive(Serialize)]
struct Moved {
    stage: String,
    question: String,
    system: String,
    old: String,
    new: String,
}

/// The page of two runs, the older one first.
///
/// # Errors
/// When the page's template cannot be filled.
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
        match (places(&a, &stage), places(&b, &stage)) {
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

/// What differs; `show` makes a value readable, `by` says how far two are apart.
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

/// What a system found for a question.
#[derive(PartialEq)]
struct Found {
    /// Number of gold documents.
    gold: u32,
    /// Ranks of those in the corpus.
    ranks: Vec<u32>,
}

/// By system with its ranker, and question.
type Places = BTreeMap<(String, String), Found>;

fn places(run: &Run<'_>, stage: &str) -> Result<Places, Lacking> {
    let t = run.table((stage, "ranks"), "ranks")?;
    let read = || -> Result<Places, OpError> {
        let text = |name| columns::text(&t, name);
        let (question, system) = (text("question")?, text("system")?);
        let (ranker, target) = (text("ranker")?, text("target")?);
        let gold = columns::u32s(&t, "gold")?;
        let ranks = columns::list_u32(&t, "ranks")?;
        let rows = ranks.into_iter().enumerate();
        Ok(rows
            .filter(|(i, _)| target.value(*i) == "document")
            .map(|(i, ranks)| {
                let system = match ranker.value(i) {
                    "-" => system.value(i).to_owned(),
                    ranker => format!("{} ({ranker})", system.value(i)),
                };
                let of = (system, question.value(i).to_owned());
                let gold = gold.value(i);
                (of, Found { gold, ranks })
            })
            .collect())
    };
    read().map_err(other_version)
}

fn value(metric: &str, Found { gold, ranks }: &Found) -> f64 {
    let found = |k: u32| ranks.iter().filter(|r| **r <= k).count() as f64;
    let gold = f64::from((*gold).max(1));
    match metric {
        "recall@2" => found(2) / gold,
        "recall@5" => found(5) / gold,
        "all-gold@5" => f64::from(u8::from(found(5) >= gold)),
        // The last of MAIN, mrr.
        _ => ranks.first().map_or(0.0, |r| 1.0 / f64::from(*r)),
    }
}

/// Systems that both runs asked the same questions.
fn pair(stage: &str, a: &Places, b: &Places) -> Vec<Paired> {
    let systems: BTreeSet<&String> = a.keys().map(|k| &k.0).collect();
    let mut out = Vec::new();
    for system in systems {
        let both: Vec<(&Found, &Found)> = a
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
            let differences: Vec<Vec<f64>> = values.iter().map(|v| vec![v.1 - v.0]).collect();
            let (interval, p) = sure(&differences);
            let count = |sign: f64| differences.iter().filter(|d| d[0] * sign > 1e-12).count();
            out.push(Paired {
                stage: stage.to_owned(),
                system: system.clone(),
                metric,
                old: format!("{old:.3}"),
                new: format!("{new:.3}"),
                change: signed(new - old),
                interval: interval
                    .map(|(low, high)| format!("{} to {}", signed(low), signed(high))),
                p: p.map(|p| format!("{p:.4}")),
                better: count(1.0),
                worse: count(-1.0),
                questions: values.len(),
            });
        }
    }
    out
}

/// With its sign, and no sign on what is shown as zero.
fn signed(x: f64) -> String {
    match format!("{x:+.3}").as_str() {
        "-0.000" | "+0.000" => "0.000".to_owned(),
        text => text.to_owned(),
    }
}

/// The 95 % interval of the mean difference and the p-value of its paired test.
#[cfg(feature = "gfm")]
fn sure(differences: &[Vec<f64>]) -> (Option<(f64, f64)>, Option<f64>) {
    use gfm_pipe_gfm::eval::bootstrap::{Values, intervals, sign_flip};
    let values = Values::new(differences.iter().cloned());
    let named = (SEED, "two runs");
    let go_on = || Ok::<(), std::convert::Infallible>(());
    let interval = intervals(&values, RESAMPLES, named, &go_on);
    let p = sign_flip(&values, RESAMPLES, named, &go_on);
    let (Ok(interval), Ok(p)) = (interval, p);
    (interval.map(|i| i[0]), p.map(|p| p[0]))
}

/// A build without evaluation has no statistics.
#[cfg(not(feature = "gfm"))]
fn sure(_: &[Vec<f64>]) -> (Option<(f64, f64)>, Option<f64>) {
    let _ = (SEED, RESAMPLES);
    (None, None)
}

/// Questions whose share of gold documents among the first five changed, for the model, with by how much.
fn moves(stage: &str, a: &Places, b: &Places) -> Vec<(f64, Moved)> {
    a.iter()
        .filter(|(k, _)| k.0.split(" (").next() == Some("model"))
        .filter_map(|(k, x)| {
            let y = b.get(k)?;
            let change = (value("recall@5", y) - value("recall@5", x)).abs();
            let told = |found: &Found| {
                let ranks: Vec<String> = found.ranks.iter().take(8).map(u32::to_string).collect();
                ranks.join(", ")
            };
            let moved = Moved {
                stage: stage.to_owned(),
                question: k.1.clone(),
                system: k.0.clone(),
                old: told(x),
                new: told(y),
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
