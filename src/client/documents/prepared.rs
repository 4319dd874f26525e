//! A document whose file was looked at, so that it can be sent.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::delta::SumHead;
use crate::delta::strong::MAX_DIGEST_LEN;
use crate::delta::sum_head::MAX_BLOCK_LEN;
use crate::error::{ErrorKind, NasSyncError, Result};
use crate::id::DocumentId;
use crate::tree::{self, HeldFolder, RemoteName, SourceFile, Stamp};
use crate::wire::flist::FileMeta;
use crate::wire::server_args::PARTIAL_DIR;

/// A document to send.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct OutgoingDocument {
    /// The caller's own key for it, a number or text; what is told about it carries this.
    pub id: DocumentId,
    /// Its file. Relative to the upload folder where there is one, else to the working directory.
    pub path: PathBuf,
    /// What it is called below the destination folder.
    pub name: RemoteName,
    /// Whether what stands under its name and has another content stays, because it cannot be an earlier copy of it. Then it
    /// fails with [`ErrorKind::NameClash`].
    pub is_new: bool,
}

impl OutgoingDocument {
    /// A document with the caller's key, its file, and its name below the destination folder. It takes the place of whatever
    /// has that name.
    pub fn new(id: impl Into<DocumentId>, path: impl Into<PathBuf>, name: RemoteName) -> Self {
        Self { id: id.into(), path: path.into(), name, is_new: false }
    }
}

/// A document whose file was looked at.
#[derive(Debug, Clone)]
pub struct Prepared {
    /// The caller's key.
    pub id: DocumentId,
    /// Its file.
    pub path: PathBuf,
    /// What it is called below the destination folder.
    pub name: RemoteName,
    /// Size and time of the file when it was looked at.
    pub meta: FileMeta,
    /// What tells whether it is still the same.
    pub stamp: Stamp,
    /// Whether it has holes.
    pub sparse: bool,
    /// What may be the same file on the NAS. None of them is there and the same, or this document is not sent.
    pub neighbours: Vec<Neighbour>,
    /// As in [`OutgoingDocument`].
    pub is_new: bool,
}

/// Another document's copy, there or about to be, whose name differs from a document's own only in its spelling: in case,
/// composition and the like. Many NAS take such names for one. It may also be the name of a folder on the way there.
#[derive(Debug, Clone)]
pub struct Neighbour {
    /// Whose it is.
    pub id: DocumentId,
    /// Its name.
    pub name: RemoteName,
    /// Its size and time, as far as they are known: by them another file is told apart.
    pub meta: FileMeta,
}

impl Prepared {
    /// Looks at a document's file, below `root` where there is one.
    ///
    /// Fails like [`SourceFile::open_document`], and with `NameUnsendable` for a name that rsync needs for itself.
    pub fn look(document: OutgoingDocument, root: Option<&HeldFolder>) -> Result<Self> {
        let file = SourceFile::open_document(root, &document.path)?;
        Self::new(document, &file)
    }

    /// A document whose file the caller has looked at. Fails with `NameUnsendable` for a name that rsync needs for itself.
    pub fn new(document: OutgoingDocument, file: &SourceFile) -> Result<Self> {
        let OutgoingDocument { id, path, name, is_new } = document;
        refuse_partial_dir(&name)?;
        Ok(Self {
            id,
            path,
            name,
            meta: *file.meta(),
            stamp: *file.stamp(),
            sparse: file.is_sparse(),
            neighbours: Vec::new(),
            is_new,
        })
    }

    /// Why it is not sent where a file with another content has its name.
    pub(super) fn name_is_taken(&self) -> Option<NasSyncError> {
        let message = "another file has its name on the NAS, which was not sent from this database, and stays";
        let id = &self.id;
        self.is_new.then(|| {
            NasSyncError::new(ErrorKind::NameClash, message).with_solution(format!(
                "Look at that file. `nas-sync sync --document {id} --overwrite` lets it be replaced; if it is to stay, change \
                 NAS_LAYOUT or NAS_PATH. Two databases that send into one folder need a NAS_PATH each."
            ))
        })
    }

    /// What it is to others that may be the same file there.
    pub(super) fn as_neighbour(&self) -> Neighbour {
        Neighbour { id: self.id.clone(), name: self.name.clone(), meta: self.meta }
    }

    /// Whether another document is among its neighbours.
    pub(super) fn knows(&self, other: &Self) -> bool {
        self.neighbours.iter().any(|neighbour| neighbour.id == other.id)
    }

    /// Its folder below the destination; empty for the destination itself.
    pub(super) fn folder(&self) -> &[u8] {
        let name = self.name.as_bytes();
        &name[..name.len() - self.name.file_name().len()]
    }

    /// How many bytes of block sums a copy of the same length on the NAS amounts to.
    pub(super) fn most_sums(&self) -> u64 {
        SumHead::for_basis(self.meta.size, MAX_BLOCK_LEN, MAX_DIGEST_LEN).sums_len()
    }

    /// The length of its file in bytes.
    pub fn bytes(&self) -> u64 {
        self.meta.size
    }

    /// Opens its file for sending. Fails with `SourceChanged` when it is no longer the one that was looked at: another
    /// one must not arrive under what is recorded.
    pub(super) fn open(root: Option<&Arc<HeldFolder>>, path: &Path, stamp: &Stamp) -> Result<SourceFile> {
        let file = SourceFile::open_document(root.map(AsRef::as_ref), path)?;
        if file.stamp() == stamp {
            Ok(file.hashed())
        } else {
            Err(NasSyncError::new(ErrorKind::SourceChanged, format!("{} changed before it was sent", path.display())))
        }
    }
}

/// Opens the folder that documents must lie below. Fails with `Usage`, since the setting is wrong, or with
/// `ResourceShortage`.
pub(crate) fn open_upload_dir(path: &Path) -> Result<HeldFolder> {
    HeldFolder::open(path).map_err(|error| {
        if tree::says_shortage(&error) {
            return NasSyncError::at_path(ErrorKind::ResourceShortage, "Cannot open the upload folder", path, error);
        }
        NasSyncError::at_path(ErrorKind::Usage, "Cannot open the upload folder", path, error)
            .with_solution("Create that folder, let this user enter it, or correct UPLOAD_DIR.")
    })
}

/// rsync keeps interrupted files in a folder of this name, and removes what stands in its way.
fn refuse_partial_dir(name: &RemoteName) -> Result<()> {
    if name.as_bytes().split(|&byte| byte == b'/').any(|part| part == PARTIAL_DIR.as_bytes()) {
        let message = format!("its name on the NAS holds {PARTIAL_DIR}, which rsync needs for itself");
        return Err(NasSyncError::new(ErrorKind::NameUnsendable, message));
    }
    Ok(())
}
