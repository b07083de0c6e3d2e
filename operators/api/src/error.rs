//! The error an operator gives back: where, what, and what to do next.

use std::fmt;
use std::path::PathBuf;

/// Result of anything an operator does.
pub type OpResult<T> = Result<T, OpError>;

/// Where in the user's data something went wrong.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Place {
    /// The file, as the user wrote its path.
    pub file: Option<PathBuf>,
    /// One-based line.
    pub line: Option<u64>,
    /// One-based column, in characters.
    pub column: Option<u64>,
    /// Zero-based row of a table, or the position of an item in a JSON array.
    pub row: Option<u64>,
    /// The artifact concerned, `STAGE.PORT.TABLE`.
    pub artifact: Option<String>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut sep = "";
        if let Some(file) = &self.file {
            write!(f, "{}", file.display())?;
            sep = " ";
            if let Some(line) = self.line {
                write!(f, ":{line}")?;
                if let Some(column) = self.column {
                    write!(f, ":{column}")?;
                }
            }
        }
        if let Some(artifact) = &self.artifact {
            write!(f, "{sep}{artifact}")?;
            sep = " ";
        }
        if let Some(row) = self.row {
            write!(f, "{sep}row {row}")?;
        }
        Ok(())
    }
}

/// Why an operator stopped.
#[derive(Debug, thiserror::Error)]
pub enum OpError {
    /// The user asked to stop; not a failure of the stage.
    #[error("interrupted")]
    Cancelled,
    /// Anything else; boxed because results travel through hot loops.
    #[error("{0}")]
    Failed(Box<Failure>),
}

/// The body of [`OpError::Failed`].
#[derive(Debug)]
pub struct Failure {
    /// What went wrong: lower case, no full stop.
    pub message: String,
    /// What the user can do about it.
    pub hint: Option<String>,
    /// Where it happened.
    pub place: Place,
    /// The cause, where there is one below this layer.
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = self.place.to_string();
        if !place.is_empty() {
            write!(f, "{place}: ")?;
        }
        f.write_str(&self.message)?;
        if let Some(source) = &self.source {
            write!(f, ": {source}")?;
        }
        Ok(())
    }
}

impl OpError {
    /// What the user can do about it, where something is known.
    pub fn advice(&self) -> Option<&str> {
        match self {
            OpError::Failed(failure) => failure.hint.as_deref(),
            OpError::Cancelled => None,
        }
    }

    /// An error with a message (lower case, no full stop).
    pub fn new(message: impl Into<String>) -> Self {
        OpError::Failed(Box::new(Failure {
            message: message.into(),
            hint: None,
            place: Place::default(),
            source: None,
        }))
    }

    /// An error that wraps a cause: `message` says what was being done.
    pub fn wrap(
        message: impl Into<String>,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        OpError::new(message).map(|f| f.source = Some(source.into()))
    }

    /// Adds what to do next.
    #[must_use]
    pub fn hint(self, hint: impl Into<String>) -> Self {
        self.map(|f| f.hint = Some(hint.into()))
    }

    /// Adds the file.
    #[must_use]
    pub fn file(self, file: impl Into<PathBuf>) -> Self {
        self.map(|f| f.place.file = Some(file.into()))
    }

    /// Adds a one-based line.
    #[must_use]
    pub fn line(self, line: u64) -> Self {
        self.map(|f| f.place.line = Some(line))
    }

    /// Adds a one-based column.
    #[must_use]
    pub fn column(self, column: u64) -> Self {
        self.map(|f| f.place.column = Some(column))
    }

    /// Adds a zero-based row.
    #[must_use]
    pub fn row(self, row: u64) -> Self {
        self.map(|f| f.place.row = Some(row))
    }

    /// Adds the artifact concerned, `STAGE.PORT.TABLE`.
    #[must_use]
    pub fn artifact(self, name: impl Into<String>) -> Self {
        self.map(|f| f.place.artifact = Some(name.into()))
    }

    fn map(mut self, change: impl FnOnce(&mut Failure)) -> Self {
        if let OpError::Failed(failure) = &mut self {
            change(failure);
        }
        self
    }
}

impl From<arrow::error::ArrowError> for OpError {
    fn from(e: arrow::error::ArrowError) -> Self {
        OpError::wrap("failed to handle a table", e)
    }
}

impl From<parquet::errors::ParquetError> for OpError {
    fn from(e: parquet::errors::ParquetError) -> Self {
        OpError::wrap("failed to read or write a Parquet file", e)
    }
}
