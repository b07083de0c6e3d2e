//! Names in place of ids.
//!
//! A column of ids declares the kind of artifact that the ids refer to (`Column::id_of`). Which
//! artifact of that kind it is follows from what the stage, and the stages before it, were
//! connected to. If two artifacts of that kind are equally near, it is unclear which one is meant,
//! and the ids stay.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, ListBuilder, RecordBatch, StringArray, StringBuilder,
};
use arrow::compute::concat;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, UInt32Type};
use arrow::error::ArrowError;
use gfm_pipe_api::{TableSpec, columns};

use super::artifact::Source;
use super::plain::AnyError;
use crate::cli::error::{CliError, CliResult};
use crate::store::Store;
use crate::ui::Out;

/// The names to show, by column.
#[derive(Default)]
pub struct Names(HashMap<String, Arc<Dictionary>>);

/// Maps the ids of one artifact to names.
enum Dictionary {
    /// Ids are row numbers.
    Rows(StringArray),
    /// Ids are texts.
    Texts(HashMap<String, String>),
}

impl Names {
    /// Reads the names for the id columns of a table. Columns whose names cannot be found are
    /// reported and keep their ids.
    pub fn read(
        spec: &TableSpec,
        source: &Source,
        stage: &str,
        port: &str,
        store: &Store,
        err: &Out,
    ) -> CliResult<Self> {
        let mut by_kind: HashMap<&str, Option<Arc<Dictionary>>> = HashMap::new();
        let mut out = Names::default();
        for column in spec.columns {
            let Some(kind) = column.id_of else { continue };
            if !by_kind.contains_key(kind) {
                let found = match artifact(source, stage, port, kind) {
                    Ok((stage, port)) => Some(Arc::new(
                        dictionary(source, &stage, &port, kind, store).map_err(|e| {
                            CliError::failed(format!("failed to read {stage}.{port}: {e}"))
                        })?,
                    )),
                    Err(why) => {
                        err.line(&format!("note: ids of {kind} stay ids: {why}"));
                        None
                    }
                };
                by_kind.insert(kind, found);
            }
            if let Some(Some(names)) = by_kind.get(kind) {
                out.0.insert(column.name.to_owned(), Arc::clone(names));
            }
        }
        Ok(out)
    }

    /// The schema of a table after [`Names::apply`].
    pub fn schema(&self, schema: &SchemaRef) -> SchemaRef {
        let fields = schema.fields().iter().map(|f| {
            let named = self.0.contains_key(f.name());
            match f.data_type() {
                _ if !named => Arc::clone(f),
                DataType::List(_) => {
                    let item = Field::new_list_field(DataType::Utf8, true);
                    Arc::new(Field::new_list(f.name(), item, f.is_nullable()))
                }
                _ => Arc::new(Field::new(f.name(), DataType::Utf8, f.is_nullable())),
            }
        });
        Arc::new(Schema::new(fields.collect::<Vec<_>>()))
    }

    /// Replaces ids by names.
    pub fn apply(&self, batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
        let schema = batch.schema();
        let columns = schema.fields().iter().zip(batch.columns());
        let columns = columns.map(|(field, column)| match self.0.get(field.name()) {
            Some(names) => names.of(column),
            None => Arc::clone(column),
        });
        RecordBatch::try_new(self.schema(&schema), columns.collect())
    }
}

impl Dictionary {
    fn of(&self, ids: &ArrayRef) -> ArrayRef {
        match (self, ids.data_type()) {
            (Dictionary::Rows(_), DataType::UInt32) => {
                let ids = ids.as_primitive::<UInt32Type>().iter();
                Arc::new(
                    ids.map(|id| id.map(|id| self.row(id)))
                        .collect::<StringArray>(),
                )
            }
            (Dictionary::Rows(_), DataType::List(_)) => {
                let mut out = ListBuilder::new(StringBuilder::new());
                for list in ids.as_list::<i32>().iter() {
                    let list = list.as_ref().map(|l| l.as_primitive::<UInt32Type>());
                    for id in list.iter().flat_map(|l| l.iter()) {
                        out.values().append_option(id.map(|id| self.row(id)));
                    }
                    out.append(list.is_some());
                }
                Arc::new(out.finish())
            }
            (Dictionary::Texts(texts), DataType::Utf8) => {
                let ids = ids.as_string::<i32>().iter();
                let name = |id: &str| texts.get(id).map_or(id, String::as_str).to_owned();
                Arc::new(ids.map(|id| id.map(name)).collect::<StringArray>())
            }
            _ => Arc::clone(ids),
        }
    }

