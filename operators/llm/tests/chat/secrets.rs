//! Keys, certificates and other hosts.

use gfm_pipe_api::ErrorKind;
use gfm_pipe_llm::{Chat, LlmParams};
use gfm_pipe_testing::{Act, ModelServer};
use serde_json::{Value, json};

use crate::common::{Stage, params, refuse, say, says, serve, serve_in_turn};

const KEY: &str = "sk-Geheim0123456789";

fn with_key() -> Stage {
    let mut stage = Stage::new();
    stage.set("MY_KEY", KEY);
    stage
}

/// Parameters that name the variable with the key.
fn keyed(base_url: &str, mut more: Value) -> LlmParams {
    more["api_key_env"] = json!("MY_KEY");
    params(base_url, more)
}

/// Whether a part of the key that is worth something is in some text.
fn tells(text: &[u8]) -> bool {
    let part = &KEY.as_bytes()[..9];
    text.windows(part.len()).any(|w| w == part)
}

#[test]
fn a_certificate_of_ones_own_is_trusted_by_its_file() {
    let (server, pem) = ModelServer::start_tls(|_| say(&["Ada"])).unwrap();
    let stage = with_key();
    std::fs::write(stage.path("ca.pem"), pem).unwrap();
    let file = stage.path("ca.pem");
    let trusted = keyed(&server.base_url(), json!({"ca_file": file}));
    assert_eq!(
        stage.name(&trusted, "Who?").unwrap().unwrap().value,
        ["Ada"]
    );
    let key = server.asked()[0].authorization.clone();
    assert_eq!(key.unwrap(), format!("Bearer {KEY}"));
    // The path is relative to the folder of the pipeline.
    let mut stage = with_key();
    stage.ctx.base = file.parent().unwrap().to_owned();
    let relative = keyed(&server.base_url(), json!({"ca_file": "ca.pem"}));
    stage.name(&relative, "Who?").unwrap().unwrap();
    assert_eq!(server.asked().len(), 2);
}

#[test]
fn a_certificate_that_nobody_vouches_for_is_an_error() {
    let (server, _) = ModelServer::start_tls(|_| say(&["Ada"])).unwrap();
    let (_, other) = ModelServer::start_tls(|_| say(&["Ada"])).unwrap();
    let stage = with_key();
    std::fs::write(stage.path("other.pem"), other).unwrap();
    for more in [json!({}), json!({"ca_file": stage.path("other.pem")})] {
        let e = stage
            .name(&params(&server.base_url(), more), "Who?")
            .unwrap_err();
        assert_eq!(e.kind(), ErrorKind::Resource);
        let all = says(&e, &["no secure connection", "certificate", "llm.ca_file"]);
        assert!(!all.contains("tried"), "{all}");
    }
    assert!(server.asked().is_empty());
    std::fs::write(stage.path("none.pem"), "nothing").unwrap();
    for (file, part) in [
        ("none.pem", "no certificate"),
        ("absent.pem", "failed to read"),
    ] {
        let params = params(&server.base_url(), json!({"ca_file": stage.path(file)}));
        says(&stage.name(&params, "Who?").unwrap_err(), &[file, part]);
    }
}

#[test]
fn a_wrong_key_is_named_by_its_variable_and_not_shown() {
    let echo = format!("Incorrect API key provided: {KEY}. You can find your key at …");
    // The key lies across the place where a long text is cut.
    let long = format!("{} {KEY} is not known here", "x".repeat(389));
    for said in [echo, long] {
        for status in [401, 403] {
            let body = json!({"error": {"message": said, "code": "invalid_api_key"}}).to_string();
            let server = serve(move |_| Act::Status(status, Vec::new(), body.clone()));
            let stage = with_key();
            let params = keyed(&server.base_url(), json!({}));
            let e = stage.name(&params, "Who?").unwrap_err();
            assert_eq!(e.kind(), ErrorKind::User);
            let all = says(&e, &[&status.to_string(), "MY_KEY holds the right key"]);
            assert!(!tells(all.as_bytes()), "{all}");
            assert_eq!(server.asked().len(), 1);
        }
    }
}

#[test]
fn a_missing_key_is_named_by_its_variable() {
    let server = serve(|_| say(&["Ada"]));
    let openai = format!("{}/", gfm_pipe_llm::OPENAI);
    let missing = |stage: &Stage, params: &LlmParams, parts: &[&str]| {
        let e = stage.name(params, "Who?").unwrap_err();
        assert_eq!(e.kind(), ErrorKind::User);
        let all = says(&e, parts);
        assert!(!tells(all.as_bytes()), "{all}");
    };
    let mut stage = Stage::new();
    let usual = params(&openai, json!({}));
    missing(
        &stage,
        &usual,
        &["OPENAI_API_KEY is not set", "llm.base_url"],
    );
    missing(&stage, &keyed(&openai, json!({})), &["MY_KEY is not set"]);
    let own = keyed(&server.base_url(), json!({}));
    missing(&stage, &own, &["MY_KEY is not set", "llm.api_key_env"]);
    stage.set("MY_KEY", " \n");
    missing(&stage, &own, &["MY_KEY is not set"]);
    stage.set("MY_KEY", &format!("{KEY} and a remark"));
    missing(&stage, &own, &["MY_KEY", "no blanks"]);
    assert!(server.asked().is_empty());
}

