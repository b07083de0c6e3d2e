//! The model on its graph.

use std::sync::Arc;

use gfm_pipe_api::{Context, OpError, OpResult};
use gfm_pipe_eval::EntityDocuments;
use gfm_pipe_eval::features::of_question::QuestionFeatures;
use gfm_pipe_eval::passages::Passages;
use gfm_pipe_eval::pieces::Pieces;
use gfm_pipe_eval::rankers::Ranker;
use gfm_pipe_model::document_scores::DocumentScores;
use gfm_pipe_model::loaded::{LoadedGraph, read_background};
use gfm_pipe_model::model::{
    Class, FeatureWeights, Params, Prepared, Question, Retriever, missing_features, read_model,
};
use gfm_pipe_model::questions::{Questions, document_ranker, same_encoder};
use gfm_pipe_model::scorer::check_scores;
use gfm_pipe_model::tensor::to_f64;
use gfm_pipe_model::tensor_error;

/// A model on a graph.
pub struct OnGraph {
    params: Params,
    input: LoadedGraph,
    prepared: Arc<Prepared>,
    ranker: Ranker,
    /// What ranking features add, if the model was trained with them.
    head: Option<FeatureWeights>,
    matrix: Arc<EntityDocuments>,
}

impl OnGraph {
    /// Reads the ports `model`, `graph` and `background`.
    ///
    /// # Errors
    /// When they do not belong together.
    pub fn read(ctx: &Context, ranker: Ranker, matrix: Arc<EntityDocuments>) -> OpResult<Self> {
        let (model, graph) = (ctx.input("model")?, ctx.input("graph")?);
        let input = LoadedGraph::read(graph)?;
        let nodes = input.graph.nodes();
        if nodes != matrix.num_entities() {
            return Err(OpError::new(format!(
                "the graph has {nodes} nodes, but there are {} entities",
                matrix.num_entities()
            ))
            .artifact(&graph.name)
            .hint("connect `graph` and `entities` that were made from the same stage"));
        }
        let weights = input.retriever(read_model(model)?, &model.name)?;
        let matrix = match weights.class {
            Class::GraphReasoner => own_nodes(ctx, &matrix)?.unwrap_or(matrix),
            Class::QueryGNN | Class::GNNRetriever => matrix,
        };
        let known = ctx.input_opt("background");
        let known = known
            .map(|b| read_background(b, model, graph))
            .transpose()?;
        let ready =
            Retriever::new(&weights, &input.graph, input.texts.borrowed()).prepared(known)?;
        let prepared = ready.kept();
        let prepared = prepared.ok_or_else(|| OpError::internal("nothing was prepared"))?;
        Ok(OnGraph {
            ranker: document_ranker(weights.class, &matrix, ranker),
            head: FeatureWeights::of(&weights)?,
            params: weights,
            input,
            prepared,
            matrix,
        })
    }

    /// The model on its graph.
    pub fn retriever(&self) -> Retriever<'_> {
        let prepared = Arc::clone(&self.prepared);
        let (graph, texts) = (&self.input.graph, self.input.texts.borrowed());
        Retriever::with(&self.params, graph, texts, prepared)
    }

    /// The nodes of a document whose scores count for it, each with how much it counts.
    pub fn targets(&self, nodes: &[f64], document: u32) -> Vec<(u32, f64)> {
        self.ranker.targets(nodes, &self.matrix, document)
    }

    /// Whether entities start with the weight 1 / number of their documents, if that is wanted and
    /// the model's class has such weights.
    pub fn weighted(&self, wanted: bool) -> bool {
        wanted && self.params.class.weighs_starts()
    }

    /// 1 / the number of documents that mention a node; 0 if none does.
    pub fn weight(&self, node: u32) -> f64 {
        self.matrix.weight(node)
    }

    /// Scores of documents from those of nodes, and from the features of the question if the model
    /// was trained with them. Each document has the score of its best piece.
    ///
    /// # Errors
    /// When the model needs features and there are none.
    pub fn documents(
        &self,
        nodes: &[f64],
        pieces: Option<&Pieces>,
        features: Option<&QuestionFeatures>,
    ) -> OpResult<Vec<f64>> {
        if self.head.is_some() && features.is_none() {
            return Err(missing_features("model"));
        }
        let by = DocumentScores {
            ranker: self.ranker,
            head: self.head.as_ref(),
            matrix: &self.matrix,
            pieces,
        };
        Ok(by.of(nodes, features))
    }

    /// Whether the model needs ranking features of questions.
    pub fn has_features(&self) -> bool {
        self.head.is_some()
    }

    /// Whether a score of 0 says that the model knows nothing in favour of a document.
    pub fn zero_says_nothing(&self) -> bool {
        // What features add is not 0.
        self.ranker.counts() && self.head.is_none()
    }

    /// Checks that questions were embedded by the encoder of the graph.
    ///
    /// # Errors
    /// When they were not.
    pub fn same_encoder(&self, questions: &Questions) -> OpResult<()> {
        same_encoder(questions, &self.input)
    }

    /// The scores of all nodes for each question. All questions are scored together; `named` says
    /// in messages which one has an invalid score.
    ///
    /// # Errors
    /// When a score is not finite.
    pub fn scores(
        &self,
        questions: &[Question<'_>],
        named: impl Fn(usize) -> String,
    ) -> OpResult<Vec<Vec<f64>>> {
        if questions.is_empty() {
            return Ok(Vec::new());
        }
        let scores = to_f64(&self.retriever().score_all(questions)?).map_err(tensor_error)?;
        let nodes = self.input.graph.nodes();
        check_scores(&scores, nodes, named)?;
        Ok(scores.chunks_exact(nodes).map(<[f64]>::to_vec).collect())
    }
}

/// Documents with their own nodes, if they are nodes of the graph.
fn own_nodes(ctx: &Context, matrix: &EntityDocuments) -> OpResult<Option<Arc<EntityDocuments>>> {
    let Some(nodes) = ctx.input_opt("nodes") else {
        return Ok(None);
    };
    let (of, documents) = (matrix.num_entities(), matrix.num_documents());
    let Some(passages) = Passages::read(nodes, of, documents)? else {
        return Ok(None);
    };
    let all = 0..documents as u32;
    let pairs = all.filter_map(|d| Some((passages.node(d)?, d)));
    let own = EntityDocuments::from_pairs(of, documents, pairs);
    Ok(Some(Arc::new(own?)))
}
