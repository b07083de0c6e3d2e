//! What losses and the validation rank: all nodes, documents, or the nodes of one type.

use std::collections::BTreeMap;

use arrow::array::Array;
use candle_core::Tensor;
use gfm_pipe_api::{Artifact, OpError, OpResult, columns};
use gfm_pipe_eval::EntityDocuments;
use gfm_pipe_kernels::gemm::{Mat, gemm};
use gfm_pipe_model::backend::{Target, Term};
use gfm_pipe_model::loaded::NODE_TEXTS_HINT;
use gfm_pipe_model::questions::Questions;
use gfm_pipe_model::tensor::to_f32;
use gfm_pipe_model::tensor_error;

use super::Params;
use super::params::{DOCUMENT, ENTITY, Ranked};

/// The nodes of a graph by type.
pub(super) struct Types {
    /// Ids, ascending.
    of: BTreeMap<String, Vec<u32>>,
}

impl Types {
    /// Reads a `nodes` artifact of a graph with `nodes` nodes.
    ///
    /// # Errors
    /// When it belongs to another graph.
    pub fn read(artifact: Option<&Artifact>, nodes: usize) -> OpResult<Option<Self>> {
        let Some(artifact) = artifact else {
            return Ok(None);
        };
        let table = artifact.read("nodes")?;
        let kinds = columns::text(&table, "type")?;
        if kinds.len() != nodes {
            let of = kinds.len();
            let why = format!("types of {of} nodes do not fit a graph of {nodes} nodes");
            let hint = "connect `nodes` and the graph of the same stage";
            return Err(OpError::new(why).artifact(&artifact.name).hint(hint));
        }
        let mut of: BTreeMap<String, Vec<u32>> = BTreeMap::new();
        for (node, kind) in (0..).zip(kinds.iter()) {
            of.entry(kind.unwrap_or_default().to_owned())
                .or_default()
                .push(node);
        }
        Ok(Some(Types { of }))
    }

    fn nodes(&self, kind: &str) -> OpResult<&[u32]> {
        let nodes = self.of.get(kind).map(Vec::as_slice);
        nodes.ok_or_else(|| none_of(kind, Some(self)))
    }
}

/// The error for a loss that ranks nodes of a type that no node has.
fn none_of(kind: &str, types: Option<&Types>) -> OpError {
    let why = format!("a loss ranks nodes of type `{kind}`, and there are none");
    let error = OpError::new(why);
    match types {
        Some(types) => {
            let known: Vec<&str> = types.of.keys().map(String::as_str).collect();
            error.hint(format!("types of this graph: {}", known.join(", ")))
        }
        None => error,
    }
}

/// The nodes of one type, as columns.
pub(super) struct OfType {
    /// Node by column.
    nodes: Vec<u32>,
    /// The same as a matrix of nodes and columns.
    columns: EntityDocuments,
}

impl OfType {
    fn new(nodes: &[u32], of: usize) -> OpResult<Self> {
        let pairs = nodes.iter().copied().zip(0..);
        Ok(OfType {
            columns: EntityDocuments::from_pairs(of, nodes.len(), pairs)
                .map_err(|e| OpError::internal(e.to_string()))?,
            nodes: nodes.to_vec(),
        })
    }

    /// The columns of these nodes, as far as they are of the type.
    pub fn columns_of(&self, nodes: &[u32]) -> Vec<u32> {
        let column = |v: &u32| self.nodes.binary_search(v).ok().map(|at| at as u32);
        nodes.iter().filter_map(column).collect()
    }

    /// The scores of the columns, from those of all nodes.
    pub fn scores(&self, nodes: &[f64]) -> Vec<f64> {
        self.nodes.iter().map(|v| nodes[*v as usize]).collect()
    }
}

/// What one or several losses rank.
struct LossTarget {
    what: Ranked,
    /// Embeddings of the texts of the columns, `[columns, text]`, if a loss distils them.
    texts: Vec<f32>,
}

/// What the losses of a data set rank.
pub(super) struct LossTargets {
    targets: Vec<LossTarget>,
    types: BTreeMap<String, OfType>,
    terms: Vec<Term>,
    /// The node of each document, where documents are nodes.
    own: Option<Vec<u32>>,
}

impl LossTargets {
    /// For the losses of `p`, if the data set `trains`; otherwise only for its validation. `texts`
    /// are the embeddings of nodes, `[N, text]`, if there are any.
    ///
    /// # Errors
    /// When a loss ranks a type that the graph does not have, or distils texts that are not there.
    pub fn new(
        p: &Params,
        trains: bool,
        types: Option<&Types>,
        documents: &EntityDocuments,
        texts: Option<&Tensor>,
    ) -> OpResult<Self> {
        let nodes = documents.num_entities();
        let mut out = LossTargets {
            targets: Vec::new(),
            types: BTreeMap::new(),
            terms: Vec::new(),
            own: documents.own_nodes(),
        };
        if let Some(entities) = types.and_then(|types| types.of.get(ENTITY)) {
            let entities = OfType::new(entities, nodes)?;
            out.types.insert(ENTITY.to_owned(), entities);
        }
        let losses: &[_] = if trains { &p.task.losses } else { &[] };
        for loss in losses {
            // Where documents are nodes, `entity` is not all of them.
            let typed = types.is_some() || out.own.is_some();
            let (what, function) = (loss.ranked(typed), loss.function());
            if what == Ranked::Documents && documents.num_documents() == 0 {
                return Err(none_of(DOCUMENT, types));
            }
            if let Ranked::Type(kind) = &what
                && !out.types.contains_key(kind)
            {
                let types = types.ok_or_else(|| {
                    OpError::new(format!(
                        "the loss `{}` ranks nodes of type `{kind}`, but types are not known",
                        loss.name
                    ))
                    .hint("connect `in.nodes`")
                })?;
                let of_type = OfType::new(types.nodes(kind)?, nodes)?;
                out.types.insert(kind.clone(), of_type);
            }
            let known = out.targets.iter().position(|t| t.what == what);
            let target = known.unwrap_or_else(|| {
                out.targets.push(LossTarget {
                    what: what.clone(),
                    texts: Vec::new(),
                });
                out.targets.len() - 1
            });
            if function.distils() && out.targets[target].texts.is_empty() {
                let columns = out.nodes_of(&what, documents)?;
                out.targets[target].texts = rows(texts, &columns, &loss.name)?;
            }
            out.terms.push(Term {
                loss: function,
                weight: loss.cfg.weight,
                target,
            });
        }
        Ok(out)
    }

