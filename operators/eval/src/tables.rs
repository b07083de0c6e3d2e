//! Results of systems and the tables made of them: metrics with intervals, comparisons, ranks.
//! `evaluate` and `compare` write these.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, RecordBatch, StringArray, UInt32Array};
use gfm_pipe_api::memory::Demand;
use gfm_pipe_api::node_types::{DOCUMENT, ENTITY};
use gfm_pipe_api::{Context, Field, OpResult, Type, columns, kinds};
use rayon::prelude::*;

use crate::groups::{groups, members};
use crate::metrics::{Answer, Family, Metric, of_family};
use crate::questions::QuestionSet;
use crate::rows::{self, About, ComparisonRow, MetricRow};
use crate::shown::{COMPARED, KS, label};
use crate::statistics::{Streams, Values, intervals};

/// Name in the tables for the results of a perfect ranking, which no system can exceed.
pub const CEILING: &str = "ceiling";
/// The ranker's name in the tables for systems that have none.
pub const NO_RANKER: &str = "-";
/// How intervals and p-values are estimated.
#[derive(Debug, Clone, Copy)]
pub struct Resampling {
    /// Bootstrap resamples and sign flips; 0: neither.
    pub resamples: usize,
    /// Seed of their random streams.
    pub seed: u64,
}

impl Resampling {
    /// The schema's fields for these parameters.
    pub fn fields() -> Vec<Field> {
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

    /// Checks that the resamples of this many systems fit into memory, before anything is computed.
    ///
    /// # Errors
    /// When they do not.
    pub fn check_memory(&self, systems: usize) -> OpResult<()> {
        let figures = systems * with_filtered().len();
        Demand::new()
            .and("resamples", &[self.resamples, figures, 8])
            .check("`resamples`")
    }

    pub(crate) fn streams<'a>(&self, group: &'a str) -> Streams<'a> {
        Streams {
            seed: self.seed,
            purpose: group,
        }
    }
}

/// What is ranked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// Documents of the corpus.
    Document,
    /// Nodes of this type; all nodes, called `entity`, where types are not known.
    Nodes(Arc<str>),
}

impl Target {
    /// All nodes of a graph, or those of the type `entity`.
    #[must_use]
    pub fn entities() -> Self {
        Target::called(ENTITY)
    }

    /// The target of this name in tables.
    #[must_use]
    pub fn called(name: &str) -> Self {
        match name {
            DOCUMENT => Target::Document,
            kind => Target::Nodes(kind.into()),
        }
    }

    /// Its name in tables: `document`, or the type of the nodes.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Target::Document => DOCUMENT,
            Target::Nodes(kind) => kind,
        }
    }
}

/// Where answers come from: a system with a ranker, for documents or nodes.
#[derive(Debug, Clone, Copy)]
pub struct Source<'a> {
    /// The system.
    pub system: &'a str,
    /// Name of the ranker that turned its entity scores into document scores, or [`NO_RANKER`].
    pub ranker: &'a str,
    /// What it ranked.
    pub target: &'a Target,
}

/// One system's answers to all questions.
struct SystemResults {
    system: String,
    ranker: String,
    target: Target,
    metrics: Vec<Metric>,
    /// One per question.
    answers: Vec<Answer>,
    /// By question: whether it asks for the target. One that does not has no value.
    asks: Vec<bool>,
    is_ceiling: bool,
}

impl SystemResults {
    fn new(source: Source<'_>, answers: Vec<Option<Answer>>) -> Self {
        SystemResults {
            system: source.system.to_owned(),
            ranker: source.ranker.to_owned(),
            target: source.target.clone(),
            metrics: with_filtered(),
            asks: answers.iter().map(Option::is_some).collect(),
            answers: answers
                .into_iter()
                .map(|answer| answer.unwrap_or_else(|| Answer::at(None, 0)))
                .collect(),
            is_ceiling: false,
        }
    }

    fn label(&self) -> String {
        label(&self.system, &self.ranker)
    }

    /// Whether a difference to the other results is meaningful: two systems with the same ranker,
    /// two rankers of the same system, or any system against one that needs no ranker.
    fn comparable(&self, other: &SystemResults) -> bool {
        self.system == other.system || self.ranker == other.ranker || other.ranker == NO_RANKER
    }
}

/// A group of questions.
struct Group {
    name: String,
    /// Its questions, ascending.
    members: Vec<usize>,
}

/// Collects answers of systems and writes the tables.
pub struct Results<'a> {
    questions: &'a QuestionSet,
    groups: Vec<Group>,
    systems: Vec<SystemResults>,
}

pub(crate) fn standard() -> Vec<Metric> {
    of_family(Family::Standard, &KS)
}

