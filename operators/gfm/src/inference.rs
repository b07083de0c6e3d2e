//! What `evaluate` and `retrieve` share: their inputs, and how they get the entity scores of
//! questions from a model.

use std::sync::Arc;

use arrow::array::{Array, StringArray};
use candle_core::Tensor;
use gfm_pipe_api::memory::Demand;
use gfm_pipe_api::{
    Arity, Artifact, Context, Field, InPort, OpError, OpResult, Type, columns, kinds,
};
use gfm_pipe_eval::EntityDocuments;
use gfm_pipe_eval::pieces::Pieces;
use gfm_pipe_eval::rankers::Ranker;

use crate::inputs::LoadedGraph;
use crate::question_scores::{SeededQuestions, score_each};
use gfm_pipe_model::device::with_scorer;
use gfm_pipe_model::divided::{Dividing, OverRanks};
use gfm_pipe_model::document_scores::DocumentScores;
use gfm_pipe_model::loaded::{GraphTexts, read_background};
use gfm_pipe_model::model::{
    FeatureWeights, ModelConfig, Params as Weights, read_config, read_model,
};
use gfm_pipe_model::progress::Pass;
use gfm_pipe_model::questions::{Questions, read_entity_documents, same_encoder};
use gfm_pipe_model::scorer::Scorer;
use gfm_pipe_model::tensor_error;

/// The input ports of both operators, besides models.
pub(crate) fn ports() -> Vec<InPort> {
    let [questions, question_embeddings, starts, features] = Questions::ports();
    vec![
        InPort::of(
            "graph",
            &[&kinds::GRAPH],
            Arity::Optional,
            "the graph, for models and ppr",
        ),
        InPort::of(
            "background",
            &[&kinds::BACKGROUND],
            Arity::Optional,
            "the background of `model` on `graph`; computed if it is not given",
        ),
        InPort::of(
            "documents",
            &[&kinds::ENTITY_DOCUMENTS],
            Arity::Optional,
            "entity-document matrix, for models and ppr",
        ),
        InPort::of(
            "corpus",
            &[&kinds::DOCUMENTS],
            Arity::One,
            "titles and texts of the documents",
        ),
        questions,
        question_embeddings,
        starts,
        features,
        InPort::of(
            "fusion",
            &[&kinds::FUSION],
            Arity::Optional,
            "weights of the features, for fused",
        ),
        InPort::of(
            "nodes",
            &[&kinds::NODES],
            Arity::Optional,
            "which nodes of the graph are documents: ppr ranks such a document by its own node, not by its entities",
        ),
        InPort::of(
            "edge_weights",
            &[&kinds::EDGE_WEIGHTS],
            Arity::Optional,
            "weights of the graph's triples, for ppr; otherwise each has the weight 1",
        ),
        InPort::of(
            "sources",
            &[&kinds::SOURCES],
            Arity::Optional,
            "which documents are pieces of the same document: every system ranks that one by its best piece",
        ),
        InPort::of(
            "corpus_embeddings",
            &[&kinds::EMBEDDINGS],
            Arity::Optional,
            "embeddings of the corpus, for dense",
        ),
    ]
}

/// The parameters that both operators have, besides `top_k`.
pub(crate) fn fields() -> Vec<Field> {
    vec![
        Field::new(
            "init_entities_weight",
            Type::Bool,
            true,
            "as in the model's training: yes starts a question entity with weight 1 / number of its documents, no with 1; ignored if `starts` is connected",
        ),
        Field::new("batch_size", Type::int(1), 8, "questions scored at once")
            .at_most(65_536.0, "each has a state of every entity")
            .no_effect(),
    ]
}

/// How a model is asked.
#[derive(Clone, Copy)]
pub(crate) struct AskOptions<'a> {
    /// The parameter `init_entities_weight`.
    pub weighted: bool,
    /// Number of questions that are scored at once.
    pub batch_size: usize,
    /// Where progress is reported.
    pub pass: Pass<'a>,
}

