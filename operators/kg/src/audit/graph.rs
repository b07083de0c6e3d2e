//! The graph's shape (neighbours, degrees, components), and checks of it.

use super::checks;
use super::data::{Data, Finding};

/// The neighbours of each entity, without directions.
#[derive(Debug, Default)]
pub struct Graph {
    /// Start of each entity's neighbours, and the end of the last one's.
    offsets: Vec<usize>,
    /// Other ends of triples. An entity in several triples occurs several times, and a self-loop
    /// counts twice.
    neighbours: Vec<u32>,
}

impl Graph {
    /// Builds the graph of triples over `entities` entities.
    pub fn new(triples: &[[u32; 3]], entities: usize) -> Self {
        let mut offsets = vec![0; entities + 1];
        for [head, _, tail] in triples {
            offsets[*head as usize + 1] += 1;
            offsets[*tail as usize + 1] += 1;
        }
        for i in 0..entities {
            offsets[i + 1] += offsets[i];
        }
        let mut next = offsets.clone();
        let mut neighbours = vec![0; 2 * triples.len()];
        for [head, _, tail] in triples {
            for (from, to) in [(head, tail), (tail, head)] {
                let at = &mut next[*from as usize];
                neighbours[*at] = *to;
                *at += 1;
            }
        }
        Graph {
            offsets,
            neighbours,
        }
    }

    /// Number of entities, including isolated ones.
    pub fn len(&self) -> usize {
        self.offsets.len().saturating_sub(1)
    }

    /// Other ends of an entity's triples.
    pub fn neighbours(&self, entity: u32) -> &[u32] {
        let at = entity as usize;
        &self.neighbours[self.offsets[at]..self.offsets[at + 1]]
    }

    /// Ends of triples at an entity.
    pub fn degree(&self, entity: u32) -> usize {
        self.neighbours(entity).len()
    }

    /// Connected components: first entity and size, in the order of first entities.
    pub fn components(&self) -> Vec<(u32, usize)> {
        let mut seen = vec![false; self.len()];
        let mut out = Vec::new();
        let mut open = Vec::new();
        for first in 0..self.len() as u32 {
            if std::mem::replace(&mut seen[first as usize], true) {
                continue;
            }
            let mut size = 0;
            open.push(first);
            while let Some(entity) = open.pop() {
                size += 1;
                for &next in self.neighbours(entity) {
                    if !std::mem::replace(&mut seen[next as usize], true) {
                        open.push(next);
                    }
                }
            }
            out.push((first, size));
        }
        out
    }
}

/// Reports repeated triples, self-loops and missing names.
pub fn triples(data: &Data) -> Vec<Finding> {
    let mut out = Vec::new();
    let mut order: Vec<u32> = (0..data.triples.len() as u32).collect();
    order.sort_unstable_by_key(|row| (data.triples[*row as usize], *row));
    let mut repeats: Vec<(u32, u32)> = Vec::new();
    for same in order.chunk_by(|a, b| data.triples[*a as usize] == data.triples[*b as usize]) {
        repeats.extend(same[1..].iter().map(|row| (*row, same[0])));
    }
    repeats.sort_unstable();
    for (row, first) in repeats {
        let earlier = data.triple(first as usize);
        let earlier = earlier.map_or_else(|| format!("row {first}"), |p| p.to_string());
        out.push(Finding::new(
            &checks::DUPLICATE_TRIPLE,
            data.triple(row as usize),
            data.entities.get(data.triples[row as usize][0]),
            format!(
                "`{}` is given already: {earlier}",
                shown(data, row as usize)
            ),
        ));
    }
    for (row, &[head, relation, tail]) in data.triples.iter().enumerate() {
        if head == tail {
            out.push(Finding::new(
                &checks::SELF_LOOP,
                data.triple(row),
                data.entities.get(head),
                format!("`{}` leads from an entity to itself", shown(data, row)),
            ));
        }
        let names = [
            ("head", data.entities.get(head)),
            ("relation", data.relations[relation as usize].name.as_str()),
            ("tail", data.entities.get(tail)),
        ];
        let missing = names.iter().filter(|(_, name)| name.trim().is_empty());
        let missing: Vec<&str> = missing.map(|(what, _)| *what).collect();
        if !missing.is_empty() {
            out.push(Finding::new(
                &checks::EMPTY_NAME,
                data.triple(row),
                data.entities.get(head),
                format!("`{}` has no {}", shown(data, row), missing.join(" and no ")),
            ));
        }
    }
    out
}

/// A triple as kg.txt has it.
fn shown(data: &Data, row: usize) -> String {
    let [head, relation, tail] = data.triples[row];
    let relation = &data.relations[relation as usize].name;
    format!(
        "{},{relation},{}",
        data.entities.get(head),
        data.entities.get(tail)
    )
}