pub(crate) fn with_filtered() -> Vec<Metric> {
    let mut metrics = standard();
    metrics.extend(of_family(Family::Filtered, &KS));
    metrics
}

impl<'a> Results<'a> {
    /// Starts without results, for these questions.
    pub fn new(questions: &'a QuestionSet) -> Self {
        let of_question = |i: usize| {
            let gold = questions.document_gold(i).total;
            groups(questions.hops[i], gold, &questions.groups[i])
        };
        let of_questions: Vec<Vec<String>> = (0..questions.len()).map(of_question).collect();
        let groups = members(&of_questions).into_iter();
        Results {
            questions,
            groups: groups
                .map(|(name, members)| Group { name, members })
                .collect(),
            systems: Vec::new(),
        }
    }

    /// Adds a system's answers, one per question; `None` for a question that does not ask for the
    /// target, which is left out of its metrics.
    pub fn add(&mut self, source: Source<'_>, answers: Vec<Option<Answer>>) {
        self.systems.push(SystemResults::new(source, answers));
    }

    /// Adds the results of a perfect ranking of documents.
    pub fn add_ceiling(&mut self) {
        let all = 0..self.questions.len();
        let perfect = |i| Some(Answer::perfect(self.questions.document_gold(i)));
        self.add_ceiling_of(&Target::Document, all.map(perfect).collect());
    }

    /// Adds the results of a perfect ranking, with the standard metrics only: filtered metrics have
    /// no ceiling.
    pub fn add_ceiling_of(&mut self, target: &Target, answers: Vec<Option<Answer>>) {
        let source = Source {
            system: CEILING,
            ranker: NO_RANKER,
            target,
        };
        self.systems.push(SystemResults {
            metrics: standard(),
            is_ceiling: true,
            ..SystemResults::new(source, answers)
        });
    }

    /// Writes the ports `metrics` and `comparisons`.
    ///
    /// # Errors
    /// When they cannot be written, or the user interrupts.
    pub fn write(&self, ctx: &Context, resampling: &Resampling) -> OpResult<()> {
        ctx.write("metrics", "metrics", &self.metrics(ctx, resampling)?)?;
        let comparisons = self.comparisons(ctx, resampling)?;
        ctx.write("comparisons", "comparisons", &comparisons)?;
        self.report_progress(ctx, 2 * self.groups.len());
        Ok(())
    }

