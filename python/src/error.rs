//! Errors of the library as exceptions of the package.

use nas_sync::{ErrorKind, NasSyncError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{IntoPyDict as _, PyType};

/// An instance of the package's `NASSyncError`.
pub fn instance<'py>(py: Python<'py>, error: &NasSyncError) -> PyResult<Bound<'py, PyAny>> {
    static CLASS: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    let class = CLASS.import(py, "nas_sync._errors", "NASSyncError")?;
    let words =
        [("kind", error.kind().as_str()), ("cause", error.cause()), ("solution", &*in_python(error.solution()))];
    // The one message that says what would be asked for; others quote what is somebody's.
    let message = match error.kind() {
        ErrorKind::NewerHere => in_python(error.message()),
        _ => error.message().to_owned(),
    };
    class.call((message, error.details()), Some(&words.into_py_dict(py)?))
}

/// What there is to do, with the program's commands and flags as what the package has in their place.
fn in_python(solution: &str) -> String {
    let words = [
        ("See `nas-sync --help`, or `--help` of the command.", "Correct the value that is named."),
        ("Run `nas-sync setup`, which asks for what is needed; or set", "Give host=, user= and path=, or set"),
        ("Run `nas-sync setup`, which lets a key in with the password, or put", "Put"),
        (" After an update of the NAS run `nas-sync test`: it asks anew what the NAS can do.", ""),
        (
            "or take the document out: by `nas-sync remove`, or from its table where another program put it",
            "or take the document out of its table",
        ),
        (" (`FOLDER/*`), or let `watch --scan` find them", ""),
        (" and register it anew (`nas-sync remove`, then `nas-sync add`)", ", and correct its path"),
        (", then run `nas-sync retry`", ""),
        ("; `watch` goes on by itself", ""),
        (", --timeout that of a push", ""),
        ("Run sync again", "Call it again"),
        ("Run the same command again", "Call it again"),
        ("Run the command again", "Call it again"),
        ("run the same command again", "call it again"),
        ("run the command again", "call it again"),
        ("run once with --accept-new-host-key", "give accept_new_host_key=True once"),
        ("with `nas-sync test --accept-new-host-key`", "once with accept_new_host_key=True"),
        ("--accept-new-host-key", "accept_new_host_key=True"),
        ("--legacy-ssh", "legacy_ssh=True"),
        ("--overwrite", "overwrite=True"),
        ("--to DIR", "Client.fetch"),
    ];
    // It names the document.
    let solution = match solution.split_once("`nas-sync sync --document ") {
        Some((before, command)) => {
            [before, "overwrite=True", command.split_once('`').map_or("", |(_, rest)| rest)].concat()
        }
        None => solution.to_owned(),
    };
    words.iter().fold(solution, |said, (flag, word)| said.replace(flag, word))
}

/// The same, to be raised.
pub fn raised(py: Python<'_>, error: &NasSyncError) -> PyErr {
    instance(py, error).map_or_else(|failure| failure, PyErr::from_value)
}

/// The cause and the solution of a kind of error, and whether it concerns the NAS or the way there rather than one document.
#[pyfunction]
pub fn explain(kind: &str) -> (&'static str, String, bool) {
    let kind = ErrorKind::from_name(kind).unwrap_or(ErrorKind::Internal);
    (kind.cause(), in_python(kind.solution()), kind.concerns_nas())
}
