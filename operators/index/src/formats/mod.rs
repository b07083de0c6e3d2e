//! Formats of files: chosen by the ending of the name, and checked by the first bytes.

mod csv;
pub mod html;
mod json;
pub mod markdown;
pub mod parquet;
pub mod rows;

use gfm_pipe_api::OpResult;
use gfm_pipe_kg::tables::{Reject, Rejects};

/// A file format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    /// Plain text.
    Text,
    /// Markdown.
    Markdown,
    /// HTML.
    Html,
    /// JSON.
    Json,
    /// One JSON value per line.
    JsonLines,
    /// Comma-separated values with a header.
    Csv,
    /// Parquet.
    Parquet,
}

impl Format {
    /// Every format.
    pub const ALL: &'static [Format] = &[
        Format::Text,
        Format::Markdown,
        Format::Html,
        Format::Json,
        Format::JsonLines,
        Format::Csv,
        Format::Parquet,
    ];

    /// Text formats of records with named fields.
    pub const RECORDS: &'static [Format] = &[Format::Json, Format::JsonLines, Format::Csv];

    /// The name of the format in parameters and counts.
    pub fn name(self) -> &'static str {
        match self {
            Format::Text => "text",
            Format::Markdown => "markdown",
            Format::Html => "html",
            Format::Json => "json",
            Format::JsonLines => "jsonl",
            Format::Csv => "csv",
            Format::Parquet => "parquet",
        }
    }

    /// The format with this name.
    pub fn named(name: &str) -> Option<Format> {
        Format::ALL.iter().copied().find(|f| f.name() == name)
    }

    /// The format of a file with this name; without an ending, it is plain text.
    ///
    /// # Errors
    /// The reason why such a file is not read.
    pub fn of_name(name: &str) -> Result<Format, String> {
        let ending = ending(name).map(str::to_ascii_lowercase);
        Ok(match ending.as_deref() {
            None | Some("txt" | "text" | "rst" | "org" | "adoc" | "asciidoc") => Format::Text,
            Some("md" | "markdown" | "mdown" | "mkd" | "mdx") => Format::Markdown,
            Some("html" | "htm" | "xhtml") => Format::Html,
            Some("json") => Format::Json,
            Some("jsonl" | "ndjson") => Format::JsonLines,
            Some("csv" | "tsv") => Format::Csv,
            Some("parquet" | "pq") => Format::Parquet,
            Some(other) => return Err(advice(other)),
        })
    }
}

/// The ending of a file's name: short and made of letters and digits, so that `Dr. Who` has none.
pub fn ending(name: &str) -> Option<&str> {
    let name = name.rsplit('/').next().unwrap_or(name);
    let (stem, ending) = name.rsplit_once('.')?;
    let plausible = (1..=8).contains(&ending.len())
        && ending.bytes().all(|b| b.is_ascii_alphanumeric())
        && ending.bytes().any(|b| b.is_ascii_alphabetic());
    (plausible && !stem.is_empty()).then_some(ending)
}

/// Why files with another ending are not read, and what to do.
fn advice(ending: &str) -> String {
    match ending {
        "pdf" => "PDF is not read: convert it, for example with `pdftotext FILE.pdf`".to_owned(),
        "docx" | "odt" | "rtf" | "epub" | "fb2" | "ipynb" | "docbook" | "tex" | "mediawiki" => {
            format!(
                "{} is not read: convert it, for example with `pandoc FILE.{ending} -o FILE.md`",
                ending.to_uppercase()
            )
        }
        "doc" | "ppt" | "pptx" | "odp" | "pages" | "key" => format!(
            "{} is not read: convert it, for example with `libreoffice --headless --convert-to pdf FILE.{ending}`, \
             then `pdftotext FILE.pdf`",
            ending.to_uppercase()
        ),
        "xls" | "xlsx" | "ods" | "numbers" => format!(
            "{} is not read: convert it, for example with `libreoffice --headless --convert-to csv FILE.{ending}`",
            ending.to_uppercase()
        ),
        "gz" | "zip" | "bz2" | "xz" | "zst" | "tar" | "tgz" | "7z" | "rar" => {
            "archives are not read: unpack it".to_owned()
        }
        "png" | "jpg" | "jpeg" | "gif" | "svg" | "webp" | "bmp" | "tif" | "tiff" | "ico"
        | "heic" => "pictures are not read".to_owned(),
        "mp3" | "wav" | "ogg" | "flac" | "m4a" | "mp4" | "mov" | "avi" | "mkv" | "webm" => {
            "sound and film are not read".to_owned()
        }
        other => format!(
            "files ending in .{other} are not read; `format: text` takes every file as text"
        ),
    }
}

