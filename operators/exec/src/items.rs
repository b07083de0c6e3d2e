//! `items: lines`: each row of the input is an item. The program gets the rows whose results are
//! not kept from earlier, one JSON object a line, and writes one line for each, in their order.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use arrow::json::WriterBuilder;
use arrow::json::writer::LineDelimited;
use gfm_pipe_api::items::{Id, ItemFunction, Work};
use gfm_pipe_api::{Artifact, Context, Kind, OpError, OpResult, TableSpec, files};
use serde_json::{Map, Value};

use crate::exec::{ExecParams, earlier};
use crate::{named, rows, tables};

/// From a line of the input to the line that the program wrote for it.
const LINE: ItemFunction = ItemFunction {
    name: "exec",
    version: 1,
};

/// The input and the output of a stage with items.
pub(crate) struct Ports<'a> {
    pub(crate) input: &'a str,
    pub(crate) artifact: &'a Artifact,
    pub(crate) output: &'a str,
    pub(crate) kind: &'static Kind,
}

impl Ports<'_> {
    fn table(&self) -> &'static TableSpec {
        &self.kind.tables[0]
    }

    /// The file that the program reads.
    fn given(&self, folder: &Path) -> PathBuf {
        let folder = folder.join(tables::INPUTS).join(self.input);
        folder.join(format!("{}.jsonl", self.artifact.kind.tables[0].name))
    }

    /// The file that the program writes.
    fn taken(&self, folder: &Path) -> PathBuf {
        let folder = folder.join(tables::OUTPUTS).join(self.output);
        folder.join(format!("{}.jsonl", self.table().name))
    }
}

/// Computes the items that are missing with `run`, which runs the program in `folder`, and writes
/// all results to the output.
///
/// # Errors
/// When the program fails, or does not write a line for each line. What it wrote before it failed
/// is kept.
pub(crate) fn attempt(
    params: &ExecParams,
    ctx: &Context,
    folder: &Path,
    ports: &Ports<'_>,
    run: impl FnOnce() -> OpResult<()>,
) -> OpResult<()> {
    let lines = lines(ports.artifact, &params.columns)?;
    let mut work = open(params, ctx, ports)?;
    let ids: Vec<Id> = lines.iter().map(|line| work.id(&[line])).collect();
    let mut results: HashMap<Id, String> = HashMap::new();
    work.read(&ids, |i, bytes| {
        if let Ok(line) = std::str::from_utf8(bytes) {
            results.insert(ids[i], line.to_owned());
        }
    });
    // Equal lines are one item.
    let mut missing: Vec<usize> = Vec::new();
    let mut asked = HashSet::new();
    for (i, id) in ids.iter().enumerate() {
        if !results.contains_key(id) && asked.insert(*id) {
            missing.push(i);
        }
    }
    let output = ports.taken(folder);
    if !missing.is_empty() {
        give(folder, ports, missing.iter().map(|i| lines[*i].as_str()))?;
        let ran = run();
        let whole = ran.is_ok();
        let new = written(&output, ports.table(), missing.len(), whole);
        // The error of the program says more than what it left unfinished.
        let new = match ran {
            Ok(()) => new?,
            Err(e) => {
                keep(ctx, &mut work, &ids, &missing, &new.unwrap_or_default());
                return Err(e);
            }
        };
        keep(ctx, &mut work, &ids, &missing, &new);
        results.extend(missing.iter().map(|i| ids[*i]).zip(new));
    }
    work.computed(missing.len());
    for (line, id) in lines.iter().zip(&ids) {
        work.used(&name_of(line), *id);
    }
    write(&output, ids.iter().filter_map(|id| results.get(id)))
}

/// Keeps what the programs of killed attempts had written: their folders are still there.
///
/// # Errors
/// When a file that the results depend on cannot be read.
pub(crate) fn salvage(params: &ExecParams, ctx: &Context, ports: &Ports<'_>) -> OpResult<()> {
    let folders = earlier(&ctx.workdir);
    if folders.is_empty() {
        return Ok(());
    }
    let mut work = open(params, ctx, ports)?;
    for folder in folders {
        let given = files::read_text(&ports.given(&folder)).unwrap_or_default();
        let given: Vec<&str> = given.lines().collect();
        let new = written(&ports.taken(&folder), ports.table(), given.len(), false);
        let ids: Vec<Id> = given.iter().map(|line| work.id(&[line])).collect();
        let all: Vec<usize> = (0..ids.len()).collect();
        keep(ctx, &mut work, &ids, &all, &new.unwrap_or_default());
    }
    Ok(())
}

fn keep(ctx: &Context, work: &mut Work<'_>, ids: &[Id], missing: &[usize], new: &[String]) {
    let results = missing.iter().zip(new);
    let results: Vec<(Id, Vec<u8>)> = results
        .map(|(i, line)| (ids[*i], line.clone().into_bytes()))
        .collect();
    work.keep(&results);
    if let Some(trouble) = work.trouble() {
        ctx.warn(trouble.to_string());
    }
}

