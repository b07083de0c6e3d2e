//! The graph for people: names of nodes and relations, the facts of a node, and where each fact was
//! read.

use std::sync::Arc;

use gfm_pipe_api::answer::{self, Named};
use gfm_pipe_api::lists::Lists;
use gfm_pipe_api::node_types::{DOCUMENT, ENTITY};
use gfm_pipe_api::text_list::TextList;
use gfm_pipe_api::{Context, OpError, OpResult, columns};
use gfm_pipe_eval::EntityDocuments;
use gfm_pipe_eval::by_node::Triples;
use gfm_pipe_eval::paths::Step;
use gfm_pipe_index::{SentencePlaces, Shared, read_links};

use crate::corpus::Corpus;

/// A triple: head, relation, tail.
type Triple = [u32; 3];

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
        let triples = triples(ctx, names.len(), relations.len())?;
        let labels = labels(ctx, &names)?;
        let mentioned = read_links(ctx, documents, names.len())?;
        let mentioning = EntityDocuments::from_mentioned(names.len(), &mentioned);
        let mut facts = Facts {
            triples: Arc::new(Triples::new(names.len(), triples)),
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
        for batch in evidence.batches("evidence")? {
            let batch = batch?;
            let rows = columns::u64s(&batch, "triple")?.values().iter();
            for (triple, fact) in rows.zip(columns::u64s(&batch, "fact")?.values()) {
                let (triple, fact) = (*triple as usize, *fact as usize);
                if triple >= self.triples.all.len() || fact >= documents.len() {
                    return Err(OpError::new(
                        "evidence names a triple or fact that does not exist",
                    )
                    .artifact(&evidence.name)
                    .hint("connect what was made from the same documents"));
                }
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
            }
        }
        self.read_at.shrink_to_fit();
        Ok(())
    }

    /// What a linker needs of the graph and of these documents.
    pub fn shared(&self, corpus: &Corpus) -> Shared {
        Shared {
            titles: Arc::clone(&corpus.titles),
            texts: Arc::clone(&corpus.texts),
            names: Arc::clone(&self.names),
            links: Arc::clone(&self.mentioned),
            sentences: self.sentences.clone(),
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

/// The form in which each entity is written most often, of equally frequent ones the first; its
/// name where no form is known.
fn labels(ctx: &Context, names: &Arc<TextList>) -> OpResult<Arc<TextList>> {
    let Some(labels) = ctx.input_opt("labels") else {
        return Ok(Arc::clone(names));
    };
    let mut all = TextList::new();
    // For each node the largest count, and where its form is.
    let mut most: Vec<(u64, usize)> = vec![(0, 0); names.len()];
    for batch in labels.batches("labels")? {
        let batch = batch?;
        let (nodes, counts) = (
            columns::u32s(&batch, "entity")?,
            columns::u64s(&batch, "count")?,
        );
        let texts = columns::text(&batch, "label")?;
        for row in 0..batch.num_rows() {
            let count = counts.value(row);
            let most = most.get_mut(nodes.value(row) as usize);
            if let Some(most) = most.filter(|most| count > most.0) {
                *most = (count, all.len());
                all.push(texts.value(row));
            }
        }
    }
    let of_nodes = most.iter().zip(names.iter());
    let of_nodes = of_nodes.map(|((count, form), name)| match count {
        0 => name,
        _ => &all[*form],
    });
    Ok(Arc::new(of_nodes.collect()))
}
