//! The metrics of answers. The table in docs/metrics.md is generated from this file.

/// The target of these metrics in tables of kind `metrics`.
pub const TARGET: &str = "answer";

/// A metric of answers.
#[derive(Debug, Clone, Copy)]
pub struct AnswerMetric {
    /// Name in tables.
    pub name: &'static str,
    /// What it measures for a question.
    pub meaning: &'static str,
    /// How it is computed, for one question.
    pub formula: &'static str,
}

/// Every metric, in the order of tables. A question's values are in this order, too.
pub static METRICS: [AnswerMetric; 5] = [
    AnswerMetric {
        name: "exact_match",
        meaning: "whether the answer is right",
        formula: "1 if the normalised answer equals a normalised right one, else 0",
    },
    AnswerMetric {
        name: "f1",
        meaning: "how much of the answer is right",
        formula: "2 P R / (P + R) for the right answer where this is highest; P is the share of the answer's words that are in the right one, R the share of that one's words that are in the answer",
    },
    AnswerMetric {
        name: "answered",
        meaning: "whether there is an answer",
        formula: "1 if the answer is not empty, else 0",
    },
    AnswerMetric {
        name: "cited_gold",
        meaning: "share of the cited documents that are gold",
        formula: "cited gold documents / cited documents, over questions whose answer cites any",
    },
    AnswerMetric {
        name: "gold_cited",
        meaning: "share of the gold documents that are cited",
        formula: "cited gold documents / G, over questions with a gold document",
    },
];

/// Systems are compared by this many of the first metrics, which every question has.
pub(super) const COMPARED: usize = 2;

/// The metrics of the table at the end of a run. The first one is shown with its interval.
pub const SHOWN: [&str; METRICS.len()] = {
    let mut names = [""; METRICS.len()];
    let mut i = 0;
    while i < names.len() {
        names[i] = METRICS[i].name;
        i += 1;
    }
    names
};

/// The values of a question; `None` where a metric says nothing of it.
pub(super) type Figures = [Option<f64>; METRICS.len()];
