//! The error an operator returns: its kind, what went wrong and where, and what to do next.

use std::error::Error;
use std::fmt;
use std::io;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Result of anything an operator does.
pub type OpResult<T> = Result<T, OpError>;

/// The advice for an error of kind [`ErrorKind::Internal`].
pub const FAULT_OF_OPERATOR: &str =
    "this is a fault of the operator, not of the pipeline: please report it";

/// Who or what can put an error right.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorKind {
    /// The user, by changing the pipeline, a parameter, an option or the setup.
    User,
    /// The author of the data: a file or table has the wrong content.
    Data,
    /// More or working resources: memory, disk, network, a device, another process.
    Resource,
    /// Nothing is wrong: the user asked to stop.
    Interrupted,
    /// Only a programmer: the code violated one of its own invariants.
    Internal,
}

impl ErrorKind {
    /// The kind of an error that `source` caused. An error of the operating system is for the user,
    /// the author of the data or the machine, depending on its reason; anything else is wrong
    /// content.
    fn caused_by(source: &(dyn Error + 'static)) -> Self {
        use io::ErrorKind as Io;
        let mut cause = Some(source);
        while let Some(e) = cause {
            if let Some(e) = e.downcast_ref::<OpError>() {
                return e.kind();
            }
            let Some(e) = e.downcast_ref::<io::Error>() else {
                cause = e.source();
                continue;
            };
            return match e.kind() {
                Io::NotFound
                | Io::PermissionDenied
                | Io::AlreadyExists
                | Io::NotADirectory
                | Io::IsADirectory
                | Io::InvalidInput
                | Io::InvalidFilename
                | Io::ReadOnlyFilesystem => ErrorKind::User,
                Io::InvalidData | Io::UnexpectedEof => ErrorKind::Data,
                _ => ErrorKind::Resource,
            };
        }
        ErrorKind::Data
    }
}

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
    /// Anything else. Boxed to keep results small, because they are returned in hot loops.
    #[error("{0}")]
    Failed(Box<Failure>),
}

/// The body of [`OpError::Failed`].
#[derive(Debug)]
pub struct Failure {
    /// Who or what can put it right.
    pub kind: ErrorKind,
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
    /// Who or what can put it right.
    pub fn kind(&self) -> ErrorKind {
        match self {
            OpError::Failed(failure) => failure.kind,
            OpError::Cancelled => ErrorKind::Interrupted,
        }
    }

    /// What the user can do about it, if that is known.
    pub fn advice(&self) -> Option<&str> {
        let OpError::Failed(failure) = self else {
            return None;
        };
        let internal = (failure.kind == ErrorKind::Internal).then_some(FAULT_OF_OPERATOR);
        failure.hint.as_deref().or(internal)
    }

    /// An error of kind [`ErrorKind::User`] with a message (lower case, no full stop).
    pub fn new(message: impl Into<String>) -> Self {
        OpError::of_kind(ErrorKind::User, message)
    }

    /// An error of kind [`ErrorKind::Data`].
    pub fn data(message: impl Into<String>) -> Self {
        OpError::of_kind(ErrorKind::Data, message)
    }

    /// An error of kind [`ErrorKind::Resource`].
    pub fn resource(message: impl Into<String>) -> Self {
        OpError::of_kind(ErrorKind::Resource, message)
    }

    /// An error of kind [`ErrorKind::Internal`]; it asks the user to report it.
    pub fn internal(message: impl Into<String>) -> Self {
        OpError::of_kind(ErrorKind::Internal, message)
    }

    fn of_kind(kind: ErrorKind, message: impl Into<String>) -> Self {
        OpError::Failed(Box::new(Failure {
            kind,
            message: message.into(),
            hint: None,
            place: Place::default(),
            source: None,
        }))
    }

    /// An error that wraps a cause: `message` says what was being done. The cause decides the kind;
    /// [`OpError::with_kind`] corrects it.
    pub fn wrap(
        message: impl Into<String>,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        let source = source.into();
        let kind = ErrorKind::caused_by(source.as_ref());
        OpError::of_kind(kind, message).map(|f| f.source = Some(source))
    }

    /// Changes the kind.
    #[must_use]
    pub fn with_kind(self, kind: ErrorKind) -> Self {
        self.map(|f| f.kind = kind)
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn internal_errors_ask_to_be_reported() {
        let e = OpError::internal("two and two are five");
        assert_eq!(e.kind(), ErrorKind::Internal);
        assert_eq!(e.advice(), Some(FAULT_OF_OPERATOR));
        assert_eq!(e.hint("count again").advice(), Some("count again"));
        assert_eq!(OpError::new("no such column").advice(), None);
    }

    #[test]
    fn the_cause_decides_the_kind() {
        let of =
            |kind: io::ErrorKind| OpError::wrap("failed to read", io::Error::from(kind)).kind();
        assert_eq!(of(io::ErrorKind::NotFound), ErrorKind::User);
        assert_eq!(of(io::ErrorKind::InvalidData), ErrorKind::Data);
        assert_eq!(of(io::ErrorKind::StorageFull), ErrorKind::Resource);
        let json = serde_json::from_str::<u8>("x").unwrap_err();
        assert_eq!(
            OpError::wrap("failed to parse", json).kind(),
            ErrorKind::Data
        );
        let disk = io::Error::from(io::ErrorKind::StorageFull);
        let below = OpError::wrap("failed to write", disk);
        let e = OpError::wrap("failed to store", below);
        assert_eq!(e.kind(), ErrorKind::Resource);
        assert_eq!(e.with_kind(ErrorKind::User).kind(), ErrorKind::User);
        assert_eq!(OpError::Cancelled.kind(), ErrorKind::Interrupted);
    }
}
