//! Runs one operator without the engine: for tests and examples.
//!
//! Tables go to a plain folder, as `PORT.TABLE.parquet`; nothing is cached or stored.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use parquet::arrow::ArrowWriter;
use serde_json::Value;

use crate::artifact::Artifact;
use crate::context::{Cancel, Context, Level, Metric, Nowhere, Outputs, Reporter, TableSink};
use crate::error::{OpError, OpResult};
use crate::items::{Items, UsedItems};
use crate::kind::Kind;
use crate::operator::{OpEntry, Operator, OutPort};
use crate::parts::Parts;
use crate::schema::path_text;
use crate::stored::{ObjectFile, TableFile};
use crate::vector_table::CodesFolder;
use crate::{columns, kinds, ranks, table};

/// Collects what an operator reports.
#[derive(Default)]
pub struct Collected {
    /// Messages in order.
    pub messages: Mutex<Vec<(Level, String)>>,
    /// Metrics in order.
    pub metrics: Mutex<Vec<OwnedMetric>>,
}

/// A [`Metric`] that owns its name.
#[derive(Debug, Clone, PartialEq)]
pub struct OwnedMetric {
    /// One-based epoch; 0 where there are none.
    pub epoch: u32,
    /// Steps taken.
    pub step: u64,
    /// Name: `loss`, `valid:mrr`.
    pub name: String,
    /// The reported number.
    pub value: f64,
}

impl Reporter for Collected {
    fn progress(&self, _done: u64, _total: u64, _unit: &str, _note: &str) {}
    fn message(&self, level: Level, text: &str) {
        if let Ok(mut m) = self.messages.lock() {
            m.push((level, text.to_owned()));
        }
    }
    fn resumed_at(&self, _step: u64) {}
    fn metric(&self, metric: Metric<'_>) {
        if let Ok(mut m) = self.metrics.lock() {
            m.push(OwnedMetric {
                epoch: metric.epoch,
                step: metric.step,
                name: metric.name.to_owned(),
                value: metric.value,
            });
        }
    }
}

type Written = Arc<Mutex<BTreeMap<(String, String), TableFile>>>;

struct FolderOutputs {
    dir: PathBuf,
    ports: Vec<OutPort>,
    written: Written,
}

struct FolderSink {
    writer: ArrowWriter<File>,
    port: String,
    table: String,
    path: PathBuf,
    rows: u64,
    written: Written,
}

impl Outputs for FolderOutputs {
    fn create(&self, port: &str, table: &str, schema: SchemaRef) -> OpResult<Box<dyn TableSink>> {
        let spec = self
            .ports
            .iter()
            .find(|p| p.name == port)
            .and_then(|p| p.kind.table(table))
            .ok_or_else(|| OpError::internal(format!("no table `{port}.{table}` is declared")))?;
        if let Some(why) = spec.mismatch(&schema) {
            return Err(OpError::internal(format!("table `{port}.{table}`: {why}")));
        }
        let path = self.dir.join(format!("{port}.{table}.parquet"));
        let file =
            File::create(&path).map_err(|e| OpError::wrap("failed to create", e).file(&path))?;
        Ok(Box::new(FolderSink {
            writer: crate::table::writer(file, schema)?,
            port: port.to_owned(),
            table: table.to_owned(),
            path,
            rows: 0,
            written: Arc::clone(&self.written),
        }))
    }
}

impl TableSink for FolderSink {
    fn write(&mut self, batch: &RecordBatch) -> OpResult<()> {
        self.rows += batch.num_rows() as u64;
        Ok(self.writer.write(batch)?)
    }

    fn finish(mut self: Box<Self>) -> OpResult<()> {
        self.writer.finish()?;
        let object = read_back(&self.path, self.rows)?;
        let table = TableFile::of(self.table.as_str(), vec![object]);
        if let Ok(mut written) = self.written.lock() {
            written.insert((self.port, self.table), table);
        }
        Ok(())
    }
}

fn read_back(path: &Path, rows: u64) -> OpResult<ObjectFile> {
    ObjectFile::of(path, rows).map_err(|e| OpError::wrap("failed to read back", e).file(path))
}

/// Result of [`run`]: artifacts by port, and what the operator reported.
#[derive(Debug)]
pub struct Local {
    /// Artifacts by output port.
    pub outputs: BTreeMap<String, Artifact>,
    /// Messages in order.
    pub messages: Vec<(Level, String)>,
    /// Metrics in order.
    pub metrics: Vec<OwnedMetric>,
    /// The items that the outputs were made of.
    pub items: UsedItems,
}

