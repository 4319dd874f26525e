//! A real PostgreSQL server for one test: on a unix socket and on loopback, with a cluster of its own, and gone with the value
//! that stands for it. It runs as an ordinary user, because it refuses to run as root.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::{skip, until};

/// Who runs the server when root runs the test: nobody.
const NOBODY: u32 = 65534;
/// How long a server may take to start.
const START: Duration = Duration::from_secs(30);
/// Ports are drawn; another program may be faster.
const START_TRIES: usize = 5;
/// Its settings. What it writes need not survive a power cut, and a test does not wait for disks.
const SETTINGS: &str = "
    listen_addresses = '127.0.0.1'
    max_connections = 60
    fsync = off
    logging_collector = off
    log_line_prefix = '%m [%p] '
    shared_buffers = 32MB
    restart_after_crash = on
";

/// A running server.
pub struct Postgres {
    folder: TempDir,
    port: u16,
    server: Option<Child>,
}

impl Postgres {
    /// A server with the database `app` and the superuser `postgres`, whom it lets in from this machine; `None`: there is
    /// none on this machine, and that was said.
    pub fn start() -> Option<Self> {
        Self::with("", "")
    }

    /// The same with further settings, and further lines of `pg_hba.conf` before its own.
    pub fn with(settings: &str, hba: &str) -> Option<Self> {
        let Some(programs) = programs() else {
            skip("PostgreSQL is not installed (Debian: postgresql)");
            return None;
        };
        let template = template(&programs);
        let folder = tempfile::tempdir().expect("a temporary folder");
        open_to_all(folder.path());
        let copied = Command::new("cp").arg("-a").arg(&template).arg(folder.path().join("data")).status();
        assert!(copied.expect("cp runs").success(), "the cluster is copied");
        let mut new = Self { folder, port: 0, server: None };
        for file in ["server.crt", "server.key", "ca.crt"] {
            // Made once, with the cluster.
            fs::copy(template.join(file), new.path(file)).expect("a certificate");
        }
        let data = new.path("data");
        let hba = format!(
            "{hba}\nlocal all all trust\nhost all postgres 127.0.0.1/32 trust\nhost all all 127.0.0.1/32 scram-sha-256\n"
        );
        fs::write(data.join("pg_hba.conf"), hba).expect("pg_hba.conf");
        let tls = "ssl = on\nssl_cert_file = 'server.crt'\nssl_key_file = 'server.key'\n";
        fs::write(data.join("postgresql.conf"), format!("{SETTINGS}{tls}{settings}")).expect("postgresql.conf");
        for _ in 0..START_TRIES {
            new.port = TcpListener::bind("127.0.0.1:0").and_then(|port| port.local_addr()).expect("a port").port();
            if new.go() {
                new.run_sql("postgres", "CREATE DATABASE app");
                return Some(new);
            }
        }
        panic!("PostgreSQL does not start: {}", new.log());
    }

    /// Starts it on its port; `false`: it has ended.
    fn go(&mut self) -> bool {
        let programs = programs().expect("it is installed");
        let log = fs::File::options().create(true).append(true).open(self.path("log")).expect("a log");
        let mut command = Command::new(programs.join("postgres"));
        command.arg("-D").arg(self.path("data")).arg("-k").arg(self.folder.path()).arg("-p").arg(self.port.to_string());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let mut server = as_nobody(&mut command).spawn().expect("postgres starts");
        let deadline = Instant::now() + START;
        loop {
            if server.try_wait().expect("it can be waited for").is_some() {
                return false;
            }
            let ready = self.psql("postgres", "postgres", "SELECT 1");
            if ready.is_ok() {
                self.server = Some(server);
                return true;
            }
            assert!(Instant::now() < deadline, "PostgreSQL does not start: {}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// A file beside the cluster: `server.crt`, `ca.crt`, `log`.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The port, on loopback and in the name of the socket.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The URL of the database `app` over the socket.
    pub fn url(&self, user: &str) -> String {
        self.url_of(user, "app")
    }

    /// The URL of another database.
    pub fn url_of(&self, user: &str, database: &str) -> String {
        format!("postgresql://{user}@/{database}?host={}&port={}", self.folder.path().display(), self.port)
    }

    /// The URL of the database `app` over TCP. `login` is a user, or a user and a password.
    pub fn tcp(&self, login: &str, parameters: &str) -> String {
        format!("postgresql://{login}@127.0.0.1:{}/app?{parameters}", self.port)
    }

    /// What a statement gives, as the superuser: fields parted by `|`, a row a line.
    #[track_caller]
    pub fn sql(&self, sql: &str) -> String {
        self.run_sql("app", sql)
    }

    /// A number.
    #[track_caller]
    pub fn number(&self, sql: &str) -> i64 {
        self.number_in("app", sql)
    }

    /// A number, asked of another database.
    #[track_caller]
    pub fn number_in(&self, database: &str, sql: &str) -> i64 {
        let text = self.run_sql(database, sql);
        text.parse().unwrap_or_else(|error| panic!("{sql}: {text}: {error}"))
    }

    #[track_caller]
    fn run_sql(&self, database: &str, sql: &str) -> String {
        self.psql("postgres", database, sql).unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    /// The same as another user. Fails with what `psql` says.
    pub fn psql(&self, user: &str, database: &str, sql: &str) -> Result<String, String> {
        let programs = programs().expect("it is installed");
        let mut command = Command::new(programs.join("psql"));
        command.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-U", user, "-d", database, "-c", sql]);
        command.arg("-h").arg(self.folder.path()).arg("-p").arg(self.port.to_string());
        let output = command.stdin(Stdio::null()).output().expect("psql runs");
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned());
        }
        Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
    }

    /// Cuts every connection of nas-sync, and says how many there were.
    pub fn cut(&self) -> i64 {
        self.number(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
             WHERE pid <> pg_backend_pid() AND application_name <> 'psql' AND backend_type = 'client backend'",
        )
    }

    /// Stops it, throwing everybody out.
    pub fn stop(&mut self) {
        let Some(mut server) = self.server.take() else { return };
        signal(&server, "INT");
        until("PostgreSQL stops", START, || server.try_wait().expect("it can be waited for").is_some());
    }

    /// Starts it again after [`Postgres::stop`].
    pub fn resume(&mut self) {
        assert!(self.go(), "PostgreSQL does not start again: {}", self.log());
    }

    /// Has all of it stand still, as a machine does that hangs: connections stay, and nobody answers.
    pub fn freeze(&self) {
        self.signal_all("STOP");
    }

    /// Lets it go on after [`Postgres::freeze`].
    pub fn thaw(&self) {
        self.signal_all("CONT");
    }

    fn signal_all(&self, name: &str) {
        let Some(server) = &self.server else { return };
        // First the one that makes the others.
        signal(server, name);
        let id = server.id();
        let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).expect("its processes");
        // One that has ended meanwhile is not missed.
        let _ =
            Command::new("kill").args(["-s", name]).args(children.split_whitespace()).stderr(Stdio::null()).status();
    }

    /// What it has written to its log.
    pub fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.signal_all("CONT");
        if let Some(server) = &mut self.server {
            signal(server, "QUIT");
            let _ = server.wait();
        }
    }
}

