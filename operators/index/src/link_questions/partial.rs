//! Finds entities that a question names in part, or in lower case: those whose names share rare
//! words with it. "Hosea Kutako airport" finds "hosea kutako international airport", and "the money
//! abbreviated MGA" finds "currency code mga".

use std::ops::Range;

use ahash::{AHashMap, AHashSet};
use gfm_pipe_api::bm25::Bm25;
use gfm_pipe_api::lists::Lists;
use gfm_pipe_api::names::Names;
use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;

use super::graph::Graph;
use super::phrases::is_name;
use super::{Found, Start};

/// Least share of a name that a question must have, by the rarity of its words.
const COVERED: f64 = 0.5;
/// A word finds names only if at most this many names and documents have it, or this part of all.
/// Words such as "is" are in few names, but in most documents.
const RARE: (usize, f64) = (20, 0.01);
/// Least share of a name, relative to the largest of those with the same rare word.
const CLOSE: f64 = 0.8;
/// Most entities of a question that are found.
const MOST: usize = 10;

/// The words of names.
pub struct Words {
    words: Names,
    /// The names that have each word, ascending.
    names: Lists,
    /// The entity of each name.
    entities: Vec<u32>,
    /// The words in each name, in alphabetical order, each once.
    of_names: Lists,
}

/// Collects the words of names.
pub struct Builder {
    words: Names,
    entities: Vec<u32>,
    of_names: Lists,
}

/// The words of a text: runs of letters and digits, in lower case and without accents.
fn words(text: &str) -> Vec<(Range<usize>, String)> {
    let mut out = Vec::new();
    let mut from = None;
    let ends = text.char_indices().map(Some).chain([None]);
    for next in ends {
        match (next, from) {
            (Some((at, c)), None) if c.is_alphanumeric() => from = Some(at),
            (Some((_, c)), Some(_)) if c.is_alphanumeric() => {}
            (end, Some(start)) => {
                let range = start..end.map_or(text.len(), |(at, _)| at);
                out.push((range.clone(), plain(&text[range])));
                from = None;
            }
            _ => {}
        }
    }
    out
}

/// A word in lower case, without accents.
fn plain(word: &str) -> String {
    let bare = word.nfkd().filter(|c| !is_combining_mark(*c));
    bare.flat_map(char::to_lowercase).collect()
}

/// English words of questions that name nothing, of more than two letters. They are rare where
/// documents state facts, and a name may have one, such as "airport code CAN".
const SAY_LITTLE: [&str; 60] = [
    "about", "all", "and", "any", "are", "but", "can", "could", "did", "does", "each", "far",
    "find", "for", "from", "get", "had", "has", "have", "her", "him", "his", "how", "into", "its",
    "many", "may", "more", "most", "much", "not", "one", "our", "out", "she", "should", "some",
    "than", "that", "the", "their", "them", "there", "they", "this", "was", "were", "what", "when",
    "where", "which", "who", "whom", "whose", "why", "will", "with", "would", "you", "your",
];

/// Whether a word of a question is written like a name: with a capital or digit, or in quotes.
fn like_name(question: &str, at: &Range<usize>) -> bool {
    let word = &question[at.clone()];
    let before = question[..at.start].chars().next_back();
    let quoted = before.is_some_and(|c| "\"'`“‘«„".contains(c));
    // "I" is written like a name, and is none.
    quoted || (is_name(word) && word != "I")
}

/// Whether a word of a question may find names by itself, in a question without names: short words
/// in lower case, such as "as", may not.
fn telling(question: &str, at: &Range<usize>) -> bool {
    let word = &question[at.clone()];
    like_name(question, at) || (word.chars().count() > 2 && !SAY_LITTLE.contains(&word))
}

impl Default for Builder {
    fn default() -> Self {
        Builder {
            words: Names::new(u32::MAX),
            entities: Vec::new(),
            of_names: Lists::default(),
        }
    }
}

