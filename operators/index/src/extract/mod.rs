//! What a text holds: sentences, mentions and facts, and who finds them.
//!
//! Each way to find them is a file. A document's title and text go in, ranges of the text come out
//! ([`Extracted`]), and nothing else decides, so that it can be kept between runs (`kept`). Where
//! documents name each other is found apart from it (`gazetteer`).

#[cfg(feature = "english")]
pub mod english;
pub mod gazetteer;
#[cfg(any(feature = "english", feature = "transformers"))]
pub mod kept;
pub mod openie;
pub mod operator;
pub mod patterns;
pub mod sentences;
#[cfg(feature = "transformers")]
pub mod transformer;
pub mod writer;

use std::borrow::Cow;
use std::ops::Range;

/// Something a text mentions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mention {
    /// Its text.
    pub text: String,
    /// Bytes of the document's text; `None` where it is only known that the document mentions it.
    pub range: Option<Range<usize>>,
    /// What it is: `name`, `number`, `date`, `quote`, or a label of the extractor's own.
    pub label: Cow<'static, str>,
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

/// A document to extract from.
#[derive(Debug, Clone, Copy)]
pub struct Document<'a> {
    /// Its id.
    pub id: u32,
    /// Its title.
    pub title: &'a str,
    /// Its text.
    pub text: &'a str,
}

/// Words with a blank between each two.
fn one_line(words: &str) -> String {
    let words: Vec<&str> = words.split_whitespace().collect();
    words.join(" ")
}
