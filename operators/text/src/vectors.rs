//! Keeps vectors of texts between runs: when a graph gets a thousand new names, only these are
//! embedded, and a killed stage continues where it stopped.

use std::path::Path;

use gfm_pipe_api::result_cache::{self, Id, ResultCache};

/// The id of a text with a prompt.
pub(crate) fn text_id(prompt: &str, text: &str) -> Id {
    result_cache::id("gfm-pipe text of a vector", &[prompt, text])
}

/// Opens the vectors of the encoder and settings that `name` identifies.
pub(crate) fn open(cache: &Path, name: &str) -> ResultCache {
    ResultCache::open(cache, "vectors", name)
}

/// Calls `found` with the index and the vector of each text that is kept.
pub(crate) fn read(
    kept: &ResultCache,
    ids: &[Id],
    dim: usize,
    mut found: impl FnMut(usize, &[f32]),
) {
    let mut vector = Vec::with_capacity(dim);
    kept.read(ids, |i, bytes| {
        let (numbers, rest) = bytes.as_chunks();
        if numbers.len() == dim && rest.is_empty() {
            vector.clear();
            vector.extend(numbers.iter().map(|n| f32::from_le_bytes(*n)));
            found(i, &vector);
        }
    });
}

/// The bytes in which a vector is kept.
pub(crate) fn to_bytes(vector: &[f32]) -> Vec<u8> {
    vector.iter().flat_map(|x| x.to_le_bytes()).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]
    use super::*;

    #[test]
    fn vectors_come_back_bit_by_bit_and_only_with_their_length() {
        let dir = tempfile::tempdir().unwrap();
        let vectors = [("a", [1.0, -0.0]), ("b", [3.0, f32::MIN_POSITIVE])];
        let entries = vectors.map(|(text, v)| (text_id("", text), to_bytes(&v)));
        open(dir.path(), "e").write(&entries).unwrap();
        let found = |name: &str, dim, prompt: &str, text: &str| {
            let mut out = None;
            read(
                &open(dir.path(), name),
                &[text_id(prompt, text)],
                dim,
                |_, v| {
                    out = Some(v.iter().map(|x| x.to_bits()).collect::<Vec<_>>());
                },
            );
            out
        };
        for (text, vector) in vectors {
            assert_eq!(
                found("e", 2, "", text),
                Some(vector.map(f32::to_bits).to_vec())
            );
        }
        assert_eq!(found("e", 2, "q: ", "a"), None, "another prompt");
        assert_eq!(found("other", 2, "", "a"), None, "another encoder");
        assert_eq!(found("e", 3, "", "a"), None, "another length");
    }
}
