//! From files to the lines that apply to one host.

use std::fs::Metadata;
use std::io::ErrorKind::{NotADirectory, NotFound, PermissionDenied};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::super::known_hosts::glob_matches;
use super::criteria::Asked;
use super::directives::{Directive, Directives, Place};
use super::words::Line;
use super::{Query, SshConfigFile};
use crate::error::{ErrorKind, NasSyncError, Result};
use crate::small_file;

/// The configuration of the whole machine.
const SYSTEM: &str = "/etc/ssh/ssh_config";
/// The most bytes of one file.
const MAX_FILE: usize = 1 << 20;
/// How deep files may include each other, as in ssh, and how many may be read in all.
const MAX_DEPTH: usize = 16;
const MAX_FILES: usize = 256;

/// Reads for one query.
pub(super) struct Reader<'a> {
    query: &'a Query<'a>,
    host: String,
    is_final: bool,
    wants_final: bool,
    files: usize,
    pub(super) said: Directives,
    pub(super) warnings: Vec<String>,
}

/// Whether a file has to be there.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Presence {
    /// Somebody named it.
    Required,
    /// Nobody did: as with ssh it need not be readable either, such as that of a home folder which is another user's.
    Usual,
    /// A line names it.
    Included,
}

/// What a file is included by.
#[derive(Clone, Copy)]
struct Included {
    depth: usize,
    /// Whether lines apply there. Where they do not, the file can still ask for a second reading.
    applies: bool,
}

/// By nothing: what is read first.
const FIRST: Included = Included { depth: 0, applies: true };

impl<'a> Reader<'a> {
    /// Knows what comes before all files. Fails with `Usage`.
    pub(super) fn new(query: &'a Query<'a>) -> Result<Self> {
        let mut said = Directives::default();
        let port = query.port.map(|port| port.to_string());
        for (keyword, value) in [("user", query.user), ("port", port.as_deref())] {
            let words = value.map(ToOwned::to_owned).into_iter().collect::<Vec<_>>();
            if !words.is_empty() {
                said.obtain(Directive { keyword: keyword.to_owned(), words, place: Place::Given });
            }
        }
        for text in query.given {
            let line = Line::read(text)
                .map_err(|reason| NasSyncError::new(ErrorKind::Usage, format!("-o {text}: {reason}")))?;
            if let Some(Line { keyword, words }) = line {
                said.obtain(Directive { keyword, words, place: Place::Given });
            }
        }
        let host = query.host.to_owned();
        Ok(Self { query, host, is_final: false, wants_final: false, files: 0, said, warnings: Vec::new() })
    }

    /// Reads what is to be read, twice where `Match final` asks for it.
    pub(super) fn read(&mut self, file: &SshConfigFile) -> Result<()> {
        self.pass(file)?;
        if self.wants_final {
            // Where it really is does not change any more.
            let said = self.said.first("hostname").map(|line| line.words[0].replace("%h", self.query.host));
            self.host = said.unwrap_or_else(|| self.query.host.to_owned()).to_ascii_lowercase();
            let words = vec![self.host.replace('%', "%%")];
            self.said.obtain(Directive { keyword: String::from("hostname"), words, place: Place::Given });
            self.is_final = true;
            self.pass(file)?;
        }
        Ok(())
    }

    fn pass(&mut self, file: &SshConfigFile) -> Result<()> {
        match file {
            SshConfigFile::None => Ok(()),
            SshConfigFile::At(path) => self.file(path, &self.own_folder(), Presence::Required, FIRST),
            SshConfigFile::Usual => {
                if let Some(home) = self.query.home {
                    self.file(&home.join(".ssh/config"), &self.own_folder(), Presence::Usual, FIRST)?;
                }
                self.file(Path::new(SYSTEM), Path::new("/etc/ssh"), Presence::Usual, FIRST)
            }
        }
    }

    /// Where the relative names of a person's own `Include` lines lie.
    fn own_folder(&self) -> PathBuf {
        self.query.home.unwrap_or(Path::new("/")).join(".ssh")
    }

