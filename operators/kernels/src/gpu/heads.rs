//! The scoring head over the rows of all nodes, as in [`crate::score`]. Here the scores of one
//! query lie together.

use super::device_rows::DeviceRows;
use super::layout::kernel_arguments;
use super::sums::{join_rows, sum_rows};
use super::{Error, State, View, address};

/// Pairs of node and query per block; each has one warp.
const WARPS: u32 = 8;
/// The largest number of rows of partial sums.
const MAX_PARTS: usize = 256;

/// A head of two maps: `score(v, q) = b2 + w2 · relu(p(v, q) + share(q))`.
#[derive(Clone, Copy)]
pub struct Head<'a, S: State> {
    /// The rows of states.
    pub rows: &'a DeviceRows,
    /// The first map's share of the queries, with its bias, `queries x f`.
    pub share: View<'a, S::Acc>,
    /// Weights of the second map, `f`.
    pub w2: View<'a, S::Acc>,
    /// Its bias, one value.
    pub b2: View<'a, S::Acc>,
}

/// Gradients of a [`Head`]. They are replaced.
#[derive(Clone, Copy)]
pub struct HeadGrads<'a, A: State> {
    /// See [`Head::share`].
    pub share: View<'a, A>,
    /// See [`Head::w2`].
    pub w2: View<'a, A>,
    /// See [`Head::b2`].
    pub b2: View<'a, A>,
}

impl<S: State> Head<'_, S> {
    fn args(&self, p: View<'_, S>, scores: usize) -> ScoresArgs {
        let (f, queries) = (self.w2.len(), self.rows.queries());
        assert_eq!(p.len(), self.rows.len() * f, "the states' share");
        assert_eq!(self.share.len(), queries * f, "the queries' share");
        assert_eq!(self.b2.len(), 1, "bias");
        let nodes = self.rows.map().len() / (queries + 1);
        assert_eq!(scores, nodes * queries, "scores");
        ScoresArgs {
            p: p.at,
            far: 0,
            share: self.share.at,
            w2: self.w2.at,
            b2: self.b2.at,
            dscores: 0,
            scores: 0,
            partial: 0,
            map: self.rows.map().at,
            row_node: self.rows.node().at,
            row_query: self.rows.query().at,
            nodes: nodes as u32,
            queries: queries as u32,
            f: f as u32,
            rows: self.rows.len() as u32,
            per: 1,
        }
    }

    /// Scores, `queries x nodes`. `far` is the first map's share of nodes without a row; zero if
    /// there is none.
    ///
    /// # Errors
    /// If the device reports one.
    ///
    /// # Panics
    /// If lengths do not match.
    pub fn scores(
        &self,
        p: View<'_, S>,
        far: Option<View<'_, S>>,
        out: View<'_, S::Acc>,
    ) -> Result<(), Error> {
        let args = ScoresArgs {
            far: address(far),
            scores: out.at,
            ..self.args(p, out.len())
        };
        let grid = [out.len().div_ceil(WARPS as usize), 1, 1];
        let name = format!("scores_{}", S::TAG);
        out.gpu().launch(&name, grid, [32, WARPS, 1], 0, &args)
    }

    /// Backward, for states that are zero for all nodes without a row. `p` becomes its own
    /// gradient.
    ///
    /// # Errors
    /// If the device reports one, or has no memory for partial sums.
    ///
    /// # Panics
    /// If lengths do not match.
    pub fn backward(
        &self,
        p: View<'_, S>,
        dscores: View<'_, S::Acc>,
        grads: HeadGrads<'_, S::Acc>,
    ) -> Result<(), Error> {
        let args = self.args(p, dscores.len());
        let gpu = p.gpu();
        let (nodes, queries, f) = (args.nodes as usize, args.queries as usize, args.f as usize);
        let per = nodes.div_ceil(MAX_PARTS).max(32);
        let parts = nodes.div_ceil(per);
        let width = 2 * queries * f;
        let partial = gpu.dirty::<S::Acc>(parts * width)?;
        let args = ScoresArgs {
            dscores: dscores.at,
            partial: partial.at,
            per: per as u32,
            ..args
        };
        let threads = [f.next_multiple_of(32).min(256) as u32, 1, 1];
        let name = format!("score_sums_{}", S::TAG);
        gpu.launch(&name, [parts, queries, 1], threads, 0, &args)?;
        let sums = gpu.dirty::<S::Acc>(width)?;
        let all = gpu.vector(&[0, parts as u32])?;
        join_rows(partial.view(), all.view(), sums.view(), width)?;
        grads.share.copy(sums.part(0, queries * f))?;
        sum_rows(sums.part(queries * f, queries * f), grads.w2, f)?;
        sum_rows(dscores, grads.b2, 1)?;
        let name = format!("score_back_{}", S::TAG);
        gpu.launch_rows(&name, self.rows.len(), f, &args)
    }
}

kernel_arguments! {
    struct ScoresArgs {
        p: u64,
        far: u64,
        share: u64,
        w2: u64,
        b2: u64,
        dscores: u64,
        scores: u64,
        partial: u64,
        map: u64,
        row_node: u64,
        row_query: u64,
        nodes: u32,
        queries: u32,
        f: u32,
        rows: u32,
        per: u32,
    }
}
