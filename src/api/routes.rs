//! The table of what can be asked: one row a route. What is served and what `/openapi.json` says both come from it.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, HttpBody as _};
use axum::extract::{RawPathParams, RawQuery, Request, rejection::RawPathParamsRejection};
use axum::http::header::{CACHE_CONTROL, EXPECT, HeaderName, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::{Next, from_fn, from_fn_with_state, map_response};
use axum::response::{IntoResponse as _, Response};
#[cfg(feature = "cli")]
use axum::routing::get;
use axum::routing::{MethodFilter, on};
use http_body_util::BodyExt as _;
use tokio::time::timeout;

use super::answers::{self, Api, Call};
use super::guard::{self, Guard};
use super::problem::Problem;
use super::query::{self, Query};
use super::{openapi, page};
use crate::error::ErrorKind;
#[cfg(feature = "cli")]
use crate::watch::status::WatchStatus;

/// The most that a body may be, in bytes, and how long it may take.
const LONGEST_BODY: usize = 64 * 1024;
const BODY_TIME: Duration = Duration::from_secs(10);
/// So much more of a body is taken that is too long, so that its sender gets to read why.
const DRAINED: usize = 16 * 1024 * 1024;

type Answering = Pin<Box<dyn Future<Output = Result<Response, Problem>> + Send>>;

/// One thing that can be asked.
pub struct Route {
    pub verb: Verb,
    pub path: &'static str,
    pub summary: &'static str,
    pub parameters: &'static [&'static str],
    pub answer: Answer,
    /// Whether it needs no token.
    pub open: bool,
    handler: fn(Call) -> Answering,
}

/// How it is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    Get,
    Post,
}

