//! What runs against a bad network share, and the promises that each of them must keep.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use nas_sync::DocumentMonitor;
use nas_sync::{DocumentId, NasSyncService, Selection, SyncSummary, UserId};

use crate::support::{Chaos, Database, Postgres, Site, noise};

/// Everything ends by then, whatever happens to the connection.
const DEADLINE: Duration = Duration::from_secs(60);

/// What one run deals with.
pub const DOCUMENTS: [(&str, usize, Copy); 12] = [
    ("empty.pdf", 0, Copy::None),
    ("byte.pdf", 1, Copy::None),
    ("small.pdf", 700, Copy::None),
    ("one page.pdf", 5_000, Copy::None),
    ("large.pdf", 200_000, Copy::None),
    ("invoice 1.pdf", 5_000, Copy::None),
    ("corrected.pdf", 60_000, Copy::Older),
    ("invoice 2.pdf", 33_000, Copy::None),
    ("grown.pdf", 20_000, Copy::Beginning),
    ("invoice 3.pdf", 1_500, Copy::None),
    ("there already.pdf", 9_000, Copy::Same),
    ("last.pdf", 3, Copy::None),
];

/// What the NAS has of a document before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Copy {
    None,
    /// Another version of the same length, with a change in the middle.
    Older,
    /// The first half.
    Beginning,
    /// The very bytes.
    Same,
}

/// One document.
pub struct Doc {
    name: &'static str,
    content: Vec<u8>,
    before: Option<Vec<u8>>,
}

/// What all runs share: the server, the files and a database in which nothing is synced.
pub struct Ground {
    pub site: Site,
    pub docs: Vec<Doc>,
    pub ids: Vec<DocumentId>,
    database: Database,
}

impl Ground {
    pub async fn new() -> Self {
        let site = Site::new();
        let database = Database::file(&site);
        Self::over(site, database).await
    }

    /// The same with the database on a server.
    pub async fn on(server: Postgres) -> Self {
        Self::over(Site::new(), Database::server(server)).await
    }

    async fn over(mut site: Site, database: Database) -> Self {
        site.know_every_port();
        site.set("NAS_DB", database.setting());
        let mut docs = Vec::new();
        let mut paths = Vec::new();
        for (number, (name, len, before)) in DOCUMENTS.into_iter().enumerate() {
            let content = noise(len, number as u64 + 1);
            paths.push(site.upload(name, &content));
            let before = match before {
                Copy::None => None,
                Copy::Older => {
                    let mut older = content.clone();
                    older[len / 2..][..100].fill(b'-');
                    Some(older)
                }
                Copy::Beginning => Some(content[..len / 2].to_vec()),
                Copy::Same => Some(content.clone()),
            };
            docs.push(Doc { name, content, before });
        }
        let ids = site.service().add(UserId::from(1), paths).await.expect("registered");
        let with_older = docs.iter().zip(&ids).filter(|(doc, _)| doc.before.is_some());
        database.were_tried(with_older.map(|(_, id)| id.to_string()));
        database.watch_marks();
        Self { site, docs, ids, database }
    }

    /// A folder on the NAS and a database for one run.
    pub fn trial(self: &Arc<Self>, name: &str, seed: u64) -> Trial {
        let folder = self.site.path("nas").join(name);
        fs::create_dir(&folder).expect("a folder");
        for doc in &self.docs {
            if let Some(before) = &doc.before {
                fs::write(folder.join(doc.name), before).expect("a file");
            }
        }
        let database = self.database.copy(self.site.path(&format!("{name}.db")));
        let chaos = Arc::new(Chaos::before(self.site.sshd.port(), seed));
        // With several sessions side by side now and then; the clean run has one.
        let jobs = if seed % 3 == 1 { "3" } else { "1" };
        Trial { ground: Arc::clone(self), chaos, folder, database, jobs }
    }
}

/// A folder on the NAS, a database and a network of their own.
pub struct Trial {
    ground: Arc<Ground>,
    pub chaos: Arc<Chaos>,
    folder: PathBuf,
    database: Database,
    jobs: &'static str,
}

/// How patient a service is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Patience {
    /// As usual.
    Usual,
    /// Silence is given up after a few seconds.
    Short,
}

impl Trial {
    fn service(&self, patience: Patience) -> NasSyncService {
        let mut others: Vec<(&'static str, OsString)> = vec![
            ("NAS_PORT", self.chaos.port().to_string().into()),
            ("NAS_PATH", self.folder.clone().into()),
            ("NAS_DB", self.database.setting()),
            ("NAS_JOBS", self.jobs.into()),
        ];
        if patience == Patience::Short {
            others.extend([("NAS_FILE_TIMEOUT", "3".into()), ("NAS_CONNECT_TIMEOUT", "4".into())]);
        }
        self.ground.site.service_with(others)
    }

