//! The walk that every server takes: all that a person does with a NAS, with documents that are hard to carry.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use nas_sync::Level;
use serde_json::{Value, json};

use super::server::{Nas, Server};
use crate::support::cli::{Run, word};
use crate::support::{Cli, noise, skip};

/// Around the length of a block, and those at which lengths of blocks and of literals change.
const SIZES: [usize; 10] = [0, 1, 699, 700, 701, 32_767, 32_768, 131_072, 131_073, 490_001];
/// What file names may hold.
const NAMES: [&[u8]; 12] = [
    b" blanks at both ends ",
    b"it's \"quoted\" `here`.pdf",
    "\u{c9}t\u{e9} \u{2013} \u{65e5}\u{672c}.pdf".as_bytes(),
    b"latin caf\xe9.pdf",
    b"line\nend.pdf",
    b"-rf",
    b"--delete",
    b"*?[a-z]{b,c}~.pdf",
    b"$HOME;id|cat&.pdf",
    b"back\\slash\\#101.pdf",
    b"folder/in a folder/plain.pdf",
    b"folder/-n/host:path.pdf",
];
/// Altered in its middle.
const BOOK: &str = "book.pdf";
const BOOK_LEN: usize = 1_000_000;
/// Not there when it is to be sent.
const GONE: &str = "gone.pdf";
/// In a folder of the NAS that takes nothing.
const SHUT: &str = "shut/closed.pdf";

/// Lets a server take the walk, or says why it cannot be had.
#[track_caller]
pub fn walk(server: &Server) {
    match server.start() {
        Ok(nas) => Walk::new(nas, server).take(),
        Err(reason) => skip(&format!("{server:?}: {reason}")),
    }
}

struct Walk {
    nas: Nas,
    cli: Cli,
    /// What it is, for failures.
    shown: String,
    /// What is proved of each document that is sent.
    level: Level,
    ids: BTreeMap<OsString, i64>,
}

impl Walk {
    /// Registers the documents. One is gone again, and the NAS has a folder that takes nothing.
    fn new(mut nas: Nas, server: &Server) -> Self {
        let site = &mut nas.site;
        site.set("UPLOAD_DIR", site.path("uploads"));
        site.set("NAS_LAYOUT", "tree");
        site.set("NAS_JOBS", "3");
        let names = NAMES.iter().map(|name| word(name)).chain([word(&[b'x'; 240])]);
        let mut names: Vec<OsString> =
            names.zip(SIZES.iter().cycle()).map(|(name, size)| upload(&nas, name, *size)).collect();
        names.extend([
            upload(&nas, BOOK.into(), BOOK_LEN),
            upload(&nas, GONE.into(), 10),
            upload(&nas, SHUT.into(), 10),
        ]);
        let cli = Cli::new(&nas.site);
        let paths: Vec<PathBuf> = names.iter().map(|name| nas.site.path("uploads").join(name)).collect();
        let ids = names.into_iter().zip(cli.add(1, &paths)).collect();
        fs::remove_file(nas.site.path("uploads").join(GONE)).unwrap();
        set_mode(&nas.share, "shut", 0o555);
        Self { nas, cli, shown: format!("{server:?}"), level: server.level(), ids }
    }

    fn take(&self) {
        self.test();
        self.first_sync();
        self.sync_of_the_rest();
        self.verify();
        let known: BTreeSet<OsString> = self.ids.keys().cloned().collect();
        assert_eq!(files_in(&self.nas.share), known, "{}", self.shown);
    }

    /// The test of the connection tells the level, and leaves nothing behind.
    fn test(&self) {
        let object = self.run("test --json", 0).json();
        assert_eq!(object["level"], self.level.as_str(), "{}: {object}", self.shown);
        assert_eq!(files_in(&self.nas.share), BTreeSet::new(), "{}", self.shown);
    }

    /// All are synced but the two that cannot be.
    fn first_sync(&self) {
        let run = self.run("sync --json", 1);
        let object = run.json();
        let count = self.ids.len() - 2;
        assert_eq!((&object["synced"], &object["failed"]), (&json!(count), &json!(2)), "{}: {}", self.shown, run.all());
        let mut causes: Vec<(i64, &str)> = object["failures"].as_array().unwrap().iter().map(cause).collect();
        causes.sort_unstable();
        let expected = [(self.id(GONE), "source_missing"), (self.id(SHUT), "permission_denied")];
        assert_eq!(causes, expected, "{}: {}", self.shown, run.all());
        self.check_copies(&[GONE, SHUT], self.level);
    }

