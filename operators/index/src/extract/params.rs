//! Parameters of `extract`.

use std::path::{Path, PathBuf};

use gfm_pipe_api::{Field, InputFile, Problem, Schema, Type};
use gfm_pipe_llm::{LlmParams, prompt_field, prompt_files, prompts_fingerprint};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::llm;
use crate::formats::Format;
use crate::ingest_documents::MAX_FILE;
use crate::language_model;
use crate::listing::{Listing, Wanted};

/// Parameters of [`super::operator::Extract`].
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
    /// The language model, for `by: llm`.
    pub llm: LlmParams,
    /// Prompts of the user's own, for `by: llm`.
    pub prompts: Prompts,
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
    /// A language model.
    Llm,
}

/// Files with prompts of the user's own.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prompts {
    /// For entities.
    pub entities: Option<PathBuf>,
    /// For facts.
    pub facts: Option<PathBuf>,
}

pub(super) const NO_ENGLISH: &str = "this build has no English pipeline";
pub(super) const NO_ENGLISH_HINT: &str =
    "build with `--features english` (it is on by default), or use `by: patterns`";

pub(super) const NO_TRANSFORMERS: &str = "this build runs no transformers";
pub(super) const NO_TRANSFORMERS_HINT: &str =
    "build with `--features encoders` (it is on by default), or use `by: patterns`";

/// The files that `by: file` reads.
pub(super) const WANTED: Wanted = Wanted {
    format: None,
    formats: &[Format::Json, Format::JsonLines],
    max_bytes: MAX_FILE as u64,
};

impl ExtractParams {
    /// The schema.
    pub fn schema() -> Schema {
        let by = Type::OneOf {
            words: &["english", "patterns", "transformer", "file", "llm"],
            planned: &[],
        };
        let prompts = Schema::new(vec![
            prompt_field(
                "entities",
                "a file with a prompt of your own that asks for entities",
            ),
            prompt_field(
                "facts",
                "a file with a prompt of your own that asks for facts",
            ),
        ]);
        Schema::new(vec![
            Field::new(
                "by",
                by,
                "english",
                "english: named entities, and facts by rules over a parse; patterns: capitalised \
                 spans, numbers, dates and quoted strings, without facts; transformer: names by a \
                 model for token classification, without facts; file: what GFM-RAG or HippoRAG \
                 extracted; llm: entities and facts by a language model (`llm`), which is asked \
                 twice for each document, and once for each question",
            ),
            Field::new(
                "path",
                Type::Path.or_null(),
                Value::Null,
                "with `by: file`: OpenIE results as JSON or JSONL, a file, a folder or a pattern",
            ),
            // The content of the model's files is in the key.
            Field::new(
                "model",
                Type::Text.or_null(),
                Value::Null,
                "with `by: transformer`: a folder, or a name on the Hugging Face hub \
                 (`dslim/bert-base-NER`), which a run downloads once; BERT, RoBERTa or DeBERTa for \
                 token classification",
            )
            .no_effect(),
            Field::new(
                "revision",
                Type::Text.or_null(),
                Value::Null,
                "branch, tag or commit of a hub name (main); what it stood for at the first \
                 download is kept",
            )
            .no_effect(),
            LlmParams::field().added_later(),
            Field::group(
                "prompts",
                prompts,
                "with `by: llm`: files with prompts that replace the built-in ones",
            )
            .added_later(),
        ])
    }

    /// Problems that the schema cannot express.
    pub(super) fn problems(&self) -> Vec<Problem> {
        let model = self.model.as_deref();
        let model = model.filter(|model| !model.trim().is_empty());
        let mut problems = Vec::new();
        let mut needs =
            |by, key, given: bool, problem: &str, only: &str| match (self.by == by, given) {
                (true, false) => problems.push(Problem::at("by", problem)),
                (false, true) => problems.push(Problem::at(key, only)),
                _ => {}
            };
        needs(
            By::File,
            "path",
            self.path.is_some(),
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
        if self.by != By::Transformer && self.revision.is_some() {
            let problem = "only `by: transformer` has a model";
            problems.push(Problem::at("revision", problem));
        }
        let prompts = self.prompts != Prompts::default();
        let asks = self.by == By::Llm;
        problems.extend(language_model::problems(asks, &self.llm, prompts));
        if self.by == By::English && !cfg!(feature = "english") {
            problems.push(Problem::at("by", NO_ENGLISH).hint(NO_ENGLISH_HINT));
        }
        if self.by == By::Transformer && !cfg!(feature = "transformers") {
            problems.push(Problem::at("by", NO_TRANSFORMERS).hint(NO_TRANSFORMERS_HINT));
        }
        problems
    }

    #[cfg(feature = "transformers")]
    pub(super) fn model(&self, base: &Path) -> Option<gfm_pipe_text::Model> {
        let model = self.model.as_deref();
        let model = model.filter(|_| self.by == By::Transformer)?;
        let revision = self.revision.as_deref();
        Some(gfm_pipe_text::Model::parse(model, revision, base))
    }

    /// The path of files of facts, if these are read.
    pub(super) fn file(&self) -> Option<&Path> {
        self.path.as_deref().filter(|_| self.by == By::File)
    }

    /// Files that are read besides the input.
    pub(super) fn files(&self, base: &Path) -> Vec<InputFile> {
        #[cfg(feature = "transformers")]
        if let Some(model) = self.model(base) {
            return model.files(base);
        }
        if self.by == By::Llm {
            let mut files = prompt_files([&self.prompts.entities, &self.prompts.facts]);
            files.extend(self.llm.files());
            return files;
        }
        self.file()
            .map_or_else(Vec::new, |path| Listing::files(path, base, &WANTED))
    }

    /// What else the result depends on.
    pub(super) fn fingerprint(&self, base: &Path) -> Option<String> {
        if self.by == By::Llm {
            let Prompts { entities, facts } = &self.prompts;
            let prompts = [(entities, llm::ENTITIES), (facts, llm::FACTS)];
            return Some(prompts_fingerprint(&prompts));
        }
        let mut hasher = blake3::Hasher::new();
        Listing::new(self.file()?, base, &WANTED)
            .ok()?
            .digest(&mut hasher);
        Some(hasher.finalize().to_hex().to_string())
    }
}
