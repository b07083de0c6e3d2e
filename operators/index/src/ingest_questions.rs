//! `ingest-questions`: reads raw questions, and links them to documents by title.
//!
//! No entity is known here, so no question is askable in the sense of the kind `questions`. Systems
//! that rank documents by their texts do not need entities. There is one port per split, so that a
//! changed test file retrains nothing.

use std::path::{Path, PathBuf};

use encoding_rs::Encoding;
use gfm_pipe_api::{
    Accepts, Arity, Context, Field, InPort, InputFile, Kind, OpError, OpResult, Operator, OutPort,
    Problem, Schema, Type, kinds,
};
use gfm_pipe_kg::names::Names;
use gfm_pipe_kg::questions::{self, Question, SplitInfo};
use gfm_pipe_kg::reasons;
use gfm_pipe_kg::tables::{Piece, Places, Rejects, Table, write_counts};
use serde::{Deserialize, Serialize};

use crate::folds::{self, Folds, Part};
use crate::formats::rows::{self as records, Expected};
use crate::formats::{Fault, Format, rejecting};
use crate::gold_titles::Titles;
use crate::ingest_documents::{MAX_FILE, encoding_field};
use crate::listing::{Found, Listing, Wanted};
use crate::question::{self, Place, ReadQuestion};
use crate::rows::{Cell, Rows};
use crate::{reading, titles};

/// The operator `ingest-questions`.
pub struct IngestQuestions;

/// Parameters of [`IngestQuestions`].
#[derive(Debug, Serialize, Deserialize)]
pub struct QuestionsParams {
    /// Name of the data set.
    pub dataset: String,
    /// Path of the training questions.
    pub train: Option<PathBuf>,
    /// Path of the validation questions.
    pub valid: Option<PathBuf>,
    /// Path of the test questions.
    pub test: Option<PathBuf>,
    /// Encoding of all files, or `auto`.
    pub encoding: String,
    /// Redistributes all questions over the splits.
    pub folds: Option<Folds>,
}

const SPLITS: [(&str, Part); 3] = [
    ("train", Part::Train),
    ("valid", Part::Valid),
    ("test", Part::Test),
];

static DOCUMENTS: [&Kind; 1] = [&kinds::DOCUMENTS];
static SOURCES: [&Kind; 1] = [&kinds::SOURCES];

const WANTED: Wanted = Wanted {
    format: None,
    formats: Format::RECORDS,
    max_bytes: MAX_FILE as u64,
};

/// How records of questions are recognised.
pub const EXPECTED: Expected<'static> = Expected {
    column: "question",
    is_record: &|keys| keys.contains(&"question"),
};

impl QuestionsParams {
    /// The splits that have a path.
    fn given(&self) -> impl Iterator<Item = (&'static str, Part, &Path)> {
        let paths = [&self.train, &self.valid, &self.test];
        let all = SPLITS.iter().zip(paths);
        all.filter_map(|((name, part), path)| Some((*name, *part, path.as_deref()?)))
    }
}

impl Operator for IngestQuestions {
    type Params = QuestionsParams;
    const NAME: &'static str = "ingest-questions";
    const VERSION: u32 = 1;
    const ABOUT: &'static str = "reads questions from JSON, JSONL or CSV and links them to documents by title; no entities are needed";

    fn schema() -> Schema {
        let split =
            |name, about| Field::new(name, Type::Path.or_null(), serde_json::Value::Null, about);
        Schema::new(vec![
            Field::required(
                "dataset",
                Type::Text,
                "name of the data set in tables of results",
            ),
            split(
                "train",
                "training questions: a file, a folder, or a pattern such as questions/train*.jsonl",
            ),
            split("valid", "validation questions, likewise"),
            split("test", "test questions, likewise"),
            encoding_field(),
            folds::field(),
        ])
    }

    fn inputs() -> Vec<InPort> {
        vec![
            InPort {
                name: "documents",
                accepts: Accepts::Kinds(&DOCUMENTS),
                arity: Arity::One,
                about: "documents the gold titles are looked up in",
            },
            InPort {
                name: "sources",
                accepts: Accepts::Kinds(&SOURCES),
                arity: Arity::Optional,
                about: "where documents were read: shows which titles several documents share",
            },
        ]
    }

