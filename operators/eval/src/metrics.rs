//! Metrics: how good a ranking is for one question. The table in docs/metrics.md is generated from
//! this file.
//!
//! Standard metrics are over *all* gold items of a question, including those that no system can
//! find (a title that is not in the corpus), so they cannot exceed what [`Answer::perfect`]
//! reaches. The reference's published figures, `hits@k`, `mrr_filtered` (the mean over gold items)
//! and `mape`, are over the known gold items only, and on *filtered* ranks, where the other gold
//! items are removed before an item is ranked. A question that a system could not answer counts
//! with 0 in every metric (in `mape`, which is an error, with 1, as if nothing had been predicted).
//!
//! To add a metric, add a [`MetricKind`] in this file and list it in [`METRICS`].

use std::sync::LazyLock;

use gfm_pipe_api::named::listed;
use num_traits::Float;
use serde::{Deserialize, Serialize};

use crate::places;

/// Reciprocal rank.
pub static MRR: MetricKind = MetricKind {
    name: "mrr",
    meaning: "how early the first gold item comes",
    formula: "1 / r_1; 0 without a known gold document",
    family: Family::Standard,
    cutoff: false,
    value: |ranking, _| ranking.places.first().map_or(0.0, |p| ratio(1, p + 1)),
};

/// Average precision: the mean over gold items of the precision at the item's rank, 0 for items
/// that are not ranked.
pub static MAP: MetricKind = MetricKind {
    name: "map",
    meaning: "how early all gold items come, over the whole ranking",
    formula: "(1/G) sum over i of i / r_i",
    family: Family::Standard,
    cutoff: false,
    value: |ranking, _| {
        if ranking.total == 0 {
            return 0.0;
        }
        let precisions = (1..).zip(ranking.places).map(|(i, p)| ratio(i, p + 1));
        precisions.sum::<f64>() / ranking.total as f64
    },
};

/// Mean reciprocal filtered rank.
pub static MRR_FILTERED: MetricKind = MetricKind {
    name: "mrr_filtered",
    meaning: "how early each known gold item comes among the items that are not gold",
    formula: "(1/K) sum over i of 1 / f_i",
    family: Family::Filtered,
    cutoff: false,
    value: |ranking, _| {
        if ranking.known() == 0 {
            return 0.0;
        }
        let reciprocal = ranking.filtered.iter().map(|r| ratio(1, *r));
        reciprocal.sum::<f64>() / ranking.known() as f64
    },
};

/// Share of filtered ranks that are at most k.
pub static HITS: MetricKind = MetricKind {
    name: "hits",
    meaning: "share of the known gold items whose filtered rank is at most k",
    formula: "#{i : f_i <= k} / K",
    family: Family::Filtered,
    cutoff: true,
    value: |ranking, k| {
        let hits = ranking.filtered.iter().filter(|r| **r <= k).count();
        ratio(hits, ranking.known())
    },
};

/// Share of all gold items that are among the first k.
pub static RECALL: MetricKind = MetricKind {
    name: "recall",
    meaning: "share of all gold items that are in the first k",
    formula: "#{i : r_i <= k} / G",
    family: Family::Standard,
    cutoff: true,
    value: |ranking, k| ratio(ranking.found(k), ranking.total),
};

/// Share of the first k items that are gold.
pub static PRECISION: MetricKind = MetricKind {
    name: "precision",
    meaning: "share of the first k that are gold",
    formula: "#{i : r_i <= k} / k",
    family: Family::Standard,
    cutoff: true,
    value: |ranking, k| ratio(ranking.found(k), k),
};

/// Whether all gold items are among the first k.
pub static ALL_GOLD: MetricKind = MetricKind {
    name: "all-gold",
    meaning: "whether every gold item is in the first k",
    formula: "1 if #{i : r_i <= k} = G, else 0",
    family: Family::Standard,
    cutoff: true,
    value: |ranking, k| {
        let all = ranking.total > 0 && ranking.found(k) == ranking.total;
        f64::from(u8::from(all))
    },
};

