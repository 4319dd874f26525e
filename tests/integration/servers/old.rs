//! rsync 2.6.0 as far as a script in front of the stock one can be it: its options, its protocol, and that it keeps what
//! fails its check. Folders are left out, since the stock one wants to be told of them in its own way.

use std::fs;

use serde_json::json;

use super::server::{Rsync, Server};
use crate::support::Cli;

#[test]
fn the_options_and_the_protocol_of_rsync_2_6_0() {
    let nas = Server::default().rsync(Rsync::V2_6_0).start().unwrap();
    let cli = Cli::new(&nas.site);
    let object = cli.line("test --json").ends(0).json();
    assert_eq!((&object["level"], &object["protocol"]), (&json!("sent"), &json!(27)));
    assert_eq!(fs::read_dir(&nas.share).unwrap().count(), 0, "the test left something");

    let names = ["altered.pdf", "missing.pdf", "whole.pdf"];
    cli.add(1, &names.map(|name| nas.site.upload(name, name.as_bytes())));
    assert_eq!(cli.line("sync --json").ends(0).json()["synced"], 3);
    fs::write(nas.share.join("altered.pdf"), "altered.PDF").unwrap();
    fs::remove_file(nas.share.join("missing.pdf")).unwrap();
    let object = cli.line("verify --json --requeue").ends(1).json();
    let told = (&object["equal"], &object["differing"], &object["missing"], &object["unknown"]);
    assert_eq!(told, (&json!(1), &json!([1]), &json!([2]), &json!([])), "{object}");
    assert_eq!(cli.line("sync --json").ends(0).json()["synced"], 2);
    for name in names {
        assert_eq!(fs::read(nas.share.join(name)).unwrap(), name.as_bytes());
    }
}
