//! Scores the moves of the parser and of the entity recogniser.
//!
//! A state uses the tokens in a number of slots. Each slot adds a row that depends only on the slot
//! and its token. These rows are computed for a block of tokens at once, and kept for the last few
//! blocks.

use std::collections::VecDeque;

use pulp::{Simd, WithSimd};

use crate::block::WIDTH;
use crate::error::EnglishError;
use crate::product::{PANEL, Packed, one_row};
use crate::weights::Weights;

/// Width of a token's reduced row, which scoring uses.
pub(crate) const REDUCED: usize = 64;
/// Number of hidden units.
const HIDDEN: usize = 64;
/// Number of pieces, of which the maximum is taken.
const PIECES: usize = 2;
/// Width of the row that a slot adds.
const SUMS: usize = HIDDEN * PIECES;
/// Number of tokens whose rows are computed at once.
const BLOCK: usize = 256;
/// Number of blocks that are kept. Rows of tokens further back are computed again when needed.
const KEPT_BLOCKS: usize = 4;

/// The weights of one scorer with a number of slots.
pub(crate) struct Scorer<const SLOTS: usize> {
    /// Column `f * SUMS + p * HIDDEN + o`: slot, piece, unit.
    lower: Packed<REDUCED>,
    bias: [f32; SUMS],
    /// What a slot without a token adds.
    pad: [[f32; SUMS]; SLOTS],
    upper: Packed<HIDDEN>,
}

/// Reads the weights that reduce a token's row to [`REDUCED`] numbers: tensor and bias.
pub(crate) fn reduction(
    weights: &Weights<'_>,
    name: &str,
) -> Result<(Vec<f32>, Vec<f32>), EnglishError> {
    Ok((
        weights.tensor(&format!("{name}.reduce.W"), &[REDUCED, WIDTH])?,
        weights.tensor(&format!("{name}.reduce.b"), &[REDUCED])?,
    ))
}

impl<const SLOTS: usize> Scorer<SLOTS> {
    pub(crate) fn load(
        weights: &Weights<'_>,
        name: &str,
        classes: usize,
    ) -> Result<Self, EnglishError> {
        let tensor = |part: &str, shape: &[usize]| weights.tensor(&format!("{name}.{part}"), shape);
        let lower = tensor("lower.W", &[SLOTS, HIDDEN, PIECES, REDUCED])?;
        let bias = tensor("lower.b", &[HIDDEN, PIECES])?;
        let pad = tensor("lower.pad", &[SLOTS, HIDDEN, PIECES])?;
        let upper = tensor("upper.W", &[classes, HIDDEN])?;
        let upper_bias = tensor("upper.b", &[classes])?;
        let at = |column: usize| {
            let (slot, rest) = (column / SUMS, column % SUMS);
            slot * SUMS + (rest % HIDDEN) * PIECES + rest / HIDDEN
        };
        Ok(Scorer {
            lower: Packed::new(
                SLOTS * SUMS,
                |column, input| lower[at(column) * REDUCED + input],
                |_| 0.0,
            ),
            bias: std::array::from_fn(|i| bias[at(i)]),
            pad: std::array::from_fn(|slot| std::array::from_fn(|i| pad[at(slot * SUMS + i)])),
            upper: Packed::new(
                classes,
                |class, input| upper[class * HIDDEN + input],
                |class| upper_bias[class],
            ),
        })
    }
}

/// Scores the states of one text.
pub(crate) struct Scores<'a, const SLOTS: usize> {
    scorer: &'a Scorer<SLOTS>,
    reduced: &'a [[f32; REDUCED]],
    memory: &'a mut Memory,
    /// Index of the first block that is kept.
    first: usize,
    kept: usize,
}

/// Reused memory.
#[derive(Default)]
pub(crate) struct Memory {
    /// First the blocks that are kept, then those that can be reused.
    blocks: VecDeque<Vec<f32>>,
    starts: Vec<usize>,
    again: Vec<f32>,
    scores: Vec<f32>,
}

