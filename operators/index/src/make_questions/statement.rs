//! Statements: clauses with two places, one of which is the title of the document, in the forms
//! that questions are put together from.
//!
//! A form is a text with marks: [`GIVEN`] where the known place is put in, and [`NOUN`], [`WHO`]
//! and [`WHOM`] where the words depend on what the asked place is, which other documents may say.

use super::mention::{Kind, Mention};

/// The mark of the place that is known.
pub const GIVEN: char = '\u{1}';
/// The mark of the noun for what is asked.
pub const NOUN: char = '\u{2}';
/// The mark of "who" or "that".
pub const WHO: char = '\u{3}';
/// The mark of "whom" or "which".
pub const WHOM: char = '\u{4}';
/// The mark of "Who" or "Which NOUN".
pub const ASK: char = '\u{5}';

/// One of the two places of a statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// The title of the document.
    Title,
    /// A name, date or year in it.
    Mention {
        surface: String,
        key: String,
        kind: Kind,
    },
}

impl Place {
    pub fn of(mention: &Mention) -> Place {
        Place::Mention {
            surface: mention.surface.clone(),
            key: mention.key.clone(),
            kind: mention.kind,
        }
    }
}

/// A statement in the forms that questions are put together from.
#[derive(Debug, Clone)]
pub struct Statement {
    pub document: u32,
    /// The place that is known.
    pub given: Place,
    /// The place that is asked for.
    pub asked: Place,
    /// A noun for what is asked, where the text has one next to it.
    pub noun: Option<String>,
    /// What is asked, described: "the " and this. Where it is missing, the noun and `relative`.
    pub phrase: Option<String>,
    /// "who directed GIVEN". Missing where it would be clumsy, or true of several things.
    pub relative: Option<String>,
    /// Questions.
    pub questions: Vec<String>,
    /// Whether the recogniser has probably taken what is asked for something else.
    pub doubtful: bool,
    /// Keys of the other names in a list with the asked one, which is then one of several.
    pub others: Vec<String>,
}

/// A statement's form with its marks replaced.
pub fn filled(form: &str, given: &str, noun: &str, person: bool) -> String {
    let mut out = String::with_capacity(form.len() + given.len());
    for letter in form.chars() {
        match letter {
            GIVEN => out.push_str(given),
            NOUN => out.push_str(noun),
            WHO => out.push_str(if person { "who" } else { "that" }),
            WHOM => out.push_str(if person { "whom" } else { "which" }),
            ASK if person && matches!(noun, "person") => out.push_str("who"),
            ASK => {
                out.push_str("which ");
                out.push_str(noun);
            }
            other => out.push(other),
        }
    }
    out
}

impl Statement {
    /// The description of what is asked.
    pub fn description(&self, given: &str, noun: &str, person: bool) -> Option<String> {
        if let Some(phrase) = &self.phrase {
            return Some(format!("the {}", filled(phrase, given, noun, person)));
        }
        let relative = self.relative.as_ref()?;
        Some(format!(
            "the {noun} {}",
            filled(relative, given, noun, person)
        ))
    }
}
