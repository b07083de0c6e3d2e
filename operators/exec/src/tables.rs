//! Converts between tables and the files that a program sees: one file per table, Parquet or JSON
//! lines.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, BufWriter, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, RecordBatchReader};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Float32Type, Float64Type, SchemaRef};
use arrow::error::ArrowError;
use arrow::json::reader::infer_json_schema;
use arrow::json::writer::LineDelimited;
use arrow::json::{ReaderBuilder, WriterBuilder};
use arrow::util::display::FormatOptions;
use gfm_pipe_api::{
    Artifact, ColType, Context, Kind, OpError, OpResult, TableFile, TableSpec, encoding, files,
    table,
};
use serde::{Deserialize, Serialize};

use crate::rows;

/// The folder with the program's inputs.
pub(crate) const INPUTS: &str = "inputs";
/// The folder for the program's outputs.
pub(crate) const OUTPUTS: &str = "outputs";

/// Lines of JSON that are read per batch.
const LINES: usize = 4096;

/// Format of the input files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Format {
    /// Parquet.
    Parquet,
    /// One JSON object per line.
    Jsonl,
}

fn refused<E: Into<Box<dyn std::error::Error + Send + Sync>>>(
    action: &'static str,
    path: &Path,
) -> impl FnOnce(E) -> OpError {
    let path = path.to_owned();
    move |e| OpError::wrap(format!("failed to {action}"), e).file(path)
}

/// Copies a file with its permissions, and makes the copy read-only against accidents.
pub(crate) fn copy(from: &Path, to: &Path) -> OpResult<()> {
    if let Some(folder) = to.parent() {
        fs::create_dir_all(folder).map_err(refused("create", folder))?;
    }
    files::metadata(from).map_err(refused("copy", from))?;
    fs::copy(from, to).map_err(refused("copy", from))?;
    protect(to)
}

/// Copies a table out of the store into one file, and makes it read-only.
fn copy_table(ctx: &Context, artifact: &Artifact, table: &TableFile, to: &Path) -> OpResult<()> {
    let mut copy = File::create(to).map_err(refused("create", to))?;
    if let [object] = table.objects.as_slice() {
        let mut from = object.open().map_err(refused("read", &object.path))?;
        io::copy(&mut from, &mut copy).map_err(refused("copy", &object.path))?;
        return protect(to);
    }
    let batches = artifact.batches(&table.name)?;
    let mut writer = table::writer(copy, batches.schema()).map_err(refused("write", to))?;
    for batch in batches {
        ctx.check_cancelled()?;
        writer.write(&batch?).map_err(refused("write", to))?;
    }
    writer.close().map_err(refused("write", to))?;
    protect(to)
}

fn protect(file: &Path) -> OpResult<()> {
    let mut permissions = fs::metadata(file)
        .map_err(refused("read", file))?
        .permissions();
    permissions.set_readonly(true);
    fs::set_permissions(file, permissions).map_err(refused("protect", file))
}

/// Writes an artifact to `folder` for the program, one file per table.
pub(crate) fn give(
    ctx: &Context,
    artifact: &Artifact,
    folder: &Path,
    format: Format,
) -> OpResult<()> {
    fs::create_dir_all(folder).map_err(refused("create", folder))?;
    for t in &artifact.tables {
        ctx.check_cancelled()?;
        match format {
            Format::Parquet => {
                let path = folder.join(format!("{}.parquet", t.name));
                copy_table(ctx, artifact, t, &path)?;
            }
            Format::Jsonl => {
                let path = folder.join(format!("{}.jsonl", t.name));
                let file = File::create(&path).map_err(refused("create", &path))?;
                let mut writer = WriterBuilder::new()
                    .with_explicit_nulls(true)
                    .build::<_, LineDelimited>(BufWriter::new(file));
                for batch in artifact.batches(&t.name)? {
                    writer.write(&batch?).map_err(refused("write", &path))?;
                }
                writer.finish().map_err(refused("write", &path))?;
                let mut file = writer.into_inner();
                file.flush().map_err(refused("write", &path))?;
                protect(&path)?;
            }
        }
    }
    Ok(())
}

