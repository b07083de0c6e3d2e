//! Several walks of personalised PageRank on one graph at once, in single precision: for features,
//! which are kept in single precision too.
//!
//! The masses x of a walk solve x = c s + (1 - restart) P x, where s are the shares of the starts,
//! P the probabilities of steps, and c what returns. The graph is undirected, so P is similar to a
//! symmetric matrix, and its eigenvalues are real and between -1 and 1. The Chebyshev
//! semi-iterative method (Golub and Van Loan, Matrix Computations, section 11.2.8 of the fourth
//! edition) then needs half of the steps of [`Ppr::masses`], or fewer: 15 for a restart of 0.5, 22
//! for 0.3, 33 for 0.15. The mass of a node that hardly any walker reaches may be slightly below 0.

use rayon::prelude::*;

use super::ppr::{MAX_STEPS, Ppr};
use crate::BadShape;
use crate::starts::Starts;

/// Number of walks that are computed together. More would read the graph less often, but the masses
/// of a large graph would not fit into the processor's cache.
const AT_ONCE: usize = 4;
/// Number of nodes whose masses a thread computes at once.
const NODES: usize = 8192;
/// The error of the masses is divided by this, from the first step to the last. It is measured as
/// the method does, by the sum of squares in which the square of a node counts less the more edges
/// it has.
const PRECISION: f64 = 1e8;

/// Where a walk starts, and the probability with which it returns there.
#[derive(Debug, Clone)]
pub struct WalkFrom {
    /// Nodes with weights above 0. When a node is given twice, the first weight counts.
    pub starts: Starts,
    /// The probability of returning, above 0 and at most 1.
    pub restart: f64,
}

impl Ppr {
    /// The masses of every node for each walk, as [`Ppr::masses`] computes them with the walk's own
    /// probability of returning, but in single precision. `None` for a walk without a start. Walks
    /// on a large graph are computed one by one.
    ///
    /// # Errors
    /// When a start is not a node.
    pub fn masses_of_each(&self, walks: &[WalkFrom]) -> Result<Vec<Option<Vec<f32>>>, BadShape> {
        if self.is_large() {
            let masses = walks.par_iter().map(|walk| {
                let masses = self.nearby(&walk.starts, walk.restart)?;
                Ok(masses.map(|of| of.into_iter().map(|mass| mass as f32).collect()))
            });
            return masses.collect();
        }
        let mut out = vec![None; walks.len()];
        let mut order: Vec<usize> = (0..walks.len())
            .filter(|w| !walks[*w].starts.is_empty())
            .collect();
        // Walks that return equally often need equally many steps.
        order.sort_by(|a, b| walks[*a].restart.total_cmp(&walks[*b].restart));
        for alike in order.chunk_by(|a, b| walks[*a].restart == walks[*b].restart) {
            for some in alike.chunks(AT_ONCE) {
                let starts: Vec<&Starts> = some.iter().map(|w| &walks[*w].starts).collect();
                let restart = walks[some[0]].restart;
                let masses = match some.len() {
                    1 => self.together::<1>(&starts, restart)?,
                    _ => self.together::<AT_ONCE>(&starts, restart)?,
                };
                for (w, masses) in some.iter().zip(masses) {
                    out[*w] = Some(masses);
                }
            }
        }
        Ok(out)
    }

