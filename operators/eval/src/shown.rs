//! Selects the metrics that are shown to users: in the table at the end of a run, on pages, in
//! comparisons and remarks.

use gfm_pipe_api::intern;

use crate::metrics::{ALL_GOLD, HITS, MAP, MRR, MRR_FILTERED, Metric, NDCG, PRECISION, RECALL};

/// The metric that sums up an evaluation where only one is shown.
pub const HEADLINE: Metric = RECALL.at(5);

/// Columns of the table at the end of a run, and rows of the comparison of two runs.
pub const MAIN: [Metric; 4] = [RECALL.at(2), RECALL.at(5), ALL_GOLD.at(5), MRR.whole()];

/// Columns of the main table of a page.
pub const STANDARD: [Metric; 7] = [
    RECALL.at(2),
    RECALL.at(5),
    ALL_GOLD.at(5),
    PRECISION.at(5),
    NDCG.at(10),
    MRR.whole(),
    MAP.whole(),
];

/// Columns of a page's table of filtered figures.
pub const FILTERED: [Metric; 4] = [HITS.at(1), HITS.at(2), HITS.at(5), MRR_FILTERED.whole()];

/// Metrics that a page plots and compares.
pub const DRAWN: [Metric; 2] = [RECALL.at(5), ALL_GOLD.at(5)];

/// Metrics by which `evaluate` and `compare` compare systems.
pub const COMPARED: [Metric; 6] = [
    RECALL.at(2),
    RECALL.at(5),
    ALL_GOLD.at(5),
    NDCG.at(10),
    MRR.whole(),
    MAP.whole(),
];

/// Values of k for the metrics that have a cutoff, in `evaluate` and `compare`.
pub const KS: [usize; 6] = [1, 2, 3, 5, 10, 20];

/// The name of [`HEADLINE`].
pub fn headline_metric() -> &'static str {
    intern(&HEADLINE.name())
}

/// The names of some metrics, in the same order.
pub fn names(metrics: &[Metric]) -> Vec<&'static str> {
    metrics.iter().map(|m| intern(&m.name())).collect()
}

/// Formats a system with its ranker: `model (idf_topk)`, or `dense` where there is no ranker.
pub fn label(system: &str, ranker: &str) -> String {
    match ranker {
        "-" | "" => system.to_owned(),
        ranker => format!("{system} ({ranker})"),
    }
}
