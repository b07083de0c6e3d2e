//! Turns the answers of all systems into the tables `metrics` and `comparisons`.

use std::collections::BTreeMap;

use gfm_pipe_api::{Context, OpResult};
use rayon::prelude::*;

use super::answers::System;
use super::questions::Questions;
use super::sample::Sample;
use crate::groups::{groups, members};
use crate::metrics::{Answer, Metric};
use crate::rows::{self, About, ComparisonRow, Differences, MetricRow};
use crate::shown::COMPARED;
use crate::statistics::{Values, percentiles};
use crate::tables::{CEILING, NO_RANKER, Resampling, Target, standard, with_filtered};

/// Name of a group of one data set's questions.
const SET: &str = "set=";

/// What is pooled.
pub struct Pool<'a> {
    /// All questions.
    pub questions: &'a Questions,
    /// Names of the data sets; empty for one.
    pub sets: &'a [String],
    /// All systems.
    pub systems: &'a [System],
    /// The system that is compared with the others, by place.
    pub first: usize,
    /// How intervals are made.
    pub resampling: Resampling,
}

/// A system on one group of questions.
struct Measured {
    metrics: Vec<Metric>,
    /// By question: the means over its answers.
    of_questions: Values,
    /// Means over the questions.
    means: Vec<f64>,
    /// Means of the resamples.
    resamples: Option<Vec<Vec<f64>>>,
    unasked: usize,
}

