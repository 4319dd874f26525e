//! The real program, run as a person or a script runs it.
//!
//! Whatever the test is about, each run also proves that: neither `ssh` nor `rsync` of this side was started; no control
//! character but the line end came out; no secret did; and with `--json` stdout held one object.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use nix::libc;
use serde_json::Value;

use super::Site;

/// The program under test.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_nas-sync");
/// Longer than any run of a test may take.
const LONGEST: Duration = Duration::from_secs(90);

/// Commands in an environment of their own. `variables` may be changed.
pub struct Cli {
    pub variables: BTreeMap<String, OsString>,
    folder: PathBuf,
    program: PathBuf,
    secrets: Vec<String>,
}

/// A run that has come to its end.
pub struct Run {
    /// The exit status; `None` when a signal ended it.
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
    pub elapsed: Duration,
    shown: String,
}

/// A run that goes on.
pub struct Running {
    child: Child,
    started: Instant,
    shown: String,
    trap: PathBuf,
    secrets: Vec<String>,
    wants_json: bool,
}

impl Cli {
    /// The program with the settings of a site, and in place of the programs of this side traps that tell on it.
    pub fn new(site: &Site) -> Self {
        let trap = site.path("trap");
        if !trap.exists() {
            fs::create_dir(&trap).expect("a folder");
            for name in ["ssh", "rsync", "sh", "scp", "sftp"] {
                let started = trap.join("started");
                write_program(&trap.join(name), &format!("#!/bin/sh\necho {name} >>{}\nexit 99\n", started.display()));
            }
        }
        let mut variables: BTreeMap<String, OsString> =
            site.variables.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        variables.insert("PATH".into(), trap.into());
        variables.insert("HOME".into(), site.path("").into());
        let key = fs::read_to_string(site.sshd.path("user_ed25519")).expect("the private key");
        let secrets = key.lines().filter(|line| line.len() > 40 && !line.starts_with('-')).map(ToOwned::to_owned);
        Self { variables, folder: site.path(""), program: PROGRAM.into(), secrets: secrets.collect() }
    }

