//! What losses and the validation rank: all nodes, documents, or the nodes of one type.

use std::borrow::Cow;
use std::collections::BTreeMap;

use candle_core::Tensor;
use gfm_pipe_api::node_types::{DOCUMENT, ENTITY};
use gfm_pipe_api::{OpError, OpResult};
use gfm_pipe_eval::EntityDocuments;
use gfm_pipe_eval::features::of_question::QuestionFeatures;
use gfm_pipe_kernels::gemm::{Mat, gemm};
use gfm_pipe_model::backend::{Target, Term};
use gfm_pipe_model::loaded::NODE_TEXTS_HINT;
use gfm_pipe_model::model::Class;
use gfm_pipe_model::questions::Questions;
use gfm_pipe_model::tensor::to_f32;
use gfm_pipe_model::tensor_error;

use super::Params;
use super::params::Ranked;
use crate::types::{OfType, Types};

/// The error for a loss that ranks nodes of a type that no node has.
fn none_of(kind: &str, types: Option<&Types>) -> OpError {
    let why = format!("a loss ranks nodes of type `{kind}`, and there are none");
    let error = OpError::new(why);
    match types {
        Some(types) => {
            let known: Vec<&str> = types.names().collect();
            error.hint(format!("types of this graph: {}", known.join(", ")))
        }
        None => error,
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
    /// The node of each document, where a GraphReasoner scores documents as nodes.
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
            own: documents
                .own_nodes()
                .filter(|_| p.model.class() == Class::GraphReasoner),
        };
        if let Some(entities) = types.and_then(|types| types.nodes(ENTITY)) {
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
                let of_type = types
                    .nodes(kind)
                    .ok_or_else(|| none_of(kind, Some(types)))?;
                let of_type = OfType::new(of_type, nodes)?;
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
            Ranked::Type(kind) => Ok(self
                .types
                .get(kind)
                .map_or(Vec::new(), |t| t.nodes().to_vec())),
            Ranked::Documents => documents.own_nodes().ok_or_else(|| {
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
            Ranked::Type(kind) => self.types.get(kind).map_or(0, |t| t.nodes().len()),
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

    /// The targets of a batch: the questions `mine` of `all`, by number. `features` are those of
    /// the documents of each of `mine`, if there are any.
    pub fn targets<'d>(
        &'d self,
        questions: &Questions,
        documents: &'d EntityDocuments,
        (mine, all): (&[usize], &[usize]),
        features: &[Cow<'d, QuestionFeatures>],
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
                    Ranked::Type(kind) => self.of_type(kind).map(OfType::columns),
                },
                gold: mine.iter().map(gold).collect(),
                whole: all.iter().map(gold).collect(),
                similar: target.similar(questions, mine),
                features: match &target.what {
                    Ranked::Documents => features.to_vec(),
                    Ranked::AllNodes | Ranked::Type(_) => Vec::new(),
                },
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