/// Reads the tables that the program wrote for a port, checks them, and writes them to the stage's
/// output.
pub(crate) fn take(ctx: &Context, port: &str, kind: &Kind, folder: &Path) -> OpResult<()> {
    let mut known = Vec::new();
    for spec in kind.tables {
        let path = |ending: &str| folder.join(format!("{}.{ending}", spec.name));
        let (parquet, jsonl) = (path("parquet"), path("jsonl"));
        let batches = match (parquet.is_file(), jsonl.is_file()) {
            (true, false) => Batches::parquet(&parquet)?,
            (false, true) => Batches::jsonl(&jsonl, spec)?,
            (true, true) => {
                return Err(OpError::data(format!(
                    "the program wrote both {0}.parquet and {0}.jsonl",
                    spec.name
                ))
                .file(shown(folder)));
            }
            (false, false) => {
                return Err(OpError::data(format!(
                    "the program did not write {0}.parquet or {0}.jsonl",
                    spec.name
                ))
                .file(shown(folder))
                .hint(needs(kind)));
            }
        };
        known.extend([parquet, jsonl]);
        write(ctx, port, spec, batches).map_err(|e| match e {
            OpError::Failed(f) if f.hint.is_none() => OpError::Failed(f).hint(columns(spec)),
            other => other,
        })?;
    }
    let strangers = fs::read_dir(folder).map_err(refused("read", folder))?;
    for entry in strangers.flatten() {
        if !known.contains(&entry.path()) {
            ctx.warn(format!(
                "{} is no table of {}: it is not kept",
                shown(&entry.path()).display(),
                kind.name
            ));
        }
    }
    Ok(())
}

/// A path as the program sees it: from the folder `outputs` on.
pub(crate) fn shown(path: &Path) -> PathBuf {
    let parts: Vec<_> = path.components().collect();
    let at = parts.iter().rposition(|c| c.as_os_str() == OUTPUTS);
    parts[at.unwrap_or(0)..].iter().collect()
}

fn needs(kind: &Kind) -> String {
    let tables: Vec<&str> = kind.tables.iter().map(|t| t.name).collect();
    format!("kind `{}` has the tables {}", kind.name, tables.join(", "))
}

fn columns(spec: &TableSpec) -> String {
    let columns: Vec<String> = spec
        .columns
        .iter()
        .map(|c| {
            let missing = if c.nullable { " or null" } else { "" };
            format!("{} ({}{missing})", c.name, c.ty.name())
        })
        .collect();
    format!(
        "table `{}` has the columns {}",
        spec.name,
        columns.join(", ")
    )
}

/// Checks a table batch by batch and writes it to the stage's output.
fn write(ctx: &Context, port: &str, spec: &TableSpec, mut batches: Batches) -> OpResult<()> {
    let name = format!("{}.{port}.{}", ctx.stage, spec.name);
    let mut sink = None;
    let mut row = 0;
    while let Some(batch) = batches.next(spec)? {
        ctx.check_cancelled()?;
        let batch = conform(&batch, spec, row).map_err(|e| e.file(&batches.shown))?;
        row += batch.num_rows() as u64;
        if sink.is_none() {
            sink = Some(ctx.outputs.create(port, spec.name, batch.schema())?);
        }
        if let Some(sink) = &mut sink {
            sink.write(&batch)?;
        }
    }
    let sink = match sink {
        Some(sink) => sink,
        None => {
            // A table without rows has the declared columns too. If no columns are declared, it has
            // those that were found in the file.
            let schema = if spec.columns.is_empty() {
                batches.schema.as_ref().clone()
            } else {
                spec.schema(1)
            };
            ctx.outputs.create(port, spec.name, Arc::new(schema))?
        }
    };
    sink.finish().map_err(|e| e.artifact(name))
}

