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
/// questions. Those that a language model is to answer have workers of their own.
pub(crate) struct Queue {
    state: Mutex<State>,
    filled: [Condvar; 2],
    limit: usize,
}

struct State {
    /// The questions without and with an answer of a language model.
    waiting: [VecDeque<Waiting>; 2],
    closed: bool,
}

impl State {
    fn len(&self) -> usize {
        self.waiting.iter().map(VecDeque::len).sum()
    }
}

impl Queue {
    /// An empty queue of at most `limit` questions.
    pub fn new(limit: usize) -> Self {
        let state = State {
            waiting: Default::default(),
            closed: false,
        };
        Queue {
            state: Mutex::new(state),
            filled: Default::default(),
            limit,
        }
    }

    /// Adds all of the questions. If the queue does not have room for all, it adds none and fails.
    pub fn push(&self, asks: Vec<Ask>) -> Result<Vec<oneshot::Receiver<Scored>>, ApiError> {
        let mut state = self.lock();
        if state.closed {
            return Err(stopping());
        }
        if state.len() + asks.len() > self.limit {
            // Those whose clients went away make room.
            for waiting in &mut state.waiting {
                waiting.retain(|waiting| !waiting.reply.is_closed());
            }
        }
        if state.len() + asks.len() > self.limit {
            return Err(ApiError::busy(format!(
                "{} questions are waiting, and at most {} may",
                state.len(),
                self.limit
            )));
        }
        let mut answers = Vec::with_capacity(asks.len());
        for ask in asks {
            let (reply, answer) = oneshot::channel();
            let of = usize::from(ask.answer);
            state.waiting[of].push_back(Waiting { ask, reply });
            answers.push(answer);
        }
        drop(state);
        for filled in &self.filled {
            filled.notify_one();
        }
        Ok(answers)
    }

    /// Waits for questions, those that a language model is to answer or the others, and takes at
    /// most `most`, without those whose clients went away. `None` once the queue is closed and has
    /// no more of these questions.
    pub fn take(&self, most: usize, in_words: bool) -> Option<Vec<Waiting>> {
        let (of, mut state) = (usize::from(in_words), self.lock());
        loop {
            let mut taken = Vec::new();
            while taken.len() < most
                && let Some(waiting) = state.waiting[of].pop_front()
            {
                if !waiting.reply.is_closed() {
                    taken.push(waiting);
                }
            }
            if !taken.is_empty() {
                if !state.waiting[of].is_empty() {
                    self.filled[of].notify_one();
                }
                return Some(taken);
            }
            if state.closed {
                return None;
            }
            state = self.filled[of]
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Number of questions that wait.
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    /// Takes no more questions. Workers end once none waits.
    pub fn close(&self) {
        self.lock().closed = true;
        for filled in &self.filled {
            filled.notify_all();
        }
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
        let taken = queue.take(10, false).unwrap();
        let texts: Vec<_> = taken.iter().map(|w| w.ask.question.as_str()).collect();
        assert_eq!(texts, ["a", "c"]);
        queue.close();
        assert!(queue.take(10, false).is_none());
        assert_eq!(queue.push(vec![ask("d")]).unwrap_err().code, "stopping");
    }
    #[test]
    fn questions_for_a_language_model_are_taken_apart() {
        let queue = Queue::new(10);
        let in_words = |text| Ask {
            answer: true,
            ..ask(text)
        };
        let asks = vec![in_words("a"), ask("b"), in_words("c"), ask("d"), ask("e")];
        let _answers = queue.push(asks).unwrap();
        queue.close();
        let mut taken = Vec::new();
        for (most, in_words) in [(2, false), (1, true), (9, true), (9, false)] {
            let some = queue.take(most, in_words).unwrap();
            let texts = some.iter().map(|w| w.ask.question.clone());
            taken.push(texts.collect::<Vec<_>>().concat());
        }
        assert_eq!(taken, ["bd", "a", "c", "e"]);
        assert!(queue.take(1, true).is_none() && queue.take(1, false).is_none());
    }
}
