//! Tests of `ingest-documents` on folders with every kind of file.
#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use common::{counts, rows};
use gfm_pipe_api::local::{self, Local};
use gfm_pipe_api::{ErrorKind, InputFile, OpEntry, OpResult};
use gfm_pipe_index::IngestDocuments;
use parquet::arrow::ArrowWriter;
use serde_json::{Value, json};

fn put(root: &Path, name: &str, bytes: impl AsRef<[u8]>) {
    let path = root.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

fn ingest(params: &Value) -> OpResult<Local> {
    let out = tempfile::tempdir().unwrap();
    local::run::<IngestDocuments>(&out.keep(), params, BTreeMap::new())
}

fn mixed(root: &Path) {
    put(root, "a_text.txt", "Words of it.");
    put(root, "b/page.html", "<title>A page</title><p>Its words.");
    put(root, "b/notes.md", "---\ntitle: Notes\n---\nSome *notes*.");
    put(
        root,
        "c.json",
        r#"{"Ada": "She wrote.", "Notes": "Other notes."}"#,
    );
    put(
        root,
        "d.jsonl",
        "{\"title\": \"Jay\", \"text\": \"One.\"}\nbroken\n",
    );
    put(root, "e.csv", "title;text\nSea;\"Deep\nand wide\"\n");
    let texts: ArrayRef = Arc::new(StringArray::from(vec![Some("From a column."), None]));
    let titles: ArrayRef = Arc::new(StringArray::from(vec!["Column", "Nothing"]));
    let batch =
        RecordBatch::try_from_iter_with_nullable([("title", titles, true), ("text", texts, true)])
            .unwrap();
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    put(root, "f.parquet", bytes);
    put(root, "g.pdf", "%PDF-1.7");
    put(root, "h.txt", b"Se\xf1or");
    put(root, "i.txt", "");
    put(root, ".git/config.txt", "not this");
    put(root, "b/notes.txt", "More notes.");
}

#[test]
fn a_folder_of_every_format_becomes_documents() {
    let dir = tempfile::tempdir().unwrap();
    mixed(dir.path());
    let got = ingest(&json!({"path": dir.path()})).unwrap();
    assert_eq!(
        rows(
            &got,
            "documents",
            "documents",
            &["id", "title", "text", "in_corpus"]
        ),
        [
            "0 | a text | Words of it. | true",
            "1 | Notes (b) | Some notes. | true",
            "2 | notes | More notes. | true",
            "3 | A page | Its words. | true",
            "4 | Ada | She wrote. | true",
            "5 | Notes | Other notes. | true",
            "6 | Jay | One. | true",
            "7 | Sea | Deep\nand wide | true",
            "8 | Column | From a column. | true",
            "9 | h | Señor | true",
        ]
    );
    assert_eq!(
        rows(
            &got,
            "sources",
            "sources",
            &[
                "document", "source", "start", "end", "row", "parent", "title"
            ]
        ),
        [
            "0 | a_text.txt | 0 | 12 |  | 0 | a text",
            "1 | b/notes.md | 0 | 34 |  | 1 | Notes",
            "2 | b/notes.txt | 0 | 11 |  | 2 | notes",
            "3 | b/page.html | 0 | 34 |  | 3 | A page",
            "4 | c.json | 1 | 20 | 0 | 4 | Ada",
            "5 | c.json | 22 | 45 | 1 | 5 | Notes",
            "6 | d.jsonl | 0 | 32 | 0 | 6 | Jay",
            "7 | e.csv | 11 | 30 | 0 | 7 | Sea",
            "8 | f.parquet |  |  | 0 | 8 | Column",
            "9 | h.txt | 0 | 5 |  | 9 | h",
        ]
    );
    assert_eq!(
        rows(
            &got,
            "rejects",
            "rejects",
            &["source", "line", "item", "reason", "text"]
        ),
        [
            "g.pdf |  |  | PDF is not read: convert it, for example with `pdftotext FILE.pdf` | ",
            "d.jsonl | 2 |  | the line is not valid JSON: expected value | broken",
            "f.parquet |  | Nothing | row 1 has no value in `text` | ",
            "i.txt |  |  | the file is empty | ",
        ]
    );
    assert_eq!(
        counts(&got),
        [
            "files | 11",
            "documents | 10",
            "pieces | 10",
            "documents_without_text | 0",
            "rejected | 4"
        ]
    );
    let (_, warning) = &got.messages[0];
    assert!(
        warning.starts_with("4 files or records rejected (g.pdf: PDF is not read"),
        "{warning}"
    );
}

#[test]
fn what_is_excepted_is_neither_read_nor_rejected() {
    let dir = tempfile::tempdir().unwrap();
    mixed(dir.path());
    let except = json!(["b", "[c-f].*", "g.pdf"]);
    let params = json!({"path": dir.path(), "except": except});
    let got = ingest(&params).unwrap();
    let sources = rows(&got, "sources", "sources", &["source"]);
    assert_eq!(sources, ["a_text.txt", "h.txt"]);
    let rejects = rows(&got, "rejects", "rejects", &["source"]);
    assert_eq!(rejects, ["i.txt"]);
    // Neither the names nor the content of excluded files are in the key.
    let op = OpEntry::of::<IngestDocuments>();
    let params = op.validate(&params).unwrap();
    let seen = || {
        let files = op.files(&params, Path::new("")).unwrap();
        (files, op.fingerprint(&params, Path::new("")).unwrap())
    };
    let before = seen();
    assert_eq!(before.0.len(), 3);
    put(dir.path(), "b/more.txt", "More.");
    assert_eq!(seen(), before);
    put(dir.path(), "j.txt", "More.");
    assert_ne!(seen(), before);
    let bad = op
        .validate(&json!({"path": "x", "except": ["a", "***"]}))
        .unwrap_err();
    assert!(
        bad[0].message.contains("is not a pattern of files"),
        "{bad:?}"
    );
}

#[test]
fn pieces_keep_their_parent_and_their_bytes() {
    let dir = tempfile::tempdir().unwrap();
    put(
        dir.path(),
        "a.md",
        "\u{feff}# Head\n\nFirst *part*.\n\nSecond part.",
    );
    put(
        dir.path(),
        "b.json",
        r#"[{"title": "B", "text": "One.\n\nTwo."}]"#,
    );
    put(dir.path(), "c.txt", b"caf\xe9.\r\n\r\nna\xefve.");
    let got = ingest(&json!({"path": dir.path(), "split": "paragraphs"})).unwrap();
    let documents = rows(&got, "documents", "documents", &["id", "title", "text"]);
    let sources = rows(&got, "sources", "sources", &["start", "end", "parent"]);
    assert_eq!(
        documents,
        [
            "0 | Head | First part.",
            "1 | Head | Second part.",
            "2 | B | One.",
            "3 | B | Two.",
            "4 | c | café.",
            "5 | c | naïve."
        ]
    );
    assert_eq!(
        sources,
        [
            "11 | 24 | 0",
            "26 | 38 | 0",
            "1 | 39 | 2",
            "1 | 39 | 2",
            "0 | 5 | 4",
            "9 | 15 | 4"
        ]
    );
    assert!(counts(&got).contains(&"documents | 3".to_owned()));

    let words = ingest(&json!({"path": dir.path().join("a.md"), "split": {"tokens": 2}})).unwrap();
    assert_eq!(
        rows(&words, "documents", "documents", &["text"]),
        ["First part.", "Second part."]
    );
    let bad =
        ingest(&json!({"path": dir.path(), "split": {"tokens": 2, "overlap": 2}})).unwrap_err();
    assert!(
        bad.to_string()
            .starts_with("split.overlap: it must be less than `tokens`"),
        "{bad}"
    );
}

#[test]
fn fields_formats_and_encodings_are_parameters() {
    let dir = tempfile::tempdir().unwrap();
    put(
        dir.path(),
        "x.jsonl",
        "{\"name\": \"N\", \"contents\": \"C\"}",
    );
    put(dir.path(), "y.log", b"\xcc\xe8\xf0");
    let got =
        ingest(&json!({"path": dir.path().join("*.jsonl"), "title": "name", "text": "contents"}))
            .unwrap();
    assert_eq!(
        rows(&got, "documents", "documents", &["title", "text"]),
        ["N | C"]
    );
    let params =
        json!({"path": dir.path().join("y.log"), "format": "text", "encoding": "windows-1251"});
    let got = ingest(&params).unwrap();
    assert_eq!(
        rows(&got, "documents", "documents", &["title", "text"]),
        ["y | Мир"]
    );
    let bad = ingest(&json!({"path": dir.path(), "encoding": "klingon"})).unwrap_err();
    assert!(
        bad.to_string().contains("`klingon` is not an encoding"),
        "{bad}"
    );
}

#[test]
fn nothing_to_read_says_why() {
    let dir = tempfile::tempdir().unwrap();
    let e = ingest(&json!({"path": dir.path().join("none")})).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::User);
    assert!(
        e.to_string().ends_with("there is no such file or folder"),
        "{e}"
    );
    put(dir.path(), "x.jsonl", "{\"title\": \"T\"}");
    let e = ingest(&json!({"path": dir.path()})).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Data);
    assert!(e.to_string().ends_with("no document could be read"), "{e}");
    assert_eq!(
        e.advice(),
        Some("x.jsonl: there is no field `text`; there are: title")
    );
}

