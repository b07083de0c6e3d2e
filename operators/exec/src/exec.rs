//! `exec`: what a pipeline says of a program, and the folder it runs in.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Component, Path, PathBuf};

use gfm_pipe_api::{
    Accepts, Arity, Context, Field, InPort, InputFile, Kind, OpError, OpResult, Operator, OutPort,
    Schema, Type, intern, kinds,
};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::process;
use crate::tables::{self, Format};

/// Runs a program.
pub struct Exec;

/// What the pipeline says.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ExecParams {
    command: Vec<String>,
    outputs: BTreeMap<String, String>,
    files: Vec<String>,
    format: Format,
    env: BTreeMap<String, String>,
}

/// Whether a text may name a port: it becomes a folder.
fn is_port(text: &str) -> bool {
    let starts = text.starts_with(|c: char| c.is_ascii_alphabetic());
    let rest = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    starts && text.len() <= 100 && text.chars().all(rest)
}

/// Whether a text may name a variable that the program gets.
fn is_variable(text: &str) -> bool {
    !text.is_empty() && !text.contains(['=', '\0'])
}

/// Whether a path stays inside the folder it is relative to, and can be a copy there.
fn is_inside(text: &str) -> Result<(), String> {
    let plain = |c| matches!(c, Component::Normal(_) | Component::CurDir);
    let path = Path::new(text);
    match path.components().next() {
        None => Err("expected a path, found nothing".to_owned()),
        Some(Component::Normal(first)) if first == tables::INPUTS || first == tables::OUTPUTS => {
            Err(format!(
                "`{text}` would lie among the program's inputs or outputs: move it to another folder"
            ))
        }
        _ if path.components().all(plain) => Ok(()),
        _ => Err(format!(
            "`{text}` is not inside the working directory: the program sees copies in a folder of its own"
        )),
    }
}

/// Whether an argument of a command looks like a file of the user's: `scripts/clean.py`.
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
    // `0.5` is a number, `-x.y` a flag.
    ending
        && !argument.starts_with('-')
        && argument.parse::<f64>().is_err()
        && !name.is_empty()
        && is_inside(argument).is_ok()
}

impl ExecParams {
    /// Files the program sees: those named, and arguments that are files; each once, in order.
    fn seen(&self) -> Vec<(&str, bool)> {
        let mut out: Vec<(&str, bool)> = self.files.iter().map(|f| (f.as_str(), true)).collect();
        for argument in self.command.iter().filter(|a| looks_like_file(a)) {
            if !out.iter().any(|(f, _)| f == argument) {
                out.push((argument, false));
            }
        }
        out
    }
}

fn kind_of(name: &str) -> &'static Kind {
    let found = kinds::ALL.iter().find(|k| k.name == name);
    // The schema lets no other name through.
    found.copied().unwrap_or(&kinds::DATA)
}

impl Operator for Exec {
    type Params = ExecParams;
    const NAME: &'static str = "exec";
    const VERSION: u32 = 1;
    const ABOUT: &'static str = "runs a program with files for inputs and outputs";
    const SHAPED: bool = true;
    const RUNS_COMMANDS: bool = true;

    fn schema() -> Schema {
        Schema::new(vec![
            Field::required(
                "command",
                Type::list(Type::Word),
                "program and arguments; no shell is asked. Arguments that name files of the working directory \
                 (scripts/clean.py) count as listed under `files`",
            ),
            Field::required(
                "outputs",
                Type::Map {
                    key: "a port (a letter, then letters, digits, `_` and `-`)",
                    check: is_port,
                    value: Box::new(Type::one_of(&kinds::NAMES)),
                },
                "what it writes: PORT: KIND. Each table of the kind is outputs/PORT/TABLE.parquet or TABLE.jsonl",
            ),
            Field::new(
                "files",
                Type::List {
                    item: Box::new(Type::Form {
                        form: "a path inside the working directory",
                        check: is_inside,
                    }),
                    min: 0,
                },
                json!([]),
                "files it reads besides its inputs; it gets copies, and runs again when one changes",
            ),
            Field::new(
                "format",
                Type::one_of(&["parquet", "jsonl"]),
                "parquet",
                "form of the inputs: inputs/PORT/TABLE.parquet or .jsonl",
            ),
            Field::new(
                "env",
                Type::Map {
                    key: "NAME",
                    check: is_variable,
                    value: Box::new(Type::Word),
                },
                json!({}),
                "variables it gets besides PATH, HOME, TMPDIR and LANG",
            ),
        ])
    }