impl Local {
    /// The artifact of a port.
    ///
    /// # Panics
    /// When there is no such port; this module is for tests.
    pub fn port(&self, name: &str) -> &Artifact {
        &self.outputs[name]
    }
}

/// Writes an artifact of a kind, as an operator would have. `tables` are in the kind's order.
///
/// # Errors
/// When a table does not fit the kind or cannot be written.
pub fn artifact(
    dir: &Path,
    kind: &'static Kind,
    name: &str,
    tables: Vec<RecordBatch>,
) -> OpResult<Artifact> {
    let written = Written::default();
    let outputs = FolderOutputs {
        dir: dir.to_owned(),
        ports: vec![OutPort {
            name: "given",
            kind,
            about: "",
        }],
        written: Arc::clone(&written),
    };
    let mut files = Vec::new();
    for (spec, batch) in kind.tables.iter().zip(tables) {
        let mut sink = outputs.create("given", spec.name, batch.schema())?;
        sink.write(&batch)?;
        sink.finish()?;
        let mut file = written
            .lock()
            .ok()
            .and_then(|mut w| w.remove(&("given".to_owned(), spec.name.to_owned())))
            .ok_or_else(|| OpError::internal("the table was not written"))?;
        // Several artifacts of one kind may share a folder.
        let path = dir.join(format!("{name}.{}.parquet", spec.name));
        if let [object] = file.objects.as_mut_slice() {
            fs::rename(&object.path, &path)
                .map_err(|e| OpError::wrap("failed to rename", e).file(&path))?;
            object.path.clone_from(&path);
        }
        files.push(file);
    }
    Ok(Artifact {
        kind,
        name: name.to_owned(),
        tables: files,
    })
}

/// The artifact as it is in a store that keeps codes of vectors in this folder.
#[must_use]
pub fn keeping_codes(mut artifact: Artifact, path: &Path) -> Artifact {
    let folder = Arc::new(CodesFolder {
        path: path.to_owned(),
        tmp: path.to_owned(),
    });
    for object in artifact.tables.iter_mut().flat_map(|t| &mut t.objects) {
        object.codes = Some(Arc::clone(&folder));
    }
    artifact
}

/// The device that operators run on here: the CPU, or the one that `GFM_PIPE_LOCAL_DEVICE` names,
/// so that a test suite can run on a GPU.
fn device() -> String {
    let named = std::env::var("GFM_PIPE_LOCAL_DEVICE");
    named.unwrap_or_else(|_| "cpu".to_owned())
}

/// Writes row-major vectors of length `dim` to a table with `rows` rows in each part.
///
/// # Errors
/// When it cannot be written.
pub fn vectors_in_parts(path: &Path, dim: usize, vectors: &[f32], rows: usize) -> OpResult<Parts> {
    let spec = &kinds::EMBEDDINGS.tables[0];
    let failed = |e: std::io::Error| OpError::wrap("failed to write vectors", e);
    let file = File::create(path).map_err(failed)?;
    let mut writer = table::writer(file, Arc::new(spec.schema(dim)))?;
    for part in vectors.chunks(rows * dim) {
        let column = columns::build_vectors(dim, part.to_vec())?;
        writer.write(&columns::batch(spec, vec![column])?)?;
        writer.flush()?;
    }
    writer.close()?;
    let rows = (vectors.len() / dim.max(1)) as u64;
    let table = TableFile::of(spec.name, vec![read_back(path, rows)?]);
    Parts::of(&table, spec.name.to_owned())
}

/// A context without inputs whose outputs go nowhere: for functions that only check whether to
/// stop.
pub fn context() -> Context {
    Context {
        stage: "local".to_owned(),
        inputs: BTreeMap::new(),
        outputs: Arc::new(Nowhere),
        reporter: Arc::new(Collected::default()),
        cancel: Cancel::default(),
        base: PathBuf::from("."),
        workdir: PathBuf::new(),
        items: Items::nowhere(),
        device: device(),
        environment: std::env::vars_os().collect(),
        offline: false,
        requests: None,
        ranks: ranks::single(),
    }
}

