//! Kinds of evaluations and rankings.

use crate::kind::{ColType as T, Kind, TableSpec, col, opt};

/// Evaluation metrics.
pub const METRICS: Kind = Kind {
    name: "metrics",
    about: "retrieval metrics of several systems on the same questions",
    text: &[],
    tables: &[TableSpec {
        name: "metrics",
        about: "one metric of one system on one group of questions",
        columns: &[
            col("dataset", T::Text, "data set"),
            col("split", T::Text, "train, valid or test"),
            col(
                "system",
                T::Text,
                "the system (docs/metrics.md lists them; of `compare`: a stage), or ceiling: what a perfect ranking reaches",
            ),
            col(
                "ranker",
                T::Text,
                "how entity scores became document scores; `-` where they did not",
            ),
            col("target", T::Text, "document, or the type of the nodes"),
            col("group", T::Text, "`all`, `hops=2`, `gold=3`, …"),
            col(
                "metric",
                T::Text,
                "name of the metric, such as recall@5: docs/metrics.md lists them",
            ),
            col("value", T::F64, "mean over the group's questions"),
            opt("low", T::F64, "lower end of its 95 % interval"),
            opt("high", T::F64, "upper end"),
            col("n", T::U64, "number of questions"),
            col(
                "unasked",
                T::U64,
                "of them those the system could not be asked: they count as 0",
            ),
        ],
    }],
};

/// Systems against each other.
pub const COMPARISONS: Kind = Kind {
    name: "comparisons",
    about: "systems against a first one, question by question",
    text: &[],
    tables: &[TableSpec {
        name: "comparisons",
        about: "one system against the first, by one metric on one group of questions",
        columns: &[
            col("dataset", T::Text, "data set"),
            col("split", T::Text, "train, valid or test"),
            col("system", T::Text, "the first system, with its ranker"),
            col("other", T::Text, "the one it is compared with"),
            col("group", T::Text, "as in metrics"),
            col("metric", T::Text, "as in metrics"),
            col(
                "difference",
                T::F64,
                "mean over questions of first minus other",
            ),
            opt("low", T::F64, "lower end of its 95 % interval"),
            opt("high", T::F64, "upper end"),
            opt("p", T::F64, "two-sided, paired sign-flip test"),
            opt(
                "p_holm",
                T::F64,
                "the same, for all systems compared on this group by this metric at once",
            ),
            col("better", T::U64, "questions on which the first is better"),
            col("worse", T::U64, "questions on which it is worse"),
            col("n", T::U64, "number of questions"),
        ],
    }],
};

/// Where gold items were found.
pub const RANKS: Kind = Kind {
    name: "ranks",
    about: "where every system puts the gold items of every question: what its metrics are made from",
    text: &[],
    tables: &[TableSpec {
        name: "ranks",
        about: "one question put to one system",
        columns: &[
            col("question", T::Text, "question id").id_of("questions"),
            col("system", T::Text, "as in metrics"),
            col("ranker", T::Text, "as in metrics"),
            col("target", T::Text, "document, or the type of the nodes"),
            col("asked", T::Bool, "whether the system could be asked"),
            col(
                "gold",
                T::U32,
                "number of gold items, those no system can give included",
            ),
            col(
                "ranks",
                T::ListU32,
                "one-based ranks of the others, ascending, none removed",
            ),
        ],
    }],
};

/// Ranked documents.
pub const RANKINGS: Kind = Kind {
    name: "rankings",
    about: "the first documents of every system for every question",
    text: &[],
    tables: &[TableSpec {
        name: "rankings",
        about: "one ranked document",
        columns: &[
            col("question", T::Text, "question id").id_of("questions"),
            col("system", T::Text, "system"),
            col("rank", T::U32, "one-based rank"),
            col("document", T::Text, "document title"),
            col(
                "score",
                T::F64,
                "score; of a model or ppr 0 where a document has no entity: these come last",
            ),
        ],
    }],
};
