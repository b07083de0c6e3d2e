//! Recognises named entities: one move for each token, from left to right.

use crate::doc::Entity;
use crate::error::EnglishError;
use crate::names::{NameId, Names};
use crate::scorer::{self, REDUCED, Scorer, Scores};
use crate::weights::Weights;

/// Number of tokens that a state uses: the next one, the first of the open entity, and, if an
/// entity is open, the one before the next.
const SLOTS: usize = 3;

/// A move of the recogniser.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Move {
    /// Opens an entity.
    Begin(NameId),
    /// Continues the open entity.
    In(NameId),
    /// Closes the open entity after this token.
    Last(NameId),
    /// An entity of one token.
    Unit(NameId),
    Out,
    /// A class that must not be chosen.
    Never,
}

pub(crate) struct Recogniser {
    scorer: Scorer<SLOTS>,
    moves: Vec<Move>,
    /// The class of the move outside of entities, which is chosen where no score is a number.
    out: usize,
}

impl Recogniser {
    pub(crate) fn load(
        weights: &Weights<'_>,
        moves: &[(char, String)],
        names: &mut Names,
    ) -> Result<Self, EnglishError> {
        let scorer = Scorer::load(weights, "ner", moves.len())?;
        let moves: Vec<Move> = moves
            .iter()
            .map(|(letter, label)| match (letter, label.as_str()) {
                ('O', _) => Move::Out,
                (_, "") => Move::Never,
                ('B', kind) => Move::Begin(names.add(kind)),
                ('I', kind) => Move::In(names.add(kind)),
                ('L', kind) => Move::Last(names.add(kind)),
                ('U', kind) => Move::Unit(names.add(kind)),
                _ => Move::Never,
            })
            .collect();
        let bad = |problem: &str| EnglishError::Tables(problem.to_owned());
        let out = moves.iter().position(|m| *m == Move::Out);
        let out = out.ok_or_else(|| bad("there is no move out of entities"))?;
        let can_close = |m: &Move| match m {
            Move::Begin(kind) => moves.contains(&Move::Last(*kind)),
            _ => true,
        };
        if !moves.iter().all(can_close) {
            return Err(bad("there is an entity that can be opened and not closed"));
        }
        Ok(Recogniser { scorer, moves, out })
    }

    /// Finds the entities of a text. `reduced` has a row for each token.
    pub(crate) fn run(
        &self,
        reduced: &[[f32; REDUCED]],
        starts_sentence: &[bool],
        is_white: impl Fn(usize) -> bool,
        memory: &mut scorer::Memory,
    ) -> Vec<Entity> {
        let mut scores = Scores::new(&self.scorer, reduced, memory);
        let mut found = Vec::new();
        let mut open: Option<(usize, NameId)> = None;
        for token in 0..reduced.len() {
            let begun = open.map(|(first, _)| first);
            let before = begun.and(token.checked_sub(1));
            let scores = scores.of([Some(token), begun, before]);
            // Whether another token of the sentence follows.
            let goes_on = starts_sentence.get(token + 1).is_some_and(|start| !start);
            let white = is_white(token);
            let valid = |m: Move| match (m, open) {
                (Move::Begin(_), None) => goes_on && !white,
                (Move::Unit(_), None) => !white,
                (Move::Out, None) => true,
                (Move::In(kind), Some((_, this))) => kind == this && goes_on,
                (Move::Last(kind), Some((_, this))) => kind == this,
                _ => false,
            };
            match (self.best(scores, valid), open) {
                (Move::Begin(kind), _) => open = Some((token, kind)),
                (Move::Last(kind), Some((first, _))) => {
                    found.push(Entity {
                        tokens: first..token + 1,
                        kind,
                    });
                    open = None;
                }
                (Move::Unit(kind), _) => found.push(Entity {
                    tokens: token..token + 1,
                    kind,
                }),
                _ => (),
            }
        }
        found
    }

    /// The valid move with the highest score; of equal ones, the first.
    fn best(&self, scores: &[f32], valid: impl Fn(Move) -> bool) -> Move {
        let (mut best, mut highest) = (self.moves[self.out], f32::NEG_INFINITY);
        for (made, score) in self.moves.iter().zip(scores) {
            if *score > highest && valid(*made) {
                (best, highest) = (*made, *score);
            }
        }
        best
    }
}
