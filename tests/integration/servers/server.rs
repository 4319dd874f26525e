//! A server: what listens, what the account runs there, and which rsync that finds.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::TcpStream;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nas_sync::Level;
use tempfile::TempDir;

use crate::support::cli::write_program;
use crate::support::python::{interpreter, source};
use crate::support::sshd::{free_port, keygen};
use crate::support::{Site, Sshd, until};

/// The NAS user where root can make one.
const NOBODY: u32 = 65534;
/// How long a server may take to listen.
const START: Duration = Duration::from_secs(30);

/// A NAS as a person may have it. The level that it proves is the lowest that one of its parts allows.
#[derive(Debug, Clone, Copy)]
pub struct Server {
    ssh: Listener,
    account: Account,
    rsync: Rsync,
}

/// What listens.
#[derive(Debug, Clone, Copy)]
pub enum Listener {
    /// sshd with one more line of its configuration, and these words before the key in `authorized_keys`.
    OpenSsh {
        setting: Option<&'static str>,
        key: &'static str,
    },
    Dropbear,
    /// AsyncSSH; it may keep to itself how a command ended.
    AsyncSsh {
        says_status: bool,
    },
    Paramiko,
}

/// What the account runs when a command is asked for.
#[derive(Debug, Clone, Copy)]
pub enum Account {
    /// A login shell, with the command behind `-c` as sshd gives it.
    Shell(&'static str),
    /// The wrapper that comes with rsync, with these flags, for the NAS folder.
    Rrsync(&'static str),
    /// `rsync --server`, split at blanks, and nothing else: what many a forced command does.
    OnlyRsync,
}

/// What stands under the name of rsync.
#[derive(Debug, Clone, Copy)]
pub enum Rsync {
    Stock,
    /// A model of an older or a patched one: a script in front of the stock one.
    Refuses {
        option: &'static str,
        aloud: bool,
    },
    /// The stock one, speaking no newer protocol.
    Protocol(u8),
    /// The stock one, behind a wrapper that hides from it that algorithms can be negotiated. A model: a script in front of it.
    NoNames,
    /// The options and the protocol of rsync 2.6.0, and what fails its check is kept. A model: a script in front of the
    /// stock one.
    V2_6_0,
    /// A program, and the level that it proves.
    Program(&'static str, Level),
}

impl Default for Server {
    fn default() -> Self {
        Self { ssh: Listener::OpenSsh { setting: None, key: "" }, account: Account::Shell("dash"), rsync: Rsync::Stock }
    }
}

impl Server {
    pub fn ssh(self, ssh: Listener) -> Self {
        Self { ssh, ..self }
    }

    pub fn account(self, account: Account) -> Self {
        Self { account, ..self }
    }

    pub fn rsync(self, rsync: Rsync) -> Self {
        Self { rsync, ..self }
    }

    /// The level that it proves of every document.
    pub fn level(&self) -> Level {
        let of_account = match self.account {
            Account::Shell(_) => Level::Durable,
            // They run no `sync`.
            Account::Rrsync(_) | Account::OnlyRsync => Level::Stored,
        };
        let of_rsync = match self.rsync {
            // Where files are not flushed one by one, the file system is, behind all of them.
            Rsync::Stock | Rsync::Refuses { option: "--partial-dir" | "-S" | "--fsync", .. } => Level::Durable,
            Rsync::Refuses { .. } | Rsync::V2_6_0 | Rsync::Protocol(..29) => Level::Sent,
            Rsync::Protocol(_) | Rsync::NoNames => Level::Durable,
            Rsync::Program(_, level) => level,
        };
        of_account.min(of_rsync)
    }

    /// Whether an option that is refused shows in nothing at all.
    pub fn refuses_without_a_sign(&self) -> bool {
        matches!(self.ssh, Listener::AsyncSsh { says_status: false })
            && matches!(self.rsync, Rsync::Refuses { aloud: false, .. })
    }

    /// Starts it. Fails with what this machine lacks.
    pub fn start(&self) -> Result<Nas, String> {
        let folder = open_folder();
        let share = self.make_share(folder.path());
        let forced = self.forced_command(folder.path())?;
        let (setting, key) = match self.ssh {
            Listener::OpenSsh { setting, key } => (setting, key),
            _ => (None, ""),
        };
        let setup = Sshd::setup().line(format!("ForceCommand {forced}"));
        let setup = if let Some(line) = setting { setup.line(line) } else { setup };
        let mut site = Site::with(setup.start());
        let public = fs::read_to_string(site.sshd.path("user_ed25519.pub")).unwrap();
        fs::write(site.sshd.path("authorized_keys"), format!("{key}{public}")).unwrap();
        let other = match self.ssh {
            Listener::OpenSsh { .. } => None,
            Listener::Dropbear => Some(Process::dropbear(&site, &forced)?),
            Listener::AsyncSsh { says_status: true } => {
                Some(Process::python(&site, "asyncssh_server.py", &forced, &[])?)
            }
            Listener::AsyncSsh { says_status: false } => {
                Some(Process::python(&site, "asyncssh_server.py", &forced, &["--no-exit-status"])?)
            }
            Listener::Paramiko => Some(Process::python(&site, "paramiko_server.py", &forced, &[])?),
        };
        if let Some(other) = &other {
            site.set("NAS_PORT", other.port.to_string());
            site.set("NAS_KNOWN_HOSTS", other.known_hosts.clone());
        }
        site.set("NAS_PATH", self.nas_path(&share));
        if let Some(script) = self.rsync_script() {
            let program = folder.path().join("rsync");
            write_program(&program, &script);
            site.set("NAS_RSYNC_PATH", program);
        }
        Ok(Nas { site, share, _folder: folder, _other: other })
    }

    /// Makes the folder for documents, and gives it to the NAS user.
    fn make_share(&self, folder: &Path) -> PathBuf {
        let share = folder.join("nas").join(match self.account {
            Account::Shell(_) => "our \"share\" & $HOME's (1) \u{e9}!",
            Account::Rrsync(_) => "our share",
            // Words that are split at blanks can hold none.
            Account::OnlyRsync => "share",
        });
        fs::create_dir_all(&share).unwrap();
        fs::create_dir(folder.join("home")).unwrap();
        for path in [&folder.join("home"), &folder.join("nas"), &share] {
            give_to_nas_user(path);
        }
        share
    }

    /// The folder as a person writes it in the settings.
    fn nas_path(&self, share: &Path) -> PathBuf {
        match self.account {
            // Paths start in the folder that it is for.
            Account::Rrsync(_) => share.file_name().unwrap().into(),
            Account::Shell(_) | Account::OnlyRsync => share.to_owned(),
        }
    }

    /// The shell line that runs what the account runs, as a user who is not root.
    fn forced_command(&self, folder: &Path) -> Result<String, String> {
        let user =
            if is_root() { format!("setpriv --reuid={NOBODY} --regid={NOBODY} --clear-groups") } else { String::new() };
        let home = folder.join("home");
        let start = format!("cd {0} && exec env HOME={0} {user}", home.display());
        Ok(match self.account {
            Account::Shell(words) => {
                need(words.split(' ').next().unwrap())?;
                format!("{start} {words} -c \"$SSH_ORIGINAL_COMMAND\"")
            }
            Account::Rrsync(flags) => {
                need("rrsync")?;
                format!("{start} rrsync {flags} {}", folder.join("nas").display())
            }
            Account::OnlyRsync => {
                format!(
                    "case \"$SSH_ORIGINAL_COMMAND\" in *\" --server \"*) {start} $SSH_ORIGINAL_COMMAND;; esac; exit 1"
                )
            }
        })
    }

    /// What stands in front of the stock rsync, if anything does.
    fn rsync_script(&self) -> Option<String> {
        let body = match self.rsync {
            Rsync::Stock => return None,
            Rsync::Refuses { option, aloud } => {
                let said = if aloud {
                    format!(
                        "echo 'rsync: {option}: unknown option' >&2\n\
                         echo 'rsync error: syntax or usage error (code 1) at main.c(1784) [server=3.1.3]' >&2\n"
                    )
                } else {
                    String::new()
                };
                format!("{}{said}exit 1;; esac\nexec rsync \"$@\"", case(option))
            }
            Rsync::V2_6_0 => {
                let unknown = ["-K", "-O", "--remove-source-files", "--partial-dir", "--fsync"];
                let said = |option: &str| {
                    let case = case(option);
                    format!("{case}echo 'rsync: on remote machine: {option}: unknown option' >&2; exit 1;; esac\n")
                };
                format!("{}exec rsync --protocol=27 --inplace \"$@\"", unknown.map(said).concat())
            }
            Rsync::NoNames => String::from(
                "for word; do\n\
                 shift; case $word in -*e.*vu) word=${word%vu}u;; esac; set -- \"$@\" \"$word\"\n\
                 done\nexec rsync \"$@\"",
            ),
            Rsync::Program(program, _) => format!("exec {program} \"$@\""),
            Rsync::Protocol(number) => format!("exec rsync --protocol={number} \"$@\""),
        };
        Some(format!("#!/bin/sh\n{body}\n"))
    }
}

/// A server that runs, and a site that syncs to it.
pub struct Nas {
    pub site: Site,
    /// The folder for documents.
    pub share: PathBuf,
    _other: Option<Process>,
    _folder: TempDir,
}

/// An SSH server that is not sshd. It ends with the value.
struct Process {
    child: Child,
    port: u16,
    known_hosts: PathBuf,
}

impl Process {
    /// Made of one of the scripts in `tests/servers`. It takes the user key of the site.
    fn python(site: &Site, script: &str, forced: &str, flags: &[&str]) -> Result<Self, String> {
        let python = interpreter("servers")?;
        let (host_key, known_hosts) = make_host_key(site);
        let mut command = Command::new(python);
        command.arg(source("servers", script)).arg(host_key).arg(site.sshd.path("user_ed25519.pub")).arg(forced);
        let mut child = command.args(flags).stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let port = line.trim().parse().expect("it says its port when it listens");
        Ok(Self { child, port, known_hosts })
    }

    /// It takes keys out of the user's home only, so it gets a home of its own there.
    fn dropbear(site: &Site, forced: &str) -> Result<Self, String> {
        need("dropbear")?;
        need("dropbearconvert")?;
        if !is_root() {
            return Err(String::from("only root can lay another folder over its home"));
        }
        let home = site.path("dropbear-home");
        fs::create_dir_all(home.join(".ssh")).unwrap();
        fs::copy(site.sshd.path("authorized_keys"), home.join(".ssh/authorized_keys")).unwrap();
        let (host_key, known_hosts) = make_host_key(site);
        let (converted, log) = (site.path("dropbear-key"), site.path("dropbear-log"));
        let convert =
            Command::new("dropbearconvert").args(["openssh", "dropbear"]).arg(host_key).arg(&converted).output();
        assert!(convert.unwrap().status.success());
        let port = free_port();
        let script = "mount --bind \"$1\" ~ && exec dropbear -F -E -s -m -r \"$2\" -p 127.0.0.1:\"$3\" -P '' -c \"$4\"";
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", script, "sh"]).arg(home).arg(converted).arg(port.to_string()).arg(forced);
        let child = command.stdin(Stdio::null()).stderr(fs::File::create(log).unwrap()).spawn().unwrap();
        let process = Self { child, port, known_hosts };
        until("dropbear listens", START, || TcpStream::connect(("127.0.0.1", port)).is_ok());
        Ok(process)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A host key, and the file in which clients find it.
fn make_host_key(site: &Site) -> (PathBuf, PathBuf) {
    let (key, known_hosts) = (site.path("host-key"), site.path("known_hosts"));
    keygen(&key, "ed25519", "");
    fs::write(&known_hosts, format!("* {}", fs::read_to_string(site.path("host-key.pub")).unwrap())).unwrap();
    (key, known_hosts)
}

/// A folder that the NAS user can enter.
fn open_folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    folder
}

pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Makes a file or folder the NAS user's own.
pub fn give_to_nas_user(path: &Path) {
    if is_root() {
        chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
    }
}

/// Fails when a program is not installed.
fn need(program: &str) -> Result<(), String> {
    let found =
        ["/usr/bin", "/bin", "/usr/sbin", "/sbin"].iter().any(|folder| Path::new(folder).join(program).exists());
    if found { Ok(()) } else { Err(format!("{program} is not installed")) }
}

/// The beginning of what a script does when it is given an option; letters stand in the second word, before `e.`.
fn case(option: &str) -> String {
    match option.strip_prefix("--") {
        Some(_) => format!("case \" $* \" in *' {option} '*) "),
        None => format!("case \"${{2%%e.*}}\" in *{}*) ", &option[1..]),
    }
}
