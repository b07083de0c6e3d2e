//! Kinds of graphs: entities, relations, triples, and what is made of them.

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
    about: "what the nodes of a graph are: entities, documents or of another type",
    text: &[],
    tables: &[TableSpec {
        name: "nodes",
        about: "one node; row = entity id",
        columns: &[
            col("entity", T::U32, "entity id").id_of("entities"),
            col(
                "type",
                T::Text,
                "entity, document, or another type that the data has",
            ),
            opt(
                "document",
                T::U32,
                "id of the document that a document node stands for",
            )
            .id_of("documents"),
        ],
    }],
};

/// Texts of nodes or relations.
pub const TEXTS: Kind = Kind {
    name: "texts",
    about: "texts that describe the nodes or the relations of a graph, for encoders",
    text: &["text"],
    tables: &[TableSpec {
        name: "texts",
        about: "one text; row = id of the node or relation",
        columns: &[
            col("id", T::U32, "id of the node or relation"),
            col("text", T::Text, "its name, type and attributes"),
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

/// Graph tensors.
pub const GRAPH: Kind = Kind {
    name: "graph",
    about: "a knowledge graph ready for message passing",
    text: &[],
    tables: &[
        TableSpec {
            name: "edges",
            about: "one directed edge, inverses included, sorted by head (CSR), then by original position",
            columns: &[
                col("head", T::U32, "the triple's head").id_of("entities"),
                col("relation", T::U32, "relation id, 0..2R").id_of("relations"),
                col("tail", T::U32, "the triple's tail").id_of("entities"),
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
            columns: &[col("offset", T::U64, "first of its edges in `edges`")],
        },
        TableSpec {
            name: "relation_embeddings",
            about: "row = relation id",
            columns: &[col("vector", T::Vector, "embedding of the relation's name")],
        },
        TableSpec {
            name: "node_embeddings",
            about: "row = node; no rows in a graph without the texts of its nodes",
            columns: &[col("vector", T::Vector, "embedding of the node's text")],
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

/// How far a graph has moved since a model was trained on an earlier one.
pub const DRIFT: Kind = Kind {
    name: "drift",
    about: "how far a graph has moved since a model was trained on an earlier one",
    text: &[],
    tables: &[TableSpec {
        name: "drift",
        about: "one measure",
        columns: &[
            col("measure", T::Text, "its name"),
            opt(
                "value",
                T::F64,
                "a share; missing where there is nothing to measure",
            ),
            col("meaning", T::Text, "what it is a share of"),
        ],
    }],
};
