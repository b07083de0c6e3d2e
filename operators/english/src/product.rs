//! Matrix products with weights that are arranged once for the processor's vectors.
//!
//! Every element of a result is summed term by term in the order of the inputs, with fused
//! multiply-adds. So a row's result depends only on that row, and is the same with every set of
//! vector instructions.

use std::ops::Range;

use pulp::{Simd, WithSimd};

/// Columns of a panel: three vectors of AVX-512, six of AVX2.
pub(crate) const PANEL: usize = 48;
/// Number of vectors of a row that are summed at once.
const VECTORS: usize = 3;

/// A matrix with `K` rows, one for each input, in panels of columns.
pub(crate) struct Packed<const K: usize> {
    /// For each panel and input, the weights of the panel's columns.
    panels: Vec<f32>,
    bias: Vec<f32>,
}

impl<const K: usize> Packed<K> {
    /// Arranges `columns` columns. `weight` returns the weight for a column and an input. Missing
    /// columns of the last panel are zero.
    pub(crate) fn new(
        columns: usize,
        weight: impl Fn(usize, usize) -> f32,
        bias: impl Fn(usize) -> f32,
    ) -> Self {
        let width = columns.next_multiple_of(PANEL);
        let mut panels = Vec::with_capacity(width * K);
        for panel in (0..width).step_by(PANEL) {
            for input in 0..K {
                panels.extend((panel..panel + PANEL).map(|column| {
                    if column < columns {
                        weight(column, input)
                    } else {
                        0.0
                    }
                }));
            }
        }
        let bias = (0..width).map(|c| if c < columns { bias(c) } else { 0.0 });
        Packed {
            panels,
            bias: bias.collect(),
        }
    }

    /// Number of columns of a result, including the padding of the last panel.
    pub(crate) fn width(&self) -> usize {
        self.bias.len()
    }

    /// Computes the product of each row of inputs, which begin at `starts` in `x`: `starts.len()`
    /// rows of [`Packed::width`].
    pub(crate) fn apply(&self, x: &[f32], starts: &[usize], out: &mut [f32]) {
        pulp::Arch::new().dispatch(Product {
            weights: self,
            x,
            starts,
            out,
        });
    }

    /// Computes some panels of one row's product, at the same places in `out` as in a whole row.
    pub(crate) fn apply_panels(&self, row: &[f32; K], panels: Range<usize>, out: &mut [f32]) {
        struct Panels<'a, const K: usize>(&'a Packed<K>, &'a [f32; K], Range<usize>, &'a mut [f32]);
        impl<const K: usize> WithSimd for Panels<'_, K> {
            type Output = ();
            #[inline(always)]
            fn with_simd<S: Simd>(self, simd: S) {
                one_row(simd, self.0, self.1, self.2, self.3);
            }
        }
        pulp::Arch::new().dispatch(Panels(self, row, panels, out));
    }

    #[inline(always)]
    fn panel(&self, panel: usize) -> (&[f32], &[f32]) {
        (
            &self.panels[panel * K * PANEL..(panel + 1) * K * PANEL],
            &self.bias[panel * PANEL..(panel + 1) * PANEL],
        )
    }
}

struct Product<'a, const K: usize> {
    weights: &'a Packed<K>,
    x: &'a [f32],
    starts: &'a [usize],
    out: &'a mut [f32],
}

impl<const K: usize> WithSimd for Product<'_, K> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        rows(simd, self.weights, self.x, self.starts, self.out);
    }
}

/// Stores the vectors of a row one by one. If they were copied as a slice, the sums would be kept
/// in memory instead of registers.
#[inline(always)]
fn store<S: Simd>(out: &mut [S::f32s], part: usize, [a, b, c]: [S::f32s; VECTORS]) {
    out[part] = a;
    out[part + 1] = b;
    out[part + 2] = c;
}

#[inline(always)]
fn row_at<const K: usize>(x: &[f32], start: usize) -> &[f32; K] {
    x[start..]
        .first_chunk()
        .expect("every row lies inside the matrix")
}

