//! `doctor`: what it finds in settings, database and folder, and that it changes nothing.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::SystemTime;

use rusqlite::Connection;
use serde_json::Value;

use crate::support::volume::Volume;
use crate::support::{Cli, Postgres, Site, on_lone_network};

/// A check of `doctor --json`; null where it was not made.
fn check<'a>(object: &'a Value, name: &str) -> &'a Value {
    object["checks"].as_array().unwrap().iter().find(|check| check["name"] == name).unwrap_or(&Value::Null)
}

fn is_omitted(object: &Value, name: &str) -> bool {
    object["omitted"].as_array().unwrap().iter().any(|check| check["name"] == name)
}

/// All files below a folder, with what they hold and when that changed.
fn contents(folder: &Path) -> BTreeMap<String, (Vec<u8>, SystemTime)> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(contents(&path));
        } else {
            let changed = fs::metadata(&path).unwrap().modified().unwrap();
            found.insert(path.display().to_string(), (fs::read(&path).unwrap(), changed));
        }
    }
    found
}

#[test]
fn all_is_well_and_nothing_is_changed_anywhere() {
    let mut site = Site::new();
    let path = site.upload("\u{e9}t\u{e9} 1.pdf", b"one");
    site.set("UPLOAD_DIR", site.path("uploads"));
    let cli = Cli::new(&site);
    cli.add(7, &[path]);
    cli.line("sync").ends(0);
    let before = contents(&site.path(""));
    let run = cli.line("doctor --json");
    let object = run.ends(0).json();
    assert_eq!((&object["healthy"], &object["omitted"]), (&true.into(), &Value::Array(Vec::new())), "{object}");
    for check in object["checks"].as_array().unwrap() {
        assert_eq!(check["status"], "ok", "{object}");
        assert!(check.get("solution").is_none() && !check["message"].as_str().unwrap().is_empty(), "{check}");
    }
    let names: Vec<&str> =
        object["checks"].as_array().unwrap().iter().map(|check| check["name"].as_str().unwrap()).collect();
    assert_eq!(names.len(), 30);
    assert_eq!((names[0], names[7], names[29]), ("configuration", "login", "uploads"));
    assert_eq!(check(&object, "case")["message"], "upper and lower case are told apart");
    assert_eq!(check(&object, "composition")["message"], "names are kept byte by byte");
    assert!(check(&object, "level")["message"].as_str().unwrap().ends_with("durable"));

    let run = cli.line("doctor");
    assert!(run.ends(0).stdout.contains("0 problems, 0 warnings\n"), "{}", run.all());
    assert_eq!(cli.line("doctor -q").ends(0).stdout, "");
    assert_eq!(contents(&site.path("")), before);
}

#[test]
fn settings_that_are_missing_or_make_no_sense_are_the_first_thing_that_is_found() {
    let site = Site::new();
    let mut cli = Cli::new(&site);
    cli.unset("NAS_PATH").set("NAS_HOTS", "nas");
    let run = cli.line("doctor --json");
    let object = run.ends(2).json();
    assert_eq!(check(&object, "configuration")["error"]["kind"], "not_configured", "{object}");
    assert!(check(&object, "environment")["message"].as_str().unwrap().contains("the nearest is NAS_HOST"), "{object}");
    // What needs no folder is looked at all the same.
    assert_eq!(
        (&check(&object, "exec")["status"], &check(&object, "database")["status"]),
        (&"ok".into(), &"warning".into())
    );
    assert!(is_omitted(&object, "folder") && is_omitted(&object, "level") && is_omitted(&object, "schema"), "{object}");
    assert!(!site.path("documents.db").exists());
    cli.set("NAS_PORT", "0");
    let object = cli.line("doctor --json").ends(2).json();
    assert_eq!(check(&object, "configuration")["error"]["kind"], "usage", "{object}");
    assert_eq!(object["checks"].as_array().unwrap().len(), 2, "{object}");
    let run = cli.line("doctor");
    assert!(run.ends(2).stdout.contains("28 checks not made"), "{}", run.all());
}

