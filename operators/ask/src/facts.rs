//! The graph for people: names of nodes and relations, the facts of a node, and where each fact was
//! read.

use std::sync::Arc;

use gfm_pipe_api::answer::{self, Named};
use gfm_pipe_api::bm25::Bm25;
use gfm_pipe_api::lists::Lists;
use gfm_pipe_api::node_types::{DOCUMENT, ENTITY};
use gfm_pipe_api::text_list::TextList;
use gfm_pipe_api::{Context, OpResult, columns};
use gfm_pipe_eval::EntityDocuments;
use gfm_pipe_eval::by_node::Triples;
use gfm_pipe_eval::paths::Step;
use gfm_pipe_index::{SentencePlaces, Shared, read_links};

use crate::corpus::Corpus;
use crate::tables::{each_evidence, labels, triples};

/// The graph in memory.
pub struct Facts {
    names: Arc<TextList>,
    /// How each node is shown: the form in which it is written most often.
    labels: Arc<TextList>,
    /// Names of direct relations.
    relations: TextList,
    triples: Arc<Triples>,
    /// Where each triple was read; those behind the last one that was read are left out.
    read_at: Vec<ReadAt>,
    /// Where sentences are, if triples were read in them.
    sentences: Option<Arc<SentencePlaces>>,
    /// Whether a node stands for a document; nodes behind the last one that does are left out.
    is_document: Vec<bool>,
    /// The nodes that each document mentions, and the reverse.
    mentioned: Arc<Lists>,
    mentioning: Arc<EntityDocuments>,
}

/// Where a fact was read.
#[derive(Debug, Clone, Copy)]
struct ReadAt {
    /// The document, or [`NOWHERE`].
    document: u32,
    /// The row of the sentence, or [`NOWHERE`].
    sentence: u32,
}

/// Stands for a document or sentence that is not known. There are fewer rows.
const NOWHERE: u32 = u32::MAX;

impl Facts {
    /// Reads the graph's tables.
    pub fn read(ctx: &Context, documents: usize) -> OpResult<Self> {
        let names = Arc::new(ctx.input("entities")?.text_list()?);
        let relations = ctx.input("relations")?.text_list()?;
        let (triples, (labels, links)) = rayon::join(
            || triples(ctx, names.len(), relations.len()),
            || (labels(ctx, &names), read_links(ctx, documents, names.len())),
        );
        let (triples, labels, mentioned) = (triples?, labels?, links?);
        let mentioning = EntityDocuments::from_mentioned(names.len(), &mentioned);
        let mut facts = Facts {
            triples: Arc::new(triples),
            names,
            labels,
            relations,
            read_at: Vec::new(),
            sentences: None,
            is_document: Vec::new(),
            mentioned: Arc::new(mentioned),
            mentioning: Arc::new(mentioning),
        };
        if let Some(nodes) = ctx.input_opt("nodes") {
            for batch in nodes.batches_of("nodes", &["document"])? {
                let batch = batch?;
                let of = columns::u32s(&batch, "document")?.iter();
                facts.is_document.extend(of.map(|of| of.is_some()));
            }
        }
        facts.read_evidence(ctx, documents)?;
        Ok(facts)
    }

    fn read_evidence(&mut self, ctx: &Context, of_documents: usize) -> OpResult<()> {
        let (Some(evidence), Some(facts)) = (ctx.input_opt("evidence"), ctx.input_opt("facts"))
        else {
            return Ok(());
        };
        if let Some(sentences) = ctx.input_opt("sentences") {
            self.sentences = Some(Arc::new(SentencePlaces::read(sentences, of_documents)?));
        }
        let (mut documents, mut numbers) = (Vec::new(), Vec::new());
        for batch in facts.batches_of("facts", &["document", "sentence"])? {
            let batch = batch?;
            documents.extend_from_slice(columns::u32s(&batch, "document")?.values());
            let of_batch = columns::u32s(&batch, "sentence")?.iter();
            numbers.extend(of_batch.map(|number| number.unwrap_or(NOWHERE)));
        }
        let (triples, known) = (self.triples.all.len(), documents.len());
        each_evidence(evidence, triples, known, &mut |triple, fact| {
            if self.read_at.len() <= triple {
                let unknown = ReadAt {
                    document: NOWHERE,
                    sentence: NOWHERE,
                };
                self.read_at.resize(triple + 1, unknown);
            }
            if self.read_at[triple].document == NOWHERE {
                let (document, number) = (documents[fact], numbers[fact]);
                let sentences = self.sentences.as_ref();
                let sentence = sentences.and_then(|all| all.row(document, number));
                self.read_at[triple] = ReadAt {
                    document,
                    sentence: sentence.map_or(NOWHERE, |row| row as u32),
                };
            }
        })?;
        self.read_at.shrink_to_fit();
        Ok(())
    }

