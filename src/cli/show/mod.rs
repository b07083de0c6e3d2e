//! `gfm-pipe show`: a table of an artifact.

mod artifact;
mod names;
mod plain;
mod rows;

use std::path::PathBuf;

use arrow::array::RecordBatch;
use gfm_pipe_api::{Kind, OpEntry, kinds};

use self::artifact::{Source, pick};
use self::names::Names;
use self::rows::{Filter, Query, SortKey};
use super::error::{CliError, CliResult};
use super::shared_args::Common;
use crate::spec::split_port;
use crate::store::Store;
use crate::ui::{self, Out};

/// Number of rows shown to people without `-n`.
const ROWS: u64 = 20;

/// Arguments of `show`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What to show; a stage with one port, and the first table of a port, may be named alone
    #[arg(value_name = "STAGE.PORT[.TABLE]")]
    what: String,
    /// Show names in place of ids: of entities, relations, documents and questions
    #[arg(long)]
    names: bool,
    /// Only rows with this value, or with it in a list; several conditions must all hold
    #[arg(long = "where", value_name = "COLUMN=VALUE", value_parser = Filter::parse)]
    filters: Vec<Filter>,
    /// Only these columns, in this order
    #[arg(long, value_name = "COLUMN,…", value_delimiter = ',')]
    columns: Vec<String>,
    /// In the order of these columns; `-COLUMN`: the largest first
    #[arg(
        long,
        value_name = "[-]COLUMN,…",
        value_delimiter = ',',
        allow_hyphen_values = true,
        value_parser = SortKey::parse
    )]
    sort: Vec<SortKey>,
    /// One JSON array of objects, for programs
    #[arg(long)]
    json: bool,
    /// Only the path of its Parquet file, for programs that read those; a large table has several
    /// files, whose paths are printed in the order of the rows
    #[arg(long, conflicts_with_all = ["json", "rows", "names", "filters", "columns", "sort"])]
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

impl Args {
    /// Whether the table is shown unchanged.
    fn is_plain(&self) -> bool {
        !self.names && self.filters.is_empty() && self.columns.is_empty() && self.sort.is_empty()
    }
}

/// Prints a table.
pub fn show(args: &Args, ops: &[OpEntry], out: &Out, err: &Out) -> CliResult<()> {
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
    let source = match &args.pipeline {
        Some(file) => Source::described(&args.common, file, stage, &store, ops)?,
        None => Source::stored(stage, args.run.as_deref(), &store, err)?,
    };
    let (port, kind, entry) = pick(source.manifest(stage)?, stage, port, table)?;
    let table = store.sound_table(entry)?;
    if args.path {
        let paths = table.objects.iter().map(|o| o.path.display());
        out.document(&paths.map(|path| format!("{path}\n")).collect::<String>());
        return Ok(());
    }
    let unreadable = |e: &dyn std::fmt::Display| {
        CliError::failed(format!("failed to read {}: {e}", args.what))
            .hint(format!("compute it again: gfm-pipe run … --force {stage}"))
    };
    let limit = args.rows.unwrap_or(if args.json { u64::MAX } else { ROWS });
    if args.is_plain() && !args.json {
        let shown = plain::read_cells(&table, limit).map_err(|e| unreadable(&*e))?;
        return print(&shown, entry.rows, limit, out);
    }
    let of = kinds::ALL.iter().find(|k| k.name == kind);
    let spec = of.and_then(|k: &&Kind| k.table(&entry.name));
    let names = match spec {
        Some(spec) if args.names => Names::read(spec, &source, stage, port, &store, err)?,
        _ => Names::default(),
    };
    if args.names && spec.is_none_or(|s| s.columns.iter().all(|c| c.id_of.is_none())) {
        err.line(&format!("note: no column of {} holds ids", args.what));
    }
    let query = Query {
        filters: &args.filters,
        columns: &args.columns,
        sort: &args.sort,
        limit,
    };
    let found = rows::read(&table, &query, &names).map_err(|e| match e {
        rows::Refused::Query(e) => e,
        rows::Refused::File(e) => unreadable(&*e),
    })?;
    if args.json {
        return print_json(&found.batches, out);
    }
    let cells = plain::cells(&found.schema, &found.batches).map_err(|e| unreadable(&*e))?;
    print(&cells, found.total, limit, out)
}

/// Prints rows of cells, the header first, and how many more rows there are.
fn print(cells: &[Vec<String>], total: u64, limit: u64, out: &Out) -> CliResult<()> {
    for line in ui::table(cells, usize::MAX) {
        out.line(&line);
    }
    let left = total.saturating_sub(limit);
    if left > 0 {
        out.line(&format!("… {} more", ui::rows(left)));
    }
    Ok(())
}

fn print_json(batches: &[RecordBatch], out: &Out) -> CliResult<()> {
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
    // Without rows, the writer writes nothing; an empty array is needed.
    if text.is_empty() {
        text.extend_from_slice(b"[]");
    }
    text.push(b'\n');
    out.document(&String::from_utf8_lossy(&text));
    Ok(())
}
