//! Questions put to a model on a graph: what `evaluate` and `retrieve` read, and how documents are ranked.

use std::sync::Arc;

use arrow::array::{Array, Float64Array, StringArray, UInt32Array};
use candle_core::{Result as TensorResult, Tensor};
use gfm_pipe_api::memory::Demand;
use gfm_pipe_api::{
    Arity, Artifact, Context, Field, InPort, OpError, OpResult, Type, columns, kinds,
};

use crate::build_background::read_background;
use crate::divided::{Dividing, OverRanks};
use crate::documents::{Questions, read_entity_documents};
use crate::eval::rankers::NO_SCORE;
use crate::eval::{EntityDocuments, top};
use crate::finetune::each_scored;
use crate::inputs::{LoadedGraph, same_encoder, zipped};
use crate::model::{Class, ModelConfig, Params as Weights, StoredModel, read_model};
use crate::pieces::Pieces;
use crate::progress::Pass;
use crate::scorer::{Scorer, with_scorer};
use crate::tensor_error;

/// Entities there may be.
pub(crate) const MAX_ENTITIES: f64 = u32::MAX as f64;
/// Why.
pub(crate) const NUMBERED: &str = "entities are numbered with 32 bits";

/// Names of the rankers.
pub(crate) const RANKERS: [&str; 4] = ["simple", "idf", "topk", "idf_topk"];

/// Ports whose artifacts belong together by position: each may have one for each of `questions`.
pub(crate) const OF_QUESTIONS: [&str; 2] = ["question_embeddings", "starts"];

/// The ports of [`Setting::read`], `background` and `corpus_embeddings`.
pub(crate) fn ports() -> Vec<InPort> {
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
            "the background of `model` on `graph`; computed where it is not given",
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
        InPort::of(
            "questions",
            &[&kinds::QUESTIONS],
            Arity::Many,
            "questions; several splits are asked as one",
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
            "nodes that the questions start from, with weights, for models and ppr; without it they start from their entities",
        ),
        InPort::of(
            "nodes",
            &[&kinds::NODES],
            Arity::Optional,
            "which nodes of the graph are documents: of these ppr ranks a document by its own node, not by its entities",
        ),
        InPort::of(
            "edge_weights",
            &[&kinds::EDGE_WEIGHTS],
            Arity::Optional,
            "weights of the graph's triples, for ppr; without it each weighs 1",
        ),
        InPort::of(
            "sources",
            &[&kinds::SOURCES],
            Arity::Optional,
            "which documents are pieces of one: every system ranks it by its best piece",
        ),
        InPort::of(
            "corpus_embeddings",
            &[&kinds::EMBEDDINGS],
            Arity::Optional,
            "embeddings of the corpus, for dense",
        ),
    ]
}

/// The parameters that say how questions are put.
pub(crate) fn fields() -> Vec<Field> {
    vec![
        Field::new(
            "top_k",
            Type::int(1),
            20,
            "entities that count, for topk and idf_topk",
        )
        .at_most(MAX_ENTITIES, NUMBERED),
        Field::new(
            "init_entities_weight",
            Type::Bool,
            true,
            "as in the model's training: a question entity starts with weight 1 / number of its documents, else 1; not looked at where `starts` is connected",
        ),
        Field::new("batch_size", Type::int(1), 8, "questions scored at once")
            .at_most(65_536.0, "each has a state of every entity")
            .no_effect(),
    ]
}

/// What [`fields`] are not.
pub(crate) fn ranker_type() -> Type {
    Type::one_of(&RANKERS)
}

/// How questions are put to a model.
#[derive(Clone, Copy)]
pub(crate) struct How<'a> {
    /// `init_entities_weight`.
    pub weighted: bool,
    /// Questions at once.
    pub batch_size: usize,
    /// Where progress is reported.
    pub pass: Pass<'a>,
}

/// What questions are asked of.
pub(crate) struct Setting {
    /// The graph, where one is connected and wanted.
    graph: Option<OnGraph>,
    /// Titles of the documents.
    pub titles: StringArray,
    /// Texts of the documents.
    pub texts: StringArray,
    /// The questions.
    pub questions: Questions,
    /// Which documents are pieces of one, where some are.
    pieces: Option<Pieces>,
    /// Who divides the graph, where ranks do.
    pub dividing: Option<Arc<Dividing>>,
}

/// A graph and the documents its entities are in.
pub(crate) struct OnGraph {
    /// The graph.
    pub input: LoadedGraph,
    /// Which documents mention an entity.
    pub matrix: EntityDocuments,
}

