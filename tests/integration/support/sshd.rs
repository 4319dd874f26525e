//! A real OpenSSH server for one test.
//!
//! It listens on 127.0.0.1 with a port, a folder, host keys and user keys of its own, and ends with the value that
//! stands for it. Works as root and as an ordinary user; it always lets the current user in.

use std::fs;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nas_sync::internal::transport::ssh::{Identity, SshClient, SshConfig};
use nas_sync::internal::transport::{Exec, ExecEvent, ExitStatus};
use tempfile::TempDir;

const PROGRAM: &str = "/usr/sbin/sshd";
/// How long a server may take to listen.
const START: Duration = Duration::from_secs(20);
/// Ports are drawn; another program may be faster.
const START_TRIES: usize = 5;

/// A running server.
pub struct Sshd {
    folder: TempDir,
    port: u16,
    server: Child,
}

/// What to start.
pub struct Setup {
    host_keys: Vec<&'static str>,
    lines: Vec<String>,
    environment: Vec<(String, String)>,
    programs: Vec<(String, String)>,
}

impl Setup {
    /// Host keys by their `ssh-keygen -t` names instead of one ed25519 key.
    pub fn host_keys(mut self, types: &[&'static str]) -> Self {
        self.host_keys = types.to_vec();
        self
    }

    /// One more line of `sshd_config`. What is said first wins over the defaults of this harness.
    pub fn line(mut self, line: impl Into<String>) -> Self {
        self.lines.push(line.into());
        self
    }

    /// One more variable in the environment of commands.
    pub fn env(mut self, name: &str, value: impl Into<String>) -> Self {
        self.environment.push((name.to_owned(), value.into()));
        self
    }

    /// Puts a script before a program that commands find by its name.
    pub fn program(mut self, name: &str, script: &str) -> Self {
        self.programs.push((name.to_owned(), format!("#!/bin/sh\n{script}\n")));
        self
    }

    /// Starts it and waits until it listens.
    pub fn start(mut self) -> Sshd {
        let folder = tempfile::tempdir().expect("a temporary folder");
        if !self.programs.is_empty() {
            let programs = folder.path().join("programs");
            fs::create_dir(&programs).expect("a folder");
            for (name, script) in &self.programs {
                let program = programs.join(name);
                fs::write(&program, script).expect("a script");
                fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("its mode");
            }
            self = self.env("PATH", format!("{}:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", programs.display()));
        }
        for kind in &self.host_keys {
            keygen(&folder.path().join(format!("host_{kind}")), kind, "");
        }
        fs::create_dir(folder.path().join("home")).expect("a home folder");
        keygen(&folder.path().join("user_ed25519"), "ed25519", "");
        authorize(folder.path(), "user_ed25519");
        self.start_in(folder)
    }

    fn start_in(self, folder: TempDir) -> Sshd {
        // sshd started by root insists on its empty folder.
        let _ = fs::create_dir("/run/sshd");
        for _ in 0..START_TRIES {
            let port = free_port();
            write_config(folder.path(), port, &self);
            let mut server = spawn(folder.path());
            if wait_until_listening(&mut server, folder.path(), port) {
                return Sshd { folder, port, server };
            }
        }
        let log = fs::read_to_string(folder.path().join("log")).unwrap_or_default();
        panic!("sshd does not start: {log}");
    }
}

impl Sshd {
    /// What to start when nothing special is asked.
    pub fn setup() -> Setup {
        Setup { host_keys: vec!["ed25519"], lines: Vec::new(), environment: Vec::new(), programs: Vec::new() }
    }

    /// Starts a server with one ed25519 host key.
    pub fn start() -> Self {
        Self::setup().start()
    }

