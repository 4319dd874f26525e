//! The end of a run: what is left, why, and when it goes on.

use std::collections::HashSet;

use chrono::{DateTime, Utc};

use super::state::{Context, Others, State};
use crate::client::documents::interrupted;
use crate::error::{ErrorKind, Healing, NasSyncError};
use crate::id::DocumentId;
use crate::service::{DocumentError, backoff, lease};
use crate::store::{Deferred, Failure, NextTry, Pause, Queue, Selection, Store};

/// Counts what is left, and says when things go on.
pub(super) async fn finish(context: &Context, state: &mut State) {
    let queue = context.store.queue(context.selection.clone(), context.began, lease::worker()).await;
    let Queue { due, leased, deferred } = queue.unwrap_or_else(|error| {
        state.stop(error);
        Queue::default()
    });
    say_what_others_sent(context, state).await;
    let tried: HashSet<DocumentId> = state.summary.errors.iter().filter_map(|failed| failed.id.clone()).collect();
    let summary = &mut state.summary;
    for deferred in deferred {
        let was_tried = tried.contains(&deferred.id);
        let of = match (deferred.next, was_tried) {
            (NextTry::Never, true) => Some(&mut summary.failed_for_good),
            (NextTry::Never, false) => Some(&mut summary.failed_earlier),
            (NextTry::At(_), true) => None,
            (NextTry::At(_), false) => Some(&mut summary.waiting),
        };
        if let Some(of) = of {
            of.push(deferred.id.clone());
        }
        if !was_tried {
            summary.errors.push(still_deferred(deferred));
        }
    }
    summary.errors.sort_by(|one, other| one.id.cmp(&other.id));
    summary.failed = summary.errors.len();
    summary.pending = usize::try_from(due + leased).unwrap_or(usize::MAX);
    summary.total = summary.synced + summary.failed + summary.pending;
    if summary.pending > 0 && context.is_asked_to_stop() {
        // Asked between two batches.
        summary.stopped.get_or_insert_with(interrupted);
    }
    let all_done = summary.failed == 0 && summary.pending == 0 && summary.synced > 0;
    if let Some(error) = summary.stopped.take_if(|error| all_done && error.kind().concerns_nas()) {
        // Such as a connection that was cut behind the last acknowledgement.
        summary.warnings.push(format!("everything is on the NAS, but it ended badly: {error}"));
    }
    if let Some(error) = &state.summary.stopped {
        let (target, before) = (context.target.clone(), state.pause.as_ref());
        state.summary.paused_until = pause_for(&context.store, target, before, context.others, error).await;
    }
}

/// What another worker has sent while this run waited for it is in none of the counts, and would be missed.
async fn say_what_others_sent(context: &Context, state: &mut State) {
    if state.awaited.is_empty() {
        return;
    }
    let awaited = Selection::documents(std::mem::take(&mut state.awaited));
    // Only a remark depends on it; trouble with the database has been met above.
    let Ok(rows) = context.store.documents(awaited).await else { return };
    let by_others = rows.iter().flatten().filter(|row| row.synced && !state.done.is_recorded(&row.id)).count();
    if by_others > 0 {
        let what = if by_others == 1 { "1 document was".to_owned() } else { format!("{by_others} documents were") };
        state.warn(vec![format!("{what} sent by another worker meanwhile; this run counts its own only")]);
    }
}

/// When the NAS takes nothing, or somebody has to do something first, that is recorded for `watch` and `status`.
/// Gives until when.
pub(crate) async fn pause_for(
    store: &Store,
    target: String,
    before: Option<&Pause>,
    others: Others,
    error: &NasSyncError,
) -> Option<DateTime<Utc>> {
    let count = before.map_or(1, |pause| pause.count.saturating_add(1));
    match error.kind().healing() {
        Healing::Pausing => {}
        // A run by hand, with settings that may be its own, must not stop a `watch` that works.
        Healing::Permanent if others == Others::Leave => {}
        Healing::Permanent | Healing::Transient => return None,
    }
    let (kind, now) = (error.kind(), Utc::now());
    let until = backoff::pause_until(kind, count, now);
    let failure = Failure::of(error);
    let (pause, refused_login) = (Pause { until, failure, count }, (kind == ErrorKind::LoginRefused).then_some(now));
    if let Err(error) = store.begin_pause(target, pause, refused_login).await {
        tracing::warn!(%error, "a pause could not be recorded");
    }
    until
}

/// A document that was not tried in this run, because its last try failed.
pub(super) fn still_deferred(deferred: Deferred) -> DocumentError {
    let kind = ErrorKind::from_name(&deferred.failure.kind).unwrap_or(ErrorKind::NotAcknowledged);
    let text = &deferred.failure.text;
    let (message, solution) = match deferred.next {
        NextTry::At(time) => (format!("{text} (next try at {})", shown(time)), "`nas-sync retry` tries again at once."),
        NextTry::Never => (
            format!("{text} (failed for good, tries: {})", deferred.tries),
            "See to the cause, then run `nas-sync retry`; or give it up with `nas-sync remove`, where `add` registered it.",
        ),
    };
    let solution = format!("{} {solution}", deferred.failure.solution().unwrap_or(kind.solution()));
    DocumentError { id: Some(deferred.id), error: NasSyncError::new(kind, message).with_solution(solution) }
}

fn shown(time: DateTime<Utc>) -> impl std::fmt::Display {
    time.format("%Y-%m-%d %H:%M:%S UTC")
}
