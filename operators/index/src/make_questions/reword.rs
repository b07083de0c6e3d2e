//! `by: llm`: a language model puts the questions that the rules made into natural words.
//!
//! The rules choose what is asked: documents, answer, type and negatives stay as they are. A
//! wording that does not hold to them (`wording`), or is nearly another question, is not taken, and
//! the question stays as the rules made it.

use std::cell::RefCell;
use std::collections::BTreeMap;

use ahash::AHashSet;
use gfm_pipe_api::{Context, OpResult};
use gfm_pipe_llm::{Asker, Chat, NoAnswer, Prompt, Shape, prompt_of};
use serde_json::{Value, json};

use super::candidate::id;
use super::corpus::Corpus;
use super::likeness::{Likeness, NEAR, NEAR_WITH_GOLD};
use super::make::Made;
use super::params::{MakeParams, PROMPT};
use super::said::head;
use super::wording::{Fault, KEY, Terms};

/// The name in `counts` for an answer that has no question in it.
const NO_ANSWER: &str = "no_answer";

/// A wording, or the name in `counts` of why there is none.
type Wording = Result<String, &'static str>;

/// Rewords the questions, and returns counts of what became of the answers.
///
/// # Errors
/// When an answer is missing, the prompt is wrong, or the user wants to stop.
pub fn reword(
    params: &MakeParams,
    ctx: &Context,
    corpus: &Corpus<'_>,
    excluded: &Likeness,
    made: &mut [Made],
) -> OpResult<Vec<(String, u64)>> {
    let own = params.prompts.question.as_deref();
    let asking = Asking {
        corpus,
        prompt: prompt_of(own, PROMPT, &ctx.base)?,
        shape: Shape {
            name: "question",
            schema: json!({
                "type": "object",
                "properties": {KEY: {"type": "string"}},
                "required": [KEY],
                "additionalProperties": false,
            }),
        },
    };
    let chat = Chat::open(ctx, &params.llm)?;
    let wordings = chat.each(made.len(), "questions", |i, asker| {
        asking.about(asker, &made[i])
    })?;
    chat.report();
    let (reworded, kept) = take(wordings, excluded, made);
    let total = made.len() as u64;
    if reworded < total {
        let text = format!(
            "{reworded} of {total} questions were reworded; the others are as the rules made them, \
             see `gfm-pipe show {}`",
            ctx.typed("counts")
        );
        if 2 * reworded < total {
            ctx.warn(text);
        } else {
            ctx.info(text);
        }
    }
    let mut counts = vec![
        ("reworded".to_owned(), reworded),
        ("not_reworded".to_owned(), total - reworded),
    ];
    let why = kept.into_iter();
    counts.extend(why.map(|(why, n)| (format!("not_reworded.{why}"), n)));
    Ok(counts)
}

/// Replaces questions by their new wordings, in order, unless a wording is nearly another question.
/// Returns how many it gave, and how many it did not give, by reason.
fn take(
    wordings: Vec<Wording>,
    excluded: &Likeness,
    made: &mut [Made],
) -> (u64, BTreeMap<&'static str, u64>) {
    let of_rules = made.iter().map(|m| &m.candidate);
    let of_rules: AHashSet<String> = of_rules.map(|c| id(&c.text, &c.gold)).collect();
    let mut before = Likeness::default();
    let mut reworded = 0;
    let mut kept: BTreeMap<&'static str, u64> = BTreeMap::new();
    for (one, wording) in made.iter_mut().zip(wordings) {
        let candidate = &mut one.candidate;
        let gold = &candidate.gold;
        let fit = wording.and_then(|text| {
            if text == candidate.text {
                Err("same_words")
            } else if excluded.has(&text, gold, NEAR_WITH_GOLD) {
                Err("excluded")
            } else if of_rules.contains(&id(&text, gold)) || before.has(&text, gold, NEAR) {
                Err("made_before")
            } else {
                Ok(text)
            }
        });
        match fit {
            Ok(text) => {
                reworded += 1;
                candidate.text = text;
            }
            Err(why) => *kept.entry(why).or_default() += 1,
        }
        before.add(&candidate.text, &candidate.gold);
    }
    (reworded, kept)
}

struct Asking<'a> {
    corpus: &'a Corpus<'a>,
    prompt: Prompt,
    shape: Shape,
}

impl Asking<'_> {
    fn about(&self, asker: &Asker<'_>, one: &Made) -> OpResult<Wording> {
        let candidate = &one.candidate;
        let terms = Terms::new(self.corpus, candidate, &one.pieces);
        let documents = one.pieces.iter().map(|piece| {
            let document = &self.corpus.documents[*piece as usize];
            json!({"title": document.title, "text": head(&document.text)})
        });
        let messages = self.prompt.messages(json!({
            "question": candidate.text,
            "answer": candidate.answer,
            "type": candidate.of.name(),
            "keep": terms.keep,
            "hidden": candidate.hidden,
            "documents": documents.collect::<Vec<Value>>(),
        }))?;
        let name = format!("wording of {}", candidate.text);
        let fault: RefCell<Option<Fault>> = RefCell::default();
        let answer = asker.json(&name, messages, &self.shape, |value| {
            terms.read(value).map_err(|why| {
                let text = why.to_string();
                fault.replace(Some(why));
                text
            })
        })?;
        Ok(match answer {
            Some(Ok(answered)) => Ok(answered.value),
            // The last answer may have had no object, after one that had a fault.
            Some(Err(NoAnswer { reason, .. })) => {
                let fault = fault.into_inner();
                let fault = fault.filter(|fault| fault.to_string() == reason);
                Err(fault.map_or(NO_ANSWER, |fault| fault.name()))
            }
            // The stage fails, or only counts what it would ask.
            None => Err(NO_ANSWER),
        })
    }
}
