//! Questions as a task of the training loop.

use std::collections::BTreeMap;

use gfm_pipe_api::ranks::all_of;
use gfm_pipe_api::{Artifact, Estimate, OpResult};
use gfm_pipe_eval::metrics::score;
use rand_chacha::ChaCha8Rng;

use super::Params;
use super::data::{Data, data_sets_of};
use super::params::{TARGETS, name_of};
use crate::question_scores::{Seeded, each_scored};
use crate::train::foresee::{FirstBatch, Foresight, port};
use crate::train::memory::Sizes;
use crate::train::{Batched, BestBy, Task};
use gfm_pipe_model::backend::{Batch, Gold, QuestionBatch, Source, Term};
use gfm_pipe_model::model::Class;
use gfm_pipe_model::ops::Seeds;
use gfm_pipe_model::progress::Pass;
use gfm_pipe_model::scorer::Scorer;

/// The task.
pub(super) struct QuestionAnswering<'a> {
    pub p: &'a Params,
}

impl Task for QuestionAnswering<'_> {
    type Data = Data;

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

    fn batch<'d>(
        &'d self,
        data: &'d Data,
        batched: &Batched<'_>,
        _rng: &mut ChaCha8Rng,
    ) -> Batch<'d> {
        let train = &data.train;
        let of = |numbers: &[usize]| {
            let pick = |v: &[Vec<u32>]| numbers.iter().map(|i| v[*i].clone()).collect();
            Gold {
                entities: pick(&train.questions.supporting_entities),
                documents: pick(&train.questions.supporting_documents),
            }
        };
        let numbers = batched.mine();
        let texts = numbers.iter().flat_map(|i| train.questions.embedding(*i));
        let losses = self.p.task.losses.iter();
        let terms = losses.map(|l| Term {
            loss: l.function(),
            weight: l.cfg.weight,
            documents: l.cfg.is_doc_loss,
        });
        Batch::Questions(QuestionBatch {
            texts: texts.copied().collect(),
            seeds: numbers.iter().map(|i| train.seeds[*i].clone()).collect(),
            gold: of(numbers),
            whole: of(batched.all),
            terms: terms.collect(),
            documents: &data.documents,
        })
    }

    fn validated(&self, data: &Data) -> usize {
        if self.p.train.own.do_eval {
            data.valid.questions.len()
        } else {
            0
        }
    }

    fn validate(
        &self,
        pass: Pass<'_>,
        data: &Data,
        scorer: &dyn Scorer,
    ) -> OpResult<Vec<(String, f64)>> {
        let ctx = pass.ctx;
        let metrics = self.p.metrics();
        let ranker = self.p.doc_ranker.ranker();
        let q = &data.valid.questions;
        // A question that starts nowhere counts as one for which nothing is found.
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
        // The batch size is that of all ranks together. Where they divide graphs, each of them computes whole batches.
        let batch_size = match data.divided {
            Some(_) => self.p.train.common.batch_size,
            None => self.p.train.common.batch_size.div_ceil(ctx.ranks.size()),
        };
        let mut scored = Vec::new();
        each_scored(pass, scorer, data.nodes, asked, batch_size, |i, row| {
            let documents = ranker.ranking(row, &data.documents);
            scored.push((
                i,
                [
                    score(Some(row), q.entity_gold(i), &metrics),
                    score(Some(&documents), q.document_gold(i), &metrics),
                ],
            ));
        })?;
        for (i, of_question) in all_of(&*ctx.ranks, scored)? {
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

impl QuestionAnswering<'_> {
    /// Documents, where a loss is over them.
    fn ranked_documents(&self, data: &Data) -> usize {
        let over = self.p.task.losses.iter().any(|l| l.cfg.is_doc_loss);
        usize::from(over) * data.documents.num_documents()
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
            FirstBatch::of(&task, &data, (&config, settings.steps.compute), numbers)
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
