//! Finds the starts of questions from all sources: for the operator, which streams its tables, and
//! for questions that are asked one after another.

use gfm_pipe_api::bm25::Bm25;
use gfm_pipe_api::{Context, OpResult};

use super::graph::Graph;
use super::named::{self, NamedEntities, Names};
use super::nearest::Vectors;
use super::params::LinkParams;
use super::similar::{self, Choose, Lookup, Texts};
use super::{Found, Sources, scaled, words};

/// Everything that the sources need besides the questions.
pub struct Linking<'a> {
    pub params: &'a LinkParams,
    pub graph: &'a Graph,
    pub names: &'a Names,
    /// Needed if the source `word` or `partial` has a weight.
    pub words: Option<&'a Bm25>,
    pub by: &'a dyn Lookup,
    /// Whether these texts are connected, with all that belongs to them.
    pub has: &'a dyn Fn(Texts) -> bool,
    /// What chooses among the most similar facts, where not simply the first of them count.
    pub choose: Option<&'a dyn Choose>,
}

impl Texts {
    /// The ports that are connected together if these texts are to be compared with questions.
    pub fn needs(self) -> &'static [&'static str] {
        match self {
            Texts::Facts => &["facts", "fact_embeddings", "triples", "evidence"],
            Texts::Sentences => &["sentences", "sentence_embeddings", "mentions", "labels"],
            Texts::Documents => &["documents", "corpus_embeddings"],
        }
    }
}

/// Whether a stage is connected to all ports of these texts.
pub fn connected(ctx: &Context, texts: Texts) -> bool {
    texts
        .needs()
        .iter()
        .all(|port| ctx.input_opt(port).is_some())
}

impl Linking<'_> {
    /// The index for the sources `word` and `partial`, if one of them has a weight.
    ///
    /// # Errors
    /// When the documents cannot be read.
    pub fn words(params: &LinkParams, ctx: &Context) -> OpResult<Option<Bm25>> {
        let wanted = params.weights.word > 0.0 || params.weights.partial > 0.0;
        wanted.then(|| words::index(ctx)).transpose()
    }

    /// The starts of all sources that have a weight and are connected. `similar_names` may add
    /// entities to those that questions name.
    ///
    /// # Errors
    /// When a table cannot be read or was embedded by another encoder.
    pub fn sources(
        &self,
        questions: &[String],
        vectors: Option<&Vectors>,
        similar_names: &dyn Fn(&mut NamedEntities) -> OpResult<()>,
    ) -> OpResult<Sources> {
        let (params, graph, weights) = (self.params, self.graph, self.params.weights);
        let mut out = Sources::new();
        let mut add = |source, weight: f64, found: &dyn Fn() -> OpResult<Found>| -> OpResult<()> {
            if weight > 0.0 {
                let found = found()?.into_iter().map(|starts| scaled(starts, weight));
                out.push((source, found.collect()));
            }
            Ok(())
        };
        add("title", weights.title, &|| {
            Ok(named::titles(graph, self.names, questions))
        })?;
        let whole = named::entities(graph, self.names, questions);
        add("entity", weights.entity, &|| {
            let mut named = whole.clone();
            similar_names(&mut named)?;
            Ok(named.found)
        })?;
        if let Some(index) = self.words {
            add("partial", weights.partial, &|| {
                let names = self.names;
                Ok(named::partial(graph, names, index, questions, &whole))
            })?;
            add("word", weights.word, &|| {
                Ok(words::documents(index, graph, questions, params.documents))
            })?;
        }
        let Some(vectors) = vectors else {
            return Ok(out);
        };
        if (self.has)(Texts::Facts) {
            add("fact", weights.fact, &|| {
                similar::facts(self.by, graph, vectors, params.facts, self.choose)
            })?;
        }
        if (self.has)(Texts::Sentences) {
            add("sentence", weights.sentence, &|| {
                similar::sentences(self.by, graph, vectors, params.sentences)
            })?;
        }
        if (self.has)(Texts::Documents) {
            add("document", weights.document, &|| {
                similar::documents(self.by, graph, vectors, params.documents)
            })?;
        }
        Ok(out)
    }
}
