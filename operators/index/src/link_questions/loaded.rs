//! Rows of tables in memory, for questions that are asked one after another.

use std::ops::Range;
use std::sync::Arc;

use ahash::AHashSet;
use gfm_pipe_api::artifact::{TextsDigest, check_made_from_texts_of};
use gfm_pipe_api::lists::{self, Lists};
use gfm_pipe_api::names::Names;
use gfm_pipe_api::vector_table::Query;
use gfm_pipe_api::{Context, OpError, OpResult, columns};

use super::fact_texts::FactTexts;
use super::graph::{Graph, Shared};
use super::named::each_label;
use super::nearest::{KnownVectors, Near, Vectors};
use super::sentence_places::SentencePlaces;
use super::sentence_texts::SentenceTexts;
use super::similar::{Lookup, NodesOf, TextOf, Texts};

/// The tables that questions are compared with.
#[derive(Default)]
pub struct Loaded {
    facts: Option<Facts>,
    sentences: Option<Sentences>,
    documents: Option<KnownVectors>,
}

struct Facts {
    vectors: KnownVectors,
    texts: FactTexts,
    /// The triples of each fact, ascending.
    triples: Lists,
    /// Head, relation and tail of each triple.
    all: Arc<Vec<[u32; 3]>>,
}

struct Sentences {
    vectors: KnownVectors,
    texts: SentenceTexts,
    /// The distinct entities that each sentence mentions.
    mentioned: Lists,
}

fn of_rows(lists: &Lists, rows: &AHashSet<u64>) -> NodesOf {
    let rows = rows.iter();
    rows.map(|row| (*row, lists.of(*row as usize).to_vec()))
        .collect()
}

impl Loaded {
    /// Reads facts, sentences and embeddings of documents, as far as these are wanted.
    ///
    /// # Errors
    /// When tables do not belong together.
    pub fn read(
        ctx: &Context,
        (graph, shared): (&Graph, &Shared),
        wants: impl Fn(Texts) -> bool + Sync,
    ) -> OpResult<Loaded> {
        let facts = || {
            wants(Texts::Facts)
                .then(|| Facts::read(ctx, shared))
                .transpose()
        };
        let sentences = || {
            let read = || Sentences::read(ctx, graph, shared);
            wants(Texts::Sentences).then(read).transpose()
        };
        let documents = || {
            let read = || {
                let of = Texts::Documents.embedded(ctx)?;
                check_made_from_texts_of(of.embeddings, of.texts)?;
                KnownVectors::read(of)
            };
            wants(Texts::Documents).then(read).transpose()
        };
        let (facts, (sentences, documents)) =
            rayon::join(facts, || rayon::join(sentences, documents));
        Ok(Loaded {
            facts: facts?,
            sentences: sentences?,
            documents: documents?,
        })
    }

    /// The vectors of a table, if it was loaded.
    pub fn known(&self, of: Texts) -> Option<&KnownVectors> {
        match of {
            Texts::Facts => self.facts.as_ref().map(|f| &f.vectors),
            Texts::Sentences => self.sentences.as_ref().map(|s| &s.vectors),
            Texts::Documents => self.documents.as_ref(),
        }
    }

    fn vectors(&self, of: Texts) -> OpResult<&KnownVectors> {
        self.known(of)
            .ok_or_else(|| OpError::internal("a table was asked for that was not loaded"))
    }

    /// Among these documents the sentence that is most similar to the first of these vectors: its
    /// document, and its range in the document's text. `None` where there is none.
    ///
    /// # Errors
    /// When vectors on disk cannot be read.
    pub fn best_sentence(
        &self,
        of: Range<u32>,
        question: &Vectors,
    ) -> OpResult<Option<(u32, Range<usize>)>> {
        let Some(sentences) = self.sentences.as_ref() else {
            return Ok(None);
        };
        let places = &sentences.texts.places;
        let rows = places.rows(of);
        let question = Query::new(question.points().row(0));
        let mut best: Option<(f64, usize)> = None;
        let table = sentences.vectors.table();
        table.dots(&[question], rows, |_, row, cosine| {
            if best.is_none_or(|(most, _)| cosine > most) {
                best = Some((cosine, row));
            }
        })?;
        Ok(best.map(|(_, best)| (places.document(best), places.range(best))))
    }
}

impl Lookup for Loaded {
    fn nearest(&self, texts: Texts, vectors: &Vectors, k: usize) -> OpResult<Vec<Vec<Near>>> {
        vectors.nearest_of(self.vectors(texts)?, k)
    }

    fn texts(&self, texts: Texts, rows: &AHashSet<u64>) -> OpResult<TextOf> {
        let text = |row: usize| match texts {
            Texts::Facts => self.facts.as_ref()?.texts.get(row),
            Texts::Sentences => self.sentences.as_ref()?.texts.get(row),
            Texts::Documents => None,
        };
        let rows = rows.iter();
        let texts = rows.filter_map(|row| Some((*row, text(*row as usize)?)));
        Ok(texts.collect())
    }

