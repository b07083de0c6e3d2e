//! A batch of tokenised texts, stored one after another.

use super::compute::Operations;

/// A batch of texts.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tokens {
    /// The token ids of all texts.
    pub(crate) ids: Vec<u32>,
    /// The number of tokens of each text, at least 1.
    pub(crate) lengths: Vec<u32>,
}

impl Tokens {
    /// Concatenates texts.
    pub(crate) fn concat<'a>(texts: impl IntoIterator<Item = &'a [u32]>) -> Self {
        let mut out = Tokens::default();
        for ids in texts {
            out.ids.extend_from_slice(ids);
            out.lengths.push(ids.len() as u32);
        }
        out
    }
}

/// Divides a batch into rectangles for networks that take only those: the token ids of neighbours
/// of one length, a row for each text. With the project's kernels, each text is by itself.
pub(crate) fn rectangles(batch: &Tokens, by: Operations) -> impl Iterator<Item = Vec<Vec<u32>>> {
    let together = move |a: &u32, b: &u32| by == Operations::Candle && a == b;
    let mut ids = batch.ids.as_slice();
    batch.lengths.chunk_by(together).map(move |texts| {
        let of_text = |n: &u32| {
            let (text, rest) = ids.split_at(*n as usize);
            ids = rest;
            text.to_vec()
        };
        texts.iter().map(of_text).collect()
    })
}
