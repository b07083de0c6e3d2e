//! `gfm-pipe why`: why a stage ran, or would run, down to what the user changed.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::PathBuf;

use gfm_pipe_api::OpEntry;
use gfm_pipe_api::schema::nearest;

use super::error::{CliError, CliResult};
use super::runs::NO_RUN;
use super::shared_args::{Common, RemoteArg};
use crate::plan::{Ingredients, Request, Verdict, prepare};
use crate::record::{StageStatus, latest};
use crate::spec::split_port;
use crate::store::{ItemChanges, ItemCounts, Manifest, Store};
use crate::ui::{self, Out};

/// Most items that are named of those that are new, and so on.
const MOST_NAMES: usize = 20;

/// Arguments of `why`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The stage
    stage: String,
    /// Say what a run of this pipeline would do now, not what the latest run did
    #[arg(long, value_name = "FILE")]
    pipeline: Option<PathBuf>,
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    remote: RemoteArg,
}

/// How a stage ended or would end, and why.
struct Explained {
    word: &'static str,
    reasons: Vec<String>,
    manifest: Option<Manifest>,
    /// An error and where to read more.
    error: Option<String>,
    /// How many of its items ran.
    items: Option<ItemCounts>,
}

/// Prints why a stage ran, or would run.
pub fn why(args: &Args, ops: &[OpEntry], out: &Out) -> CliResult<()> {
    args.common.apply()?;
    let store = Store::open_readonly(args.common.store_dir())?;
    let (head, all) = match &args.pipeline {
        Some(file) => planned(args, file, &store, ops)?,
        None => happened(&store)?,
    };
    let Some(stage) = all.get(&args.stage) else {
        let known: Vec<&str> = all.keys().map(String::as_str).collect();
        let hint = match nearest(&args.stage, known.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("its stages: {}", known.join(", ")),
        };
        return Err(CliError::usage(format!("{head} has no stage `{}`", args.stage)).hint(hint));
    };
    let mut text = format!("{head}\n");
    tree(&all, &args.stage, 0, &mut BTreeSet::new(), &mut text);
    if let Some(counts) = &stage.items {
        line(&mut text, format_args!("\nran {}", ui::items(counts)));
        changes(&store, stage, counts, &mut text);
    }
    if let Some(error) = &stage.error {
        line(&mut text, format_args!("\n{error}"));
    }
    if let Some(m) = &stage.manifest {
        line(
            &mut text,
            format_args!(
                "\nmade {} in {} by {} version {}, key {}",
                m.made_at,
                ui::duration(m.seconds),
                m.ingredients.operator,
                m.ingredients.version,
                m.key
            ),
        );
        ingredients(&m.ingredients, &mut text);
    }
    out.text(&text);
    Ok(())
}

/// Names the items that differ from those of the time before.
fn changes(store: &Store, stage: &Explained, counts: &ItemCounts, out: &mut String) {
    let items = |manifest: Option<&Manifest>| store.items(manifest?).ok();
    let before = counts.before.as_ref();
    let before = before.and_then(|key| store.manifest(key).ok().flatten());
    let (Some(before), Some(now)) = (items(before.as_ref()), items(stage.manifest.as_ref())) else {
        if counts.before.is_some() {
            let text = "  their names are not known any more: `gc` or `clean` has removed them";
            line(out, format_args!("{text}"));
        }
        return;
    };
    let Some(changes) = ItemChanges::between(&before, &now) else {
        return;
    };
    let parts = [
        ("new", changes.new),
        ("changed", changes.changed),
        ("gone", changes.gone),
    ];
    for (what, names) in parts {
        for name in names.iter().take(MOST_NAMES) {
            line(out, format_args!("  {what}: {name}"));
        }
        if let Some(more) = names.len().checked_sub(MOST_NAMES).filter(|n| *n > 0) {
            line(
                out,
                format_args!("  {what}: {} more", ui::count(more as u64)),
            );
        }
    }
}

/// The stages of the latest run.
fn happened(store: &Store) -> CliResult<(String, BTreeMap<String, Explained>)> {
    let journal = latest(store)?.ok_or_else(|| {
        CliError::usage(format!("{} has no finished run", store.root().display())).hint(NO_RUN)
    })?;
    let mut all = BTreeMap::new();
    for r in &journal.stages {
        let word = match r.status {
            StageStatus::Ran => "ran",
            StageStatus::Cached => "was cached",
            StageStatus::Failed => "failed",
            StageStatus::Skipped => "was skipped",
        };
        let manifest = match &r.key {
            Some(key) if !r.outputs.is_empty() => store.manifest(key)?,
            _ => None,
        };
        let log = store.log_path(&journal.run);
        let error = r.error.as_ref().map(|e| {
            let hint = r
                .hint
                .as_ref()
                .map(|h| format!("\nhint: {h}"))
                .unwrap_or_default();
            format!("error: {e}{hint}\nlog: {}", log.display())
        });
        all.insert(
            r.name.clone(),
            Explained {
                word,
                reasons: r.reasons.clone(),
                manifest,
                error,
                items: r.items.clone(),
            },
        );
    }
    let head = format!(
        "run {} of {} ({})",
        journal.run, journal.pipeline, journal.file
    );
    Ok((head, all))
}

