//! The output of `gfm-pipe audit`.

use std::fs;
use std::path::{Path, PathBuf};

use insta::assert_snapshot;
use serde_json::Value;

use crate::program::{copy, filters, folder, real, stdout, text, told};

/// A temporary folder with copies of these fixtures.
fn fixtures(names: &[&str]) -> (tempfile::TempDir, PathBuf) {
    let (dir, path) = folder();
    let all = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/fixtures");
    for name in names {
        copy(&all.join(name), &path.join(name));
    }
    (dir, path)
}

/// Runs a command; returns standard output, standard error and the exit code.
fn run(path: &Path, args: &[&str]) -> (String, String, i32) {
    let output = real(path, args).output().unwrap();
    let err = String::from_utf8_lossy(&output.stderr).into_owned();
    (stdout(&output), err, output.status.code().unwrap())
}

#[test]
fn a_verdict_says_what_is_wrong_and_where() {
    let (_dir, path) = fixtures(&["faults"]);
    filters().bind(|| {
        assert_snapshot!("audit_faults", told(&mut real(&path, &["audit", "faults"])));
    });
    // The second time nothing is computed, and the verdict is the same.
    let (first, _, _) = run(&path, &["audit", "faults"]);
    let (again, progress, code) = run(&path, &["audit", "faults"]);
    assert_eq!((&first, code), (&again, 0));
    assert_eq!(progress.matches(" cached ").count(), 3, "{progress}");
    // When a line moves, the audit reports its new place.
    let kg = path.join("faults/processed/stage1/kg.txt");
    let moved = format!("\n\n{}", fs::read_to_string(&kg).unwrap());
    fs::write(&kg, moved).unwrap();
    let (later, _, _) = run(&path, &["audit", "faults"]);
    assert!(later.contains("kg.txt:6: expected 3 fields"), "{later}");
    assert!(!later.contains("kg.txt:4: expected 3 fields"), "{later}");
}

#[test]
fn clean_data_is_fit_to_train() {
    let (_dir, path) = fixtures(&["family"]);
    filters().bind(|| {
        assert_snapshot!("audit_family", told(&mut real(&path, &["audit", "family"])));
    });
    let (_, said, code) = run(&path, &["audit", "family", "--strict=warnings"]);
    assert_eq!(code, 0, "{said}");
}

#[test]
fn a_graph_of_gfm_rag_2_has_its_faults_named_with_file_and_line() {
    let (_dir, path) = folder();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    copy(
        &root.join("operators/kg/tests/parity2/graph_files/datasets/tricky"),
        &path.join("tricky"),
    );
    filters().bind(|| {
        assert_snapshot!("audit_typed", told(&mut real(&path, &["audit", "tricky"])));
    });
    let yaml = "stages: {typed: {op: ingest-graph, with: {root: tricky, dataset: tricky}}}";
    fs::write(path.join("p.yaml"), yaml).unwrap();
    let (folder, ..) = run(&path, &["audit", "tricky", "--all"]);
    let (pipeline, err, code) = run(&path, &["audit", "p.yaml", "--all"]);
    assert_eq!(code, 0, "{err}");
    assert_eq!(folder, pipeline);
    assert!(
        folder.contains("tricky/processed/stage1/edges.csv:"),
        "{folder}"
    );
}

#[test]
fn documents_without_questions_are_looked_over() {
    let (_dir, path) = fixtures(&["family"]);
    for split in ["train", "valid", "test"] {
        let file = format!("family/processed/stage1/{split}.json");
        fs::remove_file(path.join(file)).unwrap();
    }
    let strict = ["audit", "family", "--strict=empty-document"];
    let (_, said, code) = run(&path, &strict);
    assert_eq!(code, 0, "{said}");
    let corpus = path.join("family/raw/dataset_corpus.json");
    let mut texts: Value = serde_json::from_str(&fs::read_to_string(&corpus).unwrap()).unwrap();
    *texts.as_object_mut().unwrap().values_mut().next().unwrap() = "".into();
    fs::write(&corpus, texts.to_string()).unwrap();
    let (told, said, code) = run(&path, &strict);
    assert_eq!(code, 1, "{told}{said}");
    assert!(told.contains("empty-document"), "{told}");
}

