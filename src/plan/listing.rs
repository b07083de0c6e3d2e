//! The files of a stage that has very many of them: one digest in the key, and a table in the
//! store.
//!
//! Few files are named one by one in the key, in manifests and in the last look at a stage. With
//! more than [`MANY`], the key has a digest over theirs, and the files are rows of a table that the
//! manifest names. So neither manifests nor the last look grow with the number of files.

use serde::{Deserialize, Serialize};

use super::fingerprint::{FileId, Ingredients};

/// The largest number of files that are named one by one.
pub const MANY: usize = 1000;

/// What stands for the files of a stage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listing {
    /// Number of files that are read.
    pub read: u64,
    /// Number of files that are found and not read.
    pub unread: u64,
    /// Digest over the digests of the files that are read, in their order, hex.
    pub digest: String,
}

impl Listing {
    /// The listing of these files; `None` if they are few.
    pub fn of(read: &[FileId], unread: &[String]) -> Option<Self> {
        if read.len() + unread.len() <= MANY {
            return None;
        }
        let mut hasher = blake3::Hasher::new_derive_key("gfm-pipe files of a stage");
        for file in read {
            // Names are not part of a key, and an optional file may be absent.
            hasher.update(file.digest.as_deref().unwrap_or("-").as_bytes());
            hasher.update(b"\n");
        }
        Some(Listing {
            read: read.len() as u64,
            unread: unread.len() as u64,
            digest: hasher.finalize().to_hex().to_string(),
        })
    }

    /// Whether the files that are read are too many to name.
    pub fn stands_for_read(&self) -> bool {
        self.read > MANY as u64
    }
}

impl Ingredients {
    /// The ingredients as JSON files have them: without long lists of files.
    #[must_use]
    pub fn brief(&self) -> Self {
        let mut out = self.clone();
        if let Some(listing) = &self.listing {
            out.unread.clear();
            if listing.stands_for_read() {
                out.files.clear();
            }
        }
        out
    }

    /// Whether lists of files were left out.
    pub fn is_brief(&self) -> bool {
        self.listing.as_ref().is_some_and(|listing| {
            listing.read != self.files.len() as u64 || listing.unread != self.unread.len() as u64
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(count: usize) -> Vec<FileId> {
        let file = |i| FileId {
            path: format!("f{i}"),
            digest: (i % 7 > 0).then(|| format!("{i:064}")),
        };
        (0..count).map(file).collect()
    }

    #[test]
    fn a_listing_is_of_contents_in_their_order() {
        assert_eq!(Listing::of(&files(MANY), &[]), None);
        let of = |files: &[FileId]| Listing::of(files, &[]).map(|l| l.digest);
        let many = files(MANY + 1);
        let mut other = many.clone();
        other[5].path = "g".to_owned();
        assert_eq!(of(&other), of(&many));
        other.swap(5, 6);
        assert_ne!(of(&other), of(&many));
        let mut other = many.clone();
        other[7].digest = Some(String::new());
        assert_ne!(of(&other), of(&many));
        assert_ne!(of(&files(MANY + 2)), of(&many));
        let unread = vec!["u".to_owned(); MANY];
        let few = Listing::of(&files(1), &unread);
        assert!(few.is_some_and(|l| !l.stands_for_read() && l.unread == 1000));
    }
}
