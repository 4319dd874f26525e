//! What sending rests on here: the key files, known_hosts, the upload folder. A change in them is a reason to try again.
//!
//! Guarantees: looking never makes the loop wait, also when a disk hangs. Never: the contents of a file.

use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use tokio::sync::oneshot;

use crate::blocking;
use crate::config::KeySource;
use crate::secret::Secret;
use crate::service::NasSyncService;
use crate::transport::ssh::Identity;

/// What sending rests on here, and how it was when something was sent last.
pub(super) struct Ground {
    files: Vec<PathBuf>,
    upload_dir: Option<PathBuf>,
    noted: Option<Look>,
    looking: Option<oneshot::Receiver<Look>>,
}

/// How it looks from outside: a stamp for each file that is there, and what the upload folder is.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Look {
    files: Vec<Option<[i64; 7]>>,
    upload_dir: Option<([u64; 2], bool)>,
}

impl Ground {
    pub fn of(service: &NasSyncService) -> Self {
        let settings = service.settings();
        let mut files = match &settings.key {
            KeySource::Text(text) => text.file().map(Path::to_owned).into_iter().collect(),
            KeySource::File(path) => vec![path.clone()],
            KeySource::FirstOf(paths) => paths.clone(),
        };
        files.extend(settings.key_passphrase.as_ref().and_then(Secret::file).map(Path::to_owned));
        if let Ok(config) = service.client_config() {
            files.extend(config.ssh.known_hosts);
            if let Identity::Files(keys) = config.ssh.identity {
                files.extend(keys);
            }
        }
        Self { files, upload_dir: settings.upload_dir.clone(), noted: None, looking: None }
    }

    /// Notes how it is now.
    pub async fn note(&mut self) {
        self.looking = None;
        self.noted = self.look().await.ok();
    }

    /// Whether it is no longer as it was noted. What has changed is noted with that.
    pub fn has_changed(&mut self) -> bool {
        let mut looking = self.looking.take().unwrap_or_else(|| self.look());
        let now = match looking.try_recv() {
            Ok(now) => now,
            Err(oneshot::error::TryRecvError::Empty) => {
                self.looking = Some(looking);
                return false;
            }
            Err(oneshot::error::TryRecvError::Closed) => return false,
        };
        let before = self.noted.replace(now.clone());
        before.is_some_and(|before| before != now)
    }

    /// Looks on a thread of its own: a disk or a NAS that is mounted here may hang.
    fn look(&self) -> oneshot::Receiver<Look> {
        let (files, upload_dir) = (self.files.clone(), self.upload_dir.clone());
        let (sender, receiver) = oneshot::channel();
        let looking = blocking::start(move || {
            let files = files.iter().map(|path| fs::metadata(path).ok().map(|meta| stamp(&meta))).collect();
            let look = Look { files, upload_dir: upload_dir.as_deref().and_then(folder) };
            // Nobody may want to know any more.
            let _ = sender.send(look);
        });
        if let Err(error) = looking {
            // Then nothing has changed as far as is known; the next look may have a thread.
            tracing::debug!("{error}");
        }
        receiver
    }
}

fn stamp(meta: &Metadata) -> [i64; 7] {
    let identity =
        [meta.dev().cast_signed(), meta.ino().cast_signed(), i64::from(meta.mode()), meta.size().cast_signed()];
    let [dev, ino, mode, size] = identity;
    [dev, ino, mode, size, meta.mtime(), meta.ctime(), meta.ctime_nsec()]
}

/// Which folder it is, and whether something is in it: of what it holds nothing else matters, and it changes all the time.
fn folder(path: &Path) -> Option<([u64; 2], bool)> {
    let meta = fs::metadata(path).ok()?;
    let is_filled = fs::read_dir(path).ok()?.next().is_some();
    Some(([meta.dev(), meta.ino()], is_filled))
}
