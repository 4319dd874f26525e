//! The real program, killed at one chosen system call of those by which it changes anything outside itself.
//!
//! Guarantees: calls are counted over all threads, from `exec` on; the kill comes before the chosen call has had any
//! effect, or right after it; a program that does not end is killed by a deadline, and that is told apart. Never: waits
//! for children of other threads, so tests beside it are safe. Not repeatable to the last call: threads race, and so
//! does the NAS. Linux on x86_64 only, whose registers it reads.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use nix::errno::Errno;
use nix::libc;
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

/// Longer than any traced run may take.
const LONGEST: Duration = Duration::from_secs(60);
/// Stops itself, so that the tracer can take hold of it, and becomes the program.
const WAIT_THEN_START: &str = r#"kill -STOP $$; exec "$0" "$@""#;

/// When to kill.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kill {
    /// Never: this run is only counted.
    Never,
    /// Before the call of this number does anything; the first is 0.
    Before(usize),
    /// When the call of this number has been made.
    After(usize),
}

/// What was seen.
#[derive(Debug)]
pub struct Traced {
    /// Counted calls.
    pub calls: usize,
    /// How many of each kind.
    pub kinds: BTreeMap<String, usize>,
    /// The call at which it was killed; `None` when it came to its own end.
    pub killed_at: Option<String>,
    /// The exit status; `None` when it was killed.
    pub code: Option<i32>,
}

/// What a run needs.
pub struct Start<'s> {
    pub program: &'s Path,
    pub words: &'s [&'s str],
    pub variables: Vec<(OsString, OsString)>,
    pub folder: &'s Path,
    /// Where what it says on stderr goes.
    pub stderr: File,
}

/// Runs a program under a tracer to its end.
pub fn run(start: Start<'_>, when: Kill) -> Traced {
    let Start { program, words, variables, folder, stderr } = start;
    let mut command = Command::new("/bin/sh");
    command.args(["-c", WAIT_THEN_START]).arg(program).args(words).env_clear().envs(variables).current_dir(folder);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(stderr).process_group(0);
    // The kernel knows a tracer by its thread, and so does `__WNOTHREAD`.
    std::thread::scope(|scope| scope.spawn(|| trace(&mut command, when)).join().expect("the tracer"))
}

#[expect(clippy::zombie_processes, reason = "it is waited for as what it is here: a traced process")]
fn trace(command: &mut Command, when: Kill) -> Traced {
    let child = command.spawn().expect("a shell starts");
    let leader = Pid::from_raw(i32::try_from(child.id()).expect("a process id"));
    let (ended, end) = mpsc::channel::<()>();
    let watchdog = std::thread::spawn(move || {
        let late = end.recv_timeout(LONGEST) == Err(mpsc::RecvTimeoutError::Timeout);
        if late {
            let _ = kill(leader, Signal::SIGKILL);
        }
        late
    });
    let stopped = waitpid(leader, Some(WaitPidFlag::WUNTRACED)).expect("the shell stops itself");
    assert_eq!(stopped, WaitStatus::Stopped(leader, Signal::SIGSTOP));
    let options = Options::PTRACE_O_TRACESYSGOOD
        | Options::PTRACE_O_TRACECLONE
        | Options::PTRACE_O_TRACEFORK
        | Options::PTRACE_O_TRACEVFORK
        | Options::PTRACE_O_TRACEEXEC
        | Options::PTRACE_O_EXITKILL;
    ptrace::seize(leader, options).expect("an own child can be traced");
    kill(leader, Signal::SIGCONT).expect("it goes on");
    let mut tracer = Tracer {
        leader,
        when,
        started: false,
        after: None,
        seen: Traced { calls: 0, kinds: BTreeMap::new(), killed_at: None, code: None },
    };
    tracer.follow();
    drop(ended);
    assert!(!watchdog.join().expect("the watchdog"), "a traced run does not end");
    tracer.seen
}

struct Tracer {
    leader: Pid,
    when: Kill,
    /// The program has taken the place of the shell.
    started: bool,
    /// The thread whose chosen call is under way, and that call.
    after: Option<(Pid, String)>,
    seen: Traced,
}

