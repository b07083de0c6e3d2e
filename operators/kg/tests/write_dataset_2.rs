//! `write-dataset` in the layout of GFM-RAG 2.0: what `ingest-graph` reads back is what it was.
#![allow(clippy::unwrap_used)]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, StringArray, UInt32Array, UInt64Array};
use common::{ingest_file, ingest_questions, rejects, texts, triples};
use gfm_pipe_api::local::{self, Local};
use gfm_pipe_api::{Artifact, OpError, OpResult, columns, kinds};
use gfm_pipe_kg::{IngestGraph, WriteDataset};
use proptest::prelude::*;
use serde_json::{Value, json};

type Inputs = BTreeMap<String, Vec<Artifact>>;

const SPLITS: [&str; 3] = ["train", "valid", "test"];

/// The ports with the graph and its documents, which both operators call the same.
const GRAPH: [&str; 7] = [
    "entities",
    "labels",
    "nodes",
    "relations",
    "triples",
    "documents",
    "links",
];

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn golden(name: &str) -> PathBuf {
    let all = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/parity2/graph_files/datasets");
    all.join(name)
}

fn ingest(root: &Path, target_type: Option<&str>, out: &Path) -> OpResult<Local> {
    let params = json!({"root": root, "dataset": "toy", "target_type": target_type});
    local::run::<IngestGraph>(out, &params, BTreeMap::new())
}

/// Everything that `ingest-graph` gives and `write-dataset` takes.
fn inputs(read: &Local) -> Inputs {
    let mut out: Inputs = GRAPH
        .map(|port| (port.to_owned(), vec![read.port(port).clone()]))
        .into();
    for (name, suffix) in [
        ("questions", ""),
        ("starts", "_starts"),
        ("targets", "_targets"),
    ] {
        let of = SPLITS.map(|split| read.port(&format!("{split}{suffix}")).clone());
        out.insert(name.to_owned(), of.into());
    }
    out
}

fn write(inputs: Inputs, root: &Path, out: &Path) -> OpResult<Local> {
    let params = json!({"path": root, "layout": "gfm-rag-2"});
    local::run::<WriteDataset>(out, &params, inputs)
}

/// The tables that must come back as they were.
fn digests(read: &Local) -> BTreeMap<String, String> {
    let nodes = SPLITS.map(|split| ["starts", "targets"].map(|what| format!("{split}_{what}")));
    let all = GRAPH.into_iter().map(str::to_owned);
    let all = all.chain(nodes.into_iter().flatten());
    all.map(|port| {
        let digest = read.port(&port).digest();
        (port, digest)
    })
    .collect()
}

/// The columns of questions, but for the number of gold titles.
fn questions(read: &Local) -> Vec<Vec<ArrayRef>> {
    let columns = [
        "id",
        "question",
        "answer",
        "question_entities",
        "supporting_entities",
        "supporting_documents",
        "hops",
        "groups",
    ];
    let of = |split: &str| {
        let table = read.port(split).read("questions").unwrap();
        columns
            .iter()
            .map(|name| table.column_by_name(name).unwrap().clone())
            .collect()
    };
    SPLITS.iter().map(|split| of(split)).collect()
}

/// Reads a data set, writes it and reads it again. Returns what was written.
fn there_and_back(root: &Path, target_type: Option<&str>, out: &Path) -> Local {
    let first = ingest(root, target_type, &out.join("first")).unwrap();
    let copy = out.join("copy");
    let written = write(inputs(&first), &copy, &out.join("written")).unwrap();
    let again = ingest(&copy, target_type, &out.join("again")).unwrap();
    assert_eq!(digests(&first), digests(&again), "{}", root.display());
    assert_eq!(questions(&first), questions(&again), "{}", root.display());
    let made_up = |reject: &String| reject.contains("|missing gold document ");
    let left: Vec<String> = rejects(&again)
        .into_iter()
        .filter(|r| !made_up(r))
        .collect();
    assert_eq!(left, [""; 0], "{}", root.display());
    written
}

