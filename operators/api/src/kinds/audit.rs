//! Kinds of the audit.

use crate::kind::{ColType as T, Kind, TableSpec, col, opt};

/// What checks of the data say, one by one.
pub const AUDIT: Kind = Kind {
    name: "audit",
    about: "which checks of the data were made, and how many findings each has",
    text: &[],
    tables: &[TableSpec {
        name: "summary",
        about: "one check that was made; errors first, then warnings, then notes",
        columns: &[
            col("check", T::Text, "name of the check"),
            col("severity", T::Text, "error, warning or note"),
            col("count", T::U64, "number of findings"),
            col("of", T::U64, "how many things were looked at"),
            col("unit", T::Text, "what these things are"),
            col("meaning", T::Text, "what a finding says about the data"),
            col("action", T::Text, "what to do about it"),
        ],
    }],
};

/// What is wrong with the data, one by one.
pub const FINDINGS: Kind = Kind {
    name: "findings",
    about: "what checks of the data found, each with its place",
    text: &[],
    tables: &[TableSpec {
        name: "findings",
        about: "one finding, in the order of the checks, then of the data",
        columns: &[
            col("check", T::Text, "name of the check"),
            col("severity", T::Text, "error, warning or note"),
            opt(
                "source",
                T::Text,
                "file, relative to the data set or the folder of documents; `facts`, `mentions`, `documents` and `named` are tables",
            ),
            opt(
                "line",
                T::U64,
                "one-based line of that file, or row of that table",
            ),
            opt(
                "item",
                T::Text,
                "name of an entity or relation, title of a document, id of a question",
            ),
            col("message", T::Text, "what is wrong"),
            opt("suggestion", T::Text, "what may have been meant"),
        ],
    }],
};

/// Numbers on a data set.
pub const STATISTICS: Kind = Kind {
    name: "statistics",
    about: "numbers on a graph, its documents and questions",
    text: &[],
    tables: &[
        TableSpec {
            name: "statistics",
            about: "one number",
            columns: &[
                col("name", T::Text, "what was measured"),
                col("value", T::F64, "value"),
            ],
        },
        TableSpec {
            name: "degrees",
            about: "how many entities have a degree, by degree",
            columns: &[
                col(
                    "degree",
                    T::U64,
                    "ends of triples at an entity; a self-loop has two",
                ),
                col("entities", T::U64, "number of entities of this degree"),
            ],
        },
        TableSpec {
            name: "relation_counts",
            about: "one direct relation, the most frequent first",
            columns: &[
                col("relation", T::Text, "name"),
                col("triples", T::U64, "number of its triples"),
                col("share", T::F64, "their share of all triples"),
            ],
        },
    ],
};
