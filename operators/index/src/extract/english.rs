//! `by: english`: the compiled-in English pipeline. The parser finds sentences, mentions are named
//! entities, and facts come from rules over the parse.

use std::borrow::Cow;
use std::ops::Range;

use gfm_pipe_api::{ErrorKind, OpError, OpResult};
use gfm_pipe_english::facts::{self, Argument};
use gfm_pipe_english::{Doc, English as Pipeline};
use rayon::prelude::*;

use super::{Document, Extracted, Fact, Mention, Part, one_line};

/// Kinds of entities that are not names. They are mentions only where a fact is about them.
const AMOUNTS: [&str; 5] = ["CARDINAL", "MONEY", "ORDINAL", "PERCENT", "QUANTITY"];

/// The English extractor.
pub struct English(Pipeline);

impl English {
    /// Loads the weights.
    ///
    /// # Errors
    /// When the compiled-in weights are damaged, which the tests exclude.
    pub fn load() -> OpResult<Self> {
        let failed = |e| {
            OpError::wrap("failed to load the compiled-in English pipeline", e)
                .with_kind(ErrorKind::Internal)
        };
        Pipeline::new().map(English).map_err(failed)
    }

    /// Identifies the extractor and its weights.
    pub fn name() -> String {
        let mut hasher = blake3::Hasher::new();
        for file in Pipeline::files() {
            hasher.update(blake3::hash(file).as_bytes());
        }
        format!("english {}", hasher.finalize().to_hex())
    }

