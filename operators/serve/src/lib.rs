//! Serves questions in plain words: over HTTP ([`serve`]) and, with the feature `mcp`, over the
//! Model Context Protocol ([`mcp_stdio`]).
//!
//! What answers is any [`Answers`](gfm_pipe_api::answer::Answers). This crate knows nothing of
//! stores, pipelines or models.
//!
//! Questions that wait are scored together: handlers put them into a bounded queue, and worker
//! threads take everything that waits. Questions that a language model is to answer have threads of
//! their own, as it takes seconds. Every answer other than 2xx is JSON of one shape,
//! `{"error": {"code", "message", "hint"}}`, also where a request is refused before a handler sees
//! it.

mod body;
mod config;
mod connection;
mod cors;
mod current;
mod error;
mod gate;
mod listener;
mod lookup;
#[cfg(feature = "mcp")]
mod mcp;
mod metrics;
mod openapi;
mod query;
mod question;
mod queue;
mod routes;
mod server;
mod shared;
mod wire;
mod worker;

#[cfg(test)]
mod tests;

pub use config::{Config, Limits};
pub use current::Current;
pub use listener::Listener;
#[cfg(feature = "mcp")]
pub use mcp::{mcp, mcp_stdio};
pub use server::serve;