    /// Syncs, and ends by a deadline (I4).
    pub async fn sync(
        &self,
        patience: Patience,
        selection: Selection,
        monitor: Arc<dyn DocumentMonitor>,
    ) -> SyncSummary {
        let service = self.service(patience);
        let sync = service.sync(selection, monitor, std::future::pending());
        let summary = tokio::time::timeout(DEADLINE, sync).await.expect("it ends");
        summary.expect("the settings and the database are fine")
    }

    /// What must hold after any run. Returns how many documents are marked.
    pub fn check(&self, summary: &SyncSummary) -> usize {
        let all = self.ground.docs.len();
        // I5: what was left undone is counted, and a run that left something says why.
        assert_eq!(summary.synced + summary.failed + summary.pending, summary.total, "{summary:?}");
        assert_eq!(summary.errors.len(), summary.failed, "{summary:?}");
        assert!(summary.pending == 0 || summary.stopped.is_some(), "{summary:?}");
        // I3: rows are conserved.
        let rows = self.rows();
        assert_eq!(rows.len(), all, "{rows:?}");
        let marked: Vec<_> = rows.iter().filter(|(_, marked, ..)| *marked).map(|(id, ..)| *id).collect();
        for (id, marked, dated, transitions) in &rows {
            assert_eq!((*dated, *transitions), (*marked, i64::from(*marked)), "document {id}: {rows:?}");
        }
        let causes = "SELECT s.document_id FROM nas_sync_documents s JOIN documents d ON d.id = s.document_id
                      WHERE s.last_error_kind IS NOT NULL AND s.file_path = d.file_path";
        let causes = self.database.numbers(causes);
        for error in &summary.errors {
            let id = error.id.as_ref().and_then(DocumentId::as_integer).expect("every document has an id");
            assert!(causes.contains(&id), "no cause of {error}");
        }
        // I1: what is marked is there. Whatever has a final name is whole, too: the old version or the new one.
        for (doc, id) in self.ground.docs.iter().zip(&self.ground.ids) {
            let there = fs::read(self.folder.join(doc.name)).ok();
            let whole = there.as_ref() == Some(&doc.content);
            assert!(
                whole || !marked.contains(&id.as_integer().unwrap()),
                "{} is marked and differs: {summary:?}",
                doc.name
            );
            assert!(whole || there == doc.before, "{} is broken: {summary:?}", doc.name);
        }
        // I6: beside the documents there are rsync's own files at most.
        self.strangers(&self.folder);
        marked.len()
    }

    /// Id, mark, date beside it, and changes to synced so far.
    pub fn rows(&self) -> Vec<(i64, bool, bool, i64)> {
        let sql = "SELECT id, CASE WHEN synced_to_nas IS NOT FALSE THEN 1 ELSE 0 END,
                          CASE WHEN synced_at IS NOT NULL THEN 1 ELSE 0 END,
                          (SELECT count(*) FROM witness w WHERE w.document = d.id) FROM documents d ORDER BY id";
        let rows = self.database.numbers(sql);
        rows.chunks(4).map(|row| (row[0], row[1] == 1, row[2] == 1, row[3])).collect()
    }

    /// Insists that each name in a folder is a document's, or a temporary one that rsync made for it.
    fn strangers(&self, folder: &Path) {
        // A server that is still ending may take its folder away.
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let name = entry.file_name().into_string().expect("a name in UTF-8");
            if name == ".rsync-partial" {
                self.strangers(&entry.path());
                continue;
            }
            let is_of = |doc: &Doc| {
                let temporary = name.strip_prefix('.').and_then(|name| name.strip_prefix(doc.name));
                let drawn = temporary.and_then(|name| name.strip_prefix('.')).map(str::len);
                name == doc.name || drawn == Some(6)
            };
            assert!(self.ground.docs.iter().any(is_of), "{name} lies in {}", folder.display());
        }
    }

    /// After a run that did everything.
    pub fn check_all(&self, summary: &SyncSummary) {
        assert!(summary.stopped.is_none() && summary.failed == 0, "{summary:?}");
        assert_eq!(self.check(summary), self.ground.docs.len(), "{summary:?}");
        for doc in &self.ground.docs {
            assert_eq!(fs::read(self.folder.join(doc.name)).ok().as_ref(), Some(&doc.content), "{}", doc.name);
        }
    }
}
