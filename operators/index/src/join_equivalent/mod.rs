//! `join-equivalent`: edges between entities whose names mean nearly the same.
//!
//! `lists.rs` searches for the nearest of very many names approximately, where the exact search of
//! `near` takes too long; `pairs.rs` says which names are joined.
//!
//! Invariant: the pairs are a function of the set of names and their vectors. Neither the order of
//! the names nor the number of threads changes them.

mod lists;
mod operator;
mod pairs;

pub use operator::{JoinEquivalent, JoinParams};
