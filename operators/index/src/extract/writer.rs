//! Writes the tables of `extract`.
//!
//! Documents are read in batches, extracted on all threads, and written in their order. No table
//! depends on the number of threads.

use std::ops::Range;

use ahash::AHashMap;
use arrow::array::{Array, RecordBatch, StringArray, UInt32Array};
use gfm_pipe_api::{Artifact, Context, OpResult, columns, kinds};
use gfm_pipe_kg::tables::{Rejects, write_counts};
use rayon::prelude::*;

use super::gazetteer::Gazetteer;
use super::{Document, Extracted};
use crate::rows::{Cell, Rows};

/// Most documents that a rank extracts from at once: their results are in memory together.
pub const AT_ONCE: usize = 256;
/// Bytes of text after which a rank gets no more documents.
const BYTES_AT_ONCE: usize = 1 << 20;

/// The columns of a batch of documents.
pub struct Columns {
    ids: UInt32Array,
    titles: StringArray,
    texts: StringArray,
}

impl Columns {
    /// The documents in a range of the batch.
    fn some(&self, rows: Range<usize>) -> impl Iterator<Item = Document<'_>> {
        rows.map(|i| Document {
            id: self.ids.value(i),
            title: self.titles.value(i),
            text: self.texts.value(i),
        })
    }

    /// All documents of the batch.
    pub fn documents(&self) -> impl Iterator<Item = Document<'_>> {
        self.some(0..self.texts.len())
    }
}

/// The rows from `first` on that this many ranks extract at once.
fn some(texts: &StringArray, first: usize, ranks: usize) -> Range<usize> {
    let (mut behind, mut bytes) = (first, 0);
    let (most, most_bytes) = (AT_ONCE * ranks, BYTES_AT_ONCE * ranks);
    while behind < texts.len() && behind - first < most && bytes < most_bytes {
        bytes += texts.value(behind).len();
        behind += 1;
    }
    first..behind
}

/// The columns of a batch. Questions have neither ids nor titles: their ids are their
/// rows.
fn columns_of(artifact: &Artifact, batch: &RecordBatch, first: u32) -> OpResult<Columns> {
    if *artifact.kind == kinds::QUESTIONS {
        let rows = batch.num_rows();
        return Ok(Columns {
            ids: (first..).take(rows).collect(),
            titles: std::iter::repeat_n(Some(""), rows).collect(),
            texts: columns::text(batch, "question")?.clone(),
        });
    }
    Ok(Columns {
        ids: columns::u32s(batch, "id")?.clone(),
        titles: columns::text(batch, "title")?.clone(),
        texts: columns::text(batch, "text")?.clone(),
    })
}

/// Reads all documents into memory.
///
/// # Errors
/// When they cannot be read.
pub fn all_columns(artifact: &Artifact) -> OpResult<Vec<Columns>> {
    let mut out = Vec::new();
    let mut first = 0;
    for batch in artifact.batches(artifact.kind.tables[0].name)? {
        let batch = batch?;
        out.push(columns_of(artifact, &batch, first)?);
        first += batch.num_rows() as u32;
    }
    Ok(out)
}

/// Calls `each` with all documents, a few at a time.
fn in_turn(
    ctx: &Context,
    artifact: &Artifact,
    what: &str,
    each: &mut dyn FnMut(Vec<Document<'_>>) -> OpResult<()>,
) -> OpResult<()> {
    let table = artifact.kind.tables[0].name;
    let total = artifact.rows(table)? as u64;
    let mut done = 0;
    for batch in artifact.batches(table)? {
        let batch: RecordBatch = batch?;
        let columns = columns_of(artifact, &batch, done as u32)?;
        let mut next = 0;
        while next < batch.num_rows() {
            ctx.check_cancelled()?;
            ctx.progress(done, total, table, what);
            let rows = some(&columns.texts, next, ctx.ranks.size());
            next = rows.end;
            done += rows.len() as u64;
            each(columns.some(rows).collect())?;
        }
    }
    ctx.progress(done, total, table, what);
    Ok(())
}

/// The tables that are being written.
pub struct Writer {
    sentences: Rows,
    mentions: Rows,
    facts: Rows,
    named: Rows,
    /// What is rejected of files, and of answers of a language model. Other extractors reject
    /// nothing.
    pub rejects: Rejects,
    /// Number of documents without a mention, and without a fact.
    without: [u64; 2],
    documents: u64,
}

/// The number of the sentence that contains a range.
fn sentence_of(sentences: &[Range<usize>], range: Option<&Range<usize>>) -> Option<u32> {
    let range = range?;
    let at = sentences.partition_point(|s| s.end <= range.start);
    let sentence = sentences.get(at)?;
    let inside = sentence.start <= range.start && range.end <= sentence.end;
    inside.then(|| u32::try_from(at).ok()).flatten()
}

fn start(range: Option<&Range<usize>>) -> Cell<'static> {
    Cell::Maybe(range.map(|r| r.start as u64))
}

fn end(range: Option<&Range<usize>>) -> Cell<'static> {
    Cell::Maybe(range.map(|r| r.end as u64))
}

impl Writer {
    /// Starts the tables.
    ///
    /// # Errors
    /// When writing fails.
    pub fn create(ctx: &Context) -> OpResult<Self> {
        Ok(Writer {
            sentences: Rows::create(ctx, "sentences", &kinds::SENTENCES, "sentences")?,
            mentions: Rows::create(ctx, "mentions", &kinds::MENTIONS, "mentions")?,
            facts: Rows::create(ctx, "facts", &kinds::FACTS, "facts")?,
            named: Rows::create(ctx, "named", &kinds::NAMED, "named")?,
            rejects: Rejects::create(ctx)?,
            without: [0; 2],
            documents: 0,
        })
    }

