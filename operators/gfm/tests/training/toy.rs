//! Tiny data sets, and functions that run operators on them. The graph is a ring in which one
//! relation follows from the other (two steps are `two`). Each entity has a document, and questions
//! ask for the node two hops along the ring.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, RecordBatch, StringArray, UInt32Array, UInt64Array};
use gfm_pipe_api::artifact::texts_digest;
use gfm_pipe_api::local::{self, Local};
use gfm_pipe_api::{Artifact, Kind, OpEntry, OpError, columns, kinds};
use serde_json::{Value, json};

pub const NODES: u32 = 24;

pub type Inputs = BTreeMap<String, Vec<Artifact>>;

pub fn op(name: &str) -> OpEntry {
    let all = gfm_pipe_gfm::operators().into_iter();
    all.chain(gfm_pipe_eval::operators())
        .find(|o| o.name == name)
        .unwrap()
}

pub fn run(dir: &Path, name: &str, params: Value, inputs: Inputs) -> Result<Local, OpError> {
    let out = dir.join(name);
    std::fs::create_dir_all(&out).unwrap();
    local::run_entry(&op(name), &out, &params, inputs)
}

/// The same as [`run`], in its own folder.
pub fn run_in(
    dir: &Path,
    folder: &str,
    name: &str,
    params: &Value,
    inputs: &Inputs,
) -> Result<Local, OpError> {
    let out = dir.join(folder);
    std::fs::create_dir_all(&out).unwrap();
    local::run_entry(&op(name), &out, params, inputs.clone())
}

pub fn inputs(list: &[(&str, &Artifact)]) -> Inputs {
    let mut out = Inputs::new();
    for (port, artifact) in list {
        let port = out.entry((*port).to_owned()).or_default();
        port.push((*artifact).clone());
    }
    out
}

pub fn digests(out: &Local) -> Vec<String> {
    out.outputs.values().map(Artifact::digest).collect()
}

/// Whether a message contains this text.
pub fn said(out: &Local, part: &str) -> bool {
    out.messages.iter().any(|m| m.1.contains(part))
}

fn table(kind: &Kind, i: usize, columns: Vec<ArrayRef>) -> RecordBatch {
    columns::batch(&kind.tables[i], columns).unwrap()
}

pub fn u32s(values: impl IntoIterator<Item = u32>) -> ArrayRef {
    Arc::new(UInt32Array::from_iter_values(values))
}

fn u64s(value: usize) -> ArrayRef {
    Arc::new(UInt64Array::from(vec![value as u64]))
}

pub fn text(values: Vec<String>) -> ArrayRef {
    Arc::new(StringArray::from(values))
}

pub fn one_table(dir: &Path, kind: &'static Kind, name: &str, columns: Vec<ArrayRef>) -> Artifact {
    local::artifact(dir, kind, name, vec![table(kind, 0, columns)]).unwrap()
}

/// What makes one data set differ from another.
#[derive(Debug, Clone, Copy)]
pub struct Toy {
    /// Name of the data set; artifacts are named `PORT[name]`.
    pub name: &'static str,
    pub nodes: u32,
    /// Name of the encoder and length of its vectors.
    pub encoder: (&'static str, usize),
    /// Triples in addition to the ring's. In a plain ring many nodes have the same score, and
    /// rounding decides their order.
    pub chords: &'static [[u32; 3]],
}

pub const TOY: Toy = Toy {
    name: "toy",
    nodes: NODES,
    encoder: ("toy-encoder", 6),
    chords: &[],
};

pub struct Data {
    pub graph: Artifact,
    pub triples: Artifact,
    pub documents: Artifact,
    pub corpus: Artifact,
    pub corpus_embeddings: Artifact,
    pub questions: Artifact,
    pub question_embeddings: Artifact,
}

pub fn data(dir: &Path) -> Data {
    TOY.make(dir)
}

impl Toy {
    pub fn named(self, format: impl Fn(u32) -> String) -> Vec<String> {
        (0..self.nodes).map(format).collect()
    }

    fn lists(self, format: impl Fn(u32) -> Vec<u32>) -> ArrayRef {
        columns::build_list_u32(&(0..self.nodes).map(format).collect::<Vec<_>>())
    }

    pub fn artifact_name(self, port: &str) -> String {
        format!("{port}[{}]", self.name)
    }

    pub fn embeddings(self, dir: &Path, name: &str, texts: &[String]) -> Artifact {
        let (encoder, width) = self.encoder;
        let values: Vec<f32> = texts
            .iter()
            .flat_map(|t| {
                let hash: u32 = t
                    .bytes()
                    .fold(7, |h, b| h.wrapping_mul(31).wrapping_add(u32::from(b)));
                (0..width).map(move |i| ((hash >> (4 * (i % 8))) % 16) as f32 / 8.0 - 1.0)
            })
            .collect();
        let vectors = vec![columns::build_vectors(width, values).unwrap()];
        let one = |s: &str| text(vec![s.to_owned()]);
        let about = vec![
            one(encoder),
            one(&format!("{encoder}-digest")),
            u32s([width as u32]),
            u64s(texts.len()),
            u64s(0),
            one(&texts_digest(texts)),
        ];
        let kind = &kinds::EMBEDDINGS;
        let tables = vec![table(kind, 0, vectors), table(kind, 1, about)];
        local::artifact(dir, kind, &self.artifact_name(name), tables).unwrap()
    }

