//! `gfm-pipe show`.

use std::path::PathBuf;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use gfm_pipe_api::schema::nearest;
use gfm_pipe_api::{OpEntry, table};

use super::args::{Common, Select};
use super::error::{CliError, CliResult};
use super::runs::find;
use crate::plan::{Key, LastEnd, LastLook, Verdict, prepare};
use crate::record::{history, latest};
use crate::spec::split_port;
use crate::store::{Manifest, Store, TableEntry};
use crate::ui::{self, Out};

/// Rows shown to people unless `-n` says otherwise.
const ROWS: u64 = 20;

/// Longest cell shown to people, in characters.
const CELL: usize = 60;

/// Arguments of `show`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What to show; a stage with one port, and the first table of a port, may be named alone
    #[arg(value_name = "STAGE.PORT[.TABLE]")]
    what: String,
    /// One JSON array of objects, for programs
    #[arg(long)]
    json: bool,
    /// Only the path of its Parquet file, for programs that read those
    #[arg(long, conflicts_with_all = ["json", "rows"])]
    path: bool,
    /// Take the artifact this pipeline describes now, not that of the store's latest run
    #[arg(long, value_name = "FILE")]
    pipeline: Option<PathBuf>,
    /// Take the artifact of this run: its name, or the start of it; `gfm-pipe runs` lists them
    #[arg(long, conflicts_with = "pipeline")]
    run: Option<String>,
    /// At most this many rows [default: 20; with --json all]
    #[arg(short = 'n', value_name = "ROWS")]
    rows: Option<u64>,
    #[command(flatten)]
    common: Common,
}

/// Prints a table.
pub fn show(args: &Args, ops: &[OpEntry], out: &Out) -> CliResult<()> {
    args.common.apply()?;
    let store = Store::open_readonly(args.common.store_dir())?;
    let (stage, rest) = split_port(&args.what);
    let mut parts = rest.into_iter().flat_map(|r| r.split('.'));
    let (port, table) = (parts.next(), parts.next());
    if stage.is_empty() || parts.next().is_some() {
        return Err(CliError::usage(format!(
            "`{}` is not of the form STAGE.PORT[.TABLE]",
            args.what
        )));
    }
    let manifest = match &args.pipeline {
        Some(file) => described(args, file, stage, &store, ops)?,
        None => stored(stage, args.run.as_deref(), &store)?,
    };
    let entry = pick(&manifest, stage, port, table)?;
    let path = store.sound_table(entry)?.path;
    if args.path {
        out.line(&path.display().to_string());
        return Ok(());
    }
    let unreadable = |e: &dyn std::fmt::Display| {
        CliError::failed(format!("failed to read {}: {e}", path.display()))
            .hint(format!("compute it again: gfm-pipe run … --force {stage}"))
    };
    if !args.json {
        let rows = args.rows.unwrap_or(ROWS);
        let shown = read_cells(&path, rows).map_err(|e| unreadable(&*e))?;
        for line in ui::table(&shown, usize::MAX) {
            out.line(&line);
        }
        let left = entry.rows.saturating_sub(rows);
        if left > 0 {
            out.line(&format!("… {} more", ui::rows(left)));
        }
        return Ok(());
    }
    let (_, batches) = read(&path, args.rows.unwrap_or(u64::MAX)).map_err(|e| unreadable(&*e))?;
    let mut text = Vec::new();
    let mut writer = arrow::json::WriterBuilder::new()
        .with_explicit_nulls(true)
        .build::<_, arrow::json::writer::JsonArray>(&mut text);
    let refs: Vec<&RecordBatch> = batches.iter().collect();
    writer
        .write_batches(&refs)
        .and_then(|()| writer.finish())
        .map_err(|e| CliError::failed(format!("failed to write JSON: {e}")))?;
    drop(writer);
    // An array without rows is still an array.
    if text.is_empty() {
        text.extend_from_slice(b"[]");
    }
    out.line(&String::from_utf8_lossy(&text));
    Ok(())
}

