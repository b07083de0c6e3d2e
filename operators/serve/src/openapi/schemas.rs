//! The shapes of what is sent and received.

use gfm_pipe_api::answer::{DEFAULT_DOCUMENTS, DEFAULT_PATHS, MAX_DOCUMENTS, MAX_PATHS};
use serde_json::{Map, Value, json};

use crate::config::Limits;

/// All schemas by name. `at` stands before the name of a schema where another one refers to it.
pub(crate) fn all(at: &str, limits: &Limits) -> Value {
    let mut all = asked(at, limits);
    all.extend(answered(at));
    all.extend(looked_up(at));
    all.extend(about_the_server());
    Value::Object(all)
}

/// One schema with everything that it refers to, for use outside of the OpenAPI document.
#[cfg(any(test, feature = "mcp"))]
pub(crate) fn alone(name: &str, limits: &Limits) -> Map<String, Value> {
    let all = all("#/$defs/", limits);
    let mut schema = match &all[name] {
        Value::Object(schema) => schema.clone(),
        _ => Map::new(),
    };
    schema.insert("$defs".to_owned(), all);
    schema
}

/// What a client may ask.
fn asked(at: &str, limits: &Limits) -> Map<String, Value> {
    let text = || json!({ "type": "string", "maxLength": limits.question_chars });
    let question = json!({
        "type": "string",
        "minLength": 1,
        "maxLength": limits.question_chars,
        "description": "The question in plain words.",
    });
    let k = json!({
        "type": ["integer", "null"],
        "minimum": 1,
        "maximum": MAX_DOCUMENTS,
        "default": DEFAULT_DOCUMENTS,
        "description": "Number of documents.",
    });
    let paths = json!({
        "type": ["integer", "null"],
        "minimum": 0,
        "maximum": MAX_PATHS,
        "default": DEFAULT_PATHS,
        "description": "Largest number of paths per document.",
    });
    let source = json!({
        "type": ["string", "null"],
        "maxLength": limits.question_chars,
        "description": "Only documents whose source file matches this glob pattern, such as \
                        reports/*.md.",
    });
    let why_not = json!({
        "type": ["array", "null"],
        "items": text(),
        "maxItems": limits.why_not,
        "description": "Further documents to report with their ranks, by title or id.",
    });
    let answer = json!({
        "type": ["boolean", "null"],
        "default": false,
        "description": "Whether a language model answers too, from the first documents. An error \
                        where the retriever has none: model of /about.",
    });
    let one = object(
        "A question.",
        json!({
            "question": question,
            "k": k,
            "paths": paths,
            "source": source,
            "why_not": why_not,
            "answer": answer,
        }),
        &["k", "paths", "source", "why_not", "answer"],
    );
    let item = json!({ "anyOf": [question, reference(at, "Question")] });
    let questions =
        json!({ "type": "array", "items": item, "maxItems": limits.batch.min(limits.waiting) });
    let several = object("Several questions.", json!({ "questions": questions }), &[]);
    collect([("Question", one), ("Questions", several)])
}

/// Answers and what they consist of.
fn answered(at: &str) -> Map<String, Value> {
    let answer = object(
        "The answer to a question.",
        json!({
            "question": string("The question."),
            "system": string("What ranked the documents: model, ppr, rrf, dense or bm25."),
            "notes": list(string("What the user should know."), "Remarks on the answer."),
            "seconds": number("How long it took, without the wait for other questions."),
            "answer": reference(at, "Cited"),
            "start": list(reference(at, "Start"), "Where the search started, the heaviest first."),
            "documents": list(reference(at, "Found"), "The first documents."),
            "why_not": list(reference(at, "Found"), "The documents that why_not names."),
        }),
        &["answer", "why_not"],
    );
    let cited = object(
        "What a language model answers from the first documents. Where it could not be had, it is \
         missing, and a note says why.",
        json!({
            "text": string("The answer in a few words; empty where the documents do not say it."),
            "reasoning": string("How the model came to it."),
            "documents": list(natural("Number of a document."), "The documents that it cites."),
            "titles": list(string("Title of a document."), "Their titles."),
            "model": string("Name of the model."),
        }),
        &[],
    );
    let start = object(
        "A node where the search started.",
        json!({
            "node": natural("Number of the node."),
            "label": string("Its name."),
            "source": string("What found it: title, entity, partial, word, fact, sentence or document."),
            "text": string("The words by which it was found."),
            "weight": number("Its weight."),
        }),
        &[],
    );
    let found = object(
        "A document of an answer.",
        json!({
            "id": natural("Number of the document."),
            "rank": or_null(natural("One-based rank; null where the document has no score.")),
            "title": string("Its title."),
            "score": or_null(number("Its score; only scores of one answer can be compared.")),
            "sentence": or_null(string("The sentence that is most similar to the question.")),
            "text": string("Its text."),
            "source": or_null(string("The file that it was read from.")),
            "paths": list(reference(at, "Path"), "Why it was found: a path without steps first, then the heaviest."),
        }),
        &[],
    );
    let path = object(
        "A walk in the graph from a start node to a document.",
        json!({
            "weight": number("How much the walk contributes."),
            "steps": list(reference(at, "Step"), "The edges, from the start."),
        }),
        &[],
    );
    let step = object(
        "A fact of the graph, with where it was read.",
        json!({
            "head": string("Name of the fact's head."),
            "relation": string("Name of its relation."),
            "tail": string("Name of its tail."),
            "head_node": natural("Number of the head's node."),
            "tail_node": natural("Number of the tail's node."),
            "inverse": boolean("Whether the path goes from tail to head."),
            "layer": natural("One-based layer of the model, or step of the walk."),
            "document": or_null(natural("Number of the document that states the fact.")),
            "title": or_null(string("Title of that document.")),
            "sentence": or_null(string("The sentence that states it.")),
        }),
        &[],
    );
    let one = json!({ "anyOf": [reference(at, "Answer"), reference(at, "Error")] });
    let several = json!({ "answers": list(one, "In the order of the questions.") });
    collect([
        ("Answer", answer),
        (
            "Answers",
            object("Answers to several questions.", several, &[]),
        ),
        ("Cited", cited),
        ("Start", start),
        ("Found", found),
        ("Path", path),
        ("Step", step),
    ])
}

