//! What goes wrong between a worker and its database: no document is lost, none is marked wrongly, each is sent once.

use std::fs;
use std::time::{Duration, Instant};

use super::{all_sent_once, documents, site};
use crate::support::random::long;
use crate::support::severed::{Cut, Severed};
use crate::support::{Cli, Postgres, Site, until};

/// How long something may take to come about.
const LONGEST: Duration = Duration::from_secs(60);
/// An rsync of the NAS that goes on when a test says so: behind the first word of its client, which is said when the documents
/// are about to be sent.
const WAITS_FOR_A_WORD: &str = "dd bs=1 count=4 of=\"$NAS/../word.$$\" 2>/dev/null\ntouch \"$NAS/../began\"\n\
    until [ -e \"$NAS/../go\" ]; do sleep 0.02; done\ncat \"$NAS/../word.$$\" - | rsync \"$@\"";

fn start_again(site: &Site, server: &Postgres) {
    server.sql("UPDATE documents SET synced_to_nas = FALSE, synced_at = NULL; DELETE FROM nas_sync_attempts");
    fs::remove_dir_all(site.path("nas")).unwrap();
    fs::create_dir(site.path("nas")).unwrap();
}

#[test]
fn a_connection_that_is_cut_around_any_commit_costs_nothing() {
    let Some(server) = Postgres::start() else { return };
    let mut site = site(&server);
    documents(&site, &Cli::new(&site), 3);
    for cut in [Cut::BeforeCommit, Cut::BeforeAnswer] {
        for at in 1.. {
            start_again(&site, &server);
            let way = Severed::to(server.port(), cut, at);
            site.set("NAS_DB", format!("postgresql://postgres@127.0.0.1:{}/app?sslmode=disable", way.port()));
            let run = Cli::new(&site).line("sync --json");
            assert_eq!(run.ends(0).json()["synced"], 3, "{cut:?} {at}: {}", run.all());
            all_sent_once(&site, &server, 3);
            let attempts = server.number("SELECT count(*) FROM nas_sync_attempts");
            assert_eq!(attempts, 3, "{cut:?} {at}: what took place was not done again");
            if way.seen() < at {
                println!("{cut:?}: {} commits", at - 1);
                assert!(at > 8, "{cut:?}: too few");
                break;
            }
        }
    }
}

#[test]
fn many_cut_connections_cost_no_worker_its_run() {
    let Some(server) = Postgres::start() else { return };
    let mut site = site(&server);
    site.wrap_rsync("sleep 0.5\nexec rsync \"$@\"");
    let cli = Cli::new(&site);
    let (count, wanted) = if long() { (2_000, 500) } else { (400, 50) };
    documents(&site, &cli, count);
    let mut cuts = 0;
    let mut rounds = 0;
    while cuts < wanted {
        let running: Vec<_> = (0..4).map(|_| cli.start(&["sync", "--json"])).collect();
        let pending = || server.number("SELECT count(*) FROM documents WHERE NOT synced_to_nas") > 0;
        let began = Instant::now();
        while pending() && began.elapsed() < LONGEST {
            cuts += server.cut();
            // A connection lives for a few transactions.
            std::thread::sleep(Duration::from_millis(60));
        }
        let synced: u64 = running.into_iter().map(|run| run.wait().ends(0).json()["synced"].as_u64().unwrap()).sum();
        assert_eq!(synced, count as u64);
        all_sent_once(&site, &server, count);
        rounds += 1;
        start_again(&site, &server);
    }
    println!("{cuts} connections cut in {rounds} rounds of {count} documents");
}

#[test]
fn no_transaction_grows_with_the_batch() {
    let Some(server) = Postgres::start() else { return };
    let site = site(&server);
    let cli = Cli::new(&site);
    documents(&site, &cli, 450);
    server.sql(
        "DELETE FROM nas_sync_names;
         CREATE TABLE log (what text, tx bigint);
         CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
             INSERT INTO log VALUES (TG_TABLE_NAME, txid_current()); RETURN NULL; END $$;
         CREATE TRIGGER note AFTER UPDATE ON documents FOR EACH ROW EXECUTE FUNCTION note();
         CREATE TRIGGER note AFTER INSERT ON nas_sync_leased FOR EACH ROW EXECUTE FUNCTION note();
         CREATE TRIGGER note AFTER INSERT ON nas_sync_names FOR EACH ROW EXECUTE FUNCTION note()",
    );
    let run = cli.line("sync --json");
    assert_eq!(run.ends(0).json()["synced"], 450, "{}", run.all());
    all_sent_once(&site, &server, 450);
    for table in ["documents", "nas_sync_leased", "nas_sync_names"] {
        let each = format!("SELECT count(*) AS rows FROM log WHERE what = '{table}' GROUP BY tx");
        let (sum, most) = (format!("SELECT sum(rows) FROM ({each}) e"), format!("SELECT max(rows) FROM ({each}) e"));
        assert_eq!(server.number(&sum), 450, "{table}");
        assert!(server.number(&most) <= 200, "{table}: {} in one transaction", server.number(&most));
    }
}