    /// The same program under the name `rsync`.
    pub fn named_rsync(mut self) -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let folder = self.folder.join(format!("bin{}", NUMBER.fetch_add(1, Ordering::Relaxed)));
        fs::create_dir(&folder).expect("a folder");
        self.program = folder.join("rsync");
        std::os::unix::fs::symlink(PROGRAM, &self.program).expect("a symlink");
        self
    }

    /// Sets one variable.
    pub fn set(&mut self, name: &str, value: impl Into<OsString>) -> &mut Self {
        self.variables.insert(name.to_owned(), value.into());
        self
    }

    /// Takes one variable away.
    pub fn unset(&mut self, name: &str) -> &mut Self {
        self.variables.remove(name);
        self
    }

    /// One more text that may never be printed.
    pub fn keep_secret(&mut self, text: &str) {
        self.secrets.push(text.to_owned());
    }

    /// The folder in which it runs.
    pub fn working_in(&mut self, folder: impl Into<PathBuf>) -> &mut Self {
        self.folder = folder.into();
        self
    }

    /// Starts it.
    pub fn start<W: AsRef<OsStr>>(&self, words: &[W]) -> Running {
        self.spawn(Command::new(&self.program), words, Stdio::null())
    }

    /// Starts it as if on another machine: what it says about its processes cannot be looked up from here.
    pub fn start_apart<W: AsRef<OsStr>>(&self, words: &[W]) -> Running {
        let mut command = Command::new("/usr/bin/unshare");
        command.args(["--pid", "--fork", "--mount-proc", "--kill-child"]).arg(&self.program);
        self.spawn(command, words, Stdio::null())
    }

    /// Starts it, and gives what it reads from.
    pub fn start_to_read<W: AsRef<OsStr>>(&self, words: &[W]) -> (Running, ChildStdin) {
        let mut running = self.spawn(Command::new(&self.program), words, Stdio::piped());
        let input = running.child.stdin.take().expect("a pipe");
        (running, input)
    }

    /// What would be started, with nothing said about its input and outputs.
    pub fn command<W: AsRef<OsStr>>(&self, words: &[W]) -> Command {
        self.prepared(Command::new(&self.program), words)
    }

    fn prepared<W: AsRef<OsStr>>(&self, mut command: Command, words: &[W]) -> Command {
        command.args(words).env_clear().envs(&self.variables).current_dir(&self.folder);
        command
    }

    fn spawn<W: AsRef<OsStr>>(&self, command: Command, words: &[W], input: Stdio) -> Running {
        let mut command = self.prepared(command, words);
        command.stdin(input).stdout(Stdio::piped()).stderr(Stdio::piped());
        let shown: Vec<_> = words.iter().map(|word| word.as_ref().to_string_lossy().into_owned()).collect();
        Running {
            child: command.spawn().expect("the program starts"),
            started: Instant::now(),
            shown: shown.join(" "),
            trap: PathBuf::from(&self.variables["PATH"]),
            secrets: self.secrets.clone(),
            wants_json: words.iter().any(|word| word.as_ref() == "--json"),
        }
    }

    /// Runs it to its end.
    pub fn run<W: AsRef<OsStr>>(&self, words: &[W]) -> Run {
        self.start(words).wait()
    }

    /// Starts a line with fewer of something than usual: `flag` is one of the shell's `ulimit`.
    pub fn start_limited(&self, flag: &str, limit: u32, line: &str) -> Running {
        let script = format!("ulimit {flag} {limit} && exec \"$0\" \"$@\"");
        let mut command = Command::new("/bin/sh");
        command.args(["-c", &script]).arg(&self.program);
        self.spawn(command, &line.split_whitespace().collect::<Vec<_>>(), Stdio::null())
    }

    /// Runs a line of words without blanks in them to its end.
    pub fn line(&self, line: &str) -> Run {
        self.run(&line.split_whitespace().collect::<Vec<_>>())
    }

    /// Registers files and gives their ids back.
    pub fn add(&self, user: i64, paths: &[PathBuf]) -> Vec<i64> {
        let user = user.to_string();
        let mut words: Vec<&OsStr> = ["add", "--json", "--user", &user, "--"].into_iter().map(OsStr::new).collect();
        words.extend(paths.iter().map(|path| path.as_os_str()));
        let run = self.run(&words);
        run.ends(0);
        run.json()["ids"].as_array().expect("ids").iter().map(|id| id.as_i64().expect("an id")).collect()
    }
}

impl Running {
    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The most memory that it has taken so far, in KB; `None` once it has ended.
    pub fn peak_memory(&self) -> Option<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
        line.trim().strip_suffix(" kB")?.parse().ok()
    }

    /// What it prints, for a test that reads it while it runs; what comes at its end then has no stdout.
    pub fn take_stdout(&mut self) -> ChildStdout {
        self.child.stdout.take().expect("a pipe")
    }

    /// Sends it a signal such as `TERM`.
    pub fn signal(&self, name: &str) {
        let target = self.child.id().to_string();
        let status = Command::new("kill").args(["-s", name, &target]).status().expect("kill runs");
        assert!(status.success(), "{}: it is gone already", self.shown);
    }

    /// Waits until something is so while it runs; it must not end before.
    #[track_caller]
    pub fn until(&mut self, so: impl Fn() -> bool) {
        while !so() {
            let ended = self.child.try_wait().expect("it can be waited for");
            assert!(ended.is_none() && self.started.elapsed() < LONGEST, "{}: {ended:?} too early", self.shown);
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Whether it waits for the database, which somebody else holds: of what it does only SQLite sleeps by the clock.
    pub fn waits_for_the_database(&self) -> bool {
        self.system_calls().contains(&Some(libc::SYS_clock_nanosleep))
    }

    /// Whether all it has to do is done, and it waits for others: each of its threads waits for another one or for a
    /// socket.
    pub fn is_at_rest(&self) -> bool {
        let waits = [
            libc::SYS_futex,
            libc::SYS_epoll_pwait,
            #[cfg(target_arch = "x86_64")]
            libc::SYS_epoll_wait,
        ];
        let calls = self.system_calls();
        !calls.is_empty() && calls.iter().all(|call| call.is_some_and(|call| waits.contains(&call)))
    }

    /// The system call that each of its threads is in; `None` for one that runs.
    fn system_calls(&self) -> Vec<Option<i64>> {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.child.id())).into_iter().flatten().flatten();
        // A thread may end meanwhile.
        let lines = tasks.filter_map(|task| fs::read_to_string(task.path().join("syscall")).ok());
        lines.map(|line| line.split(' ').next().and_then(|number| number.parse().ok())).collect()
    }

    /// Waits for its end and makes the checks that hold for every run.
    pub fn wait(self) -> Run {
        let Self { child, started, shown, trap, secrets, wants_json } = self;
        let output = wait_at_most(child, &shown);
        let elapsed = started.elapsed();
        if let Ok(names) = fs::read_to_string(trap.join("started")) {
            panic!("{shown}: it started {names}");
        }
        let stdout = printable(&shown, "stdout", &output.stdout);
        let stderr = printable(&shown, "stderr", &output.stderr);
        for secret in secrets {
            assert!(!stdout.contains(&secret) && !stderr.contains(&secret), "{shown}: a secret was printed");
        }
        let run = Run { code: output.status.code(), stdout, stderr, elapsed, shown };
        if wants_json {
            run.json();
        }
        run
    }
}

