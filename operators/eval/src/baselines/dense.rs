//! Cosine of question and document embeddings.
//!
//! Embeddings come from an `embed` stage; a zero vector (an empty or unknown text) scores 0 against
//! everything.

use std::sync::Arc;

use gfm_pipe_api::OpResult;
use gfm_pipe_api::points::{Points, quick_dot};
use gfm_pipe_api::vector_table::{Query, VectorTable};
use rayon::prelude::*;

use crate::BadShape;

/// Number of rows that a thread compares at once.
const ROWS: usize = 4096;

/// Document embeddings, ready for questions.
pub struct Dense(Arc<VectorTable>);

impl Dense {
    /// Takes row-major vectors of length `dim`; a document's id is its row.
    ///
    /// # Errors
    /// When `dim` is 0 or the values do not fill whole rows.
    pub fn new(dim: usize, vectors: &[f32]) -> Result<Self, BadShape> {
        if dim == 0 || !vectors.len().is_multiple_of(dim) {
            return Err(BadShape(format!(
                "{} values are not rows of length {dim}",
                vectors.len()
            )));
        }
        let mut points = Points::new(dim);
        points.extend(vectors);
        Ok(Dense(Arc::new(VectorTable::Exact(points))))
    }

    /// Takes a table of vectors; a document's id is its row.
    pub fn of(vectors: Arc<VectorTable>) -> Self {
        Dense(vectors)
    }

    /// Length of a vector.
    pub fn dim(&self) -> usize {
        self.0.dim()
    }

    /// The cosine of every document with a question's embedding, by document id.
    ///
    /// # Errors
    /// When the embedding has another length, or vectors on disk cannot be read.
    pub fn scores(&self, question: &[f32]) -> OpResult<Vec<f64>> {
        let (dim, rows) = (self.dim(), self.0.len());
        if question.len() != dim {
            return Err(BadShape(format!(
                "the question's embedding has length {}, the documents' {dim}",
                question.len(),
            ))
            .into());
        }
        let norm = quick_dot(question, question).sqrt();
        let scale = if norm > 0.0 { 1.0 / norm } else { 0.0 };
        let query = [Query::new(question)];
        let mut out = vec![0.0; rows];
        let parts = out.par_chunks_mut(ROWS).enumerate();
        parts.try_for_each(|(part, out)| {
            let first = part * ROWS;
            let rows = first..first + out.len();
            let table = &self.0;
            table.dots(&query, rows, |_, row, dot| out[row - first] = scale * dot)
        })?;
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn hand_computed_cosines() {
        let docs = Dense::new(2, &[3.0, 4.0, 0.0, 0.0, -2.0, 0.0, 0.0, 5.0]).unwrap();
        let scores = docs.scores(&[2.0, 0.0]).unwrap();
        for (got, want) in scores.iter().zip([0.6, 0.0, -1.0, 0.0]) {
            assert!((got - want).abs() < 1e-7, "{scores:?}");
        }
        assert_eq!(docs.scores(&[0.0, 0.0]).unwrap(), [0.0; 4]);
        assert_eq!(docs.dim(), 2);
    }

    #[test]
    fn lengths_that_do_not_fit_are_refused() {
        assert!(Dense::new(2, &[1.0; 3]).is_err());
        assert!(Dense::new(0, &[]).is_err());
        let docs = Dense::new(2, &[1.0; 4]).unwrap();
        assert!(docs.scores(&[1.0]).is_err());
    }
}
