//! The artifact kinds of the built-in operators. Constants, so that `&kinds::X` lives for ever
//! wherever it is written; kinds are equal when their names are.

mod asking;
mod audit;
mod documents;
mod evaluation;
mod graph;
mod ingest;
mod programs;
mod training;

pub use asking::*;
pub use audit::*;
pub use documents::*;
pub use evaluation::*;
pub use graph::*;
pub use ingest::*;
pub use programs::*;
pub use training::*;

use crate::kind::Kind;

/// Every kind above.
pub const ALL: [&Kind; 47] = [
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
    &FACT_DIFFERENCES,
    &NAMED,
    &LINKS,
    &NODES,
    &LABELS,
    &TEXTS,
    &EDGE_WEIGHTS,
    &EVIDENCE,
    &QUESTIONS,
    &STARTS,
    &TARGETS,
    &NEGATIVES,
    &ANSWERS,
    &RESPONSES,
    &EMBEDDINGS,
    &GRAPH,
    &ENTITY_DOCUMENTS,
    &DRIFT,
    &MODEL,
    &BACKGROUND,
    &OPTIMIZER,
    &HISTORY,
    &METRICS,
    &COMPARISONS,
    &RANKS,
    &RANKINGS,
    &ANSWER_SCORES,
    &FEATURES,
    &FUSION,
    &RETRIEVER,
    &PATHS,
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
