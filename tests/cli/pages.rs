//! The commands of the pages that a new user follows work as they stand there, from the top to the
//! bottom, in an empty folder, and print what the pages show.
//!
//! Blocks marked `sh` are run; those marked `sh no-test` are not, nor is what they print looked at.
//! Of a block marked `text`, a line with `…` stands for lines that the page leaves out. Numbers and
//! keys may differ: they depend on the machine.
#![cfg(all(unix, feature = "gfm", feature = "static-encoder", feature = "english"))]

use std::fs;
use std::path::Path;
use std::process::Command;

use pulldown_cmark::{CodeBlockKind, Event, Parser, Tag, TagEnd};

use crate::program::{folder, text};

/// The commands of a page that are run, and the lines that they print according to it.
fn read(page: &str) -> (String, Vec<String>) {
    let (mut commands, mut shown) = (String::new(), Vec::new());
    let mut info: Option<String> = None;
    let mut skipped = false;
    for event in Parser::new(page) {
        match event {
            Event::Start(Tag::CodeBlock(CodeBlockKind::Fenced(kind))) => {
                if kind.starts_with("sh") {
                    skipped = &*kind == "sh no-test";
                    assert!(skipped || &*kind == "sh", "{kind}");
                }
                info = Some(kind.to_string());
            }
            Event::End(TagEnd::CodeBlock) => info = None,
            Event::Text(text) => match info.as_deref() {
                Some("sh") => commands.push_str(&text),
                Some("text") if !skipped => {
                    let lines = text.lines().filter(|line| !line.contains('…'));
                    shown.extend(lines.map(plain));
                }
                _ => {}
            },
            _ => {}
        }
    }
    (commands, shown)
}

/// A line without what differs from machine to machine.
fn plain(line: &str) -> String {
    let words = line.split_whitespace().map(|word| {
        let is_key = word.len() == 8 && word.bytes().all(|b| b.is_ascii_hexdigit());
        if is_key {
            return "KEY".to_owned();
        }
        let mut out = String::new();
        for c in word.chars() {
            // A number may be negative, and of any length.
            match c {
                '0'..='9' | '-' if out.ends_with('#') => {}
                '0'..='9' => out.push('#'),
                c => out.push(c),
            }
        }
        out.replace("#.#", "#")
            .replace("#,#", "#")
            .replace("-#", "#")
    });
    let words: Vec<String> = words.collect();
    words.join(" ")
}

fn check(page: &str) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let written = fs::read_to_string(root.join("docs").join(page)).unwrap();
    let (commands, shown) = read(&written);
    assert!(commands.lines().count() > 5 && shown.len() > 10, "{page}");
    let (_dir, path) = folder();
    let bin = Path::new(env!("CARGO_BIN_EXE_gfm-pipe")).parent().unwrap();
    let output = Command::new("bash")
        .args(["-ec", &commands])
        .current_dir(&path)
        .env(
            "PATH",
            format!("{}:{}", bin.display(), std::env::var("PATH").unwrap()),
        )
        .env("NO_COLOR", "1")
        .env("COLUMNS", "100")
        .env_remove("GFM_PIPE_LOG")
        .env_remove("GFM_PIPE_REMOTE")
        .output()
        .unwrap();
    let said = text(&output);
    assert!(output.status.success(), "{page}: {said}");
    let printed: Vec<String> = said.lines().map(plain).collect();
    let missing: Vec<&String> = shown
        .iter()
        .filter(|line| !printed.contains(line))
        .collect();
    assert!(
        missing.is_empty(),
        "docs/{page} shows lines that are not printed: {missing:#?}\n{said}"
    );
}

#[test]
fn the_first_ten_minutes() {
    check("first-ten-minutes.md");
}

#[test]
fn a_graph_of_ones_own() {
    check("your-graph.md");
}
