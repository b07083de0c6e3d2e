//! Sends a request until there is an answer.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use gfm_pipe_api::{OpError, OpResult};

use crate::chat::{Chat, MODES};
use crate::http::{Exchange, Server, Trouble};
use crate::limits::{Leave, Reserved};
use crate::params::JsonMode;
use crate::prompt::Message;
use crate::wire::{self, Reply, Shape};

/// The longest pause between two tries.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// A server that asks for a longer pause than this is not waited for.
const LONGEST_WAIT: Duration = Duration::from_secs(600);
/// How often a server is tried again that has answered nothing yet.
const FIRST_RETRIES: u32 = 2;

impl Chat<'_> {
    fn mode(&self) -> JsonMode {
        MODES[usize::from(self.mode.load(Ordering::Relaxed)).min(MODES.len() - 1)]
    }

    /// Asks for JSON in a way that asks less of the server. False where there is none.
    fn ask_for_less(&self, than: JsonMode) -> bool {
        let at = MODES.iter().position(|m| *m == than).unwrap_or(0);
        if self.params.json != JsonMode::Auto || at + 1 >= MODES.len() {
            return false;
        }
        self.mode.fetch_max(at as u8 + 1, Ordering::Relaxed);
        true
    }

    /// Waits, unless the stage is to stop.
    pub(crate) fn pause(&self, time: Duration) -> OpResult<()> {
        let end = Instant::now() + time;
        loop {
            if self.stopped() {
                return Err(OpError::Cancelled);
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            std::thread::sleep(left.min(Duration::from_millis(50)));
        }
    }

    /// Waits until a request may be sent.
    fn leave(&self, messages: &[Message]) -> OpResult<Reserved> {
        let rough = wire::rough_tokens_of(messages);
        let reserved = loop {
            match self.limits.ask(rough, Instant::now()) {
                Leave::Now(reserved) => break reserved,
                Leave::In(wait) => self.pause(wait)?,
                Leave::UsedUp(budget) => {
                    let e = OpError::new(format!("the budget of {budget} is used up"));
                    return Err(e.hint(if self.limits.is_untouched() {
                        "it is too small for a single request: raise `llm.budget`"
                    } else {
                        "run again to go on with as much again, or raise `llm.budget`; what was \
                         answered is kept"
                    }));
                }
            }
        };
        if self.stopped() {
            self.limits.done(reserved, None);
            return Err(OpError::Cancelled);
        }
        Ok(reserved)
    }

    /// Sends a request until there is an answer. `name` is what people call it.
    pub(crate) fn send(
        &self,
        server: &Server,
        name: &str,
        messages: &[Message],
        shape: Option<&Shape>,
    ) -> OpResult<Reply> {
        let (mut tries, mut answers) = (0, self.limits.spent().answers);
        loop {
            let reserved = self.leave(messages)?;
            let mode = self.mode();
            let body = wire::body(self.params, messages, shape, mode).to_string();
            let exchange = server.send(body.as_bytes());
            let reply = match &exchange {
                Exchange::Reply(reply) => Some(reply),
                _ => None,
            };
            self.limits.done(reserved, reply);
            let (why, wait, trouble) = match exchange {
                Exchange::Reply(reply) => {
                    self.heard.store(true, Ordering::Relaxed);
                    return Ok(reply);
                }
                Exchange::Never(e) => return Err(e),
                Exchange::NoSuchFormat(e) => {
                    if shape.is_some() && self.ask_for_less(mode) {
                        continue;
                    }
                    return Err(e);
                }
                Exchange::Later { why, wait, trouble } => (why, wait, trouble),
            };
            let trouble = match trouble {
                Trouble::Absent | Trouble::Strange if self.heard.load(Ordering::Relaxed) => {
                    Trouble::Busy
                }
                trouble => trouble,
            };
            // While others get their answers, it is only a matter of time.
            let now = self.limits.spent().answers;
            if trouble == Trouble::Limited && now > answers {
                (tries, answers) = (0, now);
            }
            let most = match trouble {
                Trouble::Busy | Trouble::Limited => self.params.retries,
                Trouble::Absent | Trouble::Strange => self.params.retries.min(FIRST_RETRIES),
            };
            if tries >= most {
                let tried = match tries {
                    0 => "once".to_owned(),
                    n => format!("{} times", n + 1),
                };
                let e = OpError::resource(format!("{why} (tried {tried}, for {name:?})"));
                return Err(e.hint(advice(trouble)));
            }
            let patience = self.params.patience.map(Duration::from_secs_f64);
            let patience = patience.unwrap_or(LONGEST_WAIT);
            if let Some(wait) = wait.filter(|wait| *wait > patience) {
                let wait = match wait.as_secs() {
                    seconds @ ..60 => format!("{seconds} seconds"),
                    seconds => format!("{} minutes", seconds.div_ceil(60)),
                };
                let e = OpError::resource(format!("{why}; the server asks to wait for {wait}"));
                return Err(e.hint("what was answered is kept: run again then"));
            }
            // A server that asks for no pause at all gets the usual one.
            let wait = wait.filter(|wait| !wait.is_zero());
            let wait = wait.unwrap_or_else(|| backoff(tries, random()));
            if !self.told.swap(true, Ordering::Relaxed) {
                self.ctx.info(format!(
                    "{why}; such requests are sent again, up to {} times",
                    most
                ));
            }
            if trouble == Trouble::Limited {
                self.limits.hold(Instant::now() + wait);
            }
            tries += 1;
            self.pause(wait)?;
        }
    }
}

/// What to do when a server was tried often enough.
fn advice(trouble: Trouble) -> &'static str {
    match trouble {
        Trouble::Absent => "see whether the server runs, and `llm.base_url` is its address",
        Trouble::Strange => {
            "see whether `llm.base_url` is the address of a language model (it often ends with /v1)"
        }
        Trouble::Busy | Trouble::Limited => {
            "what was answered is kept: run again when the server answers"
        }
    }
}

/// The pause after a failed try, from half to all of a time that doubles.
fn backoff(tries: u32, random: f64) -> Duration {
    let doubled = Duration::from_millis(500) * 2_u32.saturating_pow(tries.min(10));
    doubled.min(LONGEST_PAUSE).mul_f64(0.5 + 0.5 * random)
}

/// A number from 0 to 1, another one each time.
fn random() -> f64 {
    let bits = RandomState::new().build_hasher().finish();
    bits as f64 / u64::MAX as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_minute() {
        let at = |tries| backoff(tries, 1.0).as_secs_f64();
        assert_eq!([at(0), at(1), at(2), at(3)], [0.5, 1.0, 2.0, 4.0]);
        assert_eq!(at(99), 60.0);
        assert_eq!(backoff(0, 0.0), Duration::from_millis(250));
    }
}
