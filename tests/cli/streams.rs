//! Standard output that cannot be written, and `-` in place of a file.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::program::{copy, folder, real, text, told};

const YAML: &str = "
name: tiny
vars: {kg: family/processed/stage1/kg.txt}
stages:
  kg: {op: ingest-kg, with: {path: '{{ kg }}'}}
";

fn tiny() -> (tempfile::TempDir, PathBuf) {
    let (dir, path) = folder();
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/fixtures/family");
    copy(&fixture, &path.join("family"));
    fs::write(path.join("p.yaml"), YAML).unwrap();
    told(&mut real(&path, &["run", "p.yaml"]));
    (dir, path)
}

#[cfg(target_os = "linux")]
#[test]
fn a_result_that_cannot_be_written_is_exit_1_for_every_verb() {
    let (_dir, path) = tiny();
    for args in [
        &["--help"][..],
        &["--version"],
        &["help", "show"],
        &["audit", "family"],
        &["audit", "family", "--json"],
        &["run", "p.yaml"],
        &["run", "p.yaml", "--log-format", "json"],
        &["plan", "p.yaml"],
        &["why", "kg"],
        &["show", "kg.triples"],
        &["show", "kg.triples", "--json"],
        &["show", "kg.triples", "--path"],
        &["show", "kg.triples", "--names"],
        &["config", "p.yaml"],
        &["config", "p.yaml", "--format", "json"],
        &["config", "p.yaml", "--format", "plain"],
        &["graph", "p.yaml"],
        &["ops"],
        &["ops", "ingest-kg"],
        &["schema"],
        &["runs"],
        &["runs", "--json"],
        &["runs", "--pin", "latest"],
        &["diff", "latest", "latest"],
        &["diff", "latest", "latest", "--html", "-"],
        &["report"],
        &["report", "-o", "-"],
        &["watch", "--once"],
        &["verify"],
        &["gc", "--dry-run"],
        &["completions", "bash"],
    ] {
        let full = fs::File::options().write(true).open("/dev/full").unwrap();
        let output = real(&path, args).stdout(full).output().unwrap();
        let err = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{args:?}: {err}");
        let want =
            "error: failed to write to standard output: No space left on device (os error 28)";
        assert_eq!(err.matches(want).count(), 1, "{args:?}: {err}");
        assert!(!err.contains("panicked"), "{args:?}: {err}");
    }
    // A usage mistake is still reported as one.
    let full = fs::File::options().write(true).open("/dev/full").unwrap();
    let output = real(&path, &["show", "zzz"]).stdout(full).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
}

#[cfg(unix)]
#[test]
fn a_reader_that_went_away_is_no_failure_for_any_verb() {
    let (_dir, path) = tiny();
    for args in [
        &["--help"][..],
        &["show", "kg.triples", "--json"],
        &["config", "p.yaml"],
        &["schema"],
        &["completions", "bash"],
        &["report", "-o", "-"],
        &["watch", "--once"],
    ] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = real(&path, args).stdout(writer).output().unwrap();
        let err = String::from_utf8_lossy(&output.stderr);
        assert_eq!((output.status.code(), &*err), (Some(0), ""), "{args:?}");
    }
}

fn given(command: &mut Command, input: &str) -> Output {
    let child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = child.spawn().unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(input.as_bytes())
        .unwrap();
    child.wait_with_output().unwrap()
}