#[test]
fn data_sets_come_back_as_they_were() {
    let all = [
        "tricky",
        "bom",
        "crlf",
        "uid",
        "numeric_names",
        "boolean_names",
        "uid_integers",
    ];
    let toy = fixtures().join("tests/parity2/reasoner_small/dataset");
    for root in all.map(golden).into_iter().chain([toy]) {
        let dir = tempfile::tempdir().unwrap();
        there_and_back(&root, None, dir.path());
    }
}

/// Where only entities are nodes, documents are written as further nodes, with edges to them.
#[test]
fn documents_that_are_no_nodes_become_nodes() {
    let dir = tempfile::tempdir().unwrap();
    there_and_back(&golden("tricky"), Some("entity"), dir.path());
    let whole = ingest(&dir.path().join("copy"), None, &dir.path().join("whole")).unwrap();
    let kinds = texts(whole.port("nodes"), "nodes", "type");
    assert_eq!(kinds.iter().filter(|kind| *kind == "document").count(), 3);
    let relations = texts(whole.port("relations"), "relations", "name");
    assert!(
        relations.contains(&"is_mentioned_in".to_owned()),
        "{relations:?}"
    );
}

#[test]
fn a_data_set_of_1_0_becomes_one_of_2_0() {
    let dir = tempfile::tempdir().unwrap();
    let root = fixtures().join("data/fixtures/family");
    let kg = ingest_file(
        &root.join("processed/stage1/kg.txt"),
        &dir.path().join("kg"),
    );
    let kg = kg.unwrap();
    let qa = ingest_questions(&root, kg.port("entities"), &dir.path().join("qa")).unwrap();
    let mut inputs = Inputs::new();
    for (local, ports) in [
        (&kg, &["entities", "relations", "triples"][..]),
        (&qa, &["documents", "links"]),
    ] {
        inputs.extend(
            ports
                .iter()
                .map(|port| ((*port).to_owned(), vec![local.port(port).clone()])),
        );
    }
    let splits = SPLITS.map(|split| qa.port(split).clone());
    inputs.insert("questions".to_owned(), splits.into());
    let copy = dir.path().join("copy");
    let written = write(inputs, &copy, &dir.path().join("w")).unwrap();
    assert_eq!(rejects(&written), [""; 0]);
    assert_eq!(
        texts(written.port("files"), "files", "name"),
        [
            "processed/stage1/nodes.csv",
            "processed/stage1/relations.csv",
            "processed/stage1/edges.csv",
            "raw/documents.json",
            "processed/stage1/train.json",
            "raw/train.json",
            "processed/stage1/valid.json",
            "raw/valid.json",
            "processed/stage1/test.json",
            "raw/test.json",
        ]
    );
    let raw: Value = {
        let text = fs::read_to_string(copy.join("raw/train.json")).unwrap();
        serde_json::from_str(&text).unwrap()
    };
    let first = raw[0].as_object().unwrap();
    assert!(first["supporting_documents"].is_array() && !first.contains_key("start_nodes"));

    // Its entities are the graph of 1.0, with the same ids.
    let entities = ingest(&copy, Some("entity"), &dir.path().join("entities")).unwrap();
    for (port, before) in [
        ("entities", &kg),
        ("relations", &kg),
        ("triples", &kg),
        ("documents", &qa),
        ("links", &qa),
    ] {
        assert_eq!(
            entities.port(port).digest(),
            before.port(port).digest(),
            "{port}"
        );
    }
    // In the whole graph every document is a node, to which its entities lead.
    let whole = ingest(&copy, None, &dir.path().join("whole")).unwrap();
    assert_eq!(rejects(&whole), [""; 0]);
    let number = |local: &Local, port: &str| local.port(port).rows(port).unwrap();
    assert_eq!(
        number(&whole, "triples"),
        number(&kg, "triples") + number(&qa, "links")
    );
    assert_eq!(
        number(&whole, "entities"),
        number(&kg, "entities") + number(&qa, "documents")
    );
    assert_eq!(triples(&whole)[..number(&kg, "triples")], triples(&kg));
    // Questions keep their nodes, whose order is that of ids here.
    for split in SPLITS {
        for (name, target) in [
            ("question_entities", false),
            ("supporting_entities", false),
            ("supporting_documents", false),
            ("gold_titles", true),
        ] {
            let sets = |local: &Local| -> Vec<BTreeSet<u32>> {
                let table = local.port(split).read("questions").unwrap();
                if target {
                    let column = columns::u32s(&table, name).unwrap();
                    return column.iter().map(|n| n.into_iter().collect()).collect();
                }
                let lists = columns::list_u32(&table, name).unwrap();
                lists.into_iter().map(BTreeSet::from_iter).collect()
            };
            assert_eq!(sets(&whole), sets(&qa), "{split} {name}");
        }
    }
}

