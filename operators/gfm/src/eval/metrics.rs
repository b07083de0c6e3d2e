//! How good a ranking is: standard metrics, and the reference's filtered ones beside them. docs/metrics.md has the formulas.
//!
//! Standard metrics are over *all* gold items of a question, also those that no system can give (a title that is not in the
//! corpus), so they cannot exceed what [`Answer::perfect`] reaches. The reference's published figures are on *filtered* ranks, where
//! the other gold items are removed before an item is ranked, and over known gold items: `hits@k`, `mrr_filtered` (the mean over
//! gold items) and `mape` are those. A question that a system cannot be asked scores 0 in everything and counts (in `mape`, an
//! error, it counts as if nothing had been predicted: 1).

use num_traits::Float;
use serde::{Deserialize, Serialize};

use super::places;

/// A metric of one question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Metric {
    /// Share of all gold items in the first k.
    Recall(usize),
    /// Share of the first k that is gold.
    Precision(usize),
    /// 1 when every gold item is in the first k.
    AllGold(usize),
    /// Discounted gain of the first k, 1 / log2(1 + rank) a gold item, over that of a ranking with all gold items first
    /// (Järvelin and Kekäläinen 2002, binary relevance).
    Ndcg(usize),
    /// 1 / rank of the first gold item.
    Mrr,
    /// Average precision: the precision at the rank of each gold item, 0 for those not ranked, in the mean over all gold items.
    Map,
    /// Share of known gold items with filtered rank at most k.
    Hits(usize),
    /// Mean of 1 / filtered rank over known gold items.
    MrrFiltered,
    /// |sum of probabilities above one half - number of gold items| / number of gold items.
    Mape,
}

impl Metric {
    /// The metric of a name: mrr, map, mrr_filtered, mape, hits@k, recall@k, precision@k, all-gold@k, ndcg@k.
    pub fn parse(name: &str) -> Option<Metric> {
        match name {
            "mrr" => return Some(Metric::Mrr),
            "map" => return Some(Metric::Map),
            "mrr_filtered" => return Some(Metric::MrrFiltered),
            "mape" => return Some(Metric::Mape),
            _ => {}
        }
        let (base, k) = name.split_once('@')?;
        let k: usize = k.parse().ok().filter(|k| *k > 0)?;
        match base {
            "hits" => Some(Metric::Hits(k)),
            "recall" => Some(Metric::Recall(k)),
            "precision" => Some(Metric::Precision(k)),
            "all-gold" => Some(Metric::AllGold(k)),
            "ndcg" => Some(Metric::Ndcg(k)),
            _ => None,
        }
    }

    /// Whether less of it is better.
    pub fn smaller_is_better(self) -> bool {
        self == Metric::Mape
    }

    /// Name in tables.
    pub fn name(self) -> String {
        match self {
            Metric::Recall(k) => format!("recall@{k}"),
            Metric::Precision(k) => format!("precision@{k}"),
            Metric::AllGold(k) => format!("all-gold@{k}"),
            Metric::Ndcg(k) => format!("ndcg@{k}"),
            Metric::Mrr => "mrr".to_owned(),
            Metric::Map => "map".to_owned(),
            Metric::Hits(k) => format!("hits@{k}"),
            Metric::MrrFiltered => "mrr_filtered".to_owned(),
            Metric::Mape => "mape".to_owned(),
        }
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

/// Zero-based places to one-based filtered ranks: other gold items that come before do not count.
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

/// What a system gave for a question.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// Zero-based places of the known gold items, ascending; `None` when it could not be asked.
    pub places: Option<Vec<usize>>,
    /// Number of gold items, those without an id included.
    pub total: usize,
    /// Sum of the probabilities above one half.
    predicted: f64,
}

impl Answer {
    /// From one score a candidate; none when the system could not be asked.
    pub fn of<T: Float>(scores: Option<&[T]>, gold: Gold<'_>) -> Answer {
        let places = scores.map(|s| places(s, gold.items));
        Answer {
            predicted: scores.map_or(0.0, predicted),
            ..Answer::at(places, (gold.total as usize).max(gold.items.len()))
        }
    }

    /// From the places of the known gold items alone.
    pub fn at(places: Option<Vec<usize>>, total: usize) -> Answer {
        Answer {
            total: total.max(places.as_ref().map_or(0, Vec::len)),
            places: places.map(|mut places| {
                places.sort_unstable();
                places
            }),
            predicted: 0.0,
        }
    }

    /// What a perfect system would have given: the known gold items first.
    pub fn perfect(gold: Gold<'_>) -> Answer {
        let places = (0..gold.items.len()).collect();
        Answer::at(Some(places), gold.total as usize)
    }

