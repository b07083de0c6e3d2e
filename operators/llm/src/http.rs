//! One request to a server.
//!
//! ureq, which blocks: a request is a thread, and 64 of them cost less than an asynchronous client
//! would add to the build (async-openai brings reqwest, and two TLS stacks with it). The hub's
//! client uses ureq already.

use std::path::Path;
use std::time::{Duration, SystemTime};

use gfm_pipe_api::{Environment, OpError, OpResult};
use ureq::http::StatusCode;
use ureq::tls::{RootCerts, TlsConfig};
use ureq::{Agent, Error, Timeout};
use url::{Host, Url};

use crate::access::{self, Key};
use crate::params::LlmParams;
use crate::wire::{self, NULLABLE, Reply};

/// Most bytes of an answer.
const MAX_BYTES: u64 = 32 << 20;
/// A server that takes longer than this to accept a connection is not there.
const LONGEST_CONNECT: Duration = Duration::from_secs(30);

/// Codes of servers that do not show a prompt to the model because of what it says.
const FILTERED: [&str; 3] = [
    "content_filter",
    "content_policy_violation",
    "invalid_prompt",
];

/// A server that answers.
pub(crate) struct Server {
    agent: Agent,
    url: String,
    key: Option<Key>,
    is_local: bool,
    sends_max_tokens: bool,
    /// What a request may take.
    seconds: f64,
}

/// What came of a request.
pub(crate) enum Exchange {
    /// An answer.
    Reply(Reply),
    /// It may work later: the reason, and how long the server asks to wait.
    Later {
        why: String,
        wait: Option<Duration>,
        trouble: Trouble,
    },
    /// The server does not know this way to ask for JSON.
    NoSuchFormat(OpError),
    /// It will not work.
    Never(OpError),
}

/// What may be wrong with a server that will perhaps answer later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// Nobody listens at the address.
    Absent,
    /// What it sends is no chat completion.
    Strange,
    /// It is busy, or fails.
    Busy,
    /// It takes no more requests for a while.
    Limited,
}

impl Server {
    /// Prepares requests.
    ///
    /// # Errors
    /// When the server needs a key and there is none, or a file of certificates cannot be read.
    pub(crate) fn open(
        params: &LlmParams,
        environment: &Environment,
        base: &Path,
    ) -> OpResult<Server> {
        let key = access::key(params, environment)?;
        let url = Url::parse(&params.base_url).ok();
        let is_local = match url.as_ref().and_then(Url::host) {
            Some(Host::Domain(name)) => name == "localhost",
            Some(Host::Ipv4(address)) => address.is_loopback(),
            Some(Host::Ipv6(address)) => address.is_loopback(),
            None => false,
        };
        let timeout = Duration::from_secs_f64(params.timeout);
        let mut config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_idle_connections(params.concurrency)
            .max_idle_connections_per_host(params.concurrency)
            .timeout_connect(Some(timeout.min(LONGEST_CONNECT)))
            .timeout_global(Some(timeout))
            .user_agent(concat!("gfm-pipe/", env!("CARGO_PKG_VERSION")));
        if let Some(path) = &params.ca_file {
            let roots = RootCerts::from(access::certificates(&base.join(path))?);
            config = config.tls_config(TlsConfig::builder().root_certs(roots).build());
        }
        // A proxy does not reach this machine's own servers.
        if is_local {
            config = config.proxy(None);
        }
        Ok(Server {
            agent: config.build().new_agent(),
            url: format!("{}/chat/completions", params.base_url.trim_end_matches('/')),
            key,
            is_local,
            sends_max_tokens: params.max_tokens.is_some(),
            seconds: params.timeout,
        })
    }

    /// What the user should know before anything is sent.
    pub(crate) fn remark(&self) -> Option<String> {
        let open = self.url.starts_with("http://") && !self.is_local;
        let key = self.key.as_ref().filter(|_| open)?;
        Some(format!(
            "the key in {} goes to {} without encryption",
            key.variable, self.url
        ))
    }

    /// Sends a request and waits for the answer.
    pub(crate) fn send(&self, body: &[u8]) -> Exchange {
        let mut request = self
            .agent
            .post(&self.url)
            .header("content-type", "application/json");
        if let Some(key) = &self.key {
            request = request.header("authorization", format!("Bearer {}", key.value));
        }
        let mut response = match request.send(body) {
            Ok(response) => response,
            Err(e) => return self.failure(&e, "cannot be reached"),
        };
        let status = response.status();
        let header = |name: &str| {
            let value = response.headers().get(name)?;
            value.to_str().ok().map(str::to_owned)
        };
        let wait = header("retry-after").and_then(|text| pause(&text));
        let location = header("location");
        let bytes = response
            .body_mut()
            .with_config()
            .limit(MAX_BYTES)
            .read_to_vec();
        let bytes = match bytes {
            Ok(bytes) => bytes,
            Err(e) => return self.failure(&e, "broke off its answer"),
        };
        if status.is_success() {
            return match wire::reply(&bytes) {
                Some(reply) => Exchange::Reply(reply),
                None => self.strange(&bytes),
            };
        }
        self.refusal(status, &bytes, wait, location.as_deref())
    }

    /// A text of the server without the key, should the server repeat it, and shortened.
    fn repeatable(&self, text: &str) -> String {
        let text = match &self.key {
            Some(key) => text.replace(&key.value, "[key]"),
            None => text.to_owned(),
        };
        wire::shortened(&text)
    }

