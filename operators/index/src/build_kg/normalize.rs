//! Decides which written forms are the same name.

use gfm_pipe_kg::is_invisible;
use serde::{Deserialize, Serialize};
use unicode_normalization::UnicodeNormalization as _;

/// How written forms become names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Normalize {
    /// NFKC and case folding: every script is kept.
    Unicode,
    /// GFM-RAG's rule: lower case, and a blank for everything except ASCII letters and digits.
    Reference,
}

impl Normalize {
    /// The name for a text. `None` where nothing in it can be a name.
    pub fn name(self, text: &str) -> Option<String> {
        let name = match self {
            Normalize::Unicode => unicode(text),
            Normalize::Reference => reference(text),
        };
        name.chars().any(char::is_alphanumeric).then_some(name)
    }
}

/// NFKC and case folding, without invisible characters, with single blanks.
fn unicode(text: &str) -> String {
    if text.is_ascii() {
        ascii(text)
    } else {
        any_script(text)
    }
}

/// [`any_script`] for texts of ASCII characters, of which capitals alone change.
fn ascii(text: &str) -> String {
    let words = text.split(|c: char| c == ' ' || c.is_ascii_control());
    let mut name = String::with_capacity(text.len());
    for word in words.filter(|w| !w.is_empty()) {
        if !name.is_empty() {
            name.push(' ');
        }
        name.push_str(word);
    }
    name.make_ascii_lowercase();
    name
}

fn any_script(text: &str) -> String {
    let seen = text.nfkc().filter(|c| !is_invisible(*c));
    let folded: String = seen.flat_map(fold).nfkc().collect();
    let words = folded.split(|c: char| c.is_whitespace() || c.is_control());
    let words: Vec<&str> = words.filter(|w| !w.is_empty()).collect();
    words.join(" ")
}

/// Full case folding, through capitals: two small letters may share a capital (σ and ς), and a
/// letter may have two capitals (ß). The dotless ı is excluded, because it would become an i.
fn fold(c: char) -> impl Iterator<Item = char> {
    let dotless = (c == 'ı').then_some(c);
    let others = (c != 'ı').then(|| {
        c.to_lowercase()
            .flat_map(char::to_uppercase)
            .flat_map(char::to_lowercase)
    });
    dotless.into_iter().chain(others.into_iter().flatten())
}

/// Runs of blanks stay, as in the reference.
fn reference(text: &str) -> String {
    let kept = |c: char| if c.is_ascii_alphanumeric() { c } else { ' ' };
    let name: String = text.to_lowercase().chars().map(kept).collect();
    name.trim_matches(' ').to_owned()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn unicode(text: &str) -> Option<String> {
        Normalize::Unicode.name(text)
    }

    #[test]
    fn unicode_keeps_every_script() {
        for (text, want) in [
            ("  Ada\n Lovelace ", "ada lovelace"),
            ("São Paulo", "são paulo"),
            ("Sa\u{303}o Paulo", "são paulo"),
            ("東京", "東京"),
            ("ＡＢＣ１", "abc1"),
            ("ΟΔΥΣΣΕΥΣ", "οδυσσευσ"),
            ("Οδυσσεύς", "οδυσσεύσ"),
            ("STRAẞE", "strasse"),
            ("Straße", "strasse"),
            ("Diyarbakır", "diyarbakır"),
            ("C++", "c++"),
            ("O\u{ad}pera", "opera"),
            ("ﬁn de siècle", "fin de siècle"),
            ("1815", "1815"),
        ] {
            assert_eq!(unicode(text).unwrap(), want, "{text}");
        }
        for nothing in ["", " \n", "—", "?!", "\u{200b}"] {
            assert_eq!(unicode(nothing), None, "{nothing}");
        }
    }

    #[test]
    fn a_name_is_its_own_name() {
        for c in (0..=0x2_ffff).filter_map(char::from_u32) {
            let Some(once) = unicode(&format!("a{c}b")) else {
                continue;
            };
            assert_eq!(unicode(&once).as_ref(), Some(&once), "{:x}", c as u32);
        }
    }

    #[test]
    fn ascii_texts_have_the_names_that_all_texts_have() {
        let all = || (0..=127_u8).map(char::from);
        for (a, b) in all().flat_map(|a| all().map(move |b| (a, b))) {
            for text in [format!("{a}{b}"), format!("x{a}{b}Y {b}")] {
                assert_eq!(ascii(&text), any_script(&text), "{text:?}");
            }
        }
    }

    #[test]
    fn the_references_rule_keeps_latin_letters_only() {
        let name = |text| Normalize::Reference.name(text);
        assert_eq!(name("Lôndon").unwrap(), "l ndon");
        assert_eq!(name("café").unwrap(), "caf");
        assert_eq!(name("Capital Of!").unwrap(), "capital of");
        assert_eq!(name("a - b").unwrap(), "a   b");
        assert_eq!(name("\tU.S.").unwrap(), "u s");
        assert_eq!(name("1,000").unwrap(), "1 000");
        assert_eq!(name("tab\there").unwrap(), "tab here");
        assert_eq!(name("東京"), None);
        assert_eq!(name(" "), None);
    }
}
