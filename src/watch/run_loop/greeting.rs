//! The first login, so that what is wrong is known at the start and not with the first document.

use std::time::Instant;

use chrono::{DateTime, Utc};

use super::{Obstacle, WatchLoop, Went};
use crate::error::ErrorKind;
use crate::watch::barrier::{Next, bar};
use crate::watch::poller::Look;

/// The first login, which is made before there is anything to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Greeting {
    Due,
    Failed(ErrorKind),
    Done,
}

impl WatchLoop<'_> {
    /// Whether the first login is still to be made, and nothing keeps it from being tried.
    pub(super) fn may_greet(&self, now: Instant, time: DateTime<Utc>) -> bool {
        let waits = matches!(self.obstacle, Obstacle::Wait(until, _) if now < until);
        let barred = bar(self.view.pause.as_ref(), self.lifted.as_ref(), &self.view.refused_logins, time).is_some();
        self.greeting != Greeting::Done && self.blind.is_none() && !waits && !barred
    }

    /// Why the NAS was not reached since the start: that is more often a mistake than a NAS that is asleep, and somebody should
    /// see to it although it is tried again.
    pub(super) fn unmet(&self, time: DateTime<Utc>) -> Option<ErrorKind> {
        match (self.greeting, bar(self.view.pause.as_ref(), self.lifted.as_ref(), &self.view.refused_logins, time)) {
            (Greeting::Failed(kind), _) | (Greeting::Due, Some(Next::Blocked(kind))) => Some(kind),
            _ => None,
        }
    }

    /// The first login, so that what is wrong is known at once and not with the first document.
    pub(super) async fn greet(&mut self, stop: &mut (impl Future<Output = ()> + Unpin)) -> Went {
        self.ground.note().await;
        let connected = tokio::select! {
            connected = self.connection.client() => connected.map(drop),
            () = &mut *stop => return Went::Stopped,
        };
        self.worked = Instant::now();
        match connected {
            Ok(()) => {
                tracing::info!("logged in to the NAS");
                (self.greeting, self.failures, self.obstacle) = (Greeting::Done, 0, Obstacle::None);
            }
            Err(error) => {
                self.greeting = Greeting::Failed(error.kind());
                self.lifted = None;
                self.record_pause(&error).await;
                self.look(Look::Close).await;
                self.meet(&error).await;
            }
        }
        Went::On
    }
}
