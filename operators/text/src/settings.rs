//! What a pipeline says of a transformer beside its name.

/// What the pipeline says beside the model.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Settings {
    /// Vectors to norm 1, whatever the folder says.
    pub normalize: bool,
    /// Only the first numbers of a vector.
    pub truncate_dim: Option<usize>,
    /// What weights are rounded to; computing is in single precision.
    pub round: Round,
    /// A shorter input than the folder asks for.
    pub max_tokens: Option<usize>,
}

/// Precision of weights.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Round {
    /// They stay as they are.
    #[default]
    No,
    /// To what the folder's configuration names.
    Auto,
    /// To IEEE half precision.
    Float16,
    /// To the upper half of a single.
    BFloat16,
}
