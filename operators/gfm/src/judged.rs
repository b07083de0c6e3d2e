//! What systems answered, and the tables made of it: metrics with intervals, comparisons, ranks. `evaluate` and `compare` leave them.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Float64Array, RecordBatch, StringArray, UInt32Array, UInt64Array,
};
use gfm_pipe_api::memory::Demand;
use gfm_pipe_api::{Context, Field, OpResult, Type, columns, kinds};
use rayon::prelude::*;

use crate::eval::bootstrap::{Interval, Values, holm, intervals, sign_flip};
use crate::eval::groups::{groups, members};
use crate::eval::metrics::{Answer, Metric};

/// What no system exceeds is called so in the column of systems.
pub(crate) const CEILING: &str = "ceiling";
/// The k of metrics with one.
const KS: [usize; 6] = [1, 2, 3, 5, 10, 20];
/// Sign flips for each system that is compared, at least: with fewer, the correction for looking at all of them would leave no p-value
/// below 0.05, whatever the data.
const FLIPS: usize = 400;
/// What systems are compared by.
const COMPARED: [Metric; 6] = [
    Metric::Recall(2),
    Metric::Recall(5),
    Metric::AllGold(5),
    Metric::Ndcg(10),
    Metric::Mrr,
    Metric::Map,
];

/// The parameters of [`Sure`].
pub(crate) fn fields() -> Vec<Field> {
    vec![
        Field::new(
            "resamples",
            Type::int(0),
            2000,
            "bootstrap resamples for 95 % intervals, and sign flips of the paired test; 0: neither",
        )
        .at_most(
            1e6,
            "all are held in memory, and intervals no longer change",
        ),
        Field::new(
            "seed",
            Type::int(0),
            1024,
            "of the resamples, the flips and, in `evaluate`, the untrained weights",
        )
        .at_most(i64::MAX as f64, "it has 63 bits"),
    ]
}

/// How sure figures are made.
pub(crate) struct Sure {
    /// Bootstrap resamples and sign flips; 0: neither.
    pub resamples: usize,
    /// Names their streams.
    pub seed: u64,
}

impl Sure {
    /// Checks that the resamples of at least this many systems fit into memory, before anything is
    /// measured.
    ///
    /// # Errors
    /// When they do not.
    pub fn check_memory(&self, systems: usize) -> OpResult<()> {
        let figures = systems * with_filtered().len();
        Demand::new()
            .and("resamples", &[self.resamples, figures, 8])
            .check("`resamples`")
    }
}

/// What is ranked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Target {
    Document,
    Entity,
}

impl Target {
    /// Name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Target::Document => "document",
            Target::Entity => "entity",
        }
    }
}

/// One system's answers to all questions.
struct Judged {
    system: String,
    ranker: String,
    target: Target,
    metrics: Vec<Metric>,
    answers: Vec<Answer>,
    /// Whether it is no system, but what none exceeds.
    ceiling: bool,
}

impl Judged {
    /// `model (idf_topk)`, `dense`.
    fn label(&self) -> String {
        match self.ranker.as_str() {
            "-" => self.system.clone(),
            ranker => format!("{} ({ranker})", self.system),
        }
    }

    /// Whether setting it against another says something: two systems by the same way from entities to documents, or two such ways
    /// of one system.
    fn comparable(&self, other: &Judged) -> bool {
        self.system == other.system || self.ranker == other.ranker || other.ranker == "-"
    }
}

/// The questions that are answered.
pub(crate) struct Asked<'a> {
    pub dataset: &'a str,
    pub split: &'a str,
    pub ids: &'a [String],
    pub hops: &'a [Option<u32>],
    /// Number of gold documents.
    pub gold: &'a [u32],
    /// Names from the data.
    pub groups: &'a [Vec<String>],
}

/// Collects what systems answer.
pub(crate) struct Report<'a> {
    asked: Asked<'a>,
    /// Groups in order with their questions.
    groups: Vec<(String, Vec<usize>)>,
    judged: Vec<Judged>,
}

