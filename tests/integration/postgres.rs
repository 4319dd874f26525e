//! The documents in PostgreSQL: a real server for each test.

mod faults;
mod login;
mod notify;
mod tables;
mod walk;
mod workers;

use crate::support::{Cli, Postgres, Site};

/// A site whose documents are in a database of a server.
fn site(server: &Postgres) -> Site {
    let mut site = Site::new();
    site.set("NAS_DB", server.url("postgres"));
    site
}

/// Marks without a time, and times without a mark: there are none.
fn half_marked(server: &Postgres) -> i64 {
    server.number("SELECT count(*) FROM documents WHERE synced_to_nas <> (synced_at IS NOT NULL)")
}

/// What holds when everybody is done: each document of `count` was sent once and is there.
fn all_sent_once(site: &Site, server: &Postgres, count: usize) {
    let expected = i64::try_from(count).unwrap();
    assert_eq!(server.number("SELECT count(*) FROM documents WHERE synced_to_nas"), expected);
    assert_eq!(half_marked(server), 0);
    let attempts = "SELECT count(*) FROM nas_sync_attempts WHERE outcome = 'synced'";
    assert_eq!(server.number(attempts), expected, "each was sent once");
    assert_eq!(server.number("SELECT count(*) FROM nas_sync_leases"), 0, "leases are given back");
    all_stored(site, count);
}

/// Each of so many documents is on the NAS as it is here.
fn all_stored(site: &Site, count: usize) {
    let names = site.stored_names();
    assert_eq!(names.len(), count);
    for name in names {
        assert!(site.stored(&name).unwrap() == std::fs::read(site.path("uploads").join(&name)).unwrap(), "{name}");
    }
}

/// Writes and registers small documents.
fn documents(site: &Site, cli: &Cli, count: usize) {
    let paths: Vec<_> = (0..count)
        .map(|number| {
            site.upload(&format!("{number}.pdf"), &crate::support::noise(2_000 + number % 3_000, number as u64))
        })
        .collect();
    for paths in paths.chunks(1_000) {
        cli.add(1, paths);
    }
}
