//! Documents, links and questions, as fine-tuning and evaluation use them.

use std::collections::BTreeSet;
use std::ops::Deref;
use std::sync::Arc;

use gfm_pipe_api::artifact::{check_made_from, texts_digest};
use gfm_pipe_api::zip::zipped;
use gfm_pipe_api::{Arity, Artifact, Context, InPort, OpError, OpResult, columns, kinds};
use gfm_pipe_eval::EntityDocuments;
use gfm_pipe_eval::baselines::ppr::specificity;
use gfm_pipe_eval::features::of_question::QuestionFeatures;
use gfm_pipe_eval::features::table;
use gfm_pipe_eval::questions::QuestionSet;
use gfm_pipe_eval::rankers::{self, DEFAULT_TOP_K, Ranker};
use gfm_pipe_eval::starts::{Starts, read_starts};

use crate::loaded::{LoadedGraph, vectors};
use crate::model::Class;

/// Reads an `entity-documents` artifact.
pub fn read_entity_documents(artifact: &Artifact) -> OpResult<EntityDocuments> {
    let rows = artifact.read("entity_documents")?;
    let info = artifact.read("info")?;
    let (e, d) = (
        columns::u32s(&rows, "entity")?,
        columns::u32s(&rows, "document")?,
    );
    let count = |name| -> OpResult<usize> { Ok(columns::u64s(&info, name)?.value(0) as usize) };
    let pairs = e.values().iter().copied().zip(d.values().iter().copied());
    EntityDocuments::from_pairs(count("entities")?, count("documents")?, pairs).map_err(|e| {
        OpError::wrap("the entity-document matrix is inconsistent", e).artifact(&artifact.name)
    })
}

/// The nodes of a question's entities. If `weighted`, the weight is 1 / number of documents that
/// mention the entity (0 if there are none), else 1.
fn seeds(entities: &[u32], documents: &EntityDocuments, weighted: bool) -> Starts {
    let weight = |e: u32| if weighted { documents.weight(e) } else { 1.0 };
    entities.iter().map(|e| (*e, weight(*e))).collect()
}

/// Ports that take either no artifact, or one for each artifact of `questions` in the same order.
pub const OF_QUESTIONS: [&str; 3] = ["question_embeddings", "starts", "features"];

/// Questions with their embeddings and the nodes that they start from.
#[derive(Debug, Clone)]
pub struct Questions {
    set: QuestionSet,
    /// Nodes that each question starts from, if they are given. Otherwise questions start from
    /// their entities.
    starts: Option<Vec<Starts>>,
    /// Ranking features of the documents of each question, if they are given.
    features: Option<Vec<Arc<QuestionFeatures>>>,
    /// Number and digest of the documents that the features were measured for.
    featured: BTreeSet<(usize, String)>,
    /// `[questions, text_dim]`, row-major.
    embeddings: Vec<f32>,
    /// Width of the embeddings; 0 if there are none.
    pub text_dim: usize,
    /// Digest of the encoder.
    pub encoder_digest: String,
    /// Name of the encoder.
    pub encoder: String,
}

impl Deref for Questions {
    type Target = QuestionSet;

    fn deref(&self) -> &QuestionSet {
        &self.set
    }
}

impl Questions {
    /// The ports that [`Questions::of_ports`] reads.
    pub fn ports() -> [InPort; 4] {
        [
            InPort::of(
                "questions",
                &[&kinds::QUESTIONS],
                Arity::Many,
                "questions; several splits are treated as one",
            ),
            InPort::of(
                "question_embeddings",
                &[&kinds::EMBEDDINGS],
                Arity::Any,
                "their embeddings, for models and dense",
            ),
            InPort::of(
                "starts",
                &[&kinds::STARTS],
                Arity::Any,
                "nodes that the questions start from, with weights, for models and ppr; otherwise they start from their entities",
            ),
            InPort::of(
                "features",
                &[&kinds::FEATURES],
                Arity::Any,
                "ranking features of their documents, for fused and for models that were trained with them",
            ),
        ]
    }

