//! A server of chat completions for tests. It answers as the test says, well or badly.

use std::convert::Infallible;
use std::error::Error;
use std::fmt;
use std::future::{Future, pending, poll_fn};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::http::request::Parts;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::{ServerConfig, crypto::ring, pki_types::PrivatePkcs8KeyDer};

/// A request as the server got it.
#[derive(Debug, Clone)]
pub struct Asked {
    /// How many requests came before it.
    pub number: usize,
    /// The path of the address.
    pub path: String,
    /// The header with the key.
    pub authorization: Option<String>,
    /// The body; null where it is no JSON.
    pub body: Value,
}

impl Asked {
    fn contents(&self) -> impl DoubleEndedIterator<Item = &str> {
        let messages = self.body.get("messages").and_then(Value::as_array);
        let contents = messages.map(Vec::as_slice).unwrap_or_default().iter();
        contents.filter_map(|message| message.get("content")?.as_str())
    }

    /// What all messages say, one below the other.
    pub fn text(&self) -> String {
        self.contents().collect::<Vec<_>>().join("\n")
    }

    /// What the last message says.
    pub fn last(&self) -> String {
        self.contents().next_back().unwrap_or_default().to_owned()
    }
}

/// What the server does with a request.
#[derive(Debug, Clone)]
pub enum Act {
    /// Sends a chat completion with this content. Its counts of tokens are rough; they are above
    /// the numbers of words.
    Say(String),
    /// Sends this JSON.
    Reply(Value),
    /// Sends a status, headers and a body.
    Status(u16, Vec<(&'static str, String)>, String),
    /// Does something later.
    After(Duration, Box<Act>),
    /// Writes these bytes to the connection and closes it.
    Raw(Vec<u8>),
    /// Never answers.
    Hang,
}

/// A server on this machine. It ends when it is dropped.
pub struct ModelServer {
    base_url: String,
    seen: Arc<Mutex<Seen>>,
    /// The thread ends when this is dropped.
    running: Option<oneshot::Sender<Infallible>>,
    thread: Option<JoinHandle<()>>,
}

impl fmt::Debug for ModelServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ModelServer").field(&self.base_url).finish()
    }
}

#[derive(Default)]
struct Seen {
    asked: Vec<Asked>,
    now: usize,
    most: usize,
}

fn locked(seen: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

type Answers = dyn Fn(&Asked) -> Act + Send + Sync;

/// What every connection needs.
#[derive(Clone)]
struct Shared {
    act: Arc<Answers>,
    seen: Arc<Mutex<Seen>>,
    tls: Option<TlsAcceptor>,
}

impl ModelServer {
    /// Starts a server on a free port. `act` decides about each request; it must not wait.
    ///
    /// # Errors
    /// When no port can be opened.
    pub fn start(act: impl Fn(&Asked) -> Act + Send + Sync + 'static) -> io::Result<Self> {
        Self::run(Arc::new(act), None)
    }

    /// Starts a server with TLS for the host `localhost`. Returns its certificate too, as PEM.
    ///
    /// # Errors
    /// When no port can be opened.
    pub fn start_tls(
        act: impl Fn(&Asked) -> Act + Send + Sync + 'static,
    ) -> io::Result<(Self, String)> {
        let own = rcgen::generate_simple_self_signed(["localhost".to_owned()])
            .map_err(io::Error::other)?;
        let key = PrivatePkcs8KeyDer::from(own.signing_key.serialize_der());
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .with_no_client_auth()
            .with_single_cert(vec![own.cert.der().clone()], key.into())
            .map_err(io::Error::other)?;
        let server = Self::run(Arc::new(act), Some(TlsAcceptor::from(Arc::new(config))))?;
        Ok((server, own.cert.pem()))
    }

    fn run(act: Arc<Answers>, tls: Option<TlsAcceptor>) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let base_url = base_url(address, tls.is_some());
        let seen = Arc::<Mutex<Seen>>::default();
        let shared = Shared {
            act,
            seen: Arc::clone(&seen),
            tls,
        };
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let (running, ended) = oneshot::channel();
        let thread = thread::spawn(move || serve(&runtime, listener, &shared, ended));
        Ok(ModelServer {
            base_url,
            seen,
            running: Some(running),
            thread: Some(thread),
        })
    }

    /// The address of its interface: `http://127.0.0.1:PORT/v1`, with TLS
    /// `https://localhost:PORT/v1`.
    pub fn base_url(&self) -> String {
        self.base_url.clone()
    }

    /// All requests so far, in the order in which they arrived.
    pub fn asked(&self) -> Vec<Asked> {
        locked(&self.seen).asked.clone()
    }

    /// The largest number of requests that waited for an answer at the same time.
    pub fn most_at_once(&self) -> usize {
        locked(&self.seen).most
    }
}

impl Drop for ModelServer {
    fn drop(&mut self) {
        drop(self.running.take());
        if let Some(thread) = self.thread.take() {
            // A panic of the server has been printed already.
            let _ = thread.join();
        }
    }
}

fn base_url(address: SocketAddr, tls: bool) -> String {
    if tls {
        format!("https://localhost:{}/v1", address.port())
    } else {
        format!("http://{address}/v1")
    }
}

