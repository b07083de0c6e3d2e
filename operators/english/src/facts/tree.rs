//! A parsed text in the form that the rules use: words, children, and what a noun stands for.

use std::ops::Range;

use super::Argument;
use super::words::{COMPANIES, GENERIC, NO_NAMES, PRONOUNS};
use crate::{Doc, Entity};

/// Longest subject or object, in bytes.
const LONGEST: usize = 100;
/// A name that begins at one of the first tokens, up to this one, begins the text.
const FIRST_WORDS: usize = 2;
/// Most members of a list ("A, B and C") that are used.
const MOST_MEMBERS: usize = 24;

pub(super) struct Tree<'a> {
    text: &'a str,
    doc: &'a Doc,
    /// Where the children of each token begin in `children`.
    starts: Vec<usize>,
    children: Vec<usize>,
    /// The entity each token is in.
    entities: Vec<Option<usize>>,
    /// The words of the title, in lower case.
    title: Option<Vec<String>>,
}

impl<'a> Tree<'a> {
    pub(super) fn new(text: &'a str, doc: &'a Doc, title: Option<&str>) -> Self {
        let n = doc.tokens.len();
        let mut starts = vec![0; n + 1];
        let is_child = |token: usize| doc.tokens[token].head != token;
        for token in (0..n).filter(|t| is_child(*t)) {
            starts[doc.tokens[token].head + 1] += 1;
        }
        for token in 0..n {
            starts[token + 1] += starts[token];
        }
        let mut next = starts.clone();
        let mut children = vec![0; starts[n]];
        for token in (0..n).filter(|t| is_child(*t)) {
            let place = &mut next[doc.tokens[token].head];
            children[*place] = token;
            *place += 1;
        }
        let mut entities = vec![None; n];
        for (at, entity) in doc.entities.iter().enumerate() {
            entities[entity.tokens.clone()].fill(Some(at));
        }
        let title = title.map(|t| words(without_brackets(t)).collect::<Vec<_>>());
        Tree {
            text,
            doc,
            starts,
            children,
            entities,
            title: title.filter(|words| !words.is_empty()),
        }
    }

