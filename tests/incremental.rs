//! Documents that are added, changed, removed and reordered: the pipeline of real operators ends in
//! the artifacts of a fresh run, computes only what is new, and a kill loses no finished item.

#![cfg(all(
    unix,
    feature = "gfm",
    feature = "static-encoder",
    feature = "english",
    feature = "encoders"
))]
#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

#[path = "engine/leftovers.rs"]
mod leftovers;

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Instant;

use gfm_pipe::exec::{RunOptions, RunSummary, run};
use gfm_pipe::record::{Fanout, RunStatus};
use gfm_pipe::registry::builtin;
use gfm_pipe::spec::{LoadOptions, load};
use gfm_pipe::store::Store;
use gfm_pipe_api::items::folders;
use gfm_pipe_api::{Artifact, Cancel};
use gfm_pipe_testing::Random;
use serde_json::{Value, json};

use leftovers::{collect, mentions};

/// Everything from documents to where questions start, without training.
const PIPELINE: &str = "pipelines/untrained.yaml";
/// Its last stage that is needed here.
const LAST: &str = "link";

const PLACES: [&str; 6] = [
    "Quillmouth",
    "Lowmere",
    "Port Alder",
    "Stone Town",
    "Kumasi",
    "Duluth",
];
const PEOPLE: [&str; 6] = [
    "Ada Brandt",
    "Amara Osei",
    "Zoë Müller",
    "John Alder",
    "Maria Quill",
    "Sven Holm",
];

/// A document, written as its title and text.
type Document = (String, String);

fn document(random: &mut Random, number: usize) -> Document {
    let (person, place) = (random.pick(&PEOPLE), random.pick(&PLACES));
    let other = random.pick(&PLACES);
    let text = match random.below(3) {
        0 => format!(
            "{person} was born in {place} in 18{:02}. {person} lived in {other}.",
            number % 100
        ),
        1 => format!("The mill of {place} was built by {person}. It stands near {other}."),
        _ => format!("{place} is a town near {other}. Its mayor is {person}."),
    };
    (format!("Page {number}"), text)
}

fn first() -> Vec<Document> {
    let text = "The mill of Lowmere was founded by Ada Brandt. Ada Brandt was born in Quillmouth.";
    vec![("Mill of Lowmere".to_owned(), text.to_owned())]
}

struct Lab {
    dir: tempfile::TempDir,
}

impl Lab {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let question = json!([{
            "id": "1",
            "question": "Where was the founder of the mill of Lowmere born?",
            "supporting_facts": ["Mill of Lowmere"],
            "answer": "Quillmouth",
        }]);
        for name in ["train.json", "test.json"] {
            fs::write(dir.path().join(name), question.to_string()).unwrap();
        }
        Lab { dir }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn store(&self) -> Store {
        Store::open(self.path("store")).unwrap()
    }

    fn write(&self, documents: &[Document]) {
        // An object in the order of the documents, which serde's would sort.
        let one = |(title, text): &Document| format!("{}: {}", json!(title), json!(text));
        let all: Vec<String> = documents.iter().map(one).collect();
        let corpus = format!("{{{}}}", all.join(", "));
        fs::write(self.path("dataset_corpus.json"), corpus).unwrap();
    }

    /// The variables of the pipeline, with their values.
    fn variables(&self) -> [(String, String); 2] {
        let encoder = "data/fixtures/encoders/bert".to_owned();
        let raw = self.dir.path().display().to_string();
        [("raw".to_owned(), raw), ("encoder".to_owned(), encoder)]
    }

    fn run(&self, documents: &[Document]) -> RunSummary {
        self.write(documents);
        let base = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
        let options = LoadOptions {
            base: base.clone(),
            vars: self.variables().to_vec(),
            ..LoadOptions::default()
        };
        let pipeline = load(PIPELINE.as_ref(), &options, &builtin());
        let pipeline = pipeline.unwrap_or_else(|e| panic!("{e}"));
        let mut options = RunOptions::default();
        options.request.base = base;
        options.request.selection.until = vec![LAST.to_owned()];
        let listeners = Arc::new(Fanout(Vec::new()));
        let cancel = Cancel::default();
        let summary = run(&pipeline, &self.store(), &options, listeners, &cancel).unwrap();
        assert_eq!(summary.status, RunStatus::Ok, "{:?}", summary.stages);
        summary
    }
}

fn digests(summary: &RunSummary) -> Vec<(String, String)> {
    let stages = summary.artifacts.iter();
    stages
        .flat_map(|(stage, ports)| {
            let port =
                move |(port, a): (&String, &Artifact)| (format!("{stage}.{port}"), a.digest());
            ports.iter().map(port)
        })
        .collect()
}

/// Total, computed, new, changed, gone.
fn counted(summary: &RunSummary, stage: &str) -> Option<[u64; 5]> {
    let stage = summary.stages.iter().find(|s| s.name == stage).unwrap();
    let counts = stage.items.as_ref()?;
    Some([
        counts.total,
        counts.computed,
        counts.new,
        counts.changed,
        counts.gone,
    ])
}