    /// Values of some metrics.
    pub fn values(&self, metrics: &[Metric]) -> Vec<f64> {
        let Some(places) = &self.places else {
            let value = |m: &Metric| f64::from(u8::from(*m == Metric::Mape));
            return metrics.iter().map(value).collect();
        };
        let (known, total) = (places.len(), self.total);
        let filtered = filtered_ranks(places);
        let found = |k: usize| places.iter().filter(|p| **p < k).count();
        metrics
            .iter()
            .map(|metric| match *metric {
                Metric::Recall(k) => ratio(found(k), total),
                Metric::Precision(k) => ratio(found(k), k),
                Metric::AllGold(k) => f64::from(u8::from(total > 0 && found(k) == total)),
                Metric::Ndcg(_) if total == 0 => 0.0,
                Metric::Ndcg(k) => {
                    gain(places.iter().copied().filter(|p| *p < k)) / gain(0..total.min(k))
                }
                Metric::Mrr => places.first().map_or(0.0, |p| ratio(1, p + 1)),
                Metric::Map if total == 0 => 0.0,
                Metric::Map => {
                    let precisions = (1..).zip(places).map(|(i, p)| ratio(i, p + 1));
                    precisions.sum::<f64>() / total as f64
                }
                Metric::Hits(k) => ratio(filtered.iter().filter(|r| **r <= k).count(), known),
                Metric::MrrFiltered if known == 0 => 0.0,
                Metric::MrrFiltered => {
                    filtered.iter().map(|r| ratio(1, *r)).sum::<f64>() / known as f64
                }
                Metric::Mape if known == 0 => 1.0,
                Metric::Mape => (self.predicted - known as f64).abs() / known as f64,
            })
            .collect()
    }
}

/// Values of some metrics for one question; `scores` has one value a candidate, `None` when the system cannot be asked.
pub fn score<T: Float>(scores: Option<&[T]>, gold: Gold<'_>, metrics: &[Metric]) -> Vec<f64> {
    Answer::of(scores, gold).values(metrics)
}

/// Sum of the probabilities (logistic function of the scores) above one half.
pub fn predicted<T: Float>(scores: &[T]) -> f64 {
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
        Metric::Recall(2),
        Metric::Precision(2),
        Metric::AllGold(3),
        Metric::Ndcg(3),
        Metric::Mrr,
        Metric::Map,
        Metric::Hits(1),
        Metric::MrrFiltered,
        Metric::Mape,
    ];

    fn close(got: &[f64], want: &[f64]) {
        assert_eq!(got.len(), want.len());
        for (g, w) in got.iter().zip(want) {
            assert!((g - w).abs() < 1e-12, "{got:?} {want:?}");
        }
    }

    #[test]
    fn hand_computed_values() {
        // Ranking: 3, 1, 0, 2, 4. Gold 1 and 2 at places 1 and 3, ranks 2 and 4; filtered ranks 2 and 3.
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
                &[Metric::AllGold(4), Metric::Hits(2), Metric::Precision(5)],
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
                // The ideal of the first three has three gold items.
                (1.0 + 1.0 / log3) / (1.0 + 1.0 / log3 + 0.5),
                1.0,
                0.5,
                1.0,
                1.0,
                (predicted(&scores) - 2.0).abs() / 2.0,
            ],
        );
        // With k = 5 the ideal has four.
        let ideal = 1.0 + 1.0 / log3 + 0.5 + 1.0 / log5;
        close(
            &score(Some(&scores), gold, &[Metric::Ndcg(5)]),
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
            Metric::Recall(2),
            Metric::Recall(5),
            Metric::Precision(2),
            Metric::Precision(5),
            Metric::AllGold(5),
            Metric::Mrr,
            Metric::Map,
        ];
        close(
            &Answer::perfect(gold).values(&metrics),
            &[0.5, 0.75, 1.0, 0.6, 0.0, 1.0, 0.75],
        );
    }

    #[test]
    fn the_filtered_figure_can_exceed_the_ceiling() {
        // Three gold documents first: no ranking is better. The standard recall@2 is 2/3, the ceiling too; the filtered one,
        // which the reference prints as recall@2, ranks each as if the others were not there.
        let scores = [9.0, 8.0, 7.0, 1.0];
        let gold = Gold {
            items: &[0, 1, 2],
            total: 3,
        };
        let both = [Metric::Recall(2), Metric::Hits(2)];
        close(&score(Some(&scores), gold, &both), &[2.0 / 3.0, 1.0]);
        let ceiling = Answer::perfect(gold).values(&both[..1]);
        close(&ceiling, &[2.0 / 3.0]);
    }

    #[test]
    fn what_cannot_be_asked_scores_nothing() {
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
}