fn standard() -> Vec<Metric> {
    let mut metrics: Vec<Metric> = KS
        .iter()
        .flat_map(|&k| {
            [
                Metric::Recall(k),
                Metric::Precision(k),
                Metric::AllGold(k),
                Metric::Ndcg(k),
            ]
        })
        .collect();
    metrics.extend([Metric::Mrr, Metric::Map]);
    metrics
}

fn with_filtered() -> Vec<Metric> {
    let mut metrics = standard();
    metrics.extend(KS.iter().map(|k| Metric::Hits(*k)));
    metrics.push(Metric::MrrFiltered);
    metrics
}

impl<'a> Report<'a> {
    pub fn new(asked: Asked<'a>) -> Self {
        let of: Vec<Vec<String>> = (0..asked.ids.len())
            .map(|i| groups(asked.hops[i], asked.gold[i], &asked.groups[i]))
            .collect();
        Report {
            asked,
            groups: members(&of),
            judged: Vec::new(),
        }
    }

    /// A system's answers, one a question.
    pub fn add(&mut self, (system, ranker): (&str, &str), target: Target, answers: Vec<Answer>) {
        self.judged.push(Judged {
            system: system.to_owned(),
            ranker: ranker.to_owned(),
            target,
            metrics: with_filtered(),
            answers,
            ceiling: false,
        });
    }

    /// What a perfect ranking would reach, by the standard metrics: filtered ones have no ceiling.
    pub fn ceiling(&mut self, target: Target, answers: Vec<Answer>) {
        self.judged.push(Judged {
            system: CEILING.to_owned(),
            ranker: "-".to_owned(),
            target,
            metrics: standard(),
            answers,
            ceiling: true,
        });
    }

    /// Writes the ports `metrics` and `comparisons`.
    pub fn write(&self, ctx: &Context, sure: &Sure) -> OpResult<()> {
        ctx.write("metrics", "metrics", &self.metrics(ctx, sure)?)?;
        ctx.write("comparisons", "comparisons", &self.comparisons(ctx, sure)?)?;
        self.told(ctx, 2 * self.groups.len());
        Ok(())
    }

    /// Writes the port `ranks`.
    pub fn write_ranks(&self, ctx: &Context) -> OpResult<()> {
        ctx.write("ranks", "ranks", &self.ranks()?)
    }

    /// Reports how many groups have their figures: intervals first, then comparisons.
    fn told(&self, ctx: &Context, done: usize) {
        let total = 2 * self.groups.len() as u64;
        ctx.progress(done as u64, total, "groups of questions", "intervals");
    }

