//! What a document is about: what stands for its title, and what its first sentences say it is.

use std::ops::Range;

use ahash::AHashMap;

use super::names::{key, words};
use super::persons::{is_kin, is_person};
use super::tree::Tree;

/// Nouns that say nothing of what they are for.
const EMPTY: &str = "case example form group kind list lot member name number one part result \
series set sort term time title type way word";

/// What something is: the noun of "X is a noun".
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Type {
    /// The noun.
    pub noun: String,
    /// Whether it is a person.
    pub person: bool,
}

/// What the title of a document is, and which words of the text stand for it.
#[derive(Debug, Default)]
pub struct About {
    /// By the top token of a phrase that stands for the title: all its tokens.
    pub stands: AHashMap<usize, Range<usize>>,
    /// What it is.
    pub is: Option<Type>,
    /// The nation in front of the noun.
    pub nation: Option<String>,
    /// The year of its birth, or the one in front of the noun.
    pub year: Option<i32>,
    /// Whether the text calls it "he" or "she", where it does not say what it is.
    called_person: bool,
}

impl About {
    /// Reads what a text says of the thing with this name.
    pub fn new(tree: &Tree<'_>, title: &str) -> About {
        let mut about = About::default();
        about.whole(tree, title);
        let Some(first) = tree.doc.sentences.first().cloned() else {
            return about;
        };
        about.first_subject(tree, &first, title);
        about.define(tree, &first);
        about.later(tree, title);
        about
    }

    /// Whether the title is a person, by what the document says it is, or by its name.
    pub fn is_person(&self) -> bool {
        self.is.as_ref().map_or(self.called_person, |is| is.person)
    }

    fn add(&mut self, tree: &Tree<'_>, tokens: Range<usize>) {
        if let Some(top) = tree.top(&tokens) {
            self.stands.insert(top, tokens);
        }
    }

    /// Finds the title in full.
    fn whole(&mut self, tree: &Tree<'_>, title: &str) {
        let bare = title
            .strip_prefix("The ")
            .filter(|t| t.contains(' '))
            .unwrap_or(title);
        for (start, found) in tree.text.match_indices(bare) {
            let mut tokens = tree.tokens(&(start..start + found.len()));
            let same = |tokens: &Range<usize>| {
                !tokens.is_empty() && key(&tree.text[tree.doc.bytes(tokens.clone())]) == key(title)
            };
            // "Lund University Library" does not name Lund University.
            let goes_on = |at: usize| {
                at < tree.doc.tokens.len()
                    && tree.tag(at).starts_with("NNP")
                    && tree.word(at).starts_with(char::is_uppercase)
            };
            let in_more = goes_on(tokens.end)
                || tokens
                    .start
                    .checked_sub(1)
                    .is_some_and(|b| tree.label(b) == "compound" && tokens.contains(&tree.head(b)));
            if !same(&tokens) || in_more {
                continue;
            }
            if tokens.start > 0 && tree.is(tokens.start - 1, &["the"]) {
                tokens.start -= 1;
            }
            self.add(tree, tokens);
        }
    }

    /// A text often begins with its title in full: "Ludwig Norbert Carbyn" for "Ludwig Carbyn".
    fn first_subject(&mut self, tree: &Tree<'_>, sentence: &Range<usize>, title: &str) {
        let subjects = ["nsubj", "nsubjpass"];
        let is_subject = |t: &usize| subjects.contains(&tree.label(*t)) && tree.is_noun(*t);
        let Some(top) = sentence.clone().take(12).find(is_subject) else {
            return;
        };
        if self.stands.contains_key(&top) {
            return;
        }
        let all = tree.phrase(top, 1);
        let (Some(start), Some(end)) = (all.first(), all.last()) else {
            return;
        };
        let range = *start..end + 1;
        let said: Vec<String> = words(&tree.text[tree.doc.bytes(range.clone())]).collect();
        let of_title: Vec<String> = words(title).collect();
        let shared = of_title.iter().filter(|w| said.contains(w)).count();
        if range.start <= sentence.start + 1
            && of_title.last().is_some_and(|last| said.contains(last))
            && 2 * shared >= of_title.len()
            && (shared >= 2 || of_title.len() == 1)
            && said.len() <= of_title.len() + 4
        {
            self.stands.insert(top, range);
        }
    }

