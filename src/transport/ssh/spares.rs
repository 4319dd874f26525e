//! Channels that are opened before there is a command for them, so that the command need not wait for one.
//!
//! A server counts them like those of commands. Guarantees: whoever wants a channel takes a spare one first, and none is
//! opened ahead while somebody waits for a place, so a spare never stands in the way of a command; one that the server has
//! closed meanwhile is not used.

use std::collections::VecDeque;
use std::sync::Mutex;

use tokio::sync::oneshot;

use super::exec::Reader;
use super::places::Place;
use crate::blocking;

/// Those of one login. They end with it.
#[derive(Debug, Default)]
pub(super) struct Spares {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    coming: VecDeque<Coming>,
    /// How many wait for a place.
    waiting: usize,
}

/// A channel that the server was asked for.
pub(super) type Coming = oneshot::Receiver<Result<Reader, russh::Error>>;

/// What there is for a command.
pub(super) enum Choice<'s> {
    Spare(Coming),
    /// None is spare: a place has to be waited for, and as long as this is held none is opened ahead.
    Wait(Waiting<'s>),
}

/// Somebody waits for a place.
pub(super) struct Waiting<'s>(&'s Spares);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        blocking::lock(&self.0.state).waiting -= 1;
    }
}

impl Spares {
    pub fn choose(&self) -> Choice<'_> {
        let mut state = blocking::lock(&self.state);
        if let Some(coming) = state.coming.pop_front() {
            return Choice::Spare(coming);
        }
        state.waiting += 1;
        Choice::Wait(Waiting(self))
    }

    /// Asks for as many as are missing, and for no more than there are places for.
    pub fn fill(&self, count: usize, place: impl Fn() -> Option<Place>, ask: impl Fn(Place) -> Coming) {
        let mut state = blocking::lock(&self.state);
        while state.waiting == 0
            && state.coming.len() < count
            && let Some(place) = place()
        {
            state.coming.push_back(ask(place));
        }
    }
}
