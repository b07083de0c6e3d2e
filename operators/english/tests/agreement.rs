//! Agreement with spaCy on texts whose results it wrote down (tests/goldens/make.py).
#![cfg(feature = "builtin")]
#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test that cannot go on stops, and says why it was skipped"
)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use gfm_pipe_english::{Doc, English};
use serde::Deserialize;

#[derive(Deserialize)]
struct Text {
    text: String,
}

/// What spaCy found. Places are counted in code points.
#[derive(Deserialize)]
struct Expected {
    tokens: Vec<(usize, usize)>,
    tags: Vec<String>,
    heads: Vec<usize>,
    deps: Vec<String>,
    ents: Vec<(usize, usize, String)>,
    sents: Vec<usize>,
}

fn here(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// The goldens of a folder, or `None` and a line on standard error.
fn goldens(folder: &Path) -> Option<Vec<(String, Expected)>> {
    let read = |name: &str| std::fs::read_to_string(folder.join(name));
    let (Ok(texts), Ok(expected)) = (read("texts.jsonl"), read("expected.jsonl")) else {
        let missing = if folder == here("tests/goldens") {
            "english-goldens"
        } else {
            "shared-data"
        };
        gfm_pipe_testing::skip(missing, &format!("{} has no goldens", folder.display()));
        return None;
    };
    let texts = texts
        .lines()
        .map(|l| serde_json::from_str::<Text>(l).unwrap());
    let expected = expected.lines().map(|l| serde_json::from_str(l).unwrap());
    Some(texts.map(|t| t.text).zip(expected).collect())
}

/// The pipeline with unrounded weights, or `None` and a line on standard error.
fn unrounded() -> Option<English> {
    let folder = here("../../data/models/english");
    let path = folder.join("english_f32.safetensors");
    let Ok(weights) = std::fs::read(&path) else {
        let reason = "data/models/english/export.py --f32 writes it";
        gfm_pipe_testing::skip("english-unrounded", reason);
        return None;
    };
    let tables = std::fs::read(folder.join("english.json")).unwrap();
    Some(English::from_parts(&weights, &tables).unwrap())
}

/// How many of something are the same, and of how many.
#[derive(Default)]
struct Share {
    same: usize,
    all: usize,
}

impl Share {
    fn add(&mut self, same: usize, all: usize) {
        self.same += same;
        self.all += all;
    }

    fn sets<T: Ord>(&mut self, a: &BTreeSet<T>, b: &BTreeSet<T>) {
        self.add(a.intersection(b).count(), a.union(b).count());
    }

    fn of(&self) -> f64 {
        self.same as f64 / self.all.max(1) as f64
    }
}

const ASPECTS: [&str; 6] = ["tokens", "tags", "heads", "labels", "entities", "sentences"];

/// The shares of all aspects over some texts.
fn compare(english: &English, goldens: &[(String, Expected)]) -> [Share; 6] {
    let mut shares: [Share; 6] = Default::default();
    for (text, want) in goldens {
        let doc = english.parse(text);
        let [tokens, tags, heads, labels, entities, sentences] = &mut shares;
        let places = places(text, &doc);
        let as_set = |tokens: &[(usize, usize)]| tokens.iter().copied().collect::<BTreeSet<_>>();
        tokens.sets(&as_set(&places), &as_set(&want.tokens));
        if places != want.tokens {
            // Nothing else can be compared: all of it counts as different.
            for share in [tags, heads, labels, entities, sentences] {
                share.add(0, want.tokens.len());
            }
            continue;
        }
        let n = want.tokens.len();
        for i in 0..n {
            let found = (doc.tag(i), doc.tokens[i].head, doc.label(i));
            let wanted = (&*want.tags[i], want.heads[i], &*want.deps[i]);
            if found != wanted {
                let word = &text[doc.tokens[i].bytes.clone()];
                eprintln!("token {i} {word:?} has {found:?}, not {wanted:?}");
            }
        }
        let count = |same: &dyn Fn(usize) -> bool| (0..n).filter(|i| same(*i)).count();
        tags.add(count(&|i| doc.tag(i) == want.tags[i]), n);
        heads.add(count(&|i| doc.tokens[i].head == want.heads[i]), n);
        labels.add(count(&|i| doc.label(i) == want.deps[i]), n);
        let found = doc
            .entities
            .iter()
            .map(|e| (e.tokens.start, e.tokens.end, doc.kind(e).to_owned()));
        entities.sets(&found.collect(), &want.ents.iter().cloned().collect());
        let starts = doc.sentences.iter().map(|s| s.start);
        sentences.sets(&starts.collect(), &want.sents.iter().copied().collect());
    }
    shares
}

/// Places of the tokens in code points.
fn places(text: &str, doc: &Doc) -> Vec<(usize, usize)> {
    let mut count = vec![0; text.len() + 1];
    for (number, (byte, character)) in text.char_indices().enumerate() {
        count[byte] = number;
        count[byte + character.len_utf8()] = number + 1;
    }
    let place = |t: &gfm_pipe_english::Token| (count[t.bytes.start], count[t.bytes.end]);
    doc.tokens.iter().map(place).collect()
}

fn check(english: &English, folder: &Path, at_least: f64) {
    let Some(goldens) = goldens(folder) else {
        return;
    };
    assert!(!goldens.is_empty());
    for (aspect, share) in ASPECTS.iter().zip(compare(english, &goldens)) {
        eprintln!(
            "{aspect:9} {:6} of {:6} = {:8.4} %",
            share.same,
            share.all,
            100.0 * share.of()
        );
        // One difference is allowed where the goldens are few, unless none is.
        let allowed = ((1.0 - at_least) * share.all as f64).ceil() as usize;
        assert!(
            share.all - share.same <= allowed,
            "{aspect}: {} of {} agree",
            share.same,
            share.all
        );
    }
}

fn shared() -> PathBuf {
    match std::env::var_os("GFM_PIPE_ENGLISH_GOLDENS") {
        Some(folder) => folder.into(),
        None => here("../../../shared/reference/english/goldens"),
    }
}

#[test]
fn as_shipped_nearly_everything_is_spacys() {
    check(&English::new().unwrap(), &here("tests/goldens"), 0.999);
}

#[test]
fn as_shipped_nearly_everything_is_spacys_on_other_texts() {
    check(&English::new().unwrap(), &shared(), 0.999);
}

#[test]
fn without_rounding_everything_is_spacys() {
    if let Some(english) = unrounded() {
        check(&english, &here("tests/goldens"), 1.0);
    }
}

#[test]
fn without_rounding_everything_is_spacys_on_other_texts() {
    if let Some(english) = unrounded() {
        check(&english, &shared(), 1.0);
    }
}