/// The inputs of `evaluate` and `retrieve`, loaded into memory.
pub(crate) struct Inputs {
    /// The graph, if one is connected and needed.
    graph: Option<GraphInputs>,
    pub titles: StringArray,
    pub texts: StringArray,
    pub questions: Questions,
    /// Which documents are pieces of the same document, if any are.
    pub pieces: Option<Arc<Pieces>>,
    /// How ranks divide the graph, if they do.
    pub dividing: Option<Arc<Dividing>>,
}

/// A graph and the documents that mention its entities.
pub(crate) struct GraphInputs {
    pub input: LoadedGraph,
    /// Which documents mention an entity.
    pub matrix: Arc<EntityDocuments>,
}

impl GraphInputs {
    fn read(graph: &Artifact, documents: &Artifact, titles: usize) -> OpResult<Self> {
        let on = GraphInputs {
            input: LoadedGraph::read(graph)?,
            matrix: Arc::new(read_entity_documents(documents)?),
        };
        let nodes = on.input.graph.nodes();
        let (entities, documents) = (on.matrix.num_entities(), on.matrix.num_documents());
        if (entities, documents) == (nodes, titles) {
            return Ok(on);
        }
        Err(OpError::new(format!(
            "graph, entity-document matrix and corpus do not belong together: {nodes} nodes, {entities} x {documents}, {titles} documents"
        ))
        .hint("make all three from the same ingest stages"))
    }
}

impl Inputs {
    /// Reads the inputs of [`ports`], except `background` and `corpus_embeddings`. The graph and
    /// its documents are only read if `wants_graph`.
    pub fn read(ctx: &Context, wants_graph: bool) -> OpResult<Self> {
        let table = ctx.input("corpus")?.read("documents")?;
        let (titles, texts) = (
            columns::text(&table, "title")?,
            columns::text(&table, "text")?,
        );
        let connected = ctx.input_opt("graph").zip(ctx.input_opt("documents"));
        let graph = connected
            .filter(|_| wants_graph)
            .map(|(graph, documents)| GraphInputs::read(graph, documents, titles.len()))
            .transpose()?;
        let questions = Questions::of_ports(ctx)?;
        let pieces = ctx.input_opt("sources");
        let pieces = pieces.map(|sources| Pieces::read(sources, titles.len()));
        // Without a graph, no system uses entities.
        let nodes = graph.as_ref().map_or(usize::MAX, |g| g.input.graph.nodes());
        questions.check(nodes, titles.len())?;
        questions.check_corpus(ctx.input("corpus")?)?;
        Ok(Inputs {
            graph,
            titles: titles.clone(),
            texts: texts.clone(),
            questions,
            pieces: pieces.transpose()?.flatten().map(Arc::new),
            dividing: None,
        })
    }

    /// The graph.
    ///
    /// # Errors
    /// When there is none.
    pub fn on_graph(&self) -> OpResult<&GraphInputs> {
        let needed = || OpError::new("nothing is connected to inputs `graph` and `documents`");
        self.graph.as_ref().ok_or_else(needed)
    }

    /// Whether there is a graph.
    pub fn has_graph(&self) -> bool {
        self.graph.is_some()
    }

    /// Warns of questions without a node to start from. `consequence` says what happens to them.
    pub fn warn_of_questions_without_start(&self, ctx: &Context, consequence: &str) {
        if !self.has_graph() {
            return;
        }
        let all = 0..self.questions.len();
        let lost = all.filter(|i| !self.questions.starts_somewhere(*i)).count();
        if lost > 0 {
            ctx.warn(format!(
                "{lost} of {} questions have no known entity to start from: {consequence}",
                self.questions.len()
            ));
        }
    }

    /// The head of features of a model; `None` if it has none.
    ///
    /// # Errors
    /// When it has one, and the features of the questions are not connected.
    pub fn feature_head(&self, model: &Artifact) -> OpResult<Option<FeatureWeights>> {
        if read_config(model)?.entity_model.features.is_empty() {
            return Ok(None);
        }
        let params = read_model(model)?.params;
        FeatureWeights::for_questions(&params, &self.questions, &model.name)
    }

