//! `write-dataset`: what is written and read again is what it was.
#![allow(clippy::unwrap_used)]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, StringArray, UInt32Array, UInt64Array};
use common::{ids, ingest_file, ingest_questions, rejects, shared, texts, triples};
use gfm_pipe_api::local::{self, Local};
use gfm_pipe_api::{Artifact, ErrorKind, Kind, OpError, OpResult, columns, kinds};
use gfm_pipe_kg::WriteDataset;
use proptest::prelude::*;
use serde_json::{Value, json};

type Inputs = BTreeMap<String, Vec<Artifact>>;

fn data(name: &str) -> PathBuf {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../data");
    data.join(name)
}

/// A data set as two ingests give it.
struct Read {
    kg: Local,
    qa: Local,
}

fn read(root: &Path, out: &Path) -> Read {
    let kg = ingest_file(&root.join("processed/stage1/kg.txt"), &out.join("kg")).unwrap();
    let qa = ingest_questions(root, kg.port("entities"), &out.join("qa")).unwrap();
    Read { kg, qa }
}

impl Read {
    fn inputs(&self) -> Inputs {
        let kg = ["entities", "relations", "triples"].map(|port| (port, &self.kg, vec![port]));
        let qa = ["documents", "links"].map(|port| (port, &self.qa, vec![port]));
        let questions = ("questions", &self.qa, vec!["test", "train", "valid"]);
        let all = kg.into_iter().chain(qa).chain([questions]);
        all.map(|(name, local, ports)| {
            let from = ports.iter().map(|port| local.port(port).clone());
            (name.to_owned(), from.collect())
        })
        .collect()
    }

    fn digests(&self) -> BTreeMap<String, String> {
        let kg = ["entities", "relations", "triples"].map(|port| (port, &self.kg));
        let qa = ["documents", "links", "train", "valid", "test"].map(|port| (port, &self.qa));
        let all = kg.into_iter().chain(qa);
        all.map(|(port, local)| (port.to_owned(), local.port(port).digest()))
            .collect()
    }
}

fn write(inputs: Inputs, root: &Path, out: &Path) -> OpResult<Local> {
    local::run::<WriteDataset>(out, &json!({"path": root}), inputs)
}

/// Writes a data set, reads it again and compares every table.
fn there_and_back(root: &Path) -> Local {
    let dir = tempfile::tempdir().unwrap();
    let first = read(root, &dir.path().join("first"));
    let copy = dir.path().join("copy");
    let written = write(first.inputs(), &copy, &dir.path().join("written")).unwrap();
    let again = read(&copy, &dir.path().join("again"));
    assert_eq!(first.digests(), again.digests(), "{}", root.display());
    assert_eq!(rejects(&again.kg), [""; 0]);
    let made_up = |r: &String| r.contains("missing gold document");
    let left: Vec<String> = rejects(&again.qa)
        .into_iter()
        .filter(|r| !made_up(r))
        .collect();
    assert!(
        left.iter()
            .all(|r| r.contains("not in dataset_corpus.json")),
        "{left:#?}"
    );
    let _ = dir.keep();
    written
}

#[test]
fn data_sets_come_back_as_they_were() {
    for name in ["example", "atlas", "fixtures/family"] {
        let written = there_and_back(&data(name));
        assert_eq!(rejects(&written), [""; 0], "{name}");
    }
    for name in ["musique_train", "hotpotqa_train"] {
        if let Some(root) = shared(&format!("data/{name}")) {
            there_and_back(&root);
        }
    }
}

