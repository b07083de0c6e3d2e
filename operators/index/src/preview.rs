//! Reports which files the operators would read. `init` uses this to write a pipeline for a folder.

use std::path::{Path, PathBuf};

use gfm_pipe_api::{Absent, OpError, OpResult};
use gfm_pipe_kg::other_language;

use crate::formats::Format;
use crate::formats::rows;
use crate::gold_titles::Titles;
use crate::ingest_documents::MAX_FILE;
use crate::ingest_questions::EXPECTED;
use crate::listing::{Listing, Wanted, folder_of};
use crate::question::{self, Place};
use crate::reading;

/// Number of documents that are read to recognise their language.
const LOOKED_AT: usize = 50;

/// The files that `ingest-documents` finds for a path.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Files {
    /// Names of the files it reads, relative to [`folder`], with `/`.
    pub read: Vec<String>,
    /// Names of the files it rejects without opening them.
    pub refused: Vec<String>,
}

/// The number of questions in a file, as `ingest-questions` counts them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct QuestionFile {
    /// Number of questions.
    pub questions: u64,
    /// Number of questions that name documents.
    pub with_gold: u64,
}

/// The folder of a path of documents: itself, the one that contains a file, or the one that a
/// pattern begins with.
pub fn folder(path: &Path) -> PathBuf {
    folder_of(path)
}

/// A name as an item of `except`, with the special characters of patterns escaped.
pub fn literal(name: &str) -> String {
    glob::Pattern::escape(name)
}

/// Lists what `ingest-documents` finds for a path: a folder, a file or a pattern.
///
/// # Errors
/// When there is nothing to read, with what to do.
pub fn documents(path: &Path, except: &[String]) -> Result<Files, Absent> {
    let wanted = Wanted {
        format: None,
        formats: Format::ALL,
        max_bytes: MAX_FILE as u64,
    };
    let listing = Listing::new(path, Path::new(""), &wanted)?.without(except);
    if listing.found.is_empty() {
        return Err(listing.nothing(&wanted));
    }
    Ok(Files {
        read: listing.found.into_iter().map(|f| f.name).collect(),
        refused: listing.refused.into_iter().map(|f| f.name).collect(),
    })
}

/// The language of most of the documents, where it is reliably not English.
pub fn language(path: &Path, files: &Files) -> Option<&'static str> {
    let folder = folder(path);
    let options = reading::ReadOptions {
        title: "title".to_owned(),
        text: "text".to_owned(),
        encoding: None,
        max_bytes: MAX_FILE as u64,
    };
    let (mut seen, mut others) = (0, Vec::new());
    for name in &files.read {
        let Ok(format) = Format::of_name(name) else {
            continue;
        };
        // Errors are ignored: one of them ends the file when enough was read, and the others are
        // reported by the run.
        let _ = reading::read(&folder.join(name), format, &options, &mut |record| {
            if let Ok(record) = record {
                seen += 1;
                others.extend(other_language(&record.plain.text));
            }
            if seen < LOOKED_AT {
                Ok(())
            } else {
                Err(OpError::new("enough documents were read"))
            }
        });
        if seen >= LOOKED_AT {
            break;
        }
    }
    let most = *others.first()?;
    (2 * others.len() > seen).then_some(most)
}

