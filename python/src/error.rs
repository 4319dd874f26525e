//! Errors of the library as exceptions of the package.

use nas_sync::{ErrorKind, NasSyncError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{IntoPyDict as _, PyType};

/// An instance of the package's `NASSyncError`.
pub fn instance<'py>(py: Python<'py>, error: &NasSyncError) -> PyResult<Bound<'py, PyAny>> {
    static CLASS: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    let class = CLASS.import(py, "nas_sync._errors", "NASSyncError")?;
    let words = [("kind", error.kind().as_str()), ("cause", error.cause()), ("solution", error.solution())];
    class.call((error.message(), error.details()), Some(&words.into_py_dict(py)?))
}

/// The same, to be raised.
pub fn raised(py: Python<'_>, error: &NasSyncError) -> PyErr {
    instance(py, error).map_or_else(|failure| failure, PyErr::from_value)
}

/// The cause and the solution of a kind of error, and whether it concerns the NAS or the way there rather than one document.
#[pyfunction]
pub fn explain(kind: &str) -> (&'static str, &'static str, bool) {
    let kind = ErrorKind::from_name(kind).unwrap_or(ErrorKind::Internal);
    (kind.cause(), kind.solution(), kind.concerns_nas())
}
