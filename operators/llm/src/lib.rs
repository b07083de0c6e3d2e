//! Asks language models that speak OpenAI's chat completions: OpenAI itself, Ollama, vLLM,
//! llama.cpp, LM Studio.
//!
//! An operator opens a [`Chat`] with its group of parameters ([`LlmParams`]) and hands it work
//! ([`Chat::each`]). Each piece of work gets an [`Asker`]. Every answer is on the disk before it is
//! used, by the id of its conversation, so that a killed stage repeats no request whose answer had
//! arrived.
//!
//! - `params` has the parameters, `prompt` the templates of prompts.
//! - `wire` has requests and answers, `http` one exchange with a server, `access` its key,
//!   `limits` what may be sent.
//! - `keeper` keeps answers, `recorded` reads those of a file.
//! - `send` tries until there is an answer, `asker` is what work asks with, `chat` does the work.
//! - `json` reads JSON as models write it.
//!
//! What a model writes becomes names, facts or text, and never a path, a command, an address or a
//! template.

mod access;
mod asker;
mod chat;
mod http;
pub mod json;
mod keeper;
mod limits;
mod params;
mod prompt;
mod recorded;
mod send;
mod wire;

pub use asker::{Answered, Asker, NoAnswer, Parsed};
pub use chat::Chat;
pub use params::{
    Budget, JsonMode, LlmParams, OPENAI, Price, prompt_field, prompt_files, prompt_of,
};
pub use prompt::{Message, Prompt, Role, prompts_fingerprint};
pub use recorded::Line;
pub use wire::{Reply, Shape, rough_tokens};
