//! The application: registers documents, rewrites files and says so, as a program that knows nothing of nas-sync does.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::{EndOfAll, Soak, lock};
use crate::support::noise;
use crate::support::random::Random;

/// Written in place, a file is incomplete for a while.
const LONGEST_WRITE: Duration = Duration::from_millis(400);
/// The most bytes of all documents: they must fit on the NAS beside their successors.
const MOST_BYTES: u64 = 300 << 20;

/// What the application knows of its files.
#[derive(Default)]
pub struct Files {
    pub all: Vec<Item>,
    bytes: u64,
}

/// A file and the rows that name it.
pub struct Item {
    pub path: PathBuf,
    pub ids: Vec<i64>,
    /// Being written: nothing can be said about its documents.
    pub in_flux: bool,
    /// When that was last so.
    pub touched: Instant,
    seed: u64,
    len: usize,
}

impl Item {
    /// What the file holds, when it is not in flux.
    pub fn content(&self) -> Vec<u8> {
        noise(self.len, self.seed)
    }
}

/// How a file gets its new content.
#[derive(Debug, Clone, Copy)]
enum Write {
    InPlace,
    Renamed,
}

pub fn run(soak: &Soak, mut random: Random) {
    let _end = EndOfAll(soak);
    let mut application = Application { soak, database: soak.database() };
    while !soak.is_over() {
        soak.rest(random.time(Duration::from_millis(500)));
        let count = lock(&soak.files).all.len();
        match random.below(10) {
            0..6 if lock(&soak.files).bytes < MOST_BYTES => {
                for _ in 0..=random.below(8) {
                    application.add(&mut random);
                }
            }
            6 if count > 0 => application.register_again(random.index(count), &mut random),
            7..10 if count > 0 => application.rewrite(random.index(count), &mut random),
            _ => {}
        }
    }
}

struct Application<'s> {
    soak: &'s Soak,
    database: rusqlite::Connection,
}

impl Application<'_> {
    fn add(&mut self, random: &mut Random) {
        let len = length(random);
        let seed = random.next();
        let number = lock(&self.soak.files).all.len();
        let path = self.soak.site.upload(&format!("file-{number:05}.pdf"), &noise(len, seed));
        let item = Item { path, ids: Vec::new(), in_flux: true, touched: Instant::now(), seed, len };
        {
            let mut files = lock(&self.soak.files);
            files.all.push(item);
            files.bytes += len as u64;
        }
        self.register(number, random);
        self.soak.count("documents: added");
        self.soak.add("documents: bytes", len as u64);
    }

    fn register_again(&mut self, number: usize, random: &mut Random) {
        self.register(number, random);
        self.soak.count("documents: files registered once more");
    }

    fn register(&mut self, number: usize, random: &mut Random) {
        let path = lock(&self.soak.files).all[number].path.clone();
        let name = path.to_str().expect("a path in UTF-8");
        self.database
            .execute(
                "INSERT INTO documents (user_id, file_path) VALUES (?1, ?2)",
                rusqlite::params![1 + random.below(3).cast_signed(), name],
            )
            .expect("a row");
        let id = self.database.last_insert_rowid();
        let mut files = lock(&self.soak.files);
        let item = &mut files.all[number];
        item.ids.push(id);
        (item.in_flux, item.touched) = (false, Instant::now());
        drop(files);
        self.soak.note("application", format!("row {id} is {}", path.display()));
    }

    fn rewrite(&mut self, number: usize, random: &mut Random) {
        let (seed, len) = (random.next(), length(random));
        let (path, ids) = {
            let mut files = lock(&self.soak.files);
            let item = &mut files.all[number];
            let before = item.len as u64;
            item.in_flux = true;
            (item.seed, item.len) = (seed, len);
            let found = (item.path.clone(), item.ids.clone());
            files.bytes = files.bytes - before + len as u64;
            found
        };
        let write = if random.one_in(2) { Write::InPlace } else { Write::Renamed };
        self.soak
            .note("application", format!("{write:?}: new content of {len} bytes for rows {ids:?}; {}", path.display()));
        let content = noise(len, seed);
        match write {
            Write::Renamed => {
                let beside = path.with_extension("new");
                fs::write(&beside, content).expect("a file");
                fs::rename(beside, &path).expect("renamed");
            }
            Write::InPlace => {
                let (first, second) = content.split_at(len / 2);
                let mut file = File::create(&path).expect("a file");
                file.write_all(first).expect("written");
                std::thread::sleep(random.time(LONGEST_WRITE));
                file.write_all(second).expect("written");
            }
        }
        // Only now: whoever sees the row pending finds the file complete.
        let sql = "UPDATE documents SET synced_to_nas = 0, synced_at = NULL WHERE file_path = ?1";
        self.database.execute(sql, [path.to_str()]).expect("rows");
        let mut files = lock(&self.soak.files);
        let item = &mut files.all[number];
        (item.in_flux, item.touched) = (false, Instant::now());
        drop(files);
        self.soak.note("application", format!("rows {ids:?} are pending again; {}", path.display()));
        self.soak.count("documents: files rewritten");
    }
}

/// Many small ones, some empty, some large.
fn length(random: &mut Random) -> usize {
    match random.below(40) {
        0 => 0,
        1 => random.index(4 << 20),
        2..5 => random.index(500_000),
        _ => random.index(40_000),
    }
}