/// The stage as a pipeline file describes it now.
fn described(
    args: &Args,
    file: &std::path::Path,
    stage: &str,
    store: &Store,
    ops: &[OpEntry],
) -> CliResult<Manifest> {
    let pipeline = args.common.load(file, ops)?;
    let select = Select {
        until: vec![stage.to_owned()],
        ..Select::default()
    };
    let prepared = prepare(&pipeline, store, &select.request())?;
    let plan = prepared.plan.into_iter().find(|p| p.name == stage);
    match plan.map(|p| p.verdict) {
        Some(Verdict::Cached(manifest)) => Ok(*manifest),
        _ => Err(CliError::usage(format!(
            "`{stage}` is not in the store as {} describes it",
            file.display()
        ))
        .hint(format!(
            "compute it: gfm-pipe run {} --until {stage}",
            file.display()
        ))),
    }
}

/// The stage as a run left it, the latest one that ended where none is named; or, where that run did not come to it, the latest run of
/// its pipeline that did.
fn stored(stage: &str, run: Option<&str>, store: &Store) -> CliResult<Manifest> {
    let journal = match run {
        Some(run) => find(&history::runs(store)?.0, run)?.journal.clone(),
        None => latest(store)?.ok_or_else(|| {
            CliError::usage(format!("{} has no finished run", store.root().display()))
                .hint("gfm-pipe run PIPELINE makes one; --store DIR names another store")
        })?,
    };
    let Some(record) = journal.stages.iter().find(|s| s.name == stage) else {
        let known: Vec<&str> = journal.stages.iter().map(|s| s.name.as_str()).collect();
        let hint = match nearest(stage, known.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!(
                "its stages: {}; --run RUN takes another run",
                known.join(", ")
            ),
        };
        let which = match run {
            Some(_) => format!("run {}", journal.run),
            None => "the latest run".to_owned(),
        };
        return Err(CliError::usage(format!(
            "{which}, of pipeline `{}`, has no stage `{stage}`",
            journal.pipeline
        ))
        .hint(hint));
    };
    let key: Option<Key> = match &record.key {
        Some(key) if !record.outputs.is_empty() => Some(key.clone()),
        _ => LastLook::read(store, &journal.pipeline, stage)
            .filter(|last| last.end == LastEnd::Stored)
            .map(|last| last.key),
    };
    let manifest = match key {
        Some(key) => store.manifest(&key)?,
        None => None,
    };
    manifest.ok_or_else(|| {
        CliError::usage(format!("`{stage}` has no artifacts in the store")).hint(format!(
            "compute it: gfm-pipe run {} --until {stage}",
            journal.file
        ))
    })
}

fn pick<'a>(
    manifest: &'a Manifest,
    stage: &str,
    port: Option<&str>,
    table: Option<&str>,
) -> CliResult<&'a TableEntry> {
    let unknown = |what: &str, name: &str, known: Vec<&str>| {
        let hint = match nearest(name, known.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("it has: {}", known.join(", ")),
        };
        CliError::usage(format!("{what} has no `{name}`")).hint(hint)
    };
    let ports = || {
        manifest
            .ports
            .keys()
            .map(String::as_str)
            .collect::<Vec<_>>()
    };
    let (name, entry) = match port {
        Some(port) => manifest
            .ports
            .get_key_value(port)
            .ok_or_else(|| unknown(&format!("stage `{stage}`"), port, ports()))?,
        None => match manifest.ports.iter().next() {
            Some(first) if manifest.ports.len() == 1 => first,
            _ => {
                return Err(
                    CliError::usage(format!("stage `{stage}` has several ports")).hint(format!(
                        "name one: {stage}.{}",
                        ports().join(&format!(", {stage}."))
                    )),
                );
            }
        },
    };
    let tables = || entry.tables.iter().map(|t| t.name.as_str()).collect();
    match table {
        Some(table) => entry
            .tables
            .iter()
            .find(|t| t.name == table)
            .ok_or_else(|| unknown(&format!("`{stage}.{name}`"), table, tables())),
        None => entry
            .tables
            .first()
            .ok_or_else(|| CliError::usage(format!("`{stage}.{name}` has no tables"))),
    }
}

