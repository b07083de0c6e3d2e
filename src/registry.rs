//! The operators built into this binary. To add a crate of operators, add one line here.
//!
//! This is the only file under `src/` that names crates of operators (a test checks this). What the
//! engine needs from them besides the operators themselves is passed on below: where a data set
//! keeps its files, how much a file contains, the tables of the audit, devices, and stopping
//! programs.

use gfm_pipe_api::{OpEntry, OpResult};

use crate::pinned::Pinned;

pub use gfm_pipe_exec::kill_all as kill_programs;
pub use gfm_pipe_index::preview;
pub use gfm_pipe_kg::audit as audit_tables;
pub use gfm_pipe_kg::layout;
pub use gfm_pipe_kg::sizes;
pub use gfm_pipe_llm::Line as AnswerLine;

/// Every built-in operator, in the order `gfm-pipe ops` lists them.
pub fn builtin() -> Vec<OpEntry> {
    let mut all = gfm_pipe_kg::operators();
    all.extend(gfm_pipe_index::operators());
    all.extend(gfm_pipe_text::operators());
    #[cfg(feature = "gfm")]
    {
        all.extend(gfm_pipe_gfm::operators());
        all.extend(gfm_pipe_ask::operators());
    }
    all.extend(gfm_pipe_eval::operators());
    all.extend(gfm_pipe_exec::operators());
    all.push(OpEntry::of::<Pinned>());
    all
}

/// The device that a name stands for on this machine and in this build: `cpu` or `cuda:N`. `auto`
/// and `cuda` without a number select device number `local`.
///
/// # Errors
/// When a CUDA device was asked for and cannot be used; the error says why, and what to do.
#[cfg(feature = "gfm")]
pub fn resolve_device(name: &str, local: usize) -> OpResult<String> {
    gfm_pipe_gfm::device::resolve(name, local)
}

/// The device that a name stands for: in a build without the model, always the CPU.
///
/// # Errors
/// When a CUDA device was asked for.
#[cfg(not(feature = "gfm"))]
pub fn resolve_device(name: &str, _: usize) -> OpResult<String> {
    match gfm_pipe_api::Device::parse(name) {
        Some(gfm_pipe_api::Device::Cuda(n)) => Err(gfm_pipe_api::OpError::new(format!(
            "cuda:{n} was asked for, and this gfm-pipe was built without CUDA"
        ))
        .hint("build it with `cargo build --release --features cuda` (docs/cuda.md), or use `--device cpu`")),
        Some(gfm_pipe_api::Device::Auto | gfm_pipe_api::Device::Cpu) | None => Ok("cpu".to_owned()),
    }
}

/// The name of a CUDA device; empty if it cannot be opened, for example when planning for another
/// machine.
pub fn gpu_name(device: &str) -> String {
    #[cfg(feature = "gfm")]
    let name = gfm_pipe_gfm::device::name(device);
    #[cfg(not(feature = "gfm"))]
    let name: Option<String> = {
        let _ = device;
        None
    };
    name.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_has_an_upper_bound() {
        for op in builtin() {
            for (path, field) in op.schema.leaves() {
                // A number may lack a bound only if `limit` gives a reason.
                let bounded = !field.ty.unbounded() || field.limit.is_some();
                assert!(
                    bounded,
                    "{}: {path} is a number without an upper bound",
                    op.name
                );
            }
        }
    }
}

#[cfg(all(test, feature = "gfm"))]
mod model_tests {
    #![allow(clippy::unwrap_used)]
    use gfm_pipe_api::path_text;
    use serde_json::{Value, json};

    use super::*;

    fn op(name: &str) -> OpEntry {
        builtin().into_iter().find(|o| o.name == name).unwrap()
    }

    /// Place, message and hint of the only problem that validation reports.
    fn refused(name: &str, with: Value) -> String {
        let problems = op(name).validate(&with).unwrap_err();
        assert_eq!(problems.len(), 1, "{problems:?}");
        let p = &problems[0];
        let hint = p.hint.as_deref().unwrap_or_default();
        format!("{}: {} ({hint})", path_text(&p.path), p.message)
    }

    #[test]
    fn numbers_that_would_take_all_memory_are_refused_with_the_reason() {
        assert_eq!(
            refused(
                "pretrain",
                json!({"task": {"num_negative": 10_000_000_000_000i64}})
            ),
            "task.num_negative: expected a whole number from 1 to 1000000, found the number 10000000000000 (each is scored for every triple of a batch)"
        );
        assert_eq!(
            refused("evaluate", json!({"resamples": 1_000_000_000_000i64})),
            "resamples: expected a whole number from 0 to 1000000, found the number 1000000000000 (all are held in memory, and intervals no longer change)"
        );
        let layers = json!({"model": {"entity_model": {"hidden_dims": vec![512; 1001]}}});
        assert!(refused("finetune", layers).contains("1001 layers"));
        op("finetune")
            .validate(&json!({"seed": i64::MAX, "train": {"batch_size": 65_536}}))
            .unwrap();
    }
}
