//! From what a database says about a document to its file and its name on the NAS.

use std::sync::Arc;

use chrono::{DateTime, NaiveDate};

use super::layout::{DocumentFacts, FileFacts, Layout};
use super::prepared::open_upload_dir;
#[cfg(feature = "service")]
use super::prepared::{OutgoingDocument, Prepared};
use crate::config::Settings;
use crate::error::{ErrorKind, NasSyncError, Result};
use crate::tree::{HeldFolder, RemoteName, SourceFile};

/// Names documents by a layout (`NAS_LAYOUT`), and holds the folder that they lie below (`UPLOAD_DIR`).
#[derive(Debug, Clone)]
pub struct Naming {
    layout: Arc<Layout>,
    root: Option<Arc<HeldFolder>>,
}

impl Naming {
    /// What the settings say. Fails with `Usage` for a layout that is not understood, an upload folder that cannot be opened,
    /// or a layout that needs one where none is set.
    pub fn of(settings: &Settings) -> Result<Self> {
        let layout = Layout::parse(&settings.layout)?;
        if layout.needs_root() && settings.upload_dir.is_none() {
            return Err(NasSyncError::new(ErrorKind::Usage, "this layout needs UPLOAD_DIR, the root of the documents")
                .with_cause(
                    "Names are paths below the folder of the documents, and which one that is has not been said.",
                )
                .with_solution(
                    "Set UPLOAD_DIR to the folder that holds the documents, or choose another NAS_LAYOUT.",
                ));
        }
        let root = settings.upload_dir.as_deref().map(|path| open_upload_dir(path).map(Arc::new)).transpose()?;
        Ok(Self { layout: Arc::new(layout), root })
    }

    /// The document's name on the NAS. Its file is looked at only where the name holds its date. Fails with `NameUnsendable`
    /// where a value is missing or the name breaks a rule, with `SourceOutside` for a path that leaves the upload folder,
    /// and as opening the file does.
    pub fn name(&self, document: &DocumentFacts<'_>) -> Result<RemoteName> {
        let modified = if self.layout.needs_file_date(document) { day_of(&self.open(document)?) } else { None };
        self.name_with(document, modified)
    }

    fn name_with(&self, document: &DocumentFacts<'_>, modified: Option<NaiveDate>) -> Result<RemoteName> {
        let below_root = self.root().map(|root| root.relative(document.path)).transpose()?;
        self.layout.name_for(document, &FileFacts { below_root: below_root.as_deref(), modified })
    }

    /// Looks at the document's file and gives it its name.
    #[cfg(feature = "service")]
    pub(crate) fn prepare(&self, document: &DocumentFacts<'_>) -> Result<Prepared> {
        let file = self.open(document)?;
        let name = self.name_with(document, day_of(&file))?;
        Prepared::new(OutgoingDocument::new(document.id.clone(), document.path, name), &file)
    }

    fn open(&self, document: &DocumentFacts<'_>) -> Result<SourceFile> {
        SourceFile::open_document(self.root().map(AsRef::as_ref), document.path)
    }

    /// The upload folder, where there is one.
    pub(crate) fn root(&self) -> Option<&Arc<HeldFolder>> {
        self.root.as_ref()
    }
}

fn day_of(file: &SourceFile) -> Option<NaiveDate> {
    let mtime = file.meta().mtime;
    DateTime::from_timestamp(mtime.seconds, mtime.nanoseconds).map(|time| time.date_naive())
}
