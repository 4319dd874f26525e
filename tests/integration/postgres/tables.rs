//! Tables of somebody else's: their ids, times, names and rights.

use serde_json::{Value, json};

use super::site;
use crate::support::{Cli, Postgres, Site};

/// A table as a backend may have it, in a database of its own making.
fn table(server: &Postgres, name: &str, id: &str, user: &str, time: &str) {
    server.sql(&format!(
        "CREATE TABLE {name} (id {id} PRIMARY KEY, user_id {user} NOT NULL, file_path varchar(500) NOT NULL,
             synced_to_nas boolean DEFAULT FALSE, synced_at {time}, date {time}, created_at {time})"
    ));
}

/// Registers a file as the backend does, and gives the id of its row.
fn insert(server: &Postgres, site: &Site, table: &str, columns: &str, values: &str, file: &str) -> String {
    let path = site.upload(file, file.as_bytes());
    server.sql(&format!(
        "INSERT INTO {table} (file_path, {columns}) VALUES ('{}', {values}) RETURNING id",
        path.display()
    ))
}

#[test]
fn ids_may_be_numbers_uuids_or_text() {
    let Some(server) = Postgres::start() else { return };
    let mut site = site(&server);
    let uuid = "'0B5C1A9E-0000-4000-8000-00000000000A'::uuid";
    for (number, (kind, user_kind, ids, user)) in [
        ("integer", "integer", ["1", "2", "3"], "7"),
        ("bigint", "bigint", ["9007199254740993", "2", "3"], "9007199254740993"),
        ("smallint", "smallint", ["1", "2", "3"], "7"),
        ("uuid", "uuid", [uuid, "gen_random_uuid()", "gen_random_uuid()"], uuid),
        ("text", "varchar(20)", ["'42'", "'a b''c'", "'é'"], "'seven'"),
        ("varchar(36)", "text", ["'x-1'", "'x-2'", "'X-1'"], "'7'"),
    ]
    .into_iter()
    .enumerate()
    {
        let schema = format!("s{number}");
        server.sql(&format!("CREATE SCHEMA {schema}"));
        let name = format!("{schema}.documents");
        table(&server, &name, kind, user_kind, "timestamp");
        site.set("NAS_TABLE", name.clone());
        site.set("NAS_LAYOUT", format!("{schema}/{{name}}"));
        std::fs::create_dir(site.path("nas").join(&schema)).unwrap();
        let cli = Cli::new(&site);
        let files = ["one", "two", "three"].map(|file| format!("{schema}{file}"));
        let ids: Vec<_> = ids
            .iter()
            .zip(&files)
            .map(|(id, file)| insert(&server, &site, &name, "id, user_id", &format!("{id}, {user}"), file))
            .collect();
        let shown_user = server.sql(&format!("SELECT DISTINCT user_id FROM {name}"));
        // Just one, in whatever way its UUID is written; then those of a user; then what is not there.
        let one = cli.run(&["sync", "--json", "--document", &ids[0].to_uppercase().replace("X-1", "x-1")]);
        assert_eq!(one.ends(0).json()["synced"], 1, "{kind}: {}", one.all());
        assert_eq!(server.sql(&format!("SELECT id FROM {name} WHERE synced_to_nas")), ids[0], "{kind}");
        let status = cli.run(&["status", "--json", "--user", &shown_user]);
        assert_eq!(status.ends(0).json()["pending"], 2, "{kind}: {}", status.all());
        let rest = cli.run(&["sync", "--json", "--user", &shown_user]);
        assert_eq!(rest.ends(0).json()["synced"], 2, "{kind}: {}", rest.all());
        let none = cli.run(&["sync", "--json", "--document", "nobody's", "--document", "99999999999999999"]);
        assert_eq!(none.ends(1).json()["failed"], 2, "{kind}: {}", none.all());
        assert!(none.stdout.contains("there is no document with the id"), "{kind}: {}", none.all());
        let verify = cli.run(&["verify", "--json"]);
        assert_eq!(verify.ends(0).json()["equal"], 3, "{kind}: {}", verify.all());
        for file in &files {
            assert_eq!(site.stored(&format!("{schema}/{file}")).as_deref(), Some(file.as_bytes()), "{kind}");
        }
    }
}

