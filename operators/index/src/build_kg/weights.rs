//! How much edges weigh: by type, by share, by frequency.
//!
//! What many documents mention says little about any of them. Such hubs keep all their edges; each
//! weighs less.

/// A fact, and the step from a piece to the next.
pub const PLAIN: f32 = 1.0;

/// An edge from an entity to a document: less the more documents mention it.
pub fn mentioned_in(documents: u32) -> f32 {
    (1.0 / f64::from(documents.max(1)).sqrt()) as f32
}

/// An edge from an entity to a document called like it: `title` shared among the documents that are
/// called so.
pub fn title_of(title: f64, sharing: u32) -> f32 {
    (title / f64::from(sharing.max(1))) as f32
}

/// An edge between documents of which one names the other: `title` shared among the documents that
/// have this alias, and less the more documents name the same one.
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
