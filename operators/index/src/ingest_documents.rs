//! `ingest-documents`: reads a folder, a file or a pattern of files into documents.
//!
//! Files are read twice: once for their titles, because two equal titles both change, and once for
//! their texts, which are written as they are read. So memory holds the titles and one file,
//! however many files there are.
//!
//! The names of the files are in the stage's key through [`Operator::fingerprint`], and their
//! contents through [`Operator::files`].

use std::ops::Range;
use std::path::{Path, PathBuf};

use encoding_rs::Encoding;
use gfm_pipe_api::{
    Absent, Context, Field, InPort, InputFile, OpError, OpResult, Operator, OutPort, Problem,
    Schema, Type, kinds,
};
use gfm_pipe_kg::tables::{Rejects, write_counts};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::formats::{Fault, Format};
use crate::listing::{Found, Listing, Wanted, check_pattern};
use crate::pieces::{self, Split};
use crate::reading::{self, ReadOptions, Record};
use crate::rows::{Cell, Rows};
use crate::titles::{self, SourceTitle};

/// Largest file that is read as a whole: text columns of twice this still have 32-bit offsets.
pub const MAX_FILE: i64 = 512 << 20;
/// Records between two checks for cancellation.
const BEAT: u64 = 1024;

/// The operator `ingest-documents`.
pub struct IngestDocuments;

/// Parameters of [`IngestDocuments`].
#[derive(Debug, Serialize, Deserialize)]
pub struct DocumentsParams {
    /// A file, a folder or a pattern.
    pub path: PathBuf,
    /// Files that are not read.
    pub except: Vec<String>,
    /// Format of all files, or `auto`.
    pub format: String,
    /// Name of the field or column with the title.
    pub title: String,
    /// Name of the field or column with the text.
    pub text: String,
    /// Encoding of all files, or `auto`.
    pub encoding: String,
    /// The parameter `split`: how documents are cut.
    pub split: Split,
    /// Largest file, in bytes.
    pub max_file_bytes: u64,
}

/// Whether a name is `auto` or that of an encoding.
///
/// # Errors
/// What the name should be.
pub fn check_encoding(name: &str) -> Result<(), String> {
    if name == "auto" || Encoding::for_label(name.as_bytes()).is_some() {
        Ok(())
    } else {
        Err(format!(
            "`{name}` is not an encoding: expected auto, utf-8, utf-16le, windows-1252, shift_jis or another one that browsers know"
        ))
    }
}

/// The field for an encoding.
pub fn encoding_field() -> Field {
    let ty = Type::Form {
        form: "auto, or the name of an encoding",
        check: check_encoding,
    };
    Field::new(
        "encoding",
        ty,
        "auto",
        "encoding of the files. auto: UTF-8, UTF-16 with a byte order mark, what an HTML page says, else Latin-1 (Windows-1252)",
    )
}

/// The field for the largest file.
pub fn max_field() -> Field {
    let ty = Type::Int {
        min: 1,
        max: MAX_FILE,
    };
    Field::new(
        "max_file_bytes",
        ty,
        MAX_FILE,
        "larger files are rejected: a file is read into memory as a whole, except Parquet, which has no limit",
    )
}

impl DocumentsParams {
    fn wanted(&self) -> Wanted {
        Wanted {
            format: Format::named(&self.format),
            formats: Format::ALL,
            max_bytes: self.max_file_bytes,
        }
    }

    fn listing(&self, base: &Path) -> Result<Listing, Absent> {
        let listing = Listing::new(&self.path, base, &self.wanted())?;
        Ok(listing.without(&self.except))
    }
}

impl Operator for IngestDocuments {
    type Params = DocumentsParams;
    const NAME: &'static str = "ingest-documents";
    const VERSION: u32 = 1;
    const ABOUT: &'static str =
        "reads a folder of text, Markdown, HTML, JSON, JSONL, CSV or Parquet files into documents";

    fn schema() -> Schema {
        Schema::new(vec![
            Field::required(
                "path",
                Type::Path,
                "a folder (with its subfolders), a file, or a pattern such as docs/**/*.md; hidden files are left out",
            ),
            Field::new(
                "except",
                Type::list(Type::Form {
                    form: "a file or folder in `path`, or a pattern such as drafts/*.md",
                    check: check_pattern,
                }),
                json!([]),
                "files and folders in `path` that are not documents, such as a file of questions: they are neither read nor rejected",
            ),
            Field::new(
                "format",
                Type::one_of(&[
                    "auto", "text", "markdown", "html", "json", "jsonl", "csv", "parquet",
                ]),
                "auto",
                "what the files are; auto: by the endings of their names",
            ),
            Field::new(
                "title",
                Type::Text,
                "title",
                "field or column of JSON, JSONL, CSV and Parquet that holds the title",
            ),
            Field::new(
                "text",
                Type::Text,
                "text",
                "field or column of JSON, JSONL, CSV and Parquet that holds the text",
            ),
            encoding_field(),
            pieces::field(),
            max_field(),
        ])
    }

