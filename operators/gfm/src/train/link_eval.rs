//! Filtered link prediction: how well a QueryGNN ranks the true tail and head of a triple among all nodes.

use std::ops::Range;

use gfm_pipe_api::ranks::{gather, part};
use gfm_pipe_api::{Collective, OpError, OpResult};
use serde::{Deserialize, Serialize};

use crate::divided::check_cancelled;
use crate::graph::Graph;
use crate::model::TailQuery;
use crate::ops::Seeds;
use crate::progress::Pass;
use crate::sampling::{EasyEdges, Triple, Truth};
use crate::scorer::{Scorer, check_scores};

/// Which edges are taken out of the graph while triples are ranked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EvalEdges {
    /// A triple's own edge and its inverse, as in training with strict negatives: the metric does not depend on the
    /// batch size.
    Triple,
    /// The edges every row of the batch could ask for (the reference's way): depends on the batch size.
    Batch,
}

/// How triples are ranked.
#[derive(Debug, Clone, Copy)]
pub struct Ranking<'a> {
    /// Triples scored at once.
    pub batch_size: usize,
    /// For which triples edges are removed.
    pub edges: EvalEdges,
    /// Which edges of a triple betray it.
    pub easy: EasyEdges<'a>,
}

impl Ranking<'_> {
    /// About how many batches rank these triples, and where the queries of one of them start.
    /// Triples that stand in the graph are ranked one by one where each has its own edges taken
    /// out.
    pub(crate) fn batches(&self, graph: &Graph, triples: &[Triple]) -> (usize, Seeds) {
        let alone = self.edges == EvalEdges::Triple
            && triples
                .iter()
                .take(self.batch_size)
                .any(|t| self.easy.any(graph, *t));
        let size = if alone { 1 } else { self.batch_size };
        let first = triples.iter().take(size);
        let seeds = first.map(|t| vec![(t[0], 1.0)]).collect();
        (2 * triples.len().div_ceil(size), seeds)
    }
}

/// Rank of the true node among the nodes that are no other true answer; ties count against.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rank {
    /// One-based rank.
    pub rank: u64,
    /// Number of nodes it was ranked against.
    pub negatives: u64,
    /// Whether a tail was asked for (else a head).
    pub tail: bool,
}

/// 1 + the number of nodes outside `truth` that score at least as high as `target`.
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

/// Ranks tail and head of every triple, of several ranks each its share or all of them together; all get all of them.
///
/// # Errors
/// When the user interrupts, shapes do not fit, or a rank is gone.
pub(crate) fn rank_links(
    pass: Pass<'_>,
    by: &dyn Scorer,
    graph: &Graph,
    truth: &Truth,
    triples: &[Triple],
    how: Ranking<'_>,
) -> OpResult<Vec<Rank>> {
    let ctx = pass.ctx;
    let mine = match by.together() {
        true => 0..triples.len(),
        false => share(triples.len(), &*ctx.ranks, how),
    };
    let mut out = [Vec::new(), Vec::new()];
    // Every triple is asked for twice.
    let (mut through, all) = (0, 2 * mine.len());
    pass.at(through, all);
    for (tail, out) in [true, false].into_iter().zip(&mut out) {
        let query = |t: &Triple| {
            if tail {
                (
                    TailQuery {
                        head: t[0],
                        relation: t[1],
                    },
                    t[2],
                )
            } else {
                (truth.head_query(*t), t[0])
            }
        };
        let mut rest: Vec<(TailQuery, u32)> = triples[mine.clone()].iter().map(query).collect();
        while !rest.is_empty() {
            check_cancelled(ctx, by)?;
            // Rows may share a graph when none of them asks for an edge that stands in it.
            let size = match how.edges {
                EvalEdges::Batch => how.batch_size,
                EvalEdges::Triple => how.batch_size.min(
                    1.max(
                        rest.iter()
                            .take_while(|(q, t)| !how.easy.any(graph, edge(*q, *t)))
                            .count(),
                    ),
                ),
            };
            let rows: Vec<(TailQuery, u32)> = rest.drain(..size.min(rest.len())).collect();
            let gone: Vec<Triple> = match how.edges {
                EvalEdges::Triple => {
                    let asked = rows.iter().map(|(q, t)| edge(*q, *t));
                    how.easy.of_triples(graph, asked)
                }
                EvalEdges::Batch => {
                    let queries = rows.iter();
                    queries
                        .flat_map(|(q, _)| how.easy.of_query(graph, *q))
                        .collect()
                }
            };
            let queries: Vec<TailQuery> = rows.iter().map(|r| r.0).collect();
            let scores = by.links(&gone, &queries)?;
            check_scores(&scores, graph.nodes(), |row| {
                let q = queries[row];
                format!("the tails of entity {} by relation {}", q.head, q.relation)
            })?;
            for ((q, target), scores) in rows.iter().zip(scores.chunks_exact(graph.nodes())) {
                let (rank, negatives) = filtered_rank(scores, *target, truth.tails(*q));
                out.push(Rank {
                    rank,
                    negatives,
                    tail,
                });
            }
            through += rows.len();
            pass.at(through, all);
        }
    }
    if ctx.ranks.size() == 1 || by.together() {
        return Ok(out.concat());
    }
    let all: Vec<[Vec<Rank>; 2]> = gather(&*ctx.ranks, &out)?;
    let (tails, heads): (Vec<_>, Vec<_>) = all.into_iter().map(|[t, h]| (t, h)).unzip();
    Ok([tails.concat(), heads.concat()].concat())
}

