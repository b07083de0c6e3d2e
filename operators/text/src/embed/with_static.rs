//! `embed` with the static encoder. Vectors are written part by part, and those of parts whose
//! texts have not changed since the last run are taken from the store.

use std::sync::Arc;

use gfm_pipe_api::artifact::TextsDigest;
use gfm_pipe_api::sourced::WriteRows;
use gfm_pipe_api::text_list::TextList;
use gfm_pipe_api::{Artifact, Context, OpError, OpResult, SourcedSink, columns, kinds};

use super::{About, builtin};
use crate::StaticEncoder;

/// Number of texts that the encoder takes between two checks for cancellation.
const CHUNK: usize = 16_384;

/// Embeds the texts of an artifact with the static encoder, a few at a time. Returns their number
/// and digest as well.
pub(super) fn embed(ctx: &Context, input: &Artifact) -> OpResult<(About, u64, String)> {
    let encoder = builtin()?;
    let dim = encoder.dim();
    let total = input.rows(input.kind.tables[0].name)? as u64;
    let table = &kinds::EMBEDDINGS.tables[0];
    let schema = Arc::new(table.schema(dim));
    let mut embedding = Embedding {
        ctx,
        input,
        encoder: &encoder,
        total,
        done: 0,
        zero_rows: 0,
    };
    let mut sink = ctx
        .outputs
        .create_sourced("embeddings", table.name, schema)?;
    let mut digest = TextsDigest::default();
    let mut part = TextList::new();
    input.each_text(&mut |text| {
        digest.add(text);
        part.push(text);
        let bytes = text.len() + dim * size_of::<f32>();
        if sink.ends_behind(text.as_bytes(), bytes) {
            embedding.part(&mut *sink, &std::mem::take(&mut part))?;
        }
        Ok(())
    })?;
    if !part.is_empty() {
        embedding.part(&mut *sink, &part)?;
    }
    let (texts, zero_rows) = (embedding.done, embedding.zero_rows);
    sink.finish()?;
    if zero_rows > 0 {
        ctx.warn(format!(
            "{zero_rows} of {texts} texts of {} hold no known token: they get the zero vector",
            input.name
        ));
    }
    let about = About {
        name: encoder.name().to_owned(),
        digest: encoder.digest().to_owned(),
        dim,
        zero_rows,
    };
    Ok((about, texts, digest.finish()))
}

/// Embeds texts with the static encoder.
struct Embedding<'a> {
    ctx: &'a Context,
    input: &'a Artifact,
    encoder: &'a StaticEncoder,
    /// Number of texts.
    total: u64,
    /// Number of them that have vectors.
    done: u64,
    zero_rows: u64,
}

impl Embedding<'_> {
    /// Writes the vectors of the next texts, if the store does not have them.
    fn part(&mut self, sink: &mut dyn SourcedSink, texts: &TextList) -> OpResult<()> {
        let mut sources = TextsDigest::default();
        sources.add(self.encoder.digest());
        texts.iter().for_each(|text| sources.add(text));
        let zero_rows = sink.part(&sources.finish(), &mut |write| self.encode(texts, write))?;
        self.zero_rows += zero_rows;
        self.done += texts.len() as u64;
        self.ctx.progress(self.done, self.total, "texts", "");
        Ok(())
    }

    /// Makes vectors. Returns how many of them are zero.
    fn encode(&self, texts: &TextList, write: &mut WriteRows<'_>) -> OpResult<u64> {
        let (all, mut zero_rows): (Vec<&str>, _) = (texts.iter().collect(), 0);
        for (chunk, texts) in all.chunks(CHUNK).enumerate() {
            self.ctx.check_cancelled()?;
            let done = self.done + (chunk * CHUNK) as u64;
            self.ctx.progress(done, self.total, "texts", "");
            let encoded = self.encoder.encode(texts).map_err(|e| {
                OpError::wrap("failed to encode a text", e)
                    .artifact(&self.input.name)
                    .row(done)
            })?;
            if let Some(at) = encoded.values.iter().position(|x| !x.is_finite()) {
                return Err(
                    OpError::internal("the encoder gave a vector that is not finite")
                        .artifact(&self.input.name)
                        .row(done + (at / encoded.dim) as u64)
                        .hint("its table is damaged"),
                );
            }
            zero_rows += encoded.zero_rows.len() as u64;
            let vectors = columns::build_vectors(encoded.dim, encoded.values)?;
            write(&columns::batch(
                &kinds::EMBEDDINGS.tables[0],
                vec![vectors],
            )?)?;
        }
        Ok(zero_rows)
    }
}
