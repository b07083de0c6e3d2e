//! Questions as a task of the training loop.

use std::collections::BTreeMap;
use std::ops::Range;

use candle_core::Tensor;
use gfm_pipe_api::ranks::all_of;
use gfm_pipe_api::{Artifact, Estimate, OpResult};
use gfm_pipe_eval::EntityDocuments;
use gfm_pipe_eval::metrics::score;
use rand_chacha::ChaCha8Rng;

use super::Params;
use super::data::{Data, data_sets_of};
use super::params::{TARGETS, name_of};
use crate::divided::{Divided, OverRanks};
use crate::documents::Questions;
use crate::gpu::{Pending, QuestionBatch, Term, Trainer, Whole};
use crate::model::partition::PartitionedRetriever;
use crate::model::{Class, Grads, ModelConfig, Params as Weights, Question, Reach, Retriever};
use crate::ops::Seeds;
use crate::progress::Pass;
use crate::question_scores::{Seeded, each_scored};
use crate::scorer::{OnCpu, Scorer};
use crate::tensor::{tensor, to_f64};
use crate::tensor_error;
use crate::train::foresee::{Foreseen, Foresight, port};
use crate::train::memory::Sizes;
use crate::train::{Batched, BestBy, By, Step, Task};

/// The task.
pub(super) struct QuestionAnswering<'a> {
    pub p: &'a Params,
}

