//! The end of a server.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::client::{Server, exchange, get, post, response};

/// A connection with a question that is being scored, until the fake retriever is released.
async fn held(server: &Server) -> TcpStream {
    server.fake.hold();
    let mut asked = server.connect().await;
    let question = post("/ask", r#"{"question":"a"}"#);
    asked.write_all(question.as_bytes()).await.unwrap();
    server.fake.begun(1).await;
    asked
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_running_request_is_answered() {
    let mut server = Server::start(|_| {}).await;
    let mut idle = server.connect().await;
    assert_eq!(
        exchange(&mut idle, get("/health")).await.unwrap().status,
        200
    );
    let mut asked = held(&server).await;
    let fake = server.fake.clone();
    server.stop();
    // An idle connection ends at once, and no new ones are taken.
    assert_eq!(idle.read(&mut [0]).await.unwrap_or(0), 0);
    assert!(TcpStream::connect(server.at).await.is_err());
    fake.release();
    let reply = response(&mut asked).await.unwrap();
    assert_eq!(
        (reply.status, reply.header("connection")),
        (200, Some("close"))
    );
    server.ended().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn health_says_that_the_server_stops() {
    let mut server = Server::start(|_| {}).await;
    // A request that has begun is still answered.
    let mut stream = server.connect().await;
    stream.write_all(b"GET /health HTTP/1.1\r\n").await.unwrap();
    server.until("gfm_pipe_connections", 2.0).await;
    server.stop();
    while TcpStream::connect(server.at).await.is_ok() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let reply = exchange(&mut stream, "host: test\r\n\r\n").await.unwrap();
    assert_eq!((reply.status, reply.code().as_str()), (503, "stopping"));
    server.ended().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_grace_period_ends() {
    let mut server = Server::start(|config| config.grace = Duration::from_millis(200)).await;
    let mut asked = held(&server).await;
    let fake = server.fake.clone();
    server.stop();
    server.ended().await;
    assert!(response(&mut asked).await.is_none());
    fake.release();
}
