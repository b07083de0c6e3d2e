//! `gfm-pipe plan`.

use std::io::IsTerminal;
use std::path::PathBuf;

use gfm_pipe_api::OpEntry;

use super::error::CliResult;
use super::look;
use super::shared_args::{Common, RemoteArg, Select};
use crate::plan::{Request, prepare};
use crate::record::durations;
use crate::registry::gpu_name;
use crate::store::Store;
use crate::ui::{Out, plan_text};

/// Arguments of `plan`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The pipeline; `-` is standard input
    file: PathBuf,
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    select: Select,
    #[command(flatten)]
    remote: RemoteArg,
}

/// Prints what a run would do.
pub fn plan(args: &Args, ops: &[OpEntry], out: &Out, err: &Out) -> CliResult<()> {
    args.common.apply()?;
    let pipeline = args.common.load(&args.file, ops)?;
    let store = Store::open_readonly(args.common.store_dir())?;
    let remote = args.remote.open(false)?;
    let device = &args.common.device;
    let gpu = device.starts_with("cuda");
    let Some(selected) = args.select.request(&pipeline, &store, err)? else {
        return Ok(());
    };
    let request = Request {
        remote: remote.clone(),
        estimates: Some(if gpu {
            gpu_name(device)
        } else {
            "cpu".to_owned()
        }),
        ..selected
    };
    let prepared = prepare(&pipeline, &store, &request)?;
    let earlier = durations(&store, &pipeline.name);
    let look = look(std::io::stdout().is_terminal());
    out.text(&plan_text(&prepared.plan, &earlier, look, device));
    for text in remote.iter().flat_map(|r| r.news()) {
        err.line(&format!("warning: {text}"));
    }
    Ok(())
}
