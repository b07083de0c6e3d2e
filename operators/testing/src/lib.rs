//! Helpers that tests of several crates share. Only for `dev-dependencies`.

mod bucket;
mod model_server;
mod random;
mod skip;

pub use bucket::Bucket;
pub use model_server::{Act, Asked, ModelServer};
pub use random::Random;
pub use skip::{shared, skip};
