//! Reads what features are measured on from a stage's ports.

use std::sync::Arc;

use gfm_pipe_api::artifact::check_made_from_texts_of;
use gfm_pipe_api::bm25::{self, Bm25};
use gfm_pipe_api::document_edges::EdgeKind;
use gfm_pipe_api::vector_table::{Codes, Keep, VectorTable};
use gfm_pipe_api::{Arity, Artifact, Context, InPort, Kind, OpResult, columns, kinds};

use super::measure::{Measures, Walks};
use super::texts::{Texts, Vectors};
use crate::EntityDocuments;
use crate::baselines::asked::{Walk, edge_weights};
use crate::baselines::dense::Dense;
use crate::baselines::walks;
use crate::by_node::Triples;
use crate::pieces::Pieces;

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

impl Walks {
    /// Reads the graph from the ports of a stage; `None` if there is none.
    ///
    /// # Errors
    /// When the ports do not belong together.
    pub fn read(ctx: &Context, documents: usize, restart: Option<f64>) -> OpResult<Option<Self>> {
        if ctx.input_opt("triples").is_none() {
            return Ok(None);
        }
        let (walk, triples) = read_graph(ctx, documents, restart)?;
        Self::with(ctx, &walk, &triples).map(Some)
    }

    /// The graph of a stage where the walk of `ppr` and the triples that it is on are known.
    ///
    /// # Errors
    /// When relations cannot be read, or a weight is negative or not finite.
    pub fn with(ctx: &Context, walk: &Walk, triples: &walks::Facts) -> OpResult<Self> {
        let names = ctx.input("relations")?.read("relations")?;
        let names = columns::text(&names, "name")?.iter();
        let kinds = names.map(|name| EdgeKind::of_relation(name.unwrap_or_default()));
        let kinds: Vec<Option<EdgeKind>> = kinds.collect();
        let kind = |of: u32| kinds.get(of as usize).copied().flatten();
        Ok(Walks::new(walk, triples, kind)?)
    }
}

impl Measures {
    /// Reads sentences and facts from the ports of a stage ([`ports`]).
    ///
    /// # Errors
    /// When the ports do not belong together.
    pub fn read(ctx: &Context, corpus: Corpus, walks: Option<Walks>) -> OpResult<Self> {
        let texts = |of: &str, embeddings: &str, known| -> OpResult<Option<Texts>> {
            let both = ctx.input_opt(of).zip(ctx.input_opt(embeddings));
            let texts = both.map(|(of, embeddings)| texts(of, embeddings, known));
            let pieces = corpus.pieces.as_deref();
            texts.map(|texts| texts?.prepared(pieces)).transpose()
        };
        Ok(Measures {
            documents: corpus.documents,
            dense: corpus.dense,
            sentences: texts("sentences", "sentence_embeddings", corpus.sentences)?,
            facts: texts("facts", "fact_embeddings", corpus.facts)?,
            words: corpus.words,
            walks,
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
        Some(vectors) => Vectors::Ready(vectors),
        None => {
            check_made_from_texts_of(embeddings, of)?;
            match Keep::of_vectors(embeddings)? {
                Keep::Exact => Vectors::Stored(embeddings.parts("vectors")?),
                Keep::Coded => {
                    let codes = Codes::open(embeddings)?;
                    Vectors::Ready(Arc::new(VectorTable::Coded(codes)))
                }
            }
        }
    };
    let table = of.kind.tables[0].name;
    let mut documents = Vec::with_capacity(of.rows(table)?);
    for batch in of.batches_of(table, &["document"])? {
        documents.extend_from_slice(columns::u32s(&batch?, "document")?.values());
    }
    Ok(Texts {
        vectors,
        documents,
        sample: None,
    })
}

/// Personalised PageRank on all edges, and the triples.
fn read_graph(
    ctx: &Context,
    documents: usize,
    restart: Option<f64>,
) -> OpResult<(Walk, walks::Facts)> {
    let triples = ctx.input("triples")?;
    let nodes = ctx.input("entities")?.rows("entities")?;
    let mut all = Vec::with_capacity(triples.rows("triples")?);
    for batch in triples.batches("triples")? {
        let batch = batch?;
        let column = |name| columns::u32s(&batch, name);
        let (heads, relations, tails) = (column("head")?, column("relation")?, column("tail")?);
        let rows = heads.values().iter().zip(relations.values());
        let rows = rows.zip(tails.values());
        all.extend(rows.map(|((head, relation), tail)| [*head, *relation, *tail]));
    }
    let weights = edge_weights(ctx, all.len())?;
    let triples = Arc::new(Triples::new(nodes, all)?);
    let facts = walks::Facts::new(triples, weights);
    let table = ctx.input("links")?.read("links")?;
    let column = |name| columns::u32s(&table, name);
    let (entities, of) = (column("entity")?, column("document")?);
    let pairs = entities.values().iter().copied();
    let pairs = pairs.zip(of.values().iter().copied());
    let matrix = EntityDocuments::from_pairs(nodes, documents, pairs)?;
    let on = facts.graph(nodes, |_| true)?;
    let walk = Walk::of_stage(ctx, on, Arc::new(matrix), restart)?;
    Ok((walk, facts))
}
