//! Reads answers, those that are right, and the documents that are cited.

use std::collections::{BTreeSet, HashMap};

use gfm_pipe_api::{Artifact, Context, OpError, OpResult, columns};

use crate::pieces::Pieces;
use crate::questions::QuestionSet;

/// A system's answer to a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// The answer, empty where there is none.
    pub answer: String,
    /// Titles of documents that it cites.
    pub cited: Vec<String>,
}

/// Reads the right answers of each question: its own, then its aliases, all distinct.
///
/// # Errors
/// When a table cannot be read.
pub fn gold(ctx: &Context, set: &QuestionSet) -> OpResult<Vec<Vec<String>>> {
    let table = ctx.input("questions")?.read("questions")?;
    let own = columns::text(&table, "answer")?.iter();
    let mut gold: Vec<Vec<String>> = own.map(|answer| known(answer).collect()).collect();
    let Some(aliases) = ctx.input_opt("aliases") else {
        return Ok(gold);
    };
    let places = places(set);
    let mut found = false;
    for batch in aliases.batches("answers")? {
        let batch = batch?;
        let text = |name| columns::text(&batch, name);
        let (split, question, answer) = (text("split")?, text("question")?, text("answer")?);
        for i in (0..batch.num_rows()).filter(|i| split.value(*i) == set.split) {
            let Some(place) = places.get(question.value(i)) else {
                continue;
            };
            found = true;
            for answer in known(Some(answer.value(i))) {
                if !gold[*place].contains(&answer) {
                    gold[*place].push(answer);
                }
            }
        }
    }
    if !found {
        ctx.warn(format!(
            "`{}` has no answers to the questions of `{}`, split {}: they have no aliases",
            aliases.name, set.name, set.split
        ));
    }
    Ok(gold)
}

fn known(answer: Option<&str>) -> impl Iterator<Item = String> {
    let answer = answer.filter(|answer| !answer.trim().is_empty());
    answer.map(str::to_owned).into_iter()
}

fn places(set: &QuestionSet) -> HashMap<&str, usize> {
    set.ids.iter().map(String::as_str).zip(0..).collect()
}

/// Reads a system's answers, one per question; `None` where it was not asked.
///
/// # Errors
/// When the table cannot be read, or is about other questions.
pub fn responses(artifact: &Artifact, set: &QuestionSet) -> OpResult<Vec<Option<Response>>> {
    let places = places(set);
    let mut out = vec![None; set.len()];
    for batch in artifact.batches("responses")? {
        let batch = batch?;
        let (question, answer) = (
            columns::text(&batch, "question")?,
            columns::text(&batch, "answer")?,
        );
        let cited = columns::list_text(&batch, "cited")?.into_iter();
        for (i, cited) in cited.enumerate() {
            let id = question.value(i);
            let place = *places.get(id).ok_or_else(|| {
                OpError::new(format!("the question {id:?} is not among `{}`", set.name))
                    .artifact(&artifact.name)
                    .hint("connect the questions that were answered")
            })?;
            if out[place].is_some() {
                let problem = format!("it answers the question {id:?} twice");
                return Err(OpError::data(problem).artifact(&artifact.name));
            }
            out[place] = Some(Response {
                answer: answer.value(i).trim().to_owned(),
                cited,
            });
        }
    }
    Ok(out)
}

/// The documents, by title.
pub struct Documents {
    ids: HashMap<String, u32>,
    pieces: Option<Pieces>,
}

impl Documents {
    /// Reads the documents and which of them are pieces of one; `None` where they are not
    /// connected.
    ///
    /// # Errors
    /// When a table cannot be read, or the questions are about other documents.
    pub fn read(ctx: &Context, set: &QuestionSet) -> OpResult<Option<Documents>> {
        let Some(artifact) = ctx.input_opt("documents") else {
            return Ok(None);
        };
        let rows = artifact.rows("documents")?;
        let mut gold = set.supporting_documents.iter().flatten();
        if gold.any(|id| *id as usize >= rows) {
            return Err(OpError::new(format!(
                "`{}` has gold documents that are not among these",
                set.name
            ))
            .artifact(&artifact.name)
            .hint("connect the documents that the questions were read with"));
        }
        let mut ids = HashMap::new();
        let mut next = 0..;
        for batch in artifact.batches("documents")? {
            let batch = batch?;
            let titles = columns::text(&batch, "title")?;
            for (title, id) in titles.iter().zip(&mut next) {
                ids.entry(title.unwrap_or_default().to_owned())
                    .or_insert(id);
            }
        }
        let sources = ctx.input_opt("sources");
        let pieces = sources.map(|sources| Pieces::read(sources, rows));
        Ok(Some(Documents {
            ids,
            pieces: pieces.transpose()?.flatten(),
        }))
    }

    /// Counts cited documents, and those of them that are gold. Pieces of one document count once.
    pub fn cited(&self, titles: &[String], gold: &[u32]) -> (usize, usize) {
        let first = |id: u32| self.pieces.as_ref().map_or(id, |pieces| pieces.first(id));
        let mut unknown: BTreeSet<&str> = BTreeSet::new();
        let mut known: BTreeSet<u32> = BTreeSet::new();
        for title in titles {
            match self.ids.get(title) {
                Some(id) => drop(known.insert(first(*id))),
                None => drop(unknown.insert(title)),
            }
        }
        let right = gold.iter().filter(|id| known.contains(&first(**id)));
        (known.len() + unknown.len(), right.count())
    }
}
