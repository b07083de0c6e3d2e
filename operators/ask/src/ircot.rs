//! The operator `ircot`: reason, retrieve, repeat. A language model has a thought about the
//! documents that were found so far, documents are found for the thought, and so on; in the end it
//! answers (Trivedi et al. 2023).

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::StringArray;
use gfm_pipe_api::answer::{Answer, Answers, Ask};
use gfm_pipe_api::{
    Arity, Cancel, Connected, Context, Field, InPort, InputFile, OpError, OpResult, Operator,
    OutPort, PathSeg, Problem, Reporter, Schema, Type, kinds,
};
use gfm_pipe_eval::rankings::{RankedList, Rankings};
use gfm_pipe_llm::{
    Asker, Chat, LlmParams, NoAnswer, Prompt, Reply, prompt_field, prompt_files, prompt_of,
    prompts_fingerprint,
};
use serde::{Deserialize, Serialize};

use crate::answers::Ready;
use crate::generate::{
    ANSWER_PROMPT, Generator, answer_prompt_field, first_words, max_words_field, messages, one_line,
};
use crate::merged::Merged;
use crate::params::RetrieverParams;
use crate::responses::{self, Asked, Told};
use crate::retriever::Retriever;

/// What the thought that has the answer says.
const END: &str = "so the answer is:";
/// How models begin a thought that were shown other examples.
const BEGINNING: &str = "thought:";
/// Most words of a thought: one sentence was asked for.
const MOST_WORDS: usize = 100;
/// The built-in prompt for thoughts.
const THOUGHT_PROMPT: &str = include_str!("prompts/thought.txt");
/// The name of the system in `rankings`.
const SYSTEM: &str = "ircot";

/// The operator `ircot`.
pub struct Ircot;

/// Parameters of `ircot`.
#[derive(Debug, Serialize, Deserialize)]
pub struct IrcotParams {
    llm: LlmParams,
    retriever: RetrieverParams,
    steps: usize,
    k: usize,
    max_words: usize,
    prompts: IrcotPrompts,
}

#[derive(Debug, Serialize, Deserialize)]
struct IrcotPrompts {
    thought: Option<PathBuf>,
    answer: Option<PathBuf>,
}

impl Operator for Ircot {
    type Params = IrcotParams;
    const NAME: &'static str = "ircot";
    const VERSION: u32 = 2;
    const ABOUT: &'static str = "answers of a language model that searches again after each of its thoughts, for questions that need several documents";

    fn schema() -> Schema {
        let prompts = Schema::new(vec![
            prompt_field(
                "thought",
                "file with the prompt for a thought; its variables are `question`, `documents` and `thoughts`",
            ),
            answer_prompt_field(),
        ]);
        Schema::new(vec![
            LlmParams::field(),
            Field::group(
                "retriever",
                RetrieverParams::of_search(),
                "how documents are found, with the parameters of `retriever`",
            ),
            Field::new(
                "steps",
                Type::int(0),
                3,
                "most thoughts of a question; each is a request and a search, and the answer is one more request",
            )
            .at_most(10.0, "questions have no more hops, and each is paid for"),
            Field::new(
                "k",
                Type::int(1),
                5,
                "documents that are found each time, and that are shown: the best of all searches",
            )
            .at_most(100.0, "all are in one prompt"),
            max_words_field(),
            Field::group("prompts", prompts, "prompts of one's own, instead of the built-in ones"),
        ])
    }

    fn inputs() -> Vec<InPort> {
        let mut ports = Retriever::ports();
        ports.retain(|port| port.name != "examples");
        ports.push(InPort::of(
            "questions",
            &[&kinds::QUESTIONS],
            Arity::One,
            "the questions",
        ));
        ports
    }

    fn outputs() -> Vec<OutPort> {
        let mut ports = responses::ports();
        ports.push(OutPort {
            name: "rankings",
            kind: &kinds::RANKINGS,
            about: "the documents that were shown last, with their best scores",
        });
        ports
    }

    fn check(p: &IrcotParams) -> Vec<Problem> {
        let within = Retriever::check(&p.retriever)
            .into_iter()
            .map(|mut problem| {
                problem.path.insert(0, PathSeg::Key("retriever".to_owned()));
                problem
            });
        within.chain(p.llm.problems(true)).collect()
    }

    fn check_inputs(p: &IrcotParams, inputs: &Connected) -> Vec<Problem> {
        Retriever::check_inputs(&p.retriever, inputs)
    }

    fn files(p: &IrcotParams, base: &Path) -> Vec<InputFile> {
        let mut files = Retriever::files(&p.retriever, base);
        files.extend(p.llm.files());
        files.extend(prompt_files([&p.prompts.thought, &p.prompts.answer]));
        files
    }

    fn fetch(
        p: &IrcotParams,
        base: &Path,
        reporter: &dyn Reporter,
        cancel: &Cancel,
    ) -> OpResult<()> {
        Retriever::fetch(&p.retriever, base, reporter, cancel)
    }

