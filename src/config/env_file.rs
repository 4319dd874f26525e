//! Writing settings into a `.env` file.
//!
//! Guarantees: lines that are there stay as they are, byte by byte, but for those that are replaced on request; the file is
//! written whole or not at all, a new one for its owner alone, another one with the mode and owner that it has. What is
//! written is read back as the same values, here and by other readers of such files.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::dot_env::{self, DotEnv};
use super::environment::DOT_ENV_LIMIT;
use super::settings::Flags;
use super::table;
use crate::error::{ErrorKind, NasSyncError, Result};
use crate::small_file;

/// The mode of a new file.
const PRIVATE: u32 = 0o600;

/// A `.env` file, as it is and as it is to be.
pub struct EnvFile {
    path: PathBuf,
    content: Zeroizing<Vec<u8>>,
    known: DotEnv,
    mode: u32,
    owner: Option<(u32, u32)>,
}

impl EnvFile {
    /// Reads it; a file that is not there is empty. Fails with `Usage` where a line of ours is not understood, and with
    /// `LocalFile`.
    pub fn read(path: &Path) -> Result<Self> {
        let unreadable = |error| NasSyncError::at_path(ErrorKind::LocalFile, "cannot read", path, error);
        // A link stays one.
        let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let (content, mode, owner) = match fs::metadata(&path) {
            Ok(meta) => {
                let content = small_file::read(&path, DOT_ENV_LIMIT).map_err(unreadable)?;
                (content, meta.mode() & 0o7777, Some((meta.uid(), meta.gid())))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => (Zeroizing::default(), PRIVATE, None),
            Err(error) => return Err(unreadable(error)),
        };
        let known = dot_env::parse(&content, &|name: &str| std::env::var_os(name))?;
        Ok(Self { path, content, known, mode, owner })
    }

    /// What it says about a setting.
    pub fn value(&self, variable: &str) -> Option<&str> {
        self.known.values.get(variable).map(|value| value.as_str()).filter(|value| !value.is_empty())
    }

    /// Gives a setting this value, in the place of another one. Gives whether that changes anything. Fails with `Usage` for a
    /// value that no line can hold.
    pub fn set(&mut self, variable: &str, value: &str) -> Result<bool> {
        if self.value(variable) == Some(value) {
            return Ok(false);
        }
        let line = assignment(variable, value).ok_or_else(|| {
            NasSyncError::new(ErrorKind::Usage, format!("{variable} cannot be written into .env: {value:?}"))
        })?;
        let mut content = Zeroizing::new(Vec::with_capacity(self.content.len() + line.len() + 1));
        if let Some(place) = dot_env::place_of(&self.content, variable) {
            content.extend_from_slice(&self.content[..place.start]);
            content.extend_from_slice(line.as_bytes());
            content.extend_from_slice(&self.content[place.end..]);
        } else {
            content.extend_from_slice(&self.content);
            if content.last().is_some_and(|&byte| byte != b'\n') {
                content.push(b'\n');
            }
            content.extend_from_slice(line.as_bytes());
        }
        self.known = dot_env::parse(&content, &|name: &str| std::env::var_os(name))?;
        self.content = content;
        Ok(true)
    }

    /// Writes it. Fails with `LocalFile`.
    pub fn write(&self) -> Result<()> {
        small_file::replace(&self.path, &self.content, self.mode, self.owner).map_err(|error| {
            NasSyncError::at_path(ErrorKind::LocalFile, "cannot write", &self.path, error)
                .with_solution("Run this in a folder that you can write to.")
        })
    }
}

/// The line of a setting, with quotes only where they are needed: not every reader of such files takes them off.
fn assignment(variable: &str, value: &str) -> Option<String> {
    let is_special = |c: char| c.is_whitespace() || c.is_control() || "'\"\\$#`".contains(c);
    if value.contains(['\0', '\n', '\r']) || value.is_empty() {
        return None;
    }
    Some(if !value.contains(is_special) {
        format!("{variable}={value}\n")
    } else if !value.contains(['\'', '\\']) {
        format!("{variable}='{value}'\n")
    } else {
        let escaped: String =
            value.chars().flat_map(|c| "\\\"$".contains(c).then_some('\\').into_iter().chain([c])).collect();
        format!("{variable}=\"{escaped}\"\n")
    })
}

impl Flags {
    /// What was given as flags beyond the NAS and the folder there: each with its variable.
    pub fn others(&self) -> Vec<(&'static str, String)> {
        let text = |value: &Option<OsString>| value.as_deref().and_then(OsStr::to_str).map(ToOwned::to_owned);
        let switch = |is_set: bool| is_set.then(|| String::from("1"));
        let all = [
            (table::KNOWN_HOSTS, text(&self.known_hosts)),
            (table::SSH_CONFIG, text(&self.ssh_config)),
            (table::LEGACY_SSH, switch(self.legacy_ssh)),
            (table::DB, text(&self.db)),
            (table::TABLE, text(&self.table)),
            (table::UPLOAD_DIR, text(&self.upload_dir)),
            (table::LAYOUT, text(&self.layout)),
            (table::CONNECT_TIMEOUT, text(&self.connect_timeout)),
            (table::FILE_TIMEOUT, text(&self.file_timeout)),
            (table::RSYNC_PATH, text(&self.rsync_path)),
            (table::DURABILITY, text(&self.durability)),
            (table::RETRIES, text(&self.retries)),
            (table::JOBS, text(&self.jobs)),
            (table::BWLIMIT, text(&self.bwlimit)),
        ];
        all.into_iter().filter_map(|(setting, value)| Some((setting.variable, value?))).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_there_stays_and_what_is_missing_is_added() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(".env");
        fs::write(&path, "# mine\nSECRET='a\nb'\nexport NAS_HOST = old # where\nDEBUG=1").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let mut file = EnvFile::read(&path).unwrap();
        assert_eq!(file.value("NAS_HOST"), Some("old"));
        assert!(!file.set("NAS_HOST", "old").unwrap());
        assert!(file.set("NAS_PATH", "/srv/my docs").unwrap() && file.set("NAS_HOST", "new").unwrap());
        file.write().unwrap();
        assert_eq!(
            fs::read_to_string(&path).unwrap(),
            "# mine\nSECRET='a\nb'\nNAS_HOST=new\nDEBUG=1\nNAS_PATH='/srv/my docs'\n"
        );
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o640);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_new_file_is_for_its_owner_alone_and_a_link_stays_one() {
        let folder = tempfile::tempdir().unwrap();
        let (path, link) = (folder.path().join("real"), folder.path().join(".env"));
        std::os::unix::fs::symlink(&path, &link).unwrap();
        fs::write(&path, "").unwrap();
        for path in [&link, &folder.path().join("other")] {
            let mut file = EnvFile::read(path).unwrap();
            file.set("NAS_LAYOUT", "{year}/{id}_{name}").unwrap();
            file.write().unwrap();
            assert_eq!(fs::read_to_string(path).unwrap(), "NAS_LAYOUT={year}/{id}_{name}\n");
        }
        assert!(link.is_symlink());
        assert_eq!(fs::metadata(folder.path().join("other")).unwrap().mode() & 0o777, 0o600);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(value in r#"[a-z/#\\'"$ =é~{}`-]{1,12}"#) {
            let line = assignment("NAS_PATH", &value).unwrap();
            let read = dot_env::parse(line.as_bytes(), &|_: &str| None).unwrap();
            prop_assert_eq!(read.values["NAS_PATH"].as_str(), value.as_str(), "{}", line);
        }
    }
}
