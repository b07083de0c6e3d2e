//! Names and words in the forms in which they are compared.

use crate::extract::gazetteer::without_brackets;

/// Words that say little.
const STOP: [&str; 93] = [
    "a",
    "about",
    "after",
    "also",
    "an",
    "and",
    "are",
    "as",
    "at",
    "be",
    "been",
    "before",
    "both",
    "but",
    "by",
    "can",
    "did",
    "do",
    "does",
    "for",
    "from",
    "had",
    "has",
    "have",
    "he",
    "her",
    "him",
    "his",
    "how",
    "in",
    "into",
    "is",
    "it",
    "its",
    "many",
    "most",
    "name",
    "named",
    "no",
    "not",
    "of",
    "on",
    "one",
    "or",
    "other",
    "over",
    "s",
    "same",
    "she",
    "some",
    "such",
    "than",
    "that",
    "the",
    "their",
    "them",
    "then",
    "there",
    "these",
    "they",
    "this",
    "to",
    "under",
    "up",
    "was",
    "were",
    "what",
    "when",
    "where",
    "which",
    "while",
    "who",
    "whom",
    "whose",
    "will",
    "with",
    "would",
    "person",
    "place",
    "thing",
    "year",
    "date",
    "work",
    "organization",
    "event",
    "called",
    "known",
    "located",
    "first",
    "used",
    "part",
    "during",
    "between",
];

/// The words of a text in lower case.
pub fn words(text: &str) -> impl Iterator<Item = String> + '_ {
    text.split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(str::to_lowercase)
}

/// The words of a text that say something.
pub fn content(text: &str) -> impl Iterator<Item = String> + '_ {
    words(text).filter(|word| !STOP.contains(&word.as_str()))
}

/// The form in which names are compared: words in lower case, without an article.
pub fn key(name: &str) -> String {
    let mut all: Vec<String> = words(name).collect();
    let article = all
        .first()
        .is_some_and(|w| ["the", "a", "an"].contains(&w.as_str()));
    if all.len() > 1 && article {
        all.remove(0);
    }
    all.join(" ")
}

/// A key without the place that tells it from others of its name: "paris" of "paris, maine".
pub fn bare(key: &str) -> &str {
    key.split_once(", ").map_or(key, |(bare, _)| bare)
}

/// Whether the words of a key stand in a row in a text.
pub fn contains(text: &str, key: &str) -> bool {
    let all: Vec<String> = words(text).collect();
    format!(" {} ", all.join(" ")).contains(&format!(" {key} "))
}

/// A title as a text says it: without a last part in brackets ("Kelda (volcano)") and without the
/// number that makes equal titles different ("Tennessee #3").
pub fn surface(title: &str) -> &str {
    let title = title.trim();
    let number = title.rsplit_once(" #");
    let is_number = |n: &str| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit());
    let title = number.map_or(title, |(name, n)| if is_number(n) { name } else { title });
    without_brackets(title)
}

/// The name in a title as its text says it: without the place behind a comma ("Lund, Sweden")
/// where the text does not say it.
pub fn name<'a>(title: &'a str, text: &str) -> &'a str {
    let whole = surface(title);
    match whole.split_once(", ") {
        Some((name, _)) if !text.contains(whole) && text.contains(name) => name,
        _ => whole,
    }
}

/// A text with its first letter in upper case.
pub fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| {
        first.to_uppercase().chain(letters).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn titles_and_names_in_the_form_of_texts() {
        assert_eq!(surface("The Prestige (film)"), "The Prestige");
        assert_eq!(surface("Tennessee #3"), "Tennessee");
        assert_eq!(surface("(500)"), "(500)");
        assert_eq!(key("The Prestige"), "prestige");
        assert_eq!(key("The"), "the");
        assert!(contains("Who directed the Prestige?", "prestige"));
        assert!(!contains("Prestigeous", "prestige"));
        assert_eq!(capital("über"), "Über");
    }
}