/// Serves until the other end of `ended` is dropped. Connections are cut then.
fn serve(
    runtime: &Runtime,
    listener: TcpListener,
    shared: &Shared,
    mut ended: oneshot::Receiver<Infallible>,
) {
    runtime.block_on(async {
        let Ok(listener) = tokio::net::TcpListener::from_std(listener) else {
            return;
        };
        loop {
            let stream = tokio::select! {
                _ = &mut ended => return,
                accepted = listener.accept() => accepted,
            };
            let Ok((stream, _)) = stream else {
                continue;
            };
            // Without this, an answer in two packets may be late.
            let _ = stream.set_nodelay(true);
            let shared = shared.clone();
            tokio::spawn(async move {
                // An error means that the client closed its connection, or does not trust the
                // certificate; nothing else depends on it.
                match &shared.tls {
                    None => converse(stream, &shared).await,
                    Some(tls) => {
                        if let Ok(stream) = tls.accept(stream).await {
                            converse(stream, &shared).await;
                        }
                    }
                }
            });
        }
    });
}

/// Bytes that are sent instead of an answer. As an error, they stop the HTTP of a connection.
#[derive(Debug)]
struct Instead(Vec<u8>);

impl fmt::Display for Instead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes instead of an answer", self.0.len())
    }
}

impl Error for Instead {}

/// Answers the requests of a connection.
async fn converse<S: AsyncRead + AsyncWrite + Unpin>(stream: S, shared: &Shared) {
    let service = service_fn(|request| Box::pin(answer(request, shared)));
    let mut connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    let ended = poll_fn(|cx| connection.poll_without_shutdown(cx)).await;
    let mut stream = connection.into_parts().io.into_inner();
    if let Err(e) = &ended
        && let Some(Instead(bytes)) = e.source().and_then(|e| e.downcast_ref::<Instead>())
    {
        let _ = stream.write_all(bytes).await;
    }
    let _ = stream.shutdown().await;
}

/// Counts a request as long as it waits for its answer.
struct Waiting<'a>(&'a Mutex<Seen>);

impl<'a> Waiting<'a> {
    fn new(seen: &'a Mutex<Seen>) -> Self {
        let mut state = locked(seen);
        state.now += 1;
        state.most = state.most.max(state.now);
        drop(state);
        Waiting(seen)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        locked(self.0).now -= 1;
    }
}

type Answered = Result<Response<Full<Bytes>>, Box<dyn Error + Send + Sync>>;

async fn answer(request: Request<Incoming>, shared: &Shared) -> Answered {
    let _waiting = Waiting::new(&shared.seen);
    let (head, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    let asked = noted(&head, &body, &shared.seen);
    carry_out((shared.act)(&asked), &asked).await
}

fn noted(head: &Parts, body: &[u8], seen: &Mutex<Seen>) -> Asked {
    let authorization = head.headers.get(AUTHORIZATION);
    let authorization = authorization.map(|v| String::from_utf8_lossy(v.as_bytes()).into_owned());
    let mut seen = locked(seen);
    let asked = Asked {
        number: seen.asked.len(),
        path: head.uri.path().to_owned(),
        authorization,
        body: serde_json::from_slice(body).unwrap_or(Value::Null),
    };
    seen.asked.push(asked.clone());
    asked
}

fn carry_out(act: Act, asked: &Asked) -> Pin<Box<dyn Future<Output = Answered> + Send + '_>> {
    Box::pin(async move {
        match act {
            Act::Say(content) => json_answer(&completion(&content, asked)),
            Act::Reply(value) => json_answer(&value),
            Act::Status(status, headers, body) => status_answer(status, headers, body),
            Act::After(time, act) => {
                tokio::time::sleep(time).await;
                carry_out(*act, asked).await
            }
            Act::Raw(bytes) => Err(Instead(bytes).into()),
            Act::Hang => pending().await,
        }
    })
}

fn completion(content: &str, asked: &Asked) -> Value {
    let tokens = |text: &str| {
        let words = text.split_whitespace().count();
        words + words / 3 + 1
    };
    let (prompt, answer) = (tokens(&asked.text()), tokens(content));
    json!({
        "id": format!("chatcmpl-{}", asked.number),
        "object": "chat.completion",
        "created": 0,
        "model": asked.body.get("model"),
        "choices": [{
            "index": 0,
            "message": {"role": "assistant", "content": content, "refusal": null},
            "finish_reason": "stop",
        }],
        "usage": {
            "prompt_tokens": prompt,
            "completion_tokens": answer,
            "total_tokens": prompt + answer,
        },
    })
}

fn json_answer(value: &Value) -> Answered {
    status_answer(200, Vec::new(), value.to_string())
}

fn status_answer(status: u16, headers: Vec<(&'static str, String)>, body: String) -> Answered {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = StatusCode::from_u16(status)?;
    let all = response.headers_mut();
    all.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    for (name, value) in headers {
        all.insert(HeaderName::from_bytes(name.as_bytes())?, value.parse()?);
    }
    Ok(response)
}
