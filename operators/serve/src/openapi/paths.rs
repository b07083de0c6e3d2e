//! The addresses.

use gfm_pipe_api::answer::MAX_DOCUMENTS;
use serde_json::{Value, json};

use crate::config::Limits;

/// All addresses with their methods.
pub(super) fn paths(limits: &Limits) -> Value {
    json!({
        "/ask": { "post": {
            "operationId": "ask",
            "summary": "Answers a question",
            "requestBody": body("Question"),
            "responses": responses(of("Answer"), &[400, 401, 408, 413, 415, 429, 500, 503]),
        } },
        "/ask/batch": { "post": {
            "operationId": "askBatch",
            "summary": "Answers several questions, which are scored together",
            "requestBody": body("Questions"),
            "responses": responses(of("Answers"), &[400, 401, 408, 413, 415, 429, 503]),
        } },
        "/documents": { "get": {
            "operationId": "findDocuments",
            "summary": "Documents whose titles contain a text",
            "parameters": [text("title", limits), limit(10)],
            "responses": responses(list("Named"), &[400, 401, 429, 503]),
        } },
        "/documents/{id}": { "get": {
            "operationId": "document",
            "summary": "A document",
            "parameters": [id("id")],
            "responses": responses(of("Document"), &[400, 401, 404, 429, 503]),
        } },
        "/graph": { "get": {
            "operationId": "findNodes",
            "summary": "Nodes whose names contain a text",
            "parameters": [text("name", limits), limit(10)],
            "responses": responses(list("Named"), &[400, 401, 429, 503]),
        } },
        "/graph/{node}": { "get": {
            "operationId": "node",
            "summary": "A node with its facts and documents",
            "parameters": [id("node"), limit(50)],
            "responses": responses(of("Node"), &[400, 401, 404, 429, 503]),
        } },
        "/about": { "get": {
            "operationId": "about",
            "summary": "What the retriever is made of",
            "responses": responses(of("About"), &[401, 429, 503]),
        } },
        "/health": { "get": {
            "operationId": "health",
            "summary": "Whether the server takes requests",
            "security": [],
            "responses": responses(of("Health"), &[429, 503]),
        } },
        "/metrics": { "get": {
            "operationId": "metrics",
            "summary": "Counts and times, as Prometheus reads them",
            "responses": other("The metrics", "text/plain"),
        } },
        "/openapi.json": { "get": {
            "operationId": "openapi",
            "summary": "This document",
            "responses": other("This document", "application/json"),
        } },
        "/": { "get": {
            "operationId": "page",
            "summary": "A page for people",
            "security": [],
            "responses": other("The page", "text/html"),
        } },
        "/favicon.ico": { "get": {
            "operationId": "icon",
            "summary": "Nothing: browsers ask for it",
            "security": [],
            "responses": { "204": { "description": "There is none" } },
        } },
    })
}

fn of(schema: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{schema}") })
}

fn list(schema: &str) -> Value {
    json!({ "type": "array", "items": of(schema) })
}

fn content(kind: &str, schema: Value) -> Value {
    let mut content = json!({});
    content[kind] = json!({ "schema": schema });
    content
}

fn body(schema: &str) -> Value {
    json!({ "required": true, "content": content("application/json", of(schema)) })
}

/// The answer that is hoped for, and the errors.
fn responses(schema: Value, errors: &[u16]) -> Value {
    let well =
        json!({ "description": "The answer", "content": content("application/json", schema) });
    let mut all = json!({ "200": well });
    // A host or an origin may be refused whatever is asked.
    for status in [403].iter().chain(errors) {
        let what = match status {
            400 => "The request is wrong in itself",
            401 => "The token is missing or wrong",
            403 => "Requests with this Host or Origin are refused",
            404 => "There is no such thing",
            408 => "The request did not arrive in time",
            413 => "The body is too large",
            415 => "The body is not JSON",
            429 => "Too much is being asked; the header retry-after says when to come again",
            500 => "The retriever failed on this question",
            _ => "The server is stopping, or has no answer in time",
        };
        let error = content("application/json", of("Error"));
        all[status.to_string()] = json!({ "description": what, "content": error });
    }
    all
}

fn other(what: &str, kind: &str) -> Value {
    json!({ "200": { "description": what, "content": content(kind, json!({})) } })
}

fn id(name: &str) -> Value {
    let schema = json!({ "type": "integer", "minimum": 0, "maximum": u32::MAX });
    json!({ "name": name, "in": "path", "required": true, "schema": schema })
}

fn text(name: &str, limits: &Limits) -> Value {
    let schema = json!({ "type": "string", "maxLength": limits.question_chars, "default": "" });
    json!({ "name": name, "in": "query", "schema": schema })
}

fn limit(default: usize) -> Value {
    let schema =
        json!({ "type": "integer", "minimum": 1, "maximum": MAX_DOCUMENTS, "default": default });
    json!({ "name": "limit", "in": "query", "schema": schema })
}
