//! Many trials of one batch: each gets a database and a NAS folder of its own, all share the documents and the server.
//!
//! What a trial checks, whenever nothing of it runs on this side:
//! - a marked row has its time and its record, and under its name on the NAS lie exactly the bytes of its file;
//! - any other name on the NAS is absent or whole: the new content or the one that was there before;
//! - rows are neither lost nor added, and each has become synced at most once;
//! - the database, if it is a file, is sound.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::cli::PROGRAM;
use super::random::Random;
use super::{Cli, Database, Postgres, Site, noise};

/// Documents, ready to be synced any number of times.
pub struct Batch {
    pub site: Site,
    database: Database,
    variables: BTreeMap<String, OsString>,
    documents: BTreeMap<String, Content>,
    trials: usize,
    most_jobs: usize,
}

/// What may lie under one name.
struct Content {
    id: i64,
    new: Vec<u8>,
    /// What the NAS holds before the first run.
    old: Option<Vec<u8>>,
}

/// One database and one NAS folder.
pub struct Trial<'b> {
    batch: &'b Batch,
    folder: PathBuf,
    database: Database,
    jobs: usize,
}

/// What a trial holds at one moment.
#[derive(Debug, Clone, Copy, Default)]
pub struct State {
    pub marked: usize,
    /// Documents whose new content is there.
    pub stored: usize,
    /// Documents that are under a lease.
    pub leased: i64,
    /// What interrupted transfers left: rsync's own temporary files.
    pub temporary: usize,
}

impl Batch {
    /// Registers documents of up to `longest` bytes. Of every fifth the NAS will have an older version.
    pub fn new(count: usize, longest: usize, random: &mut Random) -> Self {
        let site = Site::new();
        let database = Database::file(&site);
        Self::over(site, database, count, longest, random)
    }

    /// The same in a database of a server.
    pub fn on(server: Postgres, count: usize, longest: usize, random: &mut Random) -> Self {
        Self::over(Site::new(), Database::server(server), count, longest, random)
    }

    fn over(mut site: Site, database: Database, count: usize, longest: usize, random: &mut Random) -> Self {
        site.set("NAS_DB", database.setting());
        let cli = Cli::new(&site);
        let mut documents = BTreeMap::new();
        let mut paths = Vec::new();
        for at in 0..count {
            let name = format!("document-{at:04}.pdf");
            let new = noise(random.index(longest), random.next());
            let old = (at % 5 == 0).then(|| {
                let mut old = new.clone();
                old.truncate(new.len() * 3 / 4);
                old.iter_mut().step_by(1000).for_each(|byte| *byte ^= 0x55);
                old.extend_from_slice(b"an older version");
                old
            });
            paths.push(site.upload(&name, &new));
            documents.insert(name, Content { id: 0, new, old });
        }
        for (content, id) in documents.values_mut().zip(cli.add(1, &paths)) {
            content.id = id;
        }
        let with_older = documents.values().filter(|content| content.old.is_some());
        database.were_tried(with_older.map(|content| content.id.to_string()));
        database.watch_marks();
        Self { site, database, variables: cli.variables, documents, trials: 0, most_jobs: 1 }
    }

    /// Trials use one session, two, and so on up to `most` side by side in turn; without this, always one.
    pub fn up_to_jobs(mut self, most: usize) -> Self {
        self.most_jobs = most;
        self
    }

    /// A fresh trial.
    pub fn trial(&mut self) -> Trial<'_> {
        self.trials += 1;
        let folder = self.site.path(&format!("trial{}", self.trials));
        fs::create_dir_all(folder.join("nas")).expect("a folder");
        let database = self.database.copy(folder.join("documents.db"));
        for (name, content) in &self.documents {
            if let Some(old) = &content.old {
                fs::write(folder.join("nas").join(name), old).expect("an older version");
            }
        }
        Trial { jobs: 1 + self.trials % self.most_jobs, batch: self, folder, database }
    }

    /// How many documents there are.
    pub fn len(&self) -> usize {
        self.documents.len()
    }
}

