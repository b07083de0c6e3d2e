//! Statistics of a data set.

use super::data::Data;

/// The statistics of a data set.
#[derive(Debug, Default, PartialEq)]
pub struct Statistics {
    /// Numbers with their names, in the order of the table.
    pub numbers: Vec<(String, f64)>,
    /// Number of entities by degree: degree, count.
    pub degrees: Vec<(u64, u64)>,
    /// Direct relations with the number of their triples, the most frequent first.
    pub relations: Vec<(String, u64)>,
}

/// Names of the numbers that every data set has, with what they are; docs/audit.md lists them.
pub const NUMBERS: &[(&str, &str)] = &[
    ("entities", "nodes of the graph"),
    ("triples", "lines that are triples, repeated ones too"),
    ("relations", "direct relations"),
    ("density", "triples for each ordered pair of two entities"),
    ("components", "connected components, directions forgotten"),
    ("largest_component", "entities of the largest component"),
    ("isolated", "components of one entity"),
    ("degree_min", "smallest number of triple ends at an entity"),
    ("degree_median", "its median"),
    ("degree_mean", "its mean"),
    (
        "degree_p99",
        "the smallest degree that 99 % of the entities do not exceed",
    ),
    ("degree_max", "its largest"),
];
/// The same for data sets with documents.
pub const DOCUMENT_NUMBERS: &[(&str, &str)] = &[
    ("documents", "documents, with and without a text"),
    (
        "links",
        "distinct pairs of a document and an entity it mentions",
    ),
    ("entities_per_document", "mean"),
    ("documents_per_entity", "mean"),
    ("linked_entities", "entities that a document mentions"),
];
/// The same for each split of questions. The split is appended to the name: `questions.train`.
pub const QUESTION_NUMBERS: &[(&str, &str)] = &[
    ("questions", "questions that were kept"),
    (
        "entities_per_question",
        "known entities a question names, mean",
    ),
    (
        "gold_per_question",
        "known gold documents of a question, mean",
    ),
];

// Counts far beyond 2^53 do not occur.
#[expect(clippy::cast_precision_loss)]
fn number(n: usize) -> f64 {
    n as f64
}

/// `part / of`, or 0 when `of` is 0.
fn per(part: usize, of: usize) -> f64 {
    if of == 0 {
        0.0
    } else {
        number(part) / number(of)
    }
}

/// Computes the statistics.
pub fn statistics(data: &Data) -> Statistics {
    let mut out = Statistics::default();
    let n = data.graph.len();
    let components = data.graph.components();
    let mut degrees: Vec<usize> = (0..n as u32).map(|e| data.graph.degree(e)).collect();
    degrees.sort_unstable();
    for same in degrees.chunk_by(|a, b| a == b) {
        out.degrees.push((same[0] as u64, same.len() as u64));
    }
    let at = |i: usize| degrees.get(i).copied().map_or(0.0, number);
    let median = (at(n.saturating_sub(1) / 2) + at(n / 2)) / 2.0;
    let sizes = components.iter().map(|c| c.1);
    let values = [
        number(n),
        number(data.triples.len()),
        number(data.direct().count()),
        match n {
            0 | 1 => 0.0,
            n => number(data.triples.len()) / number(n) / number(n - 1),
        },
        number(components.len()),
        number(sizes.clone().max().unwrap_or(0)),
        number(sizes.filter(|s| *s == 1).count()),
        at(0),
        median,
        per(2 * data.triples.len(), n),
        at((n * 99).div_ceil(100).saturating_sub(1)),
        at(n.saturating_sub(1)),
    ];
    let mut put = |names: &[(&str, &str)], values: &[f64], of: &str| {
        for ((name, _), value) in names.iter().zip(values) {
            out.numbers.push((format!("{name}{of}"), *value));
        }
    };
    put(NUMBERS, &values, "");
    if let Some(documents) = &data.documents {
        let count = documents.titles.len();
        let entities = documents.entities.as_deref().unwrap_or_default();
        let links = entities.iter().map(Vec::len).sum::<usize>();
        let mut linked = vec![false; n];
        for entity in entities.iter().flatten() {
            linked[*entity as usize] = true;
        }
        let linked = linked.iter().filter(|l| **l).count();
        let values = [
            number(count),
            number(links),
            per(links, count),
            per(links, n),
            number(linked),
        ];
        // Without links, the numbers about entities are unknown.
        let known = if documents.entities.is_some() { 5 } else { 1 };
        put(DOCUMENT_NUMBERS, &values[..known], "");
    }
    for split in &data.splits {
        let count = split.questions.len();
        let entities = split.questions.iter().map(|q| q.entities.len()).sum();
        let gold = split.questions.iter().map(|q| q.documents.len()).sum();
        let values = [number(count), per(entities, count), per(gold, count)];
        put(QUESTION_NUMBERS, &values, &format!(".{}", split.name));
    }
    let mut uses = vec![0u64; data.relations.len()];
    for [_, relation, _] in &data.triples {
        uses[*relation as usize] += 1;
    }
    out.relations = data
        .direct()
        .map(|(id, name)| (name.to_owned(), uses[id]))
        .collect();
    out.relations.sort_by_key(|r| std::cmp::Reverse(r.1));
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::float_cmp)]
    use super::super::testing::{graph, with_documents, with_split};
    use super::*;

    #[test]
    fn numbers_are_those_counted_by_hand() {
        let data = graph("a,r,b\na,s,c\nd,r,d\na,r,b");
        let data = with_documents(data, &[("A", "", &["a", "b"]), ("B", "", &["a"])]);
        let data = with_split(
            data,
            "test",
            &[("q", "?", &["a", "b"], &[0]), ("p", "!", &[], &[])],
        );
        let got = statistics(&data);
        let of = |name: &str| {
            let found = got.numbers.iter().find(|(n, _)| n == name);
            found.map(|f| f.1)
        };
        for (name, value) in [
            ("entities", 4.0),
            ("triples", 4.0),
            ("relations", 2.0),
            ("density", 4.0 / 12.0),
            ("components", 2.0),
            ("largest_component", 3.0),
            ("isolated", 1.0),
            ("degree_min", 1.0),
            ("degree_median", 2.0),
            ("degree_mean", 2.0),
            ("degree_p99", 3.0),
            ("degree_max", 3.0),
            ("documents", 2.0),
            ("links", 3.0),
            ("entities_per_document", 1.5),
            ("documents_per_entity", 0.75),
            ("linked_entities", 2.0),
            ("questions.test", 2.0),
            ("entities_per_question.test", 1.0),
            ("gold_per_question.test", 0.5),
        ] {
            assert_eq!(of(name), Some(value), "{name}");
        }
        assert_eq!(got.numbers.len(), 20);
        assert_eq!(got.degrees, [(1, 1), (2, 2), (3, 1)]);
        let relations = [("r".to_owned(), 3), ("s".to_owned(), 1)];
        assert_eq!(got.relations, relations);
    }
}
