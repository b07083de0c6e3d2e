//! Questions that compare two documents about things of the same kind.

use std::collections::BTreeMap;

use rand_chacha::ChaCha8Rng;

use super::candidate::{Candidate, Type, question};
use super::corpus::Corpus;
use super::draw::{below, chosen};
use super::names::{contains, key};
use super::nouns::is_work;

/// Documents by what they are, where there are several.
pub fn kinds(corpus: &Corpus<'_>) -> Vec<Vec<u32>> {
    let mut kinds: BTreeMap<&str, Vec<u32>> = BTreeMap::new();
    for (number, said) in (0..).zip(&corpus.said) {
        if let Some(is) = &said.is
            && is.noun != "person"
            && (said.year.is_some() || said.nation.is_some() || !said.events.is_empty())
        {
            kinds.entry(&is.noun).or_default().push(number);
        }
    }
    kinds.into_values().filter(|all| all.len() > 1).collect()
}

/// Makes a question, or fails.
pub fn comparison(
    corpus: &Corpus<'_>,
    kinds: &[Vec<u32>],
    random: &mut ChaCha8Rng,
) -> Option<Candidate> {
    let all = chosen(random, kinds)?;
    let pair = [*chosen(random, all)?, *chosen(random, all)?];
    let [a, b] = pair.map(|d| &corpus.said[d as usize]);
    let [x, y] = pair.map(|d| corpus.title(d));
    if corpus.same(pair[0], pair[1]) || contains(x, &key(y)) || contains(y, &key(x)) {
        return None;
    }
    let is = a.is.as_ref()?;
    let noun = &is.noun;
    let works = is_work(noun);
    let years = a
        .year
        .zip(b.year)
        .filter(|(x, y)| x != y && a.born == b.born);
    // "Which company was founded first": the same happened to both.
    let events = a.events.iter().find_map(|(verb, x)| {
        let same = b.events.iter().find(|(other, _)| other == verb);
        same.filter(|(_, y)| y != x).map(|(_, y)| (verb, *x, *y))
    });
    if let Some((verb, first, second)) = events.filter(|_| below(random, 2) == 0) {
        let answer = if first < second { x } else { y };
        let text = format!("which {noun} was {verb} first, {x} or {y}");
        return Some(candidate(&text, answer, pair));
    }
    let nations = a.nation.as_ref().zip(b.nation.as_ref());
    let (text, answer) = match (below(random, 2), years, nations) {
        (0, Some((first, second)), _) | (_, Some((first, second)), None) => {
            let earlier = below(random, 2) == 0;
            let answer = if (first < second) == earlier { x } else { y };
            let text = match (a.born, earlier) {
                (true, true) => format!("who was born first, {x} or {y}"),
                (true, false) => format!("who is younger, {x} or {y}"),
                (false, true) if works => format!("which {noun} came out first, {x} or {y}"),
                (false, false) if works => format!("which {noun} is newer, {x} or {y}"),
                (false, true) => format!("which {noun} was earlier, {x} or {y}"),
                (false, false) => format!("which {noun} was later, {x} or {y}"),
            };
            (text, answer)
        }
        (_, _, Some((first, second))) => {
            let same = first == second;
            let text = match (is.person, below(random, 2)) {
                (true, 0) => format!("are {x} and {y} of the same nationality"),
                (_, 0) => format!("are {x} and {y} both from the same country"),
                _ => format!("are {x} and {y} both {first} {}", plural(noun)),
            };
            (text, if same { "yes" } else { "no" })
        }
        _ => return None,
    };
    Some(candidate(&text, answer, pair))
}

fn candidate(text: &str, answer: &str, pair: [u32; 2]) -> Candidate {
    Candidate {
        of: Type::Comparison,
        text: question(text),
        answer: answer.to_owned(),
        gold: pair.to_vec(),
        hops: 2,
        hidden: Vec::new(),
        statements: Vec::new(),
        names_answer: true,
    }
}

/// A noun for several.
fn plural(noun: &str) -> String {
    let stem = noun
        .strip_suffix('y')
        .filter(|s| !s.ends_with(['a', 'e', 'o', 'u']));
    match stem {
        _ if noun.ends_with("man") => format!("{}men", &noun[..noun.len() - 3]),
        Some(stem) => format!("{stem}ies"),
        None if noun.ends_with(['s', 'x']) || noun.ends_with("ch") => format!("{noun}es"),
        None => format!("{noun}s"),
    }
}
