//! The tools: what they take, and what they do.

use std::sync::Arc;

use gfm_pipe_api::answer::{
    Answer, Answers, DEFAULT_DOCUMENTS, Document, MAX_DOCUMENTS, Named, Node,
};
use rmcp::ErrorData;
use rmcp::model::{CallToolResponse, CallToolResult, ContentBlock, Tool, ToolAnnotations};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use tokio::task::spawn_blocking;

use super::text;
use crate::config::Limits;
use crate::current::Current;
use crate::error::ApiError;
use crate::openapi::schemas;
use crate::question::Wanted;

/// Facts and documents of a node.
const NEIGHBOURS: usize = 50;
/// Names that an error lists where several fit.
const SUGGESTIONS: usize = 10;

/// All tools, with the shapes of their arguments and results. `model` is the retriever's language
/// model, if it has one.
pub(super) fn all(model: Option<&str>) -> Vec<Tool> {
    let limits = Limits::default();
    let text = |what: &str| {
        json!({ "type": "string", "minLength": 1, "maxLength": limits.question_chars,
                "description": what })
    };
    let number = |what: &str| {
        json!({ "type": "integer", "minimum": 0, "maximum": u32::MAX,
                "description": what })
    };
    let k = json!({ "type": "integer", "minimum": 1, "maximum": MAX_DOCUMENTS,
                    "default": DEFAULT_DOCUMENTS, "description": "Number of documents." });
    let source =
        "Only documents whose source file matches this glob pattern, such as reports/*.md.";
    let mut of_ask = json!({ "question": text("The question in plain words."), "k": k,
                             "source": text(source) });
    if let Some(model) = model {
        let what = format!("Whether the language model {model} answers too, from these documents.");
        of_ask["answer"] = json!({ "type": "boolean", "default": false, "description": what });
    }
    vec![
        tool(
            "ask",
            "Answers a question with the documents of the corpus that are most likely to hold the \
             answer, the best first. Each has its text and the facts that lead to it.",
            of_ask,
            &["question"],
            "Answer",
        ),
        tool(
            "document",
            "The whole text of a document, by its number or its title.",
            json!({ "id": number("Number of the document."),
                    "title": text("Its title, or a part of it that no other title has.") }),
            &[],
            "Document",
        ),
        tool(
            "neighbours",
            "The facts about a node of the graph, such as a person, a place or a document, and the \
             documents that mention it.",
            json!({ "node": number("Number of the node."),
                    "name": text("Its name, or a part of it that no other name has.") }),
            &[],
            "Node",
        ),
    ]
}

