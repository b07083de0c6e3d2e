//! Settings of a transformer in a pipeline.

/// The settings of a pipeline besides the model.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Settings {
    /// Scale vectors to norm 1, whatever the folder's modules do.
    pub normalize: bool,
    /// Keep only this many numbers of a vector.
    pub truncate_dim: Option<usize>,
    /// The precision to which weights are rounded. Computing is in single precision.
    pub round: Round,
    /// Longest input in tokens, if shorter than the folder's.
    pub max_tokens: Option<usize>,
}

/// The precision to which weights are rounded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Round {
    /// Weights stay as they are.
    #[default]
    No,
    /// The precision in the folder's configuration.
    Auto,
    /// IEEE half precision.
    Float16,
    /// bfloat16: the upper half of a single.
    BFloat16,
}
