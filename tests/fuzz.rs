//! Untrusted files: mutated pipelines and mutated graphs never make the loader or the reader panic,
//! and no line of a graph is lost.
//!
//! Each test does a fixed number of rounds, and the number of a round is its seed, so that a
//! failure can be reproduced. `FUZZ_SECONDS=600 cargo test --release --test fuzz` goes on for that
//! long, with seeds never tried before.
#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs)]

#[path = "spec/toy.rs"]
mod toy;

use std::collections::BTreeMap;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use arrow::array::AsArray;
use arrow::datatypes::UInt64Type;
use gfm_pipe::spec::{LoadOptions, load};
use gfm_pipe_api::local;
use gfm_pipe_kg::IngestKg;
use gfm_pipe_testing::Random;
use serde_json::json;

/// A seed with a few changes: bytes, pieces of other seeds, and words that have a meaning.
fn mutate(seeds: &[Vec<u8>], words: &[&str], rng: &mut Random) -> Vec<u8> {
    let mut out = seeds[rng.below(seeds.len())].clone();
    for _ in 0..1 + rng.below(6) {
        let at = rng.below(out.len() + 1);
        let end = (at + rng.below(40)).min(out.len());
        match rng.below(8) {
            0 if !out.is_empty() => {
                let at = at.min(out.len() - 1);
                out[at] ^= 1 << rng.below(8);
            }
            1 => drop(out.splice(at..end, [])),
            2 => {
                let piece = out[at..end].to_vec();
                let n = 1 + rng.below(5);
                out.splice(at..at, piece.repeat(n));
            }
            3 => {
                let other = &seeds[rng.below(seeds.len())];
                let from = rng.below(other.len() + 1);
                let to = (from + rng.below(200)).min(other.len());
                out.splice(at..end, other[from..to].iter().copied());
            }
            4 => out.truncate(at),
            5 => {
                let byte = u8::try_from(rng.below(256)).unwrap();
                out.insert(at, byte);
            }
            6 => {
                let word = rng.pick(words);
                out.splice(at..at, word.bytes());
            }
            _ => {
                let word = rng.pick(words);
                out.splice(at..end, word.bytes());
            }
        }
    }
    out
}

/// Runs rounds. If one panics, the message gives its seed and the file in which its input is kept.
fn rounds(name: &str, usual: u64, round: impl Fn(&mut Random, &Path) -> Vec<u8>) {
    let dir = tempfile::tempdir().unwrap();
    let time = std::env::var("FUZZ_SECONDS").ok();
    let time = time.map(|s| Duration::from_secs(s.parse().unwrap()));
    let start = Instant::now();
    let mut n = 0;
    // Rounds beyond the usual number use new seeds every time.
    let fresh = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let fresh = fresh.unwrap().as_nanos() as u64;
    while n < usual || time.is_some_and(|t| start.elapsed() < t) {
        let seed = if n < usual { n } else { fresh.wrapping_add(n) };
        let input = std::cell::RefCell::new(Vec::new());
        let done = catch_unwind(AssertUnwindSafe(|| {
            let given = round(&mut Random::new(seed), dir.path());
            input.replace(given);
        }));
        if let Err(panic) = done {
            let kept = std::env::temp_dir().join(format!("fuzz-{name}-{seed}"));
            let _ = fs::copy(dir.path().join(name), &kept);
            let said = panic.downcast_ref::<String>().cloned();
            let said = said.or_else(|| Some((*panic.downcast_ref::<&str>()?).to_owned()));
            panic!(
                "{name}, round {seed}, input in {}: {}",
                kept.display(),
                said.unwrap_or_default()
            );
        }
        n += 1;
    }
    println!(
        "{name}: {n} rounds in {:.0} s",
        start.elapsed().as_secs_f64()
    );
}

fn files(folder: &str, ending: &str, out: &mut Vec<Vec<u8>>) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let mut paths: Vec<PathBuf> = fs::read_dir(folder)
        .unwrap()
        .map(|e| e.unwrap().path())
        .collect();
    paths.sort();
    for p in paths
        .iter()
        .filter(|p| p.extension().is_some_and(|e| e == ending))
    {
        out.push(fs::read(p).unwrap());
    }
}

