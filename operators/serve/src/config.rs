//! The configuration of a server.

use std::fmt;
use std::time::Duration;

use axum::http::HeaderValue;
use gfm_pipe_api::{OpError, OpResult};

use crate::current::Current;

/// How a server behaves. [`Config::new`] has the defaults.
#[derive(Clone)]
pub struct Config {
    /// What answers. The caller keeps a clone to switch to another retriever.
    pub current: Current,
    /// The version that `/about` and the OpenAPI document show.
    pub version: String,
    /// Bearer token that every request needs, except for `/`, `/health` and preflights; `None`:
    /// anyone may ask.
    pub token: Option<String>,
    /// Origins of pages elsewhere that may read answers, such as `https://example.org`. None by
    /// default: browsers then let only this server's own page read them.
    pub origins: Vec<String>,
    /// Names, without ports, under which clients may address the server, such as `localhost`; none
    /// named: any. A server without a token that only this machine can reach needs them: a page of
    /// elsewhere can have its own name lead here, and browsers then let it read the answers.
    pub hosts: Vec<String>,
    /// Bounds of everything that a client decides.
    pub limits: Limits,
    /// Threads that score questions. More than one pays off only where the retriever does not use
    /// all cores for one batch; default 1.
    pub workers: usize,
    /// Threads that wait for a language model, for questions that ask for its answer; default 8.
    pub writers: usize,
    /// Most questions that are scored together; default 32.
    pub together: usize,
    /// How long running requests may take once the server was asked to stop; default 10 s.
    pub grace: Duration,
}

impl Config {
    /// The defaults: open to anyone who can reach the listener, no other origins.
    pub fn new(current: Current) -> Self {
        Config {
            current,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            token: None,
            origins: Vec::new(),
            hosts: Vec::new(),
            limits: Limits::default(),
            workers: 1,
            writers: 8,
            together: 32,
            grace: Duration::from_secs(10),
        }
    }

    /// Refuses what cannot work.
    pub fn check(&self) -> OpResult<()> {
        if let Some(token) = &self.token {
            let valid = !token.is_empty() && token.bytes().all(|b| b.is_ascii_graphic());
            if !valid {
                return Err(OpError::new(
                    "the token is empty or has characters other than visible ASCII",
                )
                .hint("use a long random word, such as the output of `openssl rand -hex 32`"));
            }
        }
        for origin in &self.origins {
            let rest = origin.split_once("://").map(|(_, rest)| rest);
            let valid = rest.is_some_and(|rest| !rest.is_empty() && !rest.contains(['/', '*']));
            if !valid || HeaderValue::from_str(origin).is_err() {
                return Err(OpError::new(format!("{origin} is not an origin"))
                    .hint("write scheme, host and port, without a path: https://a.example:8443"));
            }
        }
        let limits = &self.limits;
        let sizes = [
            ("workers", self.workers),
            ("writers", self.writers),
            ("together", self.together),
            ("body_bytes", limits.body_bytes),
            ("question_chars", limits.question_chars),
            ("batch", limits.batch),
            ("waiting", limits.waiting),
            ("connections", limits.connections),
            ("headers", limits.headers),
            ("lookups", limits.lookups),
        ];
        for (name, size) in sizes {
            if size == 0 {
                return Err(OpError::new(format!("{name} is 0")).hint("it must be at least 1"));
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Config {
    /// Without the token, which must not reach a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("version", &self.version)
            .field("token", &self.token.as_ref().map(|_| "…"))
            .field("origins", &self.origins)
            .field("hosts", &self.hosts)
            .field("limits", &self.limits)
            .field("workers", &self.workers)
            .field("writers", &self.writers)
            .field("together", &self.together)
            .field("grace", &self.grace)
            .finish_non_exhaustive()
    }
}

/// Bounds of what a client decides. A request beyond one is refused with a 4xx.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a request's body; default 1 MiB. Beyond: 413.
    pub body_bytes: usize,
    /// Bytes of a request's line and headers; default 32 KiB. Beyond: 431.
    pub head_bytes: usize,
    /// Headers of a request; default 100. Beyond: 431.
    pub headers: usize,
    /// Characters of a question, and of each other text of a request; default 4000. Beyond: 400.
    pub question_chars: usize,
    /// Names in a question's `why_not`; default 100. Beyond: 400.
    pub why_not: usize,
    /// Questions of one `POST /ask/batch`; default 256. Beyond: 400.
    pub batch: usize,
    /// Questions that wait to be scored; default 1024. Beyond: 429.
    pub waiting: usize,
    /// Connections at a time; default 256. Each carries one request at a time. Beyond: 429.
    pub connections: usize,
    /// Documents and nodes that are looked up at a time; default 4. Others wait.
    pub lookups: usize,
    /// How long a client may take to send a request's line and headers, and how long a connection
    /// without a request stays open; default 30 s. Beyond: 408 where a request has begun.
    pub head: Duration,
    /// How long a client may take to send a body; default 15 s. Beyond: 408.
    pub body: Duration,
    /// How long an answer may take, with the wait for other questions; default 60 s. Beyond: 503.
    pub request: Duration,
    /// How long a client may take no byte of an answer; default 30 s. Beyond: its connection is
    /// closed.
    pub stalled: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            body_bytes: 1 << 20,
            head_bytes: 32 << 10,
            headers: 100,
            question_chars: 4000,
            why_not: 100,
            batch: 256,
            waiting: 1024,
            connections: 256,
            lookups: 4,
            head: Duration::from_secs(30),
            body: Duration::from_secs(15),
            request: Duration::from_secs(60),
            stalled: Duration::from_secs(30),
        }
    }
}
