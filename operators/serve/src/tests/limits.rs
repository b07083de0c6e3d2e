//! Every limit, with a request beyond it.

use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::client::{PATIENCE, Server, exchange, get, post, response};

/// Soon, but not so soon that a busy machine is too slow.
const SOON: Duration = Duration::from_millis(300);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sizes() {
    let server = Server::start(|config| {
        config.limits.body_bytes = 2000;
        config.limits.question_chars = 10;
        config.limits.why_not = 1;
        config.limits.batch = 3;
        config.limits.headers = 20;
        config.limits.head_bytes = 10_000;
    })
    .await;
    let ask = async |body: serde_json::Value| {
        let reply = server.post("/ask", &body.to_string()).await;
        (
            reply.status,
            if reply.status == 200 {
                String::new()
            } else {
                reply.message()
            },
        )
    };
    assert_eq!(ask(json!({ "question": "éééééééééé" })).await.0, 200);
    let long = "x".repeat(11);
    assert_eq!(
        ask(json!({ "question": long })).await,
        (400, "the question is too long".into())
    );
    assert_eq!(
        ask(json!({ "question": "a", "source": long })).await,
        (400, "source is too long".into())
    );
    let many = json!({ "question": "a", "why_not": ["b", "c"] });
    assert_eq!(ask(many).await, (400, "why_not has too many names".into()));
    assert_eq!(ask(json!({ "question": "x".repeat(3000) })).await.0, 413);
    let reply = server.get(&format!("/documents?title={long}")).await;
    assert_eq!(
        (reply.status, reply.message().as_str()),
        (400, "title is too long")
    );
    let reply = server
        .post("/ask/batch", r#"{"questions":["a","b","c","d"]}"#)
        .await;
    assert_eq!(
        (reply.status, reply.message().as_str()),
        (400, "4 questions")
    );
    // A body that does not say its size beforehand.
    let chunk = format!("400\r\n{}\r\n", " ".repeat(1024));
    let head = "POST /ask HTTP/1.1\r\nhost: test\r\ncontent-type: application/json\r\n\
                transfer-encoding: chunked\r\n\r\n";
    let reply = server.send([head, &chunk, &chunk].concat()).await;
    assert_eq!(
        (reply.status, reply.code().as_str()),
        (413, "body_too_large")
    );
    // Headers: too many, and too long.
    let many = "a: b\r\n".repeat(21);
    for headers in [many, format!("a: {}\r\n", "b".repeat(20_000))] {
        let request = format!("GET /health HTTP/1.1\r\nhost: test\r\n{headers}\r\n");
        let reply = server.send(request).await;
        assert_eq!(
            (reply.status, reply.code().as_str()),
            (431, "headers_too_large")
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_heads_and_idle_connections_end() {
    let server = Server::start(|config| config.limits.head = SOON).await;
    let mut half = server.connect().await;
    let reply = exchange(&mut half, "GET /health HTTP/1.1\r\nhos")
        .await
        .unwrap();
    assert_eq!((reply.status, reply.code().as_str()), (408, "too_slow"));
    assert_eq!(half.read(&mut [0]).await.unwrap_or(0), 0);
    // A connection without a request gets no response, also after one.
    let mut idle = server.connect().await;
    assert_eq!(
        tokio::time::timeout(PATIENCE, idle.read(&mut [0]))
            .await
            .unwrap()
            .unwrap_or(0),
        0
    );
    let mut used = server.connect().await;
    assert_eq!(
        exchange(&mut used, get("/health")).await.unwrap().status,
        200
    );
    assert_eq!(
        tokio::time::timeout(PATIENCE, used.read(&mut [0]))
            .await
            .unwrap()
            .unwrap_or(0),
        0
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_bodies_end() {
    let server = Server::start(|config| config.limits.body = SOON).await;
    let head = "POST /ask HTTP/1.1\r\nhost: test\r\ncontent-type: application/json\r\n";
    for rest in [
        "content-length: 100\r\n\r\n{",
        "transfer-encoding: chunked\r\n\r\n1\r\n{\r\n",
    ] {
        let reply = server.send([head, rest].concat()).await;
        assert_eq!(
            (reply.status, reply.code().as_str()),
            (408, "too_slow"),
            "{rest}"
        );
    }
    // Byte after byte does not buy time.
    let mut stream = server.connect().await;
    let (mut reading, mut writing) = stream.split();
    writing
        .write_all([head, "content-length: 100000\r\n\r\n"].concat().as_bytes())
        .await
        .unwrap();
    let drip = async {
        while writing.write_all(b" ").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        std::future::pending::<()>().await;
    };
    tokio::select! {
        reply = response(&mut reading) => assert_eq!(reply.unwrap().status, 408),
        () = drip => {}
        () = tokio::time::sleep(PATIENCE) => panic!("the body may drip forever"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_answers_end() {
    let server = Server::start(|config| config.limits.request = SOON).await;
    server.fake.hold();
    let reply = server.ask("a").await;
    assert_eq!((reply.status, reply.code().as_str()), (503, "timed_out"));
    assert_eq!(reply.header("retry-after"), Some("1"));
    server.fake.release();
    assert_eq!(server.ask("a").await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_reads_nothing_is_given_up() {
    let server = Server::start(|config| config.limits.stalled = SOON).await;
    let mut stream = server.connect().await;
    // Many requests at once, whose answers fill all buffers between server and client.
    let request = get("/openapi.json").repeat(100);
    let write = async { while stream.write_all(request.as_bytes()).await.is_ok() {} };
    tokio::time::timeout(PATIENCE, write).await.unwrap();
    server.until("gfm_pipe_connections", 1.0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_connections_than_allowed_are_refused() {
    let server = Server::start(|config| config.limits.connections = 2).await;
    let mut open = server.connect().await;
    assert_eq!(
        exchange(&mut open, get("/health")).await.unwrap().status,
        200
    );
    let mut second = server.connect().await;
    assert_eq!(
        exchange(&mut second, get("/health")).await.unwrap().status,
        200
    );
    let reply = server.post("/ask", r#"{"question":"a"}"#).await;
    assert_eq!((reply.status, reply.code().as_str()), (429, "busy"));
    assert_eq!(reply.header("retry-after"), Some("1"));
    // Those inside are served on, and leaving makes room.
    assert_eq!(
        exchange(&mut open, get("/health")).await.unwrap().status,
        200
    );
    drop(second);
    for _ in 0..500 {
        if server.get("/health").await.status == 200 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("no room is made");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_questions_than_may_wait_are_refused() {
    let server = Server::start(|config| {
        config.limits.waiting = 2;
        config.together = 1;
    })
    .await;
    server.fake.hold();
    let mut scored = server.connect().await;
    scored
        .write_all(post("/ask", r#"{"question":"a"}"#).as_bytes())
        .await
        .unwrap();
    server.fake.begun(1).await;
    let mut waiting = server.connect().await;
    let two = post("/ask/batch", r#"{"questions":["b","c"]}"#);
    waiting.write_all(two.as_bytes()).await.unwrap();
    server.until("gfm_pipe_waiting_questions", 2.0).await;
    let reply = server.ask("d").await;
    assert_eq!((reply.status, reply.code().as_str()), (429, "busy"));
    assert_eq!(reply.header("retry-after"), Some("1"));
    assert_eq!(server.metric("gfm_pipe_rejected_total").await, 1.0);
    let reply = server
        .post("/ask/batch", r#"{"questions":["a","b","c"]}"#)
        .await;
    assert_eq!(
        (reply.status, reply.message().as_str()),
        (400, "3 questions")
    );
    server.fake.release();
    for stream in [&mut scored, &mut waiting] {
        assert_eq!(response(stream).await.unwrap().status, 200);
    }
    assert_eq!(server.ask("d").await.status, 200);
}