impl Task for QuestionAnswering<'_> {
    type Data = Data;
    type Ready = QuestionBatch;

    fn samples(&self, data: &Data) -> usize {
        data.train.questions.len()
    }

    fn sizes(&self, data: &Data) -> Sizes {
        Sizes {
            nodes: data.nodes,
            candidates: None,
            documents: self.ranked_documents(data),
            lower: "`train.batch_size`, `model.entity_model.input_dim` or the number of layers",
        }
    }

    fn foreseen(&self, data: &Data, config: &ModelConfig, numbers: &[usize]) -> Foreseen {
        let batched = Batched {
            all: numbers,
            mine: 0..numbers.len(),
        };
        let ready = self.ready(data, config, &batched);
        Foreseen {
            seeds: ready.seeds.iter().map(Vec::len).sum(),
            candidates: None,
            documents: self.ranked_documents(data),
            reach: ready.reach,
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

    fn divided<'d>(&self, data: &'d Data) -> Option<&'d Divided> {
        data.divided.as_ref()
    }

    fn warning(&self, data: &Data) -> Option<String> {
        if data.about == "given" && data.valid.questions.is_empty() {
            return Some(
                "there is no validation question: it has no part in choosing the epoch".to_owned(),
            );
        }
        (data.unusable > 0).then(|| {
            format!(
                "{} training questions have no known question entity, gold entity or gold document: not trained on",
                data.unusable
            )
        })
    }

    fn parts(&self) -> Vec<String> {
        let losses = &self.p.task.losses;
        losses.iter().map(|l| l.name.clone()).collect()
    }

    fn step(
        &self,
        data: &Data,
        params: &Weights,
        batched: &Batched<'_>,
        _rng: &mut ChaCha8Rng,
    ) -> OpResult<Step> {
        let train = &data.train;
        let questions: Vec<Question<'_>> = batched
            .mine()
            .iter()
            .map(|i| Question {
                embedding: train.questions.embedding(*i),
                seeds: &train.seeds[*i],
            })
            .collect();
        let gold = Gold {
            questions: &train.questions,
            documents: &data.documents,
            batched,
        };
        let common = &self.p.train.common;
        if let Some(divided) = &data.divided {
            let (part, ranks) = (divided.part(), &**divided.ranks());
            let model = PartitionedRetriever::new(params, part, &data.input.embeddings, ranks)?
                .compute(common.path)
                .recompute(common.recompute);
            let mut pass = model.forward(&questions)?;
            let (loss, dscores) = self.loss_of(&pass.scores, &gold)?;
            let grads = model.backward(&mut pass, &dscores)?;
            divided.stepped(&model.traffic());
            return Ok(loss.step(true, grads));
        }
        let model = Retriever::new(params, &data.input.graph, &data.input.embeddings)
            .compute(common.path)
            .recompute(common.recompute);
        let mut pass = model.forward(&questions)?;
        let (loss, dscores) = self.loss_of(&pass.scores, &gold)?;
        let grads = model.backward(&mut pass, &dscores)?;
        Ok(loss.step(false, grads))
    }

    fn prepare(
        &self,
        data: &Data,
        params: &Weights,
        batched: &Batched<'_>,
        _rng: &mut ChaCha8Rng,
    ) -> OpResult<QuestionBatch> {
        Ok(self.ready(data, &params.config, batched))
    }

    fn launch(
        &self,
        data: &Data,
        trainer: &mut dyn Trainer,
        ready: QuestionBatch,
        factor: f64,
    ) -> OpResult<Pending> {
        let terms = || {
            let losses = self.p.task.losses.iter();
            let terms = losses.map(|l| Term {
                loss: l.function(),
                weight: l.cfg.weight,
                documents: l.cfg.is_doc_loss,
            });
            terms.collect()
        };
        trainer.questions(data.source(), (&data.documents, &terms), ready, factor)
    }

    fn validated(&self, data: &Data) -> usize {
        match self.p.train.own.do_eval {
            true => data.valid.questions.len(),
            false => 0,
        }
    }

    fn validate(&self, pass: Pass<'_>, data: &Data, by: By<'_>) -> OpResult<Vec<(String, f64)>> {
        let ctx = pass.ctx;
        let metrics = self.p.metrics();
        let ranker = self.p.doc_ranker.ranker();
        let q = &data.valid.questions;
        // What cannot be asked scores as nothing found, and counts.
        let mut values: Vec<[Vec<f64>; 2]> = (0..q.len())
            .map(|i| {
                [
                    score::<f64>(None, q.entity_gold(i), &metrics),
                    score::<f64>(None, q.document_gold(i), &metrics),
                ]
            })
            .collect();
        let asked = Seeded {
            questions: q,
            seeds: &data.valid.seeds,
        };
        // What is counted a rank was counted for all of them; ranks that divide graphs score a batch together.
        let batch_size = match data.divided {
            Some(_) => self.p.train.common.batch_size,
            None => self.p.train.common.batch_size.div_ceil(ctx.ranks.size()),
        };
        let mut taken = Vec::new();
        let (graph, embeddings) = (&data.input.graph, &data.input.embeddings);
        let mut ask = |by: &dyn Scorer| {
            each_scored(pass, by, data.nodes, asked, batch_size, |i, row| {
                let documents = ranker.ranking(row, &data.documents);
                taken.push((
                    i,
                    [
                        score(Some(row), q.entity_gold(i), &metrics),
                        score(Some(&documents), q.document_gold(i), &metrics),
                    ],
                ));
            })
        };
        match by {
            By::Cpu(params) => match &data.divided {
                Some(divided) => ask(&OverRanks::new(params, divided, embeddings)),
                None => ask(&OnCpu::new(params, graph, embeddings)),
            },
            By::Gpu(trainer) => ask(&*trainer.scorer(data.source())?),
        }?;
        for (i, of_question) in all_of(&*ctx.ranks, taken)? {
            values[i] = of_question;
        }
        let n = q.len() as f64;
        let mut out = Vec::new();
        for (t, target) in TARGETS.iter().enumerate() {
            for (m, metric) in metrics.iter().enumerate() {
                let sum: f64 = values.iter().map(|v| v[t][m]).sum();
                out.push((name_of(target, *metric), sum / n));
            }
        }
        Ok(out)
    }

    fn best_by(&self) -> BestBy {
        self.p.best_by()
    }
}

/// What a batch of questions should find.
struct Gold<'a> {
    questions: &'a Questions,
    documents: &'a EntityDocuments,
    batched: &'a Batched<'a>,
}

