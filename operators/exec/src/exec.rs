//! The operator `exec`: its parameters, and the folder that the program runs in.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use gfm_pipe_api::schema::is_name;
use gfm_pipe_api::{
    Accepts, Arity, Connected, Context, Field, InPort, InputFile, Kind, OpError, OpResult,
    Operator, OutPort, Problem, Schema, Type, intern, kinds,
};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::items::{self, Ports};
use crate::named::{self, is_inside};
use crate::process;
use crate::tables::{self, Format};

/// Runs a program.
pub struct Exec;

/// Parameters of `exec`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ExecParams {
    pub(crate) command: Vec<String>,
    outputs: BTreeMap<String, String>,
    pub(crate) files: Vec<String>,
    format: Format,
    pub(crate) env: BTreeMap<String, String>,
    pass_env: Vec<String>,
    items: Option<Unit>,
    pub(crate) columns: Vec<String>,
}

/// What an item is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Unit {
    /// A row of the input's table.
    Lines,
}

/// Whether a text is a valid name of an environment variable.
fn is_variable(text: &str) -> bool {
    !text.is_empty() && !text.contains(['=', '\0'])
}

fn variable(text: &str) -> Result<(), String> {
    if is_variable(text) {
        Ok(())
    } else {
        Err(format!("expected NAME, found `{text}`"))
    }
}

fn kind_of(name: &str) -> &'static Kind {
    let found = kinds::ALL.iter().find(|k| k.name == name);
    // The schema accepts only names of kinds, so the default is never used.
    found.copied().unwrap_or(&kinds::DATA)
}

impl Operator for Exec {
    type Params = ExecParams;
    const NAME: &'static str = "exec";
    const VERSION: u32 = 1;
    const ABOUT: &'static str = "runs a program with files for inputs and outputs";
    const SHAPED: bool = true;

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
                    check: is_name,
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
                "variables it gets besides PATH, HOME, TMPDIR and LANG; their values stand in the store",
            ),
            Field::new(
                "pass_env",
                Type::List {
                    item: Box::new(Type::Form {
                        form: "NAME",
                        check: variable,
                    }),
                    min: 0,
                },
                json!([]),
                "variables it gets with the values they have for gfm-pipe, which are written nowhere: tokens, folders of caches",
            )
            .no_effect(),
            Field::new(
                "items",
                Type::one_of(&["lines"]).or_null(),
                serde_json::Value::Null,
                "lines: the program gets only the rows whose results are not kept from earlier, one JSON \
                 object a line, and writes one line for each, in their order; one input and one output, each \
                 with one table",
            )
            .added_later(),
            Field::new(
                "columns",
                Type::List {
                    item: Box::new(Type::Text),
                    min: 0,
                },
                json!([]),
                "with `items`: the columns that the program gets; leave out ids, which change when rows come \
                 and go",
            )
            .added_later(),
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
        let inputs = connected.iter().filter(|name| is_name(name));
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

    fn check(params: &ExecParams) -> Vec<Problem> {
        if params.outputs.is_empty() {
            return vec![Problem::at(
                "outputs",
                "a stage gives something: name at least one output",
            )];
        }
        let one_table = |kind: &String| kind_of(kind).tables.len() == 1;
        let mut problems = Vec::new();
        if params.items.is_some() {
            if params.outputs.len() > 1 || !params.outputs.values().all(one_table) {
                let problem = "with `items`, there is one output, of a kind with one table";
                problems.push(Problem::at("outputs", problem));
            }
            if params.format != Format::Jsonl {
                let problem = "with `items`, the program reads lines: write `format: jsonl`";
                problems.push(Problem::at("format", problem));
            }
        } else if !params.columns.is_empty() {
            problems.push(Problem::at(
                "columns",
                "only `items: lines` chooses columns",
            ));
        }
        problems
    }

    fn check_inputs(params: &ExecParams, inputs: &Connected) -> Vec<Problem> {
        let artifacts: usize = inputs.values().map(Vec::len).sum();
        let several = params.items.is_some() && artifacts != 1;
        let problem = "with `items`, there is one input: its rows are the items";
        several
            .then(|| Problem::at_root(problem))
            .into_iter()
            .collect()
    }

    fn files(params: &ExecParams, base: &Path) -> Vec<InputFile> {
        let seen = named::seen(&params.files, &params.command, base).into_iter();
        seen.map(|(path, required)| InputFile::new(path, required))
            .collect()
    }

    fn command(params: &ExecParams) -> Option<Vec<String>> {
        Some(params.command.clone())
    }

    fn run(params: ExecParams, ctx: &Context) -> OpResult<()> {
        let ports = item_ports(&params, ctx);
        if let Some(ports) = &ports {
            // Before the folders of earlier attempts are removed.
            items::salvage(&params, ctx, ports)?;
        }
        let folder = fresh(&ctx.workdir)?;
        // Paths must not depend on this process's working directory: the program has another one.
        let folder = folder
            .canonicalize()
            .map_err(|e| OpError::wrap("failed to find", e).file(&folder))?;
        let done = attempt(&params, ctx, &folder, ports.as_ref());
        // After a failed attempt the folder is kept for inspection, but without the copies of the
        // inputs, which take the most space and show nothing new.
        let _ = match &done {
            Ok(()) => fs::remove_dir_all(&folder),
            Err(_) => fs::remove_dir_all(folder.join(tables::INPUTS)),
        };
        done
    }
}

