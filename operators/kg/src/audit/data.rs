//! What the checks look at, as plain data: read from artifacts once, and checked so that no id leads nowhere.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use arrow::array::Array;
use gfm_pipe_api::{Artifact, Context, OpError, OpResult, columns};

use super::checks::Check;
use super::graph::Graph;
use crate::names::{Names, entity_names};

/// Where something was written.
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

/// Something that a check found.
#[derive(Debug, Clone, PartialEq)]
pub struct Finding {
    /// The check.
    pub check: &'static Check,
    /// Where, if it stands in a file.
    pub place: Option<Place>,
    /// Name of an entity or relation, title of a document, id of a question.
    pub item: Option<String>,
    /// What is wrong.
    pub message: String,
    /// What may have been meant.
    pub suggestion: Option<String>,
}

impl Finding {
    /// A finding.
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

    /// Adds what may have been meant.
    #[must_use]
    pub fn suggest(mut self, suggestion: Option<String>) -> Self {
        self.suggestion = suggestion;
        self
    }
}

/// Asks whether to stop; checks that take long call it about every second.
pub type Stop<'a> = &'a dyn Fn() -> OpResult<()>;

/// Lines of the rows of a table that one file gives; 0 where it does not have the row.
#[derive(Debug)]
struct Lines {
    source: Arc<str>,
    lines: Vec<u64>,
}

/// Places of rows, by table.
#[derive(Debug, Default)]
pub struct Places(BTreeMap<String, Vec<Lines>>);

impl Places {
    /// Where a row is, in the first file that has it.
    pub fn of(&self, table: &str, row: usize) -> Option<Place> {
        self.look(table, row, |_| true)
    }

