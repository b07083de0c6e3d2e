//! Edges as kernels read them.

use gfm_pipe_kernels::csr::{ByRelation, Csr};

/// Edges grouped by one end, two more numbers beside each.
pub struct Grouped {
    offsets: Vec<u32>,
    other: Vec<u32>,
    relation: Vec<u32>,
}

impl Grouped {
    /// Of edges (group, other, relation).
    pub fn new(groups: usize, mut edges: Vec<[u32; 3]>) -> Self {
        edges.sort_unstable();
        let mut offsets = vec![0u32; groups + 1];
        edges.iter().for_each(|e| offsets[e[0] as usize + 1] += 1);
        for i in 0..groups {
            offsets[i + 1] += offsets[i];
        }
        Grouped {
            offsets,
            other: edges.iter().map(|e| e[1]).collect(),
            relation: edges.iter().map(|e| e[2]).collect(),
        }
    }

    /// By a node.
    pub fn csr(&self) -> Csr<'_> {
        Csr {
            offsets: &self.offsets,
            other: &self.other,
            relation: &self.relation,
        }
    }

    /// By relation, of edges (relation, destination, source).
    #[allow(dead_code, reason = "one bench's")]
    pub fn by_relation(&self) -> ByRelation<'_> {
        ByRelation {
            offsets: &self.offsets,
            destination: &self.other,
            source: &self.relation,
        }
    }
}

/// Edges (destination, source, relation) of these triples and their inverses.
pub fn both_ways(triples: &[[u32; 3]], relations: usize) -> Vec<[u32; 3]> {
    let r = relations as u32;
    let both = triples
        .iter()
        .flat_map(|[h, k, t]| [[*h, *t, *k], [*t, *h, *k + r]]);
    both.collect()
}