/// Counts the questions of a file. `None` where `ingest-questions` finds none in it.
pub fn questions(file: &Path) -> Option<QuestionFile> {
    let name = file.file_name()?.to_string_lossy();
    let format = Format::of_name(&name).ok()?;
    if !Format::RECORDS.contains(&format) {
        return None;
    }
    let bytes = reading::bytes(file, MAX_FILE as u64).ok()?;
    let decoded = reading::text(&bytes, format, None).ok()?;
    let place = Place {
        stem: "",
        cells: format == Format::Csv,
    };
    let titles = Titles::default();
    let mut asked = QuestionFile::default();
    let mut each = |row: Result<rows::Row, _>| -> OpResult<()> {
        let Ok(row) = row else { return Ok(()) };
        let read = question::read(row, &place, &titles, &mut |_, _, _| Ok(()))?;
        if let Some(read) = read {
            asked.questions += 1;
            asked.with_gold += u64::from(read.question.gold_titles > 0);
        }
        Ok(())
    };
    rows::read(&decoded.text, format, &EXPECTED, &mut each).ok()?;
    (asked.questions > 0).then_some(asked)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::fs;

    #[test]
    fn questions_are_known_by_what_is_in_the_file() {
        let dir = tempfile::tempdir().unwrap();
        for (name, text, want) in [
            (
                "a.json",
                r#"[{"question": "Who?", "supporting_facts": ["A"]}, {"question": "What?"}, {"id": 3}]"#,
                Some((2, 1)),
            ),
            (
                "b.jsonl",
                "{\"question\": \"Who?\"}\nbroken\n",
                Some((1, 0)),
            ),
            (
                "c.csv",
                "question,supporting_facts\nWho?,A|B\nWhat?,\n",
                Some((2, 1)),
            ),
            ("d.csv", "title,text\nA,Words.\n", None),
            ("e.json", r#"{"A": "Words.", "B": "More."}"#, None),
            ("f.json", "[{", None),
            ("g.json", "", None),
            ("h.txt", r#"[{"question": "Who?"}]"#, None),
        ] {
            let file = dir.path().join(name);
            fs::write(&file, text).unwrap();
            let got = questions(&file).map(|a| (a.questions, a.with_gold));
            assert_eq!(got, want, "{name}");
        }
        assert_eq!(questions(&dir.path().join("no.json")), None);
    }

    #[test]
    fn the_language_is_told_by_most_documents() {
        let dir = tempfile::tempdir().unwrap();
        let german = "Die Mühle in Quillmouth wurde im Jahr 1820 von Ada Alder gebaut, nachdem die \
                      alte Mühle am Fluss abgebrannt war und niemand wusste warum.";
        let english = "The mill in Quillmouth was built by Ada Alder in the year 1820, after the \
                       old mill by the river had burnt down, and nobody knew why.";
        let found = || {
            let files = documents(dir.path(), &[]).unwrap();
            language(dir.path(), &files)
        };
        fs::write(dir.path().join("a.txt"), german).unwrap();
        assert_eq!(found(), Some("German"));
        fs::write(dir.path().join("b.txt"), english).unwrap();
        assert_eq!(found(), None);
        let many = format!(
            "[{{\"title\": \"A\", \"text\": {german:?}}}, {{\"title\": \"B\", \"text\": {german:?}}}]"
        );
        fs::write(dir.path().join("c.json"), many).unwrap();
        assert_eq!(found(), Some("German"));
    }

    #[test]
    fn documents_are_listed_without_what_is_excepted() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["a.txt", "b/c.md", "b/d/e.txt", "train.json", "old.pdf"] {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "text").unwrap();
        }
        let names = |except: &[&str]| {
            let except: Vec<String> = except.iter().map(|e| (*e).to_owned()).collect();
            let files = documents(dir.path(), &except).unwrap();
            (files.read.join(" "), files.refused.join(" "))
        };
        let files = |read: &str, refused: &str| (read.to_owned(), refused.to_owned());
        assert_eq!(
            names(&[]),
            files("a.txt b/c.md b/d/e.txt train.json", "old.pdf")
        );
        assert_eq!(
            names(&["train.json", "b/d"]),
            files("a.txt b/c.md", "old.pdf")
        );
        assert_eq!(names(&["*.*"]), files("b/c.md b/d/e.txt", ""));
        assert_eq!(
            names(&["**/*.md", "*.pdf"]),
            files("a.txt b/d/e.txt train.json", "")
        );
        let none = documents(dir.path(), &["*".to_owned()]).unwrap_err();
        assert_eq!(none.why, "there is no file in it");
        let pattern = dir.path().join("b/*.md");
        assert_eq!(folder(&pattern), dir.path().join("b"));
        assert_eq!(folder(&dir.path().join("b/c.md")), dir.path().join("b"));
        assert_eq!(folder(dir.path()), dir.path());
    }
}
