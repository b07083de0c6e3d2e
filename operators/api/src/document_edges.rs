//! The kinds of edges that a graph has where documents are nodes, and the names of their relations.

/// The kinds of edges of document nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EdgeKind {
    /// The document mentions the entity.
    MentionedIn,
    /// The entity has the name of the document.
    TitleOf,
    /// The document names the other document by its title.
    NamesTitle,
    /// The other document is the next piece.
    Next,
}

impl EdgeKind {
    /// All kinds, in the order in which their edges are written.
    pub const ALL: [EdgeKind; 4] = [
        EdgeKind::MentionedIn,
        EdgeKind::TitleOf,
        EdgeKind::NamesTitle,
        EdgeKind::Next,
    ];

    /// The relation's name.
    pub fn relation(self) -> &'static str {
        match self {
            EdgeKind::MentionedIn => "is mentioned in",
            EdgeKind::TitleOf => "title of",
            EdgeKind::NamesTitle => "mentions the title of",
            EdgeKind::Next => "next",
        }
    }

    /// The relation's name with the normalisation of GFM-RAG, which knows only the first kind and
    /// has another name for it.
    pub fn reference_relation(self) -> &'static str {
        match self {
            EdgeKind::MentionedIn => "is_mentioned_in",
            _ => self.relation(),
        }
    }

    /// The kind of edge that a relation's name stands for; `None` for a fact.
    pub fn of_relation(name: &str) -> Option<EdgeKind> {
        let mut all = EdgeKind::ALL.into_iter();
        all.find(|kind| [kind.relation(), kind.reference_relation()].contains(&name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_relation_is_recognised_by_both_of_its_names() {
        for kind in EdgeKind::ALL {
            assert_eq!(EdgeKind::of_relation(kind.relation()), Some(kind));
            assert_eq!(EdgeKind::of_relation(kind.reference_relation()), Some(kind));
        }
        assert_eq!(EdgeKind::of_relation("was born in"), None);
    }
}
