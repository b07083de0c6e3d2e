//! Questions over one document and over chains of documents.
//!
//! Each document of a chain gives one statement. What the first one asks for is described, the
//! description stands in the second one, and so on; the last one is asked.

use rand_chacha::ChaCha8Rng;

use super::candidate::{Candidate, Type, question};
use super::corpus::{Corpus, MOST_MENTIONED};
use super::draw::{below, chosen};
use super::mention::Kind;
use super::names::{self, bare, surface};
use super::nouns::{self, Noun};
use super::statement::{Place, Statement, filled};

/// Most words of a description that stands in another one.
const LONGEST_DESCRIPTION: usize = 24;

/// Which statements begin how long a chain.
pub struct Reach {
    /// By number of hops, less one: whether a statement begins such a chain.
    levels: Vec<Vec<bool>>,
    /// The same: the statements that do, by document.
    starts: Vec<Vec<Vec<u32>>>,
}

impl Reach {
    /// Finds out for chains of up to this number of documents.
    pub fn new(corpus: &Corpus<'_>, hops: u32) -> Reach {
        let all = 0..u32::try_from(corpus.statements.len()).unwrap_or(u32::MAX);
        let next = |s: u32| {
            let statement = &corpus.statements[s as usize];
            let described = statement.phrase.is_some() || statement.relative.is_some();
            if described {
                further(corpus, s, &[statement.document])
            } else {
                Vec::new()
            }
        };
        let mut levels = vec![vec![true; corpus.statements.len()]];
        for level in 1..hops as usize {
            let before = &levels[level - 1];
            let reaches =
                |s: u32| before[s as usize] && next(s).iter().any(|n| before[*n as usize]);
            let found = all.clone().map(reaches).collect();
            levels.push(found);
        }
        let starts = levels.iter().map(|level| {
            let of_document = corpus.of_document.iter().map(|statements| {
                let can = |s: &u32| level[*s as usize] && known(corpus, *s).is_some();
                statements.iter().copied().filter(can).collect::<Vec<u32>>()
            });
            of_document.filter(|s| !s.is_empty()).collect()
        });
        let starts = starts.collect();
        Reach { levels, starts }
    }
}

/// Makes a question over this number of documents, or fails.
pub fn chain(
    corpus: &Corpus<'_>,
    reach: &Reach,
    hops: u32,
    random: &mut ChaCha8Rng,
) -> Option<Candidate> {
    let of_document = chosen(random, reach.starts.get(hops as usize - 1)?)?;
    let mut at = shorter(corpus, random, of_document)?;
    let mut vague = 0;
    let mut given = known(corpus, at)?.to_owned();
    let mut gold = vec![corpus.statements[at as usize].document];
    let mut hidden = Vec::new();
    let mut statements = vec![at];
    for left in (1..hops as usize).rev() {
        let statement = &corpus.statements[at as usize];
        let noun = nouns::asked(corpus, statement)?;
        let described = statement.description(&given, &noun.noun, noun.person)?;
        if described.split(' ').count() > LONGEST_DESCRIPTION * (gold.len()) {
            return None;
        }
        vague += usize::from(nouns::is_vague(&noun.noun) && statement.phrase.is_none());
        if vague > 1 {
            return None;
        }
        hidden.push(bare(&corpus.key(statement, &statement.asked)).to_owned());
        let mut next = further(corpus, at, &gold);
        next.retain(|s| reach.levels[left - 1][*s as usize]);
        at = shorter(corpus, random, &next)?;
        statements.push(at);
        gold.push(corpus.statements[at as usize].document);
        given = described;
    }
    let statement = &corpus.statements[at as usize];
    let noun = nouns::asked(corpus, statement);
    let form = chosen(random, &statement.questions)?;
    let noun = noun_for(form, noun, random)?;
    Some(Candidate {
        of: if hops == 1 {
            Type::Single
        } else {
            Type::Bridge
        },
        text: question(&filled(form, &given, &noun.noun, noun.person)),
        answer: corpus.surface(statement, &statement.asked).to_owned(),
        gold,
        hops,
        hidden,
        statements,
        names_answer: false,
    })
}

