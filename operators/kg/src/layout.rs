//! Where the files of a data set are, in the layout of GFM-RAG's training guide. Paths are relative
//! to the data set's folder.

/// The graph: `head,relation,tail` lines.
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