impl Trial<'_> {
    /// A path in its folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The environment of its runs.
    pub fn variables(&self) -> Vec<(OsString, OsString)> {
        let mut variables = self.batch.variables.clone();
        variables.insert("NAS_DB".into(), self.database.setting());
        variables.insert("NAS_PATH".into(), self.path("nas").into());
        variables.insert("NAS_JOBS".into(), self.jobs.to_string().into());
        variables.into_iter().map(|(name, value)| (name.into(), value)).collect()
    }

    /// Where a run's stderr goes.
    pub fn stderr(&self) -> File {
        File::create(self.path("stderr")).expect("a file")
    }

    /// What the last run said on stderr.
    pub fn said(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.path("stderr")).unwrap_or_default()).into_owned()
    }

    /// Starts a sync.
    pub fn start(&self) -> Child {
        let mut command = Command::new(PROGRAM);
        command.arg("sync").env_clear().envs(self.variables()).current_dir(&self.folder);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(self.stderr());
        command.spawn().expect("the program starts")
    }

    /// Checks all that must hold while nothing of this side runs.
    #[track_caller]
    pub fn check(&self) -> State {
        let (marked, leased) = self
            .database
            .look(|database| (self.check_rows(database), database.numbers("SELECT COUNT(*) FROM nas_sync_leased")[0]));
        State { leased, ..self.check_nas(&marked) }
    }

    /// Checks that nothing is left to do.
    #[track_caller]
    pub fn check_done(&self) -> State {
        let state = self.check();
        assert_eq!((state.marked, state.stored), (self.batch.len(), self.batch.len()), "{}", self.said());
        assert_eq!(state.leased, 0, "a lease outlives its worker");
        state
    }

    #[track_caller]
    fn check_rows(&self, database: &Database) -> BTreeSet<i64> {
        let ids = |sql: &str| database.numbers(sql);
        let all: Vec<i64> = self.batch.documents.values().map(|content| content.id).collect();
        assert_eq!(ids("SELECT id FROM documents ORDER BY id"), all, "rows were lost or added");
        let marked = ids("SELECT id FROM documents WHERE synced_to_nas IS NOT FALSE ORDER BY id");
        let times = ids("SELECT id FROM documents WHERE synced_at IS NOT NULL ORDER BY id");
        assert_eq!(marked, times, "a mark without a time, or a time without a mark");
        assert_eq!(ids("SELECT document FROM witness ORDER BY document"), marked, "marked more than once");
        let recorded = "SELECT d.id FROM documents d JOIN nas_sync_documents s ON s.document_id = d.id
                        WHERE d.synced_to_nas IS NOT FALSE AND s.level IS NOT NULL AND s.remote_name IS NOT NULL
                        AND s.last_error_kind IS NULL ORDER BY d.id";
        assert_eq!(ids(recorded), marked, "marked without a record");
        marked.into_iter().collect()
    }

    #[track_caller]
    fn check_nas(&self, marked: &BTreeSet<i64>) -> State {
        let nas = self.path("nas");
        let mut state = State { marked: marked.len(), ..State::default() };
        for (name, content) in &self.batch.documents {
            let found = fs::read(nas.join(name)).ok();
            let new = found.as_ref() == Some(&content.new);
            assert!(new || !marked.contains(&content.id), "{name} is marked, and something else is on the NAS");
            assert!(new || found == content.old, "{name} is neither the new version nor the one before");
            state.stored += usize::from(new);
        }
        state.temporary = strangers(&nas, &self.batch.documents.keys().map(String::as_str).collect());
        state
    }
}

impl Drop for Trial<'_> {
    fn drop(&mut self) {
        // What is of use is kept when the test has failed.
        if std::thread::panicking() {
            eprintln!("the run before said: {}", self.said());
        } else {
            self.database.remove();
            let _ = fs::remove_dir_all(&self.folder);
        }
    }
}

/// Counts rsync's own temporary files, `.name.XXXXXX` and what lies in `.rsync-partial`; nothing else may be there.
#[track_caller]
pub fn strangers(folder: &Path, known: &BTreeSet<&str>) -> usize {
    let mut temporary = 0;
    for entry in fs::read_dir(folder).expect("a folder") {
        let name = entry.expect("an entry").file_name().to_string_lossy().into_owned();
        if known.contains(name.as_str()) {
            continue;
        }
        if name == ".rsync-partial" {
            let partial = fs::read_dir(folder.join(name)).map_or(0, Iterator::count);
            temporary += partial;
            continue;
        }
        let of = name.strip_prefix('.').and_then(|name| name.rsplit_once('.'));
        let own = of.is_some_and(|(of, random)| known.contains(of) && random.len() == 6);
        assert!(own, "{name} was left on the NAS");
        temporary += 1;
    }
    temporary
}
