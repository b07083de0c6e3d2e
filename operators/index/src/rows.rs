//! Writes a table row by row. Rows are collected and written in batches, as in every ingest.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanBuilder, Float32Builder, Float64Builder, StringBuilder, UInt32Builder,
    UInt64Builder,
};
use gfm_pipe_api::{ColType, Context, Kind, OpError, OpResult};
use gfm_pipe_kg::tables::{Piece, Table};

/// A value in a row.
#[derive(Debug, Clone, Copy)]
pub enum Cell<'a> {
    /// An id (u32).
    Id(u32),
    /// An id that may be missing.
    MaybeId(Option<u32>),
    /// A number that may be missing.
    Maybe(Option<u64>),
    /// A weight in single precision.
    Weight(f32),
    /// A weight in double precision, because it is summed.
    Score(f64),
    /// A boolean.
    Flag(bool),
    /// A string.
    Text(&'a str),
}

enum Column {
    Id(UInt32Builder),
    Number(UInt64Builder),
    Weight(Float32Builder),
    Score(Float64Builder),
    Flag(BooleanBuilder),
    Text(StringBuilder),
}

/// A table that is being written.
pub struct Rows {
    table: Table,
    name: &'static str,
    piece: Piece,
    columns: Vec<Column>,
    total: u32,
}

impl Rows {
    /// Starts a table of an output port.
    ///
    /// # Errors
    /// When the kind has no such table, or one with other columns than [`Cell`] has values for.
    pub fn create(
        ctx: &Context,
        port: &str,
        kind: &'static Kind,
        table: &'static str,
    ) -> OpResult<Rows> {
        let spec = kind.table(table).ok_or_else(|| {
            OpError::internal(format!("kind `{}` has no table `{table}`", kind.name))
        })?;
        let columns = spec.columns.iter().map(|column| match column.ty {
            ColType::U32 => Ok(Column::Id(UInt32Builder::new())),
            ColType::U64 => Ok(Column::Number(UInt64Builder::new())),
            ColType::F32 => Ok(Column::Weight(Float32Builder::new())),
            ColType::F64 => Ok(Column::Score(Float64Builder::new())),
            ColType::Bool => Ok(Column::Flag(BooleanBuilder::new())),
            ColType::Text => Ok(Column::Text(StringBuilder::new())),
            other => Err(OpError::internal(format!(
                "column `{}` is {}",
                column.name,
                other.name()
            ))),
        });
        Ok(Rows {
            columns: columns.collect::<OpResult<_>>()?,
            table: Table::create(ctx, port, kind, table)?,
            name: table,
            piece: Piece::default(),
            total: 0,
        })
    }

    /// Number of rows so far, which is the id of the next row.
    pub fn total(&self) -> u32 {
        self.total
    }

    /// Adds a row, its values in the order of the columns.
    ///
    /// # Errors
    /// When the values do not fit the columns, there are too many rows, or writing fails.
    pub fn push<const N: usize>(&mut self, cells: [Cell<'_>; N]) -> OpResult<()> {
        let misfit = || OpError::internal(format!("a row does not fit table `{}`", self.name));
        let fits = |(column, cell): (&Column, &Cell<'_>)| {
            matches!(
                (column, cell),
                (Column::Id(_), Cell::Id(_) | Cell::MaybeId(_))
                    | (Column::Number(_), Cell::Maybe(_))
                    | (Column::Weight(_), Cell::Weight(_))
                    | (Column::Score(_), Cell::Score(_))
                    | (Column::Flag(_), Cell::Flag(_))
                    | (Column::Text(_), Cell::Text(_))
            )
        };
        // Checked first, because a row cannot be removed once it was begun.
        if self.columns.len() != N || !self.columns.iter().zip(&cells).all(fits) {
            return Err(misfit());
        }
        let mut bytes = 0;
        for (column, cell) in self.columns.iter_mut().zip(cells) {
            match (column, cell) {
                (Column::Id(b), Cell::Id(id)) => b.append_value(id),
                (Column::Id(b), Cell::MaybeId(id)) => b.append_option(id),
                (Column::Number(b), Cell::Maybe(n)) => b.append_option(n),
                (Column::Weight(b), Cell::Weight(weight)) => b.append_value(weight),
                (Column::Score(b), Cell::Score(score)) => b.append_value(score),
                (Column::Flag(b), Cell::Flag(flag)) => b.append_value(flag),
                (Column::Text(b), Cell::Text(text)) => {
                    bytes += text.len();
                    b.append_value(text);
                }
                _ => return Err(misfit()),
            }
        }
        self.total = self.total.checked_add(1).ok_or_else(|| {
            OpError::data(format!(
                "table `{}` has more than 4294967295 rows",
                self.name
            ))
        })?;
        if self.piece.add(bytes) {
            self.flush()
        } else {
            Ok(())
        }
    }

    fn flush(&mut self) -> OpResult<()> {
        self.piece.take();
        let columns = self.columns.iter_mut().map(|column| -> ArrayRef {
            match column {
                Column::Id(b) => Arc::new(b.finish()),
                Column::Number(b) => Arc::new(b.finish()),
                Column::Weight(b) => Arc::new(b.finish()),
                Column::Score(b) => Arc::new(b.finish()),
                Column::Flag(b) => Arc::new(b.finish()),
                Column::Text(b) => Arc::new(b.finish()),
            }
        });
        self.table.append(columns.collect())
    }

    /// Completes the table.
    ///
    /// # Errors
    /// When writing fails.
    pub fn finish(mut self) -> OpResult<()> {
        self.flush()?;
        self.table.finish()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use gfm_pipe_api::{kinds, local};

    #[test]
    fn rows_that_do_not_fit_are_refused() {
        let ctx = local::context();
        let mut rows = Rows::create(&ctx, "answers", &kinds::ANSWERS, "answers").unwrap();
        let text = Cell::Text;
        rows.push([text("train"), text("q"), text("a")]).unwrap();
        assert_eq!(rows.total(), 1);
        assert!(rows.push([text("train"), text("q")]).is_err());
        assert!(rows.push([text("train"), text("q"), Cell::Id(1)]).is_err());
        rows.finish().unwrap();
        assert!(Rows::create(&ctx, "x", &kinds::EMBEDDINGS, "vectors").is_err());
        assert!(Rows::create(&ctx, "x", &kinds::ANSWERS, "none").is_err());
    }
}
