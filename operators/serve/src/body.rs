//! Reading the body of a request.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use crate::config::Limits;
use crate::error::ApiError;

/// Longest part of a message that may quote the request.
const LONGEST_MESSAGE: usize = 400;

/// Whether a part of the request on a connection was not read. Such a connection must not be closed
/// at once: the client would lose the answer while it sends the rest.
#[derive(Clone, Default)]
pub(crate) struct Unread(pub Arc<AtomicBool>);

/// The body as JSON of the type that is asked for.
pub(crate) async fn json<T: DeserializeOwned>(
    limits: &Limits,
    request: Request,
) -> Result<T, ApiError> {
    check_type(request.headers())?;
    let bytes = read(limits, request).await?;
    serde_json::from_slice(&bytes).map_err(|e| {
        let message: String = e.to_string().chars().take(LONGEST_MESSAGE).collect();
        let (code, what) = if e.is_data() {
            ("bad_request", "the body is not as expected")
        } else {
            ("bad_json", "the body is not valid JSON")
        };
        ApiError::new(StatusCode::BAD_REQUEST, code, format!("{what}: {message}"))
            .hint("GET /openapi.json describes the body; {\"question\": \"…\"} is the shortest")
    })
}

/// A value as the JSON of a response.
pub(crate) fn response<T: Serialize>(value: &T) -> Result<Response, ApiError> {
    let text = serde_json::to_string(value)
        .map_err(|e| ApiError::internal(format!("failed to write the answer: {e}")))?;
    Ok(of_text(text))
}

/// JSON that is already text.
pub(crate) fn of_text(text: String) -> Response {
    (
        [(header::CONTENT_TYPE, "application/json")],
        Body::from(text),
    )
        .into_response()
}

fn check_type(headers: &HeaderMap) -> Result<(), ApiError> {
    let refused = |message: String| {
        ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "wrong_type", message)
            .hint("send the header content-type: application/json, and no content-encoding")
    };
    let written = headers
        .get(header::CONTENT_TYPE)
        .map(|value| value.to_str().unwrap_or("?"));
    let written = written.unwrap_or("missing");
    let kind = written.split(';').next().unwrap_or_default().trim();
    if !kind.eq_ignore_ascii_case("application/json") {
        let shown: String = written.chars().take(LONGEST_MESSAGE).collect();
        return Err(refused(format!("the content type is {shown}")));
    }
    let encoding = headers.get(header::CONTENT_ENCODING);
    if encoding.is_some_and(|encoding| encoding != "identity") {
        return Err(refused("the body is encoded".to_owned()));
    }
    Ok(())
}

/// All bytes of the body, within the limits of size and time.
async fn read(limits: &Limits, request: Request) -> Result<Bytes, ApiError> {
    let most = limits.body_bytes;
    let too_large = || {
        let message = format!("the body has more than {most} bytes");
        ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", message)
            .hint("ask fewer questions at a time")
    };
    let announced = request.headers().get(header::CONTENT_LENGTH);
    let announced = announced.and_then(|n| n.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|bytes| bytes > most as u64) {
        return Err(too_large());
    }
    let unread = request.extensions().get::<Unread>().cloned();
    let mut body = request.into_body();
    let mut all = BytesMut::new();
    let reading = async {
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|_| {
                ApiError::bad("the body broke off or is not encoded as its headers say")
                    .hint("send as many bytes as content-length says, or valid chunks")
            })?;
            if let Ok(data) = frame.into_data() {
                if all.len() + data.len() > most {
                    return Err(too_large());
                }
                all.extend_from_slice(&data);
            }
        }
        Ok(())
    };
    match timeout(limits.body, reading).await {
        Ok(read) => read?,
        Err(_) => {
            let (status, message) = (
                StatusCode::REQUEST_TIMEOUT,
                "the body did not arrive in time",
            );
            return Err(ApiError::new(status, "too_slow", message).hint("send the body at once"));
        }
    }
    if let Some(Unread(flag)) = unread {
        flag.store(false, Relaxed);
    }
    Ok(all.freeze())
}
