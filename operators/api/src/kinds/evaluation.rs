//! Kinds of evaluations and rankings.

use crate::kind::{ColType as T, Kind, TableSpec, col, opt};

/// Evaluation metrics.
pub const METRICS: Kind = Kind {
    name: "metrics",
    about: "metrics of several systems on the same questions",
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
                "the system (docs/metrics.md lists them; of `compare`: a stage; of `pool`: also a name that the pipeline gives), or ceiling: what a perfect ranking reaches",
            ),
            col(
                "ranker",
                T::Text,
                "how entity scores became document scores; `-` where they did not",
            ),
            col(
                "target",
                T::Text,
                "document, the type of the nodes, or answer: what `evaluate-answers` measures",
            ),
            col("group", T::Text, "`all`, `hops=2`, `gold=3`, …"),
            col(
                "metric",
                T::Text,
                "name of the metric, such as recall@5: docs/metrics.md lists them",
            ),
            col(
                "value",
                T::F64,
                "mean over the group's questions; of several data sets, the mean over these",
            ),
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
                "mean over questions of first minus other; of several data sets, the mean over these",
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

/// How right answers are.
pub const ANSWER_SCORES: Kind = Kind {
    name: "answer_scores",
    about: "how right every system's answer to every question is: what its metrics are made from",
    text: &[],
    tables: &[TableSpec {
        name: "answer_scores",
        about: "one question put to one system; by system, then in the order of `questions`",
        columns: &[
            col("question", T::Text, "question id").id_of("questions"),
            col("system", T::Text, "as in metrics"),
            col("exact_match", T::F64, "1 where the answer is right, else 0"),
            col("f1", T::F64, "how much of it is right, from 0 to 1"),
            opt(
                "answer",
                T::Text,
                "the answer, empty where there is none; missing where the system was not asked",
            ),
            col(
                "gold",
                T::ListText,
                "answers that count as right: the answer first, then its aliases",
            ),
        ],
    }],
};

/// What can be said about documents and questions without training.
pub const FEATURES: Kind = Kind {
    name: "features",
    about: "ranking features: what can be said about a document and a question without training",
    text: &[],
    tables: &[
        TableSpec {
            name: "features",
            about: "one document of one question, by question, then by document: the documents that some feature ranks best",
            columns: &[
                col("question", T::U32, "row of `questions`"),
                col("document", T::U32, "document id").id_of("documents"),
                col(
                    "features",
                    T::Vector,
                    "a value for each row of `names`, standardised over the documents of the question",
                ),
            ],
        },
        TableSpec {
            name: "others",
            about: "one question; row = row of `questions`",
            columns: &[col(
                "features",
                T::Vector,
                "the mean over the documents that are not in `features`",
            )],
        },
        TableSpec {
            name: "names",
            about: "one feature, in the order of vectors",
            columns: &[
                col("feature", T::Text, "name"),
                col("meaning", T::Text, "what it is"),
            ],
        },
        TableSpec {
            name: "info",
            about: "one row on all of them",
            columns: &[
                col("questions", T::U64, "number of questions"),
                col(
                    "documents",
                    T::U64,
                    "number of documents, later pieces included",
                ),
                col("whole", T::U64, "number of documents, without later pieces"),
                col(
                    "texts_digest",
                    T::Text,
                    "digest of the questions' texts, to match features with their questions",
                ),
                col(
                    "corpus_digest",
                    T::Text,
                    "digest of the documents' texts, to match features with their documents",
                ),
            ],
        },
    ],
};

/// Weights of ranking features.
pub const FUSION: Kind = Kind {
    name: "fusion",
    about: "weights of ranking features, and how they were chosen",
    text: &[],
    tables: &[
        TableSpec {
            name: "weights",
            about: "one feature",
            columns: &[
                col("feature", T::Text, "name: docs/metrics.md says what it is"),
                col("weight", T::F64, "its weight in the sum"),
                col("given", T::F64, "its weight without questions"),
            ],
        },
        TableSpec {
            name: "ways",
            about: "one way to rank, measured on questions that its weights were not fitted to",
            columns: &[
                col(
                    "way",
                    T::Text,
                    "`fit towards WEIGHTS at PENALTY`, `given`, or a feature alone",
                ),
                col("recall@5", T::F64, "mean recall@5"),
                col("mrr", T::F64, "mean reciprocal rank"),
                opt("loss", T::F64, "mean loss; missing for a feature alone"),
            ],
        },
        TableSpec {
            name: "info",
            about: "one row on the choice",
            columns: &[
                col(
                    "chosen",
                    T::Text,
                    "the way that was chosen: `fit`, `given`, or a feature",
                ),
                col(
                    "questions",
                    T::U64,
                    "number of questions that it was chosen on",
                ),
                opt("penalty", T::F64, "penalty of the fit, where it was chosen"),
            ],
        },
    ],
};
