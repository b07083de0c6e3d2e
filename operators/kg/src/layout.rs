//! Where a data set keeps what, as the training guide lays it out; paths are relative to the data
//! set's folder.

/// The graph.
pub const KG: &str = "processed/stage1/kg.txt";
/// Titles and texts of documents.
pub const CORPUS: &str = "raw/dataset_corpus.json";
/// Which entities a document mentions.
pub const MENTIONS: &str = "processed/stage1/document2entities.json";
/// Questions: split, file.
pub const SPLITS: [(&str, &str); 3] = [
    ("train", "processed/stage1/train.json"),
    ("valid", "processed/stage1/valid.json"),
    ("test", "processed/stage1/test.json"),
];

/// Questions of a split before they were tied to a graph.
pub fn raw_split(split: &str) -> String {
    format!("raw/{split}.json")
}
