//! Document nodes and their edges.
//!
//! Document nodes come after all entities, so that an entity's id does not depend on them. Their
//! names are distinct from those of entities: an entity with the name of a document is another
//! node, linked to it by `title of`.

use std::collections::BTreeMap;

use ahash::{AHashMap, AHashSet};
use gfm_pipe_api::document_edges::EdgeKind;
use gfm_pipe_kg::normal;

use super::normalize::Normalize;
use super::row_of::RowOf;
use super::weights;
use crate::extract::gazetteer;

/// The name of an edge's relation, with this normalisation of names.
pub fn relation(kind: EdgeKind, normalize: Normalize) -> &'static str {
    match normalize {
        Normalize::Reference => kind.reference_relation(),
        Normalize::Unicode => kind.relation(),
    }
}

/// An edge to a document node.
#[derive(Debug, Clone, PartialEq)]
pub struct Edge {
    /// The kind of edge.
    pub kind: EdgeKind,
    /// Node where it begins.
    pub head: u32,
    /// Node where it ends.
    pub tail: u32,
    /// Weight for walks over the graph.
    pub weight: f32,
    /// The row that the edge comes from.
    pub place: RowOf,
}

/// Names of document nodes: titles, made distinct from entities and from each other.
pub fn node_names(titles: &[String], entities: &[String]) -> Vec<String> {
    let mut taken: AHashSet<String> = entities.iter().cloned().collect();
    let mut next: AHashMap<&str, u64> = AHashMap::new();
    let mut name = |title| {
        let number = next.entry(title).or_insert(0);
        loop {
            let name = match *number {
                0 => title.to_owned(),
                1 => format!("{title} (document)"),
                n => format!("{title} (document, {n})"),
            };
            *number += 1;
            if taken.insert(name.clone()) {
                return name;
            }
        }
    };
    titles.iter().map(|title| name(title.as_str())).collect()
}

/// The first document with each title: the others are pieces of the same document.
fn first_with_title(titles: &[String]) -> impl Iterator<Item = (u32, &str)> {
    let mut seen = AHashSet::new();
    let all = (0..).zip(titles);
    all.filter_map(move |(id, title)| seen.insert(title.as_str()).then_some((id, title.as_str())))
}

/// A document and an entity that it mentions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mentioned {
    /// Document id.
    pub document: u32,
    /// The entity.
    pub entity: u32,
    /// The row of the first mention.
    pub place: RowOf,
}

/// Edges from entities to the documents that mention them. `mentioned` has distinct pairs of a
/// document and an entity. They are made one by one: most edges of a graph are of this kind.
pub fn mentioned_in(mentioned: &[Mentioned], entities: u32) -> impl Iterator<Item = Edge> + '_ {
    let mut documents = vec![0u32; entities as usize];
    for pair in mentioned {
        documents[pair.entity as usize] += 1;
    }
    mentioned.iter().map(move |pair| Edge {
        kind: EdgeKind::MentionedIn,
        head: pair.entity,
        tail: entities + pair.document,
        weight: weights::mentioned_in(documents[pair.entity as usize]),
        place: pair.place,
    })
}

/// Edges from entities to the documents with the same name. Case, blanks, punctuation and a part of
/// the title in brackets are ignored: "Mercury (planet)" has the name mercury, too. A name that
/// several documents share weighs less.
pub fn titles_of(
    titles: &[String],
    entities: &[String],
    normalize: Normalize,
    weight: f64,
) -> Vec<Edge> {
    let mut called: AHashMap<String, Vec<u32>> = AHashMap::new();
    for (id, name) in (0..).zip(entities) {
        called.entry(normal(name)).or_default().push(id);
    }
    called.remove("");
    let nodes = entities.len() as u32;
    let name = |title: &str| normalize.name(title).map(|name| normal(&name));
    let mut sharing: AHashMap<String, u32> = AHashMap::new();
    for (_, title) in first_with_title(titles) {
        let bare = gazetteer::without_brackets(title);
        *sharing.entry(name(bare).unwrap_or_default()).or_default() += 1;
    }
    let mut out = Vec::new();
    for (document, title) in first_with_title(titles) {
        let mut edge = |entity: u32, sharing| {
            out.push(Edge {
                kind: EdgeKind::TitleOf,
                head: entity,
                tail: nodes + document,
                weight: weights::title_of(weight, sharing),
                place: RowOf::documents(u64::from(document)),
            });
        };
        let whole = name(title).unwrap_or_default();
        for entity in called.get(&whole).into_iter().flatten() {
            edge(*entity, 1);
        }
        let bare = name(gazetteer::without_brackets(title)).unwrap_or_default();
        if bare != whole {
            for entity in called.get(&bare).into_iter().flatten() {
                edge(*entity, sharing[&bare]);
            }
        }
    }
    out
}

/// Collects which documents name which others.
pub struct NamedTitles {
    /// Number of documents that have an alias.
    sharing: AHashMap<String, u32>,
    /// By document and target: the number of documents with the rarest alias used, and the first
    /// row that uses it.
    pairs: BTreeMap<(u32, u32), (u32, u64)>,
}

