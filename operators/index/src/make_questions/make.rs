//! Makes questions: draws candidates by their types, and keeps those without a fault.

use std::collections::BTreeMap;

use ahash::AHashMap;
use gfm_pipe_api::bm25::Bm25;
use gfm_pipe_api::points::Points;
use gfm_pipe_api::random::stream;
use rand_chacha::ChaCha8Rng;

use super::candidate::{Candidate, Type, fault, is_common, probe};
use super::compare;
use super::corpus::Corpus;
use super::draw::weighted;
use super::intersect;
use super::likeness::{Likeness, NEAR, NEAR_WITH_GOLD};
use super::names::{contains, key, words};
use super::negatives::{self, Negative};
use super::params::MakeParams;
use super::statement::Place;
use super::walk::{self, Reach};

/// Most candidates of one type that are checked for one question.
const TRIES: usize = 100;
/// Most draws for one question: most lead to no candidate.
const DRAWS: usize = 4000;
/// A type is given up when so many questions in a row could not be made.
const GIVEN_UP: usize = 8;
/// Documents that are looked at for another right answer.
const LOOKED_AT: usize = 20;
/// Least share of a statement's words at which another document may state the same.
const STATES: f64 = 0.99;
/// Least share of a question's words at which a document with the answer may be right.
const ANSWERS: f64 = 0.75;
/// Relative numbers of chains with two, three and four hops.
const BY_HOPS: [f64; 3] = [1.0, 0.5, 0.25];

/// A question with its negatives.
#[derive(Debug, Clone)]
pub struct Made {
    pub candidate: Candidate,
    /// The documents, or the pieces of documents, that it was made from.
    pub pieces: Vec<u32>,
    pub negatives: Vec<Negative>,
}

/// The questions, and how many candidates were left out, by type and reason.
#[derive(Debug, Default)]
pub struct Outcome {
    pub made: Vec<Made>,
    pub counts: BTreeMap<String, u64>,
}

/// Makes questions. `each` is called with the number made so far.
///
/// # Errors
/// The errors of `each`.
pub fn make<E>(
    corpus: &Corpus<'_>,
    vectors: Option<&Points>,
    excluded: &Likeness,
    wanted: &MakeParams,
    each: &mut dyn FnMut(usize) -> Result<(), E>,
) -> Result<Outcome, E> {
    let texts = corpus
        .documents
        .iter()
        .map(|d| (d.title.as_str(), d.text.as_str()));
    let mut maker = Maker {
        corpus,
        vectors,
        excluded,
        made: Likeness::default(),
        wanted,
        bm25: Bm25::new(texts),
        reach: Reach::new(corpus, wanted.hops),
        shared: intersect::shared(corpus),
        kinds: compare::kinds(corpus),
        uses: AHashMap::new(),
        counts: BTreeMap::new(),
    };
    let mut random = stream(wanted.seed, "make-questions");
    let slots = slots(wanted);
    let mut weights: Vec<f64> = slots.iter().map(|(_, _, weight)| *weight).collect();
    let mut failed = vec![0; slots.len()];
    let mut made: Vec<Made> = Vec::new();
    while made.len() < wanted.questions {
        let Some(of) = weighted(&mut random, &weights) else {
            break;
        };
        let check = &mut || each(made.len());
        match maker.one(slots[of].0, slots[of].1, &mut random, check)? {
            Some(one) => {
                failed[of] = 0;
                made.push(one);
            }
            None => {
                failed[of] += 1;
                if failed[of] == GIVEN_UP {
                    weights[of] = 0.0;
                }
            }
        }
    }
    Ok(Outcome {
        made,
        counts: maker.counts,
    })
}

/// Types with their hops and relative numbers. A longer chain is harder to find, so its length is
/// chosen before it is searched.
fn slots(wanted: &MakeParams) -> Vec<(Type, u32, f64)> {
    let [single, bridge, intersection, comparison] = wanted.weights.all();
    let mut slots = vec![(Type::Single, 1, single)];
    if wanted.hops >= 2 {
        let total: f64 = BY_HOPS.iter().take(wanted.hops as usize - 1).sum();
        let chains = (2..=wanted.hops).zip(BY_HOPS);
        slots.extend(chains.map(|(hops, share)| (Type::Bridge, hops, bridge * share / total)));
        slots.push((Type::Intersection, 2, intersection));
        slots.push((Type::Comparison, 2, comparison));
    }
    slots
}

struct Maker<'a> {
    corpus: &'a Corpus<'a>,
    vectors: Option<&'a Points>,
    excluded: &'a Likeness,
    made: Likeness,
    wanted: &'a MakeParams,
    bm25: Bm25,
    reach: Reach,
    shared: Vec<String>,
    kinds: Vec<Vec<u32>>,
    /// Number of questions of each type that a document is gold for.
    uses: AHashMap<(Type, u32), u32>,
    counts: BTreeMap<String, u64>,
}