#[test]
fn a_layout_that_makes_no_sense_is_named_once_and_a_program_that_is_not_there_too() {
    let site = Site::new();
    let mut cli = Cli::new(&site);
    cli.set("NAS_LAYOUT", "{foo}").set("NAS_ON_FAILURE", site.path("nowhere"));
    let object = cli.line("doctor --json").ends(2).json();
    let checks = object["checks"].as_array().unwrap();
    let problems: Vec<_> = checks.iter().filter(|check| check["status"] == "problem").collect();
    assert!(problems.len() == 1 && problems[0]["name"] == "configuration", "{object}");
    assert_eq!(check(&object, "level")["status"], "ok", "the NAS is looked at all the same: {object}");
    assert!(check(&object, "environment")["message"].as_str().unwrap().starts_with("NAS_ON_FAILURE is "), "{object}");
}

#[test]
fn a_key_that_cannot_be_used_hides_nothing_of_the_way_to_the_nas() {
    let site = Site::new();
    let mut cli = Cli::new(&site);
    cli.set("NAS_KEY_FILE", site.path("none"));
    let object = cli.line("doctor --json").ends(2).json();
    for name in ["name", "tcp", "ssh", "host_key"] {
        assert_eq!(check(&object, name)["status"], "ok", "{name}: {object}");
    }
    assert_eq!(check(&object, "key")["error"]["kind"], "key_unusable", "{object}");
    assert!(is_omitted(&object, "login"), "{object}");
    cli.set("NAS_KNOWN_HOSTS", site.path("none"));
    let object = cli.line("doctor --json").ends(3).json();
    assert_eq!(check(&object, "host_key")["error"]["kind"], "host_key_unknown", "{object}");
    assert_eq!(check(&object, "ssh")["status"], "ok", "{object}");
}

#[test]
fn a_shell_that_talks_is_named_with_what_it_says() {
    let site = Site::new();
    let cli = Cli::new(&site);
    let key = fs::read_to_string(site.sshd.path("authorized_keys")).unwrap();
    let talks = site.path("talks");
    crate::support::cli::write_program(
        &talks,
        "#!/bin/sh\necho 'Welcome \u{1b}[31mhome'\nexec sh -c \"$SSH_ORIGINAL_COMMAND\"\n",
    );
    fs::write(site.sshd.path("authorized_keys"), format!("command=\"{}\" {key}", talks.display())).unwrap();
    let run = cli.line("doctor --json");
    let object = run.ends(3).json();
    assert_eq!(check(&object, "shell")["error"]["kind"], "stray_output", "{object}");
    assert!(object.to_string().contains("Welcome"), "{object}");
    fs::write(site.sshd.path("authorized_keys"), key).unwrap();
    cli.line("doctor --json").ends(0);
}

#[test]
fn a_database_that_is_held_old_or_no_database_is_named() {
    let site = Site::new();
    let cli = Cli::new(&site);
    cli.add(7, &[site.upload("a", b"a")]);
    let database = Connection::open(site.path("documents.db")).unwrap();
    database.execute_batch("BEGIN IMMEDIATE").unwrap();
    let object = cli.line("doctor --json").ends(4).json();
    assert_eq!(check(&object, "locks")["error"]["kind"], "database_locked", "{object}");
    assert_eq!(check(&object, "level")["status"], "ok", "the NAS is looked at all the same: {object}");
    database
        .execute_batch(
            "ROLLBACK; PRAGMA journal_mode = DELETE; UPDATE nas_sync_meta SET value = 2 WHERE key = 'schema_version'",
        )
        .unwrap();
    drop(database);
    let object = cli.line("doctor --json").ends(0).json();
    for name in ["schema", "journal"] {
        assert_eq!(check(&object, name)["status"], "warning", "{name}: {object}");
    }
    fs::write(site.path("documents.db"), "something else, of some length").unwrap();
    let object = cli.line("doctor --json").ends(4).json();
    assert_eq!(check(&object, "database")["error"]["kind"], "database_unusable", "{object}");
    fs::remove_file(site.path("documents.db")).unwrap();
    let object = cli.line("doctor --json").ends(0).json();
    assert_eq!(check(&object, "database")["status"], "warning", "{object}");
    assert!(!site.path("documents.db").exists());
}

