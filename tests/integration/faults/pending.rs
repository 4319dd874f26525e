//! Documents of a site whose contents are known, and the promises about them, looked at from outside.

use std::fs;
use std::path::PathBuf;

use serde_json::Value;

use crate::support::cli::Run;
use crate::support::{Cli, Site};

/// The content of a document.
enum Content {
    Bytes(Vec<u8>),
    /// So many; too many to hold.
    Zeros(u64),
}

struct File {
    id: i64,
    name: String,
    content: Content,
}

/// Documents that were registered one after the other.
#[derive(Default)]
pub struct Files(Vec<File>);

impl Files {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// One more document.
    pub fn add(&mut self, site: &Site, name: &str, content: Vec<u8>) {
        let path = site.upload(name, &content);
        self.register(site, name, path, Content::Bytes(content));
    }

    /// One more document, of zeros that take no room here.
    pub fn add_zeros(&mut self, site: &Site, name: &str, len: u64) {
        let path = site.upload(name, b"");
        fs::File::options().write(true).open(&path).unwrap().set_len(len).unwrap();
        self.register(site, name, path, Content::Zeros(len));
    }

    /// Many more documents, registered together.
    pub fn add_all(&mut self, site: &Site, files: impl Iterator<Item = (String, Vec<u8>)>) {
        let files: Vec<_> = files.collect();
        let paths: Vec<_> = files.iter().map(|(name, content)| site.upload(name, content)).collect();
        let ids = Cli::new(site).add(1, &paths);
        let file = |((name, content), id)| File { id, name, content: Content::Bytes(content) };
        self.0.extend(files.into_iter().zip(ids).map(file));
    }

    fn register(&mut self, site: &Site, name: &str, path: PathBuf, content: Content) {
        let id = Cli::new(site).add(1, &[path])[0];
        self.0.push(File { id, name: name.to_owned(), content });
    }

    /// Syncs what is pending.
    pub fn sync(site: &Site) -> Run {
        Cli::new(site).line("sync --json")
    }

    /// Syncs those that are not marked, by name: a document that met a fault may have to wait otherwise.
    pub fn sync_left(&self, site: &Site) -> Run {
        let marked = site.marked();
        let left = self.0.iter().filter(|file| !marked.contains(&(file.id, true))).map(|file| file.id.to_string());
        let words = ["sync", "--json"].map(ToOwned::to_owned).into_iter();
        Cli::new(site).run(&words.chain(left.flat_map(|id| [String::from("--document"), id])).collect::<Vec<_>>())
    }

    /// What must hold after any run of all documents. Returns how many of these are marked.
    #[track_caller]
    pub fn check(&self, site: &Site, run: &Run) -> usize {
        let object = run.json();
        let number = |key: &str| object[key].as_u64().unwrap_or_else(|| panic!("no {key}: {}", run.all()));
        // I5: what was left undone is counted, and the exit status tells of it.
        assert_eq!(number("synced") + number("failed") + number("pending"), number("total"), "{}", run.all());
        assert!(run.code != Some(0) || number("failed") + number("pending") == 0, "{}", run.all());
        assert!(number("pending") == 0 || object["error"]["kind"] != Value::Null, "{}", run.all());
        // I3: rows are conserved, and each mark has its time.
        let marked = site.marked();
        assert!(marked.iter().all(|(_, dated)| *dated), "{marked:?}");
        assert_eq!(self.count(site), self.len());
        // I6: beside documents there are rsync's own files at most.
        for name in site.stored_names().iter().filter(|name| !site.path("uploads").join(name).exists()) {
            let temporary = name.strip_prefix('.').and_then(|name| name.rsplit_once('.'));
            let of =
                temporary.is_some_and(|(name, drawn)| drawn.len() == 6 && site.path("uploads").join(name).exists());
            assert!(of || name == ".rsync-partial" || name == "lost+found", "{name} lies on the NAS");
        }
        // I1: what is marked is there.
        self.check_those(site, |id| marked.contains(&(id, true)));
        self.0.iter().filter(|file| marked.contains(&(file.id, true))).count()
    }

    /// How many rows they have.
    pub fn count(&self, site: &Site) -> usize {
        let sql = "SELECT count(*) FROM documents WHERE id BETWEEN ?1 AND ?2";
        let (first, last) = (self.0.first().map(|file| file.id), self.0.last().map(|file| file.id));
        let rows: i64 = site.database().query_row(sql, [first, last], |row| row.get(0)).unwrap();
        usize::try_from(rows).unwrap()
    }

    /// Insists that some documents lie on the NAS as they are.
    #[track_caller]
    pub fn check_those(&self, site: &Site, those: impl Fn(i64) -> bool) {
        for File { id, name, content } in self.0.iter().filter(|file| those(file.id)) {
            let there = site.stored(name).unwrap_or_else(|| panic!("document {id}, {name}, is not there"));
            let same = match content {
                Content::Bytes(bytes) => there == *bytes,
                Content::Zeros(len) => there.len() as u64 == *len && there.iter().all(|&byte| byte == 0),
            };
            assert!(same, "document {id}, {name}, differs");
        }
    }

    /// Does the rest, after which all is there.
    #[track_caller]
    pub fn finish(&self, site: &Site) {
        if self.0.iter().any(|file| !site.marked().contains(&(file.id, true))) {
            self.sync_left(site).ends(0);
        }
        let marked = site.marked();
        assert!(self.0.iter().all(|file| marked.contains(&(file.id, true))), "{marked:?}");
        self.check_those(site, |_| true);
    }
}
