//! The documents, and what their texts state.

use ahash::AHashMap;
use gfm_pipe_english::English;
use rayon::prelude::*;

use super::mention::Kind;
use super::names::{bare, content, key, surface};
use super::plain::Plain;
use super::said::{Document, Said, head};
use super::statement::{Place, Statement};

/// Most documents that mention a name which a question passes through or asks about: what many
/// documents mention tells them apart badly.
pub const MOST_MENTIONED: u32 = 12;
/// Documents that are parsed at once.
const BATCH: usize = 256;

/// What all texts say.
pub struct Corpus<'a> {
    pub documents: &'a [Document],
    pub said: Vec<Said>,
    /// All statements.
    pub statements: Vec<Statement>,
    /// The statements of each document.
    pub of_document: Vec<Vec<u32>>,
    /// Those of them in which its title is known.
    pub of_title: Vec<Vec<u32>>,
    /// The statements in which a mention is known, by its key.
    pub of_mention: AHashMap<String, Vec<u32>>,
    /// The statements in which a mention, or the title, is asked for, by its key.
    pub asking: AHashMap<String, Vec<u32>>,
    /// Documents by the keys of their titles.
    pub titles: AHashMap<String, Vec<u32>>,
    /// Number of documents with a mention, by its key.
    pub mentioned: AHashMap<String, u32>,
    /// The distinct words of each document that say something, as numbers, ascending.
    contents: Vec<Vec<u32>>,
    numbers: AHashMap<String, u32>,
}

/// Reads the texts. `each` is called with the number of documents read so far.
///
/// # Errors
/// The errors of `each`.
pub fn read<'a, E>(
    english: &English,
    documents: &'a [Document],
    each: &mut dyn FnMut(usize) -> Result<(), E>,
) -> Result<Corpus<'a>, E> {
    let mut said = Vec::with_capacity(documents.len());
    for (batch, first) in documents.chunks(BATCH).zip((0..).step_by(BATCH)) {
        each(said.len())?;
        let texts: Vec<&str> = batch.iter().map(|d| head(&d.text)).collect();
        let parses = english.parse_all(&texts);
        // The parser is right more often where no brackets stand between subject and verb.
        let plain: Vec<Plain> = texts.iter().map(|text| Plain::new(text)).collect();
        let plain_texts: Vec<&str> = plain.iter().map(|p| p.text.as_str()).collect();
        let plain_parses = english.parse_all(&plain_texts);
        let numbered = batch.par_iter().enumerate();
        let found = numbered.map(|(at, document)| {
            let number = u32::try_from(first + at).unwrap_or(u32::MAX);
            Said::new(number, document, &parses[at], &plain[at], &plain_parses[at])
        });
        said.extend(found.collect::<Vec<Said>>());
    }
    Ok(Corpus::new(documents, said))
}

