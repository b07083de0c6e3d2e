//! Reads JSON lines as rows of a declared table. It is strict: a lenient reader would turn 1.5 into
//! 1 for an integer column.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, FixedSizeListBuilder, Float32Array, Float32Builder, Float64Array,
    Int64Builder, LargeListBuilder, ListBuilder, RecordBatch, StringArray, StringBuilder,
    UInt32Array, UInt32Builder, UInt64Array,
};
use arrow::datatypes::{DataType, Field};
use gfm_pipe_api::{ColType, Column, OpError, OpResult, TableSpec};
use serde_json::{Map, Value};

type Row = Map<String, Value>;

/// Reads lines as rows. `first` is the one-based number of the first line, for messages. `dim` is
/// the length of vectors; the first vector seen sets it.
pub(crate) fn batch(
    lines: &[String],
    spec: &TableSpec,
    first: u64,
    dim: &mut Option<usize>,
) -> OpResult<RecordBatch> {
    let mut rows: Vec<(u64, Row)> = Vec::with_capacity(lines.len());
    for (number, line) in (first..).zip(lines) {
        if line.trim().is_empty() {
            continue;
        }
        let row: Row = serde_json::from_str(line)
            .map_err(|e| OpError::wrap("expected a JSON object", e).line(number))?;
        let known = |name: &String| spec.columns.iter().any(|c| c.name == name);
        if let Some(name) = row.keys().find(|name| !known(name)) {
            return Err(OpError::data(format!("there is no column `{name}`")).line(number));
        }
        rows.push((number, row));
    }
    let columns = spec.columns.iter().map(|c| column(&rows, c, dim));
    let columns = columns.collect::<OpResult<Vec<_>>>()?;
    let schema = spec.schema(dim.unwrap_or(1));
    Ok(RecordBatch::try_new(Arc::new(schema), columns)?)
}

fn shown(v: &Value) -> String {
    v.to_string().chars().take(60).collect()
}

/// Converts the values of a column; errors name the line of the file.
struct Cells<'a> {
    rows: &'a [(u64, Row)],
    column: &'a Column,
}

impl<'a> Cells<'a> {
    fn wrong(&self, number: u64, found: &Value) -> OpError {
        let Column { name, ty, .. } = self.column;
        let found = shown(found);
        OpError::data(format!(
            "column `{name}`: expected {}, found {found}",
            ty.name()
        ))
        .line(number)
    }

    /// Converts every value; `None` where a value is missing in a nullable column.
    fn map<T>(&self, read: impl Fn(&'a Value) -> Option<T>) -> OpResult<Vec<Option<T>>> {
        let mut out = Vec::with_capacity(self.rows.len());
        for (number, row) in self.rows {
            out.push(match row.get(self.column.name) {
                None | Some(Value::Null) if self.column.nullable => None,
                None | Some(Value::Null) => {
                    let name = self.column.name;
                    let e = OpError::data(format!("column `{name}` has no value"));
                    return Err(e.line(*number));
                }
                Some(v) => Some(read(v).ok_or_else(|| self.wrong(*number, v))?),
            });
        }
        Ok(out)
    }

    /// Converts every value, which must be a list, item by item.
    fn lists<T>(&self, read: impl Fn(&'a Value) -> Option<T>) -> OpResult<Vec<Option<Vec<T>>>> {
        self.map(|v| v.as_array()?.iter().map(&read).collect())
    }
}

fn u32_of(v: &Value) -> Option<u32> {
    u32::try_from(v.as_u64()?).ok()
}

/// Rounds a number to f32; `None` where it is not a number or would be infinite.
#[expect(clippy::cast_possible_truncation)]
fn f32_of(v: &Value) -> Option<f32> {
    Some(v.as_f64()? as f32).filter(|x| x.is_finite())
}

fn column(rows: &[(u64, Row)], column: &Column, dim: &mut Option<usize>) -> OpResult<ArrayRef> {
    let cells = Cells { rows, column };
    let item = |ty| Field::new("item", ty, false);
    Ok(match column.ty {
        ColType::Bool => Arc::new(BooleanArray::from(cells.map(Value::as_bool)?)),
        ColType::U32 => Arc::new(UInt32Array::from(cells.map(u32_of)?)),
        ColType::U64 => Arc::new(UInt64Array::from(cells.map(Value::as_u64)?)),
        ColType::F32 => Arc::new(Float32Array::from(cells.map(f32_of)?)),
        ColType::F64 => Arc::new(Float64Array::from(cells.map(Value::as_f64)?)),
        ColType::Text => Arc::new(StringArray::from(cells.map(Value::as_str)?)),
        ColType::ListU32 => {
            let mut b = ListBuilder::new(UInt32Builder::new()).with_field(item(DataType::UInt32));
            for list in cells.lists(u32_of)? {
                b.append_option(list.map(|l| l.into_iter().map(Some)));
            }
            Arc::new(b.finish())
        }
        ColType::ListText => {
            let mut b = ListBuilder::new(StringBuilder::new()).with_field(item(DataType::Utf8));
            for list in cells.lists(Value::as_str)? {
                b.append_option(list.map(|l| l.into_iter().map(Some)));
            }
            Arc::new(b.finish())
        }
        ColType::ListI64 => {
            let mut b = ListBuilder::new(Int64Builder::new()).with_field(item(DataType::Int64));
            for list in cells.lists(Value::as_i64)? {
                b.append_option(list.map(|l| l.into_iter().map(Some)));
            }
            Arc::new(b.finish())
        }
        ColType::LargeListF32 => {
            let values = Float32Builder::new();
            let mut b = LargeListBuilder::new(values).with_field(item(DataType::Float32));
            for list in cells.lists(f32_of)? {
                b.append_option(list.map(|l| l.into_iter().map(Some)));
            }
            Arc::new(b.finish())
        }
        ColType::Vector => {
            let lists = cells.lists(f32_of)?;
            let length = lists.iter().flatten().map(Vec::len).next();
            let n = *dim.get_or_insert(length.unwrap_or(1).max(1));
            let width = i32::try_from(n).map_err(|e| OpError::wrap("a vector is too long", e))?;
            let values = Float32Builder::with_capacity(n * lists.len());
            let mut b =
                FixedSizeListBuilder::new(values, width).with_field(item(DataType::Float32));
            for (list, (number, _)) in lists.into_iter().zip(rows) {
                let Some(list) = list.filter(|l| l.len() == n) else {
                    let message = format!("column `{}`: expected {n} numbers", column.name);
                    return Err(OpError::data(message).line(*number));
                };
                b.values().append_slice(&list);
                b.append(true);
            }
            Arc::new(b.finish())
        }
    })
}