#[test]
fn a_key_knows_names_of_files_and_where_they_are_does_not_matter() {
    let op = OpEntry::of::<IngestDocuments>();
    let dir = tempfile::tempdir().unwrap();
    put(dir.path(), "a/x.txt", "words");
    put(dir.path(), "b/x.txt", "words");
    let of = |path: &str| {
        let params = op.validate(&json!({"path": path})).unwrap();
        let files = op.files(&params, dir.path()).unwrap();
        (files, op.fingerprint(&params, dir.path()).unwrap().unwrap())
    };
    let (files, first) = of("a");
    assert_eq!(files[0].path, Path::new("a/x.txt"));
    assert_eq!(first, of("b").1);
    fs::rename(dir.path().join("b/x.txt"), dir.path().join("b/y.txt")).unwrap();
    assert_ne!(first, of("b").1);
    // What is not read is in the table of rejects, so it counts too.
    put(dir.path(), "a/z.pdf", "words");
    let (files, third) = of("a");
    assert_eq!(files[1], InputFile::unread("a/z.pdf"));
    assert_ne!(first, third);
}

#[test]
fn the_same_rows_come_from_a_large_file_whatever_its_form() {
    let dir = tempfile::tempdir().unwrap();
    let read = |form: &str, bytes: String| {
        put(dir.path(), form, bytes);
        let got = ingest(&json!({"path": dir.path().join(form)})).unwrap();
        rows(&got, "documents", "documents", &["id", "title", "text"])
    };
    let of = |n: u32| (0..n).map(|i| (format!("T{}", i / 2), format!("text {i}")));
    let as_json =
        |(title, text): (String, String)| json!({"title": title, "text": text}).to_string();
    let lines: Vec<String> = of(300).map(as_json).collect();
    let csv: Vec<String> = of(300)
        .map(|(title, text)| format!("{title},{text}"))
        .collect();
    let few = read("few.jsonl", lines.join("\n"));
    assert_eq!(few.len(), 300);
    assert_eq!(few, read("few.json", format!("[{}]", lines.join(",\n"))));
    assert_eq!(
        few,
        read("few.csv", format!("title,text\n{}", csv.join("\n")))
    );
    // More rows than are written at once.
    let lines: Vec<String> = of(70_000).map(as_json).collect();
    let many = read("many.jsonl", lines.join("\n"));
    assert_eq!(many.len(), 70_000);
    assert_eq!(many[..300], few);
    assert_eq!(many[69_999], "69999 | T34999 (2) | text 69999");
}
