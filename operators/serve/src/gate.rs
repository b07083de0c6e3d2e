//! What happens to every request before and after its handler.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use axum::Router;
use axum::body::{Body, HttpBody};
use axum::extract::Request;
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderValue, StatusCode, Version, header};
use axum::response::{IntoResponse, Response};
use subtle::ConstantTimeEq;
use tokio::time::timeout;
use tower_service::Service;

use crate::body::Unread;
use crate::config::Config;
use crate::cors;
use crate::error::ApiError;
use crate::query;
use crate::routes;
use crate::shared::Shared;

/// Answers a request. `unread` becomes true where the answer comes before all of the request was
/// read.
pub(crate) async fn handle(
    shared: Arc<Shared>,
    mut router: Router,
    unread: Unread,
    request: Request<hyper::body::Incoming>,
) -> Response {
    let mut request = request.map(Body::new);
    let config = &shared.config;
    let mut observed = shared.metrics.begin(routes::label(request.uri().path()));
    unread.0.store(!request.body().is_end_stream(), Relaxed);
    let origin = cors::allowed(config, &request);
    let mut response = match check(config, &request) {
        Err(refused) => refused.into_response(),
        Ok(()) => match cors::preflight(config, &request) {
            Some(answer) => answer,
            None if is_refused(config, &request) => unauthorized().into_response(),
            None => {
                request.extensions_mut().insert(unread);
                // The router is always ready, and its error type has no values.
                match timeout(config.limits.request, router.call(request)).await {
                    Ok(Ok(response)) => as_json(response),
                    Err(_) => ApiError::unavailable("timed_out", "the answer took too long")
                        .hint("try again later, or ask fewer questions at a time")
                        .into_response(),
                }
            }
        },
    };
    cors::mark(config, origin, &mut response);
    let headers = response.headers_mut();
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    let cached = headers.entry(header::CACHE_CONTROL);
    cached.or_insert(HeaderValue::from_static("no-store"));
    observed.status = response.status().as_u16();
    response
}

/// Refuses requests whose line and headers do not say clearly what is asked.
fn check(config: &Config, request: &Request) -> Result<(), ApiError> {
    let path = request.uri().path();
    if !path.starts_with('/') {
        let error = ApiError::bad("the address has no path");
        return Err(error.hint("write GET /health HTTP/1.1"));
    }
    query::decode(path)?;
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let (host, further) = (hosts.next(), hosts.next());
    if further.is_some() || (host.is_none() && request.version() == Version::HTTP_11) {
        let error = ApiError::bad("the request does not have exactly one header host");
        return Err(error.hint("send host: NAME"));
    }
    let name = host.and_then(|host| Authority::try_from(host.as_bytes()).ok());
    let named = |known: &String| {
        let name = name.as_ref();
        name.is_some_and(|name| name.host().eq_ignore_ascii_case(known))
    };
    if !config.hosts.is_empty() && !config.hosts.iter().any(named) {
        let message = "the server does not have the name that the header host says";
        return Err(ApiError::new(StatusCode::FORBIDDEN, "wrong_host", message)
            .hint("use an address that the server was started with"));
    }
    Ok(())
}

/// Whether the token that this request needs is missing or wrong.
fn is_refused(config: &Config, request: &Request) -> bool {
    let needed = config
        .token
        .as_ref()
        .filter(|_| !routes::is_open(request.uri().path()));
    needed.is_some_and(|token| !bears(request.headers(), token))
}

fn unauthorized() -> ApiError {
    ApiError::new(
        StatusCode::UNAUTHORIZED,
        "no_token",
        "the request has no valid token",
    )
    .hint("send the header authorization: Bearer TOKEN")
}

/// Whether the headers have this token. How long that takes says nothing about its characters.
fn bears(headers: &HeaderMap, token: &str) -> bool {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return false;
    };
    let Some((scheme, given)) = value.as_bytes().split_at_checked(7) else {
        return false;
    };
    scheme.eq_ignore_ascii_case(b"bearer ") && bool::from(given.ct_eq(token.as_bytes()))
}

/// Turns an error that the router itself answers with, such as 404, into JSON like all errors.
fn as_json(response: Response) -> Response {
    let (status, headers) = (response.status(), response.headers());
    let failed = status.is_client_error() || status.is_server_error();
    let kind = headers.get(header::CONTENT_TYPE);
    if !failed || kind.is_some_and(|kind| kind == "application/json") {
        return response;
    }
    let mut error = ApiError::of_status(status).into_response();
    if let Some(allow) = headers.get(header::ALLOW) {
        error.headers_mut().insert(header::ALLOW, allow.clone());
    }
    error
}
