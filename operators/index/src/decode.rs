//! Decodes the bytes of a file to text, and maps offsets in the text back to offsets in the file.
//!
//! Reads UTF-8 with and without a byte order mark, UTF-16 with one, any encoding that is named (by
//! the user or by an HTML page), and Latin-1, which is recognised because its text is hardly ever
//! valid UTF-8. Like browsers, it reads Latin-1 as Windows-1252, which adds quotation marks and
//! dashes.
//!
//! Invariant: for any bytes, the result is a text or a reason. Nothing is replaced silently.

use std::ops::Range;

use encoding_rs::{Encoding, UTF_8, UTF_16BE, UTF_16LE, WINDOWS_1252};

/// Bytes of text between two offsets that are stored. A look-up scans at most this much.
const STRIDE: usize = 4096;

/// The number of bytes that a character takes in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unit {
    /// The same number as in the text.
    Utf8,
    /// One byte.
    Single,
    /// Two bytes, or four.
    Utf16,
}

/// The text of a file, and where it was in the file.
#[derive(Debug)]
pub struct Decoded {
    /// The text, without a byte order mark.
    pub text: String,
    /// What had to be replaced, if anything.
    pub damage: Option<String>,
    /// `None` where offsets in the text cannot be mapped to the file.
    unit: Option<Unit>,
    /// Pairs of offsets, in the text and in the file, ascending.
    points: Vec<(usize, u64)>,
    size: u64,
}

impl Decoded {
    /// The bytes of the file that a range of the text was read from, where that is known.
    pub fn bytes(&self, range: &Range<usize>) -> Option<Range<u64>> {
        Some(self.byte(range.start)?..self.byte(range.end)?)
    }

    /// The range of the whole file.
    pub fn whole(&self) -> Range<u64> {
        0..self.size
    }

    fn byte(&self, at: usize) -> Option<u64> {
        let unit = self.unit?;
        if at >= self.text.len() {
            return Some(self.size);
        }
        let i = self.points.partition_point(|(text, _)| *text <= at);
        let (from, source) = self.points.get(i.checked_sub(1)?)?;
        let before = self.text.get(*from..at)?;
        Some(source + length(before, unit))
    }
}

fn length(text: &str, unit: Unit) -> u64 {
    let n = match unit {
        Unit::Utf8 => text.len(),
        Unit::Single => text.chars().count(),
        Unit::Utf16 => 2 * text.encode_utf16().count(),
    };
    n as u64
}

/// Reads bytes as text. `named` is the encoding that the user gave. `hint` is the one that the file
/// itself claims to have; it counts only where the bytes are not UTF-8.
///
/// # Errors
/// The reason why this is not a text.
pub fn decode(
    bytes: &[u8],
    named: Option<&'static Encoding>,
    hint: Option<&'static Encoding>,
) -> Result<Decoded, String> {
    if bytes.starts_with(b"\xff\xfe\0\0") || bytes.starts_with(b"\0\0\xfe\xff") {
        return Err(
            "the file is UTF-32, which is not read: convert it with iconv -f UTF-32 -t UTF-8"
                .to_owned(),
        );
    }
    if let Some((encoding, mark)) = Encoding::for_bom(bytes) {
        let body = &bytes[mark..];
        return if encoding == UTF_8 {
            utf8(body, mark)
                .ok_or_else(|| "the file has a UTF-8 byte order mark, but is not UTF-8".to_owned())
        } else {
            Ok(with(encoding, body, mark))
        };
    }
    if let Some(encoding) = named.filter(|e| *e != UTF_8) {
        return Ok(with(encoding, bytes, 0));
    }
    if bytes.contains(&0) {
        return Err(nul(bytes));
    }
    match utf8(bytes, 0) {
        Some(read) => Ok(read),
        None if named.is_some() => Err(format!(
            "the file is not UTF-8 (byte {}), which `encoding` names",
            std::str::from_utf8(bytes).map_or_else(|e| e.valid_up_to(), |t| t.len())
        )),
        None => {
            let controls = bytes.iter().filter(|b| is_control(**b)).count();
            if controls * 100 > bytes.len() {
                return Err("the file is not a text: it is full of control characters".to_owned());
            }
            let encoding = hint.filter(|e| *e != UTF_8).unwrap_or(WINDOWS_1252);
            Ok(with(encoding, bytes, 0))
        }
    }
}

