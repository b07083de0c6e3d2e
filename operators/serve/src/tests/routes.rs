//! Every address, with and without a token and from other origins.

use serde_json::json;

use super::client::{Server, exchange, get, post};
use super::fake::MODEL;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_question_is_answered() {
    let server = Server::start(|_| {}).await;
    let all =
        json!({ "question": "Who?", "k": 2, "paths": 0, "source": null, "why_not": ["Polonium"] });
    let reply = server.post("/ask", &all.to_string()).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    let answer = reply.json();
    assert_eq!(answer["question"], "Who?");
    assert_eq!(answer["documents"].as_array().unwrap().len(), 2);
    assert_eq!(answer["why_not"][0]["title"], "Polonium");
    assert_eq!(reply.header("x-content-type-options"), Some("nosniff"));
    assert_eq!(reply.header("cache-control"), Some("no-store"));
    let reply = server
        .post("/ask", r#"{"question":"a","extra":[[[1]]]}"#)
        .await;
    assert_eq!((reply.status, reply.code().as_str()), (400, "bad_request"));
    assert!(
        reply.message().contains("unknown field `extra`"),
        "{}",
        reply.message()
    );
    for (body, message) in [
        (r#"{"question":"a","k":0}"#, "k is 0"),
        (r#"{"question":"a","k":1001}"#, "k is 1001"),
        (r#"{"question":"a","paths":11}"#, "paths is 11"),
        (r#"{"question":""}"#, "the question is empty"),
    ] {
        let reply = server.post("/ask", body).await;
        assert_eq!((reply.status, reply.message().as_str()), (400, message));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_language_model_answers_where_that_is_asked_for() {
    let server = Server::start(|_| {}).await;
    assert_eq!(server.get("/about").await.json()["model"], MODEL);
    for not in ["", r#","answer":false"#, r#","answer":null"#] {
        let reply = server
            .post("/ask", &format!(r#"{{"question":"a"{not}}}"#))
            .await;
        assert!(reply.json().get("answer").is_none(), "{not}: {reply:?}");
    }
    let cited = json!({
        "text": "Marie <b>Curie</b>",
        "reasoning": "She discovered it.",
        "documents": [0],
        "titles": ["Marie Curie"],
        "model": MODEL,
    });
    let asked = json!({ "question": "a", "answer": true });
    let reply = server.post("/ask", &asked.to_string()).await.json();
    assert_eq!(reply["answer"], cited);
    let several = json!({ "questions": ["b", asked] }).to_string();
    let answers = server.post("/ask/batch", &several).await.json();
    assert_eq!(answers["answers"][0].get("answer"), None);
    assert_eq!(answers["answers"][1]["answer"], cited);
    let wrong = server
        .post("/ask", r#"{"question":"a","answer":"yes"}"#)
        .await;
    assert_eq!((wrong.status, wrong.code().as_str()), (400, "bad_request"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_questions_are_answered_in_order() {
    let server = Server::start(|_| {}).await;
    let (one, none) = (
        json!({ "question": "b", "k": 1 }),
        json!({ "question": "c", "k": 0 }),
    );
    let body = json!({ "questions": ["a", one, "", "user", none] });
    let reply = server.post("/ask/batch", &body.to_string()).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    let answers = &reply.json()["answers"];
    assert_eq!(answers[0]["question"], "a");
    assert_eq!(answers[1]["documents"].as_array().unwrap().len(), 1);
    assert_eq!(answers[2]["error"]["message"], "the question is empty");
    assert_eq!(answers[3]["error"]["hint"], "close the bracket");
    assert_eq!(answers[4]["error"]["message"], "k is 0");
    let reply = server.post("/ask/batch", r#"{"questions":[]}"#).await;
    assert_eq!(reply.json(), json!({ "answers": [] }));
    for wrong in [
        r#"{"questions":[1]}"#,
        r#"{"questions":"a"}"#,
        r#"["a"]"#,
        "{}",
    ] {
        let reply = server.post("/ask/batch", wrong).await;
        assert_eq!(
            (reply.status, reply.code().as_str()),
            (400, "bad_request"),
            "{wrong}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn errors_of_the_retriever_have_a_status_of_their_kind() {
    let server = Server::start(|_| {}).await;
    let expected = [
        ("user", 400, "bad_question"),
        ("internal", 500, "internal"),
        ("panic", 500, "internal"),
    ];
    for (question, status, code) in expected {
        let reply = server.ask(question).await;
        assert_eq!(
            (reply.status, reply.code().as_str()),
            (status, code),
            "{question}"
        );
    }
    // The machine has to be put right: the program has no advice.
    let reply = server.ask("resource").await;
    assert_eq!(
        (reply.status, reply.header("retry-after")),
        (503, Some("1"))
    );
    assert_eq!(reply.json()["error"]["message"], "out of memory");
    let reply = server.get("/documents?title=panic").await;
    assert_eq!((reply.status, reply.code().as_str()), (500, "internal"));
    assert_eq!(server.ask("fine").await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn documents_and_nodes_are_looked_up() {
    let server = Server::start(|_| {}).await;
    assert_eq!(
        server.get("/documents/1").await.json()["title"],
        "Pierre Curie"
    );
    let found = server.get("/documents?title=curie").await.json();
    assert_eq!(
        found,
        json!([{ "id": 0, "label": "Marie Curie" }, { "id": 1, "label": "Pierre Curie" }])
    );
    assert_eq!(
        server
            .get("/documents?title=curie&limit=1")
            .await
            .json()
            .as_array()
            .unwrap()
            .len(),
        1
    );
    assert_eq!(
        server
            .get("/documents")
            .await
            .json()
            .as_array()
            .unwrap()
            .len(),
        3
    );
    let node = server.get("/graph/2").await.json();
    assert_eq!(
        (&node["label"], &node["type"]),
        (&json!("Polonium"), &json!("entity"))
    );
    assert_eq!(server.get("/graph?name=p%6Flo").await.json()[0]["id"], 2);
    for missing in ["/documents/3", "/documents/4294967295", "/graph/3"] {
        let reply = server.get(missing).await;
        assert_eq!(
            (reply.status, reply.code().as_str()),
            (404, "not_found"),
            "{missing}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_server_shows_its_state() {
    let server = Server::start(|config| config.version = "1.2.3".to_owned()).await;
    let about = server.get("/about").await.json();
    assert_eq!(
        (&about["version"], &about["documents"]),
        (&json!("1.2.3"), &json!(3))
    );
    assert_eq!(
        server.get("/health").await.json(),
        json!({ "status": "ok" })
    );
    server.ask("Who?").await;
    server.get("/documents/77").await;
    let reply = server.get("/metrics").await;
    assert!(
        reply
            .header("content-type")
            .unwrap()
            .starts_with("text/plain; version=0.0.4")
    );
    let text = reply.text();
    for line in [
        "gfm_pipe_requests_total{route=\"/ask\",status=\"200\"} 1",
        "gfm_pipe_requests_total{route=\"/documents/{id}\",status=\"404\"} 1",
        "gfm_pipe_request_seconds_count{route=\"/health\"} 1",
        "gfm_pipe_questions_total{result=\"answered\"} 1",
        "gfm_pipe_batch_questions_count 1",
        "gfm_pipe_requests_in_flight 1",
    ] {
        assert!(
            text.lines().any(|other| other == line),
            "{line} is not in {text}"
        );
    }
    let page = server.get("/").await;
    assert_eq!(
        (page.status, page.text().as_str()),
        (200, crate::routes::PAGE)
    );
    let policy = page.header("content-security-policy").unwrap();
    assert!(
        policy.starts_with("default-src 'none'; connect-src 'self'"),
        "{policy}"
    );
    assert_eq!(page.header("referrer-policy"), Some("no-referrer"));
    assert_eq!(page.header("cache-control"), Some("no-cache"));
    assert_eq!(page.header("x-content-type-options"), Some("nosniff"));
    assert_eq!(server.get("/favicon.ico").await.status, 204);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_is_needed_where_there_is_one() {
    let server = Server::start(|config| config.token = Some("s3cret".to_owned())).await;
    let with =
        |path: &str, header: &str| format!("GET {path} HTTP/1.1\r\nhost: test\r\n{header}\r\n\r\n");
    for open in ["/", "/health"] {
        assert_eq!(server.get(open).await.status, 200, "{open}");
    }
    for header in [
        "x: y",
        "authorization: Bearer s3cre",
        "authorization: Bearer s3cret1",
        "authorization: Bearer",
        "authorization: Basic s3cret",
        "authorization: s3cret",
        "authorization: Bearer s3cret\r\nauthorization: Bearer s3cret",
        "authorization: Bearer \u{e9}\u{e9}",
    ] {
        for path in ["/about", "/metrics", "/openapi.json", "/nothing"] {
            let reply = server.send(with(path, header)).await;
            assert_eq!(
                (reply.status, reply.code().as_str()),
                (401, "no_token"),
                "{header}"
            );
            assert_eq!(reply.header("www-authenticate"), Some("Bearer"));
        }
    }
    assert_eq!(server.ask("Who?").await.status, 401);
    for header in [
        "authorization: Bearer s3cret",
        "authorization: bearer s3cret",
    ] {
        assert_eq!(server.send(with("/about", header)).await.status, 200);
    }
    let mut config = crate::Config::new(server.current.clone());
    config.token = Some("s3cret".to_owned());
    assert!(!format!("{config:?}").contains("s3cret"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_origins_are_named_or_refused() {
    let preflight = |origin: &str| {
        format!(
            "OPTIONS /ask HTTP/1.1\r\nhost: test\r\norigin: {origin}\r\n\
             access-control-request-method: POST\r\n\r\n"
        )
    };
    let off = Server::start(|_| {}).await;
    let reply = off.send(preflight("https://a.example")).await;
    assert_eq!((reply.status, reply.header("allow")), (405, Some("POST")));
    assert_eq!(reply.code(), "wrong_method");
    assert_eq!(reply.header("access-control-allow-origin"), None);

    let named = "https://a.example";
    let on = Server::start(|config| {
        config.origins = vec![named.to_owned()];
        config.token = Some("s3cret".to_owned());
    })
    .await;
    let reply = on.send(preflight(named)).await;
    assert_eq!(
        (reply.status, reply.header("access-control-allow-origin")),
        (204, Some(named))
    );
    assert_eq!(
        reply.header("access-control-allow-headers"),
        Some("authorization, content-type")
    );
    assert_eq!(reply.header("vary"), Some("origin"));
    for other in [
        "https://b.example",
        "null",
        "https://a.example.org",
        "https://A.example",
    ] {
        let reply = on.send(preflight(other)).await;
        assert_eq!(
            (reply.status, reply.code().as_str()),
            (403, "wrong_origin"),
            "{other}"
        );
        assert_eq!(reply.header("access-control-allow-origin"), None);
    }
    // Errors, too, can be read by the page.
    let request = format!("GET /about HTTP/1.1\r\nhost: test\r\norigin: {named}\r\n\r\n");
    let reply = on.send(request).await;
    assert_eq!(
        (reply.status, reply.header("access-control-allow-origin")),
        (401, Some(named))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_names_of_the_server_are_refused() {
    let server = Server::start(|config| {
        config.hosts = ["localhost", "127.0.0.1", "[::1]"]
            .map(str::to_owned)
            .into();
    })
    .await;
    let of = |host: &str| format!("GET /about HTTP/1.1\r\nhost: {host}\r\n\r\n");
    for host in ["localhost", "LocalHost:8080", "127.0.0.1:1", "[::1]:8080"] {
        assert_eq!(server.send(of(host)).await.status, 200, "{host}");
    }
    for host in [
        "evil.example",
        "localhost.evil.example",
        "127.0.0.11",
        "",
        "a b",
        "::1",
    ] {
        let reply = server.send(of(host)).await;
        assert_eq!(
            (reply.status, reply.code().as_str()),
            (403, "wrong_host"),
            "{host}"
        );
    }
    assert_eq!(server.send("GET /about HTTP/1.0\r\n\r\n").await.status, 403);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_carries_many_requests() {
    let server = Server::start(|_| {}).await;
    let mut stream = server.connect().await;
    for _ in 0..3 {
        let reply = exchange(&mut stream, post("/ask", r#"{"question":"a"}"#))
            .await
            .unwrap();
        assert_eq!(reply.status, 200);
        let reply = exchange(&mut stream, get("/nothing")).await.unwrap();
        assert_eq!(
            (reply.status, reply.code().as_str()),
            (404, "no_such_route")
        );
    }
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_unix_socket_serves_too() {
    use std::sync::Arc;
    use tokio::net::{UnixListener, UnixStream};

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let listener = UnixListener::bind(&path).unwrap();
    let current = crate::Current::new(Arc::new(super::fake::Fake::named("fake")));
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let running = tokio::spawn(crate::serve(listener, crate::Config::new(current), async {
        let _ = stopped.await;
    }));
    let mut stream = UnixStream::connect(&path).await.unwrap();
    let reply = exchange(&mut stream, get("/about")).await.unwrap();
    assert_eq!(reply.status, 200);
    drop((stop, stream));
    running.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_configuration_that_cannot_work_is_refused() {
    use crate::Config;

    let refused = async |change: fn(&mut Config)| {
        let current = crate::Current::new(std::sync::Arc::new(super::fake::Fake::default()));
        let mut config = Config::new(current);
        change(&mut config);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let e = crate::serve(listener, config, std::future::pending())
            .await
            .unwrap_err();
        assert!(e.advice().is_some());
        e.to_string()
    };
    let e = refused(|config| config.token = Some(String::new())).await;
    assert!(e.contains("the token is empty"), "{e}");
    let e = refused(|config| config.token = Some("a b".to_owned())).await;
    assert!(!e.contains("a b"), "{e}");
    assert_eq!(refused(|config| config.workers = 0).await, "workers is 0");
    for origin in ["*", "example.org", "https://", "https://a.example/"] {
        let current = crate::Current::new(std::sync::Arc::new(super::fake::Fake::default()));
        let mut config = Config::new(current);
        config.origins = vec![origin.to_owned()];
        assert!(config.check().is_err(), "{origin}");
    }
}
