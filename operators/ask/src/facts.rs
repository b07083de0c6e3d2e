//! The graph for people: names of nodes and relations, the facts of a node, and where each fact was
//! read.

use std::ops::Range;

use ahash::AHashMap;
use arrow::array::Array;
use gfm_pipe_api::answer::{self, Named};
use gfm_pipe_api::node_types::{DOCUMENT, ENTITY};
use gfm_pipe_api::{Context, OpError, OpResult, columns};
use gfm_pipe_eval::by_node::ByNode;
use gfm_pipe_eval::paths::Step;

use crate::corpus::Corpus;

/// A triple: head, relation, tail.
type Triple = [u32; 3];

/// The graph in memory.
pub struct Facts {
    /// How each node is shown: the form in which it is written most often.
    labels: Vec<String>,
    /// Names of direct relations.
    relations: Vec<String>,
    triples: Vec<Triple>,
    by_node: ByNode,
    /// Where each triple was read, if known.
    read_at: Vec<Option<ReadAt>>,
    /// The document that a node stands for.
    documents: Vec<Option<u32>>,
    /// The documents that mention each node, and the reverse.
    mentioning: Vec<Vec<u32>>,
    mentioned: Vec<Vec<u32>>,
}

/// Where a fact was read.
#[derive(Debug, Clone)]
struct ReadAt {
    document: u32,
    /// The sentence's range in the text of the document, if known.
    sentence: Option<Range<usize>>,
}

impl Facts {
    /// Reads the graph's tables.
    pub fn read(ctx: &Context, documents: usize) -> OpResult<Self> {
        let names = ctx.input("entities")?.texts()?;
        let relations = ctx.input("relations")?.texts()?;
        let triples = triples(ctx, names.len(), relations.len())?;
        let ends = triples.iter().map(|[head, _, tail]| (*head, *tail));
        let by_node = ByNode::new(names.len(), ends);
        let mut facts = Facts {
            read_at: vec![None; triples.len()],
            documents: vec![None; names.len()],
            mentioning: vec![Vec::new(); names.len()],
            mentioned: vec![Vec::new(); documents],
            labels: names,
            relations,
            triples,
            by_node,
        };
        facts.read_labels(ctx)?;
        facts.read_links(ctx)?;
        facts.read_evidence(ctx)?;
        Ok(facts)
    }

    /// The form in which each entity is written most often; of equally frequent ones the first.
    fn read_labels(&mut self, ctx: &Context) -> OpResult<()> {
        let Some(labels) = ctx.input_opt("labels") else {
            return Ok(());
        };
        let mut most = vec![0; self.labels.len()];
        for batch in labels.batches("labels")? {
            let batch = batch?;
            let (nodes, counts) = (
                columns::u32s(&batch, "entity")?,
                columns::u64s(&batch, "count")?,
            );
            let texts = columns::text(&batch, "label")?;
            for row in 0..batch.num_rows() {
                let node = nodes.value(row) as usize;
                let count = counts.value(row);
                if most.get(node).is_some_and(|most| count > *most) {
                    most[node] = count;
                    texts.value(row).clone_into(&mut self.labels[node]);
                }
            }
        }
        Ok(())
    }

    fn read_links(&mut self, ctx: &Context) -> OpResult<()> {
        let table = ctx.input("links")?.read("links")?;
        let (documents, nodes) = (
            columns::u32s(&table, "document")?,
            columns::u32s(&table, "entity")?,
        );
        for (document, node) in documents.values().iter().zip(nodes.values()) {
            let places = self.mentioned.get_mut(*document as usize);
            let nodes = self.mentioning.get_mut(*node as usize);
            let (Some(of), Some(by)) = (places, nodes) else {
                return Err(
                    OpError::new("a link names a document or node that does not exist")
                        .artifact(&ctx.input("links")?.name)
                        .hint("connect what was made from the same documents"),
                );
            };
            of.push(*node);
            by.push(*document);
        }
        if let Some(nodes) = ctx.input_opt("nodes") {
            let table = nodes.read("nodes")?;
            let of = columns::u32s(&table, "document")?.iter();
            self.documents = of.collect();
            self.documents.resize(self.labels.len(), None);
        }
        Ok(())
    }

    fn read_evidence(&mut self, ctx: &Context) -> OpResult<()> {
        let (Some(evidence), Some(facts)) = (ctx.input_opt("evidence"), ctx.input_opt("facts"))
        else {
            return Ok(());
        };
        let table = facts.read("facts")?;
        let (documents, numbers) = (
            columns::u32s(&table, "document")?,
            columns::u32s(&table, "sentence")?,
        );
        let sentences = sentences(ctx)?;
        let table = evidence.read("evidence")?;
        let (triples, facts) = (
            columns::u64s(&table, "triple")?,
            columns::u64s(&table, "fact")?,
        );
        for (triple, fact) in triples.values().iter().zip(facts.values()) {
            let fact = *fact as usize;
            let place = self.read_at.get_mut(*triple as usize);
            let (Some(place), true) = (place, fact < documents.len()) else {
                return Err(
                    OpError::new("evidence names a triple or fact that does not exist")
                        .artifact(&evidence.name)
                        .hint("connect what was made from the same documents"),
                );
            };
            if place.is_none() {
                let document = documents.value(fact);
                let number = numbers.is_valid(fact).then(|| numbers.value(fact));
                let sentence = number.and_then(|n| sentences.get(&(document, n)).cloned());
                *place = Some(ReadAt { document, sentence });
            }
        }
        Ok(())
    }

