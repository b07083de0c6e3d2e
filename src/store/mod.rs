//! The artifact store: the only place that writes artifacts.
//!
//! Objects are content-addressed Parquet files; a stage is one manifest that names them. Invariant:
//! a manifest that exists names objects that were completely on disk before it, so a crash at any
//! instant leaves a usable store. What a key *is* belongs to [`crate::plan`]; when to look one up
//! belongs to [`crate::exec`].

pub mod atomic;
mod background;
#[cfg(feature = "cloud")]
mod cloud;
mod codes;
mod content;
mod cut;
mod digests;
mod entry;
mod error;
mod files;
mod gc;
mod hashing;
mod items;
mod layout;
mod lock;
mod manifest;
mod object;
mod object_writer;
mod remote;
#[cfg(test)]
mod several_tests;
mod sink;
mod sound;
mod sourced;
#[cfg(test)]
mod sourced_tests;
mod verify;

pub use cut::Cuts;
pub(crate) use digests::Digests;
pub use entry::{ItemList, ObjectEntry, PortEntry, TableEntry};
pub use error::StoreError;
pub(crate) use error::full_disk;
pub use gc::{Extent, Garbage};
pub use items::{ItemChanges, ItemCounts, NamedItem};
pub(crate) use layout::file_name;
pub use layout::{Store, VERSION};
pub use lock::{Holder, KeyLock, RunLock};
pub use manifest::{Lookup, MANIFEST_FORMAT, MadeOn, Manifest};
pub(crate) use manifest::{read_json, write_json};
pub use object::{Committed, StageTables};
pub use remote::{Exchange, Give, Moved, Remote, RemoteError, RemoteItems};
pub(crate) use sound::distrusted;
pub use sound::{Found, Look};
pub use sourced::Earlier;
pub use verify::{Damage, StoredManifest, Verified};
