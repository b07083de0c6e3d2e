//! The tools, over a pipe, as a client of the protocol calls them.

use std::sync::Arc;

use gfm_pipe_api::OpResult;
use serde_json::{Value, json};
use tokio::io::{
    AsyncBufReadExt, AsyncWriteExt, BufReader, DuplexStream, Lines, ReadHalf, WriteHalf,
};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::client::PATIENCE;
use super::fake::{Fake, MODEL};
use crate::{Current, mcp};

struct Client {
    lines: Lines<BufReader<ReadHalf<DuplexStream>>>,
    out: WriteHalf<DuplexStream>,
    running: JoinHandle<OpResult<()>>,
    last: u64,
}

impl Client {
    fn start() -> Self {
        let (ours, theirs) = tokio::io::duplex(1 << 16);
        let (input, output) = tokio::io::split(theirs);
        let current = Current::new(Arc::new(Fake::named("fake")));
        let running = tokio::spawn(mcp(current, input, output));
        let (reading, out) = tokio::io::split(ours);
        Client {
            lines: BufReader::new(reading).lines(),
            out,
            running,
            last: 0,
        }
    }

    async fn ready() -> Self {
        let mut client = Client::start();
        let reply = client
            .call(
                "initialize",
                json!({
                    "protocolVersion": "2025-06-18",
                    "capabilities": {},
                    "clientInfo": { "name": "test", "version": "1" },
                }),
            )
            .await;
        assert_eq!(reply["result"]["serverInfo"]["name"], "gfm-pipe", "{reply}");
        assert!(
            reply["result"]["capabilities"]["tools"].is_object(),
            "{reply}"
        );
        client
            .write(&json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }))
            .await;
        client
    }

    async fn write(&mut self, message: &Value) {
        self.out
            .write_all(format!("{message}\n").as_bytes())
            .await
            .unwrap();
    }

    async fn call(&mut self, method: &str, params: Value) -> Value {
        self.last += 1;
        let id = self.last;
        self.write(&json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params }))
            .await;
        loop {
            let line = timeout(PATIENCE, self.lines.next_line())
                .await
                .unwrap()
                .unwrap()
                .unwrap();
            let message: Value = serde_json::from_str(&line).unwrap();
            if message["id"] == id {
                return message;
            }
        }
    }

    async fn tool(&mut self, name: &str, arguments: Value) -> Value {
        self.call(
            "tools/call",
            json!({ "name": name, "arguments": arguments }),
        )
        .await
    }

    /// The structured result of a call and its text.
    async fn well(&mut self, name: &str, arguments: Value) -> (Value, String) {
        let reply = self.tool(name, arguments).await;
        let result = &reply["result"];
        assert_ne!(result["isError"], true, "{reply}");
        let text = result["content"][0]["text"].as_str().unwrap().to_owned();
        (result["structuredContent"].clone(), text)
    }

    /// The text of a call that failed.
    async fn badly(&mut self, name: &str, arguments: Value) -> String {
        let reply = self.tool(name, arguments).await;
        assert_eq!(reply["result"]["isError"], true, "{reply}");
        reply["result"]["content"][0]["text"]
            .as_str()
            .unwrap()
            .to_owned()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_tool_is_listed_and_works() {
    let mut client = Client::ready().await;
    let list = client.call("tools/list", json!({})).await;
    let tools = list["result"]["tools"].as_array().unwrap();
    let names: Vec<_> = tools
        .iter()
        .map(|tool| tool["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["ask", "document", "neighbours"]);
    let calls = [
        (
            "ask",
            json!({ "question": "Who discovered polonium?", "k": 2 }),
            "1. Marie Curie (document 0, people.md)",
        ),
        (
            "document",
            json!({ "title": "polonium" }),
            "All about Polonium.",
        ),
        (
            "neighbours",
            json!({ "name": "Marie Curie" }),
            "- Marie Curie | discovered | Polonium [Marie Curie]",
        ),
    ];
    for (tool, (name, arguments, line)) in tools.iter().zip(calls) {
        let valid = |schema: &str, value: &Value| {
            let validator = jsonschema::validator_for(&tool[schema]).unwrap();
            assert!(validator.is_valid(value), "{name} {schema}: {value}");
        };
        valid("inputSchema", &arguments);
        let (structured, text) = client.well(name, arguments).await;
        valid("outputSchema", &structured);
        assert!(text.lines().any(|other| other == line), "{text}");
    }
    let (structured, _) = client
        .well("ask", json!({ "question": "a", "source": "*.md" }))
        .await;
    assert_eq!(structured["documents"].as_array().unwrap().len(), 3);
    // The model of the retriever is a choice, and named.
    let what = &tools[0]["inputSchema"]["properties"]["answer"]["description"];
    assert!(what.as_str().unwrap().contains(MODEL), "{what}");
    let in_words = json!({ "question": "a", "answer": true });
    let (structured, text) = client.well("ask", in_words).await;
    assert_eq!(structured["answer"]["documents"], json!([0]));
    let begins = "Answer of writer-1: Marie <b>Curie</b>\n   because: She discovered it.\n   cites: \
                  Marie Curie\n";
    assert!(text.contains(begins), "{text}");
    assert_eq!(
        client.well("document", json!({ "id": 1 })).await.0["title"],
        "Pierre Curie"
    );
    assert_eq!(
        client.well("neighbours", json!({ "node": 2 })).await.0["label"],
        "Polonium"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn errors_say_what_to_do() {
    let mut client = Client::ready().await;
    for (name, arguments, expected) in [
        ("ask", json!({}), "missing field `question`"),
        (
            "ask",
            json!({ "question": "" }),
            "the question is empty; write it in plain words",
        ),
        (
            "ask",
            json!({ "question": "a", "k": 0 }),
            "k is 0; write a whole number from 1 to 1000",
        ),
        (
            "ask",
            json!({ "question": "a", "top": 1 }),
            "unknown field `top`",
        ),
        (
            "ask",
            json!({ "question": 3 }),
            "tools/list says what the tool takes",
        ),
        (
            "ask",
            json!({ "question": "user" }),
            "the pattern is wrong; close the bracket",
        ),
        (
            "ask",
            json!({ "question": "panic" }),
            "the retriever failed",
        ),
        (
            "document",
            json!({ "id": 9 }),
            "there is no document 9; the tool ask finds",
        ),
        (
            "document",
            json!({ "id": -1 }),
            "the arguments are not as expected",
        ),
        ("document", json!({}), "give either id or title"),
        (
            "document",
            json!({ "id": 1, "title": "a" }),
            "give either id or title",
        ),
        (
            "document",
            json!({ "title": "curie" }),
            "one of them: Marie Curie; Pierre Curie",
        ),
        (
            "document",
            json!({ "title": "radium" }),
            "try a shorter part of the name",
        ),
        (
            "neighbours",
            json!({ "node": 4_294_967_296_u64 }),
            "the arguments are not as expected",
        ),
        (
            "neighbours",
            json!({ "name": "nobody" }),
            "no node has nobody in its name",
        ),
    ] {
        let text = client.badly(name, arguments).await;
        assert!(text.contains(expected), "{expected}: {text}");
    }
    let reply = client.tool("delete", json!({})).await;
    assert_eq!(reply["error"]["code"], -32602, "{reply}");
    let message = reply["error"]["message"].as_str().unwrap();
    assert!(
        message.contains("the tools are ask, document, neighbours"),
        "{reply}"
    );
    assert_eq!(
        client.call("nothing", json!({})).await["error"]["code"],
        -32601
    );
    // Lines that are no messages do not end the session.
    client
        .out
        .write_all(b"{\"jsonrpc\":\nnot json\n\xff\xfe\n[]\n")
        .await
        .unwrap();
    let long = vec![b'a'; 2 << 20];
    client.out.write_all(&long).await.unwrap();
    client.out.write_all(b"\n").await.unwrap();
    assert_eq!(client.well("document", json!({ "id": 0 })).await.0["id"], 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_end_of_the_input_ends_the_session() {
    let Client {
        lines,
        out,
        running,
        ..
    } = Client::ready().await;
    drop((lines, out));
    timeout(PATIENCE, running).await.unwrap().unwrap().unwrap();
    // Without a word, too: that is an error.
    let Client {
        lines,
        out,
        running,
        ..
    } = Client::start();
    drop((lines, out));
    let e = timeout(PATIENCE, running)
        .await
        .unwrap()
        .unwrap()
        .unwrap_err();
    assert!(e.advice().is_some(), "{e}");
}
