//! What may be sent: tokens a minute, and a budget.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::params::{Budget, LlmParams, Price};
use crate::wire::Reply;

/// Seconds after which a request asks again whether it may be sent.
const LONGEST_WAIT: f64 = 600.0;

/// What a stage has used so far.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Spent {
    /// Answers that came from the server.
    pub(crate) answers: u64,
    /// Tokens of prompts.
    pub(crate) input: u64,
    /// Tokens of answers.
    pub(crate) output: u64,
}

impl Spent {
    fn tokens(self) -> u64 {
        self.input + self.output
    }

    pub(crate) fn money(self, price: Price) -> f64 {
        (self.input as f64 * price.input + self.output as f64 * price.output) / 1e6
    }
}

/// Rough tokens of a request that is under way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Reserved {
    /// Of the prompt.
    input: u64,
    /// Of the answer, if it is as long as the others were.
    output: u64,
}

impl Reserved {
    fn tokens(self) -> u64 {
        self.input + self.output
    }
}

/// Whether a request may be sent.
#[derive(Debug, PartialEq)]
pub(crate) enum Leave {
    /// Now; these tokens are reserved for it.
    Now(Reserved),
    /// Ask again after this time.
    In(Duration),
    /// Not any more: the budget is used up.
    UsedUp(String),
}

#[derive(Debug, Default)]
struct State {
    spent: Spent,
    /// For the requests that are under way.
    reserved: Reserved,
    /// Tokens that may be sent, where there is a limit; negative where too many were.
    free: f64,
    filled: Option<Instant>,
    /// Before this time, the server takes nothing.
    held: Option<Instant>,
}

/// Counts tokens, and lets requests through.
#[derive(Debug)]
pub(crate) struct Limits {
    per_minute: Option<f64>,
    budget: Budget,
    price: Price,
    /// Tokens that an answer may have, for as long as none has come.
    longest: u64,
    state: Mutex<State>,
}

/// The length of an answer that has no limit.
const LONG: u64 = 2000;
/// How long a request waits that the budget may have no room for.
const ROOM: Duration = Duration::from_millis(50);

impl Limits {
    pub(crate) fn new(params: &LlmParams) -> Self {
        Limits {
            per_minute: params.tokens_per_minute.map(|n| n as f64),
            budget: params.budget,
            price: params.price,
            longest: params
                .max_tokens
                .or(params.max_completion_tokens)
                .unwrap_or(LONG),
            state: Mutex::default(),
        }
    }

