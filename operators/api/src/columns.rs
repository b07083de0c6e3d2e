//! Typed access to columns, and short ways to build them.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BooleanArray, FixedSizeListArray, Float32Array, Float64Array, LargeListArray,
    ListArray, PrimitiveArray, RecordBatch, StringArray, UInt32Array, UInt64Array,
};
use arrow::buffer::{OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Field, Float32Type, Int64Type, Schema, UInt32Type,
};

use crate::error::{ErrorKind, OpError, OpResult};
use crate::kind::TableSpec;

fn typed<'a, A: Array + 'static>(batch: &'a RecordBatch, name: &str) -> OpResult<&'a A> {
    let column = batch
        .column_by_name(name)
        .ok_or_else(|| OpError::data(format!("table has no column `{name}`")))?;
    column.as_any().downcast_ref::<A>().ok_or_else(|| {
        OpError::data(format!(
            "column `{name}` has the unexpected type {}",
            column.data_type()
        ))
    })
}

/// A text column.
///
/// # Errors
/// When it is missing or of another type, as for all functions here.
pub fn text<'a>(batch: &'a RecordBatch, name: &str) -> OpResult<&'a StringArray> {
    typed(batch, name)
}

/// A u32 column.
///
/// # Errors
/// See [`text`].
pub fn u32s<'a>(batch: &'a RecordBatch, name: &str) -> OpResult<&'a UInt32Array> {
    typed(batch, name)
}

/// A u64 column.
///
/// # Errors
/// See [`text`].
pub fn u64s<'a>(batch: &'a RecordBatch, name: &str) -> OpResult<&'a UInt64Array> {
    typed(batch, name)
}

/// An f32 column.
///
/// # Errors
/// See [`text`].
pub fn f32s<'a>(batch: &'a RecordBatch, name: &str) -> OpResult<&'a Float32Array> {
    typed(batch, name)
}

/// An f64 column.
///
/// # Errors
/// See [`text`].
pub fn f64s<'a>(batch: &'a RecordBatch, name: &str) -> OpResult<&'a Float64Array> {
    typed(batch, name)
}

/// A boolean column.
///
/// # Errors
/// See [`text`].
pub fn bools<'a>(batch: &'a RecordBatch, name: &str) -> OpResult<&'a BooleanArray> {
    typed(batch, name)
}

fn inner<P: ArrowPrimitiveType>(
    values: &ArrayRef,
    name: &str,
    from: usize,
    to: usize,
) -> OpResult<Vec<P::Native>> {
    let values = values
        .as_any()
        .downcast_ref::<PrimitiveArray<P>>()
        .ok_or_else(|| {
            OpError::data(format!(
                "lists of column `{name}` hold the unexpected type {}",
                values.data_type()
            ))
        })?;
    Ok(values.values()[from..to].to_vec())
}

/// A column of id lists.
///
/// # Errors
/// See [`text`].
pub fn list_u32(batch: &RecordBatch, name: &str) -> OpResult<Vec<Vec<u32>>> {
    let list: &ListArray = typed(batch, name)?;
    (0..list.len())
        .map(|i| inner::<UInt32Type>(&list.value(i), name, 0, list.value(i).len()))
        .collect()
}

/// A column of i64 lists.
///
/// # Errors
/// See [`text`].
pub fn list_i64(batch: &RecordBatch, name: &str) -> OpResult<Vec<Vec<i64>>> {
    let list: &ListArray = typed(batch, name)?;
    (0..list.len())
        .map(|i| inner::<Int64Type>(&list.value(i), name, 0, list.value(i).len()))
        .collect()
}

/// A column of text lists.
///
/// # Errors
/// See [`text`].
pub fn list_text(batch: &RecordBatch, name: &str) -> OpResult<Vec<Vec<String>>> {
    let list: &ListArray = typed(batch, name)?;
    (0..list.len())
        .map(|i| {
            let values = list.value(i);
            let values = values
                .as_any()
                .downcast_ref::<StringArray>()
                .ok_or_else(|| OpError::data(format!("lists of column `{name}` hold no text")))?;
            Ok(values.iter().flatten().map(str::to_owned).collect())
        })
        .collect()
}

/// A column of large f32 lists (weights).
///
/// # Errors
/// See [`text`].
pub fn large_list_f32(batch: &RecordBatch, name: &str) -> OpResult<Vec<Vec<f32>>> {
    let list: &LargeListArray = typed(batch, name)?;
    (0..list.len())
        .map(|i| inner::<Float32Type>(&list.value(i), name, 0, list.value(i).len()))
        .collect()
}

/// The length of the vectors of a column.
///
/// # Errors
/// When there is no such column, or it holds no vectors.
pub fn vector_length(schema: &Schema, name: &str) -> OpResult<usize> {
    let field = schema.field_with_name(name);
    match field.map(Field::data_type) {
        Ok(DataType::FixedSizeList(_, length)) => Ok(usize::try_from(*length).unwrap_or(0)),
        _ => Err(OpError::data(format!(
            "there are no vectors in column `{name}`"
        ))),
    }
}

