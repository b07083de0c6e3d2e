//! Errors as the user meets them: text, hint, exit code.

use crate::exec::RunError;
use crate::plan::RequestError;
use crate::store::StoreError;
use crate::ui::Look;

/// Exit codes: a promise to scripts, documented in docs/exit-codes.md.
pub mod exit {
    /// Done.
    pub const OK: u8 = 0;
    /// A stage failed, or the operating system refused something (disk, permissions).
    pub const FAILED: u8 = 1;
    /// The pipeline or the command line is wrong; nothing ran.
    pub const USAGE: u8 = 2;
    /// The user interrupted.
    pub const INTERRUPTED: u8 = 130;
}

/// Result of a subcommand.
pub type CliResult<T> = Result<T, CliError>;

/// An error of a subcommand.
#[derive(Debug)]
pub struct CliError {
    message: String,
    hint: Option<String>,
    code: u8,
    /// Whether the message is a complete report with its own headings.
    is_report: bool,
}

impl CliError {
    fn new(message: impl Into<String>, code: u8) -> Self {
        CliError {
            message: message.into(),
            hint: None,
            code,
            is_report: false,
        }
    }

    /// The pipeline or the command line is wrong.
    pub fn usage(message: impl Into<String>) -> Self {
        CliError::new(message, exit::USAGE)
    }

    /// The operating system refused something (disk, permissions).
    pub fn failed(message: impl Into<String>) -> Self {
        CliError::new(message, exit::FAILED)
    }

    /// A complete report on a wrong pipeline.
    pub fn report(text: impl Into<String>) -> Self {
        CliError {
            is_report: true,
            ..CliError::usage(text)
        }
    }

    /// Adds what to do next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds what to do next, where something is known.
    #[must_use]
    pub fn hint_opt<S: Into<String>>(mut self, hint: Option<S>) -> Self {
        self.hint = hint.map(Into::into);
        self
    }

    /// What went wrong, without the hint.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The process's exit code.
    pub fn code(&self) -> u8 {
        self.code
    }

    /// The text for standard error.
    pub fn text(&self, look: Look) -> String {
        if self.is_report {
            return format!("{}\n", self.message.trim_end());
        }
        let mut out = format!("{} {}\n", look.paint("31;1", "error:"), self.message);
        if let Some(hint) = &self.hint {
            out.push_str(&format!("{} {hint}\n", look.paint("36", "hint:")));
        }
        out
    }
}

impl From<StoreError> for CliError {
    fn from(e: StoreError) -> Self {
        let code = match &e {
            StoreError::Version { .. } | StoreError::NotAStore { .. } => exit::USAGE,
            StoreError::Cancelled => exit::INTERRUPTED,
            StoreError::Io { .. } | StoreError::Damaged { .. } | StoreError::Object { .. } => {
                exit::FAILED
            }
        };
        CliError::new(e.to_string(), code).hint_opt(e.hint())
    }
}

impl From<RequestError> for CliError {
    fn from(e: RequestError) -> Self {
        CliError::usage(e.to_string()).hint_opt(e.hint())
    }
}

impl From<RunError> for CliError {
    fn from(e: RunError) -> Self {
        match e {
            RunError::Request(e) => e.into(),
            RunError::Commands(_) => CliError::usage(e.to_string()).hint(
                "a program may do whatever you may do: look at what it is, then add --allow-exec",
            ),
            RunError::Store(e) => e.into(),
            RunError::Scheduler(_) => CliError::failed(e.to_string()),
        }
    }
}
