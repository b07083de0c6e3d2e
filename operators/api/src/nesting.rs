//! Checks how deep a Parquet file's columns are nested before the library reads its schema.
//!
//! The library builds nested types by recursion, and dropping them recurses too: a footer of two
//! megabytes can nest 200,000 groups, which overflows the stack. Only the list of columns in the
//! footer is looked at here (Thrift's compact protocol, fields by number as parquet.thrift has
//! them).

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};

use parquet::errors::{ParquetError, Result};

/// Most levels of nested columns; gfm-pipe's own tables have at most three.
const MAX_DEPTH: usize = 64;
/// Most levels of nested values inside the description of one column.
const MAX_SKIP: usize = 32;

fn too_deep() -> ParquetError {
    ParquetError::General(format!(
        "its columns are nested more than {MAX_DEPTH} levels deep"
    ))
}

/// Checks how deep the columns of a file are nested. Other faults are left to the library to
/// report.
///
/// # Errors
/// When they are nested too deep, or the file cannot be read.
pub(crate) fn check(file: &mut File) -> Result<()> {
    let size = file.seek(SeekFrom::End(0))?;
    let footer = footer(file, size)?;
    file.seek(SeekFrom::Start(0))?;
    match footer {
        Some(footer) => of_footer(&footer),
        None => Ok(()),
    }
}

/// The bytes of the file's footer, which describes the file; `None` where it has none.
fn footer(file: &mut File, size: u64) -> Result<Option<Vec<u8>>> {
    // Length and magic number.
    const TAIL: u64 = 8;
    let mut tail = [0; TAIL as usize];
    if size < TAIL {
        return Ok(None);
    }
    file.seek(SeekFrom::Start(size - TAIL))?;
    file.read_exact(&mut tail)?;
    let (length, magic) = tail.split_at(4);
    let length = length.iter().rev().fold(0, |n, b| n << 8 | u64::from(*b));
    if magic != b"PAR1" || length > size - TAIL {
        return Ok(None);
    }
    file.seek(SeekFrom::Start(size - TAIL - length))?;
    let mut bytes = Vec::new();
    file.take(length).read_to_end(&mut bytes)?;
    Ok(Some(bytes))
}

fn of_footer(bytes: &[u8]) -> Result<()> {
    match Walk(bytes).file() {
        Some(depth) if depth > MAX_DEPTH => Err(too_deep()),
        _ => Ok(()),
    }
}

/// The bytes that are left to read. Methods return `None` where the bytes are not Thrift.
struct Walk<'a>(&'a [u8]);

/// Numbers of the kinds of values.
const BOOLEANS: [u8; 2] = [1, 2];
const BYTE: u8 = 3;
const INTEGERS: [u8; 3] = [4, 5, 6];
const DOUBLE: u8 = 7;
const BINARY: u8 = 8;
const LISTS: [u8; 2] = [9, 10];
const MAP: u8 = 11;
const STRUCT: u8 = 12;

/// Numbers of the fields that are looked at: of a file's description, and of a column's.
const SCHEMA: i64 = 2;
const CHILDREN: i64 = 5;