    fn inputs() -> Vec<InPort> {
        Vec::new()
    }

    fn outputs() -> Vec<OutPort> {
        vec![
            OutPort {
                name: "documents",
                kind: &kinds::DOCUMENTS,
                about: "documents or their pieces, in the order of the files; pieces have the title of the whole",
            },
            OutPort {
                name: "sources",
                kind: &kinds::SOURCES,
                about: "the file and bytes each was read from, and what it is a piece of",
            },
            OutPort {
                name: "rejects",
                kind: &kinds::REJECTS,
                about: "files and records that could not be read",
            },
            OutPort {
                name: "counts",
                kind: &kinds::COUNTS,
                about: "files, documents, pieces, rejects",
            },
        ]
    }

    fn check(params: &DocumentsParams) -> Vec<Problem> {
        match params.split {
            Split::Tokens { tokens, overlap } if overlap >= tokens => vec![
                Problem::at("split.overlap", "it must be less than `tokens`")
                    .hint("a piece that repeats all of the one before would never end"),
            ],
            _ => Vec::new(),
        }
    }

    fn files(params: &DocumentsParams, base: &Path) -> Vec<InputFile> {
        Listing::keyed(&params.path, base, params.listing(base), &params.wanted())
    }

    fn fingerprint(params: &DocumentsParams, base: &Path) -> Option<String> {
        let listing = params.listing(base).ok()?;
        let mut hasher = blake3::Hasher::new();
        listing.digest(&mut hasher);
        Some(hasher.finalize().to_hex().to_string())
    }

    fn run(params: DocumentsParams, ctx: &Context) -> OpResult<()> {
        let listing = params.listing(&ctx.base).map_err(|absent| {
            OpError::new(absent.why)
                .hint(absent.hint)
                .file(&params.path)
        })?;
        let job = Job {
            ctx,
            options: ReadOptions {
                title: params.title.clone(),
                text: params.text.clone(),
                encoding: Encoding::for_label(params.encoding.as_bytes()),
                max_bytes: params.max_file_bytes,
            },
            files: &listing.found,
        };
        let written = job.titles()?;
        let folders: Vec<&str> = listing
            .found
            .iter()
            .map(|f| titles::folder(&f.name))
            .collect();
        let distinct = titles::distinct(&written, &folders);
        let mut out = Writer::create(ctx)?;
        for refused in &listing.refused {
            out.reject(&refused.name, &Fault::file(refused.reason.clone()))?;
        }
        job.texts(&written, &distinct, params.split, &mut out)?;
        if distinct.is_empty() {
            return Err(OpError::data("no document could be read")
                .file(&params.path)
                .hint(out.reasons.join("; ")));
        }
        let files = listing.found.len() + listing.refused.len();
        out.finish(files as u64, distinct.len() as u64)
    }
}

/// Called with the number of a file and each record or fault in it.
type EachRecord<'a> = dyn FnMut(usize, Result<Record<'_>, Fault>) -> OpResult<()> + 'a;

/// The files, and the options for reading them.
struct Job<'a> {
    ctx: &'a Context,
    options: ReadOptions,
    files: &'a [Found],
}

