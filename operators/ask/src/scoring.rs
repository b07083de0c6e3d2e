//! Chooses a system for each question, and scores all documents.

use std::collections::BTreeMap;
use std::sync::Arc;

use gfm_pipe_api::artifact::check_made_from_texts_of;
use gfm_pipe_api::bm25::Bm25;
use gfm_pipe_api::vector_table::VectorTable;
use gfm_pipe_api::{Cancel, Context, OpError, OpResult};
use gfm_pipe_eval::EntityDocuments;
use gfm_pipe_eval::baselines::asked::{Asked, Baselines, Fused, Walk};
use gfm_pipe_eval::baselines::dense::Dense;
use gfm_pipe_eval::baselines::walks;
use gfm_pipe_eval::features::fusion::Fusion;
use gfm_pipe_eval::features::measure::{self, AllSimilar, Measures};
use gfm_pipe_eval::features::of_question::QuestionFeatures;
use gfm_pipe_eval::features::{KEPT, read, rely_on_walks};
use gfm_pipe_eval::starts::{SourcedStart, Starts, merged};
use gfm_pipe_eval::systems::{BM25, DENSE, FUSED, MODEL, PPR, RRF, System};
use gfm_pipe_index::{Encoder, LinkedStart, Linker, Texts};
use gfm_pipe_model::loaded::EncoderId;
use gfm_pipe_model::model::Question;
use gfm_pipe_text::ReadyEncoder;
use rayon::prelude::*;

use crate::corpus::Corpus;
use crate::facts::Facts;
use crate::on_graph::OnGraph;
use crate::params::RetrieverParams;
use crate::systems::Systems;
use crate::walking::Walked;

/// Sources that find what a question is about. A model starts only where one of them did: the
/// others find texts that are merely similar.
const CERTAIN: [&str; 4] = ["title", "entity", "partial", "fact"];
/// The sources of entities that the question names.
const ENTITIES: [&str; 2] = ["entity", "partial"];

/// Everything that scores documents.
pub struct Scoring {
    encoder: Option<ReadyEncoder>,
    linker: Option<Linker>,
    baselines: Baselines,
    /// What ranking features are measured on, if a system needs them.
    measures: Option<Measures>,
    model: Option<OnGraph>,
    /// See [`RetrieverParams::init_entities_weight`].
    entity_weights: Option<bool>,
    /// The facts that walks are shown by.
    walked: walks::Facts,
    /// The system for questions with a start.
    pub preferred: &'static System,
}

/// A question with its scores.
pub struct Scored {
    /// Its embedding; empty without an encoder.
    pub embedding: Vec<f32>,
    pub system: &'static System,
    pub notes: Vec<String>,
    /// Where it starts, by source.
    pub starts: Vec<LinkedStart>,
    /// The nodes that the system started from.
    pub seeds: Starts,
    /// Scores of all documents; NaN for later pieces of a document.
    pub documents: Vec<f64>,
    /// By the model: scores of all nodes.
    pub nodes: Option<Vec<f64>>,
}