impl NamedTitles {
    /// Knows the titles, but no names yet.
    pub fn new(titles: &[String]) -> Self {
        let mut sharing: AHashMap<String, u32> = AHashMap::new();
        for (_, title) in first_with_title(titles) {
            let keys = gazetteer::aliases(title).into_iter().map(gazetteer::key);
            for key in keys.collect::<AHashSet<String>>() {
                *sharing.entry(key).or_default() += 1;
            }
        }
        NamedTitles {
            sharing,
            pairs: BTreeMap::new(),
        }
    }

    /// Counts a place where a document names another. A document does not name itself.
    pub fn add(&mut self, document: u32, target: u32, words: &str, row: u64) {
        if document == target {
            return;
        }
        let sharing = self.sharing.get(&gazetteer::key(words)).copied();
        let place = (sharing.unwrap_or(1), row);
        self.pairs
            .entry((document, target))
            .and_modify(|best| *best = place.min(*best))
            .or_insert(place);
    }

    /// Edges from each document to those that it names.
    pub fn edges(self, entities: u32, title_weight: f64) -> Vec<Edge> {
        let mut naming: AHashMap<u32, u32> = AHashMap::new();
        for (_, target) in self.pairs.keys() {
            *naming.entry(*target).or_default() += 1;
        }
        let edge = |((document, target), (sharing, row))| Edge {
            kind: EdgeKind::NamesTitle,
            head: entities + document,
            tail: entities + target,
            weight: weights::names_title(title_weight, sharing, naming[&target]),
            place: RowOf::named(row),
        };
        self.pairs.into_iter().map(edge).collect()
    }
}

/// Edges from each piece to the next of the same document.
pub fn next_pieces(parents: &[u32], entities: u32) -> Vec<Edge> {
    let pairs = (0..).zip(parents.windows(2));
    let same = pairs.filter(|(_, pair)| pair[0] == pair[1]);
    let edge = |(document, _): (u32, _)| Edge {
        kind: EdgeKind::Next,
        head: entities + document,
        tail: entities + document + 1,
        weight: weights::PLAIN,
        place: RowOf::documents(u64::from(document)),
    };
    same.map(edge).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(all: &[&str]) -> Vec<String> {
        all.iter().map(|t| (*t).to_owned()).collect()
    }

    /// Head, tail and weight.
    fn plain(edges: &[Edge]) -> Vec<(u32, u32, f32)> {
        edges.iter().map(|e| (e.head, e.tail, e.weight)).collect()
    }

    #[test]
    fn names_of_documents_are_their_own() {
        let titles = texts(&["london", "Orr", "Orr", "Orr", "Orr (document)", ""]);
        assert_eq!(
            node_names(&titles, &texts(&["london", "orr"])),
            [
                "london (document)",
                "Orr",
                "Orr (document)",
                "Orr (document, 2)",
                "Orr (document) (document)",
                ""
            ]
        );
    }

    #[test]
    fn what_many_documents_mention_keeps_its_edges() {
        let mention = |document| Mentioned {
            document,
            entity: 1,
            place: RowOf::facts(0),
        };
        let all: Vec<Mentioned> = (0..4).map(mention).collect();
        let edges: Vec<Edge> = mentioned_in(&all, 2).collect();
        assert_eq!(plain(&edges), [0, 1, 2, 3].map(|d| (1, 2 + d, 0.5)));
    }

    #[test]
    fn titles_are_entities_of_the_same_name() {
        let entities = texts(&["o'hara", "ohara", "l ndon", "c++"]);
        let titles = texts(&["O’Hara", "Lôndon", "C", "—", "O’Hara"]);
        let edges = |normalize| plain(&titles_of(&titles, &entities, normalize, 2.0));
        let ohara = [(0, 4, 2.0), (1, 4, 2.0)];
        assert_eq!(edges(Normalize::Unicode), ohara);
        assert_eq!(edges(Normalize::Reference)[2..], [(2, 5, 2.0)]);
    }

    #[test]
    fn a_named_document_shares_its_alias() {
        let titles = texts(&["Paris (France)", "Paris (Texas)", "Ann Arbor", "Ann Arbor"]);
        let mut named = NamedTitles::new(&titles);
        for (row, (document, target, words)) in (0..).zip([
            (2, 1, "Paris"),
            (2, 0, "Paris"),
            (3, 0, "Paris"),
            (0, 2, "Ann  Arbor"),
            (0, 2, "Ann Arbor"),
            (1, 1, "Paris"),
        ]) {
            named.add(document, target, words, row);
        }
        let edges = named.edges(10, 4.0);
        let half = (4.0 / 2.0 / 2f64.sqrt()) as f32;
        assert_eq!(
            plain(&edges),
            [(10, 12, 4.0), (12, 10, half), (12, 11, 2.0), (13, 10, half)]
        );
        assert_eq!(edges[0].place, RowOf::named(3));
    }

    #[test]
    fn pieces_follow_each_other() {
        let edges = next_pieces(&[0, 0, 2, 3, 3, 3], 7);
        assert_eq!(plain(&edges), [(7, 8, 1.0), (10, 11, 1.0), (11, 12, 1.0)]);
        assert!(next_pieces(&[], 7).is_empty());
    }
}
