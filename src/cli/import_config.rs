//! `gfm-pipe import-config`.

use std::path::PathBuf;

use gfm_pipe_api::OpEntry;
use gfm_pipe_api::printable::one_line;

use super::error::{CliError, CliResult};
use super::output::write_new;
use crate::import::{ImportError, import};
use crate::ui::Out;

/// Arguments of `import-config`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A configuration of GFM-RAG: stage2_kg_pretrain.yaml, stage2_qa_finetune.yaml or one like
    /// them (`-`: standard input)
    file: PathBuf,
    /// Overrides as Hydra takes them: train.batch_size=4, text_emb_model=bge_large_en
    #[arg(value_name = "KEY=VALUE")]
    overrides: Vec<String>,
    /// Write the pipeline here instead of printing it; `-` prints it
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Replace the output file where there is one
    #[arg(long)]
    force: bool,
    /// Leave out what is not understood, with a note, instead of refusing the configuration
    #[arg(long)]
    lenient: bool,
}

/// Prints or writes the pipeline; what was moved or is not known goes to standard error.
pub fn import_config(args: &Args, ops: &[OpEntry], out: &Out, err: &Out) -> CliResult<()> {
    let done = import(&args.file, &args.overrides, args.lenient, ops)?;
    match &args.output {
        None => out.document(&done.yaml),
        Some(path) => {
            if write_new(path, &done.yaml, args.force, out)? {
                out.line(&format!("{} written", path.display()));
            }
        }
    }
    for note in &done.notes {
        err.line(&format!("note: {}", one_line(note)));
    }
    for (key, value) in &done.unknown {
        let text = format!("{key}: {value}");
        err.line(&format!("not known, left out: {}", one_line(&text)));
    }
    Ok(())
}

impl From<ImportError> for CliError {
    fn from(e: ImportError) -> Self {
        CliError::usage(e.to_string()).hint_opt(e.hint())
    }
}
