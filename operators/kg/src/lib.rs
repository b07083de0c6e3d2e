//! Operators that read knowledge graphs and question sets.
//!
//! Each operator is one file or folder. [`IngestKg`] turns a `kg.txt` into ids. [`IngestQa`] links
//! a corpus and its questions to those ids. [`IngestGraph`] reads both from the files of GFM-RAG
//! 2.0. [`Audit`] ([`audit`]) reports what is wrong with both.
//! [`GraphDrift`] compares a graph with the one that a model was trained on.
//! [`WriteDataset`] (`write_dataset`) writes such files again. [`NodeTexts`] describes nodes for
//! encoders.
//!
//! The other modules are shared: where the files of a data set are ([`layout`]), line reading
//! (`lines`), interned names (`names`), JSON in file order (`json`), how much a file holds
//! ([`sizes`]), reasons of rejection (`reasons`), the tables that every ingest writes (`tables`),
//! and reading them back (`read`).
//!
//! Invariant: everything in the input ends up in a table, in `rejects` or in `counts`. Nothing is
//! dropped silently, and no input makes an operator panic.

pub mod audit;
mod graph_drift;
mod ingest_graph;
mod ingest_kg;
mod ingest_qa;
pub mod json;
pub mod layout;
mod lines;
pub mod names;
mod node_texts;
pub mod questions;
mod read;
pub mod reasons;
pub mod sizes;
pub mod tables;
mod write_dataset;

use gfm_pipe_api::OpEntry;

pub use audit::language::other_language;
pub use audit::normal::normal;
pub use audit::unicode::is_invisible;
pub use audit::{Audit, AuditParams};
pub use graph_drift::{DriftParams, GraphDrift};
pub use ingest_graph::{GraphParams, IngestGraph};
pub use ingest_kg::{IngestKg, KgParams};
pub use ingest_qa::{IngestQa, QaParams};
pub use node_texts::NodeTexts;
pub use write_dataset::{LayoutName, WriteDataset, WriteParams};

/// The operators of this crate, for the registry.
pub fn operators() -> Vec<OpEntry> {
    vec![
        OpEntry::of::<IngestKg>(),
        OpEntry::of::<IngestQa>(),
        OpEntry::of::<IngestGraph>(),
        OpEntry::of::<NodeTexts>(),
        OpEntry::of::<Audit>(),
        OpEntry::of::<GraphDrift>(),
        OpEntry::of::<WriteDataset>(),
    ]
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    #[test]
    fn parameters_accepted_by_a_schema_are_understood_by_its_operator() {
        let given = [
            json!({"path": "data/kg.txt"}),
            json!({"root": "data", "dataset": "atlas"}),
            json!({"root": "data", "dataset": "atlas"}),
            json!({}),
            json!({"layers": 2, "strict": ["errors", "self-loop"]}),
            json!({"new_relations_at_most": 0.2}),
            json!({"path": "out"}),
        ];
        assert_eq!(operators().len(), given.len());
        for (op, params) in operators().iter().zip(given) {
            let full = op.validate(&params).unwrap();
            let files = op.files(&full, std::path::Path::new("")).unwrap();
            let reads_artifacts =
                ["audit", "graph-drift", "node-texts", "write-dataset"].contains(&op.name);
            assert_eq!(files.is_empty(), reads_artifacts, "{}", op.name);
        }
    }
}
