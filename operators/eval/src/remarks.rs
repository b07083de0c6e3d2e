//! Remarks on an evaluation: what the user should know before relying on it, and what to try. They
//! are made from the tables, so that a cached result has them too.

use std::collections::BTreeMap;

use arrow::array::Array;
use gfm_pipe_api::{Artifact, OpResult, columns};

use crate::shown::{HEADLINE, label};
use crate::statistics::Interval;
use crate::systems::{BASELINES, MODEL, PRETRAINED, UNTRAINED};
use crate::tables::NO_RANKER;

/// A system's figure over all questions.
#[derive(Debug, Clone, PartialEq)]
struct Figure {
    system: String,
    ranker: String,
    value: f64,
}

/// Intervals of the model's figure minus a system's, by the system's label.
type Intervals = BTreeMap<String, Interval>;

/// Remarks on an evaluation, from its `metrics` and `comparisons`.
///
/// # Errors
/// When a table cannot be read.
pub fn on_evaluation(metrics: &Artifact, comparisons: &Artifact) -> OpResult<Vec<String>> {
    let headline = HEADLINE.name();
    let t = metrics.read("metrics")?;
    let text = |name| columns::text(&t, name);
    let (system, ranker, target) = (text("system")?, text("ranker")?, text("target")?);
    let (group, metric) = (text("group")?, text("metric")?);
    let (value, n) = (columns::f64s(&t, "value")?, columns::u64s(&t, "n")?);
    let figures = (0..t.num_rows()).filter(|i| {
        (target.value(*i), group.value(*i), metric.value(*i)) == ("document", "all", &*headline)
            && n.value(*i) > 0
    });
    let figures: Vec<Figure> = figures
        .map(|i| Figure {
            system: system.value(i).to_owned(),
            ranker: ranker.value(i).to_owned(),
            value: value.value(i),
        })
        .collect();
    let t = comparisons.read("comparisons")?;
    let text = |name| columns::text(&t, name);
    let (other, group, metric) = (text("other")?, text("group")?, text("metric")?);
    let (low, high) = (columns::f64s(&t, "low")?, columns::f64s(&t, "high")?);
    let rows = (0..t.num_rows()).filter(|i| {
        (group.value(*i), metric.value(*i)) == ("all", &*headline)
            && low.is_valid(*i)
            && high.is_valid(*i)
    });
    let intervals = rows.map(|i| {
        let interval = Interval {
            low: low.value(i),
            high: high.value(i),
        };
        (other.value(i).to_owned(), interval)
    });
    Ok(beaten(&figures, &intervals.collect()))
}

/// Says which systems are better than the model, if there is one.
fn beaten(figures: &[Figure], intervals: &Intervals) -> Vec<String> {
    let Some(model) = figures.iter().find(|f| f.system == MODEL.name) else {
        return Vec::new();
    };
    let better = |names: &[&str]| {
        let others = figures.iter().filter(|f| {
            names.contains(&&*f.system)
                && [NO_RANKER, &model.ranker].contains(&&*f.ranker)
                && f.value > model.value + 1e-9
        });
        let mut others: Vec<&Figure> = others.collect();
        // Equal ones stay in the order of the table.
        others.sort_by(|a, b| b.value.total_cmp(&a.value));
        others
    };
    let said = |other: &Figure| {
        let label = label(&other.system, &other.ranker);
        let sure = match intervals.get(&label) {
            Some(Interval { low, high }) if *high < 0.0 => {
                format!("; 95 % interval of the difference {low:.3} to {high:.3}")
            }
            Some(Interval { low, high }) => {
                format!("; it may be chance: 95 % interval of the difference {low:.3} to {high:.3}")
            }
            None => String::new(),
        };
        format!(
            "{label} is better than model ({}): {} {:.3} against {:.3}{sure}",
            model.ranker,
            HEADLINE.name(),
            other.value,
            model.value
        )
    };
    let mut out = Vec::new();
    let baselines = BASELINES.map(|system| system.name);
    if let [best, rest @ ..] = better(&baselines).as_slice() {
        let rest: Vec<&str> = rest.iter().map(|f| f.system.as_str()).collect();
        let rest = match rest.as_slice() {
            [] => String::new(),
            names => format!(" (also better: {})", names.join(", ")),
        };
        out.push(format!(
            "{}{rest}: try more epochs or steps, a lower `optimizer.lr` or another text encoder, or let it answer: `system: {}` of `retriever` and `retrieve`",
            said(best),
            best.system
        ));
    }
    for (name, what) in [
        (
            PRETRAINED.name,
            "fine-tuning made it worse: try a lower `optimizer.lr`, or more training questions",
        ),
        (
            UNTRAINED.name,
            "training taught it nothing: try more epochs or steps, or another `optimizer.lr`",
        ),
    ] {
        let worse = better(&[name]);
        out.extend(
            worse
                .first()
                .map(|other| format!("{}: {what}", said(other))),
        );
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interval(low: f64, high: f64) -> Interval {
        Interval { low, high }
    }

    fn figure(system: &str, ranker: &str, value: f64) -> Figure {
        Figure {
            system: system.to_owned(),
            ranker: ranker.to_owned(),
            value,
        }
    }

    #[test]
    fn a_baseline_that_is_better_than_the_model_is_reported() {
        let mut all = vec![
            figure("model", "idf_topk", 0.52),
            figure("model", "simple", 0.9),
            figure("pretrained", "idf_topk", 0.3),
            figure("pretrained", "simple", 0.95),
            figure("dense", "-", 0.6),
            figure("bm25", "-", 0.8),
            figure("ppr", "-", 0.52),
            figure("ceiling", "-", 1.0),
        ];
        let intervals: Intervals = [("bm25".to_owned(), interval(-0.4, -0.1))].into();
        let remarks = beaten(&all, &intervals);
        assert_eq!(
            remarks,
            [
                "bm25 is better than model (idf_topk): recall@5 0.800 against 0.520; 95 % interval of the difference -0.400 to -0.100 \
                 (also better: dense): try more epochs or steps, a lower `optimizer.lr` or another text encoder, or let it answer: `system: bm25` of `retriever` and `retrieve`"
            ]
        );
        let unsure: Intervals = [("bm25".to_owned(), interval(-0.4, 0.1))].into();
        assert!(beaten(&all, &unsure)[0].contains("it may be chance"));
        all[0].value = 0.85;
        assert!(beaten(&all, &intervals).is_empty());
        all[2].value = 0.87;
        all.push(figure("untrained", "idf_topk", 0.86));
        let remarks = beaten(&all, &intervals);
        assert!(
            remarks[0].starts_with("pretrained (idf_topk) is better")
                && remarks[0].contains("made it worse")
        );
        assert!(remarks[1].contains("taught it nothing"), "{remarks:?}");
        assert!(beaten(&all[2..], &intervals).is_empty());
    }
}
