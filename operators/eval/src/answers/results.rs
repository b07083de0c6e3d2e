//! Turns scored answers into the tables `metrics`, `comparisons` and `answer_scores`.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, RecordBatch, StringArray};
use gfm_pipe_api::{Context, OpResult, columns, kinds};

use super::metrics::{COMPARED, Figures, METRICS, TARGET};
use super::read::Response;
use super::score::{Score, score};
use crate::groups::{groups, members};
use crate::questions::QuestionSet;
use crate::rows::{self, About, ComparisonRow, MetricRow};
use crate::statistics::{Values, intervals};
use crate::tables::{NO_RANKER, Resampling};

/// An answer and how good it is.
pub struct Judged {
    /// The answer; `None` where the system was not asked.
    answer: Option<String>,
    score: Score,
    figures: Figures,
}

impl Judged {
    /// Judges an answer to a question with these right answers and this number of gold documents.
    /// `cited` counts documents by their titles: all, and those that are gold; `None` where the
    /// documents are not known.
    pub fn new(
        response: Option<&Response>,
        gold: &[String],
        cited: impl Fn(&[String]) -> Option<(usize, usize)>,
        gold_documents: u32,
    ) -> Self {
        let answer = response.map(|r| r.answer.as_str());
        // No answer is never right, not even where nothing is left of the right one.
        let answered = answer.filter(|answer| !answer.is_empty());
        let score = answered.map_or_else(Score::default, |answer| score(answer, gold));
        let (all, right) = match cited(response.map_or(&[], |r| &r.cited)) {
            Some((all, right)) if gold_documents > 0 => (all, Some(right as f64)),
            _ => (0, None),
        };
        let mut figures = [
            Some(score.exact_match),
            Some(score.f1),
            Some(f64::from(u8::from(answered.is_some()))),
            None,
            right.map(|right| right / f64::from(gold_documents)),
        ];
        if all > 0 {
            figures[3] = right.map(|right| right / all as f64);
        }
        Judged {
            answer: answer.map(str::to_owned),
            score,
            figures,
        }
    }
}

/// A system's answers, one per question.
pub struct System {
    /// Its name in the tables.
    pub name: String,
    /// The answers.
    pub answers: Vec<Judged>,
}

/// The answers of all systems.
pub struct Results {
    questions: QuestionSet,
    /// By question, the answers that are right.
    gold: Vec<Vec<String>>,
    systems: Vec<System>,
    /// Groups of questions, each with its members.
    groups: Vec<(String, Vec<usize>)>,
}

impl Results {
    /// Takes the answers to these questions.
    pub fn new(questions: QuestionSet, gold: Vec<Vec<String>>, systems: Vec<System>) -> Self {
        let of_question = |q: usize| {
            let gold = questions.document_gold(q).total;
            groups(questions.hops[q], gold, &questions.groups[q])
        };
        let of_questions: Vec<Vec<String>> = (0..questions.len()).map(of_question).collect();
        Results {
            groups: members(&of_questions),
            questions,
            gold,
            systems,
        }
    }

    /// Writes all ports.
    ///
    /// # Errors
    /// When they cannot be written, or the user wants to stop.
    pub fn write(&self, ctx: &Context, resampling: &Resampling) -> OpResult<()> {
        ctx.write("metrics", "metrics", &self.metrics(ctx, resampling)?)?;
        let comparisons = self.comparisons(ctx, resampling)?;
        ctx.write("comparisons", "comparisons", &comparisons)?;
        self.report_progress(ctx, 2 * self.groups.len());
        ctx.write("scores", "answer_scores", &self.scores()?)
    }

    /// Reports for how many groups the figures are computed: first intervals, then comparisons.
    fn report_progress(&self, ctx: &Context, done: usize) {
        let total = 2 * self.groups.len() as u64;
        ctx.progress(done as u64, total, "groups of questions", "intervals");
    }

