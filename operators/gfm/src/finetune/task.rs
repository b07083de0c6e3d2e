//! Questions as a task of the training loop.

use std::collections::BTreeMap;
use std::sync::Arc;

use gfm_pipe_api::node_types::{DOCUMENT, ENTITY};
use gfm_pipe_api::ranks::all_of;
use gfm_pipe_api::{Artifact, Estimate, OpResult};
use gfm_pipe_eval::metrics::{Gold, score};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::Rng;

use super::Params;
use super::data::{Data, data_sets_of};
use super::evidence;
use super::params::{TARGETS, name_of};
use crate::question_scores::{SeededQuestions, score_each};
use crate::train::estimate::{DataSetShape, FirstBatch, TrainingEstimator, port};
use crate::train::memory::Sizes;
use crate::train::{BatchSamples, BestBy, Task};
use gfm_pipe_model::backend::{Batch, QuestionBatch, Source};
use gfm_pipe_model::document_scores::DocumentScores;
use gfm_pipe_model::edge_dropout::EdgeDropout;
use gfm_pipe_model::model::{Class, FeatureWeights, Params as Weights, all_features};
use gfm_pipe_model::ops::Seeds;
use gfm_pipe_model::progress::Pass;
use gfm_pipe_model::questions::document_ranker;
use gfm_pipe_model::scorer::Scorer;

/// Question answering, with the parameters of `finetune`.
pub(super) struct QuestionAnswering {
    p: Arc<Params>,
}

impl Task for QuestionAnswering {
    type Data = Data;

    fn samples(&self, data: &Data) -> usize {
        data.train.questions.len()
    }

    fn sizes(&self, data: &Data) -> Sizes {
        Sizes {
            nodes: data.nodes,
            candidates: None,
            documents: data.ranked.columns(&data.documents),
            lower: "`train.batch_size`, `model.entity_model.input_dim` or the number of layers",
        }
    }

    fn describe(&self, data: &Data) -> String {
        format!(
            "{} nodes, {} documents, {} training questions, {} validation questions ({})",
            data.nodes,
            data.documents.num_documents(),
            data.train.questions.len(),
            data.valid.questions.len(),
            data.about
        )
    }

    fn source<'d>(&self, data: &'d Data) -> Source<'d> {
        data.source()
    }

    fn warning(&self, data: &Data) -> Option<String> {
        if data.about == "given" && data.valid.questions.is_empty() {
            return Some(
                "there are no validation questions: this data set does not affect which epoch is chosen".to_owned(),
            );
        }
        (data.unusable > 0).then(|| {
            format!(
                "{} training questions have no known question entity, gold entity or gold document and are left out",
                data.unusable
            )
        })
    }

    fn parts(&self) -> Vec<String> {
        let losses = &self.p.task.losses;
        losses.iter().map(|l| l.name.clone()).collect()
    }

    fn batch<'d>(
        &'d self,
        data: &'d Data,
        samples: &BatchSamples<'_>,
        rng: &mut ChaCha8Rng,
    ) -> Batch<'d> {
        let train = &data.train;
        let numbers = samples.mine();
        let texts = numbers.iter().flat_map(|i| train.questions.embedding(*i));
        let (questions, documents) = (&train.questions, &data.documents);
        let dropout = self.p.features.dropout;
        let mine = samples.mine.clone();
        let features = evidence::of_batch(questions, samples.all, mine, dropout, rng);
        let edges = self.p.train.own.edge_dropout;
        Batch::Questions(QuestionBatch {
            texts: texts.copied().collect(),
            seeds: numbers.iter().map(|i| train.seeds[*i].clone()).collect(),
            terms: data.ranked.terms(),
            targets: data
                .ranked
                .targets(questions, documents, (numbers, samples.all), &features),
            dropout: (edges > 0.0).then(|| EdgeDropout::new(edges, rng.next_u64())),
        })
    }

    fn validated(&self, data: &Data) -> usize {
        if self.p.train.own.do_eval {
            data.valid.questions.len()
        } else {
            0
        }
    }

    fn validates_start(&self) -> bool {
        // The start ranks as the fusion does, which a training must not make worse.
        !self.p.model.features.is_empty()
    }

    fn validate(
        &self,
        pass: Pass<'_>,
        data: &Data,
        scorer: &dyn Scorer,
        params: &Weights,
    ) -> OpResult<Vec<(String, f64)>> {
        let ctx = pass.ctx;
        let metrics = self.p.metrics();
        let class = self.p.model.class();
        let ranker = document_ranker(class, &data.documents, self.p.doc_ranker.ranker());
        let q = &data.valid.questions;
        let head = FeatureWeights::for_questions(params, q, &q.name)?;
        let by = DocumentScores {
            ranker,
            head: head.as_ref(),
            matrix: &data.documents,
            pieces: None,
        };
        let entities = data.ranked.of_type(ENTITY);
        let gold = gold_entities(data);
        let entity_gold = |i: usize| Gold {
            items: &gold[i],
            total: gold[i].len() as u32,
        };
        // A question without a node to start from counts as one for which nothing is found, or is
        // ranked by features alone.
        let mut values: Vec<[Vec<f64>; 2]> = (0..q.len())
            .map(|i| {
                let alone = data.valid.seeds[i].is_empty();
                let alone = alone.then(|| by.without_nodes(q.features(i))).flatten();
                [
                    score::<f64>(None, entity_gold(i), &metrics),
                    score(alone.as_deref(), q.document_gold(i), &metrics),
                ]
            })
            .collect();
        let seeded = SeededQuestions {
            questions: q,
            seeds: &data.valid.seeds,
        };
        // The batch size counts the rows of all ranks. Where ranks divide graphs, each of them
        // computes whole batches.
        let batch_size = match data.divided {
            Some(_) => self.p.train.common.batch_size,
            None => self.p.train.common.batch_size.div_ceil(ctx.ranks.size()),
        };
        let mut scored = Vec::new();
        score_each(pass, scorer, data.nodes, seeded, batch_size, |i, row| {
            let documents = by.of(row, q.features(i));
            scored.push((
                i,
                [
                    match entities {
                        Some(entities) => {
                            score(Some(&entities.scores(row)), entity_gold(i), &metrics)
                        }
                        None => score(Some(row), entity_gold(i), &metrics),
                    },
                    score(Some(&documents), q.document_gold(i), &metrics),
                ],
            ));
        })?;
        for (i, of_question) in all_of(&*ctx.ranks, scored)? {
            values[i] = of_question;
        }
        let mut out = Vec::new();
        for (t, target) in TARGETS.iter().enumerate() {
            let counted = |i: &usize| {
                let gold = [entity_gold(*i), q.document_gold(*i)][t];
                counts(class, gold.total)
            };
            let counted: Vec<usize> = (0..q.len()).filter(counted).collect();
            if counted.is_empty() {
                continue;
            }
            for (m, metric) in metrics.iter().enumerate() {
                let sum: f64 = counted.iter().map(|i| values[*i][t][m]).sum();
                out.push((name_of(target, *metric), sum / counted.len() as f64));
            }
        }
        Ok(out)
    }

    fn best_by(&self) -> BestBy {
        self.p.best_by()
    }

    fn measures_best(&self, data: &Data) -> bool {
        let metric = self.best_by().metric;
        let of_documents = metric.split(':').next() == Some(DOCUMENT);
        let entities = gold_entities(data);
        let total = |i: usize| {
            if of_documents {
                data.valid.questions.document_gold(i).total
            } else {
                entities[i].len() as u32
            }
        };
        (0..self.validated(data)).any(|i| counts(self.p.model.class(), total(i)))
    }
}

