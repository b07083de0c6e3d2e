//! The whole pipeline, which passes a text through all parts.

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use rayon::prelude::*;

use crate::Map;
use crate::doc::{AllNames, Doc, Entity, Token};
use crate::entities::Recogniser;
use crate::error::EnglishError;
use crate::lexicon::{Features, Lexicon};
use crate::names::NameId;
use crate::parser::{self, Parse, Parser};
use crate::scorer::{self, REDUCED};
use crate::tables::Tables;
use crate::tagger::Heads;
use crate::tok2vec::{self, Tok2Vec, Word};
use crate::tokenizer::{self, Span, Tokenizer};
use crate::weights::Weights;

/// The tag of white space.
const WHITE_TAG: &str = "_SP";
const WHITE_LABEL: &str = "dep";
/// Texts are processed together up to this many bytes, about 800 tokens.
const BATCH_BYTES: usize = 4096;
/// Memory for at most this many tokens is kept for the next texts.
const KEPT_TOKENS: usize = 1 << 15;
/// Most words whose features are remembered; when there are more, all are forgotten.
const REMEMBERED_WORDS: usize = 1 << 16;
/// Longest word that is remembered.
const REMEMBERED_BYTES: usize = 48;

/// The English pipeline. A clone shares everything.
#[derive(Clone)]
pub struct English(Arc<Model>);

struct Model {
    lexicon: Lexicon,
    tokenizer: Tokenizer,
    /// The network of the tagger and the parser.
    shared: Tok2Vec<{ 6 * crate::block::WIDTH }>,
    shared_heads: Heads,
    parser: Parser,
    /// The network of the entity recogniser.
    own: Tok2Vec<{ 4 * crate::block::WIDTH }>,
    own_heads: Heads,
    recogniser: Recogniser,
    white_tag: NameId,
    white_label: NameId,
    names: Arc<AllNames>,
    /// Memory of finished threads, to be reused.
    idle: Mutex<Vec<Memory>>,
}

/// Caches and reused memory of one thread. None of it changes a result.
#[derive(Default)]
struct Memory {
    chunks: tokenizer::Memory,
    features: Map<Box<str>, Features>,
    shared: tok2vec::Memory,
    own: tok2vec::Memory,
    parser: parser::Memory,
    entities: scorer::Memory,
    spans: Vec<Span>,
    words: Vec<Word>,
    tags: Vec<NameId>,
    reduced: Vec<[f32; REDUCED]>,
    scratch: Vec<f32>,
}

impl Memory {
    /// Frees the buffers that grew with a long text.
    fn give_back_long(&mut self) {
        if self.words.capacity() > KEPT_TOKENS {
            (self.spans, self.words) = (Vec::new(), Vec::new());
            (self.tags, self.reduced) = (Vec::new(), Vec::new());
            self.parser = parser::Memory::default();
        }
    }
}

impl std::fmt::Debug for English {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("English").finish_non_exhaustive()
    }
}

impl English {
    /// The pipeline that is compiled into the binary. It is loaded at the first call, then shared.
    ///
    /// # Errors
    /// When the files were damaged at build time, which the tests exclude.
    #[cfg(feature = "builtin")]
    pub fn new() -> Result<Self, EnglishError> {
        static LOADED: std::sync::OnceLock<English> = std::sync::OnceLock::new();
        if let Some(loaded) = LOADED.get() {
            return Ok(loaded.clone());
        }
        let loaded = Self::from_parts(crate::builtin::WEIGHTS, crate::builtin::TABLES)?;
        // If two threads loaded it at once, both have the same content.
        Ok(LOADED.get_or_init(|| loaded).clone())
    }

    /// The files that are compiled into the binary, on which all results depend.
    #[cfg(feature = "builtin")]
    #[must_use]
    pub fn files() -> [&'static [u8]; 2] {
        [crate::builtin::WEIGHTS, crate::builtin::TABLES]
    }

    /// Loads a pipeline from the contents of its files: weights (safetensors in 16 or 32 bits) and
    /// `english.json`.
    ///
    /// # Errors
    /// When a file is malformed, has an unknown format, or does not fit the other.
    pub fn from_parts(weights: &[u8], tables: &[u8]) -> Result<Self, EnglishError> {
        let mut tables = Tables::read(tables)?;
        let weights = Weights::read(weights)?;
        let mut names = AllNames::default();
        // A tag's number is its position in the list, so nothing may be added before or among them.
        for (at, tag) in tables.tags.iter().enumerate() {
            if usize::from(names.tags.add(tag)) != at {
                let problem = format!("the tag {tag} is there twice");
                return Err(EnglishError::Tables(problem));
            }
        }
        let lexicon = Lexicon::new(&mut tables)?;
        let tokenizer = Tokenizer::new(&tables, &lexicon)?;
        Ok(English(Arc::new(Model {
            lexicon,
            tokenizer,
            shared: Tok2Vec::load(&weights, "tok2vec", &tables.shared)?,
            shared_heads: Heads::load(&weights, "parser", tables.tags.len())?,
            parser: Parser::load(&weights, &tables.parser_moves, &mut names.labels)?,
            own: Tok2Vec::load(&weights, "ner.tok2vec", &tables.own)?,
            own_heads: Heads::load(&weights, "ner", 0)?,
            recogniser: Recogniser::load(&weights, &tables.entity_moves, &mut names.kinds)?,
            white_tag: names.tags.add(WHITE_TAG),
            white_label: names.labels.add(WHITE_LABEL),
            names: Arc::new(names),
            idle: Mutex::default(),
        })))
    }

