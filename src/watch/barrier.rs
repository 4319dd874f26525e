//! What keeps the loop from sending: a recorded pause, logins that were refused.

use chrono::{DateTime, Utc};

use crate::error::{ErrorKind, Healing, Party};
use crate::store::{LONGEST_WAIT, MOST_REFUSED_LOGINS, Pause, REFUSED_LOGINS_WITHIN};

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    Rest,
    Paused(DateTime<Utc>),
    Blocked(ErrorKind),
    Send,
}

/// What a recorded pause means, and refused logins, which count also where the pause does not bind.
pub(super) fn bar(
    pause: Option<&Pause>,
    lifted: Option<&Pause>,
    refused_logins: &[DateTime<Utc>],
    time: DateTime<Utc>,
) -> Option<Next> {
    let pause = pause?;
    let kind = kind_of(pause);
    if kind == ErrorKind::LoginRefused && is_locked_out(refused_logins, time) {
        return Some(Next::Blocked(kind));
    }
    if lifted == Some(pause) {
        return None;
    }
    match pause.until {
        // A database that was in a bad way is simply tried again.
        _ if kind.party() == Party::Database => None,
        // The wait of a process that did not reach the NAS, which others may.
        _ if kind.healing() == Healing::Transient => None,
        None => Some(Next::Blocked(kind)),
        // A longer pause than there can be: the clock was put back.
        Some(until) if until <= time || until > time + LONGEST_WAIT => None,
        // It goes on by itself, but somebody should see to it, and a health check should say so.
        Some(_) if needs_a_person(kind) => Some(Next::Blocked(kind)),
        Some(until) => Some(Next::Paused(until)),
    }
}

/// Whether the NAS has refused the login so often that one more try may lock the account.
pub(super) fn is_locked_out(refused_logins: &[DateTime<Utc>], time: DateTime<Utc>) -> bool {
    let count = |at: &&DateTime<Utc>| (time - **at).abs() < REFUSED_LOGINS_WITHIN;
    refused_logins.iter().filter(count).count() >= MOST_REFUSED_LOGINS
}

pub(super) fn kind_of(pause: &Pause) -> ErrorKind {
    ErrorKind::from_name(&pause.failure.kind).unwrap_or(ErrorKind::RemoteFailed)
}

/// Whether a person has to see to what is tried again nevertheless.
pub(super) fn needs_a_person(kind: ErrorKind) -> bool {
    kind == ErrorKind::DatabaseUnusable || kind.concerns_this_machine() || kind.healing() == Healing::Permanent
}

/// Whether a change on this machine may put it right: another key file, a line in known_hosts, a folder that is mounted.
pub(super) fn is_caused_here(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::KeyUnusable
            | ErrorKind::KnownHostsUnusable
            | ErrorKind::HostKeyUnknown
            | ErrorKind::HostKeyChanged
            | ErrorKind::HostKeyRevoked
            | ErrorKind::LoginRefused
            | ErrorKind::UploadsUnavailable
            | ErrorKind::Usage
    )
}

pub(super) fn shown(time: DateTime<Utc>) -> impl std::fmt::Display {
    time.format("%Y-%m-%d %H:%M:%S UTC")
}