/// Entities with their types, documents with the entities that mention them, and triples.
fn plain(
    dir: &Path,
    entities: &[&str],
    relations: &[&str],
    triples: &[[u32; 3]],
    documents: &[(&str, &[u32])],
) -> Inputs {
    fs::create_dir_all(dir).unwrap();
    let column = |texts: &[&str]| -> ArrayRef { Arc::new(StringArray::from_iter_values(texts)) };
    let numbers = |all: Vec<u32>| -> ArrayRef { Arc::new(UInt32Array::from(all)) };
    let n = relations.len() as u32;
    let links = (0u32..)
        .zip(documents)
        .flat_map(|(document, (_, of))| of.iter().map(move |entity| (document, *entity)));
    let (of, linked): (Vec<u32>, Vec<u32>) = links.unzip();
    let of_triples = |at: usize| numbers(triples.iter().map(|t| t[at]).collect());
    let all = [
        (
            "entities",
            &kinds::ENTITIES,
            vec![
                numbers((0..entities.len() as u32).collect()),
                column(entities),
            ],
        ),
        (
            "relations",
            &kinds::RELATIONS,
            vec![
                numbers((0..2 * n).collect()),
                column(&[relations, relations].concat()),
                Arc::new(UInt32Array::from_iter(
                    (0..2 * n).map(|id| id.checked_sub(n)),
                )),
                Arc::new(UInt64Array::from_iter_values((0..2 * n).map(u64::from))),
            ],
        ),
        (
            "triples",
            &kinds::TRIPLES,
            vec![of_triples(0), of_triples(1), of_triples(2)],
        ),
        (
            "documents",
            &kinds::DOCUMENTS,
            vec![
                numbers((0..documents.len() as u32).collect()),
                column(&documents.iter().map(|d| d.0).collect::<Vec<_>>()),
                column(&vec![
                    "It's a \"text\",\r\nwith \\ and \0.";
                    documents.len()
                ]),
                Arc::new(arrow::array::BooleanArray::from(vec![
                    true;
                    documents.len()
                ])),
            ],
        ),
        ("links", &kinds::LINKS, vec![numbers(of), numbers(linked)]),
    ];
    let made = all.map(|(port, kind, tables)| {
        let batch = columns::batch(&kind.tables[0], tables).unwrap();
        let made = local::artifact(dir, kind, port, vec![batch]).unwrap();
        (port.to_owned(), vec![made])
    });
    made.into()
}

