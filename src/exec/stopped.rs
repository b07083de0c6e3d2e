//! The reasons why a stage was not stored; a panic of its operator is one of them.

use std::time::Duration;

use gfm_pipe_api::{OpError, OpResult};

use crate::panics;
use crate::plan::DecideError;
use crate::store::{StoreError, full_disk};

/// Why a stage was not stored.
pub(super) enum Stopped {
    Cancelled,
    Failed {
        message: String,
        hint: Option<String>,
    },
}

impl Stopped {
    pub(super) fn new(message: impl Into<String>, hint: Option<&str>) -> Self {
        Stopped::Failed {
            message: message.into(),
            hint: hint.map(ToOwned::to_owned),
        }
    }
}

impl From<OpError> for Stopped {
    fn from(e: OpError) -> Self {
        let OpError::Failed(failure) = &e else {
            return Stopped::Cancelled;
        };
        let full = || failure.source.as_deref().and_then(|e| full_disk(e));
        Stopped::new(failure.to_string(), e.advice().or_else(full))
    }
}

impl From<StoreError> for Stopped {
    fn from(e: StoreError) -> Self {
        match e {
            StoreError::Cancelled => Stopped::Cancelled,
            other => Stopped::Failed {
                message: other.to_string(),
                hint: other.hint(),
            },
        }
    }
}

impl From<DecideError> for Stopped {
    fn from(e: DecideError) -> Self {
        match e {
            DecideError::Store(e) => e.into(),
            DecideError::Operator(e) => e.into(),
            DecideError::Files(_) => Stopped::Failed {
                message: e.to_string(),
                hint: e.hint(),
            },
        }
    }
}

/// The error of an operator that stopped although nobody asked it to: it ran into its timeout, or
/// there is a bug.
pub(super) fn late(timeout: Option<Duration>) -> Stopped {
    match timeout {
        Some(t) => Stopped::new(
            format!("it took longer than {}", humantime::format_duration(t)),
            Some(
                "raise the stage's `timeout`; a training goes on from its last checkpoint when it runs again",
            ),
        ),
        None => OpError::internal("the operator stopped without a reason").into(),
    }
}

/// The result of an operator's code; a panic is a failure of its stage.
pub(crate) fn caught<T>(code: impl FnOnce() -> OpResult<T>) -> OpResult<T> {
    panics::catch(code).unwrap_or_else(|panic| {
        let place = panic.place.map(|p| format!(" at {p}")).unwrap_or_default();
        let message = panic.message;
        Err(OpError::internal(format!(
            "the operator panicked{place}: {message}"
        )))
    })
}