    /// Triples as an artifact, e.g. to validate on.
    pub fn triples(self, dir: &Path, name: &str, list: &[[u32; 3]]) -> Artifact {
        let columns = (0..3).map(|c| u32s(list.iter().map(|t| t[c]))).collect();
        one_table(dir, &kinds::TRIPLES, &self.artifact_name(name), columns)
    }

    /// All triples of the graph.
    pub fn ring(self) -> Vec<[u32; 3]> {
        let n = self.nodes;
        (0..n)
            .flat_map(|i| [[i, 0, (i + 1) % n], [i, 1, (i + 2) % n]])
            .chain(self.chords.iter().copied())
            .collect()
    }

    fn graph(
        self,
        dir: &Path,
        entities: &Artifact,
        triples: &Artifact,
        relations: &[&str],
    ) -> Artifact {
        let inverses = relations.iter().map(|r| format!("inverse_{r}"));
        let names = relations.iter().map(|r| (*r).to_owned()).chain(inverses);
        let relations = self.embeddings(dir, "relations", &names.collect::<Vec<_>>());
        let given = inputs(&[
            ("triples", triples),
            ("entities", entities),
            ("relations", &relations),
        ]);
        let out = run(dir, "build-graph", json!({}), given).unwrap();
        let mut graph = out.port("graph").clone();
        graph.name = self.artifact_name("graph");
        graph
    }

    /// A graph of other triples than the ring's, in its own folder below `dir`.
    pub fn graph_of(self, dir: &Path, triples: &[[u32; 3]], relations: &[&str]) -> Artifact {
        let dir = dir.join(format!("graph-{}", self.name));
        std::fs::create_dir_all(&dir).unwrap();
        let names = self.named(|i| format!("node {i}"));
        let columns = vec![u32s(0..self.nodes), text(names)];
        let name = self.artifact_name("entities");
        let entities = one_table(&dir, &kinds::ENTITIES, &name, columns);
        let triples = self.triples(&dir, "triples", triples);
        self.graph(&dir, &entities, &triples, relations)
    }

    /// Writes the data set to its own folder below `dir`.
    pub fn make(self, dir: &Path) -> Data {
        let folder = dir.join(format!("data-{}", self.name));
        std::fs::create_dir_all(&folder).unwrap();
        let dir = folder.as_path();
        let n = self.nodes;
        let artifact =
            |kind, name: &str, columns| one_table(dir, kind, &self.artifact_name(name), columns);
        let names = self.named(|i| format!("node {i}"));
        let entities = artifact(&kinds::ENTITIES, "entities", vec![u32s(0..n), text(names)]);
        let (titles, texts) = (
            self.named(|i| format!("doc {i}")),
            self.named(|i| format!("about node {i}")),
        );
        let both: Vec<String> = titles
            .iter()
            .zip(&texts)
            .map(|(a, b)| format!("{a}\n{b}"))
            .collect();
        let flags: ArrayRef = Arc::new(BooleanArray::from(vec![true; n as usize]));
        let corpus = vec![u32s(0..n), text(titles), text(texts), flags.clone()];
        let corpus = artifact(&kinds::DOCUMENTS, "corpus", corpus);
        let pairs = (0..n).flat_map(|d| [(d, d), (d, (d + 1) % n)]);
        let (d, e): (Vec<u32>, Vec<u32>) = pairs.unzip();
        let links = artifact(&kinds::LINKS, "links", vec![u32s(d), u32s(e)]);

        let triples = self.triples(dir, "triples", &self.ring());
        let graph = self.graph(dir, &entities, &triples, &["next", "two"]);
        let matrix = inputs(&[
            ("entities", &entities),
            ("documents", &corpus),
            ("links", &links),
        ]);
        let mut documents = run(dir, "build-documents", json!({}), matrix)
            .unwrap()
            .port("documents")
            .clone();
        documents.name = self.artifact_name("documents");

        let target = |i: u32| (i + 2) % n;
        let questions = self.named(|i| format!("what comes two after {i}"));
        let rows = vec![
            text(self.named(|i| format!("q{i}"))),
            text(questions.clone()),
            text(self.named(|i| format!("node {}", target(i)))),
            self.lists(|i| vec![i]),
            self.lists(|i| vec![target(i), (target(i) + 1) % n]),
            self.lists(|i| vec![target(i)]),
            u32s(vec![1; n as usize]),
            flags,
            u32s(vec![2; n as usize]),
            columns::build_list_text(&vec![Vec::new(); n as usize]),
        ];
        let about = vec![
            text(vec![self.name.into()]),
            text(vec!["train".into()]),
            u64s(n as usize),
            u64s(0),
        ];
        let kind = &kinds::QUESTIONS;
        let tables = vec![table(kind, 0, rows), table(kind, 1, about)];
        let name = self.artifact_name("questions");
        Data {
            graph,
            triples,
            documents,
            corpus,
            corpus_embeddings: self.embeddings(dir, "corpus_embeddings", &both),
            questions: local::artifact(dir, kind, &name, tables).unwrap(),
            question_embeddings: self.embeddings(dir, "question_embeddings", &questions),
        }
    }