/// The input and the output of a stage with items.
fn item_ports<'a>(params: &'a ExecParams, ctx: &'a Context) -> Option<Ports<'a>> {
    params.items?;
    let (input, artifacts) = ctx.inputs.iter().next()?;
    let (output, kind) = params.outputs.iter().next()?;
    Some(Ports {
        input,
        artifact: artifacts.first()?,
        output,
        kind: kind_of(kind),
    })
}

fn attempt(
    params: &ExecParams,
    ctx: &Context,
    folder: &Path,
    items: Option<&Ports<'_>>,
) -> OpResult<()> {
    let seen = named::seen(&params.files, &params.command, &ctx.base);
    for (file, required) in &seen {
        let from = ctx.path(file);
        if *required || from.is_file() {
            tables::copy(&from, &folder.join(file))?;
        }
    }
    for (port, artifacts) in ctx.inputs.iter().filter(|_| items.is_none()) {
        for artifact in artifacts {
            let folder = folder.join(tables::INPUTS).join(port);
            tables::give(ctx, artifact, &folder, params.format)?;
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
        passed: &params.pass_env,
        folder,
    };
    let run = || {
        process::run(ctx, &command).map_err(|e| {
            match named::forgotten(&params.command, &e.to_string(), &seen, &ctx.base) {
                Some(hint) => e.hint(hint),
                None => e,
            }
        })
    };
    match items {
        Some(ports) => items::attempt(params, ctx, folder, ports, run)?,
        None => run()?,
    }
    for (port, kind) in &params.outputs {
        let folder = folder.join(tables::OUTPUTS).join(port);
        tables::take(ctx, port, kind_of(kind), &folder)?;
    }
    Ok(())
}

/// The folders of earlier attempts.
pub(crate) fn earlier(workdir: &Path) -> Vec<PathBuf> {
    let old = fs::read_dir(workdir).into_iter().flatten().flatten();
    let old = old.filter(|e| e.file_name().to_string_lossy().starts_with("exec-"));
    old.map(|e| e.path()).collect()
}

/// Creates a new folder for an attempt. Folders of earlier attempts are removed as far as possible:
/// they may be read-only, and a program whose gfm-pipe was killed may still be writing there.
fn fresh(workdir: &Path) -> OpResult<PathBuf> {
    for folder in earlier(workdir) {
        let _ = fs::remove_dir_all(folder);
    }
    for n in 0.. {
        let folder = workdir.join(format!("exec-{}-{n}", std::process::id()));
        match fs::create_dir(&folder) {
            Ok(()) => return Ok(folder),
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists && n < 10_000 => {}
            Err(e) => return Err(OpError::wrap("failed to create", e).file(folder)),
        }
    }
    Err(OpError::resource("no folder for the program"))
}

fn create(folder: &Path) -> OpResult<()> {
    fs::create_dir_all(folder).map_err(|e| OpError::wrap("failed to create", e).file(folder))
}
