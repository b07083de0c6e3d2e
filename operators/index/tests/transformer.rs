//! Tests of `extract` with `by: transformer`, with a tiny model that the tests write.
#![cfg(feature = "transformers")]
#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use common::{counts, rows};
use gfm_pipe_api::local::{self, Local};
use gfm_pipe_api::{ErrorKind, OpEntry, OpResult};
use gfm_pipe_index::{Extract, IngestDocuments};
use safetensors::tensor::{Dtype, TensorView};
use serde_json::{Value, json};

const WIDTH: usize = 8;
const LABELS: [&str; 4] = ["O", "B-PER", "I-PER", "LOC"];

/// Writes a BERT without layers that labels the known words: a token's state is the one-hot vector
/// of its label.
fn write_model(dir: &Path, known: &[(&str, usize)]) {
    let tokenizer = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../data/fixtures/encoders/bert/tokenizer.json");
    let tokenizer: Value = serde_json::from_slice(&fs::read(tokenizer).unwrap()).unwrap();
    let vocabulary = tokenizer["model"]["vocab"].as_object().unwrap();
    let mut words = vec![0.0_f32; vocabulary.len() * WIDTH];
    for (word, id) in vocabulary {
        let label = known
            .iter()
            .find(|(w, _)| w == word)
            .map_or(0, |(_, label)| *label);
        words[id.as_u64().unwrap() as usize * WIDTH + label] = 1.0;
    }
    let identity = |i: usize| if i / WIDTH == i % WIDTH { 1.0 } else { 0.0 };
    let head: Vec<f32> = (0..LABELS.len() * WIDTH).map(identity).collect();
    let tensors = [
        (
            "bert.embeddings.word_embeddings.weight",
            words,
            vec![vocabulary.len(), WIDTH],
        ),
        (
            "bert.embeddings.position_embeddings.weight",
            vec![0.0; 32 * WIDTH],
            vec![32, WIDTH],
        ),
        (
            "bert.embeddings.LayerNorm.weight",
            vec![1.0; WIDTH],
            vec![WIDTH],
        ),
        (
            "bert.embeddings.LayerNorm.bias",
            vec![0.0; WIDTH],
            vec![WIDTH],
        ),
        ("classifier.weight", head, vec![LABELS.len(), WIDTH]),
        (
            "classifier.bias",
            vec![0.0; LABELS.len()],
            vec![LABELS.len()],
        ),
    ];
    let bytes = tensors.map(|(name, values, shape)| {
        let bytes: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
        (name, bytes, shape)
    });
    let views = bytes.iter().map(|(name, bytes, shape)| {
        (
            *name,
            TensorView::new(Dtype::F32, shape.clone(), bytes).unwrap(),
        )
    });
    let labels: BTreeMap<String, &str> = LABELS
        .iter()
        .enumerate()
        .map(|(i, l)| (i.to_string(), *l))
        .collect();
    let config = json!({
        "model_type": "bert", "architectures": ["BertForTokenClassification"], "id2label": labels,
        "hidden_size": WIDTH, "num_hidden_layers": 0, "num_attention_heads": 2, "hidden_act": "gelu",
        "max_position_embeddings": 32,
    });
    fs::create_dir_all(dir).unwrap();
    fs::write(dir.join("config.json"), config.to_string()).unwrap();
    fs::write(dir.join("tokenizer.json"), tokenizer.to_string()).unwrap();
    fs::write(
        dir.join("model.safetensors"),
        safetensors::serialize(views, None).unwrap(),
    )
    .unwrap();
}

const KNOWN: [(&str, usize); 4] = [("arthur", 1), ("brown", 2), ("paulo", 3), ("brasil", 3)];

fn documents() -> Value {
    json!({
        "Arthur Brown": "Arthur  Brown jumps over Paulo. Arthur is the quick fox.",
        "Brasil": format!("{}Brasil and PAULO, Brasil.", "the lazy dog ".repeat(30)),
        "Empty": "",
    })
}

fn extract(dir: &Path, to: &str, corpus: &Value) -> OpResult<Local> {
    fs::write(dir.join("corpus.json"), corpus.to_string()).unwrap();
    let given = json!({"path": dir.join("corpus.json")});
    let read = local::run::<IngestDocuments>(&dir.join("d"), &given, [].into())?;
    let inputs = [("documents".to_owned(), vec![read.port("documents").clone()])];
    let params = json!({"by": "transformer", "model": dir.join("model")});
    local::run::<Extract>(&dir.join(to), &params, inputs.into())
}