#[test]
fn strict_decides_the_exit_code() {
    let (_dir, path) = fixtures(&["faults"]);
    let strict = |flag: &str| run(&path, &["audit", flag, "faults"]);
    for (flag, code, said) in [
        (
            "--strict",
            1,
            "faults: forbidden by --strict: rejected-triple (1), ",
        ),
        (
            "--strict=self-loop",
            1,
            "faults: forbidden by --strict: self-loop (1)",
        ),
        (
            "--strict=errors,self-loop",
            1,
            "leaked-question (1), self-loop (1)",
        ),
        (
            "--strict=leaked-qestion",
            2,
            "did you mean `leaked-question`?",
        ),
    ] {
        let (_, err, got) = strict(flag);
        assert_eq!(got, code, "{flag}: {err}");
        assert!(err.contains(said), "{flag}: {err}");
    }
    fs::remove_dir_all(path.join("faults/raw")).unwrap();
    let (_, err, code) = strict("--strict=leaked-question");
    assert_eq!(code, 1);
    assert!(err.contains("leaked-question (not checked)"), "{err}");
}

#[test]
fn every_finding_is_printed_where_that_is_asked_for() {
    let (_dir, path) = fixtures(&["faults", "family"]);
    let (some, ..) = run(&path, &["audit", "faults"]);
    let (all, ..) = run(&path, &["audit", "faults", "--all"]);
    let rare = "kg.txt:16: Works As: a single triple has this relation";
    assert!(!some.contains(rare) && all.contains(rare), "{all}");
    let (json, err, code) = run(&path, &["audit", ".", "--json", "--layers", "0"]);
    assert_eq!(code, 0, "{err}");
    let json: Value = serde_json::from_str(&json).unwrap();
    let sets = json["sets"].as_array().unwrap();
    let names: Vec<&str> = sets.iter().map(|s| s["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["./family", "./faults"]);
    assert_eq!(sets[0]["statistics"]["triples"], 69.0);
    for set in sets {
        let counted: u64 = set["summary"]
            .as_array()
            .unwrap()
            .iter()
            .map(|row| row["count"].as_u64().unwrap())
            .sum();
        let findings = set["findings"].as_array().unwrap();
        assert_eq!(findings.len() as u64, counted);
        for f in findings {
            let file = f["file"].as_str().unwrap();
            assert!(path.join(file).is_file(), "{f}");
        }
        // If the model looks zero hops far, most gold documents are out of reach.
        assert!(findings.iter().any(|f| f["check"] == "unreachable-gold"));
    }
}

#[test]
fn a_pipeline_is_audited_as_it_reads_its_data() {
    let (_dir, path) = fixtures(&["faults"]);
    let yaml = "name: p
vars: {data: nowhere}
stages:
  graph: {op: ingest-kg, with: {path: '{{ data }}/processed/stage1/kg.txt'}}
  asked: {op: ingest-qa, in: {entities: graph.entities}, with: {root: '{{ data }}', dataset: x}}
  rest: {op: ingest-kg, with: {path: other.txt}}
";
    fs::write(path.join("p.yaml"), yaml).unwrap();
    fs::write(path.join("other.txt"), "a,r,b\nc,r\n").unwrap();
    let (out, err, code) = run(&path, &["audit", "p.yaml", "-p", "data=faults"]);
    assert_eq!(code, 0, "{err}");
    assert!(
        out.contains("faults: not fit: 11 errors, 23 warnings\n"),
        "{out}"
    );
    assert!(
        out.contains("  other.txt:2: expected 3 fields separated by commas, found 2: c,r\n"),
        "{out}"
    );
    assert!(out.ends_with("other.txt: not fit: 1 error\n"), "{out}");
    // A run uses the stored results of the audit's stages.
    let (out, err, code) = run(&path, &["run", "p.yaml", "-p", "data=faults"]);
    assert_eq!(code, 0, "{err}");
    assert!(out.contains("ok: 0 ran, 3 cached"), "{out}");

    // If one graph's file is missing, the other data is still audited.
    fs::remove_file(path.join("other.txt")).unwrap();
    let (out, err, code) = run(&path, &["audit", "p.yaml", "-p", "data=faults"]);
    assert_eq!(code, 1);
    assert!(err.contains("other.txt"), "{err}");
    assert!(
        out.ends_with("faults: not fit: 11 errors, 23 warnings\n"),
        "{out}"
    );
}

#[test]
fn a_strict_stage_fails_and_keeps_its_tables() {
    let (_dir, path) = fixtures(&["faults"]);
    let yaml = "name: p
stages:
  kg: {op: ingest-kg, with: {path: faults/processed/stage1/kg.txt}}
  look:
    op: audit
    in: {entities: kg.entities, triples: kg.triples, relations: kg.relations, rejects: kg.rejects, places: kg.places}
    with: {strict: [rejected-triple]}
";
    fs::write(path.join("p.yaml"), yaml).unwrap();
    let fails = || {
        let output = real(&path, &["run", "p.yaml"]).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        let told = text(&output);
        assert!(
            told.contains("what `strict` forbids: rejected-triple (1)"),
            "{told}"
        );
        assert!(
            told.contains("rejected-triple: kg.txt:4: expected 3 fields"),
            "{told}"
        );
    };
    fails();
    let (shown, err, code) = run(&path, &["show", "look.findings", "-n", "1"]);
    assert_eq!(code, 0, "{err}");
    assert!(shown.contains("rejected-triple"), "{shown}");
    // A cached audit fails again; without `strict` the run succeeds at once.
    fails();
    let (out, err, code) = run(&path, &["run", "p.yaml", "--set", "look.with.strict=[]"]);
    assert_eq!(code, 0, "{err}");
    assert!(out.contains("ok: 0 ran, 2 cached"), "{out}");
}

#[test]
fn what_cannot_be_audited_is_refused() {
    let (_dir, path) = fixtures(&["family"]);
    fs::create_dir(path.join("empty")).unwrap();
    fs::write(
        path.join("p.yaml"),
        "stages: {x: {op: exec, with: {command: [x], outputs: {d: data}}}}",
    )
    .unwrap();
    for (args, said) in [
        (
            &["audit", "empty"][..],
            "found no graph (processed/stage1/kg.txt, processed/stage1/nodes.csv or kg.txt) and no documents",
        ),
        (&["audit", "p.yaml"], "no stage reads data"),
        (&["audit", "family", "-p", "a=b"], "this is a folder"),
        (&["audit", "nowhere"], "nowhere"),
    ] {
        let (_, err, code) = run(&path, args);
        assert_eq!(code, 2, "{err}");
        assert!(err.contains(said), "{err}");
    }
}

#[test]
fn what_was_not_there_is_said_and_forbidden() {
    let (_dir, path) = fixtures(&["family"]);
    fs::rename(
        path.join("family/raw/dataset_corpus.json"),
        path.join("family/raw/corpus.json"),
    )
    .unwrap();
    let (out, err, code) = run(&path, &["audit", "family"]);
    assert_eq!(code, 0, "{err}");
    assert!(
        out.contains("not there, not looked at: raw/dataset_corpus.json"),
        "{out}"
    );
    assert!(out.contains("checks not made"), "{out}");
    let (_, err, code) = run(&path, &["audit", "family", "--strict"]);
    assert_eq!(code, 1, "{err}");
    assert!(err.contains("questions were not read"), "{err}");
    let (json, _, _) = run(&path, &["audit", "family", "--json"]);
    let json: Value = serde_json::from_str(&json).unwrap();
    let set = &json["sets"][0];
    assert!(set["checks_not_made"].as_u64().unwrap() > 5, "{set}");
    assert!(!set["not_there"].as_array().unwrap().is_empty(), "{set}");
}

#[test]
fn an_audit_is_no_run() {
    let (_dir, path) = fixtures(&["family"]);
    let yaml = "stages: {kg: {op: ingest-kg, with: {path: family/processed/stage1/kg.txt}}}";
    fs::write(path.join("p.yaml"), yaml).unwrap();
    let (_, err, code) = run(&path, &["run", "p.yaml"]);
    assert_eq!(code, 0, "{err}");
    let (before, _, _) = run(&path, &["runs", "--json"]);
    for _ in 0..3 {
        let (_, err, code) = run(&path, &["audit", "family"]);
        assert_eq!(code, 0, "{err}");
    }
    let (after, _, _) = run(&path, &["runs", "--json"]);
    assert_eq!(before, after);
    let (shown, err, code) = run(&path, &["show", "kg.counts"]);
    assert_eq!(code, 0, "{err}");
    assert!(shown.contains("triples"), "{shown}");
}

#[test]
fn a_folder_of_documents_is_audited_with_a_graph_that_is_made_of_it() {
    let (_dir, path) = fixtures(&["faults-documents"]);
    let (told, said, code) = run(&path, &["audit", "faults-documents/docs"]);
    assert_eq!(code, 0, "{said}");
    for line in [
        "faults-documents/docs/plan.pdf: PDF is not read",
        "faults-documents/docs/rye mill.txt: rye mill: shares",
        "faults-documents/docs/ada.txt: ada: begins or ends with `Written for the almanac of Quillmouth.`",
        "near-duplicate-document: 1 of 13 documents",
    ] {
        assert!(told.contains(line), "{line}: {told}");
    }
    let strict = ["audit", "faults-documents/docs", "--strict=boilerplate"];
    let (_, said, code) = run(&path, &strict);
    assert_eq!(code, 1);
    assert!(
        said.contains("forbidden by --strict: boilerplate (1)"),
        "{said}"
    );
}
