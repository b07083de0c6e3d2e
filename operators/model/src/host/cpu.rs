//! Training on the CPU with whole graphs: each rank computes its rows of a batch.

use gfm_pipe_api::ranks::Shared;
use gfm_pipe_api::{OpError, OpResult};

use super::losses::{Losses, link_loss, question_losses};
use crate::backend::{
    Backend, Batch, LinkBatch, Pending, Prepared, Preparer, QuestionBatch, Source, StepResult,
    StepSettings, Term,
};
use crate::model::partition::sum_grads;
use crate::model::{FeatureWeights, Grads, Params, QueryGnn, Question, Retriever};
use crate::optimizer::{Optimizer, clip};
use crate::scorer::{OnCpu, Scorer};
use crate::tensor_error;

/// Training on whole graphs.
pub(crate) struct Cpu {
    pub params: Params,
    optimizer: Optimizer,
    pub settings: StepSettings,
    ranks: Shared,
}

/// The losses and gradients of a training step, before the optimizer.
pub(crate) struct StepGradients {
    /// See [`StepResult::whole`].
    pub whole: bool,
    pub loss: f64,
    pub parts: Vec<f64>,
    /// This rank's share of the gradients.
    pub grads: Grads,
}

impl StepGradients {
    pub(super) fn new(losses: Losses, grads: Grads, whole: bool) -> Self {
        StepGradients {
            whole,
            loss: losses.total,
            parts: losses.parts,
            grads,
        }
    }
}

/// The questions of a batch; `text` is the width of their embeddings.
pub(super) fn questions<'a>(batch: &'a QuestionBatch<'_>, text: usize) -> Vec<Question<'a>> {
    let texts = batch.texts.chunks_exact(text.max(1)).zip(&batch.seeds);
    texts
        .map(|(embedding, seeds)| Question { embedding, seeds })
        .collect()
}

impl Cpu {
    pub fn new(
        params: &Params,
        optimizer: &Optimizer,
        settings: StepSettings,
        ranks: Shared,
    ) -> Self {
        Cpu {
            params: params.clone(),
            optimizer: optimizer.clone(),
            settings,
            ranks,
        }
    }

    /// Sums the gradients over ranks and runs the optimizer.
    pub fn finish(&mut self, mut step: StepGradients, factor: f64) -> OpResult<Pending> {
        if self.ranks.size() > 1 {
            sum_grads(&mut step.grads, &*self.ranks)?;
        }
        let norm = match self.settings.clip_norm {
            Some(most) => Some(clip(&mut step.grads, most).map_err(tensor_error)?),
            None => None,
        };
        self.optimizer
            .step_scaled(&mut self.params, &step.grads, factor)
            .map_err(tensor_error)?;
        Ok(Pending::done(StepResult {
            whole: step.whole,
            loss: step.loss,
            parts: step.parts,
            norm,
        }))
    }

    /// The share of a rank that has no rows of a batch.
    fn no_rows(&self, terms: &[Term]) -> OpResult<StepGradients> {
        Ok(StepGradients {
            whole: false,
            loss: 0.0,
            parts: vec![0.0; terms.len()],
            grads: self.params.tensors.zeros_like().map_err(tensor_error)?,
        })
    }

    fn links(&self, on: Source<'_>, links: &LinkBatch<'_>) -> OpResult<StepGradients> {
        if links.batch.queries.is_empty() {
            return self.no_rows(&[]);
        }
        let graph = links.easy.removed(on.graph, links.asked.iter().copied());
        let model = QueryGnn::new(&self.params, &graph, on.texts)
            .compute(self.settings.compute)
            .recompute(self.settings.recompute);
        let batch = &links.batch;
        let mut pass = model.forward(&batch.queries, batch.candidates.clone())?;
        let losses = link_loss(links, &pass.scores)?;
        let grads = model.backward(&mut pass, &losses.dscores)?;
        Ok(StepGradients::new(losses, grads, false))
    }

    /// Computes the losses and gradients of this rank's rows of a fine-tuning batch.
    pub fn questions(&self, on: Source<'_>, batch: &QuestionBatch<'_>) -> OpResult<StepGradients> {
        if batch.seeds.is_empty() {
            return self.no_rows(&batch.terms);
        }
        let cut = batch.dropout.map(|dropout| dropout.without(on.graph));
        let graph = cut.as_ref().unwrap_or(on.graph);
        let model = Retriever::new(&self.params, graph, on.texts)
            .compute(self.settings.compute)
            .recompute(self.settings.recompute);
        let mut pass = model.forward(&questions(batch, self.params.text_dim))?;
        let head = FeatureWeights::of(&self.params)?;
        let losses = question_losses(batch, &pass.scores, head.as_ref())?;
        let mut grads = model.backward(&mut pass, &losses.dscores)?;
        let written = losses.features.write(&self.params.config, &mut grads);
        written.map_err(tensor_error)?;
        Ok(StepGradients::new(losses, grads, false))
    }
}

impl Backend for Cpu {
    fn preparer(&self) -> Preparer {
        Preparer {
            rows: None,
            threads: 1,
        }
    }

    fn step(&mut self, on: Source<'_>, batch: Prepared<'_>, factor: f64) -> OpResult<Pending> {
        let step = match &batch.batch {
            Batch::Links(links) => self.links(on, links)?,
            Batch::Questions(questions) => self.questions(on, questions)?,
        };
        self.finish(step, factor)
    }

    fn pull(&self, params: &mut Params, optimizer: &mut Optimizer) -> OpResult<()> {
        params.clone_from(&self.params);
        optimizer.clone_from(&self.optimizer);
        Ok(())
    }

    fn scorer<'a>(&'a self, on: Source<'a>) -> OpResult<Box<dyn Scorer + 'a>> {
        if on.divided.is_some() {
            return Err(OpError::internal(
                "only all ranks together can score a divided graph",
            ));
        }
        Ok(Box::new(OnCpu::new(&self.params, on.graph, on.texts)))
    }
}
