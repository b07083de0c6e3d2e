//! The retriever that answers now.

use std::sync::{Arc, PoisonError, RwLock};

use gfm_pipe_api::answer::Answers;

/// The retriever that answers now. Clones share it, so that one of them can switch the others to a
/// new one while requests are answered: each batch of questions uses the one that it began with.
#[derive(Clone)]
pub struct Current(Arc<RwLock<Arc<dyn Answers>>>);

impl Current {
    /// A retriever that can be replaced later.
    pub fn new(answers: Arc<dyn Answers>) -> Self {
        Current(Arc::new(RwLock::new(answers)))
    }

    /// The retriever of this moment.
    pub fn get(&self) -> Arc<dyn Answers> {
        self.0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Answers with another retriever from now on. Returns the old one, which batches that run may
    /// use a little longer.
    pub fn switch(&self, answers: Arc<dyn Answers>) -> Arc<dyn Answers> {
        let mut current = self.0.write().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *current, answers)
    }
}

impl From<Arc<dyn Answers>> for Current {
    fn from(answers: Arc<dyn Answers>) -> Self {
        Current::new(answers)
    }
}
