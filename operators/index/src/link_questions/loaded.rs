//! Rows of tables in memory, for questions that are asked one after another.

use std::ops::Range;

use ahash::{AHashMap, AHashSet};
use gfm_pipe_api::artifact::check_made_from;
use gfm_pipe_api::points::dot;
use gfm_pipe_api::{Context, OpError, OpResult, columns};

use super::graph::Graph;
use super::named::each_label;
use super::nearest::{Near, Vectors};
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
    documents: Option<Vectors>,
}

struct Facts {
    vectors: Vectors,
    texts: Vec<String>,
    /// The distinct heads and tails of the triples of each fact.
    ends: Lists,
}

struct Sentences {
    vectors: Vectors,
    texts: Vec<String>,
    /// The distinct entities that each sentence mentions.
    mentioned: Lists,
    /// The document of each sentence, ascending.
    documents: Vec<u32>,
    /// The sentence's range in the document's text.
    ranges: Vec<Range<usize>>,
}

/// A list of nodes for each row.
struct Lists {
    offsets: Vec<usize>,
    nodes: Vec<u32>,
}

impl Lists {
    /// Lists of the distinct nodes of each row, in the order of the pairs.
    fn new(rows: usize, mut pairs: Vec<(u64, u32)>) -> Self {
        pairs.sort_by_key(|pair| pair.0);
        let mut out = Lists {
            offsets: vec![0],
            nodes: Vec::with_capacity(pairs.len()),
        };
        let mut pairs = pairs.into_iter().peekable();
        for row in 0..rows as u64 {
            let first = out.nodes.len();
            while let Some((_, node)) = pairs.next_if(|pair| pair.0 == row) {
                if !out.nodes[first..].contains(&node) {
                    out.nodes.push(node);
                }
            }
            out.offsets.push(out.nodes.len());
        }
        out
    }

    fn of(&self, row: u64) -> &[u32] {
        let row = row as usize;
        &self.nodes[self.offsets[row]..self.offsets[row + 1]]
    }

    fn of_rows(&self, rows: &AHashSet<u64>) -> NodesOf {
        rows.iter()
            .map(|row| (*row, self.of(*row).to_vec()))
            .collect()
    }
}

impl Loaded {
    /// Reads facts, sentences and embeddings of documents, as far as these are wanted.
    ///
    /// # Errors
    /// When tables do not belong together.
    pub fn read(
        ctx: &Context,
        graph: &Graph,
        load: Load,
        wants: impl Fn(Texts) -> bool,
    ) -> OpResult<Loaded> {
        let facts = wants(Texts::Facts).then(|| Facts::read(ctx, graph, load));
        let sentences = wants(Texts::Sentences).then(|| Sentences::read(ctx, graph, load));
        let documents = wants(Texts::Documents).then(|| vectors(ctx, Texts::Documents, load));
        Ok(Loaded {
            facts: facts.transpose()?,
            sentences: sentences.transpose()?,
            documents: documents.transpose()?.map(|(vectors, _)| vectors),
        })
    }

    /// The vectors of a table, if it was loaded.
    pub fn known(&self, of: Texts) -> Option<&Vectors> {
        match of {
            Texts::Facts => self.facts.as_ref().map(|f| &f.vectors),
            Texts::Sentences => self.sentences.as_ref().map(|s| &s.vectors),
            Texts::Documents => self.documents.as_ref(),
        }
    }

    fn vectors(&self, of: Texts) -> OpResult<&Vectors> {
        self.known(of)
            .ok_or_else(|| OpError::internal("a table was asked for that was not loaded"))
    }

    /// Among these documents the sentence that is most similar to the first of these vectors: its
    /// document, and its range in the document's text. `None` where there is none.
    pub fn best_sentence(&self, of: Range<u32>, question: &Vectors) -> Option<(u32, Range<usize>)> {
        let sentences = self.sentences.as_ref()?;
        let from = sentences.documents.partition_point(|d| *d < of.start);
        let to = sentences.documents.partition_point(|d| *d < of.end);
        let question = question.points().row(0);
        let cosine = |row: &usize| dot(question, sentences.vectors.points().row(*row));
        let best = (from..to).max_by(|a, b| cosine(a).total_cmp(&cosine(b)).then(b.cmp(a)))?;
        Some((sentences.documents[best], sentences.ranges[best].clone()))
    }
}

impl Lookup for Loaded {
    fn nearest(&self, texts: Texts, vectors: &Vectors, k: usize) -> OpResult<Vec<Vec<Near>>> {
        vectors.nearest_of(self.vectors(texts)?, k)
    }

    fn texts(&self, texts: Texts, rows: &AHashSet<u64>) -> OpResult<TextOf> {
        let all = match texts {
            Texts::Facts => self.facts.as_ref().map(|f| &f.texts),
            Texts::Sentences => self.sentences.as_ref().map(|s| &s.texts),
            Texts::Documents => None,
        };
        let rows = rows.iter();
        let texts = rows.filter_map(|row| Some((*row, all?.get(*row as usize)?.clone())));
        Ok(texts.collect())
    }

