//! Kinds of retrievers, and of explanations of what they found.

use crate::kind::{ColType as T, Kind, TableSpec, col, opt};

/// What can be asked questions in plain words.
pub const RETRIEVER: Kind = Kind {
    name: "retriever",
    about: "what answers questions in plain words: see `gfm-pipe ask`",
    text: &[],
    tables: &[TableSpec {
        name: "retriever",
        about: "one row on the whole retriever",
        columns: &[
            col(
                "system",
                T::Text,
                "system that ranks documents where a question has a start",
            ),
            col("documents", T::U64, "number of documents"),
            col("nodes", T::U64, "number of nodes of the graph"),
            col("triples", T::U64, "number of triples of the graph"),
            opt("encoder", T::Text, "text encoder of the questions"),
        ],
    }],
};

/// Why documents were found.
pub const PATHS: Kind = Kind {
    name: "paths",
    about: "why documents were found: walks in the graph from where questions start",
    text: &[],
    tables: &[TableSpec {
        name: "paths",
        about: "one step of one path: by question, then by rank, then by path, in the order of the path",
        columns: &[
            col("question", T::Text, "question id").id_of("questions"),
            col("system", T::Text, "system"),
            col("rank", T::U32, "one-based rank of the document"),
            col("document", T::Text, "document title"),
            col(
                "path",
                T::U32,
                "one-based number of the path: one without steps first, then the heaviest",
            ),
            col(
                "weight",
                T::F64,
                "weight of the path: by a model the mean gradient of the document's score with respect to the weights of the path's edges, by ppr the share of the walker's mass that arrives by it",
            ),
            col(
                "layer",
                T::U32,
                "one-based layer of the model, or step of the walk; 0 where the question starts at the document itself, or at an entity by which it is found: such a path has no triple, and the weight of the start",
            ),
            opt("head", T::Text, "head of the triple"),
            opt("relation", T::Text, "relation of the triple"),
            opt("tail", T::Text, "tail of the triple"),
            opt(
                "inverse",
                T::Bool,
                "whether the path goes from the tail to the head",
            ),
            opt(
                "evidence",
                T::Text,
                "title of the document that states the triple, where known",
            ),
            opt("sentence", T::Text, "sentence that states it, where known"),
        ],
    }],
};
