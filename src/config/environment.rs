//! Where values come from: flags, variables, the `.env` file, and files that variables name.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fmt;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::dot_env::{self, DotEnv};
use super::origin::{Found, Layer, LookUp, expand_home, wipe};
use super::table::{self, SECRETS, SETTINGS, Setting};
use crate::error::{ErrorKind, NasSyncError, Result};
use crate::{secret, small_file, text};

/// The most that a `.env` may hold, in bytes; most of it may be another program's.
pub(super) const DOT_ENV_LIMIT: usize = 1024 * 1024;
/// The beginning of names that are not settings: of the log filter, and of what our tests take.
const NO_SETTINGS: &str = "NAS_SYNC_";

/// What surrounds the program, as it was when it started.
pub struct Environment {
    variables: Box<LookUp>,
    dot_env: DotEnv,
    home: Option<PathBuf>,
    /// Why a secret in the `.env` is not to be used, where that is so.
    unsafe_dot_env: Option<NasSyncError>,
    warnings: Vec<String>,
    /// What a caller gave by name, by the name of the variable: it beats all else but a flag.
    arguments: HashMap<&'static str, (String, Zeroizing<String>)>,
    /// When only some of the settings are looked for: those in these lists.
    only: Option<&'static [&'static [Setting]]>,
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The values may be secrets.
        let names: Vec<_> = self.dot_env.values.keys().collect();
        f.debug_struct("Environment").field("dot_env", &names).field("home", &self.home).finish_non_exhaustive()
    }
}

impl Environment {
    /// The environment of this process, its home folder, and the `.env` file of its working directory. A `.env` that is
    /// not there, or that is a folder (as some tools make it), counts as empty; one that cannot be read is `Usage`.
    pub fn of_process() -> Result<Self> {
        let file = Path::new(".env");
        let content = if file.is_file() { Some(read_file(file, ".env", DOT_ENV_LIMIT)?) } else { None };
        let mut environment = Self::with(
            |name: &str| std::env::var_os(name),
            content.as_ref().map_or(&[], |(content, _)| content),
            std::env::home_dir(),
        )?;
        let names = std::env::vars_os().map(|(name, value)| {
            // The values come with the names, and one may be a secret.
            wipe(value);
            name.to_string_lossy().into_owned()
        });
        environment.warn_of_names(names, "");
        if file.is_dir() {
            environment.warnings.push(String::from(
                ".env is a folder, so nothing is read from it (Docker makes one where a file that is to be mounted is missing)",
            ));
        }
        if let Some((_, meta)) = &content {
            environment.judge_dot_env(Access::of(meta), rustix::process::geteuid().as_raw());
        }
        Ok(environment)
    }

    /// An environment made of a look-up of variables, the text of a `.env` file (empty for none), and a home folder.
    ///
    /// A line of the file that is ours and is not understood is `Usage`; the message gives its number and never its text.
    /// Other lines do not matter. As usual for such files, the first of several lines with one name counts, and `$NAME` in
    /// a value that is not in single quotes is replaced.
    pub fn new(
        variables: impl Fn(&str) -> Option<OsString> + Send + Sync + 'static,
        dot_env: &str,
        home: Option<PathBuf>,
    ) -> Result<Self> {
        Self::with(variables, dot_env.as_bytes(), home)
    }

    fn with(
        variables: impl Fn(&str) -> Option<OsString> + Send + Sync + 'static,
        dot_env: &[u8],
        home: Option<PathBuf>,
    ) -> Result<Self> {
        let home = home.filter(|home| !home.as_os_str().is_empty());
        let (dot_env, variables) = (dot_env::parse(dot_env, &variables)?, Box::new(variables));
        let names = dot_env.names.clone();
        let (unsafe_dot_env, warnings, arguments) = (None, Vec::new(), HashMap::new());
        let mut new = Self { variables, dot_env, home, unsafe_dot_env, warnings, arguments, only: None };
        new.warn_of_names(names.into_iter(), " in .env");
        Ok(new)
    }

    /// What people should know about it: names that look like settings and are none, secrets that others can read. Safe
    /// to print, one sentence each.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// The same, with a setting that a program was given by name, as keyword arguments are: `port` for `NAS_PORT`,
    /// `upload_dir` for `UPLOAD_DIR`. It beats variables and the `.env` file; an empty value counts as not given. Fails with
    /// `Usage` for a name that is no setting.
    pub fn with_argument(mut self, name: &str, value: impl Into<String>) -> Result<Self> {
        let value = Zeroizing::new(value.into());
        let Some(setting) = SETTINGS.iter().find(|setting| setting.argument() == name) else {
            let nearest =
                table::nearest_argument(name).map_or_else(String::new, |nearest| format!("; the nearest is {nearest}"));
            let message = format!("{} is not a setting{nearest}", text::escape(name));
            return Err(NasSyncError::new(ErrorKind::Usage, message).with_solution("Correct or remove it."));
        };
        if !value.is_empty() {
            self.arguments.insert(setting.variable, (name.to_owned(), value));
        }
        Ok(self)
    }

