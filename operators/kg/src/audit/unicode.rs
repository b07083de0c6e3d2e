//! Checks of characters: text that was read in the wrong encoding, and invisible characters.

use std::borrow::Cow;

use gfm_pipe_api::OpResult;
use unicode_normalization::{UnicodeNormalization as _, is_nfc};

use super::checks::{self, Check};
use super::data::{Data, Finding, Place, Stop};

/// A fault in a text.
struct Damage {
    check: &'static Check,
    message: String,
    suggestion: Option<String>,
}

/// Whether a text is a name, or may have several lines.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Name,
    Text,
}

/// Checks all names, titles, texts and questions.
///
/// # Errors
/// When the user wants to stop.
pub fn characters(data: &Data, stop: Stop<'_>) -> OpResult<Vec<Finding>> {
    let mut out = Vec::new();
    let mut look = |form, item: &str, text: &str, what: &str, place: &dyn Fn() -> Option<Place>| {
        if form == Form::Name && text != text.trim() && !text.trim().is_empty() {
            let message = format!("the {what} begins or ends with white space");
            let trimmed = Some(text.trim().to_owned());
            out.push(Finding::new(&checks::PADDED_NAME, place(), item, message).suggest(trimmed));
        }
        for d in damage(text, form) {
            let message = format!("the {what} {}", d.message);
            out.push(Finding::new(d.check, place(), item, message).suggest(d.suggestion));
        }
    };
    for (id, name) in data.named() {
        if id % 65_536 == 0 {
            stop()?;
        }
        look(Form::Name, name, name, "name", &|| data.entity(id));
    }
    for (id, name) in data.direct() {
        look(Form::Name, name, name, "relation", &|| data.relation(id));
    }
    if let Some(documents) = &data.documents {
        for (row, title) in documents.titles.iter().enumerate() {
            if row % 1024 == 0 {
                stop()?;
            }
            let place = || data.document(row);
            look(Form::Name, title, title, "title", &place);
            look(Form::Text, title, &documents.texts[row], "text", &place);
        }
    }
    for (split, row, question) in data.questions() {
        let place = || data.places.first(&split.name, row);
        look(Form::Name, &question.id, &question.id, "id", &place);
        look(Form::Text, &question.id, &question.text, "question", &place);
    }
    Ok(out)
}

/// The faults of a text, at most one of each kind.
fn damage(text: &str, form: Form) -> Vec<Damage> {
    let mut out = Vec::new();
    let control = |c: char| c.is_control() && (form == Form::Name || !"\t\n\r".contains(c));
    if text.is_ascii() {
        if let Some(at) = text.find(control) {
            out.push(damage_at(&checks::CONTROL_CHARACTER, text, at, 1));
        }
        return out;
    }
    if let Some(at) = text.find('\u{fffd}') {
        out.push(damage_at(&checks::REPLACEMENT_CHARACTER, text, at, 1));
    }
    if let Some((at, length)) = mojibake(text) {
        let mut damage = damage_at(&checks::MOJIBAKE, text, at, length);
        damage.suggestion = Some(match form {
            Form::Name => repaired(text),
            Form::Text => repaired(&excerpt(text, at, length)),
        });
        out.push(damage);
    }
    // C1 characters that are part of mojibake are already reported.
    let rest: Cow<'_, str> = match mojibake(text) {
        Some(_) => repaired(text).into(),
        None => text.into(),
    };
    if let Some(at) = rest.find(control) {
        out.push(damage_at(&checks::CONTROL_CHARACTER, &rest, at, 1));
    }
    if let Some(at) = invisible(text) {
        let mut damage = damage_at(&checks::INVISIBLE_CHARACTER, text, at, 1);
        if form == Form::Name {
            damage.suggestion = Some(visible(text));
        }
        out.push(damage);
    }
    if !is_nfc(text) {
        let composed: String = text.nfc().collect();
        let same = text
            .chars()
            .zip(composed.chars())
            .take_while(|(a, b)| a == b);
        let at = same.map(|(a, _)| a.len_utf8()).sum();
        let mut damage = damage_at(&checks::NOT_NFC, text, at, 2);
        damage.message = format!(
            "is not in normal form C at `{}`",
            shown(&excerpt(text, at, 2))
        );
        damage.suggestion = Some(match form {
            Form::Name => composed,
            Form::Text => excerpt(text, at, 2).nfc().collect(),
        });
        out.push(damage);
    }
    out
}

fn damage_at(check: &'static Check, text: &str, at: usize, length: usize) -> Damage {
    let code = text[at..].chars().next().map_or(0, u32::from);
    let near = shown(&excerpt(text, at, length));
    Damage {
        check,
        message: format!("has U+{code:04X} in `{near}`"),
        suggestion: None,
    }
}