#[test]
fn no_pipeline_makes_the_loader_panic() {
    let mut seeds = Vec::new();
    files("pipelines", "yaml", &mut seeds);
    files("tests/spec/bad", "yaml", &mut seeds);
    // The operators that the two kinds of seeds use.
    let mut ops = toy::ops();
    ops.extend(gfm_pipe::registry::builtin());
    let words = [
        "{{",
        "}}",
        "{{ data }}",
        "{{ dim * 2 }}",
        "{% for x in range(9) %}",
        "&a ",
        "*a",
        "<<: ",
        "- ",
        ": ",
        "\n",
        "\n  ",
        "\t",
        "[",
        "]",
        "{",
        "}",
        "|\n",
        ">-\n",
        "!!str ",
        "---\n",
        "...\n",
        "#",
        "'",
        "\"",
        "\\u0000",
        "0x7fffffffffffffff",
        "1e999",
        "-0",
        ".nan",
        "~",
        "é",
        "\u{feff}",
        "\u{2028}",
        "foreach: {a: [1, 2]}",
        "matrix: ",
        "include: ",
        "fuzz",
        "env: {HOME: x}",
        "vars:",
        "stages:",
        "op: exec",
        "with:",
        "in:",
        "kg[*].triples",
        "[*]",
        "a.b.c.d",
        "retries: 3",
        "timeout: 1h",
        "resources: {memory: 1GiB}",
        "version: 1",
    ];
    rounds("p.yaml", 3000, |rng, dir| {
        let text = mutate(&seeds, &words, rng);
        let path = dir.join("p.yaml");
        fs::write(&path, &text).unwrap();
        let opts = LoadOptions {
            base: dir.to_owned(),
            sets: match rng.below(4) {
                0 => vec![("pretrain.with.seed".to_owned(), rng.pick(&words).to_owned())],
                _ => Vec::new(),
            },
            vars: match rng.below(4) {
                0 => vec![("dim".to_owned(), rng.pick(&words).to_owned())],
                _ => Vec::new(),
            },
            ..LoadOptions::default()
        };
        if let Err(e) = load(Path::new("p.yaml"), &opts, &ops) {
            // The report can be rendered.
            assert!(e.to_string().contains("error: "));
        }
        text
    });
}

#[test]
fn no_graph_makes_the_reader_panic_and_no_line_is_lost() {
    let mut seeds = Vec::new();
    for set in ["family", "dirty"] {
        files(
            &format!("data/fixtures/{set}/processed/stage1"),
            "txt",
            &mut seeds,
        );
    }
    seeds.push(Vec::new());
    let words = [
        ",",
        ",,",
        "\n",
        "\r",
        "\r\n",
        "\n\n",
        " ",
        "\t",
        "\u{feff}",
        "\u{2028}",
        "\u{85}",
        "é",
        "e\u{301}",
        "\0",
        "\"",
        "a,b,c\n",
        "a,b\n",
        "a,b,c,d\n",
        "inverse_",
        "\u{1f600}",
        "x,inverse_x,y\n",
    ];
    rounds("kg.txt", 600, |rng, dir| {
        let text = mutate(&seeds, &words, rng);
        let path = dir.join("kg.txt");
        fs::write(&path, &text).unwrap();
        let out = dir.join("out");
        let done = local::run::<IngestKg>(&out, &json!({"path": path}), BTreeMap::new());
        match done {
            // A graph without any triple is refused with a message that names the file.
            Err(e) => assert!(e.to_string().contains("kg.txt"), "{e}"),
            Ok(done) => {
                let counts = done.port("counts").read("counts").unwrap();
                let names = counts.column(0).as_string::<i32>().iter();
                let values = counts.column(1).as_primitive::<UInt64Type>().values();
                let count: BTreeMap<&str, u64> =
                    names.flatten().zip(values.iter().copied()).collect();
                // The line end of the last line does not start another line.
                let lossy = String::from_utf8_lossy(&text)
                    .replace("\r\n", "\n")
                    .replace('\r', "\n");
                let lines = lossy
                    .strip_suffix('\n')
                    .unwrap_or(&lossy)
                    .split('\n')
                    .count() as u64;
                assert_eq!(count["lines"], lines, "{count:?}");
                let triples = done.port("triples").rows("triples").unwrap() as u64;
                let rejects = done.port("rejects").read("rejects").unwrap().num_rows() as u64;
                assert_eq!(triples, count["triples"]);
                assert_eq!(rejects, count["rejected"]);
                assert_eq!(triples + rejects + count["blank_lines"], lines, "{count:?}");
                // Ids are row numbers of the tables that they refer to.
                let entities = done.port("entities").rows("entities").unwrap() as u32;
                let relations = done.port("relations").rows("relations").unwrap() as u32;
                let t = done.port("triples").read("triples").unwrap();
                for (column, bound) in [(0, entities), (1, relations / 2), (2, entities)] {
                    let ids = t
                        .column(column)
                        .as_primitive::<arrow::datatypes::UInt32Type>();
                    assert!(ids.values().iter().all(|id| *id < bound));
                }
            }
        }
        text
    });
}