    fn locked(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn spent(&self) -> Spent {
        self.locked().spent
    }

    /// Whether nothing was sent.
    pub(crate) fn is_untouched(&self) -> bool {
        let state = self.locked();
        state.spent == Spent::default() && state.reserved == Reserved::default()
    }

    /// Asks to send a prompt of about this many tokens. After [`Leave::Now`], [`Limits::done`] must
    /// follow.
    pub(crate) fn ask(&self, prompt: u64, now: Instant) -> Leave {
        let mut state = self.locked();
        if let Some(held) = state.held.filter(|held| *held > now) {
            return Leave::In(held.duration_since(now));
        }
        // Answers are as long as the others were.
        let wanted = Reserved {
            input: prompt,
            output: match state.spent.answers {
                0 => self.longest,
                n => state.spent.output / n,
            },
        };
        let with = |other: Reserved| Spent {
            answers: 0,
            input: state.spent.input + other.input + wanted.input,
            output: state.spent.output + other.output + wanted.output,
        };
        if let Some(budget) = self.exceeded(with(state.reserved)) {
            let underway = state.reserved != Reserved::default();
            // What is under way may turn out to be shorter.
            let alone = self.exceeded(with(Reserved::default())).is_none();
            // As long as none has come, answers may be shorter than the longest.
            let least = Spent {
                answers: 0,
                input: state.spent.input + prompt,
                output: state.spent.output,
            };
            let guessed = state.spent.answers == 0 && self.exceeded(least).is_none();
            if underway && (alone || guessed) {
                return Leave::In(ROOM);
            }
            // The first goes by itself, and shows how long answers are.
            if !guessed {
                return Leave::UsedUp(budget);
            }
        }
        if let Some(rate) = self.per_minute {
            let filled = state.filled.unwrap_or(now);
            let since = now.saturating_duration_since(filled).as_secs_f64();
            // At the start, a sixth of a minute may be sent at once.
            let most = rate / 6.0;
            state.free = match state.filled {
                None => most,
                Some(_) => (state.free + since * rate / 60.0).min(most),
            };
            state.filled = Some(now);
            // A prompt larger than that is sent when nothing else was for long enough.
            let missing = (wanted.tokens() as f64).min(most) - state.free;
            if missing > 0.0 {
                let wait = (missing * 60.0 / rate).min(LONGEST_WAIT);
                return Leave::In(Duration::from_secs_f64(wait));
            }
            state.free -= wanted.tokens() as f64;
        }
        state.reserved.input += wanted.input;
        state.reserved.output += wanted.output;
        Leave::Now(wanted)
    }

    /// The budget that is smaller than this.
    fn exceeded(&self, spent: Spent) -> Option<String> {
        let tokens = self.budget.tokens.filter(|most| spent.tokens() > *most);
        let money = self.budget.money.filter(|m| spent.money(self.price) > *m);
        tokens
            .map(|most| format!("{most} tokens"))
            .or_else(|| money.map(|most| format!("{most} in money")))
    }

    /// Lets nothing through before this time: the server takes no more requests.
    pub(crate) fn hold(&self, until: Instant) {
        let mut state = self.locked();
        state.held = state.held.max(Some(until));
    }

    /// Notes what came of a request for which these tokens were reserved.
    pub(crate) fn done(&self, reserved: Reserved, reply: Option<&Reply>) {
        let mut state = self.locked();
        state.reserved.input -= reserved.input;
        state.reserved.output -= reserved.output;
        let Some(reply) = reply else {
            return;
        };
        // A server that counts nothing is counted for.
        let input = match reply.prompt_tokens {
            0 => reserved.input,
            n => n,
        };
        let output = match reply.completion_tokens {
            0 => crate::wire::rough_tokens(&reply.content),
            n => n,
        };
        state.spent.answers += 1;
        state.spent.input += input;
        state.spent.output += output;
        if self.per_minute.is_some() {
            state.free += reserved.tokens() as f64 - (input + output) as f64;
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn limits(per_minute: Option<u64>, budget: Budget, price: Price) -> Limits {
        Limits {
            per_minute: per_minute.map(|n| n as f64),
            budget,
            price,
            longest: 0,
            state: Mutex::default(),
        }
    }

    fn reply(input: u64, output: u64) -> Reply {
        Reply {
            prompt_tokens: input,
            completion_tokens: output,
            ..Reply::default()
        }
    }

    /// Asks, and returns what was reserved.
    fn now(limits: &Limits, prompt: u64) -> Reserved {
        match limits.ask(prompt, Instant::now()) {
            Leave::Now(reserved) => reserved,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_budget_counts_what_is_under_way() {
        let budget = Budget {
            tokens: Some(1000),
            money: None,
        };
        let limits = limits(None, budget, Price::default());
        let first = now(&limits, 400);
        let second = now(&limits, 400);
        assert_eq!(limits.ask(400, Instant::now()), Leave::In(ROOM));
        limits.done(first, Some(&reply(300, 100)));
        // 400 spent, 400 under way, and an answer of 100 is expected.
        let third = now(&limits, 100);
        assert_eq!(third.tokens(), 200);
        limits.done(second, None);
        assert_eq!(limits.ask(301, Instant::now()), Leave::In(ROOM));
        limits.done(third, None);
        let used_up = Leave::UsedUp("1000 tokens".to_owned());
        assert_eq!(limits.ask(501, Instant::now()), used_up);
        let spent = Spent {
            answers: 1,
            input: 300,
            output: 100,
        };
        assert_eq!(limits.spent(), spent);
    }

    #[test]
    fn the_first_answer_shows_how_long_answers_are() {
        let budget = Budget {
            tokens: Some(100),
            money: None,
        };
        let mut limits = limits(None, budget, Price::default());
        limits.longest = 4096;
        let used_up = Leave::UsedUp("100 tokens".to_owned());
        assert_eq!(limits.ask(101, Instant::now()), used_up);
        let first = now(&limits, 10);
        assert_eq!(limits.ask(10, Instant::now()), Leave::In(ROOM));
        limits.done(first, Some(&reply(10, 20)));
        let second = now(&limits, 10);
        assert_eq!(second.tokens(), 30);
        now(&limits, 10);
        assert_eq!(limits.ask(10, Instant::now()), Leave::In(ROOM));
        limits.done(second, Some(&reply(10, 60)));
        assert_eq!(limits.ask(10, Instant::now()), used_up);
    }

    #[test]
    fn money_is_tokens_by_their_price() {
        let budget = Budget {
            tokens: None,
            money: Some(1.0),
        };
        let price = Price {
            input: 1000.0,
            output: 4000.0,
        };
        let limits = limits(None, budget, price);
        let reserved = now(&limits, 500);
        limits.done(reserved, Some(&reply(500, 100)));
        assert!((limits.spent().money(price) - 0.9).abs() < 1e-9);
        let used_up = Leave::UsedUp("1 in money".to_owned());
        assert_eq!(limits.ask(10, Instant::now()), used_up);
    }

    #[test]
    fn money_for_answers_under_way_is_set_aside() {
        let budget = Budget {
            tokens: None,
            money: Some(1.0),
        };
        let price = Price {
            input: 0.0,
            output: 1000.0,
        };
        let limits = limits(None, budget, price);
        let first = now(&limits, 10);
        limits.done(first, Some(&reply(10, 300)));
        // 300 spent, and answers of 300 are expected: two more fit, a third does not.
        let second = now(&limits, 10);
        now(&limits, 10);
        assert_eq!(limits.ask(10, Instant::now()), Leave::In(ROOM));
        limits.done(second, None);
        now(&limits, 10);
    }

    #[test]
    fn a_server_that_counts_nothing_is_counted_for() {
        let limits = limits(None, Budget::default(), Price::default());
        for _ in 0..2 {
            let reserved = now(&limits, 100);
            let content = "x".repeat(39);
            let reply = Reply {
                content,
                ..Reply::default()
            };
            limits.done(reserved, Some(&reply));
        }
        let spent = limits.spent();
        assert_eq!((spent.input, spent.output), (200, 20));
    }

    #[test]
    fn tokens_a_minute_are_kept_on_average() {
        let limits = limits(Some(6000), Budget::default(), Price::default());
        let start = Instant::now();
        let (mut now, mut sent) = (start, 0);
        while now.duration_since(start) < Duration::from_secs(120) {
            match limits.ask(450, now) {
                Leave::Now(reserved) => {
                    limits.done(reserved, Some(&reply(450, 50)));
                    sent += 500;
                }
                Leave::In(wait) => now += wait + Duration::from_millis(1),
                Leave::UsedUp(_) => unreachable!(),
            }
        }
        // Two minutes, and what may be sent at once at the start.
        assert!((11_000..=13_500).contains(&sent), "{sent}");
    }

    #[test]
    fn a_prompt_above_the_limit_is_sent_in_the_end() {
        let limits = limits(Some(600), Budget::default(), Price::default());
        let now = Instant::now();
        let Leave::Now(reserved) = limits.ask(5000, now) else {
            panic!("the first is sent at once");
        };
        limits.done(reserved, Some(&reply(5000, 0)));
        assert!(matches!(limits.ask(5000, now), Leave::In(wait) if wait.as_secs() > 100));
        let later = now + Duration::from_secs(600);
        assert!(matches!(limits.ask(5000, later), Leave::Now(_)));
    }
}
