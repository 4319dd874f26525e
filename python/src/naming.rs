//! Names on the NAS.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::path::PathBuf;

use chrono::NaiveDate;
use nas_sync::{DocumentFacts, NasSyncError, Result, Settings};
use pyo3::prelude::*;

use crate::client::Key;
use crate::error::{instance, raised};

/// Names documents by the settings.
#[pyclass(frozen, module = "nas_sync._native")]
pub struct Naming(nas_sync::Naming);

/// What the database says about a document; dates as year, month and day.
#[derive(FromPyObject)]
struct Facts {
    id: Key,
    user_id: Key,
    path: Vec<u8>,
    original_name: Option<String>,
    doc_type: Option<String>,
    file_type: Option<String>,
    date: Option<(i32, u32, u32)>,
    created: Option<(i32, u32, u32)>,
    odd_date: Option<(String, String)>,
}

impl Naming {
    pub fn of(settings: &Settings) -> Result<Self> {
        nas_sync::Naming::of(settings).map(Self)
    }
}

#[pymethods]
impl Naming {
    /// The name of a document as bytes, or the `NASSyncError` for which it has none.
    fn name<'py>(&self, py: Python<'py>, facts: Facts) -> PyResult<Bound<'py, PyAny>> {
        match self.name_of(facts) {
            Ok(name) => Ok(name.into_pyobject(py)?.into_any()),
            Err(error) => instance(py, &error),
        }
    }
}

impl Naming {
    fn name_of(&self, facts: Facts) -> Result<Vec<u8>, NasSyncError> {
        let day = |(year, month, day)| NaiveDate::from_ymd_opt(year, month, day);
        let (id, user_id, path) =
            (facts.id.document(), facts.user_id.user(), PathBuf::from(OsString::from_vec(facts.path)));
        let mut known = DocumentFacts::new(&id, &user_id, &path);
        known.original_name = facts.original_name.as_deref();
        known.doc_type = facts.doc_type.as_deref();
        known.file_type = facts.file_type.as_deref();
        known.date = facts.date.and_then(day);
        known.created = facts.created.and_then(day);
        known.odd_date = facts.odd_date.as_ref().map(|(column, text)| (column.as_str(), text.as_str()));
        self.0.name(&known).map(|name| name.as_bytes().to_vec())
    }
}

/// Raises what keeps the settings from naming anything.
pub fn naming(py: Python<'_>, settings: &Settings) -> PyResult<Naming> {
    Naming::of(settings).map_err(|error| raised(py, &error))
}
