//! What a row is for the places where a table is cut: a hash of its values, and their size.
//!
//! Both depend on the values of the row alone, not on its place, on the batch that it came in
//! or on what is stored with it. The hash of texts and vectors is XXH3, which never changes and
//! is fast for short and for long ones.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::buffer::Buffer;
use arrow::compute::cast;
use arrow::datatypes::DataType;
use twox_hash::XxHash3_64;

/// Joins the hashes of the columns of a row: 2^64 divided by the golden ratio.
const MIX: u64 = 0x9E37_79B9_7F4A_7C15;

/// The hash of a missing value.
const MISSING: u64 = 0x6D69_7373_696E_6721;

/// A row, or a value.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Content {
    /// Hash of the values.
    pub hash: u64,
    /// Size of the values in memory.
    pub bytes: u64,
}

impl Content {
    pub(super) fn of(bytes: &[u8]) -> Self {
        Content {
            hash: XxHash3_64::oneshot(bytes),
            bytes: bytes.len() as u64,
        }
    }

    /// A number, of which there are very many: the halves of a product, as in wyhash.
    fn of_number(bytes: &[u8]) -> Self {
        let mut number = [0; size_of::<u64>()];
        match number.get_mut(..bytes.len()) {
            Some(low) => low.copy_from_slice(bytes),
            None => return Content::of(bytes),
        }
        let product = u128::from(u64::from_le_bytes(number) ^ MISSING) * u128::from(MIX);
        Content {
            hash: (product >> u64::BITS) as u64 ^ product as u64,
            bytes: bytes.len() as u64,
        }
    }

    fn add(&mut self, value: Content) {
        self.hash = (self.hash ^ value.hash).wrapping_mul(MIX).rotate_left(29);
        self.bytes += value.bytes;
    }

    /// The values of a list as one.
    fn joined(values: &[Content]) -> Self {
        let mut out = Content {
            hash: values.len() as u64,
            bytes: size_of::<u32>() as u64,
        };
        values.iter().for_each(|value| out.add(*value));
        out
    }
}

/// The rows of a batch.
pub(super) fn rows(batch: &RecordBatch) -> Vec<Content> {
    // No row is free, so that a table of any number of rows is cut somewhere.
    let none = Content { hash: 0, bytes: 1 };
    let mut out = vec![none; batch.num_rows()];
    for column in batch.columns() {
        for (row, value) in out.iter_mut().zip(values(column)) {
            row.add(value);
        }
    }
    out
}

/// The values of a column.
fn values(array: &ArrayRef) -> Vec<Content> {
    let mut out: Vec<Content> = match array.data_type() {
        DataType::Utf8 => texts(
            array
                .as_string::<i32>()
                .iter()
                .map(|v| v.map(str::as_bytes)),
        ),
        DataType::LargeUtf8 => texts(
            array
                .as_string::<i64>()
                .iter()
                .map(|v| v.map(str::as_bytes)),
        ),
        DataType::Utf8View => texts(array.as_string_view().iter().map(|v| v.map(str::as_bytes))),
        DataType::Binary => texts(array.as_binary::<i32>().iter()),
        DataType::LargeBinary => texts(array.as_binary::<i64>().iter()),
        DataType::BinaryView => texts(array.as_binary_view().iter()),
        DataType::FixedSizeBinary(_) => texts(array.as_fixed_size_binary().iter()),
        DataType::Boolean => {
            let bits = array.as_boolean().values().iter();
            bits.map(|bit| Content::of(&[u8::from(bit)])).collect()
        }
        DataType::List(_) => {
            let list = array.as_list::<i32>();
            let ends = list.offsets().iter().map(|end| *end as usize);
            lists(list.values(), &ends.collect::<Vec<_>>())
        }
        DataType::LargeList(_) => {
            let list = array.as_list::<i64>();
            let ends = list.offsets().iter().map(|end| *end as usize);
            lists(list.values(), &ends.collect::<Vec<_>>())
        }
        DataType::FixedSizeList(_, length) => {
            let list = array.as_fixed_size_list();
            let (first, length) = (list.value_offset_at(0), *length as usize);
            let ends = (0..=list.len()).map(|row| first + row * length);
            lists(list.values(), &ends.collect::<Vec<_>>())
        }
        DataType::Struct(_) => {
            let mut out = vec![Content::default(); array.len()];
            for column in array.as_struct().columns() {
                let values = values(column).into_iter();
                out.iter_mut().zip(values).for_each(|(out, v)| out.add(v));
            }
            out
        }
        DataType::Map(..) => {
            let map = array.as_map();
            let ends = map.offsets().iter().map(|end| *end as usize);
            let entries: ArrayRef = Arc::new(map.entries().clone());
            lists(&entries, &ends.collect::<Vec<_>>())
        }
        DataType::Dictionary(_, of) => match cast(array, of) {
            Ok(plain) => values(&plain),
            Err(_) => mean(array),
        },
        _ => match bytes_of(array.as_ref()) {
            Some((bytes, width)) => bytes.chunks_exact(width).map(Content::of_number).collect(),
            None => mean(array),
        },
    };
    if array.null_count() > 0 {
        for (row, value) in out.iter_mut().enumerate() {
            if array.is_null(row) {
                value.hash = MISSING;
                value.bytes = 1;
            }
        }
    }
    out
}

