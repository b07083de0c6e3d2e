//! Finds the facts of a noun: appositions ("Ada, a chemist") and possessives ("her husband, Karl").

use super::clauses::prepositional_tokens;
use super::words::BE;
use super::{Argument, Facts};

/// The relation of an apposition.
const IS: &str = "is";
/// The relation of a place to the place after it: "Duluth, Minnesota".
const IS_IN: &str = "is in";

/// Adds the facts of a noun.
pub(super) fn find(found: &mut Facts<'_>, noun: usize) {
    if found.tree.label(noun) == "appos" {
        apposition(found, noun);
    }
    possessive(found, noun);
}

/// "Ada, a chemist", "the chemist, Ada", and "Ada, the daughter of Otto".
fn apposition(found: &mut Facts<'_>, noun: usize) {
    let tree = found.tree;
    let head = tree.head(noun);
    if is_place(found, head)
        && is_place(found, noun)
        && noun == head + 2
        && tree.word(head + 1) == ","
    {
        if let (Some(place), Some(around)) = (tree.noun(head), tree.noun(noun)) {
            found.add(&place, IS_IN, &[], &around);
        }
        return;
    }
    let (name, thing) = match (tree.is_name(head), tree.is_name(noun)) {
        (true, false) => (head, noun),
        (false, true) if tree.is_noun(head) => (noun, head),
        // Pronouns have no appositions worth trusting, and two names are often a list.
        _ => return,
    };
    let (Some(subject), Some(object)) = (tree.noun(name), tree.noun(thing)) else {
        return;
    };
    // "the towns, Lund and Ystad": one of them is not the towns.
    if object.is_title || tree.tag(thing) == "NNS" {
        return;
    }
    // The possessive states whose it is.
    if tree.labelled(thing, &["poss"]).next().is_none() {
        found.add(&subject, IS, &[], &object);
    }
    let words: Vec<usize> = tree.span(thing).collect();
    for prep in tree.labelled(thing, &["prep"]) {
        for (between, token) in prepositional_tokens(tree, prep, &words) {
            if let Some(object) = tree.noun(token) {
                found.add(&subject, IS, &between, &object);
            }
        }
    }
}

fn is_place(found: &Facts<'_>, token: usize) -> bool {
    found.tree.kind(token) == Some("GPE")
}

/// "her husband, Karl", "Karl, her husband", "her husband Karl", and "Karl is her husband".
fn possessive(found: &mut Facts<'_>, noun: usize) {
    let tree = found.tree;
    let owners: Vec<Argument> = tree
        .labelled(noun, &["poss"])
        .flat_map(|owner| tree.members(owner))
        .filter_map(|owner| tree.noun(owner))
        .collect();
    if owners.is_empty() {
        return;
    }
    let (words, owned): (Vec<usize>, Vec<usize>) = if tree.is_name(noun) {
        // The words before the name: "husband" in "her husband Karl".
        let name = tree.span(noun);
        let before = tree
            .labelled(noun, &["compound", "amod", "nmod"])
            .filter(|word| *word < name.start && !tree.is_name(*word));
        (before.collect(), vec![noun])
    } else {
        let mut owned: Vec<usize> = tree.labelled(noun, &["appos"]).collect();
        let head = tree.head(noun);
        match tree.label(noun) {
            "appos" => owned.push(head),
            "attr" if tree.is_one_of(head, &BE) => {
                owned.extend(tree.labelled(head, &["nsubj"]));
            }
            _ => (),
        }
        (tree.span(noun).collect(), owned)
    };
    for token in owned {
        let Some(object) = tree.noun(token).filter(|object| object.is_name) else {
            continue;
        };
        for owner in &owners {
            if !words.is_empty() {
                found.add(owner, "", &words, &object);
            }
        }
    }
}