impl OnGraph {
    fn read(graph: &Artifact, documents: &Artifact, titles: usize) -> OpResult<Self> {
        let on = OnGraph {
            input: LoadedGraph::read(graph)?,
            matrix: read_entity_documents(documents)?,
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

impl Setting {
    /// Reads the inputs of [`ports`]; the graph and its documents only where a system wants them.
    pub fn read(ctx: &Context, wants_graph: bool) -> OpResult<Self> {
        let table = ctx.input("corpus")?.read("documents")?;
        let (titles, texts) = (
            columns::text(&table, "title")?,
            columns::text(&table, "text")?,
        );
        let connected = ctx.input_opt("graph").zip(ctx.input_opt("documents"));
        let graph = connected
            .filter(|_| wants_graph)
            .map(|(graph, documents)| OnGraph::read(graph, documents, titles.len()))
            .transpose()?;
        zipped(ctx, &["questions"], &OF_QUESTIONS)?;
        let (embeddings, starts) = (ctx.inputs("question_embeddings"), ctx.inputs("starts"));
        let parts = ctx.inputs("questions").iter().enumerate();
        let parts = parts.map(|(i, questions)| {
            let read = match embeddings.get(i) {
                Some(embeddings) => Questions::read(questions, embeddings)?,
                None => Questions::bare(questions)?,
            };
            read.starting(starts.get(i))
        });
        let questions = Questions::joined(parts.collect::<OpResult<_>>()?)?;
        let pieces = ctx.input_opt("sources");
        let pieces = pieces.map(|sources| Pieces::read(sources, titles.len()));
        // Without a graph no system uses entities.
        let nodes = graph.as_ref().map_or(usize::MAX, |g| g.input.graph.nodes());
        questions.check(nodes, titles.len())?;
        Ok(Setting {
            graph,
            titles: titles.clone(),
            texts: texts.clone(),
            questions,
            pieces: pieces.transpose()?.flatten(),
            dividing: None,
        })
    }

    /// The graph, which a system needs.
    pub fn on_graph(&self) -> OpResult<&OnGraph> {
        let needed = || OpError::new("nothing is connected to inputs `graph` and `documents`");
        self.graph.as_ref().ok_or_else(needed)
    }

    /// Whether there is a graph.
    pub fn has_graph(&self) -> bool {
        self.graph.is_some()
    }

    /// Warns of questions that cannot be asked; `then` says what becomes of them.
    pub fn warn_of_unaskable(&self, ctx: &Context, then: &str) {
        if !self.has_graph() {
            return;
        }
        let all = 0..self.questions.len();
        let lost = all.filter(|i| !self.questions.starts_somewhere(*i)).count();
        if lost > 0 {
            ctx.warn(format!(
                "{lost} of {} questions have no known entity to start from: {then}",
                self.questions.len()
            ));
        }
    }

    /// Scores to rank documents by, from those of all pieces: of a document in pieces the first
    /// has the best score, and the others come last.
    pub fn whole(&self, mut scores: Vec<f64>) -> Vec<f64> {
        if let Some(pieces) = &self.pieces {
            pieces.fold(&mut scores);
        }
        scores
    }

    /// Gives the entity scores of every question that starts somewhere to `take`, in order, by the
    /// model of a port, with its background if there is one.
    pub fn ask(
        &self,
        ctx: &Context,
        model: &Artifact,
        background: Option<&Artifact>,
        how: How<'_>,
        take: impl FnMut(usize, &[f64]),
    ) -> OpResult<()> {
        let input = &self.on_graph()?.input;
        same_encoder(&self.questions, input)?;
        let weights = usable(read_model(model)?, input, &model.name)?;
        let graph = ctx.input("graph")?;
        let background = match (&self.dividing, background) {
            (Some(_), Some(known)) => {
                // Nobody holds all of a divided graph's states.
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
        self.ask_weights(ctx, (&weights, background), how, take)
    }

    /// The same by a model of the same dimensions with random weights.
    pub fn ask_untrained(
        &self,
        ctx: &Context,
        model: &Artifact,
        seed: u64,
        how: How<'_>,
        take: impl FnMut(usize, &[f64]),
    ) -> OpResult<()> {
        let p = read_model(model)?.params;
        let class = Class::GNNRetriever;
        let weights = Weights::init(class, &p.config, p.text_dim, seed, p.dtype());
        let weights = weights.map_err(tensor_error)?;
        self.ask_weights(ctx, (&weights, None), how, take)
    }

    fn ask_weights(
        &self,
        ctx: &Context,
        weights: (&Weights, Option<Vec<Tensor>>),
        how: How<'_>,
        take: impl FnMut(usize, &[f64]),
    ) -> OpResult<()> {
        let OnGraph { input, matrix } = self.on_graph()?;
        let all = 0..self.questions.len();
        let seeds = all.map(|i| self.questions.seeds(i, matrix, how.weighted));
        let seeds: Vec<_> = seeds.collect();
        let graph = &input.graph;
        // Of a divided graph each rank holds a part.
        if self.dividing.is_none() {
            let queries = how.batch_size.min(self.questions.len());
            check_memory(&weights.0.config, graph.nodes(), queries)?;
        }
        let ask = |by: &dyn Scorer| {
            let asked = (&self.questions, &seeds[..]);
            each_scored(how.pass, by, graph.nodes(), asked, how.batch_size, take)
        };
        match &self.dividing {
            Some(dividing) => {
                let divided = dividing.once(ctx, graph, &weights.0.config)?;
                ask(&OverRanks::new(weights.0, &divided, &input.embeddings))
            }
            None => with_scorer(ctx, weights, input, ask),
        }
    }
}

/// Checks that what a batch of questions takes fits into memory: scores in two types, and a place
/// for every state.
fn check_memory(config: &ModelConfig, nodes: usize, questions: usize) -> OpResult<()> {
    Demand::new()
        .and("scores", &[questions, nodes, 4 + 8])
        .and(
            "places of states",
            &[config.layers() + 1, nodes, questions + 1, 4],
        )
        .check("`batch_size`")
}

impl StoredModel {
    /// Checks that the model knows the encoder a graph is embedded with.
    pub(crate) fn fits(&self, input: &LoadedGraph, name: &str) -> OpResult<()> {
        if self.origin.encoder_digest == input.encoder_digest {
            return Ok(());
        }
        Err(OpError::new(format!(
            "the model was trained with the encoder {}, the graph is embedded with {}",
            self.origin.encoder, input.encoder
        ))
        .artifact(name)
        .hint("embed with the encoder the model was trained with"))
    }
}

/// A model as a retriever on this graph. A pre-trained one has no projection for questions: its only projection of texts,
/// `rel_mlp`, takes the place (a random one would measure nothing).
fn usable(stored: StoredModel, input: &LoadedGraph, name: &str) -> OpResult<Weights> {
    stored.fits(input, name)?;
    if stored.params.class == Class::GNNRetriever {
        return Ok(stored.params);
    }
    let build = || -> TensorResult<Weights> {
        let p = &stored.params;
        let mut out = Weights::init(Class::GNNRetriever, &p.config, p.text_dim, 0, p.dtype())?;
        out.take_over(&p.to_map())?;
        for part in ["weight", "bias"] {
            out.set(
                &format!("question_mlp.{part}"),
                p.get(&format!("rel_mlp.{part}"))?.clone(),
            )?;
        }
        Ok(out)
    };
    build().map_err(tensor_error)
}

/// The first documents of a question with their scores, best first.
pub(crate) type List = Vec<(u32, f64)>;

/// The `depth` best documents, without those that are only pieces of others. One that is ranked
/// without a score has the ranker's, the sum of nothing.
pub(crate) fn first(scores: &[f64], depth: usize) -> List {
    let shown = |score: f64| if score == NO_SCORE { 0.0 } else { score };
    let best = top(scores, depth).into_iter();
    let best = best.filter(|d| !scores[*d as usize].is_nan());
    best.map(|d| (d, shown(scores[d as usize]))).collect()
}

/// The first documents of systems for questions.
#[derive(Default)]
pub(crate) struct Rankings {
    /// Question, system, rank, document, score.
    rows: Vec<(usize, Arc<str>, u32, u32, f64)>,
}

impl Rankings {
    /// Adds what a system lists for a question.
    pub fn add(&mut self, system: &Arc<str>, question: usize, list: List) {
        let rows = (1..).zip(list);
        self.rows
            .extend(rows.map(|(rank, (d, score))| (question, Arc::clone(system), rank, d, score)));
    }

    /// Writes the `rankings` port.
    pub fn write(&self, ctx: &Context, ids: &[String], titles: &StringArray) -> OpResult<()> {
        let r = &self.rows;
        let rankings = columns::batch(
            &kinds::RANKINGS.tables[0],
            vec![
                Arc::new(StringArray::from_iter_values(r.iter().map(|x| &ids[x.0]))),
                Arc::new(StringArray::from_iter_values(r.iter().map(|x| &x.1))),
                Arc::new(UInt32Array::from_iter_values(r.iter().map(|x| x.2))),
                Arc::new(StringArray::from_iter_values(
                    r.iter().map(|x| titles.value(x.3 as usize)),
                )),
                Arc::new(Float64Array::from_iter_values(r.iter().map(|x| x.4))),
            ],
        )?;
        ctx.write("rankings", "rankings", &rankings)
    }
}