/// Computes all rows, in tiles that fit the registers.
#[inline(always)]
pub(crate) fn rows<S: Simd, const K: usize>(
    simd: S,
    weights: &Packed<K>,
    x: &[f32],
    starts: &[usize],
    out: &mut [f32],
) {
    let width = weights.width();
    let (mut starts, mut out) = (starts, out);
    if S::REGISTER_COUNT >= 32 {
        (starts, out) = tiles::<S, K, 8>(simd, weights, x, starts, out);
    }
    (starts, out) = tiles::<S, K, 4>(simd, weights, x, starts, out);
    for (start, out) in starts.iter().zip(out.chunks_exact_mut(width)) {
        one_row(simd, weights, row_at::<K>(x, *start), 0..width / PANEL, out);
    }
}

/// Computes as many tiles of `ROWS` rows as there are. Returns the remaining rows, with their
/// outputs.
#[inline(always)]
fn tiles<'a, S: Simd, const K: usize, const ROWS: usize>(
    simd: S,
    weights: &Packed<K>,
    x: &[f32],
    mut starts: &'a [usize],
    mut out: &'a mut [f32],
) -> (&'a [usize], &'a mut [f32]) {
    let width = weights.width();
    while let Some((tile, after)) = starts.split_first_chunk::<ROWS>() {
        let rows = tile.map(|start| row_at::<K>(x, start));
        let (these, others) = out.split_at_mut(ROWS * width);
        for panel in 0..width / PANEL {
            let place = &mut these[panel * PANEL..];
            tile_of(simd, weights.panel(panel), rows, place, width);
        }
        (starts, out) = (after, others);
    }
    (starts, out)
}

/// Computes one panel of `ROWS` rows.
#[inline(always)]
fn tile_of<S: Simd, const K: usize, const ROWS: usize>(
    simd: S,
    (panel, bias): (&[f32], &[f32]),
    x: [&[f32; K]; ROWS],
    out: &mut [f32],
    width: usize,
) {
    let (panel, _) = S::as_simd_f32s(panel);
    let (bias, _) = S::as_simd_f32s(bias);
    for part in (0..bias.len()).step_by(VECTORS) {
        let begin: [S::f32s; VECTORS] = std::array::from_fn(|v| bias[part + v]);
        let mut sums = [begin; ROWS];
        for (input, weights) in panel.chunks_exact(PANEL / S::F32_LANES).enumerate().take(K) {
            let weights: [S::f32s; VECTORS] = std::array::from_fn(|v| weights[part + v]);
            for row in 0..ROWS {
                let value = simd.splat_f32s(x[row][input]);
                for v in 0..VECTORS {
                    sums[row][v] = simd.mul_add_f32s(value, weights[v], sums[row][v]);
                }
            }
        }
        for row in 0..ROWS {
            let (out, _) = S::as_mut_simd_f32s(&mut out[row * width..row * width + PANEL]);
            store::<S>(out, part, sums[row]);
        }
    }
}

/// Computes panels of one row, several at once: a single one would wait for each addition.
#[inline(always)]
pub(crate) fn one_row<S: Simd, const K: usize>(
    simd: S,
    weights: &Packed<K>,
    x: &[f32; K],
    panels: Range<usize>,
    out: &mut [f32],
) {
    const TOGETHER: usize = 3;
    let mut panel = panels.start;
    while panel + TOGETHER <= panels.end {
        together::<S, K, TOGETHER>(simd, weights, x, panel, out);
        panel += TOGETHER;
    }
    while panel < panels.end {
        together::<S, K, 1>(simd, weights, x, panel, out);
        panel += 1;
    }
}

