//! Training on the CPU with divided graphs: all ranks compute every batch, each on its part of the
//! graph.

use gfm_pipe_api::{OpError, OpResult};

use super::cpu::{Cpu, StepGradients, questions};
use super::losses::{link_loss, question_losses};
use crate::backend::{
    Backend, Batch, LinkBatch, Pending, Prepared, Preparer, QuestionBatch, Source,
};
use crate::divided::{Divided, OverRanks};
use crate::model::partition::{PartitionedGnn, PartitionedRetriever};
use crate::model::{FeatureWeights, Params};
use crate::optimizer::Optimizer;
use crate::scorer::Scorer;
use crate::tensor_error;

/// Training on divided graphs.
pub(crate) struct DividedCpu(pub Cpu);

fn part_of<'a>(on: Source<'a>) -> OpResult<&'a Divided> {
    let whole = || OpError::internal("a training on divided graphs got a whole graph");
    on.divided.ok_or_else(whole)
}

impl DividedCpu {
    fn links(&self, on: Source<'_>, links: &LinkBatch<'_>) -> OpResult<StepGradients> {
        let (divided, settings) = (part_of(on)?, &self.0.settings);
        let part = divided.part();
        let graph = part.without(links.easy, links.asked.iter().copied());
        let ranks = &**divided.ranks();
        let model = PartitionedGnn::new(&self.0.params, part, on.texts, ranks)?
            .on(&graph)
            .compute(settings.compute)
            .recompute(settings.recompute);
        let mut pass = model.forward(&links.batch.queries, &links.batch.candidates)?;
        let losses = link_loss(links, &pass.scores)?;
        let grads = model.backward(&mut pass, &losses.dscores)?;
        divided.count_step(&model.traffic());
        Ok(StepGradients::new(losses, grads, true))
    }

    fn questions(&self, on: Source<'_>, batch: &QuestionBatch<'_>) -> OpResult<StepGradients> {
        let (divided, settings) = (part_of(on)?, &self.0.settings);
        let (part, ranks) = (divided.part(), &**divided.ranks());
        let cut = batch.dropout.map(|dropout| part.dropped(&dropout));
        let model = PartitionedRetriever::new(&self.0.params, part, on.texts, ranks)?
            .on(cut.as_ref().unwrap_or(part.graph()))
            .compute(settings.compute)
            .recompute(settings.recompute);
        let mut pass = model.forward(&questions(batch, self.0.params.text_dim))?;
        let params = &self.0.params;
        let head = FeatureWeights::of(params)?;
        let losses = question_losses(batch, &pass.scores, head.as_ref())?;
        let mut grads = model.backward(&mut pass, &losses.dscores)?;
        // Every rank has all scores and so the whole gradient, but shares are added up.
        if ranks.rank() == 0 {
            let written = losses.features.write(&params.config, &mut grads);
            written.map_err(tensor_error)?;
        }
        divided.count_step(&model.traffic());
        Ok(StepGradients::new(losses, grads, true))
    }
}

impl Backend for DividedCpu {
    fn preparer(&self) -> Preparer {
        self.0.preparer()
    }

    fn step(&mut self, on: Source<'_>, batch: Prepared<'_>, factor: f64) -> OpResult<Pending> {
        let step = match &batch.batch {
            Batch::Links(links) => self.links(on, links)?,
            Batch::Questions(questions) => self.questions(on, questions)?,
        };
        self.0.finish(step, factor)
    }

    fn pull(&self, params: &mut Params, optimizer: &mut Optimizer) -> OpResult<()> {
        self.0.pull(params, optimizer)
    }

    fn scorer<'a>(&'a self, on: Source<'a>) -> OpResult<Box<dyn Scorer + 'a>> {
        let divided = part_of(on)?;
        Ok(Box::new(OverRanks::new(&self.0.params, divided, on.texts)))
    }
}
