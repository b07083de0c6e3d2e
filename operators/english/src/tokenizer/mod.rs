//! Cuts texts into tokens.
//!
//! A text is cut into chunks at white space. A chunk is cut into words by special cases, prefixes,
//! suffixes and infixes. A second pass over the whole text joins special cases that were cut apart.
//! The rules are the model's own, read from its tables.

mod affixes;
mod phrases;
mod url;

use std::sync::Arc;

use self::affixes::Rules;
use self::phrases::Phrases;
use self::url::Url;
use crate::Map;
use crate::characters::CharSet;
use crate::error::EnglishError;
use crate::lexicon::Lexicon;
use crate::tables::Tables;

/// Chunks of at most this many bytes are remembered.
const REMEMBERED_BYTES: usize = 48;
/// Most chunks that are remembered; when there are more, all are forgotten.
const REMEMBERED_CHUNKS: usize = 1 << 16;

/// A word of a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Piece {
    bytes: usize,
    /// The id of its norm, or 0 if it has the norm of the word.
    norm: u64,
}

impl Piece {
    fn plain(bytes: usize) -> Self {
        Piece { bytes, norm: 0 }
    }
}

/// A token of which only the place is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) start: usize,
    pub(crate) end: usize,
    /// The id of its norm, or 0 if it has the norm of the word.
    pub(crate) norm: u64,
    /// Whether one space follows that is not a token.
    pub(crate) space: bool,
}

/// The words of earlier chunks.
#[derive(Default)]
pub(crate) struct Memory {
    chunks: Map<Box<str>, (usize, usize)>,
    pieces: Vec<Piece>,
}

pub(crate) struct Tokenizer {
    rules: Affixes,
    phrases: Phrases,
}

/// The rules for cutting a chunk into words.
struct Affixes {
    prefixes: Rules,
    suffixes: Rules,
    infixes: Rules,
    url: Url,
    specials: Map<String, Vec<Piece>>,
    /// Length of the longest special case: longer texts need not be looked up.
    longest_special: usize,
    space: Arc<CharSet>,
}

impl Tokenizer {
    pub(crate) fn new(tables: &Tables, lexicon: &Lexicon) -> Result<Self, EnglishError> {
        let rules = Affixes::new(tables, lexicon)?;
        let phrases = Phrases::new(&rules);
        Ok(Tokenizer { rules, phrases })
    }

    /// Writes the tokens of `text` to `tokens`, which is cleared first.
    pub(crate) fn run(&self, text: &str, memory: &mut Memory, tokens: &mut Vec<Span>) {
        tokens.clear();
        self.rules.chunks(text, tokens, |chunk, tokens, at| {
            let Some(pieces) = memory.pieces(chunk, &self.rules) else {
                let mut pieces = Vec::new();
                self.rules.cut(chunk, true, &mut pieces);
                append(&pieces, at, tokens);
                return;
            };
            append(pieces, at, tokens);
        });
        self.phrases.join(text, &self.rules, tokens);
    }
}

impl Memory {
    /// The words of a chunk, unless it is too long to be remembered.
    fn pieces(&mut self, chunk: &str, rules: &Affixes) -> Option<&[Piece]> {
        if chunk.len() > REMEMBERED_BYTES {
            return None;
        }
        let known = self.chunks.get(chunk).copied();
        let (from, to) = known.unwrap_or_else(|| {
            if self.chunks.len() >= REMEMBERED_CHUNKS {
                self.chunks.clear();
                self.pieces.clear();
            }
            let from = self.pieces.len();
            rules.cut(chunk, true, &mut self.pieces);
            let place = (from, self.pieces.len());
            self.chunks.insert(chunk.into(), place);
            place
        });
        Some(&self.pieces[from..to])
    }
}

/// Adds the words of a chunk that begins at byte `at`.
fn append(pieces: &[Piece], mut at: usize, tokens: &mut Vec<Span>) {
    for piece in pieces {
        tokens.push(Span {
            start: at,
            end: at + piece.bytes,
            norm: piece.norm,
            space: false,
        });
        at += piece.bytes;
    }
}

