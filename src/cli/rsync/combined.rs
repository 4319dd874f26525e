//! What options of a push mean together, and which of them rsync refuses to take together.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::Path;

use super::operand::{Operand, Remote};
use super::request::{NameList, Refusal, SYNTAX, UNSUPPORTED};
use super::typed::{RuleWord, TypedOptions};
use crate::error::{ErrorKind, NasSyncError};
use crate::filter::{FilterError, Rules};
use crate::small_file;
use crate::text;
use crate::wire::receiver_args::{AlternateUse, Alternates, DeleteTime, Deletion, Partial, Writing};

/// The longest file of rules.
const MAX_RULES: usize = 16 << 20;
/// How many other folders a receiver looks into.
const MOST_ALTERNATES: usize = 20;

/// Puts what was typed into the options of the push.
pub fn combine(typed: &mut TypedOptions, is_pull: bool) -> Result<(), Refusal> {
    let has_list = typed.files_from.is_some();
    typed.push.recursive &= typed.recursive || !has_list;
    typed.push.relative = typed.relative.unwrap_or(has_list);
    typed.push.no_implied_dirs &= typed.push.relative;
    typed.push.receiver.deletion = deletion(typed)?;
    typed.push.receiver.alternates = alternates(std::mem::take(&mut typed.alternates))?;
    typed.push.receiver.temp_dir = typed.temp_dir.take().map(OsString::into_vec);
    // Folders that are only named are told from those that are gone. Who sends by a list does so by itself.
    typed.push.dirs |= has_list && !is_pull && !typed.push.recursive && typed.push.receiver.deletion.is_some();
    places(typed)?;
    backup(typed)?;
    owners(typed)
}

fn deletion(typed: &TypedOptions) -> Result<Option<Deletion>, Refusal> {
    if typed.deletions.is_empty() && !typed.delete_excluded {
        return Ok(None);
    }
    if !typed.push.recursive && !typed.push.dirs && typed.files_from.is_none() {
        return Err(Refusal::new(SYNTAX, "--delete does nothing without --recursive (-r) or --dirs (-d)"));
    }
    let times = || typed.deletions.iter().rev().copied().flatten();
    // As for rsync, folder by folder now or later is one choice, of which the last counts.
    let choice = |time| match time {
        DeleteTime::Before => 0,
        DeleteTime::During | DeleteTime::Delay => 1,
        DeleteTime::After => 2,
    };
    let when = times().next();
    if when.is_some_and(|last| times().any(|other| choice(other) != choice(last))) {
        return Err(Refusal::new(
            SYNTAX,
            "only one of --delete-before, --delete-during, --delete-delay and --delete-after can be meant",
        ));
    }
    Ok(Some(Deletion { when, excluded: typed.delete_excluded }))
}

fn alternates(folders: Vec<(AlternateUse, Vec<u8>)>) -> Result<Option<Alternates>, Refusal> {
    let Some(&(way, _)) = folders.first() else { return Ok(None) };
    if let Some((other, _)) = folders.iter().find(|(other, _)| *other != way) {
        let message = format!("{} cannot be used with {}", other.option(), way.option());
        return Err(Refusal::new(SYNTAX, message));
    }
    if folders.len() > MOST_ALTERNATES {
        return Err(Refusal::new(SYNTAX, format!("at most {MOST_ALTERNATES} {} can be named", way.option())));
    }
    Ok(Some((way, folders.into_iter().map(|(_, folder)| folder).collect())))
}

/// Where and how files are written.
fn places(typed: &mut TypedOptions) -> Result<(), Refusal> {
    let receiver = &mut typed.push.receiver;
    let folder = typed.partial_dir.take().filter(|folder| !folder.is_empty() && folder != ".");
    let writes = match receiver.writing {
        Writing::Aside => None,
        Writing::InPlace => Some("--inplace"),
        Writing::Append | Writing::AppendVerify => Some("--append"),
    };
    if let Some(writes) = writes {
        let aside = [(receiver.delay_updates, "--delay-updates"), (folder.is_some(), "--partial-dir")];
        if let Some((_, other)) = aside.into_iter().find(|(is_set, _)| *is_set) {
            return Err(Refusal::new(SYNTAX, format!("{writes} cannot be used with {other}")));
        }
        if receiver.writing != Writing::InPlace && typed.push.whole_file {
            return Err(Refusal::new(SYNTAX, "--append cannot be used with --whole-file"));
        }
    }
    receiver.partial = match folder {
        Some(folder) => Partial::Aside(folder.into_vec()),
        // What is written in its place, or waits for its turn, is kept in any case.
        None if typed.partial && writes.is_none() && !receiver.delay_updates => Partial::Kept,
        None => Partial::Dropped,
    };
    Ok(())
}

fn backup(typed: &mut TypedOptions) -> Result<(), Refusal> {
    let receiver = &mut typed.push.receiver;
    receiver.backup_dir = typed.backup_dir.take().map(OsString::into_vec);
    receiver.backup |= receiver.backup_dir.is_some();
    let Some(suffix) = typed.suffix.take().map(OsString::into_vec) else { return Ok(()) };
    if suffix.contains(&b'/') {
        let message = format!("--suffix is \"{}\", but cannot hold a slash", text::escape_bytes(&suffix));
        return Err(Refusal::new(SYNTAX, message));
    }
    if suffix.is_empty() && receiver.backup && receiver.backup_dir.is_none() {
        return Err(Refusal::new(SYNTAX, "--suffix cannot be empty without --backup-dir"));
    }
    // What a receiver does by itself need not be said.
    let usual: &[u8] = if receiver.backup_dir.is_some() { b"" } else { b"~" };
    receiver.suffix = Some(suffix).filter(|suffix| suffix != usual);
    Ok(())
}

