//! `gfm-pipe ask`: questions in plain words.

use std::io::{IsTerminal, Read};
use std::path::{Path, PathBuf};

use gfm_pipe_api::answer::{
    Answer, Answers, Ask, DEFAULT_DOCUMENTS, DEFAULT_PATHS, MAX_DOCUMENTS, MAX_PATHS,
};
use gfm_pipe_api::{OpEntry, OpResult, files};
use serde_json::{Value, json};

use super::error::{CliError, CliResult, exit};
use super::look;
use super::retriever::RetrieverArgs;
use crate::ui::{self, Out};

/// Number of questions of a file that are scored at once.
const AT_ONCE: usize = 32;

/// Arguments of `ask`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The question, in plain words; or --file
    #[arg(required_unless_present = "file")]
    question: Option<String>,
    /// Ask every question of a file: one per line, or JSON objects with `question`, one per line
    /// (.jsonl); `-` is standard input. Prints one JSON object per line
    #[arg(long, value_name = "QUESTIONS", conflicts_with = "question")]
    file: Option<PathBuf>,
    /// Number of documents, at most 1000
    #[arg(short = 'k', value_name = "N", default_value_t = DEFAULT_DOCUMENTS as u64,
          value_parser = clap::value_parser!(u64).range(1..=MAX_DOCUMENTS as u64))]
    documents: u64,
    /// Most paths shown for a document, at most 10
    #[arg(long, value_name = "N", default_value_t = DEFAULT_PATHS as u64,
          value_parser = clap::value_parser!(u64).range(..=MAX_PATHS as u64))]
    paths: u64,
    /// Only documents whose source file matches a glob pattern: source=reports/*.md
    #[arg(long = "where", value_name = "source=GLOB", value_parser = source)]
    source: Option<String>,
    /// Report the rank of this document too, by its title or number; may be given several times
    #[arg(long, value_name = "DOCUMENT")]
    why_not: Vec<String>,
    /// Also answer in words, by the language model of the stage (`llm`), with the documents that it
    /// relies on
    #[arg(long)]
    answer: bool,
    /// One JSON object, for programs
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    retriever: RetrieverArgs,
}

/// Parses `source=GLOB`.
fn source(text: &str) -> Result<String, String> {
    match text.split_once('=') {
        Some(("source", pattern)) if !pattern.is_empty() => Ok(pattern.to_owned()),
        _ => Err("write it as source=GLOB, such as source=reports/*.md".to_owned()),
    }
}

impl Args {
    fn ask(&self, question: String) -> Ask {
        Ask {
            question,
            k: self.documents as usize,
            paths: self.paths as usize,
            source: self.source.clone(),
            why_not: self.why_not.clone(),
            answer: self.answer,
        }
    }
}

/// Asks.
pub fn ask(args: &Args, ops: &[OpEntry], out: &Out, err: &Out) -> CliResult<u8> {
    args.retriever.common.apply()?;
    let questions = match (&args.question, &args.file) {
        (_, Some(file)) => read(file)?,
        (Some(question), None) => vec![question.clone()],
        (None, None) => Vec::new(),
    };
    let retriever = args.retriever.find(ops, err)?.open()?;
    if args.file.is_some() {
        return Ok(each(args, &*retriever, &questions, out));
    }
    let asked: Vec<Ask> = questions.into_iter().map(|q| args.ask(q)).collect();
    let one = retriever.ask(&asked).pop();
    let one = one.ok_or_else(|| CliError::failed("the retriever gave no answer"))?;
    // What is wrong is the question, or what it asks for.
    let answer = one.map_err(|e| CliError::usage(e.to_string()).hint_opt(e.advice()))?;
    if args.json {
        let text = serde_json::to_string_pretty(&answer).unwrap_or_default();
        out.document(&format!("{text}\n"));
    } else {
        let look = look(std::io::stdout().is_terminal());
        out.text(&ui::answer(&answer, look));
    }
    Ok(exit::OK)
}

