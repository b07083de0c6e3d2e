//! The description agrees with what the server does.

use serde_json::{Value, json};

use super::client::Server;
use crate::config::Limits;
use crate::openapi::schemas;
use crate::routes::ROUTES;

fn assert_fits(schema: &str, value: &Value) {
    let schema = Value::Object(schemas::alone(schema, &Limits::default()));
    let validator = jsonschema::validator_for(&schema).unwrap();
    let errors: Vec<_> = validator
        .iter_errors(value)
        .map(|e| e.to_string())
        .collect();
    assert!(errors.is_empty(), "{errors:?}: {value}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_route_is_described_and_exists() {
    let server = Server::start(|_| {}).await;
    let document = server.get("/openapi.json").await.json();
    let paths = document["paths"].as_object().unwrap();
    let mut described: Vec<_> = paths
        .iter()
        .flat_map(|(path, methods)| {
            methods
                .as_object()
                .unwrap()
                .keys()
                .map(|method| (path.as_str(), method.as_str()))
        })
        .collect();
    let mut routes = ROUTES;
    described.sort_unstable();
    routes.sort_unstable();
    assert_eq!(described, routes);
    for (path, method) in ROUTES {
        let filled = path.replace("{id}", "0").replace("{node}", "0");
        assert_eq!(crate::routes::label(&filled), path);
        let body = match path {
            "/ask" => r#"{"question":"a"}"#,
            "/ask/batch" => r#"{"questions":["a"]}"#,
            _ => "",
        };
        let method = method.to_uppercase();
        let request = |method: &str| {
            format!(
                "{method} {filled} HTTP/1.1\r\nhost: test\r\ncontent-type: application/json\r\n\
                 content-length: {}\r\n\r\n{body}",
                body.len()
            )
        };
        let reply = server.send(request(&method)).await;
        assert!(reply.status < 300, "{path}: {reply:?}");
        for other in [
            "GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "BREW",
        ] {
            if other != method {
                let reply = server.send(request(other)).await;
                assert_eq!(
                    (reply.status, reply.code().as_str()),
                    (405, "wrong_method"),
                    "{other} {path}"
                );
                assert!(
                    reply.header("allow").unwrap().contains(&method),
                    "{reply:?}"
                );
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_sent_fits_its_schema() {
    let server = Server::start(|_| {}).await;
    let ask = json!({ "question": "Who?", "k": 2, "why_not": ["Polonium"] });
    assert_fits("Question", &ask);
    assert_fits(
        "Answer",
        &server.post("/ask", &ask.to_string()).await.json(),
    );
    let in_words = json!({ "question": "Who?", "answer": true });
    assert_fits("Question", &in_words);
    let answer = server.post("/ask", &in_words.to_string()).await.json();
    assert!(answer["answer"].is_object(), "{answer}");
    assert_fits("Answer", &answer);
    let several = json!({ "questions": ["a", ask, in_words, "user"] });
    assert_fits("Questions", &several);
    assert_fits(
        "Answers",
        &server.post("/ask/batch", &several.to_string()).await.json(),
    );
    assert_fits("Document", &server.get("/documents/0").await.json());
    assert_fits("Node", &server.get("/graph/0").await.json());
    assert_fits("About", &server.get("/about").await.json());
    assert_fits("Health", &server.get("/health").await.json());
    for named in server
        .get("/graph?name=curie")
        .await
        .json()
        .as_array()
        .unwrap()
    {
        assert_fits("Named", named);
    }
    for wrong in [
        "/nothing",
        "/documents/9",
        "/documents/x",
        "/documents?limit=0",
    ] {
        assert_fits("Error", &server.get(wrong).await.json());
    }
    assert_fits("Error", &server.ask("resource").await.json());
}

#[test]
fn schemas_forbid_what_the_server_forbids() {
    let limits = Limits::default();
    let schema = Value::Object(schemas::alone("Question", &limits));
    let validator = jsonschema::validator_for(&schema).unwrap();
    for question in [
        json!({ "question": "a" }),
        json!({ "question": "a", "k": null }),
        json!({ "question": "a", "k": 0 }),
        json!({ "question": "a", "k": 1001 }),
        json!({ "question": "a", "answer": true }),
        json!({ "question": "a", "answer": null }),
        json!({ "question": "a", "answer": 1 }),
        json!({ "question": "a", "paths": 0 }),
        json!({ "question": "a", "paths": 11 }),
        json!({ "question": "a", "extra": 1 }),
        json!({ "question": "" }),
        json!({ "question": "x".repeat(4001) }),
        json!({ "question": "a", "why_not": vec!["b"; 101] }),
        json!({ "k": 1 }),
        json!([]),
    ] {
        let wanted = serde_json::from_value::<crate::question::Wanted>(question.clone());
        let taken = wanted.is_ok_and(|wanted| wanted.check(&limits).is_ok());
        assert_eq!(validator.is_valid(&question), taken, "{question}");
    }
    for name in [
        "Answers",
        "Questions",
        "Error",
        "Document",
        "Node",
        "About",
        "Health",
    ] {
        assert!(jsonschema::validator_for(&Value::Object(schemas::alone(name, &limits))).is_ok());
    }
}
