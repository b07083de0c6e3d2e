//! The dependency parser: a head and a label for each token, and where sentences start.

mod lift;
mod state;

use std::ops::Range;

pub(crate) use self::lift::Parse;
use self::lift::{Labels, finish};
use self::state::Move;
pub(crate) use self::state::State;
use crate::error::EnglishError;
use crate::names::{NameId, Names};
use crate::scorer::{self, REDUCED, Scorer, Scores};
use crate::weights::Weights;

/// Number of tokens that a state uses.
pub(crate) const SLOTS: usize = 8;
/// The label of tokens that are their own head.
const ROOT: &str = "ROOT";

pub(crate) struct Parser {
    scorer: Scorer<SLOTS>,
    /// Classes of each move, in the order of [`Move::ALL`].
    classes: [Range<usize>; 5],
    /// The label of each class.
    labels: Vec<NameId>,
    parts: Labels,
}

/// Reused memory.
#[derive(Default)]
pub(crate) struct Memory {
    state: State,
    scores: scorer::Memory,
}

impl Parser {
    pub(crate) fn load(
        weights: &Weights<'_>,
        moves: &[(char, String)],
        names: &mut Names,
    ) -> Result<Self, EnglishError> {
        let letters = ['S', 'D', 'L', 'R', 'B'];
        let mut classes: [Range<usize>; 5] = std::array::from_fn(|_| 0..0);
        let mut at = 0;
        for (letter, range) in letters.iter().zip(&mut classes) {
            let count = moves[at..].iter().take_while(|(l, _)| l == letter).count();
            *range = at..at + count;
            at += count;
        }
        if at != moves.len() || classes.iter().any(Range::is_empty) {
            return Err(EnglishError::Tables(
                "the parser's moves are not S, D, L, R and B in this order".to_owned(),
            ));
        }
        let labels: Vec<NameId> = moves.iter().map(|(_, label)| names.add(label)).collect();
        Ok(Parser {
            scorer: Scorer::load(weights, "parser", moves.len())?,
            classes,
            parts: Labels::new(moves.iter().map(|(_, label)| label.as_str()), names),
            labels,
        })
    }

    /// Parses a text. `reduced` has a row for each token.
    pub(crate) fn run(
        &self,
        reduced: &[[f32; REDUCED]],
        is_white: impl Fn(usize) -> bool,
        memory: &mut Memory,
    ) -> Parse {
        let Memory { state, scores } = memory;
        let mut scores = Scores::new(&self.scorer, reduced, scores);
        state.begin(reduced.len());
        while !state.is_done() {
            let (made, class) = self.best(scores.of(state.slots()), state.valid());
            state.apply(made, class as u16);
        }
        let (heads, labels) = (0..reduced.len())
            .map(|token| match state.arc(token) {
                Some((head, class)) => (head, self.labels[usize::from(class)]),
                None => (token, self.parts.root),
            })
            .unzip();
        finish(heads, labels, &self.parts, is_white)
    }

    /// The valid move with the highest score; of equal ones, the first.
    fn best(&self, scores: &[f32], valid: [bool; 5]) -> (Move, usize) {
        let (mut best, mut highest) = ((Move::Reduce, self.classes[1].start), f32::NEG_INFINITY);
        for ((made, classes), valid) in Move::ALL.into_iter().zip(&self.classes).zip(valid) {
            if !valid {
                continue;
            }
            for (class, score) in classes.clone().zip(&scores[classes.clone()]) {
                if *score > highest {
                    (best, highest) = ((made, class), *score);
                }
            }
        }
        best
    }
}