/// Columns of other types have no say in where their table is cut, but they have a size. It is that
/// of the mean value of a batch, so with such columns the batches matter.
fn mean(array: &ArrayRef) -> Vec<Content> {
    let bytes = array.to_data().get_slice_memory_size().unwrap_or_default();
    let one = Content {
        bytes: bytes.div_ceil(array.len().max(1)) as u64,
        ..Content::default()
    };
    vec![one; array.len()]
}

fn texts<'a>(values: impl Iterator<Item = Option<&'a [u8]>>) -> Vec<Content> {
    let all = values.map(|value| {
        let mut out = Content::of(value.unwrap_or_default());
        out.bytes += size_of::<u32>() as u64;
        out
    });
    all.collect()
}

/// Lists of values; `ends` has where the first begins, and where each ends.
fn lists(values: &ArrayRef, ends: &[usize]) -> Vec<Content> {
    let (first, last) = match ends {
        [first, .., last] => (*first, *last),
        _ => return Vec::new(),
    };
    let values = values.slice(first, last - first);
    let ranges = ends.windows(2).map(|at| at[0] - first..at[1] - first);
    // Numbers without gaps, such as vectors, are hashed as a whole.
    if values.null_count() == 0
        && let Some((bytes, width)) = bytes_of(values.as_ref())
    {
        let bytes = ranges.map(|at| Content::of(&bytes[at.start * width..at.end * width]));
        return bytes.collect();
    }
    let contents = self::values(&values);
    ranges.map(|at| Content::joined(&contents[at])).collect()
}