/// Converts a batch to the table's columns, in the table's order and with its types. Integers of
/// another width, large strings and the like are converted where no value is lost.
fn conform(batch: &RecordBatch, spec: &TableSpec, first: u64) -> OpResult<RecordBatch> {
    if spec.columns.is_empty() {
        return Ok(batch.clone());
    }
    let given = batch.schema();
    let known = |name: &str| spec.columns.iter().any(|c| c.name == name);
    if let Some(f) = given.fields().iter().find(|f| !known(f.name())) {
        return Err(OpError::data(format!("there is no column `{}`", f.name())));
    }
    let mut arrays: Vec<ArrayRef> = Vec::new();
    let mut dim = 0;
    for c in spec.columns {
        let array = batch
            .column_by_name(c.name)
            .ok_or_else(|| OpError::data(format!("column `{}` is missing", c.name)))?;
        let to = c.ty.arrow(match c.ty {
            ColType::Vector => vector_length(array)?,
            _ => 0,
        });
        if let DataType::FixedSizeList(_, n) = &to {
            dim = usize::try_from(*n).unwrap_or(0);
        }
        let array = convert(array, &to)
            .map_err(|e| OpError::wrap(format!("column `{}` is no {}", c.name, c.ty.name()), e))?;
        if !c.nullable
            && let Some(i) = (0..array.len()).find(|i| array.is_null(*i))
        {
            let e = OpError::data(format!("column `{}` has no value", c.name));
            return Err(e.row(first + i as u64));
        }
        if hollow(&array) {
            return Err(OpError::data(format!(
                "a list in column `{}` has an item without a value",
                c.name
            )));
        }
        arrays.push(array);
    }
    Ok(RecordBatch::try_new(Arc::new(spec.schema(dim)), arrays)?)
}

/// Whether a type may be converted to another: both must hold the same sort of values, possibly in
/// another width. The cast checks the values.
fn related(from: &DataType, to: &DataType) -> bool {
    use DataType as D;
    let text = |t: &D| matches!(t, D::Utf8 | D::LargeUtf8 | D::Utf8View);
    match (from, to) {
        (D::Null, _) => true,
        (D::Dictionary(_, values), to) => related(values, to),
        (
            D::List(a) | D::LargeList(a) | D::FixedSizeList(a, _),
            D::List(b) | D::LargeList(b) | D::FixedSizeList(b, _),
        ) => related(a.data_type(), b.data_type()),
        (a, b) if a.is_integer() => b.is_integer(),
        (a, b) if a.is_floating() => b.is_floating(),
        (a, b) if text(a) => text(b),
        (a, b) => a == b,
    }
}

fn convert(array: &ArrayRef, to: &DataType) -> Result<ArrayRef, ArrowError> {
    let from = array.data_type();
    if from == to {
        return Ok(Arc::clone(array));
    }
    if !related(from, to) {
        return Err(ArrowError::CastError(format!("it is {from}")));
    }
    let strict = CastOptions {
        safe: false,
        format_options: FormatOptions::default(),
    };
    let out = cast_with_options(array, to, &strict)?;
    // A cast to f32 turns 1e300 into infinity.
    let infinite = |a: &ArrayRef| match a.data_type() {
        DataType::Float32 => {
            let values = a.as_primitive::<Float32Type>().iter();
            values.flatten().filter(|x| x.is_infinite()).count()
        }
        _ => 0,
    };
    let before = match items(array).data_type() {
        DataType::Float64 => {
            let values = items(array).as_primitive::<Float64Type>().iter();
            values.flatten().filter(|x| x.is_infinite()).count()
        }
        _ => infinite(items(&out)),
    };
    if infinite(items(&out)) > before {
        return Err(ArrowError::CastError("a value is too large".to_owned()));
    }
    Ok(out)
}

/// The values of a list, or of the array itself.
fn items(array: &ArrayRef) -> &ArrayRef {
    match array.data_type() {
        DataType::List(_) => array.as_list::<i32>().values(),
        DataType::LargeList(_) => array.as_list::<i64>().values(),
        DataType::FixedSizeList(..) => array.as_fixed_size_list().values(),
        _ => array,
    }
}

