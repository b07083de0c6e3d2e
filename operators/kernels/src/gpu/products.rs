//! Matrix products.

use std::any::TypeId;

use half::bf16;

use super::driver::{Kind, Place, Product};
use super::{Element, Error, State, View};

/// A row-major matrix inside a vector, or its transpose.
#[derive(Clone, Copy)]
pub struct Matrix<'a, E> {
    view: View<'a, E>,
    rows: usize,
    columns: usize,
    stride: usize,
    transposed: bool,
}

impl<'a, E: Element> Matrix<'a, E> {
    /// A matrix without gaps between its rows.
    ///
    /// # Panics
    /// If the vector is shorter.
    pub fn new(view: View<'a, E>, rows: usize, columns: usize) -> Self {
        Matrix::strided(view, rows, columns, columns)
    }

    /// The first `columns` of every `stride` values.
    ///
    /// # Panics
    /// If the vector is shorter, or rows overlap.
    pub fn strided(view: View<'a, E>, rows: usize, columns: usize, stride: usize) -> Self {
        assert!(stride >= columns, "rows overlap");
        let needed = if rows == 0 {
            0
        } else {
            (rows - 1) * stride + columns
        };
        assert!(
            view.len() >= needed,
            "a matrix of {rows} x {columns} does not fit its vector"
        );
        Matrix {
            view,
            rows,
            columns,
            stride,
            transposed: false,
        }
    }

    /// The transpose; nothing is copied.
    #[must_use]
    pub fn t(self) -> Self {
        Matrix {
            rows: self.columns,
            columns: self.rows,
            transposed: !self.transposed,
            ..self
        }
    }

    /// Number of columns.
    pub fn columns(&self) -> usize {
        self.columns
    }

    fn place(&self) -> Place {
        Place {
            at: self.view.at,
            stride: self.stride.max(1),
            transposed: self.transposed,
        }
    }
}

pub(super) fn kind<E: Element>() -> Kind {
    let id = TypeId::of::<E>();
    if id == TypeId::of::<f64>() {
        Kind::F64
    } else if id == TypeId::of::<bf16>() {
        Kind::Bf16
    } else {
        Kind::F32
    }
}

/// `c = a b`, or `c += a b` if `add`. Sums of f32 and bf16 are in f32, sums of f64 in f64.
///
/// # Errors
/// If the device reports one.
///
/// # Panics
/// If shapes do not match, or `c` is a transpose.
pub fn product<F: State, C: State<Acc = F::Acc>>(
    c: Matrix<'_, C>,
    a: Matrix<'_, F>,
    b: Matrix<'_, F>,
    add: bool,
) -> Result<(), Error> {
    assert_eq!(a.columns, b.rows, "inner dimensions differ");
    assert_eq!(
        (c.rows, c.columns),
        (a.rows, b.columns),
        "the result's shape"
    );
    assert!(!c.transposed, "the result must not be a transpose");
    if c.rows == 0 || c.columns == 0 {
        return Ok(());
    }
    if a.columns == 0 {
        assert_eq!(c.stride, c.columns, "an empty sum into a block");
        return if add {
            Ok(())
        } else {
            c.view.part(0, c.rows * c.columns).fill_bytes(0)
        };
    }
    let gpu = c.view.gpu();
    gpu.shared.driver.product(&Product {
        tf32: gpu.tf32,
        m: a.rows,
        k: a.columns,
        n: b.columns,
        a: a.place(),
        b: b.place(),
        factors: kind::<F>(),
        c: c.place(),
        result: kind::<C>(),
        add,
    })
}
