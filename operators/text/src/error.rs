//! Errors of encoders: one could not be loaded, or a text could not be encoded.

use std::path::{Path, PathBuf};

use gfm_pipe_api::ErrorKind;

/// The layout version of a static encoder's folder that this build reads.
pub(crate) const STATIC_FORMAT: u32 = 1;

/// Why an encoder could not be loaded, or a text could not be encoded.
#[derive(Debug, thiserror::Error)]
pub enum EncoderError {
    /// A file of a static encoder could not be read.
    #[error("{}: {source}; a static model folder holds config.json, vocab.txt and model.safetensors", path.display())]
    Read {
        /// Path of the file.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// A file of a static encoder was read but is not what it should be.
    #[error(
        "{file}: {problem}; write the model again with scripts/distill-static/distill.py or use another one"
    )]
    Invalid {
        /// The file, by its name inside the model folder.
        file: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// A static encoder has a layout that this build does not know.
    #[error(
        "config.json: format {found} is not known, this build reads format {STATIC_FORMAT}; use a matching model or build"
    )]
    Format {
        /// The version in the file.
        found: u32,
    },
    /// A file of a transformer could not be read.
    #[error("{}: {source}", path.display())]
    ReadModel {
        /// The file that was asked for.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// A file of a transformer was read, but it is broken, or needs something that is not
    /// implemented.
    #[error("{}: {problem}", path.display())]
    Model {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// A file is not what its name says, or has weights that are not numbers.
    #[error("{}: {problem}", path.display())]
    Refused {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
        /// What to do about it.
        hint: Option<String>,
        /// Who can correct it.
        kind: ErrorKind,
    },
    /// A network that this build does not have.
    #[error("{}: model_type `{kind}` is not implemented", path.display())]
    Architecture {
        /// Path of the network's configuration.
        path: PathBuf,
        /// The network that it names.
        kind: String,
    },
    /// The tokenizer refused a text.
    #[error("row {row}: the text cannot be tokenised: {reason}")]
    Tokenise {
        /// Position in the slice of texts, from 0.
        row: usize,
        /// The tokenizer's message.
        reason: String,
    },
    /// A device could not be used.
    #[error("{device} cannot run the encoder: {problem}")]
    Device {
        /// The device: `cuda:N`, or `the GPU`.
        device: String,
        /// What the driver or a library says.
        problem: String,
    },
    /// A device has no memory left.
    #[error("there is not enough memory on the device: {0}")]
    OutOfMemory(String),
    /// The network refused a batch.
    #[error("the network refused a batch: {0}")]
    Network(String),
}

impl EncoderError {
    /// The error for a file that is only a Git LFS pointer, if it is one.
    pub(crate) fn of_pointer(path: &Path, bytes: &[u8]) -> Option<EncoderError> {
        let pointer = gfm_pipe_api::foreign::git_lfs(bytes)?;
        Some(EncoderError::Refused {
            path: path.to_owned(),
            problem: pointer.problem,
            hint: Some(pointer.hint.to_owned()),
            kind: ErrorKind::Data,
        })
    }

    /// Who can correct it. `None` where the cause decides.
    pub(crate) fn kind(&self) -> Option<ErrorKind> {
        match self {
            EncoderError::Refused { kind, .. } => Some(*kind),
            EncoderError::Architecture { .. } => Some(ErrorKind::User),
            EncoderError::Device { .. } | EncoderError::OutOfMemory(_) => Some(ErrorKind::Resource),
            _ => None,
        }
    }

    /// What the user can do, where the message does not say it.
    pub(crate) fn hint(&self) -> Option<String> {
        match self {
            EncoderError::ReadModel { source, .. } if source.kind() == std::io::ErrorKind::NotFound => Some(
                "a model folder holds config.json, tokenizer.json, model.safetensors or pytorch_model.bin, and what sentence-transformers adds; one without tokenizer.json gets it by AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER)".to_owned(),
            ),
            EncoderError::Refused { hint, .. } => hint.clone(),
            EncoderError::Architecture { .. } => Some(format!("implemented are {}", crate::ARCHITECTURES)),
            EncoderError::Device { .. } => Some(
                "`--device cpu` runs it on the CPU; docs/cuda.md says what a GPU needs".to_owned(),
            ),
            EncoderError::OutOfMemory(_) => Some(
                "use `--device cpu`; `embed` needs less memory with a lower `max_seq_length`, a `batch_size` below 32, or `model_kwargs: {torch_dtype: bfloat16}`".to_owned(),
            ),
            EncoderError::Network(why) if why.contains(NO_EMBEDDING) => Some("tokenizer.json may be that of another model: it names a token the network has no embedding for".to_owned()),
            _ => None,
        }
    }
}

/// What the message says of a token that the network does not know.
pub(crate) const NO_EMBEDDING: &str = "has no embedding";
