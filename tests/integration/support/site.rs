//! A whole site for one test: a NAS (sshd and a folder), a database, documents.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nas_sync::role::monitor::Silent;
use nas_sync::{
    DocumentId, Environment, Flags, NasSyncError, NasSyncService, Selection, Settings, SyncSummary, UserId,
};
use tempfile::TempDir;

use super::Sshd;
use super::sshd::user;

/// The site. `variables` is the environment of its service and may be changed before [`Site::service`].
pub struct Site {
    pub sshd: Sshd,
    pub variables: BTreeMap<&'static str, OsString>,
    folder: TempDir,
}

impl Site {
    /// A site that works.
    pub fn new() -> Self {
        Self::with(Sshd::start())
    }

    /// A site around a server.
    pub fn with(sshd: Sshd) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        for name in ["nas", "uploads"] {
            fs::create_dir(folder.path().join(name)).expect("a folder");
        }
        // Writes known_hosts, too.
        let config = sshd.config();
        let variables = BTreeMap::from([
            ("NAS_HOST", "127.0.0.1".into()),
            ("NAS_USER", user().into()),
            ("NAS_PORT", sshd.port().to_string().into()),
            ("NAS_PATH", folder.path().join("nas").into()),
            ("NAS_KEY_FILE", sshd.path("user_ed25519").into()),
            ("NAS_KNOWN_HOSTS", config.known_hosts[0].clone().into()),
            ("NAS_DB", folder.path().join("documents.db").into()),
            ("NAS_CONNECT_TIMEOUT", "20".into()),
        ]);
        Self { sshd, variables, folder }
    }

    /// A path of the site: `nas`, `uploads` and `documents.db` are there.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Sets one variable.
    pub fn set(&mut self, name: &'static str, value: impl Into<OsString>) {
        self.variables.insert(name, value.into());
    }

    /// The service of this environment.
    pub fn service(&self) -> NasSyncService {
        let variables = self.variables.clone();
        let environment =
            Environment::new(move |name: &str| variables.get(name).cloned(), "", None).expect("an environment");
        NasSyncService::new(Settings::resolve(&Flags::default(), &environment).expect("settings"))
    }

    /// Writes a file among the uploads.
    pub fn upload(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.path("uploads").join(name);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).expect("a folder");
        }
        fs::write(&path, content).expect("a file");
        path
    }

    /// Writes and registers a document of user 1.
    pub async fn document(&self, name: &str, content: &[u8]) -> DocumentId {
        let path = self.upload(name, content);
        self.service().add(UserId(1), vec![path]).await.expect("registered")[0]
    }

    /// Syncs everything.
    pub async fn sync(&self) -> SyncSummary {
        self.try_sync().await.expect("the database and the settings are fine")
    }

    /// Syncs everything, when the database or the settings may be wrong.
    pub async fn try_sync(&self) -> Result<SyncSummary, NasSyncError> {
        self.service().sync(Selection::All, Arc::new(Silent), std::future::pending()).await
    }

    /// What lies on the NAS under a name.
    pub fn stored(&self, name: &str) -> Option<Vec<u8>> {
        fs::read(self.path("nas").join(name)).ok()
    }

    /// Names on the NAS, sorted.
    pub fn stored_names(&self) -> Vec<String> {
        names(&self.path("nas"))
    }

    /// Pending documents.
    pub async fn pending(&self) -> u64 {
        self.service().stats(None).await.expect("statistics").pending
    }
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .expect("a folder")
        .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}
