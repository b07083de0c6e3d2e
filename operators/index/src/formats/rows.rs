//! Reads records of JSON, JSON Lines and CSV, one at a time, with the part of the text that each
//! was read from.
//!
//! A record that cannot be read is reported as a fault, and the next record follows.

use std::ops::Range;

use gfm_pipe_api::OpResult;
use gfm_pipe_kg::json::Json;

use super::{Fault, Format, csv, json};

/// A record of a file.
#[derive(Debug, PartialEq)]
pub struct Row {
    /// The key, in an object of records.
    pub key: Option<String>,
    /// The value; for CSV, an object of texts.
    pub value: Json,
    /// The range in the text, including the key.
    pub span: Range<usize>,
    /// One-based line where it begins.
    pub line: u64,
    /// Zero-based number in the file.
    pub number: u64,
}

/// Receives records and faults in the order of the file.
pub type Each<'a> = dyn FnMut(Result<Row, Fault>) -> OpResult<()> + 'a;

/// How records of a file are recognised.
pub struct Expected<'a> {
    /// A column that CSV must have.
    pub column: &'a str,
    /// Whether a JSON object with these keys is a record itself, not an object of records by key.
    pub is_record: &'a dyn Fn(&[&str]) -> bool,
}

/// Reads the records of a text.
///
/// # Errors
/// The errors of `each`.
pub fn read(
    text: &str,
    format: Format,
    expected: &Expected<'_>,
    each: &mut Each<'_>,
) -> OpResult<()> {
    match format {
        Format::Csv => csv::read(text, expected.column, each),
        Format::JsonLines => json::read_lines(text, expected.is_record, each),
        _ => json::read(text, expected.is_record, each),
    }
}

#[cfg(test)]
pub mod testing {
    //! Records as texts.
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// Expects records with a field or column `text`.
    pub const TEXT: Expected<'static> = Expected {
        column: "text",
        is_record: &|keys| keys.contains(&"text"),
    };

    /// Records as `line number key=value span`, faults as `line item: reason`.
    pub fn lines(format: Format, text: &str) -> Vec<String> {
        let mut out = Vec::new();
        super::read(text, format, &TEXT, &mut |row| {
            out.push(match row {
                Ok(row) => {
                    let key = row.key.map(|k| format!("{k}=")).unwrap_or_default();
                    format!(
                        "{} {} {key}{} <{}>",
                        row.line,
                        row.number,
                        row.value.shown(),
                        &text[row.span]
                    )
                }
                Err(fault) => {
                    let line = fault.line.map(|l| l.to_string()).unwrap_or_default();
                    format!(
                        "{line} {}: {}",
                        fault.item.unwrap_or_default(),
                        fault.reason
                    )
                }
            });
            Ok(())
        })
        .unwrap();
        out
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::testing::TEXT;
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_text_makes_them_panic_and_spans_are_within_it(
            text in prop_oneof![
                any::<String>(),
                "[\\[\\]{}\",:; \n\ra-c1\\\\\t|]{0,40}",
                "text[,;\t|]n\n[\",; \n\ra-c|]{0,30}",
            ],
        ) {
            for format in Format::RECORDS {
                read(&text, *format, &TEXT, &mut |row| {
                    if let Ok(row) = row {
                        assert!(text.get(row.span).is_some());
                    }
                    Ok(())
                }).unwrap();
            }
        }
    }
}
