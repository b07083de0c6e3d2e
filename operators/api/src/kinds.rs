//! The artifact kinds of the built-in operators. Constants, so that `&kinds::X` lives for ever wherever it is written; kinds are
//! equal when their names are.

use crate::kind::{ColType as T, Kind, TableSpec, col, opt};

/// Entities of a knowledge graph.
pub const ENTITIES: Kind = Kind {
    name: "entities",
    about: "entities of a knowledge graph",
    text: &["name"],
    tables: &[TableSpec {
        name: "entities",
        about: "one entity; row = id, by first appearance in kg.txt, head before tail",
        columns: &[
            col("id", T::U32, "entity id"),
            col("name", T::Text, "name as written"),
        ],
    }],
};

/// Relations with their inverses.
pub const RELATIONS: Kind = Kind {
    name: "relations",
    about: "relations of a knowledge graph, inverses included",
    text: &["name"],
    tables: &[TableSpec {
        name: "relations",
        about: "one relation; row = id; R direct relations by first appearance, then their R inverses",
        columns: &[
            col("id", T::U32, "relation id"),
            col("name", T::Text, "name; inverses are `inverse_` + name"),
            opt(
                "inverse_of",
                T::U32,
                "id of the direct relation; missing for direct ones",
            )
            .id_of("relations"),
            col(
                "triples",
                T::U64,
                "number of triples with this relation (inverses: of the direct one)",
            ),
        ],
    }],
};

/// Triples of ids.
pub const TRIPLES: Kind = Kind {
    name: "triples",
    about: "direct triples of a knowledge graph",
    text: &[],
    tables: &[TableSpec {
        name: "triples",
        about: "one triple, in file order; duplicates are kept",
        columns: &[
            col("head", T::U32, "entity id").id_of("entities"),
            col("relation", T::U32, "direct relation id").id_of("relations"),
            col("tail", T::U32, "entity id").id_of("entities"),
        ],
    }],
};

