//! Weights of edges, by the kind of edge and by how many documents share a name or mention an
//! entity.
//!
//! An entity that many documents mention says little about any of them. Such hubs keep all their
//! edges, but each weighs less.

/// The weight of a fact, and of the edge from a piece to the next.
pub const PLAIN: f32 = 1.0;

/// The weight of an edge from an entity to a document that mentions it: 1 / sqrt(`documents`),
/// where `documents` is the number of documents that mention the entity.
pub fn mentioned_in(documents: u32) -> f32 {
    (1.0 / f64::from(documents.max(1)).sqrt()) as f32
}

/// The weight of an edge from an entity to a document with its name: `title` / `sharing`, where
/// `sharing` is the number of documents with this name.
pub fn title_of(title: f64, sharing: u32) -> f32 {
    (title / f64::from(sharing.max(1))) as f32
}

/// The weight of an edge from a document to one that it names: `title` / `sharing` /
/// sqrt(`naming`), where `sharing` is the number of documents with the alias used, and `naming` the
/// number of documents that name the same one.
pub fn names_title(title: f64, sharing: u32, naming: u32) -> f32 {
    (title / f64::from(sharing.max(1)) / f64::from(naming.max(1)).sqrt()) as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_frequent_weighs_less_and_never_nothing() {
        assert_eq!([1, 4, 100].map(mentioned_in), [1.0, 0.5, 0.1]);
        assert_eq!(names_title(3.0, 1, 1), 3.0);
        assert_eq!(names_title(3.0, 3, 4), 0.5);
        assert!(mentioned_in(u32::MAX) > 0.0);
        assert!(names_title(1.0, u32::MAX, u32::MAX) > 0.0);
    }
}