impl Affixes {
    fn new(tables: &Tables, lexicon: &Lexicon) -> Result<Self, EnglishError> {
        let mut specials = Map::default();
        for (text, pieces) in &tables.specials {
            let whole: String = pieces.iter().map(|(piece, _)| piece.as_str()).collect();
            if whole != *text || pieces.iter().any(|(piece, _)| piece.is_empty()) {
                return Err(EnglishError::Tables(format!(
                    "the words of the special case {text:?} are not the text"
                )));
            }
            let pieces = pieces.iter().map(|(piece, norm)| Piece {
                bytes: piece.len(),
                norm: norm.as_ref().map_or(0, |norm| lexicon.id(norm)),
            });
            specials.insert(text.clone(), pieces.collect::<Vec<_>>());
        }
        Ok(Affixes {
            prefixes: Rules::new(&tables.prefixes, tables)?,
            suffixes: Rules::new(&tables.suffixes, tables)?,
            infixes: Rules::new(&tables.infixes, tables)?,
            url: Url::new(tables)?,
            longest_special: specials.keys().map(String::len).max().unwrap_or(0),
            specials,
            space: Arc::clone(&lexicon.space),
        })
    }

    /// Calls `cut` with each chunk of `text`, with the tokens so far and with its place.
    ///
    /// A single space between two words is not a chunk: the token before it records it.
    fn chunks(
        &self,
        text: &str,
        tokens: &mut Vec<Span>,
        mut cut: impl FnMut(&str, &mut Vec<Span>, usize),
    ) {
        let mut start = 0;
        while let Some(first) = text[start..].chars().next() {
            let white = self.space.contains(first);
            let end = text[start..]
                .find(|c| self.space.contains(c) != white)
                .map_or(text.len(), |length| start + length);
            if first == ' '
                && let Some(before) = tokens.last_mut()
            {
                before.space = true;
                start += 1;
            }
            if start < end {
                cut(&text[start..end], tokens, start);
            }
            start = end;
        }
    }

    fn special(&self, text: &str) -> Option<&[Piece]> {
        if text.len() > self.longest_special {
            return None;
        }
        self.specials.get(text).map(Vec::as_slice)
    }

    /// Adds the words of a chunk to `pieces`; with `specials` off, as if there were no special
    /// cases.
    fn cut(&self, chunk: &str, specials: bool, pieces: &mut Vec<Piece>) {
        let special = |text| self.special(text).filter(|_| specials);
        if let Some(special) = special(chunk) {
            pieces.extend(special);
            return;
        }
        let mut rest = chunk;
        let mut back = Vec::new();
        while !rest.is_empty() && special(rest).is_none() {
            let prefix = self.prefixes.prefix(rest);
            let after = &rest[prefix..];
            if prefix > 0 && special(after).is_some() {
                pieces.push(Piece::plain(prefix));
                rest = after;
                break;
            }
            let suffix = self.suffixes.suffix(after);
            let before = &rest[..rest.len() - suffix];
            if suffix > 0 && special(before).is_some() {
                back.push(Piece::plain(suffix));
                rest = before;
                break;
            }
            if prefix == 0 && suffix == 0 {
                break;
            }
            pieces.extend((prefix > 0).then_some(Piece::plain(prefix)));
            back.extend((suffix > 0).then_some(Piece::plain(suffix)));
            rest = &before[prefix..];
        }
        match special(rest) {
            Some(special) => pieces.extend(special),
            None => self.cut_inside(rest, pieces),
        }
        pieces.extend(back.iter().rev());
    }

    /// Adds the words of a text without prefixes and suffixes.
    fn cut_inside(&self, text: &str, pieces: &mut Vec<Piece>) {
        if self.url.matches(text) {
            pieces.push(Piece::plain(text.len()));
            return;
        }
        let mut at = 0;
        // An infix at the very start stays with what follows.
        for (start, end) in self.infixes.infixes(text).filter(|(start, _)| *start > 0) {
            pieces.extend((start > at).then(|| Piece::plain(start - at)));
            pieces.push(Piece::plain(end - start));
            at = end;
        }
        pieces.extend((text.len() > at).then(|| Piece::plain(text.len() - at)));
    }
}
