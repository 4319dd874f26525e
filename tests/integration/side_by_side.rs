//! `--jobs auto`: sessions that join while the first one waits for the NAS, and leave. Whatever they do, each document is sent
//! once.

use std::fs;

use crate::support::cli::{Cli, Run};
use crate::support::{Site, Sshd, noise};

const DOCUMENTS: usize = 400;
/// More than goes together over a long way, as which a busy machine may count.
const LEN: usize = 48 * 1024;

/// An rsync that takes in no more than 64 KiB every 30 ms: all documents take one session ten seconds. It says how many others are
/// there when it begins. `$HEARS` is how often it takes something.
const SLOW: &str = r#"ls -d "$NAS"/../busy.* 2>/dev/null | wc -l >>"$NAS/../others"
hear() {
    heard=0
    while [ "$heard" -lt "${HEARS:-1000000}" ]; do
        dd bs=65536 count=1 2>"$NAS/../dd.$$"
        grep -q '^0+0' "$NAS/../dd.$$" && break
        heard=$((heard + 1))
        sleep 0.03
    done
}
mkdir "$NAS/../busy.$$"
hear | rsync "$@"
status=$?
rmdir "$NAS/../busy.$$"
exit $status"#;

/// A NAS that opens so many sessions, and the documents wait.
fn site(sessions: u32, rsync: &str) -> (Site, Cli) {
    let mut site = Site::with(Sshd::setup().line(format!("MaxSessions {sessions}")).start());
    site.set("NAS_JOBS", "auto");
    site.wrap_rsync(rsync);
    let paths: Vec<_> =
        (0..DOCUMENTS).map(|number| site.upload(&format!("{number}.pdf"), &noise(LEN, number as u64))).collect();
    let cli = Cli::new(&site);
    cli.add(1, &paths);
    (site, cli)
}

/// For each session, how many others were there when it began.
fn others(site: &Site) -> Vec<usize> {
    let counts = fs::read_to_string(site.path("others")).unwrap();
    counts.lines().map(|line| line.trim().parse().unwrap()).collect()
}

fn has_tried_another(run: &Run) -> bool {
    run.all().contains("trying another session")
}

/// How many attempts there were to send a document, and how many ended well.
fn attempts(site: &Site) -> (usize, usize) {
    let sql = "SELECT COUNT(*), COUNT(*) FILTER (WHERE outcome = 'synced') FROM nas_sync_attempts";
    let count = |number: i64| usize::try_from(number).unwrap();
    site.database().query_row(sql, [], |row| Ok((count(row.get(0)?), count(row.get(1)?)))).unwrap()
}

/// What holds when all are there.
fn all_sent_once(site: &Site) {
    assert_eq!((site.marked().len(), attempts(site).1), (DOCUMENTS, DOCUMENTS), "each is sent once");
    for number in 0..DOCUMENTS {
        assert!(site.stored(&format!("{number}.pdf")) == Some(noise(LEN, number as u64)), "{number}");
    }
}

#[test]
fn a_session_that_waits_for_the_nas_is_joined_by_others() {
    let (site, cli) = site(10, SLOW);
    let run = cli.line("sync --json -vv");
    assert_eq!(run.ends(0).json()["synced"], DOCUMENTS as u64, "{}", run.all());
    all_sent_once(&site);
    assert!(has_tried_another(&run) && others(&site).contains(&1), "{:?}", others(&site));
    assert_eq!(attempts(&site).0, DOCUMENTS, "none was tried twice");
}

#[test]
fn where_one_session_is_opened_none_is_beside_another() {
    let (site, cli) = site(1, SLOW);
    let run = cli.line("sync --json -vv");
    assert_eq!(run.ends(0).json()["synced"], DOCUMENTS as u64, "{}", run.all());
    all_sent_once(&site);
    assert!(others(&site).iter().all(|&others| others == 0), "{:?}", others(&site));
}

#[test]
fn where_two_sessions_are_opened_the_flushes_take_their_turn() {
    let (mut site, _) = site(2, SLOW);
    site.set("NAS_DURABILITY", "durable");
    let run = Cli::new(&site).line("sync --json");
    assert_eq!(run.ends(0).json()["synced"], DOCUMENTS as u64, "{}", run.all());
    all_sent_once(&site);
}

#[test]
fn documents_of_a_session_that_joined_and_died_go_again_and_what_none_was_given_too() {
    // The second hears its list and a few documents.
    let second = format!("[ -e \"$NAS/../others\" ] && HEARS=12\n{SLOW}");
    let (site, cli) = site(10, &second);
    let run = cli.line("sync --json -vv");
    assert!(others(&site).len() >= 2, "{}", run.all());
    let marked = site.marked().len();
    assert!(marked > 0 && attempts(&site).1 == marked, "{}", run.all());
    fs::remove_file(site.path("others")).unwrap();
    let run = cli.line("sync --json --jobs 1");
    assert_eq!(run.ends(0).json()["synced"], (DOCUMENTS - marked) as u64, "{}", run.all());
    all_sent_once(&site);
}
