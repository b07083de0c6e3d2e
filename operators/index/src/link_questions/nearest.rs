//! The rows of a table most like some vectors, by cosine.
//!
//! Rows are read batch by batch and never held together, so that a table may be larger than the
//! memory. Where batches are cut and how many threads there are does not change the result.

use gfm_pipe_api::artifact::check_made_from;
use gfm_pipe_api::{Artifact, Context, OpError, OpResult, columns};
use rayon::prelude::*;

pub use crate::near::nearest::Near;
use crate::near::nearest::{Takes, any, nearest_first, nearest_of};
use crate::near::points::Points;

/// Rows that a thread compares at once.
const ROWS: usize = 4096;

/// Vectors of texts and who made them.
pub struct Vectors {
    points: Points,
    /// Name and digest of the encoder.
    encoder: (String, String),
    of: String,
}

impl Vectors {
    /// Reads embeddings and the tables whose texts they were made from, one after the other.
    ///
    /// # Errors
    /// When there are none, they were made from other texts, or by several encoders.
    pub fn joined(tables: &[(&Artifact, &Artifact)]) -> OpResult<Vectors> {
        let mut all: Option<Vectors> = None;
        for (embeddings, of) in tables {
            check_made_from(embeddings, &of.texts()?, &of.name)?;
            let (dim, values) = columns::vectors(&embeddings.read("vectors")?, "vector")?;
            // A table without rows says nothing of the length of a vector.
            if values.is_empty() {
                continue;
            }
            let all = match &mut all {
                Some(all) => {
                    all.same_encoder(embeddings, of, dim)?;
                    all
                }
                None => all.insert(Vectors {
                    points: Points::new(dim),
                    encoder: encoder(embeddings)?,
                    of: of.name.clone(),
                }),
            };
            push(&mut all.points, &values);
        }
        let none = || Vectors {
            points: Points::new(0),
            encoder: (String::new(), String::new()),
            of: String::new(),
        };
        Ok(all.unwrap_or_else(none))
    }

    fn same_encoder(&self, embeddings: &Artifact, of: &Artifact, dim: usize) -> OpResult<()> {
        let theirs = encoder(embeddings)?;
        if (&theirs.1, dim) == (&self.encoder.1, self.points.dim()) {
            return Ok(());
        }
        Err(OpError::new(format!(
            "`{}` is embedded with {} ({} wide), `{}` with {} ({dim} wide)",
            self.of,
            self.encoder.0,
            self.points.dim(),
            of.name,
            theirs.0
        ))
        .artifact(&embeddings.name)
        .hint("give all `embed` stages the same `model`"))
    }

    /// For each vector the `k` rows most like it, the best first, of those that `takes` allows.
    ///
    /// # Errors
    /// When the rows were made from other texts, or with another encoder.
    pub fn nearest(
        &self,
        ctx: &Context,
        (embeddings, of): (&Artifact, &Artifact),
        k: usize,
        takes: &Takes<'_>,
    ) -> OpResult<Vec<Vec<Near>>> {
        check_made_from(embeddings, &of.texts()?, &of.name)?;
        let mut best: Vec<Vec<Near>> = vec![Vec::new(); self.points.len()];
        if best.is_empty() {
            return Ok(best);
        }
        let total = embeddings.rows("vectors")? as u64;
        let mut first = 0u32;
        for batch in embeddings.batches("vectors")? {
            let batch = batch?;
            ctx.check_cancelled()?;
            ctx.progress(u64::from(first), total, "vectors", &of.name);
            let (dim, values) = columns::vectors(&batch, "vector")?;
            if first == 0 {
                self.same_encoder(embeddings, of, dim)?;
            }
            let parts = values.par_chunks(ROWS * dim).enumerate();
            let found: OpResult<Vec<_>> = parts
                .map(|(part, values)| {
                    let from = first + (part * ROWS) as u32;
                    let mut rows = Points::new(dim);
                    push(&mut rows, values);
                    let takes = |i: usize, row: u32| takes(i, from + row);
                    let near = nearest_of(ctx, &self.points, &rows, any(k), &takes)?;
                    Ok((from, near))
                })
                .collect();
            for (from, near) in found? {
                for (best, near) in best.iter_mut().zip(near) {
                    best.extend(near.into_iter().map(|(row, cosine)| (from + row, cosine)));
                }
            }
            best.par_iter_mut().for_each(|best| {
                best.sort_unstable_by(nearest_first);
                best.truncate(k);
            });
            first += batch.num_rows() as u32;
        }
        ctx.progress(total, total, "vectors", &of.name);
        Ok(best)
    }
}