/// What a file that claims to be text really is, by its first bytes, and what to do.
pub fn disguised(bytes: &[u8]) -> Option<String> {
    let known: [(&[u8], &str); 8] = [
        (
            b"%PDF-",
            "a PDF: convert it, for example with `pdftotext FILE.pdf`",
        ),
        (
            b"PK\x03\x04",
            "a ZIP archive (DOCX, XLSX and EPUB are such): unpack or convert it, for example with `pandoc FILE -o FILE.md`",
        ),
        (b"\x1f\x8b", "compressed with gzip: unpack it"),
        (b"(\xb5/\xfd", "compressed with zstd: unpack it"),
        (b"PAR1", "a Parquet file: let its name end in .parquet"),
        (
            b"\xd0\xcf\x11\xe0",
            "an old Office document: convert it, for example with `libreoffice --headless --convert-to pdf FILE`",
        ),
        (
            b"{\\rtf",
            "RTF: convert it, for example with `pandoc FILE -o FILE.md`",
        ),
        (
            b"version https://git-lfs.github.com/spec/",
            "a Git LFS pointer, not the file itself: run `git lfs pull`",
        ),
    ];
    let found = known.iter().find(|(magic, _)| bytes.starts_with(magic));
    found.map(|(_, what)| format!("the file is {what}"))
}

/// A file, or a part of one, that could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// One-based line.
    pub line: Option<u64>,
    /// The title or id of the part, where known.
    pub item: Option<String>,
    /// Why it could not be read.
    pub reason: String,
    /// The rejected input.
    pub text: String,
}

impl Fault {
    /// A fault of the whole file.
    pub fn file(reason: impl Into<String>) -> Fault {
        Fault {
            line: None,
            item: None,
            reason: reason.into(),
            text: String::new(),
        }
    }

    /// Adds it to the rejects, under the name of its file.
    ///
    /// # Errors
    /// When writing fails.
    pub fn push(&self, source: &str, rejects: &mut Rejects) -> OpResult<()> {
        rejects.push(&Reject {
            source,
            line: self.line,
            item: self.item.as_deref(),
            reason: &self.reason,
            text: &self.text,
        })
    }
}

/// A function that rejects parts of the record at this line: by item, reason and text.
pub fn rejecting<'a>(
    rejects: &'a mut Rejects,
    source: &'a str,
    line: u64,
) -> impl FnMut(Option<&str>, &str, &str) -> OpResult<()> + use<'a> {
    move |item, reason, text| {
        rejects.push(&Reject {
            source,
            line: Some(line),
            item,
            reason,
            text,
        })
    }
}

/// A text without markup, and the part of the source that each part of it came from.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Plain {
    /// The text without markup.
    pub text: String,
    /// The parts that come from the source, in order. What lies between them was inserted.
    pub runs: Vec<Run>,
}

/// A part of a plain text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// Range in the text.
    pub text: std::ops::Range<usize>,
    /// Range in the source. Its length differs where the source is written differently (`&amp;`).
    pub source: std::ops::Range<usize>,
}

impl Plain {
    /// A text that is unchanged from the source, beginning at this offset.
    pub fn verbatim(text: &str, source: usize) -> Plain {
        Plain {
            text: text.to_owned(),
            runs: vec![Run {
                text: 0..text.len(),
                source: source..source + text.len(),
            }],
        }
    }

    /// Adds a text that was read from a range of the source.
    pub fn push(&mut self, text: &str, source: std::ops::Range<usize>) {
        let at = self.text.len();
        self.text.push_str(text);
        self.runs.push(Run {
            text: at..self.text.len(),
            source,
        });
    }

