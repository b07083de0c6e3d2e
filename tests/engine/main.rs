//! The engine with toy operators: caching, failures, interruption, damage, crashes. Neither candle
//! nor polars is needed.
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
mod items;
mod lab;
mod leftovers;
mod limits;
mod listing;
mod pinned;
mod remote;
mod selection;
mod toy;