#[test]
fn entities_and_documents_of_one_name_stay_apart() {
    let dir = tempfile::tempdir().unwrap();
    let inputs = plain(
        &dir.path().join("in"),
        &["Ada", "Oak, Town", "a\0b", "a b"],
        &["lives\nin"],
        &[[0, 0, 1], [0, 0, 1], [2, 0, 3]],
        &[("Ada", &[0, 1]), ("Ada", &[]), ("Oak", &[1])],
    );
    let copy = dir.path().join("copy");
    let written = write(inputs, &copy, &dir.path().join("w")).unwrap();
    assert_eq!(
        rejects(&written),
        [
            "3|-|nodes.csv cannot hold NUL, and a name only once: written as `a b (2)`|a\0b",
            "1|-|another node has this name: the `uid` is `Ada (2)`|Ada",
            "2|-|another node has this name: the `uid` is `Ada (3)`|Ada",
            "2|-|another document has this title: raw/documents.json calls it `Ada (2)`|Ada",
        ]
    );
    let text = |name: &str| fs::read_to_string(copy.join(name)).unwrap();
    let content = r#"{'content': 'It\'s a ""text"",\r\nwith \\ and \x00.'}"#;
    assert_eq!(
        text("processed/stage1/nodes.csv"),
        format!(
            "uid,name,type,attributes\n\
             Ada,Ada,entity,{{}}\n\
             \"Oak, Town\",\"Oak, Town\",entity,{{}}\n\
             a b (2),a b (2),entity,{{}}\n\
             a b,a b,entity,{{}}\n\
             Ada (2),Ada,document,\"{content}\"\n\
             Ada (3),Ada,document,\"{content}\"\n\
             Oak,Oak,document,\"{content}\"\n"
        )
    );
    assert_eq!(
        text("processed/stage1/relations.csv"),
        "name,attributes\n\"lives\nin\",{}\nis_mentioned_in,{}\n"
    );
    assert_eq!(
        text("processed/stage1/edges.csv"),
        "source,relation,target,attributes\n\
         Ada,\"lives\nin\",\"Oak, Town\",{}\n\
         Ada,\"lives\nin\",\"Oak, Town\",{}\n\
         a b (2),\"lives\nin\",a b,{}\n\
         Ada,is_mentioned_in,Ada (2),{}\n\
         \"Oak, Town\",is_mentioned_in,Ada (2),{}\n\
         \"Oak, Town\",is_mentioned_in,Oak,{}\n"
    );
    let back = ingest(&copy, None, &dir.path().join("back")).unwrap();
    assert_eq!(rejects(&back), [""; 0]);
    assert_eq!(
        texts(back.port("documents"), "documents", "title"),
        ["Ada", "Ada", "Oak"]
    );
    let text = texts(back.port("documents"), "documents", "text");
    assert_eq!(text[0], "It's a \"text\",\r\nwith \\ and \0.");
}

#[test]
fn what_the_package_would_misread_is_reported() {
    let report = |name: &str| -> Vec<String> {
        let dir = tempfile::tempdir().unwrap();
        let written = there_and_back(&golden(name), None, dir.path());
        let sources = texts(written.port("rejects"), "rejects", "source");
        let reasons = texts(written.port("rejects"), "rejects", "reason");
        let all = sources.into_iter().zip(reasons);
        all.map(|(source, reason)| format!("{source}: {reason}"))
            .collect()
    };
    let numbers = report("numeric_names");
    let of = |file: &str, column: &str| {
        let beginning = format!(
            "GFM-RAG 2.0 reads the column `{column}` of processed/stage1/{file} as numbers, because"
        );
        numbers.iter().any(|reason| reason.contains(&beginning))
    };
    assert!(
        of("nodes.csv", "name") && of("edges.csv", "source"),
        "{numbers:#?}"
    );
    let truths = report("boolean_names").concat();
    assert!(truths.contains("as truth values"), "{truths}");
    let missing = report("tricky");
    let missing = missing.iter().filter(|r| r.contains("a missing value"));
    assert!(missing.count() > 0);
    for sound in ["bom", "crlf", "uid"] {
        assert_eq!(report(sound), [""; 0], "{sound}");
    }
}

/// Rows of `rankings`: question, system, rank, document, score.
fn rankings(dir: &Path, rows: &[(&str, &str, u32, &str, f64)]) -> Artifact {
    let text = |of: &dyn Fn(usize) -> String| -> ArrayRef {
        Arc::new(StringArray::from_iter_values((0..rows.len()).map(of)))
    };
    let columns = vec![
        text(&|i| rows[i].0.to_owned()),
        text(&|i| rows[i].1.to_owned()),
        Arc::new(UInt32Array::from_iter_values(rows.iter().map(|r| r.2))),
        text(&|i| rows[i].3.to_owned()),
        Arc::new(Float64Array::from_iter_values(rows.iter().map(|r| r.4))),
    ];
    fs::create_dir_all(dir).unwrap();
    let batch = columns::batch(&kinds::RANKINGS.tables[0], columns).unwrap();
    local::artifact(dir, &kinds::RANKINGS, "rankings", vec![batch]).unwrap()
}

