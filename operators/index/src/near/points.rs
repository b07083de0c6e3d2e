//! A list of unit vectors.

/// Vectors of length one, or zero vectors, in row-major order.
pub struct Points {
    dim: usize,
    values: Vec<f32>,
}

/// The dot product, summed in order: the same bits on every processor.
pub fn dot(a: &[f32], b: &[f32]) -> f64 {
    let products = a.iter().zip(b).map(|(x, y)| f64::from(*x) * f64::from(*y));
    products.sum()
}

impl Points {
    /// An empty list of vectors with `dim` numbers.
    pub fn new(dim: usize) -> Self {
        Points {
            dim,
            values: Vec::new(),
        }
    }

    /// Adds a vector, scaled to length one; the zero vector is added as it is.
    pub fn push(&mut self, vector: impl ExactSizeIterator<Item = f64> + Clone) {
        debug_assert_eq!(vector.len(), self.dim, "a vector of another length");
        let norm = vector.clone().map(|x| x * x).sum::<f64>().sqrt();
        let norm = if norm > 0.0 { norm } else { 1.0 };
        self.values.extend(vector.map(|x| (x / norm) as f32));
    }

    /// Number of numbers in a vector.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// Number of vectors.
    pub fn len(&self) -> usize {
        self.values.len() / self.dim.max(1)
    }

    /// Vector `i`.
    pub fn row(&self, i: usize) -> &[f32] {
        self.rows(i, i + 1)
    }

    /// Vectors `from..to`, as one slice.
    pub fn rows(&self, from: usize, to: usize) -> &[f32] {
        &self.values[from * self.dim..to * self.dim]
    }

    /// A copy of the first `count` vectors.
    pub fn first(&self, count: usize) -> Points {
        Points {
            dim: self.dim,
            values: self.rows(0, count).to_vec(),
        }
    }

    /// A copy of the vectors at these rows.
    pub fn select(&self, rows: &[u32]) -> Points {
        let mut values = Vec::with_capacity(rows.len() * self.dim);
        for row in rows {
            values.extend_from_slice(self.row(*row as usize));
        }
        Points {
            dim: self.dim,
            values,
        }
    }
}
