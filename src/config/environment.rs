//! Where values come from: flags, variables, the `.env` file, and files that variables name.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::origin::{Found, Layer, Origin};
use super::table::{SETTINGS, Setting};
use crate::error::{ErrorKind, NasSyncError, Result};

/// The most that a `.env` or `…_FILE` file may hold, in bytes: far more than a 16384-bit RSA key.
const FILE_LIMIT: usize = 64 * 1024;

/// Gives the value of a variable.
type LookUp = dyn Fn(&str) -> Option<OsString> + Send + Sync;

/// What surrounds the program, as it was when it started.
pub struct Environment {
    variables: Box<LookUp>,
    dot_env: BTreeMap<String, Zeroizing<String>>,
    home: Option<PathBuf>,
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The values may be secrets.
        let names: Vec<_> = self.dot_env.keys().collect();
        f.debug_struct("Environment").field("dot_env", &names).field("home", &self.home).finish_non_exhaustive()
    }
}

impl Environment {
    /// The environment of this process, its home folder, and the `.env` file of its working directory. A `.env` that is
    /// not there, or that is a folder (as some tools make it), counts as empty; one that cannot be read is `Usage`.
    pub fn of_process() -> Result<Self> {
        let file = Path::new(".env");
        let text = if file.is_file() { Some(read_text(file, ".env")?) } else { None };
        let text = text.as_deref().map_or("", String::as_str);
        Self::new(|name: &str| std::env::var_os(name), text, std::env::home_dir())
    }

    /// An environment made of a look-up of variables, the text of a `.env` file (empty for none), and a home folder.
    ///
    /// A line of the file that is not understood is `Usage`; the message gives its number and never its text. As usual
    /// for such files, the first of several lines with one name counts, and `$NAME` in a value that is not in single
    /// quotes is replaced.
    pub fn new(
        variables: impl Fn(&str) -> Option<OsString> + Send + Sync + 'static,
        dot_env: &str,
        home: Option<PathBuf>,
    ) -> Result<Self> {
        let home = home.filter(|home| !home.as_os_str().is_empty());
        Ok(Self { variables: Box::new(variables), dot_env: parse_dot_env(dot_env)?, home })
    }

    pub(super) fn home(&self) -> Option<&Path> {
        self.home.as_deref()
    }

    /// The value of a setting from the highest layer that has one, directly or as a `…_FILE`.
    pub(super) fn find(&self, setting: Setting, flag: Option<&OsString>) -> Result<Option<Found>> {
        if let (Some(name), Some(text)) = (setting.flag, flag.filter(|text| !text.is_empty())) {
            let origin = Origin { layer: Layer::Flag, name: name.to_owned() };
            return Ok(Some(Found { text: text.clone(), origin }));
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
                Layer::DotEnv => self.dot_env.get(&name).map(|text| OsString::from(text.as_str())),
                Layer::Flag => None,
            };
            text.filter(|text| !text.is_empty()).map(|text| Found { text, origin: Origin { layer, name } })
        };
        let direct = look(setting.variable.to_owned());
        let pointer_name = format!("{}_FILE", setting.variable);
        // NAS_KEY_FILE is a setting of its own: the key is read where its permissions are checked.
        if SETTINGS.iter().any(|other| other.variable == pointer_name) {
            return Ok(direct);
        }
        match (direct, look(pointer_name)) {
            (Some(direct), Some(pointer)) => Err(both_set(&direct, &pointer)),
            (None, Some(pointer)) => self.read_pointer(pointer),
            (direct, None) => Ok(direct),
        }
    }

    /// The content of a file that a `…_FILE` variable names, without its final line end; `None` when it is empty.
    fn read_pointer(&self, pointer: Found) -> Result<Option<Found>> {
        let path = super::origin::expand_home(&pointer.text, self.home(), &pointer.origin)?;
        let text = read_text(&path, &pointer.origin.to_string())?;
        let line = text.strip_suffix('\n').map_or(text.as_str(), |line| line.strip_suffix('\r').unwrap_or(line));
        Ok((!line.is_empty()).then(|| Found { text: OsString::from(line), origin: pointer.origin }))
    }
}

/// One setting given twice in one place.
pub(super) fn both_set(one: &Found, other: &Found) -> NasSyncError {
    let message = format!("{} and {} are both set, and only one may be", one.origin, other.origin);
    NasSyncError::new(ErrorKind::Usage, message).with_solution("Remove one of the two.")
}

fn read_text(path: &Path, origin: &str) -> Result<Zeroizing<String>> {
    let fail = |reason: &dyn fmt::Display| {
        let message = format!("{origin}: cannot read {}: {reason}", path.display());
        NasSyncError::new(ErrorKind::Usage, message).with_solution("Correct the path, or the permissions of the file.")
    };
    let file = std::fs::File::open(path).map_err(|error| fail(&error))?;
    // Room for all of it from the start: a buffer that grows leaves copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(FILE_LIMIT + 1));
    file.take(FILE_LIMIT as u64 + 1).read_to_end(&mut bytes).map_err(|error| fail(&error))?;
    if bytes.len() > FILE_LIMIT {
        return Err(fail(&"it is larger than 64 KiB"));
    }
    let text = str::from_utf8(&bytes).map_err(|_| fail(&"it is not UTF-8 text"))?;
    Ok(Zeroizing::new(text.to_owned()))
}

fn parse_dot_env(text: &str) -> Result<BTreeMap<String, Zeroizing<String>>> {
    // Some editors put a byte order mark first, and the parser stumbles over a last line that ends with a blank.
    let text = Zeroizing::new(format!("{}\n", text.strip_prefix('\u{feff}').unwrap_or(text)));
    let given = Cell::new(0);
    let mut values = BTreeMap::new();
    for line in dotenvy::from_read_iter(Lines { following: text.split_inclusive('\n'), rest: b"", given: &given }) {
        let (name, value) = line.map_err(|error| dot_env_error(given.get(), &error))?;
        let value = Zeroizing::new(value);
        if is_ours(&name) {
            values.entry(name).or_insert(value);
        }
    }
    Ok(values)
}

/// Gives at most one line to each read, so that the number of the line that the parser stopped at is known.
struct Lines<'a> {
    following: std::str::SplitInclusive<'a, char>,
    rest: &'a [u8],
    given: &'a Cell<usize>,
}

impl std::io::Read for Lines<'_> {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        if self.rest.is_empty() {
            let Some(line) = self.following.next() else { return Ok(0) };
            self.given.set(self.given.get() + 1);
            self.rest = line.as_bytes();
        }
        self.rest.read(out)
    }
}

/// Other programs' variables are not kept.
fn is_ours(name: &str) -> bool {
    let known = |name: &str| SETTINGS.iter().any(|setting| setting.variable == name);
    known(name) || name.strip_suffix("_FILE").is_some_and(known)
}

/// Names the line by its number: its text may be a secret. `last` is the last line that was read; what the parser
/// gives back of its text says how many lines before it the value began.
fn dot_env_error(last: usize, error: &dotenvy::Error) -> NasSyncError {
    let begun = match error {
        dotenvy::Error::LineParse(text, _) => text.lines().count().saturating_sub(1),
        _ => 0,
    };
    let line = last.saturating_sub(begun);
    NasSyncError::new(ErrorKind::Usage, format!("line {line} of .env is not understood"))
        .with_solution("Write NAME=value; put a value with blanks, # or quotes between single quotes.")
}
