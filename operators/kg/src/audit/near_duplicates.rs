//! Finds documents that are almost the same.
//!
//! A document is compared as the set of its runs of three words. Two documents are near-duplicates
//! when their sets share most of their union (Jaccard). All pairs are found without comparing all:
//! sets that share so much also share at least one of their rarest members, so an index of these
//! few leads to all candidates (prefix filtering, as in AllPairs). Runs are compared by a 64-bit
//! hash that is the same on every machine.

use std::collections::HashMap;

use ahash::RandomState;
use gfm_pipe_api::OpResult;
use gfm_pipe_api::random::mix;

use super::checks;
use super::data::{Data, Documents, Finding, Stop};
use super::words::words;

/// Number of words in a run.
const RUN: usize = 3;
/// Documents with fewer distinct runs are not compared: short ones differ by little.
const FEWEST: usize = 10;

/// A set as positions in the order of all runs, the rarest first.
type Set = Vec<u32>;

/// Reports documents that share most of an earlier one. Documents with the same text as an earlier
/// one are not compared: another check reports them.
///
/// # Errors
/// When the user wants to stop.
pub fn near_duplicates(data: &Data, stop: Stop<'_>) -> OpResult<Vec<Finding>> {
    let Some(documents) = &data.documents else {
        return Ok(Vec::new());
    };
    let (rows, sets) = sets(documents, stop)?;
    let mut out = Vec::new();
    for (row, of, shared, all) in near(&rows, &sets, |a, b| data.parent(a) == data.parent(b), stop)?
    {
        let at = data.document(of);
        let at = at.map_or(String::new(), |p| format!(" ({p})"));
        let message = format!(
            "shares {shared} of {all} runs of {RUN} words with `{}`{at}",
            documents.titles[of]
        );
        let (place, title) = (data.document(row), &documents.titles[row]);
        out.push(Finding::new(
            &checks::NEAR_DUPLICATE_DOCUMENT,
            place,
            title,
            message,
        ));
    }
    Ok(out)
}

/// The documents that are compared, and the set of each.
fn sets(documents: &Documents, stop: Stop<'_>) -> OpResult<(Vec<usize>, Vec<Set>)> {
    let mut first: HashMap<&str, usize> = HashMap::new();
    let mut rows = Vec::new();
    let mut hashed: Vec<Vec<u64>> = Vec::new();
    for (row, text) in documents.texts.iter().enumerate() {
        if row % 1024 == 0 {
            stop()?;
        }
        if *first.entry(text).or_insert(row) != row {
            continue;
        }
        let runs = runs(text);
        if runs.len() >= FEWEST {
            rows.push(row);
            hashed.push(runs);
        }
    }
    // The order of all runs: the rarest first, then by hash.
    let mut all: Vec<u64> = hashed.iter().flatten().copied().collect();
    all.sort_unstable();
    let counted = all.chunk_by(|a, b| a == b);
    let mut order: Vec<(u32, u64)> = counted.map(|same| (same.len() as u32, same[0])).collect();
    drop(all);
    order.sort_unstable();
    let mut position: HashMap<u64, u32, RandomState> = HashMap::default();
    position.extend(order.iter().map(|(_, hash)| *hash).zip(0..));
    drop(order);
    let mut sets = Vec::with_capacity(hashed.len());
    for runs in hashed {
        let mut set: Set = runs.iter().map(|hash| position[hash]).collect();
        set.sort_unstable();
        sets.push(set);
    }
    Ok((rows, sets))
}

/// Hashes of the distinct runs of a text, whatever its case.
fn runs(text: &str) -> Vec<u64> {
    let words: Vec<u64> = words(text).map(hash).collect();
    let runs = words.windows(RUN).map(|run| {
        let mixed = run.iter().fold(0u64, |sum, word| mix(sum ^ word));
        mix(mixed)
    });
    let mut out: Vec<u64> = runs.collect();
    out.sort_unstable();
    out.dedup();
    out
}

