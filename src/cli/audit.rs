//! `gfm-pipe audit`.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::sync::Arc;

use crate::registry::audit_tables::{
    CHECKS, ERRORS, FindingRow, STRICT, SummaryRow, failing, not_made, read_findings, read_summary,
};
use crate::registry::layout::{CORPUS, MENTIONS, SPLITS};
use gfm_pipe_api::printable::one_line;
use gfm_pipe_api::schema::nearest;
use gfm_pipe_api::{Artifact, OpEntry, OpResult, columns};
use serde_json::{Value, json};

use super::error::{CliError, CliResult, exit};
use super::look;
use super::shared_args::{Common, RemoteArg};
use super::signals::Interrupt;
use crate::audit::{AuditError, AuditOptions, Target, of_data, of_documents, of_pipeline};
use crate::exec::{self, RunOptions};
use crate::init::{Data, DataSet, Found, Layout, LeftOut, look_at};
use crate::plan::Request;
use crate::record::RunStatus;
use crate::spec::Pipeline;
use crate::store::Store;
use crate::ui::{HumanUi, Look, Out, Verdict, judgement, verdict};

/// How many findings of a check are printed unless `--all` is given.
const FIRST: usize = 3;

/// Arguments of `audit`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Folder of a data set (processed/stage1/ with kg.txt or nodes.csv, raw/…), or of several, or
    /// of documents; or a pipeline, for what it reads
    path: PathBuf,
    /// End with 1 when one of these checks has findings; `errors` and `warnings` stand for all of
    /// these [without names: errors]
    #[arg(
        long,
        value_name = "CHECK,…",
        num_args = 0..=1,
        require_equals = true,
        value_delimiter = ',',
        default_missing_value = ERRORS,
        value_parser = check_name
    )]
    strict: Option<Vec<String>>,
    /// Print every finding
    #[arg(long)]
    all: bool,
    /// One JSON object with every finding, for programs
    #[arg(long, conflicts_with = "all")]
    json: bool,
    /// Layers of the model: how many triples away a gold document may be
    /// [default: 6, or as the pipeline says]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(0..=100))]
    layers: Option<u32>,
    /// Let stages run programs the pipeline names, where data is made by some
    #[arg(long)]
    allow_exec: bool,
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    remote: RemoteArg,
}

fn check_name(text: &str) -> Result<String, String> {
    let text = text.trim();
    if STRICT.contains(&text) {
        return Ok(text.to_owned());
    }
    Err(match nearest(text, STRICT.iter().copied()) {
        Some(near) => format!("there is no such check; did you mean `{near}`?"),
        None => format!("there is no such check; there are {}", STRICT.join(", ")),
    })
}

/// One audited data set.
struct Audited {
    target: Target,
    summary: Vec<SummaryRow>,
    findings: Artifact,
    statistics: BTreeMap<String, f64>,
    missing: Missing,
}

/// What a data set lacks.
#[derive(Debug, Clone, Default)]
struct Missing {
    /// The missing files, with what they would hold.
    files: Vec<String>,
    /// Whether there are questions that were not read, because their documents are missing.
    unread: bool,
}

/// What data sets lack, by the names of their audits: the folder, or the file of the graph where
/// there is nothing else.
fn not_there(sets: &[DataSet]) -> BTreeMap<String, Missing> {
    let mut out = BTreeMap::new();
    for set in sets {
        let asked = SPLITS.iter().any(|(_, file)| set.root.join(file).is_file());
        let missing = Missing {
            files: set.missing(),
            unread: asked && !set.documents && set.layout == Layout::One,
        };
        for name in [&set.root, &set.kg] {
            out.insert(name.display().to_string(), missing.clone());
        }
    }
    out
}

