//! Selects the requested rows of a table: those that match, in the requested order, with the
//! requested columns.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, GenericListArray, OffsetSizeTrait, RecordBatch,
    RecordBatchReader as _, Scalar, StringArray, UInt64Array, new_null_array,
};
use arrow::buffer::BooleanBuffer;
use arrow::compute::kernels::cmp;
use arrow::compute::{
    SortColumn, SortOptions, cast, concat_batches, filter_record_batch, lexsort_to_indices,
    take_record_batch,
};
use arrow::datatypes::{DataType, SchemaRef};
use arrow::error::ArrowError;
use gfm_pipe_api::TableFile;
use gfm_pipe_api::schema::nearest;

use super::names::Names;
use super::plain::AnyError;
use crate::cli::error::CliError;

/// A condition on rows: a column has a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    column: String,
    value: String,
}

impl Filter {
    /// Parses `COLUMN=VALUE`.
    pub fn parse(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            Some((column, value)) if !column.trim().is_empty() => Ok(Filter {
                column: column.trim().to_owned(),
                value: value.to_owned(),
            }),
            _ => Err("write it as COLUMN=VALUE".to_owned()),
        }
    }
}

/// A column to sort by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SortKey {
    column: String,
    descending: bool,
}

impl SortKey {
    /// Parses `COLUMN`, or `-COLUMN` for the largest first.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (column, descending) = match text.trim().strip_prefix('-') {
            Some(column) => (column, true),
            None => (text.trim(), false),
        };
        if column.is_empty() || column.starts_with('-') {
            return Err("write it as COLUMN or -COLUMN".to_owned());
        }
        Ok(SortKey {
            column: column.to_owned(),
            descending,
        })
    }
}

/// Which rows to read from a table.
pub struct Query<'a> {
    /// Conditions that must all hold.
    pub filters: &'a [Filter],
    /// Columns in the requested order; empty for all.
    pub columns: &'a [String],
    /// Columns to sort by, the most important first; empty for the order of the file.
    pub sort: &'a [SortKey],
    /// Maximum number of rows to return.
    pub limit: u64,
}

/// The rows found.
pub struct Found {
    /// The schema of the returned rows.
    pub schema: SchemaRef,
    /// The matching rows, up to the limit.
    pub batches: Vec<RecordBatch>,
    /// Number of all matching rows.
    pub total: u64,
}

/// Why a query failed.
pub enum Refused {
    /// The query does not fit the table.
    Query(CliError),
    /// The table cannot be read.
    File(AnyError),
}

impl<E: Into<AnyError>> From<E> for Refused {
    fn from(e: E) -> Self {
        Refused::File(e.into())
    }
}

/// Reads the requested rows, with names in place of ids.
pub fn read(table: &TableFile, query: &Query<'_>, names: &Names) -> Result<Found, Refused> {
    let reader = table.batches_unchecked()?;
    let schema = names.schema(&reader.schema());
    let column = |name: &str| position(&schema, name);
    let wanted = match query.columns {
        [] => (0..schema.fields().len()).collect(),
        some => some
            .iter()
            .map(|c| column(c))
            .collect::<Result<Vec<_>, _>>()?,
    };
    let filters = query.filters.iter().map(|f| Condition::of(f, &schema));
    let filters = filters.collect::<Result<Vec<_>, _>>()?;
    let sort = query.sort.iter().map(|key| {
        let at = column(&key.column)?;
        if schema.field(at).data_type().is_nested() {
            Err(Refused::Query(CliError::usage(format!(
                "`{}` is a column of lists, which have no order",
                key.column
            ))))
        } else {
            Ok((at, key.descending))
        }
    });
    let sort = sort.collect::<Result<Vec<_>, _>>()?;

    let limit = usize::try_from(query.limit).unwrap_or(usize::MAX);
    let mut batches = Vec::new();
    let (mut total, mut kept) = (0, 0);
    for batch in reader {
        let mut batch = names.apply(&batch?)?;
        for condition in &filters {
            batch = filter_record_batch(&batch, &condition.holds(&batch)?)?;
        }
        total += batch.num_rows() as u64;
        // With sorting, which rows come first is known only when all have been read.
        if sort.is_empty() {
            batch = batch.slice(0, batch.num_rows().min(limit - kept));
            batch = batch.project(&wanted)?;
        }
        kept += batch.num_rows();
        if batch.num_rows() > 0 {
            batches.push(batch);
        }
    }
    if !sort.is_empty() {
        let sorted = sorted(&concat_batches(&schema, &batches)?, &sort, limit)?;
        batches = vec![sorted.project(&wanted)?];
    }
    Ok(Found {
        schema: Arc::new(schema.project(&wanted)?),
        batches,
        total,
    })
}

