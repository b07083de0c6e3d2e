//! Threads that score the questions that wait.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::{io, thread};

use gfm_pipe_api::answer::{Answers, Ask};

use crate::config::Config;
use crate::current::Current;
use crate::error::ApiError;
use crate::metrics::Metrics;
use crate::queue::{Queue, Scored};

/// Ends the workers when it is dropped, each after the batch that it scores.
pub(crate) struct Workers(Arc<Queue>);

impl Drop for Workers {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// Starts the threads that score questions together, and those that wait for a language model, each
/// with one question: while it writes, all others go on.
pub(crate) fn start(
    config: &Config,
    queue: &Arc<Queue>,
    metrics: &Arc<Metrics>,
) -> io::Result<Workers> {
    let workers = Workers(queue.clone());
    let scoring = (config.workers, config.together, false);
    for (number, together, in_words) in [scoring, (config.writers, 1, true)] {
        for _ in 0..number {
            let queue = queue.clone();
            let (current, metrics) = (config.current.clone(), metrics.clone());
            thread::Builder::new()
                .name("answers".to_owned())
                .spawn(move || work(&queue, (together, in_words), &current, &metrics))?;
        }
    }
    Ok(workers)
}

fn work(queue: &Queue, (together, in_words): (usize, bool), current: &Current, metrics: &Metrics) {
    while let Some(batch) = queue.take(together, in_words) {
        let answers = current.get();
        let (asks, replies): (Vec<_>, Vec<_>) = batch
            .into_iter()
            .map(|waiting| (waiting.ask, waiting.reply))
            .unzip();
        metrics.batch(asks.len());
        for (reply, scored) in replies.into_iter().zip(score(&*answers, &asks)) {
            metrics.scored(scored.is_ok());
            // An error means that the client went away meanwhile.
            let _ = reply.send(scored);
        }
    }
}

/// Scores questions together. Where that panics, each question is scored alone, so that only the
/// one at fault gets an error.
fn score(answers: &dyn Answers, asks: &[Ask]) -> Vec<Scored> {
    let failed = |message: &str| vec![Err(ApiError::internal(message)); asks.len()];
    match catch_unwind(AssertUnwindSafe(|| answers.ask(asks))) {
        Ok(scored) if scored.len() == asks.len() => scored
            .into_iter()
            .map(|one| one.map_err(|e| ApiError::from(&e)))
            .collect(),
        Ok(_) => failed("the retriever returned another number of answers than questions"),
        Err(_) if asks.len() > 1 => {
            let alone = asks
                .iter()
                .flat_map(|ask| score(answers, std::slice::from_ref(ask)));
            alone.collect()
        }
        Err(_) => failed("the retriever failed on this question"),
    }
}
