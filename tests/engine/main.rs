//! The engine with toy operators: caching, failure, interruption, damage, crashes. No candle, no
//! polars.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod agree;
mod cache;
mod commands;
mod crash;
mod damage;
mod events;
#[cfg(all(unix, feature = "failpoints"))]
mod failpoints;
mod failure;
mod fetch;
mod housekeeping;
mod lab;
mod limits;
mod remote;
mod selection;
mod toy;