    /// A configuration that logs in: the authorized key, and known_hosts that holds the server's keys.
    pub fn config(&self) -> SshConfig {
        let known_hosts = self.path("known_hosts");
        if !known_hosts.exists() {
            let lines: Vec<_> = self.host_public_keys().iter().map(|key| self.known_hosts_line(key)).collect();
            fs::write(&known_hosts, lines.concat()).expect("known_hosts is written");
        }
        let mut config = SshConfig::new("127.0.0.1", user());
        config.port = self.port;
        config.identity = Identity::Files(vec![self.path("user_ed25519")]);
        config.known_hosts = vec![known_hosts];
        config.connect_timeout = Duration::from_secs(20);
        config
    }

    /// Logs in with [`Sshd::config`] and runs a command to its end.
    pub async fn run(&self, command: &str) -> Outcome {
        let client = SshClient::connect(&self.config()).await.expect("the login works");
        let exec = client.exec(command.as_bytes()).await.expect("the command starts");
        collect(exec).await
    }

    /// A path in the server's own folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Makes one more user key and lets it in. Returns the private key's path.
    pub fn add_user_key(&self, name: &str, kind: &str, passphrase: &str) -> PathBuf {
        let path = self.path(name);
        keygen(&path, kind, passphrase);
        authorize(self.folder.path(), name);
        path
    }

    /// The lines `type base64` of the host keys.
    pub fn host_public_keys(&self) -> Vec<String> {
        let mut keys: Vec<_> = fs::read_dir(self.folder.path())
            .expect("the folder is there")
            .map(|entry| entry.expect("an entry").path())
            .filter(|path| {
                path.to_string_lossy().contains("/host_") && path.extension().is_some_and(|ext| ext == "pub")
            })
            .map(|path| {
                let text = fs::read_to_string(path).expect("a public key");
                text.split_whitespace().take(2).collect::<Vec<_>>().join(" ")
            })
            .collect();
        keys.sort();
        keys
    }

    /// The known_hosts line of one of [`Sshd::host_public_keys`].
    pub fn known_hosts_line(&self, key: &str) -> String {
        format!("[127.0.0.1]:{} {key}\n", self.port)
    }

