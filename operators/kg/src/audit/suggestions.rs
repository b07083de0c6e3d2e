//! Suggestions for an unknown name: the most similar ones among very many.
//!
//! Names are compared by the first [`LONGEST`] characters of their normal form. Candidates share
//! trigrams, and the [`CLOSE`] best of them are ordered by edit distance. An index from trigrams to
//! names finds the same candidates as a comparison with every name: a name that is similar enough
//! shares so many trigrams that the most common ones need not be searched.

use std::collections::HashMap;

use ahash::RandomState;

use super::normal::normal;

/// Number of characters of a name that are compared.
const LONGEST: usize = 256;
/// Number of candidates that are ordered by edit distance.
const CLOSE: usize = 32;
/// Smallest similarity by edit distance of a suggestion.
const LEAST: f64 = 0.5;

/// Whether names of `a` and `b` distinct trigrams, `shared` of them in both, are similar enough: a
/// Dice coefficient of at least 0.4.
fn similar(shared: u64, a: u64, b: u64) -> bool {
    shared > 0 && 5 * shared >= a + b
}

/// The least number of trigrams that a similar name shares with a name of `a` trigrams. (A name has
/// no fewer trigrams than it shares.)
fn least_shared(a: usize) -> usize {
    a.div_ceil(4).max(1)
}

fn compared(name: &str) -> String {
    let normal = normal(name);
    match normal.char_indices().nth(LONGEST) {
        Some((end, _)) => normal[..end].to_owned(),
        None => normal,
    }
}

/// Distinct trigrams of a name with its ends marked, at 21 bits per character.
fn trigrams(compared: &str) -> Vec<u64> {
    let ends = ['\u{2}', '\u{2}'].into_iter();
    let chars: Vec<u64> = ends
        .chain(compared.chars())
        .chain(['\u{3}'])
        .map(u64::from)
        .collect();
    let mut out: Vec<u64> = chars
        .windows(3)
        .map(|w| w[0] << 42 | w[1] << 21 | w[2])
        .collect();
    out.sort_unstable();
    out.dedup();
    out
}

/// Similarity of two names by edit distance; 1 for equal ones.
fn alike(a: &str, b: &str) -> f64 {
    let longer = a.chars().count().max(b.chars().count()).max(1);
    // No name is longer than a few hundred characters.
    1.0 - strsim::osa_distance(a, b) as f64 / longer as f64
}

/// A candidate: position of the name, shared trigrams, trigrams of both.
type Candidate = (u32, u64, u64);

/// The best candidates, chosen by trigrams and ordered by edit distance.
fn best(
    query: &str,
    mut found: Vec<Candidate>,
    k: usize,
    name: impl Fn(u32) -> String,
) -> Vec<u32> {
    // Fractions are compared without rounding: a/b > c/d where ad > cb.
    found.sort_unstable_by(|a, b| (b.1 * a.2).cmp(&(a.1 * b.2)).then(a.0.cmp(&b.0)));
    found.truncate(CLOSE);
    let mut scored: Vec<(f64, u32)> = found
        .into_iter()
        .map(|(id, ..)| (alike(query, &name(id)), id))
        .filter(|(score, _)| *score >= LEAST)
        .collect();
    scored.sort_by(|a, b| b.0.total_cmp(&a.0));
    scored.into_iter().take(k).map(|(_, id)| id).collect()
}

/// An index of names by trigram.
pub struct Nearest {
    compared: Vec<Box<str>>,
    sizes: Vec<u32>,
    lists: HashMap<u64, (usize, usize), RandomState>,
    postings: Vec<u32>,
    /// Number of trigrams shared with the name being looked up, by name; all zero between look-ups.
    shared: Vec<u16>,
}