    /// The questions with other gold entities, by number of the question.
    pub fn asking_for(
        self,
        dir: &Path,
        questions: &Artifact,
        gold: impl Fn(u32) -> Vec<u32>,
    ) -> Artifact {
        let kind = &kinds::QUESTIONS;
        let all = questions.read("questions").unwrap();
        let at = all.schema().index_of("supporting_entities").unwrap();
        let mut rows = all.columns().to_vec();
        rows[at] = self.lists(gold);
        let tables = vec![
            table(kind, 0, rows),
            questions.read(kind.tables[1].name).unwrap(),
        ];
        local::artifact(dir, kind, &questions.name, tables).unwrap()
    }
}

pub fn small_model() -> Value {
    json!({"entity_model": {"input_dim": 16, "hidden_dims": [16, 16, 16]}})
}

pub fn pretrain_params(epochs: u32) -> Value {
    json!({
        "model": small_model(),
        "task": {"num_negative": 8},
        "optimizer": {"lr": 0.01},
        "train": {"num_epoch": epochs, "batch_size": 4, "valid_fraction": 0.1},
    })
}

pub fn finetune_params(epochs: u32) -> Value {
    json!({
        "model": small_model(),
        "optimizer": {"lr": 0.01},
        "train": {"num_epoch": epochs, "batch_size": 4, "checkpoint_minutes": 0},
        "doc_ranker": {"top_k": 2},
    })
}

pub fn finetune_inputs(sets: &[&Data]) -> Inputs {
    let list: Vec<(&str, &Artifact)> = sets
        .iter()
        .flat_map(|d| {
            [
                ("graph", &d.graph),
                ("documents", &d.documents),
                ("train", &d.questions),
                ("train_embeddings", &d.question_embeddings),
            ]
        })
        .collect();
    inputs(&list)
}

/// Pre-training and fine-tuning on a data set: operator, parameters, inputs.
pub fn trainings(d: &Data, epochs: u32) -> [(&'static str, Value, Inputs); 2] {
    let graph = inputs(&[("graph", &d.graph)]);
    [
        ("pretrain", pretrain_params(epochs), graph),
        ("finetune", finetune_params(epochs), finetune_inputs(&[d])),
    ]
}

/// A model fine-tuned on a data set.
pub fn finetuned(dir: &Path, d: &Data, epochs: u32) -> Local {
    let (params, given) = (finetune_params(epochs), finetune_inputs(&[d]));
    run_in(dir, "model", "finetune", &params, &given).unwrap()
}

/// The inputs of `evaluate` for a data set, and more.
pub fn evaluate_inputs(model: &Local, d: &Data, more: &[(&str, &Artifact)]) -> Inputs {
    let mut all = vec![
        ("model", model.port("model")),
        ("graph", &d.graph),
        ("documents", &d.documents),
        ("corpus", &d.corpus),
        ("questions", &d.questions),
        ("question_embeddings", &d.question_embeddings),
    ];
    all.extend(more);
    inputs(&all)
}

/// Parameters with some values changed: `("train.num_epoch", json!(3))`.
pub fn with(mut params: Value, changes: &[(&str, Value)]) -> Value {
    for (path, value) in changes {
        let mut at = &mut params;
        for key in path.split('.') {
            at = &mut at[key];
        }
        *at = value.clone();
    }
    params
}

/// The values of a metric in a history, in order.
pub fn history(a: &Artifact, metric: &str) -> Vec<f64> {
    let t = a.read("history").unwrap();
    let (m, v) = (
        columns::text(&t, "metric").unwrap(),
        columns::f64s(&t, "value").unwrap(),
    );
    (0..t.num_rows())
        .filter(|i| m.value(*i) == metric)
        .map(|i| v.value(i))
        .collect()
}

/// Names of the metrics in a history, each once.
pub fn metrics(a: &Artifact) -> Vec<String> {
    let t = a.read("history").unwrap();
    let m = columns::text(&t, "metric").unwrap();
    let mut out: Vec<String> = Vec::new();
    for name in m.iter().flatten() {
        if !out.iter().any(|n| n == name) {
            out.push(name.to_owned());
        }
    }
    out
}

/// The epoch whose weights a model holds.
pub fn epoch(model: &Artifact) -> u64 {
    let t = model.read("config").unwrap();
    let json = columns::text(&t, "json").unwrap().value(0).to_owned();
    let config: Value = serde_json::from_str(&json).unwrap();
    config["origin"]["epoch"].as_u64().unwrap()
}
