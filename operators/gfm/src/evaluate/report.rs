//! The tables `evaluate` leaves: metrics with intervals, comparisons, ranks, rankings.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Float64Array, RecordBatch, StringArray, UInt32Array, UInt64Array,
};
use gfm_pipe_api::{Context, OpResult, columns, kinds};
use rayon::prelude::*;

use crate::documents::Questions;
use crate::eval::bootstrap::{Interval, holm, intervals, means, sign_flip};
use crate::eval::groups::{groups, members};
use crate::eval::metrics::{Answer, Gold, Metric, perfect};
use crate::retrieval::Rankings;

/// Depth of the `rankings` port.
const RANKED: usize = 20;
/// The k of metrics with one.
const KS: [usize; 6] = [1, 2, 3, 5, 10, 20];
/// What systems are compared by.
const COMPARED: [Metric; 6] = [
    Metric::Recall(2),
    Metric::Recall(5),
    Metric::AllGold(5),
    Metric::Ndcg(10),
    Metric::Mrr,
    Metric::Map,
];

/// How sure figures are made.
pub(super) struct Sure {
    /// Bootstrap resamples and sign flips; 0: neither.
    pub resamples: usize,
    /// Names their streams.
    pub seed: u64,
}

/// What is ranked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Target {
    Document,
    Entity,
}

impl Target {
    fn name(self) -> &'static str {
        match self {
            Target::Document => "document",
            Target::Entity => "entity",
        }
    }

    fn gold(self, q: &Questions, i: usize) -> Gold<'_> {
        match self {
            Target::Document => q.document_gold(i),
            Target::Entity => q.entity_gold(i),
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
}

impl Judged {
    /// `model (idf_topk)`, `dense`.
    fn label(&self) -> String {
        match self.ranker.as_str() {
            "-" => self.system.clone(),
            ranker => format!("{} ({ranker})", self.system),
        }
    }

    /// Values of these metrics, one row a question.
    fn values(&self, q: &Questions, metrics: &[Metric]) -> Vec<Vec<f64>> {
        let answers = self.answers.par_iter().enumerate();
        answers
            .map(|(i, a)| a.values(self.target.gold(q, i), metrics))
            .collect()
    }
}