impl Scoring {
    /// Loads the systems that a stage's inputs allow. `words` is the index of the documents.
    ///
    /// # Errors
    /// When the inputs do not belong together.
    pub fn read(
        params: RetrieverParams,
        ctx: &Context,
        (corpus, words): (&Corpus, Arc<Bm25>),
        facts: Option<&Facts>,
    ) -> OpResult<Self> {
        let encoder = encoder(&params, ctx)?;
        let embedded = encoder.is_some();
        let matrix = facts.map(|facts| Arc::clone(facts.mentioning()));
        let model = read_model(&params, ctx, embedded, matrix)?;
        let fused = ctx.input_opt("fusion").map(Fusion::read).transpose()?;
        let features = fused.is_some() || model.as_ref().is_some_and(OnGraph::has_features);
        let (walk, linker) = rayon::join(
            || facts.map(|facts| Walked::read(params.restart, ctx, facts, features)),
            || {
                facts.map(|facts| {
                    let shared = facts.shared(corpus, &words);
                    Linker::read(params.link, ctx, &shared, embedded)
                })
            },
        );
        let (walk, linker) = (walk.transpose()?, linker.transpose()?);
        let dense = dense(ctx, corpus, linker.as_ref())?.map(Arc::new);
        let vectors = |of| linker.as_ref().and_then(|linker| linker.vectors(of));
        let of_measures = read::Corpus {
            documents: corpus.len(),
            dense: dense.clone(),
            words: Arc::clone(&words),
            pieces: corpus.pieces.clone(),
            sentences: vectors(Texts::Sentences),
            facts: vectors(Texts::Facts),
        };
        let Walked {
            walk,
            facts: walked,
            walks,
        } = walk.unwrap_or_default();
        let measures = features.then(|| Measures::read(ctx, of_measures, walks)?.loaded());
        let has = Systems {
            model: model.is_some(),
            fused: fused.as_ref(),
            graph: facts.is_some(),
            dense: dense.is_some(),
        };
        Ok(Scoring {
            preferred: params.system.map_or(has.best(), |system| system.0),
            walked,
            baselines: Baselines {
                systems: Vec::new(),
                dense,
                bm25: Some(words),
                walk,
                fused: fused.map(|by| Fused {
                    by,
                    documents: corpus.len(),
                }),
                pieces: corpus.pieces.clone(),
            },
            encoder,
            linker,
            measures: measures.transpose()?,
            model,
            entity_weights: params.init_entities_weight,
        })
    }

    /// Name of the encoder.
    pub fn encoder_name(&self) -> Option<&str> {
        self.encoder.as_ref().map(ReadyEncoder::name)
    }

    /// The encoder of questions.
    pub fn encoder(&self) -> Option<&ReadyEncoder> {
        self.encoder.as_ref()
    }

    /// The linker, where there is a graph.
    pub fn linker(&self) -> Option<&Linker> {
        self.linker.as_ref()
    }

    /// The model, where there is one.
    pub fn model(&self) -> Option<&OnGraph> {
        self.model.as_ref()
    }

    /// The walk, where there is a graph.
    pub fn walk(&self) -> Option<&Walk> {
        self.baselines.walk.as_ref()
    }

    /// The facts that walks are shown by.
    pub fn walked(&self) -> &walks::Facts {
        &self.walked
    }

    /// Scores questions. Those of the model are scored together.
    ///
    /// # Errors
    /// When a text cannot be embedded, or a score is not finite.
    pub fn questions(&self, texts: &[String]) -> OpResult<Vec<OpResult<Scored>>> {
        let vectors = self
            .encoder
            .as_ref()
            .map(|e| e.questions(texts))
            .transpose()?;
        let embedded = self.encoder.as_ref().zip(vectors.as_deref());
        let starts = match &self.linker {
            Some(linker) => linker.starts(texts, embedded.map(|(e, v)| (id(e), v)))?,
            None => vec![Vec::new(); texts.len()],
        };
        let mut all: Vec<Scored> = Vec::with_capacity(texts.len());
        for (i, starts) in starts.into_iter().enumerate() {
            let embedding = embedded.map(|(e, v)| v[i * e.dim()..][..e.dim()].to_vec());
            all.push(self.chosen(embedding.unwrap_or_default(), starts));
        }
        self.score_nodes(&mut all, texts)?;
        let similar = match (&self.measures, embedded) {
            (Some(measures), Some((encoder, vectors))) => {
                measures.similar(&Cancel::default(), (encoder.dim(), vectors), KEPT)?
            }
            _ => AllSimilar::default(),
        };
        let others = all.into_par_iter().zip(texts).enumerate();
        let finished = others.map(|(i, (scored, text))| self.finished(scored, text, (&similar, i)));
        Ok(finished.collect())
    }