    fn ends(&self, facts: &AHashSet<u64>) -> OpResult<NodesOf> {
        let Some(known) = &self.facts else {
            return Ok(NodesOf::default());
        };
        let facts = facts.iter();
        Ok(facts.map(|fact| (*fact, known.ends(*fact))).collect())
    }

    fn mentioned(&self, sentences: &AHashSet<u64>) -> OpResult<NodesOf> {
        let known = self.sentences.as_ref();
        Ok(known
            .map(|s| of_rows(&s.mentioned, sentences))
            .unwrap_or_default())
    }
}

impl Facts {
    fn read(ctx: &Context, shared: &Shared) -> OpResult<Self> {
        let embedded = Texts::Facts.embedded(ctx)?;
        let texts = FactTexts::read(embedded)?;
        Ok(Facts {
            triples: triples(ctx, shared.triples.len(), texts.len())?,
            all: Arc::clone(&shared.triples),
            vectors: KnownVectors::read(embedded)?,
            texts,
        })
    }

    /// The distinct heads and tails of the triples of a fact.
    fn ends(&self, fact: u64) -> Vec<u32> {
        let mut out = Vec::new();
        for triple in self.triples.of(fact as usize) {
            let [head, _, tail] = self.all[*triple as usize];
            for node in [head, tail] {
                if !out.contains(&node) {
                    out.push(node);
                }
            }
        }
        out
    }
}

/// The triples of each fact, ascending.
fn triples(ctx: &Context, triples: usize, facts: usize) -> OpResult<Lists> {
    let evidence = ctx.input("evidence")?;
    let mut pairs: Vec<(u32, u32)> = Vec::with_capacity(evidence.rows("evidence")?);
    for batch in evidence.batches("evidence")? {
        let batch = batch?;
        let rows = columns::u64s(&batch, "triple")?.values().iter();
        let of_batch = rows.zip(columns::u64s(&batch, "fact")?.values());
        let exist = of_batch.filter(|(triple, fact)| {
            // Rows of tables are counted with 32 bits.
            **triple < triples as u64 && **fact < facts as u64
        });
        pairs.extend(exist.map(|(triple, fact)| (*fact as u32, *triple as u32)));
    }
    let mut out = Lists::grouped(facts, pairs.into_iter());
    out.retain(lists::sorted);
    Ok(out)
}

impl Sentences {
    fn read(ctx: &Context, graph: &Graph, shared: &Shared) -> OpResult<Self> {
        let embedded = Texts::Sentences.embedded(ctx)?;
        let (titles, documents) = (Arc::clone(&shared.titles), Arc::clone(&shared.texts));
        let places = match &shared.sentences {
            Some(places) => Arc::clone(places),
            None => Arc::new(SentencePlaces::read(embedded.texts, titles.len())?),
        };
        let mut texts = SentenceTexts::new(titles, documents, places);
        let mut digest = TextsDigest::default();
        embedded.texts.each_text(&mut |text| {
            digest.add(text);
            texts.push(text);
            Ok(())
        })?;
        digest.check(embedded.embeddings, &embedded.texts.name)?;
        let mentioned = mentioned(ctx, graph, &texts.places)?;
        Ok(Sentences {
            vectors: KnownVectors::read(embedded)?,
            texts,
            mentioned,
        })
    }
}

/// The distinct entities that each sentence mentions, ascending.
fn mentioned(ctx: &Context, graph: &Graph, places: &SentencePlaces) -> OpResult<Lists> {
    let (mut forms, mut written_as) = (Names::new(u32::MAX), Vec::new());
    each_label(ctx, graph, ctx.input("labels")?, &mut |node, label| {
        written_as.extend(forms.intern(label).map(|form| (form, node)));
    })?;
    let nodes = Lists::grouped(forms.len() as usize, written_as.into_iter());
    let mut pairs: Vec<(u32, u32)> = Vec::new();
    let mentions = ctx.input("mentions")?;
    for batch in mentions.batches_of("mentions", &["document", "sentence", "text"])? {
        let batch = batch?;
        ctx.check_cancelled()?;
        let of = columns::u32s(&batch, "document")?;
        let (numbers, words) = (
            columns::u32s(&batch, "sentence")?,
            columns::text(&batch, "text")?,
        );
        for ((document, number), text) in of.values().iter().zip(numbers).zip(words) {
            let row = number.and_then(|number| places.row(*document, number));
            let form = text.and_then(|text| forms.find(text.trim()));
            if let (Some(row), Some(form)) = (row, form) {
                let nodes = nodes.of(form as usize).iter();
                pairs.extend(nodes.map(|node| (row as u32, *node)));
            }
        }
    }
    let mut out = Lists::grouped(places.len(), pairs.into_iter());
    out.retain(lists::sorted);
    Ok(out)
}
