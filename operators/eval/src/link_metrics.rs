//! Metrics of link prediction: how well a model ranks the true tail and head of a triple among all
//! nodes.
//!
//! To add a metric, add a [`LinkMetricKind`] in this file and list it in [`LINK_METRICS`].

use std::sync::LazyLock;

use gfm_pipe_api::named::listed;
use gfm_pipe_api::{OpError, OpResult};
use serde::{Deserialize, Serialize};

/// Mean rank.
static MR: LinkMetricKind = LinkMetricKind {
    form: "mr",
    numbers: Numbers::None,
    smaller_is_better: true,
    value: |rank, _, _| rank.rank as f64,
};

/// Mean reciprocal rank.
static MRR: LinkMetricKind = LinkMetricKind {
    form: "mrr",
    numbers: Numbers::None,
    smaller_is_better: false,
    value: |rank, _, _| 1.0 / rank.rank as f64,
};

/// Share of ranks that are at most k.
static HITS: LinkMetricKind = LinkMetricKind {
    form: "hits@k",
    numbers: Numbers::K,
    smaller_is_better: false,
    value: |rank, k, _| f64::from(u8::from(rank.rank <= k)),
};

/// The same among n candidates, estimated without bias from the false positive rate: the
/// probability that fewer than k of n - 1 random negatives rank above the target.
static HITS_OF: LinkMetricKind = LinkMetricKind {
    form: "hits@k_n",
    numbers: Numbers::KOfN,
    smaller_is_better: false,
    value: |rank, k, n| {
        let p = (rank.rank - 1) as f64 / rank.negatives.max(1) as f64;
        let mut choose = 1.0;
        let mut total = 0.0;
        for i in 0..k.min(n) {
            total += choose * p.powi(i as i32) * (1.0 - p).powi((n - 1 - i) as i32);
            choose *= (n - 1 - i) as f64 / (i + 1) as f64;
        }
        total
    },
};

/// Every metric, in the order of messages.
static LINK_METRICS: [&LinkMetricKind; 4] = [&MR, &MRR, &HITS, &HITS_OF];

/// The suffix of metrics over tails alone.
const TAIL: &str = "-tail";

/// Numbers in a metric's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Numbers {
    None,
    K,
    KOfN,
}

/// A metric without the numbers in its name.
struct LinkMetricKind {
    /// Its name as documented, with `@k` or `@k_n` where it has numbers.
    form: &'static str,
    numbers: Numbers,
    smaller_is_better: bool,
    /// Its value for one rank; the other arguments are k and n.
    value: fn(&Rank, u64, u64) -> f64,
}

impl LinkMetricKind {
    /// The name without numbers.
    fn base(&self) -> &'static str {
        self.form
            .split_once('@')
            .map_or(self.form, |(base, _)| base)
    }
}

/// The forms of all names: `mr, mrr, hits@k or hits@k_n`.
static FORMS: LazyLock<String> = LazyLock::new(|| {
    let forms: Vec<&str> = LINK_METRICS.iter().map(|m| m.form).collect();
    listed(&forms, "or")
});

/// The forms of all names, for the schema.
pub static SCHEMA_FORM: LazyLock<String> =
    LazyLock::new(|| format!("{}, also with {TAIL}", *FORMS));

/// Rank of the true node among the nodes that are not true answers themselves. Ties count against
/// it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rank {
    /// One-based rank.
    pub rank: u64,
    /// Number of nodes it was ranked against.
    pub negatives: u64,
    /// Whether the tail was to be predicted; otherwise the head.
    pub tail: bool,
}

/// Returns the rank of `target` among the nodes outside `truth` (1 + the number of those that score
/// at least as high), and the number of nodes outside `truth`. `truth` must contain `target`.
pub fn filtered_rank(scores: &[f64], target: u32, truth: &[u32]) -> (u64, u64) {
    let score = scores[target as usize];
    let better = scores.iter().filter(|s| **s >= score).count();
    let among_truth = truth
        .iter()
        .filter(|t| scores[**t as usize] >= score)
        .count();
    let rank = 1 + better - among_truth;
    (rank as u64, (scores.len() - truth.len()) as u64)
}

/// A metric over ranks.
#[derive(Clone, Copy)]
struct LinkMetric {
    kind: &'static LinkMetricKind,
    k: u64,
    n: u64,
    /// Whether only ranks of tails count.
    tails_only: bool,
}