/// Normalised discounted cumulative gain with binary relevance (Järvelin and Kekäläinen 2002).
pub static NDCG: MetricKind = MetricKind {
    name: "ndcg",
    meaning: "gain of the first k, discounted by rank, over that of the best ranking",
    formula: "sum over r_i <= k of 1 / log2(1 + r_i), divided by sum over i = 1 … min(G, k) of 1 / log2(1 + i)",
    family: Family::Standard,
    cutoff: true,
    value: |ranking, k| {
        if ranking.total == 0 {
            return 0.0;
        }
        let places = ranking.places.iter().copied();
        gain(places.filter(|p| *p < k)) / gain(0..ranking.total.min(k))
    },
};

/// Error of the number of predicted items.
pub static MAPE: MetricKind = MetricKind {
    name: "mape",
    meaning: "error of the number of items with a probability above one half",
    formula: "abs(sum of the probabilities above one half - K) / K",
    family: Family::Error,
    cutoff: false,
    value: |ranking, _| {
        let known = ranking.known() as f64;
        if ranking.known() == 0 {
            return 1.0;
        }
        (ranking.sum_of_likely - known).abs() / known
    },
};

/// Every metric, in the order of messages and pages.
pub static METRICS: [&MetricKind; 9] = [
    &MRR,
    &MAP,
    &MRR_FILTERED,
    &HITS,
    &RECALL,
    &PRECISION,
    &ALL_GOLD,
    &NDCG,
    &MAPE,
];

/// What a metric is computed from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// Ranks among all items. `evaluate` reports these metrics with their ceiling.
    Standard,
    /// Filtered ranks. `evaluate` reports these metrics; they have no ceiling.
    Filtered,
    /// Probabilities. Smaller is better, and only fine-tuning reports these metrics.
    Error,
}

/// A metric without its k.
pub struct MetricKind {
    /// Name in pipelines and tables, without `@k`.
    pub name: &'static str,
    /// What it measures for a question.
    pub meaning: &'static str,
    /// Its formula in the notation of docs/metrics.md.
    pub formula: &'static str,
    /// What it is computed from.
    pub family: Family,
    /// Whether only the first k items count; its name then ends in `@k`.
    pub cutoff: bool,
    /// Its value for a question that the system answered; the second argument is k.
    value: fn(&Ranking<'_>, usize) -> f64,
}

impl MetricKind {
    /// The metric over the first `k` items.
    pub const fn at(&'static self, k: usize) -> Metric {
        assert!(self.cutoff && k > 0, "a metric over the whole ranking");
        Metric { kind: self, k }
    }

    /// The metric over the whole ranking.
    pub const fn whole(&'static self) -> Metric {
        assert!(!self.cutoff, "a metric over the first k items");
        Metric { kind: self, k: 0 }
    }

    /// The name as documented: `mrr`, `recall@k`.
    pub fn form(&self) -> String {
        let suffix = if self.cutoff { "@k" } else { "" };
        format!("{}{suffix}", self.name)
    }
}

/// The forms of all names, for messages: `mrr, …, recall@k, … or mape`.
pub static FORMS: LazyLock<String> = LazyLock::new(|| {
    let forms: Vec<String> = METRICS.iter().map(|m| m.form()).collect();
    listed(&forms, "or")
});

/// Checks a metric's name.
///
/// # Errors
/// What is wrong with it, for the user.
pub fn check_name(name: &str) -> Result<(), String> {
    match Metric::parse(name) {
        Some(_) => Ok(()),
        None => Err(format!("`{name}` is not a metric; use {}", *FORMS)),
    }
}

/// A metric with its k.
#[derive(Clone, Copy)]
pub struct Metric {
    kind: &'static MetricKind,
    k: usize,
}

impl PartialEq for Metric {
    fn eq(&self, other: &Self) -> bool {
        (self.kind.name, self.k) == (other.kind.name, other.k)
    }
}

impl std::fmt::Debug for Metric {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.name())
    }
}