impl Pool<'_> {
    /// Writes the ports `metrics` and `comparisons`. `asked` are the questions that count.
    ///
    /// # Errors
    /// When they cannot be written, or the user interrupts.
    pub fn write(&self, ctx: &Context, asked: &[usize]) -> OpResult<()> {
        let groups = self.groups(asked);
        let total = groups.len() as u64;
        // Metrics go by system, then by group.
        let mut metrics: Vec<((usize, usize), MetricRow<'_>)> = Vec::new();
        let mut comparisons = Vec::new();
        let ceilings = self.ceilings(asked);
        for (g, (group, members)) in groups.iter().enumerate() {
            ctx.progress(g as u64, total, "groups of questions", "intervals");
            for target in targets(self.systems) {
                let systems: Vec<&System> = self.systems.iter().chain(&ceilings).collect();
                let of_target = (0..systems.len()).filter(|s| systems[*s].target == *target);
                let of_target: Vec<usize> = of_target.collect();
                let asks = |q: &usize| !systems[of_target[0]].answers[*q].is_empty();
                let questions: Vec<usize> = members.iter().copied().filter(asks).collect();
                if questions.is_empty() {
                    continue;
                }
                let sample = Sample::new(questions, &self.questions.set_of);
                let mut of_systems = BTreeMap::new();
                for s in &of_target {
                    let is_ceiling = *s >= self.systems.len();
                    let measured = self.measure(ctx, group, &sample, systems[*s], is_ceiling)?;
                    of_systems.insert(*s, measured);
                }
                for (s, measured) in &of_systems {
                    let rows = metric_rows(systems[*s], group, &sample, measured);
                    metrics.extend(rows.into_iter().map(|row| ((*s, g), row)));
                }
                if *target == Target::Document {
                    comparisons.extend(self.compare(ctx, group, &sample, &of_systems)?);
                }
            }
        }
        metrics.sort_by_key(|(order, _)| *order);
        let metrics: Vec<MetricRow<'_>> = metrics.into_iter().map(|(_, row)| row).collect();
        let about = About {
            dataset: &self.questions.all.dataset,
            split: &self.questions.all.split,
        };
        ctx.write("metrics", "metrics", &rows::metrics(about, &metrics)?)?;
        let first = self.systems[self.first].label();
        let comparisons = rows::comparisons(about, &first, &comparisons)?;
        ctx.write("comparisons", "comparisons", &comparisons)?;
        ctx.progress(total, total, "groups of questions", "intervals");
        Ok(())
    }

    /// The groups of questions: all, those of each data set where there are several, then as in
    /// `evaluate`.
    fn groups(&self, asked: &[usize]) -> Vec<(String, Vec<usize>)> {
        let several = self.sets.len() > 1;
        let all = &self.questions.all;
        let of_question = |q: usize| {
            let gold = all.document_gold(q).total;
            let mut of = groups(all.hops[q], gold, &all.groups[q]);
            if several && of.iter().any(|g| g == "all") {
                // A name from the data must not collide with the groups of sets.
                for name in of.iter_mut().filter(|name| name.starts_with(SET)) {
                    *name = format!("group:{name}");
                }
                of.push(format!("{SET}{}", self.sets[self.questions.set_of[q]]));
            }
            of
        };
        let of: Vec<Vec<String>> = asked.iter().map(|q| of_question(*q)).collect();
        let named = members(&of).into_iter();
        let mut named: Vec<(String, Vec<usize>)> = named
            .map(|(name, places)| (name, places.into_iter().map(|p| asked[p]).collect()))
            .collect();
        let rank = |name: &str| match name.strip_prefix(SET).filter(|_| several) {
            _ if name == "all" => (0, 0),
            Some(set) => (1, self.sets.iter().position(|s| s == set).unwrap_or(0)),
            None => (2, 0),
        };
        named.sort_by_key(|(name, _)| rank(name));
        named
    }

    /// Perfect rankings, for every target.
    fn ceilings(&self, asked: &[usize]) -> Vec<System> {
        let n = self.questions.all.len();
        let of_target = |target: &Target| {
            let like = self.systems.iter().find(|s| s.target == *target)?;
            let mut answers = vec![Vec::new(); n];
            for q in asked.iter().filter(|q| !like.answers[**q].is_empty()) {
                let total = like.answers[*q][0].total;
                answers[*q].push(match target {
                    Target::Document => Answer::perfect(self.questions.all.document_gold(*q)),
                    // Of nodes, those that a question asks for are all known.
                    Target::Nodes(_) => Answer::at(Some((0..total).collect()), total),
                });
            }
            Some(System::new(CEILING, NO_RANKER, target.clone(), answers))
        };
        let targets = targets(self.systems);
        targets.into_iter().filter_map(of_target).collect()
    }

    fn measure(
        &self,
        ctx: &Context,
        group: &str,
        sample: &Sample,
        system: &System,
        is_ceiling: bool,
    ) -> OpResult<Measured> {
        // Filtered metrics have no ceiling.
        let metrics = if is_ceiling {
            standard()
        } else {
            with_filtered()
        };
        let of_question = |q: &usize| -> Vec<Vec<f64>> {
            let answers = system.answers[*q].iter();
            answers.map(|answer| answer.values(&metrics)).collect()
        };
        let values: Vec<Vec<Vec<f64>>> = sample.questions.par_iter().map(of_question).collect();
        let of_questions = values.iter().map(|answers| {
            let answers = Values::new(answers.iter().cloned());
            answers.means()
        });
        let of_questions = Values::new(of_questions);
        let resamples = if self.resampling.resamples > 0 && sample.has_intervals() {
            let answers: Vec<usize> = values.iter().map(Vec::len).collect();
            Some(sample.resampled(
                &Values::new(values.into_iter().flatten()),
                &answers,
                self.resampling.resamples,
                self.resampling.streams(group),
                &|| ctx.check_cancelled(),
            )?)
        } else {
            None
        };
        let unasked = |q: &&usize| system.answers[**q].iter().any(|a| a.places.is_none());
        Ok(Measured {
            means: sample.means(&of_questions),
            of_questions,
            resamples,
            unasked: sample.questions.iter().filter(unasked).count(),
            metrics,
        })
    }

    /// The first system against all others that rank documents.
    fn compare<'g>(
        &self,
        ctx: &Context,
        group: &'g str,
        sample: &Sample,
        measured: &BTreeMap<usize, Measured>,
    ) -> OpResult<Vec<ComparisonRow<'g>>> {
        let Some(first) = measured.get(&self.first) else {
            return Ok(Vec::new());
        };
        let others = measured.iter();
        let others = others.filter(|(s, _)| **s != self.first && **s < self.systems.len());
        let others: Vec<(&System, &Measured)> =
            others.map(|(s, m)| (&self.systems[*s], m)).collect();
        // All systems have the same metrics.
        let place = |metric: &Metric| first.metrics.iter().position(|m| m.name() == metric.name());
        let compared: Vec<usize> = COMPARED.iter().filter_map(place).collect();
        let own: Vec<&[f64]> = first.of_questions.rows().collect();
        let theirs = others.iter().map(|(_, m)| m.of_questions.rows().collect());
        let theirs: Vec<Vec<&[f64]>> = theirs.collect();
        let differences = (0..sample.len()).map(|q| {
            let of_other = |theirs: &Vec<&[f64]>| -> Vec<f64> {
                compared
                    .iter()
                    .map(|c| own[q][*c] - theirs[q][*c])
                    .collect()
            };
            theirs.iter().flat_map(of_other).collect()
        });
        let differences = sample.weighted(&Values::new(differences));
        let means = differences.means();
        let of = Differences {
            others: others.len(),
            metrics: COMPARED.len(),
        };
        let tests = rows::tests(
            &differences,
            of,
            self.resampling.resamples,
            self.resampling.streams(group),
            &|| ctx.check_cancelled(),
        )?;
        let mut out = Vec::new();
        for (o, (system, other)) in others.iter().enumerate() {
            for (m, metric) in COMPARED.iter().enumerate() {
                let column = of.column(o, m);
                let resamples = first.resamples.as_ref().zip(other.resamples.as_ref());
                let interval = resamples.map(|(own, theirs)| {
                    let pairs = own.iter().zip(theirs);
                    percentiles(pairs.map(|(a, b)| a[compared[m]] - b[compared[m]]))
                });
                out.push(ComparisonRow {
                    other: system.label(),
                    group,
                    metric: metric.name(),
                    difference: means[column],
                    interval,
                    test: tests[column],
                    questions: sample.len(),
                });
            }
        }
        Ok(out)
    }
}

/// The targets of systems, in the order in which they occur.
fn targets(systems: &[System]) -> Vec<&Target> {
    let mut out: Vec<&Target> = Vec::new();
    for system in systems {
        if !out.contains(&&system.target) {
            out.push(&system.target);
        }
    }
    // Documents come first, as in `evaluate`.
    out.sort_by_key(|target| **target != Target::Document);
    out
}

fn metric_rows<'a>(
    system: &'a System,
    group: &'a str,
    sample: &Sample,
    measured: &Measured,
) -> Vec<MetricRow<'a>> {
    let resamples = measured.resamples.as_ref();
    let rows = measured.metrics.iter().enumerate();
    let rows = rows.map(|(c, metric)| MetricRow {
        system: &system.name,
        ranker: &system.ranker,
        target: system.target.name(),
        group,
        metric: metric.name(),
        value: measured.means[c],
        interval: resamples.map(|all| percentiles(all.iter().map(|row| row[c]))),
        questions: sample.len(),
        unasked: measured.unasked,
    });
    rows.collect()
}
