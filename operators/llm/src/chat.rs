//! Asks a language model, many times at once, and pays for nothing twice.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use gfm_pipe_api::items::{Id, ItemFunction, PAID, Work};
use gfm_pipe_api::{Context, OpError, OpResult};

use crate::asker::Asker;
use crate::http::Server;
use crate::keeper::{self, Store};
use crate::limits::Limits;
use crate::params::{JsonMode, LlmParams};
use crate::recorded;

/// From a conversation to the model's answer.
const ANSWER: ItemFunction = ItemFunction {
    name: "paid-answer",
    version: 1,
};
const _: () = assert!(matches!(
    ANSWER.name.as_bytes().split_at(PAID.len()),
    (b"paid-", _)
));

/// How many missing answers a message names.
const NAMED: usize = 5;

/// A language model that a stage asks.
pub struct Chat<'a> {
    pub(crate) ctx: &'a Context,
    pub(crate) params: &'a LlmParams,
    /// `None` where only stored answers are used.
    pub(crate) server: Option<Server>,
    pub(crate) limits: Limits,
    recorded: HashMap<Id, Vec<u8>>,
    /// How JSON is asked for, as an index of [`MODES`].
    pub(crate) mode: AtomicU8,
    /// Whether the server has answered a request.
    pub(crate) heard: AtomicBool,
    /// Answers that were stored.
    pub(crate) stored: AtomicU64,
    /// Answers that came from the server and are on the disk.
    pub(crate) kept: AtomicU64,
    /// Answers that are not stored and may not be asked for, with the names of their requests.
    pub(crate) missing: Mutex<BTreeMap<Id, String>>,
    stop: AtomicBool,
    /// Whether the user knows that requests are sent again.
    pub(crate) told: AtomicBool,
}

/// The folders of answers that stages of this process ask for.
static ASKING: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// A stage's turn to ask a model.
struct Turn(String);

impl Drop for Turn {
    fn drop(&mut self) {
        let mut asking = ASKING.lock().unwrap_or_else(PoisonError::into_inner);
        asking.remove(&self.0);
    }
}

pub(crate) const MODES: [JsonMode; 3] = [JsonMode::Schema, JsonMode::Object, JsonMode::Prompt];

/// What everything that a stage asks depends on besides the conversation.
fn shared(params: &LlmParams) -> Vec<String> {
    let shown = |value: Option<String>| value.unwrap_or_else(|| "not sent".to_owned());
    vec![
        params.model.clone().unwrap_or_default(),
        shown(params.temperature.map(|v| v.to_string())),
        shown(params.seed.map(|v| v.to_string())),
        shown(params.max_tokens.map(|v| v.to_string())),
        shown(params.max_completion_tokens.map(|v| v.to_string())),
    ]
}

fn open<'w>(ctx: &'w Context, params: &LlmParams) -> Work<'w> {
    let shared = shared(params);
    let shared: Vec<&str> = shared.iter().map(String::as_str).collect();
    ctx.items.open(&ANSWER, &shared)
}

