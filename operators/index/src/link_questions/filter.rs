//! `filter: llm`: a language model chooses among the facts that are most similar to a question, as
//! in HippoRAG 2 (Gutiérrez et al. 2025).
//!
//! What it names counts only where it is one of the facts that it was shown.

use std::cell::Cell;

use ahash::{AHashMap, AHashSet};
use gfm_pipe_api::{Context, OpResult, columns};
use gfm_pipe_kg::json::Json;
use gfm_pipe_llm::{Asker, Chat, Prompt, Shape, prompt_of};
use serde_json::json;

use super::params::LinkQuestionsParams;
use super::similar::{Choose, Scored};
use crate::extract::record::fact;
use crate::language_model::{fact_schema, list, shape};

/// The built-in prompt.
pub const PROMPT: &str = include_str!("prompts/filter.txt");

/// The key of the facts, in what is asked and in the answer.
const KEY: &str = "fact";

/// Least score of a fact that the model chose. Scaled scores begin at 0, with which a fact would
/// not count at all.
const LEAST: f64 = 0.05;

/// Subject, relation and object.
type Parts = [String; 3];

/// Asks a language model about the facts of each question.
pub struct Filter<'a> {
    ctx: &'a Context,
    params: &'a LinkQuestionsParams,
    questions: &'a [String],
    tally: Cell<Tally>,
}

/// What came of the answers, over all questions.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Tally {
    /// Distinct facts that the model kept.
    pub kept: u64,
    /// Facts in its answers that it was not shown, or that were too many.
    pub dropped: u64,
    /// Answers that cannot be used.
    pub unusable: u64,
    /// Questions with an answer that keeps no fact.
    pub without: u64,
}

/// What came of one question.
#[derive(Default)]
struct Chosen {
    rows: Vec<(u32, f64)>,
    tally: Tally,
}

impl<'a> Filter<'a> {
    /// Prepares to ask about these questions.
    pub fn new(ctx: &'a Context, params: &'a LinkQuestionsParams, questions: &'a [String]) -> Self {
        Filter {
            ctx,
            params,
            questions,
            tally: Cell::default(),
        }
    }

    /// Counts of what was chosen.
    pub fn counts(&self) -> Vec<(String, u64)> {
        let tally = self.tally.get();
        let named = [
            ("facts_kept", tally.kept),
            ("facts_dropped", tally.dropped),
            ("answers_unusable", tally.unusable),
        ];
        named.map(|(name, n)| (name.to_owned(), n)).into()
    }

    fn report(&self, tally: Tally) {
        let questions = self.questions.len();
        if tally.without > 0 {
            self.ctx.warn(format!(
                "for {} of {questions} questions the model kept no fact, so that they start from \
                 none; {} of its answers could not be used",
                tally.without, tally.unusable
            ));
        }
        if tally.dropped > 0 {
            self.ctx.warn(format!(
                "{} facts of the model's answers were dropped: it was not shown them, or they were \
                 more than `facts`",
                tally.dropped
            ));
        }
    }

    /// Subject, relation and object of these facts.
    fn parts(&self, wanted: &AHashSet<u32>) -> OpResult<AHashMap<u32, Parts>> {
        let mut out = AHashMap::new();
        let mut row = 0;
        for batch in self.ctx.input("facts")?.batches("facts")? {
            let batch = batch?;
            let names = ["subject", "relation", "object"];
            let [subject, relation, object] = names.map(|name| columns::text(&batch, name));
            let columns = [subject?, relation?, object?];
            for i in 0..batch.num_rows() {
                if wanted.contains(&row) {
                    out.insert(row, columns.map(|column| column.value(i).to_owned()));
                }
                row += 1;
            }
        }
        Ok(out)
    }
}

impl Choose for Filter<'_> {
    fn among(&self) -> usize {
        self.params.candidates
    }

    fn choose(&self, candidates: Scored) -> OpResult<Scored> {
        let wanted = candidates.iter().flatten().map(|(row, _)| *row);
        let parts = self.parts(&wanted.collect())?;
        let own = self.params.prompts.filter.as_deref();
        let prompt = prompt_of(own, PROMPT, &self.ctx.base)?;
        let asking = Asking {
            prompt,
            shape: shape("facts", KEY, &fact_schema()),
            parts: &parts,
            most: self.params.link.facts,
        };
        let chat = Chat::open(self.ctx, &self.params.llm)?;
        let chosen = chat.each(candidates.len(), "questions", |i, asker| {
            asking.about(asker, &self.questions[i], &candidates[i])
        })?;
        chat.report();
        let tally = chosen.iter().fold(Tally::default(), |sum, c| Tally {
            kept: sum.kept + c.tally.kept,
            dropped: sum.dropped + c.tally.dropped,
            unusable: sum.unusable + c.tally.unusable,
            without: sum.without + c.tally.without,
        });
        self.report(tally);
        self.tally.set(tally);
        Ok(chosen.into_iter().map(|chosen| chosen.rows).collect())
    }
}

struct Asking<'a> {
    prompt: Prompt,
    shape: Shape,
    parts: &'a AHashMap<u32, Parts>,
    most: usize,
}

/// A fact as it is compared: case and blanks do not count.
fn key(parts: &Parts) -> Parts {
    parts.each_ref().map(|part| {
        let words: Vec<&str> = part.split_whitespace().collect();
        words.join(" ").to_lowercase()
    })
}

impl Asking<'_> {
    fn about(
        &self,
        asker: &Asker<'_>,
        question: &str,
        candidates: &[(u32, f64)],
    ) -> OpResult<Chosen> {
        // Documents may say the same: a fact is shown once.
        let mut shown: Vec<&Parts> = Vec::new();
        let mut known: AHashSet<Parts> = AHashSet::new();
        for (row, _) in candidates {
            let parts = &self.parts[row];
            if known.insert(key(parts)) {
                shown.push(parts);
            }
        }
        if shown.is_empty() {
            return Ok(Chosen::default());
        }
        let variables = json!({"question": question, "facts": shown, "most": self.most});
        let messages = self.prompt.messages(variables)?;
        let name = format!("facts for {question}");
        let answer = asker.json(&name, messages, &self.shape, |value| list(value, KEY))?;
        let Some(answer) = answer else {
            return Ok(Chosen::default());
        };
        let mut tally = Tally::default();
        let mut kept: AHashSet<Parts> = AHashSet::new();
        match answer {
            Ok(answered) => {
                let named = match &answered.value {
                    Json::List(facts) => &facts[..],
                    _ => &[],
                };
                for named in named {
                    match fact(named, usize::MAX).map(|parts| key(&parts)) {
                        Ok(fact) if kept.contains(&fact) => {}
                        Ok(fact) if known.contains(&fact) && kept.len() < self.most => {
                            kept.insert(fact);
                        }
                        _ => tally.dropped += 1,
                    }
                }
            }
            Err(_) => tally.unusable = 1,
        }
        tally.kept = kept.len() as u64;
        tally.without = u64::from(kept.is_empty());
        let rows = candidates.iter().copied();
        let rows = rows.filter(|(row, _)| kept.contains(&key(&self.parts[row])));
        Ok(Chosen {
            rows: rows.map(|(row, score)| (row, score.max(LEAST))).collect(),
            tally,
        })
    }
}