    /// Chooses the system for a question, and where it starts.
    fn chosen(&self, embedding: Vec<f32>, starts: Vec<LinkedStart>) -> Scored {
        let certain = starts.iter().any(|s| CERTAIN.contains(&s.source));
        let walk = || merged(starts.iter().map(|s| (s.node, s.weight)).collect());
        let mut notes = Vec::new();
        let (mut system, mut seeds) = (self.preferred, Vec::new());
        if system.is(&MODEL)
            && let Some(model) = &self.model
        {
            seeds = self.model_seeds(model, &starts);
            if !certain || seeds.is_empty() {
                let (other, what) = match self.baselines.fused {
                    Some(_) => (&FUSED, "weighted features rank documents (fused)"),
                    None => (&PPR, "personalised PageRank starts from similar texts"),
                };
                system = other;
                notes.push(format!(
                    "the question names nothing that the graph knows, so the model was not asked: {what}"
                ));
            }
        }
        // Both rank a question that starts nowhere by the same feature as `evaluate` does, but an
        // answer leaves out documents of which bm25 knows nothing.
        let fused = self.baselines.fused.as_ref();
        let walks = fused.is_none_or(|f| rely_on_walks(&f.by.weights));
        if system.is(&PPR) || (system.is(&FUSED) && walks) {
            seeds = walk();
            if seeds.is_empty() {
                system = match self.baselines.dense {
                    Some(_) => &DENSE,
                    None => &BM25,
                };
                let why = match &self.linker {
                    Some(_) => "nothing in the graph is like the question",
                    None => "there is no graph to start in, as the weights of `fusion` suppose",
                };
                notes = vec![format!(
                    "{why}, so documents are ranked by {} alone",
                    match self.baselines.dense {
                        Some(_) => "the similarity of their texts (dense)",
                        None => "their words (bm25)",
                    }
                )];
            }
        }
        if system.is(&RRF) {
            seeds = walk();
        }
        Scored {
            embedding,
            system,
            notes,
            starts,
            seeds,
            documents: Vec::new(),
            nodes: None,
        }
    }

    /// The nodes that the model starts from.
    fn model_seeds(&self, model: &OnGraph, starts: &[LinkedStart]) -> Starts {
        let Some(weighted) = self.entity_weights else {
            return merged(starts.iter().map(|s| (s.node, s.weight)).collect());
        };
        let named = starts.iter().filter(|s| ENTITIES.contains(&s.source));
        let weighted = model.weighted(weighted);
        let weight = |node| if weighted { model.weight(node) } else { 1.0 };
        // An entity that is named twice counts once.
        let seeds: BTreeMap<u32, f64> = named.map(|s| (s.node, weight(s.node))).collect();
        seeds.into_iter().collect()
    }

    /// Adds the scores of nodes to the questions that the model answers.
    fn score_nodes(&self, all: &mut [Scored], texts: &[String]) -> OpResult<()> {
        let Some(model) = &self.model else {
            return Ok(());
        };
        let mine: Vec<usize> = (0..all.len())
            .filter(|i| all[*i].system.is(&MODEL))
            .collect();
        let batch = mine.iter().map(|i| Question {
            embedding: &all[*i].embedding,
            seeds: &all[*i].seeds,
        });
        let batch: Vec<Question<'_>> = batch.collect();
        let scores = model.scores(&batch, |row| format!("{:?}", texts[mine[row]]))?;
        for (i, scores) in mine.into_iter().zip(scores) {
            all[i].nodes = Some(scores);
        }
        Ok(())
    }

    /// Adds the scores of documents.
    fn finished(
        &self,
        mut scored: Scored,
        text: &str,
        similar: (&AllSimilar, usize),
    ) -> OpResult<Scored> {
        let features = self.features(&scored, text, similar)?;
        if let Some(nodes) = &scored.nodes {
            let model = self.model.as_ref();
            let model = model.ok_or_else(|| OpError::internal("scores without a model"))?;
            let pieces = self.baselines.pieces.as_deref();
            scored.documents = model.documents(nodes, pieces, features.as_ref())?;
            return Ok(scored);
        }
        let asked = Asked {
            text,
            embedding: &scored.embedding,
            starts: &scored.seeds,
            features: features.as_ref(),
        };
        let scores = self.baselines.ask_one(scored.system, asked)?;
        scored.documents = scores
            .ok_or_else(|| OpError::internal(format!("`{}` cannot answer", scored.system.name)))?;
        Ok(scored)
    }