/// A text on one line, with control characters and the like written as numbers: some change how
/// everything after them is shown.
pub fn shown(text: &str) -> String {
    let chars = text.chars().map(|c| match c {
        '\n' | '\t' | '\r' => ' '.to_string(),
        c if c.is_control() || is_invisible(c) => format!("<U+{:04X}>", c as u32),
        c => c.to_string(),
    });
    chars.collect()
}

/// The beginning of a text, as much as fits a line.
pub fn beginning(text: &str) -> String {
    const MOST: usize = 80;
    let mut out: String = text.chars().take(MOST).collect();
    if out.len() < text.len() {
        out.push('…');
    }
    out
}

/// The `length` characters at a byte offset, with some text around them.
fn excerpt(text: &str, at: usize, length: usize) -> String {
    const AROUND: usize = 20;
    let before = text[..at].char_indices().rev().nth(AROUND - 1);
    let start = before.map_or(0, |(i, _)| i);
    let behind = text[at..].char_indices().nth(length + AROUND);
    let end = behind.map_or(text.len(), |(i, _)| at + i);
    text[start..end].to_owned()
}

/// The byte for a character in Windows-1252, from 0x80 on. C1 characters stand for themselves.
fn byte(c: char) -> Option<u8> {
    const HIGH: [char; 27] = [
        '€', '‚', 'ƒ', '„', '…', '†', '‡', 'ˆ', '‰', 'Š', '‹', 'Œ', 'Ž', '‘', '’', '“', '”', '•',
        '–', '—', '˜', '™', 'š', '›', 'œ', 'ž', 'Ÿ',
    ];
    const BYTES: [u8; 27] = [
        0x80, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8a, 0x8b, 0x8c, 0x8e, 0x91, 0x92,
        0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99, 0x9a, 0x9b, 0x9c, 0x9e, 0x9f,
    ];
    match u32::from(c) {
        code @ 0x80..=0xff => u8::try_from(code).ok(),
        _ => HIGH.iter().position(|h| *h == c).map(|i| BYTES[i]),
    }
}

/// The character that the mojibake at the beginning of a text stands for, and the number of
/// characters of the mojibake.
fn misread(text: &str) -> Option<(char, usize)> {
    let mut chars = text.chars();
    let lead = chars.next()?;
    let length = match lead {
        'Â' | 'Ã' | 'Ä' | 'Å' => 2,
        'â' => 3,
        _ => return None,
    };
    let mut bytes = vec![byte(lead)?];
    for c in chars.take(length - 1) {
        // Quotes and dashes follow capitals in correct texts too.
        let common = "‚„…‘’“”–—•".contains(c);
        let plain = !('\u{a1}'..='\u{bf}').contains(&c);
        let (low, latin) = (common && length == 2, "ÄÅ".contains(lead) && plain);
        if low || latin {
            return None;
        }
        bytes.push(byte(c)?);
    }
    let decoded = std::str::from_utf8(&bytes).ok()?.chars().next()?;
    (!decoded.is_control()).then_some((decoded, length))
}

/// The first mojibake: byte offset and number of characters.
fn mojibake(text: &str) -> Option<(usize, usize)> {
    let leads = text.match_indices(['Â', 'Ã', 'Ä', 'Å', 'â']);
    let mut found = leads.filter_map(|(at, _)| Some((at, misread(&text[at..])?.1)));
    found.next()
}

/// The text with all mojibake replaced by the characters that were meant.
fn repaired(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let (good, length) = misread(rest).unwrap_or((c, 1));
        out.push(good);
        let next = rest.char_indices().nth(length);
        rest = next.map_or("", |(i, _)| &rest[i..]);
    }
    out
}