fn is_control(b: u8) -> bool {
    b < 0x20 && !matches!(b, b'\t' | b'\n' | b'\r' | 0x0c | 0x1b) || b == 0x7f
}

fn nul(bytes: &[u8]) -> String {
    let zeros = |odd: usize| {
        bytes
            .iter()
            .skip(odd)
            .step_by(2)
            .filter(|b| **b == 0)
            .count()
    };
    let (even, odd) = (zeros(0), zeros(1));
    let most = bytes.len() / 2;
    for (many, few, label) in [(odd, even, "utf-16le"), (even, odd, "utf-16be")] {
        if many * 10 > most * 7 && few * 10 < most {
            return format!(
                "the file seems to be UTF-16 without a byte order mark: say `encoding: {label}`"
            );
        }
    }
    let at = bytes.iter().position(|b| *b == 0).unwrap_or_default();
    format!("the file is not a text: byte {at} is 0")
}

/// Reads bytes that are UTF-8, or were before a few of them were damaged. `None` for another
/// encoding.
fn utf8(bytes: &[u8], mark: usize) -> Option<Decoded> {
    let size = (mark + bytes.len()) as u64;
    if let Ok(text) = std::str::from_utf8(bytes) {
        return Some(Decoded {
            text: text.to_owned(),
            damage: None,
            unit: Some(Unit::Utf8),
            points: vec![(0, mark as u64)],
            size,
        });
    }
    let (mut text, mut points) = (String::with_capacity(bytes.len()), vec![(0, mark as u64)]);
    let (mut source, mut broken, mut sound, mut first) = (mark, 0usize, 0usize, None);
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        sound += chunk.valid().chars().filter(|c| !c.is_ascii()).count();
        source += chunk.valid().len();
        if !chunk.invalid().is_empty() {
            first.get_or_insert(source);
            broken += 1;
            text.push(char::REPLACEMENT_CHARACTER);
            source += chunk.invalid().len();
            points.push((text.len(), source as u64));
        }
    }
    if sound < broken {
        return None;
    }
    let damage = format!(
        "{broken} places of the file are not UTF-8, the first at byte {}: kept with U+FFFD in their place",
        first.unwrap_or_default()
    );
    Some(Decoded {
        text,
        damage: Some(damage),
        unit: Some(Unit::Utf8),
        points,
        size,
    })
}

