//! Parameters of a language model, which every operator that asks one has as its group `llm`.

use std::path::{Path, PathBuf};

use gfm_pipe_api::{Field, InputFile, Problem, Schema, Type};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use url::Url;

use crate::prompt::Prompt;

/// Where OpenAI serves its models.
pub const OPENAI: &str = "https://api.openai.com/v1";

/// Parameters of a language model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LlmParams {
    /// Name of the model, as the server knows it.
    pub model: Option<String>,
    /// Where requests go: `/chat/completions` is added.
    pub base_url: String,
    /// The environment variable with the key.
    pub api_key_env: Option<String>,
    /// Sampling temperature; `None`: not sent.
    pub temperature: Option<f64>,
    /// Seed of the sampling; `None`: not sent.
    pub seed: Option<u64>,
    /// Most tokens of an answer; `None`: not sent.
    pub max_tokens: Option<u64>,
    /// The same under the name that newer models of OpenAI know.
    pub max_completion_tokens: Option<u64>,
    /// How the server is asked for JSON.
    pub json: JsonMode,
    /// How often an answer that is not what was asked for is sent back.
    pub repairs: u32,
    /// Requests at the same time.
    pub concurrency: usize,
    /// Tokens a minute.
    pub tokens_per_minute: Option<u64>,
    /// Seconds that a request may take.
    pub timeout: f64,
    /// How often a request that failed is sent again.
    pub retries: u32,
    /// When the stage stops.
    pub budget: Budget,
    /// Price of a million tokens.
    pub price: Price,
    /// Certificates to trust instead of the usual ones.
    pub ca_file: Option<PathBuf>,
    /// A file of answers that were recorded.
    pub recorded: Option<PathBuf>,
    /// Use stored answers only.
    pub offline: bool,
    /// The longest pause in seconds that a server may ask for, where somebody waits for the answer;
    /// not a parameter of pipelines.
    #[serde(skip)]
    pub patience: Option<f64>,
}

/// What a run of a stage may cost.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Budget {
    /// Tokens of prompts and answers together.
    pub tokens: Option<u64>,
    /// Money, in the currency of the price.
    pub money: Option<f64>,
}

/// Price of a million tokens.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Price {
    /// Of prompts.
    pub input: f64,
    /// Of answers.
    pub output: f64,
}

/// How a server is asked for JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JsonMode {
    /// By a schema; where the server refuses that, as an object; else by the prompt alone.
    Auto,
    /// By a schema.
    Schema,
    /// As an object.
    Object,
    /// By the prompt alone.
    Prompt,
}

fn variable(text: &str) -> Result<(), String> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    // Many keys are letters and digits alone. Names are words, and digits are rare in them.
    let random = |part: &str| part.len() >= 20 && part.bytes().any(|b| b.is_ascii_digit());
    let is_key = text.split('_').any(random);
    // A key is never repeated in a message.
    if text.is_empty() || text.len() > 64 || !text.bytes().all(plain) || is_key {
        return Err(
            "not the name of an environment variable: name the variable that holds the key, \
             and never write the key itself into a pipeline"
                .to_owned(),
        );
    }
    Ok(())
}

fn address(text: &str) -> Result<(), String> {
    let url = Url::parse(text).map_err(|e| format!("not an address: {e}"))?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return Err("expected http://HOST… or https://HOST…".to_owned());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(
            "an address must not hold a password: name a variable with `api_key_env`".to_owned(),
        );
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err("expected an address without `?` and `#`".to_owned());
    }
    Ok(())
}

impl LlmParams {
    /// The group `llm`. Without a `model`, no language model is asked.
    pub fn field() -> Field {
        Field::new(
            "llm",
            Type::Object(Self::schema()),
            json!({}),
            "the language model, any server with OpenAI's chat completions: OpenAI, Ollama, vLLM, \
             llama.cpp, LM Studio (docs/language-models.md)",
        )
    }

    /// The schema of the group.
    pub fn schema() -> Schema {
        let mut fields = Self::request();
        fields.extend(Self::conduct());
        Schema::new(fields)
    }

    /// What the answers depend on.
    fn request() -> Vec<Field> {
        vec![
            Field::new(
                "model",
                Type::Text.or_null(),
                Value::Null,
                "its name, as the server knows it: gpt-4.1-mini, llama3.1:8b",
            ),
            Field::new(
                "base_url",
                Type::Form {
                    form: "an address",
                    check: address,
                },
                OPENAI,
                "where the server is: http://localhost:11434/v1 (Ollama), http://localhost:8000/v1 \
                 (vLLM); `/chat/completions` is added. An answer belongs to the model's name: \
                 another address alone asks nothing anew",
            )
            .no_effect(),
            Field::new(
                "temperature",
                Type::float(0.0).or_null(),
                0.0,
                "0: the likeliest answer; null: not sent",
            )
            .at_most(10.0, "no server takes more"),
            Field::new(
                "seed",
                Type::int(0).or_null(),
                Value::Null,
                "seed of the answers, for servers that have one; another seed asks everything anew",
            )
            .at_most(i64::MAX as f64, "it has 63 bits"),
            Field::new(
                "max_tokens",
                Type::int(1).or_null(),
                4096,
                "most tokens of an answer; null: not sent",
            )
            .at_most(1e7, "no model writes more"),
            Field::new(
                "max_completion_tokens",
                Type::int(1).or_null(),
                Value::Null,
                "the same, under the name that newer models of OpenAI know: with \
                 `max_tokens: null`",
            )
            .at_most(1e7, "no model writes more"),
            Field::new(
                "repairs",
                Type::int(0),
                1,
                "how often an answer that is not what was asked for is sent back with the reason",
            )
            .at_most(5.0, "a model that fails five times goes on failing"),
        ]
    }

