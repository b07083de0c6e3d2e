//! The places of a clause, and its words around them.

use super::about::About;
use super::clause::{Clause, Form, Subject};
use super::mention::{Kind, Mention};
use super::persons::is_person;
use super::statement::{GIVEN, NOUN, Place, Statement};
use super::tree::Tree;
use super::verbs;

/// Nouns in "the city of Lund", which say what Lund is.
const NAMED_OF: [&str; 22] = [
    "borough",
    "canton",
    "city",
    "commune",
    "country",
    "county",
    "department",
    "district",
    "emirate",
    "island",
    "kingdom",
    "municipality",
    "parish",
    "province",
    "region",
    "republic",
    "state",
    "suburb",
    "territory",
    "town",
    "township",
    "village",
];

/// The text of one document, parsed.
pub struct Parsed<'a> {
    pub document: u32,
    pub title_key: String,
    pub tree: &'a Tree<'a>,
    pub about: &'a About,
    pub mentions: &'a [Mention],
}

/// Where a mention, or the title, stands among the parts of a clause.
#[derive(Debug, Clone)]
pub struct Spot {
    /// The part it is in.
    pub part: usize,
    /// The words that it takes.
    pub words: Vec<usize>,
    /// The preposition in front of it.
    pub prep: Option<usize>,
    /// The tokens of its list; only its own where it is in none.
    pub list: Vec<usize>,
    /// The noun of "the city of Lund".
    pub noun: Option<String>,
}

/// Which place a text leaves out.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Show {
    /// The spot is left out, with its preposition.
    Without,
    /// The spot is the known place.
    Given,
    /// The spot is asked for where it stands: "directed by which film director".
    InPlace,
}

/// A clause of a parsed text.
pub struct Places<'a> {
    pub parsed: &'a Parsed<'a>,
    pub clause: &'a Clause,
}

