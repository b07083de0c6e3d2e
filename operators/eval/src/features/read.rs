//! Reads what features are measured on from a stage's ports.

use std::sync::Arc;

use gfm_pipe_api::artifact::check_made_from_texts_of;
use gfm_pipe_api::bm25::{self, Bm25};
use gfm_pipe_api::document_edges::EdgeKind;
use gfm_pipe_api::vector_table::{Keep, VectorTable};
use gfm_pipe_api::{Arity, Artifact, Context, InPort, Kind, OpError, OpResult, columns, kinds};

use super::measure::{Measures, Walks};
use super::texts::{Texts, Vectors};
use crate::baselines::asked::{Walk, edge_weights};
use crate::baselines::dense::Dense;
use crate::baselines::ppr::Ppr;
use crate::pieces::Pieces;
use crate::{BadShape, EntityDocuments};

/// The ports that [`Measures::read`] reads.
pub fn ports() -> Vec<InPort> {
    type Ports = &'static [&'static Kind];
    let maybe = |name, kind: Ports, about| InPort::of(name, kind, Arity::Optional, about);
    vec![
        InPort::of(
            "documents",
            &[&kinds::DOCUMENTS],
            Arity::One,
            "titles and texts of the documents",
        ),
        maybe(
            "sources",
            &[&kinds::SOURCES],
            "which documents are pieces of the same document: that one has the best value of its pieces",
        ),
        maybe(
            "corpus_embeddings",
            &[&kinds::EMBEDDINGS],
            "embeddings of `documents`",
        ),
        maybe(
            "sentences",
            &[&kinds::SENTENCES],
            "sentences of the documents",
        ),
        maybe(
            "sentence_embeddings",
            &[&kinds::EMBEDDINGS],
            "embeddings of `sentences`",
        ),
        maybe("facts", &[&kinds::FACTS], "facts that the documents state"),
        maybe(
            "fact_embeddings",
            &[&kinds::EMBEDDINGS],
            "embeddings of `facts`",
        ),
        maybe("entities", &[&kinds::ENTITIES], "nodes of the graph"),
        maybe(
            "relations",
            &[&kinds::RELATIONS],
            "names of relations: they tell edges of documents from facts",
        ),
        maybe("triples", &[&kinds::TRIPLES], "triples of the graph"),
        maybe("links", &[&kinds::LINKS], "entities of each document"),
        maybe("nodes", &[&kinds::NODES], "which nodes are documents"),
        maybe(
            "edge_weights",
            &[&kinds::EDGE_WEIGHTS],
            "weights of the triples; otherwise each has the weight 1",
        ),
    ]
}

/// Ports that need others: the first is only used together with the rest.
pub const TOGETHER: [&[&str]; 5] = [
    &["sentences", "sentence_embeddings"],
    &["sentence_embeddings", "sentences"],
    &["facts", "fact_embeddings"],
    &["fact_embeddings", "facts"],
    &["triples", "entities", "relations", "links"],
];

/// Titles and texts of documents with the indexes over them. They are read once where other systems
/// need them too.
pub struct Corpus {
    /// Number of documents.
    pub documents: usize,
    /// Embeddings of documents.
    pub dense: Option<Arc<Dense>>,
    /// Their words.
    pub words: Arc<Bm25>,
    /// Which documents are pieces of the same document.
    pub pieces: Option<Arc<Pieces>>,
    /// The vectors of sentences, if they have been read.
    pub sentences: Option<Arc<VectorTable>>,
    /// The vectors of facts, if they have been read.
    pub facts: Option<Arc<VectorTable>>,
}

impl Corpus {
    /// Reads the ports `documents`, `sources` and `corpus_embeddings`.
    ///
    /// # Errors
    /// When they do not belong together.
    pub fn read(ctx: &Context) -> OpResult<Self> {
        let documents = ctx.input("documents")?;
        let words = bm25::read(documents)?;
        let dense = ctx.input_opt("corpus_embeddings");
        let pieces = ctx.input_opt("sources");
        let pieces = pieces.map(|sources| Pieces::read(sources, words.documents()));
        Ok(Corpus {
            documents: words.documents(),
            dense: dense
                .map(|e| vectors(documents, e).map(Arc::new))
                .transpose()?,
            words: Arc::new(words),
            pieces: pieces.transpose()?.flatten().map(Arc::new),
            sentences: None,
            facts: None,
        })
    }
}

