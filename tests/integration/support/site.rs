//! A whole site for one test: a NAS (sshd and a folder), a database, documents.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use nas_sync::Unmonitored;
use nas_sync::{
    DocumentId, Environment, Flags, NasSyncError, NasSyncService, Selection, Settings, SyncSummary, UserId,
};
use tempfile::TempDir;

use super::cli::write_program;
use super::sshd::user;
use super::{Chaos, Database, Sshd};

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

    /// Leads all connections through a proxy; the service finds the host key of the server there.
    pub fn through(&mut self, chaos: &Chaos) {
        self.by_port(chaos.port());
    }

    /// Leads all connections through another port of this machine.
    pub fn by_port(&mut self, port: u16) {
        self.know_every_port();
        self.set("NAS_PORT", port.to_string());
    }

    /// Makes the server's host keys known whatever the port.
    pub fn know_every_port(&mut self) {
        let known_hosts = self.path("known_hosts");
        let lines: Vec<_> = self.sshd.host_public_keys().iter().map(|key| format!("* {key}\n")).collect();
        fs::write(&known_hosts, lines.concat()).expect("known_hosts is written");
        self.set("NAS_KNOWN_HOSTS", known_hosts);
    }

    /// The service of this environment.
    pub fn service(&self) -> NasSyncService {
        self.service_with([])
    }

    /// The service of this environment with some variables set in another way.
    pub fn service_with(&self, others: impl IntoIterator<Item = (&'static str, OsString)>) -> NasSyncService {
        let mut variables = self.variables.clone();
        variables.extend(others);
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
        self.service().add(UserId::from(1), vec![path]).await.expect("registered").remove(0)
    }

    /// Syncs everything.
    pub async fn sync(&self) -> SyncSummary {
        self.try_sync().await.expect("the database and the settings are fine")
    }

    /// Syncs everything, when the database or the settings may be wrong.
    pub async fn try_sync(&self) -> Result<SyncSummary, NasSyncError> {
        self.service().sync(Selection::all(), Arc::new(Unmonitored), std::future::pending()).await
    }

    /// What lies on the NAS under a name.
    pub fn stored(&self, name: &str) -> Option<Vec<u8>> {
        fs::read(self.path("nas").join(name)).ok()
    }

    /// Names on the NAS, sorted.
    pub fn stored_names(&self) -> Vec<String> {
        names(&self.path("nas"))
    }

    /// The database, as another program sees it.
    pub fn database(&self) -> rusqlite::Connection {
        rusqlite::Connection::open(&self.variables["NAS_DB"]).expect("the database")
    }

    /// Registers a path as another program does: without looking at it.
    pub fn insert(&self, path: &Path) -> i64 {
        let database = self.database();
        let path = path.to_str().expect("a path in UTF-8");
        database.execute("INSERT INTO documents (user_id, file_path) VALUES (1, ?1)", [path]).expect("a row");
        database.last_insert_rowid()
    }

    /// The rows that are marked: id and whether there is a time beside the mark.
    pub fn marked(&self) -> Vec<(i64, bool)> {
        Database::File(self.variables["NAS_DB"].clone().into()).marked()
    }

    /// Puts a script in the place of rsync on the NAS. `$NAS` in it is the NAS folder.
    pub fn wrap_rsync(&mut self, text: &str) {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let script = self.path(&format!("wrapper{}", NUMBER.fetch_add(1, Ordering::Relaxed)));
        write_program(&script, &format!("#!/bin/sh\nNAS='{}'\n{text}\n", self.path("nas").display()));
        self.set("NAS_RSYNC_PATH", script);
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
