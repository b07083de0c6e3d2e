//! Clauses of a text: a subject, a verb and what follows it, without what only adds.

use std::ops::Range;

use super::about::About;
use super::tree::Tree;

/// Longest sentence that is used, in tokens. Longer ones are lists, or are parsed badly.
const LONGEST_SENTENCE: usize = 60;
/// Longest part that is kept though nothing is asked about it, in tokens.
const LONGEST_PART: usize = 7;
/// Prepositions whose phrases mostly only add.
const ADDING: [&str; 14] = [
    "after",
    "along",
    "before",
    "despite",
    "during",
    "including",
    "instead",
    "like",
    "prior",
    "since",
    "through",
    "upon",
    "while",
    "without",
];

/// The subject of a clause.
#[derive(Debug, Clone)]
pub enum Subject {
    /// It stands for the title.
    Title,
    /// It is the title's: "Its capital". The words without the owner.
    Owned(Vec<usize>),
    /// It is something else: the top token and all its words.
    Other(usize, Vec<usize>),
}

/// How the verb is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// With its own subject.
    Finite,
    /// "a film directed by": passive, without "was".
    Participle,
    /// "a film starring": without a finite verb.
    Gerund,
}

/// A phrase after the verb.
#[derive(Debug, Clone)]
pub struct Part {
    /// Its top token.
    pub top: usize,
    /// Its words.
    pub words: Vec<usize>,
}

/// A clause.
#[derive(Debug, Clone)]
pub struct Clause {
    pub subject: Subject,
    /// Auxiliaries before the verb; of another verb where this one has none of its own.
    pub aux: Vec<usize>,
    pub verb: usize,
    pub form: Form,
    pub passive: bool,
    /// Whether the verb is a form of "be".
    pub copula: bool,
    /// What follows the verb.
    pub parts: Vec<Part>,
    /// The noun that a verb without a subject belongs to: the film in "X is a film starring Y".
    pub noun: Option<usize>,
}

/// The clauses of a text that may have to do with its title.
pub fn clauses(tree: &Tree<'_>, about: &About) -> Vec<Clause> {
    let mut found = Vec::new();
    for sentence in &tree.doc.sentences {
        if sentence.len() > LONGEST_SENTENCE || sentence.clone().any(|t| tree.is(t, &["?"])) {
            continue;
        }
        for verb in sentence.clone() {
            if tree.tag(verb).starts_with("VB") {
                found.extend(clause(tree, about, sentence, verb));
            }
        }
    }
    found
}

fn clause(tree: &Tree<'_>, about: &About, range: &Range<usize>, verb: usize) -> Option<Clause> {
    let (of, form, noun) = governor(tree, about, verb)?;
    let unclear = ["neg", "mark", "ccomp", "expl", "csubj", "parataxis", "intj"];
    if tree.labelled(verb, &unclear).next().is_some() {
        return None;
    }
    let subject = match form {
        Form::Finite => subject(tree, about, of)?,
        _ => Subject::Title,
    };
    let mut aux: Vec<usize> = tree.labelled(verb, &["aux", "auxpass"]).collect();
    if aux.is_empty() && of != verb && form == Form::Finite && tree.tag(verb) == "VBN" {
        aux.extend(tree.labelled(of, &["aux", "auxpass"]));
    }
    // "may be", "would become": not said to be so.
    if aux
        .iter()
        .any(|a| tree.tag(*a) == "MD" || tree.tag(*a) == "TO")
    {
        return None;
    }
    let bare = matches!(tree.tag(verb), "VB" | "VBG" | "VBN");
    if form == Form::Finite && bare && aux.is_empty() {
        return None;
    }
    let passive = form == Form::Participle || aux.iter().any(|a| tree.label(*a) == "auxpass");
    let copula = tree.is_be(verb) && aux.is_empty();
    let mut parts: Vec<Part> = tree
        .children(verb)
        .iter()
        .filter(|child| range.contains(child))
        .filter_map(|child| part(tree, *child, verb))
        .collect();
    // What is said first comes last: "In 1990, she moved" as "she moved in 1990".
    parts.sort_by_key(|part| (part.top < verb, part.top));
    if copula
        && !parts
            .iter()
            .any(|p| matches!(tree.label(p.top), "attr" | "prep" | "acomp"))
    {
        return None;
    }
    Some(Clause {
        subject,
        aux,
        verb,
        form,
        passive,
        copula,
        parts,
        noun,
    })
}