/// Documents and nodes.
fn looked_up(at: &str) -> Map<String, Value> {
    let named = object(
        "A node or a document with its name.",
        json!({ "id": natural("Its number."), "label": string("Its name or title.") }),
        &[],
    );
    let document = object(
        "A document with everything that is known about it.",
        json!({
            "id": natural("Its number."),
            "title": string("Its title."),
            "text": string("Its text."),
            "source": or_null(string("The file that it was read from.")),
            "nodes": list(reference(at, "Named"), "The nodes that it mentions, and its own."),
        }),
        &[],
    );
    let node = object(
        "A node of the graph with its neighbours.",
        json!({
            "node": natural("Its number."),
            "label": string("Its name."),
            "type": { "type": "string", "enum": ["entity", "document"] },
            "degree": natural("Number of facts that it is the head or tail of."),
            "facts": list(reference(at, "Step"), "The first of these facts."),
            "documents": list(reference(at, "Named"), "The first documents that mention it."),
        }),
        &[],
    );
    collect([("Named", named), ("Document", document), ("Node", node)])
}

/// The server itself, and errors.
fn about_the_server() -> Map<String, Value> {
    let about = object(
        "What the retriever is made of.",
        json!({
            "version": string("Version of the program."),
            "system": string("The system that ranks documents where a question has a start."),
            "documents": natural("Number of documents."),
            "nodes": natural("Number of nodes of the graph."),
            "triples": natural("Number of triples of the graph."),
            "encoder": or_null(string("Name of the text encoder.")),
            "examples": list(string("A question."), "Questions to try."),
            "model": or_null(string("Name of the language model that answers where a question asks for it.")),
        }),
        &[],
    );
    let error = object(
        "Why there is no answer.",
        json!({
            "code": string("A word for programs."),
            "message": string("What went wrong."),
            "hint": or_null(string("What to do next.")),
        }),
        &[],
    );
    collect([
        ("About", about),
        (
            "Error",
            object("Why there is no answer.", json!({ "error": error }), &[]),
        ),
        (
            "Health",
            object(
                "The server is well.",
                json!({ "status": { "const": "ok" } }),
                &[],
            ),
        ),
    ])
}

fn collect<const N: usize>(schemas: [(&str, Value); N]) -> Map<String, Value> {
    schemas
        .into_iter()
        .map(|(name, schema)| (name.to_owned(), schema))
        .collect()
}

fn reference(at: &str, name: &str) -> Value {
    json!({ "$ref": format!("{at}{name}") })
}

/// An object that has all of these properties, except for the optional ones, and no others.
fn object(what: &str, properties: Value, optional: &[&str]) -> Value {
    let names = properties.as_object().into_iter().flat_map(Map::keys);
    let required: Vec<_> = names
        .filter(|name| !optional.contains(&name.as_str()))
        .collect();
    json!({
        "type": "object",
        "description": what,
        "required": required,
        "properties": properties,
        "additionalProperties": false,
    })
}

fn string(what: &str) -> Value {
    json!({ "type": "string", "description": what })
}

fn boolean(what: &str) -> Value {
    json!({ "type": "boolean", "description": what })
}

fn number(what: &str) -> Value {
    json!({ "type": "number", "description": what })
}

fn natural(what: &str) -> Value {
    json!({ "type": "integer", "minimum": 0, "description": what })
}

fn list(items: Value, what: &str) -> Value {
    json!({ "type": "array", "items": items, "description": what })
}

fn or_null(mut schema: Value) -> Value {
    schema["type"] = json!([schema["type"], "null"]);
    schema
}
