//! `gfm-pipe init`.

use std::fs;
use std::path::{Path, PathBuf};

use gfm_pipe_api::OpEntry;
use gfm_pipe_api::printable::one_line;

use super::error::{CliError, CliResult};
use super::output::write_new;
use super::shared_args::StoreArgs;
use crate::init::{Data, EXAMPLE, Found, InitError, look_at, pipeline};
use crate::plan::{Request, prepare};
use crate::spec::{self, LoadOptions, STDIN};
use crate::ui::Out;
use gfm_pipe_api::shell;

/// Arguments of `init`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Folder of a data set (processed/stage1/ with kg.txt or nodes.csv, raw/…), or of several; or
    /// documents: a folder, a file, or a quoted pattern
    #[arg(required_unless_present = "example")]
    data: Option<PathBuf>,
    /// Write the three-document example of docs/data.md into this folder, and a pipeline for it
    #[arg(long, value_name = "DIR", conflicts_with = "data")]
    example: Option<PathBuf>,
    /// Write the pipeline here; `-` is standard output
    #[arg(short, long, value_name = "FILE", default_value = "pipeline.yaml")]
    output: PathBuf,
    /// Replace the output file where there is one, and files of the example
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    store: StoreArgs,
}

/// Prints what was found, writes a pipeline that was checked as `plan` checks it, and prints how to
/// go on.
pub fn init(args: &Args, ops: &[OpEntry], out: &Out, err: &Out) -> CliResult<()> {
    let store = args.store.open()?;
    // When the pipeline itself goes to standard output, messages go to standard error.
    let say = if args.output == Path::new(STDIN) {
        err
    } else {
        out
    };
    let data = match (&args.example, &args.data) {
        (Some(folder), _) => {
            write_example(folder, args, say)?;
            folder
        }
        (None, Some(data)) => data,
        (None, None) => return Err(CliError::usage("no folder of data is given")),
    };
    let found = look_at(data)?;
    let text = match &found {
        Data::Sets(found) => {
            found.one_layout(data)?;
            of_sets(found, say)
        }
        Data::Documents(documents) => {
            let root = data.display().to_string();
            say.line(&format!("{}: {}", one_line(&root), documents.describe()));
            documents.pipeline()
        }
    };
    // A pipeline that does not load is not written, and an existing file stays as it is.
    let loaded = spec::load_text(&args.output, &text, &LoadOptions::default(), ops)
        .map_err(|e| CliError::report(e.to_string()))?;
    let stages = prepare(&loaded, &store, &Request::default())?.plan.len();
    let is_file = write_new(&args.output, &text, args.force, out)?;
    say.line(&if is_file {
        format!("{} written: {stages} stages", args.output.display())
    } else {
        format!("{stages} stages")
    });
    for remark in remarks(&found) {
        say.line(&remark);
    }
    if is_file {
        say.line(&format!("next: gfm-pipe run {}", shell::path(&args.output)));
    }
    if let Data::Documents(documents) = &found {
        say.line(&documents.then());
    }
    Ok(())
}

/// Prints which data sets were found, and returns the text of a pipeline for them.
fn of_sets(found: &Found, say: &Out) -> String {
    for s in &found.sets {
        say.line(&format!(
            "{}: {}",
            one_line(&s.root.display().to_string()),
            s.describe()
        ));
    }
    for s in &found.left_out {
        say.line(&format!(
            "{}: {}",
            one_line(&s.root.display().to_string()),
            s.describe()
        ));
    }
    let sets = &found.sets;
    let name = sets.first().filter(|_| sets.len() == 1);
    pipeline(name.map_or("many", |s| s.name.as_str()), sets)
}

/// Remarks on what the pipeline lacks or leaves out.
fn remarks(found: &Data) -> Vec<String> {
    match found {
        Data::Documents(documents) => documents.remarks(),
        Data::Sets(found) => match found.sets.as_slice() {
            [only] => {
                let missing = only.missing().into_iter();
                let lines = missing.map(|m| format!("not there, left out: {m}"));
                lines.collect()
            }
            _ => Vec::new(),
        },
    }
}

/// Writes the files of the example. Nothing is written where one of them, or the pipeline, would
/// replace something.
fn write_example(folder: &Path, args: &Args, say: &Out) -> CliResult<()> {
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
        write_new(path, text, args.force, say)?;
        say.line(&format!("{} written", path.display()));
    }
    Ok(())
}

impl From<InitError> for CliError {
    fn from(e: InitError) -> Self {
        CliError::usage(e.to_string()).hint_opt(e.hint())
    }
}