    /// Reads the questions of a stage's ports: see [`Questions::ports`].
    ///
    /// # Errors
    /// When the ports do not belong together.
    pub fn of_ports(ctx: &Context) -> OpResult<Self> {
        zipped(ctx, &["questions"], &OF_QUESTIONS)?;
        let (embeddings, starts) = (ctx.inputs("question_embeddings"), ctx.inputs("starts"));
        let features = ctx.inputs("features");
        let parts = ctx.inputs("questions").iter().enumerate();
        let parts = parts.map(|(i, questions)| {
            let read = match embeddings.get(i) {
                Some(embeddings) => Questions::read(questions, embeddings)?,
                None => Questions::bare(questions)?,
            };
            read.starting(starts.get(i))?.featuring(features.get(i))
        });
        Questions::joined(parts.collect::<OpResult<_>>()?)
    }

    /// Reads questions and their embeddings.
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
        Ok(Questions {
            set: QuestionSet::read(questions)?,
            starts: None,
            features: None,
            featured: BTreeSet::new(),
            embeddings: Vec::new(),
            text_dim: 0,
            encoder_digest: String::new(),
            encoder: String::new(),
        })
    }

    /// The same questions with the nodes that they start from.
    pub fn starting(self, starts: Option<&Artifact>) -> OpResult<Self> {
        let starts = starts.map(|starts| read_starts(starts, &self.texts, &self.name));
        Ok(Questions {
            starts: starts.transpose()?,
            ..self
        })
    }

    /// The same questions with ranking features of their documents.
    ///
    /// # Errors
    /// When the features are those of other questions.
    pub fn featuring(self, features: Option<&Artifact>) -> OpResult<Self> {
        let read = features.map(|features| table::read(features, &self.texts, &self.name));
        let read = read.transpose()?;
        let of = read.as_ref().map(|r| (r.documents, r.corpus.clone()));
        Ok(Questions {
            features: read.map(|read| read.questions.into_iter().map(Arc::new).collect()),
            featured: of.into_iter().collect(),
            ..self
        })
    }

    /// All questions of several splits, one after the other. Either all splits or none have nodes
    /// to start from, and features.
    ///
    /// # Errors
    /// When the splits were embedded by different encoders, or two questions have the same id.
    pub fn joined(parts: Vec<Questions>) -> OpResult<Self> {
        let mut parts = parts.into_iter();
        let Some(mut all) = parts.next() else {
            return Err(OpError::new("nothing is connected to input `questions`"));
        };
        for part in parts {
            if (part.text_dim, &part.encoder_digest) != (all.text_dim, &all.encoder_digest) {
                return Err(OpError::new(format!(
                    "questions `{}` and `{}` are embedded with {} and {}",
                    all.name, part.name, all.encoder, part.encoder
                ))
                .hint("give all `embed` stages the same `model`"));
            }
            all.set.append(part.set);
            all.starts = all.starts.zip(part.starts).map(|(mut all, part)| {
                all.extend(part);
                all
            });
            all.features = all.features.zip(part.features).map(|(mut all, part)| {
                all.extend(part);
                all
            });
            all.featured.extend(part.featured);
            all.embeddings.extend(part.embeddings);
        }
        all.check_ids()?;
        Ok(all)
    }

    /// Nodes that a model starts from for question `i`: the given ones, or else its
    /// entities. An entity weighs 1 / (number of its documents) if `weighted`, and 1 otherwise.
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

    /// Whether question `i` has a node to start from.
    pub fn starts_somewhere(&self, i: usize) -> bool {
        match &self.starts {
            Some(starts) => !starts[i].is_empty(),
            None => !self.entities[i].is_empty(),
        }
    }

    /// The ranking features of question `i`, if they are given.
    pub fn features(&self, i: usize) -> Option<&QuestionFeatures> {
        self.features.as_ref().map(|features| &*features[i])
    }

    /// Whether ranking features are given.
    pub fn have_features(&self) -> bool {
        self.features.is_some()
    }

    /// The embedding of question `i`.
    pub fn embedding(&self, i: usize) -> &[f32] {
        &self.embeddings[i * self.text_dim..][..self.text_dim]
    }

    /// The questions that are known to have at least this many hops.
    pub fn of_hops(&self, hops: u32) -> Self {
        let all = 0..self.len();
        let rows: Vec<usize> = all.filter(|i| self.hops[*i] >= Some(hops)).collect();
        self.subset(&rows)
    }

    /// The questions of these rows.
    pub fn subset(&self, rows: &[usize]) -> Self {
        let starts = self.starts.as_ref();
        let starts = starts.map(|starts| rows.iter().map(|i| starts[*i].clone()).collect());
        let features = self.features.as_ref();
        let features = features.map(|of| rows.iter().map(|i| Arc::clone(&of[*i])).collect());
        let embeddings = rows.iter().flat_map(|i| self.embedding(*i));
        Questions {
            set: self.set.subset(rows),
            starts,
            features,
            featured: self.featured.clone(),
            embeddings: embeddings.copied().collect(),
            text_dim: self.text_dim,
            encoder_digest: self.encoder_digest.clone(),
            encoder: self.encoder.clone(),
        }
    }

    /// Checks that ranking features, if they are given, are those of these documents.
    ///
    /// # Errors
    /// When they are not, or the documents cannot be read.
    pub fn check_corpus(&self, documents: &Artifact) -> OpResult<()> {
        if self.featured.is_empty() {
            return Ok(());
        }
        let digest = texts_digest(documents.texts()?);
        if self.featured.iter().any(|(_, of)| *of != digest) {
            return Err(self.features_of_others());
        }
        Ok(())
    }

    fn features_of_others(&self) -> OpError {
        OpError::new(format!(
            "the features of questions `{}` are those of other documents",
            self.name
        ))
        .hint("connect `features` of a `rank-features` stage with the same documents")
    }

    /// Checks that all ids exist in the graph and the documents.
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
        if self.featured.iter().any(|(n, _)| *n != documents) {
            return Err(self.features_of_others());
        }
        match bad {
            None => Ok(()),
            Some(row) => Err(OpError::data(format!(
                "the question names an entity or document outside {nodes} entities and {documents} documents"
            ))
            .artifact(format!("{}.questions", self.name))
            .row(row as u64)
            .hint("connect questions, documents and graph made from the same ingest stages")),
        }
    }
}