#[test]
fn a_server_that_restarts_in_the_middle_is_waited_for() {
    let Some(mut server) = Postgres::start() else { return };
    let mut site = site(&server);
    site.wrap_rsync(WAITS_FOR_A_WORD);
    let cli = Cli::new(&site);
    documents(&site, &cli, 20);
    let mut run = cli.start(&["sync", "--json"]);
    run.until(|| site.path("began").exists());
    server.stop();
    fs::write(site.path("go"), "").unwrap();
    // All of it arrives while there is no database, and is recorded when there is one again.
    until("the documents are stored", LONGEST, || {
        site.stored_names().iter().filter(|name| !name.starts_with('.')).count() == 20
    });
    server.resume();
    let run = run.wait();
    assert_eq!(run.ends(0).json()["synced"], 20, "{}", run.all());
    all_sent_once(&site, &server, 20);
}

#[test]
fn a_server_that_stays_away_ends_the_run_and_loses_nothing() {
    let Some(mut server) = Postgres::start() else { return };
    let mut site = site(&server);
    site.wrap_rsync(WAITS_FOR_A_WORD);
    let cli = Cli::new(&site);
    documents(&site, &cli, 5);
    let mut run = cli.start(&["sync", "--json"]);
    run.until(|| site.path("began").exists());
    server.stop();
    fs::write(site.path("go"), "").unwrap();
    let run = run.wait();
    assert_ne!(run.code, Some(0), "{}", run.all());
    server.resume();
    assert_eq!(server.number("SELECT count(*) FROM documents WHERE synced_to_nas"), 0);
    let again = cli.line("sync --json");
    assert_eq!(again.ends(0).json()["synced"], 5, "{}", again.all());
    all_sent_once(&site, &server, 5);
}

#[test]
fn what_the_owner_of_the_table_refuses_costs_its_own_document_only() {
    let Some(server) = Postgres::start() else { return };
    let site = site(&server);
    let cli = Cli::new(&site);
    documents(&site, &cli, 20);
    server.sql(
        "CREATE TABLE log (id bigint);
         CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
             INSERT INTO log VALUES (NEW.id);
             IF NEW.id = 3 THEN RAISE EXCEPTION 'not this one'; END IF;
             IF NEW.id = 7 THEN NEW.synced_to_nas := FALSE; END IF;
             IF NEW.id = 11 THEN RETURN NULL; END IF;
             RETURN NEW; END $$;
         CREATE TRIGGER refuse BEFORE UPDATE ON documents FOR EACH ROW EXECUTE FUNCTION refuse();
         CREATE FUNCTION late() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
             IF NEW.id = 15 THEN RAISE EXCEPTION 'too late'; END IF; RETURN NULL; END $$;
         CREATE CONSTRAINT TRIGGER late AFTER UPDATE ON documents DEFERRABLE INITIALLY DEFERRED
             FOR EACH ROW EXECUTE FUNCTION late()",
    );
    let run = cli.line("sync --json");
    let report = run.ends(1).json();
    assert_eq!((&report["synced"], &report["failed"]), (&16.into(), &4.into()), "{}", run.all());
    for words in ["not this one", "too late", "a trigger of the table"] {
        assert!(run.stdout.contains(words), "{words}: {}", run.all());
    }
    assert_eq!(
        server.sql("SELECT string_agg(id::text, ',' ORDER BY id) FROM documents WHERE NOT synced_to_nas"),
        "3,7,11,15"
    );
    assert_eq!(server.number("SELECT count(DISTINCT id) FROM log"), 16, "nothing stays of what was refused");
    assert_eq!(server.number("SELECT count(*) FROM nas_sync_leases"), 0);
}

#[test]
fn a_row_that_somebody_is_changing_is_passed_over_and_a_changed_one_goes_again() {
    let Some(server) = Postgres::start() else { return };
    let mut site = site(&server);
    let cli = Cli::new(&site);
    documents(&site, &cli, 4);
    // An application in the middle of its transaction.
    let url = server.url("postgres");
    let mut psql = std::process::Command::new("psql");
    psql.args(["-X", "-q", "-d", &url]).stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::null());
    let mut application = psql.spawn().unwrap();
    let mut words = application.stdin.take().unwrap();
    std::io::Write::write_all(&mut words, b"BEGIN; UPDATE documents SET user_id = 2 WHERE id = 2;\n").unwrap();
    let is_held = "SELECT count(*) FROM pg_locks l JOIN pg_class c ON c.oid = l.relation
                   WHERE c.relname = 'documents' AND l.mode = 'RowExclusiveLock'";
    until("the application holds its row", LONGEST, || server.number(is_held) > 0);
    let mut run = cli.start(&["sync", "--json"]);
    run.until(|| server.number("SELECT count(*) FROM documents WHERE synced_to_nas") == 3);
    // The rest is waited for, since there is nothing else to do.
    std::io::Write::write_all(&mut words, b"COMMIT;\n").unwrap();
    let run = run.wait();
    assert_eq!(run.ends(0).json()["synced"], 4, "{}", run.all());
    drop(words);
    application.wait().unwrap();
    all_sent_once(&site, &server, 4);
    // A row that names another file by the time it is to be marked.
    start_again(&site, &server);
    site.wrap_rsync(WAITS_FOR_A_WORD);
    let cli = Cli::new(&site);
    let mut run = cli.start(&["sync", "--json"]);
    run.until(|| server.number("SELECT count(*) FROM nas_sync_leased") == 4);
    let other = site.upload("other.pdf", b"other");
    server.sql(&format!("UPDATE documents SET file_path = '{}' WHERE id = 1", other.display()));
    fs::write(site.path("go"), "").unwrap();
    let run = run.wait();
    assert_eq!(run.ends(0).json()["synced"], 4, "{}", run.all());
    assert_eq!(site.stored("other.pdf").as_deref(), Some(&b"other"[..]));
}
