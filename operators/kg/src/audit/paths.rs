//! Checks that a path short enough for the model leads from a question to its gold documents.

use gfm_pipe_api::OpResult;

use super::checks;
use super::data::{Data, Finding, Stop};
use super::graph::Graph;

/// Searches for a path between two sets of entities, from both ends. This visits few entities of a
/// graph; a search from one end would soon visit most of them.
pub struct Search<'a> {
    graph: &'a Graph,
    /// For each entity, the last search that visited it, and from which end: two numbers per
    /// search.
    seen: Vec<u64>,
    number: u64,
    edge: [Vec<u32>; 2],
}

impl<'a> Search<'a> {
    /// A search in a graph.
    pub fn new(graph: &'a Graph) -> Self {
        Search {
            graph,
            seen: vec![0; graph.len()],
            number: 0,
            edge: [Vec::new(), Vec::new()],
        }
    }

    /// Whether a path of at most `hops` triples, whatever their direction, leads from one of `from`
    /// to one of `to`.
    pub fn reaches(&mut self, from: &[u32], to: &[u32], hops: usize) -> bool {
        // Marks of earlier searches are smaller and are ignored.
        self.number += 2;
        for (side, entities) in [from, to].into_iter().enumerate() {
            self.edge[side].clear();
            for &entity in entities {
                let mark = &mut self.seen[entity as usize];
                if *mark == self.number + side as u64 {
                    continue;
                }
                if *mark >= self.number {
                    return true;
                }
                *mark = self.number + side as u64;
                self.edge[side].push(entity);
            }
        }
        for _ in 0..hops {
            let work = |edge: &[u32]| edge.iter().map(|e| self.graph.degree(*e)).sum::<usize>();
            let side = usize::from(work(&self.edge[1]) < work(&self.edge[0]));
            let mine = self.number + side as u64;
            let mut next = Vec::new();
            for &entity in &self.edge[side] {
                for &neighbour in self.graph.neighbours(entity) {
                    let mark = &mut self.seen[neighbour as usize];
                    if *mark == mine {
                        continue;
                    }
                    if *mark >= self.number {
                        return true;
                    }
                    *mark = mine;
                    next.push(neighbour);
                }
            }
            if next.is_empty() {
                return false;
            }
            self.edge[side] = next;
        }
        false
    }
}

/// Reports gold documents that no path of at most `layers` triples reaches.
///
/// # Errors
/// When the user wants to stop.
pub fn gold(data: &Data, layers: usize, stop: Stop<'_>) -> OpResult<Vec<Finding>> {
    let mut out = Vec::new();
    let Some(documents) = &data.documents else {
        return Ok(out);
    };
    let Some(entities) = &documents.entities else {
        return Ok(out);
    };
    let mut search = Search::new(&data.graph);
    for (split, row, question) in data.questions() {
        if row % 64 == 0 {
            stop()?;
        }
        if question.entities.is_empty() {
            continue;
        }
        for &gold in &question.documents {
            let mentioned = &entities[gold as usize];
            if search.reaches(&question.entities, mentioned, layers) {
                continue;
            }
            let title = &documents.titles[gold as usize];
            let message = if mentioned.is_empty() {
                format!("gold document `{title}` mentions no entity of the graph")
            } else {
                format!("no path of at most {layers} triples leads to gold document `{title}`")
            };
            out.push(Finding::new(
                &checks::UNREACHABLE_GOLD,
                data.places.first(&split.name, row),
                &question.id,
                message,
            ));
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::testing::{graph, reported, with_documents, with_split};
    use super::*;
    use proptest::prelude::*;

    /// The obvious version: marks neighbours of marked entities, `hops` times.
    fn slow(pairs: &[(u32, u32)], from: &[u32], to: &[u32], hops: usize) -> bool {
        let mut near: Vec<bool> = (0..15).map(|e| from.contains(&e)).collect();
        for _ in 0..hops {
            let before = near.clone();
            for (a, b) in pairs {
                near[*a as usize] |= before[*b as usize];
                near[*b as usize] |= before[*a as usize];
            }
        }
        to.iter().any(|e| near[*e as usize])
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(500))]
        #[test]
        fn reaches_what_the_obvious_search_reaches(
            pairs in prop::collection::vec((0u32..15, 0u32..15), 0..20),
            asked in prop::collection::vec(
                (prop::collection::vec(0u32..15, 0..3), prop::collection::vec(0u32..15, 0..3), 0usize..6), 1..6),
        ) {
            let triples: Vec<[u32; 3]> = pairs.iter().map(|(a, b)| [*a, 0, *b]).collect();
            let graph = Graph::new(&triples, 15);
            let mut search = Search::new(&graph);
            for (from, to, hops) in asked {
                prop_assert_eq!(search.reaches(&from, &to, hops), slow(&pairs, &from, &to, hops));
            }
        }
    }

    #[test]
    fn gold_documents_out_of_reach_are_reported() {
        let data = graph("a,r,b\nc,r,b\nc,r,d\nx,r,y");
        let data = with_documents(
            data,
            &[("D", "d", &["d"]), ("X", "x", &["x"]), ("None", "n", &[])],
        );
        let data = with_split(
            data,
            "test",
            &[("q1", "?", &["a"], &[0, 1, 2]), ("q2", "?", &[], &[0])],
        );
        let found = |layers| reported(&gold(&data, layers, &|| Ok(())).unwrap());
        let far = "unreachable-gold test.json:2 q1: no path of at most 3 triples leads to gold document `X`";
        let bare =
            "unreachable-gold test.json:2 q1: gold document `None` mentions no entity of the graph";
        assert_eq!(found(3), [far, bare]);
        assert_eq!(found(2).len(), 3);
    }
}