/// The weighted sum of the losses, their own values, and the sum's gradient for the entity scores.
struct Losses {
    total: f64,
    parts: Vec<f64>,
    grad: Vec<f64>,
}

impl Losses {
    /// The step with these gradients of parameters.
    fn step(self, whole: bool, grads: Grads) -> Step {
        Step {
            whole,
            loss: self.total,
            parts: self.parts,
            grads,
        }
    }
}

impl QuestionAnswering<'_> {
    /// Documents, where a loss is over them.
    fn ranked_documents(&self, data: &Data) -> usize {
        let over = self.p.task.losses.iter().any(|l| l.cfg.is_doc_loss);
        usize::from(over) * data.documents.num_documents()
    }

    /// A batch with all that the CPU finds out about it.
    fn ready(&self, data: &Data, config: &ModelConfig, batched: &Batched<'_>) -> QuestionBatch {
        let train = &data.train;
        let numbers = batched.mine();
        let whole = |v: &[Vec<u32>]| -> Vec<Vec<u32>> {
            batched.all.iter().map(|i| v[*i].clone()).collect()
        };
        let pick = |v: &[Vec<u32>]| numbers.iter().map(|i| v[*i].clone()).collect();
        let seeds: Seeds = numbers.iter().map(|i| train.seeds[*i].clone()).collect();
        let compute = self.p.train.common.path;
        let (graph, asked) = (&data.input.graph, (&seeds, None));
        let texts = numbers.iter().flat_map(|i| train.questions.embedding(*i));
        QuestionBatch {
            texts: texts.copied().collect(),
            reach: Reach::chosen(config, graph, compute, asked, false),
            entities: pick(&train.questions.supporting_entities),
            documents: pick(&train.questions.supporting_documents),
            whole: Whole {
                entities: whole(&train.questions.supporting_entities),
                documents: whole(&train.questions.supporting_documents),
            },
            seeds,
        }
    }

    /// The losses of entity scores `[B, N]`, and the gradient in their type.
    fn loss_of(&self, scores: &Tensor, gold: &Gold<'_>) -> OpResult<(Losses, Tensor)> {
        let run = || {
            let nodes = scores.dims2()?.1;
            let mut loss = self.loss(&to_f64(scores)?, nodes, gold);
            let grad = std::mem::take(&mut loss.grad);
            let dscores = tensor(grad, scores.shape())?.to_dtype(scores.dtype())?;
            Ok((loss, dscores))
        };
        run().map_err(tensor_error)
    }

    fn loss(&self, scores: &[f64], nodes: usize, gold: &Gold<'_>) -> Losses {
        let docs = gold.documents;
        // Of the whole batch, and of the rows that were computed here.
        let pick = |v: &Vec<Vec<u32>>| -> (Vec<Vec<u32>>, Range<usize>) {
            let all = gold.batched.all.iter().map(|i| v[*i].clone());
            (all.collect(), gold.batched.mine.clone())
        };
        let mut out = Losses {
            total: 0.0,
            parts: Vec::new(),
            grad: vec![0.0; scores.len()],
        };
        for l in &self.p.task.losses {
            let f = l.function();
            let loss = if l.cfg.is_doc_loss {
                let width = docs.num_documents();
                let (whole, mine) = pick(&gold.questions.supporting_documents);
                let scores = to_documents(scores, nodes, docs);
                let v = f.value(&scores, width, &whole[mine], f.used(&whole));
                from_documents(&v.grad, l.cfg.weight, nodes, docs, &mut out.grad);
                v.loss
            } else {
                let (whole, mine) = pick(&gold.questions.supporting_entities);
                let v = f.value(scores, nodes, &whole[mine], f.used(&whole));
                for (g, x) in out.grad.iter_mut().zip(v.grad) {
                    *g += l.cfg.weight * x;
                }
                v.loss
            };
            out.total += l.cfg.weight * loss;
            out.parts.push(loss);
        }
        out
    }
}

