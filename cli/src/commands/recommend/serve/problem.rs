//! What a client is told that gets no answer.

use axum::Json;
use axum::http::StatusCode;
use axum::http::header::RETRY_AFTER;
use axum::response::{IntoResponse, Response};
use serde_json::json;

/// `{"error": {"status", "where", "message"}}`: where in the request or in the service something
/// was found, and what was got and expected there.
#[derive(Debug, Clone)]
pub(super) struct Problem {
    pub(super) status: StatusCode,
    at: String,
    message: String,
}

/// Seconds after which it is worth while to ask a busy service again.
const LATER: &str = "1";

impl Problem {
    pub(super) fn new(status: StatusCode, at: impl Into<String>, message: impl ToString) -> Self {
        Self {
            status,
            at: at.into(),
            message: message.to_string(),
        }
    }

    /// The client's fault.
    pub(super) fn bad(at: impl Into<String>, message: impl ToString) -> Self {
        Self::new(StatusCode::BAD_REQUEST, at, message)
    }

    /// The service's fault.
    pub(super) fn failed(at: impl Into<String>, message: impl ToString) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, at, message)
    }

    /// Nobody's fault: it may go well later.
    pub(super) fn busy(at: impl Into<String>, message: impl ToString) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, at, message)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let (status, at, message) = (self.status, self.at, self.message);
        let error = json!({ "status": status.as_u16(), "where": at, "message": message });
        let body = (status, Json(json!({ "error": error })));
        let passes = [
            StatusCode::SERVICE_UNAVAILABLE,
            StatusCode::TOO_MANY_REQUESTS,
        ];
        match passes.contains(&status) {
            true => ([(RETRY_AFTER, LATER)], body).into_response(),
            false => body.into_response(),
        }
    }
}
