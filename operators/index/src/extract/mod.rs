//! What a text holds: sentences, mentions and facts, and who finds them.
//!
//! [`Extractor`] is the seam: a document's title and text go in, ranges of the text come out, and nothing else decides. One
//! implementation is one file. Where documents name each other is no part of it (`gazetteer`).

pub mod gazetteer;
pub mod openie;
pub mod operator;
pub mod patterns;
pub mod sentences;

use std::ops::Range;

/// Something a text mentions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mention {
    /// Its text.
    pub text: String,
    /// Bytes of the document's text; `None` where it is only known that the document mentions it.
    pub range: Option<Range<usize>>,
    /// What it is: `name`, `number`, `date`, `quote`, or a label of the extractor's own.
    pub label: &'static str,
}

/// A part of a fact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Its text.
    pub text: String,
    /// Bytes of the document's text; `None` where it does not stand there in these words.
    pub range: Option<Range<usize>>,
}

/// A fact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fact {
    /// What it is about.
    pub subject: Part,
    /// What is said.
    pub relation: Part,
    /// Of what.
    pub object: Part,
}

impl Fact {
    /// Its parts in order.
    pub fn parts(&self) -> [&Part; 3] {
        [&self.subject, &self.relation, &self.object]
    }
}

/// What was found in a text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Extracted {
    /// Bytes of each sentence, ascending.
    pub sentences: Vec<Range<usize>>,
    /// Mentions in the order of the text.
    pub mentions: Vec<Mention>,
    /// Facts in the order of the text.
    pub facts: Vec<Fact>,
}

/// Finds sentences, mentions and facts.
pub trait Extractor: Sync {
    /// What is found in a document. The same for the same title and text, whatever else there is.
    fn extract(&self, title: &str, text: &str) -> Extracted;
}