    /// The name in a row; if there is no such row, the id itself.
    fn row(&self, id: u32) -> String {
        match self {
            Dictionary::Rows(names) if (id as usize) < names.len() => {
                names.value(id as usize).to_owned()
            }
            _ => id.to_string(),
        }
    }
}

/// The artifact of this kind that is nearest to a port: one of the stage itself, else one it takes
/// as input, else one of the stages that those come from, and so on.
fn artifact(source: &Source, of: &str, port: &str, kind: &str) -> Result<(String, String), String> {
    let mut near: BTreeSet<(String, String)> = BTreeSet::new();
    let mut seen: BTreeSet<String> = BTreeSet::new();
    let mut stages: BTreeSet<String> = BTreeSet::from([of.to_owned()]);
    while !stages.is_empty() {
        for stage in &stages {
            let own = source.ports(stage).into_iter();
            near.extend(own.map(|port| (stage.clone(), port.to_owned())));
        }
        let of_kind = |near: &BTreeSet<(String, String)>| -> Vec<(String, String)> {
            let all = near.iter();
            let fits = all.filter(|(s, p)| source.kind(s, p) == Some(kind));
            fits.cloned().collect()
        };
        let mut found = of_kind(&near);
        if found.is_empty() {
            let taken = stages.iter().flat_map(|s| source.inputs(s));
            found = of_kind(&taken.cloned().collect());
        }
        match found.as_slice() {
            [] => {}
            [one] => return Ok(one.clone()),
            several => {
                let names: Vec<String> = several.iter().map(|(s, p)| format!("{s}.{p}")).collect();
                return Err(format!("they may be of {}", names.join(" or ")));
            }
        }
        seen.append(&mut stages.clone());
        let before = stages.iter().flat_map(|s| source.inputs(s));
        stages = before
            .map(|(s, _)| s.clone())
            .filter(|s| !seen.contains(s))
            .collect();
        near.clear();
    }
    Err(format!("nothing that {of}.{port} was made from has them"))
}

/// Reads the names of an artifact.
fn dictionary(
    source: &Source,
    stage: &str,
    port: &str,
    kind: &str,
    store: &Store,
) -> Result<Dictionary, AnyError> {
    let manifest = source
        .manifest(stage)
        .map_err(|_| "it is not in the store any more")?;
    let first = manifest.ports.get(port).and_then(|p| p.tables.first());
    let entry = first.ok_or("it has no tables")?;
    let reader = store.sound_table(entry)?.batches_unchecked()?;
    let name = match kind {
        "documents" => "title",
        "questions" => "question",
        _ => "name",
    };
    let mut parts: Vec<ArrayRef> = Vec::new();
    let mut texts = HashMap::new();
    for batch in reader {
        let batch = batch?;
        let names = columns::text(&batch, name)?;
        if kind == "questions" {
            let ids = columns::text(&batch, "id")?;
            let pairs = ids.iter().flatten().zip(names.iter().flatten());
            texts.extend(pairs.map(|(id, text)| (id.to_owned(), text.to_owned())));
        } else {
            parts.push(Arc::new(names.clone()));
        }
    }
    if kind == "questions" {
        return Ok(Dictionary::Texts(texts));
    }
    let refs: Vec<&dyn Array> = parts.iter().map(AsRef::as_ref).collect();
    Ok(Dictionary::Rows(if refs.is_empty() {
        StringArray::from(Vec::<&str>::new())
    } else {
        concat(&refs)?.as_string::<i32>().clone()
    }))
}
