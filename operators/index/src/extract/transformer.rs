//! `by: transformer`: a model for token classification finds mentions.
//!
//! Sentences are found by rules, as for `patterns`. There are no facts.

use gfm_pipe_api::{Context, OpResult};
use gfm_pipe_text::{Model, Span, Tagger, Text};
use rayon::prelude::*;

use super::{Document, Extracted, Mention, one_line, sentences};

/// Number of documents that go through the model together. The model takes much longer than
/// anything else, and results are kept after each such part.
const AT_ONCE: usize = 64;
/// The same on a GPU.
const AT_ONCE_ON_GPU: usize = 1024;

/// An extractor that uses a model.
pub struct Transformer<'a> {
    ctx: &'a Context,
    tagger: Tagger,
    digest: String,
}

impl<'a> Transformer<'a> {
    /// Loads a model.
    ///
    /// # Errors
    /// When the model is missing, or cannot be loaded.
    pub fn load(model: &Model, ctx: &'a Context) -> OpResult<Self> {
        let (tagger, digest) = Tagger::from_model(model, ctx)?;
        Ok(Transformer {
            ctx,
            tagger,
            digest,
        })
    }

    /// Number of documents that go through the model together.
    pub fn at_once(&self) -> usize {
        if self.tagger.on_gpu() {
            AT_ONCE_ON_GPU
        } else {
            AT_ONCE
        }
    }

    /// Identifies the extractor and its model.
    pub fn name(&self) -> String {
        format!("transformer {}", self.digest)
    }

    /// Extracts from documents, in their order. On the CPU, the result for a document does not
    /// depend on the others.
    ///
    /// # Errors
    /// When a text or the model is refused, or the stage is cancelled.
    pub fn extract(&self, documents: &[Document<'_>]) -> OpResult<Vec<Extracted>> {
        let texts: Vec<Text<'_>> = documents
            .par_iter()
            .map(|document| Text {
                text: document.text,
                sentences: sentences::sentences(document.text),
            })
            .collect();
        let spans = self.tagger.tag(self.ctx, &texts)?;
        let found = texts.into_iter().zip(spans);
        Ok(found
            .map(|(Text { text, sentences }, spans)| Extracted {
                sentences,
                mentions: spans.into_iter().map(|span| mention(text, span)).collect(),
                facts: Vec::new(),
            })
            .collect())
    }
}

fn mention(text: &str, Span { range, label }: Span) -> Mention {
    Mention {
        text: one_line(&text[range.clone()]),
        range: Some(range),
        label: label.into(),
    }
}
