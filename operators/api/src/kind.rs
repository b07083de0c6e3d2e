//! Artifact kinds: what tables an artifact has, and what columns they have.
//!
//! A kind is a static description; the engine checks every table an operator writes against it, and
//! the documentation of artifacts is generated from it. The kinds themselves are in
//! [`crate::kinds`].

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use arrow::datatypes::{DataType, Field, Fields, Schema};

/// Type of a column. The set is kept small so that every Parquet reader handles every artifact.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColType {
    /// Boolean.
    Bool,
    /// Unsigned 32-bit integer: ids.
    U32,
    /// Unsigned 64-bit integer: counts, offsets, lines.
    U64,
    /// 32-bit float.
    F32,
    /// 64-bit float.
    F64,
    /// UTF-8 text.
    Text,
    /// List of ids.
    ListU32,
    /// List of texts.
    ListText,
    /// List of 64-bit integers (shapes).
    ListI64,
    /// Fixed-size list of f32; each table has a length of its own.
    Vector,
    /// Large list of f32 (weights).
    LargeListF32,
}

impl ColType {
    /// Whether an Arrow type is this column type.
    pub fn matches(self, ty: &DataType) -> bool {
        let item = |inner: &Field, want: &DataType| inner.data_type() == want;
        match (self, ty) {
            (ColType::Bool, DataType::Boolean)
            | (ColType::U32, DataType::UInt32)
            | (ColType::U64, DataType::UInt64)
            | (ColType::F32, DataType::Float32)
            | (ColType::F64, DataType::Float64)
            | (ColType::Text, DataType::Utf8) => true,
            (ColType::ListU32, DataType::List(f)) => item(f, &DataType::UInt32),
            (ColType::ListText, DataType::List(f)) => item(f, &DataType::Utf8),
            (ColType::ListI64, DataType::List(f)) => item(f, &DataType::Int64),
            (ColType::Vector, DataType::FixedSizeList(f, _)) => item(f, &DataType::Float32),
            (ColType::LargeListF32, DataType::LargeList(f)) => item(f, &DataType::Float32),
            _ => false,
        }
    }

    /// The Arrow type; `dim` is the length of a [`ColType::Vector`] and ignored otherwise.
    pub fn arrow(self, dim: usize) -> DataType {
        let item = |ty: DataType| std::sync::Arc::new(Field::new("item", ty, false));
        match self {
            ColType::Bool => DataType::Boolean,
            ColType::U32 => DataType::UInt32,
            ColType::U64 => DataType::UInt64,
            ColType::F32 => DataType::Float32,
            ColType::F64 => DataType::Float64,
            ColType::Text => DataType::Utf8,
            ColType::ListU32 => DataType::List(item(DataType::UInt32)),
            ColType::ListText => DataType::List(item(DataType::Utf8)),
            ColType::ListI64 => DataType::List(item(DataType::Int64)),
            ColType::Vector => {
                DataType::FixedSizeList(item(DataType::Float32), i32::try_from(dim).unwrap_or(0))
            }
            ColType::LargeListF32 => DataType::LargeList(item(DataType::Float32)),
        }
    }

    /// The name used in documentation.
    pub fn name(self) -> &'static str {
        match self {
            ColType::Bool => "bool",
            ColType::U32 => "u32",
            ColType::U64 => "u64",
            ColType::F32 => "f32",
            ColType::F64 => "f64",
            ColType::Text => "utf8",
            ColType::ListU32 => "list<u32>",
            ColType::ListText => "list<utf8>",
            ColType::ListI64 => "list<i64>",
            ColType::Vector => "fixed_size_list<f32>",
            ColType::LargeListF32 => "large_list<f32>",
        }
    }
}

/// A column of a table.
#[derive(Debug)]
pub struct Column {
    /// Name.
    pub name: &'static str,
    /// Type.
    pub ty: ColType,
    /// Whether values may be missing.
    pub nullable: bool,
    /// What it holds.
    pub about: &'static str,
    /// Where the values are ids: the kind of artifact whose rows they refer to.
    pub id_of: Option<&'static str>,
}

impl Column {
    /// Marks a column of ids of rows of this kind, so that names can be shown instead.
    pub const fn id_of(mut self, kind: &'static str) -> Column {
        self.id_of = Some(kind);
        self
    }
}

/// Describes a column without missing values.
pub const fn col(name: &'static str, ty: ColType, about: &'static str) -> Column {
    Column {
        name,
        ty,
        nullable: false,
        about,
        id_of: None,
    }
}

/// Describes a column whose values may be missing.
pub const fn opt(name: &'static str, ty: ColType, about: &'static str) -> Column {
    Column {
        name,
        ty,
        nullable: true,
        about,
        id_of: None,
    }
}

/// A table of an artifact kind.
#[derive(Debug)]
pub struct TableSpec {
    /// Name.
    pub name: &'static str,
    /// What a row is.
    pub about: &'static str,
    /// Columns in order. If there are none, the table has whatever columns it was written with.
    pub columns: &'static [Column],
}

impl TableSpec {
    /// The Arrow schema; `dim` is the length of vector columns.
    pub fn schema(&self, dim: usize) -> Schema {
        let fields: Fields = self
            .columns
            .iter()
            .map(|c| Field::new(c.name, c.ty.arrow(dim), c.nullable))
            .collect();
        Schema::new(fields)
    }

    /// Says how a schema differs from this table's; `None` when it fits.
    pub fn mismatch(&self, schema: &Schema) -> Option<String> {
        if self.columns.is_empty() {
            return None;
        }
        let names: Vec<&str> = schema.fields().iter().map(|f| f.name().as_str()).collect();
        let want: Vec<&str> = self.columns.iter().map(|c| c.name).collect();
        if names != want {
            return Some(format!(
                "columns are [{}], expected [{}]",
                names.join(", "),
                want.join(", ")
            ));
        }
        self.columns
            .iter()
            .zip(schema.fields())
            .find(|(c, f)| !c.ty.matches(f.data_type()) || (f.is_nullable() && !c.nullable))
            .map(|(c, f)| {
                format!(
                    "column `{}` is {}{}, expected {}{}",
                    c.name,
                    f.data_type(),
                    if f.is_nullable() { " (nullable)" } else { "" },
                    c.ty.name(),
                    if c.nullable { " (nullable)" } else { "" },
                )
            })
    }
}

/// A kind of artifact: what an output port returns or an input port takes.
#[derive(Debug)]
pub struct Kind {
    /// Name, as used in messages.
    pub name: &'static str,
    /// What it is.
    pub about: &'static str,
    /// Its tables; the first is what `show STAGE.PORT` shows.
    pub tables: &'static [TableSpec],
    /// Columns of the first table that together are a row's text, for operators that take any text.
    pub text: &'static [&'static str],
}

impl Kind {
    /// The table of that name.
    pub fn table(&self, name: &str) -> Option<&TableSpec> {
        self.tables.iter().find(|t| t.name == name)
    }
}

impl PartialEq for Kind {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

/// Returns a copy of a text that lives as long as the program, for port names that a pipeline
/// chooses. Equal texts are stored once.
pub fn intern(text: &str) -> &'static str {
    static KNOWN: Mutex<BTreeSet<&'static str>> = Mutex::new(BTreeSet::new());
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(text) = known.get(text) {
        return text;
    }
    let text: &'static str = Box::leak(text.to_owned().into_boxed_str());
    known.insert(text);
    text
}
