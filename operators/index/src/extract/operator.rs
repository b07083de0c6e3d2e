//! `extract`: sentences, mentions and facts of documents, and where documents name each other.
//!
//! Where texts name documents is a second pass, because it depends on all titles. Rank 0 makes it
//! alone: every rank would need the automaton of all titles, which takes about 15 s and 0.7 GB to
//! build for a million of them. Searching a million texts of 100 words takes about 30 s on one
//! core, a fiftieth of what parsing them takes.

use std::path::Path;

use ahash::AHashMap;
use gfm_pipe_api::{
    Accepts, Arity, Artifact, Context, InPort, InputFile, Kind, OpError, OpResult, Operator,
    OutPort, Problem, Schema, kinds,
};
#[cfg(feature = "transformers")]
use gfm_pipe_api::{Cancel, Reporter};
use rayon::prelude::*;

use super::openie::{self, Corpus};
use super::params::{By, ExtractParams, WANTED};
use super::record::OpenIeRecord;
#[cfg(any(feature = "english", feature = "transformers"))]
use super::shares;
use super::writer::Writer;
use super::{Document, Extracted, llm, patterns};
use crate::formats::rows::{self as records, Expected};
use crate::formats::{Fault, rejecting};
use crate::listing::Listing;
use crate::reading;

/// The operator `extract`.
pub struct Extract;

static DOCUMENTS: [&Kind; 2] = [&kinds::DOCUMENTS, &kinds::QUESTIONS];

impl Operator for Extract {
    type Params = ExtractParams;
    const NAME: &'static str = "extract";
    const VERSION: u32 = 1;
    const ABOUT: &'static str =
        "finds sentences, mentions and facts in documents, and where they name each other";

    fn schema() -> Schema {
        ExtractParams::schema()
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
                "records, entities and facts, of files or of a model's answers, that could not be \
                 used",
            ),
            port(
                "counts",
                &kinds::COUNTS,
                "sentences, mentions, facts, named documents",
            ),
        ]
    }

    fn check(params: &ExtractParams) -> Vec<Problem> {
        params.problems()
    }

    fn files(params: &ExtractParams, base: &Path) -> Vec<InputFile> {
        params.files(base)
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
        params.fingerprint(base)
    }

    fn asks_model(params: &ExtractParams) -> bool {
        params.by == By::Llm
    }

    #[cfg(feature = "transformers")]
    fn on_gpu(params: &ExtractParams) -> bool {
        gfm_pipe_text::ON_GPU && params.by == By::Transformer
    }

    fn on_ranks(params: &ExtractParams) -> bool {
        // Patterns and files take less time than sending texts and results, and rank 0 asks a
        // language model, because its limits count for all requests.
        matches!(params.by, By::English | By::Transformer)
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
            (By::Llm, None) => llm::extract(&params, ctx, documents, &mut out)?,
            (By::Patterns | By::File, None) => {
                let extract = |d: &Document<'_>| patterns::extract(d.title, d.text);
                out.pass(ctx, documents, &mut |all| Ok(one_by_one(all, extract)))?;
            }
        }
        if ctx.ranks.rank() > 0 {
            return Ok(());
        }
        out.gazetteer(ctx, documents)?;
        out.finish(ctx)
    }
}

#[cfg(feature = "english")]
fn english(ctx: &Context, documents: &Artifact, out: &mut Writer) -> OpResult<()> {
    use super::english::English;
    use super::writer::AT_ONCE;
    let english = English::load()?;
    let extract = |some: &[Document<'_>]| Ok(english.extract(some));
    shares::extract(ctx, documents, out, &English::name(), AT_ONCE, extract)
}

#[cfg(not(feature = "english"))]
fn english(_: &Context, _: &Artifact, _: &mut Writer) -> OpResult<()> {
    use super::params;
    Err(OpError::new(params::NO_ENGLISH).hint(params::NO_ENGLISH_HINT))
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
    let extract = |some: &[Document<'_>]| transformer.extract(some);
    let (name, at_once) = (transformer.name(), transformer.at_once());
    shares::extract(ctx, documents, out, &name, at_once, extract)
}

#[cfg(not(feature = "transformers"))]
fn transformer(_: &ExtractParams, _: &Context, _: &Artifact, _: &mut Writer) -> OpResult<()> {
    use super::params;
    Err(OpError::new(params::NO_TRANSFORMERS).hint(params::NO_TRANSFORMERS_HINT))
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
        .hint("use `by: english`, `by: patterns` or `by: llm`"));
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