#[test]
fn a_dash_is_standard_input() {
    let (_dir, path) = tiny();
    let said = |args: &[&str], input: &str| text(&given(&mut real(&path, args), input));
    let plan = said(&["plan", "-"], YAML);
    assert!(plan.contains("0 to run, 1 cached"), "{plan}");
    let run = said(&["run", "-"], YAML);
    assert!(
        run.contains("ok: 0 ran, 1 cached") && run.ends_with("exit 0\n"),
        "{run}"
    );
    let config = said(&["config", "-"], YAML);
    assert!(config.contains("# <stdin>:5:"), "{config}");
    assert!(said(&["graph", "-"], YAML).contains("kg"));
    assert!(said(&["why", "kg", "--pipeline", "-"], YAML).contains("kg is cached"));
    assert!(said(&["show", "kg.counts", "--pipeline", "-"], YAML).contains("value"));
    let other = said(&["plan", "p.yaml", "--vars", "-"], "kg: none.txt\n");
    assert!(other.contains("none.txt"), "{other}");
    let wrong = said(&["plan", "-"], "stages: {kg: {op: zzz}}");
    assert!(wrong.contains(" --> <stdin>:1:19\n"), "{wrong}");
    assert!(
        wrong.ends_with("1 mistake in <stdin>\n--- exit 2\n"),
        "{wrong}"
    );
    let twice = said(&["plan", "-", "--vars", "-"], YAML);
    assert!(twice.contains("can be read only once"), "{twice}");
    // A file that the shell passes as `/dev/stdin` can be read, and a pipe that may never answer is
    // not waited for.
    #[cfg(target_os = "linux")]
    {
        let handed = said(&["plan", "/dev/stdin"], YAML);
        assert!(handed.contains("1 cached"), "{handed}");
        let fifo = path.join("fifo");
        if Command::new("mkfifo")
            .arg(&fifo)
            .status()
            .is_ok_and(|s| s.success())
        {
            let refused = said(&["plan", "fifo"], "");
            assert!(refused.contains("it is not a regular file"), "{refused}");
        }
    }
}

#[test]
fn a_dash_is_standard_output() {
    let (_dir, path) = tiny();
    let page = real(&path, &["report", "-o", "-"]).output().unwrap();
    assert!(page.stdout.starts_with(b"<!") && page.stdout.trim_ascii_end().ends_with(b"</html>"));
    let diff = ["diff", "latest", "latest", "--html", "-"];
    let page = real(&path, &diff).output().unwrap();
    assert!(page.stdout.trim_ascii_end().ends_with(b"</html>"));
    assert!(!path.join("-").exists());
}

#[cfg(all(feature = "gfm", feature = "static-encoder"))]
#[test]
fn pipelines_that_are_made_can_go_from_one_program_to_the_next() {
    let (_dir, path) = tiny();
    let init = real(&path, &["init", "family", "-o", "-"])
        .output()
        .unwrap();
    assert_eq!(init.status.code(), Some(0), "{}", text(&init));
    let yaml = String::from_utf8(init.stdout).unwrap();
    assert!(yaml.contains("stages:"), "{yaml}");
    let plan = text(&given(&mut real(&path, &["plan", "-"]), &yaml));
    assert!(plan.ends_with("--- exit 0\n"), "{plan}");
    assert!(!path.join("-").exists() && !path.join("pipeline.yaml").exists());
    let hydra = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/import/custom.yaml");
    let config = fs::read_to_string(&hydra).unwrap();
    let imported = given(
        &mut real(&path, &["import-config", "--lenient", "-", "-o", "-"]),
        &config,
    );
    let from_file = real(
        &path,
        &["import-config", "--lenient", hydra.to_str().unwrap()],
    )
    .output()
    .unwrap();
    let stages = |out: &Output| {
        let text = String::from_utf8_lossy(&out.stdout).into_owned();
        text.split_once("stages:")
            .map(|(_, stages)| stages.to_owned())
    };
    assert!(stages(&imported).is_some(), "{}", text(&imported));
    assert_eq!(stages(&imported), stages(&from_file));
}

#[test]
fn a_folder_is_not_a_pipeline_and_what_to_do_is_said() {
    let (_dir, path) = tiny();
    for verb in ["run", "plan", "config", "graph"] {
        let said = told(&mut real(&path, &[verb, "family"]));
        assert!(
            said.contains("error: cannot use the pipeline: it is a folder"),
            "{said}"
        );
        let hint = "= hint: `gfm-pipe init family` writes a pipeline for a folder of data";
        assert!(
            said.contains(hint) && said.ends_with("--- exit 2\n"),
            "{said}"
        );
    }
    fs::write(path.join("family/pipeline.yaml"), YAML).unwrap();
    let said = told(&mut real(&path, &["run", "family"]));
    assert!(
        said.contains("= hint: name the pipeline in it: family/pipeline.yaml"),
        "{said}"
    );
}