    /// What a linker needs of the graph and of these documents, whose words are in this index.
    pub fn shared(&self, corpus: &Corpus, words: &Arc<Bm25>) -> Shared {
        Shared {
            titles: Arc::clone(&corpus.titles),
            texts: Arc::clone(&corpus.texts),
            names: Arc::clone(&self.names),
            links: Arc::clone(&self.mentioned),
            triples: Arc::clone(&self.triples.all),
            sentences: self.sentences.clone(),
            words: Arc::clone(words),
        }
    }

    /// Number of nodes.
    pub fn nodes(&self) -> usize {
        self.names.len()
    }

    /// The triples.
    pub fn triples(&self) -> &Arc<Triples> {
        &self.triples
    }

    /// How a node is shown.
    pub fn label(&self, node: u32) -> &str {
        &self.labels[node as usize]
    }

    /// How each node is shown, by its number.
    pub fn labels(&self) -> impl Iterator<Item = (u32, &str)> {
        (0..).zip(self.labels.iter())
    }

    /// The nodes that a document mentions.
    pub fn mentioned(&self, document: u32) -> &[u32] {
        self.mentioned.of(document as usize)
    }

    /// The documents that mention each node.
    pub fn mentioning(&self) -> &Arc<EntityDocuments> {
        &self.mentioning
    }

    /// A step of a path in words, with where the fact was read.
    pub fn step(&self, step: Step, layer: usize, corpus: &Corpus) -> answer::Step {
        let triple = [step.head, step.relation, step.tail];
        let mut rows = self.triples.by_node.between(step.head, step.tail).iter();
        let row = rows.find(|row| self.triples.all[**row as usize] == triple);
        let read_at = row.and_then(|row| self.read_at.get(*row as usize));
        let read_at = read_at.filter(|at| at.document != NOWHERE);
        let relation = self.relations.get(step.relation as usize);
        let document = read_at.map(|at| at.document);
        let text = document.and_then(|d| corpus.texts.get(d as usize));
        let sentence = read_at.filter(|at| at.sentence != NOWHERE);
        let sentence = sentence.zip(self.sentences.as_ref());
        let range = sentence.map(|(at, all)| all.range(at.sentence as usize));
        let sentence = text.zip(range).and_then(|(text, range)| text.get(range));
        answer::Step {
            head: self.label(step.head).to_owned(),
            relation: relation.unwrap_or_default().to_owned(),
            tail: self.label(step.tail).to_owned(),
            head_node: step.head,
            tail_node: step.tail,
            inverse: step.inverse,
            layer,
            title: document.and_then(|d| Some(corpus.titles.get(d as usize)?.to_owned())),
            document,
            sentence: sentence.map(str::to_owned),
        }
    }

    /// A node with its first facts and documents.
    pub fn node(&self, node: u32, limit: usize, corpus: &Corpus) -> Option<answer::Node> {
        let at = node as usize;
        self.labels.get(at)?;
        let rows = self.triples.by_node.of(node);
        let facts = rows.iter().take(limit).map(|row| {
            let [head, relation, tail] = self.triples.all[*row as usize];
            let step = Step {
                head,
                relation,
                tail,
                inverse: tail == node && head != node,
            };
            self.step(step, 1, corpus)
        });
        let documents = self
            .mentioning
            .documents(node)
            .iter()
            .take(limit)
            .map(|d| Named {
                id: *d,
                label: corpus.titles[*d as usize].to_owned(),
            });
        let kind = match self.is_document.get(at) {
            Some(true) => DOCUMENT,
            _ => ENTITY,
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