impl Places<'_> {
    pub fn statement(&self, given: Place, asked: Place) -> Statement {
        Statement {
            document: self.parsed.document,
            given,
            asked,
            noun: None,
            phrase: None,
            relative: None,
            questions: Vec::new(),
            doubtful: false,
            others: Vec::new(),
        }
    }

    /// Where a top token stands among the parts. `None` where it cannot be asked for, because it
    /// only describes another noun.
    pub fn spot(&self, top: usize) -> Option<Spot> {
        let tree = self.parsed.tree;
        let (at, part) = self
            .clause
            .parts
            .iter()
            .enumerate()
            .find(|(_, p)| tree.is_below(top, p.top))?;
        // The first of a list stands for the others, which are not said.
        let mut head = top;
        // "in Lund, Sweden" is in Sweden.
        let place = |t: usize| {
            let kind = tree.doc.entities.iter().find(|e| e.tokens.contains(&t));
            kind.is_some_and(|e| matches!(tree.doc.kind(e), "GPE" | "LOC"))
        };
        while tree.label(head) == "appos" && place(head) && place(tree.head(head)) {
            head = tree.head(head);
        }
        while tree.label(head) == "conj" {
            head = tree.head(head);
        }
        let mut list = vec![head];
        let mut next = 0;
        while next < list.len() {
            list.extend(tree.labelled(list[next], &["conj"]));
            next += 1;
        }
        if !part.words.contains(&head) {
            return None;
        }
        let prep = match tree.label(head) {
            "pobj" => Some(tree.head(head)),
            "dobj" | "attr" | "npadvmod" | "oprd" | "dative" if head == part.top => None,
            _ => return None,
        };
        if prep.is_some_and(|p| !part.words.contains(&p)) {
            return None;
        }
        // "the city of Lund" is Lund.
        let (mut head, mut prep, mut noun) = (head, prep, None);
        if let Some(of) = prep.filter(|p| tree.is(*p, &["of"])) {
            let named = tree.head(of);
            let with = tree.label(named) == "pobj" && part.words.contains(&tree.head(named));
            if with && tree.is(named, &NAMED_OF) {
                (head, noun) = (named, Some(tree.lower(named)));
                prep = Some(tree.head(named));
            }
        }
        let below = part
            .words
            .iter()
            .copied()
            .filter(|w| tree.is_below(*w, head));
        Some(Spot {
            part: at,
            words: below.collect(),
            prep,
            list,
            noun,
        })
    }

    /// The top token of the subject.
    pub fn subject_top(&self) -> Option<usize> {
        let tree = self.parsed.tree;
        tree.labelled(self.clause.verb, &["nsubj", "nsubjpass"])
            .next()
    }

    /// The subject as a text.
    pub fn subject(&self) -> String {
        let tree = self.parsed.tree;
        match &self.clause.subject {
            Subject::Title => GIVEN.to_string(),
            Subject::Owned(words) => format!("the {} of {GIVEN}", tree.said(words)),
            Subject::Other(_, words) => tree.said(words),
        }
    }

    /// The verb as (finite word, rest): what "was born" is in "Where was she born?" and "She was
    /// born". The first is `None` where the verb itself is finite: "wrote".
    pub fn verb(&self) -> (Option<String>, String) {
        let tree = self.parsed.tree;
        let verb = tree.lower(self.clause.verb);
        match self.clause.form {
            Form::Participle => {
                let now = [
                    "located", "situated", "based", "known", "owned", "operated", "named",
                ];
                let be = if now.contains(&verb.as_str()) {
                    "is"
                } else {
                    "was"
                };
                (Some(be.to_owned()), verb)
            }
            Form::Gerund => {
                let base = verbs::base(&verb);
                (None, base.map_or(verb, verbs::third))
            }
            Form::Finite if self.clause.copula => (Some(verb), String::new()),
            Form::Finite => {
                let mut aux = self.clause.aux.iter();
                let first = aux.next().map(|a| tree.lower(*a));
                let rest: Vec<String> = aux.map(|a| tree.lower(*a)).chain([verb]).collect();
                (first, rest.join(" "))
            }
        }
    }

    /// The verb after its subject: "was born".
    pub fn plain_verb(&self) -> String {
        let (first, rest) = self.verb();
        join(&[&first.unwrap_or_default(), &rest])
    }

    /// The verb around its subject, as in a question: ("was", "born"), ("did", "write"). `None`
    /// where the base of the verb is not known.
    pub fn turned_verb(&self) -> Option<(String, String)> {
        let (first, rest) = self.verb();
        if let Some(first) = first {
            return Some((first, rest));
        }
        let base = verbs::base(&rest)?.to_owned();
        let tag = self.parsed.tree.tag(self.clause.verb);
        let help = match (self.clause.form, tag) {
            (Form::Gerund, _) | (_, "VBZ") => "does",
            (_, "VBD") => "did",
            (_, "VBP") => "do",
            _ => return None,
        };
        Some((help.to_owned(), base))
    }

    /// What follows the verb.
    pub fn rest(&self, spot: &Spot, show: Show) -> String {
        let tree = self.parsed.tree;
        let given = GIVEN.to_string();
        // "was born 5 May": the question needs a preposition.
        let bare = spot.prep.is_none()
            && self.parsed.tree.label(self.clause.parts[spot.part].top) == "npadvmod";
        let asked = format!("{}which {NOUN}", if bare { "on " } else { "" });
        let mut said: Vec<String> = Vec::new();
        let mut last = None;
        for (at, part) in self.clause.parts.iter().enumerate() {
            if at != spot.part {
                if Clause::keeps(tree, part) {
                    said.push(tree.said(&part.words));
                }
                continue;
            }
            let first = spot.words.first().copied();
            let gone = |t: usize| show == Show::Without && spot.prep == Some(t);
            let place: &str = match show {
                Show::Without => "",
                Show::Given => &given,
                Show::InPlace => &asked,
            };
            let marked = |t: usize| spot.words.contains(&t) || gone(t);
            let kept: Vec<usize> = part.words.iter().copied().filter(|t| !marked(*t)).collect();
            let (before, after): (Vec<usize>, Vec<usize>) =
                kept.iter().partition(|t| first.is_some_and(|f| **t < f));
            let text = join(&[&tree.said(&before), place, &tree.said(&after)]);
            // A description may be long, so that it is better the last.
            if show == Show::Given && matches!(tree.label(part.top), "prep" | "agent") {
                last = Some(text);
            } else {
                said.push(text);
            }
        }
        said.extend(last);
        let said: Vec<&str> = said.iter().map(String::as_str).collect();
        join(&said)
    }

    /// A noun next to a name: "director" in "director Ada Brandt".
    pub fn noun(&self, spot: &Spot, mention: &Mention) -> Option<String> {
        let tree = self.parsed.tree;
        if mention.kind != Kind::Person {
            return spot.noun.clone();
        }
        let mut nouns =
            spot.words.iter().copied().filter(|t| {
                *t < mention.top && tree.tag(*t) == "NN" && tree.label(*t) == "compound"
            });
        let noun = tree.lower(nouns.next_back()?);
        is_person(&noun).then_some(noun)
    }
}

/// Texts with blanks between them.
pub fn join(texts: &[&str]) -> String {
    let said: Vec<&str> = texts
        .iter()
        .map(|t| t.trim())
        .filter(|t| !t.is_empty())
        .collect();
    said.join(" ")
}
