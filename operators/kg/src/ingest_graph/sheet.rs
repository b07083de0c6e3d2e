//! The CSV files of a graph: records with their lines.

use std::path::{Path, PathBuf};

use gfm_pipe_api::{OpError, OpResult, encoding, files};

use crate::tables::{Reject, Rejects};

/// A CSV file with a header, in memory.
pub struct Sheet {
    /// Its path in the data set, for rejects and places.
    source: &'static str,
    /// Its path as the user wrote it.
    shown: PathBuf,
    text: String,
    columns: Vec<String>,
}

/// A record.
pub struct Record<'a> {
    sheet: &'a Sheet,
    cells: &'a csv::StringRecord,
    /// One-based line where it begins.
    pub line: u64,
    /// The record as written.
    pub raw: &'a str,
}

impl Record<'_> {
    /// The cell of a column; empty where the file has no such column, or the record ends before it.
    pub fn cell(&self, column: &str) -> &str {
        let at = self.sheet.columns.iter().position(|name| name == column);
        at.and_then(|at| self.cells.get(at)).unwrap_or_default()
    }

    /// Keeps the record, or something in it, as a reject.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn reject(&self, rejects: &mut Rejects, reason: &str) -> OpResult<()> {
        rejects.push(&Reject {
            source: self.sheet.source,
            line: Some(self.line),
            item: None,
            reason,
            text: self.raw,
        })
    }
}

impl Sheet {
    /// Reads a file in the folder `root`, which is `shown` to the user, and checks that it has some
    /// columns.
    ///
    /// # Errors
    /// When it cannot be read, is not UTF-8, or lacks a column.
    pub fn read(
        root: &Path,
        shown: &Path,
        source: &'static str,
        needed: &[&str],
    ) -> OpResult<Self> {
        let shown = shown.join(source);
        let bytes = files::read(&root.join(source)).map_err(|e| {
            if e.kind() == std::io::ErrorKind::NotFound {
                OpError::new("there is no such file").hint(
                    "a graph of GFM-RAG 2.0 has nodes.csv, relations.csv and edges.csv in processed/stage1; `ingest-kg` reads a kg.txt",
                )
            } else {
                OpError::wrap("failed to read", e)
            }
            .file(&shown)
        })?;
        if let Some(error) = encoding::check(&bytes) {
            return Err(error.file(&shown));
        }
        let bytes = match bytes.strip_prefix(b"\xef\xbb\xbf") {
            Some(rest) => rest.to_vec(),
            None => bytes,
        };
        let text = String::from_utf8(bytes).map_err(|e| {
            let before = &e.as_bytes()[..e.utf8_error().valid_up_to()];
            let line = 1 + before.iter().filter(|b| **b == b'\n').count() as u64;
            OpError::data("the file is not UTF-8")
                .file(&shown)
                .line(line)
                .hint("save it as UTF-8")
        })?;
        let mut header = csv::StringRecord::new();
        // In memory nothing fails to be read, and every text is UTF-8.
        let found = reader(&text).read_record(&mut header).unwrap_or(false);
        let columns: Vec<String> = header.iter().map(str::to_owned).collect();
        if !found {
            return Err(OpError::data("the file is empty").file(&shown));
        }
        let sheet = Sheet {
            source,
            shown,
            text,
            columns,
        };
        sheet.need(needed)?;
        Ok(sheet)
    }

    /// Checks that the header has some columns.
    ///
    /// # Errors
    /// When one is missing.
    pub fn need(&self, columns: &[&str]) -> OpResult<()> {
        match columns.iter().find(|name| !self.has(name)) {
            None => Ok(()),
            Some(missing) => Err(OpError::data(format!("there is no column `{missing}`"))
                .file(&self.shown)
                .line(1)
                .hint(format!("the header has: {}", self.columns.join(", ")))),
        }
    }

    /// Its path in the data set.
    pub fn source(&self) -> &'static str {
        self.source
    }

    /// Whether the header has a column.
    pub fn has(&self, column: &str) -> bool {
        self.columns.iter().any(|name| name == column)
    }

    /// Calls `each` with the records in order. Those with more cells than the header, and one whose
    /// quotes are not closed, go to the rejects. Returns the number of records.
    ///
    /// # Errors
    /// The errors of `each`, or when the disk refuses.
    pub fn records(
        &self,
        rejects: &mut Rejects,
        mut each: impl FnMut(&mut Rejects, &Record<'_>) -> OpResult<()>,
    ) -> OpResult<u64> {
        let mut reader = reader(&self.text);
        let mut cells = csv::StringRecord::new();
        let (mut header, mut number, mut line, mut counted) = (true, 0, 1, 0);
        loop {
            let from = reader.position().byte() as usize;
            if !reader.read_record(&mut cells).unwrap_or(false) {
                return Ok(number);
            }
            let to = (reader.position().byte() as usize).min(self.text.len());
            // Empty lines before a record are read with it.
            let whole = self.text.get(from..to).unwrap_or_default();
            let start = from + (whole.len() - whole.trim_start_matches(['\r', '\n']).len());
            line += breaks(self.text.get(counted..start).unwrap_or_default());
            counted = start;
            if std::mem::take(&mut header) {
                continue;
            }
            let record = Record {
                sheet: self,
                cells: &cells,
                line,
                raw: whole.trim_matches(['\r', '\n']),
            };
            number += 1;
            let last = to == self.text.len();
            if cells.len() > self.columns.len() {
                let reason = format!(
                    "the record has {} cells, the header {}: is a cell with a comma not in quotes?",
                    cells.len(),
                    self.columns.len()
                );
                record.reject(rejects, &reason)?;
            } else if last && record.raw.matches('"').count() % 2 == 1 {
                record.reject(
                    rejects,
                    "a quote is not closed: the rest of the file is in it",
                )?;
            } else {
                each(rejects, &record)?;
            }
        }
    }
}

/// The number of line breaks in a text: LF, CR LF or CR.
fn breaks(text: &str) -> u64 {
    let bytes = text.as_bytes();
    let alone =
        |(i, b): (usize, &u8)| *b == b'\n' || (*b == b'\r' && bytes.get(i + 1) != Some(&b'\n'));
    bytes.iter().enumerate().filter(|at| alone(*at)).count() as u64
}

fn reader(text: &str) -> csv::Reader<&[u8]> {
    csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .from_reader(text.as_bytes())
}