impl<'a> Chat<'a> {
    /// Prepares to ask. Nothing is sent yet.
    ///
    /// # Errors
    /// When there is no model or no key, or a file cannot be read.
    pub fn open(ctx: &'a Context, params: &'a LlmParams) -> OpResult<Chat<'a>> {
        if !params.is_set() {
            return Err(OpError::new("no language model is named").hint("set `llm.model`"));
        }
        let server = if params.offline || ctx.offline || ctx.requests.is_some() {
            None
        } else {
            Some(Server::open(params, &ctx.environment, &ctx.base)?)
        };
        if let Some(remark) = server.as_ref().and_then(Server::remark) {
            ctx.warn(remark);
        }
        let recorded = match &params.recorded {
            Some(path) => recorded::read(&ctx.base.join(path))?,
            None => HashMap::new(),
        };
        let mode = MODES.iter().position(|m| *m == params.json).unwrap_or(0);
        Ok(Chat {
            ctx,
            params,
            server,
            limits: Limits::new(params),
            recorded,
            mode: AtomicU8::new(mode as u8),
            heard: AtomicBool::new(false),
            stored: AtomicU64::new(0),
            kept: AtomicU64::new(0),
            missing: Mutex::default(),
            stop: AtomicBool::new(false),
            told: AtomicBool::new(false),
        })
    }

    /// Does `n` pieces of work that ask the model, several at a time, and returns their results in
    /// order. Where one fails, those that wait for an answer get it, so that it is kept, and no
    /// others are begun.
    ///
    /// # Errors
    /// The first error of a piece of work; when the budget is used up; and when answers are missing
    /// that may not be asked for. Where requests are only counted, always [`OpError::Cancelled`].
    pub fn each<T: Send>(
        &self,
        n: usize,
        unit: &str,
        work: impl Fn(usize, &Asker<'_>) -> OpResult<T> + Sync,
    ) -> OpResult<Vec<T>> {
        type Done<T> = OpResult<(T, Vec<(String, Id)>)>;
        let next = AtomicUsize::new(0);
        let finished = AtomicUsize::new(0);
        let results: Mutex<Vec<Option<Done<T>>>> = Mutex::new((0..n).map(|_| None).collect());
        let workers = self.params.concurrency.min(n).max(1);
        let _turn = self.turn()?;
        let mut kept = open(self.ctx, self.params);
        let before = self.limits.spent().answers;
        let ids = kept.ids();
        let (store, orders) = Store::new();
        let started = thread::scope(|scope| {
            let mut started = Ok(());
            for worker in 0..workers {
                let (store, next, finished) = (store.clone(), &next, &finished);
                let (results, work) = (&results, &work);
                let thread = thread::Builder::new().spawn_scoped(scope, move || {
                    while !self.stopped() {
                        let i = next.fetch_add(1, Ordering::Relaxed);
                        if i >= n {
                            break;
                        }
                        let asker = Asker {
                            chat: self,
                            store: store.clone(),
                            ids,
                            used: RefCell::default(),
                        };
                        let done = work(i, &asker).map(|value| (value, asker.used.into_inner()));
                        if done.is_err() {
                            self.stop.store(true, Ordering::Relaxed);
                        }
                        let mut results = results.lock().unwrap_or_else(PoisonError::into_inner);
                        results[i] = Some(done);
                        // With the lock, so that progress never goes back.
                        let finished = 1 + finished.fetch_add(1, Ordering::Relaxed);
                        self.progress(finished, n, unit);
                    }
                });
                if let Err(e) = thread {
                    started = self.fewer(worker, &e);
                    break;
                }
            }
            drop(store);
            keeper::keep(&mut kept, orders, &self.recorded, self.server.is_some());
            started
        });
        started?;
        let results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
        if self.ctx.cancel.is_cancelled() {
            return Err(self.with_count(OpError::Cancelled));
        }
        let mut out = Vec::with_capacity(n);
        let mut not_begun = false;
        let mut failed: Option<OpError> = None;
        let cancelled = |e: &OpError| matches!(e, OpError::Cancelled);
        for result in results {
            match result {
                // Those that another's error stopped do not hide it.
                Some(Err(e))
                    if failed
                        .as_ref()
                        .is_none_or(|f| cancelled(f) && !cancelled(&e)) =>
                {
                    failed = Some(e);
                }
                Some(Err(_)) => {}
                Some(Ok(result)) => out.push(result),
                None => not_begun = true,
            }
        }
        if let Some(e) = failed {
            return Err(self.with_count(e));
        }
        // What is only counted has no results, and nothing that follows is of use.
        if self.ctx.requests.is_some() {
            return Err(OpError::Cancelled);
        }
        self.nothing_missing()?;
        if not_begun {
            return Err(OpError::internal("a request was not sent"));
        }
        let asked = self.limits.spent().answers - before;
        kept.computed(asked as usize);
        let values = out.into_iter().map(|(value, used)| {
            for (name, id) in used {
                kept.used(&name, id);
            }
            value
        });
        Ok(values.collect())
    }

    /// Waits until no other stage of this process asks the same model with the same parameters. So
    /// none pays for what another has asked, and limits hold for all of them.
    fn turn(&self) -> OpResult<Option<Turn>> {
        // Where nothing is kept, nothing can be shared.
        let Some(id) = open(self.ctx, self.params).kept_as() else {
            return Ok(None);
        };
        loop {
            let mut asking = ASKING.lock().unwrap_or_else(PoisonError::into_inner);
            if asking.insert(id.clone()) {
                return Ok(Some(Turn(id)));
            }
            drop(asking);
            self.pause(Duration::from_millis(100))?;
        }
    }

    /// One line on what was asked, for the user.
    pub fn report(&self) {
        let spent = self.limits.spent();
        let stored = self.stored.load(Ordering::Relaxed);
        let model = self.params.model.as_deref().unwrap_or_default();
        let mut text = format!(
            "{model}: {} answers, {} of them stored before",
            spent.answers + stored,
            stored
        );
        if spent.answers > 0 {
            text.push_str(&format!(
                "; {} tokens of prompts, {} of answers",
                spent.input, spent.output
            ));
            let money = spent.money(self.params.price);
            if money > 0.0 {
                text.push_str(&format!("; they cost {money:.4}"));
            }
        }
        self.ctx.info(text);
    }

    /// The system starts no more threads than these.
    fn fewer(&self, threads: usize, e: &io::Error) -> OpResult<()> {
        if threads == 0 {
            return Err(OpError::resource(format!("no thread can be started: {e}")));
        }
        self.ctx.warn(format!(
            "only {threads} requests at the same time, because no more threads can be started: {e}"
        ));
        Ok(())
    }

    fn progress(&self, done: usize, total: usize, unit: &str) {
        let spent = self.limits.spent();
        let tokens = spent.input + spent.output;
        let note = match tokens {
            0 => String::new(),
            n => format!("{n} tokens"),
        };
        self.ctx.progress(done as u64, total as u64, unit, &note);
    }

    pub(crate) fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed) || self.ctx.cancel.is_cancelled()
    }

    /// An error, with what is kept in spite of it.
    fn with_count(&self, e: OpError) -> OpError {
        let answers = self.kept.load(Ordering::Relaxed);
        if answers > 0 {
            self.ctx
                .info(format!("{answers} answers arrived and are kept"));
        }
        e
    }

    /// # Errors
    /// When answers are missing that may not be asked for.
    fn nothing_missing(&self) -> OpResult<()> {
        let missing = self.missing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut names: Vec<&String> = missing.values().collect();
        names.sort();
        let names: Vec<String> = names.iter().take(NAMED).map(|m| format!("{m:?}")).collect();
        match missing.len() {
            0 => Ok(()),
            n => {
                let more = match n - names.len() {
                    0 => String::new(),
                    n => format!(" and {n} more"),
                };
                let names = names.join(", ");
                Err(OpError::new(format!(
                    "{n} answers are not stored, and no model may be asked: those for {names}{more}"
                ))
                .hint("run without `--offline` and `llm.offline` to ask for them"))
            }
        }
    }
}
