//! `serve` over PostgreSQL, in a root folder that holds nothing else: the five routes of the original backend.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::{Cell, NAS};
use crate::api::Place;
use crate::support::{Postgres, until};

/// Killed when the test fails, too.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn the_routes_of_the_backend_answer_in_an_empty_root_over_postgresql() {
    let Some(cell) = Cell::new() else { return };
    let Some(server) = Postgres::start() else { return };
    server.sql(
        "CREATE TABLE documents (id integer PRIMARY KEY, user_id integer NOT NULL, file_path text NOT NULL,
             synced_to_nas boolean NOT NULL DEFAULT FALSE, synced_at timestamp)",
    );
    for name in ["a.pdf", "b.pdf"] {
        fs::write(cell.root.join("uploads").join(name), name).unwrap();
    }
    let register = |id: u32, name: &str| {
        server.sql(&format!("INSERT INTO documents (id, user_id, file_path) VALUES ({id}, 7, '{name}')"));
    };
    register(1, "a.pdf");
    let mut command = cell.command(Command::new("/usr/bin/env"), NAS);
    command.arg("serve").envs([("NAS_API_ADDR", "unix:/data/api"), ("NAS_LAYOUT", "flat")]);
    command.env("NAS_DB", server.tcp("postgres", "")).stderr(Stdio::inherit());
    let _serve = Killed(command.spawn().unwrap());
    let socket = cell.root.join("data/api");
    until("it listens", Duration::from_secs(30), || Place::Socket(socket.clone()).connect().is_ok());
    let ask = |method: &str, path: &str| {
        let request = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        Place::Socket(socket.clone()).exchange(request.as_bytes()).json()
    };

    assert_eq!(ask("GET", "/sync/config")["configured"], true);
    assert_eq!(ask("POST", "/sync/test")["success"], true);
    ask("POST", "/sync/run?user_id=7");
    // By this run, or by one that the loop had begun.
    until("it is synced", Duration::from_secs(30), || ask("GET", "/sync/status?user_id=7")["synced"] == 1);
    register(2, "b.pdf");
    let outcome = ask("POST", "/sync/document/2");
    assert_eq!(outcome["success"], true, "{outcome}");
    let status = ask("GET", "/sync/status?user_id=7");
    assert_eq!((&status["total_documents"], &status["synced"]), (&2.into(), &2.into()), "{status}");
    assert_eq!(server.number("SELECT count(*) FROM documents WHERE synced_to_nas AND synced_at IS NOT NULL"), 2);
    for name in ["a.pdf", "b.pdf"] {
        assert_eq!(cell.site.stored(name), Some(name.as_bytes().to_vec()));
    }
}
