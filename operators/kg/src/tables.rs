//! Tables that an ingest writes piece by piece: create, append, finish.
//!
//! Invariant: no piece holds more than [`ROWS`] rows or much more than [`BYTES`] of text, so that a
//! text column's 32-bit offsets never overflow and rejects never fill the memory. Where pieces are
//! cut depends on the content only: the same input gives the same bytes.

use std::sync::Arc;

use arrow::array::{ArrayRef, StringArray, StringBuilder, UInt32Array, UInt64Array, UInt64Builder};
use gfm_pipe_api::{Context, Kind, OpError, OpResult, TableSink, TableSpec, columns, kinds};

use crate::names::Names;

/// Most rows in a piece.
pub const ROWS: usize = 65_536;
/// Bytes of text after which a piece is cut.
pub const BYTES: usize = 64 << 20;
/// Most bytes of a rejected text that are kept.
const REJECT_TEXT: usize = 1 << 20;

/// A table of an output port that is being written.
pub struct Table {
    sink: Box<dyn TableSink>,
    spec: &'static TableSpec,
}

impl Table {
    /// Starts a table of an output port.
    ///
    /// # Errors
    /// When the kind has no such table or the store refuses.
    pub fn create(ctx: &Context, port: &str, kind: &'static Kind, table: &str) -> OpResult<Table> {
        let spec = kind.table(table).ok_or_else(|| {
            OpError::internal(format!("kind `{}` has no table `{table}`", kind.name))
        })?;
        let sink = ctx.outputs.create(port, table, Arc::new(spec.schema(0)))?;
        Ok(Table { sink, spec })
    }

    /// Appends columns, in the table's order.
    ///
    /// # Errors
    /// When they do not fit or the disk refuses.
    pub fn append(&mut self, columns: Vec<ArrayRef>) -> OpResult<()> {
        self.sink.write(&columns::batch(self.spec, columns)?)
    }

    /// Completes the table.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn finish(self) -> OpResult<()> {
        self.sink.finish()
    }
}

/// Counts the rows and bytes of the piece that is being collected.
#[derive(Default)]
pub struct Piece {
    rows: usize,
    bytes: usize,
}

impl Piece {
    /// Counts a row with this much text. Returns whether the piece should be written now.
    pub fn add(&mut self, bytes: usize) -> bool {
        self.rows += 1;
        self.bytes += bytes;
        self.rows >= ROWS || self.bytes >= BYTES
    }

    /// Returns the number of rows, and starts the next piece.
    pub fn take(&mut self) -> usize {
        std::mem::take(self).rows
    }
}

/// Input that could not be used: a row of the `rejects` table.
pub struct Reject<'a> {
    /// File, relative to the data set.
    pub source: &'a str,
    /// One-based line. In JSON files, the line where the item begins.
    pub line: Option<u64>,
    /// Question id or document title, for JSON files.
    pub item: Option<&'a str>,
    /// Why it could not be used.
    pub reason: &'a str,
    /// The input as it was written.
    pub text: &'a str,
}

/// Writes the `rejects` port.
pub struct Rejects {
    table: Table,
    piece: Piece,
    source: StringBuilder,
    line: UInt64Builder,
    item: StringBuilder,
    reason: StringBuilder,
    text: StringBuilder,
    total: u64,
}

impl Rejects {
    /// Starts the table.
    ///
    /// # Errors
    /// See [`Table::create`].
    pub fn create(ctx: &Context) -> OpResult<Self> {
        Ok(Rejects {
            table: Table::create(ctx, "rejects", &kinds::REJECTS, "rejects")?,
            piece: Piece::default(),
            source: StringBuilder::new(),
            line: UInt64Builder::new(),
            item: StringBuilder::new(),
            reason: StringBuilder::new(),
            text: StringBuilder::new(),
            total: 0,
        })
    }

    /// Adds a row; a long text is cut.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn push(&mut self, reject: &Reject<'_>) -> OpResult<()> {
        self.total += 1;
        self.source.append_value(reject.source);
        self.line.append_option(reject.line);
        self.item.append_option(reject.item);
        self.reason.append_value(reject.reason);
        if reject.text.len() > REJECT_TEXT {
            let head = head(reject.text, REJECT_TEXT);
            self.text
                .append_value(format!("{head}… ({} bytes)", reject.text.len()));
        } else {
            self.text.append_value(reject.text);
        }
        let bytes = reject.text.len().min(REJECT_TEXT) + reject.item.map_or(0, str::len);
        if self.piece.add(bytes) {
            self.flush()?;
        }
        Ok(())
    }

    /// Number of rows so far.
    pub fn total(&self) -> u64 {
        self.total
    }

    fn flush(&mut self) -> OpResult<()> {
        if self.piece.take() == 0 {
            return Ok(());
        }
        self.table.append(vec![
            Arc::new(self.source.finish()),
            Arc::new(self.line.finish()),
            Arc::new(self.item.finish()),
            Arc::new(self.reason.finish()),
            Arc::new(self.text.finish()),
        ])
    }

    /// Completes the table.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn finish(mut self) -> OpResult<()> {
        self.flush()?;
        self.table.finish()
    }
}