    pub(super) fn word(&self, token: usize) -> &'a str {
        &self.text[self.doc.tokens[token].bytes.clone()]
    }

    pub(super) fn lower(&self, token: usize) -> String {
        self.word(token).to_lowercase()
    }

    pub(super) fn is_one_of(&self, token: usize, words: &[&str]) -> bool {
        words.contains(&self.lower(token).as_str())
    }

    pub(super) fn tag(&self, token: usize) -> &str {
        self.doc.tag(token)
    }

    pub(super) fn label(&self, token: usize) -> &str {
        self.doc.label(token)
    }

    pub(super) fn bytes(&self, tokens: Range<usize>) -> Range<usize> {
        self.doc.bytes(tokens)
    }

    pub(super) fn head(&self, token: usize) -> usize {
        self.doc.tokens[token].head
    }

    pub(super) fn children(&self, token: usize) -> &[usize] {
        &self.children[self.starts[token]..self.starts[token + 1]]
    }

    /// The children of a token with one of these labels.
    pub(super) fn labelled<'b>(
        &'b self,
        token: usize,
        labels: &'b [&str],
    ) -> impl Iterator<Item = usize> + 'b {
        self.children(token)
            .iter()
            .copied()
            .filter(|child| labels.contains(&self.label(*child)))
    }

    pub(super) fn entity(&self, token: usize) -> Option<&Entity> {
        self.entities[token].map(|at| &self.doc.entities[at])
    }

    pub(super) fn kind(&self, token: usize) -> Option<&str> {
        self.entity(token).map(|entity| self.doc.kind(entity))
    }

    /// A token and the other members of its list: "A, B and C".
    pub(super) fn members(&self, token: usize) -> Vec<usize> {
        let mut members = vec![token];
        let mut at = 0;
        while at < members.len() && members.len() < MOST_MEMBERS {
            members.extend(self.labelled(members[at], &["conj"]));
            at += 1;
        }
        members.truncate(MOST_MEMBERS);
        members
    }

    pub(super) fn is_verb(&self, token: usize) -> bool {
        if self.tag(token).starts_with("VB") {
            return !matches!(self.label(token), "aux" | "auxpass");
        }
        // The tagger tags some verbs as adjectives or nouns where the parser does not.
        let has = |label: &str| self.labelled(token, &[label]).next().is_some();
        has("nsubj") && has("dobj")
    }

    pub(super) fn is_noun(&self, token: usize) -> bool {
        self.tag(token).starts_with("NN")
    }

    /// Whether a noun is a name: by the kind of its entity, else by its tag.
    pub(super) fn is_name(&self, token: usize) -> bool {
        match self.kind(token) {
            Some(kind) => !NO_NAMES.contains(&kind),
            None => self.tag(token).starts_with("NNP"),
        }
    }

    /// The names that a noun has, as the capital in "the capital, Ellis". The noun itself if it has
    /// none, or is a name.
    pub(super) fn names(&self, noun: usize) -> Vec<usize> {
        if !self.is_name(noun) {
            let named = self.labelled(noun, &["appos"]).filter(|a| self.is_name(*a));
            let names: Vec<usize> = named.collect();
            if !names.is_empty() {
                return names;
            }
        }
        vec![noun]
    }

    /// Whether a token is "who", "which" or "that" for a noun before it.
    pub(super) fn is_relative(&self, token: usize) -> bool {
        matches!(self.tag(token), "WDT" | "WP")
    }

    /// The tokens of a noun with its modifiers on the left, without articles and owners.
    pub(super) fn span(&self, noun: usize) -> Range<usize> {
        if let Some(entity) = self.entity(noun) {
            return name(self.text, self.doc, entity);
        }
        let mut start = noun;
        for child in self
            .children(noun)
            .iter()
            .rev()
            .copied()
            .filter(|c| *c < noun)
        {
            match self.label(child) {
                "compound" | "amod" | "nummod" | "nmod" => start = self.left_end(child).min(start),
                "punct" => (),
                _ => break,
            }
        }
        trim(self.text, self.doc, start..noun + 1)
    }

    /// The first modifier of an adjective or a noun that is in front of another noun.
    fn left_end(&self, token: usize) -> usize {
        let first = self
            .labelled(
                token,
                &[
                    "compound", "amod", "nummod", "nmod", "advmod", "npadvmod", "quantmod",
                ],
            )
            .next();
        first.map_or(token, |first| first.min(token))
    }

    /// What a noun stands for. `None` for one without a meaning, such as a pronoun in a text
    /// without a title.
    pub(super) fn noun(&self, token: usize) -> Option<Argument> {
        let tag = self.tag(token);
        if tag.starts_with("PRP") {
            let stands = self.title.is_some() && self.is_one_of(token, &PRONOUNS);
            return stands.then(|| self.title(token..token + 1));
        }
        let span = self.span(token);
        if self.is_generic(token) || self.is_whole_title(span.clone()) {
            return Some(self.title(span));
        }
        if !(tag.starts_with("NN") || tag == "CD" || self.entity(token).is_some()) {
            return None;
        }
        let is_name = self.is_name(token);
        if is_name && self.is_of_title(token, span.clone()) {
            return Some(self.title(span));
        }
        let bytes = self.bytes(span);
        let says = self.text[bytes.clone()].contains(char::is_alphanumeric);
        (says && bytes.len() <= LONGEST).then_some(Argument {
            bytes,
            is_title: false,
            is_name,
        })
    }

    /// The title as a subject, for a sentence (beginning at `token`) in which no word stands for
    /// it.
    pub(super) fn unsaid_title(&self, token: usize) -> Option<Argument> {
        let start = self.bytes(token..token + 1).start;
        self.title.is_some().then_some(Argument {
            bytes: start..start,
            is_title: true,
            is_name: true,
        })
    }

    /// A word, unchanged, as a name.
    pub(super) fn code(&self, token: usize) -> Option<Argument> {
        let bytes = self.bytes(token..token + 1);
        (bytes.len() <= LONGEST).then_some(Argument {
            bytes,
            is_title: false,
            is_name: true,
        })
    }

    /// The title, with the words that stand for it.
    fn title(&self, tokens: Range<usize>) -> Argument {
        Argument {
            bytes: self.bytes(tokens),
            is_title: true,
            is_name: true,
        }
    }

    /// Whether a noun is generic, like "the film".
    fn is_generic(&self, token: usize) -> bool {
        let is_the = |child: usize| self.is_one_of(child, &["the", "this"]);
        self.title.is_some()
            && self.tag(token) == "NN"
            && self.is_one_of(token, &GENERIC)
            && self.labelled(token, &["det"]).any(is_the)
            && self
                .children(token)
                .iter()
                .all(|child| matches!(self.label(*child), "det" | "punct" | "relcl"))
    }

    /// Whether a name is the title, a part of it ("Brandt" for "Ada Brandt"), or the title of a
    /// company with its form.
    fn is_of_title(&self, name: usize, tokens: Range<usize>) -> bool {
        let Some(title) = &self.title else {
            return false;
        };
        let words: Vec<String> = words(&self.text[self.bytes(tokens.clone())]).collect();
        // A text often begins with its title in full: "Ludwig Norbert Carbyn" for "Ludwig N.
        // Carbyn".
        if tokens.start <= FIRST_WORDS && words.last() == title.last() {
            return true;
        }
        if let Some(form) = words.strip_prefix(&title[..]) {
            return form.iter().all(|word| COMPANIES.contains(&word.as_str()));
        }
        // A place in a title is not the thing that the title names: "Lund" in "Lund University".
        let is_place = matches!(self.kind(name), Some("GPE" | "LOC" | "NORP"));
        !words.is_empty() && !is_place && words.iter().all(|word| title.contains(word))
    }

    /// Whether words are the title as it is written. A title need not be a name or a noun
    /// ("Untouchable is a series").
    fn is_whole_title(&self, tokens: Range<usize>) -> bool {
        let text = &self.text[self.bytes(tokens)];
        self.title.as_ref().is_some_and(|title| {
            text.starts_with(|c: char| c.is_uppercase() || c.is_numeric())
                && words(text).eq(title.iter().cloned())
        })
    }

    /// Whether the words in a byte range are some but not all of the title's words.
    pub(super) fn is_part_of_title(&self, bytes: Range<usize>) -> bool {
        let Some(title) = &self.title else {
            return false;
        };
        let words: Vec<String> = words(&self.text[bytes]).collect();
        !words.is_empty()
            && words.iter().all(|word| title.contains(word))
            && title.iter().any(|word| !words.contains(word))
    }
}