impl Nearest {
    /// Builds the index; positions of names are `u32`.
    pub fn new<'a>(names: impl Iterator<Item = &'a str>) -> Self {
        let compared: Vec<Box<str>> = names.map(|n| compared(n).into()).collect();
        let mut lists: HashMap<u64, (usize, usize), _> =
            HashMap::with_hasher(RandomState::with_seeds(1, 3, 5, 7));
        let mut sizes = Vec::with_capacity(compared.len());
        let mut total = 0;
        for name in &compared {
            let trigrams = trigrams(name);
            total += trigrams.len();
            sizes.push(trigrams.len() as u32);
            for t in trigrams {
                lists.entry(t).or_default().1 += 1;
            }
        }
        let mut start = 0;
        for (from, len) in lists.values_mut() {
            *from = start;
            start += std::mem::take(len);
        }
        let mut postings = vec![0; total];
        for (id, name) in (0u32..).zip(&compared) {
            for t in trigrams(name) {
                if let Some((from, len)) = lists.get_mut(&t) {
                    postings[*from + *len] = id;
                    *len += 1;
                }
            }
        }
        Nearest {
            shared: vec![0; compared.len()],
            compared,
            sizes,
            lists,
            postings,
        }
    }

    /// Positions of at most `k` names, the most similar first.
    pub fn find(&mut self, name: &str, k: usize) -> Vec<u32> {
        let query = compared(name);
        if query.is_empty() {
            return Vec::new();
        }
        let trigrams = trigrams(&query);
        let list = |t: &u64| match self.lists.get(t) {
            Some((from, len)) => &self.postings[*from..from + len],
            None => &[],
        };
        let mut lists: Vec<&[u32]> = trigrams.iter().map(list).collect();
        lists.sort_by_key(|l| l.len());
        // A name that shares enough trigrams is in one of the shorter lists.
        let (short, long) = lists.split_at(lists.len() + 1 - least_shared(lists.len()));
        let mut touched = Vec::new();
        for id in short.iter().copied().flatten() {
            let count = &mut self.shared[*id as usize];
            if *count == 0 {
                touched.push(*id);
            }
            *count += 1;
        }
        let a = trigrams.len() as u64;
        let mut found = Vec::new();
        for id in touched {
            let mut shared = u64::from(std::mem::take(&mut self.shared[id as usize]));
            let b = u64::from(self.sizes[id as usize]);
            if !similar(shared + long.len() as u64, a, b) {
                continue;
            }
            shared += long.iter().filter(|l| l.binary_search(&id).is_ok()).count() as u64;
            if similar(shared, a, b) {
                found.push((id, shared, a + b));
            }
        }
        best(&query, found, k, |id| {
            self.compared[id as usize].to_string()
        })
    }
}

/// A list of names for a message: "`a`, `b`".
pub fn listed<'a>(names: impl Iterator<Item = &'a str>) -> Option<String> {
    let quoted: Vec<String> = names.map(|n| format!("`{n}`")).collect();
    (!quoted.is_empty()).then(|| quoted.join(", "))
}

/// Only the names that differ by nothing but case and punctuation, if there are any; else all.
pub fn equals_alone(name: &str, found: Vec<u32>, of: impl Fn(u32) -> String) -> Vec<u32> {
    let query = normal(name);
    let same: Vec<u32> = found
        .iter()
        .copied()
        .filter(|id| normal(&of(*id)) == query)
        .collect();
    if same.is_empty() { found } else { same }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The obvious version: compares with every name.
    fn slow(names: &[String], name: &str, k: usize) -> Vec<u32> {
        let query = compared(name);
        if query.is_empty() {
            return Vec::new();
        }
        let mine = trigrams(&query);
        let mut found = Vec::new();
        for (id, other) in (0u32..).zip(names) {
            let theirs = trigrams(&compared(other));
            let shared = mine.iter().filter(|t| theirs.contains(t)).count() as u64;
            let (a, b) = (mine.len() as u64, theirs.len() as u64);
            if similar(shared, a, b) {
                found.push((id, shared, a + b));
            }
        }
        best(&query, found, k, |id| compared(&names[id as usize]))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(400))]
        #[test]
        fn the_index_gives_what_comparing_with_all_gives(
            names in prop::collection::vec("(ab|ba|anna|[a-d ]|é){0,5}", 0..60),
            asked in prop::collection::vec("(ab|ba|anna|[a-d ]|é){0,5}", 1..5),
            k in 0usize..5,
        ) {
            let mut index = Nearest::new(names.iter().map(String::as_str));
            for name in asked {
                prop_assert_eq!(index.find(&name, k), slow(&names, &name, k));
            }
        }
    }

    #[test]
    fn misspelled_names_are_found() {
        let names = [
            "Barack Obama",
            "Michelle Obama",
            "Germany",
            "germany",
            "Oslo",
            "x",
        ];
        let mut index = Nearest::new(names.into_iter());
        let mut near = |name: &str| -> Vec<&str> {
            let found = index.find(name, 2).into_iter();
            found.map(|i| names[i as usize]).collect()
        };
        assert_eq!(near("barak obama"), ["Barack Obama"]);
        assert_eq!(near("GERMANY"), ["Germany", "germany"]);
        assert_eq!(near("germny"), ["Germany", "germany"]);
        assert_eq!(near("Osloo"), ["Oslo"]);
        assert_eq!(near("X"), ["x"]);
        assert_eq!(near("unlike"), [""; 0]);
        assert_eq!(near("…"), [""; 0]);
    }

    #[test]
    fn very_long_names_are_compared_by_their_beginning() {
        let long = "ab".repeat(1 << 20);
        let mut index = Nearest::new([long.as_str(), "abab"].into_iter());
        assert_eq!(index.find(&long, 3), [0]);
    }

    #[test]
    fn equal_names_come_alone() {
        let names = ["oak town", "oak towns"];
        let of = |id: u32| names[id as usize].to_owned();
        assert_eq!(equals_alone("Oak Town", vec![0, 1], of), [0]);
        assert_eq!(equals_alone("oak tow", vec![0, 1], of), [0, 1]);
        assert_eq!(
            listed(names.into_iter()).as_deref(),
            Some("`oak town`, `oak towns`")
        );
        assert_eq!(listed([].into_iter()), None);
    }
}
