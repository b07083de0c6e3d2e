//! An evaluation in a few figures: the pipeline's first system, the best one to compare it with,
//! and the ceiling.

use gfm_pipe_eval::shown::headline_metric;

use super::evaluation::{Comparison, Figures, System, Value};

/// A system with its value of the headline metric.
#[derive(Debug, Clone, PartialEq)]
pub struct Measured {
    /// The system, with its ranker.
    pub name: String,
    /// Its value.
    pub value: f64,
}

/// The comparison with the best other system.
#[derive(Debug, Clone, PartialEq)]
pub struct Against {
    /// The other system.
    pub other: Measured,
    /// Whether the other system learns nothing: lexical or dense retrieval, or a walk on the graph.
    pub is_baseline: bool,
    /// First minus other, with its sign.
    pub difference: String,
    /// Interval of the difference.
    pub interval: Option<String>,
    /// p-value of the test, if there was one.
    pub p: Option<String>,
    /// `better`, `worse`, `not told apart` or `not tested`, said of the first system.
    pub verdict: &'static str,
}

/// An evaluation in a few figures.
#[derive(Debug, Clone)]
pub struct Summary {
    /// Name of the stage.
    pub stage: String,
    /// Name of the data set.
    pub dataset: String,
    /// `train`, `valid` or `test`.
    pub split: String,
    /// The first system; if no model was evaluated, the best one.
    pub system: Measured,
    /// Whether it is a model.
    pub is_model: bool,
    /// Interval of its value.
    pub interval: Option<(f64, f64)>,
    /// Number of questions.
    pub questions: u64,
    /// Number of questions that the system could not be asked.
    pub unasked: u64,
    /// The best system that is not a model, or else the best other one.
    pub against: Option<Against>,
    /// The value of a perfect ranking.
    pub ceiling: Option<f64>,
    /// The best of the system's other rankers, if it is better than the first.
    pub better_ranker: Option<Measured>,
}

impl Summary {
    /// Data set and split: `atlas, test`.
    pub fn set(&self) -> String {
        format!("{}, {}", self.dataset, self.split)
    }
}

/// Sums up an evaluation; `None` if its first system has no value of [`headline_metric`].
pub(super) fn of(stage: &str, f: &Figures, comparisons: &[Comparison]) -> Option<Summary> {
    let value = |s: &System| f.get(&s.name, f.whole(), headline_metric());
    let measured: Vec<(&System, Value)> = f
        .systems
        .iter()
        .filter(|s| !s.is_ceiling())
        .filter_map(|s| Some((s, value(s)?)))
        .collect();
    let best = |wanted: &dyn Fn(&System) -> bool| {
        let of = measured.iter().filter(|(s, _)| wanted(s));
        of.copied()
            .reduce(|a, b| if b.1.value > a.1.value { b } else { a })
    };
    let named = |(s, v): (&System, Value)| Measured {
        name: s.name.clone(),
        value: v.value,
    };
    let without_ranker = |s: &System| matches!(s.ranker.as_str(), "-" | "");
    let given = *measured.first()?;
    let is_model = !without_ranker(given.0);
    let (first, value) = if is_model { given } else { best(&|_| true)? };
    let baseline = best(&|s| without_ranker(s) && s.system != first.system);
    let other = || best(&|s| s.system != first.system);
    let is_baseline = baseline.is_some();
    let against = baseline.or_else(other).filter(|_| is_model).map(|other| {
        let rows = comparisons.iter().filter(|c| c.metric == headline_metric());
        let compared = rows.into_iter().find(|c| c.other == other.0.name);
        Against {
            is_baseline,
            difference: compared.map_or_else(
                || format!("{:+.3}", value.value - other.1.value),
                |c| c.difference.clone(),
            ),
            interval: compared.and_then(|c| c.interval.clone()),
            p: compared.and_then(|c| c.p.clone()),
            verdict: compared.map_or("not tested", |c| c.verdict),
            other: named(other),
        }
    });
    let ranker = best(&|s| s.system == first.system && s.name != first.name);
    let ceiling = f.systems.iter().find(|s| s.is_ceiling());
    Some(Summary {
        stage: stage.to_owned(),
        dataset: f.dataset.clone(),
        split: f.split.clone(),
        is_model,
        interval: value.interval,
        questions: value.n,
        unasked: f.unasked,
        against,
        ceiling: ceiling
            .and_then(|c| f.get(&c.name, f.whole(), headline_metric()))
            .map(|v| v.value),
        better_ranker: ranker.filter(|r| r.1.value > value.value).map(named),
        system: named((first, value)),
    })
}