impl Metric {
    /// Parses a name in the form that [`Metric::name`] returns.
    pub fn parse(name: &str) -> Option<Metric> {
        let (base, k) = match name.split_once('@') {
            Some((base, k)) => (base, Some(k.parse().ok().filter(|k| *k > 0)?)),
            None => (name, None),
        };
        let kind = *METRICS.iter().find(|m| m.name == base)?;
        match (kind.cutoff, k) {
            (true, Some(k)) => Some(kind.at(k)),
            (false, None) => Some(kind.whole()),
            (true, None) | (false, Some(_)) => None,
        }
    }

    /// Whether a smaller value is better.
    pub fn smaller_is_better(self) -> bool {
        match self.kind.family {
            Family::Error => true,
            Family::Standard | Family::Filtered => false,
        }
    }

    /// Name in tables: `mrr`, `recall@5`.
    pub fn name(self) -> String {
        if self.kind.cutoff {
            format!("{}@{}", self.kind.name, self.k)
        } else {
            self.kind.name.to_owned()
        }
    }

    /// Its value for a question that a system could not answer: the worst possible value.
    fn unasked(self) -> f64 {
        match self.kind.family {
            Family::Error => 1.0,
            Family::Standard | Family::Filtered => 0.0,
        }
    }
}

/// The metrics of a family: those with a cutoff at each k, then those over the whole ranking.
pub fn of_family(family: Family, ks: &[usize]) -> Vec<Metric> {
    let own = || METRICS.iter().filter(|m| m.family == family);
    let cut = ks
        .iter()
        .flat_map(|k| own().filter(|m| m.cutoff).map(|m| m.at(*k)));
    let whole = own().filter(|m| !m.cutoff).map(|m| m.whole());
    cut.chain(whole).collect()
}

/// The places of a question's gold items in a ranking.
struct Ranking<'a> {
    /// Zero-based places of the known gold items, ascending.
    places: &'a [usize],
    /// Their one-based filtered ranks.
    filtered: &'a [usize],
    /// Number of gold items, those without an id included.
    total: usize,
    /// Sum of the probabilities above one half.
    sum_of_likely: f64,
}

impl Ranking<'_> {
    /// Number of known gold items.
    fn known(&self) -> usize {
        self.places.len()
    }

    /// Number of gold items among the first k.
    fn found(&self, k: usize) -> usize {
        self.places.iter().filter(|p| **p < k).count()
    }
}

/// The gold items of a question.
#[derive(Debug, Clone, Copy)]
pub struct Gold<'a> {
    /// Distinct ids.
    pub items: &'a [u32],
    /// Number of gold items, those without an id included.
    pub total: u32,
}

/// Converts zero-based places of gold items to one-based filtered ranks: other gold items that come
/// before an item do not count.
pub fn filtered_ranks(places: &[usize]) -> Vec<usize> {
    places
        .iter()
        .map(|p| p + 1 - places.iter().filter(|q| *q < p).count())
        .collect()
}

fn ratio(a: usize, b: usize) -> f64 {
    if b == 0 { 0.0 } else { a as f64 / b as f64 }
}

/// Discounted gain of items at these zero-based places.
fn gain(places: impl Iterator<Item = usize>) -> f64 {
    places.map(|p| 1.0 / (p as f64 + 2.0).log2()).sum()
}

/// A system's answer to a question.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// Zero-based places of the known gold items, ascending; `None` when the system could not
    /// answer.
    pub places: Option<Vec<usize>>,
    /// Number of gold items, those without an id included.
    pub total: usize,
    sum_of_likely: f64,
}

impl Answer {
    /// Takes one score per candidate; `None` when the system could not answer.
    pub fn of<T: Float>(scores: Option<&[T]>, gold: Gold<'_>) -> Answer {
        let places = scores.map(|s| places(s, gold.items));
        Answer {
            sum_of_likely: scores.map_or(0.0, sum_of_likely),
            ..Answer::at(places, (gold.total as usize).max(gold.items.len()))
        }
    }

    /// Takes only the zero-based places of the known gold items, in any order.
    pub fn at(places: Option<Vec<usize>>, total: usize) -> Answer {
        Answer {
            total: total.max(places.as_ref().map_or(0, Vec::len)),
            places: places.map(|mut places| {
                places.sort_unstable();
                places
            }),
            sum_of_likely: 0.0,
        }
    }

