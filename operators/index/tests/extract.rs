//! Tests of `extract` on small corpora.
#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

mod common;

use std::fs;

use common::{counts, rows};
use gfm_pipe_api::local::{self, Local};
use gfm_pipe_api::{OpEntry, OpResult};
use gfm_pipe_index::{Extract, IngestDocuments};
use serde_json::{Value, json};

/// Ingests documents and extracts from them, with the default extractor where `by` is empty. `file`
/// (name and content) is written beside the documents.
fn extract(documents: &Value, by: &str, file: Option<(&str, &str)>) -> OpResult<Local> {
    let dir = tempfile::tempdir().unwrap().keep();
    fs::write(dir.join("corpus.json"), documents.to_string()).unwrap();
    let given = json!({"path": dir.join("corpus.json"), "split": "paragraphs"});
    let read = local::run::<IngestDocuments>(&dir.join("d"), &given, [].into())?;
    let mut params = match by {
        "" => json!({}),
        by => json!({"by": by}),
    };
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

#[cfg(feature = "english")]
#[test]
fn only_new_documents_are_parsed_and_the_tables_are_the_same() {
    const PORTS: [&str; 5] = ["sentences", "mentions", "facts", "named", "counts"];
    let dir = tempfile::tempdir().unwrap();
    let run = |to: &str, corpus: &Value| {
        fs::write(dir.path().join("corpus.json"), corpus.to_string()).unwrap();
        let given = json!({"path": dir.path().join("corpus.json")});
        let to = dir.path().join(to);
        let read = local::run::<IngestDocuments>(&to.join("d"), &given, [].into()).unwrap();
        let inputs = [("documents".to_owned(), vec![read.port("documents").clone()])];
        let got = local::run::<Extract>(&to, &json!({}), inputs.into()).unwrap();
        let tables = PORTS.map(|p| got.port(p).read(p).unwrap());
        (tables, (got.items.computed, got.items.items.len()))
    };
    assert_eq!(run("one", &towns()).1, (3, 3));
    let mut more = towns();
    // The other documents name its title. Where texts name titles is never cached.
    more["6 mills"] = json!("The mills of Quillmouth were sold to Bea Cooper in 1931.");
    let (with, counts) = run("one", &more);
    assert_eq!(counts, (1, 4));
    let (without, counts) = run("two", &more);
    assert_eq!(counts, (4, 4));
    assert_eq!(with, without);
    assert!(with.iter().all(|table| table.num_rows() > 0));
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
        of(json!({"by": "patterns", "model": "x"})),
        "only `by: transformer` has a model"
    );
    assert_eq!(
        of(json!({"by": "patterns", "revision": "x"})),
        "only `by: transformer` has a model"
    );
    for params in [
        json!({"by": "transformer"}),
        json!({"by": "transformer", "model": " "}),
    ] {
        assert_eq!(
            of(params),
            "`by: transformer` needs a `model`: a folder, or a name on the Hugging Face hub"
        );
    }
}

#[cfg(not(feature = "transformers"))]
#[test]
fn a_build_without_transformers_refuses_them_by_name() {
    let op = OpEntry::of::<Extract>();
    let params = json!({"by": "transformer", "model": "x"});
    let problems = op.validate(&params).unwrap_err();
    assert_eq!(problems[0].message, "this build runs no transformers");
    assert!(problems[0].hint.as_deref().unwrap().contains("encoders"));
}

#[cfg(not(feature = "english"))]
#[test]
fn a_build_without_english_refuses_it_by_name() {
    let op = OpEntry::of::<Extract>();
    for params in [json!({}), json!({"by": "english"})] {
        let problems = op.validate(&params).unwrap_err();
        assert_eq!(problems[0].message, "this build has no English pipeline");
        let hint = problems[0].hint.as_deref().unwrap();
        assert!(hint.contains("`by: patterns`"), "{hint}");
    }
}

#[cfg(feature = "english")]
mod english {
    use arrow::array::{Array, AsArray};
    use arrow::datatypes::{UInt32Type, UInt64Type};

    use super::*;

    const FACTS: [&str; 5] = ["document", "sentence", "subject", "relation", "object"];

    #[test]
    fn english_is_the_default_and_finds_sentences_entities_and_facts() {
        let got = extract(&towns(), "", None).unwrap();
        let sentences = ["document", "sentence", "start", "end", "text"];
        assert_eq!(
            rows(&got, "sentences", "sentences", &sentences),
            [
                "0 | 0 | 0 | 47 | Ada Alder: Ada Alder was born in Quillmouth on 5 May 1920.",
                "1 | 0 | 0 | 30 | Ada Alder: She baked bread in Quillmouth.",
                "1 | 1 | 31 | 46 | Ada Alder: Ada Alder died.",
                "2 | 0 | 0 | 20 | Quillmouth: A town with 6 mills.",
            ]
        );
        let mentions = ["document", "sentence", "start", "end", "text", "label"];
        assert_eq!(
            rows(&got, "mentions", "mentions", &mentions),
            [
                "0 | 0 | 0 | 9 | Ada Alder | PERSON",
                "0 | 0 | 22 | 32 | Quillmouth | GPE",
                "0 | 0 | 36 | 46 | 5 May 1920 | DATE",
                "1 | 0 | 19 | 29 | Quillmouth | GPE",
                "1 | 1 | 31 | 40 | Ada Alder | PERSON",
                "2 | 0 | 12 | 13 | 6 | CARDINAL",
            ]
        );
        assert_eq!(
            rows(&got, "facts", "facts", &FACTS),
            [
                "0 | 0 | Ada Alder | was born in | Quillmouth",
                "0 | 0 | Ada Alder | was born on | 5 May 1920",
                "1 | 0 | Ada Alder | baked | bread",
                "1 | 0 | Ada Alder | baked bread in | Quillmouth",
                "2 | 0 | Quillmouth | town with mills | 6",
            ]
        );
        // A pronoun that stands for the title has no range, because it is not the title's words.
        let places = [
            "subject_start",
            "subject_end",
            "relation_start",
            "relation_end",
            "text",
        ];
        assert_eq!(
            rows(&got, "facts", "facts", &places)[2],
            " |  | 4 | 9 | Ada Alder baked bread"
        );
        // Titles are found in a separate pass, which is the same for every extractor.
        let named = |got| {
            rows(
                got,
                "named",
                "named",
                &["document", "start", "end", "target"],
            )
        };
        let patterns = extract(&towns(), "patterns", None).unwrap();
        assert_eq!(named(&got), named(&patterns));
        assert_eq!(named(&got).len(), 2);
    }

