//! Reads a file of any format into documents, which are records with a title, a text and the bytes
//! of the file they came from.

use std::io::Read;
use std::ops::Range;
use std::panic::catch_unwind;
use std::path::Path;

use encoding_rs::Encoding;
use gfm_pipe_api::{OpResult, files};
use gfm_pipe_kg::json::Json;

use crate::decode::{Decoded, decode};
use crate::formats::rows::{self, Expected, Row};
use crate::formats::{Fault, Format, Plain, disguised, html, markdown, parquet};

/// Most fields of a record that is alone in its file. An object with more is a corpus that happens
/// to have a title with the name of the field.
const RECORD_KEYS: usize = 64;

/// Options for reading files.
#[derive(Debug, Clone)]
pub struct ReadOptions {
    /// The field or column with the title.
    pub title: String,
    /// The field or column with the text.
    pub text: String,
    /// The encoding of texts; `None` to recognise it.
    pub encoding: Option<&'static Encoding>,
    /// Largest file, in bytes.
    pub max_bytes: u64,
}

/// A document as it is in a file.
pub struct Record<'a> {
    /// The title, where the document has one of its own.
    pub title: Option<String>,
    /// The text without markup.
    pub plain: Plain,
    /// Number of the record, in a file of several.
    pub row: Option<u64>,
    /// The file's text, and the range of the whole record in it. `None` for formats without text.
    place: Option<(&'a Decoded, Range<usize>)>,
}

impl Record<'_> {
    /// The bytes of the file that a piece of the text was read from. For `None`, and where this is
    /// not known exactly, the bytes of the whole record.
    pub fn bytes(&self, piece: Option<&Range<usize>>) -> Option<Range<u64>> {
        let (decoded, span) = self.place.as_ref()?;
        let part = piece.and_then(|p| self.plain.source(p));
        let part = part.and_then(|p| decoded.bytes(&p));
        Some(
            part.or_else(|| decoded.bytes(span))
                .unwrap_or_else(|| decoded.whole()),
        )
    }
}

/// Receives documents and faults in the order of the file.
pub type Each<'a> = dyn FnMut(Result<Record<'_>, Fault>) -> OpResult<()> + 'a;

/// Reads a file's bytes.
///
/// # Errors
/// The reason why it cannot be read.
pub fn bytes(path: &Path, max: u64) -> Result<Vec<u8>, String> {
    let failed = |e: std::io::Error| format!("failed to read: {e}");
    let file = files::open(path).map_err(failed)?;
    let mut bytes = Vec::new();
    file.take(max + 1).read_to_end(&mut bytes).map_err(failed)?;
    // The file may have grown since it was listed.
    if bytes.len() as u64 > max {
        return Err(format!(
            "the file has more bytes than the {max} of `max_file_bytes`"
        ));
    }
    Ok(bytes)
}

/// Reads a file's text.
///
/// # Errors
/// The reason why it has none.
pub fn text(
    bytes: &[u8],
    format: Format,
    named: Option<&'static Encoding>,
) -> Result<Decoded, String> {
    if bytes.is_empty() {
        return Err("the file is empty".to_owned());
    }
    if let Some(reason) = disguised(bytes) {
        return Err(reason);
    }
    let hint = match format {
        Format::Html => html::encoding(bytes),
        _ => None,
    };
    let decoded = decode(bytes, named, hint)?;
    if decoded.text.trim().is_empty() {
        Err("the file holds nothing but blanks".to_owned())
    } else {
        Ok(decoded)
    }
}

/// Reads a file's documents.
///
/// # Errors
/// The errors of `each`.
pub fn read(
    path: &Path,
    format: Format,
    options: &ReadOptions,
    each: &mut Each<'_>,
) -> OpResult<()> {
    if format == Format::Parquet {
        return parquet::read(path, &options.title, &options.text, &mut |row| match row {
            Ok((number, title, Some(text))) => each(Ok(Record {
                title: title.filter(|t| !t.trim().is_empty()),
                plain: text_of(text),
                row: Some(number),
                place: None,
            })),
            Ok((number, title, None)) => each(Err(Fault {
                line: None,
                item: title,
                reason: format!("row {number} has no value in `{}`", options.text),
                text: String::new(),
            })),
            Err(fault) => each(Err(fault)),
        });
    }
    let decoded =
        bytes(path, options.max_bytes).and_then(|bytes| text(&bytes, format, options.encoding));
    let decoded = match decoded {
        Ok(decoded) => decoded,
        Err(reason) => return each(Err(Fault::file(reason))),
    };
    if let Some(damage) = &decoded.damage {
        each(Err(Fault::file(damage.clone())))?;
    }
    if !Format::RECORDS.contains(&format) {
        return each(page(&decoded, format));
    }
    let expected = Expected {
        column: &options.text,
        is_record: &|keys| keys.len() <= RECORD_KEYS && keys.contains(&options.text.as_str()),
    };
    rows::read(&decoded.text, format, &expected, &mut |row| match row {
        Ok(row) => each(of_row(row, options, &decoded)),
        Err(fault) => each(Err(fault)),
    })
}

