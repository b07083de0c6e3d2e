//! `extract`: sentences, mentions and facts of documents, and where documents name each other.
//!
//! Where texts name documents is a second pass, because it depends on all titles.

use std::path::{Path, PathBuf};

use ahash::AHashMap;
use gfm_pipe_api::{
    Accepts, Arity, Artifact, Context, Field, InPort, InputFile, Kind, OpError, OpResult, Operator,
    OutPort, Problem, Schema, Type, kinds,
};
#[cfg(feature = "transformers")]
use gfm_pipe_api::{Cancel, Reporter};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

#[cfg(any(feature = "english", feature = "transformers"))]
use super::items::ExtractedItems;
use super::openie::{self, Corpus, OpenIeRecord};
use super::patterns;
use super::writer::Writer;
use super::{Document, Extracted};
use crate::formats::rows::{self as records, Expected};
use crate::formats::{Fault, Format, rejecting};
use crate::ingest_documents::MAX_FILE;
use crate::listing::{Listing, Wanted};
use crate::reading;

/// The operator `extract`.
pub struct Extract;

/// Parameters of [`Extract`].
#[derive(Debug, Serialize, Deserialize)]
pub struct ExtractParams {
    /// The extractor.
    pub by: By,
    /// Files of facts, for `by: file`.
    pub path: Option<PathBuf>,
    /// The model, for `by: transformer`.
    pub model: Option<String>,
    /// The model's revision on the hub.
    pub revision: Option<String>,
}

/// An extractor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum By {
    /// The compiled-in English pipeline.
    English,
    /// Capitals, numbers, dates, quotes.
    Patterns,
    /// A model for token classification.
    Transformer,
    /// Files of facts that another program extracted.
    File,
}

static DOCUMENTS: [&Kind; 2] = [&kinds::DOCUMENTS, &kinds::QUESTIONS];

const NO_ENGLISH: &str = "this build has no English pipeline";
const NO_ENGLISH_HINT: &str =
    "build with `--features english` (it is on by default), or use `by: patterns`";

const NO_TRANSFORMERS: &str = "this build runs no transformers";
const NO_TRANSFORMERS_HINT: &str =
    "build with `--features encoders` (it is on by default), or use `by: patterns`";

const WANTED: Wanted = Wanted {
    format: None,
    formats: &[Format::Json, Format::JsonLines],
    max_bytes: MAX_FILE as u64,
};