impl Tracer {
    fn follow(&mut self) {
        loop {
            let any = Pid::from_raw(-1);
            let status = match waitpid(any, Some(WaitPidFlag::__WALL | WaitPidFlag::__WNOTHREAD)) {
                Ok(status) => status,
                Err(Errno::EINTR) => continue,
                Err(Errno::ECHILD) => return,
                Err(error) => panic!("waiting for what is traced: {error}"),
            };
            let (pid, signal) = match status {
                WaitStatus::Exited(pid, code) if pid == self.leader => {
                    self.seen.code = Some(code);
                    continue;
                }
                WaitStatus::PtraceSyscall(pid) => {
                    self.system_call(pid);
                    (pid, None)
                }
                WaitStatus::PtraceEvent(pid, _, event) => {
                    self.started |= event == libc::PTRACE_EVENT_EXEC;
                    (pid, None)
                }
                WaitStatus::Stopped(pid, signal) => (pid, Some(signal)),
                _ => continue,
            };
            match ptrace::syscall(pid, signal) {
                // It was killed meanwhile.
                Ok(()) | Err(Errno::ESRCH) => {}
                Err(error) => panic!("letting what is traced go on: {error}"),
            }
        }
    }

    fn system_call(&mut self, pid: Pid) {
        if !self.started || self.seen.killed_at.is_some() {
            return;
        }
        let Ok(info) = ptrace::syscall_info(pid) else { return };
        if info.op != libc::PTRACE_SYSCALL_INFO_ENTRY {
            if let Some((_, call)) = self.after.take_if(|(thread, _)| *thread == pid) {
                self.kill(call);
            }
            return;
        }
        let Some(call) = changing_call(pid) else { return };
        let number = self.seen.calls;
        self.seen.calls += 1;
        *self.seen.kinds.entry(call.clone()).or_default() += 1;
        if self.when == Kill::Before(number) {
            self.kill(call);
        } else if self.when == Kill::After(number) {
            self.after = Some((pid, call));
        }
    }

    /// A process that is killed while it stands at the entry of a call never makes that call.
    fn kill(&mut self, call: String) {
        kill(self.leader, Signal::SIGKILL).expect("it can be killed");
        self.seen.killed_at = Some(call);
    }
}

/// The call at whose entry a thread stands, if it can change anything outside the process: what it does, to what.
fn changing_call(pid: Pid) -> Option<String> {
    let registers = ptrace::getregs(pid).ok()?;
    let (name, subject) = match registers.orig_rax.cast_signed() {
        libc::SYS_write => ("write", Some(registers.rdi)),
        libc::SYS_pwrite64 => ("pwrite64", Some(registers.rdi)),
        libc::SYS_writev => ("writev", Some(registers.rdi)),
        libc::SYS_pwritev => ("pwritev", Some(registers.rdi)),
        libc::SYS_pwritev2 => ("pwritev2", Some(registers.rdi)),
        libc::SYS_sendto => ("sendto", Some(registers.rdi)),
        libc::SYS_sendmsg => ("sendmsg", Some(registers.rdi)),
        libc::SYS_sendmmsg => ("sendmmsg", Some(registers.rdi)),
        libc::SYS_connect => ("connect", Some(registers.rdi)),
        libc::SYS_shutdown => ("shutdown", Some(registers.rdi)),
        libc::SYS_fsync => ("fsync", Some(registers.rdi)),
        libc::SYS_fdatasync => ("fdatasync", Some(registers.rdi)),
        libc::SYS_ftruncate => ("ftruncate", Some(registers.rdi)),
        libc::SYS_fallocate => ("fallocate", Some(registers.rdi)),
        libc::SYS_openat if creates(registers.rdx) => ("openat create", None),
        libc::SYS_open if creates(registers.rsi) => ("open create", None),
        libc::SYS_rename | libc::SYS_renameat | libc::SYS_renameat2 => ("rename", None),
        libc::SYS_unlink | libc::SYS_unlinkat => ("unlink", None),
        libc::SYS_mkdir | libc::SYS_mkdirat => ("mkdir", None),
        libc::SYS_rmdir => ("rmdir", None),
        libc::SYS_link | libc::SYS_linkat | libc::SYS_symlink | libc::SYS_symlinkat => ("link", None),
        libc::SYS_chmod | libc::SYS_fchmod | libc::SYS_fchmodat => ("chmod", None),
        libc::SYS_utimensat => ("utimensat", None),
        _ => return None,
    };
    let Some(file) = subject else { return Some(name.to_owned()) };
    let target = std::fs::read_link(format!("/proc/{pid}/fd/{file}")).unwrap_or_default();
    let target = target.to_string_lossy();
    // Threads that wake each other.
    if target.starts_with("anon_inode:") {
        return None;
    }
    let target = target.rsplit('/').next().unwrap_or_default().split(':').next().unwrap_or_default();
    // Sockets and folders of trials have numbers.
    Some(format!("{name} {}", target.trim_end_matches(|c: char| c.is_ascii_digit())))
}

fn creates(flags: u64) -> bool {
    flags & u64::from(libc::O_CREAT.cast_unsigned()) != 0
}