impl Job<'_> {
    /// Reads every file, and calls `each` with its number and each record or fault in it. `done` is
    /// the number of files that were read before: each is read twice, and counts once.
    fn read(&self, done: u64, each: &mut EachRecord<'_>) -> OpResult<()> {
        let total = self.files.len() as u64;
        let mut records = 0u64;
        for (i, file) in self.files.iter().enumerate() {
            self.ctx.check_cancelled()?;
            self.ctx
                .progress((done + i as u64) / 2, total, "files", &file.name);
            reading::read(
                &self.ctx.path(&file.path),
                file.format,
                &self.options,
                &mut |record| {
                    records += 1;
                    if records.is_multiple_of(BEAT) {
                        self.ctx.check_cancelled()?;
                    }
                    each(i, record)
                },
            )?;
        }
        self.ctx.progress((done + total) / 2, total, "files", "");
        Ok(())
    }

    /// The titles of all documents, as in their files.
    fn titles(&self) -> OpResult<Vec<SourceTitle>> {
        let mut written = Vec::new();
        self.read(0, &mut |file, record| {
            if let Ok(record) = record {
                written.push(self.written(file, &record)?);
            }
            Ok(())
        })?;
        Ok(written)
    }

    fn written(&self, file: usize, record: &Record<'_>) -> OpResult<SourceTitle> {
        let title = match &record.title {
            Some(title) => title.clone(),
            None => titles::of_name(&self.files[file].name),
        };
        let file = u32::try_from(file).map_err(|e| OpError::wrap("too many files", e))?;
        Ok(SourceTitle { title, file })
    }

    fn texts(
        &self,
        written: &[SourceTitle],
        distinct: &[String],
        split: Split,
        out: &mut Writer<'_>,
    ) -> OpResult<()> {
        let mut all = written.iter().zip(distinct);
        let changed = |file: usize| {
            OpError::resource("the file changed while it was read")
                .file(&self.files[file].path)
                .hint("run again once nothing writes to it")
        };
        let mut last = 0;
        self.read(self.files.len() as u64, &mut |file, record| {
            last = file;
            let source = &self.files[file].name;
            let record = match record {
                Ok(record) => record,
                Err(fault) => return out.reject(source, &fault),
            };
            let (before, title) = all.next().ok_or_else(|| changed(file))?;
            if self.written(file, &record)? != *before {
                return Err(changed(file));
            }
            let parent = out.documents.total();
            out.empty += u64::from(record.plain.text.trim().is_empty());
            for piece in split.pieces(&record.plain.text) {
                let part = (!split.is_none()).then_some(&piece);
                out.document(&Document {
                    title,
                    text: &record.plain.text[piece.clone()],
                    written: &before.title,
                    source,
                    bytes: record.bytes(part),
                    row: record.row,
                    parent,
                })?;
            }
            Ok(())
        })?;
        match all.next() {
            Some(_) => Err(changed(last)),
            None => Ok(()),
        }
    }
}

/// A row of `documents` and of `sources`.
struct Document<'a> {
    title: &'a str,
    text: &'a str,
    written: &'a str,
    source: &'a str,
    bytes: Option<Range<u64>>,
    row: Option<u64>,
    parent: u32,
}

/// Writes the tables.
struct Writer<'a> {
    ctx: &'a Context,
    documents: Rows,
    sources: Rows,
    rejects: Rejects,
    /// Number of documents without a text.
    empty: u64,
    /// The reasons of the first rejects, for a message.
    reasons: Vec<String>,
}

impl<'a> Writer<'a> {
    fn create(ctx: &'a Context) -> OpResult<Self> {
        Ok(Writer {
            ctx,
            documents: Rows::create(ctx, "documents", &kinds::DOCUMENTS, "documents")?,
            sources: Rows::create(ctx, "sources", &kinds::SOURCES, "sources")?,
            rejects: Rejects::create(ctx)?,
            empty: 0,
            reasons: Vec::new(),
        })
    }

    fn reject(&mut self, source: &str, fault: &Fault) -> OpResult<()> {
        if self.reasons.len() < 3 {
            self.reasons.push(format!("{source}: {}", fault.reason));
        }
        fault.push(source, &mut self.rejects)
    }

    fn document(&mut self, document: &Document<'_>) -> OpResult<()> {
        let id = Cell::Id(self.documents.total());
        let (title, text) = (Cell::Text(document.title), Cell::Text(document.text));
        self.documents.push([id, title, text, Cell::Flag(true)])?;
        self.sources.push([
            id,
            Cell::Text(document.source),
            Cell::Maybe(document.bytes.as_ref().map(|b| b.start)),
            Cell::Maybe(document.bytes.as_ref().map(|b| b.end)),
            Cell::Maybe(document.row),
            Cell::Id(document.parent),
            Cell::Text(document.written),
        ])
    }

    fn finish(self, files: u64, documents: u64) -> OpResult<()> {
        let pieces = u64::from(self.documents.total());
        self.documents.finish()?;
        self.sources.finish()?;
        let rejected = self.rejects.total();
        self.rejects.finish()?;
        if rejected > 0 {
            self.ctx.warn(format!(
                "{rejected} files or records rejected ({}): see `gfm-pipe show {}`",
                self.reasons.first().map_or("", String::as_str),
                self.ctx.typed("rejects")
            ));
        }
        let counts = [
            ("files", files),
            ("documents", documents),
            ("pieces", pieces),
            ("documents_without_text", self.empty),
            ("rejected", rejected),
        ];
        write_counts(self.ctx, &counts.map(|(name, n)| (name.to_owned(), n)))
    }
}
