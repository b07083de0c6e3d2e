//! Sketches of coded vectors: a bit for each number, by which most vectors of a large table are
//! ruled out.
//!
//! A vector is rotated, and the signs of its numbers are kept, with one factor. They tell its
//! cosine with a question nearly, and without bias (RaBitQ: Gao and Long, SIGMOD 2024). The
//! rotation is the same for all vectors: random signs and a Hadamard transform, twice. It makes the
//! numbers alike, so the error has nearly a normal distribution, whose deviation is at most 0.755 /
//! √(D - 1) for D bits: 0.047 for 256.
//!
//! A sketch is computed from the codes with whole numbers, and an estimate from a sketch likewise.
//! So both depend on nothing but the vector and the question, and have the same bits everywhere.

use std::ops::{Add, Neg, Sub};

use crate::random::mix;

/// The shortest and the longest vectors that are sketched. The signs of shorter ones tell too
/// little; with longer ones, sums might overflow.
const DIMS: std::ops::RangeInclusive<usize> = 64..=1 << 16;
/// Bytes of a sketch before its signs: the factor.
const FACTOR: usize = size_of::<f32>();
/// The largest of a rotated question's numbers, as a whole number: the sum of eight of them fits
/// into 16 bits.
const LARGEST: f64 = 4095.0;
/// The deviation of an estimate, times the square root of the bits but one: the tangent of the
/// angle between a vector and its signs, whose cosine is about √(2 / π).
const DEVIATION: f64 = 0.755;
/// Number of deviations by which an estimate may be off. One in 30,000 is too low by more.
const DEVIATIONS: f64 = 4.0;

/// Number of bits of a sketch; 0 for vectors that are not sketched.
fn bits(dim: usize) -> usize {
    if DIMS.contains(&dim) {
        dim.next_power_of_two()
    } else {
        0
    }
}

/// Bytes of a sketch; 0 for vectors that are not sketched.
pub(super) fn sketch_bytes(dim: usize) -> usize {
    match bits(dim) {
        0 => 0,
        bits => FACTOR + bits / 8,
    }
}

/// Rotates vectors, and makes their lengths [`bits`] times what they were.
#[derive(Debug)]
pub(super) struct Rotation<T> {
    /// Whether a number changes its sign, in either round.
    flipped: [Vec<bool>; 2],
    values: Vec<T>,
    other: Vec<T>,
}

impl<T: Copy + Default + Add<Output = T> + Sub<Output = T> + Neg<Output = T>> Rotation<T> {
    /// The rotation of vectors with `dim` numbers.
    pub fn new(dim: usize) -> Self {
        let bits = bits(dim);
        let flipped = |round: u64| {
            let numbers = (0..bits as u64).map(|i| mix(round << 32 | i) & 1 == 1);
            numbers.collect()
        };
        Rotation {
            flipped: [0, 1].map(flipped),
            values: vec![T::default(); bits],
            other: vec![T::default(); bits],
        }
    }

    /// The rotated vector, whose numbers these are; it is filled up with zeros first.
    pub fn of(&mut self, vector: impl Iterator<Item = T>) -> &[T] {
        self.values.fill(T::default());
        self.values.iter_mut().zip(vector).for_each(|(v, x)| *v = x);
        for flipped in &self.flipped {
            for (value, flipped) in self.values.iter_mut().zip(flipped) {
                *value = if *flipped { -*value } else { *value };
            }
            // Sums and differences of both halves, as often as the length can be halved. This is a
            // Hadamard transform in another order of rows, and each round is the same simple loop.
            for _ in 0..self.values.len().max(1).ilog2() {
                let (low, high) = self.values.split_at(self.values.len() / 2);
                let out = self.other.as_chunks_mut::<2>().0;
                for ((a, b), out) in low.iter().zip(high).zip(out) {
                    *out = [*a + *b, *a - *b];
                }
                std::mem::swap(&mut self.values, &mut self.other);
            }
        }
        &self.values
    }
}