    fn metrics(&self, ctx: &Context, sure: &Sure) -> OpResult<RecordBatch> {
        struct Row<'a> {
            of: &'a Judged,
            group: &'a str,
            metric: Metric,
            value: f64,
            interval: Option<Interval>,
            n: usize,
            unasked: usize,
        }
        // One set of resamples a group serves all systems: their columns lie side by side.
        let check = || ctx.check_cancelled();
        let mut by_group = Vec::new();
        for (i, (name, of)) in self.groups.iter().enumerate() {
            self.told(ctx, i);
            let row = |i: &usize| -> Vec<f64> {
                let judged = self.judged.iter();
                let values = judged.map(|j| j.answers[*i].values(&j.metrics));
                values.flatten().collect()
            };
            let rows: Vec<Vec<f64>> = of.par_iter().map(row).collect();
            let values = Values::new(rows);
            let ends = intervals(&values, sure.resamples, (sure.seed, name), &check)?;
            by_group.push((name, of, values.means(), ends));
        }
        let mut rows = Vec::new();
        let mut first = 0;
        for of in &self.judged {
            for (name, members, means, ends) in &by_group {
                let silent = |i: &&usize| of.answers[**i].places.is_none();
                let unasked = members.iter().filter(silent).count();
                for (c, metric) in (first..).zip(&of.metrics) {
                    rows.push(Row {
                        of,
                        group: name,
                        metric: *metric,
                        value: means[c],
                        interval: ends.as_ref().map(|e| e[c]),
                        n: members.len(),
                        unasked,
                    });
                }
            }
            first += of.metrics.len();
        }
        let text = |f: &dyn Fn(&Row<'_>) -> String| texts(&rows, f);
        let count = |f: &dyn Fn(&Row<'_>) -> usize| counts(&rows, f);
        let q = &self.asked;
        columns::batch(
            &kinds::METRICS.tables[0],
            vec![
                text(&|_| q.dataset.to_owned()),
                text(&|_| q.split.to_owned()),
                text(&|r| r.of.system.clone()),
                text(&|r| r.of.ranker.clone()),
                text(&|r| r.of.target.name().to_owned()),
                text(&|r| r.group.to_owned()),
                text(&|r| r.metric.name()),
                Arc::new(Float64Array::from_iter_values(rows.iter().map(|r| r.value))),
                ends(rows.iter().map(|r| r.interval.map(|i| i.0))),
                ends(rows.iter().map(|r| r.interval.map(|i| i.1))),
                count(&|r| r.n),
                count(&|r| r.unasked),
            ],
        )
    }

    /// The first system against the other document rankings.
    fn comparisons(&self, ctx: &Context, sure: &Sure) -> OpResult<RecordBatch> {
        struct Row<'a> {
            other: String,
            group: &'a str,
            metric: Metric,
            difference: f64,
            interval: Option<Interval>,
            p: Option<(f64, f64)>,
            better: usize,
            worse: usize,
            n: usize,
        }
        let check = || ctx.check_cancelled();
        let documents = |j: &&Judged| j.target == Target::Document && !j.ceiling;
        let mut documents = self.judged.iter().filter(documents);
        let first = documents.next();
        let others: Vec<&Judged> = match first {
            Some(first) => documents.filter(|j| first.comparable(j)).collect(),
            None => Vec::new(),
        };
        let flips = match sure.resamples {
            0 => 0,
            n => n.max(FLIPS * others.len()),
        };
        let mut rows: Vec<Row<'_>> = Vec::new();
        for (i, (name, of)) in self.groups.iter().enumerate() {
            self.told(ctx, self.groups.len() + i);
            let Some(first) = first.filter(|_| !others.is_empty()) else {
                break;
            };
            let row = |i: &usize| -> Vec<f64> {
                let own = first.answers[*i].values(&COMPARED);
                let others = others.iter().map(|o| o.answers[*i].values(&COMPARED));
                let less = |theirs: Vec<f64>| -> Vec<f64> {
                    own.iter().zip(theirs).map(|(a, b)| a - b).collect()
                };
                others.flat_map(less).collect()
            };
            let differences: Vec<Vec<f64>> = of.par_iter().map(row).collect();
            let differences = Values::new(differences);
            let mean = differences.means();
            let named = (sure.seed, name.as_str());
            let ends = intervals(&differences, sure.resamples, named, &check)?;
            let p = sign_flip(&differences, flips, named, &check)?;
            // A family of tests: all systems, one metric.
            let column = |o: usize, m: usize| o * COMPARED.len() + m;
            let families: Option<Vec<Vec<f64>>> = p.as_ref().map(|p| {
                let family = |m| {
                    (0..others.len())
                        .map(|o| p[column(o, m)])
                        .collect::<Vec<_>>()
                };
                (0..COMPARED.len()).map(|m| holm(&family(m))).collect()
            });
            for (o, other) in others.iter().enumerate() {
                for (m, metric) in COMPARED.iter().enumerate() {
                    let c = column(o, m);
                    // Rounding makes no winner.
                    let count =
                        |sign: f64| differences.rows().filter(|d| d[c] * sign > 1e-12).count();
                    rows.push(Row {
                        other: other.label(),
                        group: name,
                        metric: *metric,
                        difference: mean[c],
                        interval: ends.as_ref().map(|e| e[c]),
                        p: p.as_ref()
                            .zip(families.as_ref())
                            .map(|(p, f)| (p[c], f[m][o])),
                        better: count(1.0),
                        worse: count(-1.0),
                        n: of.len(),
                    });
                }
            }
        }
        let text = |f: &dyn Fn(&Row<'_>) -> String| texts(&rows, f);
        let count = |f: &dyn Fn(&Row<'_>) -> usize| counts(&rows, f);
        let q = &self.asked;
        columns::batch(
            &kinds::COMPARISONS.tables[0],
            vec![
                text(&|_| q.dataset.to_owned()),
                text(&|_| q.split.to_owned()),
                text(&|_| first.map_or_else(String::new, Judged::label)),
                text(&|r| r.other.clone()),
                text(&|r| r.group.to_owned()),
                text(&|r| r.metric.name()),
                Arc::new(Float64Array::from_iter_values(
                    rows.iter().map(|r| r.difference),
                )),
                ends(rows.iter().map(|r| r.interval.map(|i| i.0))),
                ends(rows.iter().map(|r| r.interval.map(|i| i.1))),
                ends(rows.iter().map(|r| r.p.map(|p| p.0))),
                ends(rows.iter().map(|r| r.p.map(|p| p.1))),
                count(&|r| r.better),
                count(&|r| r.worse),
                count(&|r| r.n),
            ],
        )
    }

    fn ranks(&self) -> OpResult<RecordBatch> {
        let q = &self.asked;
        let judged = self.judged.iter().filter(|j| !j.ceiling);
        let rows: Vec<(&Judged, usize)> = judged
            .flat_map(|j| (0..q.ids.len()).map(move |i| (j, i)))
            .collect();
        let text = |f: &dyn Fn(&Judged, usize) -> String| -> ArrayRef {
            let texts = rows.iter().map(|(j, i)| f(j, *i));
            Arc::new(StringArray::from_iter_values(texts))
        };
        let places = |(j, i): &(&Judged, usize)| j.answers[*i].places.clone();
        let ranks: Vec<Vec<u32>> = rows
            .iter()
            .map(|row| {
                let places = places(row).unwrap_or_default();
                places.iter().map(|p| *p as u32 + 1).collect()
            })
            .collect();
        let asked: Vec<bool> = rows.iter().map(|row| places(row).is_some()).collect();
        let gold = rows.iter().map(|(j, i)| j.answers[*i].total as u32);
        columns::batch(
            &kinds::RANKS.tables[0],
            vec![
                text(&|_, i| q.ids[i].clone()),
                text(&|j, _| j.system.clone()),
                text(&|j, _| j.ranker.clone()),
                text(&|j, _| j.target.name().to_owned()),
                Arc::new(BooleanArray::from(asked)),
                Arc::new(UInt32Array::from_iter_values(gold)),
                columns::build_list_u32(&ranks),
            ],
        )
    }
}

fn texts<R>(rows: &[R], of: &dyn Fn(&R) -> String) -> ArrayRef {
    Arc::new(StringArray::from_iter_values(rows.iter().map(of)))
}

fn counts<R>(rows: &[R], of: &dyn Fn(&R) -> usize) -> ArrayRef {
    let counts = rows.iter().map(|r| of(r) as u64);
    Arc::new(UInt64Array::from_iter_values(counts))
}

fn ends(values: impl Iterator<Item = Option<f64>>) -> ArrayRef {
    // What rounding left of nothing is nothing: a reader asks whether an interval reaches zero.
    let whole = |x: f64| if x.abs() < 1e-12 { 0.0 } else { x };
    Arc::new(Float64Array::from_iter(values.map(|v| v.map(whole))))
}
