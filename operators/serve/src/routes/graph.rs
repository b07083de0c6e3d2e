//! Nodes of the graph.

use std::sync::Arc;

use axum::extract::{Path, RawQuery, State};
use axum::response::Response;

use crate::body;
use crate::error::ApiError;
use crate::lookup::look;
use crate::query::{Query, number};
use crate::shared::Shared;

/// `GET /graph/{node}?limit=50`.
pub(crate) async fn one(
    State(shared): State<Arc<Shared>>,
    Path(node): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Response, ApiError> {
    let limit = Query::parse(query.as_deref(), &["limit"])?.limit(50)?;
    let id = number(&node)?;
    let found = look(&shared, move |answers| answers.node(id, limit)).await?;
    let node = found.ok_or_else(|| {
        ApiError::not_found(format!("there is no node {id}"))
            .hint("GET /graph?name=TEXT finds nodes by their names")
    })?;
    body::response(&node)
}

/// `GET /graph?name=TEXT&limit=10`.
pub(crate) async fn list(
    State(shared): State<Arc<Shared>>,
    RawQuery(query): RawQuery,
) -> Result<Response, ApiError> {
    let query = Query::parse(query.as_deref(), &["name", "limit"])?;
    let name = query
        .text("name", shared.config.limits.question_chars)?
        .to_owned();
    let limit = query.limit(10)?;
    body::response(&look(&shared, move |answers| answers.nodes(&name, limit)).await?)
}
