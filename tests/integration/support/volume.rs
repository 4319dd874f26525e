//! A file system of its own in a file: ext4, whose power can be cut, or NTFS that takes no notice of case.
//!
//! Needs root and loop devices, or FUSE; where they are missing it says so and there is none. Unmounts itself, whatever happens.

use std::fs::{self, File};
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::{Mounted, skip};

/// Makes ext4 behave as if the machine had lost power: nothing more reaches the disk. Perl is part of every Debian, and
/// an ioctl is beyond what safe Rust offers.
pub const SHUT_DOWN: &str = r#"
    open(my $folder, "<", $ARGV[0]) or die "open: $!";
    my $flag = pack("I", $ARGV[1]);
    ioctl($folder, 0x8004587D, $flag) or die "EXT4_IOC_SHUTDOWN: $!";
"#;
/// Puts a copy of the disk in its place before it is mounted again. Each mount namespace that anybody made meanwhile holds what
/// was mounted then; as long as it does, the same image would give the file system that was shut down, whose files cannot be read.
pub const RENEW: &str = r#"cp --sparse=always "$IMAGE" "$IMAGE.copy" && mv "$IMAGE.copy" "$IMAGE""#;
/// How long whoever still uses it may take to let go.
const PATIENCE: Duration = Duration::from_secs(20);

/// What still reaches the disk when the power is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// Everything: a file system that was frozen in order.
    Synced,
    /// The journal as it is in memory.
    JournalFlushed,
    /// Only what has reached the disk already: a real power cut.
    Nothing,
}

impl Cut {
    pub const ALL: [Self; 3] = [Self::Nothing, Self::JournalFlushed, Self::Synced];

    fn flag(self) -> &'static str {
        match self {
            Self::Synced => "0",
            Self::JournalFlushed => "1",
            Self::Nothing => "2",
        }
    }
}

/// A mounted file system.
pub struct Volume {
    /// What the image lies on, where that is no ordinary folder.
    store: Option<Mounted>,
    /// Whether it has a journal. That is written when somebody asks for it, not because of the time that has passed.
    journal: bool,
    folder: TempDir,
}

impl Volume {
    /// An empty one; `None`, and a line that says why, where it cannot be had.
    pub fn ext4(mebibytes: u64) -> Option<Self> {
        Self::empty().made(mebibytes)
    }

    /// An empty one whose disk fails as soon as [`Volume::fail`] says so.
    pub fn failing(journal: bool) -> Option<Self> {
        let mut volume = Self::empty();
        volume.journal = journal;
        volume.store = Some(Mounted::in_memory(&volume.folder.path().join("store"), 8 << 20)?);
        volume.made(64)
    }

    /// From now on what is new to the disk does not reach it, and that is an error of the disk: the image has holes, and what
    /// it lies on is full.
    pub fn fail(&self) {
        self.flush();
        let mut filler = File::create(self.folder.path().join("store/filler")).expect("a file");
        let full = std::iter::repeat_with(|| filler.write_all(&[0; 4096])).find_map(Result::err);
        assert_eq!(full.map(|error| error.kind()), Some(ErrorKind::StorageFull));
    }

    fn empty() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        for name in ["mounted", "store"] {
            fs::create_dir(folder.path().join(name)).expect("a folder");
        }
        Self { store: None, journal: true, folder }
    }

    fn made(self, mebibytes: u64) -> Option<Self> {
        File::create(self.image()).and_then(|file| file.set_len(mebibytes << 20)).expect("an image");
        let made = run(Command::new("mkfs.ext4")
            .args(["-q", "-F"])
            .args(["-O", if self.journal { "has_journal" } else { "^has_journal" }])
            .arg(self.image()));
        let made = made.and_then(|()| self.mount());
        match made {
            Ok(()) => Some(self),
            Err(reason) => {
                skip(&format!("a loop-mounted ext4 cannot be had here: {reason}"));
                None
            }
        }
    }

    /// An empty one on which `a` and `A` are one file, case being kept as first written: what exFAT and SMB shares are like.
    pub fn caseless(mebibytes: u64) -> Option<Self> {
        let volume = Self::empty();
        File::create(volume.image()).and_then(|file| file.set_len(mebibytes << 20)).expect("an image");
        let made = run(Command::new("mkntfs").args(["-q", "-F", "-f"]).arg(volume.image())).and_then(|()| {
            run(Command::new("lowntfs-3g").args(["-o", "ignore_case"]).arg(volume.image()).arg(volume.path()))
        });
        match made {
            Ok(()) => Some(volume),
            Err(reason) => {
                skip(&format!("an NTFS over FUSE cannot be had here: {reason}"));
                None
            }
        }
    }

    /// Where it is mounted.
    pub fn path(&self) -> PathBuf {
        self.folder.path().join("mounted")
    }

    /// The file that holds it.
    pub fn image(&self) -> PathBuf {
        self.folder.path().join("store/image")
    }

    /// Cuts the power and brings it back.
    pub fn cut_power(&self, cut: Cut) {
        run(Command::new("perl").args(["-e", SHUT_DOWN]).arg(self.path()).arg(cut.flag()))
            .expect("it can be shut down");
        self.unmount().expect("it can be unmounted");
        run(Command::new("sh").args(["-ec", RENEW]).env("IMAGE", self.image())).expect("the disk can be copied");
        self.mount().expect("its journal can be replayed");
    }

    /// Brings all that was written to the disk.
    pub fn flush(&self) {
        run(Command::new("sync").arg("--file-system").arg(self.path())).expect("sync runs");
    }

    fn mount(&self) -> Result<(), String> {
        let options = if self.journal { "loop,commit=600" } else { "loop" };
        run(Command::new("mount").args(["-t", "ext4", "-o", options]).arg(self.image()).arg(self.path()))
    }

    fn unmount(&self) -> Result<(), String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match run(Command::new("umount").arg(self.path())) {
                Err(reason) if reason.contains("busy") && Instant::now() < deadline => {
                    std::thread::sleep(Duration::from_millis(5));
                }
                result => return result,
            }
        }
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        if is_mounted(&self.path()) && self.unmount().is_err() {
            let _ = run(Command::new("umount").arg("--lazy").arg(self.path()));
        }
    }
}

fn is_mounted(path: &Path) -> bool {
    fs::read_to_string("/proc/mounts").is_ok_and(|text| text.contains(&format!(" {} ", path.display())))
}

fn run(command: &mut Command) -> Result<(), String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let Output { status, stderr, .. } = command.output().map_err(|error| format!("{program}: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("{program}: {}", String::from_utf8_lossy(&stderr).trim())) }
}