/// The rankings of a system become the file that 2.0's scripts for answers read.
#[test]
fn rankings_are_written_as_predictions() {
    let dir = tempfile::tempdir().unwrap();
    let root = fixtures().join("tests/parity2/reasoner_small/dataset");
    let read = ingest(&root, None, &dir.path().join("read")).unwrap();
    let ids = texts(read.port("test"), "questions", "id");
    let titles = texts(read.port("documents"), "documents", "title");
    let (id, [first, second]) = (&ids[1], [&titles[3], &titles[0]]);
    let made = rankings(
        &dir.path().join("rankings"),
        &[
            (id, "ppr", 1, second, 9.0),
            (id, "model", 2, second, -0.25),
            (id, "model", 1, first, 1.5),
        ],
    );
    let with = |params: Value, port: &str, artifact: &Artifact| {
        let mut inputs = inputs(&read);
        inputs.insert(port.to_owned(), vec![artifact.clone()]);
        let out = tempfile::tempdir_in(dir.path()).unwrap().keep();
        local::run::<WriteDataset>(&out, &params, inputs)
    };
    let copy = dir.path().join("copy");
    let params = |system: &str| json!({"path": copy, "layout": "gfm-rag-2", "system": system});
    with(params("model"), "rankings", &made).unwrap();
    let written = |name: &str| -> Value {
        serde_json::from_str(&fs::read_to_string(copy.join(name)).unwrap()).unwrap()
    };
    let predictions = written("predictions_toy.json");
    let all = predictions.as_array().unwrap();
    assert_eq!(all.len(), 1, "only questions with a ranking");
    let mut sample = all[0].as_object().unwrap().clone();
    let found = sample.remove("predictions").unwrap();
    assert_eq!(found, json!({"document": [[first, 1.5], [second, -0.25]]}));
    // The rest is the question as it is in test.json.
    assert_eq!(
        Value::Object(sample),
        written("processed/stage1/test.json")[1]
    );
    with(params("ppr"), "rankings", &made).unwrap();
    let by_ppr = &written("predictions_toy.json")[0]["predictions"];
    assert_eq!(by_ppr, &json!({"document": [[second, 9.0]]}));

    let e = with(params("dense"), "rankings", &made).err().unwrap();
    let e = format!("{e} | {}", e.advice().unwrap_or_default());
    assert!(e.contains("nothing is ranked by `dense`"), "{e}");
    assert!(e.contains("set `system` to one of model, ppr"), "{e}");
    let other = rankings(&dir.path().join("other"), &[("?", "model", 1, first, 1.0)]);
    let e = failure(with(params("model"), "rankings", &other));
    assert!(e.contains("of none of the connected questions"), "{e}");
    let other = rankings(&dir.path().join("unknown"), &[(id, "model", 1, "?", 1.0)]);
    let e = failure(with(params("model"), "rankings", &other));
    assert!(e.contains("no document is called \"?\""), "{e}");
    // A ranked question that is not connected is reported.
    let more = [
        (id.as_str(), "model", 1, first.as_str(), 1.0),
        ("?", "model", 1, first, 1.0),
    ];
    let more = rankings(&dir.path().join("more"), &more);
    let written = with(params("model"), "rankings", &more).unwrap();
    let unknown = "-|?|the question is in none of the connected splits: left out|";
    assert_eq!(rejects(&written), [unknown]);
}

