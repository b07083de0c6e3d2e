//! Random graphs for tests, with edges grouped in the obvious way.

use proptest::prelude::*;

#[cfg(any(feature = "cuda", feature = "gpu-emulation"))]
use crate::csr::ByRelation;
use crate::csr::Csr;

type Edge = (u32, u32, u32);

/// Edges as (destination, source, relation), and the groupings that the kernels need, made in the
/// obvious way.
#[derive(Debug)]
pub struct Edges {
    pub list: Vec<Edge>,
    pub nodes: usize,
    pub relations: usize,
}

pub struct Grouped {
    pub offsets: Vec<u32>,
    pub a: Vec<u32>,
    pub b: Vec<u32>,
}

#[cfg(any(feature = "cuda", feature = "gpu-emulation"))]
impl Grouped {
    /// Number of edges in the largest group.
    pub fn largest(&self) -> usize {
        let sizes = self.offsets.windows(2).map(|w| (w[1] - w[0]) as usize);
        sizes.max().unwrap_or(0)
    }
}

impl Edges {
    fn grouped(&self, n: usize, key: fn(&Edge) -> Edge) -> Grouped {
        let mut sorted: Vec<_> = self.list.iter().map(key).collect();
        sorted.sort_by_key(|e| e.0);
        let mut offsets = vec![0u32; n + 1];
        for (k, ..) in &sorted {
            offsets[*k as usize + 1] += 1;
        }
        for i in 0..n {
            offsets[i + 1] += offsets[i];
        }
        Grouped {
            offsets,
            a: sorted.iter().map(|e| e.1).collect(),
            b: sorted.iter().map(|e| e.2).collect(),
        }
    }
    pub fn by_destination(&self) -> Grouped {
        self.grouped(self.nodes, |(v, u, r)| (*v, *u, *r))
    }
    pub fn by_source(&self) -> Grouped {
        self.grouped(self.nodes, |(v, u, r)| (*u, *v, *r))
    }
    #[cfg(any(feature = "cuda", feature = "gpu-emulation"))]
    pub fn by_relation(&self) -> Grouped {
        self.grouped(self.relations, |(v, u, r)| (*r, *v, *u))
    }
}

pub fn csr(g: &Grouped) -> Csr<'_> {
    Csr {
        offsets: &g.offsets,
        other: &g.a,
        relation: &g.b,
    }
}

pub fn graphs() -> impl Strategy<Value = Edges> {
    (1usize..300, 1usize..6).prop_flat_map(|(nodes, relations)| {
        let edge = (0..nodes as u32, 0..nodes as u32, 0..relations as u32);
        proptest::collection::vec(edge, 0..700).prop_map(move |list| Edges {
            list,
            nodes,
            relations,
        })
    })
}

#[cfg(any(feature = "cuda", feature = "gpu-emulation"))]
pub fn by_relation(g: &Grouped) -> ByRelation<'_> {
    ByRelation {
        offsets: &g.offsets,
        destination: &g.a,
        source: &g.b,
    }
}
