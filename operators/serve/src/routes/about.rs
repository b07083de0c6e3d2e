//! What the server is made of and how it is.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use gfm_pipe_api::answer::About;
use serde::Serialize;
use serde_json::json;

use crate::body;
use crate::error::ApiError;
use crate::lookup::look;
use crate::queue::stopping;
use crate::shared::Shared;

/// `GET /about`.
pub(crate) async fn about(State(shared): State<Arc<Shared>>) -> Result<Response, ApiError> {
    #[derive(Serialize)]
    struct Shown<'a> {
        version: &'a str,
        #[serde(flatten)]
        about: About,
    }

    let about = look(&shared, |answers| answers.about()).await?;
    body::response(&Shown {
        version: &shared.config.version,
        about,
    })
}

/// `GET /health`: 503 from the moment the server stops, so that no new requests are sent to it.
pub(crate) async fn health(State(shared): State<Arc<Shared>>) -> Result<Response, ApiError> {
    if shared.stopping.load(Relaxed) {
        return Err(stopping());
    }
    body::response(&json!({ "status": "ok" }))
}

/// `GET /metrics`.
pub(crate) async fn metrics(State(shared): State<Arc<Shared>>) -> Response {
    let text = shared.metrics.text(shared.queue.len());
    (
        [(
            header::CONTENT_TYPE,
            "text/plain; version=0.0.4; charset=utf-8",
        )],
        text,
    )
        .into_response()
}

/// `GET /openapi.json`.
pub(crate) async fn openapi(State(shared): State<Arc<Shared>>) -> Response {
    body::of_text(shared.openapi.clone())
}
