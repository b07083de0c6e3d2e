//! The tagger, and the reduction of the same rows for the parser. One product computes both.

use crate::block::WIDTH;
use crate::error::EnglishError;
use crate::names::NameId;
use crate::product::Packed;
use crate::scorer::{REDUCED, reduction};
use crate::tok2vec::Encoded;
use crate::weights::Weights;

/// The weights that are applied to each row of a network.
pub(crate) struct Heads {
    /// The reduced row first, then a score for each tag.
    weights: Packed<WIDTH>,
    tags: usize,
}

impl Heads {
    /// Loads the reduction for the scorer `name` and, with `tags`, the tagger.
    pub(crate) fn load(
        weights: &Weights<'_>,
        name: &str,
        tags: usize,
    ) -> Result<Self, EnglishError> {
        let (mut w, mut b) = reduction(weights, name)?;
        if tags > 0 {
            w.extend(weights.tensor("tagger.W", &[tags, WIDTH])?);
            b.extend(weights.tensor("tagger.b", &[tags])?);
        }
        Ok(Heads {
            weights: Packed::new(REDUCED + tags, |c, k| w[c * WIDTH + k], |c| b[c]),
            tags,
        })
    }

    /// Writes the reduced rows of encoded tokens to `reduced`. With a tagger, calls `tag` with the
    /// best tags.
    pub(crate) fn apply(
        &self,
        encoded: &Encoded<'_>,
        scratch: &mut Vec<f32>,
        reduced: &mut [[f32; REDUCED]],
        mut tag: impl FnMut(usize, NameId),
    ) {
        let width = self.weights.width();
        scratch.resize(encoded.starts.len() * width, 0.0);
        self.weights.apply(encoded.x, encoded.starts, scratch);
        for (token, row) in encoded.tokens.clone().zip(scratch.chunks_exact(width)) {
            let (row, scores) = row.split_at(REDUCED);
            reduced[token].copy_from_slice(row);
            if self.tags == 0 {
                continue;
            }
            let mut best = 0;
            for (at, score) in scores[..self.tags].iter().enumerate() {
                if *score > scores[best] {
                    best = at;
                }
            }
            tag(token, best as NameId);
        }
    }
}
