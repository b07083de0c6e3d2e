//! The artifact store: the only place that writes artifacts.
//!
//! Objects are content-addressed Parquet files; a stage is one manifest that names them. Invariant: a manifest that exists
//! names objects that were completely on disk before it, so a crash at any instant leaves a usable store. What a key *is*
//! belongs to [`crate::plan`]; when to look one up belongs to [`crate::exec`].

pub mod atomic;
mod error;
mod layout;
mod lock;
mod manifest;
mod object;

pub use error::StoreError;
pub use layout::{Store, VERSION};
pub use lock::KeyLock;
pub use manifest::{Lookup, MANIFEST_FORMAT, MadeOn, Manifest, PortEntry, TableEntry};
pub(crate) use manifest::{read_json, write_json};
pub use object::{StageTables, hash_file};