/// Opens the items. All of them depend on the command, the content of the files that the program
/// sees, and the form of its input and output.
fn open<'a>(params: &ExecParams, ctx: &'a Context, ports: &Ports<'_>) -> OpResult<Work<'a>> {
    let mut shared = vec![
        serde_json::to_string(&(&params.command, &params.env)).unwrap_or_default(),
        format!("{} {} {}", ports.input, ports.output, ports.kind.name),
        ports.artifact.kind.name.to_owned(),
    ];
    for (file, _) in named::seen(&params.files, &params.command, &ctx.base) {
        let path = ctx.path(&file);
        let digest = match files::digest_of(&path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => "absent".to_owned(),
            digest => digest.map_err(|e| OpError::wrap("failed to read", e).file(&file))?,
        };
        shared.push(format!("{} {digest}", file.display()));
    }
    let shared: Vec<&str> = shared.iter().map(String::as_str).collect();
    Ok(ctx.items.open(&LINE, &shared))
}

/// The rows of the artifact's table as JSON, with these columns; all if none are named.
fn lines(artifact: &Artifact, columns: &[String]) -> OpResult<Vec<String>> {
    let table = artifact.kind.tables[0].name;
    let mut bytes = Vec::new();
    let mut writer = WriterBuilder::new()
        .with_explicit_nulls(true)
        .build::<_, LineDelimited>(&mut bytes);
    for batch in artifact.batches(table)? {
        let batch = batch?;
        let chosen = columns.iter().map(|name| {
            batch.schema().index_of(name).map_err(|_| {
                let known = batch.schema();
                let known: Vec<&str> = known.fields().iter().map(|f| f.name().as_str()).collect();
                OpError::new(format!("there is no column `{name}`"))
                    .artifact(&artifact.name)
                    .hint(format!("its columns: {}", known.join(", ")))
            })
        });
        let chosen = chosen.collect::<OpResult<Vec<usize>>>()?;
        let batch = if chosen.is_empty() {
            batch
        } else {
            batch.project(&chosen)?
        };
        writer.write(&batch)?;
    }
    writer.finish()?;
    let text = String::from_utf8(bytes).map_err(|e| OpError::internal(e.to_string()))?;
    Ok(text.lines().map(ToOwned::to_owned).collect())
}

/// What people call a line: its first text, or the line itself.
fn name_of(line: &str) -> String {
    let row: Map<String, Value> = serde_json::from_str(line).unwrap_or_default();
    let texts = row.values().filter_map(Value::as_str);
    let first = texts
        .filter(|text| !text.trim().is_empty())
        .map(ToOwned::to_owned)
        .next();
    first.unwrap_or_else(|| line.to_owned())
}

fn give<'a>(
    folder: &Path,
    ports: &Ports<'_>,
    lines: impl Iterator<Item = &'a str>,
) -> OpResult<()> {
    let path = ports.given(folder);
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)
            .map_err(|e| OpError::wrap("failed to create", e).file(folder))?;
    }
    write(&path, lines)
}

fn write<T: AsRef<str>>(path: &Path, lines: impl Iterator<Item = T>) -> OpResult<()> {
    let written = || -> std::io::Result<()> {
        let mut file = BufWriter::new(File::create(path)?);
        for line in lines {
            file.write_all(line.as_ref().as_bytes())?;
            file.write_all(b"\n")?;
        }
        file.flush()
    };
    written().map_err(|e| OpError::wrap("failed to write", e).file(path))
}

/// The lines that the program wrote, checked. Where it was stopped, the complete lines at the start
/// that are right.
fn written(path: &Path, table: &TableSpec, wanted: usize, whole: bool) -> OpResult<Vec<String>> {
    let shown = tables::shown(path);
    let text = match files::read_text(path) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound && !whole => String::new(),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            return Err(OpError::data("the program did not write this file").file(shown));
        }
        Err(e) => return Err(OpError::wrap("failed to read", e).file(shown)),
    };
    let complete = if whole {
        text.as_str()
    } else {
        text.rsplit_once('\n').map_or("", |(complete, _)| complete)
    };
    let mut out: Vec<String> = complete.lines().map(ToOwned::to_owned).collect();
    if whole && out.len() != wanted {
        let e = OpError::data(format!(
            "the program wrote {} lines for {wanted} of its input",
            out.len()
        ));
        return Err(e
            .file(shown)
            .hint("with `items: lines` it writes one line for each line, in their order"));
    }
    let mut dim = None;
    for (i, line) in out.iter().enumerate() {
        let right = check(line, table, i as u64 + 1, &mut dim);
        if let Err(e) = right {
            if whole {
                return Err(e.file(shown));
            }
            out.truncate(i);
            break;
        }
    }
    out.truncate(wanted);
    Ok(out)
}

fn check(line: &str, table: &TableSpec, number: u64, dim: &mut Option<usize>) -> OpResult<()> {
    if line.trim().is_empty() {
        return Err(OpError::data("the line is empty").line(number));
    }
    if table.columns.is_empty() {
        let row = serde_json::from_str::<Map<String, Value>>(line);
        return match row {
            Ok(_) => Ok(()),
            Err(e) => Err(OpError::wrap("expected a JSON object", e).line(number)),
        };
    }
    rows::batch(&[line.to_owned()], table, number, dim).map(|_| ())
}
