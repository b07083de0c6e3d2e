//! An encoder that stays in memory, for questions that are asked one after another.

use gfm_pipe_api::{Context, OpError, OpResult};

use crate::embed::{Params, builtin};
use crate::location::{self, Cache, Location};
use crate::static_encoder::StaticEncoder;

/// A loaded encoder. It gives the same vectors as the operator `embed` with the same parameters.
pub struct ReadyEncoder {
    name: String,
    digest: String,
    dim: usize,
    by: By,
}

enum By {
    Static(StaticEncoder),
    #[cfg(feature = "transformers")]
    Transformer(Box<OfTransformer>),
}

#[cfg(feature = "transformers")]
struct OfTransformer {
    encoder: crate::transformer::Transformer,
    questions: crate::transformer::Prompt,
    passages: crate::transformer::Prompt,
}

impl ReadyEncoder {
    /// Loads the encoder that these parameters name.
    ///
    /// # Errors
    /// When its files are missing, or when this build cannot run it.
    pub fn open(params: &Params, ctx: &Context) -> OpResult<Self> {
        let location = params.location(&ctx.base);
        match &location {
            Location::Static => {
                let encoder = builtin()?;
                Ok(ReadyEncoder {
                    name: encoder.name().to_owned(),
                    digest: encoder.digest().to_owned(),
                    dim: encoder.dim(),
                    by: By::Static(encoder),
                })
            }
            Location::Folder(folder) => with_transformer(params, &location, &ctx.path(folder)),
            Location::Hub(repo) => {
                let folder = Cache::from_env().snapshot(repo);
                let folder = folder.ok_or_else(|| OpError::new(location::absent(repo)))?;
                with_transformer(params, &location, &folder)
            }
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Digest of its weights and tokenizer.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// Length of a vector.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// Vectors of questions, row-major. A vector does not depend on the other questions.
    ///
    /// # Errors
    /// When a text cannot be encoded.
    pub fn questions(&self, texts: &[String]) -> OpResult<Vec<f32>> {
        self.encode(texts, true)
    }

    /// Vectors of other texts, row-major.
    ///
    /// # Errors
    /// When a text cannot be encoded.
    pub fn passages(&self, texts: &[String]) -> OpResult<Vec<f32>> {
        self.encode(texts, false)
    }

    fn encode(&self, texts: &[String], are_questions: bool) -> OpResult<Vec<f32>> {
        let vectors = match &self.by {
            By::Static(encoder) => {
                // It treats questions like all other texts.
                let _ = are_questions;
                let failed = |e| OpError::wrap("failed to encode a text", e);
                encoder.encode(texts).map_err(failed)?.values
            }
            #[cfg(feature = "transformers")]
            By::Transformer(of) => {
                let prompt = if are_questions {
                    &of.questions
                } else {
                    &of.passages
                };
                crate::embedding::encode_each(&of.encoder, prompt, texts)?
            }
        };
        if vectors.iter().any(|x| !x.is_finite()) {
            return Err(
                OpError::data("the encoder gave a vector that is not finite")
                    .hint("its weights are damaged, or too coarse (`torch_dtype`)"),
            );
        }
        Ok(vectors)
    }
}

#[cfg(feature = "transformers")]
fn with_transformer(
    params: &Params,
    location: &Location,
    folder: &std::path::Path,
) -> OpResult<ReadyEncoder> {
    use crate::model::{explained, load};
    let name = location.name();
    let (encoder, digest) = load("encoder", &name, folder, || {
        crate::transformer::Transformer::load(folder, &params.settings())
    })?;
    let prompt = |is_query| {
        let prompt = encoder.prompt(params.instruct_for(is_query));
        prompt.map_err(|e| explained(format!("failed to load the encoder {name}"), e))
    };
    let (questions, passages) = (prompt(true)?, prompt(false)?);
    Ok(ReadyEncoder {
        digest,
        dim: encoder.dim(),
        by: By::Transformer(Box::new(OfTransformer {
            encoder,
            questions,
            passages,
        })),
        name,
    })
}

#[cfg(not(feature = "transformers"))]
fn with_transformer(
    _: &Params,
    location: &Location,
    _: &std::path::Path,
) -> OpResult<ReadyEncoder> {
    Err(crate::embed::no_transformers(location))
}