/// What comes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// An object, by the name of its schema.
    Object(&'static str),
    /// Something else, by its media type.
    Text(&'static str),
}

macro_rules! answered {
    ($function:path) => {
        |call| Box::pin($function(call))
    };
}

/// All of them.
pub const ROUTES: [Route; 14] = [
    Route {
        verb: Verb::Get,
        path: "/sync/status",
        summary: "How many documents are on the NAS, and how the service is",
        parameters: &["user_id"],
        answer: Answer::Object("Status"),
        open: false,
        handler: answered!(answers::status),
    },
    Route {
        verb: Verb::Get,
        path: "/sync/config",
        summary: "What is configured, without any secret",
        parameters: &[],
        answer: Answer::Object("Config"),
        open: false,
        handler: answered!(answers::config),
    },
    Route {
        verb: Verb::Post,
        path: "/sync/test",
        summary: "Logs in, starts rsync on the NAS and proves that the folder is writable",
        parameters: &[],
        answer: Answer::Object("Test"),
        open: false,
        handler: answered!(answers::test),
    },
    Route {
        verb: Verb::Post,
        path: "/sync/run",
        summary: "Sends what is pending, of everyone or one user, and answers when that is done; a run about the same that is \
                  going on is joined",
        parameters: &["user_id"],
        answer: Answer::Object("Run"),
        open: false,
        handler: answered!(answers::run),
    },
    Route {
        verb: Verb::Post,
        path: "/sync/document/{id}",
        summary: "Sends one document, and answers when that is done",
        parameters: &[],
        answer: Answer::Object("Outcome"),
        open: false,
        handler: answered!(answers::document),
    },
    Route {
        verb: Verb::Get,
        path: "/sync/documents",
        summary: "Documents with their names, states, levels and next tries, the newest first",
        parameters: &["state", "user_id", "name", "limit"],
        answer: Answer::Object("Documents"),
        open: false,
        handler: answered!(answers::documents),
    },
    Route {
        verb: Verb::Post,
        path: "/sync/retry",
        summary: "Forgets waits and final failures, of all, of one user's or of one document: pending again, now",
        parameters: &["user_id", "document"],
        answer: Answer::Object("Retried"),
        open: false,
        handler: answered!(answers::retry),
    },
    Route {
        verb: Verb::Post,
        path: "/sync/resend/{id}",
        summary: "Makes a synced document pending again, because its file changed",
        parameters: &[],
        answer: Answer::Object("Resent"),
        open: false,
        handler: answered!(answers::resend),
    },
    Route {
        verb: Verb::Post,
        path: "/sync/restore",
        summary: "Fetches synced documents back from the NAS, each to its file, and answers when that is done; what is here as \
                  it was sent, and without `overwrite` whatever else is here, is left alone",
        parameters: &["user_id", "document", "overwrite"],
        answer: Answer::Object("Restored"),
        open: false,
        handler: answered!(answers::restore),
    },
    Route {
        verb: Verb::Get,
        path: "/sync/events",
        summary: "Server-sent events: each `data` is one object about the run that is going on",
        parameters: &[],
        answer: Answer::Text("text/event-stream"),
        open: false,
        handler: answered!(answers::events),
    },
    Route {
        verb: Verb::Get,
        path: "/metrics",
        summary: "Figures for Prometheus",
        parameters: &[],
        answer: Answer::Text("text/plain"),
        open: false,
        handler: |call| Box::pin(async move { Ok(answers::figures(call.status())) }),
    },
    Route {
        verb: Verb::Get,
        path: "/health",
        summary: "200 while the service can go on by itself, 503 when a person has to act",
        parameters: &[],
        answer: Answer::Text("text/plain"),
        open: true,
        handler: |call| Box::pin(async move { Ok(answers::health(call.status())) }),
    },
    Route {
        verb: Verb::Get,
        path: "/openapi.json",
        summary: "This description",
        parameters: &[],
        answer: Answer::Object("Description"),
        open: true,
        handler: |_| Box::pin(async { Ok(answers::ok(&openapi::description())) }),
    },
    Route {
        verb: Verb::Get,
        path: "/",
        summary: "The page for people",
        parameters: &[],
        answer: Answer::Text("text/html"),
        open: true,
        handler: |_| Box::pin(async { Ok(page::page()) }),
    },
];

/// Everything, for those whom the guard lets through.
pub fn all(api: &Arc<Api>, guard: Guard) -> Router {
    let open = ROUTES.iter().filter(|route| route.open).map(|route| route.path).collect();
    let guard = Arc::new(guard.with_open(open));
    let mut router = Router::new();
    for route in &ROUTES {
        let filter = match route.verb {
            Verb::Get => MethodFilter::GET,
            Verb::Post => MethodFilter::POST,
        };
        let api = Arc::clone(api);
        let handler = move |path: Result<RawPathParams, RawPathParamsRejection>, RawQuery(query): RawQuery| {
            answer(Arc::clone(&api), route, path, query)
        };
        router = router.route(route.path, on(filter, handler));
    }
    router
        .fallback(async || Problem::new(StatusCode::NOT_FOUND, ErrorKind::Usage, "there is no such path"))
        .method_not_allowed_fallback(async || {
            let message = "this path does not take this method";
            Problem::new(StatusCode::METHOD_NOT_ALLOWED, ErrorKind::Usage, message)
        })
        .layer(from_fn(without_body))
        .layer(from_fn_with_state(guard, guard::check))
        .layer(map_response(with_headers))
}

/// Only the metrics and the health of a loop, for whoever can connect.
#[cfg(feature = "cli")]
pub fn metrics_only(status: Arc<WatchStatus>) -> Router {
    let also = Arc::clone(&status);
    Router::new()
        .route("/metrics", get(async move || answers::figures(&status)))
        .route("/health", get(async move || answers::health(&also)))
        .fallback(async || {
            Problem::new(StatusCode::NOT_FOUND, ErrorKind::Usage, "there is no such path")
                .with_solution("There are /metrics and /health.")
        })
        .layer(from_fn(without_body))
        .layer(map_response(with_headers))
}

async fn answer(
    api: Arc<Api>,
    route: &'static Route,
    path: Result<RawPathParams, RawPathParamsRejection>,
    query: Option<String>,
) -> Result<Response, Problem> {
    let path = path.map_err(|_| query::misused("id", "in the path is not UTF-8 text"))?;
    let id = path.iter().next().map(|(_, value)| value.to_owned()).unwrap_or_default();
    // What is no question about documents is answered whatever stands behind its path.
    let query = if route.path.starts_with("/sync/") {
        Query::parse(query.as_deref().unwrap_or_default(), route.parameters)?
    } else {
        Query::default()
    };
    api.check(&query)?;
    (route.handler)(Call { api, id, query }).await
}

/// No route takes a body. One that is empty is let through, in JSON too; of another one something was meant that would not
/// happen.
async fn without_body(request: Request, next: Next) -> Result<Response, Problem> {
    let (parts, mut body) = request.into_parts();
    let too_long = || {
        let message = format!("the body is longer than {LONGEST_BODY} bytes, and no route takes one");
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, ErrorKind::Usage, message).with_solution("Leave the body away.")
    };
    if parts.headers.contains_key(EXPECT) && body.size_hint().lower() > LONGEST_BODY as u64 {
        return Err(too_long());
    }
    let mut start = Vec::new();
    let mut length = 0;
    let reading = async {
        while let Some(frame) = body.frame().await {
            let bytes = frame?.into_data().unwrap_or_default();
            length += bytes.len();
            if length <= LONGEST_BODY {
                start.extend_from_slice(&bytes);
            } else if length > DRAINED {
                break;
            }
        }
        Ok::<_, axum::Error>(())
    };
    let read = timeout(BODY_TIME, reading).await;
    if length > LONGEST_BODY {
        return Err(too_long());
    }
    match read {
        Ok(Ok(())) => {}
        // Whoever sent it has gone, or meant something else than what would happen.
        Ok(Err(_)) => {
            let message = "the body breaks off, or its chunks make no sense: nothing was done";
            return Err(Problem::new(StatusCode::BAD_REQUEST, ErrorKind::Usage, message)
                .with_solution("Ask again, without a body; no route takes one."));
        }
        Err(_) => {
            let message = format!("the body did not come within {} seconds", BODY_TIME.as_secs());
            return Err(Problem::new(StatusCode::REQUEST_TIMEOUT, ErrorKind::Usage, message)
                .with_solution("Leave the body away; no route takes one."));
        }
    }
    if !matches!(start.trim_ascii(), b"" | b"{}" | b"null") {
        return Err(Problem::usage(
            "no route takes a body: parameters stand behind the path, as in /sync/run?user_id=7",
        ));
    }
    Ok(next.run(Request::from_parts(parts, Body::empty())).await)
}

/// What every answer says to browsers and proxies.
async fn with_headers(mut response: Response) -> Response {
    let headers = response.headers_mut();
    for (name, value) in [
        (CACHE_CONTROL, "no-store"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (HeaderName::from_static("referrer-policy"), "no-referrer"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers
        .entry(HeaderName::from_static("content-security-policy"))
        .or_insert(HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'"));
    response.into_response()
}