/// FNV-1a of a word in lower case.
fn hash(word: &str) -> u64 {
    let mut sum = 0xcbf2_9ce4_8422_2325_u64;
    let mut bytes = [0; 4];
    for c in word.chars().flat_map(char::to_lowercase) {
        for byte in c.encode_utf8(&mut bytes).bytes() {
            sum = (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    sum
}

/// Finds the sets that share at least 80 % with an earlier set that is not such a set itself.
/// Returns the row, the earlier row, the number of shared members and the number of members of
/// both.
fn near(
    rows: &[usize],
    sets: &[Set],
    of_one: impl Fn(usize, usize) -> bool,
    stop: Stop<'_>,
) -> OpResult<Vec<(usize, usize, usize, usize)>> {
    let mut index: HashMap<u32, Vec<u32>, RandomState> = HashMap::default();
    let mut out = Vec::new();
    for (at, set) in sets.iter().enumerate() {
        if at % 256 == 0 {
            stop()?;
        }
        // A near set shares at least four fifths of this set's members, so at least one of these.
        let beginning = &set[..=set.len() - (set.len() * 4).div_ceil(5)];
        let met = beginning.iter().filter_map(|run| index.get(run)).flatten();
        let mut candidates: Vec<u32> = met.copied().collect();
        candidates.sort_unstable();
        candidates.dedup();
        let found = candidates.into_iter().find_map(|other| {
            let other = other as usize;
            let (small, large) = (
                set.len().min(sets[other].len()),
                set.len().max(sets[other].len()),
            );
            if small * 5 < large * 4 || of_one(rows[at], rows[other]) {
                return None;
            }
            let shared = shared(set, &sets[other]);
            let all = set.len() + sets[other].len() - shared;
            (shared * 5 >= all * 4).then_some((rows[at], rows[other], shared, all))
        });
        match found {
            Some(found) => out.push(found),
            None => {
                for run in beginning {
                    index.entry(*run).or_default().push(at as u32);
                }
            }
        }
    }
    Ok(out)
}

/// Number of members that two sorted sets share.
fn shared(a: &[u32], b: &[u32]) -> usize {
    let (mut i, mut j, mut count) = (0, 0, 0);
    while i < a.len() && j < b.len() {
        match a[i].cmp(&b[j]) {
            std::cmp::Ordering::Less => i += 1,
            std::cmp::Ordering::Greater => j += 1,
            std::cmp::Ordering::Equal => {
                count += 1;
                i += 1;
                j += 1;
            }
        }
    }
    count
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::testing::{graph, reported, with_documents};
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    /// The obvious version: compares every document with every earlier one that is not reported.
    fn slow(sets: &[Set]) -> Vec<(usize, usize)> {
        let mut out: Vec<(usize, usize)> = Vec::new();
        for (i, set) in sets.iter().enumerate() {
            let set: BTreeSet<u32> = set.iter().copied().collect();
            let reported = |j: &usize| out.iter().any(|(row, _)| row == j);
            let earlier = (0..i).filter(|j| !reported(j)).find(|j| {
                let other: BTreeSet<u32> = sets[*j].iter().copied().collect();
                let shared = set.intersection(&other).count();
                shared * 5 >= set.union(&other).count() * 4
            });
            if let Some(earlier) = earlier {
                out.push((i, earlier));
            }
        }
        out
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]
        #[test]
        fn near_sets_are_those_of_the_obvious_version(
            sets in prop::collection::vec(prop::collection::btree_set(0u32..14, 1..12), 1..14),
        ) {
            let sets: Vec<Set> = sets.into_iter().map(|s| s.into_iter().collect()).collect();
            let rows: Vec<usize> = (0..sets.len()).collect();
            let got = near(&rows, &sets, |_, _| false, &|| Ok(())).unwrap();
            let got: Vec<(usize, usize)> = got.into_iter().map(|f| (f.0, f.1)).collect();
            prop_assert_eq!(got, slow(&sets));
        }
    }

    #[test]
    fn texts_that_differ_by_a_few_words_are_told_but_not_pieces_of_one() {
        let text = "The mill of Quillmouth stands by the river Sel and was built by Ada Alder in 1820 when the old one had burnt down and nobody";
        let copy = format!("{text} knew why.");
        let other = "The mill of Quillmouth stands by the river Orr, was built of oak, and has burnt down more often than anybody knows or wants to know.";
        let upper = text.to_uppercase();
        let mut data = with_documents(
            graph("a,r,b"),
            &[
                ("A", text, &[]),
                ("B", other, &[]),
                ("C", &copy, &[]),
                ("D", text, &[]),
                ("E", &upper, &[]),
                ("F", "One two three.", &[]),
                ("G", "one two three", &[]),
            ],
        );
        let found = |data: &Data| reported(&near_duplicates(data, &|| Ok(())).unwrap());
        assert_eq!(
            found(&data),
            [
                "near-duplicate-document corpus.json:4 C: shares 24 of 26 runs of 3 words with `A` (corpus.json:2)",
                "near-duplicate-document corpus.json:6 E: shares 24 of 24 runs of 3 words with `A` (corpus.json:2)",
            ]
        );
        let pieces = [0, 1, 0, 3, 4, 5, 6].map(|parent| ("x.txt".into(), parent));
        data.details.sources = Some(pieces.into());
        assert_eq!(found(&data).len(), 1);
    }

    #[test]
    fn hashes_are_the_same_on_every_machine() {
        assert_eq!(hash("Sel"), hash("sEL"));
        assert_eq!(runs("a b c"), [15_567_006_846_517_219_852]);
        assert_eq!(runs("A b c. A b c"), runs("a, b, c, a, b, c"));
    }
}