    fn fingerprint(p: &IrcotParams, base: &Path) -> Option<String> {
        let own = [
            (&p.prompts.thought, THOUGHT_PROMPT),
            (&p.prompts.answer, ANSWER_PROMPT),
        ];
        let encoder = Retriever::fingerprint(&p.retriever, base).unwrap_or_default();
        Some(format!("{} {encoder}", prompts_fingerprint(&own)))
    }

    fn run(p: IrcotParams, ctx: &Context) -> OpResult<()> {
        let asked = Asked::read(ctx.input("questions")?)?;
        let chat = Chat::open(ctx, &p.llm)?;
        let search = Search {
            thought: prompt_of(p.prompts.thought.as_deref(), THOUGHT_PROMPT, &ctx.base)?,
            generator: Generator::open(p.prompts.answer.as_deref(), &ctx.base, p.max_words)?,
            retriever: Ready::open(p.retriever, ctx)?,
            steps: p.steps,
            k: p.k,
            max_words: p.max_words,
        };
        let found = chat.each(asked.ids.len(), "questions", |i, asker| {
            search.answer(asker, &asked.texts[i])
        })?;
        chat.report();
        let (told, lists): (Vec<Told>, Vec<RankedList>) = found.into_iter().unzip();
        let mut rankings = Rankings::default();
        let system = Arc::from(SYSTEM);
        for (question, list) in lists.into_iter().enumerate() {
            rankings.add(&system, question, list);
        }
        let titles = StringArray::from_iter_values(search.retriever.titles_of_all().iter());
        rankings.write(ctx, &asked.ids, &titles)?;
        responses::write(ctx, &asked, &told)
    }
}

/// What a question is answered with.
struct Search {
    retriever: Ready,
    thought: Prompt,
    generator: Generator,
    steps: usize,
    k: usize,
    max_words: usize,
}

impl Search {
    /// Answers a question. What is returned depends on no other question.
    fn answer(&self, asker: &Asker<'_>, question: &str) -> OpResult<(Told, RankedList)> {
        let mut told = Told::default();
        let mut merged = Merged::new(self.k);
        merged.add(self.search(question)?);
        for step in 1..=self.steps {
            if asker.cancel().is_cancelled() {
                return Err(OpError::Cancelled);
            }
            if merged.is_empty() {
                break;
            }
            let (shown, thoughts) = (merged.shown(), &told.thoughts);
            let messages = messages(&self.thought, question, &shown, thoughts, self.max_words)?;
            let name = format!("thought {step} on {question}");
            let Some(reply) = asker.reply(&name, &messages)? else {
                return Ok((told, Vec::new()));
            };
            let thought = match read(&reply) {
                Ok(thought) => thought,
                Err(none) => {
                    // The documents so far may do.
                    told.unusable.push(none);
                    break;
                }
            };
            // The same words would find the same documents, and lead to the same thought.
            if told.thoughts.contains(&thought) {
                break;
            }
            let ends = thought.to_lowercase().contains(END);
            if !ends {
                merged.add(self.search(&thought)?);
            }
            told.thoughts.push(thought);
            if ends {
                break;
            }
        }
        let shown = merged.shown();
        told.documents = shown.iter().map(|d| d.title.clone()).collect();
        if !shown.is_empty() {
            let thoughts = &told.thoughts;
            told.response = self.generator.answer(asker, question, &shown, thoughts)?;
        }
        Ok((told, merged.ranked()))
    }

    /// Finds documents by a text.
    fn search(&self, text: &str) -> OpResult<Answer> {
        let ask = Ask {
            k: self.k,
            paths: 0,
            ..Ask::new(text)
        };
        let found = self.retriever.ask(&[ask]).pop();
        found.unwrap_or_else(|| Err(OpError::internal("the retriever gave no answer")))
    }
}

/// A thought on one line, or why there is none.
fn read(reply: &Reply) -> Result<String, NoAnswer> {
    let none = |reason: String| NoAnswer {
        reason,
        content: reply.content.clone(),
    };
    if let Some(refused) = reply.refused() {
        return Err(none(refused));
    }
    let text = one_line(reply.text());
    let begins = text.get(..BEGINNING.len());
    let text = match begins.filter(|b| b.eq_ignore_ascii_case(BEGINNING)) {
        Some(_) => text[BEGINNING.len()..].trim_start(),
        None => &text,
    };
    if text.is_empty() {
        return Err(none("the thought is empty".to_owned()));
    }
    Ok(first_words(text, MOST_WORDS))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_thought_is_one_line() {
        let read = |content: &str| {
            let content = content.to_owned();
            read(&Reply {
                content,
                ..Reply::default()
            })
        };
        let thought = read("<think>…</think> Thought: Ada\nwas here. ").unwrap();
        assert_eq!(thought, "Ada was here.");
        assert_eq!(read("é").unwrap(), "é");
        let long = read(&"word ".repeat(101)).unwrap();
        assert_eq!(long.split(' ').count(), 101);
        assert!(long.ends_with(" …"));
        let none = read(" Thought: \n").unwrap_err();
        assert!(none.reason.contains("empty") && none.content == " Thought: \n");
        let refusal = Some("no".to_owned());
        let refused = super::read(&Reply {
            refusal,
            ..Reply::default()
        });
        assert!(refused.unwrap_err().reason.contains("refused"));
    }
}
