//! The two programs, whole: how each is started, and what a run cost.

use std::error::Error;
use std::ffi::OsString;
use std::iter::Sum;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use wait4::Wait4 as _;

use super::sshd::{Sshd, user};

/// What one process cost, with every process that it waited for.
#[derive(Debug, Clone, Copy, Default)]
pub struct Cost {
    /// From start to end.
    pub wall: Duration,
    /// User and system time.
    pub cpu: Duration,
    /// Peak memory of the largest single process, in bytes.
    pub peak: u64,
}

impl Sum for Cost {
    fn sum<I: Iterator<Item = Self>>(costs: I) -> Self {
        costs.fold(Self::default(), |sum, cost| Self {
            wall: sum.wall + cost.wall,
            cpu: sum.cpu + cost.cpu,
            peak: sum.peak.max(cost.peak),
        })
    }
}

impl Cost {
    /// The median of each figure on its own. `costs` must not be empty.
    pub fn median(costs: &[Self]) -> Self {
        fn middle<T: Ord + Copy>(costs: &[Cost], of: impl Fn(&Cost) -> T) -> T {
            let mut values: Vec<T> = costs.iter().map(of).collect();
            values.sort();
            values[values.len() / 2]
        }
        Self {
            wall: middle(costs, |cost| cost.wall),
            cpu: middle(costs, |cost| cost.cpu),
            peak: middle(costs, |cost| cost.peak),
        }
    }
}

/// Runs one process to its end. Anything but success is an error that shows what it said.
pub fn run(mut command: Command) -> Result<Cost, Box<dyn Error>> {
    // To a file, because nobody reads a pipe meanwhile.
    let said = tempfile::tempfile()?;
    command.stdin(Stdio::null()).stdout(said.try_clone()?).stderr(said.try_clone()?);
    let start = Instant::now();
    let used = command.spawn()?.wait4()?;
    let wall = start.elapsed();
    if !used.status.success() {
        use std::io::{Read as _, Seek as _};
        let (mut said, mut text) = (said, String::new());
        said.rewind()?;
        said.read_to_string(&mut text)?;
        return Err(format!("{command:?} failed with {}:\n{text}", used.status).into());
    }
    Ok(Cost { wall, cpu: used.rusage.utime + used.rusage.stime, peak: used.rusage.maxrss })
}

/// Which way the files go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    Push,
    Pull,
}

/// Who copies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    /// rsync with ssh as it comes.
    Rsync,
    /// rsync with ssh told to use the cipher that suits this processor best.
    RsyncGcm,
    /// The program of this crate.
    NasSync,
}

impl Peer {
    /// For the table.
    pub fn title(self) -> &'static str {
        match self {
            Self::Rsync => "rsync + ssh",
            Self::RsyncGcm => "rsync + ssh -c aes128-gcm@openssh.com",
            Self::NasSync => "nas-sync",
        }
    }
}

/// A server, and how both clients reach it.
pub struct Site {
    sshd: Sshd,
    known_hosts: PathBuf,
    program: PathBuf,
    /// Where the clients connect to.
    port: u16,
}

impl Site {
    /// Starts the server.
    pub fn start(program: PathBuf) -> Self {
        let sshd = Sshd::start();
        let known_hosts = sshd.path("known_hosts_everywhere");
        let lines: Vec<_> = sshd.host_public_keys().iter().map(|key| format!("* {key}\n")).collect();
        std::fs::write(&known_hosts, lines.concat()).expect("known_hosts is written");
        Self { port: sshd.port(), sshd, known_hosts, program }
    }

    /// The port of the server itself.
    pub fn server_port(&self) -> u16 {
        self.sshd.port()
    }

    /// Leads both clients through another port.
    pub fn through(&mut self, port: u16) {
        self.port = port;
    }

    /// The key that logs in.
    pub fn key(&self) -> PathBuf {
        self.sshd.path("user_ed25519")
    }

    /// The server's keys, for every port.
    pub fn known_hosts(&self) -> &Path {
        &self.known_hosts
    }

    fn home(&self) -> PathBuf {
        self.sshd.path("home")
    }

    fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new(program.as_ref());
        command.env_clear().env("HOME", self.home());
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.current_dir(self.home());
        command
    }

    /// The remote shell, in the words that both clients read.
    fn shell(&self, peer: Peer) -> String {
        let (port, key) = (self.port, self.key());
        let mut shell = format!(
            "ssh -p {port} -i {} -o UserKnownHostsFile={} -o BatchMode=yes",
            key.display(),
            self.known_hosts.display()
        );
        match peer {
            // The user's own configuration stays out of it.
            Peer::Rsync => shell += " -F none",
            Peer::RsyncGcm => shell += " -F none -c aes128-gcm@openssh.com",
            Peer::NasSync => {}
        }
        shell
    }

    /// A push of one operand into a folder.
    pub fn push(&self, peer: Peer, options: &str, source: &Path, to: &Path) -> Command {
        self.copy(Way::Push, peer, options, source, to)
    }

    /// A copy of one operand into a folder.
    pub fn copy(&self, way: Way, peer: Peer, options: &str, source: &Path, to: &Path) -> Command {
        let mut command = match peer {
            Peer::Rsync | Peer::RsyncGcm => self.command("rsync"),
            Peer::NasSync => {
                let mut command = self.command(&self.program);
                command.arg(match way {
                    Way::Push => "push",
                    Way::Pull => "pull",
                });
                command
            }
        };
        let remote = |path: &Path| {
            let mut remote = OsString::from(format!("{}@127.0.0.1:", user()));
            remote.push(path);
            remote
        };
        command.arg(options).arg("-e").arg(self.shell(peer));
        match way {
            Way::Push => command.arg(source).arg(remote(to)),
            Way::Pull => command.arg(remote(source)).arg(to),
        };
        command
    }

    /// A command of the service, with a database and a destination.
    pub fn service(&self, database: &Path, to: &Path) -> Command {
        let mut command = self.command(&self.program);
        command
            .env("NAS_HOST", "127.0.0.1")
            .env("NAS_USER", user())
            .env("NAS_PORT", self.port.to_string())
            .env("NAS_PATH", to)
            .env("NAS_KEY_FILE", self.key())
            .env("NAS_KNOWN_HOSTS", &self.known_hosts)
            .env("NAS_DB", database);
        command
    }
}