/// Adds the sketch of a coded vector, whose step and codes these are.
pub(super) fn sketch(
    rotation: &mut Rotation<i32>,
    (step, codes): (f32, impl Iterator<Item = i8>),
    out: &mut Vec<u8>,
) {
    let rotated = rotation.of(codes.map(i32::from));
    let (mut squares, mut sizes) = (0.0, 0_u64);
    for x in rotated {
        squares += f64::from(*x) * f64::from(*x);
        sizes += u64::from(x.unsigned_abs());
    }
    let factor = match sizes {
        0 => 0.0,
        sizes => f64::from(step) * squares / (rotated.len() as f64 * sizes as f64),
    };
    out.extend((factor as f32).to_le_bytes());
    out.extend(rotated.as_chunks::<8>().0.iter().map(|eight| {
        let bits = eight
            .iter()
            .zip(0..)
            .map(|(x, bit)| u8::from(*x >= 0) << bit);
        bits.sum::<u8>()
    }));
}

/// A vector whose cosines with those of a table are estimated by sketches.
#[derive(Debug, Clone)]
pub struct SketchQuery {
    /// For each byte of signs, the sum of its numbers with these signs.
    sums: Vec<[i16; 256]>,
    /// What one of these whole numbers stands for.
    unit: f64,
    /// See [`SketchQuery::error`].
    error: f64,
}

impl SketchQuery {
    /// Takes a vector. Estimates are those of dot products with vectors of length one.
    pub fn new(exact: &[f32]) -> Self {
        let mut rotation = Rotation::new(exact.len());
        let rotated = rotation.of(exact.iter().map(|x| f64::from(*x)));
        let bits = rotated.len();
        let largest = rotated.iter().fold(0.0_f64, |most, x| most.max(x.abs()));
        let unit = largest / LARGEST;
        let whole = |x: &f64| {
            if unit > 0.0 {
                (x / unit).round() as i16
            } else {
                0
            }
        };
        let sums = rotated.as_chunks::<8>().0.iter().map(|eight| {
            let eight = eight.each_ref().map(whole);
            let mut sums = [0; 256];
            sums[0] = -eight.iter().sum::<i16>();
            for signs in 1..256_usize {
                // That without the lowest positive sign is known already.
                let lowest = signs.trailing_zeros() as usize;
                sums[signs] = sums[signs & (signs - 1)] + 2 * eight[lowest];
            }
            sums
        });
        let length = exact
            .iter()
            .map(|x| f64::from(*x).powi(2))
            .sum::<f64>()
            .sqrt();
        SketchQuery {
            sums: sums.collect(),
            unit: unit / bits.max(1) as f64,
            error: DEVIATIONS * DEVIATION * length / (bits.max(2) as f64 - 1.0).sqrt(),
        }
    }

    /// The most by which estimates are off, but for very few.
    pub fn error(&self) -> f64 {
        self.error
    }

    /// Adds the estimates for these sketches.
    pub(super) fn estimates(&self, sketches: &[u8], out: &mut Vec<f32>) {
        let bytes = FACTOR + self.sums.len();
        out.extend(sketches.chunks_exact(bytes).map(|sketch| {
            let (factor, signs) = sketch.split_at(FACTOR);
            let factor = f32::from_le_bytes([factor[0], factor[1], factor[2], factor[3]]);
            let (signs, sums) = (signs.as_chunks::<2>().0, self.sums.as_chunks::<2>().0);
            let (mut even, mut odd) = (0_i32, 0_i32);
            for (signs, sums) in signs.iter().zip(sums) {
                even += i32::from(sums[0][usize::from(signs[0])]);
                odd += i32::from(sums[1][usize::from(signs[1])]);
            }
            (f64::from(even + odd) * self.unit * f64::from(factor)) as f32
        }));
    }
}
