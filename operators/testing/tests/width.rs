//! Comments and Markdown prose are at most 100 columns wide. Tables, code blocks and lines with an
//! address may be wider; so may generated pages.
#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

use std::fs;
use std::path::{Path, PathBuf};

const WIDTH: usize = 100;

/// Files that are generated or come from elsewhere.
const GENERATED: &[&str] = &[
    "data",
    "docs/artifacts.md",
    "docs/audit.md",
    "docs/configuration.md",
];

fn files(folder: &Path, out: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        let name = entry.file_name().into_string().unwrap_or_default();
        if entry.file_type().unwrap().is_dir() {
            if !name.starts_with('.') && !["target", "node_modules", "shared"].contains(&&*name) {
                files(&path, out);
            }
        } else if ["rs", "cu", "cuh", "md"]
            .iter()
            .any(|e| name.ends_with(&format!(".{e}")))
        {
            out.push(path);
        }
    }
}

/// Numbers of the lines that are too wide.
fn wide(text: &str, is_markdown: bool) -> Vec<usize> {
    let mut out = Vec::new();
    let (mut in_code, mut indented, mut after_blank) = (false, false, true);
    for (i, line) in text.lines().enumerate() {
        let bare = line.trim_start();
        // In Markdown, lines with four spaces after an empty one are code.
        indented = is_markdown && line.starts_with("    ") && (after_blank || indented);
        after_blank = bare.is_empty() && !indented;
        let prose = if is_markdown {
            Some(bare)
        } else {
            let mark = ["///", "//!", "//"]
                .iter()
                .find_map(|m| bare.strip_prefix(m));
            mark.map(str::trim_start)
        };
        let Some(prose) = prose else {
            in_code = false;
            continue;
        };
        if prose.starts_with("```") {
            in_code = !in_code;
        }
        let excepted = in_code || indented || prose.starts_with('|') || prose.contains("://");
        if line.chars().count() > WIDTH && !excepted {
            out.push(i + 1);
        }
    }
    out
}

#[test]
fn comments_and_prose_are_at_most_100_columns_wide() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut paths = Vec::new();
    files(&root, &mut paths);
    assert!(paths.len() > 100, "the repository is at {}", root.display());
    paths.sort();
    let mut found = Vec::new();
    for path in paths {
        let name = path.strip_prefix(&root).unwrap();
        if GENERATED.iter().any(|p| name.starts_with(p)) {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        let is_markdown = path.extension().is_some_and(|e| e == "md");
        let lines = wide(&text, is_markdown).into_iter();
        found.extend(lines.map(|n| format!("{}:{n}", name.display())));
    }
    assert!(
        found.is_empty(),
        "{} lines are wider than {WIDTH} columns:\n{}",
        found.len(),
        found.join("\n")
    );
}

#[test]
fn tables_code_and_addresses_may_be_wide() {
    let long = "x ".repeat(60);
    assert_eq!(wide(&long, true), [1]);
    assert_eq!(wide(&format!("| {long}"), true), [0usize; 0]);
    assert_eq!(wide(&format!("see https://a.b {long}"), true), [0usize; 0]);
    assert_eq!(wide(&format!("```\n{long}\n```\n{long}"), true), [4]);
    assert_eq!(wide(&format!("so:\n\n    {long}\n\n{long}"), true), [5]);
    assert_eq!(wide(&format!("- item\n    {long}"), true), [2]);
    assert_eq!(wide(&format!("let x = 1;\n    /// {long}"), false), [2]);
    assert_eq!(wide(&format!("let x = \"{long}\";"), false), [0usize; 0]);
}
