//! What the checks inspect, as plain data (`read.rs` makes it from artifacts), and what they find.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use gfm_pipe_api::OpResult;

use super::checks::Check;
use super::graph::Graph;
use crate::layout::CORPUS;
use crate::names::Names;
pub use crate::read::{Documents, Relation};

/// A line of an input file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// File, relative to the data set.
    pub source: Arc<str>,
    /// One-based line.
    pub line: Option<u64>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.source)?;
        match self.line {
            Some(line) => write!(f, ":{line}"),
            None => Ok(()),
        }
    }
}

/// A fault that a check found.
#[derive(Debug, Clone, PartialEq)]
pub struct Finding {
    /// The check that found it.
    pub check: &'static Check,
    /// Its place, if it is in a file.
    pub place: Option<Place>,
    /// Name of an entity or relation, title of a document, id of a question.
    pub item: Option<String>,
    /// What is wrong, in words.
    pub message: String,
    /// What may have been meant.
    pub suggestion: Option<String>,
}

impl Finding {
    /// A finding without a suggestion.
    pub fn new(
        check: &'static Check,
        place: Option<Place>,
        item: impl Into<String>,
        message: impl Into<String>,
    ) -> Self {
        Finding {
            check,
            place,
            item: Some(item.into()),
            message: message.into(),
            suggestion: None,
        }
    }

    /// Adds a suggestion of what may have been meant.
    #[must_use]
    pub fn suggest(mut self, suggestion: Option<String>) -> Self {
        self.suggestion = suggestion;
        self
    }
}

/// Fails when the user wants to stop. Slow checks call it about every second.
pub type Stop<'a> = &'a dyn Fn() -> OpResult<()>;

/// The line in one file of each row of a table; 0 where the file does not have the row.
#[derive(Debug)]
struct Lines {
    source: Arc<str>,
    lines: Vec<u64>,
}

/// Places of rows in input files, by table.
#[derive(Debug, Default)]
pub struct Places(BTreeMap<String, Vec<Lines>>);

impl Places {
    /// The place of a row in the first file that has it.
    pub fn first(&self, table: &str, row: usize) -> Option<Place> {
        self.look(table, row, |_| true)
    }

    /// The place of a row in a file, or its first place if that file does not have it.
    pub fn within(&self, source: &str, table: &str, row: usize) -> Option<Place> {
        self.look(table, row, |s| s == source)
            .or_else(|| self.first(table, row))
    }

    fn look(&self, table: &str, row: usize, pick: impl Fn(&str) -> bool) -> Option<Place> {
        let files = self.0.get(table)?.iter().filter(|f| pick(&f.source));
        let mut places = files.filter_map(|f| {
            let line = f.lines.get(row).copied().filter(|l| *l > 0);
            Some(Place {
                source: Arc::clone(&f.source),
                line: Some(line?),
            })
        });
        places.next()
    }

    /// Whether a file has rows of a table.
    pub fn gives(&self, source: &str, table: &str) -> bool {
        let files = self.0.get(table);
        files.is_some_and(|files| files.iter().any(|f| *f.source == *source))
    }

    /// Records the line of a row, in a table of `rows` rows.
    pub fn put(&mut self, table: &str, row: usize, rows: usize, source: &str, line: u64) {
        if !self.0.contains_key(table) {
            self.0.insert(table.to_owned(), Vec::new());
        }
        let Some(files) = self.0.get_mut(table) else {
            return;
        };
        let at = files.iter().position(|f| *f.source == *source);
        let at = at.unwrap_or_else(|| {
            files.push(Lines {
                source: source.into(),
                lines: vec![0; rows],
            });
            files.len() - 1
        });
        if let Some(slot) = files[at].lines.get_mut(row) {
            *slot = line;
        }
    }
}

/// Details of documents besides their texts, where the inputs are connected.
#[derive(Debug, Default)]
pub struct DocumentDetails {
    /// The file of each document, and the first piece of the same document.
    pub sources: Option<Vec<(Arc<str>, u32)>>,
    /// Whether each document has a mention.
    pub mentions: Option<Vec<bool>>,
    /// Whether mentions have labels of the English pipeline.
    pub english: bool,
    /// Whether each document has a fact.
    pub facts: Option<Vec<bool>>,
}

/// A question, with the names that the graph and the corpus know.
#[derive(Debug, Default)]
pub struct Question {
    /// Id, unique in the split.
    pub id: String,
    /// The question itself.
    pub text: String,
    /// Ids of the known entities that it names.
    pub entities: Vec<u32>,
    /// Number of known entities of its gold documents.
    pub supporting: usize,
    /// Ids of its known gold documents.
    pub documents: Vec<u32>,
    /// Gold titles, known or not.
    pub gold_titles: u32,
}

/// Questions of a split.
#[derive(Debug)]
pub struct Split {
    /// train, valid or test.
    pub name: String,
    /// Questions by row.
    pub questions: Vec<Question>,
}