#[test]
fn files_are_those_of_the_layout() {
    let dir = tempfile::tempdir().unwrap();
    let first = read(&data("example"), dir.path());
    let copy = dir.path().join("copy");
    let written = write(first.inputs(), &copy, &dir.path().join("w")).unwrap();
    let names = texts(written.port("files"), "files", "name");
    assert_eq!(
        names,
        [
            "processed/stage1/kg.txt",
            "processed/stage1/document2entities.json",
            "raw/dataset_corpus.json",
            "processed/stage1/train.json",
            "raw/train.json",
            "processed/stage1/valid.json",
            "raw/valid.json",
            "processed/stage1/test.json",
            "raw/test.json"
        ]
    );
    let text = |name: &str| fs::read_to_string(copy.join(name)).unwrap();
    assert_eq!(
        text("processed/stage1/kg.txt"),
        fs::read_to_string(data("example/processed/stage1/kg.txt")).unwrap()
    );
    let item: Value = serde_json::from_str(&text("raw/train.json")).unwrap();
    assert_eq!(
        item[1],
        json!({"id": "town-bay", "question": "Into which bay does the river of Oak Town flow?",
               "answer": "Grey Bay", "supporting_facts": ["Oak Town", "River Orr"],
               "hops": 2, "type": "bridge"})
    );
    let item: Value = serde_json::from_str(&text("processed/stage1/train.json")).unwrap();
    assert_eq!(item[1]["question_entities"], json!(["oak town"]));
    // A file that somebody changed or deleted is written again, and no other.
    let modified = |name: &str| fs::metadata(copy.join(name)).unwrap().modified().unwrap();
    let before = modified("raw/train.json");
    fs::remove_file(copy.join("raw/dataset_corpus.json")).unwrap();
    fs::write(copy.join("processed/stage1/kg.txt"), "a,r,b\n").unwrap();
    fs::write(copy.join("notes.txt"), "mine").unwrap();
    let again = write(first.inputs(), &copy, &dir.path().join("w2")).unwrap();
    let reported = &again.messages.last().unwrap().1;
    assert!(
        reported.starts_with("processed/stage1/kg.txt, raw/dataset_corpus.json written to "),
        "{reported}"
    );
    assert_eq!(modified("raw/train.json"), before);
    assert_eq!(text("notes.txt"), "mine");
    assert_eq!(
        read(&copy, &dir.path().join("r")).digests(),
        first.digests()
    );
}

fn artifact(dir: &Path, kind: &'static Kind, name: &str, tables: Vec<Vec<ArrayRef>>) -> Artifact {
    let specs = kind.tables.iter();
    let batches = specs
        .zip(tables)
        .map(|(spec, c)| columns::batch(spec, c).unwrap());
    local::artifact(dir, kind, name, batches.collect()).unwrap()
}

fn column(texts: &[String]) -> ArrayRef {
    Arc::new(StringArray::from_iter_values(texts))
}

fn numbers(all: impl IntoIterator<Item = u32>) -> ArrayRef {
    Arc::new(UInt32Array::from_iter_values(all))
}

/// Entities, gold documents, gold titles.
type Asked = (Vec<u32>, Vec<u32>, u32);

/// A data set as plain values.
#[derive(Debug, Clone, Default)]
struct Plain {
    entities: Vec<String>,
    relations: Vec<String>,
    triples: Vec<[u32; 3]>,
    titles: Vec<String>,
    links: Vec<(u32, u32)>,
    questions: Vec<Asked>,
}