fn signal(server: &Child, name: &str) {
    let status = Command::new("kill").args(["-s", name, &server.id().to_string()]).status();
    assert!(status.expect("kill runs").success(), "PostgreSQL is gone already");
}

/// Where Debian's packages put the programs of a server: those of the newest version.
fn programs() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let folders = versions.map(|version| version.path().join("bin")).filter(|folder| folder.join("initdb").exists());
    folders.max()
}

/// A program that root must not run.
pub fn as_nobody(command: &mut Command) -> &mut Command {
    if rustix::process::geteuid().is_root() { command.uid(NOBODY).gid(NOBODY) } else { command }
}

/// Makes a folder that of the user who runs the server.
fn open_to_all(folder: &Path) {
    if rustix::process::geteuid().is_root() {
        chown(folder, Some(NOBODY), Some(NOBODY)).expect("its owner");
    }
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).expect("its mode");
}

/// A cluster to copy, made once.
fn template(programs: &Path) -> PathBuf {
    static MADE: Mutex<Option<PathBuf>> = Mutex::new(None);
    let mut made = MADE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if let Some(made) = &*made {
        return made.clone();
    }
    let version = programs.parent().and_then(Path::file_name).expect("a version").to_string_lossy().into_owned();
    // Another run of the tests may do the same; whoever is first leaves it for all that follow.
    let folder =
        std::env::temp_dir().join(format!("nas-sync-postgres-{version}-{}", rustix::process::geteuid().as_raw()));
    if !folder.exists() {
        let own = tempfile::tempdir().expect("a temporary folder");
        open_to_all(own.path());
        let data = own.path().join("data");
        let mut command = Command::new(programs.join("initdb"));
        command.arg("-D").arg(&data).args([
            "-U",
            "postgres",
            "-A",
            "trust",
            "-E",
            "UTF8",
            "--locale=C.UTF-8",
            "--no-sync",
        ]);
        let output = as_nobody(&mut command).current_dir(own.path()).output().expect("initdb runs");
        assert!(output.status.success(), "initdb: {}", String::from_utf8_lossy(&output.stderr));
        certificates(&data);
        let _ = fs::rename(&data, &folder);
    }
    *made = Some(folder.clone());
    folder
}

/// A certificate for `localhost` (not for its address), signed by an authority of its own.
fn certificates(folder: &Path) {
    let openssl = |words: &str| {
        let mut command = Command::new("openssl");
        command.args(words.split(' ')).current_dir(folder);
        let output = as_nobody(&mut command).output().expect("openssl runs");
        assert!(output.status.success(), "openssl {words}: {}", String::from_utf8_lossy(&output.stderr));
    };
    openssl("req -x509 -newkey rsa:2048 -nodes -days 3650 -subj /CN=authority -keyout ca.key -out ca.crt");
    openssl(
        "req -newkey rsa:2048 -nodes -subj /CN=localhost -keyout server.key -out server.csr -addext subjectAltName=DNS:localhost",
    );
    fs::write(folder.join("extensions"), "subjectAltName=DNS:localhost\nbasicConstraints=CA:FALSE\n").expect("a file");
    openssl("x509 -req -in server.csr -CA ca.crt -CAkey ca.key -days 3650 -out server.crt -extfile extensions");
}