impl<'a> Corpus<'a> {
    fn new(documents: &'a [Document], mut said: Vec<Said>) -> Corpus<'a> {
        let mut corpus = Corpus {
            documents,
            said: Vec::new(),
            statements: Vec::new(),
            of_document: vec![Vec::new(); documents.len()],
            of_title: vec![Vec::new(); documents.len()],
            of_mention: AHashMap::new(),
            asking: AHashMap::new(),
            titles: AHashMap::new(),
            mentioned: AHashMap::new(),
            contents: Vec::new(),
            numbers: AHashMap::new(),
        };
        for (number, document) in (0..).zip(documents) {
            let key = key(&document.name);
            corpus.titles.entry(key).or_default().push(number);
            corpus.add_words(document);
        }
        let kinds = corpus.vote(&mut said);
        for of in &mut said {
            for mut statement in std::mem::take(&mut of.statements) {
                let Statement { given, asked, .. } = &mut statement;
                for place in [given, asked] {
                    if let Place::Mention { key, kind, .. } = place {
                        *kind = kinds.get(key.as_str()).copied().unwrap_or(*kind);
                    }
                }
                corpus.add(statement);
            }
        }
        corpus.said = said;
        corpus
    }

    /// Counts the documents of each mention, and decides of what kind it is: most often right is
    /// what the recogniser says most often.
    fn vote(&mut self, said: &mut [Said]) -> AHashMap<String, Kind> {
        let mut votes: AHashMap<String, Vec<(Kind, u32)>> = AHashMap::new();
        for of in said {
            let mut last = None;
            for (key, kind) in std::mem::take(&mut of.mentioned) {
                if last.as_ref() != Some(&key) {
                    *self.mentioned.entry(key.clone()).or_default() += 1;
                }
                last = Some(key.clone());
                let votes = votes.entry(key).or_default();
                match votes.iter_mut().find(|(k, _)| *k == kind) {
                    Some((_, count)) => *count += 1,
                    None => votes.push((kind, 1)),
                }
            }
        }
        let chosen = votes.into_iter().filter_map(|(key, votes)| {
            let most = votes.iter().rev().max_by_key(|(_, count)| *count)?.0;
            Some((key, most))
        });
        chosen.collect()
    }

    fn add(&mut self, statement: Statement) {
        let number = u32::try_from(self.statements.len()).unwrap_or(u32::MAX);
        self.of_document[statement.document as usize].push(number);
        match &statement.given {
            Place::Title => self.of_title[statement.document as usize].push(number),
            Place::Mention { key, .. } => {
                self.of_mention.entry(key.clone()).or_default().push(number);
            }
        }
        let asked = self.key(&statement, &statement.asked);
        self.asking.entry(asked).or_default().push(number);
        self.statements.push(statement);
    }

    fn add_words(&mut self, document: &Document) {
        let both = [document.title.as_str(), document.text.as_str()];
        let all = both.into_iter().flat_map(content);
        let mut numbers: Vec<u32> = all
            .map(|word| {
                let next = u32::try_from(self.numbers.len()).unwrap_or(u32::MAX);
                *self.numbers.entry(word).or_insert(next)
            })
            .collect();
        numbers.sort_unstable();
        numbers.dedup();
        self.contents.push(numbers);
    }

    /// The share of these words that a document has.
    pub fn share(&self, document: u32, words: &[String]) -> f64 {
        let has = |word: &&String| {
            let number = self.numbers.get(*word);
            number.is_some_and(|n| self.contents[document as usize].binary_search(n).is_ok())
        };
        words.iter().filter(has).count() as f64 / words.len().max(1) as f64
    }

    /// The documents whose titles a name with this key may be.
    pub fn titled(&self, key: &str) -> &[u32] {
        self.titles.get(bare(key)).map_or(&[], Vec::as_slice)
    }

    pub fn title(&self, document: u32) -> &str {
        surface(&self.documents[document as usize].title)
    }

    /// A place as a text says it.
    pub fn surface<'b>(&'b self, statement: &'b Statement, place: &'b Place) -> &'b str {
        match place {
            Place::Title => self.title(statement.document),
            Place::Mention { surface, .. } => surface,
        }
    }

    /// A place in the form in which names are compared.
    pub fn key(&self, statement: &Statement, place: &Place) -> String {
        match place {
            Place::Title => key(&self.documents[statement.document as usize].name),
            Place::Mention { key, .. } => key.clone(),
        }
    }

    /// The whole documents of these pieces, by their first pieces, each once and in this order.
    pub fn whole(&self, pieces: &[u32]) -> Vec<u32> {
        let mut out: Vec<u32> = Vec::with_capacity(pieces.len());
        for piece in pieces {
            let first = self.documents[*piece as usize].parent;
            if !out.contains(&first) {
                out.push(first);
            }
        }
        out
    }

    /// Whether two documents are pieces of one.
    pub fn same(&self, a: u32, b: u32) -> bool {
        self.documents[a as usize].parent == self.documents[b as usize].parent
    }
}