    /// What was in the way is not any more; and a document that was altered in its middle goes as a delta.
    fn sync_of_the_rest(&self) {
        fs::write(self.source(GONE), b"back again").unwrap();
        set_mode(&self.nas.share, "shut", 0o777);
        let mut content = fs::read(self.source(BOOK)).unwrap();
        content[BOOK_LEN / 2] ^= 0xff;
        fs::write(self.source(BOOK), content).unwrap();
        let sql = "UPDATE documents SET synced_to_nas = 0, synced_at = NULL WHERE id = ?1";
        self.nas.site.database().execute(sql, [self.id(BOOK)]).unwrap();
        self.run("retry", 0);
        let run = self.run("sync --json", 0);
        assert_eq!(run.json()["synced"], 3, "{}: {}", self.shown, run.all());
        let sent = run.json()["bytes_sent"].as_u64().unwrap();
        assert!(sent < BOOK_LEN as u64 / 10, "{}: {sent} bytes for an altered one: {}", self.shown, run.all());
        self.check_copies(&[], self.level);
    }

    /// A copy that was altered and one that was removed are told, and go again.
    fn verify(&self) {
        let all = json!(self.ids.len());
        assert_eq!(self.run("verify --json", 0).json()["equal"], all, "{}", self.shown);
        let (altered, removed) = (self.nas.share.join(BOOK), self.nas.share.join(word(NAMES[4])));
        let time = fs::metadata(&altered).unwrap().modified().unwrap();
        let mut content = fs::read(&altered).unwrap();
        content[BOOK_LEN / 3] ^= 0xff;
        fs::write(&altered, content).unwrap();
        fs::File::options().write(true).open(&altered).unwrap().set_modified(time).unwrap();
        fs::remove_file(removed).unwrap();
        let run = self.run("verify --json --requeue", 1);
        let object = run.json();
        let told = (&object["differing"], &object["missing"], &object["requeued"]);
        let removed = self.ids[&word(NAMES[4])];
        let expected = (&json!([self.id(BOOK)]), &json!([removed]), &json!(2));
        assert_eq!(told, expected, "{}: {}", self.shown, run.all());
        assert_eq!(self.run("sync --json", 0).json()["synced"], 2, "{}", self.shown);
        assert_eq!(self.run("verify --json", 0).json()["equal"], all, "{}", self.shown);
        // What was to last and was read back has both.
        self.check_copies(&[], if self.level == Level::Durable { Level::Verified } else { self.level });
    }

    /// Each document but these is on the NAS with the bytes of its file, and recorded at this level.
    #[track_caller]
    fn check_copies(&self, except: &[&str], level: Level) {
        let except: BTreeSet<i64> = except.iter().map(|name| self.id(name)).collect();
        let (database, sql) =
            (self.nas.site.database(), "SELECT document_id, level FROM nas_sync_documents WHERE level IS NOT NULL");
        let mut statement = database.prepare(sql).unwrap();
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
        let recorded: BTreeMap<i64, String> = rows.collect::<Result<_, _>>().unwrap();
        for (name, id) in self.ids.iter().filter(|(_, id)| !except.contains(id)) {
            let there = fs::read(self.nas.share.join(name)).ok();
            assert!(
                there == fs::read(self.source(name)).ok(),
                "{}: {} is not what was sent",
                self.shown,
                name.display()
            );
            assert_eq!(
                recorded.get(id).map(String::as_str),
                Some(level.as_str()),
                "{}: {}",
                self.shown,
                name.display()
            );
        }
        assert_eq!(recorded.len(), self.ids.len() - except.len(), "{}", self.shown);
    }

    #[track_caller]
    fn run(&self, line: &str, code: i32) -> Run {
        let run = self.cli.line(line);
        assert_eq!(run.code, Some(code), "{}: {}", self.shown, run.all());
        run
    }

    fn id(&self, name: &str) -> i64 {
        self.ids[Path::new(name).as_os_str()]
    }

    fn source(&self, name: impl AsRef<Path>) -> PathBuf {
        self.nas.site.path("uploads").join(name)
    }
}

fn cause(failure: &Value) -> (i64, &str) {
    (failure["id"].as_i64().unwrap_or_default(), failure["error"]["kind"].as_str().unwrap_or_default())
}

fn upload(nas: &Nas, name: OsString, len: usize) -> OsString {
    let path = nas.site.path("uploads").join(&name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, noise(len, len as u64 + u64::from(name.as_bytes()[0]))).unwrap();
    name
}

/// Makes a folder of the NAS where it is not there yet, and gives it this mode. It is nobody's of the NAS user.
fn set_mode(share: &Path, name: &str, mode: u32) {
    fs::create_dir_all(share.join(name)).unwrap();
    fs::set_permissions(share.join(name), fs::Permissions::from_mode(mode)).unwrap();
}

/// The files below a folder.
fn files_in(folder: &Path) -> BTreeSet<OsString> {
    let mut files = BTreeSet::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).unwrap().map(Result::unwrap) {
            if entry.file_type().unwrap().is_dir() {
                folders.push(entry.path());
            } else {
                files.insert(entry.path().strip_prefix(folder).unwrap().into());
            }
        }
    }
    files
}