/// Adds row-major vectors.
fn push(points: &mut Points, values: &[f32]) {
    for row in values.chunks_exact(points.dim().max(1)) {
        points.push(row.iter().map(|x| f64::from(*x)));
    }
}

/// Name and digest of the encoder of embeddings.
fn encoder(embeddings: &Artifact) -> OpResult<(String, String)> {
    let row = embeddings.read("encoder")?;
    let text = |name| -> OpResult<String> { Ok(columns::text(&row, name)?.value(0).to_owned()) };
    Ok((text("name")?, text("digest")?))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::path::Path;
    use std::sync::Arc;

    use arrow::array::{ArrayRef, StringArray, UInt32Array, UInt64Array};
    use gfm_pipe_api::artifact::texts_digest;
    use gfm_pipe_api::{Kind, kinds, local};

    use crate::near::nearest::tests::numbers;
    use crate::near::points::dot;

    const DIM: usize = 3;

    fn made(dir: &Path, kind: &'static Kind, name: &str, tables: Vec<Vec<ArrayRef>>) -> Artifact {
        let tables = kind.tables.iter().zip(tables);
        let tables = tables.map(|(spec, columns)| columns::batch(spec, columns).unwrap());
        local::artifact(dir, kind, name, tables.collect()).unwrap()
    }

    /// A table of so many texts, and vectors that a seed gives for them.
    fn table(dir: &Path, name: &str, count: usize, seed: u64) -> (Artifact, Artifact) {
        let texts: Vec<String> = (0..count).map(|i| format!("{name} {i}")).collect();
        let text = |text: &str| -> ArrayRef { Arc::new(StringArray::from(vec![text])) };
        let number = |n: usize| -> ArrayRef { Arc::new(UInt64Array::from(vec![n as u64])) };
        let entities: Vec<ArrayRef> = vec![
            Arc::new(UInt32Array::from_iter_values(0..count as u32)),
            Arc::new(StringArray::from(texts.clone())),
        ];
        let of = made(dir, &kinds::ENTITIES, name, vec![entities]);
        let mut value = numbers(seed);
        // Few different values: many rows are equally near.
        let values = (0..count * DIM).map(|_| (2.0 * value()).round() as f32);
        let vectors = vec![columns::build_vectors(DIM, values.collect()).unwrap()];
        let about: Vec<ArrayRef> = vec![
            text("toy"),
            text("toy-digest"),
            Arc::new(UInt32Array::from(vec![DIM as u32])),
            number(count),
            number(0),
            text(&texts_digest(&texts)),
        ];
        let name = format!("embedded-{name}");
        let embeddings = made(dir, &kinds::EMBEDDINGS, &name, vec![vectors, about]);
        (embeddings, of)
    }

    #[test]
    fn the_best_rows_of_a_long_table_are_those_of_a_sort() {
        let dir = tempfile::tempdir().unwrap();
        let (asked, questions) = table(dir.path(), "questions", 5, 1);
        let (rows, names) = table(dir.path(), "names", 2 * ROWS + 100, 2);
        let vectors = Vectors::joined(&[(&asked, &questions)]).unwrap();
        let takes = |i: usize, row: u32| !(i + row as usize).is_multiple_of(3);
        let ctx = local::context();
        let got = vectors.nearest(&ctx, (&rows, &names), 20, &takes).unwrap();
        let all = Vectors::joined(&[(&rows, &names)]).unwrap();
        for (i, got) in got.into_iter().enumerate() {
            let taken = (0..all.points.len() as u32).filter(|row| takes(i, *row));
            let cosine = |row: u32| dot(vectors.points.row(i), all.points.row(row as usize));
            let mut want: Vec<Near> = taken.map(|row| (row, cosine(row))).collect();
            want.sort_by(nearest_first);
            want.truncate(20);
            assert_eq!(got, want, "{i}");
        }
    }
}
