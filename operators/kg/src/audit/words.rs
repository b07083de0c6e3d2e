//! Splits texts roughly into words and sentences: enough to compare texts and to measure their
//! length.

/// The words of a text, separated by blanks and punctuation. In scripts without blanks, every
/// character is a word.
pub fn words(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        rest = rest.trim_start_matches(|c: char| !c.is_alphanumeric());
        let first = rest.chars().next()?;
        let end = if is_word_alone(first) {
            first.len_utf8()
        } else {
            rest.find(|c: char| !c.is_alphanumeric() || is_word_alone(c))
                .unwrap_or(rest.len())
        };
        let (word, behind) = rest.split_at(end);
        rest = behind;
        Some(word)
    })
}

/// Han, kana and Thai, Lao, Burmese and Khmer characters.
fn is_word_alone(c: char) -> bool {
    matches!(c,
        '\u{0e00}'..='\u{0eff}' | '\u{1000}'..='\u{109f}' | '\u{1780}'..='\u{17ff}'
        | '\u{3040}'..='\u{30ff}' | '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}'
        | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{3ffff}')
}

/// The lines of a text, or the sentences if it has a single line. None of them is blank.
pub fn parts(text: &str) -> Vec<&str> {
    let text = text.trim();
    let split: Vec<&str> = if text.contains('\n') {
        text.lines().collect()
    } else {
        let mut sentences = Vec::new();
        let mut start = 0;
        for (at, c) in text.char_indices() {
            let end = at + c.len_utf8();
            let ends = match c {
                '.' | '!' | '?' => text[end..].starts_with(' '),
                '。' | '！' | '？' => true,
                _ => false,
            };
            if ends {
                sentences.push(&text[start..end]);
                start = end;
            }
        }
        sentences.push(&text[start..]);
        sentences
    };
    let trimmed = split.into_iter().map(str::trim);
    trimmed.filter(|part| !part.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_between_blanks_and_punctuation_or_single_characters() {
        let all = |text| words(text).collect::<Vec<_>>();
        assert_eq!(
            all(" It's 1820, in São-Paulo. "),
            ["It", "s", "1820", "in", "São", "Paulo"]
        );
        assert_eq!(all("東京 Tower、かな"), ["東", "京", "Tower", "か", "な"]);
        assert_eq!(all("Привет, мир!"), ["Привет", "мир"]);
        assert_eq!(all(" …!"), [""; 0]);
    }

    #[test]
    fn parts_are_lines_or_sentences() {
        assert_eq!(
            parts("One. Two 1.5 is! Three?"),
            ["One.", "Two 1.5 is!", "Three?"]
        );
        assert_eq!(parts("\n One. Two.\n\n Three \n"), ["One. Two.", "Three"]);
        assert_eq!(parts("一。二"), ["一。", "二"]);
        assert_eq!(parts("  "), [""; 0]);
    }
}
