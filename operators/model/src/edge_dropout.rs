//! Dropout of edges: in each step of a training, the graph lacks some of its triples (Rong et al.,
//! DropEdge, 2020). So the model cannot memorise individual paths.

use gfm_pipe_api::random::mix;

use crate::graph::{Edge, Graph};

/// The triples that one step lacks: each is left out with the same probability, together with its
/// duplicates and inverses. A hash of the triple decides, so that all ranks agree without a list.
#[derive(Debug, Clone, Copy)]
pub struct EdgeDropout {
    /// A triple is left out if its hash is below this.
    below: u64,
    /// What the hash begins with.
    key: u64,
}

impl EdgeDropout {
    /// Leaves a triple out with this probability, from 0 to 1. Each key gives other triples.
    pub fn new(probability: f64, key: u64) -> Self {
        EdgeDropout {
            // The conversion saturates: at 1 all but one of 2^64 hashes are below.
            below: (probability * 2f64.powi(64)) as u64,
            key: mix(key),
        }
    }

    /// Whether the edge is left out; `direct` is the number of direct relations.
    pub fn drops(&self, edge: Edge, direct: u32) -> bool {
        let Edge {
            head,
            tail,
            relation,
        } = if edge.relation < direct {
            edge
        } else {
            edge.inverse(direct)
        };
        let nodes = u64::from(head) << 32 | u64::from(tail);
        mix(mix(self.key ^ nodes) ^ u64::from(relation)) < self.below
    }

    /// The graph without these triples.
    pub fn without(&self, graph: &Graph) -> Graph {
        let direct = graph.relations() as u32;
        graph.keeping(|edge| !self.drops(edge, direct))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_triple_and_its_inverse_are_left_out_together_as_often_as_asked() {
        let dropout = EdgeDropout::new(0.3, 7);
        let other_step = EdgeDropout::new(0.3, 8);
        let (mut dropped, mut both) = (0, 0);
        for i in 0..20_000u32 {
            let edge = Edge {
                head: i % 171,
                tail: i / 171,
                relation: i % 3,
            };
            let drops = dropout.drops(edge, 3);
            assert_eq!(drops, dropout.drops(edge.inverse(3), 3));
            dropped += u32::from(drops);
            both += u32::from(drops && other_step.drops(edge, 3));
        }
        // Five standard deviations: 324 of 20,000 x .3, 202 of 20,000 x .09.
        assert!((5_676..6_324).contains(&dropped), "{dropped}");
        assert!((1_598..2_002).contains(&both), "{both}");
        assert!(!EdgeDropout::new(0.0, 7).drops(Edge::of([1, 2, 3]), 3));
    }
}
