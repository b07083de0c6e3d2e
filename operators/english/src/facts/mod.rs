//! Finds facts by rules over the parse: who did what to whom, what something is, and to whom it
//! belongs.
//!
//! A fact has a subject, a relation and an object, each with its place in the text. If the text has
//! a title, pronouns ("she"), generic nouns ("the film") and parts of the title stand for it. The
//! rules look at one sentence at a time.

mod brackets;
mod clauses;
mod nouns;
mod rest;
mod tree;
mod words;

use std::collections::HashSet;
use std::ops::Range;

use self::tree::Tree;
use crate::{Doc, Entity};

/// Longer sentences, in tokens, are not prose and are skipped.
const LONGEST_SENTENCE: usize = 500;

/// Subject or object of a fact.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Argument {
    /// Byte range in the text. For the title, the range of the words that stand for it; empty if
    /// there are none.
    pub bytes: Range<usize>,
    /// Whether the title of the text is meant.
    pub is_title: bool,
    /// Whether it is a name or the title, not any thing of a kind, a number or a date.
    pub is_name: bool,
}

/// How a subject and an object are related.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Relation {
    /// Its words in lower case: "was directed by".
    pub text: String,
    /// Byte range from the first to the last of these words. Other words may lie between them.
    pub bytes: Range<usize>,
}

/// A fact that a text states.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Fact {
    /// Index of its sentence.
    pub sentence: usize,
    /// The person or thing that it is about.
    pub subject: Argument,
    /// What it says about the subject.
    pub relation: Relation,
    /// The person or thing that the relation leads to.
    pub object: Argument,
}

/// Finds the distinct facts of a text in their order. `doc` is its parse.
///
/// # Panics
/// When `doc` is not the parse of `text`.
#[must_use]
pub fn facts(text: &str, doc: &Doc, title: Option<&str>) -> Vec<Fact> {
    let tree = Tree::new(text, doc, title);
    let mut found = Facts {
        tree: &tree,
        text,
        facts: Vec::new(),
        seen: HashSet::new(),
        sentence: 0,
    };
    for (number, sentence) in doc.sentences.iter().enumerate() {
        if sentence.len() > LONGEST_SENTENCE {
            continue;
        }
        found.sentence = number;
        let before = found.facts.len();
        let done = brackets::find(&mut found, sentence.clone());
        for token in sentence.clone() {
            if done.iter().any(|brackets| brackets.contains(&token)) {
                continue;
            }
            if tree.is_verb(token) {
                clauses::find(&mut found, token);
            } else if tree.is_noun(token) {
                nouns::find(&mut found, token);
            }
        }
        rest::find(&mut found, sentence.clone(), before);
    }
    found.facts
}

/// The byte range of an entity's name, as in facts: without an article or a possessive "'s", and
/// with a beginning that the recogniser missed.
///
/// # Panics
/// When `doc` is not the parse of `text`, or the entity is not one of its entities.
#[must_use]
pub fn name(text: &str, doc: &Doc, entity: &Entity) -> Range<usize> {
    doc.bytes(tree::name(text, doc, entity))
}

/// The facts found so far.
struct Facts<'a> {
    tree: &'a Tree<'a>,
    text: &'a str,
    facts: Vec<Fact>,
    seen: HashSet<(Argument, String, Argument)>,
    sentence: usize,
}

impl Facts<'_> {
    /// Adds a fact whose relation consists of `lead`, which is not in the text, and of tokens.
    fn add(&mut self, subject: &Argument, lead: &str, tokens: &[usize], object: &Argument) {
        let mut text = lead.to_owned();
        for token in tokens {
            if !text.is_empty() {
                text.push(' ');
            }
            match self.tree.lower(*token).as_str() {
                "n't" | "n’t" => text.push_str("not"),
                word => text.push_str(word),
            }
        }
        let places = tokens.iter().copied();
        let bytes = match (places.clone().min(), places.max()) {
            (Some(first), Some(last)) => self.tree.bytes(first..last + 1),
            // No word expresses the relation, so its range is the text between the two.
            _ => {
                let (a, b) = (&subject.bytes, &object.bytes);
                let (a, b) = if a.start <= b.start { (a, b) } else { (b, a) };
                a.end.min(b.start)..b.start
            }
        };
        self.add_relation(subject, Relation { text, bytes }, object);
    }

    /// Adds a fact, unless it is trivial or already there.
    fn add_relation(&mut self, subject: &Argument, relation: Relation, object: &Argument) {
        let mut object = object.clone();
        // "Lund University lies in Lund": here, a part of the title names something else.
        if subject.is_title && self.tree.is_part_of_title(object.bytes.clone()) {
            object.is_title = false;
        }
        let both_title = subject.is_title && object.is_title;
        let same_words =
            self.text[subject.bytes.clone()].eq_ignore_ascii_case(&self.text[object.bytes.clone()]);
        if !subject.is_name || both_title || same_words || relation.text.is_empty() {
            return;
        }
        let key = (subject.clone(), relation.text.clone(), object.clone());
        if self.seen.insert(key) {
            self.facts.push(Fact {
                sentence: self.sentence,
                subject: subject.clone(),
                relation,
                object,
            });
        }
    }
}

#[cfg(all(test, feature = "builtin"))]
mod tests;
