//! `~`, `%h` and `${NAME}` in the values of ssh_config.

use std::path::{Path, PathBuf};

use super::Query;

/// What the letters stand for.
pub(super) struct Tokens<'a> {
    pub(super) query: &'a Query<'a>,
    /// The real name of the host.
    pub(super) host: &'a str,
    /// The name under which its key is recorded.
    pub(super) key_alias: &'a str,
    pub(super) user: &'a str,
    pub(super) port: u16,
}

impl Tokens<'_> {
    /// A path of this machine. The error is a reason for people.
    pub(super) fn path(&self, text: &str) -> Result<PathBuf, String> {
        let home = || self.query.home.map(Path::to_owned).ok_or_else(|| String::from("needs HOME, which is not set"));
        let text = self.expand(text)?;
        match text.strip_prefix('~') {
            None => Ok(PathBuf::from(text)),
            Some("") => home(),
            Some(rest) => match rest.strip_prefix('/') {
                Some(rest) => Ok(home()?.join(rest)),
                None => Err(String::from(
                    "names the home folder of another user, which is not supported; write the whole path",
                )),
            },
        }
    }

    fn expand(&self, text: &str) -> Result<String, String> {
        let mut whole = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = rest.find(['%', '$']) {
            whole.push_str(&rest[..at]);
            rest = &rest[at..];
            if let Some(name) = rest.strip_prefix("${") {
                let (name, behind) = name.split_once('}').ok_or("has a ${ without its }")?;
                whole.push_str(
                    &std::env::var(name).map_err(|_| format!("needs the variable {name}, which is not set"))?,
                );
                rest = behind;
            } else if let Some(behind) = rest.strip_prefix('$') {
                whole.push('$');
                rest = behind;
            } else {
                let letter = rest[1..].chars().next().ok_or("ends in a %")?;
                whole.push_str(&self.letter(letter)?);
                rest = &rest[1 + letter.len_utf8()..];
            }
        }
        whole.push_str(rest);
        Ok(whole)
    }

    fn letter(&self, letter: char) -> Result<String, String> {
        let home = || self.query.home.map(|home| home.display().to_string());
        Ok(match letter {
            '%' => String::from("%"),
            'd' => home().ok_or("needs HOME, which is not set")?,
            'h' => self.host.to_owned(),
            'i' => rustix::process::getuid().as_raw().to_string(),
            'k' => self.key_alias.to_owned(),
            'n' => self.query.host.to_owned(),
            'p' => self.port.to_string(),
            'r' => self.user.to_owned(),
            'u' => self.query.local_user.unwrap_or_default().to_owned(),
            _ => return Err(format!("has %{letter}, which is not supported")),
        })
    }
}