impl ExtractParams {
    #[cfg(feature = "transformers")]
    fn model(&self, base: &Path) -> Option<gfm_pipe_text::Model> {
        let model = self.model.as_deref();
        let model = model.filter(|_| self.by == By::Transformer)?;
        let revision = self.revision.as_deref();
        Some(gfm_pipe_text::Model::parse(model, revision, base))
    }

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
            words: &["english", "patterns", "transformer", "file"],
            planned: &[],
        };
        Schema::new(vec![
            Field::new(
                "by",
                by,
                "english",
                "english: named entities, and facts by rules over a parse; patterns: capitalised \
                 spans, numbers, dates and quoted strings, without facts; transformer: names by a \
                 model for token classification, without facts; file: what GFM-RAG or HippoRAG \
                 extracted",
            ),
            Field::new(
                "path",
                Type::Path.or_null(),
                serde_json::Value::Null,
                "with `by: file`: OpenIE results as JSON or JSONL, a file, a folder or a pattern",
            ),
            // The content of the model's files is in the key.
            Field::new(
                "model",
                Type::Text.or_null(),
                serde_json::Value::Null,
                "with `by: transformer`: a folder, or a name on the Hugging Face hub \
                 (`dslim/bert-base-NER`), which a run downloads once; BERT, RoBERTa or DeBERTa for \
                 token classification",
            )
            .no_effect(),
            Field::new(
                "revision",
                Type::Text.or_null(),
                serde_json::Value::Null,
                "branch, tag or commit of a hub name (main); what it stood for at the first \
                 download is kept",
            )
            .no_effect(),
        ])
    }

    fn inputs() -> Vec<InPort> {
        vec![InPort {
            name: "documents",
            accepts: Accepts::Kinds(&DOCUMENTS),
            arity: Arity::One,
            about: "documents with their titles, or questions, whose mentions are for `link-questions`",
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
        let model = params
            .model
            .as_deref()
            .filter(|model| !model.trim().is_empty());
        let mut problems = Vec::new();
        let mut needs =
            |by, key, given: bool, problem: &str, only: &str| match (params.by == by, given) {
                (true, false) => problems.push(Problem::at("by", problem)),
                (false, true) => problems.push(Problem::at(key, only)),
                _ => {}
            };
        needs(
            By::File,
            "path",
            params.path.is_some(),
            "`by: file` needs the `path` of a file",
            "only `by: file` reads a file",
        );
        needs(
            By::Transformer,
            "model",
            model.is_some(),
            "`by: transformer` needs a `model`: a folder, or a name on the Hugging Face hub",
            "only `by: transformer` has a model",
        );
        if params.by != By::Transformer && params.revision.is_some() {
            let problem = "only `by: transformer` has a model";
            problems.push(Problem::at("revision", problem));
        }
        if params.by == By::English && !cfg!(feature = "english") {
            problems.push(Problem::at("by", NO_ENGLISH).hint(NO_ENGLISH_HINT));
        }
        if params.by == By::Transformer && !cfg!(feature = "transformers") {
            problems.push(Problem::at("by", NO_TRANSFORMERS).hint(NO_TRANSFORMERS_HINT));
        }
        problems
    }

    fn files(params: &ExtractParams, base: &Path) -> Vec<InputFile> {
        #[cfg(feature = "transformers")]
        if let Some(model) = params.model(base) {
            return model.files(base);
        }
        params
            .file()
            .map_or_else(Vec::new, |path| Listing::files(path, base, &WANTED))
    }

    #[cfg(feature = "transformers")]
    fn fetch(
        params: &ExtractParams,
        base: &Path,
        reporter: &dyn Reporter,
        cancel: &Cancel,
    ) -> OpResult<()> {
        match params.model(base) {
            Some(model) => model.fetch(reporter, cancel),
            None => Ok(()),
        }
    }

    fn fingerprint(params: &ExtractParams, base: &Path) -> Option<String> {
        let mut hasher = blake3::Hasher::new();
        Listing::new(params.file()?, base, &WANTED)
            .ok()?
            .digest(&mut hasher);
        Some(hasher.finalize().to_hex().to_string())
    }

    fn run(params: ExtractParams, ctx: &Context) -> OpResult<()> {
        let documents = ctx.input("documents")?;
        let mut out = Writer::create(ctx)?;
        match (params.by, params.file()) {
            (_, Some(path)) => {
                let given = given(ctx, documents, path, &mut out)?;
                let none = OpenIeRecord::default();
                let extract =
                    |d: &Document<'_>| given.get(&d.id).unwrap_or(&none).extracted(d.text);
                out.pass(ctx, documents, &mut |all| Ok(one_by_one(all, extract)))?;
            }
            (By::English, None) => english(ctx, documents, &mut out)?,
            (By::Transformer, None) => transformer(&params, ctx, documents, &mut out)?,
            (By::Patterns | By::File, None) => {
                let extract = |d: &Document<'_>| patterns::extract(d.title, d.text);
                out.pass(ctx, documents, &mut |all| Ok(one_by_one(all, extract)))?;
            }
        }
        out.gazetteer(ctx, documents)?;
        out.finish(ctx)
    }
}

#[cfg(feature = "english")]
fn english(ctx: &Context, documents: &Artifact, out: &mut Writer) -> OpResult<()> {
    use super::english::English;
    let english = English::load()?;
    let mut items = ExtractedItems::open(ctx, &English::name());
    out.pass(ctx, documents, &mut |all| {
        items.extract(all, |missing| Ok(english.extract(missing)))
    })
}

#[cfg(not(feature = "english"))]
fn english(_: &Context, _: &Artifact, _: &mut Writer) -> OpResult<()> {
    Err(OpError::new(NO_ENGLISH).hint(NO_ENGLISH_HINT))
}

#[cfg(feature = "transformers")]
fn transformer(
    params: &ExtractParams,
    ctx: &Context,
    documents: &Artifact,
    out: &mut Writer,
) -> OpResult<()> {
    use super::transformer::Transformer;
    let model = params.model(&ctx.base);
    let model = model.ok_or_else(|| OpError::new("there is no `model`"))?;
    let transformer = Transformer::load(&model, ctx)?;
    let mut items = ExtractedItems::open(ctx, &transformer.name());
    out.pass(ctx, documents, &mut |all| {
        Transformer::in_parts(all, |part| {
            items.extract(part, |missing| transformer.extract(missing))
        })
    })
}

#[cfg(not(feature = "transformers"))]
fn transformer(_: &ExtractParams, _: &Context, _: &Artifact, _: &mut Writer) -> OpResult<()> {
    Err(OpError::new(NO_TRANSFORMERS).hint(NO_TRANSFORMERS_HINT))
}

/// Extracts from each document separately, on all threads.
fn one_by_one(
    documents: &[Document<'_>],
    extract: impl Fn(&Document<'_>) -> Extracted + Send + Sync,
) -> Vec<Extracted> {
    documents.par_iter().map(extract).collect()
}

/// Reads the entities and facts that files have for documents.
fn given(
    ctx: &Context,
    documents: &Artifact,
    path: &Path,
    out: &mut Writer,
) -> OpResult<AHashMap<u32, OpenIeRecord>> {
    if *documents.kind == kinds::QUESTIONS {
        return Err(OpError::new(
            "`by: file` reads what was extracted from documents, and these are questions",
        )
        .artifact(&documents.name)
        .hint("use `by: english` or `by: patterns`"));
    }
    let corpus = Corpus::read(documents)?;
    let listing = Listing::new(path, &ctx.base, &WANTED)
        .map_err(|absent| OpError::new(absent.why).hint(absent.hint).file(path))?;
    for refused in &listing.refused {
        Fault::file(refused.reason.clone()).push(&refused.name, &mut out.rejects)?;
    }
    let mut all: AHashMap<u32, OpenIeRecord> = AHashMap::new();
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
            let mut push = rejecting(rejects, source, row.line);
            let Some((document, given)) = openie::read(row, &corpus, &mut push)? else {
                return Ok(());
            };
            // After a restart, GFM-RAG's file has documents twice.
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
