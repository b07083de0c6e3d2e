//! Questions that wait are scored together, and those of absent clients not at all.

use std::sync::Arc;

use tokio::io::AsyncWriteExt;

use super::client::{Server, post, response};
use super::fake::Fake;

fn question(text: &str) -> String {
    post("/ask", &format!(r#"{{"question":"{text}"}}"#))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn questions_that_wait_are_scored_together() {
    let server = Server::start(|config| config.together = 4).await;
    server.fake.hold();
    let mut streams = Vec::new();
    for at in 0..7 {
        let mut stream = server.connect().await;
        stream
            .write_all(question(&format!("q{at}")).as_bytes())
            .await
            .unwrap();
        streams.push(stream);
        if at == 0 {
            server.fake.begun(1).await;
        }
    }
    server.until("gfm_pipe_waiting_questions", 6.0).await;
    server.fake.release();
    for (at, stream) in streams.iter_mut().enumerate() {
        let reply = response(stream).await.unwrap();
        assert_eq!(reply.json()["question"], format!("q{at}"));
    }
    assert_eq!(*server.fake.batches.lock().unwrap(), [1, 4, 2]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_waits_for_a_language_model_that_others_ask() {
    let server = Server::start(|config| config.writers = 2).await;
    server.fake.hold_writing();
    let mut slow = Vec::new();
    for text in ["x", "y", "z"] {
        let mut stream = server.connect().await;
        let body = format!(r#"{{"question":"{text}","answer":true}}"#);
        let request = post("/ask", &body);
        stream.write_all(request.as_bytes()).await.unwrap();
        slow.push(stream);
    }
    // Two are asked, and the third waits for one of them.
    server.fake.begun(2).await;
    server.until("gfm_pipe_waiting_questions", 1.0).await;
    for text in ["a", "b"] {
        assert_eq!(server.ask(text).await.json()["question"], text);
    }
    server.fake.release_writing();
    for stream in &mut slow {
        let answer = response(stream).await.unwrap().json();
        assert_eq!(answer["answer"]["titles"][0], "Marie Curie");
    }
    assert_eq!(*server.fake.batches.lock().unwrap(), [1; 5]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_costs_only_the_question_that_causes_it() {
    let server = Server::start(|_| {}).await;
    server.fake.hold();
    let mut first = server.connect().await;
    first.write_all(question("first").as_bytes()).await.unwrap();
    server.fake.begun(1).await;
    let mut batch = server.connect().await;
    let body = post("/ask/batch", r#"{"questions":["a","panic","b"]}"#);
    batch.write_all(body.as_bytes()).await.unwrap();
    server.until("gfm_pipe_waiting_questions", 3.0).await;
    server.fake.release();
    assert_eq!(response(&mut first).await.unwrap().status, 200);
    let answers = response(&mut batch).await.unwrap().json();
    assert_eq!(answers["answers"][0]["question"], "a");
    assert_eq!(answers["answers"][1]["error"]["code"], "internal");
    assert_eq!(answers["answers"][2]["question"], "b");
    assert_eq!(*server.fake.batches.lock().unwrap(), [1, 3, 1, 1, 1]);
    assert_eq!(server.ask("c").await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_went_away_occupies_nobody() {
    let server = Server::start(|_| {}).await;
    server.fake.hold();
    let mut first = server.connect().await;
    first.write_all(question("first").as_bytes()).await.unwrap();
    server.fake.begun(1).await;
    let mut gone = server.connect().await;
    gone.write_all(question("gone").as_bytes()).await.unwrap();
    server.until("gfm_pipe_waiting_questions", 1.0).await;
    drop(gone);
    // The requests of the first client and for the metrics are left.
    server.until("gfm_pipe_requests_in_flight", 2.0).await;
    server.fake.release();
    assert_eq!(response(&mut first).await.unwrap().status, 200);
    assert_eq!(server.ask("last").await.status, 200);
    assert_eq!(*server.fake.asked.lock().unwrap(), ["first", "last"]);
    let text = server.get("/metrics").await.text();
    assert!(text.contains("{route=\"/ask\",status=\"499\"} 1"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn switching_retrievers_drops_no_request() {
    let server = Arc::new(Server::start(|_| {}).await);
    let clients: Vec<_> = (0..8)
        .map(|_| {
            let server = server.clone();
            tokio::spawn(async move {
                let mut seen = Vec::new();
                for _ in 0..40 {
                    let reply = server.ask("a").await;
                    assert_eq!(reply.status, 200, "{reply:?}");
                    seen.push(reply.json()["system"].as_str().unwrap().to_owned());
                }
                seen
            })
        })
        .collect();
    let mut old = Vec::new();
    for at in 0..20 {
        old.push(
            server
                .current
                .switch(Arc::new(Fake::named(&format!("fake{at}")))),
        );
        tokio::time::sleep(std::time::Duration::from_millis(3)).await;
    }
    for client in clients {
        assert_eq!(client.await.unwrap().len(), 40);
    }
    server.current.switch(Arc::new(Fake::named("last")));
    assert_eq!(server.get("/about").await.json()["system"], "last");
    assert_eq!(server.ask("a").await.json()["system"], "last");
    // Nobody keeps a retriever that was replaced.
    drop(server.current.switch(Arc::new(Fake::default())));
    for answers in old {
        assert_eq!(
            Arc::strong_count(&answers),
            1 + usize::from(Arc::as_ptr(&answers).cast() == Arc::as_ptr(&server.fake))
        );
    }
}