/// The gold entities of each validation question: columns of the entities where the types of nodes
/// are known, so that entities are ranked among themselves, and nodes otherwise.
fn gold_entities(data: &Data) -> Vec<Vec<u32>> {
    let gold = &data.valid.questions.supporting_entities;
    match data.ranked.of_type(ENTITY) {
        Some(entities) => gold.iter().map(|gold| entities.columns_of(gold)).collect(),
        None => gold.clone(),
    }
}

/// Whether a question with this number of gold nodes of a type counts in the type's metrics: it may
/// ask a GraphReasoner for nodes of another type only.
fn counts(class: Class, gold: u32) -> bool {
    class != Class::GraphReasoner || gold > 0
}

impl QuestionAnswering {
    pub fn new(p: Arc<Params>) -> Self {
        QuestionAnswering { p }
    }
}

/// Estimates the time and memory of a training on these inputs.
pub(super) fn estimate(
    mut p: Params,
    inputs: &BTreeMap<String, Vec<Artifact>>,
    device: &str,
) -> OpResult<Option<Estimate>> {
    let needed = ["graph", "documents", "train", "train_embeddings"];
    if needed.iter().any(|name| port(inputs, name).is_empty()) {
        return Ok(None);
    }
    if evidence::given(port(inputs, "features")) {
        p.model.features = all_features();
    }
    let task = QuestionAnswering::new(Arc::new(p));
    let p = &*task.p;
    let (config, settings) = (p.model.config(), p.train.common.settings(p.seed));
    let mut out = TrainingEstimator::new(p.model.class(), &config, &settings, device);
    for set in data_sets_of(inputs)?.iter().filter(|s| !s.only_validates()) {
        let data = set.read(p, p.train.own.do_eval, None)?;
        let shape = DataSetShape {
            graph: &data.input.graph,
            text_dim: data.input.text_dim,
            samples: task.samples(&data),
            sizes: task.sizes(&data),
        };
        let compute = settings.steps.compute;
        out.add(&shape, |numbers| {
            FirstBatch::of(&task, &data, &config, compute, numbers)
        });
        if task.validated(&data) > 0 {
            let size = p.train.common.batch_size;
            let askable = data.valid.seeds.iter().filter(|s| !s.is_empty());
            let first: Seeds = askable.clone().take(size).cloned().collect();
            let batches = askable.count().div_ceil(size);
            out.add_validation(&data.input.graph, batches, &first, true);
        }
    }
    Ok(out.estimate())
}