    /// Parses one text on the current thread.
    #[must_use]
    pub fn parse(&self, text: &str) -> Doc {
        let mut docs = self.with_memory(|memory| self.0.parse(&[text], memory));
        docs.pop().expect("one text gives one result")
    }

    /// Parses texts on all threads of the current pool. The result for a text does not depend on
    /// other texts, on their order, or on the number of threads.
    pub fn parse_all<T: AsRef<str> + Sync>(&self, texts: &[T]) -> Vec<Doc> {
        let batches: Vec<Vec<Doc>> = batches(texts)
            .into_par_iter()
            .map(|batch| {
                let texts: Vec<&str> = texts[batch].iter().map(AsRef::as_ref).collect();
                self.with_memory(|memory| self.0.parse(&texts, memory))
            })
            .collect();
        batches.into_iter().flatten().collect()
    }

    /// Runs `work` with memory of an idle thread, or with new memory.
    fn with_memory<R>(&self, work: impl FnOnce(&mut Memory) -> R) -> R {
        let idle = || self.0.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = idle().pop();
        let mut memory = taken.unwrap_or_default();
        let result = work(&mut memory);
        memory.give_back_long();
        idle().push(memory);
        result
    }
}

/// Divides texts into batches that are processed together.
fn batches<T: AsRef<str>>(texts: &[T]) -> Vec<Range<usize>> {
    let mut batches = Vec::new();
    let (mut start, mut bytes) = (0, 0);
    for (at, text) in texts.iter().enumerate() {
        bytes += text.as_ref().len();
        if bytes >= BATCH_BYTES || at + 1 == texts.len() {
            batches.push(start..at + 1);
            (start, bytes) = (at + 1, 0);
        }
    }
    batches
}

impl Model {
    fn parse(&self, texts: &[&str], memory: &mut Memory) -> Vec<Doc> {
        let mut tokens = Vec::new();
        let mut ranges = Vec::new();
        memory.words.clear();
        for text in texts {
            let first = tokens.len();
            self.tokenizer
                .run(text, &mut memory.chunks, &mut memory.spans);
            for span in &memory.spans {
                let word = &text[span.start..span.end];
                let mut features = features(&self.lexicon, &mut memory.features, word);
                if span.norm != 0 {
                    features.norm = span.norm;
                }
                memory.words.push(Word {
                    features,
                    space: span.space,
                });
                tokens.push(span.start..span.end);
            }
            ranges.push(first..tokens.len());
        }
        let parses = self.parses(&ranges, memory);
        let entities = self.entities(&ranges, &parses, memory);
        ranges
            .into_iter()
            .zip(parses)
            .zip(entities)
            .map(|((range, parse), entities)| self.doc(&tokens, range, parse, entities, memory))
            .collect()
    }

    /// Tags tokens (into the memory) and parses texts.
    fn parses(&self, texts: &[Range<usize>], memory: &mut Memory) -> Vec<Parse> {
        let Memory {
            words,
            tags,
            reduced,
            scratch,
            shared,
            parser,
            ..
        } = memory;
        tags.clear();
        tags.resize(words.len(), 0);
        reduced.clear();
        reduced.resize(words.len(), [0.0; REDUCED]);
        self.shared.encode(words, texts, shared, |encoded| {
            self.shared_heads
                .apply(&encoded, scratch, reduced, |token, tag| tags[token] = tag);
        });
        let parse = |text: &Range<usize>| {
            let is_white = |token: usize| words[text.start + token].features.white;
            self.parser.run(&reduced[text.clone()], is_white, parser)
        };
        texts.iter().map(parse).collect()
    }

    fn entities(
        &self,
        texts: &[Range<usize>],
        parses: &[Parse],
        memory: &mut Memory,
    ) -> Vec<Vec<Entity>> {
        let Memory {
            words,
            reduced,
            scratch,
            own,
            entities,
            ..
        } = memory;
        self.own.encode(words, texts, own, |encoded| {
            self.own_heads.apply(&encoded, scratch, reduced, |_, _| ());
        });
        let find = |(text, parse): (&Range<usize>, &Parse)| {
            let is_white = |token: usize| words[text.start + token].features.white;
            self.recogniser
                .run(&reduced[text.clone()], &parse.starts, is_white, entities)
        };
        texts.iter().zip(parses).map(find).collect()
    }

    fn doc(
        &self,
        tokens: &[Range<usize>],
        text: Range<usize>,
        parse: Parse,
        entities: Vec<Entity>,
        memory: &Memory,
    ) -> Doc {
        let mut sentences: Vec<Range<usize>> = Vec::new();
        for (token, starts) in parse.starts.iter().enumerate() {
            match sentences.last_mut() {
                Some(last) if !starts => last.end = token + 1,
                _ => sentences.push(token..token + 1),
            }
        }
        let arcs = parse.heads.into_iter().zip(parse.labels);
        let tokens = text.clone().zip(arcs).map(|(token, (head, label))| {
            let white = memory.words[token].features.white;
            let (tag, label) = if white {
                (self.white_tag, self.white_label)
            } else {
                (memory.tags[token], label)
            };
            Token {
                bytes: tokens[token].clone(),
                head,
                tag,
                label,
            }
        });
        Doc {
            names: Arc::clone(&self.names),
            tokens: tokens.collect(),
            entities,
            sentences,
        }
    }
}

/// The features of a word. They are remembered unless the word is long.
fn features(lexicon: &Lexicon, memory: &mut Map<Box<str>, Features>, word: &str) -> Features {
    if let Some(known) = memory.get(word) {
        return *known;
    }
    let features = lexicon.features(word);
    if word.len() <= REMEMBERED_BYTES {
        if memory.len() >= REMEMBERED_WORDS {
            memory.clear();
        }
        memory.insert(word.into(), features);
    }
    features
}
