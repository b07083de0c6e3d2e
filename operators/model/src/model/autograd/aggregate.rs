//! All aggregates of the plain model, with the gradients that the reference gives to ties.

use super::*;
use crate::ops::{Path, degree_scales, message_counts};

/// Numbers closer than this are tied. Equal states may be rounded in different ways.
const TIED: f64 = 1e-13;

impl Plain<'_> {
    /// What joins the messages and the boundary, `[N, d]` (PNA: `[N, 12 d]`).
    pub(super) fn aggregate(&self, boundary: &Tensor, sent: Option<&Sent>) -> Result<Tensor> {
        // Every edge has an inverse, so every node has as many edges in as out.
        let counts: Vec<f64> = message_counts(self.graph.by_head());
        let count = tensor(counts.clone(), (self.graph.nodes(), 1))?;
        let sum = |start: &Tensor, sent: Option<(&Tensor, Tensor)>| match sent {
            Some((to, messages)) => start.index_add(to, &messages, 0),
            None => Ok(start.clone()),
        };
        let all = sum(boundary, sent.map(|s| (&s.to, s.messages.clone())))?;
        match self.config.aggregate_func {
            AggregateFunc::Sum => Ok(all),
            AggregateFunc::Mean => all.broadcast_div(&count),
            AggregateFunc::Max => self.largest(boundary, sent, 1.0),
            AggregateFunc::Min => self.largest(boundary, sent, -1.0),
            AggregateFunc::Pna => {
                let parts = self.config.message_func == MessageFunc::TransE;
                let squares = |s: &Sent| match (parts, &s.parts) {
                    (true, [x, w]) => x.sqr()? + w.sqr()?,
                    (false, _) => s.messages.sqr(),
                };
                let squares = sent.map(|s| Ok::<_, candle_core::Error>((&s.to, squares(s)?)));
                let square = sum(&boundary.sqr()?, squares.transpose()?)?;
                let mean = all.broadcast_div(&count)?;
                let variance = (square.broadcast_div(&count)? - mean.sqr()?)?;
                let open = variance.gt(1e-6)?.to_dtype(DType::F64)?;
                let floor = ((1.0 - &open)? * 1e-6)?;
                let deviation = ((variance * open)? + floor)?.sqrt()?;
                let max = self.largest(boundary, sent, 1.0)?;
                let min = self.largest(boundary, sent, -1.0)?;
                let statistics = Tensor::stack(&[mean, max, min, deviation], 2)?.unsqueeze(3)?;
                let [s, inverse] = degree_scales(&counts);
                let scales = counts.iter().zip(s).zip(inverse);
                let scales: Vec<f64> = scales.flat_map(|((_, s), i)| [1.0, s, i]).collect();
                let scales = tensor(scales, (counts.len(), 1, 1, 3))?;
                let (nodes, d) = boundary.dims2()?;
                statistics.broadcast_mul(&scales)?.reshape((nodes, 12 * d))
            }
        }
    }

    /// The largest of `sign` times the boundary and the messages, times `sign`.
    fn largest(&self, boundary: &Tensor, sent: Option<&Sent>, sign: f64) -> Result<Tensor> {
        let start: Vec<Vec<f64>> = (boundary * sign)?.to_vec2()?;
        let (to, messages) = match sent {
            Some(s) => (
                s.to.to_vec1::<u32>()?,
                (&s.messages * sign)?.to_vec2::<f64>()?,
            ),
            None => return Ok(boundary.clone()),
        };
        let mut best = start.clone();
        for (v, m) in to.iter().zip(&messages) {
            let row = &mut best[*v as usize];
            row.iter_mut().zip(m).for_each(|(b, m)| *b = b.max(*m));
        }
        let ties = |x: &[f64], best: &[f64]| -> Vec<f64> {
            let near = x.iter().zip(best).map(|(x, b)| (x - b).abs() < TIED);
            near.map(f64::from).collect()
        };
        let mut edges = vec![vec![0.0; start[0].len()]; start.len()];
        for (v, m) in to.iter().zip(&messages) {
            let v = *v as usize;
            let tied = ties(m, &best[v]);
            edges[v].iter_mut().zip(tied).for_each(|(e, t)| *e += t);
        }
        let path = self.config.message_func.path();
        // What one of the edges receives of a gradient, and what the boundary does.
        let shares = |v: usize, j: usize| {
            let own = f64::from((start[v][j] - best[v][j]).abs() < TIED);
            match path {
                Path::Fused if own > 0.0 && edges[v][j] > 0.0 => (0.5, 0.5),
                Path::Fused => (1.0 - own, own),
                Path::Plain => {
                    let share = 1.0 / (edges[v][j] + own + f64::from(best[v][j].abs() < TIED));
                    (share, share * own)
                }
            }
        };
        let own = start.iter().enumerate();
        let own: Vec<f64> = own
            .flat_map(|(v, row)| (0..row.len()).map(move |j| (v, j)))
            .map(|(v, j)| shares(v, j).1)
            .collect();
        let mut each = Vec::new();
        for (v, m) in to.iter().zip(&messages) {
            let v = *v as usize;
            let tied = ties(m, &best[v]);
            each.extend(tied.iter().enumerate().map(|(j, t)| t * shares(v, j).0));
        }
        // A sum with these gradients, and the value of the extreme.
        let s = sent.map(|s| &s.messages * tensor(each, s.messages.shape())?);
        let own = (boundary * tensor(own, boundary.shape())?)?;
        let shared = match (s, sent) {
            (Some(messages), Some(s)) => own.index_add(&s.to, &messages?, 0)?,
            _ => own,
        };
        let best: Vec<f64> = best.concat().iter().map(|b| b * sign).collect();
        let best = tensor(best, boundary.shape())?;
        (best - shared.detach())? + shared
    }
}
