//! Several walks of personalised PageRank on one graph at once, which reads the graph once for all
//! of them.

use super::ppr::{MAX_STEPS, Ppr, TOLERANCE};
use crate::BadShape;
use crate::starts::Starts;

/// Number of walks that are computed together: their masses at a node fill a cache line.
const AT_ONCE: usize = 8;

/// Where a walk starts, and the probability with which it returns there.
#[derive(Debug, Clone)]
pub struct WalkFrom {
    /// Nodes with weights above 0. When a node is given twice, the first weight counts.
    pub starts: Starts,
    /// The probability of returning, above 0 and at most 1.
    pub restart: f64,
}

/// The masses of several walks, `[nodes][walks]`.
type Masses = Vec<[f64; AT_ONCE]>;

impl Ppr {
    /// The masses of every node for each walk, as [`Ppr::masses`] computes them with the walk's own
    /// probability of returning. `None` for a walk without a start.
    ///
    /// # Errors
    /// When a start is not a node.
    pub fn masses_of_each(&self, walks: &[WalkFrom]) -> Result<Vec<Option<Vec<f64>>>, BadShape> {
        let mut out = Vec::with_capacity(walks.len());
        for some in walks.chunks(AT_ONCE) {
            let masses = self.together(some)?;
            for (w, walk) in some.iter().enumerate() {
                let starts = !walk.starts.is_empty();
                out.push(starts.then(|| masses.iter().map(|at| at[w]).collect()));
            }
        }
        Ok(out)
    }

    /// The masses of at most [`AT_ONCE`] walks.
    fn together(&self, walks: &[WalkFrom]) -> Result<Masses, BadShape> {
        let nodes = self.nodes();
        let mut mass: Masses = vec![[0.0; AT_ONCE]; nodes];
        let mut seeds = Vec::with_capacity(walks.len());
        let mut restart = [1.0; AT_ONCE];
        for (w, walk) in walks.iter().enumerate() {
            let shares = self.shares(&walk.starts)?;
            for &(node, share) in &shares {
                mass[node as usize][w] = share;
            }
            restart[w] = walk.restart;
            seeds.push(shares);
        }
        let mut next: Masses = vec![[0.0; AT_ONCE]; nodes];
        for _ in 0..MAX_STEPS {
            for (v, out) in next.iter_mut().enumerate() {
                let row = self.offsets[v]..self.offsets[v + 1];
                let mut arriving = [0.0; AT_ONCE];
                for (&u, p) in self.neighbours[row.clone()].iter().zip(&self.steps[row]) {
                    for (sum, mass) in arriving.iter_mut().zip(&mass[u as usize]) {
                        *sum += mass * p;
                    }
                }
                for w in 0..AT_ONCE {
                    out[w] = (1.0 - restart[w]) * arriving[w];
                }
            }
            let mut stuck = [0.0; AT_ONCE];
            for &u in &self.isolated {
                for (sum, mass) in stuck.iter_mut().zip(&mass[u as usize]) {
                    *sum += mass;
                }
            }
            for (w, shares) in seeds.iter().enumerate() {
                let back = restart[w] + (1.0 - restart[w]) * stuck[w];
                for &(s, share) in shares {
                    next[s as usize][w] += back * share;
                }
            }
            let mut change = [0.0; AT_ONCE];
            for (a, b) in mass.iter().zip(&next) {
                for w in 0..AT_ONCE {
                    change[w] += f64::abs(a[w] - b[w]);
                }
            }
            std::mem::swap(&mut mass, &mut next);
            if change.iter().all(|change| *change < TOLERANCE) {
                break;
            }
        }
        Ok(mass)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn each_walk_has_the_masses_that_it_has_alone(
            edges in prop::collection::vec((0u32..12, 0u32..12, 0.1..3.0f64), 0..30),
            starts in prop::collection::vec(
                (prop::collection::vec((0u32..12, 0.1..2.0f64), 0..4), 0.1..1.0f64), 1..11,
            ),
        ) {
            let graph = Ppr::new(12, edges.iter().copied()).unwrap();
            let walks: Vec<WalkFrom> = starts
                .into_iter()
                .map(|(starts, restart)| WalkFrom { starts, restart })
                .collect();
            let together = graph.masses_of_each(&walks).unwrap();
            for (walk, got) in walks.iter().zip(together) {
                let graph = Ppr::new(12, edges.iter().copied()).unwrap().restart(walk.restart);
                let alone = graph.masses(&walk.starts).unwrap();
                prop_assert_eq!(alone.is_some(), got.is_some());
                for (a, b) in alone.iter().flatten().zip(got.iter().flatten()) {
                    prop_assert!((a - b).abs() < 1e-8, "{} {}", a, b);
                }
            }
        }
    }

    #[test]
    fn a_start_outside_of_the_graph_is_refused() {
        let graph = Ppr::new(2, [(0, 1, 1.0)]).unwrap();
        let walk = WalkFrom {
            starts: vec![(2, 1.0)],
            restart: 0.3,
        };
        assert!(graph.masses_of_each(&[walk]).is_err());
    }
}
