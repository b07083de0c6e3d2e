//! `gfm-pipe init`.

use std::fs;
use std::path::{Path, PathBuf};

use gfm_pipe_api::OpEntry;

use super::args::StoreArgs;
use super::error::{CliError, CliResult};
use super::output::write_new;
use crate::init::{EXAMPLE, InitError, find, pipeline};
use crate::plan::{Request, prepare};
use crate::spec::{self, LoadOptions};
use crate::ui::Out;

/// Arguments of `init`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Folder of a data set (processed/stage1/kg.txt, raw/…), or of several
    #[arg(required_unless_present = "example")]
    data: Option<PathBuf>,
    /// Write the three-document example of docs/data.md into this folder, and a pipeline for it
    #[arg(long, value_name = "DIR", conflicts_with = "data")]
    example: Option<PathBuf>,
    /// Write the pipeline here
    #[arg(short, long, value_name = "FILE", default_value = "pipeline.yaml")]
    output: PathBuf,
    /// Replace the output file where there is one, and files of the example
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    store: StoreArgs,
}

/// Says what was found, writes a pipeline, checks it as `plan` would, and says how to go on.
pub fn init(args: &Args, ops: &[OpEntry], out: &Out) -> CliResult<()> {
    let store = args.store.open()?;
    let data = match (&args.example, &args.data) {
        (Some(folder), _) => {
            write_example(folder, args, out)?;
            folder
        }
        (None, Some(data)) => data,
        (None, None) => return Err(CliError::usage("no folder of data is given")),
    };
    let found = find(data)?;
    for s in &found.sets {
        out.line(&format!("{}: {}", s.root.display(), s.describe()));
    }
    for s in &found.left_out {
        out.line(&format!("{}: {}", s.root.display(), s.describe()));
    }
    let sets = found.sets;
    let name = sets.first().filter(|_| sets.len() == 1);
    let name = name.map_or("many", |s| s.name.as_str());
    write_new(&args.output, &pipeline(name, &sets), args.force)?;
    let checked = spec::load(&args.output, &LoadOptions::default(), ops)
        .map_err(|e| CliError::report(e.to_string()))
        .and_then(|loaded| Ok(prepare(&loaded, &store, &Request::default())?.plan.len()));
    let stages = checked.inspect_err(|_| {
        // What does not load is no beginning; and it would be in the way of the next attempt.
        let _ = std::fs::remove_file(&args.output);
    })?;
    out.line(&format!(
        "{} written: {stages} stages",
        args.output.display()
    ));
    if let [only] = sets.as_slice() {
        for missing in only.missing() {
            out.line(&format!("not there, left out: {missing}"));
        }
    }
    out.line(&format!("next: gfm-pipe run {}", shell(&args.output)));
    Ok(())
}

/// Writes the files of the example. Nothing is written where one of them, or the pipeline, would replace something.
fn write_example(folder: &Path, args: &Args, out: &Out) -> CliResult<()> {
    let files = EXAMPLE.map(|(name, text)| (folder.join(name), text));
    let all = files.iter().map(|(path, _)| path).chain([&args.output]);
    if let Some(there) = all.into_iter().find(|path| path.exists() && !args.force) {
        let message = format!("{} is there already", there.display());
        return Err(CliError::failed(message).hint("--force replaces it"));
    }
    for (path, text) in &files {
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)
                .map_err(|e| CliError::failed(format!("cannot make {}: {e}", parent.display())))?;
        }
        write_new(path, text, args.force)?;
        out.line(&format!("{} written", path.display()));
    }
    Ok(())
}

/// A path as one would type it.
fn shell(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_alphanumeric() || "/._-+:=@%".contains(c);
    if text.chars().all(plain) {
        text
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

impl From<InitError> for CliError {
    fn from(e: InitError) -> Self {
        CliError::usage(e.to_string()).hint_opt(e.hint())
    }
}
