//! Questions for what two documents say different things of.

use rand_chacha::ChaCha8Rng;

use super::candidate::{Candidate, Type, question};
use super::corpus::{Corpus, MOST_MENTIONED};
use super::draw::{below, chosen};
use super::nouns::{self, Noun};
use super::statement::{Place, Statement, WHO, filled};

/// Keys of what several documents say something of, ascending.
pub fn shared(corpus: &Corpus<'_>) -> Vec<String> {
    let usable = |key: &&String| {
        let often = corpus.mentioned.get(*key).copied().unwrap_or(0);
        let mut documents: Vec<u32> = corpus.asking[*key]
            .iter()
            .map(|s| corpus.statements[*s as usize].document)
            .collect();
        documents.sort_unstable();
        documents.dedup();
        documents.len() > 1 && often <= MOST_MENTIONED && !nouns::is_ambiguous(key)
    };
    let mut keys: Vec<String> = corpus.asking.keys().filter(usable).cloned().collect();
    keys.sort_unstable();
    keys
}

/// Makes a question, or fails.
pub fn intersection(
    corpus: &Corpus<'_>,
    shared: &[String],
    random: &mut ChaCha8Rng,
) -> Option<Candidate> {
    let key = chosen(random, shared)?;
    let all = &corpus.asking[key];
    let numbers = [*chosen(random, all)?, *chosen(random, all)?];
    let [mut a, mut b] = numbers.map(|n| &corpus.statements[n as usize]);
    if corpus.same(a.document, b.document) || corpus.key(a, &a.given) == corpus.key(b, &b.given) {
        return None;
    }
    // What the thing's own document says comes first.
    if b.asked == Place::Title {
        (a, b) = (b, a);
    }
    if b.asked == Place::Title || !meet(corpus, a, b) {
        return None;
    }
    let noun = nouns::asked(corpus, a)?;
    let other = nouns::asked(corpus, b)?;
    if noun.person != other.person {
        return None;
    }
    let text = text(corpus, a, b, &noun, random)?;
    let answer = corpus.surface(a, &a.asked).to_owned();
    Some(Candidate {
        of: Type::Intersection,
        text: question(&text),
        answer,
        gold: vec![a.document, b.document],
        hops: 2,
        hidden: Vec::new(),
        statements: numbers.to_vec(),
        names_answer: false,
    })
}

/// Whether two statements ask for one thing.
fn meet(corpus: &Corpus<'_>, a: &Statement, b: &Statement) -> bool {
    let b_document = b.document;
    match (&a.asked, &b.asked) {
        (Place::Mention { kind: a, .. }, Place::Mention { kind: b, .. }) => a == b && !a.is_time(),
        (Place::Title, Place::Mention { kind, .. }) => {
            nouns::means(corpus, b_document, a.document, *kind)
        }
        _ => false,
    }
}

fn text(
    corpus: &Corpus<'_>,
    a: &Statement,
    b: &Statement,
    noun: &Noun,
    random: &mut ChaCha8Rng,
) -> Option<String> {
    let given = [a, b].map(|s| corpus.surface(s, &s.given));
    let second = b.relative.as_ref()?;
    let short = second.strip_prefix(WHO);
    let who = if noun.person { "who" } else { "what" };
    let fill = |form: &str, given: &str| filled(form, given, &noun.noun, noun.person);
    let second = fill(second, given[1]);
    let short = short.map(|s| fill(s, given[1]));
    if let Some(phrase) = &a.phrase {
        let phrase = fill(phrase, given[0]);
        return Some(match short {
            Some(short) if is_verb(&short) && below(random, 2) == 0 => {
                format!("which {phrase} {short}")
            }
            _ => format!("{who} is the {phrase} {second}"),
        });
    }
    let first = a.relative.as_ref()?;
    let first_short = first.strip_prefix(WHO).map(|s| fill(s, given[0]));
    let first = fill(first, given[0]);
    Some(match (first_short, short) {
        // Verbs of the thing itself need no "who".
        (Some(first), Some(second)) if is_verb(&first) && is_verb(&second) => {
            let ask = if noun.person && below(random, 2) == 0 {
                "who".to_owned()
            } else {
                format!("which {}", noun.noun)
            };
            format!("{ask} {} and {}", first.trim(), second.trim())
        }
        _ => format!("{who} is the {} {first} and {second}", noun.noun),
    })
}

/// Whether the words after "who" begin with the verb, not with another subject.
fn is_verb(text: &str) -> bool {
    let text = text.trim();
    text.starts_with(char::is_lowercase) && !text.starts_with("the ")
}