/// Rankings do not name a split: where two have questions with the same ids, the one with all that
/// are ranked is meant.
#[test]
fn predictions_are_of_the_split_that_was_ranked() {
    let dir = tempfile::tempdir().unwrap();
    let inputs = plain(
        &dir.path().join("in"),
        &["Ada", "Oak"],
        &["lives in"],
        &[[0, 0, 1]],
        &[("Ash", &[0, 1])],
    );
    let split = |name: &str, ids: &[&str]| {
        let root = dir.path().join(name);
        let raw = ids.iter().map(|id| {
            json!({"id": id, "question": format!("{name} {id}?"), "question_entities": ["Ada"],
                   "supporting_entities": ["Oak"], "supporting_facts": ["Ash"]})
        });
        let files = [
            (
                "processed/stage1/document2entities.json",
                json!({"Ash": ["Ada"]}),
            ),
            ("raw/dataset_corpus.json", json!({"Ash": "text"})),
            (&*format!("processed/stage1/{name}.json"), raw.collect()),
        ];
        for (file, value) in files {
            let path = root.join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, value.to_string()).unwrap();
        }
        let out = dir.path().join(format!("{name} read"));
        let read = ingest_questions(&root, &inputs["entities"][0], &out).unwrap();
        read.port(name).clone()
    };
    let (train, test) = (split("train", &["0", "1"]), split("test", &["0", "1", "2"]));
    let predicted = |ids: &[&str]| -> Result<Vec<String>, String> {
        let out = tempfile::tempdir_in(dir.path()).unwrap().keep();
        let rows: Vec<_> = ids.iter().map(|id| (*id, "model", 1, "Ash", 1.0)).collect();
        let mut inputs = inputs.clone();
        inputs.insert("questions".to_owned(), vec![train.clone(), test.clone()]);
        inputs.insert("rankings".to_owned(), vec![rankings(&out.join("r"), &rows)]);
        match write(inputs, &out.join("copy"), &out.join("w")) {
            Err(e) => Err(failure(Err(e))),
            Ok(_) => {
                let name = out.join("copy/predictions_toy.json");
                let all: Value = serde_json::from_slice(&fs::read(name).unwrap()).unwrap();
                let all = all.as_array().unwrap().iter();
                assert!(all.clone().all(|q| q["answer"] == ""), "no answer is known");
                Ok(all
                    .map(|q| q["question"].as_str().unwrap().to_owned())
                    .collect())
            }
        }
    };
    assert_eq!(predicted(&["2", "0"]).unwrap(), ["test 0?", "test 2?"]);
    assert_eq!(predicted(&["2"]).unwrap(), ["test 2?"]);
    let e = predicted(&["0", "1"]).unwrap_err();
    assert!(
        e.contains("two splits have questions with the same ids"),
        "{e}"
    );
}

fn failure(result: OpResult<Local>) -> String {
    match result {
        Err(OpError::Failed(f)) => f.to_string(),
        _ => panic!("no error"),
    }
}

#[test]
fn what_does_not_belong_together_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let tricky = ingest(&golden("tricky"), None, &dir.path().join("a")).unwrap();
    let uid = ingest(&golden("uid"), None, &dir.path().join("b")).unwrap();
    let out = dir.path().join("out");
    let mut mixed = inputs(&tricky);
    mixed.insert("starts".to_owned(), vec![uid.port("train_starts").clone()]);
    let said = failure(write(mixed, &out, &dir.path().join("w")));
    assert!(said.contains("starts are nodes of a graph with"), "{said}");
    let mut twice = inputs(&tricky);
    twice
        .get_mut("targets")
        .unwrap()
        .push(tricky.port("train_targets").clone());
    let said = failure(write(twice, &out, &dir.path().join("w2")));
    assert!(
        said.ends_with("targets are of none of the connected questions"),
        "{said}"
    );
    assert!(!out.exists());

    let all = gfm_pipe_kg::operators();
    let op = all.iter().find(|op| op.name == "write-dataset").unwrap();
    let problems = |layout: &str, ports: &[&str]| -> Vec<String> {
        let params = op
            .validate(&json!({"path": "x", "layout": layout}))
            .unwrap();
        let connected = ports
            .iter()
            .map(|port| ((*port).to_owned(), vec!["of.port".to_owned()]))
            .collect();
        let problems = op.check_inputs(&params, &connected);
        problems.into_iter().map(|p| p.message).collect()
    };
    assert_eq!(
        problems("gfm-rag-1", &["nodes"]),
        ["`nodes` has no place in the layout of GFM-RAG 1.0"]
    );
    assert_eq!(problems("gfm-rag-2", &["nodes", "labels"]), [""; 0]);
    assert_eq!(
        problems("gfm-rag-2", &["starts"]),
        ["`starts` are of questions"]
    );
}

/// Names as they come: with what ends a cell, a record or a literal, and what pandas takes for
/// something else than a text.
fn name() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "a",
        "é",
        "李",
        "\u{1F600}",
        " ",
        "  ",
        ",",
        "\n",
        "\r\n",
        "\r",
        "\"",
        "'",
        "\\",
        "{",
        "}",
        "\t",
        "\u{85}",
        "\u{1c}",
        "\u{2028}",
        "\u{a0}",
        "\u{feff}",
        " (2)",
        "007",
        "1e3",
        "null",
        "NA",
        "True",
        "inverse_",
        "#",
        ";",
    ]);
    prop::collection::vec(piece, 0..4).prop_map(|parts| parts.concat())
}

