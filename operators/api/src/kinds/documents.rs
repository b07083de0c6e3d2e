//! Kinds of documents, of what they say, and of questions about them.

use crate::kind::{ColType as T, Kind, TableSpec, col, opt};

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
            col("document", T::U32, "document id").id_of("documents"),
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
            )
            .id_of("documents"),
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
            col("document", T::U32, "document id").id_of("documents"),
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
            col("document", T::U32, "document id").id_of("documents"),
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
            col("document", T::U32, "document id").id_of("documents"),
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

/// Where two extractions differ.
pub const FACT_DIFFERENCES: Kind = Kind {
    name: "fact_differences",
    about: "facts that only one of two extractions finds",
    text: &[],
    tables: &[TableSpec {
        name: "fact_differences",
        about: "one fact about a pair of things that the other extraction does not relate in this document, by document, then by extraction",
        columns: &[
            col("document", T::U32, "document id").id_of("documents"),
            col("title", T::Text, "its title"),
            col(
                "system",
                T::Text,
                "which extraction has it: first or second, by the ports of `compare-facts`",
            ),
            col("subject", T::Text, "what it is about"),
            col("relation", T::Text, "what is said"),
            col("object", T::Text, "of what"),
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
            col("document", T::U32, "id of the document with the text").id_of("documents"),
            col("start", T::U64, "first byte in its text (UTF-8)"),
            col("end", T::U64, "first byte behind it"),
            col(
                "target",
                T::U32,
                "id of the document that is named, or of its first piece",
            )
            .id_of("documents"),
            col("text", T::Text, "the words"),
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

/// Where the search for each question starts.
pub const STARTS: Kind = Kind {
    name: "starts",
    about: "nodes of a graph that questions start from, with their weights and why",
    text: &[],
    tables: &[
        TableSpec {
            name: "starts",
            about: "one node that one source gives one question, by question, then by source, then by weight; weights of one node are added",
            columns: &[
                col("question", T::U32, "row of `questions`"),
                col("node", T::U32, "entity id").id_of("entities"),
                col(
                    "source",
                    T::Text,
                    "title, entity, partial, word, fact, sentence, document, or given by the data",
                ),
                col("weight", T::F64, "weight, above 0"),
                col(
                    "text",
                    T::Text,
                    "words of the question, the fact, the sentence, or the document's title",
                ),
            ],
        },
        TableSpec {
            name: "info",
            about: "one row on all of them",
            columns: &[
                col("questions", T::U64, "number of questions"),
                col("nodes", T::U64, "number of nodes of the graph"),
                col(
                    "texts_digest",
                    T::Text,
                    "digest of the questions' texts, to match starts with their questions",
                ),
            ],
        },
    ],
};

/// The nodes that questions ask for.
pub const TARGETS: Kind = Kind {
    name: "targets",
    about: "nodes of a graph that questions ask for, of any type",
    text: &[],
    tables: &[
        TableSpec {
            name: "targets",
            about: "one node that one question asks for, by question, then by node",
            columns: &[
                col("question", T::U32, "row of `questions`"),
                col("node", T::U32, "entity id").id_of("entities"),
            ],
        },
        TableSpec {
            name: "info",
            about: "one row on all of them",
            columns: &[
                col("questions", T::U64, "number of questions"),
                col("nodes", T::U64, "number of nodes of the graph"),
                col(
                    "texts_digest",
                    T::Text,
                    "digest of the questions' texts, to match targets with their questions",
                ),
            ],
        },
    ],
};

/// Documents that are wrong though they look right.
pub const NEGATIVES: Kind = Kind {
    name: "negatives",
    about: "documents that rank high for questions though they are not gold",
    text: &[],
    tables: &[TableSpec {
        name: "negatives",
        about: "one document for one question, by question, then by system, the best first",
        columns: &[
            col("question", T::U32, "row of `questions`"),
            col("document", T::U32, "document id").id_of("documents"),
            col(
                "system",
                T::Text,
                "what ranks it high: bm25 (the question's words) or dense (similar to a gold document)",
            ),
            col("rank", T::U32, "one-based, among those of the system"),
        ],
    }],
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

/// Answers that a language model gave.
pub const RESPONSES: Kind = Kind {
    name: "responses",
    about: "answers of a language model to questions, with the documents that they cite",
    text: &["answer"],
    tables: &[TableSpec {
        name: "responses",
        about: "one question, in the order of `questions`",
        columns: &[
            col("question", T::Text, "question id").id_of("questions"),
            col(
                "answer",
                T::Text,
                "the answer in a few words; empty where there is none",
            ),
            col(
                "text",
                T::Text,
                "what the model wrote: how it came to the answer",
            ),
            col(
                "cited",
                T::ListText,
                "titles of the documents that it cites, in order; only documents that it was shown",
            ),
            col(
                "documents",
                T::ListText,
                "titles of the documents that it was shown, in order",
            ),
            col(
                "thoughts",
                T::ListText,
                "thoughts between retrievals, in order; empty where there was one retrieval",
            ),
            opt("trouble", T::Text, "why there is no answer"),
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
