//! A parsed text.

use std::ops::Range;
use std::sync::Arc;

use crate::names::{NameId, Names};

/// Names of all annotations.
#[derive(Debug, Default)]
pub(crate) struct AllNames {
    pub(crate) tags: Names,
    pub(crate) labels: Names,
    pub(crate) kinds: Names,
}

/// A token of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// Byte range in the text.
    pub bytes: Range<usize>,
    /// Index of the token it depends on; its own index for the root of a sentence.
    pub head: usize,
    pub(crate) tag: NameId,
    pub(crate) label: NameId,
}

/// A named entity of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entity {
    /// Indexes of its tokens.
    pub tokens: Range<usize>,
    pub(crate) kind: NameId,
}

/// A parsed text. It does not contain the text itself.
#[derive(Debug, Clone)]
pub struct Doc {
    pub(crate) names: Arc<AllNames>,
    /// The tokens, from left to right.
    pub tokens: Vec<Token>,
    /// The entities, from left to right; they do not overlap.
    pub entities: Vec<Entity>,
    /// The tokens of each sentence. Every token is in one sentence.
    pub sentences: Vec<Range<usize>>,
}

impl PartialEq for Doc {
    /// Compares results of the same pipeline. Numbers of names from two pipelines cannot be
    /// compared.
    fn eq(&self, other: &Self) -> bool {
        (&self.tokens, &self.entities, &self.sentences)
            == (&other.tokens, &other.entities, &other.sentences)
    }
}

impl Doc {
    /// The part-of-speech tag of a token (Penn Treebank), `_SP` for white space.
    #[must_use]
    pub fn tag(&self, token: usize) -> &str {
        self.names.tags.name(self.tokens[token].tag)
    }

    /// The label of the arc from a token to its head (CLEAR style), `ROOT` for its own head.
    #[must_use]
    pub fn label(&self, token: usize) -> &str {
        self.names.labels.name(self.tokens[token].label)
    }

    /// The kind of an entity (OntoNotes 5): `PERSON`, `GPE`, `DATE` and so on.
    #[must_use]
    pub fn kind(&self, entity: &Entity) -> &str {
        self.names.kinds.name(entity.kind)
    }

    /// The byte range from the first to the last of these tokens, which must not be empty.
    #[must_use]
    pub fn bytes(&self, tokens: Range<usize>) -> Range<usize> {
        self.tokens[tokens.start].bytes.start..self.tokens[tokens.end - 1].bytes.end
    }
}