#[test]
fn documents_in_postgresql_are_looked_at_and_nothing_is_made_there() {
    let Some(postgres) = Postgres::start() else { return };
    let mut site = Site::new();
    site.set("NAS_DB", postgres.url("postgres"));
    let cli = Cli::new(&site);
    let object = cli.line("doctor --json").ends(4).json();
    assert_eq!(check(&object, "database")["error"]["kind"], "database_unusable", "{object}");
    assert_eq!(
        postgres.number("SELECT count(*) FROM pg_class WHERE relname LIKE 'nas_sync_%' OR relname = 'documents'"),
        0
    );
    cli.add(7, &[site.upload("a", b"a")]);
    let object = cli.line("doctor --json").ends(0).json();
    for name in ["database", "schema", "index", "locks"] {
        assert_eq!(check(&object, name)["status"], "ok", "{name}: {object}");
    }
    assert!(check(&object, "database")["message"].as_str().unwrap().contains("PostgreSQL"), "{object}");
}

#[test]
fn a_folder_that_takes_two_names_for_one_is_named() {
    let Some(volume) = Volume::caseless(16) else { return };
    let mut site = Site::new();
    site.set("NAS_PATH", volume.path());
    let cli = Cli::new(&site);
    let object = cli.line("doctor --json").ends(0).json();
    assert!(is_omitted(&object, "case"), "nothing lies there yet: {object}");
    fs::write(volume.path().join("Scan.pdf"), "x").unwrap();
    let object = cli.line("doctor --json").ends(0).json();
    assert_eq!(check(&object, "case")["status"], "warning", "{object}");
    assert!(check(&object, "case")["solution"].as_str().unwrap().contains("{id}"), "{object}");
    assert_eq!(fs::read_dir(volume.path()).unwrap().count(), 1);
}

#[test]
fn an_upload_folder_that_is_empty_or_closed_is_named() {
    let mut site = Site::new();
    site.set("UPLOAD_DIR", site.path("uploads"));
    let cli = Cli::new(&site);
    let object = cli.line("doctor --json").ends(0).json();
    assert!(check(&object, "uploads")["solution"].as_str().unwrap().contains("not mounted"), "{object}");
    fs::remove_dir(site.path("uploads")).unwrap();
    let object = cli.line("doctor --json").ends(2).json();
    assert_eq!(check(&object, "uploads")["error"]["kind"], "usage", "{object}");
    fs::create_dir(site.path("uploads")).unwrap();
    fs::set_permissions(site.path("uploads"), fs::Permissions::from_mode(0o755)).unwrap();
    cli.line("doctor --json").ends(0);
}

#[test]
fn a_name_that_only_the_machines_of_the_network_know_is_found() {
    let site = Site::new();
    let mut cli = Cli::new(&site);
    cli.set("NAS_KNOWN_HOSTS", site.path("known"));
    for (host, code) in [("NAS-of-the-test.local", 0), ("nobody-of-the-test.local", 3)] {
        let Some(mut command) = on_lone_network(&site) else { return };
        let program = cli.command(&["doctor", "--json", "--accept-new-host-key", "--nas-host", host]);
        command.arg(program.get_program()).args(program.get_args()).env_clear().envs(&cli.variables);
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let object: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {said}"));
        assert_eq!(output.status.code(), Some(code), "{object}");
        let name = check(&object, "name");
        if code == 0 {
            assert_eq!(name["message"], "127.0.0.1", "{object}");
            assert_eq!(check(&object, "level")["status"], "ok", "{object}");
        } else {
            assert_eq!(name["error"]["kind"], "name_not_resolved", "{object}");
        }
    }
}