impl Walk<'_> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn pass(&mut self, n: u64) -> Option<()> {
        self.0 = self.0.get(usize::try_from(n).ok()?..)?;
        Some(())
    }

    fn varint(&mut self) -> Option<u64> {
        let mut out = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            out |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(out);
            }
        }
        None
    }

    fn integer(&mut self) -> Option<i64> {
        let n = self.varint()?;
        Some((n >> 1) as i64 ^ -((n & 1) as i64))
    }

    /// Reads the next field's header: sets `last` to its number and returns its kind; `Some(None)`
    /// at the end of a struct.
    fn field(&mut self, last: &mut i64) -> Option<Option<u8>> {
        let head = self.byte()?;
        if head == 0 {
            return Some(None);
        }
        *last = match head >> 4 {
            0 => self.integer()?,
            more => last.checked_add(i64::from(more))?,
        };
        Some(Some(head & 0xf))
    }

    /// Kind and number of a list's items.
    fn list(&mut self) -> Option<(u8, u64)> {
        let head = self.byte()?;
        let count = match head >> 4 {
            15 => self.varint()?,
            n => u64::from(n),
        };
        Some((head & 0xf, count))
    }

    /// Skips a value; `item` says whether it is in a list, where booleans take a byte.
    fn skip(&mut self, kind: u8, item: bool, depth: usize) -> Option<()> {
        if depth > MAX_SKIP {
            return None;
        }
        match kind {
            k if BOOLEANS.contains(&k) => self.pass(u64::from(item)),
            BYTE => self.pass(1),
            k if INTEGERS.contains(&k) => self.varint().map(drop),
            DOUBLE => self.pass(8),
            BINARY => {
                let n = self.varint()?;
                self.pass(n)
            }
            k if LISTS.contains(&k) => {
                let (kind, count) = self.list()?;
                (0..count).try_for_each(|_| self.skip(kind, true, depth + 1))
            }
            MAP => {
                let count = self.varint()?;
                let kinds = if count > 0 { self.byte()? } else { 0 };
                (0..count).try_for_each(|_| {
                    self.skip(kinds >> 4, true, depth + 1)?;
                    self.skip(kinds & 0xf, true, depth + 1)
                })
            }
            STRUCT => {
                let mut last = 0;
                while let Some(kind) = self.field(&mut last)? {
                    self.skip(kind, false, depth + 1)?;
                }
                Some(())
            }
            _ => None,
        }
    }

    /// How deep a file's columns are nested; `None` also where it has no list of columns.
    fn file(&mut self) -> Option<usize> {
        let mut last = 0;
        while let Some(kind) = self.field(&mut last)? {
            if last == SCHEMA && LISTS.contains(&kind) {
                return self.columns();
            }
            self.skip(kind, false, 0)?;
        }
        None
    }

    /// How deep the columns of a list are nested; a group comes before its members.
    fn columns(&mut self) -> Option<usize> {
        let (_, count) = self.list()?;
        // For each open group, the number of its columns that are still to come.
        let mut open: Vec<i64> = Vec::new();
        let mut deepest = 0;
        for _ in 0..count {
            let mut children = 0;
            let mut last = 0;
            while let Some(kind) = self.field(&mut last)? {
                match (last, INTEGERS.contains(&kind)) {
                    (CHILDREN, true) => children = self.integer()?,
                    _ => self.skip(kind, false, 0)?,
                }
            }
            if let Some(group) = open.last_mut() {
                *group -= 1;
            }
            if children > 0 {
                open.push(children);
                deepest = deepest.max(open.len());
            }
            while open.last().is_some_and(|left| *left == 0) {
                open.pop();
            }
            if deepest > MAX_DEPTH {
                break;
            }
        }
        Some(deepest)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::io::Write;
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int64Array, RecordBatch, StructArray};
    use arrow::datatypes::{DataType, Field, Schema};

    use super::*;
    use crate::table;

    /// A file that holds only a schema of this many nested groups.
    fn nested(levels: usize) -> Vec<u8> {
        let mut footer = vec![0x15, 0x02, 0x19];
        // A list of structs with its length.
        footer.push(0xfc);
        let mut n = levels + 1;
        while n >= 0x80 {
            footer.push(n as u8 | 0x80);
            n >>= 7;
        }
        footer.push(n as u8);
        for _ in 0..levels {
            // Required, named `g`, one child.
            footer.extend([0x35, 0x00, 0x18, 0x01, b'g', 0x15, 0x02, 0x00]);
        }
        // An i32 named `x`.
        footer.extend([0x15, 0x02, 0x25, 0x00, 0x18, 0x01, b'x', 0x00]);
        // No rows, no row groups.
        footer.extend([0x16, 0x00, 0x19, 0x0c, 0x00]);
        let mut out = b"PAR1".to_vec();
        out.extend(&footer);
        out.extend((footer.len() as u32).to_le_bytes());
        out.extend(b"PAR1");
        out
    }

    fn opened(bytes: &[u8]) -> Result<()> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(bytes).unwrap();
        table::reader(file.path()).map(drop)
    }

    #[test]
    fn a_schema_of_200_000_levels_is_refused() {
        let e = opened(&nested(200_000)).unwrap_err().to_string();
        assert!(e.contains("more than 64 levels deep"), "{e}");
        // The library reads the same file with fewer.
        opened(&nested(20)).unwrap();
    }

    #[test]
    fn real_files_are_measured_and_broken_ones_left_alone() {
        let mut column: ArrayRef = Arc::new(Int64Array::from(vec![1, 2]));
        for _ in 0..5 {
            let field = Field::new("x", column.data_type().clone(), false);
            column = Arc::new(StructArray::from(vec![(Arc::new(field), column)]));
        }
        let field = Field::new("top", column.data_type().clone(), false);
        assert!(matches!(field.data_type(), DataType::Struct(_)));
        let schema = Arc::new(Schema::new(vec![field]));
        let batch = RecordBatch::try_new(Arc::clone(&schema), vec![column]).unwrap();
        let mut bytes = Vec::new();
        let mut writer = table::writer(&mut bytes, schema).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
        let tail = bytes.len() - 8;
        let length = u32::from_le_bytes(bytes[tail..tail + 4].try_into().unwrap()) as usize;
        let footer = &bytes[tail - length..tail];
        // The root, and the five nested groups in it.
        assert_eq!(Walk(footer).file(), Some(6));
        for end in 0..footer.len() {
            of_footer(&footer[..end]).unwrap();
        }
        for bad in [&b""[..], b"PAR1", b"no table at all, not even nearly"] {
            assert!(opened(bad).is_err());
        }
    }
}
