//! Texts as tokens, one behind the other.

/// A batch.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tokens {
    /// Of all texts.
    pub(crate) ids: Vec<u32>,
    /// Of each text; at least 1.
    pub(crate) lengths: Vec<u32>,
}

impl Tokens {
    /// Puts texts one behind the other.
    pub(crate) fn of<'a>(texts: impl IntoIterator<Item = &'a [u32]>) -> Self {
        let mut out = Tokens::default();
        for ids in texts {
            out.ids.extend_from_slice(ids);
            out.lengths.push(ids.len() as u32);
        }
        out
    }
}