fn tool(
    name: &'static str,
    about: &'static str,
    properties: Value,
    required: &[&str],
    result: &str,
) -> Tool {
    let input = json!({ "type": "object", "properties": properties, "required": required,
                        "additionalProperties": false });
    let input = match input {
        Value::Object(input) => input,
        _ => Map::new(),
    };
    let annotations = ToolAnnotations::new()
        .read_only(true)
        .idempotent(true)
        .open_world(false);
    Tool::new(name, about, Arc::new(input))
        .with_raw_output_schema(Arc::new(schemas::alone(result, &Limits::default())))
        .with_annotations(annotations)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Question {
    question: String,
    k: Option<i64>,
    source: Option<String>,
    answer: Option<bool>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OfDocument {
    id: Option<u32>,
    title: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OfNode {
    node: Option<u32>,
    name: Option<String>,
}

/// Calls a tool. What goes wrong within it is a result that the model reads; only an unknown tool
/// is an error of the protocol.
pub(super) async fn call(
    current: &Current,
    name: &str,
    arguments: Map<String, Value>,
) -> Result<CallToolResponse, ErrorData> {
    let answers = current.get();
    let arguments = Value::Object(arguments);
    let result = match name {
        "ask" => done(run(answers, arguments, ask).await, text::answer),
        "document" => done(run(answers, arguments, document).await, text::document),
        "neighbours" => done(run(answers, arguments, node).await, text::node),
        _ => {
            let name: String = name.chars().take(100).collect();
            let message =
                format!("there is no tool {name}: the tools are ask, document, neighbours");
            return Err(ErrorData::invalid_params(message, None));
        }
    };
    Ok(CallToolResponse::Complete(result))
}

/// Reads the arguments and finds the result, on a thread where that may take its time.
async fn run<A: DeserializeOwned + 'static, T: Send + 'static>(
    answers: Arc<dyn Answers>,
    arguments: Value,
    find: fn(&dyn Answers, A) -> Result<T, ApiError>,
) -> Result<T, ApiError> {
    let found = spawn_blocking(move || {
        let arguments = serde_json::from_value(arguments).map_err(|e| {
            let message: String = e.to_string().chars().take(400).collect();
            ApiError::bad(format!("the arguments are not as expected: {message}"))
                .hint("tools/list says what the tool takes")
        })?;
        find(&*answers, arguments)
    });
    found
        .await
        .unwrap_or_else(|_| Err(ApiError::internal("the retriever failed")))
}

fn ask(answers: &dyn Answers, asked: Question) -> Result<Answer, ApiError> {
    let Question {
        question,
        k,
        source,
        answer,
    } = asked;
    let wanted = Wanted {
        question,
        k,
        paths: None,
        source,
        why_not: None,
        answer,
    };
    let ask = wanted.check(&Limits::default())?;
    let answer = answers.ask(&[ask]).pop();
    let answer = answer.ok_or_else(|| ApiError::internal("the retriever returned no answer"))?;
    answer.map_err(|e| ApiError::from(&e))
}

fn document(answers: &dyn Answers, of: OfDocument) -> Result<Document, ApiError> {
    let id = match (of.id, of.title) {
        (Some(id), None) => id,
        (None, Some(title)) => only(&title, "document", answers.titles(&title, MAX_DOCUMENTS))?,
        _ => return Err(ApiError::bad("a document is needed").hint("give either id or title")),
    };
    answers.document(id).ok_or_else(|| {
        ApiError::not_found(format!("there is no document {id}"))
            .hint("the tool ask finds documents, and they can be named by title")
    })
}

fn node(answers: &dyn Answers, of: OfNode) -> Result<Node, ApiError> {
    let id = match (of.node, of.name) {
        (Some(node), None) => node,
        (None, Some(name)) => only(&name, "node", answers.nodes(&name, MAX_DOCUMENTS))?,
        _ => return Err(ApiError::bad("a node is needed").hint("give either node or name")),
    };
    answers.node(id, NEIGHBOURS).ok_or_else(|| {
        ApiError::not_found(format!("there is no node {id}"))
            .hint("the documents that the tool ask finds name nodes, and they can be named by name")
    })
}

/// The one that a text means: the only one that contains it, or the only one that it is.
fn only(text: &str, what: &str, found: Vec<Named>) -> Result<u32, ApiError> {
    let same = |named: &&Named| named.label.to_lowercase() == text.to_lowercase();
    let exact = found.iter().find(|named| named.label == text).or_else(|| {
        let mut same = found.iter().filter(same);
        same.next().filter(|_| same.next().is_none())
    });
    match (exact, &found[..]) {
        (Some(one), _) | (None, [one]) => Ok(one.id),
        (None, []) => Err(
            ApiError::not_found(format!("no {what} has {text} in its name"))
                .hint("try a shorter part of the name"),
        ),
        (None, several) => {
            let names: Vec<_> = several
                .iter()
                .take(SUGGESTIONS)
                .map(|n| n.label.as_str())
                .collect();
            let hint = format!("give the whole name of one of them: {}", names.join("; "));
            Err(ApiError::bad(format!("several names contain {text}")).hint(hint))
        }
    }
}

/// The result for programs and, as text, for models.
fn done<T: Serialize>(found: Result<T, ApiError>, show: fn(&T) -> String) -> CallToolResult {
    let value = found.and_then(|found| match serde_json::to_value(&found) {
        Ok(value) => Ok((show(&found), value)),
        Err(e) => Err(ApiError::internal(format!(
            "failed to write the result: {e}"
        ))),
    });
    match value {
        Ok((text, value)) => {
            let mut result = CallToolResult::structured(value);
            result.content = vec![ContentBlock::text(text)];
            result
        }
        Err(e) => {
            let hint = e
                .hint
                .iter()
                .map(|hint| format!("; {hint}"))
                .collect::<String>();
            CallToolResult::error(vec![ContentBlock::text(format!("{}{hint}", e.message))])
        }
    }
}
