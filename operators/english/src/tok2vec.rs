//! Turns words into rows of numbers that depend on the neighbouring words.
//!
//! Each word's features are looked up in hashed embedding tables and mixed by one block. Four more
//! blocks then let each row depend on its neighbours. Texts are processed in pieces of limited
//! length. A piece includes four rows of its neighbours on either side, so that its own rows are
//! those of the whole text, to the last bit.

use std::ops::Range;

use crate::Map;
use crate::block::{Block, Rows, WIDTH};
use crate::error::EnglishError;
use crate::hash::embedding_keys;
use crate::lexicon::Features;
use crate::tables::Embedding;
use crate::weights::Weights;

/// Number of layers of the encoder; each reaches one row further.
const DEPTH: usize = 4;
/// Number of inputs of an encoder's layer: a row and its two neighbours.
const WINDOW: usize = 3 * WIDTH;
/// Longest piece of a text that is encoded at once.
const PIECE_TOKENS: usize = 256;
/// Pieces are encoded together up to this many tokens.
const BATCH_TOKENS: usize = 512;
/// Most mixed words that are remembered (384 bytes each); when there are more, all are forgotten.
const REMEMBERED_WORDS: usize = 1 << 15;
/// The attributes of a word, in the order of [`Word::columns`].
const ATTRIBUTES: [&str; 6] = ["NORM", "PREFIX", "SUFFIX", "SHAPE", "SPACY", "IS_SPACE"];
type Columns = [u64; ATTRIBUTES.len()];

/// The features of a token.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Word {
    pub(crate) features: Features,
    /// Whether one space follows the token.
    pub(crate) space: bool,
}

impl Word {
    pub(crate) fn columns(&self) -> Columns {
        let Features {
            norm,
            prefix,
            suffix,
            shape,
            white,
        } = self.features;
        [
            norm,
            prefix,
            suffix,
            shape,
            u64::from(self.space),
            u64::from(white),
        ]
    }
}

struct Table {
    seed: u64,
    rows: u32,
    numbers: Vec<f32>,
}

/// A network. `MIX` is the number of its tables times the width.
pub(crate) struct Tok2Vec<const MIX: usize> {
    tables: Vec<Table>,
    mix: Block<MIX>,
    layers: [Block<WINDOW>; DEPTH],
}

/// The mixed rows of earlier words, and reused memory. It belongs to one network.
#[derive(Default)]
pub(crate) struct Memory {
    slots: Map<Columns, usize>,
    mixed: Vec<f32>,
    x: Vec<f32>,
    next: Vec<f32>,
    scratch: Vec<f32>,
    starts: Vec<usize>,
    places: Vec<usize>,
}

/// The rows of encoded tokens.
pub(crate) struct Encoded<'a> {
    pub(crate) tokens: Range<usize>,
    pub(crate) x: &'a [f32],
    /// Where the row of each token begins in `x`.
    pub(crate) starts: &'a [usize],
}

/// Tokens of one text that are encoded together, with their surrounding tokens.
struct Piece {
    tokens: Range<usize>,
    text: Range<usize>,
    /// Its first row, which is that of the token `DEPTH` before its first token.
    row: usize,
}

impl Piece {
    fn rows(&self) -> usize {
        self.tokens.len() + 2 * DEPTH
    }
}

impl<const MIX: usize> Tok2Vec<MIX> {
    pub(crate) fn load(
        weights: &Weights<'_>,
        name: &str,
        tables: &[Embedding],
    ) -> Result<Self, EnglishError> {
        let attributes: Vec<&str> = tables.iter().map(|t| t.attr.as_str()).collect();
        if attributes.len() * WIDTH != MIX || !ATTRIBUTES.starts_with(&attributes) {
            return Err(EnglishError::Tables(format!(
                "the attributes of {name} are {attributes:?}, expected the first {} of {ATTRIBUTES:?}",
                MIX / WIDTH
            )));
        }
        let table = |t: &Embedding| {
            let rows = u32::try_from(t.rows).ok().filter(|rows| *rows > 0);
            let rows = rows.ok_or_else(|| {
                EnglishError::Tables(format!("a table of {name} has {} rows", t.rows))
            })?;
            let tensor = format!("{name}.embed.{}", t.attr);
            Ok(Table {
                seed: t.seed,
                rows,
                numbers: weights.tensor(&tensor, &[t.rows, WIDTH])?,
            })
        };
        let layer = |i: usize| Block::load(weights, &format!("{name}.conv.{i}"));
        Ok(Tok2Vec {
            tables: tables.iter().map(table).collect::<Result<_, _>>()?,
            mix: Block::load(weights, &format!("{name}.mix"))?,
            layers: [layer(0)?, layer(1)?, layer(2)?, layer(3)?],
        })
    }

