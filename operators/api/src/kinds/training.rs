//! Kinds of models and their training.

use crate::kind::{ColType as T, Kind, TableSpec, col};

/// Weights of a graph model.
pub const MODEL: Kind = Kind {
    name: "model",
    about: "weights and configuration of a graph model",
    text: &[],
    tables: &[
        TableSpec {
            name: "weights",
            about: "one parameter tensor, under the reference's names",
            columns: &[
                col("name", T::Text, "parameter name"),
                col("shape", T::ListI64, "shape"),
                col("values", T::LargeListF32, "values, row-major"),
            ],
        },
        TableSpec {
            name: "config",
            about: "one row",
            columns: &[col(
                "json",
                T::Text,
                "class, dimensions, encoder name and digest, origin",
            )],
        },
    ],
};

/// States of nodes that no query has reached.
pub const BACKGROUND: Kind = Kind {
    name: "background",
    about: "states of all nodes of a graph as a model sees them while no query has reached them",
    text: &[],
    tables: &[
        TableSpec {
            name: "states",
            about: "after every layer but the last: row = (layer - 1) * nodes + entity id",
            columns: &[col("vector", T::Vector, "state")],
        },
        TableSpec {
            name: "last",
            about: "after the last layer: row = entity id",
            columns: &[col("vector", T::Vector, "state")],
        },
        TableSpec {
            name: "info",
            about: "one row on what they were computed from",
            columns: &[
                col("layers", T::U32, "number of layers"),
                col("nodes", T::U64, "number of nodes"),
                col("model", T::Text, "digest of the model artifact"),
                col("graph", T::Text, "digest of the graph artifact"),
            ],
        },
    ],
};

/// State of an optimizer.
pub const OPTIMIZER: Kind = Kind {
    name: "optimizer",
    about: "state of the optimizer at the end of training",
    text: &[],
    tables: &[
        TableSpec {
            name: "moments",
            about: "one parameter tensor's moments",
            columns: &[
                col("name", T::Text, "parameter name"),
                col("exp_avg", T::LargeListF32, "first moment, row-major"),
                col("exp_avg_sq", T::LargeListF32, "second moment, row-major"),
            ],
        },
        TableSpec {
            name: "state",
            about: "one row",
            columns: &[col("json", T::Text, "steps taken, hyper-parameters")],
        },
    ],
};

/// What happened during training.
pub const HISTORY: Kind = Kind {
    name: "history",
    about: "losses and validation metrics during training",
    text: &[],
    tables: &[TableSpec {
        name: "history",
        about: "one value",
        columns: &[
            col("epoch", T::U32, "one-based epoch; 0 before training"),
            col("step", T::U64, "optimizer steps taken"),
            col(
                "metric",
                T::Text,
                "name; validation metrics start with `valid:`",
            ),
            col("value", T::F64, "value"),
        ],
    }],
};
