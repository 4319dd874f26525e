//! What each route answers.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, StatusCode};
use axum::response::Response;
use chrono::Utc;
use serde_json::{Value, json};

use super::events::Events;
use super::metrics;
use super::problem::Problem;
use super::query::{self, Query};
use crate::blocking::lock;
use crate::client::nas::Space;
use crate::error::{ErrorKind, NasSyncError};
use crate::id::UserId;
use crate::json;
use crate::role::event::Silent;
use crate::service::{NasSyncService, SyncSummary};
use crate::store::{DocumentState, ListRequest, ListedDocument, Selection};
use crate::text;
use crate::watch::health_file::State;
use crate::watch::orders::{Orders, RunReport};
use crate::watch::status::WatchStatus;

/// Counting the documents takes no more than a tenth of the time, however many there are and however often somebody asks.
const COUNTING: u32 = 9;
/// What is counted sooner is counted each time.
const QUICK: Duration = Duration::from_millis(50);

/// What the routes work with.
#[derive(Debug)]
pub struct Api {
    service: NasSyncService,
    status: Arc<WatchStatus>,
    orders: Orders,
    events: Arc<Events>,
    /// One test at a time.
    testing: tokio::sync::Mutex<()>,
    /// One restore at a time: two would write to the same files.
    restoring: tokio::sync::Mutex<()>,
    counted: Mutex<Option<Counted>>,
}

/// What was counted, where that took long.
#[derive(Debug)]
struct Counted {
    user: Option<UserId>,
    until: Instant,
    object: Value,
}

impl Api {
    pub fn new(service: NasSyncService, status: Arc<WatchStatus>, orders: Orders, events: Arc<Events>) -> Arc<Self> {
        let (testing, restoring) = (tokio::sync::Mutex::default(), tokio::sync::Mutex::default());
        Arc::new(Self { service, status, orders, events, testing, restoring, counted: Mutex::default() })
    }

    /// Fails for a user or a document that no row can have: that is a slip, and nobody with no documents.
    pub fn check(&self, query: &Query) -> Result<(), Problem> {
        let (user, document) = (query.user(), query.document());
        let refused = |name, error: NasSyncError| query::misused(name, &format!("is refused: {error}"));
        self.service.check_ids(user.as_ref(), &[]).map_err(|error| refused("user_id", error))?;
        self.service.check_ids(None, document.as_slice()).map_err(|error| refused("document", error))
    }

    /// Something was changed on request, and whoever asked wants to see it.
    fn count_anew(&self) {
        lock(&self.counted).take();
    }
}

/// A request that was let through.
#[derive(Debug)]
pub struct Call {
    pub api: Arc<Api>,
    /// What stands in the path.
    pub id: String,
    pub query: Query,
}

type Answer = Result<Response, Problem>;

/// `GET /sync/status`
pub async fn status(call: Call) -> Answer {
    let Call { api, query, .. } = call;
    let mut object = counts(&api, query.user()).await?;
    let report = api.status.report();
    let (until, kind) = match &report.state {
        State::Paused(until) => (Some(*until), None),
        State::Blocked(kind) => (None, Some(kind.as_str())),
        _ => (None, None),
    };
    let is_in_trouble = until.is_some() || kind.is_some();
    object["state"] = json!(report.state.as_str());
    object["until"] = json!(until.map(json::time));
    object["trouble"] = json!(report.last_error.filter(|_| is_in_trouble));
    object["room"] = json!(api.status.room().map(room));
    Ok(ok(&object))
}

/// How many documents stand how.
async fn counts(api: &Api, user: Option<UserId>) -> Result<Value, Problem> {
    if let Some(counted) = &*lock(&api.counted)
        && counted.user == user
        && Instant::now() < counted.until
    {
        return Ok(counted.object.clone());
    }
    let began = Instant::now();
    let stats = api.service.stats(user.clone()).await?;
    let queue = api.service.queue(user.clone().map_or_else(Selection::all, Selection::of_user)).await?;
    let pause = api.service.pause().await?;
    let moved = api.service.moved().await?;
    let mut object = json::status(&stats, &queue, pause.as_ref(), moved.as_ref(), api.service.is_configured());
    // There may be very many; `documents` gives them.
    if let Some(keys) = object.as_object_mut() {
        keys.remove("failures");
    }
    let took = began.elapsed();
    if took > QUICK {
        let until = Instant::now() + took * COUNTING;
        *lock(&api.counted) = Some(Counted { user, until, object: object.clone() });
    }
    Ok(object)
}

fn room(space: Space) -> Value {
    json!({ "total": space.total, "available": space.available })
}

/// `GET /sync/config`
pub async fn config(call: Call) -> Answer {
    let service = &call.api.service;
    let database = service.check_database().await;
    Ok(ok(&json::config(service.settings(), database.as_ref().err())))
}

/// `POST /sync/test`
pub async fn test(call: Call) -> Answer {
    let api = call.api;
    let _turn = api.testing.lock().await;
    Ok(ok(&match api.service.test_with_room().await {
        Ok((report, space)) => {
            api.status.set_room(space);
            let mut object = json::test(&report, &api.service.connected());
            object["room"] = json!(space.map(room));
            object
        }
        Err(error) => json::test_failed(&error),
    }))
}

