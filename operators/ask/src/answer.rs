//! The operator `answer`: from questions and the documents that were found for them to answers.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;

use gfm_pipe_api::{
    Arity, Context, Field, InPort, InputFile, OpError, OpResult, Operator, OutPort, Problem,
    Schema, Type, columns, kinds,
};
use gfm_pipe_llm::{Chat, LlmParams, prompt_files, prompts_fingerprint};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::corpus::Corpus;
use crate::generate::{ANSWER_PROMPT, AnswerPrompts, Generator, Shown, max_words_field};
use crate::responses::{self, Asked, Told};

/// The operator `answer`.
pub struct AnswerQuestions;

/// Parameters of `answer`.
#[derive(Debug, Serialize, Deserialize)]
pub struct AnswerParams {
    llm: LlmParams,
    system: Option<String>,
    documents: usize,
    max_words: usize,
    prompts: AnswerPrompts,
}

impl Operator for AnswerQuestions {
    type Params = AnswerParams;
    const NAME: &'static str = "answer";
    const VERSION: u32 = 1;
    const ABOUT: &'static str = "answers of a language model to questions, from the documents that were found, with those that it cites";

    fn schema() -> Schema {
        Schema::new(vec![
            LlmParams::field(),
            Field::new(
                "system",
                Type::Text.or_null(),
                Value::Null,
                "whose documents in `rankings` are shown; null: the only system that they have",
            ),
            Field::new(
                "documents",
                Type::int(1),
                5,
                "first documents of each question that the language model is shown",
            )
            .at_most(100.0, "all are in one prompt"),
            max_words_field(),
            AnswerPrompts::field(),
        ])
    }

    fn inputs() -> Vec<InPort> {
        vec![
            InPort::of(
                "questions",
                &[&kinds::QUESTIONS],
                Arity::One,
                "the questions",
            ),
            InPort::of(
                "rankings",
                &[&kinds::RANKINGS],
                Arity::One,
                "the documents that were found for them",
            ),
            InPort::of(
                "documents",
                &[&kinds::DOCUMENTS],
                Arity::One,
                "the documents of the rankings",
            ),
            InPort::of(
                "sources",
                &[&kinds::SOURCES],
                Arity::Optional,
                "which documents are pieces of one: its whole text is then shown",
            ),
        ]
    }

    fn outputs() -> Vec<OutPort> {
        responses::ports()
    }

    fn check(p: &AnswerParams) -> Vec<Problem> {
        p.llm.problems(true)
    }

    fn files(p: &AnswerParams, _: &Path) -> Vec<InputFile> {
        let mut files = p.llm.files();
        files.extend(prompt_files([&p.prompts.answer]));
        files
    }

    fn fingerprint(p: &AnswerParams, _: &Path) -> Option<String> {
        Some(prompts_fingerprint(&[(&p.prompts.answer, ANSWER_PROMPT)]))
    }

    fn asks_model(_: &AnswerParams) -> bool {
        true
    }

    fn run(p: AnswerParams, ctx: &Context) -> OpResult<()> {
        let asked = Asked::read(ctx.input("questions")?)?;
        let lists = lists(ctx, &p, &asked)?;
        let corpus = Corpus::read(ctx)?;
        let found = found(&corpus, &lists)?;
        let generator = Generator::open(p.prompts.answer.as_deref(), &ctx.base, p.max_words)?;
        let chat = Chat::open(ctx, &p.llm)?;
        let told = chat.each(asked.ids.len(), "questions", |i, asker| {
            let shown = found[i].iter().map(|document| Shown {
                title: corpus.titles[*document as usize].to_owned(),
                text: corpus.whole(*document),
            });
            let shown: Vec<Shown> = shown.collect();
            let mut told = Told {
                documents: shown.iter().map(|d| d.title.clone()).collect(),
                ..Told::default()
            };
            if !shown.is_empty() {
                told.response = generator.answer(asker, &asked.texts[i], &shown, &[])?;
            }
            Ok(told)
        })?;
        chat.report();
        responses::write(ctx, &asked, &told)
    }
}

/// The titles of the first documents that the system found for each question.
fn lists(ctx: &Context, p: &AnswerParams, asked: &Asked) -> OpResult<Vec<Vec<String>>> {
    let artifact = ctx.input("rankings")?;
    let places: HashMap<&str, usize> = asked.ids.iter().map(String::as_str).zip(0..).collect();
    let mut systems: BTreeSet<String> = BTreeSet::new();
    let mut out: Vec<Vec<(u32, String)>> = asked.ids.iter().map(|_| Vec::new()).collect();
    let mut unknown = 0;
    for batch in artifact.batches("rankings")? {
        let batch = batch?;
        let text = |name| columns::text(&batch, name);
        let (ids, of, titles) = (text("question")?, text("system")?, text("document")?);
        let ranks = columns::u32s(&batch, "rank")?;
        for row in 0..batch.num_rows() {
            if !systems.contains(of.value(row)) {
                systems.insert(of.value(row).to_owned());
            }
            if p.system.as_deref().is_some_and(|s| s != of.value(row)) {
                continue;
            }
            match places.get(ids.value(row)) {
                Some(place) if ranks.value(row) as usize <= p.documents => {
                    out[*place].push((ranks.value(row), titles.value(row).to_owned()));
                }
                Some(_) => {}
                None => unknown += 1,
            }
        }
    }
    let named: Vec<String> = systems.iter().map(|s| format!("`{s}`")).collect();
    let named = named.join(", ");
    match &p.system {
        None if systems.len() > 1 => {
            return Err(
                OpError::new(format!("these rankings have several systems: {named}"))
                    .artifact(&artifact.name)
                    .hint("set `system` to the one whose documents are to be shown"),
            );
        }
        Some(system) if !systems.is_empty() && !systems.contains(system) => {
            return Err(OpError::new(format!(
                "system `{system}` is not in these rankings, only {named}"
            ))
            .artifact(&artifact.name)
            .hint("set `system` to one of them"));
        }
        _ => {}
    }
    if unknown > 0 {
        let questions = &ctx.input("questions")?.name;
        return Err(OpError::new(format!(
            "`{questions}` does not have the questions of {unknown} of the rows"
        ))
        .artifact(&artifact.name)
        .hint("connect the `questions` that the rankings were made for"));
    }
    let ranked = out.into_iter().map(|mut list| {
        list.sort_by_key(|(rank, _)| *rank);
        list.into_iter().map(|(_, title)| title).collect()
    });
    Ok(ranked.collect())
}

/// The documents of the lists. Of documents with the same title, each is taken once, in order.
fn found(corpus: &Corpus, lists: &[Vec<String>]) -> OpResult<Vec<Vec<u32>>> {
    let titles = corpus.by_title();
    let of_list = |list: &Vec<String>| {
        let mut taken: HashMap<&str, usize> = HashMap::new();
        let documents = list.iter().map(|title| {
            let known = titles.get(title.as_str()).map_or(&[][..], Vec::as_slice);
            let next = taken.entry(title).or_default();
            let document = known.get(*next).or(known.last());
            *next += 1;
            document.copied().ok_or_else(|| {
                OpError::new(format!("there is no document {title:?}"))
                    .hint("connect the `documents` that the rankings were made of")
            })
        });
        documents.collect::<OpResult<Vec<u32>>>()
    };
    lists.iter().map(of_list).collect()
}