    /// How a model's scores of nodes become scores of documents, with this head of features.
    ///
    /// # Errors
    /// When the graph is not connected.
    pub fn document_scores<'a>(
        &'a self,
        head: Option<&'a FeatureWeights>,
        ranker: Ranker,
    ) -> OpResult<DocumentScores<'a>> {
        Ok(DocumentScores {
            ranker,
            head,
            matrix: &self.on_graph()?.matrix,
            pieces: self.pieces.as_deref(),
        })
    }

    /// Scores the questions with a model, and its background if there is one. Calls `take` with the
    /// entity scores of every question that has a node to start from, in order.
    pub fn ask(
        &self,
        ctx: &Context,
        model: &Artifact,
        background: Option<&Artifact>,
        options: AskOptions<'_>,
        take: impl FnMut(usize, &[f64]),
    ) -> OpResult<()> {
        let input = &self.on_graph()?.input;
        same_encoder(&self.questions, input)?;
        let weights = input.retriever(read_model(model)?, &model.name)?;
        let graph = ctx.input("graph")?;
        let background = match (&self.dividing, background) {
            (Some(_), Some(known)) => {
                // A rank does not hold all states of a divided graph.
                ctx.info(format!(
                    "`{}` is not used: each rank computes what it needs of the background on its part of the graph",
                    known.name
                ));
                None
            }
            (_, background) => background,
        };
        let background: Option<Vec<Tensor>> = background
            .map(|b| read_background(b, model, graph))
            .transpose()?;
        self.ask_weights(ctx, &weights, background, options, take)
    }

    /// The same as [`Inputs::ask`], with random weights in a model of the same dimensions.
    pub fn ask_untrained(
        &self,
        ctx: &Context,
        model: &Artifact,
        seed: u64,
        options: AskOptions<'_>,
        take: impl FnMut(usize, &[f64]),
    ) -> OpResult<()> {
        let p = read_model(model)?.params;
        let class = p.class.for_questions();
        // Weights of features are not random.
        let config = p.config.without_features();
        let weights = Weights::init(class, &config, p.text_dim, seed, p.dtype());
        let weights = weights.map_err(tensor_error)?;
        self.ask_weights(ctx, &weights, None, options, take)
    }

    fn ask_weights(
        &self,
        ctx: &Context,
        weights: &Weights,
        background: Option<Vec<Tensor>>,
        options: AskOptions<'_>,
        take: impl FnMut(usize, &[f64]),
    ) -> OpResult<()> {
        let GraphInputs { input, matrix } = self.on_graph()?;
        let all = 0..self.questions.len();
        let weighted = options.weighted && weights.class.weighs_starts();
        let seeds = all.map(|i| self.questions.seeds(i, matrix, weighted));
        let seeds: Vec<_> = seeds.collect();
        let graph = &input.graph;
        // Each rank holds only a part of a divided graph.
        if self.dividing.is_none() {
            let queries = options.batch_size.min(self.questions.len());
            check_memory(&weights.config, graph.nodes(), queries)?;
        }
        let ask = |by: &dyn Scorer| {
            let asked = SeededQuestions {
                questions: &self.questions,
                seeds: &seeds,
            };
            score_each(
                options.pass,
                by,
                graph.nodes(),
                asked,
                options.batch_size,
                take,
            )
        };
        match &self.dividing {
            Some(dividing) => {
                let divided = dividing.once(ctx, graph, &weights.config)?;
                let mut texts = GraphTexts {
                    relations: input.texts.relations.clone(),
                    nodes: input.texts.nodes.clone(),
                };
                texts.keep(divided.part())?;
                ask(&OverRanks::new(weights, &divided, texts.borrowed()))
            }
            None => with_scorer(ctx, weights, background, graph, input.texts.borrowed(), ask),
        }
    }
}

/// Checks that a batch of questions fits into memory: the scores in two types, and a place for
/// every state.
fn check_memory(config: &ModelConfig, nodes: usize, questions: usize) -> OpResult<()> {
    Demand::new()
        .and("scores", &[questions, nodes, 4 + 8])
        .and(
            "places of states",
            &[config.layers() + 1, nodes, questions + 1, 4],
        )
        .check("`batch_size`")
}