    /// The same, looking for what a login needs only: neither host, user, port and folder, nor what concerns documents.
    #[must_use]
    pub fn of_a_login(self) -> Self {
        Self { only: Some(&[&table::OF_A_LOGIN]), ..self }
    }

    /// The same, looking for what documents need, and neither for a database of ours nor for what listens.
    #[must_use]
    pub fn of_documents(self) -> Self {
        Self { only: Some(&[&table::OF_A_LOGIN, &table::OF_DOCUMENTS]), ..self }
    }

    /// The same, looking for the database only.
    #[must_use]
    pub fn of_the_database(self) -> Self {
        Self { only: Some(&[&[table::DB, table::TABLE]]), ..self }
    }

    fn warn_of_names(&mut self, names: impl Iterator<Item = String>, place: &str) {
        let is_odd =
            |name: &String| name.starts_with("NAS_") && !name.starts_with(NO_SETTINGS) && !table::is_known(name);
        for name in names.filter(is_odd) {
            let nearest =
                table::nearest(&name).map_or_else(String::new, |nearest| format!("; the nearest is {nearest}"));
            let warning =
                format!("{}{place} is not a setting of nas-sync and has no effect{nearest}", text::escape(&name));
            if !self.warnings.contains(&warning) {
                self.warnings.push(warning);
            }
        }
    }

    /// A secret of ours in the `.env` is safe when nobody else can have put it there. That others can read it is said and
    /// no more: many such files are 0644, and a sync that stops would not make the secret one again. (A key file of that
    /// mode is refused, because there is no other reason to open it than carelessness.)
    fn judge_dot_env(&mut self, access: Access, own: u32) {
        let is_secret = |setting: &Setting| self.dot_env.values.contains_key(setting.variable);
        let Some(secret) = SECRETS.iter().find(|setting| is_secret(setting)) else { return };
        let (name, Access { owner, mode }) = (secret.variable, access);
        if mode & 0o002 != 0 || (owner != own && owner != 0) {
            let why = if mode & 0o002 != 0 {
                format!("everybody can write to it (mode {mode:04o})")
            } else {
                format!("it belongs to another user (uid {owner}, not {own})")
            };
            let error = NasSyncError::new(ErrorKind::Usage, format!("{name} in .env is not used: {why}"));
            self.unsafe_dot_env = Some(error.with_solution(format!("chown {own} .env && chmod 600 .env")));
        } else if mode & 0o077 != 0 {
            let warning =
                format!("{name} stands in .env, which other users can read (mode {mode:04o}): chmod 600 .env");
            self.warnings.push(warning);
        }
    }

    /// What PostgreSQL's own variables say about a connection. They are not ours, so `.env` is not asked.
    pub(super) fn postgres(&self, name: &str) -> Option<String> {
        (self.variables)(name).and_then(|text| text.into_string().ok())
    }

    pub(super) fn home(&self) -> Option<&Path> {
        self.home.as_deref()
    }