/// Reads a file that is one document.
fn page(decoded: &Decoded, format: Format) -> Result<Record<'_>, Fault> {
    let text = decoded.text.as_str();
    // The authors of these libraries fuzz them. If one panics all the same, the other files are
    // still read.
    let read = catch_unwind(|| match format {
        Format::Html => {
            let page = html::read(text);
            (page.title, page.plain)
        }
        Format::Markdown => {
            let text = markdown::markdown(text);
            (text.title, text.plain)
        }
        // An HTML page whose file name has no ending.
        _ if looks_like_html(text) => {
            let page = html::read(text);
            (page.title, page.plain)
        }
        _ => {
            let text = markdown::text(text);
            (text.title, text.plain)
        }
    });
    let (title, plain) =
        read.map_err(|_| Fault::file(format!("its reader ({}) gave up", format.name())))?;
    if plain.text.trim().is_empty() && title.is_none() {
        return Err(Fault::file("the file holds no text besides its marks"));
    }
    Ok(Record {
        title,
        plain,
        row: None,
        place: Some((decoded, 0..text.len())),
    })
}

fn looks_like_html(text: &str) -> bool {
    let head = text.trim_start().as_bytes();
    [&b"<!doctype html"[..], b"<html"].iter().any(|start| {
        head.get(..start.len())
            .is_some_and(|h| h.eq_ignore_ascii_case(start))
    })
}

/// A text whose parts cannot be mapped to the source.
fn text_of(text: String) -> Plain {
    Plain {
        text,
        runs: Vec::new(),
    }
}

/// A text, or a list of texts joined as lines.
fn as_text(value: Json) -> Result<String, Json> {
    match value {
        Json::Text(text) => Ok(text),
        Json::List(items) if items.iter().all(|i| matches!(i, Json::Text(_))) => {
            let lines: Vec<String> = items
                .into_iter()
                .filter_map(|i| match i {
                    Json::Text(text) => Some(text),
                    _ => None,
                })
                .collect();
            Ok(lines.join("\n"))
        }
        other => Err(other),
    }
}