    /// The end of the server's log.
    pub fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    /// Changes the server's settings as its administrator does: the text, and a signal to read it again. Logins go on as they
    /// were.
    pub fn change(&self, from: &str, to: &str) {
        let (file, log) = (self.path("sshd_config"), "Server listening on 127.0.0.1");
        let text = fs::read_to_string(&file).expect("sshd_config");
        assert!(text.contains(from), "{from}: {text}");
        fs::write(&file, text.replacen(from, to, 1)).expect("sshd_config is written");
        let started = self.log().matches(log).count();
        signal("-HUP", &self.server.id().to_string());
        let deadline = Instant::now() + START;
        while self.log().matches(log).count() == started {
            assert!(Instant::now() < deadline, "sshd does not read its settings again: {}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Kills the server and every connection it serves, without a goodbye.
    pub fn kill(&mut self) {
        // Clients that lost their connection come back at once, and nobody may let them in meanwhile.
        signal("-STOP", &self.server.id().to_string());
        // Connections are processes in sessions of their own, so the group of the listener is not enough.
        for pid in descendants(self.server.id()) {
            signal("-KILL", &pid.to_string());
        }
        signal("-KILL", &format!("-{}", self.server.id()));
        let _ = self.server.wait();
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        self.kill();
    }
}

/// How a command ended and what it said.
#[derive(Debug, Default)]
pub struct Outcome {
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
    pub exit: Option<ExitStatus>,
}

/// Runs a command to its end without giving it input.
pub async fn collect(exec: Exec) -> Outcome {
    let Exec { mut reader, mut writer } = exec;
    let _ = writer.finish().await;
    let mut outcome = Outcome::default();
    while let Some(event) = reader.next().await {
        match event {
            ExecEvent::Stdout(bytes) => outcome.stdout.extend_from_slice(&bytes),
            ExecEvent::Stderr(bytes) => outcome.stderr.extend_from_slice(&bytes),
            ExecEvent::Exit(status) => outcome.exit = Some(status),
        }
    }
    outcome
}

/// The user that runs the tests.
pub fn user() -> String {
    let output = Command::new("id").arg("-un").output().expect("id runs");
    String::from_utf8(output.stdout).expect("a user name").trim().to_owned()
}

/// Makes a key pair.
pub fn keygen(path: &Path, kind: &str, passphrase: &str) {
    let mut command = Command::new("ssh-keygen");
    command.args(["-q", "-C", "test", "-N", passphrase, "-t", kind, "-f"]).arg(path);
    if kind == "rsa" {
        command.args(["-b", "2048"]);
    }
    assert!(command.status().expect("ssh-keygen runs").success());
}

fn authorize(folder: &Path, name: &str) {
    let file = folder.join("authorized_keys");
    let mut keys = fs::read_to_string(&file).unwrap_or_default();
    keys += &fs::read_to_string(folder.join(format!("{name}.pub"))).expect("the public key");
    fs::write(&file, keys).expect("authorized_keys is written");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("its mode is set");
}

fn write_config(folder: &Path, port: u16, setup: &Setup) {
    let shown = folder.display();
    let host_keys: Vec<String> = setup.host_keys.iter().map(|kind| format!("HostKey {shown}/host_{kind}\n")).collect();
    let environment: Vec<String> =
        setup.environment.iter().map(|(name, value)| format!(" \"{name}={value}\"")).collect();
    // Of this setting the last line wins.
    let startups =
        if setup.lines.iter().any(|line| line.starts_with("MaxStartups ")) { "" } else { "MaxStartups 100\n" };
    // The user's own start-up files are slow and say things; commands get an empty home. Only one SetEnv line counts.
    let text = format!(
        "{}\n{host_keys}SetEnv HOME={shown}/home{environment}\n\
         Port {port}\nListenAddress 127.0.0.1\nAuthorizedKeysFile {shown}/authorized_keys\nPidFile {shown}/pid\n\
         StrictModes no\nUsePAM no\nPermitRootLogin yes\nPasswordAuthentication no\n\
         KbdInteractiveAuthentication no\n{startups}MaxSessions 50\nUseDNS no\nPrintMotd no\n\
         PrintLastLog no\nLogLevel VERBOSE\n",
        setup.lines.join("\n"),
        host_keys = host_keys.concat(),
        environment = environment.concat()
    );
    fs::write(folder.join("sshd_config"), text).expect("sshd_config is written");
}

fn spawn(folder: &Path) -> Child {
    Command::new(PROGRAM)
        .args(["-D", "-f"])
        .arg(folder.join("sshd_config"))
        .arg("-E")
        .arg(folder.join("log"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .expect("sshd is installed")
}

fn wait_until_listening(server: &mut Child, folder: &Path, port: u16) -> bool {
    let deadline = Instant::now() + START;
    while Instant::now() < deadline {
        if server.try_wait().expect("sshd can be waited for").is_some() {
            return false;
        }
        // Another test's server may have drawn the same port, so an answer alone proves nothing.
        let log = fs::read_to_string(folder.join("log")).unwrap_or_default();
        if log.contains(&format!("Server listening on 127.0.0.1 port {port}."))
            && TcpStream::connect(("127.0.0.1", port)).is_ok()
        {
            return true;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let _ = server.kill();
    false
}

/// A port that nothing listens on at the moment.
pub fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    listener.local_addr().expect("it has an address").port()
}

fn signal(signal: &str, target: &str) {
    let _ = Command::new("kill").args([signal, "--", target]).stderr(Stdio::null()).status();
}

fn descendants(of: u32) -> Vec<u32> {
    let output = Command::new("ps").args(["-eo", "pid=,ppid="]).output().expect("ps runs");
    let table: Vec<(u32, u32)> = String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| {
            let mut numbers = line.split_whitespace().filter_map(|number| number.parse().ok());
            Some((numbers.next()?, numbers.next()?))
        })
        .collect();
    let mut found = vec![of];
    let mut next = 0;
    while let Some(&parent) = found.get(next) {
        found.extend(table.iter().filter(|(_, ppid)| *ppid == parent).map(|(pid, _)| *pid));
        next += 1;
    }
    found.split_off(1)
}
