//! gfm-pipe: a declarative pipeline runner that trains graph foundation models for retrieval.
//!
//! The library knows no terminal; `cli/` and `ui/` are the only parts that talk. Data goes one way:
//! [`spec`] (YAML to a validated pipeline) -> [`plan`] (graph, keys, reasons) -> [`exec`] (running)
//! -> [`store`] (artifacts), with [`record`] remembering what happened and [`report`] showing it.
//! [`init`] and [`audit`] make pipelines for data.

pub mod audit;
pub mod cli;
pub mod exec;
pub mod import;
pub mod init;
mod panics;
pub mod pinned;
pub mod plan;
pub mod ranks;
pub mod record;
pub mod registry;
pub mod report;
mod silent;
pub mod spec;
pub mod store;
pub mod ui;
