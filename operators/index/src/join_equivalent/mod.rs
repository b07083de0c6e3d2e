//! `join-equivalent`: edges between entities whose names mean nearly the same.
//!
//! `lists.rs` is an approximate search for very many names, where the exact search of `near` takes
//! too long. `pairs.rs` decides which names are joined.
//!
//! Invariant: the pairs depend only on the set of names and their vectors, not on the order of the
//! names or the number of threads.

mod lists;
mod operator;
mod pairs;

pub use operator::{JoinEquivalent, JoinParams};
