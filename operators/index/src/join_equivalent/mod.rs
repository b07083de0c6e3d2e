//! `join-equivalent`: edges between entities whose names mean nearly the same.
//!
//! `points.rs` is vectors of length one, `nearest.rs` the exact search for the nearest of them,
//! `lists.rs` an approximate one for many, `pairs.rs` says which names are joined.
//!
//! Invariant: the pairs are a function of the set of names and their vectors. Neither the order of
//! the names nor the number of threads changes them.

mod lists;
mod nearest;
mod operator;
mod pairs;
mod points;

pub use operator::{JoinEquivalent, JoinParams};
