//! A NAS and an account there, by settings.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::path::PathBuf;

use nas_sync::{
    DocumentId, Environment, ErrorKind, FetchDocuments, FetchedDocument, Flags, NasSyncError, OutgoingDocument,
    RemoteName, Result, SendDocuments, Settings, UserId, WantedDocument,
};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyTuple};

use crate::error::{instance, raised};
use crate::naming::{Naming, naming};
use crate::progress::Progress;
use crate::transfer::Outcome;
use crate::waiting::{Stop, wait};
use crate::{process, transfer};

/// A key of the caller's.
#[derive(FromPyObject, Clone)]
pub enum Key {
    Number(i64),
    Text(String),
}

impl Key {
    pub fn document(self) -> DocumentId {
        match self {
            Self::Number(number) => number.into(),
            Self::Text(text) => text.into(),
        }
    }

    pub fn user(self) -> UserId {
        match self {
            Self::Number(number) => number.into(),
            Self::Text(text) => text.into(),
        }
    }
}

/// A key as the interpreter knows it.
pub fn key<'py>(py: Python<'py>, id: &DocumentId) -> PyResult<Bound<'py, PyAny>> {
    match (id.as_integer(), id.as_text()) {
        (Some(number), _) => Ok(number.into_pyobject(py)?.into_any()),
        (None, text) => Ok(text.into_pyobject(py)?.into_any()),
    }
}

/// An outcome as `(key, level, sha256, bytes, mtime, error)`, the time as seconds and nanoseconds.
fn outcome<'py>(py: Python<'py>, (id, result): &Outcome) -> PyResult<Bound<'py, PyTuple>> {
    let id = key(py, id)?;
    match result {
        Ok(stored) => {
            let hex = stored.sha256.map(|sum| sum.iter().fold(String::new(), |hex, byte| format!("{hex}{byte:02x}")));
            let mtime = (stored.mtime.seconds, stored.mtime.nanoseconds);
            (id, stored.level.as_str(), hex, stored.bytes, mtime, py.None()).into_pyobject(py)
        }
        Err(error) => (id, py.None(), py.None(), py.None(), py.None(), instance(py, error)?).into_pyobject(py),
    }
}

/// Settings, checked. Logins are the process's: clients with the same settings share them.
#[pyclass(frozen, module = "nas_sync._native")]
pub struct Client {
    settings: Settings,
    warnings: Vec<String>,
}

impl Client {
    fn of(arguments: BTreeMap<String, String>) -> Result<Self> {
        // The database is the caller's; of what is said about one only the table is of use.
        let mut environment = Environment::of_process()?.of_documents();
        for (name, value) in arguments {
            environment = environment.with_argument(&name, value)?;
        }
        let settings = Settings::resolve(&Flags::default(), &environment)?;
        Ok(Self { settings, warnings: environment.warnings().to_vec() })
    }

    /// What to send, and the documents whose names cannot be sent.
    fn request(&self, documents: Vec<Outgoing>) -> (SendDocuments, Vec<Outcome>) {
        let (mut sent, mut refused) = (Vec::with_capacity(documents.len()), Vec::new());
        for Outgoing(id, path, name, is_new) in documents {
            let id = id.document();
            match RemoteName::new(name) {
                Ok(name) => {
                    let mut document = OutgoingDocument::new(id, PathBuf::from(OsString::from_vec(path)), name);
                    document.is_new = is_new;
                    sent.push(document);
                }
                Err(error) => refused.push((id, Err(error))),
            }
        }
        let mut request =
            SendDocuments::new(self.settings.path.clone().unwrap_or_default(), sent).jobs(self.settings.jobs);
        request.upload_dir.clone_from(&self.settings.upload_dir);
        request.required = self.settings.durability;
        (request, refused)
    }

    /// What to fetch, and the documents whose names no file on the NAS can have.
    fn wanted(&self, documents: Vec<Wanted>, overwrite: bool) -> (FetchDocuments, Vec<Fetched>) {
        let (mut wanted, mut refused) = (Vec::with_capacity(documents.len()), Vec::new());
        for Wanted(id, name, path, sha256) in documents {
            let (id, path) = (id.document(), PathBuf::from(OsString::from_vec(path)));
            match RemoteName::new(name) {
                Ok(name) => {
                    let mut document = WantedDocument::new(id, name, path);
                    document.sha256 = sha256;
                    wanted.push(document);
                }
                Err(error) => refused.push((id, path, Err(error))),
            }
        }
        let mut request = FetchDocuments::new(self.settings.path.clone().unwrap_or_default(), wanted);
        request.overwrite = overwrite;
        request.within.clone_from(&self.settings.upload_dir);
        (request, refused)
    }
}

/// Key, path and name, and whether another file of that name on the NAS stays.
#[derive(FromPyObject)]
struct Outgoing(Key, Vec<u8>, Vec<u8>, bool);

/// Key, name, path and the SHA-256 that is expected.
#[derive(FromPyObject)]
struct Wanted(Key, Vec<u8>, Vec<u8>, Option<[u8; 32]>);

/// What became of a document that was to be fetched.
type Fetched = (DocumentId, PathBuf, Result<()>);

#[pymethods]
impl Client {
    /// From keyword arguments as text; the environment and `.env` give the rest.
    #[new]
    fn new(py: Python<'_>, arguments: BTreeMap<String, String>) -> PyResult<Self> {
        Self::of(arguments).map_err(|error| raised(py, &error))
    }

    /// What people should know about the settings.
    #[getter]
    fn warnings(&self) -> Vec<String> {
        self.warnings.clone()
    }

    /// The folder that documents lie below.
    #[getter]
    fn upload_dir(&self) -> Option<PathBuf> {
        self.settings.upload_dir.clone()
    }