    /// The value of a setting from the highest layer that has one, directly or as a `…_FILE`.
    pub(super) fn find(&self, setting: Setting, flag: Option<&OsString>) -> Result<Option<Found>> {
        if let (Some(name), Some(text)) = (setting.flag, flag.filter(|text| !text.is_empty())) {
            return Ok(Some(Found::new(Layer::Flag, name, text.clone())));
        }
        if let Some((name, text)) = self.arguments.get(setting.variable) {
            return Ok(Some(Found::new(Layer::Flag, name, OsString::from(text.as_str()))));
        }
        if self.only.is_some_and(|only| !only.iter().any(|list| list.contains(&setting))) {
            return Ok(None);
        }
        for layer in [Layer::Process, Layer::DotEnv] {
            if let Some(found) = self.find_in(layer, setting)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    fn find_in(&self, layer: Layer, setting: Setting) -> Result<Option<Found>> {
        let look = |name: String| {
            let text = match layer {
                Layer::Process => (self.variables)(&name),
                Layer::DotEnv => self.dot_env.values.get(&name).map(|text| OsString::from(text.as_str())),
                Layer::Flag => None,
            };
            text.filter(|text| !text.is_empty()).map(|text| Found::new(layer, name, text))
        };
        let direct = look(setting.variable.to_owned());
        if let (Some(_), Layer::DotEnv, true, Some(error)) =
            (&direct, layer, SECRETS.contains(&setting), &self.unsafe_dot_env)
        {
            return Err(error.clone());
        }
        let pointer_name = format!("{}_FILE", setting.variable);
        // NAS_KEY_FILE is a setting of its own: the key is read where its permissions are checked.
        if SETTINGS.iter().any(|other| other.variable == pointer_name) {
            return Ok(direct);
        }
        match (direct, look(pointer_name)) {
            (Some(direct), Some(pointer)) => Err(both_set(&direct, &pointer)),
            (None, Some(pointer)) => self.read_pointer(&pointer),
            (direct, None) => Ok(direct),
        }
    }

    /// The content of a file that a `…_FILE` variable names, without its final line end; `None` when it is empty.
    fn read_pointer(&self, pointer: &Found) -> Result<Option<Found>> {
        let path = expand_home(&pointer.text, self.home(), &pointer.origin)?;
        let (bytes, meta) = read_file(&path, &pointer.origin.to_string(), secret::MAX_FILE)?;
        let line = secret::line(&bytes).map_err(|error| unreadable(&path, &pointer.origin.to_string(), &error))?;
        if line.is_empty() {
            return Ok(None);
        }
        let (text, origin) = (OsString::from(line), pointer.origin.clone());
        // What comes out of a pipe comes once. The working directory may be another one later.
        let file = if meta.is_file() { std::path::absolute(&path).ok() } else { None };
        Ok(Some(Found { text, origin, file }))
    }
}

/// One setting given twice in one place.
pub(super) fn both_set(one: &Found, other: &Found) -> NasSyncError {
    let message = format!("{} and {} are both set, and only one may be", one.origin, other.origin);
    NasSyncError::new(ErrorKind::Usage, message).with_solution("Remove one of the two.")
}

/// Who can read and write a file.
#[derive(Debug, Clone, Copy)]
struct Access {
    owner: u32,
    mode: u32,
}

impl Access {
    fn of(meta: &std::fs::Metadata) -> Self {
        Self { owner: meta.uid(), mode: meta.mode() & 0o7777 }
    }
}

fn unreadable(path: &Path, origin: &str, reason: &dyn fmt::Display) -> NasSyncError {
    let message = format!("{origin}: cannot read {}: {reason}", path.display());
    NasSyncError::new(ErrorKind::Usage, message)
        .with_cause("The file is not there, is none, is too long, or this user may not read it.")
        .with_solution("Correct the path, or the permissions of the file.")
}

fn read_file(path: &Path, origin: &str, limit: usize) -> Result<(Zeroizing<Vec<u8>>, std::fs::Metadata)> {
    let read = || {
        let file = small_file::open(path)?;
        Ok((small_file::read_open(&file, limit)?, file.metadata()?))
    };
    read().map_err(|error: std::io::Error| unreadable(path, origin, &error))
}

#[cfg(test)]
mod tests {
    use super::super::table::{HOST, KEY};
    use super::*;

    #[test]
    fn a_secret_in_a_file_that_others_can_write_is_refused_and_one_they_can_read_is_warned_about() {
        let judged = |text: &str, owner, mode| {
            let mut environment = Environment::new(|_: &str| None, text, None).unwrap();
            environment.judge_dot_env(Access { owner, mode }, 1000);
            environment
        };
        let key = "NAS_KEY=sesame\nNAS_HOST=nas\n";
        for (owner, mode) in [(1000, 0o666), (1000, 0o602), (65534, 0o600), (0, 0o666)] {
            let environment = judged(key, owner, mode);
            let error = environment.find(KEY, None).err().unwrap();
            assert_eq!(error.kind(), ErrorKind::Usage);
            assert!(
                error.message().starts_with("NAS_KEY in .env is not used: ") && !error.message().contains("sesame")
            );
            assert!(error.solution().contains("chmod 600 .env"), "{error}");
            // What is no secret may stand there, and what does not need the secret goes on.
            assert!(environment.find(HOST, None).unwrap().is_some());
        }
        for (owner, mode) in [(1000, 0o644), (0, 0o444), (1000, 0o660), (1000, 0o640)] {
            let environment = judged(key, owner, mode);
            assert!(environment.find(KEY, None).unwrap().is_some());
            assert_eq!(environment.warnings().len(), 1, "{mode:o}");
            assert!(environment.warnings()[0].contains("NAS_KEY") && environment.warnings()[0].contains("chmod 600"));
        }
        for (text, owner, mode) in [(key, 1000, 0o600), (key, 0, 0o400), ("NAS_HOST=nas\n", 65534, 0o666)] {
            let environment = judged(text, owner, mode);
            assert!(environment.warnings().is_empty() && environment.find(HOST, None).is_ok());
        }
    }
}
