//! How right an answer is.

use std::collections::HashMap;

use super::normal::normalised;

/// Answers that must be equal to count at all, as in HotpotQA: "yes indeed" is not partly right
/// where "yes" is.
const WHOLE: [&str; 3] = ["yes", "no", "noanswer"];

/// How right an answer is, from 0 to 1.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Score {
    /// 1 where it equals a right answer.
    pub exact_match: f64,
    /// F1 of its words and those of the right answer that is nearest.
    pub f1: f64,
}

/// Compares an answer with those that are right, each number with the one that is best for it.
pub fn score(answer: &str, gold: &[String]) -> Score {
    let answer = normalised(answer);
    gold.iter().fold(Score::default(), |best, gold| {
        let gold = normalised(gold);
        Score {
            exact_match: best.exact_match.max(f64::from(u8::from(answer == gold))),
            f1: best.f1.max(overlap(&answer, &gold).f1()),
        }
    })
}

/// How much two texts have in common.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Overlap {
    /// Share of the answer's words that the right answer has.
    pub precision: f64,
    /// Share of the right answer's words that the answer has.
    pub recall: f64,
}

impl Overlap {
    const NONE: Overlap = Overlap {
        precision: 0.0,
        recall: 0.0,
    };
    const ALL: Overlap = Overlap {
        precision: 1.0,
        recall: 1.0,
    };

    /// The harmonic mean of precision and recall.
    pub fn f1(self) -> f64 {
        let sum = self.precision + self.recall;
        if sum == 0.0 {
            return 0.0;
        }
        2.0 * self.precision * self.recall / sum
    }
}

