//! Measures the seconds that `join-equivalent` takes: `cargo bench -p gfm-pipe-index --bench
//! join_equivalent -- NAMES DIM EXACT`, with NAMES names whose vectors, of length DIM, are in
//! clusters of four; EXACT is the operator's parameter `exact`. Prints one JSON line.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a bench that cannot go on stops, and says what it saw"
)]

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use arrow::array::{ArrayRef, StringArray, UInt32Array, UInt64Array};
use gfm_pipe_api::artifact::texts_digest;
use gfm_pipe_api::{Artifact, Kind, columns, kinds, local};
use gfm_pipe_index::JoinEquivalent;
use serde_json::json;

/// Names around one centre.
const CLUSTER: usize = 4;

fn main() {
    let args: Vec<usize> = std::env::args().filter_map(|a| a.parse().ok()).collect();
    let [count, dim, exact] = args[..] else {
        println!("usage: join_equivalent NAMES DIM EXACT");
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let inputs = [
        ("entities", entities(dir.path(), count)),
        ("relations", relations(dir.path())),
        ("triples", triples(dir.path())),
        ("embeddings", embeddings(dir.path(), count, dim)),
    ];
    let inputs = inputs.map(|(port, artifact)| (port.to_owned(), vec![artifact]));
    let params = json!({"exact": exact});
    let start = Instant::now();
    let got = local::run::<JoinEquivalent>(&dir.path().join("j"), &params, inputs.into()).unwrap();
    let seconds = start.elapsed().as_secs_f64();
    let edges = got.port("triples").rows("triples").unwrap() - 1;
    let threads = rayon::current_num_threads();
    println!(
        "{}",
        json!({
            "names": count, "dim": dim, "exact": exact,
            "threads": threads, "seconds": seconds, "edges": edges,
        })
    );
}

fn artifact(dir: &Path, kind: &'static Kind, tables: Vec<Vec<ArrayRef>>) -> Artifact {
    let tables = kind.tables.iter().zip(tables);
    let tables = tables.map(|(spec, columns)| columns::batch(spec, columns).unwrap());
    let dir = dir.join(kind.name);
    std::fs::create_dir_all(&dir).unwrap();
    local::artifact(&dir, kind, kind.name, tables.collect()).unwrap()
}

fn ids(ids: impl IntoIterator<Item = u32>) -> ArrayRef {
    Arc::new(UInt32Array::from_iter_values(ids))
}

fn number(number: u64) -> ArrayRef {
    Arc::new(UInt64Array::from(vec![number]))
}

fn text(text: &str) -> ArrayRef {
    Arc::new(StringArray::from(vec![text]))
}

/// Names without digits.
fn names(count: usize) -> Vec<String> {
    let letter = |digit: u8| char::from(digit - b'0' + b'a');
    let name = |i: usize| i.to_string().bytes().map(letter).collect();
    (0..count).map(name).collect()
}

fn entities(dir: &Path, count: usize) -> Artifact {
    let names: ArrayRef = Arc::new(StringArray::from(names(count)));
    artifact(
        dir,
        &kinds::ENTITIES,
        vec![vec![ids(0..count as u32), names]],
    )
}

fn relations(dir: &Path) -> Artifact {
    let none: ArrayRef = Arc::new(UInt32Array::from(vec![None]));
    let columns = vec![ids([0]), text("is"), none, number(1)];
    artifact(dir, &kinds::RELATIONS, vec![columns])
}

fn triples(dir: &Path) -> Artifact {
    artifact(
        dir,
        &kinds::TRIPLES,
        vec![vec![ids([0]), ids([0]), ids([1])]],
    )
}

fn embeddings(dir: &Path, count: usize, dim: usize) -> Artifact {
    let numbers = |from: usize| {
        let mut bytes = vec![0; 2 * dim];
        let seed = (from as u64).to_le_bytes();
        blake3::Hasher::new()
            .update(&seed)
            .finalize_xof()
            .fill(&mut bytes);
        let number = |b: &[u8; 2]| f32::from(u16::from_le_bytes(*b)) / 32768.0 - 1.0;
        bytes.as_chunks().0.iter().map(number).collect::<Vec<f32>>()
    };
    let mut values = Vec::with_capacity(count * dim);
    for i in 0..count {
        let centre = numbers(count + i / CLUSTER);
        values.extend(centre.iter().zip(numbers(i)).map(|(c, own)| c + 0.4 * own));
    }
    let vectors = vec![columns::build_vectors(dim, values).unwrap()];
    let encoder = vec![
        text("random"),
        text("digest"),
        ids([dim as u32]),
        number(count as u64),
        number(0),
        text(&texts_digest(names(count))),
    ];
    artifact(dir, &kinds::EMBEDDINGS, vec![vectors, encoder])
}
