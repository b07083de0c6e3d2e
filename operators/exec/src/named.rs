//! Finds the files of the working directory that a command names: those that the program gets, and
//! those that it lacks.
//!
//! Invariant: an argument that is the path of a file inside the working directory counts as listed
//! under `files`, whatever characters are in it. Names inside an argument (`sh -c "python3 x.py"`,
//! `--config=x.yaml`) are looked for only after the program has failed, to add a hint to the error.

use std::path::{Component, Path, PathBuf};

use crate::tables;

/// Longest argument that may be a path, in bytes.
const LONGEST: usize = 1000;
/// Most pieces of a command and its output that are looked up for a hint.
const PIECES: usize = 2000;
/// Most files a hint names.
const SHOWN: usize = 3;
/// Folders that gfm-pipe creates in the program's working directory.
const OWN: [&str; 4] = [tables::INPUTS, tables::OUTPUTS, "tmp", "home"];

/// A path without `.` in it, so that one file has one name.
pub(crate) fn plain(text: &str) -> PathBuf {
    let parts = Path::new(text).components();
    parts.filter(|c| *c != Component::CurDir).collect()
}

/// Checks that a path stays inside the folder it is relative to, and outside the folders in
/// [`OWN`].
pub(crate) fn is_inside(text: &str) -> Result<(), String> {
    let path = plain(text);
    match path.components().next() {
        None => Err("expected a path, found nothing".to_owned()),
        Some(Component::Normal(first)) if OWN.iter().any(|own| first == *own) => Err(format!(
            "`{text}` would lie in a folder of the program's own ({}): move it to another one",
            OWN.join(", ")
        )),
        _ if path.components().all(|c| matches!(c, Component::Normal(_))) => Ok(()),
        _ => Err(format!(
            "`{text}` is not inside the working directory: the program sees copies in a folder of its own"
        )),
    }
}

/// Whether a text is the path of an existing file.
fn is_file(base: &Path, text: &str) -> bool {
    text.len() < LONGEST && is_inside(text).is_ok() && base.join(plain(text)).is_file()
}

/// Whether an argument looks like the path of a file of the user's, such as `scripts/clean.py`,
/// even if no such file exists. It is part of the stage's key, so that the stage runs again once
/// the file exists.
fn looks_like_file(argument: &str) -> bool {
    let path = Path::new(argument);
    let ending = path.extension().and_then(|e| e.to_str());
    let ending = ending.is_some_and(|e| {
        (1..=5).contains(&e.len()) && e.bytes().all(|b| b.is_ascii_alphanumeric())
    });
    let name = path
        .file_stem()
        .and_then(|s| s.to_str())
        .unwrap_or_default();
    // Lines of a script, addresses and the like are not file names.
    let letters = |c: char| c.is_alphanumeric() || "._-+@/".contains(c);
    let lengths = path.components().all(|c| c.as_os_str().len() < 200) && argument.len() < LONGEST;
    // `0.5` is a number, `-x.y` a flag.
    ending
        && lengths
        && argument.chars().all(letters)
        && !argument.starts_with('-')
        && argument.parse::<f64>().is_err()
        && !name.is_empty()
        && is_inside(argument).is_ok()
}

/// The files that the program sees, each with whether it is required: first those of `files`, which
/// are, then arguments that name files in `base`, which are not. Each file is listed once, in
/// order.
pub(crate) fn seen(files: &[String], command: &[String], base: &Path) -> Vec<(PathBuf, bool)> {
    let listed = files.iter().map(|f| (plain(f), true));
    let names_file = |a: &&String| is_file(base, a) || looks_like_file(a);
    let arguments = command.iter().filter(names_file);
    let arguments = arguments.map(|a| (plain(a), false));
    let mut out: Vec<(PathBuf, bool)> = Vec::new();
    for (file, required) in listed.chain(arguments) {
        if !out.iter().any(|(f, _)| *f == file) {
            out.push((file, required));
        }
    }
    out
}

/// A hint for a failed program: lists files in `base` that `command` or the program's output `said`
/// names and that the program did not get. `None` if there are none.
pub(crate) fn forgotten(
    command: &[String],
    said: &str,
    seen: &[(PathBuf, bool)],
    base: &Path,
) -> Option<String> {
    let told = command.iter().flat_map(|a| pieces(a));
    // Of the program's output, only pieces that look like a path: any word may happen to be the
    // name of a file.
    let speaks = said
        .lines()
        .flat_map(pieces)
        .filter(|p| p.contains(['.', '/']));
    let mut missing: Vec<String> = Vec::new();
    for piece in told.chain(speaks).take(PIECES) {
        let file = plain(piece);
        let given = seen.iter().any(|(f, _)| *f == file);
        let name = file.display().to_string();
        if !given && is_file(base, piece) && !missing.contains(&name) {
            missing.push(name);
        }
    }
    let (first, more) = (missing.first()?, missing.len() > 1);
    let names: Vec<String> = missing
        .iter()
        .take(SHOWN)
        .map(|n| format!("`{n}`"))
        .collect();
    Some(format!(
        "{} {} in the working directory, but the program sees only copies of what it is given: list {} under `files` (files: [{}])",
        names.join(", "),
        if more { "are" } else { "is" },
        if more { "them" } else { "it" },
        serde_json::Value::from(first.as_str())
    ))
}

