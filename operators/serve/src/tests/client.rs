//! A server for a test, and clients that send any bytes.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use gfm_pipe_api::OpResult;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::fake::Fake;
use crate::{Config, Current, serve};

/// Longer than anything takes, also on a busy machine.
pub(super) const PATIENCE: Duration = Duration::from_secs(15);

/// A server that runs until it is dropped or stopped.
pub(super) struct Server {
    pub at: SocketAddr,
    pub fake: Arc<Fake>,
    pub current: Current,
    stop: Option<oneshot::Sender<()>>,
    running: JoinHandle<OpResult<()>>,
}

impl Server {
    pub async fn start(change: impl FnOnce(&mut Config)) -> Self {
        let fake = Arc::new(Fake::named("fake"));
        let current = Current::new(fake.clone());
        let mut config = Config::new(current.clone());
        change(&mut config);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let running = tokio::spawn(serve(listener, config, async {
            let _ = stopped.await;
        }));
        Server {
            at,
            fake,
            current,
            stop: Some(stop),
            running,
        }
    }

    /// Asks the server to stop.
    pub fn stop(&mut self) {
        let _ = self.stop.take().unwrap().send(());
    }

    /// Waits for the end of the server.
    pub async fn ended(self) {
        timeout(PATIENCE, self.running)
            .await
            .unwrap()
            .unwrap()
            .unwrap();
    }

    pub async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.at).await.unwrap()
    }

    /// Sends bytes on a new connection.
    pub async fn send(&self, bytes: impl AsRef<[u8]>) -> Reply {
        let mut stream = self.connect().await;
        exchange(&mut stream, bytes)
            .await
            .unwrap_or_else(|| panic!("no answer"))
    }

    pub async fn get(&self, path: &str) -> Reply {
        self.send(get(path)).await
    }

    pub async fn post(&self, path: &str, body: &str) -> Reply {
        self.send(post(path, body)).await
    }

    pub async fn ask(&self, question: &str) -> Reply {
        self.post(
            "/ask",
            &serde_json::json!({ "question": question }).to_string(),
        )
        .await
    }

    /// The value of a metric without labels.
    pub async fn metric(&self, name: &str) -> f64 {
        let text = self.get("/metrics").await.text();
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(&format!("{name} ")));
        line.unwrap_or_else(|| panic!("no {name} in {text}"))
            .parse()
            .unwrap()
    }

    /// Waits until a metric has a value.
    pub async fn until(&self, name: &str, value: f64) {
        for _ in 0..500 {
            if self.metric(name).await == value {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{name} is {}", self.metric(name).await);
    }
}

pub(super) fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: test\r\n\r\n")
}

pub(super) fn post(path: &str, body: &str) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nhost: test\r\ncontent-type: application/json\r\ncontent-length: \
         {}\r\n\r\n{body}",
        body.len()
    )
}

/// A response.
pub(super) struct Reply {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl std::fmt::Debug for Reply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}{}", self.head, String::from_utf8_lossy(&self.body))
    }
}

impl Reply {
    pub fn header(&self, name: &str) -> Option<&str> {
        let pairs = self.head.lines().filter_map(|line| line.split_once(": "));
        let mut found = pairs.filter(|(other, _)| other.eq_ignore_ascii_case(name));
        found.next().map(|(_, value)| value)
    }

    pub fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    pub fn json(&self) -> Value {
        assert_eq!(
            self.header("content-type"),
            Some("application/json"),
            "{self:?}"
        );
        serde_json::from_slice(&self.body).unwrap()
    }

    /// The code of an error, whose shape is checked.
    pub fn code(&self) -> String {
        let json = self.json();
        let error = &json["error"];
        assert!(self.status >= 400, "{self:?}");
        assert!(!error["message"].as_str().unwrap().is_empty(), "{json}");
        assert!(!error["hint"].as_str().unwrap().is_empty(), "{json}");
        error["code"].as_str().unwrap().to_owned()
    }

    pub fn message(&self) -> String {
        self.json()["error"]["message"].as_str().unwrap().to_owned()
    }
}

/// Sends bytes and reads one response; `None` where the connection ends without one. The server may
/// answer before it has taken all bytes.
pub(super) async fn exchange(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    bytes: impl AsRef<[u8]>,
) -> Option<Reply> {
    let (mut reading, mut writing) = tokio::io::split(stream);
    let write = async {
        let _ = writing.write_all(bytes.as_ref()).await;
        std::future::pending::<()>().await;
    };
    let read = timeout(PATIENCE, response(&mut reading));
    tokio::select! {
        reply = read => reply.expect("the server does not answer"),
        () = write => None,
    }
}

/// Reads one response; `None` where the connection ends before it does.
pub(super) async fn response(stream: &mut (impl AsyncRead + Unpin)) -> Option<Reply> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).unwrap();
    let status = head.get(9..12)?.parse().unwrap();
    let mut reply = Reply {
        status,
        head,
        body: Vec::new(),
    };
    let length = reply
        .header("content-length")
        .map_or(0, |n| n.parse().unwrap());
    reply.body = vec![0; length];
    stream.read_exact(&mut reply.body).await.ok()?;
    Some(reply)
}
