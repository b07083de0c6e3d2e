//! `extract` on small corpora.
#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

mod common;

use std::fs;

use common::{counts, rows};
use gfm_pipe_api::local::{self, Local};
use gfm_pipe_api::{OpEntry, OpResult};
use gfm_pipe_index::{Extract, IngestDocuments};
use serde_json::{Value, json};

/// Extracts from documents; a file is written beside them.
fn extract(documents: &Value, by: &str, file: Option<(&str, &str)>) -> OpResult<Local> {
    let dir = tempfile::tempdir().unwrap().keep();
    fs::write(dir.join("corpus.json"), documents.to_string()).unwrap();
    let given = json!({"path": dir.join("corpus.json"), "split": "paragraphs"});
    let read = local::run::<IngestDocuments>(&dir.join("d"), &given, [].into())?;
    let mut params = json!({"by": by});
    if let Some((name, text)) = file {
        fs::write(dir.join(name), text).unwrap();
        params["path"] = json!(dir.join(name));
    }
    let inputs = [("documents".to_owned(), vec![read.port("documents").clone()])];
    local::run::<Extract>(&dir.join("x"), &params, inputs.into())
}

fn towns() -> Value {
    json!({
        "Ada Alder": "Ada Alder was born in Quillmouth on 5 May 1920.\n\nShe baked bread in Quillmouth. Ada Alder died.",
        "Quillmouth": "A town with 6 mills.",
        "Empty": "",
    })
}

#[test]
fn patterns_find_sentences_mentions_and_named_documents() {
    let got = extract(&towns(), "patterns", None).unwrap();
    assert_eq!(
        rows(
            &got,
            "sentences",
            "sentences",
            &["document", "sentence", "start", "end", "text"]
        ),
        [
            "0 | 0 | 0 | 47 | Ada Alder: Ada Alder was born in Quillmouth on 5 May 1920.",
            "1 | 0 | 0 | 30 | Ada Alder: She baked bread in Quillmouth.",
            "1 | 1 | 31 | 46 | Ada Alder: Ada Alder died.",
            "2 | 0 | 0 | 20 | Quillmouth: A town with 6 mills.",
        ]
    );
    assert_eq!(
        rows(
            &got,
            "mentions",
            "mentions",
            &["document", "sentence", "start", "end", "text", "label"]
        ),
        [
            "0 | 0 | 0 | 9 | Ada Alder | name",
            "0 | 0 | 22 | 32 | Quillmouth | name",
            "0 | 0 | 36 | 46 | 5 May 1920 | date",
            "1 | 0 | 19 | 29 | Quillmouth | name",
            "1 | 1 | 31 | 40 | Ada Alder | name",
            "2 | 0 | 12 | 13 | 6 | number",
        ]
    );
    assert_eq!(got.port("facts").rows("facts").unwrap(), 0);
    assert_eq!(
        rows(
            &got,
            "named",
            "named",
            &["document", "start", "end", "target", "text"]
        ),
        [
            "0 | 22 | 32 | 2 | Quillmouth",
            "1 | 19 | 29 | 2 | Quillmouth"
        ]
    );
    assert_eq!(
        counts(&got),
        [
            "documents | 4",
            "sentences | 4",
            "mentions | 6",
            "facts | 0",
            "named | 2",
            "documents_without_mention | 1",
            "documents_without_fact | 4",
            "rejected | 0",
        ]
    );
}

#[test]
fn files_of_every_program_say_the_same() {
    let entities = "\"extracted_entities\": [\"Ada Alder\", \"Quillmouth\"]";
    let triples =
        "\"extracted_triples\": [[\"Ada Alder\", \"was born in\", \"Quillmouth\"], [\"a\", \"b\"]]";
    let passage = "Ada Alder\\nAda Alder was born in Quillmouth on 5 May 1920.";
    let gfm = format!(
        "{{\"passage\": \"{passage}\", \"title\": \"Ada Alder\", \"extracted_entities\": [], \"extracted_triples\": []}}\n\
         {{\"passage\": \"{passage}\", \"title\": \"Ada Alder\", {entities}, {triples}}}\n"
    );
    let one = format!(
        "{{\"docs\": [{{\"title\": \"Ada Alder\", \"text\": \"x\", \"passage\": \"{passage}\", {entities}, {triples}}}], \"ents_by_doc\": NaN}}"
    );
    let two = format!(
        "{{\"docs\": [{{\"idx\": \"chunk-1\", \"passage\": \"{passage}\", {entities}, {triples}}}, {{\"idx\": \"chunk-2\", \"passage\": \"Elsewhere\"}}],\
         \"avg_ent_chars\": 7.5, \"avg_ent_words\": NaN}}"
    );
    let columns = [
        "document",
        "sentence",
        "subject",
        "subject_start",
        "subject_end",
        "relation",
        "relation_start",
        "object",
        "object_end",
        "text",
    ];
    for (name, text, rejects) in [
        (
            "openie_results.jsonl",
            gfm,
            &[
                "Ada Alder | the fact has 2 parts, not three",
                " | the document is given twice: the last counts",
            ][..],
        ),
        (
            "openie_x_results_ner_gpt_3.json",
            one,
            &["Ada Alder | the fact has 2 parts, not three"],
        ),
        (
            "openie_results_ner_gpt.json",
            two,
            &[
                "chunk-1 | the fact has 2 parts, not three",
                "chunk-2 | no document has this passage",
            ],
        ),
    ] {
        let got = extract(&towns(), "file", Some((name, &text))).unwrap();
        assert_eq!(
            rows(&got, "facts", "facts", &columns),
            [
                "0 | 0 | Ada Alder | 0 | 9 | was born in | 10 | Quillmouth | 32 | Ada Alder was born in Quillmouth"
            ],
            "{name}"
        );
        assert_eq!(
            rows(&got, "mentions", "mentions", &["document", "text", "label"]),
            ["0 | Ada Alder | entity", "0 | Quillmouth | entity"]
        );
        assert_eq!(
            rows(&got, "rejects", "rejects", &["item", "reason"]),
            rejects,
            "{name}"
        );
        assert_eq!(got.port("sentences").rows("sentences").unwrap(), 4);
    }
    let broken = extract(&towns(), "file", Some(("x.json", "{\"docs\": ["))).unwrap();
    assert!(
        rows(&broken, "rejects", "rejects", &["reason"])[0]
            .starts_with("the file is not valid JSON")
    );
}

#[test]
fn parameters_that_cannot_be_are_refused() {
    let op = OpEntry::of::<Extract>();
    let of = |params: Value| op.validate(&params).unwrap_err()[0].message.clone();
    assert_eq!(
        of(json!({"by": "file"})),
        "`by: file` needs the `path` of a file"
    );
    assert_eq!(
        of(json!({"by": "patterns", "path": "x.json"})),
        "only `by: file` reads a file"
    );
    assert_eq!(
        of(json!({"by": "english"})),
        "`english` is not implemented yet"
    );
}
