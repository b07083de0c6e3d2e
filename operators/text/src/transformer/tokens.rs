//! A batch of tokenised texts, stored one after another.

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
