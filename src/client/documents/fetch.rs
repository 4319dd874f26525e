//! Documents back from the NAS: by rsync, so that of an older file only what differs travels, and each held against what was
//! recorded of it before it takes its place.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::Read as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex};

use sha2::{Digest as _, Sha256};

use crate::blocking;
use crate::client::login::Client;
use crate::error::{ErrorKind, NasSyncError, Result};
use crate::id::DocumentId;
use crate::role::event::{Event, Monitor};
use crate::role::incoming::{Expected, Scope};
use crate::role::pull::{Gate, PullJob, QuickCheck, To, stays_here};
use crate::session::Pull;
use crate::tree::RemoteName;
use crate::tree::apply::Keep;
use crate::tree::place::Destination;
use crate::wire::flist::FileEntry;
use crate::wire::offer::Offer;
use crate::wire::pull_args::PullOptions;
use crate::wire::server_args::literal;

/// How much of a file is read at once for its SHA-256.
const READ_LEN: usize = 256 * 1024;

/// A document to fetch.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct WantedDocument {
    /// The caller's key.
    pub id: DocumentId,
    /// Its name below the folder on the NAS.
    pub name: RemoteName,
    /// Where it goes on this machine. Folders on the way are made.
    pub path: PathBuf,
    /// The SHA-256 that it must have; without one it is taken as it comes.
    pub sha256: Option<[u8; 32]>,
}

impl WantedDocument {
    /// The document of this name on the NAS, for this place on this machine.
    pub fn new(id: impl Into<DocumentId>, name: RemoteName, path: impl Into<PathBuf>) -> Self {
        Self { id: id.into(), name, path: path.into(), sha256: None }
    }

    /// The same, with the SHA-256 that it must have.
    #[must_use]
    pub fn expecting(self, sha256: [u8; 32]) -> Self {
        Self { sha256: Some(sha256), ..self }
    }
}

/// Which documents to fetch, and from where.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct FetchDocuments {
    /// The folder on the NAS.
    pub folder: Vec<u8>,
    /// The documents. One whose name or path another one has before it fails.
    pub documents: Vec<WantedDocument>,
    /// Whether what is here is replaced where it is not what is expected.
    pub overwrite: bool,
    /// The folder on this machine that relative paths are below, and outside which nothing is written.
    pub within: Option<PathBuf>,
    /// Protocol, sums and compression.
    pub offer: Offer,
}

impl FetchDocuments {
    /// These documents; what is here stays.
    pub fn new(folder: impl Into<Vec<u8>>, documents: Vec<WantedDocument>) -> Self {
        Self { folder: folder.into(), documents, overwrite: false, within: None, offer: Offer::default() }
    }
}

/// How it is known that a document is here as expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fetched {
    /// It came from the NAS.
    FromNas,
    /// It was here already, with the expected sum.
    WasHere,
}

/// What became of a document that was to be fetched.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct FetchedDocument {
    /// The caller's key.
    pub id: DocumentId,
    /// Where it is now.
    pub path: PathBuf,
    /// How that is known, or why it is not here.
    pub result: Result<Fetched>,
}

