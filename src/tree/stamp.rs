//! What tells whether a file is still the one that was read.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::Stat;

use super::attrs::{mtime_of, nanoseconds, size_of};
use crate::wire::flist::Mtime;

/// Kernels stamp with the time of the last timer tick, 10 ms apart at worst: two changes within one tick look alike.
pub(super) const TICK: Duration = Duration::from_millis(20);
/// The coarsest times that file systems keep (FAT). Others with whole seconds: ext4 with inodes of 128 bytes, HFS+, NFS 2.
const WHOLE_SECONDS: Duration = Duration::from_secs(2);

/// What makes a file's content the same as before: any write, truncation or replacement changes one of these.
///
/// Not seen: stores through a shared memory mapping into a page that was already dirty, which the kernel does not
/// stamp.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// Device number.
    pub dev: u64,
    /// Inode number.
    pub ino: u64,
    /// Length in bytes.
    pub size: u64,
    /// Last change of content.
    pub mtime: Mtime,
    /// Last change of content or attributes; unlike `mtime` it cannot be set back.
    pub ctime: Mtime,
}

impl Stamp {
    pub(super) fn of(stat: &Stat) -> Self {
        Self {
            dev: stat.st_dev,
            ino: stat.st_ino,
            size: size_of(stat),
            mtime: mtime_of(stat),
            ctime: Mtime { seconds: stat.st_ctime, nanoseconds: nanoseconds(stat.st_ctime_nsec) },
        }
    }

    /// How long this stamp has to wait until it proves something: the last change must be older than the steps in which its
    /// file system counts time, or another change would look the same. That they are whole seconds shows in the stamp
    /// itself; that a finer time is one by chance happens once in a million, and costs the wait.
    pub(super) fn has_to_wait(&self) -> Option<Duration> {
        let step = if self.ctime.nanoseconds == 0 { WHOLE_SECONDS + TICK } else { TICK };
        step.checked_sub(self.age()?)
    }

    /// How long ago `ctime` was; `None` when it lies ahead of the clock.
    fn age(&self) -> Option<Duration> {
        let changed = Duration::new(u64::try_from(self.ctime.seconds).ok()?, self.ctime.nanoseconds);
        SystemTime::now().duration_since(UNIX_EPOCH).ok()?.checked_sub(changed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_seconds_have_to_be_older_than_finer_times() {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let waits = |ago: Duration, nanoseconds| {
            let seconds = i64::try_from(now.checked_sub(ago).unwrap().as_secs()).unwrap();
            let ctime = Mtime { seconds, nanoseconds };
            Stamp { dev: 1, ino: 1, size: 1, mtime: ctime, ctime }.has_to_wait().is_some()
        };
        assert!(waits(Duration::from_millis(1), 0) && waits(Duration::from_secs(1), 0));
        assert!(!waits(Duration::from_secs(4), 0) && !waits(Duration::from_secs(2), 1));
    }
}