/// Audits data and returns the exit code.
pub fn audit(args: &Args, ops: &[OpEntry], out: &Out, err: &Out) -> CliResult<u8> {
    args.common.apply()?;
    let (pipeline, targets, found) = described(args, ops)?;
    let missing = not_there(&found.sets);
    for set in &found.left_out {
        err.line(&format!("{}: {}", set.root.display(), set.describe()));
    }
    let store = Store::open_readonly(args.common.store_dir())?;
    let options = RunOptions {
        request: Request {
            remote: args.remote.open(true)?,
            ..Request::until(targets.iter().map(|t| t.stage.clone()))
        },
        keep_going: true,
        device: args.common.open_device()?,
        allow_exec: args.allow_exec,
        environment: std::env::vars_os().collect(),
        // An audit is not recorded as a run: `latest` means the same run as before, and `gc` keeps
        // what that one used.
        recorded: false,
        ..RunOptions::default()
    };
    let interrupt = Interrupt::listen(err);
    let terminal = std::io::stderr().is_terminal();
    let progress = Look {
        bars: terminal,
        ..look(terminal)
    };
    let listener = Arc::new(HumanUi::new(err.clone(), progress));
    let summary = interrupt
        .running(|| exec::run(&pipeline, &store, &options, listener, &interrupt.cancel))?;
    if summary.status == RunStatus::Interrupted {
        return Ok(exit::INTERRUPTED);
    }
    let mut audited = Vec::new();
    for target in targets {
        if let Some(ports) = summary.artifacts.get(&target.stage) {
            let mut read = read(target, ports).map_err(|e| CliError::failed(e.to_string()))?;
            read.missing = missing
                .get(&read.target.name())
                .cloned()
                .unwrap_or_default();
            audited.push(read);
        }
    }
    let written = if args.json {
        told_json(&audited, &found.left_out).map(|json| out.document(&format!("{json:#}\n")))
    } else {
        print_text(&audited, args.all, out)
    };
    written.map_err(|e| CliError::failed(e.to_string()))?;
    let mut code = match summary.status {
        RunStatus::Ok => exit::OK,
        _ => exit::FAILED,
    };
    let words = args.strict.as_deref().unwrap_or_default();
    for set in &audited {
        if !passes(words, set, err) {
            code = exit::FAILED;
        }
    }
    Ok(code)
}

/// The pipeline that audits what was named, and the data sets where that is a folder.
fn described(args: &Args, ops: &[OpEntry]) -> CliResult<(Pipeline, Vec<Target>, Found)> {
    let options = AuditOptions {
        layers: args.layers,
    };
    if !args.path.exists() {
        let what = format!(
            "{}: there is no such folder, and no such pipeline",
            args.path.display()
        );
        return Err(CliError::usage(what)
            .hint("gfm-pipe audit takes a folder of data, or a pipeline that reads some"));
    }
    if args
        .path
        .extension()
        .is_some_and(|e| e == "txt" || e == "json")
    {
        let what = format!("{} is no folder and no pipeline", args.path.display());
        return Err(CliError::usage(what).hint(
            "name the folder of the data set, which has processed/stage1/kg.txt or nodes.csv, or kg.txt alone",
        ));
    }
    if !args.path.is_dir() {
        let pipeline = args.common.load(&args.path, ops)?;
        let (pipeline, targets) = of_pipeline(pipeline, ops, options)?;
        return Ok((pipeline, targets, Found::default()));
    }
    let c = &args.common;
    if !(c.vars.is_empty() && c.var_files.is_empty() && c.sets.is_empty()) {
        return Err(CliError::usage(
            "--param, --vars and --set change a pipeline, but this is a folder",
        )
        .hint("name a pipeline, or leave them out"));
    }
    match look_at(&args.path)? {
        Data::Sets(found) => {
            let (pipeline, targets) = of_data(&args.path, &found.sets, ops, options)?;
            Ok((pipeline, targets, found))
        }
        Data::Documents(documents) => {
            let (pipeline, targets) = of_documents(&documents, ops, options)?;
            Ok((pipeline, targets, Found::default()))
        }
    }
}

fn read(target: Target, ports: &BTreeMap<String, Artifact>) -> OpResult<Audited> {
    let port = |name: &str| {
        let found = ports.get(name).cloned();
        found.ok_or_else(|| {
            gfm_pipe_api::OpError::internal(format!("the audit has no port `{name}`"))
        })
    };
    let numbers = port("statistics")?.read("statistics")?;
    let names = columns::text(&numbers, "name")?.iter();
    let values = columns::f64s(&numbers, "value")?.iter();
    Ok(Audited {
        summary: read_summary(&port("summary")?)?,
        findings: port("findings")?,
        statistics: names
            .zip(values)
            .filter_map(|(name, value)| Some((name?.to_owned(), value?)))
            .collect(),
        missing: Missing::default(),
        target,
    })
}

