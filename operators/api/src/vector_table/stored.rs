//! Opens the codes of a stored table, and makes those that are not kept yet.

use rayon::prelude::*;

use super::codes::{Bytes, Codes, demand, encode, row_bytes, sketches_of};
use super::on_disk::{OnDisk, Shape};
use super::{Keep, dim_of};
use crate::artifact::Artifact;
use crate::columns;
use crate::error::{OpError, OpResult};
use crate::parts::{Parts, broken};
use crate::stored::{ObjectFile, TableFile};

impl Codes {
    /// The coded vectors of an artifact of the kind `embeddings`. They stay on disk if a store
    /// keeps them, and are in memory otherwise. Those of a large table have sketches.
    ///
    /// # Errors
    /// When vectors cannot be read, or there is not enough memory.
    pub fn open(embeddings: &Artifact) -> OpResult<Codes> {
        let table = embeddings.file("vectors")?;
        let name = format!("{}.{}", embeddings.name, table.name);
        open(table, &name, dim_of(embeddings)?)
    }
}

/// The codes of a table, whose vectors have `dim` numbers. `name` is the table's name, for
/// messages.
fn open(table: &TableFile, name: &str, dim: usize) -> OpResult<Codes> {
    let objects = &table.objects;
    let mut found: Vec<Option<Bytes>> = objects
        .par_iter()
        .map(|object| {
            let folder = object.codes.as_deref()?;
            OnDisk::open(folder, shape(object, dim)).map(Bytes::Disk)
        })
        .collect();
    let missing: Vec<usize> = (0..found.len()).filter(|i| found[*i].is_none()).collect();
    let mut kept = objects.iter().all(|object| object.codes.is_some());
    // An object for each thread at a time, because its codes are in memory until they are written.
    let together = rayon::current_num_threads().max(1);
    for (at, some) in missing.chunks(together).enumerate() {
        if !kept {
            let left = &missing[at * together..];
            demand(left.iter().map(|i| rows_of(&objects[*i])).sum(), dim)?;
        }
        let made = some.par_iter().map(|i| make(&objects[*i], name, dim));
        let made: Vec<Bytes> = made.collect::<OpResult<_>>()?;
        for (i, bytes) in some.iter().zip(made) {
            kept &= matches!(bytes, Bytes::Disk(_));
            found[*i] = Some(bytes);
        }
    }
    let mut codes = Codes::new(dim);
    for (object, bytes) in objects.iter().zip(found) {
        let bytes = bytes.ok_or_else(|| OpError::internal("codes were not made"))?;
        codes.push(rows_of(object), bytes);
    }
    if Keep::sketched(codes.len(), dim) {
        codes = codes.sketched()?;
    }
    Ok(codes)
}

fn rows_of(object: &ObjectFile) -> usize {
    usize::try_from(object.rows).unwrap_or(usize::MAX)
}

fn shape(object: &ObjectFile, dim: usize) -> Shape<'_> {
    Shape {
        object: &object.digest,
        dim,
        rows: rows_of(object),
    }
}

/// Makes the codes of an object, all of whose bytes are checked first. They are in memory where
/// they cannot be written.
fn make(object: &ObjectFile, name: &str, dim: usize) -> OpResult<Bytes> {
    let table = TableFile::of(name, vec![object.clone()]);
    let parts = Parts::of(&table, name.to_owned())?;
    if columns::vector_length(parts.schema(), "vector")? != dim {
        let problem = "it has vectors of several lengths";
        return Err(broken(name, problem));
    }
    let made = (0..parts.rows().len()).into_par_iter().map(|part| {
        let mut bytes = Vec::with_capacity(parts.rows()[part].saturating_mul(row_bytes(dim)));
        for batch in parts.batches(part)? {
            encode(dim, &columns::vectors(&batch?, "vector")?.1, &mut bytes);
        }
        Ok(bytes)
    });
    let made = made.collect::<OpResult<Vec<Vec<u8>>>>();
    let mut made = made.map_err(|e| e.artifact(name))?;
    let rows = made.iter().map(Vec::len).sum::<usize>() / row_bytes(dim);
    if rows != rows_of(object) {
        let other = "a part of the table has not as many rows as it says";
        return Err(OpError::data(other).artifact(name));
    }
    let folder = object.codes.as_deref();
    let written = folder.map(|folder| {
        let sketches = made.par_iter().map(|bytes| sketches_of(dim, bytes));
        let sketches: Vec<Vec<u8>> = sketches.collect();
        OnDisk::write(folder, shape(object, dim), (&sketches, &made))
    });
    if let Some(Ok(file)) = written {
        return Ok(Bytes::Disk(file));
    }
    Ok(Bytes::Memory(match made.as_mut_slice() {
        [one] => std::mem::take(one),
        _ => made.concat(),
    }))
}