    /// Number of nodes.
    pub fn nodes(&self) -> usize {
        self.labels.len()
    }

    /// Number of triples.
    pub fn triples(&self) -> &[Triple] {
        &self.triples
    }

    /// How a node is shown.
    pub fn label(&self, node: u32) -> &str {
        &self.labels[node as usize]
    }

    /// How each node is shown, by its number.
    pub fn labels(&self) -> impl Iterator<Item = (u32, &str)> {
        (0..).zip(self.labels.iter().map(String::as_str))
    }

    /// The nodes that a document mentions.
    pub fn mentioned(&self, document: u32) -> &[u32] {
        &self.mentioned[document as usize]
    }

    /// A step of a path in words, with where the fact was read.
    pub fn step(&self, step: Step, layer: usize, corpus: &Corpus) -> answer::Step {
        let triple = [step.head, step.relation, step.tail];
        let mut rows = self.by_node.between(step.head, step.tail).iter();
        let row = rows.find(|row| self.triples[**row as usize] == triple);
        let read_at = row.and_then(|row| self.read_at[*row as usize].as_ref());
        let relation = self.relations.get(step.relation as usize);
        let document = read_at.map(|at| at.document);
        let text = document.and_then(|d| corpus.texts.get(d as usize));
        let range = read_at.and_then(|at| at.sentence.clone());
        let sentence = text.zip(range).and_then(|(text, range)| text.get(range));
        answer::Step {
            head: self.label(step.head).to_owned(),
            relation: relation.cloned().unwrap_or_default(),
            tail: self.label(step.tail).to_owned(),
            head_node: step.head,
            tail_node: step.tail,
            inverse: step.inverse,
            layer,
            title: document.and_then(|d| corpus.titles.get(d as usize).cloned()),
            document,
            sentence: sentence.map(str::to_owned),
        }
    }

    /// A node with its first facts and documents.
    pub fn node(&self, node: u32, limit: usize, corpus: &Corpus) -> Option<answer::Node> {
        let at = node as usize;
        self.labels.get(at)?;
        let rows = self.by_node.of(node);
        let facts = rows.iter().take(limit).map(|row| {
            let [head, relation, tail] = self.triples[*row as usize];
            let step = Step {
                head,
                relation,
                tail,
                inverse: tail == node && head != node,
            };
            self.step(step, 1, corpus)
        });
        let documents = self.mentioning[at].iter().take(limit).map(|d| Named {
            id: *d,
            label: corpus.titles[*d as usize].clone(),
        });
        let kind = match self.documents[at] {
            Some(_) => DOCUMENT,
            None => ENTITY,
        };
        Some(answer::Node {
            node,
            label: self.label(node).to_owned(),
            kind: kind.to_owned(),
            degree: rows.len(),
            facts: facts.collect(),
            documents: documents.collect(),
        })
    }
}

fn triples(ctx: &Context, nodes: usize, relations: usize) -> OpResult<Vec<Triple>> {
    let artifact = ctx.input("triples")?;
    let mut out = Vec::with_capacity(artifact.rows("triples")?);
    for batch in artifact.batches("triples")? {
        let batch = batch?;
        let column = |name| columns::u32s(&batch, name);
        let (heads, of, tails) = (column("head")?, column("relation")?, column("tail")?);
        for row in 0..batch.num_rows() {
            let triple = [heads.value(row), of.value(row), tails.value(row)];
            let [head, relation, tail] = triple.map(|id| id as usize);
            if head >= nodes || tail >= nodes || relation >= relations {
                return Err(OpError::new(
                    "a triple names an entity or relation that does not exist",
                )
                .artifact(&artifact.name)
                .row(out.len() as u64)
                .hint("connect `entities`, `relations` and `triples` of the same stage"));
            }
            out.push(triple);
        }
    }
    Ok(out)
}

/// The ranges of sentences in the texts of documents, by document and number.
fn sentences(ctx: &Context) -> OpResult<AHashMap<(u32, u32), Range<usize>>> {
    let mut out = AHashMap::new();
    let Some(sentences) = ctx.input_opt("sentences") else {
        return Ok(out);
    };
    for batch in sentences.batches("sentences")? {
        let batch = batch?;
        let (documents, numbers) = (
            columns::u32s(&batch, "document")?,
            columns::u32s(&batch, "sentence")?,
        );
        let (starts, ends) = (
            columns::u64s(&batch, "start")?,
            columns::u64s(&batch, "end")?,
        );
        for i in 0..batch.num_rows() {
            let range = starts.value(i) as usize..ends.value(i) as usize;
            out.insert((documents.value(i), numbers.value(i)), range);
        }
    }
    Ok(out)
}
