//! The language model of a retriever, which answers while somebody waits.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use gfm_pipe_api::answer::{Answer, Cited};
use gfm_pipe_api::items::Items;
use gfm_pipe_api::{Context, Nowhere, OpError, OpResult, ranks};
use gfm_pipe_llm::{Asker, Chat, LlmParams};

use crate::generate::{Generator, MAX_WORDS, Response, Shown};

/// Most documents that the model is shown.
const MOST_DOCUMENTS: usize = 10;
/// How often a request is sent again: somebody waits.
const MOST_RETRIES: u32 = 2;

/// The longest pause in seconds that a server may ask for.
const PATIENCE: f64 = 10.0;

/// A language model that answers from the documents that were found.
pub struct Writer {
    ctx: Context,
    params: LlmParams,
    generator: Generator,
}

/// What the model said, or why it said nothing.
type Said = Result<Response, String>;

impl Writer {
    /// Prepares the model, if one is set. No key is needed yet, and nothing is sent.
    ///
    /// # Errors
    /// When the prompt cannot be read.
    pub fn open(
        params: Option<LlmParams>,
        prompt: Option<&Path>,
        ctx: &Context,
    ) -> OpResult<Option<Self>> {
        let Some(mut params) = params.filter(LlmParams::is_set) else {
            return Ok(None);
        };
        params.retries = params.retries.min(MOST_RETRIES);
        params.patience = Some(PATIENCE);
        Ok(Some(Writer {
            generator: Generator::open(prompt, &ctx.base, MAX_WORDS)?,
            params,
            ctx: Context {
                stage: ctx.stage.clone(),
                inputs: BTreeMap::new(),
                outputs: Arc::new(Nowhere),
                reporter: Arc::clone(&ctx.reporter),
                cancel: ctx.cancel.clone(),
                base: ctx.base.clone(),
                workdir: ctx.workdir.clone(),
                // Answers are kept by stages, not by questions that come and go.
                items: Items::nowhere(),
                device: ctx.device.clone(),
                environment: ctx.environment.clone(),
                offline: ctx.offline,
                requests: None,
                ranks: ranks::single(),
            },
        }))
    }

    /// Name of the model.
    pub fn model(&self) -> &str {
        self.params.model.as_deref().unwrap_or_default()
    }

    /// Adds the model's answers to what was found. An answer that cannot be had becomes a note, and
    /// none depends on the others.
    pub fn add_to(&self, answers: &mut [&mut Answer]) {
        if answers.is_empty() {
            return;
        }
        let said: Mutex<BTreeMap<usize, Said>> = Mutex::default();
        let asked = Chat::open(&self.ctx, &self.params).and_then(|chat| {
            chat.each(answers.len(), "answers", |i, asker| {
                let one = self.ask(asker, answers[i]);
                let mut said = said.lock().unwrap_or_else(PoisonError::into_inner);
                said.insert(i, one);
                Ok(())
            })
        });
        let mut said = said.into_inner().unwrap_or_else(PoisonError::into_inner);
        let failed = asked.map_or_else(|e| worded(&e), |_| "it was not asked".to_owned());
        for (i, answer) in answers.iter_mut().enumerate() {
            match said.remove(&i).unwrap_or_else(|| Err(failed.clone())) {
                Ok(response) => answer.answer = Some(self.cited(response, answer)),
                Err(why) => {
                    let note = format!("the language model gave no answer: {why}");
                    answer.notes.push(note);
                }
            }
        }
    }

    fn ask(&self, asker: &Asker<'_>, answer: &Answer) -> Said {
        let shown = answer.documents.iter().take(MOST_DOCUMENTS).map(|d| Shown {
            title: d.title.clone(),
            text: d.text.clone(),
        });
        let shown: Vec<Shown> = shown.collect();
        if shown.is_empty() {
            return Err("no document was found that it could be shown".to_owned());
        }
        match self.generator.answer(asker, &answer.question, &shown, &[]) {
            Ok(Some(Ok(response))) => Ok(response),
            Ok(Some(Err(none))) => Err(none.reason),
            Ok(None) => {
                Err("its answer is not stored, and it may not be asked (`llm.offline`)".to_owned())
            }
            Err(e) => Err(worded(&e)),
        }
    }

    fn cited(&self, response: Response, answer: &Answer) -> Cited {
        let documents = response
            .cited
            .iter()
            .filter_map(|at| answer.documents.get(*at));
        let (documents, titles) = documents.map(|d| (d.id, d.title.clone())).unzip();
        Cited {
            text: response.answer,
            reasoning: response.reasoning,
            documents,
            titles,
            model: self.model().to_owned(),
        }
    }
}

/// An error with its advice, as a part of a note.
fn worded(e: &OpError) -> String {
    match e.advice() {
        Some(advice) => format!("{e} ({advice})"),
        None => e.to_string(),
    }
}

/// The error where an answer is asked for and no model is set.
pub fn no_model() -> OpError {
    OpError::new("the retriever has no language model that could answer").hint(
        "set `llm` of the retriever stage and run the pipeline: `llm: {model: gpt-4.1-mini}`, or \
         with a server of your own `llm: {base_url: http://localhost:11434/v1, model: llama3.1:8b}`",
    )
}
