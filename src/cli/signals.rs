//! SIGHUP, SIGINT and SIGTERM. The first asks for an orderly end, the second ends at once.

use std::sync::{Arc, OnceLock};

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::console::Console;
use crate::error::{ErrorKind, NasSyncError, Result};

/// Which signal came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// SIGHUP: the terminal is gone.
    Hangup,
    /// SIGINT.
    Interrupt,
    /// SIGTERM.
    Terminate,
}

impl Stop {
    /// The exit status that a shell gives to a program ended by this signal.
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Hangup => 129,
            Self::Interrupt => 130,
            Self::Terminate => 143,
        }
    }
}

/// Listens for these signals, which from now on do not end the process by themselves. That matters as process 1 of a
/// container, where the default action of a signal is nothing.
#[derive(Debug)]
pub struct Signals {
    hangup: Signal,
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    /// Starts to listen. Must be called inside a runtime.
    pub fn listen() -> Result<Self> {
        let listen = |kind| {
            signal(kind).map_err(|error| {
                NasSyncError::new(ErrorKind::Internal, format!("cannot listen for signals: {error}")).with_source(error)
            })
        };
        Ok(Self {
            hangup: listen(SignalKind::hangup())?,
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
        })
    }

    /// For work that ends in order: what is ready at the first signal, and where that signal then stands. The second
    /// signal ends the process at once, for whoever asks twice does not want to wait for an orderly end.
    pub fn into_stop(mut self, console: &Console) -> (impl Future<Output = ()> + use<>, Arc<OnceLock<Stop>>) {
        let stopped = Arc::new(OnceLock::new());
        let (asked, console) = (Arc::clone(&stopped), console.clone());
        let stop = async move {
            let stop = self.next().await;
            console.stopping();
            // Nobody else sets it.
            let _ = asked.set(stop);
            tokio::spawn(async move {
                let stop = self.next().await;
                std::process::exit(i32::from(stop.exit_code()));
            });
        };
        (stop, stopped)
    }

    /// The next signal. Can be dropped and called again without missing one.
    pub async fn next(&mut self) -> Stop {
        tokio::select! {
            _ = self.hangup.recv() => Stop::Hangup,
            _ = self.interrupt.recv() => Stop::Interrupt,
            _ = self.terminate.recv() => Stop::Terminate,
        }
    }
}