    /// Reads "X is a noun" in the first sentence.
    fn define(&mut self, tree: &Tree<'_>, sentence: &Range<usize>) {
        let is_definition = |t: &usize| {
            tree.is_be(*t)
                && tree
                    .labelled(*t, &["nsubj"])
                    .any(|s| self.stands.contains_key(&s))
        };
        let Some(verb) = sentence.clone().find(is_definition) else {
            return;
        };
        let nouns = |t: &usize| matches!(tree.tag(*t), "NN" | "NNS");
        let Some(attribute) = tree.labelled(verb, &["attr"]).find(nouns) else {
            return;
        };
        let noun = tree.lower(attribute);
        let mut phrase = tree.phrase(attribute, 0);
        phrase.retain(|t| tree.tag(*t) != "DT");
        for &word in &phrase {
            let kind = tree.doc.entities.iter().find(|e| e.tokens.contains(&word));
            if kind.is_some_and(|e| tree.doc.kind(e) == "NORP") && self.nation.is_none() {
                self.nation = Some(tree.word(word).to_owned());
            }
            if tree.label(word) == "nummod" && self.year.is_none() {
                self.year = year(tree.word(word));
            }
        }
        // "film director": the noun alone would be as good, but says less.
        let before = attribute.checked_sub(1);
        let compound = before.filter(|b| tree.label(*b) == "compound" && tree.tag(*b) == "NN");
        let empty = EMPTY.split(' ').any(|empty| empty == noun) && compound.is_none();
        if empty || tree.tag(attribute) == "NNS" {
            return;
        }
        let person = is_person(&noun);
        // "is the son of": says whose he is, not what.
        let (noun, compound) = if is_kin(&noun) {
            ("person".to_owned(), None)
        } else {
            (noun, compound)
        };
        let noun = compound.map_or(noun.clone(), |b| format!("{} {noun}", tree.lower(b)));
        self.is = Some(Type { noun, person });
    }

    /// Finds pronouns, generic nouns and last names for the title.
    fn later(&mut self, tree: &Tree<'_>, title: &str) {
        let mut all = 0..tree.doc.tokens.len();
        self.called_person = title.contains(' ')
            && !title.starts_with("The ")
            && all.any(|t| tree.tag(t) == "PRP" && tree.is(t, &["he", "she"]));
        let last = words(title).last().filter(|_| title.contains(' '));
        let noun = self
            .is
            .as_ref()
            .and_then(|is| is.noun.split(' ').next_back());
        let noun = noun.map(str::to_owned);
        // A pronoun means the subject of the sentence before it.
        // A text may begin in the middle of an article.
        let mut in_focus = true;
        for sentence in &tree.doc.sentences {
            let mut speaks = None;
            for token in sentence.clone() {
                let is_generic = || {
                    Some(tree.lower(token)) == noun
                        && tree
                            .labelled(token, &["det"])
                            .any(|d| tree.is(d, &["the", "this"]))
                        && tree.children(token).len() == 1
                };
                let is_pronoun = || {
                    let person = self.is_person();
                    in_focus
                        && speaks.is_none_or(|speaks| speaks)
                        && (if person {
                            tree.is(token, &["he", "she", "his", "her"])
                        } else {
                            tree.is(token, &["it", "its"]) && tree.label(token) != "dobj"
                        })
                };
                let is_last_name = || {
                    self.is_person()
                        && Some(tree.lower(token)) == last
                        && tree.tag(token) == "NNP"
                        && tree
                            .children(token)
                            .iter()
                            .all(|c| tree.label(*c) != "compound")
                        && tree.label(token) != "compound"
                };
                if !self.stands.contains_key(&token) {
                    if is_generic() {
                        let start = tree.labelled(token, &["det"]).next().unwrap_or(token);
                        self.stands.insert(token, start..token + 1);
                    } else if is_pronoun() || is_last_name() {
                        self.stands.insert(token, token..token + 1);
                    }
                }
                let is_subject = matches!(tree.label(token), "nsubj" | "nsubjpass");
                if is_subject && speaks.is_none() && !tree.tag(token).starts_with('W') {
                    let owner = tree.labelled(token, &["poss"]).next().unwrap_or(token);
                    speaks =
                        Some(self.stands.contains_key(&token) || self.stands.contains_key(&owner));
                }
            }
            in_focus = speaks.unwrap_or(in_focus);
        }
    }
}

/// The year that a word is.
pub fn year(word: &str) -> Option<i32> {
    let digits = word.len() == 4 && word.bytes().all(|b| b.is_ascii_digit());
    word.parse()
        .ok()
        .filter(|year| digits && (1000..2100).contains(year))
}
