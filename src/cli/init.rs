//! `gfm-pipe init`.

use std::path::{Path, PathBuf};

use gfm_pipe_api::OpEntry;

use super::args::StoreArgs;
use super::error::{CliError, CliResult};
use super::output::write_new;
use crate::init::{InitError, find, pipeline};
use crate::plan::{Request, prepare};
use crate::spec::{self, LoadOptions};
use crate::ui::Out;

/// Arguments of `init`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Folder of a data set (processed/stage1/kg.txt, raw/…), or of several
    data: PathBuf,
    /// Write the pipeline here
    #[arg(short, long, value_name = "FILE", default_value = "pipeline.yaml")]
    output: PathBuf,
    /// Replace the output file where there is one
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    store: StoreArgs,
}

/// Says what was found, writes a pipeline, checks it as `plan` would, and says how to go on.
pub fn init(args: &Args, ops: &[OpEntry], out: &Out) -> CliResult<()> {
    let store = args.store.open()?;
    let sets = find(&args.data)?;
    for s in &sets {
        out.line(&format!("{}: {}", s.root.display(), s.describe()));
    }
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