/// Reports relations that are used once, or are named like inverses.
pub fn relations(data: &Data) -> Vec<Finding> {
    let mut out = Vec::new();
    let mut uses = vec![0u64; data.relations.len()];
    for [_, relation, _] in &data.triples {
        uses[*relation as usize] += 1;
    }
    let mut names: std::collections::HashMap<&str, usize> = Default::default();
    for (id, name) in data.direct() {
        names.insert(name, id);
    }
    for (id, name) in data.direct() {
        if uses[id] == 1 && data.details.facts.is_none() {
            out.push(Finding::new(
                &checks::RARE_RELATION,
                data.relation(id),
                name,
                "a single triple has this relation",
            ));
        }
        let base = name.strip_prefix("inverse_");
        if let Some(base) = base.filter(|base| names.contains_key(base)) {
            out.push(Finding::new(
                &checks::INVERSE_RELATION,
                data.relation(id),
                name,
                format!("named like the inverse that every relation has, here of `{base}`"),
            ));
        }
    }
    out
}

/// Reports entities without neighbours, and components other than the largest.
pub fn components(data: &Data) -> Vec<Finding> {
    let mut out = Vec::new();
    let components = data.graph.components();
    // Of equally large ones, the first.
    let largest = components.iter().rev().max_by_key(|(_, size)| *size);
    let largest = largest.map_or(0, |(first, _)| *first);
    for (first, size) in components {
        let name = data.entities.get(first);
        let place = data.entity(first);
        if size == 1 && data.is_document(first) {
            // A document that mentions nothing is reported by the checks of documents.
            continue;
        }
        if size == 1 {
            let why = match data.graph.degree(first) {
                0 => "it is in no triple",
                _ => "its triples lead nowhere else",
            };
            out.push(Finding::new(&checks::ISOLATED_ENTITY, place, name, why));
        } else if first != largest {
            let message = format!(
                "it and {} more are not connected with the main part",
                size - 1
            );
            out.push(Finding::new(&checks::SMALL_COMPONENT, place, name, message));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::testing::{graph, reported};
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn triples_are_looked_at_one_by_one() {
        let data = graph("a,r,b\na,r,b\nc,r,c\n,r,b\na,,b\na,r,b");
        assert_eq!(
            reported(&triples(&data)),
            [
                "duplicate-triple kg.txt:2 a: `a,r,b` is given already: kg.txt:1",
                "duplicate-triple kg.txt:6 a: `a,r,b` is given already: kg.txt:1",
                "self-loop kg.txt:3 c: `c,r,c` leads from an entity to itself",
                "empty-name kg.txt:4 : `,r,b` has no head",
                "empty-name kg.txt:5 a: `a,,b` has no relation",
            ]
        );
    }

    #[test]
    fn relations_used_once_and_inverses_are_reported() {
        let data = graph("a,likes,b\nb,likes,c\nb,inverse_likes,a\nc,inverse_,a\nc,inverse_,b");
        assert_eq!(
            reported(&relations(&data)),
            [
                "rare-relation kg.txt:3 inverse_likes: a single triple has this relation",
                "inverse-relation kg.txt:3 inverse_likes: named like the inverse that every relation has, here of `likes`",
            ]
        );
    }

    #[test]
    fn parts_of_the_graph_are_told_by_their_first_entity() {
        let data = graph("x,r,x\na,r,b\nc,r,d\nd,r,e\nf,r,g");
        assert_eq!(
            reported(&components(&data)),
            [
                "isolated-entity kg.txt:1 x: its triples lead nowhere else",
                "small-component kg.txt:2 a: it and 1 more are not connected with the main part",
                "small-component kg.txt:5 f: it and 1 more are not connected with the main part",
            ]
        );
        assert_eq!(reported(&components(&graph("a,r,b\nc,r,d"))).len(), 1);
    }

    proptest! {
        #[test]
        fn components_are_those_of_merging_labels(pairs in prop::collection::vec((0u32..12, 0u32..12), 0..14)) {
            let triples: Vec<[u32; 3]> = pairs.iter().map(|(a, b)| [*a, 0, *b]).collect();
            let mut label: Vec<u32> = (0..12).collect();
            for _ in 0..12 {
                for (a, b) in &pairs {
                    let least = label[*a as usize].min(label[*b as usize]);
                    label[*a as usize] = least;
                    label[*b as usize] = least;
                }
            }
            let mut want: Vec<(u32, usize)> = Vec::new();
            for first in 0..12u32 {
                let size = label.iter().filter(|l| **l == first).count();
                if size > 0 {
                    want.push((first, size));
                }
            }
            let graph = Graph::new(&triples, 12);
            prop_assert_eq!(graph.components(), want);
            for e in 0..12 {
                let ends = pairs.iter().map(|(a, b)| usize::from(*a == e) + usize::from(*b == e)).sum::<usize>();
                prop_assert_eq!(graph.degree(e), ends);
            }
        }
    }
}
