//! Documents, links and questions as fine-tuning and evaluation use them.

use std::collections::HashSet;

use gfm_pipe_api::{Artifact, OpError, OpResult, artifact::check_made_from, columns};

use crate::eval::EntityDocuments;
use crate::eval::metrics::Gold;
use crate::eval::ppr::specificity;
use crate::finetune::seeds;
use crate::inputs::vectors;
use crate::judged::Asked;
use crate::starts::{Starts, read_starts};

/// Reads an `entity-documents` artifact.
pub(crate) fn read_entity_documents(artifact: &Artifact) -> OpResult<EntityDocuments> {
    let rows = artifact.read("entity_documents")?;
    let info = artifact.read("info")?;
    let (e, d) = (
        columns::u32s(&rows, "entity")?,
        columns::u32s(&rows, "document")?,
    );
    let count = |name| -> OpResult<usize> { Ok(columns::u64s(&info, name)?.value(0) as usize) };
    let pairs = e.values().iter().copied().zip(d.values().iter().copied());
    EntityDocuments::from_pairs(count("entities")?, count("documents")?, pairs)
        .map_err(|e| OpError::wrap("the matrix does not fit itself", e).artifact(&artifact.name))
}

/// Questions of a split with their embeddings.
#[derive(Debug, Clone)]
pub(crate) struct Questions {
    /// `STAGE.PORT`, for messages.
    pub name: String,
    /// Data set.
    pub dataset: String,
    /// Split.
    pub split: String,
    pub ids: Vec<String>,
    pub texts: Vec<String>,
    /// Distinct question entities.
    pub entities: Vec<Vec<u32>>,
    pub supporting_entities: Vec<Vec<u32>>,
    pub supporting_documents: Vec<Vec<u32>>,
    pub gold_titles: Vec<u32>,
    pub hops: Vec<Option<u32>>,
    pub groups: Vec<Vec<String>>,
    /// Nodes each starts from, where these are given; else they start from their entities.
    starts: Option<Vec<Starts>>,
    /// Row-major.
    embeddings: Vec<f32>,
    pub text_dim: usize,
    pub encoder_digest: String,
    pub encoder: String,
}

impl Questions {
    /// Reads questions and the embeddings made from them.
    pub fn read(questions: &Artifact, embeddings: &Artifact) -> OpResult<Self> {
        let bare = Questions::bare(questions)?;
        let v = Embeddings::read(embeddings, &bare.texts, &questions.name)?;
        Ok(Questions {
            embeddings: v.values,
            text_dim: v.dim,
            encoder_digest: v.digest,
            encoder: v.encoder,
            ..bare
        })
    }

    /// Reads questions without embeddings.
    pub fn bare(questions: &Artifact) -> OpResult<Self> {
        use arrow::array::Array;
        let q = questions.read("questions")?;
        let info = questions.read("info")?;
        let texts = questions.texts()?;
        let strings = |name| -> OpResult<Vec<String>> {
            Ok(columns::text(&q, name)?
                .iter()
                .map(|s| s.unwrap_or_default().to_owned())
                .collect())
        };
        let hops = columns::u32s(&q, "hops")?;
        Ok(Questions {
            name: questions.name.clone(),
            dataset: columns::text(&info, "dataset")?.value(0).to_owned(),
            split: columns::text(&info, "split")?.value(0).to_owned(),
            ids: strings("id")?,
            texts,
            entities: columns::list_u32(&q, "question_entities")?,
            supporting_entities: columns::list_u32(&q, "supporting_entities")?,
            supporting_documents: columns::list_u32(&q, "supporting_documents")?,
            gold_titles: columns::u32s(&q, "gold_titles")?.values().to_vec(),
            hops: (0..q.num_rows())
                .map(|i| hops.is_valid(i).then(|| hops.value(i)))
                .collect(),
            groups: columns::list_text(&q, "groups")?,
            starts: None,
            embeddings: Vec::new(),
            text_dim: 0,
            encoder_digest: String::new(),
            encoder: String::new(),
        })
    }

    /// The same questions with where they start.
    pub fn starting(self, starts: Option<&Artifact>) -> OpResult<Self> {
        let starts = starts.map(|starts| read_starts(starts, &self.texts, &self.name));
        Ok(Questions {
            starts: starts.transpose()?,
            ..self
        })
    }

    /// All questions of several splits, one after the other. The parts are embedded by one encoder,
    /// and all or none say where they start.
    ///
    /// # Errors
    /// When that is not so, or two questions have the same id.
    pub fn joined(parts: Vec<Questions>) -> OpResult<Self> {
        let mut parts = parts.into_iter();
        let Some(mut all) = parts.next() else {
            return Err(OpError::new("nothing is connected to input `questions`"));
        };
        let mut splits = vec![all.split.clone()];
        for part in parts {
            if (part.text_dim, &part.encoder_digest) != (all.text_dim, &all.encoder_digest) {
                return Err(OpError::new(format!(
                    "questions `{}` and `{}` are embedded with {} and {}",
                    all.name, part.name, all.encoder, part.encoder
                ))
                .hint("give all `embed` stages the same `model`"));
            }
            if !splits.contains(&part.split) {
                splits.push(part.split);
            }
            all.ids.extend(part.ids);
            all.texts.extend(part.texts);
            all.entities.extend(part.entities);
            all.supporting_entities.extend(part.supporting_entities);
            all.supporting_documents.extend(part.supporting_documents);
            all.gold_titles.extend(part.gold_titles);
            all.hops.extend(part.hops);
            all.groups.extend(part.groups);
            all.starts = all.starts.zip(part.starts).map(|(mut all, part)| {
                all.extend(part);
                all
            });
            all.embeddings.extend(part.embeddings);
        }
        all.split = splits.join("+");
        let mut seen = HashSet::new();
        match all.ids.iter().find(|id| !seen.insert(id.as_str())) {
            None => Ok(all),
            Some(id) => Err(OpError::new(format!(
                "two questions have the id {id:?}: rankings and ranks name questions by their ids"
            ))
            .hint("connect splits that have no question in common")),
        }
    }

