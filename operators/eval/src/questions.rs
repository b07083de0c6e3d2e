//! Questions and their gold items, without embeddings.

use std::collections::HashSet;

use arrow::array::Array;
use gfm_pipe_api::{Artifact, OpError, OpResult, columns};

use crate::metrics::Gold;

/// Questions of one or several splits, in order; every list has one item per question.
#[derive(Debug, Clone)]
pub struct QuestionSet {
    /// `STAGE.PORT`, for messages.
    pub name: String,
    /// Name of the data set.
    pub dataset: String,
    /// Name of the split; several are joined by `+`.
    pub split: String,
    /// Ids, all different.
    pub ids: Vec<String>,
    /// Wordings.
    pub texts: Vec<String>,
    /// Distinct question entities.
    pub entities: Vec<Vec<u32>>,
    /// Gold entities.
    pub supporting_entities: Vec<Vec<u32>>,
    /// Gold documents that are in the corpus.
    pub supporting_documents: Vec<Vec<u32>>,
    /// Number of gold documents, those that are not in the corpus included.
    pub gold_titles: Vec<u32>,
    /// Number of hops, where it is known.
    pub hops: Vec<Option<u32>>,
    /// Names of groups from the data.
    pub groups: Vec<Vec<String>>,
}

impl QuestionSet {
    /// Reads a `questions` artifact.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn read(questions: &Artifact) -> OpResult<Self> {
        let q = questions.read("questions")?;
        let info = questions.read("info")?;
        let hops = columns::u32s(&q, "hops")?;
        let ids = columns::text(&q, "id")?.iter();
        Ok(QuestionSet {
            name: questions.name.clone(),
            dataset: columns::text(&info, "dataset")?.value(0).to_owned(),
            split: columns::text(&info, "split")?.value(0).to_owned(),
            ids: ids.map(|id| id.unwrap_or_default().to_owned()).collect(),
            texts: questions.texts()?,
            entities: columns::list_u32(&q, "question_entities")?,
            supporting_entities: columns::list_u32(&q, "supporting_entities")?,
            supporting_documents: columns::list_u32(&q, "supporting_documents")?,
            gold_titles: columns::u32s(&q, "gold_titles")?.values().to_vec(),
            hops: (0..q.num_rows())
                .map(|i| hops.is_valid(i).then(|| hops.value(i)))
                .collect(),
            groups: columns::list_text(&q, "groups")?,
        })
    }

    /// Appends the questions of another split.
    pub fn append(&mut self, other: QuestionSet) {
        if !self.split.split('+').any(|split| split == other.split) {
            self.split = format!("{}+{}", self.split, other.split);
        }
        self.ids.extend(other.ids);
        self.texts.extend(other.texts);
        self.entities.extend(other.entities);
        self.supporting_entities.extend(other.supporting_entities);
        self.supporting_documents.extend(other.supporting_documents);
        self.gold_titles.extend(other.gold_titles);
        self.hops.extend(other.hops);
        self.groups.extend(other.groups);
    }

    /// Checks that no two questions have the same id.
    ///
    /// # Errors
    /// When two questions have the same id.
    pub fn check_ids(&self) -> OpResult<()> {
        let mut seen = HashSet::new();
        match self.ids.iter().find(|id| !seen.insert(id.as_str())) {
            None => Ok(()),
            Some(id) => Err(OpError::new(format!(
                "two questions have the id {id:?}: rankings and ranks name questions by their ids"
            ))
            .hint("connect splits that have no question in common")),
        }
    }

    /// Number of questions.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether there is no question.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// Gold entities of question `i`.
    pub fn entity_gold(&self, i: usize) -> Gold<'_> {
        let items = &self.supporting_entities[i];
        Gold {
            items,
            total: items.len() as u32,
        }
    }

    /// Gold documents of question `i`; the total includes those that are not in the corpus.
    pub fn document_gold(&self, i: usize) -> Gold<'_> {
        Gold {
            items: &self.supporting_documents[i],
            total: self.gold_titles[i],
        }
    }

    /// Only the questions at these positions, in this order.
    #[must_use]
    pub fn subset(&self, rows: &[usize]) -> Self {
        fn pick<T: Clone>(values: &[T], rows: &[usize]) -> Vec<T> {
            rows.iter().map(|i| values[*i].clone()).collect()
        }
        QuestionSet {
            name: self.name.clone(),
            dataset: self.dataset.clone(),
            split: self.split.clone(),
            ids: pick(&self.ids, rows),
            texts: pick(&self.texts, rows),
            entities: pick(&self.entities, rows),
            supporting_entities: pick(&self.supporting_entities, rows),
            supporting_documents: pick(&self.supporting_documents, rows),
            gold_titles: pick(&self.gold_titles, rows),
            hops: pick(&self.hops, rows),
            groups: pick(&self.groups, rows),
        }
    }
}
