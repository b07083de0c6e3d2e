//! The command line as a process: text, exit codes, signals, closed pipes.
//!
//! Two programs are tested: the real binary, and the same command line with the toy operators of
//! the engine's tests.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

#[path = "../engine/toy.rs"]
mod toy;

mod ask;
mod audit;
mod binary;
mod config;
#[cfg(target_os = "linux")]
mod disk;
mod escapes;
mod examples;
mod init;
#[cfg(all(feature = "gfm", feature = "english", feature = "static-encoder"))]
mod llm;
mod old_stores;
mod pages;
mod program;
#[cfg(unix)]
mod rerun;
mod store;
mod streams;
mod tables;
mod together;
mod toys;
#[cfg(feature = "static-encoder")]
mod vectors;
mod watch;