/// The first rows when sorted by these columns. Equal rows keep the order of the file; missing
/// values come last.
fn sorted(
    batch: &RecordBatch,
    by: &[(usize, bool)],
    limit: usize,
) -> Result<RecordBatch, ArrowError> {
    let order = |descending| {
        Some(SortOptions {
            descending,
            nulls_first: false,
        })
    };
    let mut columns: Vec<SortColumn> = by
        .iter()
        .map(|(at, descending)| SortColumn {
            values: Arc::clone(batch.column(*at)),
            options: order(*descending),
        })
        .collect();
    columns.push(SortColumn {
        values: Arc::new(UInt64Array::from_iter_values(0..batch.num_rows() as u64)),
        options: order(false),
    });
    let indices = lexsort_to_indices(&columns, Some(limit.min(batch.num_rows())))?;
    take_record_batch(batch, &indices)
}

/// The index of a column.
fn position(schema: &SchemaRef, name: &str) -> Result<usize, Refused> {
    schema.index_of(name).map_err(|_| {
        let known: Vec<&str> = schema.fields().iter().map(|f| f.name().as_str()).collect();
        let hint = match nearest(name, known.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("its columns: {}", known.join(", ")),
        };
        Refused::Query(CliError::usage(format!("the table has no column `{name}`")).hint(hint))
    })
}

/// A condition whose value was converted to the column's type.
struct Condition {
    column: usize,
    value: Scalar<ArrayRef>,
    is_list: bool,
}

impl Condition {
    fn of(filter: &Filter, schema: &SchemaRef) -> Result<Self, Refused> {
        let column = position(schema, &filter.column)?;
        let ty = schema.field(column).data_type();
        let (item, is_list) = match ty {
            DataType::List(f) | DataType::LargeList(f) => (f.data_type(), true),
            other => (other, false),
        };
        let text = StringArray::from(vec![filter.value.as_str()]);
        let value = if item.is_nested() {
            new_null_array(item, 1)
        } else {
            cast(&text, item)?
        };
        if value.is_null(0) {
            let what = match item {
                t if t.is_integer() => "a whole number of its range",
                t if t.is_numeric() => "a number",
                DataType::Boolean => "true or false",
                _ => "a value to compare with",
            };
            let refused = CliError::usage(format!(
                "--where {}={}: `{}` is not {what}",
                filter.column, filter.value, filter.value
            ));
            let hint = "with --names, ids are compared by the names they stand for";
            return Err(Refused::Query(
                refused.hint_opt(item.is_integer().then_some(hint)),
            ));
        }
        Ok(Condition {
            column,
            value: Scalar::new(value),
            is_list,
        })
    }

    /// For each row, whether the column has the value, or is a list that contains it. Rows with a
    /// missing value do not match.
    fn holds(&self, batch: &RecordBatch) -> Result<BooleanArray, ArrowError> {
        let column = batch.column(self.column);
        let (items, ends): (_, Vec<(usize, usize)>) = match column.data_type() {
            _ if !self.is_list => return cmp::eq(column, &self.value),
            DataType::LargeList(_) => ends(column.as_list::<i64>()),
            _ => ends(column.as_list::<i32>()),
        };
        let hits = cmp::eq(items, &self.value)?;
        let hit = |i: usize| hits.is_valid(i) && hits.value(i);
        let any = |&(from, to): &(usize, usize)| (from..to).any(hit);
        let found = BooleanBuffer::from_iter(ends.iter().map(any));
        Ok(BooleanArray::new(found, column.nulls().cloned()))
    }
}