/// Document scores of a batch: sums of the scores of their entities.
fn to_documents(scores: &[f64], nodes: usize, docs: &EntityDocuments) -> Vec<f64> {
    let mut out = Vec::new();
    for row in scores.chunks_exact(nodes) {
        let mut sums = vec![0.0; docs.num_documents()];
        for (e, s) in row.iter().enumerate() {
            for d in docs.documents(e as u32) {
                sums[*d as usize] += s;
            }
        }
        out.extend(sums);
    }
    out
}

/// Adds a document gradient's share to every entity: the transpose of [`to_documents`].
fn from_documents(
    grad: &[f64],
    weight: f64,
    nodes: usize,
    docs: &EntityDocuments,
    out: &mut [f64],
) {
    let rows = grad.chunks_exact(docs.num_documents().max(1));
    for (out, grad) in out.chunks_exact_mut(nodes).zip(rows) {
        for (e, g) in out.iter_mut().enumerate() {
            let of_entity = docs.documents(e as u32);
            let sum: f64 = of_entity.iter().map(|d| grad[*d as usize]).sum();
            *g += weight * sum;
        }
    }
}

/// What a training takes.
pub(super) fn foresee(
    p: &Params,
    inputs: &BTreeMap<String, Vec<Artifact>>,
    device: &str,
) -> OpResult<Option<Estimate>> {
    // All that a data set is made of must be there.
    let ports = ["graph", "documents", "train", "train_embeddings"];
    if ports.iter().any(|name| port(inputs, name).is_empty()) {
        return Ok(None);
    }
    let (config, settings) = (
        p.model.entity_model.config(),
        p.train.common.settings(p.seed),
    );
    let mut out = Foresight::new(Class::GNNRetriever, &config, &settings, device);
    let task = QuestionAnswering { p };
    for set in data_sets_of(inputs)?.iter().filter(|s| !s.only_validates()) {
        let data = set.read(p, p.train.own.do_eval, None)?;
        let input = (&data.input.graph, data.input.text_dim);
        let samples = (task.samples(&data), &task.sizes(&data));
        out.look(input, samples, |numbers| {
            task.foreseen(&data, &config, numbers)
        });
        if task.validated(&data) > 0 {
            let size = p.train.common.batch_size;
            let asked = data.valid.seeds.iter().filter(|s| !s.is_empty());
            let first: Seeds = asked.clone().take(size).cloned().collect();
            let batches = (asked.count().div_ceil(size), &first);
            out.look_at_validation(&data.input.graph, batches, true);
        }
    }
    Ok(out.estimate())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::loss::{BCE, LIST_CE};

    /// Entity 0 in documents 0 and 1, 1 in 1, 2 in none, 3 in 0 and 2.
    fn documents() -> EntityDocuments {
        EntityDocuments::from_pairs(4, 3, [(0, 0), (0, 1), (1, 1), (3, 0), (3, 2)]).unwrap()
    }

    #[test]
    fn the_gradient_of_a_document_loss_goes_back_to_its_entities() {
        let docs = documents();
        let scores = [0.3, -0.2, 0.9, 1.1, -0.5, 0.4, 0.1, -1.3];
        assert_eq!(
            to_documents(&scores[..4], 4, &docs),
            [0.3 + 1.1, 0.3 - 0.2, 1.1]
        );
        let positives = vec![vec![0], vec![1, 2]];
        for f in [LIST_CE.at(0.0), BCE.at(0.0)] {
            let value = |s: &[f64]| f.value(&to_documents(s, 4, &docs), 3, &positives, 2);
            let mut grad = vec![0.0; 8];
            from_documents(&value(&scores).grad, 0.5, 4, &docs, &mut grad);
            for i in 0..8 {
                let at = |h: f64| {
                    let mut s = scores.to_vec();
                    s[i] += h;
                    value(&s).loss
                };
                let want = 0.5 * (at(1e-6) - at(-1e-6)) / 2e-6;
                assert!((grad[i] - want).abs() < 1e-8, "{i}: {} {want}", grad[i]);
            }
        }
    }
}
