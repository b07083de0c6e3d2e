//! Data made by hand, for the tests of the checks.

use super::data::{
    Data, DocumentDetails, Documents, Finding, First, Place, Places, Question, Relation, Split,
};
use super::graph::Graph;
use crate::names::Names;

/// A graph of `head,relation,tail` lines in `kg.txt`, one triple per line.
pub fn graph(lines: &str) -> Data {
    let mut entities = Names::new(u32::MAX);
    let mut relations = Names::new(u32::MAX);
    let mut triples = Vec::new();
    let mut places = Places::default();
    let rows = lines.lines().count();
    for (row, line) in lines.lines().enumerate() {
        let fields: Vec<&str> = line.split(',').collect();
        let head = entities.intern(fields[0]).unwrap_or(0);
        let tail = entities.intern(fields[2]).unwrap_or(0);
        triples.push([head, relations.intern(fields[1]).unwrap_or(0), tail]);
        places.put("triples", row, rows, "kg.txt", row as u64 + 1);
    }
    let n = entities.len() as usize;
    let direct = |name: &str| Relation {
        name: name.to_owned(),
        direct: true,
    };
    Data {
        graph: Graph::new(&triples, n),
        first: First::new(&triples, n, relations.len() as usize),
        relations: relations.iter().map(direct).collect(),
        entities,
        triples,
        document_nodes: Vec::new(),
        nodes_of_documents: Vec::new(),
        documents: None,
        details: DocumentDetails::default(),
        splits: Vec::new(),
        rejects: Vec::new(),
        places,
    }
}

/// Adds documents: title, text, entities by name. Line `i + 2` of `corpus.json`.
pub fn with_documents(mut data: Data, documents: &[(&str, &str, &[&str])]) -> Data {
    let mut out = Documents::default();
    let mut entities = Vec::new();
    for (row, (title, text, names)) in documents.iter().enumerate() {
        out.titles.push((*title).to_owned());
        out.texts.push((*text).to_owned());
        out.in_corpus.push(true);
        entities.push(names.iter().filter_map(|n| data.entities.find(n)).collect());
        let (rows, line) = (documents.len(), row as u64 + 2);
        data.places.put("documents", row, rows, "corpus.json", line);
    }
    out.entities = Some(entities);
    data.documents = Some(out);
    data
}

/// Adds a split: id, text, entities by name, gold documents. Line `i + 2` of `NAME.json`.
pub fn with_split(mut data: Data, name: &str, questions: &[(&str, &str, &[&str], &[u32])]) -> Data {
    let mut out = Vec::new();
    for (row, (id, text, entities, gold)) in questions.iter().enumerate() {
        let (rows, line) = (questions.len(), row as u64 + 2);
        data.places
            .put(name, row, rows, &format!("{name}.json"), line);
        out.push(Question {
            id: (*id).to_owned(),
            text: (*text).to_owned(),
            entities: entities
                .iter()
                .filter_map(|n| data.entities.find(n))
                .collect(),
            supporting: 0,
            documents: gold.to_vec(),
            gold_titles: gold.len() as u32,
        });
    }
    data.splits.push(Split {
        name: name.to_owned(),
        questions: out,
    });
    data
}

/// Findings as `check place item: message [suggestion]`.
pub fn reported(findings: &[Finding]) -> Vec<String> {
    let all = findings.iter().map(|f| {
        let place = f.place.as_ref().map_or("-".to_owned(), Place::to_string);
        let item = f.item.as_deref().unwrap_or("-");
        let suggestion = f.suggestion.as_ref().map(|s| format!(" [{s}]"));
        format!(
            "{} {place} {item}: {}{}",
            f.check.name,
            f.message,
            suggestion.unwrap_or_default()
        )
    });
    all.collect()
}