    fn outputs() -> Vec<OutPort> {
        let port = |name, kind, about| OutPort { name, kind, about };
        vec![
            port("train", &kinds::QUESTIONS, "training questions"),
            port(
                "valid",
                &kinds::QUESTIONS,
                "validation questions; empty where none are given",
            ),
            port(
                "test",
                &kinds::QUESTIONS,
                "test questions; empty where none are given",
            ),
            port("answers", &kinds::ANSWERS, "answers with their aliases"),
            port(
                "rejects",
                &kinds::REJECTS,
                "questions and values that could not be used",
            ),
            port("places", &kinds::PLACES, "the line of each question"),
            port(
                "counts",
                &kinds::COUNTS,
                "by split: questions, those without a gold document, gold titles without a document",
            ),
        ]
    }

    fn check(params: &QuestionsParams) -> Vec<Problem> {
        let mut problems = params.folds.as_ref().map_or_else(Vec::new, Folds::check);
        if params.given().next().is_none() {
            problems.push(
                Problem::at_root("no questions are given")
                    .hint("set at least one of `train`, `valid` and `test`"),
            );
        }
        problems
    }

    fn files(params: &QuestionsParams, base: &Path) -> Vec<InputFile> {
        let all = params.given();
        all.flat_map(|(_, _, path)| Listing::files(path, base, &WANTED))
            .collect()
    }

    fn fingerprint(params: &QuestionsParams, base: &Path) -> Option<String> {
        let mut hasher = blake3::Hasher::new();
        for (name, _, path) in params.given() {
            // The key depends on which files belong to which split.
            hasher.update(name.as_bytes());
            Listing::new(path, base, &WANTED).ok()?.digest(&mut hasher);
        }
        Some(hasher.finalize().to_hex().to_string())
    }

    fn run(params: QuestionsParams, ctx: &Context) -> OpResult<()> {
        let titles = Titles::read(ctx.input("documents")?, ctx.input_opt("sources"))?;
        let mut job = Job {
            ctx,
            titles,
            encoding: Encoding::for_label(params.encoding.as_bytes()),
            rejects: Rejects::create(ctx)?,
            questions: Vec::new(),
        };
        for (_, part, path) in params.given() {
            job.split(path, part, params.folds.is_some())?;
        }
        if let Some(folds) = &params.folds {
            let ids: Vec<&str> = job
                .questions
                .iter()
                .map(|q| q.read.question.id.as_str())
                .collect();
            let parts = folds.divide(&ids);
            for (question, part) in job.questions.iter_mut().zip(parts) {
                question.part = part;
            }
        }
        job.write(&params.dataset)
    }
}

/// A question and the split it belongs to.
struct AssignedQuestion {
    part: Part,
    source: String,
    read: ReadQuestion,
}

struct Job<'a> {
    ctx: &'a Context,
    titles: Titles,
    encoding: Option<&'static Encoding>,
    rejects: Rejects,
    questions: Vec<AssignedQuestion>,
}

