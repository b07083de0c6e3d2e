//! The examples do what they say.
#![cfg(all(unix, feature = "gfm", feature = "static-encoder"))]

use std::path::Path;
use std::process::Command;

use crate::program::{folder, real, stdout, text};

#[test]
fn a_python_script_is_a_stage() {
    if Command::new("python3").arg("--version").output().is_err() {
        gfm_pipe_testing::skip("python3", "there is no python3");
        return;
    }
    let (_dir, store) = folder();
    let store = store.join("store");
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let pipeline = "examples/python_stage/pipeline.yaml";
    let store = store.to_str().unwrap();
    let run = ["run", pipeline, "--store", store];
    let refused = real(root, &run).output().unwrap();
    assert_eq!(refused.status.code(), Some(2), "{}", text(&refused));
    let said = text(&refused);
    assert!(
        said.contains(
            "stage `once` runs a program: python3 examples/python_stage/dedupe.py both-ways"
        ),
        "{said}"
    );
    assert!(said.contains("--allow-exec"), "{said}");
    assert!(!Path::new(store).exists(), "nothing ran");

    let allowed = [&run[..], &["--allow-exec"]].concat();
    let output = real(root, &allowed).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    assert!(
        stdout(&output).contains("25 triples kept, 2 dropped"),
        "{}",
        text(&output)
    );
    // Everything is cached, so no program runs and no permission is needed.
    let output = real(root, &run).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    let why = ["why", "once", "--store", store];
    let said = stdout(&real(root, &why).output().unwrap());
    assert!(
        said.contains("file examples/python_stage/dedupe.py"),
        "{said}"
    );
}