/// Prints the verdict on each data set.
fn print_text(audited: &[Audited], all: bool, out: &Out) -> OpResult<()> {
    let look = look(std::io::stdout().is_terminal());
    for (i, set) in audited.iter().enumerate() {
        let mut shown: BTreeMap<String, Vec<String>> = BTreeMap::new();
        read_findings(&set.findings, |row| {
            let lines = shown.entry(row.check.clone()).or_default();
            if all || lines.len() < FIRST {
                lines.push(row.line(|source| set.target.path(source)));
            }
            true
        })?;
        if i > 0 {
            out.line("");
        }
        out.text(&verdict(
            &Verdict {
                name: &set.target.name(),
                summary: &set.summary,
                findings: &shown,
                statistics: &set.statistics,
                missing: &set.missing.files,
                all,
            },
            look,
        ));
    }
    Ok(())
}

fn told_json(audited: &[Audited], left_out: &[LeftOut]) -> OpResult<Value> {
    let mut sets = Vec::new();
    for set in audited {
        let mut findings = Vec::new();
        read_findings(&set.findings, |row| {
            findings.push(finding(&row, &set.target));
            true
        })?;
        let summary: Vec<Value> = set
            .summary
            .iter()
            .map(|r| {
                json!({
                    "check": r.check, "severity": r.severity, "count": r.count, "of": r.population,
                    "unit": r.unit, "meaning": r.meaning, "action": r.action,
                })
            })
            .collect();
        sets.push(json!({
            "name": set.target.name(),
            "stage": set.target.stage,
            "verdict": judgement(&set.summary),
            "not_there": set.missing.files,
            "checks_not_made": not_made(&set.summary),
            "summary": summary,
            "findings": findings,
            "statistics": set.statistics,
        }));
    }
    let left_out: Vec<Value> = left_out
        .iter()
        .map(|l| json!({"name": l.root.display().to_string(), "same_as": l.of.display().to_string()}))
        .collect();
    Ok(json!({ "sets": sets, "left_out": left_out }))
}

fn finding(row: &FindingRow, target: &Target) -> Value {
    json!({
        "check": row.check,
        "severity": row.severity,
        "file": row.source.as_ref().map(|source| target.path(source)),
        "line": row.line,
        "item": row.item,
        "message": row.message,
        "suggestion": row.suggestion,
    })
}

/// Whether a data set has no findings that `--strict` forbids; prints those it has.
fn passes(words: &[String], set: &Audited, err: &Out) -> bool {
    let mut problems: Vec<String> = failing(words, &set.summary)
        .iter()
        .map(|row| format!("{} ({})", row.check, row.count))
        .collect();
    // A check that was named but could not be made has not passed.
    let made = |name: &str| set.summary.iter().any(|r| r.check == name);
    let named = words
        .iter()
        .filter(|w| CHECKS.iter().any(|c| c.name == **w));
    problems.extend(
        named
            .filter(|w| !made(w))
            .map(|w| format!("{w} (not checked)")),
    );
    if !words.is_empty() && set.missing.unread {
        problems.push(format!(
            "questions were not read, because {CORPUS} or {MENTIONS} is not there"
        ));
    }
    if problems.is_empty() {
        return true;
    }
    let name = set.target.name();
    err.line(&format!(
        "{}: forbidden by --strict: {}",
        one_line(&name),
        problems.join(", ")
    ));
    false
}

impl From<AuditError> for CliError {
    fn from(e: AuditError) -> Self {
        let hint = match &e {
            AuditError::NoOperator(_) | AuditError::Parameters(_) => None,
            AuditError::NoData(_) => Some("name a folder of data, or a pipeline that reads some"),
            AuditError::NoGraph { .. } => {
                Some("give the pipeline an `audit` stage of its own, which says where the rest is")
            }
        };
        CliError::usage(e.to_string()).hint_opt(hint)
    }
}
