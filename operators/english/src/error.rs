//! Why the pipeline could not be loaded.

/// See the module.
#[derive(Debug, thiserror::Error)]
pub enum EnglishError {
    /// `english.json` is not what it should be.
    #[error("english.json: {0}; write it again with data/models/english/export.py")]
    Tables(String),
    /// The file of weights is not what it should be.
    #[error("the weights: {0}; write them again with data/models/english/export.py")]
    Weights(String),
}