impl Job<'_> {
    /// Reads the questions of a split. Of questions with the same id, the first is kept; where the
    /// splits are `pooled`, the first among all of them.
    fn split(&mut self, path: &Path, part: Part, pooled: bool) -> OpResult<()> {
        let listing = Listing::new(path, &self.ctx.base, &WANTED)
            .map_err(|absent| OpError::new(absent.why).hint(absent.hint).file(path))?;
        for refused in &listing.refused {
            Fault::file(refused.reason.clone()).push(&refused.name, &mut self.rejects)?;
        }
        let mut seen = Names::new(u32::MAX);
        for earlier in self.questions.iter().filter(|_| pooled) {
            seen.intern(&earlier.read.question.id);
        }
        for file in &listing.found {
            self.ctx.check_cancelled()?;
            self.file(file, part, &mut seen)?;
        }
        Ok(())
    }

    fn file(&mut self, file: &Found, part: Part, seen: &mut Names) -> OpResult<()> {
        let source = file.name.as_str();
        let bytes = reading::bytes(&self.ctx.path(&file.path), WANTED.max_bytes);
        let decoded = bytes.and_then(|bytes| reading::text(&bytes, file.format, self.encoding));
        let decoded = match decoded {
            Ok(decoded) => decoded,
            Err(reason) => return Fault::file(reason).push(source, &mut self.rejects),
        };
        if let Some(damage) = &decoded.damage {
            Fault::file(damage.clone()).push(source, &mut self.rejects)?;
        }
        let stem = titles::of_name(source);
        let place = Place {
            stem: &stem,
            cells: file.format == Format::Csv,
        };
        let Job {
            titles,
            rejects,
            questions,
            ..
        } = self;
        let mut each = |row: Result<records::Row, Fault>| {
            let row = match row {
                Ok(row) => row,
                Err(fault) => return fault.push(source, rejects),
            };
            let mut push = rejecting(rejects, source, row.line);
            let read = question::read(row, &place, titles, &mut push)?;
            let Some(read) = read else { return Ok(()) };
            let id = &read.question.id;
            if seen.find(id).is_some() {
                return push(Some(id), reasons::ID_TWICE, &read.question.text);
            }
            seen.intern(id);
            questions.push(AssignedQuestion {
                part,
                source: source.to_owned(),
                read,
            });
            Ok(())
        };
        records::read(&decoded.text, file.format, &EXPECTED, &mut each)
    }

    fn write(self, dataset: &str) -> OpResult<()> {
        let Job {
            ctx,
            rejects,
            questions,
            ..
        } = self;
        let mut places = Places::create(ctx)?;
        let mut answers = Rows::create(ctx, "answers", &kinds::ANSWERS, "answers")?;
        let mut counts = Vec::new();
        let (mut loose, mut made) = (0, 0);
        let total = questions.len();
        let mut parts: [Vec<AssignedQuestion>; 3] = Default::default();
        for question in questions {
            loose += question.read.loose;
            made += u64::from(question.read.made);
            parts[question.part as usize].push(question);
        }
        for ((name, part), asked) in SPLITS.iter().zip(parts) {
            debug_assert!(asked.iter().all(|q| q.part == *part));
            let tally = write_split(ctx, dataset, name, asked, &mut places, &mut answers)?;
            counts.extend([
                (format!("{name}.questions"), tally.questions),
                (format!("{name}.without_gold_document"), tally.without_gold),
                (format!("{name}.unknown_gold_titles"), tally.unknown),
            ]);
        }
        places.finish()?;
        answers.finish()?;
        let rejected = rejects.total();
        rejects.finish()?;
        if total == 0 {
            ctx.warn("there is no question in the files that were given");
        }
        if rejected > 0 {
            ctx.warn(format!(
                "{rejected} questions, titles or values rejected: see `gfm-pipe show {}`",
                ctx.typed("rejects")
            ));
        }
        counts.extend([
            ("gold_titles_tied_by_spelling".to_owned(), loose),
            ("ids_made".to_owned(), made),
            ("rejected".to_owned(), rejected),
        ]);
        write_counts(ctx, &counts)
    }
}

#[derive(Default)]
struct Tally {
    questions: u64,
    without_gold: u64,
    unknown: u64,
}

fn write_split(
    ctx: &Context,
    dataset: &str,
    name: &str,
    asked: Vec<AssignedQuestion>,
    places: &mut Places,
    answers: &mut Rows,
) -> OpResult<Tally> {
    let mut tally = Tally::default();
    let mut table = Table::create(ctx, name, &kinds::QUESTIONS, "questions")?;
    let mut piece = Piece::default();
    let mut kept: Vec<Question> = Vec::new();
    for AssignedQuestion { source, read, .. } in asked {
        places.push(name, tally.questions, &source, read.line)?;
        for answer in &read.answers {
            answers.push([name, read.question.id.as_str(), answer].map(Cell::Text))?;
        }
        tally.questions += 1;
        tally.without_gold += u64::from(read.question.documents.is_empty());
        tally.unknown += read.unknown;
        let bytes = read.question.bytes();
        kept.push(read.question);
        if piece.add(bytes) {
            piece.take();
            ctx.check_cancelled()?;
            questions::append(&mut table, std::mem::take(&mut kept))?;
        }
    }
    questions::append(&mut table, kept)?;
    table.finish()?;
    let info = SplitInfo {
        dataset,
        split: name,
        questions: tally.questions,
        not_askable: tally.questions,
    };
    info.write(ctx)?;
    Ok(tally)
}
