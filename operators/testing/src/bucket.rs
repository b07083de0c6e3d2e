//! A local S3 bucket for tests: the part of the S3 protocol that cloud clients use, over plain
//! HTTP.
//!
//! It checks which access key a request is signed with, but not the signature itself;
//! `scripts/check-s3` tests against a full server.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

/// The access key that requests must be signed with.
const KEY: &str = "tester";

/// A server with one bucket, `models`; its thread ends with the test.
#[derive(Debug)]
pub struct Bucket {
    endpoint: String,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    objects: BTreeMap<String, Vec<u8>>,
    /// Parts of unfinished uploads, by upload id and part number.
    parts: BTreeMap<String, BTreeMap<u32, Vec<u8>>>,
    uploads: u32,
    /// The kind of each request, see [`Bucket::requests`].
    log: Vec<String>,
}

impl Bucket {
    /// Starts the server on a free port.
    ///
    /// # Errors
    /// When no port can be opened.
    pub fn start() -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let endpoint = format!("http://{}", listener.local_addr()?);
        let state = Arc::new(Mutex::new(State::default()));
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let state = Arc::clone(&shared);
                // An error means that the client closed its connection; nothing else depends on it.
                thread::spawn(move || drop(serve(stream, &state)));
            }
        });
        Ok(Bucket { endpoint, state })
    }

    /// The environment variables that make an AWS client use this server. `key` is the access key:
    /// `tester`; requests with any other are refused.
    pub fn variables(&self, key: &str) -> BTreeMap<String, String> {
        let pairs = [
            ("AWS_ENDPOINT_URL", self.endpoint.as_str()),
            ("AWS_ALLOW_HTTP", "true"),
            ("AWS_REGION", "us-east-1"),
            ("AWS_ACCESS_KEY_ID", key),
            ("AWS_SECRET_ACCESS_KEY", "secret"),
        ];
        let pairs = pairs.map(|(name, value)| (name.to_owned(), value.to_owned()));
        pairs.into_iter().collect()
    }

    /// All objects in the bucket: content by key.
    pub fn objects(&self) -> BTreeMap<String, Vec<u8>> {
        lock(&self.state).objects.clone()
    }

    /// Number of requests of a kind so far: `PUT`, `GET`, `HEAD`, `LIST`, `CREATE` (a conditional
    /// put), `PART`, `COMPLETE`, `DELETE` or `REFUSED`.
    pub fn requests(&self, kind: &str) -> usize {
        lock(&self.state).log.iter().filter(|k| *k == kind).count()
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Request {
    method: String,
    /// The key of the object; empty for the bucket itself.
    key: String,
    query: BTreeMap<String, String>,
    headers: BTreeMap<String, String>,
    body: Vec<u8>,
}

struct Response {
    status: &'static str,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
}

impl Response {
    fn new(status: &'static str, body: impl Into<Vec<u8>>) -> Self {
        Response {
            status,
            headers: Vec::new(),
            body: body.into(),
        }
    }

    fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

fn serve(stream: TcpStream, state: &Mutex<State>) -> io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut writer = stream;
    while let Some(request) = read(&mut reader)? {
        let response = answer(&request, &mut lock(state));
        let mut head = format!("HTTP/1.1 {}\r\n", response.status);
        for (name, value) in &response.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str(&format!("Content-Length: {}\r\n\r\n", response.body.len()));
        writer.write_all(head.as_bytes())?;
        if request.method != "HEAD" {
            writer.write_all(&response.body)?;
        }
        writer.flush()?;
    }
    Ok(())
}

/// The next request; `None` at the end of the connection.
fn read(reader: &mut impl BufRead) -> io::Result<Option<Request>> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut words = line.split_whitespace();
    let method = words.next().unwrap_or_default().to_owned();
    let target = words.next().unwrap_or_default().to_owned();
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(':') else {
            break;
        };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let length = headers.get("content-length").and_then(|n| n.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    reader.read_exact(&mut body)?;
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    let query = query.split('&').filter(|pair| !pair.is_empty());
    let query = query.map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decoded(name), decoded(value))
    });
    let key = path.trim_start_matches("/models").trim_start_matches('/');
    Ok(Some(Request {
        method,
        key: decoded(key),
        query: query.collect(),
        headers,
        body,
    }))
}

