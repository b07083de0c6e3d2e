//! What layouts have in common: the files they are made of, and JSON with one member a line.

use std::io::Write;

use gfm_pipe_api::{Context, ErrorKind, OpError, OpResult, delivery};
use serde::Serialize;

use super::WriteParams;
use crate::tables::Reject;

/// Receives what is written differently or left out.
pub type Report<'a> = &'a mut dyn FnMut(&Reject<'_>) -> OpResult<()>;

/// A data set that is read from the inputs, in one of the layouts.
pub trait Layout: Sized {
    /// One of its files.
    type File: Copy;

    /// Reads the inputs that are connected. `report` receives what is written differently or left
    /// out.
    ///
    /// # Errors
    /// When a table cannot be read, or tables do not belong together.
    fn read(ctx: &Context, params: &WriteParams, report: Report<'_>) -> OpResult<Self>;

    /// The files to write, which depend on the connected inputs.
    fn files(&self) -> Vec<Self::File>;

    /// The path of a file in the folder.
    fn name(&self, file: Self::File) -> String;

    /// Writes the content of a file.
    ///
    /// # Errors
    /// When the user wants to stop or the disk refuses.
    fn write(&self, ctx: &Context, file: Self::File, out: &mut dyn Write) -> OpResult<()>;
}

/// A reject that refers to a row of a table.
pub fn row<'a>(table: &'a str, row: usize, reason: &'a str, text: &'a str) -> Reject<'a> {
    Reject {
        source: table,
        line: Some(row as u64 + 1),
        item: None,
        reason,
        text,
    }
}

/// A value as JSON.
///
/// # Errors
/// Never, for the texts, numbers and lists of data sets.
pub fn json(value: &impl Serialize) -> OpResult<String> {
    serde_json::to_string(value)
        .map_err(|e| OpError::wrap("failed to make JSON", e).with_kind(ErrorKind::Internal))
}

/// A member of a JSON object.
///
/// # Errors
/// Those of [`json`].
pub fn member(key: &str, value: &impl Serialize) -> OpResult<String> {
    Ok(format!("{}: {}", json(&key)?, json(value)?))
}

/// Writes an object or a list, one member per line.
///
/// # Errors
/// Those of the members, or when the user wants to stop or the disk refuses.
pub fn members(
    ctx: &Context,
    out: &mut dyn Write,
    [open, close]: [&str; 2],
    items: impl Iterator<Item = OpResult<String>>,
) -> OpResult<()> {
    delivery::put(out, open.as_bytes())?;
    for (i, item) in items.enumerate() {
        if i % 1024 == 0 {
            ctx.check_cancelled()?;
        }
        let between = if i == 0 { "\n " } else { ",\n " };
        delivery::put(out, between.as_bytes())?;
        delivery::put(out, item?.as_bytes())?;
    }
    delivery::put(out, format!("\n{close}\n").as_bytes())
}