/// The tokens of an entity's name: with a beginning that the recogniser missed, and without an
/// article or a possessive "'s".
pub(super) fn name(text: &str, doc: &Doc, entity: &Entity) -> Range<usize> {
    let mut tokens = entity.tokens.clone();
    // Names are sometimes found without their beginning.
    while let Some(before) = tokens.start.checked_sub(1)
        && doc.tag(before).starts_with("NNP")
        && doc.label(before) == "compound"
        && tokens.contains(&doc.tokens[before].head)
    {
        tokens.start = before;
    }
    trim(text, doc, tokens)
}

/// Removes words that are not part of a name from both of its ends.
fn trim(text: &str, doc: &Doc, mut tokens: Range<usize>) -> Range<usize> {
    let loose = |token: usize| {
        matches!(
            doc.tag(token),
            "DT" | "POS" | "_SP" | "," | "." | ":" | "-LRB-" | "-RRB-" | "``" | "''" | "PRP$"
        )
    };
    while tokens.len() > 1 && loose(tokens.start) {
        tokens.start += 1;
    }
    // Text in brackets describes the name and is not part of it.
    let bracket = tokens
        .clone()
        .skip(1)
        .find(|token| &text[doc.tokens[*token].bytes.clone()] == "(");
    tokens.end = bracket.unwrap_or(tokens.end);
    while tokens.len() > 1 && loose(tokens.end - 1) {
        tokens.end -= 1;
    }
    tokens
}

/// A title without the last part in brackets: "Kelda (volcano)".
fn without_brackets(title: &str) -> &str {
    let title = title.trim();
    match title.strip_suffix(')').and_then(|t| t.rsplit_once('(')) {
        Some((name, _)) if !name.trim().is_empty() => name,
        _ => title,
    }
}

/// The words of a text in lower case, articles left out.
fn words(text: &str) -> impl Iterator<Item = String> {
    text.split(|c: char| !c.is_alphanumeric())
        .map(str::to_lowercase)
        .filter(|word| !matches!(word.as_str(), "" | "the" | "a" | "an"))
}