/// A column of vectors: their length and all values, row-major.
///
/// # Errors
/// See [`text`]; or when a value is NaN or infinite: results computed with it would be NaN too, or
/// hide that it was.
pub fn vectors(batch: &RecordBatch, name: &str) -> OpResult<(usize, Vec<f32>)> {
    let list: &FixedSizeListArray = typed(batch, name)?;
    let dim = usize::try_from(list.value_length()).unwrap_or(0);
    let start = list.offset() * dim;
    let values = inner::<Float32Type>(list.values(), name, start, start + list.len() * dim)?;
    // Without a branch for each value, so that it takes no longer than reading them.
    let all = |chunk: &[f32]| chunk.iter().fold(true, |ok, v| ok & v.is_finite());
    if !values.chunks(4096).all(all)
        && let Some(at) = values.iter().position(|v| !v.is_finite())
    {
        return Err(OpError::data(format!(
            "column `{name}` holds {} at place {} of a vector",
            values[at],
            at % dim
        ))
        .row((at / dim) as u64)
        .hint("the program that wrote these vectors went astray: make them again"));
    }
    Ok((dim, values))
}

/// Builds a column of id lists.
pub fn build_list_u32(lists: &[Vec<u32>]) -> ArrayRef {
    let values: Vec<u32> = lists.iter().flatten().copied().collect();
    let offsets = OffsetBuffer::<i32>::from_lengths(lists.iter().map(Vec::len));
    let item = Arc::new(Field::new("item", DataType::UInt32, false));
    Arc::new(ListArray::new(
        item,
        offsets,
        Arc::new(UInt32Array::from(values)),
        None,
    ))
}

/// Builds a column of i64 lists.
pub fn build_list_i64(lists: &[Vec<i64>]) -> ArrayRef {
    let values: Vec<i64> = lists.iter().flatten().copied().collect();
    let offsets = OffsetBuffer::<i32>::from_lengths(lists.iter().map(Vec::len));
    let item = Arc::new(Field::new("item", DataType::Int64, false));
    let values = PrimitiveArray::<Int64Type>::from(values);
    Arc::new(ListArray::new(item, offsets, Arc::new(values), None))
}

/// Builds a column of text lists.
pub fn build_list_text(lists: &[Vec<String>]) -> ArrayRef {
    let values = StringArray::from_iter_values(lists.iter().flatten());
    let offsets = OffsetBuffer::<i32>::from_lengths(lists.iter().map(Vec::len));
    let item = Arc::new(Field::new("item", DataType::Utf8, false));
    Arc::new(ListArray::new(item, offsets, Arc::new(values), None))
}

/// Builds a column of large f32 lists.
pub fn build_large_list_f32(lists: &[Vec<f32>]) -> ArrayRef {
    let values: Vec<f32> = lists.iter().flatten().copied().collect();
    let offsets = OffsetBuffer::<i64>::from_lengths(lists.iter().map(Vec::len));
    let item = Arc::new(Field::new("item", DataType::Float32, false));
    Arc::new(LargeListArray::new(
        item,
        offsets,
        Arc::new(Float32Array::from(values)),
        None,
    ))
}

/// Builds a column of vectors of length `dim` from row-major values.
///
/// # Errors
/// When the values do not fill whole rows.
pub fn build_vectors(dim: usize, values: Vec<f32>) -> OpResult<ArrayRef> {
    let item = Arc::new(Field::new("item", DataType::Float32, false));
    let size = i32::try_from(dim).map_err(|e| OpError::wrap("vector too long", e))?;
    let values = Float32Array::new(ScalarBuffer::from(values), None);
    Ok(Arc::new(FixedSizeListArray::try_new(
        item,
        size,
        Arc::new(values),
        None,
    )?))
}

/// A batch of the given table from its columns, in order. The length of vectors is taken from the
/// columns.
///
/// # Errors
/// When the columns do not fit the table.
pub fn batch(spec: &TableSpec, columns: Vec<ArrayRef>) -> OpResult<RecordBatch> {
    let dim = columns
        .iter()
        .find_map(|c| match c.data_type() {
            DataType::FixedSizeList(_, n) => usize::try_from(*n).ok(),
            _ => None,
        })
        .unwrap_or(0);
    RecordBatch::try_new(Arc::new(spec.schema(dim)), columns).map_err(|e| {
        OpError::wrap(format!("columns do not fit table `{}`", spec.name), e)
            .with_kind(ErrorKind::Internal)
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn vectors_that_are_no_numbers_are_refused_with_their_row() {
        let batch = |values: Vec<f32>| {
            let vectors = build_vectors(2, values).unwrap();
            RecordBatch::try_from_iter([("vector", vectors)]).unwrap()
        };
        let good = vec![1.0, -2.0, f32::MAX, f32::MIN_POSITIVE];
        assert_eq!(vectors(&batch(good.clone()), "vector").unwrap(), (2, good));
        for (bad, said) in [(f32::NAN, "NaN"), (f32::NEG_INFINITY, "-inf")] {
            let e = vectors(&batch(vec![0.0, 1.0, 2.0, bad]), "vector").unwrap_err();
            assert_eq!(e.kind(), ErrorKind::Data);
            assert_eq!(
                e.to_string(),
                format!("row 1: column `vector` holds {said} at place 1 of a vector")
            );
        }
        let all = batch(vec![f32::NAN, 1.0, 2.0, 3.0]);
        assert!(
            vectors(&all.slice(1, 1), "vector").is_ok(),
            "only its own rows count"
        );
    }
}
