//! The example of docs/data.md: the smallest data set that has every kind of file. The page shows
//! these files; a test compares them.

use crate::registry::layout::{CORPUS, KG, MENTIONS, SPLITS};

/// The files of the example: path in the data set's folder, and text.
pub const EXAMPLE: [(&str, &str); 5] = [
    (
        CORPUS,
        include_str!("../../data/example/raw/dataset_corpus.json"),
    ),
    (
        KG,
        include_str!("../../data/example/processed/stage1/kg.txt"),
    ),
    (
        MENTIONS,
        include_str!("../../data/example/processed/stage1/document2entities.json"),
    ),
    (
        SPLITS[0].1,
        include_str!("../../data/example/processed/stage1/train.json"),
    ),
    (
        SPLITS[2].1,
        include_str!("../../data/example/processed/stage1/test.json"),
    ),
];
