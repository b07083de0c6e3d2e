//! The form in which answers are compared.

const ARTICLES: [&str; 3] = ["a", "an", "the"];

/// A text as the evaluation scripts of SQuAD, HotpotQA, MuSiQue and 2WikiMultiHopQA compare it: in
/// lower case, without ASCII punctuation, without the words "a", "an" and "the", and with single
/// blanks between words. Letters, words and blanks are those of Unicode.
pub fn normalised(text: &str) -> String {
    let lower = text.to_lowercase();
    let plain = lower.replace(|c: char| c.is_ascii_punctuation(), "");
    let mut kept = String::with_capacity(plain.len());
    let mut rest = plain.as_str();
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_alphanumeric());
        let (word, after) = rest.split_at(end.unwrap_or(rest.len()));
        kept.push_str(if ARTICLES.contains(&word) { " " } else { word });
        let next = after.find(char::is_alphanumeric).unwrap_or(after.len());
        kept.push_str(&after[..next]);
        rest = &after[next..];
    }
    let words: Vec<&str> = kept.split_whitespace().collect();
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The same, letter by letter.
    fn slowly(text: &str) -> String {
        let all: Vec<char> = text.to_lowercase().chars().collect();
        let all: Vec<char> = all
            .into_iter()
            .filter(|c| !"!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~".contains(*c))
            .collect();
        let inside = |i: usize| all.get(i).is_some_and(|c| c.is_alphanumeric());
        let mut out = String::new();
        let mut i = 0;
        while i < all.len() {
            let begins = i == 0 || !inside(i - 1);
            let article = ARTICLES.iter().find(|a| {
                let here = all[i..].iter().take(a.len());
                here.copied().eq(a.chars()) && !inside(i + a.len())
            });
            let (step, c) = match article.filter(|_| begins) {
                Some(article) => (article.len(), ' '),
                None => (1, all[i]),
            };
            i += step;
            let blank = c.is_whitespace();
            if !blank || !(out.is_empty() || out.ends_with(' ')) {
                out.push(if blank { ' ' } else { c });
            }
        }
        out.trim_end().to_owned()
    }

    #[test]
    fn texts_by_hand() {
        for (text, want) in [
            ("The Beatles.", "beatles"),
            ("an Apple a day", "apple day"),
            ("U.S.A. — 1,000 km²", "usa — 1000 km²"),
            ("New York City, New York", "new york city new york"),
            ("a the   cat", "cat"),
            ("The", ""),
            ("theory of a band", "theory of band"),
            // "the-cat" becomes one word before articles are dropped.
            ("the-cat", "thecat"),
            ("the—cat", "—cat"),
            ("ÅNGSTRÖM\u{a0}Ångström", "ångström ångström"),
            ("ΟΔΟΣ", "οδος"),
            (" \t\n", ""),
        ] {
            assert_eq!(normalised(text), want, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn texts_agree_with_the_slow_way(text in "([aA]n?|[tT]he|[ .—’é²x_'-]|\u{a0}|[A-Z]|İ|Σ){0,12}") {
            prop_assert_eq!(normalised(&text), slowly(&text));
        }

        #[test]
        fn any_text_has_a_form_without_blanks_at_its_ends(text in ".{0,30}") {
            let form = normalised(&text);
            prop_assert!(!form.contains("  ") && form.trim() == form);
        }
    }
}
