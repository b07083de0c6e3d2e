//! How good a ranking is: the standard metrics, the reference's filtered ones, ceilings, and means by group.
//!
//! `recall@k` is the share of a question's gold items found in the first k, over *all* its gold items, also those no system can
//! give (a title that is not in the corpus); `all-gold@k` is 1 when none is missing; `mrr` is 1 / rank of the first gold item.
//! The reference's published figures are on *filtered* ranks, where the other gold items are removed before an item is
//! ranked, and over known gold items: `hits@k`, `mrr_filtered` (the mean over gold items) and `mape` are those.
//! `ceiling:…` is what a perfect ranking would reach. A question that a system cannot be asked scores 0 in everything and
//! counts in n (in `mape`, an error, it counts as if nothing had been predicted: 1).

use std::cmp::Ordering;
use std::collections::BTreeSet;

use num_traits::Float;

use super::places;

/// Name of the group that is reported apart: wordings never seen in training.
pub const PARAPHRASE: &str = "paraphrase";

/// A metric of one question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Metric {
    /// Share of all gold items in the first k.
    Recall(usize),
    /// 1 when every gold item is in the first k.
    AllGold(usize),
    /// 1 / rank of the first gold item.
    Mrr,
    /// Share of known gold items with filtered rank at most k.
    Hits(usize),
    /// Mean of 1 / filtered rank over known gold items.
    MrrFiltered,
    /// |sum of probabilities above one half - number of gold items| / number of gold items.
    Mape,
    /// The highest attainable [`Metric::Recall`].
    CeilingRecall(usize),
    /// The highest attainable [`Metric::AllGold`].
    CeilingAllGold(usize),
}

