//! How long a first pipeline trains, depending on how much there is to train on.
//!
//! A training of a few steps learns nothing. So small data sets get smaller batches, and as many
//! epochs as are needed to reach a number of steps that was enough for data sets of 3 to 300
//! documents; docs/training.md has the figures. Batches come first, because every epoch ends in a
//! checkpoint.

use crate::registry::sizes::{self, MANY};

use super::{DataSet, Layout};

/// Samples per step, the default of the operators.
pub const BATCH: u64 = 8;
/// Fewest samples per step of pre-training: half of a batch asks for tails, the other half for
/// heads.
const PRETRAIN_BATCH: u64 = 2;
/// Number of steps that an epoch should have.
const EPOCH: u64 = 8;
/// Fewest steps of each training.
const STEPS: u64 = 300;
/// Most steps on a data set in an epoch of pre-training.
pub const PRETRAIN_STEPS: u64 = 1000;
/// Most steps of pre-training on a graph made of documents.
const DOCUMENT_STEPS: u64 = 300;
/// The learning rate on such a graph.
const DOCUMENT_LR: f64 = 0.002;
/// Epochs of fine-tuning where there are questions enough.
const EPOCHS: u64 = 10;
/// Fewest training questions of which some are held out to choose the best epoch. With fewer, the
/// held-out ones would say little about an epoch, and training would lack them.
const ENOUGH: u64 = 50;

/// Where the validation questions of a fine-tuning come from.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Validation {
    /// The data sets have some.
    Given,
    /// A fraction of the training questions.
    HeldOut(f64),
    /// There are too few questions: all are trained on, and the last epoch is kept.
    None,
}

/// The settings of a pipeline that depend on the size of the data.
#[derive(Debug, PartialEq)]
pub struct Settings {
    /// Triples per step of pre-training.
    pub pretrain_batch: u64,
    /// Epochs of pre-training.
    pub pretrain_epochs: u64,
    /// Steps in each of these epochs, over all data sets.
    pub pretrain_steps: u64,
    /// Questions per step of fine-tuning.
    pub finetune_batch: u64,
    /// Epochs of fine-tuning.
    pub finetune_epochs: u64,
    /// Steps in each of these epochs.
    pub finetune_steps: u64,
    /// How fine-tuning is validated.
    pub validation: Validation,
    /// The learning rate.
    pub lr: f64,
}

impl Settings {
    /// The settings for these data sets.
    pub fn of(sets: &[DataSet]) -> Self {
        let triples = |set: &DataSet| match set.layout {
            Layout::One => sizes::triples(&set.kg),
            Layout::Two => sizes::records(&set.kg),
        };
        let triples: Vec<u64> = sets.iter().map(triples).collect();
        let asked: Vec<&DataSet> = sets.iter().filter(|s| s.asked()).collect();
        let questions: Vec<u64> = asked.iter().map(|s| s.train.unwrap_or(MANY)).collect();
        // If only some sets have validation questions, the best epoch would be chosen by these sets
        // alone.
        let given = !asked.is_empty() && asked.iter().all(|s| s.valid.is_some());
        Settings::for_sizes(&triples, &questions, given)
    }

    /// The settings for documents, whose graph is not known yet, and this many training questions
    /// about them. `given` says whether there are validation questions.
    pub fn of_questions(questions: u64, given: bool) -> Self {
        let triples = MANY;
        Settings {
            // The model learns most from the questions.
            pretrain_steps: DOCUMENT_STEPS,
            lr: DOCUMENT_LR,
            ..Settings::for_sizes(&[triples], &[questions], given)
        }
    }

    fn for_sizes(triples: &[u64], questions: &[u64], given: bool) -> Self {
        let batch = |samples: &[u64], least: u64| {
            let most = samples.iter().max().copied().unwrap_or(0);
            (most / EPOCH).clamp(least, BATCH)
        };
        let steps = |samples: &[u64], batch: u64, most: u64| -> u64 {
            let each = samples.iter().map(|n| n.div_ceil(batch).clamp(1, most));
            each.sum()
        };
        let epochs = |steps: u64| STEPS.div_ceil(steps.max(1));
        let pretrain_batch = batch(triples, PRETRAIN_BATCH);
        let pretrain_steps = steps(triples, pretrain_batch, PRETRAIN_STEPS);
        let finetune_batch = batch(questions, 1);
        let finetune_steps = steps(questions, finetune_batch, u64::MAX);
        let fewest = questions.iter().min().copied().unwrap_or(0);
        let validation = match fewest {
            _ if given => Validation::Given,
            n if n < ENOUGH => Validation::None,
            n if n < 4 * ENOUGH => Validation::HeldOut(0.2),
            _ => Validation::HeldOut(0.1),
        };
        Settings {
            pretrain_batch,
            pretrain_epochs: epochs(pretrain_steps),
            pretrain_steps,
            finetune_batch,
            finetune_epochs: epochs(finetune_steps).max(EPOCHS),
            finetune_steps,
            validation,
            // A short training needs a higher learning rate.
            lr: if finetune_steps * EPOCHS < STEPS {
                0.002
            } else {
                0.001
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(triples: &[u64], questions: &[u64], given: bool) -> Settings {
        Settings::for_sizes(triples, questions, given)
    }

    #[test]
    fn small_sets_are_trained_on_for_as_many_steps_as_larger_ones() {
        let tiny = of(&[6], &[5], false);
        assert_eq!((tiny.pretrain_batch, tiny.finetune_batch), (2, 1));
        assert_eq!((tiny.pretrain_epochs, tiny.pretrain_steps), (100, 3));
        assert_eq!((tiny.finetune_epochs, tiny.finetune_steps), (60, 5));
        assert_eq!((tiny.validation, tiny.lr), (Validation::None, 0.002));
        for triples in [1, 7, 69, 400, 2500, 9000, MANY] {
            for questions in [1, 10, 28, 49, 50, 300, 2000, MANY] {
                let s = of(&[triples], &[questions], false);
                assert!(s.pretrain_epochs * s.pretrain_steps >= STEPS);
                assert!(s.finetune_epochs * s.finetune_steps >= STEPS);
                // No more epochs than needed.
                let fewer = (s.pretrain_epochs - 1) * s.pretrain_steps;
                assert!(fewer < STEPS, "{s:?}");
            }
        }
    }

    #[test]
    fn large_sets_are_trained_on_as_the_guide_has_it() {
        let s = of(&[22_532, MANY], &[1000, 3000], true);
        assert_eq!((s.pretrain_epochs, s.pretrain_steps), (1, 2000));
        assert_eq!((s.finetune_epochs, s.finetune_steps), (10, 500));
        assert_eq!((s.pretrain_batch, s.finetune_batch), (BATCH, BATCH));
        assert_eq!((s.validation, s.lr), (Validation::Given, 0.001));
        assert_eq!(of(&[10], &[], false).pretrain_epochs, 60);
    }

    #[test]
    fn questions_are_held_out_where_there_are_enough() {
        let validation = |n| of(&[100], &[n], false).validation;
        assert_eq!(validation(49), Validation::None);
        assert_eq!(validation(50), Validation::HeldOut(0.2));
        assert_eq!(validation(200), Validation::HeldOut(0.1));
        assert_eq!(of(&[100], &[10], true).validation, Validation::Given);
        assert_eq!(of(&[100], &[900, 10], false).validation, Validation::None);
    }
}
