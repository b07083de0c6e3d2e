//! Where the files of a data set are, in the layout of GFM-RAG's training guide and in that of
//! GFM-RAG 2.0. Paths are relative to the data set's folder.

/// The nodes of a graph of GFM-RAG 2.0.
pub const NODES: &str = "processed/stage1/nodes.csv";
/// Its relations.
pub const RELATIONS: &str = "processed/stage1/relations.csv";
/// Its edges.
pub const EDGES: &str = "processed/stage1/edges.csv";
/// Titles and texts of documents in GFM-RAG 2.0.
pub const DOCUMENTS: &str = "raw/documents.json";
/// The graph of GFM-RAG 1.0: `head,relation,tail` lines.
pub const KG: &str = "processed/stage1/kg.txt";
/// Titles and texts of documents.
pub const CORPUS: &str = "raw/dataset_corpus.json";
/// Which entities a document mentions.
pub const MENTIONS: &str = "processed/stage1/document2entities.json";
/// The splits of questions, each with its file.
pub const SPLITS: [(&str, &str); 3] = [
    ("train", "processed/stage1/train.json"),
    ("valid", "processed/stage1/valid.json"),
    ("test", "processed/stage1/test.json"),
];

/// The file of a split's questions before they were linked to a graph.
pub fn raw_split(split: &str) -> String {
    format!("raw/{split}.json")
}