    /// Ends the last line, and inserts this many empty lines before what follows. Does nothing at
    /// the beginning of the text.
    pub fn break_line(&mut self, empty: usize) {
        let end = self.text.trim_end_matches([' ', '\t']).len();
        self.text.truncate(end);
        if let Some(last) = self.runs.last_mut()
            && last.text.end > end
        {
            if last.text.len() == last.source.len() {
                last.source.end -= last.text.end - end.max(last.text.start);
            }
            last.text.end = end.max(last.text.start);
        }
        if self.text.is_empty() {
            return;
        }
        let have = end - self.text.trim_end_matches('\n').len();
        for _ in have..=empty {
            self.text.push('\n');
        }
    }

    /// The part of the source that a range of the text was read from.
    pub fn source(&self, range: &std::ops::Range<usize>) -> Option<std::ops::Range<usize>> {
        let first = self.runs.partition_point(|r| r.text.end <= range.start);
        let last = self
            .runs
            .partition_point(|r| r.text.start < range.end)
            .checked_sub(1)?;
        let (first, last) = (self.runs.get(first)?, self.runs.get(last)?);
        let exact = |r: &Run| r.text.len() == r.source.len();
        let start = if exact(first) {
            first.source.start + range.start.saturating_sub(first.text.start)
        } else {
            first.source.start
        };
        let end = if exact(last) {
            last.source.start + (range.end - last.text.start).min(last.text.len())
        } else {
            last.source.end
        };
        (start <= end).then_some(start..end)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn endings_are_told_from_dots_in_names() {
        for (name, want) in [
            ("a.txt", Ok(Format::Text)),
            ("docs/READ.me/Kismet", Ok(Format::Text)),
            ("Dr. Strangelove", Ok(Format::Text)),
            ("Version 2.0", Ok(Format::Text)),
            ("A.MD", Ok(Format::Markdown)),
            ("x.tar.gz", Err("unpack")),
            ("x.pdf", Err("pdftotext")),
            ("x.docx", Err("pandoc")),
            ("x.xyz", Err("`format: text`")),
        ] {
            match (Format::of_name(name), want) {
                (Ok(got), Ok(want)) => assert_eq!(got, want, "{name}"),
                (Err(got), Err(want)) => assert!(got.contains(want), "{got}"),
                (got, _) => panic!("{name}: {got:?}"),
            }
        }
        for format in Format::ALL {
            assert_eq!(Format::named(format.name()), Some(*format));
        }
    }

    #[test]
    fn first_bytes_say_what_a_text_is_not() {
        assert!(disguised(b"%PDF-1.7\n").unwrap().contains("pdftotext"));
        assert!(disguised(b"PK\x03\x04rest").unwrap().contains("pandoc"));
        assert!(
            disguised(b"version https://git-lfs.github.com/spec/v1\n")
                .unwrap()
                .contains("git lfs pull")
        );
        assert_eq!(disguised(b"PDF files are"), None);
        assert_eq!(disguised(b""), None);
    }

    #[test]
    fn parts_of_a_plain_text_lead_back_to_their_source() {
        let mut plain = Plain::default();
        plain.break_line(1);
        plain.push("Tom ", 5..9);
        plain.push("&", 9..14);
        plain.push(" Jerry", 14..20);
        plain.break_line(1);
        plain.break_line(0);
        plain.push("met", 30..33);
        assert_eq!(plain.text, "Tom & Jerry\n\nmet");
        let of = |part: &str| {
            let at = plain.text.find(part).unwrap();
            plain.source(&(at..at + part.len())).unwrap()
        };
        assert_eq!(of("om"), 6..8);
        assert_eq!(of("& J"), 9..16);
        assert_eq!(of("Jerry\n\nme"), 15..32);
        assert_eq!(of("\nmet"), 30..33);
        assert_eq!(Plain::default().source(&(0..0)), None);
        assert_eq!(Plain::verbatim("abc", 7).source(&(1..3)), Some(8..10));
    }
}
