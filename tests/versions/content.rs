//! The content of a table, in a form that is equal on whatever machine the table is made.
//!
//! The bytes of its file would not do: they change with the Parquet writer. Integers, texts and
//! lengths are digested exactly. Floats are not, because a CPU with other vector instructions
//! rounds differently. For a column of floats, its length as a vector and its sums under eight
//! fixed random sign patterns are kept. The sums of two columns differ by about the length of the
//! columns' difference, so comparing these nine numbers amounts to comparing all values.

use std::collections::BTreeMap;
use std::fmt;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Float32Type, Float64Type, Int64Type, UInt32Type, UInt64Type};
use serde::{Deserialize, Serialize};

/// Largest relative difference of two float columns that still counts as rounding. When every
/// product and every sum of messages was changed at random by up to 1.2e-7 of the row's largest
/// value, no column moved by more than 4e-6.
pub const TOLERANCE: f64 = 1e-4;

const SIGNS: usize = 8;

/// The content of one table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Content {
    pub rows: usize,
    /// Digest of all values that are not floats, and of the number and positions of the floats.
    pub exact: String,
    /// Sketches of the float columns, by column name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub floats: BTreeMap<String, Sketch>,
}

/// A short summary of a column of floats.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Sketch {
    length: f64,
    sums: [f64; SIGNS],
    seen: u64,
}

impl Content {
    pub fn of(batch: &RecordBatch) -> Self {
        let mut hasher = blake3::Hasher::new();
        let mut floats = BTreeMap::new();
        for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
            text(&mut hasher, field.name());
            text(&mut hasher, &kind(field.data_type()));
            let mut sketch = Sketch::default();
            for row in 0..column.len() {
                value(&mut hasher, &mut sketch, column, row);
            }
            if sketch.seen > 0 {
                sketch.length = sketch.length.sqrt();
                floats.insert(field.name().clone(), sketch);
            }
        }
        Content {
            rows: batch.num_rows(),
            exact: hasher.finalize().to_hex()[..32].to_owned(),
            floats,
        }
    }

    /// What differs from an earlier content; `None` if at most rounding does.
    pub fn differs(&self, then: &Content) -> Option<String> {
        if self.rows != then.rows {
            return Some(format!("{} rows -> {}", then.rows, self.rows));
        }
        if self.exact != then.exact || !self.floats.keys().eq(then.floats.keys()) {
            return Some("integers or texts".to_owned());
        }
        let mut columns = self.floats.iter().zip(then.floats.values());
        columns.find_map(|((name, now), then)| {
            let by = now.distance(then);
            (by > TOLERANCE).then(|| format!("`{name}` by {by:.1e} of its length"))
        })
    }
}

impl Sketch {
    fn add(&mut self, x: f64) {
        let mut signs = scrambled(self.seen);
        for sum in &mut self.sums {
            *sum += if signs & 1 == 0 { x } else { -x };
            signs >>= 1;
        }
        self.length += x * x;
        self.seen += 1;
    }

    /// The approximate distance of two columns, relative to their length.
    pub fn distance(&self, other: &Sketch) -> f64 {
        let scale = self.length.max(other.length);
        let pairs = self.sums.iter().zip(&other.sums);
        let furthest = pairs
            .map(|(a, b)| (a - b).abs())
            .fold((self.length - other.length).abs(), f64::max);
        if furthest == 0.0 {
            0.0
        } else {
            furthest / scale
        }
    }
}

impl From<Sketch> for String {
    fn from(s: Sketch) -> String {
        s.to_string()
    }
}

impl fmt::Display for Sketch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.6e}", self.length)?;
        self.sums.iter().try_for_each(|s| write!(f, " {s:.6e}"))
    }
}

impl TryFrom<String> for Sketch {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let all: Result<Vec<f64>, _> = text.split(' ').map(str::parse).collect();
        match all.map_err(|e| format!("{text}: {e}"))?.as_slice() {
            [length, sums @ ..] => Ok(Sketch {
                length: *length,
                sums: sums
                    .try_into()
                    .map_err(|_| format!("{text}: not {SIGNS} sums"))?,
                seen: 0,
            }),
            [] => Err("no numbers".to_owned()),
        }
    }
}

/// The finaliser of splitmix64: neighbouring inputs give unrelated bits.
pub fn scrambled(n: u64) -> u64 {
    let z = n.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Our own names of types, because Arrow's names change between versions.
fn kind(ty: &DataType) -> String {
    match ty {
        DataType::Boolean => "bool".to_owned(),
        DataType::UInt32 => "u32".to_owned(),
        DataType::UInt64 => "u64".to_owned(),
        DataType::Int64 => "i64".to_owned(),
        DataType::Float32 => "f32".to_owned(),
        DataType::Float64 => "f64".to_owned(),
        DataType::Utf8 => "text".to_owned(),
        DataType::List(item) | DataType::LargeList(item) => {
            format!("list {}", kind(item.data_type()))
        }
        DataType::FixedSizeList(item, n) => format!("{n} {}", kind(item.data_type())),
        other => panic!("tables have no columns of {other}"),
    }
}

fn text(hasher: &mut blake3::Hasher, text: &str) {
    hasher.update(&(text.len() as u64).to_le_bytes());
    hasher.update(text.as_bytes());
}

fn value(hasher: &mut blake3::Hasher, sketch: &mut Sketch, array: &dyn Array, row: usize) {
    hasher.update(&[u8::from(array.is_null(row))]);
    if array.is_null(row) {
        return;
    }
    let mut number = |n: i128| {
        hasher.update(&n.to_le_bytes());
    };
    let items = match array.data_type() {
        DataType::Boolean => return number(i128::from(array.as_boolean().value(row))),
        DataType::UInt32 => return number(array.as_primitive::<UInt32Type>().value(row).into()),
        DataType::UInt64 => return number(array.as_primitive::<UInt64Type>().value(row).into()),
        DataType::Int64 => return number(array.as_primitive::<Int64Type>().value(row).into()),
        DataType::Utf8 => return text(hasher, array.as_string::<i32>().value(row)),
        DataType::Float32 => {
            let x = array.as_primitive::<Float32Type>().value(row);
            return float(hasher, sketch, x.into());
        }
        DataType::Float64 => {
            let x = array.as_primitive::<Float64Type>().value(row);
            return float(hasher, sketch, x);
        }
        DataType::List(_) => array.as_list::<i32>().value(row),
        DataType::LargeList(_) => array.as_list::<i64>().value(row),
        _ => array.as_fixed_size_list().value(row),
    };
    number(items.len() as i128);
    for i in 0..items.len() {
        value(hasher, sketch, &items, i);
    }
}

/// Values that are not finite cannot be summed, so they are digested.
fn float(hasher: &mut blake3::Hasher, sketch: &mut Sketch, x: f64) {
    if x.is_finite() {
        sketch.add(x);
    } else {
        text(hasher, &x.to_string());
        sketch.add(0.0);
    }
}