/// Input that could not be used, with the reason.
pub const REJECTS: Kind = Kind {
    name: "rejects",
    about: "input that could not be used, with the reason",
    text: &[],
    tables: &[TableSpec {
        name: "rejects",
        about: "one rejected line, item or value",
        columns: &[
            col("source", T::Text, "file, relative to the data set"),
            opt(
                "line",
                T::U64,
                "one-based line; of JSON files the line where the item begins",
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
                "triples, documents, or the split of questions: train, valid, test",
            ),
            col("row", T::U64, "row of that table"),
            col("source", T::Text, "file, relative to the data set"),
            col(
                "line",
                T::U64,
                "one-based line; of JSON files the line where the item begins",
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
            opt("source", T::Text, "file, relative to the data set"),
            opt("line", T::U64, "one-based line of that file"),
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

/// Documents of a corpus.
pub const DOCUMENTS: Kind = Kind {
    name: "documents",
    about: "documents of a corpus",
    text: &["title", "text"],
    tables: &[TableSpec {
        name: "documents",
        about: "one document; row = id; titles of document2entities in file order, then the rest of the corpus",
        columns: &[
            col("id", T::U32, "document id"),
            col("title", T::Text, "title"),
            col("text", T::Text, "text; empty when the corpus has none"),
            col(
                "in_corpus",
                T::Bool,
                "whether dataset_corpus.json has the title",
            ),
        ],
    }],
};

/// Where documents were read.
pub const SOURCES: Kind = Kind {
    name: "sources",
    about: "where documents were read, and which are pieces of one",
    text: &[],
    tables: &[TableSpec {
        name: "sources",
        about: "one document, or one piece of one; row = document id",
        columns: &[
            col("document", T::U32, "document id"),
            col(
                "source",
                T::Text,
                "file, relative to the folder that was read",
            ),
            opt(
                "start",
                T::U64,
                "first byte of the file it was read from; missing for Parquet",
            ),
            opt("end", T::U64, "first byte behind it"),
            opt(
                "row",
                T::U64,
                "zero-based number of the record in a file of several",
            ),
            col(
                "parent",
                T::U32,
                "document id of the first piece of the same document; its own where it is whole",
            ),
            col(
                "title",
                T::Text,
                "title as the file gives it, before equal ones were made different",
            ),
        ],
    }],
};

/// Sentences of documents.
pub const SENTENCES: Kind = Kind {
    name: "sentences",
    about: "sentences of documents",
    text: &["text"],
    tables: &[TableSpec {
        name: "sentences",
        about: "one sentence, by document, then in the order of its text",
        columns: &[
            col("document", T::U32, "document id"),
            col("sentence", T::U32, "zero-based number in the document"),
            col("start", T::U64, "first byte in the document's text (UTF-8)"),
            col("end", T::U64, "first byte behind it"),
            col("text", T::Text, "title, colon, sentence: what is embedded"),
        ],
    }],
};

/// What documents mention.
pub const MENTIONS: Kind = Kind {
    name: "mentions",
    about: "what documents mention",
    text: &["text"],
    tables: &[TableSpec {
        name: "mentions",
        about: "one mention, by document, in the order of its text",
        columns: &[
            col("document", T::U32, "document id"),
            opt(
                "sentence",
                T::U32,
                "number of the sentence it is in; missing where it is in none",
            ),
            opt(
                "start",
                T::U64,
                "first byte in the document's text (UTF-8); missing where the text does not have these words",
            ),
            opt("end", T::U64, "first byte behind it"),
            col("text", T::Text, "the words, blanks made one"),
            col(
                "label",
                T::Text,
                "what it is: name, number, date, quote, entity, or a label of the extractor's own",
            ),
        ],
    }],
};

/// What documents say.
pub const FACTS: Kind = Kind {
    name: "facts",
    about: "what documents say, as subject, relation and object",
    text: &["text"],
    tables: &[TableSpec {
        name: "facts",
        about: "one fact, by document; ranges are bytes of the document's text (UTF-8), missing where it does not have these words",
        columns: &[
            col("document", T::U32, "document id"),
            opt(
                "sentence",
                T::U32,
                "number of the sentence it is in; missing where that is not known",
            ),
            col("subject", T::Text, "what it is about"),
            opt("subject_start", T::U64, "first byte"),
            opt("subject_end", T::U64, "first byte behind it"),
            col("relation", T::Text, "what is said"),
            opt("relation_start", T::U64, "first byte"),
            opt("relation_end", T::U64, "first byte behind it"),
            col("object", T::Text, "of what"),
            opt("object_start", T::U64, "first byte"),
            opt("object_end", T::U64, "first byte behind it"),
            col(
                "text",
                T::Text,
                "subject, relation, object: what is embedded",
            ),
        ],
    }],
};

/// Where documents name others.
pub const NAMED: Kind = Kind {
    name: "named",
    about: "where documents name others by their titles",
    text: &[],
    tables: &[TableSpec {
        name: "named",
        about: "one document that is named at one place, by the naming document, in the order of its text",
        columns: &[
            col("document", T::U32, "id of the document with the text"),
            col("start", T::U64, "first byte in its text (UTF-8)"),
            col("end", T::U64, "first byte behind it"),
            col(
                "target",
                T::U32,
                "id of the document that is named, or of its first piece",
            ),
            col("text", T::Text, "the words"),
        ],
    }],
};

/// Which entities a document mentions.
pub const LINKS: Kind = Kind {
    name: "links",
    about: "which entities a document mentions",
    text: &[],
    tables: &[TableSpec {
        name: "links",
        about: "one distinct (document, entity) pair, by document, in file order",
        columns: &[
            col("document", T::U32, "document id").id_of("documents"),
            col("entity", T::U32, "entity id").id_of("entities"),
        ],
    }],
};

/// What nodes of a graph are.
pub const NODES: Kind = Kind {
    name: "nodes",
    about: "what the nodes of a graph are: entities or documents",
    text: &[],
    tables: &[TableSpec {
        name: "nodes",
        about: "one node; row = entity id",
        columns: &[
            col("entity", T::U32, "entity id").id_of("entities"),
            col("type", T::Text, "entity or document"),
            opt(
                "document",
                T::U32,
                "id of the document that a document node stands for",
            )
            .id_of("documents"),
        ],
    }],
};

/// How entities are written.
pub const LABELS: Kind = Kind {
    name: "labels",
    about: "how entities are written in the documents",
    text: &["label"],
    tables: &[TableSpec {
        name: "labels",
        about: "one written form of one entity, by entity, then by first appearance",
        columns: &[
            col("entity", T::U32, "entity id").id_of("entities"),
            col("label", T::Text, "the words as written"),
            col("count", T::U64, "how often they are written like this"),
        ],
    }],
};

/// Weights of edges.
pub const EDGE_WEIGHTS: Kind = Kind {
    name: "edge_weights",
    about: "weights of a graph's edges",
    text: &[],
    tables: &[TableSpec {
        name: "edge_weights",
        about: "one weight; row = row of `triples`",
        columns: &[col("weight", T::F32, "weight, not negative")],
    }],
};

/// Which facts triples were made from.
pub const EVIDENCE: Kind = Kind {
    name: "evidence",
    about: "which facts the triples of a graph were made from",
    text: &[],
    tables: &[TableSpec {
        name: "evidence",
        about: "one fact of one triple, by triple, then by fact; edges of documents have none",
        columns: &[
            col("triple", T::U64, "row of `triples`"),
            col("fact", T::U64, "row of `facts`"),
        ],
    }],
};

/// Questions of one split.
pub const QUESTIONS: Kind = Kind {
    name: "questions",
    about: "questions of one split with what they ask from and for",
    text: &["question"],
    tables: &[
        TableSpec {
            name: "questions",
            about: "one question, in file order",
            columns: &[
                col("id", T::Text, "question id"),
                col("question", T::Text, "the question"),
                opt("answer", T::Text, "the answer, where given"),
                col(
                    "question_entities",
                    T::ListU32,
                    "ids of distinct known entities named in the question",
                )
                .id_of("entities"),
                col(
                    "supporting_entities",
                    T::ListU32,
                    "ids of distinct known entities of the gold documents",
                )
                .id_of("entities"),
                col(
                    "supporting_documents",
                    T::ListU32,
                    "ids of distinct known gold documents",
                )
                .id_of("documents"),
                col(
                    "gold_titles",
                    T::U32,
                    "distinct gold titles of the raw question, known or not",
                ),
                col(
                    "askable",
                    T::Bool,
                    "whether at least one question entity is known",
                ),
                opt("hops", T::U32, "number of hops, where the data says so"),
                col(
                    "groups",
                    T::ListText,
                    "further groups to report by: `type=…`, names of the `group` field",
                ),
            ],
        },
        TableSpec {
            name: "info",
            about: "one row on the whole split",
            columns: &[
                col("dataset", T::Text, "name of the data set"),
                col("split", T::Text, "train, valid or test"),
                col("questions", T::U64, "number of questions"),
                col("not_askable", T::U64, "questions without a known entity"),
            ],
        },
    ],
};

/// Answers that count as right.
pub const ANSWERS: Kind = Kind {
    name: "answers",
    about: "answers of questions that count as right",
    text: &["answer"],
    tables: &[TableSpec {
        name: "answers",
        about: "one distinct answer of one question: the answer first, then its aliases",
        columns: &[
            col("split", T::Text, "train, valid or test"),
            col("question", T::Text, "question id"),
            col("answer", T::Text, "an answer"),
        ],
    }],
};

/// Text embeddings.
pub const EMBEDDINGS: Kind = Kind {
    name: "embeddings",
    about: "one vector per row of a table with text",
    text: &[],
    tables: &[
        TableSpec {
            name: "vectors",
            about: "row i = embedding of the i-th text",
            columns: &[col("vector", T::Vector, "embedding")],
        },
        TableSpec {
            name: "encoder",
            about: "one row on what made the vectors",
            columns: &[
                col("name", T::Text, "encoder"),
                col(
                    "digest",
                    T::Text,
                    "digest of the encoder's weights and tokenizer",
                ),
                col("dim", T::U32, "length of a vector"),
                col("rows", T::U64, "number of texts"),
                col(
                    "zero_rows",
                    T::U64,
                    "texts without a known token: the zero vector",
                ),
                col(
                    "texts_digest",
                    T::Text,
                    "digest of the texts, to match vectors with their table",
                ),
            ],
        },
    ],
};

/// Graph tensors.
pub const GRAPH: Kind = Kind {
    name: "graph",
    about: "a knowledge graph ready for message passing",
    text: &[],
    tables: &[
        TableSpec {
            name: "edges",
            about: "one directed edge, inverses included, sorted by destination (CSR), then by original position",
            columns: &[
                col(
                    "destination",
                    T::U32,
                    "node that receives the message: the triple's head",
                )
                .id_of("entities"),
                col(
                    "source",
                    T::U32,
                    "node that sends the message: the triple's tail",
                )
                .id_of("entities"),
                col("relation", T::U32, "relation id, 0..2R").id_of("relations"),
                col(
                    "position",
                    T::U32,
                    "position in [direct triples in file order, then their inverses]",
                ),
            ],
        },
        TableSpec {
            name: "nodes",
            about: "one node; row = entity id",
            columns: &[
                col("offset", T::U64, "first of its edges in `edges`"),
                col("degree", T::U32, "number of its edges"),
            ],
        },
        TableSpec {
            name: "relation_order",
            about: "rows of `edges` sorted by relation, then by row",
            columns: &[col("edge", T::U32, "row of `edges`")],
        },
        TableSpec {
            name: "relation_embeddings",
            about: "row = relation id",
            columns: &[col("vector", T::Vector, "embedding of the relation's name")],
        },
        TableSpec {
            name: "info",
            about: "one row on the whole graph",
            columns: &[
                col("nodes", T::U64, "number of nodes"),
                col("relations", T::U64, "number of direct relations R"),
                col("triples", T::U64, "number of direct triples"),
                col("encoder", T::Text, "encoder of the relation embeddings"),
                col("encoder_digest", T::Text, "its digest"),
                col("dim", T::U32, "length of a relation embedding"),
            ],
        },
    ],
};

/// Entity-document matrix and weights.
pub const ENTITY_DOCUMENTS: Kind = Kind {
    name: "entity-documents",
    about: "entity-document matrix (CSR by entity) and entity weights",
    text: &[],
    tables: &[
        TableSpec {
            name: "entity_documents",
            about: "one (entity, document) pair, sorted by entity, then document",
            columns: &[
                col("entity", T::U32, "entity id").id_of("entities"),
                col("document", T::U32, "document id").id_of("documents"),
            ],
        },
        TableSpec {
            name: "entities",
            about: "row = entity id",
            columns: &[
                col("offset", T::U64, "first of its rows in `entity_documents`"),
                col("frequency", T::U32, "number of documents that mention it"),
                col(
                    "weight",
                    T::F32,
                    "1 / frequency, 0 where no document mentions it",
                ),
            ],
        },
        TableSpec {
            name: "info",
            about: "one row on the whole matrix",
            columns: &[
                col("entities", T::U64, "number of entities"),
                col("documents", T::U64, "number of documents"),
            ],
        },
    ],
};

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
                "model, pretrained, untrained, dense, bm25, ppr, rrf (of `compare`: a stage), or ceiling: what a perfect ranking reaches",
            ),
            col(
                "ranker",
                T::Text,
                "how entity scores became document scores; `-` where they did not",
            ),
            col("target", T::Text, "document or entity"),
            col("group", T::Text, "`all`, `hops=2`, `gold=3`, …"),
            col(
                "metric",
                T::Text,
                "recall@k, precision@k, all-gold@k, ndcg@k, mrr, map; filtered: hits@k, mrr_filtered",
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
            col("target", T::Text, "document or entity"),
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
            col("score", T::F64, "score"),
        ],
    }],
};

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

/// Every kind above.
pub const ALL: [&Kind; 35] = [
    &ENTITIES,
    &RELATIONS,
    &TRIPLES,
    &REJECTS,
    &PLACES,
    &COUNTS,
    &AUDIT,
    &FINDINGS,
    &STATISTICS,
    &DOCUMENTS,
    &SOURCES,
    &SENTENCES,
    &MENTIONS,
    &FACTS,
    &NAMED,
    &LINKS,
    &NODES,
    &LABELS,
    &EDGE_WEIGHTS,
    &EVIDENCE,
    &QUESTIONS,
    &ANSWERS,
    &EMBEDDINGS,
    &GRAPH,
    &ENTITY_DOCUMENTS,
    &MODEL,
    &BACKGROUND,
    &OPTIMIZER,
    &HISTORY,
    &METRICS,
    &COMPARISONS,
    &RANKS,
    &RANKINGS,
    &FILES,
    &DATA,
];

/// The names of [`ALL`], in its order.
pub const NAMES: [&str; ALL.len()] = {
    let mut names = [""; ALL.len()];
    let mut i = 0;
    while i < names.len() {
        names[i] = ALL[i].name;
        i += 1;
    }
    names
};
