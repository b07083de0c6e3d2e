//! `gfm-pipe init`.

use std::path::{Path, PathBuf};

use gfm_pipe_api::OpEntry;

use super::args::StoreArgs;
use super::error::{CliError, CliResult};
use super::output::write_new;
use crate::init::{InitError, find, pipeline};
use crate::plan::{Request, prepare};
use crate::shell;
use crate::spec::{self, LoadOptions, STDIN};
use crate::ui::Out;

/// Arguments of `init`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Folder of a data set (processed/stage1/kg.txt, raw/…), or of several
    data: PathBuf,
    /// Write the pipeline here; `-` is standard output
    #[arg(short, long, value_name = "FILE", default_value = "pipeline.yaml")]
    output: PathBuf,
    /// Replace the output file where there is one
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    store: StoreArgs,
}

/// Says what was found, writes a pipeline that was checked as `plan` would, and says how to go on.
pub fn init(args: &Args, ops: &[OpEntry], out: &Out, err: &Out) -> CliResult<()> {
    let store = args.store.open()?;
    let sets = find(&args.data)?;
    // The pipeline itself may go to standard output.
    let say = match args.output == Path::new(STDIN) {
        true => err,
        false => out,
    };
    for s in &sets {
        say.line(&format!("{}: {}", s.root.display(), s.describe()));
    }
    let name = sets.first().filter(|_| sets.len() == 1);
    let name = name.map_or("many", |s| s.name.as_str());
    let text = pipeline(name, &sets);
    // What does not load is no beginning: then nothing is written, and what was there stays.
    let loaded = spec::load_text(&args.output, &text, &LoadOptions::default(), ops)
        .map_err(|e| CliError::report(e.to_string()))?;
    let stages = prepare(&loaded, &store, &Request::default())?.plan.len();
    let is_file = write_new(&args.output, &text, args.force, out)?;
    say.line(&match is_file {
        true => format!("{} written: {stages} stages", args.output.display()),
        false => format!("{stages} stages"),
    });
    if let [only] = sets.as_slice() {
        for missing in only.missing() {
            say.line(&format!("not there, left out: {missing}"));
        }
    }
    if is_file {
        say.line(&format!("next: gfm-pipe run {}", shell::path(&args.output)));
    }
    Ok(())
}

impl From<InitError> for CliError {
    fn from(e: InitError) -> Self {
        CliError::usage(e.to_string()).hint_opt(e.hint())
    }
}
