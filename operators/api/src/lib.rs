//! What an operator of gfm-pipe is.
//!
//! An operator is one file somewhere under `operators/`: a parameter struct, its [`Schema`], its
//! ports, a name, a version and a `run` function, tied together by the [`Operator`] trait. This
//! crate holds that trait and the vocabulary operators share: artifact kinds ([`kinds`]), scoring
//! of documents by their words ([`bm25`]), vectors of texts ([`points`],
//! [`vector_table`]), tables on disk
//! ([`Artifact`], [`table`]), the run [`Context`] and the error type [`OpError`].
//!
//! Invariant: nothing here depends on the engine, a terminal, the environment (except to find out
//! how much memory is available) or candle. Caching, scheduling and the store live in the root
//! package; they drive operators only through what is public here.

pub mod answer;
pub mod artifact;
pub mod bm25;
pub mod columns;
pub mod context;
pub mod delivery;
pub mod document_edges;
pub mod encoding;
pub mod ends;
pub mod error;
pub mod files;
pub mod foreign;
pub mod items;
pub mod kind;
pub mod kinds;
pub mod lists;
pub mod local;
pub mod memory;
pub mod named;
pub mod names;
mod nesting;
pub mod node_types;
pub mod operator;
pub mod parts;
pub mod points;
pub mod printable;
pub mod random;
pub mod ranks;
mod requests;
pub mod schema;
pub mod shell;
pub mod sourced;
pub mod stored;
pub mod table;
pub mod text_list;
pub mod twins;
pub mod vector_table;
pub mod zip;

pub use artifact::Artifact;
pub use context::{
    Cancel, Context, Device, Environment, Level, Metric, Nowhere, Outputs, Reporter, TableSink,
};
pub use error::{ErrorKind, FAULT_OF_OPERATOR, OpError, OpResult, Place};
pub use kind::{ColType, Column, Kind, TableSpec, intern};
pub use operator::{
    Absent, Accepts, Arity, Connected, Estimate, InPort, InputFile, OpEntry, Operator, OutPort,
    is_connected,
};
pub use ranks::Collective;
pub use requests::{RequestCount, Requests};
pub use schema::{AsWritten, Effect, Field, PathSeg, Problem, Schema, Type, path_text};
pub use sourced::SourcedSink;
pub use stored::{DamagedTable, ObjectFile, TableFile, TableReader};
