//! Questions that wait to be scored.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use gfm_pipe_api::answer::{Answer, Ask};
use tokio::sync::oneshot;

use crate::error::ApiError;

/// What became of a question.
pub(crate) type Scored = Result<Answer, ApiError>;

/// A question that waits, and where its answer goes. Nobody reads the answer once the client went
/// away.
pub(crate) struct Waiting {
    pub ask: Ask,
    pub reply: oneshot::Sender<Scored>,
}

/// A bounded queue between handlers, which never wait for room, and worker threads, which wait for
/// questions.
pub(crate) struct Queue {
    state: Mutex<State>,
    filled: Condvar,
    limit: usize,
}

struct State {
    waiting: VecDeque<Waiting>,
    closed: bool,
}

impl Queue {
    /// An empty queue of at most `limit` questions.
    pub fn new(limit: usize) -> Self {
        let state = State {
            waiting: VecDeque::new(),
            closed: false,
        };
        Queue {
            state: Mutex::new(state),
            filled: Condvar::new(),
            limit,
        }
    }

    /// Adds all of the questions. If the queue does not have room for all, it adds none and fails.
    pub fn push(&self, asks: Vec<Ask>) -> Result<Vec<oneshot::Receiver<Scored>>, ApiError> {
        let mut state = self.lock();
        if state.closed {
            return Err(stopping());
        }
        if state.waiting.len() + asks.len() > self.limit {
            // Those whose clients went away make room.
            state.waiting.retain(|waiting| !waiting.reply.is_closed());
        }
        if state.waiting.len() + asks.len() > self.limit {
            return Err(ApiError::busy(format!(
                "{} questions are waiting, and at most {} may",
                state.waiting.len(),
                self.limit
            )));
        }
        let mut answers = Vec::with_capacity(asks.len());
        for ask in asks {
            let (reply, answer) = oneshot::channel();
            state.waiting.push_back(Waiting { ask, reply });
            answers.push(answer);
        }
        drop(state);
        self.filled.notify_one();
        Ok(answers)
    }

    /// Waits for questions and takes at most `most`, without those whose clients went away. `None`
    /// once the queue is closed and empty.
    pub fn take(&self, most: usize) -> Option<Vec<Waiting>> {
        let mut state = self.lock();
        loop {
            let mut taken = Vec::new();
            while taken.len() < most
                && let Some(waiting) = state.waiting.pop_front()
            {
                if !waiting.reply.is_closed() {
                    taken.push(waiting);
                }
            }
            if !taken.is_empty() {
                if !state.waiting.is_empty() {
                    self.filled.notify_one();
                }
                return Some(taken);
            }
            if state.closed {
                return None;
            }
            state = self
                .filled
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Number of questions that wait.
    pub fn len(&self) -> usize {
        self.lock().waiting.len()
    }

    /// Takes no more questions. Workers end once none waits.
    pub fn close(&self) {
        self.lock().closed = true;
        self.filled.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The answer to questions that come too late.
pub(crate) fn stopping() -> ApiError {
    ApiError::unavailable("stopping", "the server is stopping").hint("ask again once it is back")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn ask(text: &str) -> Ask {
        Ask::new(text)
    }

    #[test]
    fn all_questions_of_a_request_fit_or_none() {
        let queue = Queue::new(3);
        let first = queue.push(vec![ask("a"), ask("b")]).unwrap();
        let full = queue.push(vec![ask("c"), ask("d")]).unwrap_err();
        assert_eq!(full.status.as_u16(), 429);
        assert_eq!(queue.len(), 2);
        // Whoever went away makes room.
        drop(first);
        assert_eq!(queue.push(vec![ask("c"), ask("d")]).unwrap().len(), 2);
    }

    #[test]
    fn questions_of_absent_clients_are_not_taken() {
        let queue = Queue::new(10);
        let mut answers = queue.push(vec![ask("a"), ask("b"), ask("c")]).unwrap();
        drop(answers.remove(1));
        let taken = queue.take(10).unwrap();
        let texts: Vec<_> = taken.iter().map(|w| w.ask.question.as_str()).collect();
        assert_eq!(texts, ["a", "c"]);
        queue.close();
        assert!(queue.take(10).is_none());
        assert_eq!(queue.push(vec![ask("d")]).unwrap_err().code, "stopping");
    }
}
