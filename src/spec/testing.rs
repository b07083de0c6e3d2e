//! Helpers for tests that need a pipeline: toy operators and loading from text.
#![allow(clippy::unwrap_used, missing_docs)]

use std::path::Path;

use super::{LoadOptions, Pipeline, SpecErrors, load};

#[path = "../../tests/spec/toy.rs"]
pub mod toy;

/// Loads a text as `p.yaml`.
pub fn load_text(
    text: &str,
    vars: &[(&str, &str)],
    sets: &[(&str, &str)],
) -> Result<Pipeline, SpecErrors> {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("p.yaml"), text).unwrap();
    let own = |pairs: &[(&str, &str)]| {
        let pairs = pairs.iter();
        pairs
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect()
    };
    let opts = LoadOptions {
        base: dir.path().to_owned(),
        vars: own(vars),
        sets: own(sets),
        ..LoadOptions::default()
    };
    load(Path::new("p.yaml"), &opts, &toy::ops())
}

/// Loads a pipeline that must be correct; panics with the report if it is not.
pub fn pipeline(text: &str) -> Pipeline {
    load_text(text, &[], &[]).unwrap_or_else(|e| panic!("{e}"))
}