    /// Encodes texts, whose tokens are stored one after another in `words`, and passes on the rows
    /// in order.
    pub(crate) fn encode(
        &self,
        words: &[Word],
        texts: &[Range<usize>],
        memory: &mut Memory,
        mut then: impl FnMut(Encoded<'_>),
    ) {
        let mut pieces: Vec<Piece> = Vec::new();
        let mut tokens = 0;
        for text in texts {
            for start in text.clone().step_by(PIECE_TOKENS) {
                let piece = Piece {
                    tokens: start..text.end.min(start + PIECE_TOKENS),
                    text: text.clone(),
                    row: pieces.last().map_or(0, |last| last.row + last.rows()),
                };
                tokens += piece.tokens.len();
                pieces.push(piece);
                if tokens >= BATCH_TOKENS {
                    self.encode_pieces(words, &pieces, memory, &mut then);
                    pieces.clear();
                    tokens = 0;
                }
            }
        }
        self.encode_pieces(words, &pieces, memory, &mut then);
    }

    fn encode_pieces(
        &self,
        words: &[Word],
        pieces: &[Piece],
        memory: &mut Memory,
        then: &mut impl FnMut(Encoded<'_>),
    ) {
        let (Some(first), Some(last)) = (pieces.first(), pieces.last()) else {
            return;
        };
        if memory.slots.len() >= REMEMBERED_WORDS {
            memory.slots.clear();
            memory.mixed.clear();
        }
        self.mix_new(words, pieces, memory);
        let rows = last.row + last.rows();
        memory.x.clear();
        memory.x.resize(rows * WIDTH, 0.0);
        memory.next.resize(rows * WIDTH, 0.0);
        for piece in pieces {
            for (token, row) in around(piece) {
                let slot = memory.slots[&self.key(&words[token])];
                memory.x[row * WIDTH..][..WIDTH]
                    .copy_from_slice(&memory.mixed[slot * WIDTH..][..WIDTH]);
            }
        }
        for (done, layer) in self.layers.iter().enumerate() {
            // A row is correct only if its neighbours were, so each layer leaves out one more row
            // at the ends.
            let rows = |piece: &Piece| piece.row + done + 1..piece.row + piece.rows() - done - 1;
            memory.places.clear();
            memory
                .places
                .extend(pieces.iter().flat_map(rows).map(|row| row * WIDTH));
            memory.starts.clear();
            let starts = memory.places.iter().map(|place| place - WIDTH);
            memory.starts.extend(starts);
            let rows = Rows {
                x: &memory.x,
                starts: &memory.starts,
                out: &mut memory.next,
                places: &memory.places,
                residual: true,
            };
            layer.apply(rows, &mut memory.scratch);
            std::mem::swap(&mut memory.x, &mut memory.next);
        }
        then(Encoded {
            tokens: first.tokens.start..last.tokens.end,
            x: &memory.x,
            // The last layer computed only the rows of the piece's own tokens.
            starts: &memory.places,
        });
    }

    /// The key by which a word is remembered: the columns of this network.
    fn key(&self, word: &Word) -> Columns {
        let mut key = word.columns();
        key[self.tables.len()..].fill(0);
        key
    }

    /// Mixes the words that are not remembered yet.
    fn mix_new(&self, words: &[Word], pieces: &[Piece], memory: &mut Memory) {
        let first = memory.slots.len();
        memory.x.clear();
        for (token, _) in pieces.iter().flat_map(around) {
            let key = self.key(&words[token]);
            let slot = memory.slots.len();
            if let std::collections::hash_map::Entry::Vacant(entry) = memory.slots.entry(key) {
                entry.insert(slot);
                for (table, id) in self.tables.iter().zip(key) {
                    memory.x.extend(table.row(id));
                }
            }
        }
        let new = memory.slots.len() - first;
        memory.starts.clear();
        memory.starts.extend((0..new).map(|row| row * MIX));
        memory.places.clear();
        let places = (first..first + new).map(|slot| slot * WIDTH);
        memory.places.extend(places);
        memory.mixed.resize(memory.slots.len() * WIDTH, 0.0);
        let rows = Rows {
            x: &memory.x,
            starts: &memory.starts,
            out: &mut memory.mixed,
            places: &memory.places,
            residual: false,
        };
        self.mix.apply(rows, &mut memory.scratch);
    }
}

/// The tokens that a piece needs, each with its row: its own, and up to `DEPTH` on either side in
/// the same text.
fn around(piece: &Piece) -> impl Iterator<Item = (usize, usize)> + use<> {
    let start = piece
        .tokens
        .start
        .saturating_sub(DEPTH)
        .max(piece.text.start);
    let end = (piece.tokens.end + DEPTH).min(piece.text.end);
    let row = piece.row + DEPTH;
    let own = piece.tokens.start;
    (start..end).map(move |token| (token, row + token - own))
}

impl Table {
    /// The vector for an id: the sum of four rows.
    fn row(&self, id: u64) -> [f32; WIDTH] {
        let [a, b, c, d] = embedding_keys(id, self.seed).map(|key| {
            let row = (key % self.rows) as usize;
            &self.numbers[row * WIDTH..(row + 1) * WIDTH]
        });
        std::array::from_fn(|i| a[i] + b[i] + c[i] + d[i])
    }
}