    /// Reads one file, whose `Include` lines are relative to a folder.
    fn file(&mut self, path: &Path, folder: &Path, presence: Presence, included: Included) -> Result<()> {
        let unusable = |error| NasSyncError::at_path(ErrorKind::Usage, "cannot read", path, error);
        let file = match small_file::open(path) {
            Err(error) if presence != Presence::Required && matches!(error.kind(), NotFound | NotADirectory) => {
                return Ok(());
            }
            Err(error) if presence == Presence::Usual && error.kind() == PermissionDenied => {
                self.warn(format!("nothing is taken from {}, which may not be read", path.display()));
                return Ok(());
            }
            file => file.map_err(unusable)?,
        };
        check_access(path, &file.metadata().map_err(unusable)?)?;
        self.files += 1;
        if self.files > MAX_FILES || included.depth > MAX_DEPTH {
            let message = format!("{} is one Include too many", path.display());
            return Err(
                NasSyncError::new(ErrorKind::Usage, message).with_solution("Look for files that include each other.")
            );
        }
        let content = small_file::read_open(&file, MAX_FILE).map_err(unusable)?;
        let (content, file) = (String::from_utf8_lossy(&content), Arc::<Path>::from(path));
        let mut applies = included.applies;
        for (index, text) in content.split('\n').enumerate() {
            let place = Place::File(Arc::clone(&file), index + 1);
            let wrong = |reason: String| NasSyncError::new(ErrorKind::Usage, format!("{place}: {reason}"));
            let Some(line) = Line::read(text).map_err(wrong)? else { continue };
            match line.keyword.as_str() {
                "host" => applies = included.applies && self.asked().host(&line.words),
                "match" => {
                    let matched = self.asked().matches(&line.words).map_err(wrong)?;
                    self.wants_final |= matched.wants_final;
                    if let (Some(criterion), true) = (matched.unknown, included.applies) {
                        self.warn(format!(
                            "{place}: Match {criterion} is not looked at, and what stands below it is left out"
                        ));
                    }
                    applies = included.applies && matched.applies;
                }
                "include" => {
                    let included = Included { depth: included.depth + 1, applies };
                    self.include(&line.words, folder, included)?;
                }
                _ if !applies => {}
                _ => self.said.obtain(Directive { keyword: line.keyword, words: line.words, place }),
            }
        }
        Ok(())
    }

    fn asked(&self) -> Asked<'_> {
        Asked { query: self.query, host: &self.host, said: &self.said, is_final: self.is_final }
    }

    fn warn(&mut self, warning: String) {
        if !self.warnings.contains(&warning) {
            self.warnings.push(warning);
        }
    }

    fn include(&mut self, words: &[String], folder: &Path, included: Included) -> Result<()> {
        for word in words {
            let path = match (word.strip_prefix("~/"), self.query.home) {
                (Some(rest), Some(home)) => home.join(rest),
                _ => folder.join(word),
            };
            for path in named(&path) {
                self.file(&path, folder, Presence::Included, included)?;
            }
        }
        Ok(())
    }
}

/// The files that a path with `*` and `?` names, in the order of their names. As in a shell a star takes no leading dot.
fn named(pattern: &Path) -> Vec<PathBuf> {
    let mut found = vec![PathBuf::new()];
    for part in pattern {
        let bytes = part.as_encoded_bytes();
        if !bytes.contains(&b'*') && !bytes.contains(&b'?') {
            for path in &mut found {
                path.push(part);
            }
            continue;
        }
        let fits = |name: &[u8]| glob_matches(bytes, name) && (bytes[0] == b'.' || name[0] != b'.');
        found = found
            .iter()
            .filter_map(|folder| std::fs::read_dir(folder).ok())
            .flatten()
            .filter_map(|entry| entry.ok().filter(|entry| fits(entry.file_name().as_encoded_bytes())))
            .map(|entry| entry.path())
            .collect();
        found.sort();
    }
    found
}

/// As ssh has it: what others could have written says nothing about where to connect.
fn check_access(path: &Path, meta: &Metadata) -> Result<()> {
    let (own, owner, mode) = (rustix::process::geteuid().as_raw(), meta.uid(), meta.mode() & 0o7777);
    let shown = path.display();
    let (what, remedy) = if owner != own && owner != 0 {
        (format!("belongs to another user (uid {owner}, not {own})"), format!("chown {own} {shown}"))
    } else if mode & 0o022 != 0 && meta.is_file() {
        (format!("can be written by others (mode {mode:04o})"), format!("chmod go-w {shown}"))
    } else {
        return Ok(());
    };
    Err(NasSyncError::new(ErrorKind::Usage, format!("{shown} {what}")).with_solution(remedy))
}
