//! Pages of other origins. Without origins in the configuration there is nothing of this: browsers
//! then keep answers from such pages.

use axum::extract::Request;
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::config::Config;
use crate::error::ApiError;

/// The origin of a request, if the configuration names it.
pub(crate) fn allowed(config: &Config, request: &Request) -> Option<HeaderValue> {
    let origin = request.headers().get(header::ORIGIN)?;
    let named = config.origins.iter().any(|named| origin == named.as_str());
    named.then(|| origin.clone())
}

/// The answer to a browser that asks whether it may send a request, which it does without the
/// token. `None` for all other requests, and where no origins are named.
pub(crate) fn preflight(config: &Config, request: &Request) -> Option<Response> {
    let asks = request.method() == Method::OPTIONS
        && request
            .headers()
            .contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
        && !config.origins.is_empty();
    if !asks {
        return None;
    }
    if allowed(config, request).is_none() {
        let message = "pages of this origin may not use this server";
        let refused = ApiError::new(StatusCode::FORBIDDEN, "wrong_origin", message)
            .hint("name the origin when the server is started");
        return Some(refused.into_response());
    }
    let headers = [
        (header::ACCESS_CONTROL_ALLOW_METHODS, "GET, POST"),
        (
            header::ACCESS_CONTROL_ALLOW_HEADERS,
            "authorization, content-type",
        ),
        (header::ACCESS_CONTROL_MAX_AGE, "600"),
    ];
    Some((StatusCode::NO_CONTENT, headers).into_response())
}

/// Tells the browser that the page may read the response.
pub(crate) fn mark(config: &Config, origin: Option<HeaderValue>, response: &mut Response) {
    if config.origins.is_empty() {
        return;
    }
    let headers = response.headers_mut();
    // Caches must not give one origin's response to another.
    headers.append(header::VARY, HeaderValue::from_static("origin"));
    if let Some(origin) = origin {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        let exposed = HeaderValue::from_static("retry-after");
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, exposed);
    }
}