#[inline(always)]
fn together<S: Simd, const K: usize, const PANELS: usize>(
    simd: S,
    weights: &Packed<K>,
    x: &[f32; K],
    panel: usize,
    out: &mut [f32],
) {
    let per_panel = PANEL / S::F32_LANES;
    let panels: [_; PANELS] = std::array::from_fn(|p| weights.panel(panel + p));
    let columns: [&[S::f32s]; PANELS] = panels.map(|(columns, _)| S::as_simd_f32s(columns).0);
    for part in (0..per_panel).step_by(VECTORS) {
        let mut sums: [[S::f32s; VECTORS]; PANELS] = std::array::from_fn(|p| {
            let (bias, _) = S::as_simd_f32s(panels[p].1);
            std::array::from_fn(|v| bias[part + v])
        });
        for (input, value) in x.iter().enumerate() {
            let value = simd.splat_f32s(*value);
            for p in 0..PANELS {
                let weights = &columns[p][input * per_panel + part..][..VECTORS];
                for v in 0..VECTORS {
                    sums[p][v] = simd.mul_add_f32s(value, weights[v], sums[p][v]);
                }
            }
        }
        for p in 0..PANELS {
            let out = &mut out[(panel + p) * PANEL..(panel + p + 1) * PANEL];
            let (out, _) = S::as_mut_simd_f32s(out);
            store::<S>(out, part, sums[p]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(i: usize) -> f32 {
        (i.wrapping_mul(2_654_435_761) % 1000) as f32 / 500.0 - 1.0
    }

    /// The same sums, in the same order, without vectors.
    fn slow<const K: usize>(columns: usize, x: &[f32]) -> Vec<f32> {
        (0..columns)
            .map(|c| (0..K).fold(number(c), |sum, k| x[k].mul_add(number(c * K + k), sum)))
            .collect()
    }

    #[test]
    fn every_row_is_the_obvious_product_bit_by_bit() {
        const K: usize = 96;
        let columns = 200;
        let weights = Packed::<K>::new(columns, |c, k| number(c * K + k), number);
        assert_eq!(weights.width(), 240);
        let x: Vec<f32> = (0..40 * 32 + K).map(|i| number(i + 7)).collect();
        for rows in [0, 1, 2, 3, 4, 5, 8, 11, 13, 21, 40] {
            // Rows overlap, as in the encoder.
            let starts: Vec<usize> = (0..rows).map(|r| r * 32).collect();
            let mut out = vec![f32::NAN; rows * weights.width()];
            weights.apply(&x, &starts, &mut out);
            for (row, out) in out.chunks_exact(weights.width()).enumerate() {
                assert_eq!(out[..columns], slow::<K>(columns, &x[starts[row]..])[..]);
                assert!(out[columns..].iter().all(|v| *v == 0.0));
            }
        }
    }

    /// Results must not depend on the processor, so the narrower instructions are tried as well.
    #[test]
    fn all_instructions_give_the_same() {
        const K: usize = 96;
        let weights = Packed::<K>::new(100, |c, k| number(c * K + k), number);
        let x: Vec<f32> = (0..13 * K).map(number).collect();
        let starts: Vec<usize> = (0..13).map(|r| r * K).collect();
        let run = |with: &dyn Fn(Product<'_, K>)| {
            let mut out = vec![f32::NAN; starts.len() * weights.width()];
            with(Product {
                weights: &weights,
                x: &x,
                starts: &starts,
                out: &mut out,
            });
            out
        };
        let best = run(&|product| pulp::Arch::new().dispatch(product));
        assert_eq!(best, run(&|product| product.with_simd(pulp::Scalar)));
        #[cfg(target_arch = "x86_64")]
        if let Some(avx2) = pulp::x86::V3::try_new() {
            assert_eq!(best, run(&|product| pulp::Simd::vectorize(avx2, product)));
        }
    }

    #[test]
    fn some_panels_are_those_of_the_whole() {
        const K: usize = 64;
        let weights = Packed::<K>::new(1024, |c, k| number(c * K + k), number);
        let x: [f32; K] = std::array::from_fn(number);
        let want = slow::<K>(1024, &x);
        let mut out = vec![f32::NAN; weights.width()];
        weights.apply_panels(&x, 2..7, &mut out);
        assert!(out[..2 * PANEL].iter().all(|v| v.is_nan()));
        assert_eq!(out[2 * PANEL..7 * PANEL], want[2 * PANEL..7 * PANEL]);
        assert!(out[7 * PANEL..].iter().all(|v| v.is_nan()));
    }
}