impl Client {
    /// Fetches documents from the NAS. Each takes its place only when it is whole and has the SHA-256 that is expected; one
    /// that has another is kept beside it, as `NAME.from-nas`, and told as failed. What is here already is not fetched; where
    /// something else is here, whatever its time, it stays, which is told with [`ErrorKind::NewerHere`], unless `overwrite` is
    /// set. Times are those on the NAS.
    ///
    /// Gives an outcome for every document, in their order; fails only where nothing could be tried.
    pub async fn fetch_documents(
        &self,
        request: FetchDocuments,
        monitor: Arc<dyn Monitor>,
    ) -> Result<Vec<FetchedDocument>> {
        let FetchDocuments { folder, documents, overwrite, within, offer } = request;
        let (mut outcomes, asked) = blocking::run(move || prepare(documents, within.as_deref(), overwrite)).await?;
        if asked.is_empty() {
            return Ok(outcomes);
        }
        let names = asked.iter().map(|asked| (asked.name.as_bytes().into(), asked.local.clone())).collect();
        let destination = Destination::chosen(Path::new("/"), names)?;
        let listener = Arc::new(Told { documents: asked.len(), outcomes: Mutex::default(), monitor });
        let options = PullOptions {
            times: true,
            ignore_times: true,
            names_follow: true,
            relative: true,
            ..PullOptions::default()
        };
        let expected = Expected {
            fields: options.list_fields(),
            id_names: true,
            scope: Scope::exactly(asked.iter().map(|asked| &asked.name)),
            may_overlap: false,
        };
        let pull = Pull {
            offer,
            job: PullJob {
                keep: Keep { times: true, ..Keep::default() },
                numeric_ids: true,
                check: QuickCheck::Nothing,
                keep_present: !overwrite,
                names: Some(asked.iter().map(|asked| asked.name.as_bytes().into()).collect()),
                fsync: true,
                gate: Some(Arc::new(Recorded::of(&asked))),
                ..PullJob::new(expected, To::Open(Arc::new(destination)))
            },
            idle_limit: self.idle_limit(),
            monitor: Arc::clone(&listener) as Arc<dyn Monitor>,
        };
        let outcome = Box::pin(self.pull_session(&[literal(&folder)], &options, pull)).await?;
        let mut told = std::mem::take(&mut *blocking::lock(&listener.outcomes));
        for asked in asked {
            let result = told.remove(asked.name.as_bytes()).unwrap_or_else(|| match &outcome.result {
                Err(error) => Err(error.clone()),
                Ok(()) => Err(NasSyncError::new(ErrorKind::NotReceived, "the NAS does not have it")
                    .with_details(outcome.text.as_bytes())),
            });
            outcomes[asked.at].result = result;
        }
        Ok(outcomes)
    }
}

/// A document that has to be asked for.
struct Asked {
    /// Its position.
    at: usize,
    name: RemoteName,
    /// Its real path, without the leading slash.
    local: Box<[u8]>,
    sha256: Option<[u8; 32]>,
}

/// Makes folders, and looks what is here already.
fn prepare(
    documents: Vec<WantedDocument>,
    within: Option<&Path>,
    overwrite: bool,
) -> Result<(Vec<FetchedDocument>, Vec<Asked>)> {
    let unusable =
        |folder: &Path, error| NasSyncError::at_path(ErrorKind::LocalFile, "Cannot write below", folder, error);
    let within = within.map(|folder| folder.canonicalize().map_err(|error| unusable(folder, error))).transpose()?;
    let (mut outcomes, mut asked) = (Vec::with_capacity(documents.len()), Vec::new());
    let (mut names, mut places) = (HashSet::new(), HashSet::new());
    for (at, WantedDocument { id, name, path, sha256 }) in documents.into_iter().enumerate() {
        let path = within.as_ref().map_or_else(|| path.clone(), |within| within.join(&path));
        let real = real_path(&path, within.as_deref()).and_then(|real| {
            if names.insert(name.as_bytes().to_vec()) && places.insert(real.clone()) {
                return Ok(real);
            }
            let message = "its name on the NAS, or its place here, is that of another document that is asked for, too";
            Err(NasSyncError::new(ErrorKind::Usage, message))
        });
        let is_here = sha256.is_some_and(|expected| sha256_of(&path) == Some(expected));
        let result = real.and_then(|real| {
            if is_here {
                return Ok(Fetched::WasHere);
            }
            // Without a sum only the NAS can tell whether it is the same.
            let here = real.symlink_metadata();
            if !overwrite && here.is_ok_and(|here| sha256.is_some() || !here.is_file()) {
                return Err(stays_here());
            }
            let local = real.as_os_str().as_bytes();
            let local = local.strip_prefix(b"/").unwrap_or(local).into();
            asked.push(Asked { at, name, local, sha256 });
            Ok(Fetched::FromNas)
        });
        outcomes.push(FetchedDocument { id, path, result });
    }
    Ok((outcomes, asked))
}

