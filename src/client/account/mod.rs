//! The account on the NAS: a key let in, a key held to one folder, folders that the user can write to.
//!
//! What is done there is done by scripts, which go to a plain `sh` as its input, so that neither the user's login shell nor a
//! limit on command lines touches them. Guarantees: lines of others in authorized_keys stay; a key stands there once; nothing
//! counts as done but by the agreed word. Never: a home folder's mode is changed, for others may rely on it.

use std::collections::BTreeSet;

use sha2::{Digest as _, Sha256};

use super::destination::destination_of;
use super::login::Client;
use super::nas::{Script, harmless_lines, quoted, run_script};
use crate::error::{ErrorKind, NasSyncError, Result};
use crate::text;
use crate::wire::server_args::{Unquotable, command_line, literal, path_word, sending_command_line};

const INSTALL: &str = include_str!("install.sh");
const ONLY: &str = include_str!("only.sh");
const FOLDERS: &str = include_str!("folders.sh");
/// What begins each line of the scripts.
const MARK: &str = "nas-sync-setup ";
/// The most folders that are listed.
const MAX_FOLDERS: usize = 40;

/// What a key may do on the NAS.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Permit<'a> {
    /// Run commands; without a terminal, forwarding and the like.
    Commands,
    /// Let this rsync receive into this folder and send from it, flush it, and ask about it.
    Folder { path: &'a str, rsync_path: &'a str },
}

impl Permit<'_> {
    /// The line of authorized_keys.
    pub fn line(self, public_key: &str) -> String {
        match self {
            Self::Commands => format!("restrict {public_key}"),
            Self::Folder { .. } => {
                format!("command=\"exec sh .ssh/{}\",restrict {public_key}", script_of(public_key))
            }
        }
    }
}

/// The script that a key is held to: each has one of its own, because another one may be held to another folder.
fn script_of(public_key: &str) -> String {
    let digest = Sha256::digest(blob_of(public_key).as_bytes());
    let word = digest.iter().take(8).fold(String::new(), |word, byte| format!("{word}{byte:02x}"));
    format!("nas-sync-only-{word}")
}

/// A public key without its comment.
fn blob_of(public_key: &str) -> String {
    public_key.split_whitespace().take(2).collect::<Vec<_>>().join(" ")
}

/// What became of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Installed {
    /// The home folder; safe to print.
    pub home: String,
    /// Whether it was there already, as it should be.
    pub was_there: bool,
    /// What others could write to until now.
    pub closed: Vec<String>,
    /// Why the server may refuse the key all the same.
    pub faults: Vec<ModeFault>,
}

/// Why sshd refuses to read a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ModeFault {
    /// The file or folder; safe to print.
    pub path: String,
    /// What is wrong with it.
    pub what: String,
    /// The command that mends it.
    pub remedy: String,
}

/// Puts the public half of a key into `~/.ssh/authorized_keys`, once. Fails with `ExecRefused` where the user may run no
/// commands, and with `KeyNotInstalled`.
pub(crate) async fn install(client: &Client, public_key: &str, permit: Permit<'_>) -> Result<Installed> {
    let (blob, only_this) = (blob_of(public_key), script_of(public_key));
    let line = permit.line(public_key);
    let mut script = format!("key={}\nline={}\nonly={only_this}\nlocked=\nfolder=\n", quoted(&blob), quoted(&line));
    if let Permit::Folder { path, rsync_path } = permit {
        script.extend(["locked=", &quoted(&only(path, rsync_path)?), "\nfolder=", &word(path)?, "\n"]);
    }
    script += INSTALL;
    let said = run(client, script).await?;
    let home = text::escape(said.value("home").unwrap_or_default());
    if said.value("no-home").is_some() {
        return Err(no_home(&home));
    }
    if let (Some(_), Permit::Folder { path, .. }) = (said.value("no-folder"), permit) {
        let message = format!("the folder {} does not exist on the NAS", text::escape(path));
        return Err(NasSyncError::new(ErrorKind::DestinationMissing, message));
    }
    if said.value("done").is_none() {
        let why = said.value("failed").map_or(said.refusal.clone(), text::escape);
        let error = NasSyncError::new(ErrorKind::KeyNotInstalled, format!("the key cannot be installed: {why}"));
        return Err(error.with_details(&said.refusal));
    }
    let uid = said.value("uid").unwrap_or_default();
    Ok(Installed {
        faults: said.values("mode").filter_map(|line| mode_fault(line, &home, uid)).collect(),
        closed: said.values("closed").map(|file| format!("{home}/{}", text::escape(file))).collect(),
        was_there: said.value("there").is_some(),
        home,
    })
}

/// Folders that the user can write to, where NAS usually have them; and the home folder. Foreign text.
pub(crate) async fn folders(client: &Client) -> Result<Vec<String>> {
    let said = run(client, FOLDERS.to_owned()).await?;
    let mut seen = BTreeSet::new();
    let all = said.values("folder").chain(said.values("home"));
    Ok(all.filter(|folder| seen.insert(*folder)).take(MAX_FOLDERS).map(ToOwned::to_owned).collect())
}

