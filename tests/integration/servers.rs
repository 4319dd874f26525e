//! The servers that people have, as far as a package brings them: each login shell, wrapper and SSH server takes the same
//! walk (`walk`), and what it proves of a document is asserted exactly.
//!
//! On all of them the NAS user is not root. `NAS_SYNC_LONG=1` tries all combinations of their parts, and what stands in
//! `NAS_SYNC_RSYNCS` is tried as well: programs with the level that they can prove, as in `/opt/rsync-2.6.0=sent`.

mod folders;
mod old;
mod server;
mod sparse;
mod walk;

use nas_sync::Level;
use server::{Account, Listener, Rsync, Server};
use walk::walk;

use crate::support::is_long_or_skipped;

/// One test for each server: sshd from OpenSSH, dash and stock rsync, but for what is said.
macro_rules! servers {
    ($($name:ident: $server:expr),+ $(,)?) => {
        $(#[test]
        fn $name() {
            walk(&$server);
        })+
    };
}

servers! {
    dash: Server::default(),
    fish: Server::default().account(Account::Shell("fish")),
    tcsh: Server::default().account(Account::Shell("tcsh")),
    busybox: Server::default().account(Account::Shell("busybox sh")),
    rrsync: Server::default().account(Account::Rrsync("")),
    rrsync_that_only_takes: Server::default().account(Account::Rrsync("-wo")),
    a_command_that_lets_only_rsync_through: Server::default().account(Account::OnlyRsync),
    a_restricted_key: Server::default().ssh(Listener::OpenSsh { setting: None, key: "restrict " }),
    one_session: Server::default().ssh(sessions(MAX_SESSIONS[0])),
    two_sessions: Server::default().ssh(sessions(MAX_SESSIONS[1])),
    ten_sessions: Server::default().ssh(sessions(MAX_SESSIONS[2])),
    dropbear: Server::default().ssh(Listener::Dropbear),
    asyncssh: Server::default().ssh(Listener::AsyncSsh { says_status: true }),
    no_exit_status: Server::default().ssh(Listener::AsyncSsh { says_status: false }),
    paramiko: Server::default().ssh(Listener::Paramiko),
    no_fsync: Server::default().rsync(Rsync::Refuses { option: "--fsync", aloud: true }),
    no_fsync_and_silent: Server::default().rsync(Rsync::Refuses { option: "--fsync", aloud: false }),
    no_partial_dir: Server::default().rsync(Rsync::Refuses { option: "--partial-dir", aloud: true }),
    no_partial_dir_and_silent: Server::default().rsync(Rsync::Refuses { option: "--partial-dir", aloud: false }),
    no_acknowledgements: Server::default().rsync(Rsync::Refuses { option: "--remove-source-files", aloud: true }),
    no_acknowledgements_and_silent:
        Server::default().rsync(Rsync::Refuses { option: "--remove-source-files", aloud: false }),
    protocol_27: Server::default().rsync(Rsync::Protocol(27)),
    protocol_28: Server::default().rsync(Rsync::Protocol(28)),
    protocol_29: Server::default().rsync(Rsync::Protocol(29)),
    protocol_30: Server::default().rsync(Rsync::Protocol(30)),
    protocol_31: Server::default().rsync(Rsync::Protocol(31)),
    no_names_of_algorithms: Server::default().rsync(Rsync::NoNames),
}

const MAX_SESSIONS: [&str; 3] = ["MaxSessions 1", "MaxSessions 2", "MaxSessions 10"];

fn sessions(most: &'static str) -> Listener {
    Listener::OpenSsh { setting: Some(most), key: "" }
}

/// Every SSH server with every account, and with every login shell every rsync.
#[test]
fn all_combinations() {
    if !is_long_or_skipped() {
        return;
    }
    let plain = Listener::OpenSsh { setting: None, key: "" };
    let servers = [
        plain,
        Listener::Dropbear,
        Listener::AsyncSsh { says_status: true },
        Listener::AsyncSsh { says_status: false },
    ];
    let servers = [&servers[..], &[Listener::Paramiko], &MAX_SESSIONS.map(sessions)].concat();
    let wrappers = [Account::Rrsync(""), Account::Rrsync("-wo"), Account::OnlyRsync];
    let shells = ["dash", "bash", "fish", "tcsh", "busybox sh"].map(Account::Shell);
    let options = ["--fsync", "--partial-dir", "--remove-source-files"];
    let refusing = |aloud| options.map(|option| Rsync::Refuses { option, aloud });
    let old = [27, 28, 29, 30, 31].map(Rsync::Protocol);
    let rsyncs = [&[Rsync::Stock][..], &refusing(true), &refusing(false), &old].concat();
    for ssh in servers {
        for account in wrappers {
            walk(&Server::default().ssh(ssh).account(account));
        }
        for account in shells {
            for rsync in &rsyncs {
                let server = Server::default().ssh(ssh).account(account).rsync(*rsync);
                // Who neither says a word nor how it ended cannot be told from an account that runs no commands.
                if !server.refuses_without_a_sign() {
                    walk(&server);
                }
            }
        }
    }
}

/// Programs that no package brings.
#[test]
fn rsyncs_that_somebody_built() {
    let programs = std::env::var("NAS_SYNC_RSYNCS").unwrap_or_default();
    for word in programs.split_whitespace() {
        let (program, level) = word.split_once('=').expect("PROGRAM=LEVEL");
        let rsync = Rsync::Program(program.to_owned().leak(), Level::from_name(level).expect("a level"));
        walk(&Server::default().rsync(rsync));
    }
}
