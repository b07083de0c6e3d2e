//! The addresses of a server: one file for each group.

mod about;
mod ask;
mod documents;
mod graph;
mod page;

#[cfg(test)]
pub(crate) use page::PAGE;

use std::sync::Arc;

use axum::Router;
use axum::routing::{get, post};

use crate::shared::Shared;

/// The address of requests to no address of the server, in metrics.
pub(crate) const OTHER: &str = "other";

/// All addresses, as the OpenAPI document writes them, with their method.
pub(crate) const ROUTES: [(&str, &str); 12] = [
    ("/", "get"),
    ("/about", "get"),
    ("/ask", "post"),
    ("/ask/batch", "post"),
    ("/documents", "get"),
    ("/documents/{id}", "get"),
    ("/graph", "get"),
    ("/graph/{node}", "get"),
    ("/health", "get"),
    ("/metrics", "get"),
    ("/openapi.json", "get"),
    ("/favicon.ico", "get"),
];

/// Addresses that need no token: the page, which asks for it, and what watches a server.
pub(crate) fn is_open(path: &str) -> bool {
    matches!(path, "/" | "/health" | "/favicon.ico")
}

/// The address of [`ROUTES`] that a path belongs to.
pub(crate) fn label(path: &str) -> &'static str {
    let fits = |route: &str| match route.split_once('{') {
        Some((before, _)) => path
            .strip_prefix(before)
            .is_some_and(|rest| !rest.is_empty() && !rest.contains('/')),
        None => path == route,
    };
    ROUTES
        .iter()
        .map(|(route, _)| *route)
        .find(|route| fits(route))
        .unwrap_or(OTHER)
}

/// All handlers.
pub(crate) fn router(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/", get(page::page))
        .route("/favicon.ico", get(page::icon))
        .route("/about", get(about::about))
        .route("/health", get(about::health))
        .route("/metrics", get(about::metrics))
        .route("/openapi.json", get(about::openapi))
        .route("/ask", post(ask::ask))
        .route("/ask/batch", post(ask::batch))
        .route("/documents", get(documents::list))
        .route("/documents/{id}", get(documents::one))
        .route("/graph", get(graph::list))
        .route("/graph/{node}", get(graph::one))
        .with_state(shared)
}
