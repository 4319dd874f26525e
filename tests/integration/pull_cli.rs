//! `pull` on the command line, and its report.

use crate::push_cli::shell;
use crate::push_cli::stock::tree;
use crate::support::sshd::user;
use crate::support::{Cli, Site};

#[test]
fn the_word_pull_and_its_report() {
    let site = Site::new();
    let from = tree(&site);
    let to = site.path("here");
    let mut line = vec!["pull".to_owned(), "--json".to_owned()];
    let source = format!("{}@127.0.0.1:{}/", user(), from.display());
    line.extend(["-e".to_owned(), shell(&site), "-a".to_owned(), source, to.to_str().unwrap().to_owned()]);
    let run = Cli::new(&site).run(&line);
    let report = run.ends(0).json();
    assert_eq!((&report["exit_code"], &report["transferred"]), (&0.into(), &7.into()), "{}", run.all());
    assert_eq!(report["files"], 7, "{}", run.all());
}
