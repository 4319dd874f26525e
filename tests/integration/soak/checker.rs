//! What must be so at any moment, and at the end.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rusqlite::Connection;

use super::{EndOfAll, Soak, lock};

pub fn run(soak: &Soak) {
    let _end = EndOfAll(soak);
    let database = soak.database();
    while !soak.is_over() {
        soak.rest(Duration::from_secs(3));
        check(soak, &database);
        soak.count("checks of everything");
    }
}

/// The rows that are marked: where each is on the NAS.
fn marked(soak: &Soak, database: &Connection) -> BTreeMap<i64, PathBuf> {
    let sql = "SELECT d.id, s.remote_name FROM documents d LEFT JOIN nas_sync_documents s ON s.document_id = d.id
               WHERE d.synced_to_nas IS NOT 0 OR d.synced_at IS NOT NULL";
    let mut statement = database.prepare(sql).unwrap();
    let rows = statement.query_map([], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, Option<Vec<u8>>>(1)?))).unwrap();
    rows.map(|row| {
        let (id, name) = row.unwrap();
        let Some(name) = name else {
            soak.fail(&format!("row {id} "), &format!("row {id} is marked without a record"))
        };
        (id, soak.nas.join(String::from_utf8(name).unwrap()))
    })
    .collect()
}

fn check(soak: &Soak, database: &Connection) {
    let known: BTreeSet<i64> = lock(&soak.files).all.iter().flat_map(|item| item.ids.clone()).collect();
    let asked = Instant::now();
    let marked = marked(soak, database);
    let sql = "SELECT id FROM documents";
    let rows: BTreeSet<i64> =
        database.prepare(sql).unwrap().query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    assert!(known.is_subset(&rows), "rows were lost");
    let count = lock(&soak.files).all.len();
    for number in 0..count {
        let (ids, content) = {
            let files = lock(&soak.files);
            let item = &files.all[number];
            if item.in_flux || item.touched >= asked {
                continue;
            }
            (item.ids.clone(), item.content())
        };
        for id in ids {
            let Some(there) = marked.get(&id) else { continue };
            let found = fs::read(there).ok();
            let touched = {
                let item = &lock(&soak.files).all[number];
                item.in_flux || item.touched >= asked
            };
            if !touched && found.as_ref() != Some(&content) {
                let of = lock(&soak.files).all[number].path.display().to_string();
                let found = found.map(|found| found.len());
                let sql = "SELECT bytes FROM nas_sync_documents WHERE document_id = ?1";
                let recorded: Option<i64> = database.query_row(sql, [id], |row| row.get(0)).ok();
                soak.fail(
                    &of,
                    &format!(
                        "row {id} ({of}) is marked; the file has {} bytes, recorded are {recorded:?}, on the NAS {found:?}",
                        content.len()
                    ),
                );
            }
            soak.count("marked documents compared");
        }
    }
}

/// Everything is synced, and only rsync's own temporary files are left.
pub fn check_end(soak: &Soak) {
    let database = soak.database();
    let sound: String = database.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(sound, "ok");
    check(soak, &database);
    let marked = marked(soak, &database);
    let rows: usize = lock(&soak.files).all.iter().map(|item| item.ids.len()).sum();
    assert_eq!(marked.len(), rows, "not all rows are marked, or there are others");
    let known: BTreeSet<PathBuf> = marked.into_values().collect();
    let mut temporary = 0;
    let mut folders = vec![soak.nas.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let entry = entry.unwrap();
            let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
            if entry.file_type().unwrap().is_dir() {
                folders.push(path);
            } else if !known.contains(&path) {
                let in_partial = folder.ends_with(".rsync-partial");
                assert!(in_partial || name.starts_with('.'), "{} was left on the NAS", path.display());
                temporary += 1;
            }
        }
    }
    soak.add("documents: rows, all synced in the end", rows as u64);
    soak.add("temporary files of rsync left on the NAS", temporary);
}
