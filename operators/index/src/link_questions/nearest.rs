//! Finds the rows of a table that are most similar to given vectors, by cosine.
//!
//! Rows are read in batches and are never all in memory, so a table may be larger than memory. The
//! size of batches and the number of threads do not change the result.

use std::sync::Arc;

use gfm_pipe_api::artifact::check_made_from_texts_of;
use gfm_pipe_api::points::Points;
use gfm_pipe_api::vector_table::{Codes, Keep, VectorTable};
use gfm_pipe_api::{Artifact, Cancel, Context, OpError, OpResult, columns};
use rayon::prelude::*;

use crate::near::in_table::{add, nearest_by_codes, nearest_by_sketches, nearest_in};
pub use crate::near::nearest::Near;
use crate::near::nearest::{Allowed, any, nearest_first, nearest_of};

/// Number of rows that a thread compares at once.
const ROWS: usize = 4096;
/// Progress is reported each time this many coded rows have been compared.
const TOGETHER: usize = 1 << 20;

/// The texts of a table, and their embeddings.
#[derive(Clone, Copy)]
pub struct Embedded<'a> {
    /// The table with the texts.
    pub texts: &'a Artifact,
    /// The vectors of the texts, in the same order.
    pub embeddings: &'a Artifact,
}

/// Vectors of questions or of names in them, and the encoder that made them.
pub struct Vectors {
    points: Points,
    /// Name and digest of the encoder.
    encoder: (String, String),
    /// Name of the artifact with the texts, for messages.
    texts: String,
}

/// The vectors of a table that others are compared with, and the encoder that made them.
pub struct KnownVectors {
    table: Arc<VectorTable>,
    /// Name and digest of the encoder.
    encoder: (String, String),
    /// Name of the artifact with the texts, for messages.
    texts: String,
}

impl KnownVectors {
    /// Reads the vectors of a table. It is not checked that they were made from the texts.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn read(of: Embedded<'_>) -> OpResult<Self> {
        let table = VectorTable::read(of.embeddings)?;
        Ok(KnownVectors {
            table: Arc::new(table),
            encoder: encoder(of.embeddings)?,
            texts: of.texts.name.clone(),
        })
    }

    /// The vectors.
    pub fn table(&self) -> &Arc<VectorTable> {
        &self.table
    }
}