/// `POST /sync/run`
pub async fn run(call: Call) -> Answer {
    let selection = call.query.selection();
    Ok(ok(&match run_for(&call.api, selection.clone()).await? {
        Ok(report) => {
            let mut object = json::sync_of(&report.summary, Some(&report.tried));
            let others = call.api.service.queue(selection).await?.leased;
            if let (1.., Some(warnings)) = (others, object["warnings"].as_array_mut()) {
                let documents = text::counted(others, "document is", "documents are");
                warnings
                    .push(json!(format!("{documents} being sent by another worker, and not counted as synced here")));
            }
            object
        }
        Err(refused) => json::sync_of(&SyncSummary { stopped: Some(refused), ..SyncSummary::default() }, None),
    }))
}

/// A run, after which everything is counted anew; or what of the NAS keeps it from beginning.
async fn run_for(api: &Api, selection: Selection) -> Result<Result<RunReport, NasSyncError>, Problem> {
    let ended = api.orders.run(selection).await;
    api.count_anew();
    match ended {
        Err(error) if !error.kind().concerns_nas() => Err(error.into()),
        ended => Ok(ended),
    }
}

/// `POST /sync/document/{id}`
pub async fn document(call: Call) -> Answer {
    let (api, id) = (call.api, query::document(&call.id));
    let selection = || Selection::documents([id.clone()]);
    if let Some(answer) = synced(&one(&api, selection(), &call.id).await?, "already") {
        return Ok(answer);
    }
    let ended = run_for(&api, selection()).await?;
    if let Some(answer) = synced(&one(&api, selection(), &call.id).await?, "now") {
        return Ok(answer);
    }
    let error = match ended {
        Ok(RunReport { summary, .. }) => {
            summary.stopped.or_else(|| summary.errors.into_iter().next().map(|failed| failed.error))
        }
        Err(refused) => Some(refused),
    };
    let error = error.unwrap_or_else(|| {
        NasSyncError::new(ErrorKind::LeaseLost, "another worker is sending this document")
            .with_solution("Nothing to do: ask again in a while.")
    });
    Ok(ok(&json::test_failed(&error)))
}

fn synced(document: &ListedDocument, when: &str) -> Option<Response> {
    if document.state != DocumentState::Synced {
        return None;
    }
    let level = document.copy.as_ref().map_or("unknown", |copy| copy.level.as_str());
    let message = format!("document {} is on the NAS {when} (level: {level})", document.id);
    Some(ok(&json!({ "success": true, "message": message, "document": document })))
}

async fn one(api: &Api, selection: Selection, id: &str) -> Result<ListedDocument, Problem> {
    let listing = api.service.list(ListRequest::new(selection)).await?;
    listing.documents.into_iter().next().ok_or_else(|| {
        let message = format!("there is no document with the id {}", text::escape_start(id, 100));
        NasSyncError::new(ErrorKind::DocumentNotFound, message).into()
    })
}

/// `GET /sync/documents`
pub async fn documents(call: Call) -> Answer {
    let listing = call.api.service.list(call.query.list()?).await?;
    Ok(ok(&json::list(&listing)))
}

/// `POST /sync/retry`
pub async fn retry(call: Call) -> Answer {
    let retried = call.api.service.retry(call.query.selection()).await?;
    call.api.count_anew();
    Ok(ok(&json::retry(&retried)))
}

/// `POST /sync/resend/{id}`
pub async fn resend(call: Call) -> Answer {
    let (api, selection) = (call.api, Selection::documents([query::document(&call.id)]));
    one(&api, selection.clone(), &call.id).await?;
    let resent = api.service.resend(selection).await?;
    api.count_anew();
    Ok(ok(&json::resend(resent)))
}

/// `POST /sync/restore`
pub async fn restore(call: Call) -> Answer {
    let request = call.query.restore()?;
    let _turn = call.api.restoring.lock().await;
    Ok(ok(&match call.api.service.restore(request, Arc::new(Silent)).await {
        Ok(report) => json::restore(&report),
        Err(refused) if refused.kind().concerns_nas() => json::restore_failed(&refused),
        Err(error) => return Err(error.into()),
    }))
}

/// `GET /sync/events`
pub async fn events(call: Call) -> Answer {
    let reader = call.api.events.subscribe().ok_or_else(|| {
        let message = "too many follow the events already";
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, ErrorKind::ResourceShortage, message)
            .with_solution("Close other pages that show this service, or ask for /sync/status now and then.")
    })?;
    let mut response = Response::new(Body::new(reader));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    // Proxies that keep answers until they are whole would keep it for ever.
    response.headers_mut().insert("x-accel-buffering", HeaderValue::from_static("no"));
    Ok(response)
}

/// `GET /metrics`
pub fn figures(status: &WatchStatus) -> Response {
    of_type(metrics::MEDIA_TYPE, metrics::text(&status.figures(), Utc::now()))
}

/// `GET /health`
pub fn health(status: &WatchStatus) -> Response {
    let (code, text) = match status.report().state {
        State::Blocked(kind) => (StatusCode::SERVICE_UNAVAILABLE, format!("blocked by {kind}\n")),
        state => (StatusCode::OK, format!("{}\n", state.as_str())),
    };
    let mut response = of_type("text/plain; charset=utf-8", text);
    *response.status_mut() = code;
    response
}

impl Call {
    /// How the loop is.
    pub fn status(&self) -> &WatchStatus {
        &self.api.status
    }
}

/// An object.
pub fn ok(object: &Value) -> Response {
    of_type("application/json", object.to_string())
}

/// A text of a media type.
pub fn of_type(media_type: &'static str, text: impl Into<Body>) -> Response {
    let mut response = Response::new(text.into());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    response
}