/// The items of all lists, and where each list begins and ends among them.
fn ends<O: OffsetSizeTrait>(lists: &GenericListArray<O>) -> (&ArrayRef, Vec<(usize, usize)>) {
    let ends = lists.offsets().windows(2);
    let ends = ends.map(|w| (w[0].as_usize(), w[1].as_usize()));
    (lists.values(), ends.collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use arrow::array::{Float32Array, ListArray, UInt32Array};
    use arrow::datatypes::{Field, Schema, UInt32Type};
    use gfm_pipe_api::{ObjectFile, table};

    /// A table of two objects.
    fn file() -> (tempfile::TempDir, TableFile) {
        let dir = tempfile::tempdir().unwrap();
        let lists = [
            Some(vec![Some(1), Some(2)]),
            Some(vec![]),
            None,
            Some(vec![Some(2)]),
        ];
        let batch = RecordBatch::try_new(
            Arc::new(Schema::new(vec![
                Field::new("id", DataType::UInt32, false),
                Field::new("name", DataType::Utf8, true),
                Field::new("score", DataType::Float32, false),
                Field::new_list("of", Field::new_list_field(DataType::UInt32, true), true),
            ])),
            vec![
                Arc::new(UInt32Array::from(vec![0, 1, 2, 3])),
                Arc::new(StringArray::from(vec![
                    Some("b"),
                    Some("a"),
                    None,
                    Some("b"),
                ])),
                Arc::new(Float32Array::from(vec![0.1, 0.5, 0.3, 0.9])),
                Arc::new(ListArray::from_iter_primitive::<UInt32Type, _, _>(lists)),
            ],
        )
        .unwrap();
        let objects = [(0, 3), (3, 1)].map(|(first, rows)| {
            let path = dir.path().join(format!("{first}.parquet"));
            let sink = std::fs::File::create(&path).unwrap();
            let mut writer = table::writer(sink, batch.schema()).unwrap();
            writer.write(&batch.slice(first, rows)).unwrap();
            writer.close().unwrap();
            ObjectFile::of(&path, rows as u64).unwrap()
        });
        let table = TableFile::of("t", objects.to_vec());
        (dir, table)
    }

    fn ask(
        filters: &[&str],
        columns: &[&str],
        sort: &[&str],
        limit: u64,
    ) -> Result<(Vec<u32>, u64), String> {
        let (_dir, table) = file();
        let filters: Vec<Filter> = filters.iter().map(|f| Filter::parse(f).unwrap()).collect();
        let columns: Vec<String> = columns.iter().map(|c| (*c).to_owned()).collect();
        let sort: Vec<SortKey> = sort.iter().map(|k| SortKey::parse(k).unwrap()).collect();
        let query = Query {
            filters: &filters,
            columns: &columns,
            sort: &sort,
            limit,
        };
        match read(&table, &query, &Names::default()) {
            Ok(found) => {
                let all = concat_batches(&found.schema, &found.batches).unwrap();
                if !columns.is_empty() {
                    let got: Vec<&String> =
                        found.schema.fields().iter().map(|f| f.name()).collect();
                    assert_eq!(got, columns.iter().collect::<Vec<_>>());
                }
                let ids = all.column_by_name("id").unwrap();
                Ok((
                    ids.as_primitive::<UInt32Type>().values().to_vec(),
                    found.total,
                ))
            }
            Err(Refused::Query(e)) => Err(e.text(crate::ui::Look::default())),
            Err(Refused::File(e)) => panic!("{e}"),
        }
    }

    #[test]
    fn rows_are_chosen_by_values_of_every_type() {
        for (filters, ids) in [
            (&["id=2"][..], vec![2]),
            (&["name=b"], vec![0, 3]),
            (&["name=b", "score=0.9"], vec![3]),
            (&["score=0.1"], vec![0]),
            (&["of=2"], vec![0, 3]),
            (&["of=1"], vec![0]),
            (&["name=c"], vec![]),
            // A missing value equals nothing.
            (&["name="], vec![]),
        ] {
            let total = ids.len() as u64;
            assert_eq!(ask(filters, &[], &[], 9), Ok((ids, total)), "{filters:?}");
        }
        assert_eq!(ask(&["name=b"], &[], &[], 1), Ok((vec![0], 2)));
    }

    #[test]
    fn rows_are_sorted_with_missing_values_last_and_ties_as_in_the_file() {
        for (sort, ids) in [
            (&["score"][..], [0, 2, 1, 3]),
            (&["-score"], [3, 1, 2, 0]),
            (&["name"], [1, 0, 3, 2]),
            (&["-name"], [0, 3, 1, 2]),
            (&["-name", "-id"], [3, 0, 1, 2]),
        ] {
            assert_eq!(ask(&[], &[], sort, 9), Ok((ids.to_vec(), 4)), "{sort:?}");
            assert_eq!(
                ask(&[], &["score", "id"], sort, 2),
                Ok((ids[..2].to_vec(), 4))
            );
        }
        assert_eq!(ask(&["name=b"], &[], &["-id"], 9), Ok((vec![3, 0], 2)));
    }

    #[test]
    fn what_does_not_fit_the_table_is_a_mistake_of_the_command_line() {
        for (filters, columns, sort, said) in [
            (
                &["nme=b"][..],
                &[][..],
                &[][..],
                "no column `nme`\nhint: did you mean `name`?",
            ),
            (&[], &["zzz"], &[], "hint: its columns: id, name, score, of"),
            (
                &["id=x"],
                &[],
                &[],
                "--where id=x: `x` is not a whole number of its range",
            ),
            (&["id=-1"], &[], &[], "`-1` is not a whole number"),
            (&["score=high"], &[], &[], "`high` is not a number"),
            (&[], &[], &["of"], "`of` is a column of lists"),
        ] {
            let e = ask(filters, columns, sort, 9).unwrap_err();
            assert!(e.contains(said), "{e}");
        }
        assert!(Filter::parse("name").is_err() && Filter::parse("=x").is_err());
        assert!(SortKey::parse("-").is_err() && SortKey::parse("--a").is_err());
    }
}
