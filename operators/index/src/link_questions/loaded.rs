//! Rows of tables in memory, for questions that are asked one after another.

use std::ops::Range;
use std::sync::Arc;

use ahash::AHashSet;
use gfm_pipe_api::artifact::TextsDigest;
use gfm_pipe_api::lists::{self, Lists};
use gfm_pipe_api::names::Names;
use gfm_pipe_api::text_list::TextList;
use gfm_pipe_api::vector_table::Query;
use gfm_pipe_api::{Context, OpError, OpResult, columns};

use super::graph::{Graph, Shared};
use super::named::each_label;
use super::nearest::{Embedded, KnownVectors, Near, Vectors};
use super::sentence_places::SentencePlaces;
use super::sentence_texts::SentenceTexts;
use super::similar::{Lookup, NodesOf, TextOf, Texts};

/// How much is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Load {
    /// Everything, for questions.
    All,
    /// All but vectors, which take most of the time: to find out whether tables belong together.
    Check,
}

/// The tables that questions are compared with.
#[derive(Default)]
pub struct Loaded {
    facts: Option<Facts>,
    sentences: Option<Sentences>,
    documents: Option<KnownVectors>,
}

struct Facts {
    vectors: KnownVectors,
    texts: TextList,
    /// The distinct heads and tails of the triples of each fact.
    ends: Lists,
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
        load: Load,
        wants: impl Fn(Texts) -> bool,
    ) -> OpResult<Loaded> {
        let facts = wants(Texts::Facts).then(|| Facts::read(ctx, graph, load));
        let sentences = wants(Texts::Sentences).then(|| Sentences::read(ctx, graph, shared, load));
        let documents = wants(Texts::Documents).then(|| {
            let of = Texts::Documents.embedded(ctx)?;
            checked(of, &mut |_| {})?;
            vectors(of, load)
        });
        Ok(Loaded {
            facts: facts.transpose()?,
            sentences: sentences.transpose()?,
            documents: documents.transpose()?,
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
    pub fn best_sentence(&self, of: Range<u32>, question: &Vectors) -> Option<(u32, Range<usize>)> {
        let sentences = self.sentences.as_ref()?;
        let places = &sentences.texts.places;
        let rows = places.rows(of);
        let question = Query::new(question.points().row(0));
        let mut best: Option<(f64, usize)> = None;
        sentences
            .vectors
            .table()
            .dots(&question, rows, |row, cosine| {
                if best.is_none_or(|(most, _)| cosine > most) {
                    best = Some((cosine, row));
                }
            });
        let (_, best) = best?;
        Some((places.document(best), places.range(best)))
    }
}

impl Lookup for Loaded {
    fn nearest(&self, texts: Texts, vectors: &Vectors, k: usize) -> OpResult<Vec<Vec<Near>>> {
        vectors.nearest_of(self.vectors(texts)?, k)
    }

    fn texts(&self, texts: Texts, rows: &AHashSet<u64>) -> OpResult<TextOf> {
        let text = |row: usize| match texts {
            Texts::Facts => self.facts.as_ref()?.texts.get(row).map(str::to_owned),
            Texts::Sentences => self.sentences.as_ref()?.texts.get(row),
            Texts::Documents => None,
        };
        let rows = rows.iter();
        let texts = rows.filter_map(|row| Some((*row, text(*row as usize)?)));
        Ok(texts.collect())
    }

    fn ends(&self, facts: &AHashSet<u64>) -> OpResult<NodesOf> {
        Ok(self
            .facts
            .as_ref()
            .map(|f| of_rows(&f.ends, facts))
            .unwrap_or_default())
    }

    fn mentioned(&self, sentences: &AHashSet<u64>) -> OpResult<NodesOf> {
        let known = self.sentences.as_ref();
        Ok(known
            .map(|s| of_rows(&s.mentioned, sentences))
            .unwrap_or_default())
    }
}

/// Calls `each` with the texts of a table, and checks that its embeddings were made from them.
fn checked(of: Embedded<'_>, each: &mut dyn FnMut(&str)) -> OpResult<()> {
    let mut digest = TextsDigest::default();
    of.texts.each_text(&mut |text| {
        digest.add(text);
        each(text);
        Ok(())
    })?;
    digest.check(of.embeddings, &of.texts.name)
}

fn vectors(of: Embedded<'_>, load: Load) -> OpResult<KnownVectors> {
    match load {
        Load::All => KnownVectors::read(of),
        Load::Check => KnownVectors::unread(of),
    }
}

impl Facts {
    fn read(ctx: &Context, graph: &Graph, load: Load) -> OpResult<Self> {
        let embedded = Texts::Facts.embedded(ctx)?;
        let mut texts = TextList::new();
        checked(embedded, &mut |text| texts.push(text))?;
        texts.shrink();
        let ends = ends(ctx, graph, texts.len())?;
        Ok(Facts {
            vectors: vectors(embedded, load)?,
            texts,
            ends,
        })
    }
}

/// The distinct heads and tails of the triples of each fact.
fn ends(ctx: &Context, graph: &Graph, facts: usize) -> OpResult<Lists> {
    let evidence = ctx.input("evidence")?;
    let mut of_triple: Vec<(u32, u32)> = Vec::with_capacity(evidence.rows("evidence")?);
    for batch in evidence.batches("evidence")? {
        let batch = batch?;
        let rows = columns::u64s(&batch, "triple")?.values().iter();
        // Rows of tables are counted with 32 bits.
        let pairs = rows.zip(columns::u64s(&batch, "fact")?.values());
        let pairs = pairs.map(|(row, fact)| (u32::try_from(*row), u32::try_from(*fact)));
        of_triple.extend(pairs.filter_map(|(row, fact)| Some((row.ok()?, fact.ok()?))));
    }
    of_triple.sort_by_key(|pair| pair.0);
    let mut of_triple = of_triple.into_iter().peekable();
    let (mut pairs, mut row) = (Vec::new(), 0);
    let triples = ctx.input("triples")?;
    for batch in triples.batches_of("triples", &["head", "tail"])? {
        let batch = batch?;
        let heads = columns::u32s(&batch, "head")?.values().iter();
        for (head, tail) in heads.zip(columns::u32s(&batch, "tail")?.values()) {
            while let Some((_, fact)) = of_triple.next_if(|pair| pair.0 == row) {
                for node in [*head, *tail] {
                    graph.check(node, triples)?;
                    pairs.push((fact, node));
                }
            }
            row += 1;
        }
    }
    pairs.retain(|(fact, _)| (*fact as usize) < facts);
    let mut ends = Lists::grouped(facts, pairs.into_iter());
    ends.retain(lists::distinct);
    Ok(ends)
}

impl Sentences {
    fn read(ctx: &Context, graph: &Graph, shared: &Shared, load: Load) -> OpResult<Self> {
        let embedded = Texts::Sentences.embedded(ctx)?;
        let (titles, documents) = (Arc::clone(&shared.titles), Arc::clone(&shared.texts));
        let places = match &shared.sentences {
            Some(places) => Arc::clone(places),
            None => Arc::new(SentencePlaces::read(embedded.texts, titles.len())?),
        };
        let mut texts = SentenceTexts::new(titles, documents, places);
        checked(embedded, &mut |text| texts.push(text))?;
        let mentioned = mentioned(ctx, graph, &texts.places)?;
        Ok(Sentences {
            vectors: vectors(embedded, load)?,
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