impl Plain {
    fn inputs(&self, dir: &Path) -> Inputs {
        fs::create_dir_all(dir).unwrap();
        let n = self.relations.len() as u32;
        let inverses = self.relations.iter().map(|r| format!("inverse_{r}"));
        let relations: Vec<String> = self.relations.iter().cloned().chain(inverses).collect();
        let of = |i: usize| numbers(self.triples.iter().map(|t| t[i]));
        let asked = |pick: fn(&Asked) -> Vec<u32>| {
            columns::build_list_u32(&self.questions.iter().map(pick).collect::<Vec<_>>())
        };
        let count = self.questions.len();
        let named =
            |prefix: &str| -> Vec<String> { (0..count).map(|i| format!("{prefix}{i}")).collect() };
        let groups: Vec<Vec<String>> = (0..count)
            .map(|i| {
                ["type=a", "b", "type=c"][i % 3..]
                    .iter()
                    .map(|s| (*s).to_owned())
                    .collect()
            })
            .collect();
        let questions = vec![
            vec![
                column(&named("q")),
                column(&named("What, \"where\"\nand who is ")),
                Arc::new(StringArray::from_iter(
                    (0..count).map(|i| (i % 2 == 0).then_some("so, so")),
                )),
                asked(|q| q.0.clone()),
                asked(|q| q.0.iter().copied().take(1).collect()),
                asked(|q| q.1.clone()),
                numbers(self.questions.iter().map(|q| q.2)),
                Arc::new(BooleanArray::from_iter(
                    self.questions.iter().map(|q| Some(!q.0.is_empty())),
                )),
                Arc::new(UInt32Array::from_iter(
                    (0..count).map(|i| (i % 2 == 1).then_some(2)),
                )),
                columns::build_list_text(&groups),
            ],
            vec![
                column(&["toy".to_owned()]),
                column(&["test".to_owned()]),
                Arc::new(UInt64Array::from_iter_values([count as u64])),
                Arc::new(UInt64Array::from_iter_values([self
                    .questions
                    .iter()
                    .filter(|q| q.0.is_empty())
                    .count()
                    as u64])),
            ],
        ];
        let there: Vec<bool> = (0..self.titles.len()).map(|i| i % 4 != 3).collect();
        let body = |i: usize| {
            if there[i] {
                format!("text {i}, \"a\"\n")
            } else {
                String::new()
            }
        };
        let bodies: Vec<String> = (0..self.titles.len()).map(body).collect();
        let all = [
            (
                "entities",
                &kinds::ENTITIES,
                vec![vec![
                    numbers(0..self.entities.len() as u32),
                    column(&self.entities),
                ]],
            ),
            (
                "relations",
                &kinds::RELATIONS,
                vec![vec![
                    numbers(0..2 * n),
                    column(&relations),
                    Arc::new(UInt32Array::from_iter(
                        (0..2 * n).map(|id| id.checked_sub(n)),
                    )),
                    Arc::new(UInt64Array::from_iter_values((0..2 * n).map(|_| 0))),
                ]],
            ),
            ("triples", &kinds::TRIPLES, vec![vec![of(0), of(1), of(2)]]),
            (
                "documents",
                &kinds::DOCUMENTS,
                vec![vec![
                    numbers(0..self.titles.len() as u32),
                    column(&self.titles),
                    column(&bodies),
                    Arc::new(BooleanArray::from(there)),
                ]],
            ),
            (
                "links",
                &kinds::LINKS,
                vec![vec![
                    numbers(self.links.iter().map(|l| l.0)),
                    numbers(self.links.iter().map(|l| l.1)),
                ]],
            ),
            ("questions", &kinds::QUESTIONS, questions),
        ];
        all.map(|(port, kind, tables)| (port.to_owned(), vec![artifact(dir, kind, port, tables)]))
            .into()
    }
}

/// Names as they come: with what ends a field, a line or a text, and what looks like a number that
/// was added.
fn name() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "a",
        "B",
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
        "\\",
        "\0",
        "\t",
        "\u{85}",
        "\u{1c}",
        "\u{2028}",
        "\u{a0}",
        "\u{feff}",
        " (2)",
        "unnamed",
        "inverse_",
    ]);
    prop::collection::vec(piece, 0..4).prop_map(|parts| parts.concat())
}

fn names(most: usize) -> impl Strategy<Value = Vec<String>> {
    prop::collection::btree_set(name(), 1..most)
        .prop_flat_map(|set| Just(set.into_iter().collect::<Vec<_>>()).prop_shuffle())
}

prop_compose! {
    fn plain()(
        entities in names(14),
        relations in names(6),
        titles in prop::collection::vec(name(), 1..7),
    )(
        triples in prop::collection::vec(
            (0..entities.len() as u32, 0..relations.len() as u32, 0..entities.len() as u32), 1..20),
        links in prop::collection::btree_set(
            (0..titles.len() as u32, 0..entities.len() as u32), 0..20),
        questions in prop::collection::vec((
            prop::collection::btree_set(0..entities.len() as u32, 0..4),
            prop::collection::btree_set(0..titles.len() as u32, 0..4), 0u32..3), 0..6),
        entities in Just(entities), relations in Just(relations), titles in Just(titles),
    ) -> Plain {
        let list = |set: BTreeSet<u32>| set.into_iter().collect::<Vec<_>>();
        Plain {
            entities, relations, titles,
            triples: triples.into_iter().map(|(h, r, t)| [h, r, t]).collect(),
            links: links.into_iter().collect(),
            questions: questions.into_iter().map(|(entities, gold, more)| {
                let titles = gold.len() as u32 + more;
                (list(entities), list(gold), titles)
            }).collect(),
        }
    }
}