/// Collects what systems answer.
pub(super) struct Report<'a> {
    questions: &'a Questions,
    titles: &'a StringArray,
    /// Groups in order with their questions.
    groups: Vec<(String, Vec<usize>)>,
    judged: Vec<Judged>,
    rankings: Rankings,
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
    pub fn new(questions: &'a Questions, titles: &'a StringArray) -> Self {
        let q = questions;
        let of: Vec<Vec<String>> = (0..q.len())
            .map(|i| groups(q.hops[i], q.document_gold(i).total, &q.groups[i]))
            .collect();
        Report {
            questions,
            titles,
            groups: members(&of),
            judged: Vec::new(),
            rankings: Rankings::default(),
        }
    }

    fn add(&mut self, (system, ranker): (&str, &str), target: Target, scores: &[Option<Vec<f64>>]) {
        let q = self.questions;
        let answers = scores.par_iter().enumerate();
        self.judged.push(Judged {
            system: system.to_owned(),
            ranker: ranker.to_owned(),
            target,
            metrics: with_filtered(),
            answers: answers
                .map(|(i, s)| Answer::of(s.as_deref(), target.gold(q, i)))
                .collect(),
        });
    }

    /// A system's scores of all entities.
    pub fn entities(&mut self, system: &str, scores: &[Option<Vec<f64>>]) {
        self.add((system, "-"), Target::Entity, scores);
    }

    /// A system's scores of all documents; `list`: also its first documents.
    pub fn documents(
        &mut self,
        system: &str,
        ranker: &str,
        scores: &[Option<Vec<f64>>],
        list: bool,
    ) {
        self.add((system, ranker), Target::Document, scores);
        if list {
            self.rankings.add(system, scores, RANKED);
        }
    }

    /// What a perfect ranking would reach, by the standard metrics: filtered ones have no ceiling.
    pub fn ceiling(&mut self) {
        let q = self.questions;
        for target in [Target::Document, Target::Entity] {
            let answers = (0..q.len()).map(|i| Answer::at(perfect(target.gold(q, i))));
            self.judged.push(Judged {
                system: "ceiling".to_owned(),
                ranker: "-".to_owned(),
                target,
                metrics: standard(),
                answers: answers.collect(),
            });
        }
    }

    pub fn write(&self, ctx: &Context, sure: &Sure) -> OpResult<()> {
        ctx.write("metrics", "metrics", &self.metrics(sure)?)?;
        ctx.write("comparisons", "comparisons", &self.comparisons(sure)?)?;
        ctx.write("ranks", "ranks", &self.ranks()?)?;
        self.rankings.write(ctx, &self.questions.ids, self.titles)
    }

    fn metrics(&self, sure: &Sure) -> OpResult<RecordBatch> {
        struct Row<'a> {
            of: &'a Judged,
            group: &'a str,
            metric: Metric,
            value: f64,
            interval: Option<Interval>,
            n: usize,
            unasked: usize,
        }
        let values: Vec<Vec<Vec<f64>>> = self
            .judged
            .iter()
            .map(|j| j.values(self.questions, &j.metrics))
            .collect();
        // One set of resamples a group serves all systems: their columns lie side by side.
        let mut by_group = Vec::new();
        for (name, of) in &self.groups {
            let side_by_side: Vec<Vec<f64>> = of
                .iter()
                .map(|i| values.iter().flat_map(|v| &v[*i]).copied().collect())
                .collect();
            let ends = intervals(&side_by_side, sure.resamples, (sure.seed, name));
            by_group.push((name, of, means(&side_by_side), ends));
        }
        let mut rows = Vec::new();
        let mut first = 0;
        for of in &self.judged {
            for (name, members, means, ends) in &by_group {
                let asked = |i: &&usize| of.answers[**i].places.is_none();
                let unasked = members.iter().filter(asked).count();
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
        let text = |f: &dyn Fn(&Row<'_>) -> String| -> ArrayRef {
            Arc::new(StringArray::from_iter_values(rows.iter().map(f)))
        };
        let count = |f: &dyn Fn(&Row<'_>) -> usize| -> ArrayRef {
            let counts = rows.iter().map(|r| f(r) as u64);
            Arc::new(UInt64Array::from_iter_values(counts))
        };
        let q = self.questions;
        columns::batch(
            &kinds::METRICS.tables[0],
            vec![
                text(&|_| q.dataset.clone()),
                text(&|_| q.split.clone()),
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
    fn comparisons(&self, sure: &Sure) -> OpResult<RecordBatch> {
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
        let documents = self.judged.iter();
        let documents = documents.filter(|j| j.target == Target::Document && j.system != "ceiling");
        let all: Vec<(&Judged, Vec<Vec<f64>>)> = documents
            .map(|j| (j, j.values(self.questions, &COMPARED)))
            .collect();
        let mut rows: Vec<Row<'_>> = Vec::new();
        let (first, own, others) = match all.split_first() {
            Some(((first, own), others)) => (first.label(), own.as_slice(), others),
            None => (String::new(), &[][..], &[][..]),
        };
        for (name, of) in &self.groups {
            let differences: Vec<Vec<f64>> = of
                .iter()
                .map(|&i| {
                    let others = others.iter();
                    others
                        .flat_map(|(_, v)| own[i].iter().zip(&v[i]).map(|(a, b)| a - b))
                        .collect()
                })
                .collect();
            let mean = means(&differences);
            let ends = intervals(&differences, sure.resamples, (sure.seed, name));
            let p = sign_flip(&differences, sure.resamples, (sure.seed, name));
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
            for (o, (other, _)) in others.iter().enumerate() {
                for (m, metric) in COMPARED.iter().enumerate() {
                    let c = column(o, m);
                    // Rounding makes no winner.
                    let count =
                        |sign: f64| differences.iter().filter(|d| d[c] * sign > 1e-12).count();
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
        let text = |f: &dyn Fn(&Row<'_>) -> String| -> ArrayRef {
            Arc::new(StringArray::from_iter_values(rows.iter().map(f)))
        };
        let count = |f: &dyn Fn(&Row<'_>) -> usize| -> ArrayRef {
            let counts = rows.iter().map(|r| f(r) as u64);
            Arc::new(UInt64Array::from_iter_values(counts))
        };
        let q = self.questions;
        columns::batch(
            &kinds::COMPARISONS.tables[0],
            vec![
                text(&|_| q.dataset.clone()),
                text(&|_| q.split.clone()),
                text(&|_| first.clone()),
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
        let q = self.questions;
        let judged = self.judged.iter().filter(|j| j.system != "ceiling");
        let rows: Vec<(&Judged, usize)> = judged
            .flat_map(|j| (0..q.len()).map(move |i| (j, i)))
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
        let gold = rows.iter().map(|(j, i)| {
            let gold = j.target.gold(q, *i);
            gold.total.max(gold.items.len() as u32)
        });
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

fn ends(values: impl Iterator<Item = Option<f64>>) -> ArrayRef {
    Arc::new(Float64Array::from_iter(values))
}