    /// Writes the port `ranks`.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write_ranks(&self, ctx: &Context) -> OpResult<()> {
        ctx.write("ranks", "ranks", &self.ranks()?)
    }

    /// Reports for how many groups the figures are computed: first intervals, then comparisons.
    fn report_progress(&self, ctx: &Context, done: usize) {
        let total = 2 * self.groups.len() as u64;
        ctx.progress(done as u64, total, "groups of questions", "intervals");
    }

    pub(crate) fn metrics(&self, ctx: &Context, resampling: &Resampling) -> OpResult<RecordBatch> {
        // Each with the places of its system and its group.
        let mut rows: Vec<((usize, usize), MetricRow<'_>)> = Vec::new();
        let check = || ctx.check_cancelled();
        for (g, group) in self.groups.iter().enumerate() {
            self.report_progress(ctx, g);
            for systems in self.measured_together() {
                let asks = &self.systems[systems[0]].asks;
                let members = group.members.iter().copied().filter(|i| asks[*i]);
                let members: Vec<usize> = members.collect();
                if members.is_empty() && !group.members.is_empty() {
                    continue;
                }
                let row = |i: &usize| -> Vec<f64> {
                    let systems = systems.iter().map(|s| &self.systems[*s]);
                    let values = systems.map(|s| s.answers[*i].values(&s.metrics));
                    values.flatten().collect()
                };
                let answers: Vec<Vec<f64>> = members.par_iter().map(row).collect();
                let values = Values::new(answers);
                let means = values.means();
                let streams = resampling.streams(&group.name);
                let intervals = intervals(&values, resampling.resamples, streams, &check)?;
                let mut columns = 0..;
                for s in systems {
                    let results = &self.systems[s];
                    let unasked = members
                        .iter()
                        .filter(|i| results.answers[**i].places.is_none());
                    let unasked = unasked.count();
                    for (metric, column) in results.metrics.iter().zip(&mut columns) {
                        let row = MetricRow {
                            system: &results.system,
                            ranker: &results.ranker,
                            target: results.target.name(),
                            group: &group.name,
                            metric: metric.name(),
                            value: means[column],
                            interval: intervals.as_ref().map(|all| all[column]),
                            questions: members.len(),
                            unasked,
                        };
                        rows.push(((s, g), row));
                    }
                }
            }
        }
        rows.sort_by_key(|(order, _)| *order);
        let rows: Vec<MetricRow<'_>> = rows.into_iter().map(|(_, row)| row).collect();
        rows::metrics(self.about(), &rows)
    }

    fn about(&self) -> About<'_> {
        About {
            dataset: &self.questions.dataset,
            split: &self.questions.split,
        }
    }

    /// The systems, by number, that are measured on the same questions. They share one set of
    /// resamples per group: their columns are side by side.
    fn measured_together(&self) -> Vec<Vec<usize>> {
        let mut out: Vec<Vec<usize>> = Vec::new();
        for (s, results) in self.systems.iter().enumerate() {
            let same = |with: &&mut Vec<usize>| self.systems[with[0]].asks == results.asks;
            match out.iter_mut().find(same) {
                Some(with) => with.push(s),
                None => out.push(vec![s]),
            }
        }
        out
    }

    /// The first system's document ranking, and the rankings that it is compared with.
    fn compared(&self) -> Option<(&SystemResults, Vec<&SystemResults>)> {
        let documents = |s: &&SystemResults| s.target == Target::Document && !s.is_ceiling;
        let mut documents = self.systems.iter().filter(documents);
        let first = documents.next()?;
        Some((first, documents.filter(|s| first.comparable(s)).collect()))
    }

    /// The first system against the other document rankings.
    pub(crate) fn comparisons(
        &self,
        ctx: &Context,
        resampling: &Resampling,
    ) -> OpResult<RecordBatch> {
        let mut rows: Vec<ComparisonRow<'_>> = Vec::new();
        let compared = self.compared();
        if let Some((first, others)) = &compared {
            for (i, group) in self.groups.iter().enumerate() {
                self.report_progress(ctx, self.groups.len() + i);
                if others.is_empty() {
                    break;
                }
                rows.extend(compare(ctx, resampling, group, first, others)?);
            }
        }
        let first = compared.map_or_else(String::new, |(first, _)| first.label());
        rows::comparisons(self.about(), &first, &rows)
    }

    fn ranks(&self) -> OpResult<RecordBatch> {
        struct Row<'a> {
            results: &'a SystemResults,
            id: &'a str,
            answer: &'a Answer,
        }
        let systems = self.systems.iter().filter(|s| !s.is_ceiling);
        let rows: Vec<Row<'_>> = systems
            .flat_map(|results| {
                let answers = self.questions.ids.iter().zip(&results.answers);
                let asked = answers.zip(&results.asks).filter(|(_, asks)| **asks);
                asked.map(move |((id, answer), _)| Row {
                    results,
                    id,
                    answer,
                })
            })
            .collect();
        let text = |f: &dyn Fn(&Row<'_>) -> String| -> ArrayRef {
            Arc::new(StringArray::from_iter_values(rows.iter().map(f)))
        };
        let ranks: Vec<Vec<u32>> = rows.iter().map(|r| r.answer.ranks()).collect();
        let asked: Vec<bool> = rows.iter().map(|r| r.answer.places.is_some()).collect();
        let gold = rows.iter().map(|r| r.answer.total as u32);
        columns::batch(
            &kinds::RANKS.tables[0],
            vec![
                text(&|r| r.id.to_owned()),
                text(&|r| r.results.system.clone()),
                text(&|r| r.results.ranker.clone()),
                text(&|r| r.results.target.name().to_owned()),
                Arc::new(BooleanArray::from(asked)),
                Arc::new(UInt32Array::from_iter_values(gold)),
                columns::build_list_u32(&ranks),
            ],
        )
    }
}

/// One system against others on a group of questions, by every metric of [`COMPARED`].
fn compare<'a>(
    ctx: &Context,
    resampling: &Resampling,
    group: &'a Group,
    first: &SystemResults,
    others: &[&'a SystemResults],
) -> OpResult<Vec<ComparisonRow<'a>>> {
    let row = |i: &usize| -> Vec<f64> {
        let own = first.answers[*i].values(&COMPARED);
        let others = others.iter().map(|o| o.answers[*i].values(&COMPARED));
        let difference =
            |theirs: Vec<f64>| -> Vec<f64> { own.iter().zip(theirs).map(|(a, b)| a - b).collect() };
        others.flat_map(difference).collect()
    };
    let differences: Vec<Vec<f64>> = group.members.par_iter().map(row).collect();
    let labels: Vec<String> = others.iter().map(|other| other.label()).collect();
    rows::compared(
        ctx,
        resampling,
        &group.name,
        &Values::new(differences),
        &labels,
        &COMPARED.map(Metric::name),
    )
}