/// Asks all questions of a file and prints an object for each. A question that cannot be answered
/// gets an object with its error.
fn each(args: &Args, retriever: &dyn Answers, questions: &[String], out: &Out) -> u8 {
    let mut code = exit::OK;
    for part in questions.chunks(AT_ONCE) {
        let asked: Vec<Ask> = part.iter().map(|q| args.ask(q.clone())).collect();
        for (question, answer) in part.iter().zip(retriever.ask(&asked)) {
            if answer.is_err() {
                code = exit::FAILED;
            }
            out.document(&format!("{}\n", object(question, &answer)));
        }
    }
    code
}

fn object(question: &str, answer: &OpResult<Answer>) -> Value {
    match answer {
        Ok(answer) => serde_json::to_value(answer).unwrap_or_default(),
        Err(e) => json!({"question": question, "error": e.to_string(), "hint": e.advice()}),
    }
}

/// Reads the questions of a file.
fn read(file: &Path) -> CliResult<Vec<String>> {
    let mut bytes = Vec::new();
    let read = if file == Path::new("-") {
        std::io::stdin().read_to_end(&mut bytes).map(|_| bytes)
    } else {
        files::read(file)
    };
    let bytes = read.map_err(|e| {
        CliError::usage(format!("failed to read {}: {e}", file.display()))
            .hint("--file names a file with one question per line; `-` is standard input")
    })?;
    let text = String::from_utf8(bytes).map_err(|e| {
        let before = &e.as_bytes()[..e.utf8_error().valid_up_to()];
        let line = 1 + before.iter().filter(|b| **b == b'\n').count();
        CliError::usage(format!("{}:{line}: not UTF-8", file.display())).hint("save it as UTF-8")
    })?;
    let text = text.trim_start_matches('\u{feff}');
    if text.trim_start().starts_with('[') {
        return Err(CliError::usage(format!(
            "{} begins like a JSON list, not like a question",
            file.display()
        ))
        .hint("write one JSON object per line: jq -c '.[]' FILE"));
    }
    let lines = (1..).zip(text.lines().map(str::trim));
    let lines = lines.filter(|(_, line)| !line.is_empty());
    let question = |(number, line): (usize, &str)| {
        if !line.starts_with('{') {
            return Ok(line.to_owned());
        }
        let wrong = |why: String| {
            CliError::usage(format!("{}:{number}: {why}", file.display()))
                .hint("each line is a question, or a JSON object with the text `question`")
        };
        let value: Value = serde_json::from_str(line)
            .map_err(|e| wrong(format!("not a whole JSON object, at column {}", e.column())))?;
        let question = value.get("question").and_then(Value::as_str);
        let question = question.map(str::to_owned);
        question.ok_or_else(|| wrong("the object has no text `question`".to_owned()))
    };
    let questions: Vec<String> = lines.map(question).collect::<CliResult<_>>()?;
    if questions.is_empty() {
        return Err(
            CliError::usage(format!("{} has no questions", file.display()))
                .hint("each line is a question, or a JSON object with the text `question`"),
        );
    }
    Ok(questions)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn questions_are_lines_or_objects() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("q.jsonl");
        std::fs::write(&file, "Who?\n\n {\"question\": \"Where?\", \"id\": 3}\n").unwrap();
        assert_eq!(read(&file).unwrap(), ["Who?", "Where?"]);
        for (text, want) in [
            ("{\"q\": 1}", "q.jsonl:1: the object has no"),
            ("\n", "no questions"),
            ("{\"question\": ", "q.jsonl:1: not a whole JSON object"),
            ("[{\"question\": \"Who?\"}]", "begins like a JSON list"),
        ] {
            std::fs::write(&file, text).unwrap();
            let error = read(&file).unwrap_err().text(look(false));
            assert!(error.contains(want), "{error}");
        }
        std::fs::write(&file, b"Who?\n\xff\n").unwrap();
        let error = read(&file).unwrap_err().text(look(false));
        assert!(error.contains("q.jsonl:2: not UTF-8"), "{error}");
        std::fs::write(&file, "\u{feff}Who?").unwrap();
        assert_eq!(read(&file).unwrap(), ["Who?"]);
        assert!(source("source=a/*").is_ok() && source("title=x").is_err());
    }
}
