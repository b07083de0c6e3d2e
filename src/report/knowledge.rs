//! The graph of an evaluation, used to show how a document is reached from a question.

use std::collections::VecDeque;

use gfm_pipe_api::{OpError, columns};
use serde::Serialize;

use super::run::{Lacking, Run, other_version};

/// A graph with its names; edges can be followed in both directions.
pub struct Knowledge {
    /// Names of entities, by id.
    pub entities: Vec<String>,
    relations: Vec<String>,
    triples: Vec<[u32; 3]>,
    /// For each entity, where its triples (as head or tail) begin in `at`.
    offsets: Vec<usize>,
    at: Vec<u32>,
    /// Ids of the entities mentioned in each document.
    pub mentions: Vec<Vec<u32>>,
    /// Number of layers of the model, which is the number of hops it can look.
    pub layers: Option<usize>,
}

/// Statistics of a graph.
#[derive(Debug, Clone, Serialize)]
pub struct Statistics {
    /// The stage that built it.
    pub stage: String,
    rows: Vec<(&'static str, String)>,
}

impl Knowledge {
    /// Reads the graph that an `evaluate` stage used, by following what its inputs were made from.
    ///
    /// # Errors
    /// When a table is gone, or the graph was not made by the built-in operators.
    pub fn read(run: &Run<'_>, stage: &str) -> Result<Self, Lacking> {
        let from = |stage: &str, port: &str| {
            run.input(stage, port)
                .ok_or_else(|| format!("it is not known what {stage}.{port} was made from"))
        };
        let (graph, _) = from(stage, "graph")?;
        let triples = from(&graph, "triples")?;
        let entities = from(&graph, "entities")?;
        let (embedded, _) = from(&graph, "relations")?;
        let relations = from(&embedded, "texts")?;
        let documents = from(stage, "documents")?;
        let model = from(stage, "model")?;
        let table = |(stage, port): &(String, String), name| run.table((stage, port), name);
        let names = |t: &arrow::array::RecordBatch| -> Result<Vec<String>, OpError> {
            let column = columns::text(t, "name")?;
            Ok(column
                .iter()
                .map(|n| n.unwrap_or_default().to_owned())
                .collect())
        };
        let entities = names(&table(&entities, "entities")?).map_err(other_version)?;
        let relations = names(&table(&relations, "relations")?).map_err(other_version)?;
        let t = table(&triples, "triples")?;
        let links = table(&documents, "entity_documents")?;
        let info = table(&documents, "info")?;
        let read = || -> Result<_, OpError> {
            let (h, r, t) = (
                columns::u32s(&t, "head")?.values(),
                columns::u32s(&t, "relation")?.values(),
                columns::u32s(&t, "tail")?.values(),
            );
            let triples: Vec<[u32; 3]> = (0..h.len()).map(|i| [h[i], r[i], t[i]]).collect();
            let documents = columns::u64s(&info, "documents")?.value(0) as usize;
            let mut mentions = vec![Vec::new(); documents];
            let pairs = (
                columns::u32s(&links, "entity")?.values(),
                columns::u32s(&links, "document")?.values(),
            );
            for (e, d) in pairs.0.iter().zip(pairs.1) {
                if let Some(of) = mentions.get_mut(*d as usize) {
                    of.push(*e);
                }
            }
            Ok((triples, mentions))
        };
        let (triples, mentions) = read().map_err(other_version)?;
        let layers = table(&model, "config").ok().and_then(|t| {
            let json = columns::text(&t, "json").ok()?.value(0).to_owned();
            let json: serde_json::Value = serde_json::from_str(&json).ok()?;
            Some(json["entity_model"]["hidden_dims"].as_array()?.len())
        });
        Ok(Knowledge::new(
            entities, relations, triples, mentions, layers,
        ))
    }

    fn new(
        entities: Vec<String>,
        relations: Vec<String>,
        mut triples: Vec<[u32; 3]>,
        mentions: Vec<Vec<u32>>,
        layers: Option<usize>,
    ) -> Self {
        let nodes = entities.len();
        // Triples with ids of another graph are dropped.
        triples.retain(|[h, _, t]| (*h as usize) < nodes && (*t as usize) < nodes);
        let mut offsets = vec![0; nodes + 1];
        for [h, _, t] in &triples {
            offsets[*h as usize + 1] += 1;
            offsets[*t as usize + 1] += 1;
        }
        for i in 0..nodes {
            offsets[i + 1] += offsets[i];
        }
        let mut next = offsets.clone();
        let mut at = vec![0; 2 * triples.len()];
        for (i, [h, _, t]) in (0..=u32::MAX).zip(&triples) {
            for end in [h, t] {
                at[next[*end as usize]] = i;
                next[*end as usize] += 1;
            }
        }
        Knowledge {
            entities,
            relations,
            triples,
            offsets,
            at,
            mentions,
            layers,
        }
    }

