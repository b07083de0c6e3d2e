//! Vectors of length one.

/// Vectors of length one, or zero, row-major.
pub struct Points {
    dim: usize,
    values: Vec<f32>,
}

/// The sum of products, in the order of the numbers: the same on every processor.
pub fn dot(a: &[f32], b: &[f32]) -> f64 {
    let products = a.iter().zip(b).map(|(x, y)| f64::from(*x) * f64::from(*y));
    products.sum()
}

impl Points {
    /// No vector yet.
    pub fn new(dim: usize) -> Self {
        Points {
            dim,
            values: Vec::new(),
        }
    }

    /// Adds a vector, scaled to length one; the zero vector stays what it is.
    pub fn push(&mut self, vector: impl ExactSizeIterator<Item = f64> + Clone) {
        debug_assert_eq!(vector.len(), self.dim, "a vector of another length");
        let norm = vector.clone().map(|x| x * x).sum::<f64>().sqrt();
        let norm = if norm > 0.0 { norm } else { 1.0 };
        self.values.extend(vector.map(|x| (x / norm) as f32));
    }

    /// Numbers of a vector.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.values.len() / self.dim.max(1)
    }

    /// One of them.
    pub fn row(&self, i: usize) -> &[f32] {
        self.rows(i, i + 1)
    }

    /// Some of them.
    pub fn rows(&self, from: usize, to: usize) -> &[f32] {
        &self.values[from * self.dim..to * self.dim]
    }

    /// The first ones.
    pub fn first(&self, count: usize) -> Points {
        Points {
            dim: self.dim,
            values: self.rows(0, count).to_vec(),
        }
    }

    /// These ones.
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