fn of_row<'a>(row: Row, options: &ReadOptions, decoded: &'a Decoded) -> Result<Record<'a>, Fault> {
    let Row {
        key,
        value,
        span,
        line,
        number,
    } = row;
    let fault = |item: Option<String>, reason: String, value: &Json| Fault {
        line: Some(line),
        item,
        reason,
        text: value.shown(),
    };
    let (title, text) = match value {
        Json::Object(fields) => {
            let names: Vec<&str> = fields.iter().map(|f| f.0.as_str()).collect();
            let find = |name: &str| fields.iter().rev().find(|f| f.0 == name).map(|f| &f.1);
            let title = match find(&options.title) {
                Some(Json::Text(title)) => Some(title.clone()),
                Some(Json::Number(number)) => Some(number.to_string()),
                _ => None,
            };
            let title = title.filter(|t| !t.trim().is_empty()).or(key);
            let Some(text) = find(&options.text) else {
                let reason = format!(
                    "there is no field `{}`; there are: {}",
                    options.text,
                    names.join(", ")
                );
                return Err(fault(title, reason, &Json::Object(fields)));
            };
            let text = as_text(text.clone()).map_err(|other| {
                let reason = format!("`{}` is {}, not a text", options.text, other.what());
                fault(title.clone(), reason, &other)
            })?;
            (title, text)
        }
        value => {
            let text = as_text(value).map_err(|other| {
                let reason = format!("the document is {}, not a text", other.what());
                fault(key.clone(), reason, &other)
            })?;
            (key, text)
        }
    };
    let title = title.filter(|t| !t.trim().is_empty());
    if title.is_none() && text.trim().is_empty() {
        let reason = "the document has neither a title nor a text".to_owned();
        return Err(fault(None, reason, &Json::Text(text)));
    }
    Ok(Record {
        title,
        plain: text_of(text),
        row: Some(number),
        place: Some((decoded, span)),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;
    use std::fs;

    fn records(format: Format, bytes: &[u8]) -> Vec<String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        fs::write(&path, bytes).unwrap();
        let options = ReadOptions {
            title: "title".to_owned(),
            text: "text".to_owned(),
            encoding: None,
            max_bytes: 1 << 20,
        };
        let mut out = Vec::new();
        read(&path, format, &options, &mut |record| {
            out.push(match record {
                Ok(r) => {
                    let at = r.bytes(None).unwrap_or_default();
                    let part = &bytes[at.start as usize..at.end as usize];
                    let part = String::from_utf8_lossy(part).into_owned();
                    format!(
                        "{} | {} | {part}",
                        r.title.as_deref().unwrap_or("-"),
                        r.plain.text.trim()
                    )
                }
                Err(f) => format!(
                    "{} {}: {}",
                    f.line.unwrap_or(0),
                    f.item.unwrap_or_default(),
                    f.reason
                ),
            });
            Ok(())
        })
        .unwrap();
        out
    }

    #[test]
    fn records_have_titles_and_texts() {
        let json = "{\"A\": \"x\",\n\"B\": [\"y\", \"z\"], \"C\": 3, \"D\": {\"text\": \"w\"}, \" \": \"\"}";
        assert_eq!(
            records(Format::Json, json.as_bytes()),
            [
                "A | x | \"A\": \"x\"",
                "B | y\nz | \"B\": [\"y\", \"z\"]",
                "2 C: the document is a number, not a text",
                "D | w | \"D\": {\"text\": \"w\"}",
                "2 : the document has neither a title nor a text",
            ]
        );
        let lines = "{\"title\": 1984, \"text\": \"x\"}\n{\"body\": \"y\", \"title\": \"T\"}\n{\"text\": null}\n{\"title\": \"T\", \"text\": \"\"}";
        assert_eq!(
            records(Format::JsonLines, lines.as_bytes()),
            [
                "1984 | x | {\"title\": 1984, \"text\": \"x\"}",
                "2 T: there is no field `text`; there are: body, title",
                "3 : `text` is null, not a text",
                "T |  | {\"title\": \"T\", \"text\": \"\"}",
            ]
        );
        assert_eq!(
            records(Format::Csv, b"title,text\nCaf\xe9,\"a\nb\"\n"),
            ["Café | a\nb | Caf\u{fffd},\"a\nb\""]
        );
    }

    #[test]
    fn a_corpus_with_a_document_of_the_fields_name_is_no_record() {
        let titles = (0..RECORD_KEYS).map(|i| format!("\"T{i}\": \"x\""));
        let pairs: Vec<String> = titles.chain(["\"text\": \"y\"".to_owned()]).collect();
        let corpus = format!("{{{}}}", pairs.join(", "));
        let got = records(Format::Json, corpus.as_bytes());
        assert_eq!(got.len(), RECORD_KEYS + 1);
        let record = format!("{{{}}}", pairs[1..].join(", "));
        assert_eq!(
            records(Format::Json, record.as_bytes()),
            [format!("- | y | {record}")]
        );
    }

    #[test]
    fn files_of_one_document() {
        assert_eq!(
            records(Format::Text, b"\xef\xbb\xbf words"),
            ["- | words |  words"]
        );
        assert_eq!(
            records(Format::Text, b"<!DOCTYPE html><h1>T</h1>x"),
            ["T | x | <!DOCTYPE html><h1>T</h1>x"]
        );
        assert_eq!(records(Format::Markdown, b"# T\n"), ["T |  | # T\n"]);
        for (format, bytes, reason) in [
            (Format::Text, &b""[..], "0 : the file is empty"),
            (
                Format::Text,
                b" \n\t",
                "0 : the file holds nothing but blanks",
            ),
            (
                Format::Html,
                b"<p><br>",
                "0 : the file holds no text besides its marks",
            ),
            (
                Format::Markdown,
                b"%PDF-1.4",
                "0 : the file is a PDF: convert it, for example with `pdftotext FILE.pdf`",
            ),
        ] {
            assert_eq!(records(format, bytes), [reason]);
        }
        let damaged = records(Format::Text, "naïve é \u{e9}x".replace('x', "").as_bytes());
        assert_eq!(damaged.len(), 1);
        let damaged = records(Format::Text, b"na\xc3\xafve caf\xc3\xa9 \xff");
        assert!(
            damaged[0].contains("not UTF-8") && damaged[1].starts_with("- | naïve"),
            "{damaged:?}"
        );
    }

    #[test]
    fn a_file_that_is_too_large_or_gone_is_a_fault() {
        let dir = tempfile::tempdir().unwrap();
        assert!(
            bytes(&dir.path().join("x"), 3)
                .unwrap_err()
                .starts_with("failed to read")
        );
        fs::write(dir.path().join("x"), "1234").unwrap();
        assert!(
            bytes(&dir.path().join("x"), 3)
                .unwrap_err()
                .contains("more bytes than the 3")
        );
        assert_eq!(bytes(&dir.path().join("x"), 4).unwrap(), b"1234");
    }

    proptest! {
        #[test]
        fn no_bytes_make_a_reader_panic(
            bytes in prop_oneof![
                prop::collection::vec(any::<u8>(), 0..120),
                "[\\[\\]{}\":,a-c<>/#\n\\\\ ]{0,60}".prop_map(String::into_bytes),
            ],
            format in prop::sample::select(Format::ALL),
        ) {
            records(format, &bytes);
        }
    }
}
