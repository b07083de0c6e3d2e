//! Asks a model in a folder of its own.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use gfm_pipe_api::items::Items;
use gfm_pipe_api::local::{self, Collected};
use gfm_pipe_api::{Context, Environment, OpError, OpResult};
use gfm_pipe_llm::{Answered, Asker, Chat, LlmParams, Message, Parsed, Role, Shape};
use gfm_pipe_testing::{Act, Asked, ModelServer};
use serde_json::{Value, json};
use tempfile::TempDir;

/// A stage and the folder in which its answers are kept.
pub struct Stage {
    dir: Arc<TempDir>,
    work: &'static str,
    said: Arc<Collected>,
    pub ctx: Context,
}

impl Stage {
    /// A stage with an empty store and an empty environment.
    pub fn new() -> Stage {
        Stage::within(Arc::new(tempfile::tempdir().unwrap()), "work")
    }

    /// Another stage with the same store.
    pub fn beside(&self) -> Stage {
        Stage::within(Arc::clone(&self.dir), "more work")
    }

    fn within(dir: Arc<TempDir>, work: &'static str) -> Stage {
        let said = Arc::new(Collected::default());
        let mut stage = Stage {
            ctx: local::context(),
            dir,
            work,
            said,
        };
        stage.ctx.environment = Environment::new();
        stage.ctx.reporter = Arc::clone(&stage.said) as _;
        stage.run_again();
        stage
    }

    /// Opens the store once more, as the next run does.
    pub fn run_again(&mut self) {
        let workdir = self.path(self.work);
        std::fs::create_dir_all(&workdir).unwrap();
        self.ctx.items = Items::new(self.path("items"), workdir, "this machine".to_owned());
        self.ctx.cancel = gfm_pipe_api::Cancel::default();
    }

    /// A place in the stage's folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn set(&mut self, variable: &str, value: &str) {
        self.ctx.environment.insert(variable.into(), value.into());
    }

    /// All messages so far.
    pub fn said(&self) -> Vec<String> {
        let messages = self.said.messages.lock().unwrap();
        messages.iter().map(|(_, text)| text.clone()).collect()
    }

    /// The bytes of all files in the stage's folder.
    pub fn bytes(&self) -> Vec<u8> {
        fn add(path: &Path, out: &mut Vec<u8>) {
            for entry in std::fs::read_dir(path).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    add(&path, out);
                } else {
                    out.extend(std::fs::read(path).unwrap());
                }
            }
        }
        let mut out = Vec::new();
        add(self.dir.path(), &mut out);
        out
    }

    /// Asks each question for a text.
    pub fn texts(&self, params: &LlmParams, questions: &[String]) -> OpResult<Vec<String>> {
        let chat = Chat::open(&self.ctx, params)?;
        let texts = chat.each(questions.len(), "questions", |i, asker| {
            text(asker, &questions[i])
        })?;
        chat.report();
        Ok(texts)
    }

    /// Asks each question for a list of names.
    pub fn names(&self, params: &LlmParams, questions: &[&str]) -> OpResult<Vec<Names>> {
        let chat = Chat::open(&self.ctx, params)?;
        let all = chat.each(questions.len(), "questions", |i, asker| {
            asker.json(questions[i], conversation(questions[i]), &shape(), names)
        })?;
        Ok(all.into_iter().map(|names| names.unwrap()).collect())
    }

    /// Asks one question for a list of names.
    pub fn name(&self, params: &LlmParams, question: &str) -> OpResult<Names> {
        Ok(self.names(params, &[question])?.remove(0))
    }
}

pub type Names = Parsed<Answered<Vec<String>>>;

/// Asks a question for a text; empty where there is none.
pub fn text(asker: &Asker<'_>, question: &str) -> OpResult<String> {
    let reply = asker.reply(question, &conversation(question))?;
    Ok(reply.map(|reply| reply.content).unwrap_or_default())
}

pub fn conversation(question: &str) -> Vec<Message> {
    let message = |role, content: &str| Message {
        role,
        content: content.to_owned(),
    };
    vec![
        message(Role::System, "Answer in JSON."),
        message(Role::User, question),
    ]
}

pub fn shape() -> Shape {
    let names = json!({"type": "array", "items": {"type": "string"}});
    Shape {
        name: "names",
        schema: json!({
            "type": "object",
            "properties": {"names": names},
            "required": ["names"],
            "additionalProperties": false,
        }),
    }
}

fn names(value: &Value) -> Result<Vec<String>, String> {
    let names = value.get("names").and_then(Value::as_array);
    let names = names.ok_or("there is no list `names`")?;
    let text = |name: &Value| name.as_str().map(str::to_owned);
    let texts: Option<Vec<String>> = names.iter().map(text).collect();
    texts.ok_or_else(|| "a name is no text".to_owned())
}

/// Parameters as a pipeline gives them, with defaults.
pub fn params(base_url: &str, more: Value) -> LlmParams {
    let mut given = json!({"base_url": base_url, "model": "tester"});
    for (name, value) in more.as_object().unwrap() {
        given[name] = value.clone();
    }
    let full = LlmParams::schema().normalize(&given).unwrap();
    serde_json::from_value(full).unwrap()
}

/// A server.
pub fn serve(act: impl Fn(&Asked) -> Act + Send + Sync + 'static) -> ModelServer {
    ModelServer::start(act).unwrap()
}

/// A server that does these things, one for each request, and the last of them for all that follow.
pub fn serve_in_turn(acts: Vec<Act>) -> ModelServer {
    serve(move |asked| acts[asked.number.min(acts.len() - 1)].clone())
}

/// Says a list of names.
pub fn say(names: &[&str]) -> Act {
    Act::Say(json!({ "names": names }).to_string())
}

/// A refusal as OpenAI words it.
pub fn refuse(status: u16, message: &str, code: &str) -> Act {
    let error = json!({"error": {"message": message, "type": "error", "code": code}});
    Act::Status(status, Vec::new(), error.to_string())
}

/// A chat completion with these fields of its choice.
pub fn choice(message: &Value, finish: &str) -> Act {
    Act::Reply(json!({"choices": [{"index": 0, "message": message, "finish_reason": finish}]}))
}

pub fn numbered(n: usize) -> Vec<String> {
    (0..n).map(|i| format!("question {i}")).collect()
}

/// The message of an error and its advice. Checks that both have these parts.
pub fn says(e: &OpError, parts: &[&str]) -> String {
    let all = format!("{e} ({})", e.advice().unwrap_or_default());
    for part in parts {
        assert!(all.contains(part), "{part:?} is not in: {all}");
    }
    all
}

/// Repeats the question.
pub fn echo(asked: &Asked) -> Act {
    Act::Say(format!("answer to {}", asked.last()))
}

/// Repeats the question later.
pub fn slow_echo(asked: &Asked) -> Act {
    Act::After(Duration::from_millis(200), Box::new(echo(asked)))
}

/// What an echo answers to numbered questions.
pub fn answers(n: usize) -> Vec<String> {
    let all = numbered(n).into_iter();
    all.map(|q| format!("answer to {q}")).collect()
}

/// Checks that no question was asked twice. Returns how many were asked.
pub fn asked_once(servers: &[&ModelServer]) -> usize {
    let mut seen = HashSet::new();
    for asked in servers.iter().flat_map(|s| s.asked()) {
        assert!(
            seen.insert(asked.last()),
            "{:?} was asked twice",
            asked.last()
        );
    }
    seen.len()
}