    /// The name of an entity.
    pub fn name(&self, entity: u32) -> &str {
        self.entities
            .get(entity as usize)
            .map_or("?", String::as_str)
    }

    fn relation(&self, relation: u32) -> &str {
        self.relations
            .get(relation as usize)
            .map_or("?", String::as_str)
    }

    /// A shortest path from any entity in `from` to any in `to`, following triples in both
    /// directions: the number of hops, and the path in words. `None` if there is no path.
    pub fn path(&self, from: &[u32], to: &[u32]) -> Option<(usize, String)> {
        const UNSEEN: u32 = u32::MAX;
        const START: u32 = u32::MAX - 1;
        let mut wanted = vec![false; self.entities.len()];
        for e in to {
            *wanted.get_mut(*e as usize)? = true;
        }
        // For each entity, the triple by which it was reached.
        let mut by = vec![UNSEEN; self.entities.len()];
        let mut queue = VecDeque::new();
        for e in from {
            *by.get_mut(*e as usize)? = START;
            queue.push_back(*e);
        }
        while let Some(e) = queue.pop_front() {
            if wanted[e as usize] {
                return Some(self.path_text(e, &by, START));
            }
            for &i in &self.at[self.offsets[e as usize]..self.offsets[e as usize + 1]] {
                let [h, _, t] = self.triples[i as usize];
                let other = if h == e { t } else { h };
                if by[other as usize] == UNSEEN {
                    by[other as usize] = i;
                    queue.push_back(other);
                }
            }
        }
        None
    }

    fn path_text(&self, end: u32, by: &[u32], start: u32) -> (usize, String) {
        let mut steps = Vec::new();
        let mut e = end;
        while by[e as usize] != start {
            let [h, r, t] = self.triples[by[e as usize] as usize];
            let before = if h == e { t } else { h };
            let arrow = if before == h {
                format!(" —{}→ ", self.relation(r))
            } else {
                format!(" ←{}— ", self.relation(r))
            };
            steps.push(format!("{arrow}{}", self.name(e)));
            e = before;
        }
        let hops = steps.len();
        steps.push(self.name(e).to_owned());
        steps.reverse();
        (hops, steps.concat())
    }
}

/// Statistics of the graphs that a run built.
pub fn statistics(run: &Run<'_>) -> Vec<Statistics> {
    let graphs = run.of_kind("graph").into_iter();
    graphs
        .filter_map(|(stage, port)| {
            let info = run.table((&stage, &port), "info").ok()?;
            let nodes = run.table((&stage, &port), "nodes").ok()?;
            let count = |name| Some(columns::u64s(&info, name).ok()?.value(0));
            let (n, triples) = (count("nodes")?, count("triples")?);
            let degrees = columns::u32s(&nodes, "degree").ok()?.values();
            let mut sorted: Vec<u32> = degrees.to_vec();
            sorted.sort_unstable();
            let at = |part: f64| {
                let last = sorted.len().checked_sub(1)?;
                sorted.get((last as f64 * part) as usize).copied()
            };
            let degree = |part| crate::ui::count(u64::from(at(part).unwrap_or(0)));
            let rows = vec![
                ("entities", crate::ui::count(n)),
                (
                    "relations (without inverses)",
                    crate::ui::count(count("relations")?),
                ),
                ("triples", crate::ui::count(triples)),
                (
                    "triples per entity",
                    format!("{:.2}", triples as f64 / n.max(1) as f64),
                ),
                ("edges of an entity, median", degree(0.5)),
                ("edges of an entity, 99th percentile", degree(0.99)),
                ("edges of an entity, most", degree(1.0)),
            ];
            Some(Statistics { stage, rows })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn texts(names: &[&str]) -> Vec<String> {
        names.iter().map(|n| (*n).to_owned()).collect()
    }

    #[test]
    fn a_shortest_path_is_told_with_its_directions() {
        // a -r-> b <-s- c -r-> d, a -s-> e, f isolated; a triple with an unknown entity is ignored.
        let triples = vec![[0, 0, 1], [2, 1, 1], [2, 0, 3], [0, 1, 4], [0, 0, 9]];
        let k = Knowledge::new(
            texts(&["a", "b", "c", "d", "e", "f"]),
            texts(&["r", "s"]),
            triples,
            Vec::new(),
            None,
        );
        let found = |from: &[u32], to: &[u32]| k.path(from, to);
        assert_eq!(
            found(&[0], &[3]).unwrap(),
            (3, "a —r→ b ←s— c —r→ d".to_owned())
        );
        assert_eq!(found(&[0, 2], &[3, 5]).unwrap(), (1, "c —r→ d".to_owned()));
        assert_eq!(found(&[1], &[1]).unwrap(), (0, "b".to_owned()));
        assert_eq!(found(&[0], &[5]), None);
        assert_eq!(found(&[], &[5]), None);
        assert_eq!(found(&[0], &[]), None);
    }
}
