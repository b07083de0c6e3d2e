//! The first rule of ARCHITECTURE.md: the engine knows operators only through `operators/api`.

#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

use std::fs;
use std::path::{Path, PathBuf};

/// Collects the sources below a folder, with their paths relative to `root`.
fn sources(root: &Path, folder: &Path, out: &mut Vec<(PathBuf, String)>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(root, &path, out);
        } else if path.extension().is_some_and(|e| e == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            out.push((path.strip_prefix(root).unwrap().to_owned(), text));
        }
    }
}

/// Names of the crates under `operators/`, as they are written in code.
fn crates(root: &Path) -> Vec<String> {
    let entries = fs::read_dir(root.join("operators")).unwrap();
    let names = entries.map(|e| e.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.map(|name| format!("gfm_pipe_{name}")).collect();
    names.sort();
    names
}

/// Whether a file may name this crate of operators.
fn allowed(file: &Path, name: &str) -> bool {
    let below = |folders: &[&str]| folders.iter().any(|f| file.starts_with(f));
    match name {
        // `testing` is a dev-dependency, so only tests can name it.
        "gfm_pipe_api" | "gfm_pipe_testing" => true,
        "gfm_pipe_ranks" => below(&["ranks"]),
        "gfm_pipe_serve" => below(&["cli/serve.rs"]),
        "gfm_pipe_eval" => below(&["registry.rs", "record", "report", "ui"]),
        _ => below(&["registry.rs"]),
    }
}

#[test]
fn only_the_registry_names_crates_of_operators() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let crates = crates(root);
    assert!(
        crates.iter().any(|name| name == "gfm_pipe_kg"),
        "{crates:?}"
    );
    let (src, mut files) = (root.join("src"), Vec::new());
    sources(&src, &src, &mut files);
    assert!(files.len() > 50, "{} files", files.len());
    let mut wrong = Vec::new();
    for (file, text) in &files {
        for name in crates.iter().filter(|name| !allowed(file, name)) {
            if text.contains(name.as_str()) {
                wrong.push(format!("src/{}: {name}", file.display()));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "only src/registry.rs may name crates of operators (ARCHITECTURE.md): {wrong:#?}"
    );
}