#[test]
fn whoever_comes_while_the_tables_are_made_finds_all_of_them_or_none() {
    let Some(server) = Postgres::start() else { return };
    let site = site(&server);
    let cli = Cli::new(&site);
    for _ in 0..10 {
        server.sql("DROP SCHEMA public CASCADE; CREATE SCHEMA public");
        table(&server, "documents", "bigint", "bigint", "timestamp");
        let running: Vec<_> = (0..8).map(|number| cli.start(&[["retry", "status"][number % 2]])).collect();
        for run in running {
            run.wait().ends(0);
        }
    }
}

#[test]
fn times_are_read_and_written_in_utc_whatever_the_zone() {
    let Some(server) = Postgres::with("timezone = 'Asia/Kathmandu'\ndatestyle = 'SQL, DMY'\n", "") else { return };
    let mut site = site(&server);
    site.set("NAS_LAYOUT", "{year}-{month}-{day}_{name}");
    for (kind, given) in [("timestamptz", "'2024-01-15 02:00:00+05:45'"), ("timestamp", "'2024-01-14 20:15:00'")] {
        server.sql("DROP SCHEMA public CASCADE; CREATE SCHEMA public");
        table(&server, "documents", "bigint", "bigint", kind);
        insert(&server, &site, "documents", "id, user_id, created_at", &format!("1, 1, {given}"), kind);
        let run = Cli::new(&site).line("sync --json");
        assert_eq!(run.ends(0).json()["synced"], 1, "{}", run.all());
        assert!(site.stored(&format!("2024-01-14_{kind}")).is_some(), "{kind}: {:?}", site.stored_names());
        let age = match kind {
            "timestamp" => "SELECT extract(epoch FROM (now() AT TIME ZONE 'UTC') - synced_at)::int FROM documents",
            _ => "SELECT extract(epoch FROM now() - synced_at)::int FROM documents",
        };
        assert!((0..60).contains(&server.number(age)), "{kind}");
        let last = Cli::new(&site).line("status --json").json()["last_sync"].as_str().unwrap().to_owned();
        let shown = server.sql("SELECT to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24')");
        let minute = server.number("SELECT extract(minute FROM now() AT TIME ZONE 'UTC')::int");
        assert!(last.starts_with(&shown) || minute == 0, "{kind}: {last}, {shown}");
    }
}

#[test]
fn names_of_tables_and_schemas_may_be_odd() {
    let Some(server) = Postgres::start() else { return };
    let mut site = site(&server);
    server.sql("CREATE SCHEMA \"My \"\"App\"");
    table(&server, "\"My \"\"App\".\"Odd Name\"", "integer", "integer", "timestamptz");
    insert(&server, &site, "\"My \"\"App\".\"Odd Name\"", "id, user_id", "1, 1", "a.pdf");
    site.set("NAS_TABLE", "\"My \"\"App\".\"Odd Name\"");
    let run = Cli::new(&site).line("sync --json");
    assert_eq!(run.ends(0).json()["synced"], 1, "{}", run.all());
    let own = "SELECT count(*) FROM pg_tables WHERE schemaname = 'My \"App' AND tablename LIKE 'nas_sync_%'";
    assert_eq!(server.number(own), 8);
    // Its tables remember one table of documents.
    table(&server, "\"My \"\"App\".other", "integer", "integer", "timestamptz");
    site.set("NAS_TABLE", "\"My \"\"App\".other");
    let run = Cli::new(&site).line("status");
    assert!(run.ends(4).stderr.contains("are about the table"), "{}", run.all());
    // A new one is made where it is asked for.
    server.sql("CREATE SCHEMA fresh");
    site.set("NAS_TABLE", "fresh.papers");
    let cli = Cli::new(&site);
    assert_eq!(cli.add(1, &[site.upload("b.pdf", b"b")]), [1]);
    assert_eq!(cli.line("sync --json").ends(0).json()["synced"], 1);
    assert_eq!(server.sql("SELECT synced_to_nas FROM fresh.papers"), "t");
    site.set("NAS_TABLE", "absent.papers");
    let run = Cli::new(&site).run(&["add", "--user", "1", site.path("uploads/b.pdf").to_str().unwrap()]);
    assert!(run.ends(4).stderr.contains("has no schema"), "{}", run.all());
}

