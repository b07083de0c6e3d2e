//! Losses and their gradients for scores, in f64: of link prediction, of lists, and sums of scores over documents.

use super::{Error, State, Vector, View};

/// A loss over the rows of a batch.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Loss {
    /// Binary cross-entropy whose positive is the first column, with self-adversarial negatives.
    Links {
        /// 0: all negatives weigh the same.
        temperature: f64,
    },
    /// Binary cross-entropy of lists.
    Bce {
        /// See above.
        temperature: f64,
    },
    /// List-wise cross-entropy.
    ListCe,
}

/// Increasing positive columns of each row; of [`Loss::Links`] nobody looks at them.
pub struct Positives {
    offsets: Vector<u32>,
    columns: Vector<u32>,
}

impl Positives {
    /// Copies them to a device.
    ///
    /// # Errors
    /// When there is not enough memory.
    pub fn new<'a>(
        gpu: &super::Gpu,
        rows: impl IntoIterator<Item = &'a [u32]>,
    ) -> Result<Self, Error> {
        let (mut offsets, mut columns) = (vec![0u32], Vec::new());
        for row in rows {
            let mut row = row.to_vec();
            row.sort_unstable();
            row.dedup();
            columns.extend(row);
            offsets.push(columns.len() as u32);
        }
        Ok(Positives {
            offsets: gpu.vector(&offsets)?,
            columns: gpu.vector(&columns)?,
        })
    }

    fn rows(&self) -> usize {
        self.offsets.len() - 1
    }
}

#[derive(Clone, Copy)]
#[repr(C)]
struct Args {
    scores: u64,
    grad: u64,
    loss: u64,
    offsets: u64,
    positives: u64,
    temperature: f64,
    weight: f64,
    used: f64,
    rows: u32,
    columns: u32,
}

/// How the losses of rows are averaged.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Mean {
    /// Factor of the gradient; not of the loss itself.
    pub weight: f64,
    /// Number of rows that the mean is over: those of the whole batch, of which other ranks may
    /// compute some. List-wise cross-entropy counts only rows that have positives.
    pub over: usize,
}

impl Loss {
    /// Writes each row's share of the mean loss to `loss`, and adds the weighted gradient to `grad`,
    /// which has the shape of `scores`.
    ///
    /// # Errors
    /// When the device does not do it.
    ///
    /// # Panics
    /// When lengths do not fit.
    pub fn value<A: State>(
        self,
        scores: View<'_, A>,
        positives: &Positives,
        mean: Mean,
        grad: View<'_, f64>,
        loss: View<'_, f64>,
    ) -> Result<(), Error> {
        let rows = positives.rows();
        assert_eq!((scores.len(), loss.len()), (grad.len(), rows), "scores");
        let columns = scores.len() / rows.max(1);
        assert_eq!(rows * columns, scores.len(), "columns");
        let (name, temperature) = match self {
            Loss::Links { temperature } => ("loss_links", temperature),
            Loss::Bce { temperature } => ("loss_bce", temperature),
            Loss::ListCe => ("loss_list_ce", 0.0),
        };
        let args = Args {
            scores: scores.at,
            grad: grad.at,
            loss: loss.at,
            offsets: positives.offsets.at,
            positives: positives.columns.at,
            temperature,
            weight: mean.weight,
            used: mean.over as f64,
            rows: rows as u32,
            columns: columns as u32,
        };
        let name = format!("{name}_{}", A::TAG);
        scores
            .gpu()
            .launch(&name, [rows, 1, 1], [256, 1, 1], 8 * 8, &args)
    }
}

#[derive(Clone, Copy)]
#[repr(C)]
struct SumArgs {
    x: u64,
    out: u64,
    offsets: u64,
    other: u64,
    weight: f64,
    from_columns: u32,
    to_columns: u32,
}

/// A 0/1 matrix by its rows.
pub struct Sparse {
    offsets: Vector<u32>,
    other: Vector<u32>,
}

impl Sparse {
    /// Copies it to a device.
    ///
    /// # Errors
    /// When there is not enough memory.
    pub fn new(gpu: &super::Gpu, offsets: &[u32], other: &[u32]) -> Result<Self, Error> {
        Ok(Sparse {
            offsets: gpu.vector(offsets)?,
            other: gpu.vector(other)?,
        })
    }

    /// `out[b, j] += weight Σ x[b, k]` over the `k` of row `j`.
    ///
    /// # Errors
    /// When the device does not do it.
    ///
    /// # Panics
    /// When lengths do not fit.
    pub fn sum_over<A: State>(
        &self,
        x: View<'_, A>,
        out: View<'_, f64>,
        rows: usize,
        weight: f64,
    ) -> Result<(), Error> {
        let to = self.offsets.len() - 1;
        assert_eq!(out.len(), rows * to, "sums");
        let args = SumArgs {
            x: x.at,
            out: out.at,
            offsets: self.offsets.at,
            other: self.other.at,
            weight,
            from_columns: (x.len() / rows.max(1)) as u32,
            to_columns: to as u32,
        };
        let name = format!("sum_over_{}", A::TAG);
        out.gpu()
            .launch(&name, [to.div_ceil(256), rows, 1], [256, 1, 1], 0, &args)
    }
}
