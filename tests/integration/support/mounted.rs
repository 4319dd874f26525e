//! Small file systems for one test. They go away with the value that stands for them, also when the test fails.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::skip;

/// A mounted file system.
pub struct Mounted(PathBuf);

impl Mounted {
    /// An empty one in memory of so many bytes. `None`, and a loud word, where mounting is not allowed.
    pub fn in_memory(folder: &Path, bytes: u64) -> Option<Self> {
        Self::mount(folder, &["-t", "tmpfs", "-o", &format!("size={bytes},mode=755"), "none"])
    }

    /// An empty ext4 in a new file `image`, which is 32 MiB long.
    pub fn in_file(folder: &Path, image: &Path) -> Option<Self> {
        Self::made(folder, image, &[])
    }

    fn made(folder: &Path, image: &Path, how: &[&str]) -> Option<Self> {
        File::create(image).and_then(|file| file.set_len(32 << 20)).expect("an image");
        let made = Command::new("mkfs.ext4").arg("-q").args(how).arg(image).stderr(Stdio::null()).status();
        if !made.is_ok_and(|status| status.success()) {
            skip("there is no mkfs.ext4 here");
            return None;
        }
        Self::again(folder, image)
    }

    /// The same with inodes too small for more than whole seconds, as old tools made them.
    pub fn with_whole_seconds(folder: &Path, image: &Path) -> Option<Self> {
        Self::made(folder, image, &["-I", "128"])
    }

    /// The ext4 of an image that has one already.
    pub fn again(folder: &Path, image: &Path) -> Option<Self> {
        Self::mount(folder, &["-o", "loop", &image.to_string_lossy()])
    }

    fn mount(folder: &Path, words: &[&str]) -> Option<Self> {
        let status = Command::new("mount").args(words).arg(folder).stderr(Stdio::null()).status();
        if status.is_ok_and(|status| status.success()) {
            return Some(Self(folder.to_owned()));
        }
        skip("this user may not mount a file system, so none can be filled or made read-only");
        None
    }

    /// Mounts it again with an option such as `ro`.
    pub fn remount(&self, how: &str) {
        let status = Command::new("mount").args(["-o", &format!("remount,{how}")]).arg(&self.0).status();
        assert!(status.expect("mount runs").success());
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}
