//! Finds questions that are nearly the same as others, so that none of these is made.

use ahash::{AHashMap, AHashSet};

use super::names::content;

/// Least share of common words at which questions are nearly the same.
pub const NEAR: f64 = 0.7;
/// The same, where they have the same gold documents and none was made here: what is asked of the
/// same documents is often the same in other words.
pub const NEAR_WITH_GOLD: f64 = 0.5;

/// Questions that are known, by their words.
#[derive(Default)]
pub struct Likeness {
    /// Number of distinct words of each question.
    sizes: Vec<usize>,
    /// Gold documents of each question, ascending.
    gold: Vec<Vec<u32>>,
    by_word: AHashMap<String, Vec<u32>>,
}

fn distinct(text: &str) -> Vec<String> {
    let mut seen = AHashSet::new();
    content(text)
        .filter(|word| seen.insert(word.clone()))
        .collect()
}

fn ascending(gold: &[u32]) -> Vec<u32> {
    let mut gold = gold.to_vec();
    gold.sort_unstable();
    gold.dedup();
    gold
}

impl Likeness {
    /// Adds a question.
    pub fn add(&mut self, text: &str, gold: &[u32]) {
        let words = distinct(text);
        let number = u32::try_from(self.sizes.len()).unwrap_or(u32::MAX);
        self.sizes.push(words.len());
        self.gold.push(ascending(gold));
        for word in words {
            self.by_word.entry(word).or_default().push(number);
        }
    }

    /// Whether a question is nearly the same as a known one. `with_gold` is the least share of
    /// common words where they have the same gold documents.
    pub fn has(&self, text: &str, gold: &[u32], with_gold: f64) -> bool {
        let words = distinct(text);
        let gold = ascending(gold);
        let mut common: AHashMap<u32, usize> = AHashMap::new();
        for word in &words {
            for number in self.by_word.get(word).into_iter().flatten() {
                *common.entry(*number).or_default() += 1;
            }
        }
        common.into_iter().any(|(number, common)| {
            let all = words.len() + self.sizes[number as usize] - common;
            let share = common as f64 / all.max(1) as f64;
            let same = self.gold[number as usize] == gold;
            share >= if same { with_gold } else { NEAR }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_copies_are_found() {
        let mut known = Likeness::default();
        known.add("Who directed the film Kelda, set in Arvo?", &[3, 1]);
        assert!(known.has(
            "Who directed Kelda, the film set in Arvo?",
            &[9],
            NEAR_WITH_GOLD
        ));
        // Fewer words suffice where the gold documents are the same.
        assert!(known.has(
            "Which film set in Lund is called Kelda?",
            &[1, 3],
            NEAR_WITH_GOLD
        ));
        assert!(!known.has(
            "Which film set in Lund is called Kelda?",
            &[1, 4],
            NEAR_WITH_GOLD
        ));
        assert!(!known.has("Where was Ada born?", &[1, 3], NEAR_WITH_GOLD));
    }
}