#[test]
fn the_key_of_openai_goes_to_openai_alone() {
    let server = serve_in_turn(vec![say(&["Ada"]), refuse(401, "who are you?", "")]);
    let mut stage = Stage::new();
    stage.set("OPENAI_API_KEY", KEY);
    let params = params(&server.base_url(), json!({}));
    stage.name(&params, "Who?").unwrap().unwrap();
    let e = stage.name(&params, "Who else?").unwrap_err();
    says(&e, &["401", "llm.api_key_env"]);
    assert_eq!(server.asked().len(), 2);
    assert!(server.asked().iter().all(|a| a.authorization.is_none()));
}

#[test]
fn a_key_reaches_the_server_and_nothing_else() {
    let busy = refuse(503, &format!("{KEY} is too eager"), KEY);
    let server = serve_in_turn(vec![busy, say(&["Ada"])]);
    let mut stage = Stage::new();
    // A key often comes from a file that ends with a line break.
    stage.set("MY_KEY", &format!("{KEY}\n"));
    let params = keyed(&server.base_url(), json!({}));
    let got = stage.name(&params, "Who is Ada?").unwrap().unwrap();
    assert_eq!(got.value, ["Ada"]);
    let asked = server.asked();
    assert_eq!(asked.len(), 2);
    let want = format!("Bearer {KEY}");
    assert!(
        asked
            .iter()
            .all(|a| a.authorization.as_deref() == Some(&want))
    );
    assert!(!tells(asked[1].body.to_string().as_bytes()));
    let said = stage.said().join("\n");
    assert!(
        said.contains("503") && said.contains("[key] is too eager"),
        "{said}"
    );
    assert!(!tells(said.as_bytes()), "{said}");
    let bytes = stage.bytes();
    assert!(bytes.windows(3).any(|w| w == b"Ada"), "the answer is kept");
    assert!(!tells(&bytes));
    let shown = format!("{params:?}");
    assert!(!tells(shown.as_bytes()));
}

#[test]
fn a_key_in_a_pipeline_is_refused_and_not_repeated() {
    let schema = LlmParams::schema();
    let plain = "0123456789abcdef0123456789abcdef";
    let groq = "gsk_0123456789abcdefghij0123456789";
    for key in [KEY, plain, groq] {
        for name in ["api_key_env", "api_key"] {
            let problems = schema.normalize(&json!({ name: key })).unwrap_err();
            assert!(!problems.is_empty());
            for problem in problems {
                let all = format!("{problem:?}");
                assert!(!all.contains(key), "{all}");
                assert!(all.contains("environment variable"), "{all}");
            }
        }
    }
    for name in [
        "OPENAI_API_KEY",
        "KEY2",
        "my_key",
        "MISTRAL_API_KEY_OF_THE_TEAM_2",
    ] {
        schema.normalize(&json!({"api_key_env": name})).unwrap();
    }
    let secret = "http://user:pass@localhost/v1";
    schema.normalize(&json!({"base_url": secret})).unwrap_err();
}

#[test]
fn an_unencrypted_way_to_another_machine_is_remarked() {
    let stage = with_key();
    let plain = keyed("http://models.example.org/v1", json!({}));
    Chat::open(&stage.ctx, &plain).unwrap();
    let said = stage.said();
    assert_eq!(said.len(), 1);
    assert!(said[0].contains("MY_KEY") && said[0].contains("without encryption"));
    assert!(!tells(said[0].as_bytes()));
    for base in [
        "https://models.example.org/v1",
        "http://localhost:1/v1",
        "http://127.0.0.9:1/v1",
        "http://[::1]:1/v1",
    ] {
        Chat::open(&stage.ctx, &keyed(base, json!({}))).unwrap();
    }
    assert_eq!(stage.said().len(), 1);
}

#[test]
fn nothing_is_sent_on_to_another_host() {
    for status in [301, 302, 303, 307, 308] {
        let other = serve(|_| say(&["Eve"]));
        let to = format!("{}/chat/completions?{KEY}", other.base_url());
        let server =
            serve(move |_| Act::Status(status, vec![("location", to.clone())], String::new()));
        let stage = with_key();
        let e = stage
            .name(&keyed(&server.base_url(), json!({})), "Who?")
            .unwrap_err();
        let parts = ["sends requests on to", &other.base_url(), "llm.base_url"];
        let all = says(&e, &parts);
        assert!(!tells(all.as_bytes()), "{all}");
        assert_eq!(server.asked().len(), 1);
        assert!(other.asked().is_empty());
    }
    let server = serve(|_| Act::Status(302, Vec::new(), String::new()));
    let got = Stage::new().name(
        &params(&server.base_url(), Value::Object(Default::default())),
        "?",
    );
    says(&got.unwrap_err(), &["an unnamed place"]);
}