impl Builder {
    /// Adds a name of an entity.
    pub fn add(&mut self, name: &str, entity: u32) {
        let mut all: Vec<String> = words(name).into_iter().map(|(_, word)| word).collect();
        all.sort_unstable();
        all.dedup();
        let ids = all.iter().filter_map(|word| self.words.intern(word));
        self.of_names.push(ids);
        self.entities.push(entity);
    }

    /// The words of all names.
    pub fn finish(mut self) -> Words {
        self.words.shrink();
        self.of_names.shrink();
        self.entities.shrink_to_fit();
        Words {
            names: self.of_names.turned(self.words.len() as usize),
            words: self.words,
            entities: self.entities,
            of_names: self.of_names,
        }
    }
}

impl Words {
    /// Number of names or documents that have a word, whichever is more.
    fn having(&self, word: &str, documents: &Bm25) -> usize {
        let names = self
            .words
            .find(word)
            .map_or(0, |id| self.names_with(id).len());
        names.max(documents.documents_with(word))
    }

    /// The names that have a word, ascending.
    fn names_with(&self, word: u32) -> &[u32] {
        self.names.of(word as usize)
    }

    fn all(&self, documents: &Bm25) -> f64 {
        self.entities.len().max(documents.documents()) as f64
    }

    /// How rare a word is: the logarithm of the number of all for each that has it.
    fn rarity(&self, word: &str, documents: &Bm25) -> f64 {
        let having = self.having(word, documents).max(1) as f64;
        (self.all(documents) / having).ln_1p()
    }

    /// The entities that a question names in part, with the shares of their names that it has, and
    /// the words. `taken` are ranges of names that were found as a whole: their words count only
    /// for names that have other words of the question too.
    ///
    /// In a question with names, other words only count where no name is found.
    fn find(
        &self,
        question: &str,
        taken: &[Range<usize>],
        documents: &Bm25,
    ) -> Vec<(u32, f64, String)> {
        let words = words(question);
        // The first word is capitalised anyway, and a number counts things more often than not.
        let named = |(range, word): &(Range<usize>, String)| {
            like_name(question, range) && !word.chars().all(char::is_numeric)
        };
        if words.iter().skip(1).any(named) {
            let found = self.find_by(like_name, question, &words, taken, documents);
            if !(found.is_empty() && taken.is_empty()) {
                return found;
            }
        }
        self.find_by(telling, question, &words, taken, documents)
    }

    /// [`Words::find`] by the words that `may` allows.
    fn find_by(
        &self,
        may: fn(&str, &Range<usize>) -> bool,
        question: &str,
        words: &[(Range<usize>, String)],
        taken: &[Range<usize>],
        documents: &Bm25,
    ) -> Vec<(u32, f64, String)> {
        let mut asked: AHashMap<String, Range<usize>> = AHashMap::new();
        let mut free = AHashSet::new();
        for (range, word) in words {
            let apart = |t: &Range<usize>| t.end <= range.start || range.end <= t.start;
            if taken.iter().all(apart) && may(question, range) {
                free.insert(word.clone());
            }
            asked.entry(word.clone()).or_insert_with(|| range.clone());
        }
        let most = RARE.0.max((RARE.1 * self.all(documents)) as usize);
        let rare = |written: &str| {
            let word = plain(written);
            free.contains(&word) && self.having(&word, documents) <= most
        };
        let found = free.iter().filter(|word| rare(word));
        let found = found.filter_map(|word| self.words.find(word));
        let found = found.flat_map(|word| self.names_with(word));
        let candidates: AHashSet<u32> = found.copied().collect();
        // By entity: the best share of its names, and what the question has of that name.
        let mut best: AHashMap<u32, (f64, String)> = AHashMap::new();
        for name in candidates {
            let entity = self.entities[name as usize];
            let (mut has, mut all, mut shown) = (0.0, 0.0, Vec::new());
            for word in self.of_names.of(name as usize) {
                let word = self.words.get(*word);
                let rarity = self.rarity(word, documents);
                all += rarity;
                if let Some(range) = asked.get(word) {
                    has += rarity;
                    shown.push(range.clone());
                }
            }
            let share = has / all;
            if share < COVERED {
                continue;
            }
            shown.sort_unstable_by_key(|range| range.start);
            let shown: Vec<&str> = shown.into_iter().map(|range| &question[range]).collect();
            let shown = shown.join(" ");
            let of = best.entry(entity).or_default();
            // The longer words of equal shares, so that the order of names does not matter.
            if (share, shown.as_str()) > (of.0, of.1.as_str()) {
                *of = (share, shown);
            }
        }
        // Of several names with the same rare word, those with much more of the question are meant.
        let mut most_of: AHashMap<&str, f64> = AHashMap::new();
        for (share, text) in best.values() {
            for word in text.split(' ').filter(|word| rare(word)) {
                let most = most_of.entry(word).or_default();
                *most = most.max(*share);
            }
        }
        let meant = |share: f64, text: &str| {
            let mut words = text.split(' ').filter(|word| rare(word));
            words.any(|word| share >= CLOSE * most_of[word])
        };
        let mut found: Vec<(u32, f64, String)> = best
            .iter()
            .filter(|(_, (share, text))| meant(*share, text))
            .map(|(e, (share, text))| (*e, *share, text.clone()))
            .collect();
        found.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        found.truncate(MOST);
        found
    }
}