/// The ranker for documents of a model of this class. A GraphReasoner scores documents themselves
/// where these are nodes: other rankers than `simple` would only drop some of them.
pub fn document_ranker(class: Class, documents: &EntityDocuments, asked: Ranker) -> Ranker {
    if class == Class::GraphReasoner && documents.own_nodes().is_some() {
        rankers::SIMPLE.top_k(DEFAULT_TOP_K)
    } else {
        asked
    }
}

/// Checks that questions and graph were embedded by one encoder.
pub fn same_encoder(q: &Questions, graph: &LoadedGraph) -> OpResult<()> {
    if q.encoder_digest == graph.encoder_digest && q.text_dim == graph.text_dim {
        return Ok(());
    }
    Err(OpError::new(format!(
        "questions `{}` are embedded with {} ({} wide), the graph's relations with {} ({} wide)",
        q.name, q.encoder, q.text_dim, graph.encoder, graph.text_dim
    ))
    .hint("give both `embed` stages the same `model`"))
}

/// Embeddings of the texts of a table.
#[derive(Debug, Clone)]
pub struct Embeddings {
    /// Width.
    pub dim: usize,
    /// `[texts, dim]`, row-major.
    pub values: Vec<f32>,
    /// Name of the encoder.
    pub encoder: String,
    /// Digest of the encoder.
    pub digest: String,
}

impl Embeddings {
    /// Reads embeddings, and checks that they were made from these texts.
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
