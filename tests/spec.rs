//! Complete error reports of the loader: for each `tests/spec/bad/NAME.yaml`, the report must equal
//! `NAME.txt` beside it.
//!
//! `UPDATE_GOLDEN=1 cargo test --test spec` rewrites the reports; read the difference before
//! committing it.
#![allow(clippy::unwrap_used, missing_docs)]

#[path = "spec/toy.rs"]
mod toy;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use gfm_pipe::spec::{LoadOptions, load};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/spec/bad")
}

/// Names of the files with this extension, without the extension.
fn names(ending: &str) -> BTreeSet<String> {
    let files = fs::read_dir(folder()).unwrap();
    files
        .map(|f| f.unwrap().file_name().into_string().unwrap())
        .filter_map(|f| f.strip_suffix(ending).map(str::to_owned))
        .collect()
}

fn report(name: &str) -> String {
    let opts = LoadOptions {
        base: folder(),
        ..LoadOptions::default()
    };
    match load(Path::new(&format!("{name}.yaml")), &opts, &toy::ops()) {
        Ok(_) => panic!("{name}.yaml has no mistake"),
        Err(e) => format!("{e}\n"),
    }
}

#[test]
fn bad_pipelines_give_the_reports_written_down() {
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    let mut differ = Vec::new();
    for name in names(".yaml") {
        let path = folder().join(format!("{name}.txt"));
        let now = report(&name);
        if update {
            fs::write(&path, now).unwrap();
            continue;
        }
        // The checkout may have changed line ends.
        let then = fs::read_to_string(&path)
            .unwrap_or_default()
            .replace("\r\n", "\n");
        if then != now {
            differ.push(format!(
                "== {name}.yaml: expected\n{then}== but it is\n{now}"
            ));
        }
    }
    assert!(differ.is_empty(), "{}", differ.join("\n"));
}

#[test]
fn every_bad_pipeline_has_its_report_and_every_report_its_pipeline() {
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        return;
    }
    assert_eq!(names(".yaml"), names(".txt"));
    let all: usize = names(".yaml")
        .iter()
        .map(|n| report(n).matches("error: ").count())
        .sum();
    assert!(all >= 150, "{all} mistakes");
}