/// The verb whose subject a verb shares, how the verb is said, and the noun it belongs to.
fn governor(tree: &Tree<'_>, about: &About, verb: usize) -> Option<(usize, Form, Option<usize>)> {
    let subjects = ["nsubj", "nsubjpass"];
    match tree.label(verb) {
        "ROOT" => Some((verb, Form::Finite, None)),
        "conj" if tree.labelled(verb, &subjects).next().is_some() => {
            Some((verb, Form::Finite, None))
        }
        "conj" if tree.label(tree.head(verb)) == "ROOT" => {
            // "was born and worked": only verbs of the same form share their auxiliaries.
            Some((tree.head(verb), Form::Finite, None))
        }
        // "a film written and directed by Y": said of the film as well.
        "conj" if tree.label(tree.head(verb)) == "acl" => {
            let (_, form, noun) = governor(tree, about, tree.head(verb))?;
            (form == Form::Participle && tree.tag(verb) == "VBN").then_some((verb, form, noun))
        }
        "acl" | "relcl" => {
            let noun = tree.head(verb);
            let of_title = about.stands.contains_key(&noun)
                || (tree.label(noun) == "attr"
                    && tree.is_be(tree.head(noun))
                    && tree
                        .labelled(tree.head(noun), &["nsubj"])
                        .any(|s| about.stands.contains_key(&s)));
            if !of_title {
                return None;
            }
            let own: Vec<usize> = tree.labelled(verb, &subjects).collect();
            let form = match (tree.tag(verb), &own[..]) {
                (_, [who]) if matches!(tree.tag(*who), "WDT" | "WP") => {
                    about.is.as_ref()?;
                    // A subject that stands for the title.
                    return Some((verb, Form::Finite, Some(noun)));
                }
                ("VBN", []) => Form::Participle,
                ("VBG", []) => Form::Gerund,
                _ => return None,
            };
            Some((verb, form, Some(noun)))
        }
        _ => None,
    }
}

/// Whether a noun is the first of "X and Y". What stands between commas is not always another.
fn is_list(tree: &Tree<'_>, noun: usize) -> bool {
    tree.has(noun, "conj") && tree.has(noun, "cc")
}

fn subject(tree: &Tree<'_>, about: &About, verb: usize) -> Option<Subject> {
    let mut all = tree.labelled(verb, &["nsubj", "nsubjpass"]);
    let subject = all.next().filter(|_| all.next().is_none())?;
    if about.stands.contains_key(&subject) {
        // "X and Y are": not said of X alone.
        return (!is_list(tree, subject)).then_some(Subject::Title);
    }
    // The noun of a relative clause was checked to be the title's.
    if matches!(tree.tag(subject), "WDT" | "WP") {
        return Some(Subject::Title);
    }
    if is_list(tree, subject) || tree.tag(subject).starts_with("PRP") {
        return None;
    }
    let words = tree.phrase(subject, 2);
    let owner = tree
        .labelled(subject, &["poss"])
        .find(|p| about.stands.contains_key(p));
    if let Some(owner) = owner {
        let range = &about.stands[&owner];
        let rest = words
            .into_iter()
            .filter(|t| !range.contains(t) && tree.tag(*t) != "POS");
        return Some(Subject::Owned(rest.collect()));
    }
    Some(Subject::Other(subject, words))
}

/// A phrase that follows a verb. `None` if it only adds detail, or is not a noun phrase.
fn part(tree: &Tree<'_>, child: usize, verb: usize) -> Option<Part> {
    let label = tree.label(child);
    let words = match label {
        "prt" | "acomp" | "oprd" => tree.phrase(child, 2),
        "dobj" | "attr" | "dative" => {
            if matches!(tree.tag(child), "WDT" | "WP" | "PRP") {
                return None;
            }
            tree.phrase(child, 2)
        }
        "npadvmod" if child > verb => tree.phrase(child, 1),
        "prep" | "agent" => {
            if tree.is(child, &ADDING) || !tree.has(child, "pobj") {
                return None;
            }
            tree.phrase(child, 2)
        }
        "xcomp" if !tree.tag(child).starts_with("VB") => tree.phrase(child, 2),
        _ => return None,
    };
    Some(Part { top: child, words })
}

impl Clause {
    /// Whether a part is said though nothing is asked about it.
    pub fn keeps(tree: &Tree<'_>, part: &Part) -> bool {
        let core = matches!(
            tree.label(part.top),
            "prt" | "acomp" | "oprd" | "dobj" | "attr" | "xcomp" | "agent"
        );
        core || part.words.len() <= LONGEST_PART
    }
}