#[test]
fn a_table_that_is_not_good_enough_is_refused_by_name_and_left_alone() {
    let Some(server) = Postgres::start() else { return };
    let site = site(&server);
    let cli = Cli::new(&site);
    let good = "id integer PRIMARY KEY, user_id integer, file_path text, synced_to_nas boolean, synced_at timestamp";
    for (columns, words) in [
        (good.replace(", synced_at timestamp", ""), "lacks synced_at"),
        (good.replace("synced_to_nas boolean", "synced_to_nas text"), "synced_to_nas of its table"),
        (good.replace("synced_at timestamp", "synced_at date"), "synced_at of its table"),
        (good.replace("id integer PRIMARY KEY", "id numeric PRIMARY KEY"), "must be a whole number, a UUID or text"),
    ] {
        server.sql(&format!("DROP TABLE IF EXISTS documents; CREATE TABLE documents ({columns})"));
        for command in ["sync", "status"] {
            let run = cli.line(command);
            assert!(run.ends(4).stderr.contains(words), "{}", run.all());
        }
        assert_eq!(server.number("SELECT count(*) FROM pg_tables WHERE tablename LIKE 'nas_sync_%'"), 0);
    }
    server
        .sql(&format!("DROP TABLE documents; CREATE TABLE base ({good}); CREATE VIEW documents AS SELECT * FROM base"));
    let run = cli.line("sync");
    assert!(run.ends(4).stderr.contains("is a view"), "{}", run.all());
}

#[test]
fn tables_of_an_older_version_become_the_newest_and_newer_ones_are_refused() {
    let Some(server) = Postgres::start() else { return };
    let site = site(&server);
    let cli = Cli::new(&site);
    cli.add(1, &[site.upload("a.pdf", b"a")]);
    let version = "SELECT value::int FROM nas_sync_meta WHERE key = 'schema_version'";
    let newest = server.number(version);
    server.sql(
        "ALTER TABLE nas_sync_attempts DROP COLUMN durable_by; ALTER TABLE nas_sync_documents DROP COLUMN added_as;
         UPDATE nas_sync_meta SET value = 2 WHERE key = 'schema_version'",
    );
    assert_eq!(cli.line("sync --json").ends(0).json()["synced"], 1);
    assert_eq!(server.number(version), newest);
    assert_eq!(server.number("SELECT count(*) FROM nas_sync_attempts WHERE durable_by IS NOT NULL"), 1);
    server.sql("UPDATE nas_sync_meta SET value = '99' WHERE key = 'schema_version'");
    let run = cli.line("status");
    assert!(run.ends(4).stderr.contains("of version 99"), "{}", run.all());
}

#[test]
fn rows_that_make_no_sense_cost_no_others() {
    let Some(server) = Postgres::start() else { return };
    let site = site(&server);
    server.sql("CREATE TABLE documents (id integer, user_id integer, file_path text, synced_to_nas boolean, synced_at timestamp)");
    insert(&server, &site, "documents", "id, user_id", "1, 1", "good");
    server.sql(
        "INSERT INTO documents (id, user_id, file_path) VALUES (NULL, 1, 'a'), (2, NULL, 'b'), (3, 1, NULL), (4, 1, ''), (5, 1, '/x')",
    );
    let run = Cli::new(&site).line("sync --json");
    let report = run.ends(1).json();
    assert_eq!((&report["synced"], &report["failed"]), (&json!(1), &json!(5)), "{}", run.all());
    let queue = Cli::new(&site).line("status --json").json();
    assert_eq!(queue["pending"], Value::from(5), "{queue}");
}