    /// Where a row is in a file; where it is elsewhere, if that file does not have it.
    pub fn within(&self, source: &str, table: &str, row: usize) -> Option<Place> {
        self.look(table, row, |s| s == source)
            .or_else(|| self.of(table, row))
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

    /// Says where a row is, of a table of `rows`.
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

/// A relation.
#[derive(Debug)]
pub struct Relation {
    /// Its name.
    pub name: String,
    /// Whether it is one of the graph's own, not the inverse of one.
    pub direct: bool,
}

/// Documents.
#[derive(Debug, Default)]
pub struct Documents {
    /// Titles.
    pub titles: Vec<String>,
    /// Texts.
    pub texts: Vec<String>,
    /// Whether the corpus has them.
    pub in_corpus: Vec<bool>,
    /// Distinct entities of each, where links are connected.
    pub entities: Option<Vec<Vec<u32>>>,
}

/// A question.
#[derive(Debug, Default)]
pub struct Question {
    /// Its id.
    pub id: String,
    /// The question.
    pub text: String,
    /// Known entities it names.
    pub entities: Vec<u32>,
    /// Known entities of its gold documents.
    pub supporting: usize,
    /// Known gold documents.
    pub documents: Vec<u32>,
    /// Gold titles, known or not.
    pub gold_titles: u32,
}

/// Questions of a split.
#[derive(Debug)]
pub struct Split {
    /// train, valid or test.
    pub name: String,
    /// Its questions.
    pub questions: Vec<Question>,
}

/// Something an ingest rejected.
#[derive(Debug)]
pub struct Rejected {
    /// Where.
    pub place: Place,
    /// Question id or document title.
    pub item: Option<String>,
    /// Why.
    pub reason: String,
    /// What, as written.
    pub text: String,
}

/// Everything the checks look at.
pub struct Data {
    /// Entities by id.
    pub entities: Names,
    /// Relations by id, inverses included.
    pub relations: Vec<Relation>,
    /// Triples in file order: head, relation, tail.
    pub triples: Vec<[u32; 3]>,
    /// Neighbours and degrees.
    pub graph: Graph,
    /// The first triple of each entity and of each relation.
    pub first: First,
    /// Documents, where connected.
    pub documents: Option<Documents>,
    /// Splits with questions: train, valid, test, then others.
    pub splits: Vec<Split>,
    /// What was rejected.
    pub rejects: Vec<Rejected>,
    /// Where rows were written.
    pub places: Places,
}

/// Where names come first.
#[derive(Debug, Default)]
pub struct First {
    /// Row of `triples` by entity; `u32::MAX` for none.
    pub entity: Vec<u32>,
    /// Row of `triples` by relation.
    pub relation: Vec<u32>,
}

impl First {
    /// Looks through the triples.
    pub fn of(triples: &[[u32; 3]], entities: usize, relations: usize) -> Self {
        let mut first = First {
            entity: vec![u32::MAX; entities],
            relation: vec![u32::MAX; relations],
        };
        for (row, &[head, relation, tail]) in triples.iter().enumerate().rev() {
            // No more triples are read than 32 bits number.
            let row = row as u32;
            first.entity[head as usize] = row;
            first.entity[tail as usize] = row;
            first.relation[relation as usize] = row;
        }
        first
    }
}

impl Data {
    /// Where a triple is written.
    pub fn triple(&self, row: usize) -> Option<Place> {
        self.places.of("triples", row)
    }

    /// Where an entity's name comes first.
    pub fn entity(&self, id: u32) -> Option<Place> {
        self.triple(self.first.entity[id as usize] as usize)
    }

    /// Where a relation's name comes first.
    pub fn relation(&self, id: usize) -> Option<Place> {
        self.triple(self.first.relation[id] as usize)
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

    /// Reads what is connected.
    ///
    /// # Errors
    /// When a table cannot be read, or tables do not belong together.
    pub fn read(ctx: &Context) -> OpResult<Data> {
        let entities = entity_names(ctx.input("entities")?)?;
        let relations = relations(ctx.input("relations")?)?;
        let triples = triples(ctx.input("triples")?, entities.len(), relations.len())?;
        ctx.check_cancelled()?;
        let mut documents = ctx.input_opt("documents").map(documents).transpose()?;
        if let (Some(documents), Some(artifact)) = (&mut documents, ctx.input_opt("links")) {
            documents.entities = Some(links(artifact, documents.titles.len(), entities.len())?);
        }
        let titles = documents.as_ref().map(|d| d.titles.len());
        let mut splits = Vec::new();
        for artifact in ctx.inputs("questions") {
            splits.push(split(artifact, entities.len(), titles)?);
        }
        let order = |name: &str| ["train", "valid", "test"].iter().position(|n| *n == name);
        splits.sort_by_key(|s| order(&s.name).unwrap_or(3));
        let mut rejects = Vec::new();
        for artifact in ctx.inputs("rejects") {
            read_rejects(artifact, &mut rejects)?;
        }
        let mut places = Places::default();
        let rows = |table: &str| match table {
            "triples" => Some(triples.len()),
            "documents" => titles,
            split => splits
                .iter()
                .find(|s| s.name == split)
                .map(|s| s.questions.len()),
        };
        for artifact in ctx.inputs("places") {
            read_places(artifact, rows, &mut places)?;
        }
        Ok(Data {
            graph: Graph::of(&triples, entities.len() as usize),
            first: First::of(&triples, entities.len() as usize, relations.len()),
            entities,
            relations,
            triples,
            documents,
            splits,
            rejects,
            places,
        })
    }
}

fn relations(artifact: &Artifact) -> OpResult<Vec<Relation>> {
    let mut out = Vec::new();
    for batch in artifact.batches("relations")? {
        let batch = batch?;
        let names = columns::text(&batch, "name")?;
        let inverse = columns::u32s(&batch, "inverse_of")?;
        out.extend(names.iter().zip(inverse).map(|(name, inverse)| Relation {
            name: name.unwrap_or_default().to_owned(),
            direct: inverse.is_none(),
        }));
    }
    Ok(out)
}

/// An id that is no row of the table it points into.
fn stray(artifact: &Artifact, row: usize, what: &str) -> OpError {
    OpError::new(format!(
        "there is no such {what}: the inputs are not of one data set"
    ))
    .artifact(&artifact.name)
    .row(row as u64)
    .hint("connect ports of the same ingest-kg and ingest-qa")
}

fn triples(artifact: &Artifact, entities: u32, relations: usize) -> OpResult<Vec<[u32; 3]>> {
    let mut out = Vec::with_capacity(artifact.rows("triples")?);
    for batch in artifact.batches("triples")? {
        let batch = batch?;
        let column = |name| Ok::<_, OpError>(columns::u32s(&batch, name)?.values());
        let (heads, relation, tails) = (column("head")?, column("relation")?, column("tail")?);
        for ((head, relation), tail) in heads.iter().zip(relation).zip(tails) {
            let what = if *head >= entities || *tail >= entities {
                "entity"
            } else if *relation as usize >= relations {
                "relation"
            } else {
                out.push([*head, *relation, *tail]);
                continue;
            };
            return Err(stray(artifact, out.len(), what));
        }
    }
    if u32::try_from(out.len()).is_err() {
        return Err(OpError::new("more than 4294967295 triples").artifact(&artifact.name));
    }
    Ok(out)
}

fn documents(artifact: &Artifact) -> OpResult<Documents> {
    let mut out = Documents::default();
    let owned = |text: Option<&str>| text.unwrap_or_default().to_owned();
    for batch in artifact.batches("documents")? {
        let batch = batch?;
        out.titles
            .extend(columns::text(&batch, "title")?.iter().map(owned));
        out.texts
            .extend(columns::text(&batch, "text")?.iter().map(owned));
        let there = columns::bools(&batch, "in_corpus")?;
        out.in_corpus.extend(there.iter().map(|b| b == Some(true)));
    }
    Ok(out)
}

fn links(artifact: &Artifact, documents: usize, entities: u32) -> OpResult<Vec<Vec<u32>>> {
    let mut out = vec![Vec::new(); documents];
    let mut row = 0;
    for batch in artifact.batches("links")? {
        let batch = batch?;
        let from = columns::u32s(&batch, "document")?.values();
        for (document, entity) in from.iter().zip(columns::u32s(&batch, "entity")?.values()) {
            match out.get_mut(*document as usize) {
                Some(list) if *entity < entities => list.push(*entity),
                Some(_) => return Err(stray(artifact, row, "entity")),
                None => return Err(stray(artifact, row, "document")),
            }
            row += 1;
        }
    }
    Ok(out)
}

fn split(artifact: &Artifact, entities: u32, documents: Option<usize>) -> OpResult<Split> {
    let mut questions = Vec::with_capacity(artifact.rows("questions")?);
    for batch in artifact.batches("questions")? {
        let batch = batch?;
        let (ids, texts) = (
            columns::text(&batch, "id")?,
            columns::text(&batch, "question")?,
        );
        let lists = |name| Ok::<_, OpError>(columns::list_u32(&batch, name)?.into_iter());
        let gold_titles = columns::u32s(&batch, "gold_titles")?;
        let from = lists("question_entities")?.zip(lists("supporting_entities")?);
        let both = from.zip(lists("supporting_documents")?);
        for (i, ((from, supporting), gold)) in both.enumerate() {
            let row = questions.len();
            if from.iter().chain(&supporting).any(|e| *e >= entities) {
                return Err(stray(artifact, row, "entity"));
            }
            if documents.is_some_and(|n| gold.iter().any(|d| *d as usize >= n)) {
                return Err(stray(artifact, row, "document"));
            }
            questions.push(Question {
                id: ids.value(i).to_owned(),
                text: texts.value(i).to_owned(),
                entities: from,
                supporting: supporting.len(),
                documents: gold,
                gold_titles: gold_titles.value(i),
            });
        }
    }
    let info = artifact.read("info")?;
    let name = columns::text(&info, "split")?;
    Ok(Split {
        name: name.iter().flatten().next().unwrap_or_default().to_owned(),
        questions,
    })
}

fn read_rejects(artifact: &Artifact, out: &mut Vec<Rejected>) -> OpResult<()> {
    let mut sources: BTreeMap<String, Arc<str>> = BTreeMap::new();
    for batch in artifact.batches("rejects")? {
        let batch = batch?;
        let text = |name| columns::text(&batch, name);
        let (from, item) = (text("source")?, text("item")?);
        let (reason, what) = (text("reason")?, text("text")?);
        let line = columns::u64s(&batch, "line")?;
        for i in 0..batch.num_rows() {
            let source = sources
                .entry(from.value(i).to_owned())
                .or_insert_with(|| from.value(i).into());
            out.push(Rejected {
                place: Place {
                    source: Arc::clone(source),
                    line: line.is_valid(i).then(|| line.value(i)),
                },
                item: item.is_valid(i).then(|| item.value(i).to_owned()),
                reason: reason.value(i).to_owned(),
                text: what.value(i).to_owned(),
            });
        }
    }
    Ok(())
}

/// Places of tables that are not connected are passed over.
fn read_places(
    artifact: &Artifact,
    rows: impl Fn(&str) -> Option<usize>,
    out: &mut Places,
) -> OpResult<()> {
    let mut at = 0;
    for batch in artifact.batches("places")? {
        let batch = batch?;
        let (table, source) = (
            columns::text(&batch, "table")?,
            columns::text(&batch, "source")?,
        );
        let row = columns::u64s(&batch, "row")?.values();
        let line = columns::u64s(&batch, "line")?.values();
        for i in 0..batch.num_rows() {
            if let Some(rows) = rows(table.value(i)) {
                let row = usize::try_from(row[i]).unwrap_or(usize::MAX);
                if row >= rows {
                    return Err(stray(artifact, at, "row"));
                }
                out.put(table.value(i), row, rows, source.value(i), line[i]);
            }
            at += 1;
        }
    }
    Ok(())
}

#[cfg(test)]
pub(super) mod testing {
    //! Data made by hand, for the tests of the checks.

    use super::*;

    /// A graph of `head,relation,tail` lines in `kg.txt`, one triple a line.
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
            graph: Graph::of(&triples, n),
            first: First::of(&triples, n, relations.len() as usize),
            relations: relations.iter().map(direct).collect(),
            entities,
            triples,
            documents: None,
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
    pub fn with_split(
        mut data: Data,
        name: &str,
        questions: &[(&str, &str, &[&str], &[u32])],
    ) -> Data {
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
    pub fn told(findings: &[Finding]) -> Vec<String> {
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
}
