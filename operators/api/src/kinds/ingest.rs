//! Kinds that every ingest has besides its data.

use crate::kind::{ColType as T, Kind, TableSpec, col, opt};

/// Input that could not be used, with the reason.
pub const REJECTS: Kind = Kind {
    name: "rejects",
    about: "input that could not be used, with the reason",
    text: &[],
    tables: &[TableSpec {
        name: "rejects",
        about: "one rejected line, item or value",
        columns: &[
            col(
                "source",
                T::Text,
                "file, relative to the data set; of `build-kg`, `write-dataset`, `answer`, `ircot` and `extract` with a language model a table",
            ),
            opt(
                "line",
                T::U64,
                "one-based line; of JSON files the line where the item begins, of tables the row",
            ),
            opt(
                "item",
                T::Text,
                "question id or document title, for JSON files",
            ),
            col("reason", T::Text, "why it was not used"),
            col("text", T::Text, "what was rejected, as written"),
        ],
    }],
};

/// Where rows of an ingest's tables were written.
pub const PLACES: Kind = Kind {
    name: "places",
    about: "where rows of an ingest's tables were written",
    text: &[],
    tables: &[TableSpec {
        name: "places",
        about: "one place of one row; a document has one in each file that names it",
        columns: &[
            col(
                "table",
                T::Text,
                "entities, relations, triples, documents, or the split of questions: train, valid, test",
            ),
            col("row", T::U64, "row of that table"),
            col(
                "source",
                T::Text,
                "file, relative to the data set; of `build-kg` a table",
            ),
            col(
                "line",
                T::U64,
                "one-based line; of JSON files the line where the item begins, of tables the row",
            ),
        ],
    }],
};

/// Named counts of an ingest.
pub const COUNTS: Kind = Kind {
    name: "counts",
    about: "named counts",
    text: &[],
    tables: &[TableSpec {
        name: "counts",
        about: "one count",
        columns: &[
            col("name", T::Text, "what was counted"),
            col("value", T::U64, "how many"),
        ],
    }],
};
