//! Links questions that are asked one after another, with everything in memory.

use std::ops::Range;
use std::sync::Arc;

use gfm_pipe_api::bm25::Bm25;
use gfm_pipe_api::vector_table::VectorTable;
use gfm_pipe_api::{Context, OpResult};

use super::graph::{Graph, Shared};
use super::linking::{Linking, connected};
use super::loaded::Loaded;
use super::named::Names;
use super::nearest::Vectors;
use super::params::LinkParams;
use super::similar::Texts;
use crate::extract::sentences::sentences;

/// The sources of starts in memory. It gives the same starts as the operator `link-questions` with
/// the same inputs, which are those of a stage with the same port names, and without a `filter`.
pub struct Linker {
    params: LinkParams,
    graph: Graph,
    names: Names,
    words: Arc<Bm25>,
    loaded: Loaded,
    has: [bool; 3],
}

/// A node that a question starts from.
#[derive(Debug, Clone, PartialEq)]
pub struct LinkedStart {
    /// The node.
    pub node: u32,
    /// What found it: title, entity, partial, word, fact, sentence or document.
    pub source: &'static str,
    /// Its weight, above 0.
    pub weight: f64,
    /// The reason: words of the question, a fact, a sentence or a title.
    pub text: String,
}

/// The encoder of questions.
#[derive(Debug, Clone, Copy)]
pub struct Encoder<'a> {
    /// Its name, for messages.
    pub name: &'a str,
    /// Its digest.
    pub digest: &'a str,
    /// Length of a vector.
    pub dim: usize,
}

/// The texts that questions are compared with, in the order of [`Linker`]'s field `has`.
const TEXTS: [Texts; 3] = [Texts::Facts, Texts::Sentences, Texts::Documents];

impl Linker {
    /// Loads what is connected to the stage and is not in memory yet. Facts, sentences and
    /// embeddings of documents are only loaded if `embedded`: whether questions will have
    /// embeddings.
    ///
    /// # Errors
    /// When tables do not belong together.
    pub fn read(
        params: LinkParams,
        ctx: &Context,
        shared: &Shared,
        embedded: bool,
    ) -> OpResult<Linker> {
        let graph = Graph::of(
            ctx,
            Arc::clone(&shared.names),
            Arc::clone(&shared.titles),
            Arc::clone(&shared.links),
        )?;
        let has = TEXTS.map(|texts| embedded && connected(ctx, texts));
        let (names, loaded) = rayon::join(
            || Names::read(ctx, &graph, params.weights.partial > 0.0),
            || Loaded::read(ctx, (&graph, shared), |texts| has[place(texts)]),
        );
        Ok(Linker {
            names: names?,
            words: Arc::clone(&shared.words),
            loaded: loaded?,
            params,
            graph,
            has,
        })
    }

    /// The starts of each question, by source, the heaviest first. `embeddings` are row-major
    /// vectors of the questions.
    ///
    /// # Errors
    /// When the encoder is not the one of the tables.
    pub fn starts(
        &self,
        questions: &[String],
        embeddings: Option<(Encoder<'_>, &[f32])>,
    ) -> OpResult<Vec<Vec<LinkedStart>>> {
        let vectors = embeddings.map(|(encoder, values)| vectors(encoder, values));
        let has = |texts| self.has[place(texts)];
        let linking = Linking {
            params: &self.params,
            graph: &self.graph,
            names: &self.names,
            words: Some(&self.words),
            by: &self.loaded,
            has: &has,
            choose: None,
        };
        let sources = linking.sources(questions, vectors.as_ref(), &|_| Ok(()))?;
        let mut out: Vec<Vec<LinkedStart>> = vec![Vec::new(); questions.len()];
        for (source, found) in sources {
            for (out, starts) in out.iter_mut().zip(found) {
                out.extend(starts.into_iter().map(|start| LinkedStart {
                    node: start.node,
                    source,
                    weight: start.weight,
                    text: start.text,
                }));
            }
        }
        Ok(out)
    }

    /// The vectors of facts, sentences or documents, if these are connected.
    pub fn vectors(&self, of: Texts) -> Option<Arc<VectorTable>> {
        self.loaded.known(of).map(|of| Arc::clone(of.table()))
    }

    /// Whether the sentences of documents are known, with their embeddings.
    pub fn has_sentences(&self) -> bool {
        self.has[place(Texts::Sentences)]
    }

    /// Among these documents the sentence that is most similar to a question: its document, and its
    /// range in the document's text. `None` where there is none.
    ///
    /// # Errors
    /// When vectors on disk cannot be read.
    pub fn best_sentence(
        &self,
        documents: Range<u32>,
        (encoder, question): (Encoder<'_>, &[f32]),
    ) -> OpResult<Option<(u32, Range<usize>)>> {
        let question = vectors(encoder, question);
        self.loaded.best_sentence(documents, &question)
    }
}

/// The sentences of a text.
pub fn sentences_of(text: &str) -> Vec<Range<usize>> {
    sentences(text)
}

fn vectors(encoder: Encoder<'_>, values: &[f32]) -> Vectors {
    Vectors::of_questions(encoder.dim, values, (encoder.name, encoder.digest))
}

fn place(texts: Texts) -> usize {
    TEXTS.iter().position(|t| *t == texts).unwrap_or_default()
}
