//! Text from outside on its way to a terminal or a log file.
//!
//! Names, paths, cells and the output of programs may hold characters that move the cursor, colour
//! or hide what follows, or turn the direction of a line. The functions here are the only way such
//! text is shown: they write every character that [`is_hidden`] as JSON would (`\u001b`). So a JSON
//! document stays the same document, and escaping twice changes nothing.

use std::borrow::Cow;
use std::fmt::Write as _;

/// Whether a terminal does not show a character as itself: controls, line and paragraph separators,
/// marks that change the direction of text, and characters without a width (Unicode's
/// Default_Ignorable_Code_Point and the interlinear annotations).
pub fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{ad}'
                | '\u{34f}'
                | '\u{61c}'
                | '\u{115f}'..='\u{1160}'
                | '\u{17b4}'..='\u{17b5}'
                | '\u{180b}'..='\u{180f}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{3164}'
                | '\u{fe00}'..='\u{fe0f}'
                | '\u{feff}'
                | '\u{ffa0}'
                | '\u{fff0}'..='\u{fffb}'
                | '\u{1bca0}'..='\u{1bca3}'
                | '\u{1d173}'..='\u{1d17a}'
                | '\u{e0000}'..='\u{e0fff}'
        )
}

/// Escapes hidden characters, line breaks and tabs included, so that the text stays on one line.
pub fn one_line(text: &str) -> Cow<'_, str> {
    escape(text, is_hidden)
}

/// Escapes hidden characters, but keeps line feeds and tabs as they are.
pub fn lines(text: &str) -> Cow<'_, str> {
    escape(text, |c| is_hidden(c) && !matches!(c, '\n' | '\t'))
}

fn escape(text: &str, hidden: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.contains(&hidden) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            c if !hidden(c) => out.push(c),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    // Writing to a String cannot fail.
                    let _ = write!(out, "\\u{unit:04x}");
                }
            }
        }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_moves_hides_or_turns_is_written_out() {
        for (text, shown) in [
            ("plain, ünïcode, 日本語", "plain, ünïcode, 日本語"),
            ("a\u{1b}[2K\r", "a\\u001b[2K\\r"),
            ("\u{9b}31m", "\\u009b31m"),
            ("\u{7f}\u{0}", "\\u007f\\u0000"),
            ("user\u{202e}nimda", "user\\u202enimda"),
            ("a\u{2066}b\u{2069}", "a\\u2066b\\u2069"),
            ("a\u{200b}b\u{200d}\u{feff}", "a\\u200bb\\u200d\\ufeff"),
            ("a\u{2028}b", "a\\u2028b"),
            ("\u{e0041}", "\\udb40\\udc41"),
        ] {
            assert_eq!(lines(text), shown);
            assert_eq!(one_line(shown), shown, "escaping twice changes nothing");
        }
        assert_eq!(lines("a\n\tb"), "a\n\tb");
        assert_eq!(one_line("a\n\tb"), "a\\n\\tb");
    }

    #[test]
    fn a_json_document_stays_the_same_document() {
        let value = serde_json::json!({"a\u{202e}": ["\u{9b}2J\u{7f}", "\u{e0041}\n\u{200b}"]});
        let shown = lines(&value.to_string()).into_owned();
        assert!(!shown.contains(is_hidden));
        let read: serde_json::Value = serde_json::from_str(&shown).unwrap();
        assert_eq!(read, value);
    }

    #[test]
    fn every_character_of_unicode_that_is_shown_as_itself_stays() {
        let hidden = ('\0'..=char::MAX).filter(|c| is_hidden(*c)).count();
        // 65 controls, the block of tags, and the rest of the list.
        assert_eq!(hidden, 65 + 0x1000 + 83);
        for c in ['\u{a0}', '\u{300}', '\u{3000}', '\u{fffd}', '🙂'] {
            assert!(!is_hidden(c), "{c:?}");
        }
    }
}
