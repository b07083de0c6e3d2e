//! A block of a network: a product, the maximum of three pieces, and layer normalisation.

use pulp::{Simd, WithSimd};

use crate::error::EnglishError;
use crate::product::{Packed, rows};
use crate::weights::Weights;

/// Width of a row.
pub(crate) const WIDTH: usize = 96;
/// Number of pieces, of which the maximum is taken.
const PIECES: usize = 3;
const EPSILON: f32 = 1e-8;
/// Number of rows whose products are kept at once: few enough to stay in the cache.
const ROWS: usize = 64;

/// A block with `K` inputs.
pub(crate) struct Block<const K: usize> {
    /// Column `p * WIDTH + o` is piece `p` of output `o`.
    weights: Packed<K>,
    gain: [f32; WIDTH],
    shift: [f32; WIDTH],
}

/// Where the rows of a block are read and written.
pub(crate) struct Rows<'a> {
    pub(crate) x: &'a [f32],
    /// Where each row's inputs begin in `x`.
    pub(crate) starts: &'a [usize],
    pub(crate) out: &'a mut [f32],
    /// Where each row's outputs begin in `out`.
    pub(crate) places: &'a [usize],
    /// Whether to add to each output the row of `x` at the same place.
    pub(crate) residual: bool,
}

impl<const K: usize> Block<K> {
    pub(crate) fn load(weights: &Weights<'_>, name: &str) -> Result<Self, EnglishError> {
        let w = weights.tensor(&format!("{name}.W"), &[WIDTH, PIECES, K])?;
        let b = weights.tensor(&format!("{name}.b"), &[WIDTH, PIECES])?;
        let row = |part: &str| {
            let numbers = weights.tensor(&format!("{name}.{part}"), &[WIDTH])?;
            Ok::<[f32; WIDTH], EnglishError>(std::array::from_fn(|i| numbers[i]))
        };
        let at = |column: usize| (column % WIDTH) * PIECES + column / WIDTH;
        Ok(Block {
            weights: Packed::new(
                WIDTH * PIECES,
                |column, input| w[at(column) * K + input],
                |column| b[at(column)],
            ),
            gain: row("ln_g")?,
            shift: row("ln_b")?,
        })
    }

    /// Runs the block on rows. `scratch` is reused memory.
    pub(crate) fn apply(&self, rows: Rows<'_>, scratch: &mut Vec<f32>) {
        scratch.resize(ROWS * self.weights.width(), 0.0);
        pulp::Arch::new().dispatch(Run {
            block: self,
            rows,
            scratch,
        });
    }
}

struct Run<'a, const K: usize> {
    block: &'a Block<K>,
    rows: Rows<'a>,
    scratch: &'a mut [f32],
}

impl<const K: usize> WithSimd for Run<'_, K> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Run {
            block,
            rows:
                Rows {
                    x,
                    starts,
                    out,
                    places,
                    residual,
                },
            scratch,
        } = self;
        let width = block.weights.width();
        for (starts, places) in starts.chunks(ROWS).zip(places.chunks(ROWS)) {
            let products = &mut scratch[..starts.len() * width];
            rows(simd, &block.weights, x, starts, products);
            for (product, place) in products.chunks_exact(width).zip(places) {
                let mut row = largest(product);
                normalise(&mut row, &block.gain, &block.shift);
                if residual {
                    for (value, before) in row.iter_mut().zip(&x[*place..*place + WIDTH]) {
                        *value += before;
                    }
                }
                out[*place..*place + WIDTH].copy_from_slice(&row);
            }
        }
    }
}

#[inline(always)]
fn largest(product: &[f32]) -> [f32; WIDTH] {
    let piece = |p: usize| &product[p * WIDTH..(p + 1) * WIDTH];
    let (a, b, c) = (piece(0), piece(1), piece(2));
    let larger = |x: f32, y: f32| if x > y { x } else { y };
    std::array::from_fn(|i| larger(larger(a[i], b[i]), c[i]))
}

#[inline(always)]
fn normalise(row: &mut [f32; WIDTH], gain: &[f32; WIDTH], shift: &[f32; WIDTH]) {
    let mean = sum(row) / WIDTH as f32;
    for value in row.iter_mut() {
        *value -= mean;
    }
    let squares: [f32; WIDTH] = std::array::from_fn(|i| row[i] * row[i]);
    let scale = 1.0 / (sum(&squares) / WIDTH as f32 + EPSILON).sqrt();
    for i in 0..WIDTH {
        row[i] = row[i] * scale * gain[i] + shift[i];
    }
}

/// A sum in an order that does not depend on the vector instructions.
#[inline(always)]
fn sum(row: &[f32; WIDTH]) -> f32 {
    const LANES: usize = 16;
    let mut lanes = [0.0; LANES];
    for part in row.as_chunks::<LANES>().0 {
        for (lane, value) in lanes.iter_mut().zip(part) {
            *lane += value;
        }
    }
    let mut half = LANES / 2;
    while half > 0 {
        for i in 0..half {
            lanes[i] += lanes[i + half];
        }
        half /= 2;
    }
    lanes[0]
}