impl<'a, const SLOTS: usize> Scores<'a, SLOTS> {
    /// `reduced` has one row for each token of the text.
    pub(crate) fn new(
        scorer: &'a Scorer<SLOTS>,
        reduced: &'a [[f32; REDUCED]],
        memory: &'a mut Memory,
    ) -> Self {
        memory.scores.clear();
        memory.scores.resize(scorer.upper.width(), 0.0);
        Scores {
            scorer,
            reduced,
            memory,
            first: 0,
            kept: 0,
        }
    }

    /// The scores of all classes (and some zeros after them) for the tokens in a state's slots.
    pub(crate) fn of(&mut self, tokens: [Option<usize>; SLOTS]) -> &[f32] {
        for token in tokens.into_iter().flatten() {
            while token / BLOCK >= self.first + self.kept {
                self.next_block();
            }
        }
        let width = self.scorer.lower.width();
        let mut far = [[0.0; SUMS]; SLOTS];
        for (slot, token) in tokens.into_iter().enumerate() {
            if let Some(token) = token.filter(|token| token / BLOCK < self.first) {
                self.compute_again(slot, token, &mut far[slot]);
            }
        }
        let Memory { blocks, scores, .. } = &mut *self.memory;
        let rows: [&[f32; SUMS]; SLOTS] = std::array::from_fn(|slot| match tokens[slot] {
            None => &self.scorer.pad[slot],
            Some(token) if token / BLOCK < self.first => &far[slot],
            Some(token) => {
                let block = &blocks[token / BLOCK - self.first];
                block[token % BLOCK * width + slot * SUMS..]
                    .first_chunk()
                    .expect("a block has whole rows")
            }
        });
        pulp::Arch::new().dispatch(Score {
            scorer: self.scorer,
            rows,
            scores,
        });
        scores
    }

    /// Computes the rows of the next block of tokens, in place of the oldest block if there are too
    /// many.
    fn next_block(&mut self) {
        let memory = &mut *self.memory;
        let mut block = if self.kept == KEPT_BLOCKS {
            self.first += 1;
            memory.blocks.pop_front()
        } else {
            self.kept += 1;
            memory.blocks.remove(self.kept - 1)
        }
        .unwrap_or_default();
        let start = (self.first + self.kept - 1) * BLOCK;
        let rows = BLOCK.min(self.reduced.len() - start);
        memory.starts.clear();
        memory.starts.extend((0..rows).map(|row| row * REDUCED));
        block.resize(rows * self.scorer.lower.width(), 0.0);
        let x = self.reduced[start..start + rows].as_flattened();
        self.scorer.lower.apply(x, &memory.starts, &mut block);
        memory.blocks.insert(self.kept - 1, block);
    }

    /// Computes the row of a token whose block is no longer kept.
    fn compute_again(&mut self, slot: usize, token: usize, row: &mut [f32; SUMS]) {
        let (start, end) = (slot * SUMS, (slot + 1) * SUMS);
        let again = &mut self.memory.again;
        again.resize(self.scorer.lower.width(), 0.0);
        let panels = start / PANEL..end.div_ceil(PANEL);
        self.scorer
            .lower
            .apply_panels(&self.reduced[token], panels, again);
        row.copy_from_slice(&again[start..end]);
    }
}

struct Score<'a, const SLOTS: usize> {
    scorer: &'a Scorer<SLOTS>,
    rows: [&'a [f32; SUMS]; SLOTS],
    scores: &'a mut [f32],
}

impl<const SLOTS: usize> WithSimd for Score<'_, SLOTS> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let mut sums = *self.rows[0];
        for row in &self.rows[1..] {
            for (sum, value) in sums.iter_mut().zip(*row) {
                *sum += value;
            }
        }
        for (sum, value) in sums.iter_mut().zip(&self.scorer.bias) {
            *sum += value;
        }
        let hidden: [f32; HIDDEN] = std::array::from_fn(|unit| {
            let (a, b) = (sums[unit], sums[HIDDEN + unit]);
            if a > b { a } else { b }
        });
        let upper = &self.scorer.upper;
        let panels = 0..upper.width() / PANEL;
        one_row(simd, upper, &hidden, panels, self.scores);
    }
}
