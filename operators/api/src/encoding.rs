//! Recognises texts in an encoding other than UTF-8 by their first bytes.
//!
//! Editors and shells on Windows write UTF-16. Read as UTF-8, such a file is a stream of NULs and
//! broken characters, and no parser's message explains why. Every reader of text calls [`check`]
//! first.

use crate::error::OpError;

/// How many bytes at the start of a text are examined.
pub const HEAD: usize = 4096;

/// An encoding that is not UTF-8.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Encoding {
    /// `UTF-16` or `UTF-32`.
    family: &'static str,
    /// Whether the low byte comes first.
    little: bool,
    /// Whether the text begins with a byte order mark.
    marked: bool,
}

impl Encoding {
    /// Names the encoding for messages.
    pub fn describe(self) -> String {
        let order = if self.little { "little" } else { "big" };
        format!("{} ({order}-endian)", self.family)
    }

    /// A hint for the user: the command that converts the file to UTF-8.
    pub fn hint(self) -> String {
        // With a mark, iconv finds the order of bytes itself and removes the mark.
        let order = match (self.marked, self.little) {
            (true, _) => "",
            (false, true) => "LE",
            (false, false) => "BE",
        };
        format!(
            "convert it: iconv -f {}{order} -t UTF-8 OLD > NEW",
            self.family
        )
    }
}

/// The encoding of a text that begins with these bytes; `None` where they may be UTF-8.
///
/// Without a byte order mark, an encoding is recognised by the NULs that fill the upper bytes of
/// ASCII characters.
pub fn foreign(bytes: &[u8]) -> Option<Encoding> {
    let marked = |family, little| {
        Some(Encoding {
            family,
            little,
            marked: true,
        })
    };
    match bytes {
        // This mark begins with the mark of UTF-16, so it is looked for first.
        [0xff, 0xfe, 0, 0, ..] => return marked("UTF-32", true),
        [0, 0, 0xfe, 0xff, ..] => return marked("UTF-32", false),
        [0xff, 0xfe, ..] => return marked("UTF-16", true),
        [0xfe, 0xff, ..] => return marked("UTF-16", false),
        _ => {}
    }
    let head = &bytes[..bytes.len().min(HEAD)];
    [
        ("UTF-32", true),
        ("UTF-32", false),
        ("UTF-16", true),
        ("UTF-16", false),
    ]
    .into_iter()
    .find(|(family, little)| evident(head, *family == "UTF-32", *little))
    .map(|(family, little)| Encoding {
        family,
        little,
        marked: false,
    })
}

/// Whether bytes are evidently units of 16 or 32 bits: at least one unit in eight is an ASCII
/// character, at least one of these is punctuation or white space, and no unit is a NUL or beyond
/// Unicode. If the bytes are valid UTF-8 as well, at least every second unit must be an ASCII
/// character, because a UTF-8 text may hold a stray NUL.
fn evident(head: &[u8], wide: bool, little: bool) -> bool {
    let size = if wide { 4 } else { 2 };
    let (mut units, mut ascii, mut between) = (0usize, 0usize, 0usize);
    for unit in head.chunks_exact(size) {
        let value = unit.iter().enumerate().fold(0u32, |value, (i, byte)| {
            let place = if little { i } else { size - 1 - i };
            value | u32::from(*byte) << (8 * place)
        });
        if value == 0 || wide && char::from_u32(value).is_none() {
            return false;
        }
        units += 1;
        if let Some(c) = u8::try_from(value).ok().filter(u8::is_ascii) {
            ascii += 1;
            between += usize::from(c.is_ascii_whitespace() || c.is_ascii_punctuation());
        }
    }
    let utf8 = match std::str::from_utf8(head) {
        Ok(_) => true,
        // The head may end inside a character.
        Err(e) => e.error_len().is_none(),
    };
    let share = if utf8 { 2 } else { 8 };
    between > 0 && ascii * share >= units
}

/// Returns an error for a text that is evidently not UTF-8, or that is only a Git LFS pointer to
/// the file that is meant; `None` where its first bytes may be UTF-8.
pub fn check(bytes: &[u8]) -> Option<OpError> {
    if let Some(pointer) = crate::foreign::git_lfs(bytes) {
        return Some(OpError::data(pointer.problem).hint(pointer.hint));
    }
    let encoding = foreign(bytes)?;
    Some(
        OpError::data(format!("the file is {}, not UTF-8", encoding.describe()))
            .hint(encoding.hint()),
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn utf16(text: &str, little: bool) -> Vec<u8> {
        let bytes = |u: u16| {
            if little {
                u.to_le_bytes()
            } else {
                u.to_be_bytes()
            }
        };
        text.encode_utf16().flat_map(bytes).collect()
    }

    fn utf32(text: &str, little: bool) -> Vec<u8> {
        let bytes = |c: char| {
            if little {
                u32::from(c).to_le_bytes()
            } else {
                u32::from(c).to_be_bytes()
            }
        };
        text.chars().flat_map(bytes).collect()
    }

    #[test]
    fn encodings_are_recognised_with_and_without_a_mark() {
        let texts = [
            "ada brook,lives in,oak town\nben brook,likes,ada brook\n",
            "李 明,住在,北京\n李 明,喜欢,上海\n",
            "[{\"id\": \"q\", \"question\": \"Où ?\"}]",
            "a,r,b",
            "{}",
            "a,\u{1F600},c\n",
        ];
        for text in texts {
            for little in [true, false] {
                let order = if little { "LE" } else { "BE" };
                let marked = format!("\u{feff}{text}");
                for (bytes, iconv) in [
                    (utf16(text, little), format!("UTF-16{order}")),
                    (utf32(text, little), format!("UTF-32{order}")),
                    (utf16(&marked, little), "UTF-16".to_owned()),
                    (utf32(&marked, little), "UTF-32".to_owned()),
                ] {
                    let found = foreign(&bytes).unwrap_or_else(|| panic!("{text} in {iconv}"));
                    assert_eq!(
                        found.hint(),
                        format!("convert it: iconv -f {iconv} -t UTF-8 OLD > NEW"),
                        "{text}"
                    );
                    assert_eq!(found.little, little, "{text}");
                }
            }
        }
    }

    #[test]
    fn utf_8_is_never_taken_for_something_else() {
        for text in [
            "",
            "a",
            "ada brook,lives in,oak town\n",
            "\u{feff}ada,r,b\n",
            "李 明,住在,北京\n",
            "nul\0brook,lives in,elm town",
            "a\0b\0c",
            "\0\0\0\0,",
            "a\0\0b,c,d",
            "ada,r,oak\na\0,r,b\0",
            "ａ,ｂ,ｃ",
        ] {
            assert_eq!(foreign(text.as_bytes()), None, "{text:?}");
        }
    }

    #[test]
    fn the_error_says_what_and_how() {
        let e = check(&utf16("a,r,b", true)).unwrap();
        assert_eq!(
            e.to_string(),
            "the file is UTF-16 (little-endian), not UTF-8"
        );
        assert!(check(b"a,r,b").is_none());
    }
}