impl LinkMetric {
    fn parse(name: &str) -> Option<LinkMetric> {
        let (rest, tails_only) = match name.strip_suffix(TAIL) {
            Some(rest) => (rest, true),
            None => (name, false),
        };
        let number = |text: &str| text.parse::<u64>().ok().filter(|k| *k > 0);
        let (base, numbers, k, n) = match rest.split_once('@') {
            None => (rest, Numbers::None, 0, 0),
            Some((base, text)) => match text.split_once('_') {
                None => (base, Numbers::K, number(text)?, 0),
                Some((k, n)) => (base, Numbers::KOfN, number(k)?, number(n)?),
            },
        };
        if numbers == Numbers::KOfN && k > n {
            return None;
        }
        let mut all = LINK_METRICS.iter();
        let kind = all.find(|m| m.base() == base && m.numbers == numbers)?;
        Some(LinkMetric {
            kind,
            k,
            n,
            tails_only,
        })
    }

    fn checked(name: &str) -> Result<LinkMetric, String> {
        LinkMetric::parse(name).ok_or_else(|| {
            format!(
                "`{name}` is not a metric; use {}, also with `{TAIL}`",
                *FORMS
            )
        })
    }

    /// Its mean over ranks; 0 where nothing was ranked.
    fn mean(self, ranks: &[Rank]) -> f64 {
        let used: Vec<&Rank> = ranks
            .iter()
            .filter(|r| !self.tails_only || r.tail)
            .collect();
        let values = used.iter().map(|r| (self.kind.value)(r, self.k, self.n));
        values.sum::<f64>() / used.len().max(1) as f64
    }
}

/// Checks a metric's name.
///
/// # Errors
/// What is wrong with it, for the user.
pub fn check_name(name: &str) -> Result<(), String> {
    LinkMetric::checked(name).map(|_| ())
}

/// The mean of each metric over ranks, with its name; 0 where nothing was ranked.
///
/// # Errors
/// When a name is not a metric's.
pub fn means(ranks: &[Rank], names: &[String]) -> OpResult<Vec<(String, f64)>> {
    names
        .iter()
        .map(|name| {
            let metric = LinkMetric::checked(name).map_err(OpError::new)?;
            Ok((name.clone(), metric.mean(ranks)))
        })
        .collect()
}

/// Whether a smaller value of this metric is better.
pub fn smaller_is_better(name: &str) -> bool {
    LinkMetric::parse(name).is_some_and(|m| m.kind.smaller_is_better)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn rank(rank: u64, tail: bool) -> Rank {
        Rank {
            rank,
            negatives: 9,
            tail,
        }
    }

    #[test]
    fn hand_computed_metrics() {
        let ranks = [rank(1, true), rank(4, true), rank(10, false)];
        let names = [
            "mr",
            "mrr",
            "hits@3",
            "mr-tail",
            "mrr-tail",
            "hits@1-tail",
            "hits@1_2",
            "hits@2_3",
        ];
        let names: Vec<String> = names.map(str::to_owned).to_vec();
        let values = means(&ranks, &names).unwrap();
        // With 2 candidates one negative is drawn, which is worse with probability 1, 6/9 and 0.
        // With 3 candidates two are drawn, of which at most one may be better: 1, 1 - (3/9)^2 and
        // 0.
        let want = [
            5.0,
            1.35 / 3.0,
            1.0 / 3.0,
            2.5,
            0.625,
            0.5,
            (1.0 + 6.0 / 9.0) / 3.0,
            (1.0 + 8.0 / 9.0) / 3.0,
        ];
        for ((name, got), want) in values.iter().zip(want) {
            assert!((got - want).abs() < 1e-12, "{name}: {got} {want}");
        }
    }

    #[test]
    fn names_of_no_metric_are_refused() {
        for name in [
            "",
            "mrr@1",
            "hits@0",
            "hits@",
            "hits@5_3",
            "hits@1_",
            "map",
            "-tail",
            "hits@1-head",
        ] {
            assert!(check_name(name).is_err(), "{name}");
        }
        for name in ["mr", "mrr-tail", "hits@10", "hits@10_50", "hits@1_2-tail"] {
            assert!(check_name(name).is_ok(), "{name}");
        }
        assert!(smaller_is_better("mr-tail") && !smaller_is_better("mrr"));
    }

    #[test]
    fn ties_count_against_and_other_true_answers_do_not() {
        let scores = [0.5, 0.9, 0.5, 0.1, 0.9];
        // Node 0 against 1 and 3 (2 and 4 are true too): one better, and itself.
        assert_eq!(filtered_rank(&scores, 0, &[0, 2, 4]), (2, 2));
        assert_eq!(filtered_rank(&scores, 0, &[0]), (4, 4));
        assert_eq!(filtered_rank(&scores, 4, &[4]), (2, 4));
    }
}
