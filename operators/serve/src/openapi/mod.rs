//! The description of the server's addresses for programs: OpenAPI 3.1.

mod paths;
pub(crate) mod schemas;

use serde_json::{Value, json};

use crate::config::Config;

/// The whole document.
pub(crate) fn document(config: &Config) -> Value {
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "gfm-pipe",
            "description": "Questions in plain words, answered with documents of a corpus and with \
                            the paths in its graph that lead to them.",
            "version": config.version,
        },
        // The page and the state of health need no token; without a configured token nothing does.
        "security": if config.token.is_some() { json!([{ "token": [] }]) } else { json!([]) },
        "paths": paths::paths(&config.limits),
        "components": {
            "securitySchemes": { "token": { "type": "http", "scheme": "bearer" } },
            "schemas": schemas::all("#/components/schemas/", &config.limits),
        },
    })
}