    /// Takes the one-based ranks of the known gold items, as stored in artifacts of kind `ranks`.
    pub fn of_ranks(asked: bool, ranks: &[u32], total: u32) -> Answer {
        let places = ranks.iter().map(|r| (*r as usize).saturating_sub(1));
        Answer::at(asked.then(|| places.collect()), total as usize)
    }

    /// The one-based ranks of the known gold items; empty when the system could not answer.
    pub fn ranks(&self) -> Vec<u32> {
        let places = self.places.iter().flatten();
        places.map(|p| *p as u32 + 1).collect()
    }

    /// What a perfect system would answer: the known gold items first.
    pub fn perfect(gold: Gold<'_>) -> Answer {
        let places = (0..gold.items.len()).collect();
        Answer::at(Some(places), gold.total as usize)
    }

    /// The values of some metrics, in order.
    pub fn values(&self, metrics: &[Metric]) -> Vec<f64> {
        let Some(places) = &self.places else {
            return metrics.iter().map(|m| m.unasked()).collect();
        };
        let ranking = Ranking {
            places,
            filtered: &filtered_ranks(places),
            total: self.total,
            sum_of_likely: self.sum_of_likely,
        };
        let value = |m: &Metric| (m.kind.value)(&ranking, m.k);
        metrics.iter().map(value).collect()
    }
}

/// Values of some metrics for one question, from one score per candidate; `None` when the system
/// could not answer.
pub fn score<T: Float>(scores: Option<&[T]>, gold: Gold<'_>, metrics: &[Metric]) -> Vec<f64> {
    Answer::of(scores, gold).values(metrics)
}