fn with(encoding: &'static Encoding, bytes: &[u8], mark: usize) -> Decoded {
    let (text, replaced) = encoding.decode_without_bom_handling(bytes);
    let unit = match encoding {
        e if e == UTF_16LE || e == UTF_16BE => Some(Unit::Utf16),
        e if e.is_single_byte() => Some(Unit::Single),
        _ => None,
    };
    let text = text.into_owned();
    let mut points = Vec::new();
    if let Some(unit) = unit {
        let (mut at, mut source) = (0, mark as u64);
        points.push((at, source));
        while at < text.len() {
            let mut next = (at + STRIDE).min(text.len());
            while !text.is_char_boundary(next) {
                next += 1;
            }
            source += length(&text[at..next], unit);
            at = next;
            points.push((at, source));
        }
    }
    let damage = replaced.then(|| {
        format!(
            "some bytes of the file are not {}: kept with U+FFFD in their place",
            encoding.name()
        )
    });
    Decoded {
        text,
        damage,
        unit,
        points,
        size: (mark + bytes.len()) as u64,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn read(bytes: &[u8]) -> Decoded {
        decode(bytes, None, None).unwrap()
    }

    fn utf16(text: &str, little: bool) -> Vec<u8> {
        let mark = "\u{feff}".encode_utf16().chain(text.encode_utf16());
        let bytes = mark.flat_map(|u| {
            if little {
                u.to_le_bytes()
            } else {
                u.to_be_bytes()
            }
        });
        bytes.collect()
    }

    #[test]
    fn the_usual_encodings_are_recognised_and_lead_back_to_bytes() {
        let text = "Zoë — 𝄞 ends";
        for (bytes, mark) in [
            (text.as_bytes().to_vec(), 0),
            ([b"\xef\xbb\xbf", text.as_bytes()].concat(), 3),
            (utf16(text, true), 2),
            (utf16(text, false), 2),
        ] {
            let got = read(&bytes);
            assert_eq!(got.text, text);
            assert_eq!(got.damage, None);
            let at = text.find('𝄞').unwrap();
            let range = got.bytes(&(at..at + 4)).unwrap();
            let range = range.start as usize..range.end as usize;
            let word = match mark {
                2 => bytes[range].to_vec(),
                _ => utf16(std::str::from_utf8(&bytes[range]).unwrap(), true)[2..].to_vec(),
            };
            assert_eq!(word.len(), 4);
            assert_eq!(
                got.bytes(&(0..text.len())).unwrap(),
                mark..bytes.len() as u64
            );
        }
    }

    #[test]
    fn latin_1_is_recognised_and_quotation_marks_of_windows_with_it() {
        let got = read(b"caf\xe9 \x93Zo\xeb\x94 na\xefve");
        assert_eq!(got.text, "café “Zoë” naïve");
        let at = got.text.find("naïve").unwrap();
        assert_eq!(got.bytes(&(at..got.text.len())), Some(11..16));
    }

    #[test]
    fn utf8_with_a_few_broken_bytes_stays_utf8_and_says_so() {
        let got = read(b"na\xc3\xafve caf\xc3\xa9 \xff and \xe2\x82 end");
        assert_eq!(got.text, "naïve café \u{fffd} and \u{fffd} end");
        let damage = got.damage.as_ref().unwrap();
        assert!(
            damage.starts_with("2 places of the file are not UTF-8, the first at byte 13"),
            "{damage}"
        );
        let at = got.text.find("end").unwrap();
        assert_eq!(got.bytes(&(at..at + 3)), Some(22..25));
        assert_eq!(got.bytes(&(0..1)), Some(0..1));
    }

    #[test]
    fn what_is_not_a_text_is_refused_with_the_reason() {
        let bare = &utf16("words, words", true)[2..];
        for (bytes, reason) in [
            (&b"\x89PNG\r\n\x1a\n\0\0\0"[..], "byte 8 is 0"),
            (&b"\x01\x02\x03\xff\xfe\x04"[..], "control characters"),
            (&b"\xff\xfe\0\0a\0\0\0"[..], "UTF-32"),
            (bare, "say `encoding: utf-16le`"),
        ] {
            let e = decode(bytes, None, None).unwrap_err();
            assert!(e.contains(reason), "{e}");
        }
        let e = decode(b"caf\xe9", Some(UTF_8), None).unwrap_err();
        assert_eq!(e, "the file is not UTF-8 (byte 3), which `encoding` names");
    }

    #[test]
    fn a_named_encoding_is_used_and_a_hint_only_for_what_is_not_utf8() {
        let (bytes, _, _) = encoding_rs::SHIFT_JIS.encode("日本語のテキスト");
        let got = decode(&bytes, Some(encoding_rs::SHIFT_JIS), None).unwrap();
        assert_eq!(got.text, "日本語のテキスト");
        assert_eq!(got.bytes(&(0..3)), None);
        assert_eq!(got.whole(), 0..bytes.len() as u64);
        let hint = Some(encoding_rs::WINDOWS_1251);
        assert_eq!(decode(b"\xcc\xe8\xf0", None, hint).unwrap().text, "Мир");
        assert_eq!(decode("Мир".as_bytes(), None, hint).unwrap().text, "Мир");
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic_and_ranges_stay_within_the_file(
            bytes in prop::collection::vec(any::<u8>(), 0..200),
            named in prop::sample::select(vec![None, Some(UTF_8), Some(UTF_16LE), Some(WINDOWS_1252), Some(encoding_rs::GB18030)]),
        ) {
            if let Ok(got) = decode(&bytes, named, None) {
                let mut last = 0;
                for (at, _) in got.text.char_indices() {
                    if let Some(range) = got.bytes(&(at..got.text.len())) {
                        prop_assert!(last <= range.start && range.start <= range.end);
                        prop_assert!(range.end <= bytes.len() as u64);
                        last = range.start;
                    }
                }
            }
        }

        #[test]
        fn offsets_of_long_texts_are_those_of_the_obvious_version(
            word in "[a-zé𝄞]{1,9}", times in 1usize..3000, at in 0usize..20_000,
        ) {
            let text = word.repeat(times);
            let got = decode(&utf16(&text, true), None, None).unwrap();
            let mut at = at.min(text.len());
            while !text.is_char_boundary(at) {
                at -= 1;
            }
            let want = 2 + 2 * text[..at].encode_utf16().count() as u64;
            prop_assert_eq!(got.bytes(&(at..text.len())).unwrap().start, want);
        }
    }
}
