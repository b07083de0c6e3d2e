//! Rows of tables that are read batch by batch and never all in memory: the operator may have far
//! more facts and sentences than questions.

use ahash::{AHashMap, AHashSet};
use gfm_pipe_api::{Artifact, Context, OpResult, columns};

use super::graph::Graph;
use super::named::each_label;
use super::nearest::{Embedded, Near, Vectors};
use super::similar::{Lookup, NodesOf, TextOf, Texts};

/// The tables of a running stage.
pub struct Streamed<'a> {
    pub ctx: &'a Context,
    pub graph: &'a Graph,
}

impl Texts {
    /// The ports of the texts and of their embeddings.
    pub fn ports(self) -> [&'static str; 2] {
        match self {
            Texts::Facts => ["facts", "fact_embeddings"],
            Texts::Sentences => ["sentences", "sentence_embeddings"],
            Texts::Documents => ["documents", "corpus_embeddings"],
        }
    }

    /// The table of such an artifact that has the texts.
    pub fn table(self) -> &'static str {
        self.ports()[0]
    }

    /// The artifacts at both ports.
    ///
    /// # Errors
    /// When one is not connected.
    pub fn embedded(self, ctx: &Context) -> OpResult<Embedded<'_>> {
        let [texts, embeddings] = self.ports();
        Ok(Embedded {
            texts: ctx.input(texts)?,
            embeddings: ctx.input(embeddings)?,
        })
    }
}

impl Lookup for Streamed<'_> {
    fn nearest(&self, texts: Texts, vectors: &Vectors, k: usize) -> OpResult<Vec<Vec<Near>>> {
        vectors.nearest(self.ctx, texts.embedded(self.ctx)?, k, &|_, _| true)
    }

    fn texts(&self, of: Texts, rows: &AHashSet<u64>) -> OpResult<TextOf> {
        texts(of.embedded(self.ctx)?.texts, of.table(), rows)
    }

    fn ends(&self, facts: &AHashSet<u64>) -> OpResult<NodesOf> {
        ends(self.ctx, self.graph, facts)
    }

    fn mentioned(&self, sentences: &AHashSet<u64>) -> OpResult<NodesOf> {
        mentioned(self.ctx, self.graph, sentences)
    }
}

/// See [`Lookup::ends`].
fn ends(ctx: &Context, graph: &Graph, wanted: &AHashSet<u64>) -> OpResult<NodesOf> {
    let mut of_triple: AHashMap<u64, Vec<u64>> = AHashMap::new();
    for batch in ctx.input("evidence")?.batches("evidence")? {
        let batch = batch?;
        let (triples, facts) = (
            columns::u64s(&batch, "triple")?,
            columns::u64s(&batch, "fact")?,
        );
        for (triple, fact) in triples.values().iter().zip(facts.values()) {
            if wanted.contains(fact) {
                of_triple.entry(*triple).or_default().push(*fact);
            }
        }
    }
    let mut out = NodesOf::new();
    let mut row = 0;
    let triples = ctx.input("triples")?;
    for batch in triples.batches("triples")? {
        let batch = batch?;
        ctx.check_cancelled()?;
        let (heads, tails) = (
            columns::u32s(&batch, "head")?,
            columns::u32s(&batch, "tail")?,
        );
        for (head, tail) in heads.values().iter().zip(tails.values()) {
            for fact in of_triple.get(&row).into_iter().flatten() {
                let nodes = out.entry(*fact).or_default();
                for node in [*head, *tail] {
                    graph.check(node, triples)?;
                    if !nodes.contains(&node) {
                        nodes.push(node);
                    }
                }
            }
            row += 1;
        }
    }
    Ok(out)
}

/// Reads the texts of these rows.
fn texts(artifact: &Artifact, table: &str, wanted: &AHashSet<u64>) -> OpResult<TextOf> {
    let mut out = TextOf::new();
    let mut row = 0;
    for batch in artifact.batches(table)? {
        let batch = batch?;
        for text in columns::text(&batch, "text")? {
            if wanted.contains(&row) {
                out.insert(row, text.unwrap_or_default().to_owned());
            }
            row += 1;
        }
    }
    Ok(out)
}

/// See [`Lookup::mentioned`].
fn mentioned(ctx: &Context, graph: &Graph, wanted: &AHashSet<u64>) -> OpResult<NodesOf> {
    let mut rows: AHashMap<(u32, u32), u64> = AHashMap::new();
    let mut row = 0;
    for batch in ctx.input("sentences")?.batches("sentences")? {
        let batch = batch?;
        let (documents, numbers) = (
            columns::u32s(&batch, "document")?,
            columns::u32s(&batch, "sentence")?,
        );
        for place in documents.values().iter().zip(numbers.values()) {
            if wanted.contains(&row) {
                rows.insert((*place.0, *place.1), row);
            }
            row += 1;
        }
    }
    let mut written: AHashMap<u64, Vec<String>> = AHashMap::new();
    let mut forms: AHashMap<String, Vec<u32>> = AHashMap::new();
    for batch in ctx.input("mentions")?.batches("mentions")? {
        let batch = batch?;
        ctx.check_cancelled()?;
        let documents = columns::u32s(&batch, "document")?;
        let (numbers, texts) = (
            columns::u32s(&batch, "sentence")?,
            columns::text(&batch, "text")?,
        );
        for ((document, number), text) in documents.values().iter().zip(numbers).zip(texts) {
            let place = number.and_then(|number| rows.get(&(*document, number)));
            if let (Some(row), Some(text)) = (place, text) {
                forms.entry(text.trim().to_owned()).or_default();
                written
                    .entry(*row)
                    .or_default()
                    .push(text.trim().to_owned());
            }
        }
    }
    each_label(ctx, graph, ctx.input("labels")?, &mut |node, label| {
        if let Some(nodes) = forms.get_mut(label) {
            nodes.push(node);
        }
    })?;
    let distinct = written.into_iter().map(|(row, texts)| {
        let mut nodes: Vec<u32> = texts
            .iter()
            .flat_map(|t| forms[t].iter().copied())
            .collect();
        nodes.sort_unstable();
        nodes.dedup();
        (row, nodes)
    });
    Ok(distinct.collect())
}