/// Ids there by ids here: each has one, and no two the same.
#[derive(Default)]
struct Pairs(BTreeMap<u32, u32>);

impl Pairs {
    fn meet(&mut self, here: u32, there: u32) {
        assert_eq!(*self.0.entry(here).or_insert(there), there);
    }

    fn check(&self) {
        let distinct: BTreeSet<&u32> = self.0.values().collect();
        assert_eq!(distinct.len(), self.0.len(), "two became one");
    }
}

fn lists(artifact: &Artifact, table: &str, name: &str) -> Vec<Vec<u32>> {
    columns::list_u32(&artifact.read(table).unwrap(), name).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]
    #[test]
    fn any_names_come_back_one_for_one(plain in plain()) {
        let dir = tempfile::tempdir().unwrap();
        let copy = dir.path().join("copy");
        let inputs = plain.inputs(&dir.path().join("in"));
        let written = write(inputs.clone(), &copy, &dir.path().join("w")).unwrap();
        let back = read(&copy, dir.path());
        prop_assert_eq!(rejects(&back.kg), [""; 0]);
        let (mut entities, mut relations) = (Pairs::default(), Pairs::default());
        let there = triples(&back.kg);
        prop_assert_eq!(there.len(), plain.triples.len());
        for (here, there) in plain.triples.iter().zip(&there) {
            entities.meet(here[0], there[0]);
            relations.meet(here[1], there[1]);
            entities.meet(here[2], there[2]);
        }
        entities.check();
        relations.check();
        // Documents keep their ids; links and questions name the same entities, but for those that
        // no triple has.
        let known = |ids: &[u32]| -> Vec<u32> {
            ids.iter().filter_map(|e| entities.0.get(e).copied()).collect()
        };
        let documents = back.qa.port("documents");
        let column = |name| ids(back.qa.port("links"), "links", name);
        let links: Vec<(u32, u32)> = column("document").into_iter().zip(column("entity"))
            .map(|(d, e)| (d.unwrap(), e.unwrap())).collect();
        let here: Vec<(u32, u32)> = plain.links.iter()
            .filter_map(|(d, e)| Some((*d, *entities.0.get(e)?))).collect();
        prop_assert_eq!(links, here);
        let given = &inputs["documents"][0];
        for name in ["text", "in_corpus"] {
            let of = |artifact: &Artifact| artifact.read("documents").unwrap().column_by_name(name).unwrap().clone();
            prop_assert_eq!(&of(documents), &of(given));
        }
        let test = back.qa.port("test");
        let (from, gold) = (lists(test, "questions", "question_entities"),
            lists(test, "questions", "supporting_documents"));
        prop_assert_eq!(from.len(), plain.questions.len());
        for (i, (entities, documents, titles)) in plain.questions.iter().enumerate() {
            prop_assert_eq!(&from[i], &known(entities));
            prop_assert_eq!(&gold[i], documents);
            prop_assert_eq!(ids(test, "questions", "gold_titles")[i], Some(*titles));
        }
        for name in ["id", "question", "answer", "hops", "groups"] {
            let of = |artifact: &Artifact| artifact.read("questions").unwrap().column_by_name(name).unwrap().clone();
            prop_assert_eq!(&of(test), &of(&inputs["questions"][0]));
        }
        // Whatever has another name now is reported, and nothing else is.
        let (before, after) = (&plain.entities, texts(back.kg.port("entities"), "entities", "name"));
        let renamed = entities.0.iter().filter(|(h, t)| before[**h as usize] != after[**t as usize]).count();
        let named = texts(back.kg.port("relations"), "relations", "name");
        let renamed_relations = relations.0.iter()
            .filter(|(h, t)| plain.relations[**h as usize] != named[**t as usize]).count();
        let titles = texts(documents, "documents", "title");
        let retitled = titles.iter().zip(&plain.titles).filter(|(a, b)| a != b).count();
        let reported = texts(written.port("rejects"), "rejects", "source");
        let reasons = texts(written.port("rejects"), "rejects", "reason");
        let count = |source: &str, how: &str| reported.iter().zip(&reasons)
            .filter(|(s, r)| *s == source && r.contains(how)).count();
        prop_assert_eq!(count("entities", "written as"), renamed);
        prop_assert!(count("relations", "written as") >= renamed_relations);
        prop_assert_eq!(count("documents", "written as"), retitled);
        prop_assert_eq!(count("entities", "in no triple"), plain.entities.len() - entities.0.len());
    }
}