impl Measures {
    /// Reads sentences, facts and the graph from the ports of a stage ([`ports`]). `walk` is the
    /// walk of `ppr` on the same graph, if it has been made.
    ///
    /// # Errors
    /// When the ports do not belong together.
    pub fn read(
        ctx: &Context,
        corpus: Corpus,
        walk: Option<&Walk>,
        restart: Option<f64>,
    ) -> OpResult<Self> {
        let texts = |of: &str, embeddings: &str, known| -> OpResult<Option<Texts>> {
            let both = ctx.input_opt(of).zip(ctx.input_opt(embeddings));
            both.map(|(of, embeddings)| texts(of, embeddings, known))
                .transpose()
        };
        let graph = ctx
            .input_opt("triples")
            .map(|_| Graph::read(ctx))
            .transpose()?;
        let walks = graph.map(|graph| match walk {
            Some(walk) => graph.walks(walk),
            None => graph.walks(&graph.walk(ctx, corpus.documents, restart)?),
        });
        Ok(Measures {
            documents: corpus.documents,
            dense: corpus.dense,
            sentences: texts("sentences", "sentence_embeddings", corpus.sentences)?,
            facts: texts("facts", "fact_embeddings", corpus.facts)?,
            words: corpus.words,
            walks: walks.transpose()?,
            pieces: corpus.pieces,
        })
    }
}

/// Reads vectors, and checks that they were made from these texts.
fn vectors(of: &Artifact, embeddings: &Artifact) -> OpResult<Dense> {
    check_made_from_texts_of(embeddings, of)?;
    Ok(Dense::of(Arc::new(VectorTable::read(embeddings)?)))
}

/// Reads of which documents texts are. Their vectors are read later, if they are not known.
fn texts(of: &Artifact, embeddings: &Artifact, known: Option<Arc<VectorTable>>) -> OpResult<Texts> {
    let vectors = match known {
        Some(vectors) => Vectors::Loaded(vectors),
        None => {
            check_made_from_texts_of(embeddings, of)?;
            let parts = embeddings.parts("vectors")?;
            let keep = Keep::of_table(&parts)?;
            Vectors::Stored(parts, keep)
        }
    };
    let table = of.kind.tables[0].name;
    let mut documents = Vec::with_capacity(of.rows(table)?);
    for batch in of.batches_of(table, &["document"])? {
        documents.extend_from_slice(columns::u32s(&batch?, "document")?.values());
    }
    Ok(Texts { vectors, documents })
}

/// The edges of a graph with their weights and kinds; facts have no kind.
struct Graph {
    nodes: usize,
    /// Heads and tails.
    ends: Vec<(u32, u32)>,
    weights: Option<Vec<f32>>,
    kinds: Vec<Option<EdgeKind>>,
}

impl Graph {
    fn read(ctx: &Context) -> OpResult<Self> {
        let names = ctx.input("relations")?.read("relations")?;
        let names = columns::text(&names, "name")?;
        let of_relation: Vec<Option<EdgeKind>> = names
            .iter()
            .map(|name| EdgeKind::of_relation(name.unwrap_or_default()))
            .collect();
        let triples = ctx.input("triples")?;
        let rows = triples.rows("triples")?;
        let weights = edge_weights(ctx, rows)?;
        let (mut ends, mut kinds) = (Vec::with_capacity(rows), Vec::with_capacity(rows));
        for batch in triples.batches("triples")? {
            let batch = batch?;
            let column = |name| columns::u32s(&batch, name);
            let (heads, relations, tails) = (column("head")?, column("relation")?, column("tail")?);
            let pairs = heads.values().iter().copied();
            ends.extend(pairs.zip(tails.values().iter().copied()));
            let kind = |r: &u32| of_relation.get(*r as usize).copied().flatten();
            kinds.extend(relations.values().iter().map(kind));
        }
        Ok(Graph {
            nodes: ctx.input("entities")?.rows("entities")?,
            ends,
            weights,
            kinds,
        })
    }

    fn edges(&self) -> impl Iterator<Item = (u32, u32, f64)> + Clone + '_ {
        let weight = |row: usize| self.weights.as_ref().map_or(1.0, |w| f64::from(w[row]));
        let ends = self.ends.iter().enumerate();
        ends.map(move |(row, (head, tail))| (*head, *tail, weight(row)))
    }

    /// Personalised PageRank on all edges.
    fn walk(&self, ctx: &Context, documents: usize, restart: Option<f64>) -> OpResult<Walk> {
        let table = ctx.input("links")?.read("links")?;
        let column = |name| columns::u32s(&table, name);
        let (entities, of) = (column("entity")?, column("document")?);
        let pairs = entities.values().iter().copied();
        let pairs = pairs.zip(of.values().iter().copied());
        let matrix = EntityDocuments::from_pairs(self.nodes, documents, pairs).map_err(shape)?;
        let on = Ppr::new(self.nodes, self.edges()).map_err(shape)?;
        Walk::of_stage(ctx, on, Arc::new(matrix), restart)
    }

    fn walks(&self, walk: &Walk) -> OpResult<Walks> {
        if walk.on.nodes() != self.nodes {
            return Err(shape(BadShape(format!(
                "a graph of {} nodes and one of {}",
                self.nodes,
                walk.on.nodes()
            ))));
        }
        Walks::new(walk, self.edges(), |row| self.kinds[row]).map_err(shape)
    }
}

fn shape(e: BadShape) -> OpError {
    OpError::wrap("the inputs do not belong together", e)
}