fn names(most: usize) -> impl Strategy<Value = Vec<String>> {
    prop::collection::btree_set(name(), 1..most)
        .prop_flat_map(|set| Just(set.into_iter().collect::<Vec<_>>()).prop_shuffle())
}

/// A node: its label, the number of its type, and its text.
type Given = (String, usize, Option<String>);

#[derive(Debug, Clone)]
struct Files {
    uids: bool,
    nodes: Vec<(String, Given)>,
    relations: Vec<String>,
    edges: Vec<(usize, usize, usize)>,
    questions: Vec<(Vec<usize>, Vec<usize>)>,
}

prop_compose! {
    fn files()(
        keys in names(12),
        relations in names(5),
    )(
        given in prop::collection::vec((name(), 0..4usize, prop::option::of(name())), keys.len()),
        edges in prop::collection::vec((0..keys.len(), 0..relations.len(), 0..keys.len()), 0..20),
        questions in prop::collection::vec((
            prop::collection::vec(0..keys.len(), 0..4),
            prop::collection::vec(0..keys.len(), 0..4)), 0..4),
        uids in any::<bool>(),
        keys in Just(keys), relations in Just(relations),
    ) -> Files {
        let nodes = keys.into_iter().zip(given).collect();
        Files { uids, nodes, relations, edges, questions }
    }
}

impl Files {
    /// Writes the files as another program may write them: every cell in quotes, JSON for
    /// attributes.
    fn write(&self, root: &Path) {
        let stage1 = root.join("processed/stage1");
        fs::create_dir_all(&stage1).unwrap();
        let record = |cells: &[&str]| -> String {
            let quoted = cells
                .iter()
                .map(|c| format!("\"{}\"", c.replace('"', "\"\"")));
            format!("{}\r\n", quoted.collect::<Vec<_>>().join(","))
        };
        let kinds = ["entity", "document", " odd, \"type\"", ""];
        let mut nodes = record(&["uid", "name", "type", "attributes"][usize::from(!self.uids)..]);
        for (key, (label, kind, text)) in &self.nodes {
            let content = match text {
                Some(text) if *kind == 1 => json!({"content": text}).to_string(),
                _ => String::new(),
            };
            let cells = [key, label.as_str(), kinds[*kind], &content];
            nodes += &if self.uids {
                record(&cells)
            } else {
                record(&[key, kinds[*kind], &content])
            };
        }
        let mut relations = record(&["name"]);
        // A record of one empty cell would be a blank line to other readers.
        self.relations
            .iter()
            .for_each(|r| relations += &record(&[r]));
        let mut edges = record(&["source", "relation", "target"]);
        for (source, relation, target) in &self.edges {
            let key = |at: &usize| self.nodes[*at].0.as_str();
            edges += &record(&[key(source), &self.relations[*relation], key(target)]);
        }
        let by_type = |all: &[usize]| {
            let mut out = BTreeMap::<&str, Vec<&str>>::new();
            for at in all {
                let (key, (_, kind, _)) = &self.nodes[*at];
                out.entry(kinds[*kind]).or_default().push(key);
            }
            json!(out)
        };
        let questions: Vec<Value> = (0..)
            .zip(&self.questions)
            .map(|(i, (starts, targets))| {
                json!({
                    "id": i, "question": format!("What is {i}?"), "hops": 2, "type": "bridge",
                    "start_nodes": by_type(starts), "target_nodes": by_type(targets),
                })
            })
            .collect();
        for (name, text) in [
            ("nodes.csv", nodes),
            ("relations.csv", relations),
            ("edges.csv", edges),
            ("test.json", json!(questions).to_string()),
        ] {
            fs::write(stage1.join(name), text).unwrap();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]
    #[test]
    fn any_names_come_back(files in files()) {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("given");
        files.write(&root);
        let written = there_and_back(&root, None, dir.path());
        // Nothing is written under another name, except titles in raw/documents.json.
        let renamed = rejects(&written);
        prop_assert!(!renamed.iter().any(|r| r.contains("written as")), "{:?}", renamed);
        let first = ingest(&root, None, &dir.path().join("counted")).unwrap();
        prop_assert_eq!(rejects(&first), [""; 0]);
    }
}