    /// Nodes that a model starts from for question `i`: those given, or its entities, with weight 1
    /// / number of documents where `weighted`, else 1.
    pub fn seeds(&self, i: usize, documents: &EntityDocuments, weighted: bool) -> Starts {
        match &self.starts {
            Some(starts) => starts[i].clone(),
            None => seeds(&self.entities[i], documents, weighted),
        }
    }

    /// Nodes that personalised PageRank starts from for question `i`: those given, or its entities.
    pub fn walk(&self, i: usize, documents: &EntityDocuments, weighted: bool) -> Starts {
        match &self.starts {
            Some(starts) => starts[i].clone(),
            None => specificity(&self.entities[i], documents, weighted),
        }
    }

    /// Whether question `i` starts from a node at all.
    pub fn starts_somewhere(&self, i: usize) -> bool {
        match &self.starts {
            Some(starts) => !starts[i].is_empty(),
            None => !self.entities[i].is_empty(),
        }
    }

    /// Number of questions.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// The embedding of question `i`.
    pub fn embedding(&self, i: usize) -> &[f32] {
        &self.embeddings[i * self.text_dim..][..self.text_dim]
    }

    /// What a report on them has to know; `gold` is their [`Questions::golds`].
    pub fn asked<'a>(&'a self, gold: &'a [u32]) -> Asked<'a> {
        Asked {
            dataset: &self.dataset,
            split: &self.split,
            ids: &self.ids,
            hops: &self.hops,
            gold,
            groups: &self.groups,
        }
    }

    /// Numbers of gold documents.
    pub fn golds(&self) -> Vec<u32> {
        let total = |i| self.document_gold(i).total;
        (0..self.len()).map(total).collect()
    }

    /// Gold entities of question `i`.
    pub fn entity_gold(&self, i: usize) -> Gold<'_> {
        let items = &self.supporting_entities[i];
        Gold {
            items,
            total: items.len() as u32,
        }
    }

    /// Gold documents of question `i`, those not in the corpus counted.
    pub fn document_gold(&self, i: usize) -> Gold<'_> {
        Gold {
            items: &self.supporting_documents[i],
            total: self.gold_titles[i],
        }
    }

    /// Only questions known to have at least this many hops.
    pub fn of_hops(&self, hops: u32) -> Self {
        let all = 0..self.len();
        let rows: Vec<usize> = all.filter(|i| self.hops[*i] >= Some(hops)).collect();
        self.subset(&rows)
    }

    /// Only these questions.
    pub fn subset(&self, rows: &[usize]) -> Self {
        let pick = |v: &Vec<Vec<u32>>| rows.iter().map(|i| v[*i].clone()).collect();
        Questions {
            ids: rows.iter().map(|i| self.ids[*i].clone()).collect(),
            texts: rows.iter().map(|i| self.texts[*i].clone()).collect(),
            entities: pick(&self.entities),
            supporting_entities: pick(&self.supporting_entities),
            supporting_documents: pick(&self.supporting_documents),
            gold_titles: rows.iter().map(|i| self.gold_titles[*i]).collect(),
            hops: rows.iter().map(|i| self.hops[*i]).collect(),
            groups: rows.iter().map(|i| self.groups[*i].clone()).collect(),
            starts: self
                .starts
                .as_ref()
                .map(|starts| rows.iter().map(|i| starts[*i].clone()).collect()),
            embeddings: rows
                .iter()
                .flat_map(|i| self.embedding(*i))
                .copied()
                .collect(),
            ..self.clone()
        }
    }

    /// Checks that ids fit the graph and the documents.
    pub fn check(&self, nodes: usize, documents: usize) -> OpResult<()> {
        let fits = |lists: &[Vec<u32>], n: usize| {
            lists
                .iter()
                .position(|l| l.iter().any(|x| *x as usize >= n))
        };
        let starts = self.starts.iter().flatten();
        let mut far = starts.map(|s| s.iter().any(|(node, _)| *node as usize >= nodes));
        let bad = fits(&self.entities, nodes)
            .or_else(|| far.position(|far| far))
            .or_else(|| fits(&self.supporting_entities, nodes))
            .or_else(|| fits(&self.supporting_documents, documents));
        match bad {
            None => Ok(()),
            Some(row) => Err(OpError::new(format!(
                "the question names an entity or document outside {nodes} entities and {documents} documents"
            ))
            .artifact(format!("{}.questions", self.name))
            .row(row as u64)
            .hint("connect questions, documents and graph made from the same ingest stages")),
        }
    }
}

/// Embeddings of a table's texts.
#[derive(Debug, Clone)]
pub(crate) struct Embeddings {
    pub dim: usize,
    pub values: Vec<f32>,
    pub encoder: String,
    pub digest: String,
}

impl Embeddings {
    /// Reads them, and holds that they were made from these texts.
    pub fn read(artifact: &Artifact, texts: &[String], of: &str) -> OpResult<Self> {
        let (dim, values) = vectors(artifact, "vectors")?;
        check_made_from(artifact, texts, of)?;
        let encoder = artifact.read("encoder")?;
        Ok(Embeddings {
            dim,
            values,
            encoder: columns::text(&encoder, "name")?.value(0).to_owned(),
            digest: columns::text(&encoder, "digest")?.value(0).to_owned(),
        })
    }
}