    /// How requests are sent, which changes no answer.
    fn conduct() -> Vec<Field> {
        let many = |name, about| {
            Field::new(name, Type::int(1).or_null(), Value::Null, about)
                .at_most(1e15, "it is counted in 64 bits")
                .no_effect()
        };
        let money = |name, about| {
            Field::new(name, Type::float(0.0), 0.0, about)
                .at_most(1e9, "it is a price")
                .no_effect()
        };
        let budget = Schema::new(vec![
            many("tokens", "tokens of prompts and answers together"),
            Field::new(
                "money",
                Type::float(0.0).or_null(),
                Value::Null,
                "in the currency of `price`",
            )
            .at_most(1e9, "it is a sum of money")
            .no_effect(),
        ]);
        let price = Schema::new(vec![
            money("input", "of a million tokens of prompts"),
            money("output", "of a million tokens of answers"),
        ]);
        vec![
            Field::new(
                "api_key_env",
                Type::Form {
                    form: "the name of an environment variable",
                    check: variable,
                }
                .or_null(),
                Value::Null,
                "environment variable that holds the key; null: OPENAI_API_KEY for OpenAI, and no key \
                 for any other server",
            )
            .no_effect(),
            Field::refused(
                "api_key",
                "a key must not stand in a pipeline: put it into an environment variable, and name \
                 that with `api_key_env`",
            ),
            Field::new(
                "json",
                Type::one_of(&["auto", "schema", "object", "prompt"]),
                "auto",
                "how JSON is asked for: by a schema, as an object, by the prompt alone; auto: the \
                 first of these that the server takes",
            )
            .no_effect(),
            Field::new("concurrency", Type::int(1), 8, "requests at the same time")
                .at_most(512.0, "each takes a thread")
                .no_effect(),
            many(
                "tokens_per_minute",
                "most tokens a minute, as the server allows them; null: no limit but the server's",
            ),
            Field::new(
                "timeout",
                Type::float(0.1),
                300.0,
                "seconds that a request may take",
            )
            .at_most(86_400.0, "that is a day")
            .no_effect(),
            Field::new(
                "retries",
                Type::int(0),
                6,
                "how often a request is sent again where the server is busy or fails; the pauses \
                 double from half a second to a minute, or are those that the server asks for",
            )
            .at_most(100.0, "each pause takes up to a minute")
            .no_effect(),
            Field::group(
                "budget",
                budget,
                "what one run of the stage may use; then it stops, and the next run continues",
            ),
            Field::group(
                "price",
                price,
                "what a million tokens cost, for `budget.money`",
            ),
            Field::new(
                "ca_file",
                Type::Path.or_null(),
                Value::Null,
                "certificates (PEM) to trust instead of the usual ones, for a server of one's own",
            )
            .no_effect(),
            // Its content is in the key.
            Field::new(
                "recorded",
                Type::Path.or_null(),
                Value::Null,
                "answers from elsewhere, as `gfm-pipe answers` writes them: they count as stored",
            )
            .no_effect(),
            Field::new(
                "offline",
                Type::Bool,
                false,
                "use stored answers only, and list what is missing; as `run --offline`",
            )
            .no_effect(),
        ]
    }

    /// Whether a model is named.
    pub fn is_set(&self) -> bool {
        self.model.as_deref().is_some_and(|m| !m.trim().is_empty())
    }

    /// Problems of the group `llm`, for an operator that `needs` a model or not.
    pub fn problems(&self, needs: bool) -> Vec<Problem> {
        let mut problems = Vec::new();
        if needs && !self.is_set() {
            let hint = "name it: `llm: {model: gpt-4.1-mini}`, or with a server of your own \
                        `llm: {base_url: http://localhost:11434/v1, model: llama3.1:8b}`";
            problems.push(Problem::at("llm", "no language model is named").hint(hint));
        }
        if self.max_tokens.is_some() && self.max_completion_tokens.is_some() {
            let problem = "`max_tokens` (4096 unless it is set) and `max_completion_tokens` are not \
                           sent both";
            let hint = "set `max_tokens: null`";
            problems.push(Problem::at("llm", problem).hint(hint));
        }
        let free = self.price.input == 0.0 && self.price.output == 0.0;
        if self.budget.money.is_some() && free {
            let problem = "`budget.money` needs the `price` of a million tokens";
            let hint = "set `price: {input: …, output: …}`";
            problems.push(Problem::at("llm", problem).hint(hint));
        }
        problems
    }
}

impl LlmParams {
    /// The files that answers come from, for [`gfm_pipe_api::Operator::files`].
    pub fn files(&self) -> Vec<InputFile> {
        let recorded = self.recorded.iter().filter(|_| self.is_set());
        recorded.map(|path| InputFile::new(path, true)).collect()
    }
}

/// A parameter for a prompt of one's own.
pub fn prompt_field(name: &'static str, about: &'static str) -> Field {
    // The content of the file is in the key.
    Field::new(name, Type::Path.or_null(), Value::Null, about).no_effect()
}

/// The files of prompts of one's own, for [`gfm_pipe_api::Operator::files`].
pub fn prompt_files<'a>(paths: impl IntoIterator<Item = &'a Option<PathBuf>>) -> Vec<InputFile> {
    let paths = paths.into_iter().flatten();
    paths.map(|path| InputFile::new(path, true)).collect()
}

/// The prompt of a file, or the built-in one. Relative paths are relative to `base`.
///
/// # Errors
/// When the file cannot be read or is no prompt.
pub fn prompt_of(
    path: Option<&Path>,
    built_in: &'static str,
    base: &Path,
) -> gfm_pipe_api::OpResult<Prompt> {
    match path {
        Some(path) => Prompt::read(&base.join(path)),
        None => Prompt::parse(built_in),
    }
}
