//! The normal form of names and texts: without differences in case, spaces and punctuation.

use std::collections::HashMap;

use ahash::RandomState;
use unicode_normalization::UnicodeNormalization as _;

use super::unicode::is_invisible;

/// The normal form: Unicode NFKC, lower case, without white space, control characters and
/// punctuation. Between two digits, one space stays for them, because `1.5` is not `15`. Signs that
/// change the meaning (`C++`, `C#`, `50%`) stay.
pub fn normal(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    if text.is_ascii() {
        squeeze(text.chars().map(|c| c.to_ascii_lowercase()), &mut out);
    } else {
        squeeze(text.nfkc().flat_map(char::to_lowercase), &mut out);
    }
    out
}

fn squeeze(chars: impl Iterator<Item = char>, out: &mut String) {
    let mut gap = false;
    let mut after_digit = false;
    for c in chars {
        if is_gap(c) {
            gap = true;
            continue;
        }
        let digit = c.is_numeric();
        if gap && after_digit && digit {
            out.push(' ');
        }
        out.push(c);
        (gap, after_digit) = (false, digit);
    }
}

fn is_gap(c: char) -> bool {
    c.is_whitespace()
        || c.is_control()
        || ".,;:!?'\"`()[]{}-_/\\|~".contains(c)
        || is_invisible(c)
        || matches!(c, '¡' | '¿' | '«' | '»' | '·' | '¶' | '§')
        // General and supplemental punctuation, CJK punctuation.
        || matches!(c, '\u{2000}'..='\u{206f}' | '\u{2e00}'..='\u{2e7f}' | '\u{3000}'..='\u{303f}')
}

/// Groups of two or more names with the same normal form, ordered by their first name. Names with
/// an empty normal form are not in any group.
pub fn groups<'a>(names: impl Iterator<Item = &'a str> + Clone) -> Vec<Vec<usize>> {
    // Hashes come first, so that the normal form of hardly any name is kept.
    let hasher = RandomState::with_seeds(5, 6, 7, 8);
    let mut hashes: Vec<(u64, usize)> = Vec::new();
    for (i, name) in names.clone().enumerate() {
        let normal = normal(name);
        if !normal.is_empty() {
            hashes.push((hasher.hash_one(&normal), i));
        }
    }
    hashes.sort_unstable();
    let mut suspects: Vec<usize> = hashes
        .chunk_by(|a, b| a.0 == b.0)
        .filter(|same| same.len() > 1)
        .flatten()
        .map(|(_, i)| *i)
        .collect();
    suspects.sort_unstable();
    let mut at: HashMap<String, usize> = HashMap::new();
    let mut out: Vec<Vec<usize>> = Vec::new();
    let mut suspects = suspects.into_iter().peekable();
    for (i, name) in names.enumerate() {
        if suspects.next_if_eq(&i).is_none() {
            continue;
        }
        let place = *at.entry(normal(name)).or_insert(out.len());
        match out.get_mut(place) {
            Some(group) => group.push(i),
            None => out.push(vec![i]),
        }
    }
    out.retain(|group| group.len() > 1);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_people_write_in_several_ways_is_the_same() {
        for (a, b) in [
            ("Oak Town", "oak-town"),
            ("St. John’s", "ST JOHN'S"),
            ("ＡＢＣ", "abc"),
            ("Zoe\u{301}", "zoé"),
            ("10,000", "10 000"),
            ("a\u{200b}b\u{feff}", "ab"),
            ("ﬁsh", "fish"),
        ] {
            assert_eq!(normal(a), normal(b), "{a} {b}");
        }
        for (a, b) in [
            ("1.5", "15"),
            ("C++", "C"),
            ("C#", "C"),
            ("50%", "50"),
            ("né", "ne"),
        ] {
            assert_ne!(normal(a), normal(b), "{a} {b}");
        }
        assert_eq!(normal(" -_. \u{3000}"), "");
    }

    proptest! {
        #[test]
        fn groups_are_those_of_comparing_all(names in prop::collection::vec("[aAb. é1]{0,3}", 0..20)) {
            let normals: Vec<String> = names.iter().map(|n| normal(n)).collect();
            let mut want: Vec<Vec<usize>> = Vec::new();
            for i in 0..names.len() {
                let same: Vec<usize> = (0..names.len()).filter(|j| normals[*j] == normals[i]).collect();
                if same.len() > 1 && same[0] == i && !normals[i].is_empty() {
                    want.push(same);
                }
            }
            prop_assert_eq!(groups(names.iter().map(String::as_str)), want);
        }
    }
}
