//! `extract`: sentences, mentions and facts of documents, and where documents name each other.
//!
//! Documents are read batch by batch, extracted on all threads and written in their order: no table depends on how many threads
//! there are. Where texts name documents is a second pass, because it depends on all titles.

use std::ops::Range;
use std::path::{Path, PathBuf};

use ahash::AHashMap;
use arrow::array::{RecordBatch, StringArray, UInt32Array};
use gfm_pipe_api::{
    Accepts, Arity, Artifact, Context, Field, InPort, InputFile, Kind, OpError, OpResult, Operator,
    OutPort, Problem, Schema, Type, columns, kinds,
};
use gfm_pipe_kg::tables::{Reject, Rejects, write_counts};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::gazetteer::Gazetteer;
use super::openie::{self, Corpus, Given};
use super::patterns::Patterns;
use super::{Extracted, Extractor};
use crate::formats::rows::{self as records, Expected};
use crate::formats::{Fault, Format};
use crate::ingest_documents::MAX_FILE;
use crate::listing::{Listing, Wanted};
use crate::reading;
use crate::rows::{Cell, Rows};

/// Documents that are extracted at once: their results are in memory together.
const AT_ONCE: usize = 256;

/// The operator.
pub struct Extract;

/// Its parameters.
#[derive(Debug, Serialize, Deserialize)]
pub struct ExtractParams {
    /// Who extracts.
    pub by: By,
    /// Files of facts, for `by: file`.
    pub path: Option<PathBuf>,
}

/// Who extracts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum By {
    /// Capitals, numbers, dates, quotes.
    Patterns,
    /// Another program did.
    File,
}

static DOCUMENTS: [&Kind; 1] = [&kinds::DOCUMENTS];

const WANTED: Wanted = Wanted {
    format: None,
    formats: &[Format::Json, Format::JsonLines],
    max_bytes: MAX_FILE as u64,
};

impl ExtractParams {
    fn file(&self) -> Option<&Path> {
        self.path.as_deref().filter(|_| self.by == By::File)
    }
}

impl Operator for Extract {
    type Params = ExtractParams;
    const NAME: &'static str = "extract";
    const VERSION: u32 = 1;
    const ABOUT: &'static str =
        "finds sentences, mentions and facts in documents, and where they name each other";

    fn schema() -> Schema {
        let by = Type::OneOf {
            words: &["patterns", "file"],
            planned: &["english", "transformer"],
        };
        Schema::new(vec![
            Field::required(
                "by",
                by,
                "patterns: capitalised spans, numbers, dates and quoted strings, without facts; file: what GFM-RAG or HippoRAG \
                 extracted",
            ),
            Field::new(
                "path",
                Type::Path.or_null(),
                serde_json::Value::Null,
                "with `by: file`: OpenIE results as JSON or JSONL, a file, a folder or a pattern",
            ),
        ])
    }

    fn inputs() -> Vec<InPort> {
        vec![InPort {
            name: "documents",
            accepts: Accepts::Kinds(&DOCUMENTS),
            arity: Arity::One,
            about: "documents with their titles",
        }]
    }

    fn outputs() -> Vec<OutPort> {
        let port = |name, kind, about| OutPort { name, kind, about };
        vec![
            port("sentences", &kinds::SENTENCES, "sentences of the texts"),
            port("mentions", &kinds::MENTIONS, "what the texts mention"),
            port("facts", &kinds::FACTS, "what the texts say"),
            port(
                "named",
                &kinds::NAMED,
                "where texts name other documents, by their titles",
            ),
            port(
                "rejects",
                &kinds::REJECTS,
                "records, entities and facts of files that could not be used",
            ),
            port(
                "counts",
                &kinds::COUNTS,
                "sentences, mentions, facts, named documents",
            ),
        ]
    }

    fn check(params: &ExtractParams) -> Vec<Problem> {
        match (params.by, &params.path) {
            (By::File, None) => vec![Problem::at("by", "`by: file` needs the `path` of a file")],
            (By::Patterns, Some(_)) => vec![Problem::at("path", "only `by: file` reads a file")],
            _ => Vec::new(),
        }
    }

    fn files(params: &ExtractParams, base: &Path) -> Vec<InputFile> {
        params
            .file()
            .map_or_else(Vec::new, |path| Listing::files(path, base, &WANTED))
    }

    fn fingerprint(params: &ExtractParams, base: &Path) -> Option<String> {
        let mut hasher = blake3::Hasher::new();
        Listing::of(params.file()?, base, &WANTED)
            .ok()?
            .digest(&mut hasher);
        Some(hasher.finalize().to_hex().to_string())
    }

    fn run(params: ExtractParams, ctx: &Context) -> OpResult<()> {
        let documents = ctx.input("documents")?;
        let mut out = Writer::create(ctx)?;
        match params.file() {
            Some(path) => {
                let given = given(ctx, documents, path, &mut out)?;
                let none = Given::default();
                out.pass(ctx, documents, &|id, _, text| {
                    given.get(&id).unwrap_or(&none).extracted(text)
                })?;
            }
            None => out.pass(ctx, documents, &|_, title, text| {
                Patterns.extract(title, text)
            })?,
        }
        out.gazetteer(ctx, documents)?;
        out.finish(ctx)
    }
}

