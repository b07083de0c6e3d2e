//! Tests over real connections.

#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

mod client;
mod fake;
mod hostile;
mod limits;
#[cfg(feature = "mcp")]
mod mcp;
mod openapi;
mod routes;
mod scoring;
mod stopping;