    /// The layout of names on the NAS.
    #[getter]
    fn layout(&self) -> &str {
        &self.settings.layout
    }

    /// The table of the documents: its schema, where one is named, and its name.
    #[getter]
    fn table(&self) -> (Option<&str>, &str) {
        let table = self.settings.db.table_name();
        (table.schema(), table.name())
    }

    /// The object of `nas-sync config --json`, as far as it concerns the NAS.
    fn config<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let (status, object) = (self.settings.status(), PyDict::new(py));
        object.set_item("configured", status.configured)?;
        object.set_item("nas_host", status.nas_host)?;
        object.set_item("nas_user", status.nas_user)?;
        object.set_item("nas_path", status.nas_path)?;
        object.set_item("host", status.host)?;
        object.set_item("path", status.path)?;
        object.set_item("missing", self.settings.missing())?;
        object.set_item("port", self.settings.nas_port())?;
        object.set_item("layout", &self.settings.layout)?;
        Ok(object)
    }

    fn naming(&self, py: Python<'_>) -> PyResult<Naming> {
        naming(py, &self.settings)
    }

    /// Logs in and proves that a sync would work; gives what was found.
    fn check<'py>(&self, py: Python<'py>, stop: &Stop) -> PyResult<Bound<'py, PyDict>> {
        let pool = process::pool(py, &self.settings).map_err(|error| raised(py, &error))?;
        let (settings, asked) = (self.settings.clone(), stop.asked());
        let work = async move {
            let check = async {
                let login = pool.take().await?;
                let report = login.client.check(&settings).await;
                login.keep();
                report
            };
            tokio::select! {
                report = check => report,
                () = asked => Err(NasSyncError::new(ErrorKind::Interrupted, "interrupted")),
            }
        };
        let (report, failure) = wait(py, stop, work, || Ok(()))?;
        if let Some(failure) = failure {
            return Err(failure);
        }
        let object = PyDict::new(py);
        object.set_item("host_key", report.host_key)?;
        object.set_item("ssh_server", report.ssh_server)?;
        object.set_item("rsync_version", report.rsync_version)?;
        object.set_item("protocol", report.protocol)?;
        object.set_item("connect_ms", u64::try_from(report.connect_time.as_millis()).unwrap_or(u64::MAX))?;
        object.set_item("level", report.level.as_str())?;
        Ok(object)
    }

    /// Sends documents, given as `(key, path, name)`. Gives `(key, level, sha256, bytes, mtime, error)` for each, and the exception of a
    /// signal or of `sink`, which is told the progress, that ended it early.
    fn send<'py>(
        &self,
        py: Python<'py>,
        documents: Vec<Outgoing>,
        progress: &Bound<'py, Progress>,
        sink: Option<&Bound<'py, PyAny>>,
        stop: &Stop,
    ) -> PyResult<(Bound<'py, PyList>, Option<PyErr>)> {
        let pool = process::pool(py, &self.settings).map_err(|error| raised(py, &error))?;
        let (request, refused) = self.request(documents);
        let mut outcomes = Vec::new();
        let mut tell = || sink.map_or(Ok(()), |sink| progress.get().deliver(py, sink));
        let mut failure = None;
        if !request.documents.is_empty() {
            let work = transfer::send(pool, request, progress.get().shared(), stop.asked());
            let (sent, ended_by) = wait(py, stop, work, &mut tell)?;
            outcomes.extend(sent);
            failure = ended_by;
        }
        for (id, result) in refused {
            if let Err(error) = &result {
                progress.get().shared().fail(&id, error);
            }
            outcomes.push((id, result));
        }
        let outcomes: Vec<_> = outcomes.iter().map(|one| outcome(py, one)).collect::<PyResult<_>>()?;
        Ok((PyList::new(py, outcomes)?, failure))
    }

    /// Fetches documents, given as `(key, name, path, sha256)`. Gives `(key, path, error)` for each.
    fn fetch<'py>(
        &self,
        py: Python<'py>,
        documents: Vec<Wanted>,
        overwrite: bool,
        progress: &Bound<'py, Progress>,
        sink: Option<&Bound<'py, PyAny>>,
        stop: &Stop,
    ) -> PyResult<Bound<'py, PyList>> {
        let pool = process::pool(py, &self.settings).map_err(|error| raised(py, &error))?;
        let (request, refused) = self.wanted(documents, overwrite);
        let mut fetched = Vec::new();
        if !request.documents.is_empty() {
            let mut tell = || sink.map_or(Ok(()), |sink| progress.get().deliver(py, sink));
            let work = transfer::fetch(pool, request, progress.get().shared(), stop.asked());
            let (come, failure) = wait(py, stop, work, &mut tell)?;
            if let Some(failure) = failure {
                return Err(failure);
            }
            fetched
                .extend(come.into_iter().map(|FetchedDocument { id, path, result, .. }| (id, path, result.map(drop))));
        }
        fetched.extend(refused);
        let told = fetched.into_iter().map(|(id, path, result)| {
            let error = result.err().map(|error| instance(py, &error)).transpose()?;
            (key(py, &id)?, path.into_os_string(), error).into_pyobject(py)
        });
        PyList::new(py, told.collect::<PyResult<Vec<_>>>()?)
    }

    /// Ends the logins that nobody uses.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        if !self.settings.is_configured() {
            return Ok(());
        }
        let pool = process::pool(py, &self.settings).map_err(|error| raised(py, &error))?;
        let work = async move {
            pool.close_idle().await;
            Ok(())
        };
        let ((), failure) = wait(py, &Stop::default(), work, || Ok(()))?;
        failure.map_or(Ok(()), Err)
    }
}