    /// Something else than a chat completion came.
    fn strange(&self, bytes: &[u8]) -> Exchange {
        let said = self.repeatable(&wire::complaint(bytes).0);
        let what = match said.as_str() {
            "" => "nothing",
            said => said,
        };
        Exchange::Later {
            why: format!("{} sent no chat completion, but: {what}", self.url),
            wait: None,
            trouble: Trouble::Strange,
        }
    }

    /// `what` says what the server did where nothing better is known.
    fn failure(&self, e: &Error, what: &str) -> Exchange {
        let why = self.repeatable(&e.to_string());
        if why.contains("certificate") || matches!(e, Error::Tls(_) | Error::Rustls(_)) {
            let e = OpError::resource(format!("no secure connection to {}: {why}", self.url));
            return Exchange::Never(e.hint(
                "for a server with a certificate of its own, name its file with `llm.ca_file`",
            ));
        }
        if let Error::BodyExceedsLimit(_) = e {
            let e = OpError::data(format!("{} sent more than 32 MiB", self.url));
            return Exchange::Never(e.hint("limit the length of answers with `llm.max_tokens`"));
        }
        let absent = match e {
            Error::HostNotFound | Error::ConnectionFailed => true,
            Error::Timeout(Timeout::Resolve | Timeout::Connect) => true,
            // A name that nobody knows has no kind of its own.
            Error::Io(e) => {
                e.kind() == std::io::ErrorKind::ConnectionRefused
                    || e.to_string().contains("lookup address")
            }
            _ => false,
        };
        let why = match e {
            Error::Timeout(_) => format!(
                "{} did not answer within {} seconds (`llm.timeout`)",
                self.url, self.seconds
            ),
            _ => format!("{} {what}: {why}", self.url),
        };
        let trouble = if absent {
            Trouble::Absent
        } else {
            Trouble::Busy
        };
        Exchange::Later {
            why,
            wait: None,
            trouble,
        }
    }

    fn refusal(
        &self,
        status: StatusCode,
        bytes: &[u8],
        wait: Option<Duration>,
        location: Option<&str>,
    ) -> Exchange {
        let (full, code) = wire::complaint(bytes);
        let said = self.repeatable(&full);
        let number = status.as_u16();
        let message = format!("{} answers with {number}: {said}", self.url);
        let all = format!("{said} {code}").to_lowercase();
        let never = |hint: &str| Exchange::Never(OpError::new(message.clone()).hint(hint));
        match number {
            300..=399 => {
                let to = location.unwrap_or("an unnamed place");
                let to = self.repeatable(to);
                let e = OpError::new(format!(
                    "{} sends requests on to {to}, which is not followed: they hold your documents",
                    self.url
                ));
                Exchange::Never(e.hint("if that is the right address, set `llm.base_url` to it"))
            }
            401 | 403 => match &self.key {
                Some(key) => never(&format!("see whether {} holds the right key", key.variable)),
                None => never("name the variable that holds the key with `llm.api_key_env`"),
            },
            402 => {
                never("the account has nothing left: what was answered is kept, so run again later")
            }
            404 => never(
                "see whether `llm.model` is a model of this server, and `llm.base_url` its address \
                 (it often ends with /v1)",
            ),
            429 if all.contains("insufficient_quota") => {
                never("the account has nothing left: what was answered is kept, so run again later")
            }
            408 | 409 | 425 | 429 | 500..=599 => Exchange::Later {
                why: message,
                wait,
                trouble: match number {
                    429 => Trouble::Limited,
                    _ => Trouble::Busy,
                },
            },
            // It is about this prompt alone, so that the others go on.
            400 if FILTERED.contains(&code.as_str()) => Exchange::Reply(Reply {
                refusal: Some(said),
                ..Reply::default()
            }),
            _ => {
                if full.contains("response_format") || full.contains("json_schema") {
                    let e = OpError::new(message.clone());
                    return Exchange::NoSuchFormat(e.hint("set `llm.json: prompt`"));
                }
                if all.contains("context") && all.contains("length") || all.contains("too long") {
                    return never(
                        "the prompt and `llm.max_tokens` together are longer than the model's \
                         context: lower `llm.max_tokens`, use a model with a longer context, or \
                         shorter documents (`ingest-documents` has `split`)",
                    );
                }
                // A message that names both says which one it wants.
                let both = all.contains("max_tokens") && all.contains("max_completion_tokens");
                match NULLABLE.iter().find(|name| all.contains(**name)) {
                    Some(_) if both && self.sends_max_tokens => never(
                        "this model takes `max_completion_tokens`: set `llm: {max_tokens: null, \
                         max_completion_tokens: 4096}`",
                    ),
                    Some(name) => never(&format!(
                        "if the server does not take `{name}`, leave it out with \
                         `llm: {{{name}: null}}`"
                    )),
                    None => Exchange::Never(OpError::new(message.clone())),
                }
            }
        }
    }
}

/// How long `Retry-After` asks to wait: a number of seconds, or a date.
fn pause(text: &str) -> Option<Duration> {
    let text = text.trim();
    if let Ok(seconds) = text.parse::<f64>() {
        return Duration::try_from_secs_f64(seconds).ok();
    }
    let date = httpdate::parse_http_date(text).ok()?;
    Some(date.duration_since(SystemTime::now()).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn servers_say_how_long_to_wait() {
        assert_eq!(pause("2"), Some(Duration::from_secs(2)));
        assert_eq!(pause(" 0.5 "), Some(Duration::from_millis(500)));
        assert_eq!(pause("-3"), None);
        assert_eq!(pause("soon"), None);
        assert_eq!(pause("Sun, 06 Nov 1994 08:49:37 GMT"), Some(Duration::ZERO));
        let later = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(90));
        let wait = pause(&later).unwrap().as_secs();
        assert!((80..=90).contains(&wait), "{wait}");
    }
}
