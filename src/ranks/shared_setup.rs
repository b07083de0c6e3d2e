//! The setup that must be the same on all ranks of a run.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;

use gfm_pipe_api::OpEntry;
use gfm_pipe_ranks::Claim;
use serde_json::json;

use crate::plan::Files;
use crate::spec::Pipeline;
use crate::store::Store;

/// This rank's setup, to be compared with that of rank 0: its program, its pipeline, the files that
/// stages read, and the type of its device.
pub fn shared_setup(
    pipeline: &Pipeline,
    ops: &[OpEntry],
    store: &Store,
    base: &Path,
    device: &str,
) -> Vec<Claim> {
    let claim = |what: &str, value: String, hint: &str| Claim {
        what: what.to_owned(),
        value,
        hint: hint.to_owned(),
    };
    let versions = ops.iter().map(|op| (op.name, op.version));
    let program = short(&json!(versions.collect::<BTreeMap<_, _>>()).to_string());
    let mut out = vec![
        claim(
            "gfm-pipe",
            format!("{} (operators {program})", env!("CARGO_PKG_VERSION")),
            "install the same gfm-pipe on every host",
        ),
        claim(
            "kind of device",
            device.split(':').next().unwrap_or(device).to_owned(),
            "start as many ranks on a host as it has GPUs, or give all of them --device cpu",
        ),
    ];
    for stage in &pipeline.stages {
        let wiring = format!("{:?}", stage.inputs);
        let text = json!([stage.op.name, stage.params, wiring]).to_string();
        out.push(claim(
            &format!("stage `{}`", stage.name),
            short(&text),
            "every rank must read the same pipeline, with the same arguments",
        ));
    }
    let files = Files::open(store, base);
    let mut named = HashSet::new();
    for stage in &pipeline.stages {
        // Files that cannot be read are ignored here: the run on rank 0 reports them.
        let read = stage.op.files(&stage.params, base).unwrap_or_default();
        for file in files.identify(&read).unwrap_or_default().0 {
            if !named.insert(file.path.clone()) {
                continue;
            }
            let digest = file
                .digest
                .map_or_else(|| "absent".to_owned(), |d| short(&d));
            out.push(claim(
                &file.path,
                digest,
                "every rank must read the same data: copy it, or put it on a file system that all hosts share",
            ));
        }
    }
    out
}

/// A prefix of a digest, long enough to tell setups apart.
fn short(text: &str) -> String {
    blake3::hash(text.as_bytes()).to_hex()[..12].to_owned()
}
