//! Requests that no honest client sends. Each gets a 4xx with JSON, and the server goes on.

use super::client::{Server, exchange, get, post, response};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// A name, the bytes, and the status.
type Case = (&'static str, Vec<u8>, u16);

fn case(name: &'static str, bytes: impl Into<Vec<u8>>, status: u16) -> Case {
    (name, bytes.into(), status)
}

fn of_get(name: &'static str, path: &str, status: u16) -> Case {
    case(name, get(path), status)
}

fn of_post(name: &'static str, body: &str, status: u16) -> Case {
    case(name, post("/ask", body), status)
}

/// A request with these further headers and this body.
fn with(headers: &str, body: impl AsRef<[u8]>) -> Vec<u8> {
    let head = format!("POST /ask HTTP/1.1\r\nhost: test\r\n{headers}\r\n");
    [head.as_bytes(), body.as_ref()].concat()
}

const JSON: &str = "content-type: application/json\r\n";

fn bodies() -> Vec<Case> {
    let nested =
        |open: &str, close: &str| format!("{}{}", open.repeat(50_000), close.repeat(50_000));
    let invalid = b"{\"question\":\"\xff\xfe\"}";
    let cut = b"{\"question\":\"\xe2\x82\"}";
    let of_bytes = |body: &[u8]| with(&format!("{JSON}content-length: {}\r\n", body.len()), body);
    vec![
        of_post("malformed JSON", "{\"question\":", 400),
        of_post("no JSON", "question=who", 400),
        of_post("empty body", "", 400),
        of_post("two values", "{\"question\":\"a\"}{}", 400),
        of_post("an array", "[\"a\"]", 400),
        of_post("null", "null", 400),
        of_post("nested arrays", &nested("[", "]"), 400),
        of_post("nested objects", &nested("{\"question\":", "}"), 400),
        of_post(
            "nested in why_not",
            &format!("{{\"why_not\":{}", nested("[", "]")),
            400,
        ),
        of_post(
            "nested in an unknown key",
            &format!("{{\"x\":{}", nested("[", "]")),
            400,
        ),
        of_post(
            "repeated key",
            "{\"question\":\"a\",\"question\":\"b\"}",
            400,
        ),
        of_post("unknown key", "{\"question\":\"a\",\"__proto__\":{}}", 400),
        of_post("negative k", "{\"question\":\"a\",\"k\":-1}", 400),
        of_post(
            "k beyond 64 bits",
            "{\"question\":\"a\",\"k\":18446744073709551616}",
            400,
        ),
        of_post("k as a fraction", "{\"question\":\"a\",\"k\":1.5}", 400),
        of_post("k beyond floats", "{\"question\":\"a\",\"k\":1e999}", 400),
        of_post("k as a text", "{\"question\":\"a\",\"k\":\"5\"}", 400),
        of_post("half a surrogate", "{\"question\":\"\\ud800\"}", 400),
        case("invalid UTF-8", of_bytes(invalid), 400),
        case("cut UTF-8", of_bytes(cut), 400),
        case("UTF-16", of_bytes(b"\xff\xfe{\x00}\x00"), 400),
        case(
            "a byte order mark",
            of_bytes(b"\xef\xbb\xbf{\"question\":\"a\"}"),
            400,
        ),
        of_post(
            "ten megabytes",
            &format!("{{\"question\":\"{}\"}}", "a".repeat(10 << 20)),
            413,
        ),
        case(
            "ten megabytes to no address",
            post("/nothing", &"a".repeat(10 << 20)),
            404,
        ),
        case(
            "a wrong type",
            with("content-type: text/plain\r\ncontent-length: 2\r\n", "{}"),
            415,
        ),
        case("no type", with("content-length: 2\r\n", "{}"), 415),
        case(
            "a compressed body",
            with(
                &format!("{JSON}content-encoding: gzip\r\ncontent-length: 2\r\n"),
                "{}",
            ),
            415,
        ),
    ]
}

fn paths() -> Vec<Case> {
    let long = "a".repeat(60_000);
    let wide = "a".repeat(70_000);
    vec![
        of_get("up", "/documents/../../etc/passwd", 404),
        of_get(
            "escaped up",
            "/documents/%2e%2e%2f%2e%2e%2fetc%2fpasswd",
            400,
        ),
        of_get("escaped dots", "/%2e%2e/%2e%2e/etc/passwd", 404),
        of_get("backslashes", "/documents/..%5c..%5cetc", 400),
        of_get("a NUL", "/documents/%00", 400),
        of_get("a NUL after a number", "/documents/1%00", 400),
        of_get("broken escapes", "/documents/%", 400),
        of_get("broken escapes anywhere", "/%zz", 400),
        of_get("escapes of no UTF-8", "/documents/%ff%fe", 400),
        of_get("overlong UTF-8", "/documents/%c0%ae%c0%ae", 400),
        of_get("doubled slashes", "//documents//1", 404),
        of_get("a slash at the end", "/documents/1/", 404),
        of_get("an unknown id", "/documents/99", 404),
        of_get("a negative id", "/documents/-1", 400),
        of_get("an id with a sign", "/documents/+1", 400),
        of_get("an id beyond 32 bits", "/documents/4294967296", 400),
        of_get("an id beyond 64 bits", "/graph/18446744073709551616", 400),
        of_get("a fraction as id", "/graph/1.0", 400),
        of_get("no limit", "/graph/1?limit=99999999999999999999", 400),
        of_get("a limit of 0", "/documents?limit=0", 400),
        of_get("an unknown parameter", "/documents?id=1", 400),
        of_get("a repeated parameter", "/documents?title=a&title=b", 400),
        of_get("a broken parameter", "/documents?title=%e2%82", 400),
        of_get("a long path", &format!("/{}", &long[..20_000]), 404),
        of_get("a longer path", &format!("/{long}"), 431),
        of_get("a path too long to parse", &format!("/{wide}"), 431),
        of_get("a path with bytes beyond ASCII", "/documents/\u{e9}", 400),
        case(
            "another server's address",
            "GET http://evil.example/nothing HTTP/1.1\r\nhost: a\r\n\r\n",
            404,
        ),
        case("a star", "OPTIONS * HTTP/1.1\r\nhost: test\r\n\r\n", 400),
        case(
            "a tunnel",
            "CONNECT evil.example:443 HTTP/1.1\r\nhost: test\r\n\r\n",
            400,
        ),
    ]
}

fn heads() -> Vec<Case> {
    let ask = "{\"question\":\"a\"}";
    let smuggled = "GET /documents/0 HTTP/1.1\r\nhost: test\r\n\r\n";
    let chunks = format!("{JSON}transfer-encoding: chunked\r\n");
    vec![
        case("no HTTP", "hello\r\n\r\n", 400),
        case(
            "bytes",
            vec![0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00, 0x01, 0xfc, 0x03],
            400,
        ),
        case("NULs", vec![0; 100], 400),
        case(
            "a version to come",
            "GET / HTTP/9.9\r\nhost: test\r\n\r\n",
            400,
        ),
        case("HTTP/2 at once", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
        case("HTTP/0.9", "GET /\r\n\r\n", 400),
        case(
            "HTTP/1.0 to no address",
            "GET /nothing HTTP/1.0\r\n\r\n",
            404,
        ),
        case("no host", "GET /health HTTP/1.1\r\n\r\n", 400),
        case(
            "two hosts",
            "GET /health HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n",
            400,
        ),
        case(
            "a header without a name",
            "GET / HTTP/1.1\r\nhost: a\r\n: b\r\n\r\n",
            400,
        ),
        case(
            "a space before a colon",
            "GET / HTTP/1.1\r\nhost : a\r\n\r\n",
            400,
        ),
        case(
            "a folded header",
            "GET / HTTP/1.1\r\nhost: a\r\nx: a\r\n b\r\n\r\n",
            400,
        ),
        case(
            "a NUL in a header",
            "GET / HTTP/1.1\r\nhost: a\r\nx: a\0b\r\n\r\n",
            400,
        ),
        case(
            "a bare CR",
            "GET / HTTP/1.1\r\nhost: a\r\nx: a\rb\r\n\r\n",
            400,
        ),
        case(
            "a space in the path",
            "GET /a b HTTP/1.1\r\nhost: a\r\n\r\n",
            400,
        ),
        case(
            "many headers",
            format!(
                "GET / HTTP/1.1\r\nhost: a\r\n{}\r\n",
                "a: b\r\n".repeat(5000)
            ),
            431,
        ),
        case(
            "long headers",
            format!(
                "GET / HTTP/1.1\r\nhost: a\r\na: {}\r\n\r\n",
                "b".repeat(1 << 20)
            ),
            431,
        ),
        case(
            "a wrong method",
            "DELETE /documents/1 HTTP/1.1\r\nhost: a\r\n\r\n",
            405,
        ),
        case(
            "a made-up method",
            "STEAL /ask HTTP/1.1\r\nhost: a\r\n\r\n",
            405,
        ),
        case("no body announced", with(JSON, ""), 400),
        case(
            "a length below zero",
            with(&format!("{JSON}content-length: -1\r\n"), ask),
            400,
        ),
        case(
            "a length beyond 64 bits",
            with(
                &format!("{JSON}content-length: 99999999999999999999\r\n"),
                ask,
            ),
            400,
        ),
        case(
            "a huge length",
            with(
                &format!("{JSON}content-length: 18446744073709551600\r\n"),
                ask,
            ),
            413,
        ),
        case(
            "a large length",
            with(&format!("{JSON}content-length: 9999999999\r\n"), ask),
            413,
        ),
        case(
            "a length with a sign",
            with(&format!("{JSON}content-length: +15\r\n"), ask),
            400,
        ),
        case(
            "two lengths",
            with(
                &format!("{JSON}content-length: 15\r\ncontent-length: 0\r\n"),
                ask,
            ),
            400,
        ),
        case(
            "a list of lengths",
            with(&format!("{JSON}content-length: 15, 0\r\n"), ask),
            400,
        ),
        case(
            "a length and chunks",
            with(
                &format!("{JSON}content-length: 5\r\ntransfer-encoding: chunked\r\n"),
                format!("0\r\n\r\n{smuggled}"),
            ),
            400,
        ),
        case(
            "chunks and a length",
            with(
                &format!("{chunks}content-length: 60\r\n"),
                format!("0\r\n\r\n{smuggled}"),
            ),
            400,
        ),
        case(
            "another encoding",
            with(&format!("{JSON}transfer-encoding: gzip\r\n"), ask),
            400,
        ),
        case(
            "chunks first",
            with(
                &format!("{JSON}transfer-encoding: chunked, identity\r\n"),
                ask,
            ),
            400,
        ),
        case(
            "chunks in HTTP/1.0",
            "POST /ask HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
            400,
        ),
        case(
            "a chunk of no size",
            with(&chunks, "xyz\r\n{}\r\n0\r\n\r\n"),
            400,
        ),
        case(
            "a chunk of a huge size",
            with(&chunks, "fffffffffffffffff\r\n{}"),
            400,
        ),
        case(
            "a chunk that is longer",
            with(&chunks, "2\r\n{}}}}}}\r\n0\r\n\r\n"),
            400,
        ),
        case(
            "long extensions of chunks",
            with(&chunks, format!("2;{}\r\n{{}}\r\n", "a".repeat(1 << 18))),
            400,
        ),
        case(
            "chunks without end",
            with(
                &chunks,
                "8000\r\n".to_owned() + &(" ".repeat(0x8000) + "\r\n8000\r\n").repeat(40),
            ),
            413,
        ),
    ]
}

async fn survive(cases: Vec<Case>) {
    let server =
        Server::start(|config| config.limits.head = std::time::Duration::from_secs(1)).await;
    let mut wrong = Vec::new();
    for (name, bytes, status) in cases {
        let mut stream = server.connect().await;
        match exchange(&mut stream, &bytes).await {
            Some(reply) if reply.status == status => drop(reply.code()),
            other => wrong.push((name, status, other)),
        }
        drop(stream);
        assert_eq!(server.get("/health").await.status, 200, "after {name}");
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_eq!(server.ask("a").await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_bodies() {
    survive(bodies()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_paths() {
    survive(paths()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_heads() {
    survive(heads()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_smuggled_request_is_not_answered() {
    let server = Server::start(|_| {}).await;
    let smuggled = "GET /documents/0 HTTP/1.1\r\nhost: test\r\n\r\n";
    let chunked = "transfer-encoding: chunked\r\n";
    let length = "content-length: 60\r\n";
    for headers in [[chunked, length], [length, chunked]] {
        let headers = format!("{JSON}{}", headers.concat());
        let body = format!("10\r\n{{\"question\":\"a\"}}\r\n0\r\n\r\n{smuggled}");
        let mut stream = server.connect().await;
        let reply = exchange(&mut stream, with(&headers, body)).await.unwrap();
        // hyper reads chunks, as RFC 9112 wants it, and then ends the connection.
        assert_eq!(
            (reply.status, reply.header("connection")),
            (200, Some("close"))
        );
        assert!(response(&mut stream).await.is_none());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_error_after_good_requests_is_json_too() {
    let server = Server::start(|_| {}).await;
    let mut stream = server.connect().await;
    let requests = [
        post("/ask", r#"{"question":"a"}"#),
        get("/about"),
        "no HTTP\r\n\r\n".into(),
    ];
    stream
        .write_all(requests.concat().as_bytes())
        .await
        .unwrap();
    assert_eq!(response(&mut stream).await.unwrap().json()["question"], "a");
    assert_eq!(response(&mut stream).await.unwrap().json()["documents"], 3);
    let reply = response(&mut stream).await.unwrap();
    assert_eq!((reply.status, reply.code().as_str()), (400, "bad_request"));
    assert_eq!(stream.read(&mut [0]).await.unwrap_or(0), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn http_1_0_is_served() {
    let server = Server::start(|_| {}).await;
    let reply = server.send("GET /health HTTP/1.0\r\n\r\n").await;
    assert_eq!(
        (reply.status, reply.text().as_str()),
        (200, r#"{"status":"ok"}"#)
    );
}