type AnyError = Box<dyn std::error::Error + Send + Sync>;

/// The first rows of an object.
fn read(path: &std::path::Path, rows: u64) -> Result<(SchemaRef, Vec<RecordBatch>), AnyError> {
    use arrow::array::RecordBatchReader as _;
    let reader = table::reader(path)?;
    let schema = reader.schema();
    let mut left = usize::try_from(rows).unwrap_or(usize::MAX);
    let mut batches = Vec::new();
    for batch in reader {
        if left == 0 {
            break;
        }
        let batch = batch?;
        let batch = batch.slice(0, batch.num_rows().min(left));
        left -= batch.num_rows();
        batches.push(batch);
    }
    Ok((schema, batches))
}

/// The first rows of an object as cells, head first.
fn read_cells(path: &std::path::Path, rows: u64) -> Result<Vec<Vec<String>>, AnyError> {
    #[cfg(feature = "frames")]
    if let Some(cells) = frames::read_cells(path, rows)? {
        return Ok(cells);
    }
    let (schema, batches) = read(path, rows)?;
    let head = schema.fields().iter().map(|f| f.name().clone()).collect();
    let mut out: Vec<Vec<String>> = vec![head];
    let options = FormatOptions::default().with_null("-");
    for batch in &batches {
        let columns = batch
            .columns()
            .iter()
            .map(|c| ArrayFormatter::try_new(c.as_ref(), &options))
            .collect::<Result<Vec<_>, _>>()?;
        for row in 0..batch.num_rows() {
            let cells = columns.iter().map(|c| cell(&c.value(row).to_string()));
            out.push(cells.collect());
        }
    }
    Ok(out)
}

/// A value on one line, cut where it is long.
fn cell(text: &str) -> String {
    let mut out: String = text
        .chars()
        .take(CELL)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    if text.chars().nth(CELL).is_some() {
        out.pop();
        out.push('…');
    }
    out
}

/// With polars only the rows asked for are decoded, and long lists are abbreviated.
#[cfg(feature = "frames")]
mod frames {
    use std::fs::File;
    use std::path::Path;

    use arrow::array::RecordBatchReader as _;
    use arrow::datatypes::DataType;
    use polars::prelude::{AnyValue, ParquetReader, SerReader};

    use super::{AnyError, cell, table};

    /// `None` for tables polars cannot hold in this build (fixed-size lists).
    pub fn read_cells(path: &Path, rows: u64) -> Result<Option<Vec<Vec<String>>>, AnyError> {
        let schema = table::reader(path)?.schema();
        let vectors = schema
            .fields()
            .iter()
            .any(|f| matches!(f.data_type(), DataType::FixedSizeList(..)));
        if vectors {
            return Ok(None);
        }
        let rows = usize::try_from(rows).unwrap_or(usize::MAX);
        let frame = ParquetReader::new(File::open(path)?)
            .with_slice(Some((0, rows)))
            .finish()?;
        let names = frame.get_column_names();
        let mut out = vec![names.iter().map(|n| n.to_string()).collect()];
        for row in 0..frame.height() {
            let cells = frame
                .columns()
                .iter()
                .map(|column| {
                    Ok(match column.get(row)? {
                        AnyValue::Null => "-".to_owned(),
                        AnyValue::String(s) => cell(s),
                        AnyValue::StringOwned(s) => cell(&s),
                        other => cell(&other.to_string()),
                    })
                })
                .collect::<Result<Vec<String>, AnyError>>()?;
            out.push(cells);
        }
        Ok(Some(out))
    }
}
