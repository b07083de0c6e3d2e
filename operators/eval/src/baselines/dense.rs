//! Cosine of question and document embeddings.
//!
//! Embeddings come from an `embed` stage; a zero vector (an empty or unknown text) scores 0 against
//! everything.

use crate::BadShape;

/// Document embeddings, ready for questions.
pub struct Dense {
    dim: usize,
    vectors: Vec<f32>,
    norms: Vec<f64>,
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter()
        .zip(b)
        .map(|(x, y)| f64::from(*x) * f64::from(*y))
        .sum()
}

impl Dense {
    /// Takes row-major vectors of length `dim`; a document's id is its row.
    ///
    /// # Errors
    /// When `dim` is 0 or the values do not fill whole rows.
    pub fn new(dim: usize, vectors: Vec<f32>) -> Result<Self, BadShape> {
        if dim == 0 || !vectors.len().is_multiple_of(dim) {
            return Err(BadShape(format!(
                "{} values are not rows of length {dim}",
                vectors.len()
            )));
        }
        let norms = vectors
            .chunks_exact(dim)
            .map(|v| dot(v, v).sqrt())
            .collect();
        Ok(Dense {
            dim,
            vectors,
            norms,
        })
    }

    /// Length of a vector.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// The cosine of every document with a question's embedding, by document id.
    ///
    /// # Errors
    /// When the embedding has another length.
    pub fn scores(&self, question: &[f32]) -> Result<Vec<f64>, BadShape> {
        if question.len() != self.dim {
            return Err(BadShape(format!(
                "the question's embedding has length {}, the documents' {}",
                question.len(),
                self.dim
            )));
        }
        let norm = dot(question, question).sqrt();
        Ok(self
            .vectors
            .chunks_exact(self.dim)
            .zip(&self.norms)
            .map(|(v, n)| {
                let scale = norm * n;
                if scale == 0.0 {
                    0.0
                } else {
                    dot(question, v) / scale
                }
            })
            .collect())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn hand_computed_cosines() {
        let docs = Dense::new(2, vec![3.0, 4.0, 0.0, 0.0, -2.0, 0.0, 0.0, 5.0]).unwrap();
        let scores = docs.scores(&[2.0, 0.0]).unwrap();
        for (got, want) in scores.iter().zip([0.6, 0.0, -1.0, 0.0]) {
            assert!((got - want).abs() < 1e-15, "{scores:?}");
        }
        assert_eq!(docs.scores(&[0.0, 0.0]).unwrap(), [0.0; 4]);
        assert_eq!(docs.dim(), 2);
    }

    #[test]
    fn lengths_that_do_not_fit_are_refused() {
        assert!(Dense::new(2, vec![1.0; 3]).is_err());
        assert!(Dense::new(0, vec![]).is_err());
        let docs = Dense::new(2, vec![1.0; 4]).unwrap();
        assert!(docs.scores(&[1.0]).is_err());
    }
}
