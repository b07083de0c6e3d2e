//! What a server is reached with: the key, and certificates of one's own.

use std::path::Path;

use gfm_pipe_api::{Environment, OpError, OpResult, files};
use ureq::tls::{Certificate, PemItem, parse_pem};

use crate::params::{LlmParams, OPENAI};

/// The variable with the key of OpenAI, where no other is named.
const OPENAI_KEY: &str = "OPENAI_API_KEY";

/// A key. It is printed nowhere.
pub(crate) struct Key {
    /// The variable that holds it.
    pub(crate) variable: String,
    pub(crate) value: String,
}

/// The key of a server; `None` where it needs none.
///
/// # Errors
/// When it is not set, or cannot be one.
pub(crate) fn key(params: &LlmParams, environment: &Environment) -> OpResult<Option<Key>> {
    let is_openai = params.base_url.trim_end_matches('/') == OPENAI;
    // The key of one server is not for another.
    let usual = is_openai.then(|| OPENAI_KEY.to_owned());
    let Some(name) = params.api_key_env.clone().or(usual) else {
        return Ok(None);
    };
    let value = environment.get(std::ffi::OsStr::new(&name));
    let value = value.map(|v| v.to_string_lossy().trim().to_owned());
    let value = value.filter(|value| !value.is_empty());
    let Some(value) = value else {
        let e = OpError::new(format!("{name} is not set, and should hold the key"));
        return Err(e.hint(if is_openai {
            "put the key into that variable; or set `llm.base_url` to a server of your own"
        } else {
            "put the key into that variable; or leave `llm.api_key_env` out if it needs none"
        }));
    };
    // The message must not show it.
    if !value.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(OpError::new(format!(
            "{name} holds something that is no key: a key has no blanks"
        )));
    }
    Ok(Some(Key {
        variable: name,
        value,
    }))
}

/// The certificates in a file.
///
/// # Errors
/// When it cannot be read, or has none.
pub(crate) fn certificates(path: &Path) -> OpResult<Vec<Certificate<'static>>> {
    let bytes = files::read(path).map_err(|e| OpError::wrap("failed to read", e).file(path))?;
    let mut out = Vec::new();
    for item in parse_pem(&bytes) {
        match item {
            Ok(PemItem::Certificate(certificate)) => out.push(certificate),
            Ok(_) => {}
            Err(e) => return Err(OpError::data(format!("no certificate: {e}")).file(path)),
        }
    }
    if out.is_empty() {
        return Err(OpError::data("the file has no certificate").file(path));
    }
    Ok(out)
}