/// What files say about documents.
fn given(
    ctx: &Context,
    documents: &Artifact,
    path: &Path,
    out: &mut Writer,
) -> OpResult<AHashMap<u32, Given>> {
    let corpus = Corpus::of(documents)?;
    let listing = Listing::of(path, &ctx.base, &WANTED)
        .map_err(|absent| OpError::new(absent.why).hint(absent.hint).file(path))?;
    for refused in &listing.refused {
        Fault::file(refused.reason.clone()).push(&refused.name, &mut out.rejects)?;
    }
    let mut all: AHashMap<u32, Given> = AHashMap::new();
    for file in &listing.found {
        ctx.check_cancelled()?;
        let source = file.name.as_str();
        let bytes = reading::bytes(&ctx.path(&file.path), WANTED.max_bytes);
        let decoded = match bytes.and_then(|bytes| reading::text(&bytes, file.format, None)) {
            Ok(decoded) => decoded,
            Err(reason) => {
                Fault::file(reason).push(source, &mut out.rejects)?;
                continue;
            }
        };
        let rejects = &mut out.rejects;
        let mut each = |row: Result<records::Row, Fault>| {
            let row = match row {
                Ok(row) => row,
                Err(fault) => return fault.push(source, rejects),
            };
            let line = Some(row.line);
            let mut push = |item: Option<&str>, reason: &str, text: &str| {
                rejects.push(&Reject {
                    source,
                    line,
                    item,
                    reason,
                    text,
                })
            };
            let Some((document, given)) = openie::read(row, &corpus, &mut push)? else {
                return Ok(());
            };
            // After a restart GFM-RAG's file has documents twice.
            if let Some(earlier) = all.insert(document, given) {
                let (entities, facts) = (earlier.entities.len(), earlier.facts.len());
                let text = format!("{entities} entities and {facts} facts of document {document}");
                push(None, "the document is given twice: the last counts", &text)?;
            }
            Ok(())
        };
        let expected = Expected {
            column: "passage",
            is_record: &|keys| keys.contains(&"extracted_triples"),
        };
        records::read(&decoded.text, file.format, &expected, &mut each)?;
    }
    Ok(all)
}

/// A document of a batch.
struct Document<'a> {
    id: u32,
    title: &'a str,
    text: &'a str,
}

/// Some documents of a batch.
fn documents<'a>(
    (ids, titles, texts): (&UInt32Array, &'a StringArray, &'a StringArray),
    rows: Range<usize>,
) -> Vec<Document<'a>> {
    rows.map(|i| Document {
        id: ids.value(i),
        title: titles.value(i),
        text: texts.value(i),
    })
    .collect()
}

/// Calls `each` with all documents, some at a time.
fn in_turn(
    ctx: &Context,
    artifact: &Artifact,
    what: &str,
    each: &mut dyn FnMut(Vec<Document<'_>>) -> OpResult<()>,
) -> OpResult<()> {
    let total = artifact.rows("documents")? as u64;
    let mut done = 0;
    for batch in artifact.batches("documents")? {
        let batch: RecordBatch = batch?;
        let (ids, titles) = (
            columns::u32s(&batch, "id")?,
            columns::text(&batch, "title")?,
        );
        let texts = columns::text(&batch, "text")?;
        for first in (0..batch.num_rows()).step_by(AT_ONCE) {
            ctx.check_cancelled()?;
            ctx.progress(done, total, "documents", what);
            let rows = first..batch.num_rows().min(first + AT_ONCE);
            done += rows.len() as u64;
            each(documents((ids, titles, texts), rows))?;
        }
    }
    ctx.progress(done, total, "documents", what);
    Ok(())
}

/// The tables on their way to the disk.
struct Writer {
    sentences: Rows,
    mentions: Rows,
    facts: Rows,
    named: Rows,
    rejects: Rejects,
    /// Documents without a mention, without a fact.
    without: [u64; 2],
    documents: u64,
}

/// The number of the sentence that a range lies in.
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
    fn create(ctx: &Context) -> OpResult<Self> {
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
    fn pass(
        &mut self,
        ctx: &Context,
        artifact: &Artifact,
        extract: &(dyn Fn(u32, &str, &str) -> Extracted + Sync),
    ) -> OpResult<()> {
        in_turn(ctx, artifact, "extract", &mut |documents| {
            let found: Vec<Extracted> = documents
                .par_iter()
                .map(|d| extract(d.id, d.title, d.text))
                .collect();
            for (document, found) in documents.iter().zip(found) {
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
        for (number, range) in (0..).zip(&found.sentences) {
            let text = format!("{}: {}", document.title, &document.text[range.clone()]);
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
                Cell::Text(mention.label),
            ])?;
        }
        for fact in &found.facts {
            let [subject, relation, object] = fact.parts();
            let ranges = fact.parts().map(|p| p.range.as_ref());
            let sentence = ranges
                .iter()
                .find_map(|r| sentence_of(&found.sentences, *r));
            let text = format!("{} {} {}", subject.text, relation.text, object.text);
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

    /// Finds where texts name other documents.
    fn gazetteer(&mut self, ctx: &Context, artifact: &Artifact) -> OpResult<()> {
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
        let gazetteer = Gazetteer::of(titles.iter().map(|(id, title)| (*id, title.as_str())))?;
        in_turn(ctx, artifact, "titles", &mut |documents| {
            let found: Vec<_> = documents
                .par_iter()
                .map(|d| gazetteer.find(d.text))
                .collect();
            for (document, found) in documents.iter().zip(found) {
                let own = first.get(document.title);
                for named in found {
                    // A piece does not name the document it is of.
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

    fn finish(self, ctx: &Context) -> OpResult<()> {
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