/// The path with the symlinks of its folder resolved; the folder is made.
fn real_path(path: &Path, within: Option<&Path>) -> Result<PathBuf> {
    let failed = |error| NasSyncError::at_path(ErrorKind::LocalFile, "Cannot write to", path, error);
    let absolute = std::path::absolute(path).map_err(failed)?;
    let (Some(parent), Some(name)) = (absolute.parent(), absolute.file_name()) else {
        return Err(NasSyncError::new(ErrorKind::Usage, format!("{} names no file", path.display())));
    };
    // What is made below a real folder is real.
    let existing = parent.ancestors().find(|folder| folder.exists()).unwrap_or(Path::new("/"));
    let real = std::fs::canonicalize(existing).map_err(failed)?;
    let missing = parent.strip_prefix(existing).unwrap_or(Path::new(""));
    let folder = real.join(missing);
    let climbs = missing.components().any(|component| component == Component::ParentDir);
    if within.is_some_and(|within| climbs || !folder.starts_with(within)) {
        let message = format!("{} lies outside the folder that is to be filled", path.display());
        return Err(NasSyncError::new(ErrorKind::SourceOutside, message));
    }
    std::fs::create_dir_all(&folder).map_err(failed)?;
    Ok(folder.join(name))
}

fn sha256_of(path: &Path) -> Option<[u8; 32]> {
    if !std::fs::symlink_metadata(path).ok()?.is_file() {
        return None;
    }
    let mut file = File::open(path).ok()?;
    let (mut hasher, mut buffer) = (Sha256::new(), vec![0; READ_LEN]);
    loop {
        match file.read(&mut buffer).ok()? {
            0 => return Some(hasher.finalize().into()),
            len => hasher.update(&buffer[..len]),
        }
    }
}

/// What was recorded, by name.
struct Recorded(HashMap<Box<[u8]>, [u8; 32]>);

impl Recorded {
    fn of(asked: &[Asked]) -> Self {
        let recorded = asked.iter().filter_map(|asked| Some((asked.name.as_bytes().into(), asked.sha256?)));
        Self(recorded.collect())
    }
}

impl Gate for Recorded {
    fn expected(&self, entry: &FileEntry<'_>) -> Option<[u8; 32]> {
        self.0.get(entry.name).copied()
    }
}

/// Keeps what a session tells about each document, and passes it on.
struct Told {
    documents: usize,
    outcomes: Mutex<HashMap<Box<[u8]>, Result<Fetched>>>,
    monitor: Arc<dyn Monitor>,
}

impl Monitor for Told {
    fn event(&self, event: Event<'_>) {
        match &event {
            Event::FileReceived { entry, .. } => {
                blocking::lock(&self.outcomes).insert(entry.name.into(), Ok(Fetched::FromNas));
            }
            Event::FileFailed { entry, error } => {
                blocking::lock(&self.outcomes).insert(entry.name.into(), Err((*error).clone()));
            }
            // The folders on the way are no documents.
            Event::Listed { bytes, .. } => {
                return self.monitor.event(Event::Listed { entries: self.documents, bytes: *bytes });
            }
            _ => {}
        }
        self.monitor.event(event);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_made_outside_the_folder_that_is_to_be_filled() {
        let dir = tempfile::tempdir().unwrap();
        let around = dir.path().canonicalize().unwrap();
        let within = around.join("uploads");
        std::fs::create_dir_all(within.join("here")).unwrap();
        std::os::unix::fs::symlink(&around, within.join("out")).unwrap();
        let place = |path: &str| {
            let name = RemoteName::new("a.pdf").unwrap();
            let wanted = vec![WantedDocument::new(1, name, path.replace("AROUND", around.to_str().unwrap()))];
            let (mut outcomes, _) = prepare(wanted, Some(&within), false).unwrap();
            let FetchedDocument { path, result, .. } = outcomes.remove(0);
            result.map(|_| path).map_err(|error| error.kind())
        };
        for inside in ["a.pdf", "here/a.pdf", "new/er/a.pdf", "here/../new/a.pdf", "AROUND/uploads/a.pdf"] {
            assert!(place(inside).unwrap().starts_with(&within), "{inside}");
        }
        for outside in [
            "../a.pdf",
            "../other/a.pdf",
            "new/../other/../../a.pdf",
            "gone/../../other/a.pdf",
            "out/a.pdf",
            "out/other/a.pdf",
            "AROUND/a.pdf",
            "AROUND/other/a.pdf",
            "AROUND/uploads2/a.pdf",
        ] {
            assert_eq!(place(outside), Err(ErrorKind::SourceOutside), "{outside}");
        }
        let names: Vec<_> = std::fs::read_dir(&around).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["uploads"]);
    }
}
