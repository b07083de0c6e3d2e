//! Candidates for questions, and the reasons why one is not made.

use ahash::AHashSet;

use super::corpus::Corpus;
use super::names::{capital, contains, content, key, words};
use super::statement::{Place, Statement};

/// Longest question, in words.
const LONGEST: usize = 40;
/// Fewest words that say something.
const LEAST_CONTENT: usize = 2;
/// Words for something that was named before, as texts write them inside a sentence.
const UNCLEAR: [&str; 22] = [
    "he", "she", "it", "they", "him", "them", "his", "her", "its", "their", "this", "these",
    "those", "I", "we", "our", "us", "my", "you", "himself", "herself", "itself",
];

/// The types of questions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Type {
    Single,
    Bridge,
    Intersection,
    Comparison,
}

impl Type {
    pub fn name(self) -> &'static str {
        match self {
            Type::Single => "single",
            Type::Bridge => "bridge",
            Type::Intersection => "intersection",
            Type::Comparison => "comparison",
        }
    }
}

/// A question that may be made.
#[derive(Debug, Clone)]
pub struct Candidate {
    pub of: Type,
    pub text: String,
    pub answer: String,
    /// The gold documents, in the order of the hops.
    pub gold: Vec<u32>,
    pub hops: u32,
    /// Keys of what must not be named: the entities between the hops.
    pub hidden: Vec<String>,
    /// The statements it was made from.
    pub statements: Vec<u32>,
    /// Whether the answer may be named, as in "Who is older, X or Y?".
    pub names_answer: bool,
}

/// The id of a question with these gold documents. It depends on what is asked, not on the other
/// questions, and differs from ids of others.
pub fn id(text: &str, gold: &[u32]) -> String {
    let mut documents = gold.to_vec();
    documents.sort_unstable();
    documents.dedup();
    let mut hasher = blake3::Hasher::new();
    hasher.update(text.as_bytes());
    for document in &documents {
        hasher.update(&document.to_le_bytes());
    }
    format!("made_{}", &hasher.finalize().to_hex()[..16])
}

/// A text as a question.
pub fn question(text: &str) -> String {
    format!("{}?", capital(text.trim().trim_end_matches(['.', ','])))
}

/// Why a candidate is no good question, by itself.
pub fn fault(candidate: &Candidate) -> Option<&'static str> {
    let text = &candidate.text;
    let all: Vec<String> = words(text).collect();
    if all.len() > LONGEST {
        return Some("too_long");
    }
    if content(text).count() < LEAST_CONTENT {
        return Some("says_too_little");
    }
    if is_unclear(text) || text.contains(['(', ')', '[', ']', ':', ';', '\n', '"', '=']) {
        return Some("unclear_words");
    }
    // Parts of long lists were left out.
    let often = ["to", "from", "with", "and"].iter().any(|word| {
        let count = all.iter().filter(|w| w == word).count();
        count > 1 + candidate.hops as usize
    });
    let directions = ["north", "south", "east", "west"];
    let bordered = all.iter().filter(|w| directions.contains(&w.as_str()));
    let often = often || bordered.count() > 2;
    let mut fours = AHashSet::new();
    if often || all.windows(4).any(|four| !fours.insert(four)) {
        return Some("repeats");
    }
    let doubled = all.windows(2).any(|pair| pair[0] == pair[1]);
    if doubled {
        return Some("unclear_words");
    }
    if candidate.hidden.iter().any(|key| names(text, key)) {
        return Some("names_bridge");
    }
    // Two documents with one title: the question would ask for what it describes.
    if candidate.hidden.contains(&key(&candidate.answer)) {
        return Some("answer_is_bridge");
    }
    if !candidate.names_answer && says_answer(text, &candidate.answer) {
        return Some("names_answer");
    }
    None
}

/// Whether a text has an answer, or all words of it that say something.
pub fn says_answer(text: &str, answer: &str) -> bool {
    let all: Vec<String> = words(text).collect();
    let mut of_answer = content(answer).peekable();
    let said = of_answer.peek().is_some() && of_answer.all(|w| all.contains(&w));
    said || contains(text, &words(answer).collect::<Vec<_>>().join(" "))
}

/// Whether a text has a word for something that was named before. In a name it is none: "Her",
/// "US Navy", "Elizabeth I".
fn is_unclear(text: &str) -> bool {
    let words = text.split(|c: char| !c.is_alphanumeric());
    let words = words.filter(|word| !word.is_empty());
    let mut after_name = false;
    words.enumerate().any(|(at, word)| {
        let unclear = UNCLEAR.contains(&word) && !(word == "I" && after_name);
        // The first word of a question has a capital in any case.
        after_name = at > 0 && word.starts_with(char::is_uppercase);
        unclear
    })
}

/// Whether a text has a name, or all words of it that say something, two or more.
pub fn names(text: &str, key: &str) -> bool {
    if contains(text, key) {
        return true;
    }
    let of_key: Vec<String> = content(key).collect();
    let all: Vec<String> = words(text).collect();
    let said = of_key.iter().filter(|w| all.contains(w)).count();
    of_key.len() >= 2 && said == of_key.len()
}

/// Whether what a statement says of its title may be said of many others.
pub fn is_common(corpus: &Corpus<'_>, statement: &Statement) -> bool {
    let Place::Mention { key, .. } = &statement.given else {
        return false;
    };
    let often = corpus.mentioned.get(key).copied().unwrap_or(0);
    let said = probe(corpus, statement)
        .len()
        .saturating_sub(content(key).count());
    often > 3 && said < 4
}

/// The words of a statement that say something, with its known place, without the asked one.
pub fn probe(corpus: &Corpus<'_>, statement: &Statement) -> Vec<String> {
    let given = corpus.surface(statement, &statement.given);
    let form = statement.phrase.as_ref().or(statement.relative.as_ref());
    let form = form
        .or(statement.questions.first())
        .map_or("", String::as_str);
    let mut said: Vec<String> = content(given).chain(content(form)).collect();
    // A title that is asked for can be told by its noun, too.
    if statement.asked == Place::Title
        && let Some(is) = &corpus.said[statement.document as usize].is
    {
        said.extend(content(&is.noun));
    }
    said.sort_unstable();
    said.dedup();
    said
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_for_something_named_before_is_unclear_unless_it_is_in_a_name() {
        for text in [
            "When did he die?",
            "Where do I live?",
            "Did I live?",
            "Who wrote its score?",
        ] {
            assert!(is_unclear(text), "{text}");
        }
        for text in [
            "Who fought in World War I?",
            "Which ship of the US Navy sank?",
            "Who directed the film Her?",
            "Who wrote It?",
        ] {
            assert!(!is_unclear(text), "{text}");
        }
    }
}