    /// The node of each column.
    fn nodes_of(&self, what: &Ranked, documents: &EntityDocuments) -> OpResult<Vec<u32>> {
        match what {
            Ranked::AllNodes => Ok((0..documents.num_entities() as u32).collect()),
            Ranked::Type(kind) => Ok(self.types.get(kind).map_or(Vec::new(), |t| t.nodes.clone())),
            Ranked::Documents => self.own.clone().ok_or_else(|| {
                OpError::new("a distillation loss ranks documents, but these are not nodes")
                    .hint("connect `nodes` to the build-documents stage")
            }),
        }
    }

    /// The losses.
    pub fn terms(&self) -> Vec<Term> {
        self.terms.clone()
    }

    /// The columns of a type, if its nodes are known.
    pub fn of_type(&self, kind: &str) -> Option<&OfType> {
        self.types.get(kind)
    }

    /// The number of columns that targets have in addition to the scores of all nodes.
    pub fn columns(&self, documents: &EntityDocuments) -> usize {
        let columns = self.targets.iter().map(|t| match &t.what {
            Ranked::AllNodes => 0,
            Ranked::Documents => documents.num_documents(),
            Ranked::Type(kind) => self.types.get(kind).map_or(0, |t| t.nodes.len()),
        });
        columns.sum()
    }

    /// All nodes that a question asks for: entities, and documents where these are nodes.
    fn gold_nodes(&self, questions: &Questions, i: usize) -> Vec<u32> {
        let mut gold = questions.supporting_entities[i].clone();
        if let Some(own) = &self.own {
            let documents = questions.supporting_documents[i].iter();
            gold.extend(documents.map(|d| own[*d as usize]));
            gold.sort_unstable();
            gold.dedup();
        }
        gold
    }

    /// The targets of a batch: the questions `mine` of `all`, by number.
    pub fn targets<'d>(
        &'d self,
        questions: &Questions,
        documents: &'d EntityDocuments,
        mine: &[usize],
        all: &[usize],
    ) -> Vec<Target<'d>> {
        let targets = self.targets.iter().map(|target| {
            let gold = |i: &usize| match &target.what {
                Ranked::AllNodes => self.gold_nodes(questions, *i),
                Ranked::Documents => questions.supporting_documents[*i].clone(),
                Ranked::Type(kind) => self.of_type(kind).map_or(Vec::new(), |t| {
                    t.columns_of(&questions.supporting_entities[*i])
                }),
            };
            Target {
                columns: match &target.what {
                    Ranked::AllNodes => None,
                    Ranked::Documents => Some(documents),
                    Ranked::Type(kind) => self.of_type(kind).map(|t| &t.columns),
                },
                gold: mine.iter().map(gold).collect(),
                whole: all.iter().map(gold).collect(),
                similar: target.similar(questions, mine),
            }
        });
        targets.collect()
    }
}

impl LossTarget {
    /// Similarities of the texts of questions and columns, `[questions, columns]`; empty if no loss
    /// distils.
    fn similar(&self, questions: &Questions, numbers: &[usize]) -> Vec<f64> {
        if self.texts.is_empty() {
            return Vec::new();
        }
        let width = questions.text_dim;
        let columns = self.texts.len() / width.max(1);
        let asked = numbers.iter().flat_map(|i| questions.embedding(*i));
        let asked: Vec<f32> = asked.copied().collect();
        let mut out = vec![0.0f32; numbers.len() * columns];
        let texts = Mat::new(&self.texts, columns, width);
        gemm(
            &mut out,
            Mat::new(&asked, numbers.len(), width),
            texts.t(),
            false,
        );
        out.into_iter().map(f64::from).collect()
    }
}

/// The embeddings of some nodes.
fn rows(texts: Option<&Tensor>, nodes: &[u32], loss: &str) -> OpResult<Vec<f32>> {
    let Some(texts) = texts else {
        return Err(OpError::new(format!(
            "the loss `{loss}` compares the texts of questions and nodes, but the graph has no embeddings of the latter"
        ))
        .hint(NODE_TEXTS_HINT));
    };
    let rows = Tensor::new(nodes, texts.device()).and_then(|at| texts.index_select(&at, 0));
    rows.and_then(|rows| to_f32(&rows)).map_err(tensor_error)
}