    /// The masses of every node for each of at most `N` walks, all of which have a start.
    fn together<const N: usize>(
        &self,
        starts: &[&Starts],
        restart: f64,
    ) -> Result<Vec<Vec<f32>>, BadShape> {
        let goes_on = 1.0 - restart;
        // What arrives at a node without a step, ascending by node; and the masses of nodes without
        // an edge, where no walker arrives otherwise.
        let (mut from_starts, mut on_isolated) = (Vec::new(), Vec::new());
        for (w, starts) in starts.iter().enumerate() {
            let shares = self.shares(starts)?;
            let isolated = |s: &u32| self.isolated.binary_search(s).is_ok();
            let stuck: f64 = shares.iter().filter(|s| isolated(&s.0)).map(|s| s.1).sum();
            let returns = restart / (1.0 - goes_on * stuck);
            for (node, share) in shares {
                let to = if isolated(&node) {
                    &mut on_isolated
                } else {
                    &mut from_starts
                };
                to.push((node as usize, w, returns * share));
            }
        }
        from_starts.sort_by_key(|(node, ..)| *node);
        let mut mass = vec![[0.0_f32; N]; self.nodes()];
        for (node, w, arrives) in &from_starts {
            mass[*node][*w] = *arrives as f32;
        }
        // The masses of the step before, and then of the next step.
        let mut other = vec![[0.0_f32; N]; self.nodes()];
        let mut speed = 1.0;
        for step in 0..steps(goes_on) {
            let parts = other.par_chunks_mut(NODES).enumerate();
            parts.for_each(|(part, other)| {
                let first = part * NODES;
                let place = |node| from_starts.partition_point(|(of, ..)| *of < node);
                let here = place(first)..place(first + other.len());
                let mut from_starts = from_starts[here].iter().peekable();
                for (v, other) in (first..).zip(other) {
                    let mut arriving = [0.0; N];
                    for (u, p) in self.arriving(v) {
                        for (sum, mass) in arriving.iter_mut().zip(&mass[u]) {
                            *sum += f64::from(*mass) * p;
                        }
                    }
                    for sum in &mut arriving {
                        *sum *= goes_on;
                    }
                    while let Some((_, w, arrives)) = from_starts.next_if(|(of, ..)| *of == v) {
                        arriving[*w] += arrives;
                    }
                    for w in 0..N {
                        let before = f64::from(other[w]);
                        other[w] = (speed * (arriving[w] - before) + before) as f32;
                    }
                }
            });
            std::mem::swap(&mut mass, &mut other);
            speed = match step {
                0 => 1.0 / (1.0 - goes_on * goes_on / 2.0),
                _ => 1.0 / (1.0 - goes_on * goes_on * speed / 4.0),
            };
        }
        for (node, w, there) in on_isolated {
            mass[node][w] = there as f32;
        }
        let of_walk = |w: usize| mass.iter().map(|at| at[w]).collect();
        Ok((0..starts.len()).map(of_walk).collect())
    }
}

/// Number of steps after which the error is small enough: a step divides it by about `1 / rate`.
fn steps(goes_on: f64) -> usize {
    let rate = goes_on / (1.0 + (1.0 - goes_on * goes_on).sqrt());
    let enough = (2.0 * PRECISION).ln() / -rate.ln();
    (enough.ceil() as usize).clamp(1, MAX_STEPS)
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
                    prop_assert!((a - f64::from(*b)).abs() < 1e-6, "{} {}", a, b);
                }
            }
        }
    }

    #[test]
    fn hubs_and_light_edges_have_their_masses() {
        // Two hubs with a light edge between them, and a thousand leaves of unequal weight.
        let leaves = (2..1002).map(|leaf| (leaf % 2, leaf, f64::from(leaf % 7 + 1) / 4.0));
        let edges: Vec<(u32, u32, f64)> = leaves.chain([(0, 1, 0.01)]).collect();
        let graph = Ppr::new(1002, edges.iter().copied()).unwrap();
        for restart in [0.05, 0.15, 0.3, 0.9, 1.0] {
            let walk = |node| WalkFrom {
                starts: vec![(node, 1.0), (3, 0.5)],
                restart,
            };
            let walks = [0, 2, 700].map(walk);
            let together = graph.masses_of_each(&walks).unwrap();
            let graph = Ppr::new(1002, edges.iter().copied()).unwrap();
            let graph = graph.restart(restart);
            for (walk, got) in walks.iter().zip(together) {
                let alone = graph.masses(&walk.starts).unwrap().unwrap();
                for (a, b) in alone.iter().zip(got.unwrap()) {
                    assert!((a - f64::from(b)).abs() < 1e-6, "{restart}: {a} {b}");
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