#[test]
fn a_role_needs_few_rights_and_is_told_which() {
    let Some(server) = Postgres::start() else { return };
    let mut site = site(&server);
    table(&server, "documents", "integer", "integer", "timestamp");
    insert(&server, &site, "documents", "id, user_id", "1, 1", "a.pdf");
    server.sql("CREATE ROLE \"nas-sync\" LOGIN; REVOKE ALL ON SCHEMA public FROM PUBLIC");
    site.set("NAS_DB", server.url("nas-sync"));
    let cli = Cli::new(&site);
    // Nothing at all, then each right that is named.
    let granted = |words: &str| {
        let run = cli.line("sync --json");
        let error = run.ends(4).json();
        let solution = error["error"]["solution"].as_str().unwrap_or_default().to_owned();
        assert!(solution.contains(words), "{}", run.all());
        let grants = solution
            .split_once("Let the owner run: ")
            .unwrap()
            .1
            .split(';')
            .take_while(|sql| sql.trim().starts_with("GRANT"));
        for grant in grants {
            server.sql(grant);
        }
    };
    server.sql("GRANT USAGE ON SCHEMA public TO \"nas-sync\"");
    granted("GRANT SELECT, UPDATE (synced_to_nas, synced_at) ON \"public\".\"documents\" TO \"nas-sync\"");
    granted("GRANT USAGE, CREATE ON SCHEMA \"public\" TO \"nas-sync\"");
    assert_eq!(cli.line("sync --json").ends(0).json()["synced"], 1);
    server.sql("REVOKE CREATE ON SCHEMA public FROM \"nas-sync\"");
    insert(&server, &site, "documents", "id, user_id", "2, 1", "b.pdf");
    for command in ["sync --json", "status --json", "verify --json", "retry --json", "watch --once --json"] {
        let run = cli.line(command);
        run.ends(0);
    }
    // What only the owner may do.
    let index = cli.line("index --json");
    let solution = index.ends(4).json()["error"]["solution"].as_str().unwrap().to_owned();
    assert!(solution.contains("CREATE INDEX CONCURRENTLY nas_sync_pending ON"), "{}", index.all());
    server.sql(solution.split_once("run: ").unwrap().1);
    assert_eq!(cli.line("index --json").ends(0).json()["created"], false);
    let add = cli.run(&["add", "--user", "1", site.upload("another.pdf", b"another").to_str().unwrap()]);
    assert!(add.ends(4).stderr.contains("permission denied for table documents"), "{}", add.all());
}

#[test]
fn what_a_document_needs_is_remembered_also_in_tables_that_an_older_version_made() {
    let Some(server) = Postgres::start() else { return };
    let mut site = site(&server);
    site.set("NAS_LAYOUT", "{type}/{name}");
    table(&server, "documents", "bigint", "bigint", "timestamp");
    insert(&server, &site, "documents", "id, user_id", "1, 1", "of no type.pdf");
    let cli = Cli::new(&site);
    cli.line("sync").ends(1);
    let solutions = || {
        let listed = cli.line("list --json").ends(0).json()["documents"][0]["error"]["solution"].clone();
        let status = cli.line("status --json").ends(0).json()["failures"][0]["solution"].clone();
        assert_eq!(listed, status);
        listed.as_str().unwrap().to_owned()
    };
    let own = solutions();
    assert!(own.contains("Fill one of them in the database"), "{own}");
    assert!(cli.line("status").ends(0).stdout.contains(&own) && cli.line("list").ends(0).stdout.contains(&own));
    server.sql(
        "ALTER TABLE nas_sync_documents DROP COLUMN last_error_solution;
         ALTER TABLE nas_sync_attempts DROP COLUMN durable_by;
         ALTER TABLE nas_sync_documents DROP COLUMN added_as;
         ALTER TABLE nas_sync_targets DROP COLUMN pause_solution;
         UPDATE nas_sync_meta SET value = '1' WHERE key = 'schema_version'",
    );
    let run = cli.line("sync");
    assert!(run.ends(0).stderr.contains("failed for good"), "{}", run.all());
    assert!(solutions().contains("Rename the file"), "it was not written down then: {}", solutions());
    assert_eq!(server.sql("SELECT value FROM nas_sync_meta WHERE key = 'schema_version'"), "4");
    cli.line("retry").ends(0);
    cli.line("sync").ends(1);
    assert_eq!(solutions(), own);
}

#[test]
fn tables_of_an_older_version_are_brought_up_to_date_by_what_may_write() {
    let Some(server) = Postgres::start() else { return };
    let site = site(&server);
    let cli = Cli::new(&site);
    assert_eq!(cli.add(1, &[site.upload("a.pdf", b"a")]), [1]);
    server.sql("ALTER TABLE nas_sync_documents DROP COLUMN added_as; UPDATE nas_sync_meta SET value = '3' WHERE key = 'schema_version'");
    let status = cli.line("status");
    assert!(status.ends(4).stderr.contains("old version 3"), "{}", status.all());
    cli.line("sync").ends(0);
    cli.line("status").ends(0);
    // What was added before is not known to be ours; what is added from now on is.
    cli.line("remove --document 1").ends(2);
    assert_eq!(cli.add(1, &[site.upload("b.pdf", b"b")]), [2]);
    cli.line("remove --document 2").ends(0);
}