impl Metric {
    /// The metric of a name, ceilings aside: mrr, mrr_filtered, mape, hits@k, recall@k, all-gold@k.
    pub fn parse(name: &str) -> Option<Metric> {
        match name {
            "mrr" => return Some(Metric::Mrr),
            "mrr_filtered" => return Some(Metric::MrrFiltered),
            "mape" => return Some(Metric::Mape),
            _ => {}
        }
        let (base, k) = name.split_once('@')?;
        let k: usize = k.parse().ok().filter(|k| *k > 0)?;
        match base {
            "hits" => Some(Metric::Hits(k)),
            "recall" => Some(Metric::Recall(k)),
            "all-gold" => Some(Metric::AllGold(k)),
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
            Metric::AllGold(k) => format!("all-gold@{k}"),
            Metric::Mrr => "mrr".to_owned(),
            Metric::Hits(k) => format!("hits@{k}"),
            Metric::MrrFiltered => "mrr_filtered".to_owned(),
            Metric::Mape => "mape".to_owned(),
            Metric::CeilingRecall(k) => format!("ceiling:recall@{k}"),
            Metric::CeilingAllGold(k) => format!("ceiling:all-gold@{k}"),
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

/// Values of some metrics for one question; `scores` has one value a candidate, `None` when the system cannot be asked.
pub fn score<T: Float>(scores: Option<&[T]>, gold: Gold<'_>, metrics: &[Metric]) -> Vec<f64> {
    let Some(scores) = scores else {
        let value = |m: &Metric| f64::from(u8::from(*m == Metric::Mape));
        return metrics.iter().map(value).collect();
    };
    let known = gold.items.len();
    let total = (gold.total as usize).max(known);
    let places = places(scores, gold.items);
    let filtered = filtered_ranks(&places);
    let found = |k: usize| places.iter().filter(|p| **p < k).count();
    let whole = |n: usize| f64::from(u8::from(total > 0 && n == total));
    metrics
        .iter()
        .map(|metric| match *metric {
            Metric::Recall(k) => ratio(found(k), total),
            Metric::AllGold(k) => whole(found(k)),
            Metric::Mrr => places.iter().min().map_or(0.0, |p| ratio(1, p + 1)),
            Metric::Hits(k) => ratio(filtered.iter().filter(|r| **r <= k).count(), known),
            Metric::MrrFiltered if known == 0 => 0.0,
            Metric::MrrFiltered => {
                filtered.iter().map(|r| ratio(1, *r)).sum::<f64>() / known as f64
            }
            Metric::Mape if known == 0 => 1.0,
            Metric::Mape => (predicted(scores) - known as f64).abs() / known as f64,
            Metric::CeilingRecall(k) => ratio(known.min(k), total),
            Metric::CeilingAllGold(k) => whole(known.min(k)),
        })
        .collect()
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

/// A mean over a group of questions.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// `all`, `paraphrase`, `hops=2`, `type=…` or a name from the data.
    pub group: String,
    /// Name of the metric.
    pub metric: String,
    /// Mean.
    pub value: f64,
    /// Number of questions.
    pub n: u64,
}

/// The groups a question counts in. Paraphrases count in `paraphrase` only: all other groups are about wordings like those seen
/// in training, so that they add up to `all`.
pub fn groups(hops: Option<u32>, names: &[String]) -> Vec<String> {
    if names.iter().any(|n| n == PARAPHRASE) {
        return vec![PARAPHRASE.to_owned()];
    }
    let mut groups = vec!["all".to_owned()];
    groups.extend(hops.map(|h| format!("hops={h}")));
    for name in names {
        if !groups.contains(name) {
            groups.push(name.clone());
        }
    }
    groups
}

/// `all`, `paraphrase`, hops by number, types, then the rest by name.
fn group_order(a: &str, b: &str) -> Ordering {
    let key = |g: &str| {
        let hops = g.strip_prefix("hops=").and_then(|h| h.parse::<u32>().ok());
        match (g, hops) {
            ("all", _) => (0, 0),
            (PARAPHRASE, _) => (1, 0),
            (_, Some(h)) => (2, h),
            _ if g.starts_with("type=") => (3, 0),
            _ => (4, 0),
        }
    };
    key(a).cmp(&key(b)).then_with(|| a.cmp(b))
}

/// Means of `values[question][metric]` by group; `groups[question]` are the question's groups (see [`groups`]). Groups
/// without a question give no row.
pub fn aggregate(metrics: &[Metric], groups: &[Vec<String>], values: &[Vec<f64>]) -> Vec<Row> {
    let names: BTreeSet<&str> = groups.iter().flatten().map(String::as_str).collect();
    let mut names: Vec<&str> = names.into_iter().collect();
    names.sort_by(|a, b| group_order(a, b));
    let mut rows = Vec::new();
    for name in names {
        let members: Vec<&Vec<f64>> = groups
            .iter()
            .zip(values)
            .filter(|(g, _)| g.iter().any(|g| g == name))
            .map(|(_, v)| v)
            .collect();
        for (i, metric) in metrics.iter().enumerate() {
            let sum: f64 = members.iter().filter_map(|v| v.get(i)).sum();
            rows.push(Row {
                group: name.to_owned(),
                metric: metric.name(),
                value: sum / members.len().max(1) as f64,
                n: members.len() as u64,
            });
        }
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Metric; 8] = [
        Metric::Recall(2),
        Metric::AllGold(3),
        Metric::Mrr,
        Metric::Hits(1),
        Metric::MrrFiltered,
        Metric::Mape,
        Metric::CeilingRecall(2),
        Metric::CeilingAllGold(3),
    ];

    fn close(got: &[f64], want: &[f64]) {
        assert_eq!(got.len(), want.len());
        for (g, w) in got.iter().zip(want) {
            assert!((g - w).abs() < 1e-12, "{got:?} {want:?}");
        }
    }

    #[test]
    fn hand_computed_values() {
        // Ranking: 3, 1, 0, 2, 4. Gold 1 and 2 at places 1 and 3; filtered ranks 2 and 3.
        let scores = [-1.0, 0.0, -2.0, 1.0, -3.0];
        let gold = Gold {
            items: &[2, 1],
            total: 2,
        };
        let probability = 1.0 / (1.0 + (-1.0f64).exp());
        close(
            &score(Some(&scores), gold, &ALL),
            &[
                0.5,
                0.0,
                0.5,
                0.0,
                (0.5 + 1.0 / 3.0) / 2.0,
                (2.0 - probability) / 2.0,
                1.0,
                1.0,
            ],
        );
        close(
            &score(Some(&scores), gold, &[Metric::AllGold(4), Metric::Hits(2)]),
            &[1.0, 0.5],
        );
    }

    #[test]
    fn gold_items_outside_of_the_corpus_count_against_recall() {
        let scores = [3.0f32, 2.0, 1.0];
        let gold = Gold {
            items: &[0, 1],
            total: 4,
        };
        close(
            &score(Some(&scores), gold, &ALL),
            &[
                0.5,
                0.0,
                1.0,
                1.0,
                1.0,
                (predicted(&scores) - 2.0).abs() / 2.0,
                0.5,
                0.0,
            ],
        );
        let k_limits = Gold {
            items: &[0, 1, 2],
            total: 3,
        };
        close(
            &score(
                Some(&scores),
                k_limits,
                &[Metric::CeilingRecall(2), Metric::CeilingAllGold(2)],
            ),
            &[2.0 / 3.0, 0.0],
        );
    }

    #[test]
    fn what_cannot_be_asked_scores_nothing() {
        let gold = Gold {
            items: &[0],
            total: 1,
        };
        let nothing = [0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0];
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
            let back = Metric::parse(&metric.name());
            let ceiling = matches!(metric, Metric::CeilingRecall(_) | Metric::CeilingAllGold(_));
            assert_eq!(back, (!ceiling).then_some(metric));
        }
        for name in [
            "",
            "hits",
            "hits@",
            "hits@0",
            "hits@-1",
            "hit@3",
            "mrr@3",
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

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|n| (*n).to_owned()).collect()
    }

    #[test]
    fn paraphrases_stand_apart() {
        assert_eq!(
            groups(Some(2), &names(&["type=a", PARAPHRASE])),
            [PARAPHRASE]
        );
        assert_eq!(
            groups(Some(2), &names(&["type=a", "all", "hops=2"])),
            ["all", "hops=2", "type=a"]
        );
        assert_eq!(groups(None, &[]), ["all"]);
    }

    #[test]
    fn means_by_group_in_order() {
        let groups = vec![
            groups(Some(10), &names(&["type=b", "extra"])),
            groups(Some(2), &names(&["type=a"])),
            groups(Some(2), &names(&[PARAPHRASE])),
            groups(None, &[]),
        ];
        let values = vec![
            vec![1.0, 0.0],
            vec![0.5, 1.0],
            vec![0.25, 1.0],
            vec![0.0, 0.0],
        ];
        let rows = aggregate(&[Metric::Recall(5), Metric::Mrr], &groups, &values);
        let text: Vec<String> = rows
            .iter()
            .map(|r| format!("{} {} {:.4} {}", r.group, r.metric, r.value, r.n))
            .collect();
        assert_eq!(
            text,
            [
                "all recall@5 0.5000 3",
                "all mrr 0.3333 3",
                "paraphrase recall@5 0.2500 1",
                "paraphrase mrr 1.0000 1",
                "hops=2 recall@5 0.5000 1",
                "hops=2 mrr 1.0000 1",
                "hops=10 recall@5 1.0000 1",
                "hops=10 mrr 0.0000 1",
                "type=a recall@5 0.5000 1",
                "type=a mrr 1.0000 1",
                "type=b recall@5 1.0000 1",
                "type=b mrr 0.0000 1",
                "extra recall@5 1.0000 1",
                "extra mrr 0.0000 1",
            ]
        );
        assert!(aggregate(&ALL, &[], &[]).is_empty());
    }
}