/// Writes the `places` port: where the rows of other tables are in the input files. It is a port of
/// its own, so that a line that moved changes no other artifact.
pub struct Places {
    table: Table,
    piece: Piece,
    of: StringBuilder,
    row: Vec<u64>,
    source: StringBuilder,
    line: Vec<u64>,
}

impl Places {
    /// Starts the table.
    ///
    /// # Errors
    /// See [`Table::create`].
    pub fn create(ctx: &Context) -> OpResult<Self> {
        Ok(Places {
            table: Table::create(ctx, "places", &kinds::PLACES, "places")?,
            piece: Piece::default(),
            of: StringBuilder::new(),
            row: Vec::new(),
            source: StringBuilder::new(),
            line: Vec::new(),
        })
    }

    /// Adds the line of a row of a table.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn push(&mut self, table: &str, row: u64, source: &str, line: u64) -> OpResult<()> {
        self.of.append_value(table);
        self.row.push(row);
        self.source.append_value(source);
        self.line.push(line);
        if self.piece.add(table.len() + source.len()) {
            self.flush()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> OpResult<()> {
        if self.piece.take() == 0 {
            return Ok(());
        }
        self.table.append(vec![
            Arc::new(self.of.finish()),
            Arc::new(UInt64Array::from(std::mem::take(&mut self.row))),
            Arc::new(self.source.finish()),
            Arc::new(UInt64Array::from(std::mem::take(&mut self.line))),
        ])
    }

    /// Completes the table.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn finish(mut self) -> OpResult<()> {
        self.flush()?;
        self.table.finish()
    }
}

/// The longest prefix of at most `max` bytes that ends between two characters.
fn head(text: &str, max: usize) -> &str {
    let mut end = max.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// Writes an id column and a name column, one piece at a time.
///
/// # Errors
/// When the disk refuses or a row count does not fit u32.
pub fn write_names<'a>(
    table: &mut Table,
    names: impl Iterator<Item = &'a str>,
    more: impl Fn(std::ops::Range<u32>) -> Vec<ArrayRef>,
) -> OpResult<()> {
    let mut piece = Piece::default();
    let mut texts = StringBuilder::new();
    let mut start = 0u32;
    let mut flush = |texts: &mut StringBuilder, start: &mut u32, rows: usize| -> OpResult<()> {
        let end = *start + u32::try_from(rows).map_err(|e| OpError::wrap("too many rows", e))?;
        let ids = UInt32Array::from_iter_values(*start..end);
        let mut columns: Vec<ArrayRef> = vec![Arc::new(ids), Arc::new(texts.finish())];
        columns.extend(more(*start..end));
        *start = end;
        table.append(columns)
    };
    for name in names {
        texts.append_value(name);
        if piece.add(name.len()) {
            flush(&mut texts, &mut start, piece.take())?;
        }
    }
    match piece.take() {
        0 => Ok(()),
        rows => flush(&mut texts, &mut start, rows),
    }
}

/// Writes the `relations` port: direct relations by id, then their inverses.
///
/// # Errors
/// When the disk refuses.
pub fn write_relations(ctx: &Context, names: &Names, triples: &[u64]) -> OpResult<()> {
    let direct = names.len();
    let inverses: Vec<String> = names.iter().map(|n| format!("inverse_{n}")).collect();
    let all = names.iter().chain(inverses.iter().map(String::as_str));
    let mut table = Table::create(ctx, "relations", &kinds::RELATIONS, "relations")?;
    write_names(&mut table, all, |ids| {
        let inverse_of = UInt32Array::from_iter(ids.clone().map(|id| id.checked_sub(direct)));
        let triples = UInt64Array::from_iter_values(ids.map(|id| triples[(id % direct) as usize]));
        let columns: Vec<ArrayRef> = vec![Arc::new(inverse_of), Arc::new(triples)];
        columns
    })?;
    table.finish()
}

/// Writes the `counts` port.
///
/// # Errors
/// When the disk refuses.
pub fn write_counts(ctx: &Context, counts: &[(String, u64)]) -> OpResult<()> {
    let mut table = Table::create(ctx, "counts", &kinds::COUNTS, "counts")?;
    table.append(vec![
        Arc::new(StringArray::from_iter_values(counts.iter().map(|c| &c.0))),
        Arc::new(UInt64Array::from_iter_values(counts.iter().map(|c| c.1))),
    ])?;
    table.finish()
}

#[cfg(test)]
mod tests {
    use super::head;

    #[test]
    fn heads_end_between_characters() {
        assert_eq!(head("aéb", 2), "a");
        assert_eq!(head("aéb", 3), "aé");
        assert_eq!(head("aéb", 9), "aéb");
        assert_eq!(head("é", 1), "");
    }
}