fn vector_length(array: &ArrayRef) -> OpResult<usize> {
    let length = match array.data_type() {
        DataType::FixedSizeList(_, n) => Some(usize::try_from(*n).unwrap_or(0)),
        DataType::List(_) => array
            .as_list::<i32>()
            .iter()
            .flatten()
            .map(|v| v.len())
            .next(),
        DataType::LargeList(_) => array
            .as_list::<i64>()
            .iter()
            .flatten()
            .map(|v| v.len())
            .next(),
        other => return Err(OpError::data(format!("a column of vectors is {other}"))),
    };
    length
        .filter(|n| *n > 0)
        .ok_or_else(|| OpError::data("a column of vectors has none"))
}

/// Whether a list in this array has an item without a value.
fn hollow(array: &ArrayRef) -> bool {
    let items = items(array);
    !Arc::ptr_eq(items, array) && items.null_count() > 0
}

/// Reads a file batch by batch.
struct Batches {
    shown: PathBuf,
    schema: SchemaRef,
    source: Source,
}

enum Source {
    Parquet(Box<dyn Iterator<Item = Result<RecordBatch, ArrowError>>>),
    Jsonl {
        reader: BufReader<File>,
        /// Lines read.
        line: u64,
        /// Length of vectors, once one has been seen.
        dim: Option<usize>,
    },
}

impl Batches {
    fn parquet(path: &Path) -> OpResult<Self> {
        let shown = shown(path);
        let reader = table::reader(path).map_err(refused("read", &shown))?;
        Ok(Batches {
            schema: reader.schema(),
            source: Source::Parquet(Box::new(reader)),
            shown,
        })
    }

    fn jsonl(path: &Path, spec: &TableSpec) -> OpResult<Self> {
        let shown = shown(path);
        let file = files::open(path).map_err(refused("read", &shown))?;
        let mut reader = BufReader::new(file);
        let head = reader.fill_buf().map_err(refused("read", &shown))?;
        if let Some(error) = encoding::check(head) {
            return Err(error.file(&shown));
        }
        let schema = if spec.columns.is_empty() {
            let (schema, _) =
                infer_json_schema(&mut reader, None).map_err(refused("read", &shown))?;
            reader.rewind().map_err(refused("read", &shown))?;
            schema
        } else {
            spec.schema(1)
        };
        Ok(Batches {
            shown,
            schema: Arc::new(schema),
            source: Source::Jsonl {
                reader,
                line: 0,
                dim: None,
            },
        })
    }

    fn next(&mut self, spec: &TableSpec) -> OpResult<Option<RecordBatch>> {
        match &mut self.source {
            Source::Parquet(batches) => match batches.next() {
                None => Ok(None),
                Some(batch) => batch.map(Some).map_err(refused("read", &self.shown)),
            },
            Source::Jsonl { reader, line, dim } => {
                let mut lines: Vec<String> = Vec::new();
                for _ in 0..LINES {
                    let mut text = String::new();
                    let n = reader.read_line(&mut text).map_err(|e| {
                        let e = OpError::wrap("failed to read", e).file(&self.shown);
                        e.line(*line + lines.len() as u64 + 1)
                    })?;
                    if n == 0 {
                        break;
                    }
                    lines.push(text);
                }
                if lines.is_empty() {
                    return Ok(None);
                }
                let batch = if spec.columns.is_empty() {
                    decode(&self.schema, &lines)
                } else {
                    rows::batch(&lines, spec, *line + 1, dim)
                };
                *line += lines.len() as u64;
                batch.map(Some).map_err(|e| e.file(&self.shown))
            }
        }
    }
}

/// Reads lines as rows with the columns that were found in the file.
fn decode(schema: &SchemaRef, lines: &[String]) -> OpResult<RecordBatch> {
    let mut decoder = ReaderBuilder::new(Arc::clone(schema))
        .with_batch_size(lines.len())
        .build_decoder()?;
    for line in lines {
        decoder.decode(line.as_bytes())?;
    }
    let batch = decoder.flush()?;
    Ok(batch.unwrap_or_else(|| RecordBatch::new_empty(Arc::clone(schema))))
}
