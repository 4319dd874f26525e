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
    class.call((error.message(), error.details()), Some(&words.into_py_dict(py)?))
}

/// What there is to do, with the program's flags as what the package has in their place.
fn in_python(solution: &str) -> String {
    let words = [
        ("--accept-new-host-key", "accept_new_host_key=True"),
        ("--legacy-ssh", "legacy_ssh=True"),
        ("--overwrite", "overwrite=True"),
        ("--to DIR", "Client.fetch"),
    ];
    words.iter().fold(solution.to_owned(), |said, (flag, word)| said.replace(flag, word))
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