/// Sequences of changes end in the artifacts of a fresh run. GFM_PIPE_SEQUENCES is their number.
#[test]
fn after_any_changes_the_artifacts_are_those_of_a_fresh_run() {
    let count = std::env::var("GFM_PIPE_SEQUENCES").ok();
    let count = count.map_or(4, |n| n.parse().unwrap());
    for seed in 0..count {
        let mut random = Random::new(seed);
        let lab = Lab::new();
        let mut documents = first();
        let mut number = 0;
        for step in 0..4 {
            for _ in 0..1 + random.below(4) {
                let at = random.below(documents.len());
                match random.below(5) {
                    0 | 1 => {
                        number += 1;
                        let new = document(&mut random, number);
                        documents.insert(at, new);
                    }
                    2 if documents.len() > 1 => drop(documents.remove(at)),
                    3 => {
                        number += 1;
                        documents[at].1 = document(&mut random, number).1;
                    }
                    _ => {
                        let other = random.below(documents.len());
                        documents.swap(at, other);
                    }
                }
            }
            // Without it, there would be no question.
            if !documents.iter().any(|d| d.0 == first()[0].0) {
                documents.extend(first());
            }
            if step > 0 && random.below(3) == 0 {
                collect(&lab.store());
            }
            let got = digests(&lab.run(&documents));
            if step == 1 || step == 3 {
                let fresh = digests(&Lab::new().run(&documents));
                assert_eq!(got, fresh, "sequence {seed}, step {step}: {documents:#?}");
            }
        }
        assert_eq!(lab.store().verify(true, &|_, _| {}).unwrap().damages, []);
    }
}

#[test]
fn one_more_document_costs_one_more_and_a_deleted_one_leaves_nothing() {
    let lab = Lab::new();
    let mut random = Random::new(7);
    let mut documents = first();
    documents.extend((0..9).map(|i| document(&mut random, i)));
    lab.run(&documents);
    let secret = (
        "Page of Wodehouse",
        "Wodehouse was born in Zanzibar. Wodehouse met Ada Brandt.",
    );
    documents.insert(3, (secret.0.to_owned(), secret.1.to_owned()));
    let more = lab.run(&documents);
    assert_eq!(counted(&more, "extract"), Some([11, 1, 1, 0, 0]));
    assert_eq!(counted(&more, "d_text"), Some([11, 1, 1, 0, 0]));
    let sentences = counted(&more, "s_text").unwrap();
    assert_eq!((sentences[1], sentences[2]), (2, 2));
    let root = lab.path("store");
    for text in ["Wodehouse", "Zanzibar"] {
        assert!(
            mentions(&root, text).len() > 5,
            "{:?}",
            mentions(&root, text)
        );
    }
    documents.remove(3);
    let less = lab.run(&documents);
    let stages = less.stages.iter();
    let ran = stages.filter(|s| s.items.as_ref().is_some_and(|c| c.computed > 0));
    assert_eq!(ran.count(), 0);
    collect(&lab.store());
    for text in ["Wodehouse", "Zanzibar"] {
        assert_eq!(mentions(&root, text), Vec::<String>::new());
    }
}

/// The number of items that are kept.
fn kept(lab: &Lab) -> u64 {
    let all = folders(&lab.path("store/items"));
    all.iter().map(|folder| folder.check(true).0).sum()
}

/// The program is killed at random moments; what it had finished is not computed again.
#[test]
fn a_kill_loses_no_finished_item() {
    let lab = Lab::new();
    let mut random = Random::new(11);
    let mut documents = first();
    // Long texts, so that kills hit stages with items.
    documents.extend((0..800).map(|i| {
        let parts: Vec<String> = (0..6).map(|j| document(&mut random, i * 6 + j).1).collect();
        (format!("Page {i}"), parts.join(" "))
    }));
    let fresh = Lab::new();
    let begin = Instant::now();
    let want = digests(&fresh.run(&documents));
    let took = begin.elapsed();
    lab.write(&documents);
    let command = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gfm-pipe"));
        command
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .args(["run", PIPELINE, "--until", LAST])
            .arg("--store")
            .arg(lab.path("store"))
            .args(["--log-format", "json"])
            .args(
                lab.variables()
                    .iter()
                    .map(|(name, value)| format!("-p{name}={value}")),
            );
        command
    };
    let mut before = 0;
    let mut gained = 0;
    for _ in 0..20 {
        let mut child = command();
        let child = child.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let mut child = child.unwrap();
        std::thread::sleep(took.mul_f64(random.unit()));
        // It may already have ended by itself.
        let _ = child.kill();
        child.wait().unwrap();
        let now = kept(&lab);
        assert!(now >= before, "{now} after {before}");
        gained += usize::from(now > before);
        before = now;
    }
    assert!(
        gained >= 2,
        "only {gained} of the kills hit a stage with items"
    );
    let out = command().output().unwrap();
    let text = String::from_utf8(out.stdout).unwrap();
    assert!(out.status.success(), "{text}");
    let last: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    assert_eq!(last["status"], "ok");
    // What was kept, and what was computed now, is every item once.
    let stages = last["stages"].as_array().unwrap();
    let computed = stages.iter().filter_map(|s| {
        // A stage that computes all of its items reports no count.
        s["items"]["computed"].as_u64()
    });
    let computed: u64 = computed.sum();
    assert!(kept(&lab) >= before + computed);
    let summary = lab.run(&documents);
    assert_eq!(digests(&summary), want);
    assert_eq!(kept(&lab), kept(&fresh), "no item is computed twice");
}