    /// Texts in many scripts, to detect ranges that cut characters.
    fn scripts() -> Value {
        let texts = [
            "Zoë Müller lived in Kraków, Poland. She wrote “Über den Fluß” in 1921 – it sold 20,000 copies.",
            "Лев Толстой (Leo Tolstoy) was born in Yasnaya Polyana.\u{a0} He died in Astapovo.",
            "東京 is the capital of Japan 🗾. The city’s governor is Yuriko Koike 👩🏽.",
            "\u{feff}São Paulo’s mayor, José Álvarez,\n\nvisited Málaga.\r\nIt rained. ＡＢＣ met Ⅻ.",
            "… — ‘ ’ 🜚 \u{301}\u{200d}",
        ];
        let all = texts.iter().enumerate();
        let titled = all.map(|(i, text)| (format!("Titel {i} ß"), json!(text)));
        Value::Object(titled.collect())
    }

    #[test]
    fn ranges_are_of_whole_characters_and_of_the_words_they_say() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("corpus.json"), scripts().to_string()).unwrap();
        let given = json!({"path": dir.path().join("corpus.json")});
        let read = local::run::<IngestDocuments>(&dir.path().join("d"), &given, [].into()).unwrap();
        let documents = read.port("documents").read("documents").unwrap();
        let column = |name: &str| documents.column_by_name(name).unwrap().as_string::<i32>();
        let (titles, texts) = (column("title"), column("text"));
        let inputs = [("documents".to_owned(), vec![read.port("documents").clone()])];
        let got = local::run::<Extract>(&dir.path().join("x"), &json!({}), inputs.into()).unwrap();
        let one_line = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        let mut checked = 0;
        for (table, text, start, end) in [
            ("sentences", "text", "start", "end"),
            ("mentions", "text", "start", "end"),
            ("facts", "subject", "subject_start", "subject_end"),
            ("facts", "relation", "relation_start", "relation_end"),
            ("facts", "object", "object_start", "object_end"),
        ] {
            let batch = got.port(table).read(table).unwrap();
            let number = |name: &str| {
                batch
                    .column_by_name(name)
                    .unwrap()
                    .as_primitive::<UInt64Type>()
            };
            let (starts, ends) = (number(start), number(end));
            let ids = batch
                .column_by_name("document")
                .unwrap()
                .as_primitive::<UInt32Type>();
            let said = batch.column_by_name(text).unwrap().as_string::<i32>();
            for row in (0..batch.num_rows()).filter(|row| !starts.is_null(*row)) {
                let document = ids.value(row) as usize;
                let range = starts.value(row) as usize..ends.value(row) as usize;
                // Fails if a range cuts a character.
                let slice = texts.value(document).get(range).unwrap();
                let (said, title) = (said.value(row), titles.value(document));
                checked += 1;
                match text {
                    "text" if table == "sentences" => assert_eq!(said, format!("{title}: {slice}")),
                    // The range has the relation's first and last word; other words may lie
                    // between.
                    "relation" => {
                        let slice = slice.to_lowercase();
                        assert!(
                            said.ends_with(slice.split_whitespace().next_back().unwrap()),
                            "{said}: {slice}"
                        );
                    }
                    _ => assert_eq!(said, one_line(slice)),
                }
            }
        }
        assert!(checked > 40, "{checked}");
    }

    #[test]
    fn tables_do_not_depend_on_the_number_of_threads() {
        // More documents than are extracted at once, of very different lengths.
        let documents = (0..600).map(|i| {
            let text =
                format!("Ada Alder met {i} people in Quillmouth. She left for Paris, Texas. ");
            (
                format!("Place {i}"),
                json!(text.repeat(1 + (i % 7) * (i % 5))),
            )
        });
        let documents = Value::Object(documents.collect());
        let tables = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new()
                .num_threads(threads)
                .build()
                .unwrap();
            let got = pool.install(|| extract(&documents, "english", None).unwrap());
            ["sentences", "mentions", "facts", "named"]
                .map(|table| got.port(table).read(table).unwrap())
        };
        let one = tables(1);
        assert!(one[2].num_rows() > 600, "{}", one[2].num_rows());
        for threads in [2, 5] {
            assert_eq!(tables(threads), one, "{threads} threads");
        }
    }
}