impl Maker<'_> {
    fn count(&mut self, of: Type, what: &str) {
        *self
            .counts
            .entry(format!("{}.{what}", of.name()))
            .or_default() += 1;
    }

    /// Makes a question of a type. `None` where no candidate was good. `check` is called before a
    /// candidate is checked, and at the end.
    fn one<E>(
        &mut self,
        of: Type,
        hops: u32,
        random: &mut ChaCha8Rng,
        check: &mut dyn FnMut() -> Result<(), E>,
    ) -> Result<Option<Made>, E> {
        let mut candidates = 0;
        for _ in 0..DRAWS {
            if candidates == TRIES {
                break;
            }
            let candidate = match of {
                Type::Single | Type::Bridge => walk::chain(self.corpus, &self.reach, hops, random),
                Type::Intersection => intersect::intersection(self.corpus, &self.shared, random),
                Type::Comparison => compare::comparison(self.corpus, &self.kinds, random),
            };
            let Some(candidate) = candidate else { continue };
            check()?;
            candidates += 1;
            self.count(of, "candidates");
            match self.checked(candidate) {
                Ok(made) => {
                    self.count(of, "made");
                    self.count(of, &format!("made_with_{}_hops", made.candidate.hops));
                    return Ok(Some(made));
                }
                Err(reason) => self.count(of, reason),
            }
        }
        check()?;
        Ok(None)
    }

    /// Checks a candidate, cheap checks first.
    fn checked(&mut self, mut candidate: Candidate) -> Result<Made, &'static str> {
        // Questions name whole documents; statements are those of pieces.
        let pieces = std::mem::take(&mut candidate.gold);
        candidate.gold = self.corpus.whole(&pieces);
        let most = self.wanted.per_document;
        let used = |d: &u32| {
            self.uses
                .get(&(candidate.of, *d))
                .is_some_and(|n| *n >= most)
        };
        if candidate.gold.iter().any(used) {
            return Err("document_used");
        }
        if let Some(reason) = fault(&candidate) {
            return Err(reason);
        }
        let (text, gold) = (&candidate.text, &candidate.gold);
        if self.excluded.has(text, gold, NEAR_WITH_GOLD) {
            return Err("excluded");
        }
        if self.made.has(text, gold, NEAR) {
            return Err("made_before");
        }
        let statements = candidate.statements.iter();
        let mut statements = statements.map(|s| &self.corpus.statements[*s as usize]);
        if statements.any(|s| is_common(self.corpus, s)) {
            return Err("said_of_many");
        }
        if self.stated_elsewhere(&candidate) {
            return Err("stated_elsewhere");
        }
        let by_words = self.bm25.scores(&candidate.text);
        let near = negatives::pieces(self.corpus, &by_words, &candidate.gold, LOOKED_AT);
        if self.answered_elsewhere(&candidate, &near) {
            return Err("answered_elsewhere");
        }
        // What is named on the way, or is the answer, is not wrong either.
        let mut right = candidate.gold.clone();
        let answer = key(&candidate.answer);
        for name in candidate.hidden.iter().chain([&answer]) {
            right.extend(self.corpus.titled(name));
        }
        let negatives = negatives::negatives(
            self.corpus,
            &by_words,
            self.vectors,
            &pieces,
            &right,
            self.wanted.hard_negatives,
        );
        for document in &candidate.gold {
            *self.uses.entry((candidate.of, *document)).or_default() += 1;
        }
        self.made.add(&candidate.text, &candidate.gold);
        Ok(Made {
            candidate,
            pieces,
            negatives,
        })
    }

    /// Whether another document may state what one of the statements does.
    fn stated_elsewhere(&self, candidate: &Candidate) -> bool {
        let corpus = self.corpus;
        candidate.statements.iter().any(|number| {
            let statement = &corpus.statements[*number as usize];
            // The document with this title is the gold one, even if another one says the same.
            if statement.given == Place::Title {
                return false;
            }
            let mut probe = probe(corpus, statement);
            if let Place::Mention { key, .. } = &statement.asked {
                probe.extend(words(key));
            }
            let scores = self.bm25.scores(&probe.join(" "));
            let near = negatives::pieces(corpus, &scores, &candidate.gold, LOOKED_AT);
            near.into_iter().any(|d| corpus.share(d, &probe) >= STATES)
        })
    }

    /// Whether a document with the answer has most of the question's words.
    fn answered_elsewhere(&self, candidate: &Candidate, near: &[u32]) -> bool {
        if candidate.names_answer {
            return false;
        }
        let answer = key(&candidate.answer);
        let asked: Vec<String> = super::names::content(&candidate.text).collect();
        near.iter().any(|d| {
            let text = &self.corpus.documents[*d as usize].text;
            self.corpus.share(*d, &asked) >= ANSWERS && contains(text, &answer)
        })
    }
}
