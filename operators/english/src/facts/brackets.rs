//! Finds births and deaths in brackets: "Ada Brandt (born 5 May 1920 in Lübeck; died 3 March
//! 1999)".

use std::ops::Range;

use super::tree::Tree;
use super::words::MONTHS;
use super::{Argument, Facts, Relation};

/// Longest text in brackets that is examined, in tokens.
const LONGEST: usize = 60;

/// Adds the facts in the brackets of a sentence. Returns the brackets that contained some.
pub(super) fn find(found: &mut Facts<'_>, sentence: Range<usize>) -> Vec<Range<usize>> {
    let tree = found.tree;
    let mut done = Vec::new();
    for open in sentence.clone().filter(|t| tree.word(*t) == "(") {
        let inside = (open + 1..sentence.end.min(open + LONGEST)).find(|t| tree.word(*t) == ")");
        let Some(close) = inside else {
            continue;
        };
        // The person named before the bracket.
        let Some(subject) = (open > sentence.start)
            .then(|| open - 1)
            .filter(|before| tree.is_name(*before))
            .and_then(|before| tree.noun(before))
        else {
            continue;
        };
        let before = found.facts.len();
        lifetime(found, &subject, open + 1..close);
        if found.facts.len() > before {
            done.push(open..close);
        }
    }
    done
}

fn lifetime(found: &mut Facts<'_>, subject: &Argument, inside: Range<usize>) {
    let tree = found.tree;
    for (word, date_of, place_of) in [
        ("born", "date of birth", "place of birth"),
        ("died", "date of death", "place of death"),
    ] {
        let Some(said) = inside.clone().find(|t| tree.is_one_of(*t, &[word])) else {
            continue;
        };
        let end = (said + 1..inside.end)
            .find(|t| matches!(tree.word(*t), ";") || tree.is_one_of(*t, &["born", "died"]))
            .unwrap_or(inside.end);
        let place = (said + 1..end).find(|t| tree.is_one_of(*t, &["in", "at"]));
        let date = (said + 1..place.unwrap_or(end)).find_map(|t| date_at(tree, t, end));
        if let Some(date) = date {
            add(found, subject, date_of, said..said + 1, date);
        }
        if let Some(place) = place.and_then(|place| place_at(tree, place + 1, end)) {
            add(found, subject, place_of, said..said + 1, place);
        }
    }
    // Two dates with a dash between them.
    let Some(birth) = inside.clone().find_map(|t| date_at(tree, t, inside.end)) else {
        return;
    };
    let dash = birth.end;
    if dash + 1 < inside.end
        && matches!(tree.word(dash), "–" | "-" | "—")
        && let Some(death) = date_at(tree, dash + 1, inside.end)
    {
        add(found, subject, "date of birth", dash..dash + 1, birth);
        add(found, subject, "date of death", dash..dash + 1, death);
    }
}

fn add(
    found: &mut Facts<'_>,
    subject: &Argument,
    relation: &str,
    said: Range<usize>,
    object: Range<usize>,
) {
    let is_name = found.tree.is_name(object.start);
    let object = Argument {
        bytes: found.tree.bytes(object),
        is_title: false,
        is_name,
    };
    let relation = Relation {
        text: relation.to_owned(),
        bytes: found.tree.bytes(said),
    };
    found.add_relation(subject, relation, &object);
}

/// The tokens of a date that begins at a token: "5 May 1920", "May 5, 1920", "May 1920", "1920",
/// "c. 1920".
fn date_at(tree: &Tree<'_>, start: usize, end: usize) -> Option<Range<usize>> {
    let in_range = |token: usize| (token < end).then_some(token);
    let is_number = |token: usize, digits: Range<usize>| {
        let word = tree.word(token);
        digits.contains(&word.len()) && word.bytes().all(|b| b.is_ascii_digit())
    };
    let is_year = |token: usize| in_range(token).is_some_and(|t| is_number(t, 3..5));
    let is_day = |token: usize| in_range(token).is_some_and(|t| is_number(t, 1..3));
    let is_month = |token: usize| in_range(token).is_some_and(|t| tree.is_one_of(t, &MONTHS));
    let circa = usize::from(tree.is_one_of(start, &["c.", "ca.", "circa", "c"]));
    let at = start + circa;
    let length = if is_day(at) && is_month(at + 1) && is_year(at + 2) {
        3
    } else if is_month(at) && is_day(at + 1) {
        let comma = usize::from(in_range(at + 2).is_some_and(|t| tree.word(t) == ","));
        if is_year(at + 2 + comma) {
            3 + comma
        } else {
            return None;
        }
    } else if is_month(at) && is_year(at + 1) {
        2
    } else if is_year(at) {
        1
    } else {
        return None;
    };
    Some(start..at + length)
}

/// The tokens of a name that begins at a token.
fn place_at(tree: &Tree<'_>, start: usize, end: usize) -> Option<Range<usize>> {
    let is_part = |token: usize| tree.is_name(token) && tree.word(token) != ",";
    let last = (start..end).take_while(|t| is_part(*t)).last()?;
    Some(start..last + 1)
}