/// The bytes of numbers of a fixed width, and this width.
fn bytes_of(array: &dyn Array) -> Option<(Buffer, usize)> {
    let width = array.data_type().primitive_width()?;
    let data = array.to_data();
    let (first, length) = (data.offset() * width, data.len() * width);
    let all = data.buffers().first()?;
    (first + length <= all.len()).then(|| (all.slice_with_length(first, length), width))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::HashSet;
    use std::sync::Arc;

    use arrow::array::{
        BooleanArray, DictionaryArray, Float64Array, StringArray, StructArray, UInt32Array,
    };
    use arrow::compute::concat_batches;
    use arrow::datatypes::{Int32Type, UInt32Type};
    use gfm_pipe_api::columns;
    use proptest::prelude::*;

    use super::*;

    /// A batch with a column of each sort; the row is made from its number.
    fn batch(numbers: &[u32]) -> RecordBatch {
        let texts = numbers.iter().map(|n| "x".repeat(*n as usize % 7));
        let texts: Vec<String> = texts.collect();
        let maybe = numbers.iter().map(|n| (n % 3 > 0).then_some(*n));
        let lists: Vec<Vec<u32>> = numbers.iter().map(|n| (0..n % 4).collect()).collect();
        let words = |n: &u32| (0..n % 3).map(|i| format!("{n} {i}")).collect();
        let words: Vec<Vec<String>> = numbers.iter().map(words).collect();
        let numbers_of = |n: &u32| [*n as f32, 0.5, -1.0];
        let vectors = numbers.iter().flat_map(numbers_of).collect();
        let weights: Vec<Vec<f32>> = numbers.iter().map(|n| vec![*n as f32; 2]).collect();
        let shapes: Vec<Vec<i64>> = numbers.iter().map(|n| vec![i64::from(*n)]).collect();
        let names: DictionaryArray<Int32Type> = texts.iter().map(String::as_str).collect();
        let inner: ArrayRef = Arc::new(UInt32Array::from(numbers.to_vec()));
        let nested = StructArray::try_from(vec![("n", inner)]).unwrap();
        let floats: Float64Array = numbers.iter().map(|n| Some(f64::from(*n))).collect();
        let odd: BooleanArray = numbers.iter().map(|n| Some(n % 2 == 1)).collect();
        RecordBatch::try_from_iter([
            ("text", Arc::new(StringArray::from(texts)) as ArrayRef),
            ("maybe", Arc::new(maybe.collect::<UInt32Array>())),
            ("list", columns::build_list_u32(&lists)),
            ("words", columns::build_list_text(&words)),
            ("vector", columns::build_vectors(3, vectors).unwrap()),
            ("weights", columns::build_large_list_f32(&weights)),
            ("shape", columns::build_list_i64(&shapes)),
            ("name", Arc::new(names)),
            ("nested", Arc::new(nested)),
            ("float", Arc::new(floats)),
            ("odd", Arc::new(odd)),
        ])
        .unwrap()
    }

    proptest! {
        #[test]
        fn a_row_is_the_same_in_every_batch(
            numbers in prop::collection::vec(0u32..50, 1..40),
            cuts in prop::collection::vec(0usize..40, 0..4),
        ) {
            let whole = batch(&numbers);
            let all = rows(&whole);
            let mut cuts: Vec<usize> = cuts.iter().map(|c| c % numbers.len()).collect();
            cuts.extend([0, numbers.len()]);
            cuts.sort_unstable();
            let slices: Vec<RecordBatch> =
                cuts.windows(2).map(|at| whole.slice(at[0], at[1] - at[0])).collect();
            let sliced: Vec<Content> = slices.iter().flat_map(rows).collect();
            prop_assert_eq!(&sliced, &all);
            let joined = concat_batches(&whole.schema(), &slices).unwrap();
            prop_assert_eq!(&rows(&joined), &all);
            let alone: Vec<Content> = numbers.iter().flat_map(|n| rows(&batch(&[*n]))).collect();
            prop_assert_eq!(alone, all);
        }
    }

    #[test]
    fn every_column_counts() {
        let whole = batch(&[5, 6]);
        let before = rows(&whole);
        let mut seen = HashSet::from([before[0].hash]);
        for at in 0..whole.num_columns() {
            let mut columns = whole.columns().to_vec();
            columns[at] = batch(&[8]).column(at).clone();
            let one = RecordBatch::try_new(
                whole.schema(),
                columns.iter().map(|c| c.slice(0, 1)).collect(),
            )
            .unwrap();
            assert!(seen.insert(rows(&one)[0].hash), "column {at}");
        }
        assert!(before.iter().all(|row| row.bytes > 60), "{before:?}");
    }

    #[test]
    fn a_missing_value_is_no_zero_and_what_is_below_it_does_not_matter() {
        let of = |array: UInt32Array| {
            let column: ArrayRef = Arc::new(array);
            rows(&RecordBatch::try_from_iter([("n", column)]).unwrap())
        };
        let missing = |below: u32| {
            let valid = arrow::buffer::NullBuffer::from(vec![false]);
            of(UInt32Array::new(vec![below].into(), Some(valid)))
        };
        assert_eq!(missing(0), missing(7));
        assert_ne!(missing(0)[0].hash, of(UInt32Array::from(vec![0]))[0].hash);
        let lists = columns::build_list_u32(&[vec![], vec![1, 2]]);
        let lists = RecordBatch::try_from_iter([("l", lists)]).unwrap();
        assert_eq!(
            lists
                .column(0)
                .as_list::<i32>()
                .values()
                .as_primitive::<UInt32Type>()
                .len(),
            2
        );
        assert_eq!(rows(&lists.slice(1, 1)), rows(&lists)[1..]);
    }
}
