//! Relates names that are in no other fact to the title of the text.
//!
//! "People pay with the euro" in a text on Andorra becomes "Andorra: people pay with: euro". The
//! relation consists of the words between the name and the verb of the sentence.

use std::ops::Range;

use super::{Argument, Facts};

/// Longest relation, in words.
const MOST_WORDS: usize = 8;
/// Number of levels above a name in which the verb of the sentence is searched.
const DEEPEST: usize = 12;

/// Adds the facts of a sentence. `from` is the index of the first fact that it already has.
pub(super) fn find(found: &mut Facts<'_>, sentence: Range<usize>, from: usize) {
    let Some(title) = found.tree.unsaid_title(sentence.start) else {
        return;
    };
    let mut said: Vec<Range<usize>> = found.facts[from..]
        .iter()
        .flat_map(|fact| [fact.subject.bytes.clone(), fact.object.bytes.clone()])
        .collect();
    for token in sentence.clone() {
        let Some((token, object)) = named(found, token) else {
            continue;
        };
        let bytes = &object.bytes;
        if said
            .iter()
            .any(|b| b.start < bytes.end && bytes.start < b.end)
        {
            continue;
        }
        let (words, of_title) = between(found, token, &object);
        let lead = if words.is_empty() && of_title {
            "is"
        } else {
            ""
        };
        if words.len() <= MOST_WORDS {
            said.push(bytes.clone());
            found.add(&title, lead, &words, &object);
        }
    }
    // A sentence without any name or fact: "Here people pay with coins".
    if from == found.facts.len() {
        for token in sentence {
            let object = found.tree.noun(token).filter(|object| !object.is_title);
            if let Some(object) = object.filter(|_| is_thing(found, token)) {
                let (words, _) = between(found, token, &object);
                if words.len() <= MOST_WORDS {
                    found.add(&title, "", &words, &object);
                }
            }
        }
    }
}

/// Whether a token is a noun that is an object of its sentence's verb, with or without a
/// preposition.
fn is_thing(found: &Facts<'_>, token: usize) -> bool {
    let tree = found.tree;
    let verb = match tree.label(token) {
        "dobj" | "attr" => tree.head(token),
        "pobj" => tree.head(tree.head(token)),
        _ => return false,
    };
    tree.is_noun(token) && tree.is_verb(verb) && tree.head(verb) == verb
}

/// The name that contains a token, with its head: an entity, or a code such as "MLI" or "+223".
fn named(found: &Facts<'_>, token: usize) -> Option<(usize, Argument)> {
    let tree = found.tree;
    let (head, name) = match tree.entity(token) {
        Some(entity) if entity.tokens.contains(&tree.head(token)) && tree.head(token) != token => {
            return None;
        }
        // "Bhutanese" in "Bhutanese ngultrum" modifies another noun: both together are the name.
        Some(_) if says_more_of_a_noun(found, token) => {
            (tree.head(token), tree.noun(tree.head(token)).map(whole))
        }
        Some(_) => (token, tree.noun(token)),
        None if is_code(tree.word(token)) => (token, tree.code(token)),
        None => return None,
    };
    Some((head, name.filter(|name| !name.is_title)?))
}

/// Whether a name is in front of a noun that is not a name.
fn says_more_of_a_noun(found: &Facts<'_>, token: usize) -> bool {
    let (tree, head) = (found.tree, found.tree.head(token));
    let before = matches!(tree.label(token), "amod" | "compound" | "nmod");
    before && token < head && tree.is_noun(head) && tree.entity(head).is_none()
}

fn whole(noun: Argument) -> Argument {
    Argument {
        is_name: true,
        ..noun
    }
}

/// Whether a word is written like a code: with a digit, or only in capitals.
fn is_code(word: &str) -> bool {
    let letters = || word.chars().filter(|c| c.is_alphabetic());
    word.chars().any(|c| c.is_ascii_digit())
        || (letters().count() >= 2 && letters().all(char::is_uppercase))
}

/// The words from a name up to the title or to the verb of its sentence, in the order of the text,
/// with the subject of that verb, and whether the title was reached. Names are left out.
fn between(found: &Facts<'_>, token: usize, name: &Argument) -> (Vec<usize>, bool) {
    let tree = found.tree;
    let is_word = |token: &usize| {
        let says = tree.word(*token).chars().any(char::is_alphabetic);
        let bytes = tree.bytes(*token..*token + 1);
        let outside = bytes.end <= name.bytes.start || name.bytes.end <= bytes.start;
        outside && says && tree.entity(*token).is_none() && !tree.is_name(*token)
    };
    let mut words = Vec::new();
    let mut of_title = false;
    let mut at = token;
    for _ in 0..DEEPEST {
        let head = tree.head(at);
        if head == at {
            break;
        }
        let listed = tree.label(at) == "conj" && tree.is_noun(head);
        at = head;
        of_title = tree.noun(at).is_some_and(|noun| noun.is_title);
        if of_title {
            break;
        }
        // A later member of a list has the relation of the first member, not a relation to it.
        if !listed {
            words.push(at);
        }
    }
    if tree.is_verb(at) {
        words.extend(tree.labelled(at, &["nsubj", "nsubjpass", "neg", "prt", "auxpass"]));
    }
    words.retain(is_word);
    words.sort_unstable();
    words.dedup();
    (words, of_title)
}