    fn ends(&self, facts: &AHashSet<u64>) -> OpResult<NodesOf> {
        Ok(self
            .facts
            .as_ref()
            .map(|f| f.ends.of_rows(facts))
            .unwrap_or_default())
    }

    fn mentioned(&self, sentences: &AHashSet<u64>) -> OpResult<NodesOf> {
        let known = self.sentences.as_ref();
        Ok(known
            .map(|s| s.mentioned.of_rows(sentences))
            .unwrap_or_default())
    }
}

/// Reads texts and their vectors.
fn vectors(ctx: &Context, of: Texts, load: Load) -> OpResult<(Vectors, Vec<String>)> {
    let embedded = of.embedded(ctx)?;
    let texts = embedded.texts.texts()?;
    check_made_from(embedded.embeddings, &texts, &embedded.texts.name)?;
    let vectors = match load {
        Load::All => Vectors::read(embedded)?,
        Load::Check => Vectors::unread(embedded)?,
    };
    Ok((vectors, texts))
}

impl Facts {
    fn read(ctx: &Context, graph: &Graph, load: Load) -> OpResult<Self> {
        let (vectors, texts) = vectors(ctx, Texts::Facts, load)?;
        let mut of_triple: Vec<(u64, u64)> = Vec::new();
        for batch in ctx.input("evidence")?.batches("evidence")? {
            let batch = batch?;
            let (triples, facts) = (
                columns::u64s(&batch, "triple")?,
                columns::u64s(&batch, "fact")?,
            );
            of_triple.extend(
                triples
                    .values()
                    .iter()
                    .copied()
                    .zip(facts.values().iter().copied()),
            );
        }
        of_triple.sort_by_key(|pair| pair.0);
        let mut of_triple = of_triple.into_iter().peekable();
        let (mut ends, mut row) = (Vec::new(), 0);
        let triples = ctx.input("triples")?;
        for batch in triples.batches("triples")? {
            let batch = batch?;
            let (heads, tails) = (
                columns::u32s(&batch, "head")?,
                columns::u32s(&batch, "tail")?,
            );
            for (head, tail) in heads.values().iter().zip(tails.values()) {
                while let Some((_, fact)) = of_triple.next_if(|pair| pair.0 == row) {
                    for node in [*head, *tail] {
                        graph.check(node, triples)?;
                        ends.push((fact, node));
                    }
                }
                row += 1;
            }
        }
        Ok(Facts {
            ends: Lists::new(texts.len(), ends),
            vectors,
            texts,
        })
    }
}

impl Sentences {
    fn read(ctx: &Context, graph: &Graph, load: Load) -> OpResult<Self> {
        let (vectors, texts) = vectors(ctx, Texts::Sentences, load)?;
        let (mut documents, mut ranges) = (Vec::new(), Vec::new());
        let mut rows: AHashMap<(u32, u32), u64> = AHashMap::new();
        for batch in ctx.input("sentences")?.batches("sentences")? {
            let batch = batch?;
            let of = columns::u32s(&batch, "document")?;
            let numbers = columns::u32s(&batch, "sentence")?;
            let (starts, ends) = (
                columns::u64s(&batch, "start")?,
                columns::u64s(&batch, "end")?,
            );
            for i in 0..batch.num_rows() {
                rows.insert((of.value(i), numbers.value(i)), documents.len() as u64);
                documents.push(of.value(i));
                ranges.push(starts.value(i) as usize..ends.value(i) as usize);
            }
        }
        let labels = ctx.input("labels")?;
        let mut forms: AHashMap<String, Vec<u32>> = AHashMap::new();
        each_label(ctx, graph, labels, &mut |node, label| {
            forms.entry(label.to_owned()).or_default().push(node);
        })?;
        let mut mentioned = Vec::new();
        for batch in ctx.input("mentions")?.batches("mentions")? {
            let batch = batch?;
            ctx.check_cancelled()?;
            let of = columns::u32s(&batch, "document")?;
            let (numbers, words) = (
                columns::u32s(&batch, "sentence")?,
                columns::text(&batch, "text")?,
            );
            for ((document, number), text) in of.values().iter().zip(numbers).zip(words) {
                let row = number.and_then(|number| rows.get(&(*document, number)));
                let nodes = text.and_then(|text| forms.get(text.trim()));
                if let (Some(row), Some(nodes)) = (row, nodes) {
                    mentioned.extend(nodes.iter().map(|node| (*row, *node)));
                }
            }
        }
        // The nodes of a sentence are ascending.
        mentioned.sort_unstable();
        Ok(Sentences {
            mentioned: Lists::new(texts.len(), mentioned),
            vectors,
            texts,
            documents,
            ranges,
        })
    }
}
