//! What all connections of a server share.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use gfm_pipe_api::answer::{Answer, Ask};
use tokio::sync::Semaphore;

use crate::config::Config;
use crate::error::ApiError;
use crate::metrics::Metrics;
use crate::queue::{Queue, stopping};

/// What all connections of a server share.
pub(crate) struct Shared {
    pub config: Config,
    pub queue: Arc<Queue>,
    pub metrics: Arc<Metrics>,
    /// Room for the threads that look something up.
    pub lookups: Arc<Semaphore>,
    /// Set once no more connections are taken.
    pub stopping: AtomicBool,
    /// The text of `/openapi.json`.
    pub openapi: String,
}

impl Shared {
    pub fn new(config: Config) -> Self {
        Shared {
            queue: Arc::new(Queue::new(config.limits.waiting)),
            metrics: Arc::new(Metrics::new()),
            lookups: Arc::new(Semaphore::new(config.limits.lookups)),
            stopping: AtomicBool::new(false),
            openapi: crate::openapi::document(&config).to_string(),
            config,
        }
    }

    /// Waits for the answer to one question. Where the returned future is dropped meanwhile, the
    /// question leaves the queue.
    pub async fn answer(&self, ask: Ask) -> Result<Answer, ApiError> {
        let mut answers = self.queue.push(vec![ask])?;
        let Some(answer) = answers.pop() else {
            return Err(ApiError::internal("the question got lost"));
        };
        // The sender is only dropped without an answer when the workers are gone.
        answer.await.unwrap_or_else(|_| Err(stopping()))
    }
}