/// Makes a folder, and those above it. Fails with `PermissionDenied`.
pub(crate) async fn make_folder(client: &Client, path: &str) -> Result<()> {
    let script = format!("mkdir -p {} && echo '{MARK}ready' && echo '{MARK}done'\n", word(path)?);
    let said = run_script(client, script).await?;
    if said.lines.iter().any(|line| line.ends_with("done")) {
        return Ok(());
    }
    let message = format!("{} could not be made on the NAS: {}", text::escape(path), said.refusal);
    Err(NasSyncError::new(ErrorKind::PermissionDenied, message))
}

/// What a script said, without its marks.
struct Said {
    lines: Vec<String>,
    refusal: String,
}

impl Said {
    fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let rest = move |line: &'a String| line.strip_prefix(name).map(str::trim_start);
        self.lines.iter().filter(move |line| line.split(' ').next() == Some(name)).filter_map(rest)
    }

    fn value<'a>(&'a self, name: &'a str) -> Option<&'a str> {
        self.values(name).next()
    }
}

async fn run(client: &Client, script: String) -> Result<Said> {
    let Script { lines, refusal } = run_script(client, script).await?;
    let lines: Vec<String> = lines.iter().filter_map(|line| line.strip_prefix(MARK)).map(ToOwned::to_owned).collect();
    if lines.iter().any(|line| line == "ready") {
        return Ok(Said { lines, refusal });
    }
    let message = format!("the login works, but the NAS runs no commands for this user: {refusal}");
    Err(NasSyncError::new(ErrorKind::ExecRefused, message).with_solution(
        "Give the user a login shell such as /bin/sh and the right to run commands (not SFTP only) in the settings of the NAS, or use an account that has them.",
    ))
}

fn no_home(home: &str) -> NasSyncError {
    let named = if home.is_empty() {
        String::from("no home folder")
    } else {
        format!("the home folder {home}, which is not there")
    };
    NasSyncError::new(ErrorKind::KeyNotInstalled, format!("the user has {named} on the NAS, so that no key can be put there"))
        .with_solution("Switch home folders on in the settings of the NAS (on Synology often: Control Panel, User & Group, Advanced, Enable user home service), or make that folder and give it to the user. Then run this again.")
}

/// What is wrong with a line of `ls -ldn`: sshd reads no key that others than the user and root could have written.
fn mode_fault(line: &str, home: &str, uid: &str) -> Option<ModeFault> {
    let mut words = line.split_whitespace();
    let (file, mode, owner) = (words.next()?, words.next()?, words.nth(1)?);
    let path = if file == "." { home.to_owned() } else { format!("{home}/{}", text::escape(file)) };
    let is_open = [5, 8].into_iter().any(|at| mode.as_bytes().get(at) == Some(&b'w'));
    let mode = text::escape(mode);
    if is_open {
        let what = format!("others than the user can write to {path} ({mode})");
        return Some(ModeFault { remedy: format!("chmod g-w,o-w {path}"), what, path });
    }
    let is_foreign = owner != "0" && owner != uid && owner.parse::<u32>().is_ok() && uid.parse::<u32>().is_ok();
    is_foreign.then(|| ModeFault {
        what: format!("{path} belongs to another user (uid {owner}, not {uid})"),
        remedy: format!("chown {uid} {path}"),
        path,
    })
}

/// The script that a key is held to.
fn only(path: &str, rsync_path: &str) -> Result<String> {
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    let mut harmless: Vec<String> = harmless_lines(path)?.into_iter().map(text).collect();
    harmless.push(format!("{rsync_path} --version"));
    let harmless: Vec<String> = harmless.iter().map(|line| quoted(line)).collect();
    let folder = format!("{}/", path.trim_end_matches('/'));
    let end = |line: std::result::Result<Vec<u8>, Unquotable>| Ok(quoted(&text(line.map_err(usage)?)));
    // A dry run may say the folder itself, because it makes nothing.
    let destinations = [destination_of(path), folder.clone().into_bytes()]
        .map(|destination| end(command_line("", &[b".".to_vec(), destination])));
    let sources = [path.to_owned(), folder]
        .map(|source| end(sending_command_line("", &[b".".to_vec()], &[literal(source.as_bytes())])));
    // `setup --lock-down` is what the session that is refused looks for.
    let refusal = format!("nas-sync: this key is held to {path} (setup --lock-down), and may not do this");
    let filled = ONLY
        .replace("@refusal@", &quoted(&refusal))
        .replace("@harmless@", &harmless.join(" | "))
        .replace("@rsync@", &quoted(rsync_path))
        .replace("@destinations@", &joined(destinations)?)
        .replace("@sources@", &joined(sources)?);
    Ok(filled)
}

fn joined(ends: [Result<String>; 2]) -> Result<String> {
    let ends: Vec<String> = ends.into_iter().collect::<Result<_>>()?;
    Ok(ends.join(" "))
}

fn word(path: &str) -> Result<String> {
    path_word(path.as_bytes()).map(|word| String::from_utf8_lossy(&word).into_owned()).map_err(usage)
}

fn usage(error: Unquotable) -> NasSyncError {
    NasSyncError::new(ErrorKind::Usage, error.to_string()).with_source(error)
}

#[cfg(test)]
mod tests;
