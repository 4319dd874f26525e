//! A user of this system for one test, with a password and a home folder, as a NAS has them. Only root can make one.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tempfile::TempDir;

use super::sshd::Setup;
use super::{Sshd, is_root_or_skipped, until};

/// How long others may hold the list of users.
const LONGEST: Duration = Duration::from_secs(60);

/// The user; removed with the value.
pub struct Account {
    name: String,
    password: String,
    uid: u32,
    folder: TempDir,
}

impl Account {
    /// A user with `/bin/sh`, or `None` and a word about it where this is not root.
    pub fn new() -> Option<Self> {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        if !is_root_or_skipped() {
            return None;
        }
        let name = format!("nas{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let folder = tempfile::tempdir().expect("a temporary folder");
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("its mode");
        let home = folder.path().join("home");
        // Other tests may be at it.
        until("a user is made", LONGEST, || {
            let mut command = Command::new("/usr/sbin/useradd");
            command.arg("--home-dir").arg(&home).args([
                "--no-create-home",
                "--shell",
                "/bin/sh",
                "--user-group",
                &name,
            ]);
            command.stderr(Stdio::null()).status().expect("useradd runs").success()
        });
        let id = Command::new("id").args(["-u", &name]).output().expect("id runs");
        let uid = String::from_utf8(id.stdout).expect("a number").trim().parse().expect("the number of the user");
        let password = format!("velvet {name} lantern");
        let account = Self { name, password, uid, folder };
        Self::change("/usr/sbin/chpasswd", &[], &format!("{}:{}\n", account.name, account.password));
        fs::create_dir(&home).expect("a home folder");
        account.own(&home, 0o700);
        Some(account)
    }

    /// Gives it another shell, or `--home-dir`.
    pub fn modify(&self, arguments: &[&str]) {
        Self::change("/usr/sbin/usermod", &[arguments, &[&self.name]].concat(), "");
    }

    fn change(program: &str, arguments: &[&str], input: &str) {
        until(program, LONGEST, || {
            let mut command = Command::new(program);
            let mut child =
                command.args(arguments).stdin(Stdio::piped()).stderr(Stdio::null()).spawn().expect("it runs");
            child.stdin.take().expect("its input").write_all(input.as_bytes()).expect("it reads");
            child.wait().expect("it ends").success()
        });
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its password.
    pub fn password(&self) -> &str {
        &self.password
    }

    /// Its home folder.
    pub fn home(&self) -> PathBuf {
        self.folder.path().join("home")
    }

    /// Makes a folder of its own beside its home.
    pub fn make_folder(&self, name: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        fs::create_dir(&path).expect("a folder");
        self.own(&path, 0o755);
        path
    }

    /// Gives it a file or folder, with this mode.
    pub fn own(&self, path: &Path, mode: u32) {
        chown(path, Some(self.uid), Some(self.uid)).expect("its owner");
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("its mode");
    }

    /// A file that holds its password, for root alone.
    pub fn password_file(&self) -> PathBuf {
        let path = self.folder.path().join("password");
        fs::write(&path, format!("{}\n", self.password)).expect("the password");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("its mode");
        path
    }

    /// A server as a NAS has one: with the modes of home folders looked at, and keys in them.
    pub fn sshd() -> Setup {
        Sshd::setup()
            .line("StrictModes yes")
            .line("AuthorizedKeysFile .ssh/authorized_keys")
            .line("SetEnv NAS_SYNC_TEST=1")
    }

    /// The same, with passwords.
    pub fn sshd_with_passwords() -> Setup {
        Self::sshd().line("PasswordAuthentication yes")
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        let removed = || {
            let mut command = Command::new("/usr/sbin/userdel");
            // What it still runs would keep it; 6: there is no such user.
            command.args(["--force", &self.name]).stdout(Stdio::null()).stderr(Stdio::null()).status()
        };
        until("a user is removed", LONGEST, || removed().is_ok_and(|status| matches!(status.code(), Some(0 | 6))));
    }
}
