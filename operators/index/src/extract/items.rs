//! What is extracted from each document is an item: one more document costs one more extraction,
//! and a killed stage continues.
//!
//! A result depends only on the extractor and on the document's own title and text. Where texts
//! name other documents depends on all titles, so it is not kept.

use std::ops::Range;

use gfm_pipe_api::items::{Item, ItemFunction, Work};
use gfm_pipe_api::{Context, ErrorKind, OpError, OpResult};

use super::{Document, Extracted, Fact, Mention, Part, one_line};

/// From a document to what it says.
pub(super) const EXTRACT: ItemFunction = ItemFunction {
    name: "extract",
    version: 1,
};

/// The documents of a stage and what was extracted from them earlier.
pub struct ExtractedItems<'a> {
    ctx: &'a Context,
    work: Work<'a>,
}

impl<'a> ExtractedItems<'a> {
    /// Opens the items of an extractor. `extractor` must identify everything that a result depends
    /// on besides the document.
    pub fn open(ctx: &'a Context, extractor: &str) -> Self {
        let work = ctx.items.open(&EXTRACT, &[extractor]);
        ExtractedItems { ctx, work }
    }

    /// Extracts from documents: takes what is kept, and calls `extract` for the others.
    ///
    /// # Errors
    /// The errors of `extract`.
    pub fn extract(
        &mut self,
        documents: &[Document<'_>],
        extract: impl FnOnce(&[Document<'_>]) -> OpResult<Vec<Extracted>>,
    ) -> OpResult<Vec<Extracted>> {
        let parts: Vec<[&str; 2]> = documents.iter().map(parts).collect();
        let items: Vec<Item<'_>> = parts
            .iter()
            .map(|parts| Item {
                name: parts.iter().find(|p| !p.is_empty()).unwrap_or(&""),
                parts,
            })
            .collect();
        let found = self.work.obtain(
            &items,
            |i, bytes| decode(documents[i].text, bytes),
            |missing| {
                let of: Vec<Document<'_>> = missing.iter().map(|i| documents[*i]).collect();
                let found = extract(&of)?.into_iter().zip(&of);
                found
                    .map(|(found, document)| {
                        let bytes = encode(document.text, &found)?;
                        Ok((found, bytes))
                    })
                    .collect()
            },
        );
        if let Some(trouble) = self.work.trouble() {
            self.ctx.warn(trouble.to_string());
        }
        found
    }
}

/// What the result of a document depends on besides the extractor.
pub(super) fn parts<'a>(document: &Document<'a>) -> [&'a str; 2] {
    [document.title, document.text]
}

/// A text and its range. The text is omitted where it equals the words of the range.
type StoredPart = (Option<String>, Option<(usize, usize)>);
/// Sentences, mentions with their labels, facts.
type Stored = (
    Vec<(usize, usize)>,
    Vec<(StoredPart, String)>,
    Vec<[StoredPart; 3]>,
);

/// Encodes an entry: JSON in one line.
pub(super) fn encode(text: &str, found: &Extracted) -> OpResult<Vec<u8>> {
    let part = |words: &str, range: Option<&Range<usize>>| -> StoredPart {
        let said = range.map(|r| one_line(&text[r.clone()]));
        let other = (said.as_deref() != Some(words)).then(|| words.to_owned());
        (other, range.map(|r| (r.start, r.end)))
    };
    let sentences = found.sentences.iter().map(|s| (s.start, s.end));
    let mentions = found.mentions.iter().map(|m| {
        let label = m.label.clone().into_owned();
        (part(&m.text, m.range.as_ref()), label)
    });
    let facts = found
        .facts
        .iter()
        .map(|fact| fact.parts().map(|p| part(&p.text, p.range.as_ref())));
    let stored: Stored = (sentences.collect(), mentions.collect(), facts.collect());
    serde_json::to_vec(&stored).map_err(|e| {
        OpError::wrap("failed to keep what was extracted", e).with_kind(ErrorKind::Internal)
    })
}

/// Decodes an entry. `None` where it does not fit this text.
pub(super) fn decode(text: &str, bytes: &[u8]) -> Option<Extracted> {
    let (sentences, mentions, facts): Stored = serde_json::from_slice(bytes).ok()?;
    let range = |(start, end): (usize, usize)| text.get(start..end).map(|_| start..end);
    let part = |(words, place): StoredPart| {
        let range = match place {
            Some(place) => Some(range(place)?),
            None => None,
        };
        let said = || range.clone().map(|r| one_line(&text[r]));
        let text = words.or_else(said)?;
        Some(Part { text, range })
    };
    let mention = |(words, label): (StoredPart, String)| {
        let Part { text, range } = part(words)?;
        let label = label.into();
        Some(Mention { text, range, label })
    };
    let fact = |[subject, relation, object]: [StoredPart; 3]| {
        Some(Fact {
            subject: part(subject)?,
            relation: part(relation)?,
            object: part(object)?,
        })
    };
    Some(Extracted {
        sentences: sentences.into_iter().map(range).collect::<Option<_>>()?,
        mentions: mentions.into_iter().map(mention).collect::<Option<_>>()?,
        facts: facts.into_iter().map(fact).collect::<Option<_>>()?,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::path::PathBuf;

    use super::*;
    use gfm_pipe_api::items::Items;
    use gfm_pipe_api::local;
    use proptest::prelude::*;

    use crate::extract::patterns;

    /// Extracts from texts with a title each. Returns what was found, and the texts that were not
    /// kept.
    fn run(ctx: &Context, extractor: &str, texts: &[[&str; 2]]) -> (Vec<Extracted>, Vec<String>) {
        let documents: Vec<Document<'_>> = (0..)
            .zip(texts)
            .map(|(id, [title, text])| Document { id, title, text })
            .collect();
        let mut items = ExtractedItems::open(ctx, extractor);
        let (mut found, mut extracted) = (Vec::new(), Vec::new());
        for some in documents.chunks(3) {
            let each = |missing: &[Document<'_>]| {
                extracted.extend(missing.iter().map(|d| d.text.to_owned()));
                let of = |d: &Document<'_>| patterns::extract(d.title, d.text);
                Ok(missing.iter().map(of).collect())
            };
            found.extend(items.extract(some, each).unwrap());
        }
        (found, extracted)
    }

    fn context(dir: &std::path::Path) -> Context {
        Context {
            items: Items::new(dir.to_owned(), PathBuf::new(), String::new()),
            ..local::context()
        }
    }

    const TEXTS: [[&str; 2]; 4] = [
        ["One", "Ada Alder was born in Quillmouth in 1820."],
        ["Two", "The mill of\nQuillmouth stands.  It cost 5 pounds."],
        ["Three", ""],
        ["Four", "東京 and “a quote” of Zoë Müller."],
    ];

    #[test]
    fn one_more_document_costs_one_more_extraction() {
        let dir = tempfile::tempdir().unwrap();
        let ctx = context(dir.path());
        let (first, extracted) = run(&ctx, "a", &TEXTS);
        assert_eq!(extracted.len(), 4);
        let (again, extracted) = run(&ctx, "a", &TEXTS);
        assert_eq!((&again, extracted.len()), (&first, 0));
        // With a new text, and in another order.
        let new = ["Five", "A new text of Lowmere."];
        let more = [TEXTS[3], TEXTS[1], new, TEXTS[0], TEXTS[2]];
        let (found, extracted) = run(&ctx, "a", &more);
        assert_eq!(extracted, [new[1]]);
        let (fresh, _) = run(&context(&dir.path().join("other")), "a", &more);
        assert_eq!(found, fresh, "the same without what was kept");
        assert_eq!(found[3], first[0]);
        // The extractor is part of the entry's id.
        assert_eq!(run(&ctx, "another", &TEXTS).1.len(), 4);
        let retitled = [["Uno", TEXTS[0][1]], TEXTS[1]];
        assert_eq!(run(&ctx, "a", &retitled).1, [TEXTS[0][1]]);
    }

    #[test]
    fn a_failed_stage_keeps_what_it_had() {
        let dir = tempfile::tempdir().unwrap();
        let ctx = context(dir.path());
        let documents = TEXTS.map(|[title, text]| Document { id: 0, title, text });
        let extract = |d: &[Document<'_>]| {
            let of = |d: &Document<'_>| patterns::extract(d.title, d.text);
            Ok(d.iter().map(of).collect())
        };
        let mut items = ExtractedItems::open(&ctx, "a");
        items.extract(&documents[..2], extract).unwrap();
        let fails = |_: &[Document<'_>]| Err(OpError::new("stopped"));
        items.extract(&documents[2..], fails).unwrap_err();
        drop(items);
        assert_eq!(run(&ctx, "a", &TEXTS).1, [TEXTS[2][1], TEXTS[3][1]]);
    }

    #[test]
    fn what_does_not_fit_the_text_is_extracted_again() {
        let text = "Zoë met Ada.";
        for bytes in [
            "",
            "[]",
            "{}",
            "[[[0,99]],[],[]]",
            "[[[0,3]],[],[]]",
            "[[[4,0]],[],[]]",
            r#"[[],[[[null,null],"name"]],[]]"#,
            r#"[[],[[[null,[3,4]],"name"]],[]]"#,
        ] {
            assert_eq!(decode(text, bytes.as_bytes()), None, "{bytes}");
        }
        assert!(decode(text, b"[[[0,4]],[],[]]").is_some());
    }

    proptest! {
        #[test]
        fn everything_comes_back(text in "([A-Za-zé東]{1,9}[ .!?\n\"“”0-9]{1,3}){0,20}", word in ".{0,9}") {
            let mut found = patterns::extract("Title", &text);
            let own = Part { text: word, range: None };
            for mention in found.mentions.clone() {
                let part = Part { text: mention.text, range: mention.range };
                let subject = Part { text: own.text.clone(), ..part.clone() };
                found.facts.push(Fact { subject, relation: own.clone(), object: part });
            }
            prop_assert_eq!(decode(&text, &encode(&text, &found).unwrap()), Some(found));
        }
    }
}