/// A row of a `rejects` table.
#[derive(Debug)]
pub struct Rejected {
    /// Where the input is.
    pub place: Place,
    /// Question id or document title.
    pub item: Option<String>,
    /// Why it was rejected.
    pub reason: String,
    /// The input as it was written.
    pub text: String,
}

/// Everything that the checks inspect.
pub struct Data {
    /// Names of entities, by id.
    pub entities: Names,
    /// Which entities stand for documents; empty where that is not connected.
    pub document_nodes: Vec<bool>,
    /// The node of each document, where it has one; empty where that is not connected.
    pub nodes_of_documents: Vec<Option<u32>>,
    /// Relations by id, inverses included.
    pub relations: Vec<Relation>,
    /// Triples in file order: head, relation, tail.
    pub triples: Vec<[u32; 3]>,
    /// Neighbours and degrees of entities.
    pub graph: Graph,
    /// The first triple of each entity and of each relation.
    pub first: First,
    /// Documents, where connected.
    pub documents: Option<Documents>,
    /// Further details of the documents.
    pub details: DocumentDetails,
    /// Splits with questions: train, valid, test, then others.
    pub splits: Vec<Split>,
    /// What the ingests rejected.
    pub rejects: Vec<Rejected>,
    /// Places of rows in input files.
    pub places: Places,
}

/// The first triple of each name.
#[derive(Debug, Default)]
pub struct First {
    /// Row of `triples` by entity; `u32::MAX` for none.
    pub entity: Vec<u32>,
    /// Row of `triples` by relation.
    pub relation: Vec<u32>,
}

impl First {
    /// Finds the first triples.
    pub fn new(triples: &[[u32; 3]], entities: usize, relations: usize) -> Self {
        let mut first = First {
            entity: vec![u32::MAX; entities],
            relation: vec![u32::MAX; relations],
        };
        for (row, &[head, relation, tail]) in triples.iter().enumerate().rev() {
            // There are at most `u32::MAX` triples.
            let row = row as u32;
            first.entity[head as usize] = row;
            first.entity[tail as usize] = row;
            first.relation[relation as usize] = row;
        }
        first
    }
}

impl Data {
    /// Whether an entity stands for a document.
    pub fn is_document(&self, id: u32) -> bool {
        self.document_nodes.get(id as usize) == Some(&true)
    }

    /// Entities that do not stand for documents, with their names.
    pub fn named(&self) -> impl Iterator<Item = (u32, &str)> + Clone {
        (0u32..)
            .zip(self.entities.iter())
            .filter(|(id, _)| !self.is_document(*id))
    }

    /// Triples between entities that do not stand for documents.
    pub fn facts(&self) -> impl Iterator<Item = [u32; 3]> {
        let all = self.triples.iter().copied();
        all.filter(|[head, _, tail]| !self.is_document(*head) && !self.is_document(*tail))
    }

    /// The place of a document's text.
    pub fn document(&self, row: usize) -> Option<Place> {
        self.document_in(CORPUS, row)
    }

    /// The place of a document in a file of the data set, or its first place if that file does not
    /// have it.
    pub fn document_in(&self, file: &str, row: usize) -> Option<Place> {
        let place = self.places.within(file, "documents", row);
        let node = || self.nodes_of_documents.get(row).copied().flatten();
        // Where documents are nodes in files of their own, that of the node is the document's.
        let place = place.or_else(|| self.places.first("entities", node()? as usize));
        place.or_else(|| {
            let (source, _) = self.details.sources.as_ref()?.get(row)?;
            Some(Place {
                source: Arc::clone(source),
                line: None,
            })
        })
    }

    /// The row of the first piece of the same document; the row itself for a whole document.
    pub fn parent(&self, row: usize) -> usize {
        let sources = self.details.sources.as_ref();
        sources.map_or(row, |all| all[row].1 as usize)
    }

    /// The place of a triple.
    pub fn triple(&self, row: usize) -> Option<Place> {
        self.places.first("triples", row)
    }

    /// The place where an entity is given, or else its name's first.
    pub fn entity(&self, id: u32) -> Option<Place> {
        let given = self.places.first("entities", id as usize);
        given.or_else(|| self.triple(self.first.entity[id as usize] as usize))
    }

    /// The place where a relation is given, or else its name's first.
    pub fn relation(&self, id: usize) -> Option<Place> {
        let given = self.places.first("relations", id);
        given.or_else(|| self.triple(self.first.relation[id] as usize))
    }

    /// Direct relations with their ids.
    pub fn direct(&self) -> impl Iterator<Item = (usize, &str)> {
        let all = self.relations.iter().enumerate();
        all.filter(|(_, r)| r.direct)
            .map(|(id, r)| (id, r.name.as_str()))
    }

    /// Every question with its split and its row.
    pub fn questions(&self) -> impl Iterator<Item = (&Split, usize, &Question)> {
        let splits = self.splits.iter();
        splits.flat_map(|s| s.questions.iter().enumerate().map(move |(i, q)| (s, i, q)))
    }
}
