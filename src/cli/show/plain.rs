//! Turns tables into cells of text.

use arrow::array::{RecordBatch, RecordBatchReader as _};
use arrow::datatypes::SchemaRef;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use gfm_pipe_api::TableFile;
use gfm_pipe_api::printable::one_line;

/// Maximum length of a cell shown to people, in characters.
const CELL: usize = 60;

pub(super) type AnyError = Box<dyn std::error::Error + Send + Sync>;

/// The first rows of a table as cells, the header first.
pub fn read_cells(table: &TableFile, rows: u64) -> Result<Vec<Vec<String>>, AnyError> {
    #[cfg(feature = "frames")]
    if let [object] = table.objects.as_slice()
        && let Some(cells) = frames::read_cells(&object.path, rows)?
    {
        return Ok(cells);
    }
    let reader = table.batches_unchecked()?;
    let schema = reader.schema();
    let mut left = usize::try_from(rows).unwrap_or(usize::MAX);
    let mut batches = Vec::new();
    for batch in reader {
        if left == 0 {
            break;
        }
        let batch = batch?;
        let batch = batch.slice(0, batch.num_rows().min(left));
        left -= batch.num_rows();
        batches.push(batch);
    }
    cells(&schema, &batches)
}

/// Rows as cells, the header first.
pub fn cells(schema: &SchemaRef, batches: &[RecordBatch]) -> Result<Vec<Vec<String>>, AnyError> {
    let head = schema.fields().iter().map(|f| f.name().clone()).collect();
    let mut out: Vec<Vec<String>> = vec![head];
    let options = FormatOptions::default().with_null("-");
    for batch in batches {
        let columns = batch
            .columns()
            .iter()
            .map(|c| ArrayFormatter::try_new(c.as_ref(), &options))
            .collect::<Result<Vec<_>, _>>()?;
        for row in 0..batch.num_rows() {
            let cells = columns.iter().map(|c| cell(&c.value(row).to_string()));
            out.push(cells.collect());
        }
    }
    Ok(out)
}

/// A value on one line, shortened if it is long. Invisible characters, and those that change the
/// direction of text, are escaped.
fn cell(text: &str) -> String {
    let short: String = text.chars().take(CELL).collect();
    if text.chars().nth(CELL).is_none() {
        return one_line(&short).into_owned();
    }
    let kept = short.char_indices().nth(CELL - 1).map_or(0, |(at, _)| at);
    format!("{}…", one_line(&short[..kept]))
}

/// With polars, only the requested rows are decoded, and long lists are abbreviated.
#[cfg(feature = "frames")]
mod frames {
    use std::path::Path;

    use arrow::array::RecordBatchReader as _;
    use arrow::datatypes::DataType;
    use gfm_pipe_api::table;
    use polars::prelude::{AnyValue, ParquetReader, SerReader};

    use super::{AnyError, cell};

    /// `None` for tables that polars cannot represent in this build (fixed-size lists).
    pub fn read_cells(path: &Path, rows: u64) -> Result<Option<Vec<Vec<String>>>, AnyError> {
        let schema = table::reader(path)?.schema();
        let vectors = schema
            .fields()
            .iter()
            .any(|f| matches!(f.data_type(), DataType::FixedSizeList(..)));
        if vectors {
            return Ok(None);
        }
        let rows = usize::try_from(rows).unwrap_or(usize::MAX);
        let frame = ParquetReader::new(gfm_pipe_api::files::open(path)?)
            .with_slice(Some((0, rows)))
            .finish()?;
        let names = frame.get_column_names();
        let mut out = vec![names.iter().map(|n| n.to_string()).collect()];
        for row in 0..frame.height() {
            let cells = frame
                .columns()
                .iter()
                .map(|column| {
                    Ok(match column.get(row)? {
                        AnyValue::Null => "-".to_owned(),
                        AnyValue::String(s) => cell(s),
                        AnyValue::StringOwned(s) => cell(&s),
                        other => cell(&other.to_string()),
                    })
                })
                .collect::<Result<Vec<String>, AnyError>>()?;
            out.push(cells);
        }
        Ok(Some(out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_show_what_nobody_would_see_and_are_cut_between_characters() {
        assert_eq!(
            cell("user\u{202e}nimda\u{200b}\n"),
            "user\\u202enimda\\u200b\\n"
        );
        assert_eq!(cell(&"é".repeat(60)), "é".repeat(60));
        let long = cell(&"é".repeat(61));
        assert_eq!(long, format!("{}…", "é".repeat(59)));
        // The text is shortened before escaping, so no escape is cut in half.
        let last = format!("{}\u{1b}[2Jx", "a".repeat(58));
        assert_eq!(cell(&last), format!("{}\\u001b…", "a".repeat(58)));
    }
}
