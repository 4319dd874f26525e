//! Each command over PostgreSQL.

use super::{all_sent_once, site};
use crate::support::{Cli, Postgres};

#[test]
fn every_command_works_as_over_sqlite() {
    let Some(server) = Postgres::start() else { return };
    let site = site(&server);
    let cli = Cli::new(&site);
    // Before there is anything.
    let absent = cli.line("status --json");
    absent.ends(4);
    assert!(absent.stderr.contains("has no table"), "{}", absent.all());
    cli.line("config --json").ends(4);

    let files: Vec<_> = ["a.pdf", "b.pdf", "Facture n° 3.pdf"].map(|name| site.upload(name, name.as_bytes())).into();
    assert_eq!(cli.add(7, &files), [1, 2, 3]);
    let status = cli.line("status --json");
    assert_eq!(status.ends(0).json()["pending"], 3, "{}", status.all());
    assert_eq!(cli.line("sync --json --user 8").ends(0).json()["total"], 0);
    let sync = cli.line("sync --json");
    assert_eq!(sync.ends(0).json()["synced"], 3, "{}", sync.all());
    all_sent_once(&site, &server, 3);
    let age = "SELECT extract(epoch FROM (now() AT TIME ZONE 'UTC') - min(synced_at))::int FROM documents";
    assert!((0..60).contains(&server.number(age)), "it is a time in UTC");
    let status = cli.line("status --json").json();
    assert_eq!(
        (&status["synced"], &status["pending"], &status["sync_percentage"]),
        (&3.into(), &0.into(), &100.0.into())
    );
    assert!(status["last_sync"].as_str().is_some_and(|time| time.ends_with('Z')), "{status}");

    let verify = cli.line("verify --json");
    assert_eq!(verify.ends(0).json()["equal"], 3, "{}", verify.all());
    // What is not there goes again.
    std::fs::remove_file(site.path("nas/a.pdf")).unwrap();
    cli.line("verify --requeue --json").ends(1);
    assert_eq!(server.number("SELECT count(*) FROM documents WHERE NOT synced_to_nas AND synced_at IS NULL"), 1);
    assert_eq!(cli.line("sync --json").ends(0).json()["synced"], 1);

    // A failure, its wait, and the end of the wait.
    let gone = site.upload("gone.pdf", b"gone");
    assert_eq!(cli.add(7, std::slice::from_ref(&gone)), [4]);
    std::fs::remove_file(&gone).unwrap();
    let failed = cli.line("sync --json");
    assert_eq!(failed.ends(1).json()["failed"], 1, "{}", failed.all());
    let waits = cli.line("sync --json");
    assert_eq!(
        waits.ends(1).json()["errors"][0].as_str().map(|text| text.contains("next try at")),
        Some(true),
        "{}",
        waits.all()
    );
    site.upload("gone.pdf", b"here again");
    assert_eq!(cli.line("retry --json").ends(0).json()["retried"], 1);
    assert_eq!(cli.line("sync --json --document 4").ends(0).json()["synced"], 1);
    cli.line("sync --json --document 5").ends(1);

    let index = cli.line("index --json");
    assert_eq!(index.ends(0).json()["created"], false, "the table is ours and has it: {}", index.all());
    server.sql("DROP INDEX nas_sync_pending");
    assert_eq!(cli.line("index --json").ends(0).json()["created"], true);
    let once = cli.line("watch --once --json");
    assert_eq!(once.ends(0).json()["total"], 0, "{}", once.all());
}