#[test]
fn mentions_are_what_the_model_says_and_there_are_no_facts() {
    let dir = tempfile::tempdir().unwrap();
    write_model(&dir.path().join("model"), &KNOWN);
    let got = extract(dir.path(), "x", &documents()).unwrap();
    let mentions = ["document", "sentence", "start", "end", "text", "label"];
    assert_eq!(
        rows(&got, "mentions", "mentions", &mentions),
        [
            "0 | 0 | 0 | 13 | Arthur Brown | PER",
            "0 | 0 | 25 | 30 | Paulo | LOC",
            "0 | 1 | 32 | 38 | Arthur | PER",
            "1 | 0 | 390 | 396 | Brasil | LOC",
            "1 | 0 | 401 | 406 | PAULO | LOC",
            "1 | 0 | 408 | 414 | Brasil | LOC",
        ]
    );
    assert_eq!(
        counts(&got)[..4],
        [
            "documents | 3",
            "sentences | 3",
            "mentions | 6",
            "facts | 0"
        ]
    );
}

#[test]
fn only_new_documents_go_through_the_model_and_another_model_is_another() {
    let dir = tempfile::tempdir().unwrap();
    write_model(&dir.path().join("model"), &KNOWN);
    let counts = |got: &Local| (got.items.computed, got.items.items.len());
    let first = extract(dir.path(), "x", &documents()).unwrap();
    assert_eq!(counts(&first), (3, 3));
    let mut more = documents();
    more["Paulo"] = json!("Brown Paulo");
    let again = extract(dir.path(), "x", &more).unwrap();
    assert_eq!(counts(&again), (1, 4));
    let tables = |got: &Local| {
        ["sentences", "mentions", "named"].map(|port| got.port(port).read(port).unwrap())
    };
    let with = tables(&again);
    let without = extract(dir.path(), "y", &more).unwrap();
    assert_eq!(counts(&without), (4, 4));
    assert_eq!(with, tables(&without));
    write_model(&dir.path().join("model"), &KNOWN[..1]);
    let other = extract(dir.path(), "x", &more).unwrap();
    assert_eq!(counts(&other), (4, 4));
    assert_eq!(other.port("mentions").rows("mentions").unwrap(), 2);
}

#[test]
fn a_stage_reads_the_files_of_its_model_and_says_what_is_wrong_with_them() {
    let dir = tempfile::tempdir().unwrap();
    let op = OpEntry::of::<Extract>();
    let params = op
        .validate(&json!({"by": "transformer", "model": "./model"}))
        .unwrap();
    let absent = op
        .files(&params, dir.path())
        .unwrap()
        .remove(0)
        .absent
        .unwrap();
    assert!(absent.why.contains("holds no model"), "{}", absent.why);
    assert!(absent.hint.contains("model.safetensors"), "{}", absent.hint);
    write_model(&dir.path().join("model"), &KNOWN);
    let files = op.files(&params, dir.path()).unwrap();
    let needed: Vec<String> = files
        .iter()
        .filter(|f| f.required)
        .map(|f| f.path.display().to_string())
        .collect();
    let want = ["config.json", "tokenizer.json", "model.safetensors"];
    assert_eq!(needed, want.map(|name| format!("./model/{name}")));
    // A model by its name on the hub, without a connection to the hub.
    let params = op
        .validate(&json!({"by": "transformer", "model": "nobody/none"}))
        .unwrap();
    let absent = op
        .files(&params, dir.path())
        .unwrap()
        .remove(0)
        .absent
        .unwrap();
    assert!(
        absent
            .why
            .starts_with("the model nobody/none (revision main)"),
        "{}",
        absent.why
    );
    assert!(!absent.hint.contains("static"), "{}", absent.hint);

    let config = dir.path().join("model/config.json");
    let text = fs::read_to_string(&config)
        .unwrap()
        .replace("id2label", "labels");
    fs::write(&config, text).unwrap();
    let e = extract(dir.path(), "x", &documents()).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Data);
    let said = format!("{e:?}");
    assert!(
        said.contains("config.json") && said.contains("`id2label` is missing"),
        "{said}"
    );
    assert!(e.advice().unwrap().contains("token classification"));
}
