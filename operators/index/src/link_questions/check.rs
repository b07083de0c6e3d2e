//! Finds out whether the inputs of a [`Linker`](super::Linker) belong together, without loading
//! them.

use gfm_pipe_api::artifact::check_made_from_texts_of;
use gfm_pipe_api::{Context, OpResult};

use super::graph::each_link;
use super::linking::connected;
use super::named::each_label_of;
use super::sentence_places::SentencePlaces;
use super::similar::Texts;
use crate::build_kg::read;

/// A check of some inputs.
pub type Check<'a> = Box<dyn Fn() -> OpResult<()> + Send + Sync + 'a>;

/// The checks of what [`Linker::read`](super::Linker::read) reads, apart from vectors, for this
/// number of documents and nodes. They can be made at the same time.
pub fn checks(ctx: &Context, documents: usize, nodes: usize, embedded: bool) -> Vec<Check<'_>> {
    let mut out: Vec<Check<'_>> = Vec::new();
    if let Some(sources) = ctx.input_opt("sources") {
        out.push(Box::new(move || {
            read::parents(ctx, sources, documents as u32).map(drop)
        }));
    }
    if let Some(labels) = ctx.input_opt("labels") {
        let each = |_: u32, _: &str| {};
        out.push(Box::new(move || {
            each_label_of(ctx, nodes, labels, &mut { each })
        }));
    }
    out.push(Box::new(move || {
        each_link(ctx, documents, nodes, &mut |_, _| {})
    }));
    let wanted = [Texts::Facts, Texts::Sentences, Texts::Documents].into_iter();
    for texts in wanted.filter(|texts| embedded && connected(ctx, *texts)) {
        out.push(Box::new(move || {
            let of = texts.embedded(ctx)?;
            check_made_from_texts_of(of.embeddings, of.texts)
        }));
    }
    if embedded && connected(ctx, Texts::Sentences) {
        out.push(Box::new(move || ctx.input("mentions")?.check()));
    }
    if let Some(sentences) = ctx.input_opt("sentences") {
        out.push(Box::new(move || {
            SentencePlaces::read(sentences, documents).map(drop)
        }));
    }
    out
}
