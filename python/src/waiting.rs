//! A thread of the interpreter that waits for work on threads of ours.

use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use nas_sync::{ErrorKind, NasSyncError, Result};
use pyo3::prelude::*;
use tokio::sync::watch;

use crate::error::raised;
use crate::process;

/// How often signals are looked for, callbacks called and log lines handed on.
const TICK: Duration = Duration::from_millis(50);
/// How long work may take to end in order, once it was asked to.
const LAST_WORK: Duration = Duration::from_secs(30);

/// Asks work to end in order. From any thread.
#[pyclass(frozen, module = "nas_sync._native")]
pub struct Stop(watch::Sender<bool>);

impl Default for Stop {
    fn default() -> Self {
        Self(watch::Sender::new(false))
    }
}

#[pymethods]
impl Stop {
    #[new]
    fn new() -> Self {
        Self::default()
    }

    /// Asks for the end.
    fn set(&self) {
        self.0.send_replace(true);
    }
}

impl Stop {
    /// Ready when somebody asked for the end.
    pub fn asked(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut asked = self.0.subscribe();
        async move {
            if asked.wait_for(|asked| *asked).await.is_err() {
                // Nobody is left who could ask.
                std::future::pending::<()>().await;
            }
        }
    }
}

/// Waits for work with the interpreter released. When a signal comes or `each_tick` fails, asks for its end and waits for that;
/// gives what became of the work, and that exception. A second signal does not wait.
pub fn wait<T: Send + 'static>(
    py: Python<'_>,
    stop: &Stop,
    work: impl Future<Output = Result<T>> + Send + 'static,
    mut each_tick: impl FnMut() -> PyResult<()>,
) -> PyResult<(T, Option<PyErr>)> {
    let (done, mut result) = mpsc::channel();
    let runtime = process::runtime(py).map_err(|error| raised(py, &error))?;
    let lines = process::lines(py).map_err(|error| raised(py, &error))?;
    let mut each_tick = || lines.deliver(py).and_then(|()| each_tick());
    let task = runtime.spawn(async move {
        // Whoever waits may have given up.
        let _ = done.send(work.await);
    });
    let mut failure: Option<(PyErr, Instant)> = None;
    loop {
        let waited = {
            let result = &mut result;
            py.detach(move || result.recv_timeout(TICK))
        };
        let signal = py.check_signals().err();
        match waited {
            Ok(Ok(value)) => {
                let failure = failure.map(|(failure, _)| failure).or(signal).or_else(|| each_tick().err());
                return Ok((value, failure));
            }
            Ok(Err(error)) => {
                let signal = signal.or_else(|| lines.deliver(py).err());
                return Err(failure.map(|(failure, _)| failure).or(signal).unwrap_or_else(|| raised(py, &error)));
            }
            Err(RecvTimeoutError::Disconnected) => {
                return Err(raised(py, &NasSyncError::new(ErrorKind::Internal, "the work ended unexpectedly")));
            }
            Err(RecvTimeoutError::Timeout) => {}
        }
        failure = match (failure, signal) {
            (None, signal) => match signal.or_else(|| each_tick().err()) {
                Some(error) => {
                    stop.set();
                    Some((error, Instant::now()))
                }
                None => None,
            },
            (Some((first, since)), None) if since.elapsed() < LAST_WORK => Some((first, since)),
            (Some((first, _)), _) => {
                task.abort();
                return Err(first);
            }
        };
    }
}