/// Whether a character takes no room or only changes how others are shown: zero-width characters,
/// controls of the direction of writing, line separators, fillers and tags. Variation selectors are
/// not among them: they choose a shape of the character before.
pub fn is_invisible(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{180e}' | '\u{feff}')
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}')
        // Fillers of Hangul and Khmer, annotations between lines, tags.
        || matches!(c, '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{3164}' | '\u{ffa0}')
        || matches!(c, '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// Whether the character at a byte offset is invisible and not needed by a script. Joiners between
/// letters outside ASCII shape them, and tags after a black flag make the flag of a country.
fn hidden(text: &str, at: usize, c: char) -> bool {
    if is_tag(c) {
        return !text[..at].trim_end_matches(is_tag).ends_with('\u{1f3f4}');
    }
    if !matches!(c, '\u{200c}' | '\u{200d}') {
        return is_invisible(c);
    }
    let before = text[..at].chars().next_back();
    let behind = text[at + c.len_utf8()..].chars().next();
    let joins = |c: Option<char>| c.is_some_and(|c| !c.is_ascii());
    !(joins(before) && joins(behind))
}

fn is_tag(c: char) -> bool {
    matches!(c, '\u{e0020}'..='\u{e007f}')
}

fn invisible(text: &str) -> Option<usize> {
    let mut found = text.char_indices().filter(|(at, c)| hidden(text, *at, *c));
    found.next().map(|(at, _)| at)
}

fn visible(text: &str) -> String {
    let seen = text.char_indices().filter(|(at, c)| !hidden(text, *at, *c));
    seen.map(|(_, c)| c).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::testing::{graph, reported, with_documents, with_split};
    use super::*;

    fn found(text: &str, form: Form) -> Vec<(&'static str, Option<String>)> {
        let all = damage(text, form).into_iter();
        all.map(|d| (d.check.name, d.suggestion)).collect()
    }

    #[test]
    fn damaged_names_are_repaired_where_that_can_be() {
        let some = |s: &str| Some(s.to_owned());
        assert_eq!(found("cafÃ©", Form::Name), [("mojibake", some("café"))]);
        assert_eq!(
            found("Donâ€™t Ã¼ber Â©", Form::Name),
            [("mojibake", some("Don’t über ©"))]
        );
        assert_eq!(found("Å¡koda", Form::Name), [("mojibake", some("škoda"))]);
        assert_eq!(
            found("Ã\u{89}tat", Form::Name),
            [("mojibake", some("État"))]
        );
        assert_eq!(
            found("caf\u{fffd}", Form::Name),
            [("replacement-character", None)]
        );
        assert_eq!(found("a\tb", Form::Name), [("control-character", None)]);
        assert_eq!(found("é\u{85}", Form::Name), [("control-character", None)]);
        assert_eq!(
            found("\u{feff}ada\u{200b} é", Form::Name),
            [("invisible-character", some("ada é"))]
        );
        for c in "\u{202e}\u{202d}\u{2067}\u{2069}\u{200f}\u{61c}\u{2064}\u{180e}\u{3164}\u{e0041}\u{fff9}".chars() {
            let want = [("invisible-character", some("ada"))];
            assert_eq!(found(&format!("a{c}da"), Form::Name), want, "U+{:04X}", u32::from(c));
        }
        assert_eq!(
            found("ad\u{200d}a", Form::Name),
            [("invisible-character", some("ada"))]
        );
        assert_eq!(found("Zoe\u{301}", Form::Name), [("not-nfc", some("Zoé"))]);
    }

    #[test]
    fn good_texts_have_no_damage() {
        for text in [
            "café, naïve, Ångström, Ärger, Übermut, São Tomé, â, MAÇÃ",
            "„BÄ“ «À» „Å“ “É” CAFÉ–BAR MAÇÃ” Ã—",
            "می\u{200c}خواهم",
            "❤\u{fe0f} שלום عربى",
            "\u{1f3f4}\u{e0067}\u{e0062}\u{e0065}\u{e006e}\u{e0067}\u{e007f} flag",
            "👩\u{200d}🚀",
            "李 明 Ελλάδα Россия",
            "a line\nanother\tone",
        ] {
            assert_eq!(found(text, Form::Text), [], "{text}");
        }
    }

    #[test]
    fn long_texts_are_told_by_what_stands_around() {
        let text = format!("{}cafÃ© {}", "x".repeat(100), "y".repeat(100));
        let near = format!("{}caf", "x".repeat(17));
        let suggestion = format!("{near}é {}", "y".repeat(19));
        assert_eq!(found(&text, Form::Text), [("mojibake", Some(suggestion))]);
    }

    #[test]
    fn every_kind_of_text_is_looked_at() {
        let data = graph(" a ,r\u{1},b\nb,r\u{1},c");
        let data = with_documents(data, &[("T\u{fffd}", "x\u{200b}y", &[])]);
        let data = with_split(data, "test", &[("q\u{202e}1", "wa\u{2028}s", &[], &[])]);
        assert_eq!(
            reported(&characters(&data, &|| Ok(())).unwrap()),
            [
                "padded-name kg.txt:1  a : the name begins or ends with white space [a]",
                "control-character kg.txt:1 r\u{1}: the relation has U+0001 in `r<U+0001>`",
                "replacement-character corpus.json:2 T\u{fffd}: the title has U+FFFD in `T\u{fffd}`",
                "invisible-character corpus.json:2 T\u{fffd}: the text has U+200B in `x<U+200B>y`",
                "invisible-character test.json:2 q\u{202e}1: the id has U+202E in `q<U+202E>1` [q1]",
                "invisible-character test.json:2 q\u{202e}1: the question has U+2028 in `wa<U+2028>s`",
            ]
        );
    }
}