fn owners(typed: &mut TypedOptions) -> Result<(), Refusal> {
    let receiver = &mut typed.push.receiver;
    receiver.user_map = typed.user_map.take().map(OsString::into_vec);
    receiver.group_map = typed.group_map.take().map(OsString::into_vec);
    let (user, group) = typed.chown.take().unwrap_or_default();
    let maps = [
        (user, &mut receiver.user_map, "--chown cannot be used with --usermap"),
        (group, &mut receiver.group_map, "--chown cannot be used with --groupmap"),
    ];
    for (name, map, conflict) in maps {
        if name.is_empty() {
            continue;
        }
        if map.is_some() {
            return Err(Refusal::new(SYNTAX, conflict));
        }
        *map = Some([b"*:", &*name].concat());
    }
    Ok(())
}

/// The filter rules, in the order in which they were typed. Files that they name are read.
pub fn rules(typed: &mut TypedOptions) -> Result<Rules, Refusal> {
    let mut rules = Rules::default();
    for word in std::mem::take(&mut typed.rules) {
        match word {
            RuleWord::Filter(rule) => rules.add_filter(&rule, &mut |path| read(path)).map_err(refused)?,
            RuleWord::ZeroEnded(on) => rules.set_zero_ended(on),
            RuleWord::Pattern(verdict, pattern) => rules.add_pattern(&pattern, verdict).map_err(refused)?,
            RuleWord::File(verdict, path) => {
                let content = read(path.as_bytes()).map_err(|source| {
                    refused(FilterError::File { path: text::escape_bytes(path.as_bytes()), source })
                })?;
                rules.add_patterns(&content, verdict).map_err(refused)?;
            }
        }
    }
    Ok(rules)
}

/// What `--cvs-exclude` leaves out in this user's own words.
pub fn cvs_words() -> Vec<u8> {
    let home = std::env::var_os("HOME").map(|home| Path::new(&home).join(".cvsignore"));
    // Who has none has no rules of the kind.
    let own = home.and_then(|path| small_file::read(&path, MAX_RULES).ok()).map(|content| content.to_vec());
    let variable = std::env::var_os("CVSIGNORE").map(OsString::into_vec);
    [own.unwrap_or_default(), b" ".to_vec(), variable.unwrap_or_default()].concat()
}

/// The names in the file of `--files-from`, where there is one. `remote` is where a pull comes from.
pub fn names(typed: &mut TypedOptions, remote: Option<&Remote>) -> Result<Option<NameList>, Refusal> {
    let Some(path) = typed.files_from.take() else { return Ok(None) };
    if let (Some(file), Some(_)) = (path.as_bytes().strip_prefix(b":"), remote) {
        return Ok(Some(NameList::There { file: file.to_vec(), zero_ended: typed.zero_ended }));
    }
    match (Operand::parse(path.clone()), remote) {
        (Operand::Local(_), _) => {}
        (Operand::Remote(named), Some(remote)) if named.host == remote.host => {
            return Ok(Some(NameList::There { file: named.path, zero_ended: typed.zero_ended }));
        }
        (_, Some(_)) => {
            let message = "--files-from names another host than the source: a file there is :FILE";
            return Err(Refusal::new(SYNTAX, message));
        }
        _ => {
            return Err(Refusal::new(UNSUPPORTED, "--files-from with a host is not supported yet: name a file here"));
        }
    }
    let content = read(path.as_bytes()).map_err(|source| {
        let error = NasSyncError::at_path(ErrorKind::LocalFile, "Cannot read", Path::new(&path), source);
        Refusal { exit: error.kind().rsync_exit_code(), error }
    })?;
    let is_end = |byte: &u8| if typed.zero_ended { *byte == 0 } else { matches!(byte, b'\n' | b'\r') };
    // As for rsync, what goes to the NAS has no comments.
    let is_name = |line: &&[u8]| !line.is_empty() && (remote.is_some() || !matches!(line[0], b'#' | b';'));
    Ok(Some(NameList::Here(content.split(is_end).filter(is_name).map(<[u8]>::to_vec).collect())))
}

/// A file of rules or names, or `-` for what is typed or piped in.
fn read(path: &[u8]) -> std::io::Result<Vec<u8>> {
    let path = if path == b"-" { Path::new("/dev/stdin") } else { Path::new(std::ffi::OsStr::from_bytes(path)) };
    small_file::read(path, MAX_RULES).map(|content| content.to_vec())
}

fn refused(error: FilterError) -> Refusal {
    let kind = match error {
        FilterError::File { .. } => ErrorKind::LocalFile,
        _ => ErrorKind::Usage,
    };
    let error = NasSyncError::new(kind, error.to_string()).with_source(error);
    Refusal { exit: kind.rsync_exit_code(), error }
}