/// Sum of the probabilities (logistic function of the scores) above one half.
pub fn sum_of_likely<T: Float>(scores: &[T]) -> f64 {
    scores
        .iter()
        .filter_map(|s| s.to_f64())
        .map(|s| 1.0 / (1.0 + (-s).exp()))
        .filter(|p| *p > 0.5)
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Metric; 9] = [
        RECALL.at(2),
        PRECISION.at(2),
        ALL_GOLD.at(3),
        NDCG.at(3),
        MRR.whole(),
        MAP.whole(),
        HITS.at(1),
        MRR_FILTERED.whole(),
        MAPE.whole(),
    ];

    fn close(got: &[f64], want: &[f64]) {
        assert_eq!(got.len(), want.len());
        for (g, w) in got.iter().zip(want) {
            assert!((g - w).abs() < 1e-12, "{got:?} {want:?}");
        }
    }

    #[test]
    fn hand_computed_values() {
        // Ranking: 3, 1, 0, 2, 4. Gold 1 and 2 at places 1 and 3, ranks 2 and 4; filtered ranks 2
        // and 3.
        let scores = [-1.0, 0.0, -2.0, 1.0, -3.0];
        let gold = Gold {
            items: &[2, 1],
            total: 2,
        };
        let probability = 1.0 / (1.0 + (-1.0f64).exp());
        let log3 = 3.0f64.log2();
        close(
            &score(Some(&scores), gold, &ALL),
            &[
                0.5,
                0.5,
                0.0,
                // One gold item of two at rank 2: 1/log2(3) over 1 + 1/log2(3).
                (1.0 / log3) / (1.0 + 1.0 / log3),
                0.5,
                // Precision 1/2 at rank 2, 2/4 at rank 4.
                0.5,
                0.0,
                (0.5 + 1.0 / 3.0) / 2.0,
                (2.0 - probability) / 2.0,
            ],
        );
        close(
            &score(
                Some(&scores),
                gold,
                &[ALL_GOLD.at(4), HITS.at(2), PRECISION.at(5)],
            ),
            &[1.0, 0.5, 0.4],
        );
    }

    #[test]
    fn gold_items_outside_of_the_corpus_count_against_the_standard_metrics() {
        let scores = [3.0f32, 2.0, 1.0];
        let gold = Gold {
            items: &[0, 1],
            total: 4,
        };
        let (log3, log5) = (3.0f64.log2(), 5.0f64.log2());
        close(
            &score(Some(&scores), gold, &ALL),
            &[
                0.5,
                1.0,
                0.0,
                // The best three items are all gold.
                (1.0 + 1.0 / log3) / (1.0 + 1.0 / log3 + 0.5),
                1.0,
                0.5,
                1.0,
                1.0,
                (sum_of_likely(&scores) - 2.0).abs() / 2.0,
            ],
        );
        // With k = 5 the best ranking has four.
        let ideal = 1.0 + 1.0 / log3 + 0.5 + 1.0 / log5;
        close(
            &score(Some(&scores), gold, &[NDCG.at(5)]),
            &[(1.0 + 1.0 / log3) / ideal],
        );
    }

    #[test]
    fn a_perfect_ranking_is_the_ceiling() {
        let gold = Gold {
            items: &[7, 3, 5],
            total: 4,
        };
        let metrics = [
            RECALL.at(2),
            RECALL.at(5),
            PRECISION.at(2),
            PRECISION.at(5),
            ALL_GOLD.at(5),
            MRR.whole(),
            MAP.whole(),
        ];
        close(
            &Answer::perfect(gold).values(&metrics),
            &[0.5, 0.75, 1.0, 0.6, 0.0, 1.0, 0.75],
        );
    }

    #[test]
    fn the_filtered_figure_can_exceed_the_ceiling() {
        // Three gold documents come first, and no ranking is better. The standard recall@2 and the
        // ceiling are 2/3. The filtered figure, which the reference prints as recall@2, ranks each
        // as if the others were not there.
        let scores = [9.0, 8.0, 7.0, 1.0];
        let gold = Gold {
            items: &[0, 1, 2],
            total: 3,
        };
        let both = [RECALL.at(2), HITS.at(2)];
        close(&score(Some(&scores), gold, &both), &[2.0 / 3.0, 1.0]);
        let ceiling = Answer::perfect(gold).values(&both[..1]);
        close(&ceiling, &[2.0 / 3.0]);
    }

    #[test]
    fn a_question_that_cannot_be_asked_scores_nothing() {
        let gold = Gold {
            items: &[0],
            total: 1,
        };
        let nothing = [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0];
        close(&score::<f32>(None, gold, &ALL), &nothing);
        let no_gold = Gold {
            items: &[],
            total: 0,
        };
        close(&score(Some(&[1.0, 2.0]), no_gold, &ALL), &nothing);
    }

    #[test]
    fn names_go_both_ways() {
        for metric in ALL {
            assert_eq!(Metric::parse(&metric.name()), Some(metric));
        }
        for name in [
            "",
            "hits",
            "hits@",
            "hits@0",
            "hits@-1",
            "hit@3",
            "mrr@3",
            "map@3",
            "recall@2 ",
        ] {
            assert_eq!(Metric::parse(name), None, "{name}");
        }
    }

    #[test]
    fn filtered_ranks_skip_the_other_gold_items() {
        assert_eq!(filtered_ranks(&[4, 0, 2]), [3, 1, 2]);
        assert_eq!(filtered_ranks(&[5]), [6]);
        assert!(filtered_ranks(&[]).is_empty());
    }

    #[test]
    fn the_reported_metrics_are_in_the_order_of_the_tables() {
        let names = |family| -> Vec<String> {
            let all = of_family(family, &[1, 5]);
            all.into_iter().map(Metric::name).collect()
        };
        assert_eq!(
            names(Family::Standard),
            [
                "recall@1",
                "precision@1",
                "all-gold@1",
                "ndcg@1",
                "recall@5",
                "precision@5",
                "all-gold@5",
                "ndcg@5",
                "mrr",
                "map"
            ]
        );
        assert_eq!(
            names(Family::Filtered),
            ["hits@1", "hits@5", "mrr_filtered"]
        );
        assert_eq!(
            *FORMS,
            "mrr, map, mrr_filtered, hits@k, recall@k, precision@k, all-gold@k, ndcg@k or mape"
        );
    }
}
