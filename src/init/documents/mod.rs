//! Documents without a graph, and questions beside them: looks for both, and writes a first
//! pipeline for them.
//!
//! The operators that read them decide what counts as a document or a question
//! (`crate::registry::preview`). A file of questions is recognised by its name (`train`, `valid`,
//! `test`, `questions`) and by its content, because `test.json` may also hold documents.

mod pipeline;

use std::path::{Path, PathBuf};

use crate::registry::preview::{self, Files, QuestionFile};
use gfm_pipe_api::Absent;

use super::name_of;

/// Folders, below that of the documents, in which questions are looked for.
const FOLDERS: [&str; 3] = ["", "raw", "questions"];

/// The words that names of question files begin with, and the split that each stands for.
const NAMES: [(&str, Split); 8] = [
    ("train", Split::Train),
    ("valid", Split::Valid),
    ("validation", Split::Valid),
    ("val", Split::Valid),
    ("dev", Split::Valid),
    ("test", Split::Test),
    ("questions", Split::Whole),
    ("question", Split::Whole),
];

/// What the questions of a file are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Split {
    /// Training.
    Train,
    /// Validation.
    Valid,
    /// Testing.
    Test,
    /// Questions that are not divided into splits.
    Whole,
}

impl Split {
    /// The parameter and port of `ingest-questions`. Questions that are not divided are treated as
    /// test questions.
    pub fn port(self) -> &'static str {
        match self {
            Split::Train => "train",
            Split::Valid => "valid",
            Split::Test | Split::Whole => "test",
        }
    }

    fn describe(self) -> &'static str {
        match self {
            Split::Train => "training ",
            Split::Valid => "validation ",
            Split::Test => "test ",
            Split::Whole => "",
        }
    }
}

/// A file of questions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Questions {
    /// What they are for.
    pub split: Split,
    /// Its path, as the user would write it.
    pub file: PathBuf,
    /// How many questions there are, and how many name their documents.
    pub asked: QuestionFile,
}

/// Documents that were found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Documents {
    /// A name for them that is valid as the name of a pipeline.
    pub name: String,
    /// The path to read: a folder, a file or a pattern.
    pub path: PathBuf,
    /// Files below it to leave out, because they hold questions.
    pub except: Vec<String>,
    /// The files of documents.
    pub files: Files,
    /// Questions about them, at most one file per port.
    pub questions: Vec<Questions>,
    /// Files of questions that are not used.
    pub unused: Vec<PathBuf>,
    /// Files with the name of a split and without a question that can be read: they are taken for
    /// documents.
    pub doubtful: Vec<PathBuf>,
    /// The language of most documents, where it is reliably detected and not English.
    pub language: Option<&'static str>,
}

/// Looks for documents at a path, and for questions in the same folder, its `raw` and its
/// `questions`.
///
/// # Errors
/// When there is no file that can be read as documents.
pub fn find(given: &Path) -> Result<Documents, Absent> {
    let folder = preview::folder(given);
    let mut questions = Vec::new();
    let mut unused = Vec::new();
    let (mut all, mut doubtful) = (Vec::new(), Vec::new());
    for file in candidates(&folder) {
        // A file that the user named holds documents, whatever its name.
        if file == given {
            continue;
        }
        let Some(asked) = preview::questions(&file) else {
            if split_of(&file).is_some() && is_table(&file) {
                doubtful.push(file);
            }
            continue;
        };
        all.push(file.clone());
        match split_of(&file) {
            Some(split) => questions.push(Questions { split, file, asked }),
            None => unused.push(file),
        }
    }
    // Divided questions come before those that are not; of several files for a port, the first one
    // is used.
    questions.sort_by_key(|q| q.split);
    let mut ports = Vec::new();
    questions.retain(|q| {
        let first = !ports.contains(&q.split.port());
        if first {
            ports.push(q.split.port())
        } else {
            unused.push(q.file.clone())
        }
        first
    });
    unused.sort();
    let below = |file: &PathBuf| Some(name_below(file.strip_prefix(&folder).ok()?));
    let except: Vec<String> = all.iter().filter_map(below).collect();
    let files = preview::documents(given, &except).map_err(|absent| {
        // When it can only be read together with the questions, there are no documents.
        match preview::documents(given, &[]) {
            Ok(_) => Absent {
                why: "it holds questions and no documents".to_owned(),
                hint: absent.hint,
            },
            Err(absent) => absent,
        }
    })?;
    let language = preview::language(given, &files);
    let mut found = Documents {
        language,
        name: name_for(&folder),
        path: given.to_owned(),
        except,
        files,
        questions,
        unused,
        doubtful,
    };
    found.simplify(&folder);
    Ok(found)
}

