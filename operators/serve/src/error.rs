//! The one shape of everything that goes wrong.

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use gfm_pipe_api::{ErrorKind, OpError};
use serde_json::{Value, json};

/// Seconds after which a client that was refused for the load may come again.
const RETRY_AFTER: &str = "1";

/// Why a request has no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ApiError {
    /// The status of the response.
    pub status: StatusCode,
    /// A word for programs.
    pub code: &'static str,
    /// What went wrong: lower case, no full stop.
    pub message: String,
    /// What to do next.
    pub hint: Option<String>,
}

impl ApiError {
    pub fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        ApiError {
            status,
            code,
            message: message.into(),
            hint: None,
        }
    }

    /// A request that is wrong in itself.
    pub fn bad(message: impl Into<String>) -> Self {
        ApiError::new(StatusCode::BAD_REQUEST, "bad_request", message)
    }

    pub fn not_found(message: impl Into<String>) -> Self {
        ApiError::new(StatusCode::NOT_FOUND, "not_found", message)
    }

    /// More than can wait.
    pub fn busy(message: impl Into<String>) -> Self {
        ApiError::new(StatusCode::TOO_MANY_REQUESTS, "busy", message)
            .hint("try again after the seconds that the header retry-after says")
    }

    /// The server ends, or takes too long.
    pub fn unavailable(code: &'static str, message: impl Into<String>) -> Self {
        ApiError::new(StatusCode::SERVICE_UNAVAILABLE, code, message)
    }

    /// The retriever broke one of its own rules.
    pub fn internal(message: impl Into<String>) -> Self {
        ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", message)
            .hint("this is a fault of the program, not of the question: please report it")
    }

    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// For a status that was decided without a handler: by the router, or while a request's line
    /// and headers were read.
    pub fn of_status(status: StatusCode) -> Self {
        let of = |code, message: &str, hint: &str| ApiError::new(status, code, message).hint(hint);
        match status {
            StatusCode::NOT_FOUND => of(
                "no_such_route",
                "nothing is at this address",
                "GET /openapi.json lists all addresses",
            ),
            StatusCode::METHOD_NOT_ALLOWED => of(
                "wrong_method",
                "this address does not take this method",
                "the header allow lists the methods it takes",
            ),
            StatusCode::REQUEST_TIMEOUT => of(
                "too_slow",
                "the request did not arrive in time",
                "send the whole request at once",
            ),
            StatusCode::URI_TOO_LONG => of(
                "address_too_long",
                "the address is too long",
                "send long questions with POST /ask",
            ),
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => of(
                "headers_too_large",
                "the request has too many or too long headers",
                "send fewer headers and a shorter address",
            ),
            status if status.is_client_error() => of(
                "bad_request",
                "the request is not valid HTTP",
                "send HTTP/1.1 as in RFC 9112",
            ),
            _ => ApiError::new(status, "internal", "the server failed")
                .hint("please report what was asked"),
        }
    }

    /// The JSON of the response.
    pub fn body(&self) -> Value {
        let (code, message, hint) = (self.code, &self.message, &self.hint);
        json!({ "error": { "code": code, "message": message, "hint": hint } })
    }
}

/// The status follows from who can put it right.
impl From<&OpError> for ApiError {
    fn from(e: &OpError) -> Self {
        let (status, code) = match e.kind() {
            ErrorKind::User => (StatusCode::BAD_REQUEST, "bad_question"),
            ErrorKind::Data => (StatusCode::INTERNAL_SERVER_ERROR, "bad_data"),
            ErrorKind::Resource => (StatusCode::SERVICE_UNAVAILABLE, "no_resources"),
            ErrorKind::Interrupted => (StatusCode::SERVICE_UNAVAILABLE, "interrupted"),
            ErrorKind::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "internal"),
        };
        let hint = e.advice().map(str::to_owned);
        ApiError {
            hint,
            ..ApiError::new(status, code, e.to_string())
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::from(self.body().to_string()));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        let mut set = |name, value| headers.insert(name, HeaderValue::from_static(value));
        set(header::CONTENT_TYPE, "application/json");
        match self.status {
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
                set(header::RETRY_AFTER, RETRY_AFTER);
            }
            StatusCode::UNAUTHORIZED => {
                set(header::WWW_AUTHENTICATE, "Bearer");
            }
            _ => {}
        }
        response
    }
}

/// The bytes of a whole response, for clients whose request never became one.
pub(crate) fn raw(error: &ApiError) -> Vec<u8> {
    let body = error.body().to_string();
    let retry = if error.status == StatusCode::TOO_MANY_REQUESTS {
        format!("retry-after: {RETRY_AFTER}\r\n")
    } else {
        String::new()
    };
    format!(
        "HTTP/1.1 {}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n{retry}connection: \
         close\r\n\r\n{body}",
        error.status,
        body.len(),
    )
    .into_bytes()
}
