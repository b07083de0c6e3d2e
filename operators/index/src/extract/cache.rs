//! Keeps what was extracted from documents between runs: one more document costs one more
//! extraction, and a killed stage continues.
//!
//! An entry depends only on the extractor and on the document's own title and text. Where texts
//! name other documents depends on all titles, so it is not kept.

use std::ops::Range;

use gfm_pipe_api::result_cache::{self, Id, New, ResultCache};
use gfm_pipe_api::{Context, ErrorKind, OpError, OpResult, Operator};

use super::operator::Extract;
use super::{Document, Extracted, Fact, Mention, Part, one_line};

/// The extractions of earlier runs, to which new ones are added.
pub struct ExtractionCache<'a> {
    ctx: &'a Context,
    kept: ResultCache,
    new: New,
    taken: u64,
    extracted: u64,
}

impl<'a> ExtractionCache<'a> {
    /// Opens the cache of an extractor. `extractor` must identify everything that a result depends
    /// on besides the document and the operator's version.
    pub fn open(ctx: &'a Context, extractor: &str) -> Self {
        let all = format!("{} {extractor}", Extract::VERSION);
        let name = &blake3::hash(all.as_bytes()).to_hex()[..32];
        ExtractionCache {
            ctx,
            kept: ResultCache::open(&ctx.cache, "extracted", name),
            new: New::default(),
            taken: 0,
            extracted: 0,
        }
    }

    /// Extracts from documents: takes what is in the cache, and calls `extract` for the others.
    ///
    /// # Errors
    /// The errors of `extract`.
    pub fn extract(
        &mut self,
        documents: &[Document<'_>],
        extract: impl FnOnce(&[Document<'_>]) -> OpResult<Vec<Extracted>>,
    ) -> OpResult<Vec<Extracted>> {
        let ids: Vec<Id> = documents.iter().map(document_id).collect();
        let mut out: Vec<Option<Extracted>> = vec![None; ids.len()];
        self.kept.read(&ids, |i, bytes| {
            out[i] = decode(documents[i].text, bytes);
        });
        let missing: Vec<usize> = (0..ids.len()).filter(|i| out[*i].is_none()).collect();
        self.taken += (ids.len() - missing.len()) as u64;
        self.extracted += missing.len() as u64;
        if !missing.is_empty() {
            let of: Vec<Document<'_>> = missing.iter().map(|i| documents[*i]).collect();
            for (i, found) in missing.into_iter().zip(extract(&of)?) {
                self.new.push(ids[i], encode(documents[i].text, &found)?);
                out[i] = Some(found);
            }
        }
        if self.new.is_due() {
            self.keep();
        }
        let all = out.into_iter().collect::<Option<Vec<_>>>();
        all.ok_or_else(|| OpError::internal("an extractor left out a document"))
    }

    /// Reports how many documents were extracted, if some were taken from the cache.
    pub fn report(&self) {
        if self.taken > 0 {
            self.ctx.info(format!(
                "extracted {} of {} documents, {} {} kept",
                self.extracted,
                self.extracted + self.taken,
                self.taken,
                if self.taken == 1 { "was" } else { "were" }
            ));
        }
    }

    /// Writes new entries. A failure only costs time later, so it does not fail the stage.
    fn keep(&mut self) {
        if let Err(e) = self.new.keep(&self.kept) {
            self.ctx.warn(e.to_string());
        }
    }
}

/// A stage that is stopped writes what it has.
impl Drop for ExtractionCache<'_> {
    fn drop(&mut self) {
        self.keep();
    }
}

fn document_id(document: &Document<'_>) -> Id {
    let parts = [document.title, document.text];
    result_cache::id("gfm-pipe what was extracted from a document", &parts)
}

/// A text and its range. The text is omitted where it equals the words of the range.
type StoredPart = (Option<String>, Option<(usize, usize)>);
/// Sentences, mentions with their labels, facts.
type Stored = (
    Vec<(usize, usize)>,
    Vec<(StoredPart, String)>,
    Vec<[StoredPart; 3]>,
);

fn encode(text: &str, found: &Extracted) -> OpResult<Vec<u8>> {
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
fn decode(text: &str, bytes: &[u8]) -> Option<Extracted> {
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
    use super::*;
    use gfm_pipe_api::local;
    use proptest::prelude::*;

    use crate::extract::patterns;

    /// Extracts from texts with a title each. Returns what was found, and the texts that were not
    /// in the cache.
    fn run(ctx: &Context, extractor: &str, texts: &[[&str; 2]]) -> (Vec<Extracted>, Vec<String>) {
        let documents: Vec<Document<'_>> = (0..)
            .zip(texts)
            .map(|(id, [title, text])| Document { id, title, text })
            .collect();
        let mut cache = ExtractionCache::open(ctx, extractor);
        let (mut found, mut extracted) = (Vec::new(), Vec::new());
        for some in documents.chunks(3) {
            let each = |missing: &[Document<'_>]| {
                extracted.extend(missing.iter().map(|d| d.text.to_owned()));
                let of = |d: &Document<'_>| patterns::extract(d.title, d.text);
                Ok(missing.iter().map(of).collect())
            };
            found.extend(cache.extract(some, each).unwrap());
        }
        (found, extracted)
    }

    fn context(dir: &std::path::Path) -> Context {
        Context {
            cache: dir.to_owned(),
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
        let mut cache = ExtractionCache::open(&ctx, "a");
        cache.extract(&documents[..2], extract).unwrap();
        let fails = |_: &[Document<'_>]| Err(OpError::new("stopped"));
        cache.extract(&documents[2..], fails).unwrap_err();
        drop(cache);
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
