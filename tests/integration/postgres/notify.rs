//! `watch` beside triggers that notify of changes, with and without a pooler that loses what they say.

use std::cell::Cell;
use std::time::Duration;

use super::login::Bouncer;
use super::site;
use crate::support::cli::Run;
use crate::support::{Cli, Postgres, Site, until};

/// How long something may take to come about.
const LONGEST: Duration = Duration::from_secs(60);
/// What a `watch` asks that polls.
const POLL: &str = "txid_current_snapshot";

/// A server that writes down what it is asked, and a table of somebody else's.
fn server() -> Option<Postgres> {
    let server = Postgres::with("log_statement = 'all'\n", "")?;
    server.sql(
        "CREATE TABLE documents (id integer PRIMARY KEY, user_id integer NOT NULL, file_path text NOT NULL,
             synced_to_nas boolean DEFAULT FALSE, synced_at timestamp)",
    );
    Some(server)
}

fn insert(server: &Postgres, site: &Site, id: i64) {
    let path = site.upload(&format!("{id}.pdf"), id.to_string().as_bytes());
    server.sql(&format!("INSERT INTO documents (id, user_id, file_path) VALUES ({id}, 1, '{}')", path.display()));
}

/// Lets `watch` send documents that come one after the other, until something stands in the server's log.
fn watch(server: &Postgres, site: &Site, options: &str, logged: impl Fn(&str) -> bool) -> Run {
    let cli = Cli::new(site);
    let line = format!("watch --quiet-period 1 {options}");
    let mut watch = cli.start(&line.split_whitespace().collect::<Vec<_>>());
    watch.until(|| logged(&server.log()));
    for id in 1..=3 {
        insert(server, site, id);
        let sent = format!("SELECT count(*) FROM documents WHERE synced_to_nas AND id = {id}");
        watch.until(|| server.number(&sent) == 1);
    }
    watch.signal("TERM");
    watch.wait()
}

#[test]
fn with_notifications_a_watch_asks_nothing_until_there_is_something() {
    let Some(server) = server() else { return };
    let site = site(&server);
    let cli = Cli::new(&site);
    let index = cli.line("index --notify --json").ends(0).json();
    assert_eq!((&index["created"], &index["notify_created"]), (&true.into(), &true.into()));
    assert_eq!(cli.line("index --notify --json").ends(0).json()["notify_created"], false);
    let run = watch(&server, &site, "", |log| log.contains("NOTIFY nas_sync_"));
    assert!(!server.log().contains(POLL), "{}", run.all());
    // Without them it asks each second.
    server.sql("DROP FUNCTION nas_sync_notify CASCADE; DELETE FROM documents");
    watch(&server, &site, "", |log| log.contains(POLL));
}

#[test]
fn a_connection_that_is_cut_is_listened_to_again() {
    let Some(server) = server() else { return };
    let site = site(&server);
    Cli::new(&site).line("index --notify").ends(0);
    let is_cut = Cell::new(false);
    watch(&server, &site, "", |log| {
        let listens = log.matches("LISTEN nas_sync_").count();
        if listens == 1 && !is_cut.replace(true) {
            assert!(server.cut() > 0);
        }
        listens > 1
    });
}

#[test]
fn behind_a_pooler_that_loses_notifications_it_polls_and_says_so_once() {
    let Some(server) = server() else { return };
    let mut site = site(&server);
    Cli::new(&site).line("index --notify").ends(0);
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let _bouncer = Bouncer::start(&server, port);
    until("PgBouncer listens", LONGEST, || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
    site.set("NAS_DB", format!("postgresql://postgres@127.0.0.1:{port}/app"));
    // The database is opened anew each second: it would be said each time.
    let run = watch(&server, &site, "--interval 1", |log| log.matches(POLL).count() > 4);
    assert_eq!(run.stderr.matches("does not arrive here").count(), 1, "{}", run.all());
}

#[test]
fn only_the_owner_may_add_them_and_sqlite_has_none() {
    let Some(server) = server() else { return };
    let mut site = site(&server);
    // The owner of the documents and the least role of docs/database.md: neither may touch the other's tables.
    server.sql(
        "CREATE ROLE backend LOGIN; GRANT ALL ON SCHEMA public TO backend; ALTER TABLE documents OWNER TO backend;
         CREATE ROLE app LOGIN; GRANT USAGE, CREATE ON SCHEMA public TO app;
         GRANT SELECT, UPDATE (synced_to_nas, synced_at) ON documents TO app",
    );
    site.set("NAS_DB", server.url("app"));
    let mut cli = Cli::new(&site);
    let told = |cli: &Cli| {
        let run = cli.line("index --notify --json");
        run.ends(4).json()["error"]["solution"].as_str().unwrap().to_owned()
    };
    let triggers = "SELECT count(*) FROM pg_trigger WHERE tgname = 'nas_sync_notify'";
    let solution = told(&cli);
    let sql = solution.strip_prefix("Let backend run: ").unwrap().strip_suffix("Then run this command again.").unwrap();
    server.sql(&format!("SET ROLE backend; {sql}"));
    assert_eq!(server.number(triggers), 1);
    // Its own it adds by itself; then the index is the owner's.
    let index = told(&cli);
    assert_eq!(server.number(triggers), 3);
    server.sql(index.split_once("run: ").unwrap().1);
    cli.line("index --notify").ends(0);
    // As a third role that owns neither, one block for each owner.
    server.sql(
        "DROP FUNCTION nas_sync_notify CASCADE; CREATE ROLE third LOGIN;
         GRANT SELECT, UPDATE ON ALL TABLES IN SCHEMA public TO third",
    );
    cli.set("NAS_DB", server.url("third"));
    for block in told(&cli).strip_suffix("Then run this command again.").unwrap().split("Let ").skip(1) {
        let (owner, sql) = block.split_once(" run: ").unwrap();
        server.sql(&format!("SET ROLE {owner}; {sql}"));
    }
    assert_eq!(server.number(triggers), 3);
    site.set("NAS_DB", site.path("documents.db"));
    let cli = Cli::new(&site);
    cli.add(1, &[site.upload("a.pdf", b"a")]);
    let run = cli.line("index --notify --json");
    assert_eq!(run.ends(2).json()["error"]["kind"], "usage", "{}", run.all());
}
