//! Over a distance: documents that an rsync would acknowledge one by one, and wait for, are acknowledged together.

use std::fs;
use std::time::Duration;

use crate::support::chaos::{Chaos, Fault, Stop, Way};
use crate::support::cli::Cli;
use crate::support::link::{Distance, Link};
use crate::support::{Site, noise};

const DOCUMENTS: usize = 60;
const LEN: usize = 40_000;
/// Beyond what an answer takes on a busy machine, so that waits can be told by it.
const FAR: Distance = Distance { round_trip: Duration::from_millis(80), rate: None };

/// A NAS that writes down what its rsync is asked for, and documents that wait.
fn site() -> (Site, Cli) {
    let mut site = Site::new();
    let log = site.path("sessions");
    site.wrap_rsync(&format!("echo \"$*\" >>'{}'\nexec rsync \"$@\"", log.display()));
    let paths: Vec<_> =
        (0..DOCUMENTS).map(|number| site.upload(&format!("{number}.pdf"), &noise(LEN, number as u64))).collect();
    let cli = Cli::new(&site);
    cli.add(1, &paths);
    (site, cli)
}

/// The argument vectors of the sessions that sent something.
fn sessions(site: &Site) -> Vec<String> {
    let log = fs::read_to_string(site.path("sessions")).unwrap();
    log.lines().filter(|line| line.contains("--remove-source-files")).map(ToOwned::to_owned).collect()
}

fn all_there(site: &Site) {
    assert_eq!(site.marked().len(), DOCUMENTS);
    for number in 0..DOCUMENTS {
        assert!(site.stored(&format!("{number}.pdf")) == Some(noise(LEN, number as u64)), "{number}");
    }
    assert!(!site.path("nas/.rsync-partial").exists(), "nothing is left over");
}

#[test]
fn documents_are_acknowledged_together_where_the_way_is_long() {
    let (mut site, _) = site();
    let link = Link::open(site.sshd.port(), FAR).unwrap();
    site.by_port(link.port());
    let run = Cli::new(&site).line("sync --json");
    assert_eq!(run.ends(0).json()["synced"], DOCUMENTS as u64, "{}", run.all());
    println!("waited {} times for the far side", link.take_waits());
    let sessions = sessions(&site);
    assert!(!sessions.is_empty() && sessions.iter().all(|asked| asked.contains(" --delay-updates ")), "{sessions:?}");
    all_there(&site);
}

#[test]
fn where_it_is_short_each_is_acknowledged_as_it_comes() {
    let (site, cli) = site();
    cli.line("sync --json").ends(0);
    let sessions = sessions(&site);
    assert!(!sessions.is_empty() && sessions.iter().all(|asked| !asked.contains("--delay-updates")), "{sessions:?}");
    all_there(&site);
}

/// What was sent lies beside the names, and the next session goes on from there.
#[test]
fn a_connection_that_is_cut_before_they_have_their_names_loses_none() {
    let (mut site, _) = site();
    let link = Link::open(site.sshd.port(), FAR).unwrap();
    let sent = (DOCUMENTS * LEN) as u64;
    let chaos = Chaos::before(link.port(), 1);
    chaos.plan(move |number| match number {
        0 => Fault::stop(Way::ToServer, sent * 3 / 4, Stop::Reset),
        _ => Fault::default(),
    });
    site.through(&chaos);
    let run = Cli::new(&site).line("sync --json");
    assert_eq!(run.ends(0).json()["synced"], DOCUMENTS as u64, "{}", run.all());
    assert!(chaos.connections()[0].stopped, "it was cut");
    all_there(&site);
}
