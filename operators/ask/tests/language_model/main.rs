//! What a language model is asked, what becomes of its answers, and what is asked again: the
//! operators `answer` and `ircot`, and answers of a retriever. The model is a server on this
//! machine that says what a test wants.
#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

mod answer;
mod asking;
#[path = "../common/mod.rs"]
mod common;
mod ircot;

use std::path::Path;
use std::time::Duration;

use arrow::array::{Array, RecordBatch};
use gfm_pipe_api::columns;
use gfm_pipe_api::local::Local;
use gfm_pipe_testing::{Act, Asked, ModelServer};
use serde_json::{Value, json};

/// A model that answers with what `say` makes of each request.
fn model(say: impl Fn(&Asked) -> String + Send + Sync + 'static) -> ModelServer {
    ModelServer::start(move |asked| Act::Say(say(asked))).unwrap()
}

/// The group `llm` for a server.
fn llm(server: &ModelServer) -> Value {
    json!({"model": "tester", "base_url": server.base_url(), "retries": 0})
}

/// The documents in the last message of a request.
fn documents(asked: &Asked) -> Vec<Value> {
    let last = asked.last();
    let lines = last.lines().filter(|line| line.starts_with('{'));
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// The titles of the documents in the last message of a request.
fn shown(asked: &Asked) -> Vec<String> {
    let documents = documents(asked).into_iter();
    documents
        .map(|d| d["title"].as_str().unwrap().to_owned())
        .collect()
}

/// The question of a request.
fn question(asked: &Asked) -> String {
    let last = asked.last();
    let (_, question) = last.rsplit_once("\nQuestion: ").unwrap();
    serde_json::from_str(question).unwrap()
}

/// An answer that names the first document and cites it.
fn first(asked: &Asked) -> String {
    json!({"reasoning": "It is first.", "answer": shown(asked)[0], "cited": [1]}).to_string()
}

/// A pause that differs from request to request.
fn pause(asked: &Asked) -> Duration {
    Duration::from_millis(7 * asked.number as u64 % 23)
}

/// The texts of a column.
fn texts(table: &RecordBatch, name: &str) -> Vec<String> {
    let column = columns::text(table, name).unwrap();
    column
        .iter()
        .map(|t| t.unwrap_or_default().to_owned())
        .collect()
}

/// Which rows of a column have a text.
fn given(table: &RecordBatch, name: &str) -> Vec<bool> {
    let column = columns::text(table, name).unwrap();
    (0..column.len()).map(|row| column.is_valid(row)).collect()
}

fn responses(local: &Local) -> RecordBatch {
    local.port("responses").read("responses").unwrap()
}

/// Item, reason and text of each row of `rejects`.
fn rejects(local: &Local) -> Vec<[String; 3]> {
    let table = local.port("rejects").read("rejects").unwrap();
    let columns = ["item", "reason", "text"].map(|name| texts(&table, name));
    let rows = 0..table.num_rows();
    rows.map(|row| [0, 1, 2].map(|c: usize| columns[c][row].clone()))
        .collect()
}

/// Digests of all tables.
fn digests(local: &Local) -> Vec<String> {
    let tables = local.outputs.values().flat_map(|port| &port.tables);
    tables.map(|table| table.digest.clone()).collect()
}

/// Writes a file with a prompt.
fn prompt(dir: &Path, text: &str) -> String {
    let path = dir.join("prompt.txt");
    std::fs::write(&path, text).unwrap();
    path.display().to_string()
}
