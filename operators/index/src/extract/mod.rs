//! Extracts sentences, mentions and facts from texts.
//!
//! Each extractor is a file. It takes a document's title and text, and returns ranges of the text
//! ([`Extracted`]). The result depends on nothing else, so each document is an item (`items`), and
//! ranks share the documents (`shares`). A language model is asked about all documents at once
//! instead (`llm`), and its answers are items.
//! Where documents name each other is found in a separate pass (`gazetteer`).

#[cfg(feature = "english")]
pub mod english;
pub mod gazetteer;
#[cfg(any(feature = "english", feature = "transformers"))]
pub mod items;
pub mod llm;
pub mod openie;
pub mod operator;
pub mod params;
pub mod patterns;
pub mod record;
pub mod sentences;
#[cfg(any(feature = "english", feature = "transformers"))]
pub mod shares;
#[cfg(feature = "transformers")]
pub mod transformer;
pub mod writer;

use std::borrow::Cow;
use std::ops::Range;

/// Something that a text mentions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mention {
    /// Its text.
    pub text: String,
    /// Byte range in the document's text. `None` where only the fact of the mention is known.
    pub range: Option<Range<usize>>,
    /// The kind: `name`, `number`, `date`, `quote`, or a label of the extractor.
    pub label: Cow<'static, str>,
}

/// The subject, relation or object of a fact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Its text.
    pub text: String,
    /// Byte range in the document's text. `None` where the text does not have these words.
    pub range: Option<Range<usize>>,
}

/// A fact that a text states.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fact {
    /// What the fact is about.
    pub subject: Part,
    /// What it says about the subject.
    pub relation: Part,
    /// What the relation leads to.
    pub object: Part,
}

impl Fact {
    /// Subject, relation and object.
    pub fn parts(&self) -> [&Part; 3] {
        [&self.subject, &self.relation, &self.object]
    }
}

/// The result of an extraction.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Extracted {
    /// Byte range of each sentence, ascending.
    pub sentences: Vec<Range<usize>>,
    /// Mentions in the order of the text.
    pub mentions: Vec<Mention>,
    /// Facts in the order of the text.
    pub facts: Vec<Fact>,
}

/// A document to extract from.
#[derive(Debug, Clone, Copy)]
pub struct Document<'a> {
    /// Id in the `documents` table.
    pub id: u32,
    /// The title, which facts may use as their subject.
    pub title: &'a str,
    /// Its text.
    pub text: &'a str,
}

/// The words of a text, separated by single blanks.
fn one_line(words: &str) -> String {
    let words: Vec<&str> = words.split_whitespace().collect();
    words.join(" ")
}
