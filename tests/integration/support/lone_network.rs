//! A network of one machine, which answers to its name by multicast.

use std::process::Command;

use super::{Site, skip};

/// The name of that machine.
pub const NAME: &str = "nas-of-the-test.local";

/// What runs a program beside the sshd of a site, in a network namespace in which nobody but the machine [`NAME`] can be asked:
/// the program and its arguments are still to be added. The machine that answers is a script. `None`, and a loud word, where no
/// such namespace can be made.
pub fn on_lone_network(site: &Site) -> Option<Command> {
    let namespace = || {
        let mut command = Command::new("/usr/bin/unshare");
        command.args(["--net", "--pid", "--fork", "--kill-child"]);
        command
    };
    if !namespace().arg("/bin/true").status().is_ok_and(|status| status.success()) {
        skip("no network namespace can be made here");
        return None;
    }
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/servers/local_network.py");
    let mut command = namespace();
    command.args(["/usr/bin/python3", script, NAME]).arg(site.sshd.path("sshd_config"));
    command.arg(site.sshd.port().to_string());
    Some(command)
}