    /// Extracts all documents.
    ///
    /// # Errors
    /// When the stage is cancelled, documents cannot be read, `extract` fails, or writing fails.
    pub fn pass(
        &mut self,
        ctx: &Context,
        artifact: &Artifact,
        extract: &mut dyn FnMut(&[Document<'_>]) -> OpResult<Vec<Extracted>>,
    ) -> OpResult<()> {
        in_turn(ctx, artifact, "extract", &mut |documents| {
            for (document, found) in documents.iter().zip(extract(&documents)?) {
                self.document(document, &found)?;
            }
            Ok(())
        })
    }

    fn document(&mut self, document: &Document<'_>, found: &Extracted) -> OpResult<()> {
        let id = Cell::Id(document.id);
        self.documents += 1;
        self.without[0] += u64::from(found.mentions.is_empty());
        self.without[1] += u64::from(found.facts.is_empty());
        // One text for all rows: there are very many.
        let mut text = String::new();
        for (number, range) in (0..).zip(&found.sentences) {
            text.clear();
            if !document.title.is_empty() {
                text.extend([document.title, ": "]);
            }
            text.push_str(&document.text[range.clone()]);
            let places = [start(Some(range)), end(Some(range))];
            self.sentences.push([
                id,
                Cell::Id(number),
                places[0],
                places[1],
                Cell::Text(&text),
            ])?;
        }
        for mention in &found.mentions {
            let range = mention.range.as_ref();
            self.mentions.push([
                id,
                Cell::MaybeId(sentence_of(&found.sentences, range)),
                start(range),
                end(range),
                Cell::Text(&mention.text),
                Cell::Text(&mention.label),
            ])?;
        }
        for fact in &found.facts {
            let [subject, relation, object] = fact.parts();
            let ranges = fact.parts().map(|p| p.range.as_ref());
            let sentence = ranges
                .iter()
                .find_map(|r| sentence_of(&found.sentences, *r));
            text.clear();
            text.extend([&subject.text, " ", &relation.text, " ", &object.text]);
            self.facts.push([
                id,
                Cell::MaybeId(sentence),
                Cell::Text(&subject.text),
                start(ranges[0]),
                end(ranges[0]),
                Cell::Text(&relation.text),
                start(ranges[1]),
                end(ranges[1]),
                Cell::Text(&object.text),
                start(ranges[2]),
                end(ranges[2]),
                Cell::Text(&text),
            ])?;
        }
        Ok(())
    }

    /// Finds where texts name other documents; questions have no titles to name.
    ///
    /// # Errors
    /// As [`Writer::pass`], and when there are too many titles.
    pub fn gazetteer(&mut self, ctx: &Context, artifact: &Artifact) -> OpResult<()> {
        if *artifact.kind == kinds::QUESTIONS {
            return Ok(());
        }
        let mut titles: Vec<(u32, String)> = Vec::new();
        for batch in artifact.batches("documents")? {
            let batch = batch?;
            let ids = columns::u32s(&batch, "id")?;
            let all = ids.values().iter().zip(columns::text(&batch, "title")?);
            titles.extend(all.map(|(id, title)| (*id, title.unwrap_or_default().to_owned())));
        }
        let mut first: AHashMap<&str, u32> = AHashMap::new();
        for (id, title) in &titles {
            first.entry(title).or_insert(*id);
        }
        let gazetteer = Gazetteer::new(titles.iter().map(|(id, title)| (*id, title.as_str())))?;
        in_turn(ctx, artifact, "titles", &mut |documents| {
            let found: Vec<_> = documents
                .par_iter()
                .map(|d| gazetteer.find(d.text))
                .collect();
            for (document, found) in documents.iter().zip(found) {
                let own = first.get(document.title);
                for named in found {
                    // A piece does not name its own document.
                    for target in named.documents.iter().filter(|t| Some(*t) != own) {
                        self.named.push([
                            Cell::Id(document.id),
                            start(Some(&named.range)),
                            end(Some(&named.range)),
                            Cell::Id(*target),
                            Cell::Text(&document.text[named.range.clone()]),
                        ])?;
                    }
                }
            }
            Ok(())
        })
    }

    /// Completes the tables, and reports the number of rows.
    ///
    /// # Errors
    /// When writing fails.
    pub fn finish(self, ctx: &Context) -> OpResult<()> {
        let counts = [
            ("documents", self.documents),
            ("sentences", u64::from(self.sentences.total())),
            ("mentions", u64::from(self.mentions.total())),
            ("facts", u64::from(self.facts.total())),
            ("named", u64::from(self.named.total())),
            ("documents_without_mention", self.without[0]),
            ("documents_without_fact", self.without[1]),
            ("rejected", self.rejects.total()),
        ];
        if self.rejects.total() > 0 {
            ctx.warn(format!(
                "{} records, entities or facts rejected: see `gfm-pipe show {}`",
                self.rejects.total(),
                ctx.typed("rejects")
            ));
        }
        for table in [self.sentences, self.mentions, self.facts, self.named] {
            table.finish()?;
        }
        self.rejects.finish()?;
        write_counts(ctx, &counts.map(|(name, n)| (name.to_owned(), n)))
    }
}