    /// The ranking features of a question, if its system needs them.
    fn features(
        &self,
        scored: &Scored,
        text: &str,
        similar: (&AllSimilar, usize),
    ) -> OpResult<Option<QuestionFeatures>> {
        let by_model = self.model.as_ref().is_some_and(OnGraph::has_features);
        let needed = scored.system.is(&FUSED) || (scored.system.is(&MODEL) && by_model);
        let Some(measures) = self.measures.as_ref().filter(|_| needed) else {
            return Ok(None);
        };
        let starts = scored.starts.iter().map(|start| SourcedStart {
            node: start.node,
            source: start.source,
            weight: start.weight,
        });
        let starts: Vec<SourcedStart<&str>> = starts.collect();
        let asked = measure::Asked {
            text,
            embedding: &scored.embedding,
            starts: &starts,
        };
        measures.of(asked, similar, KEPT).map(Some)
    }

    /// Whether a score says that the system knows nothing in favour of a document.
    pub fn says_nothing(&self, system: &System, score: f64) -> bool {
        let counts = self.model.as_ref().is_some_and(OnGraph::zero_says_nothing);
        let zero = system.is(&BM25) || system.is(&PPR) || (system.is(&MODEL) && counts);
        !score.is_finite() || (zero && score == 0.0)
    }
}

/// The encoder as the linker needs it.
pub fn id(encoder: &ReadyEncoder) -> Encoder<'_> {
    Encoder {
        name: encoder.name(),
        digest: encoder.digest(),
        dim: encoder.dim(),
    }
}

/// Reads the model, if there is one and questions are embedded. `matrix` says which documents
/// mention a node.
///
/// # Errors
/// When the inputs do not belong together.
pub fn read_model(
    params: &RetrieverParams,
    ctx: &Context,
    embedded: bool,
    matrix: Option<Arc<EntityDocuments>>,
) -> OpResult<Option<OnGraph>> {
    let ranker = params.ranker.0.top_k(params.top_k);
    let matrix = matrix.filter(|_| embedded && ctx.input_opt("model").is_some());
    let model = matrix.map(|matrix| OnGraph::read(ctx, ranker, matrix));
    model.transpose()
}

/// Loads the encoder, if something was embedded, and checks that everything was embedded by it.
///
/// # Errors
/// When something was embedded by another one, or it cannot be loaded.
pub fn encoder(params: &RetrieverParams, ctx: &Context) -> OpResult<Option<ReadyEncoder>> {
    let ports = [
        "corpus_embeddings",
        "fact_embeddings",
        "sentence_embeddings",
    ];
    let embeddings = ports.iter().filter_map(|port| ctx.input_opt(port));
    let mut all: Vec<EncoderId> = embeddings
        .map(EncoderId::of_embeddings)
        .collect::<OpResult<_>>()?;
    if let Some(graph) = ctx.input_opt("graph") {
        all.push(EncoderId::of_graph(graph)?);
    }
    if all.is_empty() {
        return Ok(None);
    }
    let encoder = ReadyEncoder::open(&params.encoder, ctx)?;
    let same = |e: &&EncoderId| (e.digest.as_str(), e.dim) == (encoder.digest(), encoder.dim());
    match all.iter().find(|e| !same(e)) {
        None => Ok(Some(encoder)),
        Some(other) => Err(OpError::new(format!(
            "questions would be embedded with {} ({} wide), but `{}` is embedded with {} ({} wide)",
            encoder.name(),
            encoder.dim(),
            other.of,
            other.name,
            other.dim
        ))
        .hint(
            "give the retriever's `encoder` the same `model` and settings as the `embed` stages",
        )),
    }
}

/// The embeddings of documents, which the linker may have loaded.
fn dense(ctx: &Context, corpus: &Corpus, linker: Option<&Linker>) -> OpResult<Option<Dense>> {
    let Some(embeddings) = ctx.input_opt("corpus_embeddings") else {
        return Ok(None);
    };
    let known = linker.and_then(|linker| linker.vectors(Texts::Documents));
    if known.is_none() {
        let documents = ctx.input("documents")?;
        check_made_from_texts_of(embeddings, documents)?;
    }
    if corpus.len() == 0 {
        return Ok(None);
    }
    if let Some(points) = known {
        return Ok(Some(Dense::of(points)));
    }
    let points = VectorTable::read(embeddings)?;
    Ok(Some(Dense::of(Arc::new(points))))
}
