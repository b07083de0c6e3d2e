//! Errors of loading the pipeline.

/// Why the pipeline could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum EnglishError {
    /// `english.json` is malformed; the text says how.
    #[error("english.json: {0}; write it again with data/models/english/export.py")]
    Tables(String),
    /// The file of weights is malformed; the text says how.
    #[error("the weights: {0}; write them again with data/models/english/export.py")]
    Weights(String),
}
