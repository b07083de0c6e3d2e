//! Filtered link prediction: ranks of the true tail and head of a triple among all nodes.

use std::ops::Range;

use gfm_pipe_api::ranks::{gather, part};
use gfm_pipe_api::{Collective, OpResult};
use gfm_pipe_eval::link_metrics::{Rank, filtered_rank};
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
    /// A triple's own edge and its inverse, as in training with strict negatives: the metric does
    /// not depend on the batch size.
    Triple,
    /// The edges that any row of the batch could ask for, as in the reference: the metric depends
    /// on the batch size.
    Batch,
}

/// How triples are ranked.
#[derive(Debug, Clone, Copy)]
pub struct Ranking<'a> {
    /// Triples scored at once.
    pub batch_size: usize,
    /// For which triples edges are removed.
    pub edges: EvalEdges,
    /// Which edges of a triple give its answer away.
    pub easy: EasyEdges<'a>,
}

impl Ranking<'_> {
    /// About how many batches rank these triples, and where the queries of one batch start.
    /// Triples that stand in the graph are ranked one by one where each has its own edges taken
    /// out.
    pub fn batches(&self, graph: &Graph, triples: &[Triple]) -> (usize, Seeds) {
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

/// Ranks tail and head of every triple. Several processes each rank their share, or all of them
/// rank all together; each returns the ranks of all triples.
///
/// # Errors
/// When the user interrupts, shapes do not fit, or a rank is gone.
pub fn rank_links(
    pass: Pass<'_>,
    by: &dyn Scorer,
    graph: &Graph,
    truth: &Truth,
    triples: &[Triple],
    how: Ranking<'_>,
) -> OpResult<Vec<Rank>> {
    let ctx = pass.ctx;
    let mine = if by.together() {
        0..triples.len()
    } else {
        share(triples.len(), &*ctx.ranks, how)
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