impl Vectors {
    /// Reads the vectors of several tables into one list.
    ///
    /// # Errors
    /// When there are none, or they are embeddings of other texts or of several encoders.
    pub fn joined(tables: &[Embedded<'_>]) -> OpResult<Vectors> {
        let mut all: Option<Vectors> = None;
        for Embedded { texts, embeddings } in tables.iter().copied() {
            check_made_from_texts_of(embeddings, texts)?;
            let (dim, values) = columns::vectors(&embeddings.read("vectors")?, "vector")?;
            // A table without rows does not tell the length of a vector.
            if values.is_empty() {
                continue;
            }
            match &mut all {
                Some(all) => {
                    all.same_encoder(embeddings, texts, dim)?;
                    all.points.extend(&values);
                }
                None => {
                    let encoder = encoder(embeddings)?;
                    let encoder = (encoder.0.as_str(), encoder.1.as_str());
                    let first = Vectors::of_questions(dim, &values, encoder);
                    let texts = texts.name.clone();
                    all = Some(Vectors { texts, ..first });
                }
            }
        }
        Ok(all.unwrap_or_else(|| Vectors::of_questions(0, &[], ("", ""))))
    }

    /// Vectors of questions, row-major, of an encoder with this name and digest.
    pub fn of_questions(dim: usize, values: &[f32], (name, digest): (&str, &str)) -> Vectors {
        let mut points = Points::new(dim);
        points.extend(values);
        Vectors {
            points,
            encoder: (name.to_owned(), digest.to_owned()),
            texts: "the question".to_owned(),
        }
    }

    /// The vectors, scaled to length one.
    pub fn points(&self) -> &Points {
        &self.points
    }

    /// Finds, for each vector, the `k` most similar of other vectors, the best first.
    ///
    /// # Errors
    /// When these are of another encoder.
    pub fn nearest_of(&self, rows: &KnownVectors, k: usize) -> OpResult<Vec<Vec<Near>>> {
        let table = &*rows.table;
        if table.is_empty() {
            return Ok(vec![Vec::new(); self.points.len()]);
        }
        if (&rows.encoder.1, table.dim()) != (&self.encoder.1, self.points.dim()) {
            return Err(self.other_encoder(&rows.texts, &rows.encoder.0, table.dim()));
        }
        nearest_in(&Cancel::default(), &self.points, table, k, &|_, _| true)
    }

    fn other_encoder(&self, texts: &str, encoder: &str, dim: usize) -> OpError {
        OpError::new(format!(
            "`{}` is embedded with {} ({} wide), `{texts}` with {encoder} ({dim} wide)",
            self.texts,
            self.encoder.0,
            self.points.dim(),
        ))
        .hint("give all `embed` stages the same `model`")
    }

    fn same_encoder(&self, embeddings: &Artifact, texts: &Artifact, dim: usize) -> OpResult<()> {
        let theirs = encoder(embeddings)?;
        if (&theirs.1, dim) == (&self.encoder.1, self.points.dim()) {
            return Ok(());
        }
        let other = self.other_encoder(&texts.name, &theirs.0, dim);
        Err(other.artifact(&embeddings.name))
    }

    /// Finds, for each vector, the `k` most similar rows that `allowed` accepts, the best first.
    ///
    /// # Errors
    /// When the rows are embeddings of other texts, or of another encoder.
    pub fn nearest(
        &self,
        ctx: &Context,
        rows: Embedded<'_>,
        k: usize,
        allowed: &Allowed<'_>,
    ) -> OpResult<Vec<Vec<Near>>> {
        let Embedded { texts, embeddings } = rows;
        check_made_from_texts_of(embeddings, texts)?;
        let mut best: Vec<Vec<Near>> = vec![Vec::new(); self.points.len()];
        if best.is_empty() {
            return Ok(best);
        }
        let total = embeddings.rows("vectors")? as u64;
        let tell = |rows: usize| ctx.progress(rows as u64, total, "vectors", &texts.name);
        if Keep::of_vectors(embeddings)? == Keep::Coded {
            tell(0);
            let codes = Codes::open(embeddings)?;
            self.same_encoder(embeddings, texts, codes.dim())?;
            return self.nearest_coded(ctx, &codes, (TOGETHER, &tell), k, allowed);
        }
        let mut first = 0u32;
        for batch in embeddings.batches("vectors")? {
            let batch = batch?;
            ctx.check_cancelled()?;
            tell(first as usize);
            let (dim, values) = columns::vectors(&batch, "vector")?;
            if first == 0 {
                self.same_encoder(embeddings, texts, dim)?;
            }
            let parts = values.par_chunks(ROWS * dim).enumerate();
            let found: OpResult<Vec<_>> = parts
                .map(|(part, values)| {
                    let from = first + (part * ROWS) as u32;
                    let mut rows = Points::new(dim);
                    rows.extend(values);
                    let allowed = |i: usize, row: u32| allowed(i, from + row);
                    let near = nearest_of(&ctx.cancel, &self.points, &rows, any(k), &allowed)?;
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
        tell(first as usize);
        Ok(best)
    }

    /// [`Vectors::nearest`] among vectors that are coded, and on disk if a store keeps the codes.
    /// Tells the number of rows done: where all are compared, whenever these are so many more.
    fn nearest_coded(
        &self,
        ctx: &Context,
        codes: &Codes,
        (together, tell): (usize, &dyn Fn(usize)),
        k: usize,
        allowed: &Allowed<'_>,
    ) -> OpResult<Vec<Vec<Near>>> {
        let queries = self.points.len();
        let mut best: Vec<Vec<Near>> = vec![Vec::new(); queries];
        if codes.has_sketches() {
            for (query, best) in best.iter_mut().enumerate() {
                tell(codes.len() * query / queries);
                *best = nearest_by_sketches(&ctx.cancel, (&self.points, query), codes, k, allowed)?;
            }
        } else {
            for first in (0..codes.len()).step_by(together) {
                tell(first);
                let rows = first..codes.len().min(first + together);
                let found = nearest_by_codes(&ctx.cancel, &self.points, (codes, rows), k, allowed)?;
                add(&mut best, found, k);
            }
        }
        tell(codes.len());
        Ok(best)
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
    use gfm_pipe_api::points::dot;

    const DIM: usize = 64;

    fn made(dir: &Path, kind: &'static Kind, name: &str, tables: Vec<Vec<ArrayRef>>) -> Artifact {
        let tables = kind.tables.iter().zip(tables);
        let tables = tables.map(|(spec, columns)| columns::batch(spec, columns).unwrap());
        local::artifact(dir, kind, name, tables.collect()).unwrap()
    }

    /// A table of `count` texts, and vectors for them from a seed.
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
        // Few different values, so that many rows are equally near.
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
        let (vectors, texts) = table(dir.path(), "questions", 5, 1);
        let questions = Embedded {
            texts: &texts,
            embeddings: &vectors,
        };
        let (rows, names) = table(dir.path(), "names", 2 * ROWS + 100, 2);
        let names = Embedded {
            texts: &names,
            embeddings: &rows,
        };
        let vectors = Vectors::joined(&[questions]).unwrap();
        let allowed = |i: usize, row: u32| !(i + row as usize).is_multiple_of(3);
        let ctx = local::context();
        let got = vectors.nearest(&ctx, names, 20, &allowed).unwrap();
        let all = Vectors::joined(&[names]).unwrap();
        for (i, got) in got.into_iter().enumerate() {
            let taken = (0..all.points.len() as u32).filter(|row| allowed(i, *row));
            let cosine = |row: u32| dot(vectors.points.row(i), all.points.row(row as usize));
            let mut want: Vec<Near> = taken.map(|row| (row, cosine(row))).collect();
            want.sort_by(nearest_first);
            want.truncate(20);
            assert_eq!(got, want, "{i}");
        }
    }

    /// Codes that are made, those that are kept, and a table in memory find the same.
    #[test]
    fn the_best_coded_rows_are_those_of_a_table_in_memory() {
        let dir = tempfile::tempdir().unwrap();
        let (rows, _) = table(dir.path(), "names", 2 * ROWS + 100, 2);
        let rows = local::keeping_codes(rows, dir.path());
        let (_, values) = columns::vectors(&rows.read("vectors").unwrap(), "vector").unwrap();
        let mut in_memory = VectorTable::new(Keep::Coded, DIM);
        in_memory.extend(&values);
        let allowed = |i: usize, row: u32| !(i + row as usize).is_multiple_of(3);
        let ctx = local::context();
        // A few are compared with codes, and many with decoded vectors.
        for count in [5, 20] {
            let (vectors, texts) = table(dir.path(), &format!("{count} questions"), count, 1);
            let questions = Embedded {
                texts: &texts,
                embeddings: &vectors,
            };
            let vectors = Vectors::joined(&[questions]).unwrap();
            let want = nearest_in(&ctx.cancel, &vectors.points, &in_memory, 20, &allowed).unwrap();
            assert!(want.iter().all(|near| near.len() == 20));
            let codes = || Codes::open(&rows).unwrap();
            for (codes, together) in [
                (codes(), 3000),
                (codes(), TOGETHER),
                (codes().sketched().unwrap(), TOGETHER),
            ] {
                let told = std::cell::Cell::new(0);
                let tell = |rows: usize| told.set(rows);
                let got = vectors.nearest_coded(&ctx, &codes, (together, &tell), 20, &allowed);
                assert_eq!(got.unwrap(), want);
                assert_eq!(told.get(), 2 * ROWS + 100);
            }
        }
        assert!(dir.path().join("2").is_dir(), "codes are kept");
    }
}