/// Decodes percent escapes.
fn decoded(text: &str) -> String {
    let mut out = Vec::new();
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let digits: Vec<u8> = bytes.by_ref().take(2).collect();
        let digits = String::from_utf8_lossy(&digits).into_owned();
        out.extend(u8::from_str_radix(&digits, 16));
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn answer(request: &Request, state: &mut State) -> Response {
    let signed = request.headers.get("authorization");
    let credential = format!("Credential={KEY}/");
    if !signed.is_some_and(|s| s.starts_with("AWS4-HMAC-SHA256") && s.contains(&credential)) {
        state.log.push("REFUSED".to_owned());
        return Response::new("403 Forbidden", xml("Error", "<Code>AccessDenied</Code>"));
    }
    let asks = |name: &str| request.query.contains_key(name);
    let kind = match request.method.as_str() {
        "GET" if request.key.is_empty() => "LIST",
        "PUT" if asks("partNumber") => "PART",
        "PUT" if request.headers.contains_key("if-none-match") => "CREATE",
        "POST" if asks("uploads") => "START",
        "POST" if asks("uploadId") => "COMPLETE",
        "POST" => "DELETE",
        "DELETE" if asks("uploadId") => "ABORT",
        other => other,
    };
    state.log.push(kind.to_owned());
    match kind {
        "LIST" => list(request, state),
        "GET" | "HEAD" => get(request, state),
        "PUT" | "CREATE" => put(request, state, kind == "CREATE"),
        "START" | "PART" | "COMPLETE" | "ABORT" => upload(request, state, kind),
        "DELETE" => delete(request, state),
        _ => Response::new("405 Method Not Allowed", ""),
    }
}

fn list(request: &Request, state: &State) -> Response {
    let prefix = request.query.get("prefix").map_or("", String::as_str);
    let mut body = "<IsTruncated>false</IsTruncated>".to_owned();
    for (key, content) in state.objects.iter().filter(|(k, _)| k.starts_with(prefix)) {
        body.push_str(&format!(
            "<Contents><Key>{key}</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified>\
             <ETag>\"{}\"</ETag><Size>{}</Size></Contents>",
            tag(content),
            content.len()
        ));
    }
    Response::new("200 OK", xml("ListBucketResult", &body))
}

fn get(request: &Request, state: &State) -> Response {
    let Some(content) = state.objects.get(&request.key) else {
        return Response::new("404 Not Found", xml("Error", "<Code>NoSuchKey</Code>"));
    };
    let range = request.headers.get("range").and_then(|r| {
        let (from, to) = r.strip_prefix("bytes=")?.split_once('-')?;
        let to: usize = to.parse().ok()?;
        Some((from.parse::<usize>().ok()?, (to + 1).min(content.len())))
    });
    let response = match range {
        Some((from, to)) if from < to => {
            let range = format!("bytes {from}-{}/{}", to - 1, content.len());
            let part = &content[from..to];
            Response::new("206 Partial Content", part).with("Content-Range", range)
        }
        _ => Response::new("200 OK", content.as_slice()),
    };
    response
        .with("ETag", format!("\"{}\"", tag(content)))
        .with("Last-Modified", "Thu, 01 Jan 2026 00:00:00 GMT")
}

fn put(request: &Request, state: &mut State, only_new: bool) -> Response {
    if only_new && state.objects.contains_key(&request.key) {
        let body = xml("Error", "<Code>PreconditionFailed</Code>");
        return Response::new("412 Precondition Failed", body);
    }
    let tag = tag(&request.body);
    state
        .objects
        .insert(request.key.clone(), request.body.clone());
    Response::new("200 OK", "").with("ETag", format!("\"{tag}\""))
}

fn upload(request: &Request, state: &mut State, kind: &str) -> Response {
    if kind == "START" {
        state.uploads += 1;
        let id = state.uploads.to_string();
        state.parts.insert(id.clone(), BTreeMap::new());
        let body = format!("<Key>{}</Key><UploadId>{id}</UploadId>", request.key);
        return Response::new("200 OK", xml("InitiateMultipartUploadResult", &body));
    }
    let id = request.query.get("uploadId").map_or("", String::as_str);
    if kind == "PART" {
        let number = request.query.get("partNumber").and_then(|n| n.parse().ok());
        let (Some(parts), Some(number)) = (state.parts.get_mut(id), number) else {
            return Response::new("404 Not Found", xml("Error", "<Code>NoSuchUpload</Code>"));
        };
        parts.insert(number, request.body.clone());
        let tag = tag(&request.body);
        return Response::new("200 OK", "").with("ETag", format!("\"{tag}\""));
    }
    let parts = state.parts.remove(id).unwrap_or_default();
    if kind == "ABORT" {
        return Response::new("204 No Content", "");
    }
    let whole: Vec<u8> = parts.into_values().flatten().collect();
    let body = format!("<Key>{}</Key><ETag>\"{}\"</ETag>", request.key, tag(&whole));
    state.objects.insert(request.key.clone(), whole);
    Response::new("200 OK", xml("CompleteMultipartUploadResult", &body))
}

/// Deletes one object, or those that the body lists.
fn delete(request: &Request, state: &mut State) -> Response {
    if request.method == "DELETE" {
        state.objects.remove(&request.key);
        return Response::new("204 No Content", "");
    }
    let body = String::from_utf8_lossy(&request.body).into_owned();
    let mut deleted = String::new();
    for rest in body.split("<Key>").skip(1) {
        let key = rest.split("</Key>").next().unwrap_or_default();
        state.objects.remove(key);
        deleted.push_str(&format!("<Deleted><Key>{key}</Key></Deleted>"));
    }
    Response::new("200 OK", xml("DeleteResult", &deleted))
}

fn xml(name: &str, body: &str) -> String {
    format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?><{name}>{body}</{name}>")
}

/// A hash of the content (FNV-1a), used as its ETag.
fn tag(content: &[u8]) -> String {
    let hash = content
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
        });
    format!("{hash:016x}")
}