/// The name of the folder, or of its parent when the folder is called `raw`.
fn name_for(folder: &Path) -> String {
    let above = folder.parent().filter(|_| folder.ends_with("raw"));
    name_of(here(above.unwrap_or(folder)))
}

/// Files that may hold questions, in the order of their folders and names.
fn candidates(folder: &Path) -> Vec<PathBuf> {
    let mut out = Vec::new();
    for below in FOLDERS {
        let folder = match below {
            "" => folder.to_owned(),
            below => folder.join(below),
        };
        let entries = std::fs::read_dir(here(&folder));
        let entries = entries.into_iter().flatten().flatten();
        let mut files: Vec<PathBuf> = entries
            .map(|e| folder.join(e.file_name()))
            .filter(|f| f.is_file() && words(f).is_some_and(|w| known(&w[0]).is_some()))
            .collect();
        files.sort();
        out.extend(files);
    }
    out
}

/// A folder as a path that can be opened: the empty path means the working directory.
fn here(folder: &Path) -> &Path {
    if folder.as_os_str().is_empty() {
        Path::new(".")
    } else {
        folder
    }
}

/// The words of a file's name without its extension, at least one.
fn words(file: &Path) -> Option<Vec<String>> {
    let stem = file.file_stem()?.to_str()?.to_lowercase();
    let words = stem.split(|c: char| !c.is_alphanumeric());
    Some(words.map(str::to_owned).collect())
}

fn known(word: &str) -> Option<Split> {
    let found = NAMES.iter().find(|(name, _)| *name == word);
    found.map(|(_, split)| *split)
}

/// Whether the ending of a file's name is one that files of questions have.
fn is_table(file: &Path) -> bool {
    let ending = file
        .extension()
        .and_then(|e| e.to_str())
        .unwrap_or_default();
    ["json", "jsonl", "csv", "parquet"].contains(&&*ending.to_lowercase())
}

/// The split that a file's name stands for; `None` for a part of a split (`test_easy`).
fn split_of(file: &Path) -> Option<Split> {
    match words(file)?.as_slice() {
        [word] => known(word),
        _ => None,
    }
}

/// A path below a folder as `ingest-documents` names it, with the special characters of patterns
/// escaped.
fn name_below(path: &Path) -> String {
    let parts = path.components().map(|c| c.as_os_str().to_string_lossy());
    let name = parts.collect::<Vec<_>>().join("/");
    preview::literal(&name)
}

impl Documents {
    /// Where a folder holds questions and a single file of documents, reads only that file. Where
    /// the given path does not match the questions anyway, as with `*.md`, they are not listed in
    /// `except`.
    fn simplify(&mut self, folder: &Path) {
        if let ([only], []) = (self.files.read.as_slice(), self.files.refused.as_slice())
            && self.path.is_dir()
            && !self.except.is_empty()
        {
            self.path = folder.join(only);
            self.except.clear();
        }
        if !self.except.is_empty()
            && preview::documents(&self.path, &[]).as_ref() == Ok(&self.files)
        {
            self.except.clear();
        }
    }

    /// The questions to ask at the end: those for testing, or others where there are none.
    pub fn asked(&self) -> Option<&Questions> {
        let rank = |q: &&Questions| match q.split.port() {
            "test" => 0,
            "valid" => 2,
            _ => 1,
        };
        self.questions.iter().min_by_key(rank)
    }

    /// Whether it is known which documents the questions are about.
    pub fn evaluated(&self) -> bool {
        self.asked().is_some_and(|q| q.asked.with_gold > 0)
    }

    /// A description of what was found.
    pub fn describe(&self) -> String {
        let files = self.files.read.len();
        let mut found = vec![format!("documents in {}", counted(files as u64, "file"))];
        for q in &self.questions {
            let what = format!("{}question", q.split.describe());
            found.push(counted(q.asked.questions, &what));
        }
        found.join(", ")
    }