/// Validates `params`, runs the operator with `inputs` and writes to `dir` (created if missing).
///
/// # Errors
/// Problems of the parameters (all in one message), or whatever error the operator returns.
pub fn run<O: Operator>(
    dir: &Path,
    params: &Value,
    inputs: BTreeMap<String, Vec<Artifact>>,
) -> OpResult<Local> {
    run_entry(&OpEntry::of::<O>(), dir, params, inputs)
}

/// Like [`run`], for an operator given by its entry.
///
/// # Errors
/// See [`run`].
pub fn run_entry(
    op: &OpEntry,
    dir: &Path,
    params: &Value,
    inputs: BTreeMap<String, Vec<Artifact>>,
) -> OpResult<Local> {
    run_entry_as(op, dir, params, inputs, ranks::single())
}

/// Like [`run_entry`], on `size` ranks, each a thread, all with these parameters. Rank 0 writes to
/// `dir`. Returns the result of each rank, in rank order; only rank 0's has outputs.
///
/// # Errors
/// The error of the first rank that failed.
///
/// # Panics
/// When a rank panics.
pub fn run_on_ranks(
    size: usize,
    op: &OpEntry,
    dir: &Path,
    params: &Value,
    inputs: &BTreeMap<String, Vec<Artifact>>,
) -> OpResult<Vec<Local>> {
    std::thread::scope(|scope| {
        let started: Vec<_> = ranks::threads(size)
            .into_iter()
            .map(|rank| {
                let dir = match rank.rank() {
                    0 => dir.to_owned(),
                    n => dir.join(format!("rank-{n}")),
                };
                scope.spawn(move || run_entry_as(op, &dir, params, inputs.clone(), rank))
            })
            .collect();
        let joined = started.into_iter().map(std::thread::ScopedJoinHandle::join);
        joined
            .map(|ended| ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    })
}

fn run_entry_as(
    op: &OpEntry,
    dir: &Path,
    params: &Value,
    inputs: BTreeMap<String, Vec<Artifact>>,
    ranks: ranks::Shared,
) -> OpResult<Local> {
    let params = op.validate(params).map_err(|problems| {
        let text: Vec<String> = problems
            .iter()
            .map(|p| format!("{}: {}", path_text(&p.path), p.message))
            .collect();
        OpError::new(text.join("; "))
    })?;
    let connected: Vec<&str> = inputs.keys().map(String::as_str).collect();
    let op = &op.of_stage(&params, &connected)?;
    let workdir = dir.join("work");
    fs::create_dir_all(&workdir)
        .map_err(|e| OpError::wrap("failed to create", e).file(&workdir))?;
    let written = Written::default();
    let reporter = Arc::new(Collected::default());
    let ctx = Context {
        stage: op.name.to_owned(),
        inputs,
        outputs: Arc::new(FolderOutputs {
            dir: dir.to_owned(),
            ports: op.outputs.clone(),
            written: Arc::clone(&written),
        }),
        reporter: Arc::clone(&reporter) as Arc<dyn Reporter>,
        cancel: Cancel::default(),
        base: PathBuf::from("."),
        items: Items::new(dir.join("items"), workdir.clone(), "local".to_owned()),
        workdir,
        device: device(),
        environment: std::env::vars_os().collect(),
        offline: false,
        requests: None,
        ranks,
    };
    op.run(params.clone(), &ctx)?;
    let lead = ctx.ranks.rank() == 0;
    let mut written = written
        .lock()
        .map_err(|_| OpError::internal("a writer panicked"))?
        .clone();
    let mut outputs = BTreeMap::new();
    for port in op.outputs.iter().filter(|_| lead) {
        let mut tables = Vec::new();
        for spec in port.kind.tables {
            let file = written
                .remove(&(port.name.to_owned(), spec.name.to_owned()))
                .ok_or_else(|| {
                    OpError::internal(format!(
                        "table `{}.{}` was not written",
                        port.name, spec.name
                    ))
                })?;
            tables.push(file);
        }
        outputs.insert(
            port.name.to_owned(),
            Artifact {
                kind: port.kind,
                name: format!("{}.{}", op.name, port.name),
                tables,
            },
        );
    }
    if lead {
        op.deliver(params, &ctx, &outputs)?;
    }
    let messages = reporter
        .messages
        .lock()
        .map_err(|_| OpError::internal("a reporter panicked"))?
        .clone();
    let metrics = reporter
        .metrics
        .lock()
        .map_err(|_| OpError::internal("a reporter panicked"))?
        .clone();
    Ok(Local {
        outputs,
        messages,
        metrics,
        items: ctx.items.take_used(),
    })
}
