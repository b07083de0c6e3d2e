//! The questions of all folds, each once, with the data set that it is of.

use std::collections::HashMap;

use gfm_pipe_api::{Artifact, OpError, OpResult};

use super::stages::{Stage, set_of};
use crate::questions::QuestionSet;

/// Questions of several artifacts. A question has its set and its id for a name: two sets may have
/// the same ids.
pub struct Questions {
    /// All of them.
    pub all: QuestionSet,
    /// By question, the place of its data set.
    pub set_of: Vec<usize>,
    place: HashMap<(usize, String), usize>,
}

impl Questions {
    /// Reads artifacts of kind `questions`. One question may occur in several.
    ///
    /// # Errors
    /// When one cannot be read, or two different questions have the same id.
    pub fn read(artifacts: &[Artifact], sets: &[String]) -> OpResult<Self> {
        let mut found: Option<Questions> = None;
        let mut datasets: Vec<String> = Vec::new();
        for artifact in artifacts {
            let set = set_of(&Stage::of(&artifact.name), sets)
                .map_err(|e| OpError::new(e).artifact(&artifact.name))?;
            let read = QuestionSet::read(artifact)?;
            if !datasets.contains(&read.dataset) {
                datasets.push(read.dataset.clone());
            }
            let known = found.get_or_insert_with(|| Questions {
                all: read.subset(&[]),
                set_of: Vec::new(),
                place: HashMap::new(),
            });
            known.add(read, set)?;
        }
        let mut found = found.ok_or_else(|| OpError::internal("`questions` has no artifact"))?;
        found.all.dataset = datasets.join("+");
        Ok(found)
    }

    fn add(&mut self, read: QuestionSet, set: usize) -> OpResult<()> {
        let mut new = Vec::new();
        for (row, id) in read.ids.iter().enumerate() {
            let next = self.all.len() + new.len();
            let name = (set, id.clone());
            match self.place.get(&name) {
                Some(place) if *place < self.all.len() && alike(&self.all, *place, &read, row) => {}
                Some(_) => {
                    return Err(OpError::data(format!("two questions have the id {id:?}"))
                        .artifact(&read.name)
                        .hint("ids have to differ within a data set; if these are several data sets, name them under `sets`"));
                }
                None => {
                    self.place.insert(name, next);
                    self.set_of.push(set);
                    new.push(row);
                }
            }
        }
        self.all.append(read.subset(&new));
        Ok(())
    }

    /// The place of a question.
    pub fn place(&self, set: usize, id: &str) -> Option<usize> {
        // A lookup by reference would need a key type of its own.
        self.place.get(&(set, id.to_owned())).copied()
    }
}

/// Whether two rows have the same question.
fn alike(a: &QuestionSet, i: usize, b: &QuestionSet, j: usize) -> bool {
    a.texts[i] == b.texts[j]
        && a.supporting_documents[i] == b.supporting_documents[j]
        && a.gold_titles[i] == b.gold_titles[j]
        && a.hops[i] == b.hops[j]
        && a.groups[i] == b.groups[j]
}