    /// Further remarks for the user, one per line.
    pub fn remarks(&self) -> Vec<String> {
        let unused = self.unused.iter();
        let mut out: Vec<String> = unused
            .map(|file| {
                format!(
                    "{}: left out: its name is not train, valid, test or questions, or other questions are used for its split",
                    file.display()
                )
            })
            .collect();
        out.extend(self.doubtful.iter().map(|file| {
            format!(
                "{}: no question could be read in it, so it counts as documents: questions have a field `question` (docs/documents.md)",
                file.display()
            )
        }));
        if let Some(language) = self.language {
            out.push(format!(
                "most documents are {language}: `extract` finds what they mention by patterns, without facts; \
                 `by: transformer` takes a model for this language (docs/documents.md)"
            ));
        }
        let refused = self.files.refused.len() as u64;
        if refused > 0 {
            let files = counted(refused, "file");
            out.push(format!(
                "not read: {files}; after the run, gfm-pipe show documents.rejects says which and why"
            ));
        }
        out
    }

    /// A hint on what to do once the pipeline has run.
    pub fn then(&self) -> String {
        match (self.asked(), self.evaluated() || self.folds()) {
            (Some(_), true) => "then: gfm-pipe show evaluate.metrics".to_owned(),
            (Some(_), false) => "then: gfm-pipe show retrieve.rankings".to_owned(),
            (None, _) => "then: gfm-pipe ask \"QUESTION\"\n\
                          no questions: nothing is trained. Write questions.json, .jsonl or .csv beside the documents and run init \
                          again with --force: `retrieve` finds the documents for each"
                .to_owned(),
        }
    }

    /// A pipeline for them.
    pub fn pipeline(&self) -> String {
        pipeline::pipeline(self)
    }
}

