//! The operator `make-questions`.

use std::path::Path;

use gfm_pipe_api::{
    Arity, Context, InPort, InputFile, Kind, OpResult, Operator, OutPort, Problem, Schema, kinds,
};
use gfm_pipe_llm::{prompt_files, prompts_fingerprint};

use super::params::{By, MakeParams, PROMPT};

/// The operator `make-questions`.
pub struct MakeQuestions;

impl Operator for MakeQuestions {
    type Params = MakeParams;
    const NAME: &'static str = "make-questions";
    const VERSION: u32 = 1;
    const ABOUT: &'static str = "makes training questions from English documents by rules, with gold documents and hard negatives; a language model can put them into natural words";

    fn schema() -> Schema {
        MakeParams::schema()
    }

    fn inputs() -> Vec<InPort> {
        type Ports = &'static [&'static Kind];
        let port = |name, kind: Ports, arity, about| InPort::of(name, kind, arity, about);
        vec![
            port(
                "documents",
                &[&kinds::DOCUMENTS],
                Arity::One,
                "documents, which the questions are made from",
            ),
            port(
                "sources",
                &[&kinds::SOURCES],
                Arity::Optional,
                "which documents are pieces of one: no piece is a negative of another",
            ),
            port(
                "named",
                &[&kinds::NAMED],
                Arity::Optional,
                "where documents name others: finds names that the parser misses",
            ),
            port(
                "corpus_embeddings",
                &[&kinds::EMBEDDINGS],
                Arity::Optional,
                "embeddings of `documents`: the most similar to gold documents are negatives",
            ),
            port(
                "exclude",
                &[&kinds::QUESTIONS],
                Arity::Any,
                "questions of which no near copies are made, such as those that test",
            ),
        ]
    }

    fn outputs() -> Vec<OutPort> {
        let port = |name, kind, about| OutPort { name, kind, about };
        vec![
            port(
                "questions",
                &kinds::QUESTIONS,
                "the questions, with groups `type=single`, `bridge`, `intersection`, `comparison`",
            ),
            port(
                "negatives",
                &kinds::NEGATIVES,
                "documents that rank high for the questions though they are not gold",
            ),
            port(
                "counts",
                &kinds::COUNTS,
                "candidates by type, and for what reason they were left out; with `by: llm` how many questions were reworded, and why others were not",
            ),
        ]
    }

    fn check(params: &MakeParams) -> Vec<Problem> {
        params.problems()
    }

    fn files(params: &MakeParams, _: &Path) -> Vec<InputFile> {
        if params.by == By::Rules {
            return Vec::new();
        }
        let mut files = prompt_files([&params.prompts.question]);
        files.extend(params.llm.files());
        files
    }

    fn fingerprint(params: &MakeParams, _: &Path) -> Option<String> {
        let prompts = [(&params.prompts.question, PROMPT)];
        (params.by == By::Llm).then(|| prompts_fingerprint(&prompts))
    }

    #[cfg(feature = "english")]
    fn run(params: MakeParams, ctx: &Context) -> OpResult<()> {
        super::run::run(&params, ctx)
    }

    #[cfg(not(feature = "english"))]
    fn run(_: MakeParams, _: &Context) -> OpResult<()> {
        Err(gfm_pipe_api::OpError::new(
            "this build has no English pipeline, which reads the documents",
        ))
    }
}
