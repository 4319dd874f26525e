//! What cannot be answered, as RFC 9457 has it: `application/problem+json`, with the kind, the cause and what to do.

use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::error::{ErrorKind, NasSyncError};

/// What is the matter with a request that makes no sense, and what to do.
const CAUSE: &str = "The request, or one of its parameters, is not understood.";
const SOLUTION: &str = "/openapi.json describes all that can be asked.";

/// A request that gets no answer, and why.
#[derive(Debug)]
pub struct Problem {
    status: StatusCode,
    error: NasSyncError,
}

impl Problem {
    /// With a status of its own.
    pub fn new(status: StatusCode, kind: ErrorKind, message: impl AsRef<str>) -> Self {
        Self::of(status, NasSyncError::new(kind, message))
    }

    /// What is known of wrong usage is said to users of the program; whoever asks here has parameters.
    fn of(status: StatusCode, error: NasSyncError) -> Self {
        let error = match (error.kind(), error.own_solution()) {
            (ErrorKind::Usage, None) => error.with_cause(CAUSE).with_solution(SOLUTION),
            (ErrorKind::Usage, Some(_)) => error.with_cause(CAUSE),
            _ => error,
        };
        Self { status, error }
    }

    /// A request that makes no sense.
    pub fn usage(message: impl AsRef<str>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, ErrorKind::Usage, message)
    }

    #[must_use]
    pub fn with_solution(self, solution: &str) -> Self {
        Self { error: self.error.with_solution(solution), ..self }
    }
}

impl From<NasSyncError> for Problem {
    fn from(error: NasSyncError) -> Self {
        let status = match error.kind() {
            ErrorKind::DocumentNotFound => StatusCode::NOT_FOUND,
            ErrorKind::Usage => StatusCode::BAD_REQUEST,
            ErrorKind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
            kind if kind.concerns_nas() => StatusCode::BAD_GATEWAY,
            // The database, this machine, the end of the loop: later it may be answered.
            _ => StatusCode::SERVICE_UNAVAILABLE,
        };
        Self::of(status, error)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let Self { status, error } = self;
        let object = json!({
            "type": format!("urn:nas-sync:problem:{}", error.kind()),
            "title": status.canonical_reason(),
            "status": status.as_u16(),
            "detail": error.message(),
            "kind": error.kind().as_str(),
            "details": error.details(),
            "cause": error.cause(),
            "solution": error.solution(),
        });
        let mut response = Response::new(Body::from(object.to_string()));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}
