//! Filtered link prediction: the ranks of the true tail and the true head of each triple among all
//! nodes.

use std::ops::Range;

use gfm_pipe_api::ranks::{gather, part};
use gfm_pipe_api::{Collective, OpResult};
use gfm_pipe_eval::link_metrics::{Rank, filtered_rank};
use serde::{Deserialize, Serialize};

use crate::graph::Graph;
use crate::model::TailQuery;
use crate::ops::Seeds;
use crate::progress::Pass;
use crate::sampling::{EasyEdges, Triple, Truth};
use crate::scorer::{Scorer, check_cancelled, check_scores};

/// Which edges are taken out of the graph while triples are ranked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EvalEdges {
    /// A triple's own edge and its inverse, as in training with strict negatives. The metric does
    /// not depend on the batch size.
    Triple,
    /// The edges that any row of the batch could ask for, as in the reference. The metric depends
    /// on the batch size.
    Batch,
}

/// How triples are ranked.
#[derive(Debug, Clone, Copy)]
pub struct Ranking<'a> {
    /// Largest number of triples that are scored at once.
    pub batch_size: usize,
    /// The triples whose edges are removed.
    pub edges: EvalEdges,
    /// The edges that give the answer of a triple away.
    pub easy: EasyEdges<'a>,
}

impl Ranking<'_> {
    /// Estimates the number of batches that rank these triples, and returns it with the seeds of
    /// one batch. With [`EvalEdges::Triple`], triples that are in the graph are ranked one by one.
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

/// Ranks the tail and the head of every triple: all tails first, then all heads. Ranks of a
/// distributed stage each take a share of the triples, or all score every triple together; each of
/// them returns the results of all triples.
///
/// # Errors
/// When the user interrupts, when shapes do not fit, or when the connection to a rank fails.
pub fn rank_links(
    pass: Pass<'_>,
    scorer: &dyn Scorer,
    graph: &Graph,
    truth: &Truth,
    triples: &[Triple],
    ranking: Ranking<'_>,
) -> OpResult<Vec<Rank>> {
    let ctx = pass.ctx;
    let mine = if scorer.together() {
        0..triples.len()
    } else {
        share(triples.len(), &*ctx.ranks, ranking)
    };
    let mut out = [Vec::new(), Vec::new()];
    // Every triple makes two queries.
    let (mut done, all) = (0, 2 * mine.len());
    pass.at(done, all);
    for (tail, out) in [true, false].into_iter().zip(&mut out) {
        let own = triples[mine.clone()].iter();
        let rows: Vec<Row> = own.map(|t| Row::new(*t, tail, truth)).collect();
        let mut rest = rows.as_slice();
        while !rest.is_empty() {
            check_cancelled(ctx, scorer)?;
            let (batch, later) = rest.split_at(ranking.next_size(graph, rest));
            rest = later;
            let queries: Vec<TailQuery> = batch.iter().map(|r| r.query).collect();
            let scores = scorer.links(&ranking.gone(graph, batch), &queries)?;
            check_scores(&scores, graph.nodes(), |row| {
                let q = queries[row];
                format!("the tails of entity {} by relation {}", q.head, q.relation)
            })?;
            for (row, scores) in batch.iter().zip(scores.chunks_exact(graph.nodes())) {
                let (rank, negatives) = filtered_rank(scores, row.answer, truth.tails(row.query));
                out.push(Rank {
                    rank,
                    negatives,
                    tail,
                });
            }
            done += batch.len();
            pass.at(done, all);
        }
    }
    if ctx.ranks.size() == 1 || scorer.together() {
        return Ok(out.concat());
    }
    let all: Vec<[Vec<Rank>; 2]> = gather(&*ctx.ranks, &out)?;
    let (tails, heads): (Vec<_>, Vec<_>) = all.into_iter().map(|[t, h]| (t, h)).unzip();
    Ok([tails.concat(), heads.concat()].concat())
}

/// A query to rank, and its answer.
#[derive(Debug, Clone, Copy)]
struct Row {
    query: TailQuery,
    answer: u32,
}

impl Row {
    /// The query for the tail of a triple, or for its head.
    fn new(triple: Triple, tail: bool, truth: &Truth) -> Self {
        let [head, relation, answer] = triple;
        if tail {
            let query = TailQuery { head, relation };
            Row { query, answer }
        } else {
            Row {
                query: truth.head_query(triple),
                answer: head,
            }
        }
    }

    fn triple(self) -> Triple {
        [self.query.head, self.query.relation, self.answer]
    }
}

impl Ranking<'_> {
    /// Number of rows in the next batch. Rows can share a graph if none of their answers is given
    /// away by an edge in it.
    fn next_size(&self, graph: &Graph, rest: &[Row]) -> usize {
        let size = match self.edges {
            EvalEdges::Batch => self.batch_size,
            EvalEdges::Triple => {
                let hidden = |row: &&Row| !self.easy.any(graph, row.triple());
                let count = rest.iter().take_while(hidden).count();
                self.batch_size.min(count.max(1))
            }
        };
        size.min(rest.len())
    }

    /// The triples to take out of the graph while a batch is scored.
    fn gone(&self, graph: &Graph, batch: &[Row]) -> Vec<Triple> {
        let rows = batch.iter();
        match self.edges {
            EvalEdges::Triple => self.easy.of_triples(graph, rows.map(|row| row.triple())),
            EvalEdges::Batch => {
                let easy = rows.flat_map(|row| self.easy.of_query(graph, row.query));
                easy.collect()
            }
        }
    }
}

/// The triples that this rank ranks. With [`EvalEdges::Batch`], batches are not split over ranks,
/// because the metric depends on them.
fn share(triples: usize, ranks: &dyn Collective, ranking: Ranking<'_>) -> Range<usize> {
    let unit = match ranking.edges {
        EvalEdges::Triple => 1,
        EvalEdges::Batch => ranking.batch_size,
    };
    let units = part(triples.div_ceil(unit), ranks.rank(), ranks.size());
    (units.start * unit).min(triples)..(units.end * unit).min(triples)
}