/// Compares the words of an answer with those of a right one. Both are normalised; a word that
/// occurs twice counts twice.
pub fn overlap(answer: &str, gold: &str) -> Overlap {
    if answer == gold {
        return Overlap::ALL;
    }
    if WHOLE.contains(&answer) || WHOLE.contains(&gold) {
        return Overlap::NONE;
    }
    let mut left: HashMap<&str, usize> = HashMap::new();
    for word in gold.split(' ') {
        *left.entry(word).or_default() += 1;
    }
    let mut common = 0;
    for word in answer.split(' ') {
        if let Some(n) = left.get_mut(word).filter(|n| **n > 0) {
            *n -= 1;
            common += 1;
        }
    }
    let share = |text: &str| f64::from(common) / text.split(' ').count() as f64;
    Overlap {
        precision: share(answer),
        recall: share(gold),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::fs;

    use gfm_pipe_testing::shared;
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    fn texts(all: &[&str]) -> Vec<String> {
        all.iter().map(|t| (*t).to_owned()).collect()
    }

    #[test]
    fn answers_by_hand() {
        let check = |answer: &str, gold: &[&str], exact_match: f64, f1: f64| {
            let got = score(answer, &texts(gold));
            let near = (got.f1 - f1).abs() < 1e-12;
            assert!(
                got.exact_match == exact_match && near,
                "{answer:?}: {got:?}"
            );
        };
        check("The Beatles", &["beatles", "Fab Four"], 1.0, 1.0);
        check("fab four!", &["beatles", "Fab Four"], 1.0, 1.0);
        // One of two words, which is one of one.
        check("Paul McCartney", &["McCartney"], 0.0, 2.0 / 3.0);
        // 2 of 3 and 2 of 4.
        check("New York City", &["New York New York"], 0.0, 4.0 / 7.0);
        check("new new", &["new"], 0.0, 2.0 / 3.0);
        check("yes indeed", &["yes"], 0.0, 0.0);
        check("Yes.", &["yes"], 1.0, 1.0);
        check("no", &["yes", "no"], 1.0, 1.0);
        check("noanswer", &["no answer"], 0.0, 0.0);
        check("", &["the"], 1.0, 1.0);
        check("", &["cat"], 0.0, 0.0);
        check("cat", &["the"], 0.0, 0.0);
        check("cat", &[], 0.0, 0.0);
    }

    /// The same for words that are sorted, one pair at a time.
    fn slow_f1(a: &str, b: &str) -> f64 {
        let words = |text: &str| -> Vec<String> {
            let mut all: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
            all.sort();
            all
        };
        let (a, mut b) = (words(a), words(b));
        let (n, m) = (a.len(), b.len());
        let mut common = 0;
        for word in a {
            if let Some(at) = b.iter().position(|w| *w == word) {
                b.remove(at);
                common += 1;
            }
        }
        if n + m == 0 {
            1.0
        } else {
            f64::from(2 * common) / (n + m) as f64
        }
    }

    proptest! {
        #[test]
        fn scores_have_the_properties_of_an_overlap(
            a in "[xyz]{0,2}( [xyz]{1,2}){0,4}",
            b in "[xyz]{0,2}( [xyz]{1,2}){0,4}",
        ) {
            let (one, other) = (score(&a, &texts(&[&b])), score(&b, &texts(&[&a])));
            prop_assert_eq!(one, other);
            prop_assert!((0.0..=1.0).contains(&one.f1));
            prop_assert!(one.f1 >= one.exact_match);
            prop_assert!((one.f1 - slow_f1(&a, &b)).abs() < 1e-12);
            // Another right answer never makes a score worse.
            let more = score(&a, &texts(&[&b, "x y"]));
            prop_assert!(more.f1 >= one.f1 && more.exact_match >= one.exact_match);
        }

        #[test]
        fn an_answer_equals_itself_in_any_writing(a in ".{0,20}") {
            let got = score(&a.to_uppercase().to_lowercase(), &texts(&[&a.to_uppercase()]));
            prop_assert_eq!(got, Score { exact_match: 1.0, f1: 1.0 });
        }
    }

    /// The answer in what GFM-RAG asks a model to write.
    fn of_response(text: &str) -> &str {
        if !text.contains("Answer: ") {
            return text;
        }
        text.split("Answer:").nth(1).unwrap()
    }

    /// All lines agree with GFM-RAG's three evaluators, but for what they do to each other's data:
    /// only HotpotQA's takes "yes" as a whole, only MuSiQue's takes two empty answers for equal,
    /// and MuSiQue's swaps precision and recall.
    #[test]
    fn parity2_answers() {
        let Some(folder) = shared("parity2/metrics") else {
            return;
        };
        let lines = fs::read_to_string(folder.join("qa_lines.jsonl")).unwrap();
        let case: Value =
            serde_json::from_slice(&fs::read(folder.join("case.json")).unwrap()).unwrap();
        let want = |set: &str, line: usize, figure: &str| {
            case["qa"][set]["per_line"][line][figure].as_f64().unwrap()
        };
        let near = |got: f64, want: f64, what: &str| {
            assert!((got - want).abs() < 1e-12, "{what}: {got}, {want}");
        };
        let (mut yes, mut empty) = (0, 0);
        for (i, line) in lines.lines().enumerate() {
            let line: Value = serde_json::from_str(line).unwrap();
            let answer = of_response(line["response"].as_str().unwrap());
            let mut gold = vec![line["answer"].as_str().unwrap().to_owned()];
            let first = score(answer, &gold);
            let aliases = line["answer_aliases"].as_array().unwrap().iter();
            gold.extend(aliases.map(|a| a.as_str().unwrap().to_owned()));
            let all = score(answer, &gold);
            near(first.exact_match, want("hotpotqa", i, "em"), "hotpotqa");
            near(all.exact_match, want("2wikimultihopqa", i, "em"), "2wiki");
            near(all.exact_match, want("musique", i, "em"), "musique");
            let is_empty = normalised(answer).is_empty();
            if is_empty {
                empty += 1;
            } else {
                near(first.f1, want("hotpotqa", i, "f1"), "hotpotqa");
                near(all.f1, want("2wikimultihopqa", i, "f1"), "2wiki");
            }
            let answer = normalised(answer);
            let whole = |text: &str| WHOLE.contains(&text);
            if whole(&answer) != gold.iter().any(|g| whole(&normalised(g))) {
                yes += 1;
                continue;
            }
            near(all.f1, want("musique", i, "f1"), "musique");
            let overlaps = gold.iter().map(|g| overlap(&answer, &normalised(g)));
            let best = overlaps.max_by(|a, b| a.f1().total_cmp(&b.f1())).unwrap();
            near(best.recall, want("musique", i, "precision"), "swapped");
            near(best.precision, want("musique", i, "recall"), "swapped");
        }
        assert_eq!((lines.lines().count(), yes, empty), (13, 1, 1));
    }
}