    /// Extracts from documents, in their order. The result for a document does not depend on the
    /// others.
    pub fn extract(&self, documents: &[Document<'_>]) -> Vec<Extracted> {
        let texts: Vec<&str> = documents.iter().map(|d| d.text).collect();
        // Parsing short texts together is faster than one by one.
        let parses = self.0.parse_all(&texts);
        documents
            .par_iter()
            .zip(&parses)
            .map(|(document, parse)| extracted(document, parse))
            .collect()
    }
}

fn extracted(document: &Document<'_>, parse: &Doc) -> Extracted {
    let Document { title, text, .. } = *document;
    let found = facts::facts(text, parse, Some(title));
    let sentences = parse.sentences.iter();
    Extracted {
        sentences: sentences
            .filter_map(|tokens| said(text, parse.bytes(tokens.clone())))
            .collect(),
        mentions: mentions(text, parse, &found),
        facts: found.iter().map(|fact| located(document, fact)).collect(),
    }
}

/// The range without blanks at its ends. `None` if it has no letter or digit.
fn words(text: &str, bytes: Range<usize>) -> Option<Range<usize>> {
    said(text, bytes).filter(|bytes| text[bytes.clone()].contains(char::is_alphanumeric))
}

/// The range without blanks at its ends. `None` if nothing is left.
fn said(text: &str, bytes: Range<usize>) -> Option<Range<usize>> {
    let part = &text[bytes.clone()];
    let start = bytes.start + (part.len() - part.trim_start().len());
    let bytes = start..start + part.trim().len();
    (!bytes.is_empty()).then_some(bytes)
}

fn mentions(text: &str, parse: &Doc, found: &[facts::Fact]) -> Vec<Mention> {
    let arguments: Vec<&Range<usize>> = found
        .iter()
        .flat_map(|fact| [&fact.subject.bytes, &fact.object.bytes])
        .filter(|bytes| !bytes.is_empty())
        .collect();
    let mention = |entity| {
        let label = parse.kind(entity);
        let range = words(text, facts::name(text, parse, entity))?;
        let is_argument = || {
            let whole = parse.bytes(entity.tokens.clone());
            let inside = |a: &&Range<usize>| whole.start <= a.start && a.end <= whole.end;
            arguments.iter().copied().any(|a| inside(&a) || *a == range)
        };
        (!AMOUNTS.contains(&label) || is_argument()).then(|| Mention {
            text: one_line(&text[range.clone()]),
            range: Some(range),
            label: Cow::Owned(label.to_owned()),
        })
    };
    parse.entities.iter().filter_map(mention).collect()
}

fn located(document: &Document<'_>, fact: &facts::Fact) -> Fact {
    let argument = |argument: &Argument| {
        let range = words(document.text, argument.bytes.clone());
        let said = one_line(&document.text[argument.bytes.clone()]);
        let text = if argument.is_title {
            one_line(document.title)
        } else {
            said.clone()
        };
        // The words of a pronoun, or of a part of the title, are not the title.
        let range = range.filter(|_| said == text);
        Part { text, range }
    };
    Fact {
        subject: argument(&fact.subject),
        relation: Part {
            text: one_line(&fact.relation.text),
            range: words(document.text, fact.relation.bytes.clone()),
        },
        object: argument(&fact.object),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn found(title: &str, text: &str) -> Extracted {
        let document = Document { id: 0, title, text };
        English::load().unwrap().extract(&[document]).remove(0)
    }

    fn mentioned(text: &str) -> Vec<String> {
        let found = found("", text);
        let shown = |m: &Mention| {
            assert_eq!(one_line(&text[m.range.clone().unwrap()]), m.text);
            format!("{} {}", m.label, m.text)
        };
        found.mentions.iter().map(shown).collect()
    }

    #[test]
    fn mentions_are_names_without_articles_and_owners() {
        assert_eq!(
            mentioned("The United States and Canada's Justin Trudeau met in Paris on 5 May 1920."),
            [
                "GPE United States",
                "GPE Canada",
                "PERSON Justin Trudeau",
                "GPE Paris",
                "DATE 5 May 1920"
            ]
        );
        assert_eq!(
            mentioned("He lived in New\n  York with Zoë Müller."),
            ["GPE New York", "PERSON Zoë Müller"]
        );
    }

    #[test]
    fn an_amount_is_a_mention_only_where_a_fact_is_about_it() {
        assert_eq!(
            mentioned("Norway has 217,000 inhabitants, and Paris cost $5 million."),
            ["GPE Norway", "GPE Paris", "MONEY $5 million"]
        );
    }

    #[test]
    fn the_title_is_what_a_pronoun_says() {
        let text = "She was born in Lübeck. Ada Brandt wrote books.";
        let found = found("Ada Brandt", text);
        let part = |p: &Part| (p.text.clone(), p.range.clone().map(|r| &text[r]));
        let subjects: Vec<_> = found.facts.iter().map(|f| part(&f.subject)).collect();
        assert_eq!(
            subjects,
            [
                ("Ada Brandt".to_owned(), None),
                ("Ada Brandt".to_owned(), Some("Ada Brandt"))
            ]
        );
        assert_eq!(
            part(&found.facts[0].relation),
            ("was born in".to_owned(), Some("was born in"))
        );
    }

    #[test]
    fn a_relation_that_no_word_says_has_no_range() {
        let fact = &found("", "He lived in Duluth, Minnesota.").facts[0];
        assert_eq!(fact.relation.text, "is in");
        assert_eq!(fact.relation.range, None);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn what_is_found_stands_where_it_says(
            title in "(Ada |Zoë |Lübeck ){0,2}",
            // Words in many scripts, and arbitrary text.
            text in "((Ada|Zoë|Lübeck|Москва|東京|She|the film|was|is|born in|and|\\$5|20%|two|1920|,|\\.|\\(|\\)|’s|\u{a0}|é|🜚)[ \n]{0,2}){0,40}|.{0,60}",
        ) {
            let found = found(&title, &text);
            for pair in found.sentences.windows(2) {
                prop_assert!(pair[0].end <= pair[1].start);
            }
            for mention in &found.mentions {
                let range = mention.range.clone().unwrap();
                prop_assert_eq!(one_line(&text[range]), mention.text.as_str());
            }
            for fact in &found.facts {
                for part in fact.parts() {
                    prop_assert!(!part.text.is_empty());
                    let Some(range) = part.range.clone() else { continue };
                    let inside = |s: &Range<usize>| s.start <= range.start && range.end <= s.end;
                    prop_assert!(found.sentences.iter().any(inside));
                    let slice = one_line(&text[range]);
                    if part != &fact.relation {
                        prop_assert_eq!(&part.text, &slice);
                    }
                }
            }
        }
    }
}