impl Run {
    /// Insists on an exit status.
    #[track_caller]
    pub fn ends(&self, code: i32) -> &Self {
        assert_eq!(self.code, Some(code), "{}", self.all());
        self
    }

    /// The one object on stdout.
    #[track_caller]
    pub fn json(&self) -> Value {
        let mut objects = serde_json::Deserializer::from_str(&self.stdout).into_iter::<Value>();
        let object = objects.next().and_then(Result::ok).unwrap_or_else(|| panic!("no object: {}", self.all()));
        assert!(object.is_object() && objects.next().is_none(), "not one object: {}", self.all());
        object
    }

    /// All that there is to see, for failures.
    pub fn all(&self) -> String {
        let Self { code, stdout, stderr, elapsed, shown } = self;
        format!("`{shown}` ended with {code:?} after {elapsed:?}\nstdout: {stdout}\nstderr: {stderr}")
    }
}

/// Writes an executable script.
pub fn write_program(path: &Path, text: &str) {
    fs::write(path, text).expect("a script");
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("its mode");
}

/// A word of bytes.
pub fn word(bytes: &[u8]) -> OsString {
    OsStr::from_bytes(bytes).to_owned()
}

fn wait_at_most(mut child: Child, shown: &str) -> Output {
    // Both pipes are read on threads of their own, so that a program that says much is never stopped by it.
    let read = |pipe: Option<Box<dyn std::io::Read + Send>>| {
        std::thread::spawn(move || {
            let mut bytes = Vec::new();
            if let Some(mut pipe) = pipe {
                pipe.read_to_end(&mut bytes).expect("it can be read");
            }
            bytes
        })
    };
    let stdout = read(child.stdout.take().map(|pipe| Box::new(pipe) as _));
    let stderr = read(child.stderr.take().map(|pipe| Box::new(pipe) as _));
    let deadline = Instant::now() + LONGEST;
    let status = loop {
        match child.try_wait().expect("it can be waited for") {
            Some(status) => break status,
            None if Instant::now() > deadline => {
                child.kill().expect("it is killed");
                let said = stderr.join().expect("stderr");
                panic!("`{shown}` does not end; it said {}", String::from_utf8_lossy(&said));
            }
            None => std::thread::sleep(Duration::from_millis(5)),
        }
    };
    Output { status, stdout: stdout.join().expect("stdout"), stderr: stderr.join().expect("stderr") }
}

fn printable(shown: &str, which: &str, bytes: &[u8]) -> String {
    let text = String::from_utf8(bytes.to_vec()).unwrap_or_else(|error| panic!("{shown}: {which}: {error}"));
    // rsync's lines about progress are written over, wherever they go.
    let is_progress = |c: char| c == '\r' && shown.contains("progress");
    let odd = |c: char| {
        c != '\n' && !is_progress(c) && (c.is_control() || ('\u{200b}'..='\u{200f}').contains(&c) || c == '\u{202e}')
    };
    assert!(!text.contains(odd), "{shown}: a control character on {which}: {text:?}");
    text
}
