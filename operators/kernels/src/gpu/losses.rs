//! Losses of link prediction and of lists with their gradients for scores, and sums of scores over
//! documents. All are computed in f64.

use super::layout::kernel_arguments;
use super::{Error, State, Vector, View};

/// A loss. Scores have a row for each query of a batch.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Loss {
    /// Binary cross-entropy with self-adversarial negatives. The first column is the positive.
    Links {
        /// With 0, all negatives have the same weight.
        temperature: f64,
    },
    /// Binary cross-entropy of lists, with self-adversarial negatives.
    Bce {
        /// With 0, all negatives have the same weight.
        temperature: f64,
    },
    /// List-wise cross-entropy.
    ListCe,
}

/// The positive columns of each row, in increasing order. [`Loss::Links`] does not read them.
pub struct Positives {
    offsets: Vector<u32>,
    columns: Vector<u32>,
}

impl Positives {
    /// Sorts positive columns and copies them to a device.
    ///
    /// # Errors
    /// If there is not enough memory.
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
    /// Writes each row's share of the mean loss to `loss`, and adds the weighted gradient to
    /// `grad`, which has the shape of `scores`.
    ///
    /// # Errors
    /// If the device reports one.
    ///
    /// # Panics
    /// If lengths do not match.
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
        let args = LossArgs {
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

/// A sparse matrix of zeros and ones, stored by rows.
pub struct Sparse {
    offsets: Vector<u32>,
    other: Vector<u32>,
}

impl Sparse {
    /// Copies a matrix to a device: row `j` has ones at `other[offsets[j]..offsets[j + 1]]`.
    ///
    /// # Errors
    /// If there is not enough memory.
    pub fn new(gpu: &super::Gpu, offsets: &[u32], other: &[u32]) -> Result<Self, Error> {
        Ok(Sparse {
            offsets: gpu.vector(offsets)?,
            other: gpu.vector(other)?,
        })
    }

    /// `out[b, j] += weight Σ x[b, k]` over the columns `k` where row `j` has a one.
    ///
    /// # Errors
    /// If the device reports one.
    ///
    /// # Panics
    /// If lengths do not match.
    pub fn sum_over<A: State>(
        &self,
        x: View<'_, A>,
        out: View<'_, f64>,
        rows: usize,
        weight: f64,
    ) -> Result<(), Error> {
        let to = self.offsets.len() - 1;
        assert_eq!(out.len(), rows * to, "sums");
        let args = SumOverArgs {
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

kernel_arguments! {
    struct LossArgs {
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

    struct SumOverArgs {
        x: u64,
        out: u64,
        offsets: u64,
        other: u64,
        weight: f64,
        from_columns: u32,
        to_columns: u32,
    }
}