#[test]
fn what_the_files_cannot_hold_is_reported() {
    let text = |s: &str| s.to_owned();
    let plain = Plain {
        entities: ["acme, inc", "acme inc", "x", "lost"].map(text).into(),
        relations: ["is\nin"].map(text).into(),
        triples: vec![[0, 0, 2], [1, 0, 2]],
        titles: ["A", "A"].map(text).into(),
        links: vec![(0, 3), (1, 0)],
        questions: vec![(vec![3, 1], vec![1], 2)],
    };
    let dir = tempfile::tempdir().unwrap();
    let copy = dir.path().join("copy");
    let written = write(
        plain.inputs(&dir.path().join("in")),
        &copy,
        &dir.path().join("w"),
    )
    .unwrap();
    assert_eq!(
        rejects(&written),
        [
            "1|-|kg.txt cannot hold the name, and without commas and line breaks it would be another one's: written as `acme inc (2)`|acme, inc",
            "1|-|kg.txt cannot hold commas, line breaks, and blanks at the ends of a line: written as `is in`|is\nin",
            "2|-|another document has this title: written as `A (2)`|A",
            "1|q0|gold titles that are not documents: 1 made-up titles stand for them, so that recall still counts them|What, \"where\"\nand who is 0",
            "4|-|the entity is in no triple, and kg.txt has no other place for it: left out of 3 lists of documents and questions|lost",
        ]
    );
    let file = |name: &str| fs::read_to_string(copy.join(name)).unwrap();
    assert_eq!(
        file("processed/stage1/kg.txt"),
        "acme inc (2),is in,x\nacme inc,is in,x\n"
    );
    assert_eq!(
        file("processed/stage1/document2entities.json"),
        "{\n \"A\": [],\n \"A (2)\": [\"acme inc (2)\"]\n}\n"
    );
    let question: Value = serde_json::from_str(&file("processed/stage1/test.json")).unwrap();
    assert_eq!(question[0]["question_entities"], json!(["acme inc"]));
    assert_eq!(
        question[0]["supporting_facts"],
        json!(["A (2)", "missing gold document 1 of q0"])
    );
}

/// The message and the hint of an error, which must be of this kind.
fn failure(kind: ErrorKind, result: OpResult<Local>) -> (String, String) {
    match result {
        Err(e) if e.kind() != kind => panic!("{:?}, not {kind:?}: {e}", e.kind()),
        Err(OpError::Failed(f)) => (f.to_string(), f.hint.unwrap_or_default()),
        _ => panic!("no error"),
    }
}

#[test]
fn what_does_not_belong_together_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let copy = dir.path().join("copy");
    let first = read(&data("example"), dir.path());
    let mut inputs = first.inputs();
    let train = first.qa.port("train").clone();
    inputs.insert("questions".to_owned(), vec![train.clone(), train]);
    let (message, _) = failure(ErrorKind::User, write(inputs, &copy, &dir.path().join("w")));
    assert!(
        message.ends_with("two of the connected splits are `train`"),
        "{message}"
    );
    let empty = Plain {
        entities: vec!["a".to_owned()],
        ..Plain::default()
    };
    let (message, hint) = failure(
        ErrorKind::Data,
        write(empty.inputs(&dir.path().join("in")), &copy, dir.path()),
    );
    assert!(
        message.ends_with("the graph has no triple that can be written"),
        "{message}"
    );
    assert!(hint.contains("not read again"), "{hint}");
    assert!(!copy.exists());
}
