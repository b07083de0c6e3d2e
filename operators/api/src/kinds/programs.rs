//! Kinds that programs exchange with a pipeline.

use crate::kind::{ColType as T, Kind, TableSpec, col};

/// Files outside the store.
pub const FILES: Kind = Kind {
    name: "files",
    about: "files that were written outside the store",
    text: &[],
    tables: &[TableSpec {
        name: "files",
        about: "one file",
        columns: &[
            col("name", T::Text, "name in the folder"),
            col("bytes", T::U64, "size"),
            col("digest", T::Text, "BLAKE3 digest of its bytes, hex"),
        ],
    }],
};

/// Whatever a command writes for another one.
pub const DATA: Kind = Kind {
    name: "data",
    about: "a table of any columns, from one `exec` stage to another",
    text: &[],
    tables: &[TableSpec {
        name: "data",
        about: "whatever was written",
        columns: &[],
    }],
};
