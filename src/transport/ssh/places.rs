//! How many commands a server lets run at once: as many as it opens sessions for (`MaxSessions` of OpenSSH).
//!
//! Nobody tells that number; the first refusal does. Guarantees: a refusal costs nothing while other commands run, it
//! only makes the number smaller, for as long as the login lasts; a place is given back when the server has seen the end
//! of its channel, so that the next command does not come a moment too early; every wait ends.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use russh::ChannelId;
use tokio::sync::watch;
use tokio::time::Instant;

/// How long a server that has opened sessions before, and has none open, may go on refusing: what ran in the last one may
/// take a moment to end.
const LEAVING: Duration = Duration::from_secs(10);
/// The first wait before such a server is asked again, and the longest.
const FIRST_WAIT: Duration = Duration::from_millis(20);
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// The places of one login.
#[derive(Debug, Default)]
pub(super) struct Places {
    state: watch::Sender<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Places that somebody has, also those who still wait for the server's answer.
    held: usize,
    /// Channels that the server has opened, and of which it is not known that it has closed them.
    open: HashSet<ChannelId>,
    /// How many channels the server has opened.
    opened: u64,
    /// How many channels it opens at once, once that is known.
    limit: Option<usize>,
    /// When a channel last was over.
    freed: Option<Instant>,
}

/// The right to open one channel. Dropping it gives it back.
#[derive(Debug)]
pub(super) struct Place {
    places: Arc<Places>,
    channel: Option<ChannelId>,
}

/// What was so when the server was asked for a channel.
pub(super) struct Attempt {
    opened: u64,
    open: usize,
}

/// Whether to ask again for a channel that was refused.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Again {
    /// Others are open: when one of them is over.
    WhenOneIsFree,
    /// The last one may not quite be over.
    After(Duration),
    /// There is no other that could be in the way.
    Never,
}

impl Places {
    /// Waits for a place. Dropping the future loses nothing.
    pub async fn take(places: &Arc<Self>) -> Place {
        let mut changes = places.state.subscribe();
        loop {
            changes.mark_unchanged();
            if let Some(place) = Self::take_free(places) {
                return place;
            }
            // The sender lives as long as `places`.
            if changes.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Whether it is known that only one channel can be open at once.
    pub fn is_one(&self) -> bool {
        self.state.borrow().limit == Some(1)
    }

    /// Returns once that is known.
    pub async fn until_one(&self) {
        // The sender lives as long as `self`.
        if self.state.subscribe().wait_for(|state| state.limit == Some(1)).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// A place, where one is free.
    pub fn take_free(places: &Arc<Self>) -> Option<Place> {
        let mut taken = false;
        places.state.send_if_modified(|state| {
            taken = state.limit.is_none_or(|limit| state.held < limit);
            state.held += usize::from(taken);
            false
        });
        taken.then(|| Place { places: Arc::clone(places), channel: None })
    }

    /// To be called before a channel is asked for.
    pub fn attempt(&self) -> Attempt {
        let state = self.state.borrow();
        Attempt { opened: state.opened, open: state.open.len() }
    }

    /// The server has opened a channel.
    pub fn opened(&self, channel: ChannelId) {
        self.state.send_modify(|state| {
            state.opened += u64::from(state.open.insert(channel));
        });
    }

    /// The server has refused a channel. While others are open, their number is all that it opens.
    pub fn refused(&self) {
        self.state.send_modify(|state| {
            if !state.open.is_empty() {
                state.limit = Some(state.limit.map_or(state.open.len(), |limit| limit.min(state.open.len())));
            }
        });
    }

    /// What to do after a refusal, the latest of so many.
    pub fn after_refusal(&self, attempt: &Attempt, before: u32) -> Again {
        let mut again = Again::Never;
        self.state.send_modify(|state| {
            again = if attempt.open > 0 || state.opened != attempt.opened {
                // Those that were in the way may have been over by the time of the refusal.
                state.limit.get_or_insert(attempt.open.max(state.open.len()).max(1));
                Again::WhenOneIsFree
            } else if state.freed.is_some_and(|freed| freed.elapsed() < LEAVING) {
                Again::After(FIRST_WAIT.saturating_mul(1 << before.min(10)).min(LONGEST_WAIT))
            } else {
                Again::Never
            };
        });
        again
    }
}

impl Place {
    /// The channel that has it.
    pub fn is_for(&mut self, channel: ChannelId) {
        self.channel = Some(channel);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.state.send_modify(|state| {
            state.held -= 1;
            if let Some(channel) = self.channel {
                state.open.remove(&channel);
                state.freed = Some(Instant::now());
            }
        });
    }
}