/// The noun of a question: for persons, sometimes only "who". `None` where the form needs one and
/// there is none.
fn noun_for(form: &str, noun: Option<Noun>, random: &mut ChaCha8Rng) -> Option<Noun> {
    match noun {
        Some(noun) if noun.person && below(random, 2) == 0 => Some(Noun {
            noun: "person".to_owned(),
            person: true,
        }),
        Some(noun) => Some(noun),
        None => {
            let needs = form.contains(|c: char| ('\u{2}'..='\u{5}').contains(&c));
            (!needs).then(|| Noun {
                noun: String::new(),
                person: false,
            })
        }
    }
}

/// The shorter of two of them: long ones are clumsy in others.
fn shorter(corpus: &Corpus<'_>, random: &mut ChaCha8Rng, all: &[u32]) -> Option<u32> {
    let length = |s: &u32| {
        let statement = &corpus.statements[*s as usize];
        statement
            .questions
            .iter()
            .map(String::len)
            .max()
            .unwrap_or(usize::MAX)
    };
    let pair = [*chosen(random, all)?, *chosen(random, all)?];
    pair.into_iter().min_by_key(length)
}

/// The known place of a statement as a question can begin with it: a title, or a name that few
/// documents mention.
fn known<'a>(corpus: &'a Corpus<'_>, statement: u32) -> Option<&'a str> {
    let statement = &corpus.statements[statement as usize];
    if let Place::Mention { key, kind, .. } = &statement.given {
        let often = corpus.mentioned.get(key).copied().unwrap_or(0);
        if often > MOST_MENTIONED || kind.is_time() {
            return None;
        }
    }
    Some(corpus.surface(statement, &statement.given))
}

/// The statements of other documents whose known place is what a statement asks for.
fn further(corpus: &Corpus<'_>, from: u32, gold: &[u32]) -> Vec<u32> {
    let statement = &corpus.statements[from as usize];
    let key = corpus.key(statement, &statement.asked);
    let mut found = Vec::new();
    let often = corpus.mentioned.get(&key).copied().unwrap_or(0);
    match &statement.asked {
        Place::Title => {
            // Documents that mention this one, if its name has one meaning.
            if corpus.titled(&key).len() <= 3 {
                // "Lund" and "Lund, Sweden"
                let title = &corpus.documents[statement.document as usize].title;
                let whole = surface(title).split(", ").map(names::key);
                let whole = whole.collect::<Vec<String>>().join(", ");
                let written = [Some(&key), (whole != key).then_some(&whole)];
                for key in written.into_iter().flatten() {
                    found.extend(corpus.of_mention.get(key).into_iter().flatten());
                }
                found.retain(|s| mentions_title(corpus, *s, statement));
            }
        }
        Place::Mention { kind, .. } => {
            let known = corpus.titled(&key).iter();
            let from = statement.document;
            // An item of a list is unambiguous if no other item has a document.
            if statement
                .others
                .iter()
                .any(|other| !corpus.titled(other).is_empty())
            {
                return found;
            }
            for document in known.filter(|d| nouns::means(corpus, from, **d, *kind)) {
                found.extend(&corpus.of_title[*document as usize]);
            }
            let few = often <= MOST_MENTIONED
                && !nouns::is_ambiguous(&key)
                && statement.others.is_empty();
            if few && !kind.is_time() {
                found.extend(corpus.of_mention.get(&key).into_iter().flatten());
            }
        }
    }
    found.retain(|s| {
        let document = corpus.statements[*s as usize].document;
        gold.iter().all(|g| !corpus.same(*g, document))
            && told_apart(statement, &corpus.statements[*s as usize])
    });
    found
}

/// Whether the known name of a statement can be the title that another one asks for.
fn mentions_title(corpus: &Corpus<'_>, statement: u32, asked: &Statement) -> bool {
    match &corpus.statements[statement as usize].given {
        Place::Mention { kind, .. } => {
            let from = corpus.statements[statement as usize].document;
            nouns::means(corpus, from, asked.document, *kind)
        }
        Place::Title => false,
    }
}

/// Whether the second statement asks for something of a known kind, and does not lead back to where
/// the first one came from.
fn told_apart(first: &Statement, second: &Statement) -> bool {
    match (&first.given, &second.asked) {
        (Place::Mention { key: a, .. }, Place::Mention { key: b, kind, .. }) => {
            a != b && *kind != Kind::Other
        }
        _ => true,
    }
}