/// The triples that a rank ranks. Where batches decide what is measured, they stay whole.
fn share(triples: usize, ranks: &dyn Collective, how: Ranking<'_>) -> Range<usize> {
    let whole = match how.edges {
        EvalEdges::Triple => 1,
        EvalEdges::Batch => how.batch_size,
    };
    let batches = part(triples.div_ceil(whole), ranks.rank(), ranks.size());
    (batches.start * whole).min(triples)..(batches.end * whole).min(triples)
}

fn edge(q: TailQuery, tail: u32) -> Triple {
    [q.head, q.relation, tail]
}

/// Checks a metric's name: mr, mrr, hits@k, hits@k_n, any with `-tail`.
///
/// # Errors
/// What is wrong with it, for the user.
pub fn check_metric(name: &str) -> Result<(), String> {
    parse(name).map(|_| ())
}

enum Metric {
    Mr,
    Mrr,
    Hits(u64),
    /// hits@k among n candidates, estimated without bias from the false positive rate.
    HitsOf(u64, u64),
}

fn parse(name: &str) -> Result<(Metric, bool), String> {
    let wrong =
        || format!("`{name}` is no metric; use mr, mrr, hits@k or hits@k_n, also with `-tail`");
    let (base, tail) = match name.strip_suffix("-tail") {
        Some(base) => (base, true),
        None => (name, false),
    };
    let number = |s: &str| s.parse::<u64>().ok().filter(|k| *k > 0).ok_or_else(wrong);
    let metric = match base {
        "mr" => Metric::Mr,
        "mrr" => Metric::Mrr,
        _ => match base
            .strip_prefix("hits@")
            .map(|k| k.split_once('_').ok_or(k))
        {
            Some(Ok((k, n))) => {
                let (k, n) = (number(k)?, number(n)?);
                if k > n {
                    return Err(wrong());
                }
                Metric::HitsOf(k, n)
            }
            Some(Err(k)) => Metric::Hits(number(k)?),
            None => return Err(wrong()),
        },
    };
    Ok((metric, tail))
}

/// Values of metrics over ranks; 0 where nothing was ranked.
///
/// # Errors
/// When a name is no metric.
pub fn metrics(ranks: &[Rank], names: &[String]) -> OpResult<Vec<(String, f64)>> {
    names
        .iter()
        .map(|name| {
            let (metric, tail) = parse(name).map_err(OpError::new)?;
            let used: Vec<&Rank> = ranks.iter().filter(|r| !tail || r.tail).collect();
            let sum: f64 = used
                .iter()
                .map(|r| match metric {
                    Metric::Mr => r.rank as f64,
                    Metric::Mrr => 1.0 / r.rank as f64,
                    Metric::Hits(k) => f64::from(u8::from(r.rank <= k)),
                    Metric::HitsOf(k, n) => hits_of(r, k, n),
                })
                .sum();
            Ok((name.clone(), sum / used.len().max(1) as f64))
        })
        .collect()
}

/// Probability that fewer than k of n - 1 random negatives rank above the target.
fn hits_of(r: &Rank, k: u64, n: u64) -> f64 {
    let p = (r.rank - 1) as f64 / r.negatives.max(1) as f64;
    let mut choose = 1.0;
    let mut total = 0.0;
    for i in 0..k.min(n) {
        total += choose * p.powi(i as i32) * (1.0 - p).powi((n - 1 - i) as i32);
        choose *= (n - 1 - i) as f64 / (i + 1) as f64;
    }
    total
}

/// Whether less of a metric is better.
pub fn smaller_is_better(name: &str) -> bool {
    matches!(parse(name), Ok((Metric::Mr, _)))
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
        let values = metrics(&ranks, &names).unwrap();
        // Among 2 candidates one negative is drawn: it is worse with probability 1, 6/9 and 0. Among 3 candidates two are
        // drawn, and at most one may be better: 1, 1 - (3/9)^2 and 0.
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
    fn names_that_are_no_metrics_are_refused() {
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
            assert!(check_metric(name).is_err(), "{name}");
        }
        for name in ["mr", "mrr-tail", "hits@10", "hits@10_50", "hits@1_2-tail"] {
            assert!(check_metric(name).is_ok(), "{name}");
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
