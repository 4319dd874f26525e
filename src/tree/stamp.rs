//! What tells whether a file is still the one that was read.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::Stat;

use super::attrs::{mtime_of, nanoseconds, size_of};
use crate::wire::flist::Mtime;

/// Kernels stamp with the time of the last timer tick, 10 ms apart at worst: two changes within one tick look alike.
/// A stamp proves something only when the last change is older than that.
pub(super) const TICK: Duration = Duration::from_millis(20);

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

    /// How long ago `ctime` was; `None` when it lies ahead of the clock.
    pub(super) fn age(&self) -> Option<Duration> {
        let changed = Duration::new(u64::try_from(self.ctime.seconds).ok()?, self.ctime.nanoseconds);
        SystemTime::now().duration_since(UNIX_EPOCH).ok()?.checked_sub(changed)
    }
}
