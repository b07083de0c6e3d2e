//! Helpers that tests of several crates share. Only for `dev-dependencies`.

mod bucket;
mod random;
mod skip;

pub use bucket::Bucket;
pub use random::Random;
pub use skip::{shared, skip};