    fn inputs() -> Vec<InPort> {
        vec![InPort {
            name: "NAME",
            accepts: Accepts::Any,
            arity: Arity::Optional,
            about: "any number of inputs, under names of your choice",
        }]
    }

    fn outputs() -> Vec<OutPort> {
        vec![OutPort {
            name: "NAME",
            kind: &kinds::DATA,
            about: "any number of outputs, of the kinds that `outputs` gives",
        }]
    }

    fn ports(params: &ExecParams, connected: &[&str]) -> (Vec<InPort>, Vec<OutPort>) {
        let inputs = connected.iter().filter(|name| is_port(name));
        let inputs = inputs.map(|name| InPort {
            name: intern(name),
            accepts: Accepts::Any,
            arity: Arity::One,
            about: "an input of the program",
        });
        let outputs = params.outputs.iter().map(|(name, kind)| OutPort {
            name: intern(name),
            kind: kind_of(kind),
            about: "an output of the program",
        });
        (inputs.collect(), outputs.collect())
    }

    fn check(params: &ExecParams) -> Vec<gfm_pipe_api::Problem> {
        if params.outputs.is_empty() {
            return vec![gfm_pipe_api::Problem::at(
                "outputs",
                "a stage gives something: name at least one output",
            )];
        }
        Vec::new()
    }

    fn files(params: &ExecParams) -> Vec<InputFile> {
        let seen = params.seen().into_iter();
        seen.map(|(file, required)| InputFile {
            path: PathBuf::from(file),
            required,
        })
        .collect()
    }

    fn run(params: ExecParams, ctx: &Context) -> OpResult<()> {
        // What a killed attempt left is no part of this one.
        let folder = ctx.workdir.join("exec");
        remove(&folder)?;
        create(&folder)?;
        // The program stands in another folder than this process: its paths must not depend on where.
        let folder = folder
            .canonicalize()
            .map_err(|e| OpError::wrap("failed to find", e).file(&folder))?;
        for (file, required) in params.seen() {
            let from = ctx.path(file);
            if required || from.is_file() {
                tables::copy(&from, &folder.join(file))?;
            }
        }
        for (port, artifacts) in &ctx.inputs {
            for artifact in artifacts {
                tables::give(
                    ctx,
                    artifact,
                    &folder.join(tables::INPUTS).join(port),
                    params.format,
                )?;
            }
        }
        for name in ["tmp", "home"] {
            create(&folder.join(name))?;
        }
        for port in params.outputs.keys() {
            create(&folder.join(tables::OUTPUTS).join(port))?;
        }
        let command = process::Command {
            words: &params.command,
            env: &params.env,
            folder: &folder,
        };
        process::run(ctx, &command)?;
        for (port, kind) in &params.outputs {
            tables::take(
                ctx,
                port,
                kind_of(kind),
                &folder.join(tables::OUTPUTS).join(port),
            )?;
        }
        remove(&folder)
    }
}

fn create(folder: &Path) -> OpResult<()> {
    fs::create_dir_all(folder).map_err(|e| OpError::wrap("failed to create", e).file(folder))
}

fn remove(folder: &Path) -> OpResult<()> {
    match fs::remove_dir_all(folder) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            Err(OpError::wrap("failed to remove", e).file(folder))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
            "outputs/t/x.jsonl",
        ] {
            assert!(!looks_like_file(no), "{no}");
        }
    }

    #[test]
    fn names_of_ports_are_names_of_folders() {
        for yes in ["triples", "a-1", "B_2"] {
            assert!(is_port(yes), "{yes}");
        }
        for no in ["", "..", "a/b", "1a", "a b", "ä", "a.b"] {
            assert!(!is_port(no), "{no}");
        }
    }
}