    fn about(&self) -> About<'_> {
        About {
            dataset: &self.questions.dataset,
            split: &self.questions.split,
        }
    }

    fn metrics(&self, ctx: &Context, resampling: &Resampling) -> OpResult<RecordBatch> {
        // Each with the places of its system, its group and its metric.
        let mut rows: Vec<([usize; 3], MetricRow<'_>)> = Vec::new();
        let check = || ctx.check_cancelled();
        for (g, (group, members)) in self.groups.iter().enumerate() {
            self.report_progress(ctx, g);
            // Metrics with values for the same questions share one set of resamples.
            let mut together: BTreeMap<Vec<usize>, Vec<(usize, usize)>> = BTreeMap::new();
            for (s, system) in self.systems.iter().enumerate() {
                for m in 0..METRICS.len() {
                    let has = |q: &usize| system.answers[*q].figures[m].is_some();
                    let questions = members.iter().copied().filter(has).collect();
                    together.entry(questions).or_default().push((s, m));
                }
            }
            together.remove(&Vec::new());
            for (questions, columns) in together {
                let figure = |s: usize, q: usize, m: usize| self.systems[s].answers[q].figures[m];
                let row = |q: &usize| -> Vec<f64> {
                    let figures = columns.iter().filter_map(|(s, m)| figure(*s, *q, *m));
                    figures.collect()
                };
                let values = Values::new(questions.iter().map(row));
                let means = values.means();
                let streams = resampling.streams(group);
                let ends = intervals(&values, resampling.resamples, streams, &check)?;
                for (c, (s, m)) in columns.iter().enumerate() {
                    let system = &self.systems[*s];
                    let unasked = questions
                        .iter()
                        .filter(|q| system.answers[**q].answer.is_none());
                    let row = MetricRow {
                        system: &system.name,
                        ranker: NO_RANKER,
                        target: TARGET,
                        group,
                        metric: METRICS[*m].name.to_owned(),
                        value: means[c],
                        interval: ends.as_ref().map(|all| all[c]),
                        questions: questions.len(),
                        unasked: unasked.count(),
                    };
                    rows.push(([*s, g, *m], row));
                }
            }
        }
        rows.sort_by_key(|(order, _)| *order);
        let rows: Vec<MetricRow<'_>> = rows.into_iter().map(|(_, row)| row).collect();
        rows::metrics(self.about(), &rows)
    }

    /// The first system against the others.
    fn comparisons(&self, ctx: &Context, resampling: &Resampling) -> OpResult<RecordBatch> {
        let mut rows: Vec<ComparisonRow<'_>> = Vec::new();
        let first = self.systems.first();
        if let Some((first, others)) = self.systems.split_first().filter(|(_, o)| !o.is_empty()) {
            let names: Vec<String> = others.iter().map(|other| other.name.clone()).collect();
            let metrics: Vec<String> = METRICS[..COMPARED]
                .iter()
                .map(|m| m.name.to_owned())
                .collect();
            let figure = |system: &System, q: usize, m: usize| {
                // Every question has these metrics.
                system.answers[q].figures[m].unwrap_or(0.0)
            };
            for (g, (group, members)) in self.groups.iter().enumerate() {
                self.report_progress(ctx, self.groups.len() + g);
                let differences = members.iter().map(|q| {
                    let columns = others
                        .iter()
                        .flat_map(|other| (0..COMPARED).map(move |m| (other, m)));
                    let difference = |(other, m)| figure(first, *q, m) - figure(other, *q, m);
                    columns.map(difference).collect()
                });
                let differences = Values::new(differences);
                rows.extend(rows::compared(
                    ctx,
                    resampling,
                    group,
                    &differences,
                    &names,
                    &metrics,
                )?);
            }
        }
        let first = first.map_or("", |first| first.name.as_str());
        rows::comparisons(self.about(), first, &rows)
    }

    fn scores(&self) -> OpResult<RecordBatch> {
        let all = || {
            let systems = self.systems.iter();
            systems.flat_map(|s| s.answers.iter().enumerate().map(move |(q, a)| (s, q, a)))
        };
        let text =
            |values: Vec<&str>| -> ArrayRef { Arc::new(StringArray::from_iter_values(values)) };
        let number = |of: &dyn Fn(Score) -> f64| -> ArrayRef {
            let values = all().map(|(_, _, a)| of(a.score));
            Arc::new(Float64Array::from_iter_values(values))
        };
        let answers: StringArray = all().map(|(_, _, a)| a.answer.as_deref()).collect();
        let gold: Vec<Vec<String>> = all().map(|(_, q, _)| self.gold[q].clone()).collect();
        columns::batch(
            &kinds::ANSWER_SCORES.tables[0],
            vec![
                text(
                    all()
                        .map(|(_, q, _)| self.questions.ids[q].as_str())
                        .collect(),
                ),
                text(all().map(|(s, _, _)| s.name.as_str()).collect()),
                number(&|score| score.exact_match),
                number(&|score| score.f1),
                Arc::new(answers),
                columns::build_list_text(&gold),
            ],
        )
    }
}
