//! Documents.

use std::sync::Arc;

use axum::extract::{Path, RawQuery, State};
use axum::response::Response;

use crate::body;
use crate::error::ApiError;
use crate::lookup::look;
use crate::query::{Query, number};
use crate::shared::Shared;

/// `GET /documents/{id}`.
pub(crate) async fn one(
    State(shared): State<Arc<Shared>>,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Response, ApiError> {
    Query::parse(query.as_deref(), &[])?;
    let id = number(&id)?;
    let found = look(&shared, move |answers| answers.document(id)).await?;
    let document = found.ok_or_else(|| {
        ApiError::not_found(format!("there is no document {id}"))
            .hint("GET /documents?title=TEXT finds documents by their titles")
    })?;
    body::response(&document)
}

/// `GET /documents?title=TEXT&limit=10`.
pub(crate) async fn list(
    State(shared): State<Arc<Shared>>,
    RawQuery(query): RawQuery,
) -> Result<Response, ApiError> {
    let query = Query::parse(query.as_deref(), &["title", "limit"])?;
    let title = query
        .text("title", shared.config.limits.question_chars)?
        .to_owned();
    let limit = query.limit(10)?;
    body::response(&look(&shared, move |answers| answers.titles(&title, limit)).await?)
}