/// Finds entities that questions name in part. The share of each is the part of its name that the
/// question has / number of documents that mention it. `taken`: for each question, the ranges where
/// whole names were found.
pub fn entities(
    graph: &Graph,
    names: &Words,
    documents: &Bm25,
    questions: &[String],
    taken: &[Vec<Range<usize>>],
) -> Found {
    let each = questions.iter().zip(taken);
    let found = each.map(|(question, taken)| {
        let found = names.find(question, taken, documents).into_iter();
        let starts = found.map(|(node, share, text)| Start {
            node,
            weight: share * graph.specificity(node),
            text,
        });
        starts.collect()
    });
    found.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn found(names: &[&str], question: &str, taken: &[Range<usize>]) -> Vec<String> {
        let mut words = Builder::default();
        for (id, name) in (0..).zip(names) {
            words.add(name, id);
        }
        let words = words.finish();
        let texts = ["the money is", "it is an airport"].repeat(20);
        let documents = Bm25::new(texts.into_iter().map(|text| ("", text)));
        let found = words.find(question, taken, &documents).into_iter();
        found
            .map(|(entity, _, text)| format!("{entity} {text}"))
            .collect()
    }

    #[test]
    fn rare_words_of_a_name_find_it() {
        let codes: Vec<String> = (0..40).map(|i| format!("currency code x{i}")).collect();
        let mut names: Vec<&str> = codes.iter().map(String::as_str).collect();
        names.extend([
            "hosea kutako international airport",
            "argon",
            "oslo airport",
            "is",
            "up",
            "airport code can",
        ]);
        for (question, want) in [
            ("Which money is abbreviated X7?", &["7 X7"][..]),
            (
                "Where is Hosea Kutako airport?",
                &["40 Hosea Kutako airport"],
            ),
            ("Who found argon there?", &["41 argon"]),
            ("Who found argon near X7?", &["7 X7"]),
            ("Who found argon, Zed?", &["41 argon"]),
            ("Which 3 people found argon?", &["41 argon"]),
            ("Who wrote \"up\" in Rome?", &["44 up"]),
            ("where can i fly to?", &[]),
            ("Where can I fly to?", &[]),
            ("Which airport is CAN?", &["45 airport CAN"]),
            ("Which currency code is it?", &[]),
            ("Which airport is it?", &[]),
            ("who wrote up", &[]),
            ("Who wrote \"up\"?", &["44 up"]),
            (
                "Where is HOSEA-KUTAKO-áirport?",
                &["40 HOSEA KUTAKO áirport"],
            ),
            ("", &[]),
        ] {
            assert_eq!(found(&names, question, &[]), want, "{question}");
        }
        // A name that was found as a whole is not found in part as well.
        assert!(found(&names, "Who found argon?", std::slice::from_ref(&(10..15))).is_empty());
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(name in any::<String>(), question in any::<String>()) {
            found(&[&name, ""], &question, &[]);
            found(&[&name], &format!("x {name}"), &[]);
        }
    }
}