/// Parts of a text that may be names of files: the whole text, everything in quotes, and the words
/// between white space, quotes and shell punctuation.
fn pieces(text: &str) -> Vec<&str> {
    const QUOTES: [char; 3] = ['\'', '"', '`'];
    let mut out = vec![text];
    for quote in QUOTES {
        out.extend(text.split(quote).skip(1).step_by(2));
    }
    let between = |c: char| c.is_whitespace() || QUOTES.contains(&c) || "=,;:|<>()&$".contains(c);
    let words = text.split(between).map(|w| w.trim_end_matches('.'));
    out.extend(words.filter(|w| !w.is_empty()));
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn words(words: &[&str]) -> Vec<String> {
        words.iter().map(|w| (*w).to_owned()).collect()
    }

    /// A working directory with these files.
    fn base(files: &[&str]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for file in files {
            let path = dir.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        dir
    }

    #[test]
    fn arguments_that_are_files_are_told_from_others() {
        for yes in ["scripts/clean.py", "clean.sh", "./x.json", "a/b.c/d.toml"] {
            assert!(looks_like_file(yes), "{yes}");
        }
        for no in [
            "python3",
            "0.5",
            "1e-3",
            "-x.py",
            "--out=a.json",
            "/usr/bin/x.py",
            "../x.py",
            "a/b",
            ".5",
            "a sentence. And more",
            "inputs/t/triples.parquet",
            "./outputs/x.json",
            "tmp/x.py",
            "cp a.b c.d",
            "python3 x.py > outputs/y.json",
            "http://host/x.py",
            "outputs/t/x.jsonl",
        ] {
            assert!(!looks_like_file(no), "{no}");
        }
    }

    #[test]
    fn a_file_that_is_there_is_seen_whatever_its_name() {
        let names = [
            "scripts/my clean.py",
            "it's (1).py",
            "table.parquet",
            "bin/tool",
            "-x",
            "0.5",
            "größe, neu; alt.csv",
        ];
        let dir = base(&names);
        let mut command = words(&[
            "python3",
            "a sentence. And more",
            "missing file.py",
            "later.py",
        ]);
        command.extend(words(&names));
        command.extend(words(&["scripts", "./bin/tool", "../x", "inputs/t/x.py"]));
        let seen: Vec<PathBuf> = seen(&[], &command, dir.path())
            .into_iter()
            .map(|s| s.0)
            .collect();
        let mut want = vec![PathBuf::from("later.py")];
        want.extend(names.iter().map(PathBuf::from));
        assert_eq!(seen, want);
    }

    #[test]
    fn a_failure_points_at_files_that_were_not_given() {
        let dir = base(&[
            "scripts/a.py",
            "my conf.yaml",
            "lib/x.py",
            "b.txt",
            "readme",
            "given.py",
        ]);
        let hint = |command: &[&str], said: &str| {
            let command = words(command);
            let seen = seen(&[], &command, dir.path());
            forgotten(&command, said, &seen, dir.path())
        };
        let told = hint(&["sh", "-c", "python3 scripts/a.py > outputs/x.json"], "").unwrap();
        assert_eq!(
            told,
            "`scripts/a.py` is in the working directory, but the program sees only copies of what it is given: list it under `files` (files: [\"scripts/a.py\"])"
        );
        let told = hint(&["sh", "-c", "cat './my conf.yaml' b.txt"], "").unwrap();
        assert!(told.starts_with("`my conf.yaml`, `b.txt` are in"), "{told}");
        let told = hint(&["x", "--config=lib/x.py"], "").unwrap();
        assert!(told.starts_with("`lib/x.py` is in"), "{told}");
        // A file that the program itself reports as missing.
        let said = "FileNotFoundError: [Errno 2] No such file or directory: 'my conf.yaml'";
        let told = hint(&["python3", "given.py"], said).unwrap();
        assert!(told.starts_with("`my conf.yaml` is in"), "{told}");
        // No hint for files that it got, files that do not exist, and ordinary words.
        assert_eq!(
            hint(
                &["python3", "given.py"],
                "see given.py, none.py and the readme"
            ),
            None
        );
    }
}