/// A number with its noun: `1 file`, `2 files`.
fn counted(n: u64, noun: &str) -> String {
    match n {
        1 => format!("1 {noun}"),
        n => format!("{n} {noun}s"),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::fs;

    const GOLD: &str = r#"[{"question": "Who?", "supporting_facts": ["A"]}]"#;
    const PLAIN: &str = "question\nWho?\nWhat?\n";

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        dir
    }

    fn names(paths: &[PathBuf]) -> Vec<String> {
        let names = paths.iter().map(|p| p.file_name().unwrap());
        names.map(|n| n.to_string_lossy().into_owned()).collect()
    }

    #[test]
    fn files_of_questions_are_not_documents() {
        let dir = folder(&[
            ("a.txt", "Words."),
            ("b [1].md", "Words."),
            ("old.pdf", "%PDF-1.7"),
            ("train.jsonl", "{\"question\": \"Who?\"}"),
            ("raw/test.json", GOLD),
            ("test_easy.json", GOLD),
            ("questions/questions.csv", PLAIN),
            // Named like questions, but with other content.
            ("valid.json", r#"{"Valid": "Words."}"#),
            ("testing.csv", "title,text\nA,Words.\n"),
        ]);
        let found = find(dir.path()).unwrap();
        assert_eq!(
            found.files.read,
            ["a.txt", "b [1].md", "testing.csv", "valid.json"]
        );
        assert_eq!(found.files.refused, ["old.pdf"]);
        let splits: Vec<Split> = found.questions.iter().map(|q| q.split).collect();
        assert_eq!(splits, [Split::Train, Split::Test]);
        assert_eq!(names(&found.unused), ["questions.csv", "test_easy.json"]);
        assert_eq!(names(&found.doubtful), ["valid.json"]);
        let remarks = found.remarks();
        assert!(
            remarks
                .iter()
                .any(|r| r.contains("valid.json: no question could be read")),
            "{remarks:?}"
        );
        assert_eq!(
            found.describe(),
            "documents in 4 files, 1 training question, 1 test question"
        );
        assert!(found.evaluated());
        assert_eq!(found.asked().unwrap().split, Split::Test);
        assert_eq!(found.remarks().len(), 4);
    }

    #[test]
    fn a_file_of_documents_alone_is_read_by_its_name() {
        let files = [
            ("raw/dataset_corpus.json", r#"{"A": "Words."}"#),
            ("raw/train.json", GOLD),
            ("raw/test_single_hop.json", GOLD),
        ];
        let dir = folder(&files);
        let corpus = dir.path().join(files[0].0);
        for given in [dir.path(), &dir.path().join("raw"), &corpus] {
            let found = find(given).unwrap();
            assert_eq!((&found.path, found.except.len()), (&corpus, 0));
            assert_eq!(found.questions.len(), 1, "{}", given.display());
            assert_eq!(found.asked().unwrap().split, Split::Train);
            assert_eq!(names(&found.unused), ["test_single_hop.json"]);
        }
        // A file that is named holds documents.
        let train = dir.path().join("raw/train.json");
        assert_eq!(find(&train).unwrap().questions, []);
    }

    #[test]
    fn patterns_stay_as_they_are() {
        let dir = folder(&[
            ("a.json", r#"{"A": "Words."}"#),
            ("b.md", "Words."),
            ("test.json", GOLD),
        ]);
        let found = find(&dir.path().join("*.md")).unwrap();
        assert_eq!((found.files.read.len(), found.except.len()), (1, 0));
        assert!(found.evaluated());
        let found = find(&dir.path().join("*.json")).unwrap();
        assert_eq!(found.files.read, ["a.json"]);
        assert_eq!(found.except, ["test.json"]);
    }

    #[test]
    fn folders_without_documents_are_refused_with_the_reason() {
        use crate::init::{InitError, look_at};
        let dir = folder(&[("a.pdf", "%PDF-1.7")]);
        let e = look_at(dir.path()).unwrap_err();
        assert!(
            e.to_string()
                .contains(") and no documents: none of its files can be read"),
            "{e}"
        );
        assert!(e.hint().unwrap().contains("pdftotext"), "{e:?}");
        let dir = folder(&[("test.json", GOLD)]);
        let e = look_at(dir.path()).unwrap_err();
        assert!(
            e.to_string()
                .ends_with("it holds questions and no documents"),
            "{e}"
        );
        let e = look_at(&dir.path().join("none")).unwrap_err();
        assert!(
            e.to_string().ends_with("there is no such file or folder"),
            "{e}"
        );
        // Half a data set is not a folder of documents.
        let dir = folder(&[("processed/stage1/document2entities.json", r#"{"A": ["b"]}"#)]);
        let e = look_at(dir.path()).unwrap_err();
        assert!(matches!(e, InitError::NoGraph(_)), "{e:?}");
    }

    /// The stages of the written pipeline, which must load: their names and operators.
    #[cfg(feature = "gfm")]
    fn written(found: &Documents) -> Vec<(String, &'static str)> {
        use crate::spec::{LoadOptions, load_text};
        let ops = crate::registry::builtin();
        let text = found.pipeline();
        let loaded = load_text(Path::new("p.yaml"), &text, &LoadOptions::default(), &ops);
        let loaded = loaded.unwrap_or_else(|e| panic!("{e}\n{text}"));
        let stages = loaded.stages.into_iter();
        stages.map(|s| (s.name, s.op.name)).collect()
    }

    #[cfg(feature = "gfm")]
    #[test]
    fn whatever_is_found_the_pipeline_loads() {
        let questions = [
            ("train.json", GOLD),
            ("dev.jsonl", "{\"question\": \"Who?\"}"),
            ("test.csv", PLAIN),
            ("questions.json", GOLD),
        ];
        for picked in 0..1usize << questions.len() {
            // Names that are hard to write in YAML, in templates and as patterns.
            let mut files = vec![("a {{ b }}/[x]: \"y\".md", "Words."), ("c.pdf", "")];
            let some = questions.iter().enumerate();
            let some: Vec<_> = some.filter(|(i, _)| picked >> i & 1 == 1).collect();
            files.extend(some.iter().map(|(_, f)| **f));
            let dir = folder(&files);
            let found = find(dir.path()).unwrap();
            assert_eq!(found.files.read.len(), 1);
            let stages = written(&found);
            let ops: Vec<&str> = stages.iter().map(|s| s.1).collect();
            // Questions that are not divided are left out beside test questions, which have no gold
            // documents here; training questions are divided where there are no others to test
            // with.
            let last = match picked {
                0 => "fuse",
                p if p & 4 > 0 => "retrieve",
                p if p & 8 > 0 || p & 1 > 0 => "evaluate",
                _ => "retrieve",
            };
            let (retriever, others) = ops.split_last().unwrap();
            assert_eq!(*retriever, "retriever", "{stages:?}");
            let trains = picked & 1 > 0;
            let explains = trains && last == "evaluate";
            let mut ends = if explains { vec!["explain"] } else { vec![] };
            ends.insert(0, last);
            assert!(others.ends_with(&ends), "{stages:?}");
            assert_eq!(ops.contains(&"finetune"), trains, "{stages:?}");
            assert_eq!(ops.contains(&"link-questions"), picked > 0);
            assert_eq!(ops[0], "ingest-documents");
        }
    }
}