/// The stages as a run of the pipeline would find them.
fn planned(
    args: &Args,
    file: &std::path::Path,
    store: &Store,
    ops: &[OpEntry],
) -> CliResult<(String, BTreeMap<String, Explained>)> {
    let pipeline = args.common.load(file, ops)?;
    let request = Request {
        remote: args.remote.open(false)?,
        ..Request::default()
    };
    let prepared = prepare(&pipeline, store, &request)?;
    for text in request.remote.iter().flat_map(|r| r.news()) {
        Out::stderr().line(&format!("warning: {text}"));
    }
    let texts = |all: &[crate::plan::Reason]| all.iter().map(ToString::to_string).collect();
    let mut all = BTreeMap::new();
    for p in prepared.plan {
        let (word, reasons, manifest) = match p.verdict {
            Verdict::Cached(m) => ("is cached", Vec::new(), Some(*m)),
            Verdict::Remote(m) => ("is in the remote", Vec::new(), Some(*m)),
            Verdict::Run(why) => ("would run", texts(&why), None),
            Verdict::Depends(why) => ("depends on what runs", texts(&why), None),
            Verdict::NotStored | Verdict::NotSelected => ("is not selected", Vec::new(), None),
        };
        all.insert(
            p.name,
            Explained {
                word,
                reasons,
                manifest,
                error: None,
                items: None,
            },
        );
    }
    Ok((format!("{} ({})", pipeline.name, file.display()), all))
}

/// The stage with its reasons; below an input that changed, that input's own. Each stage is
/// explained once.
fn tree<'a>(
    all: &'a BTreeMap<String, Explained>,
    stage: &str,
    depth: usize,
    told: &mut BTreeSet<&'a str>,
    out: &mut String,
) {
    let Some((name, why)) = all.get_key_value(stage) else {
        return;
    };
    let indent = "  ".repeat(depth);
    if why.reasons.is_empty() {
        line(out, format_args!("{indent}{stage} {}", why.word));
        return;
    }
    if !told.insert(name) {
        line(out, format_args!("{indent}{stage} {}: see above", why.word));
        return;
    }
    line(
        out,
        format_args!("{indent}{stage} {}: {}", why.word, why.reasons.join(", ")),
    );
    // An input stage may have several outputs that changed.
    let mut below = BTreeSet::new();
    for reason in &why.reasons {
        let from = reason.strip_prefix("input ").and_then(|r| {
            r.strip_suffix(" changed")
                .or_else(|| r.strip_suffix(" runs"))
        });
        if let Some(from) = from {
            let stage = split_port(from).0;
            if below.insert(stage) {
                // The recursion is at most as deep as the pipeline, which has no cycles.
                tree(all, stage, depth + 1, told, out);
            }
        }
    }
}

/// Writes what the key is made of.
fn ingredients(i: &Ingredients, out: &mut String) {
    for (port, ids) in &i.inputs {
        for id in ids {
            line(
                out,
                format_args!("  input {port}: {} {}", id.from, short(&id.digest)),
            );
        }
    }
    for f in &i.files {
        let digest = f.digest.as_deref().map_or("not there", short);
        line(out, format_args!("  file {}: {digest}", f.path));
    }
    for path in &i.unread {
        line(out, format_args!("  file {path}: not read"));
    }
    if let Some(listing) = &i.listing {
        let (read, unread) = (ui::number(listing.read, "file"), listing.unread);
        let digest = short(&listing.digest);
        line(
            out,
            format_args!("  {read}, and {unread} not read: {digest}"),
        );
    }
    if let Some(fingerprint) = &i.fingerprint {
        // The content of tables that are compiled in, or the names of files.
        line(
            out,
            format_args!("  what else counts: {}", short(fingerprint)),
        );
    }
    let yaml = serde_yaml::to_string(&i.params).unwrap_or_default();
    if yaml.trim() != "{}" {
        out.push_str("  parameters that count:\n");
        for l in yaml.lines() {
            line(out, format_args!("    {l}"));
        }
    }
}

fn short(digest: &str) -> &str {
    digest.get(..16).unwrap_or(digest)
}

fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = writeln!(out, "{text}");
}