#[cfg(test)]
pub(super) mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    /// Figures over 100 questions, from each system's name, ranker and recall@5.
    fn figures(systems: &[(&str, &str, f64)]) -> Figures {
        let mut f = Figures::default();
        for (system, ranker, value) in systems {
            let name = match *ranker {
                "-" => (*system).to_owned(),
                ranker => format!("{system} ({ranker})"),
            };
            f.put(
                System {
                    name,
                    system: (*system).to_owned(),
                    ranker: (*ranker).to_owned(),
                },
                ("all", headline_metric()),
                Value {
                    value: *value,
                    interval: Some((value - 0.1, value + 0.1)),
                    n: 100,
                },
            );
        }
        f
    }

    fn compared(other: &str, metric: &str, verdict: &'static str) -> Comparison {
        Comparison::new(other, metric, "+0.100", "0.0100", verdict)
    }

    #[test]
    fn the_first_ranker_is_measured_against_the_best_baseline() {
        let f = figures(&[
            ("model", "idf_topk", 0.6),
            ("model", "simple", 0.7),
            ("model", "topk", 0.2),
            ("pretrained", "idf_topk", 0.9),
            ("bm25", "-", 0.4),
            ("ppr", "-", 0.5),
            ("ceiling", "-", 1.0),
        ]);
        let comparisons = [
            compared("bm25", headline_metric(), "better"),
            compared("ppr", "mrr", "better"),
            compared("ppr", headline_metric(), "not told apart"),
        ];
        let s = of("evaluate", &f, &comparisons).unwrap();
        assert_eq!(
            (s.system.name.as_str(), s.system.value),
            ("model (idf_topk)", 0.6)
        );
        let against = s.against.unwrap();
        assert_eq!(
            (against.other.name.as_str(), against.other.value),
            ("ppr", 0.5)
        );
        assert_eq!(
            (against.verdict, against.is_baseline),
            ("not told apart", true)
        );
        assert_eq!(s.ceiling, Some(1.0));
        assert_eq!(s.better_ranker.unwrap().name, "model (simple)");
        assert_eq!(s.questions, 100);
    }

    #[test]
    fn without_baselines_the_best_other_system_counts_and_without_a_model_the_best() {
        let f = figures(&[
            ("a", "idf_topk", 0.6),
            ("b", "idf_topk", 0.4),
            ("b", "simple", 0.5),
        ]);
        let s = of("compare", &f, &[]).unwrap();
        let against = s.against.unwrap();
        assert_eq!(
            (against.other.name.as_str(), against.is_baseline),
            ("b (simple)", false)
        );
        assert_eq!(
            (against.difference.as_str(), against.verdict),
            ("+0.100", "not tested")
        );
        assert_eq!((s.ceiling, s.better_ranker), (None, None));

        let f = figures(&[
            ("dense", "-", 0.3),
            ("bm25", "-", 0.4),
            ("ceiling", "-", 1.0),
        ]);
        let s = of("evaluate", &f, &[]).unwrap();
        assert_eq!((s.system.name.as_str(), s.is_model), ("bm25", false));
        assert_eq!(s.against, None);
        assert!(of("evaluate", &figures(&[]), &[]).is_none());
        assert!(of("evaluate", &figures(&[("ceiling", "-", 1.0)]), &[]).is_none());
    }
}
