//! rsync's own option language, for `push` and for the name `rsync`.
//!
//! Guarantees: letters may be bundled, values attached or apart, later options undo earlier ones (`-a --no-owner`), and
//! an option that is not supported is refused by name before anything is done, with rsync's exit status. Never: an
//! option is silently ignored that would change what arrives.

#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::PathBuf;

use super::combined;
use super::operand::{self, Operand, Remote};
use super::remote_shell::RemoteShell;
use super::request::{Refusal, Request, SYNTAX, TransferCommand, UNSUPPORTED, Way};
use super::table::{self, Effect, Place, Row, SetValue, TABLE};
use super::typed::{NotAccepted, TypedOptions};
use crate::delta::strong::StrongAlgorithm;
use crate::text;
use crate::wire::offer::{ChecksumChoice, Offer, Protocol};

/// Reads rsync's arguments, without the program's name. `rsync_rsh` is the variable `RSYNC_RSH`; `-e` beats it.
pub fn parse(arguments: Vec<OsString>, rsync_rsh: Option<OsString>) -> Result<Request, Refusal> {
    let help_alone = arguments.len() == 1 && arguments[0] == "-h";
    let mut parser = Parser::default();
    let mut arguments = arguments.into_iter();
    while let Some(argument) = arguments.next() {
        let bytes = argument.as_bytes();
        if bytes == b"--" {
            parser.operands.extend(arguments.by_ref());
        } else if let Some(long) = bytes.strip_prefix(b"--") {
            parser.long(long, &mut arguments)?;
        } else if bytes.len() > 1 && bytes[0] == b'-' {
            parser.short(&bytes[1..], &mut arguments)?;
        } else {
            parser.operands.push(argument);
        }
    }
    let Parser { options, operands, for_push } = parser;
    if options.help || help_alone {
        return Ok(Request::Help);
    }
    if options.version {
        return Ok(Request::Version);
    }
    let command = finish(options, operands, rsync_rsh)?;
    match (&command.way, for_push) {
        (Way::Pull { .. }, Some(typed)) => Err(Refusal::of_push_option(&typed)),
        _ => Ok(Request::Transfer(Box::new(command))),
    }
}

#[derive(Default)]
struct Parser {
    options: TypedOptions,
    operands: Vec<OsString>,
    /// The first option that is for a push alone, as it was typed.
    for_push: Option<String>,
}

impl Parser {
    fn long(&mut self, text: &[u8], rest: &mut impl Iterator<Item = OsString>) -> Result<(), Refusal> {
        let (name, value) = match text.iter().position(|&byte| byte == b'=') {
            Some(at) => (&text[..at], Some(OsString::from_vec(text[at + 1..].to_vec()))),
            None => (text, None),
        };
        // No name of an option holds anything but ASCII.
        let name = String::from_utf8_lossy(name);
        let typed = format!("--{name}");
        let Some((row, on)) = table::long(&name) else { return Err(unknown(&typed)) };
        self.note_push(row, on, &typed);
        match (row.effect, value) {
            (_, Some(value)) if row.name == "progress" && on => {
                self.set(TypedOptions::progress_as, &typed, Some(value))
            }
            (Effect::Refused(instead), _) => Err(Refusal::of_option(&typed, instead)),
            (Effect::Value(_, set), value) => self.set(set, &typed, value.or_else(|| rest.next())),
            (Effect::Text(_, place), value) => self.keep(place, &typed, value.or_else(|| rest.next())),
            (Effect::Switch(..) | Effect::Harmless(_), Some(_)) => {
                Err(Refusal::new(SYNTAX, format!("{typed} takes no value")))
            }
            (Effect::Switch(_, set), None) => {
                set(&mut self.options, on);
                Ok(())
            }
            (Effect::Harmless(_), None) => Ok(()),
        }
    }

    fn short(&mut self, letters: &[u8], rest: &mut impl Iterator<Item = OsString>) -> Result<(), Refusal> {
        for (at, &letter) in letters.iter().enumerate() {
            let typed = format!("-{}", text::escape_bytes(&[letter]));
            let Some(row) = table::short(char::from(letter)) else { return Err(unknown(&typed)) };
            self.note_push(row, true, &typed);
            let mut value = || match letters[at + 1..].strip_prefix(b"=").unwrap_or(&letters[at + 1..]) {
                [] => rest.next(),
                attached => Some(OsString::from_vec(attached.to_vec())),
            };
            match row.effect {
                Effect::Switch(_, set) => set(&mut self.options, true),
                Effect::Value(_, set) => return self.set(set, &typed, value()),
                Effect::Text(_, place) => return self.keep(place, &typed, value()),
                Effect::Harmless(_) => {}
                Effect::Refused(instead) => return Err(Refusal::of_option(&typed, instead)),
            }
        }
        Ok(())
    }

    fn note_push(&mut self, row: &Row, on: bool, typed: &str) {
        if row.push_only && on {
            self.for_push.get_or_insert_with(|| typed.to_owned());
        }
    }

    fn set(&mut self, set: SetValue, typed: &str, value: Option<OsString>) -> Result<(), Refusal> {
        let value = value.ok_or_else(|| needs_value(typed))?;
        set(&mut self.options, &value).map_err(|NotAccepted { exit, accepted }| {
            let value = text::escape_bytes(value.as_bytes());
            Refusal::new(exit, format!("{typed} is \"{value}\", but must be {accepted}"))
        })
    }

    fn keep(&mut self, place: Place, typed: &str, value: Option<OsString>) -> Result<(), Refusal> {
        *place(&mut self.options) = Some(value.ok_or_else(|| needs_value(typed))?);
        Ok(())
    }
}

fn needs_value(typed: &str) -> Refusal {
    Refusal::new(SYNTAX, format!("{typed} needs a value"))
}

fn unknown(typed: &str) -> Refusal {
    let refusal = Refusal::new(SYNTAX, format!("{typed}: unknown option"));
    let Some(name) = typed.strip_prefix("--") else { return refusal };
    let names = TABLE.iter().filter(|row| row.is_accepted()).flat_map(table::Row::names);
    match text::nearest(name, names) {
        Some(nearest) => refusal.with_hint(&format!("Did you mean --{nearest}?")),
        None => refusal,
    }
}

/// Looks at all options and operands together.
fn finish(
    mut typed: TypedOptions,
    operands: Vec<OsString>,
    rsync_rsh: Option<OsString>,
) -> Result<TransferCommand, Refusal> {
    let (way, remote) = split_operands(operands)?;
    let mut notes = Vec::new();
    let checksum = typed.checksum_choice.unwrap_or(ChecksumChoice::Negotiate);
    if let ChecksumChoice::Fixed { transfer, list } = checksum {
        if list == StrongAlgorithm::None && typed.push.checksum {
            return Err(Refusal::new(SYNTAX, "--checksum needs a checksum, and --checksum-choice says none"));
        }
        // Without a checksum nothing would notice a block that is wrongly taken from the old file.
        typed.push.whole_file |= transfer == StrongAlgorithm::None;
    }
    let is_pull = matches!(way, Way::Pull { .. });
    combined::combine(&mut typed, is_pull)?;
    let mut rules = combined::rules(&mut typed)?;
    let cvs_words = typed.cvs_exclude.then(combined::cvs_words);
    if let (Some(words), false) = (&cvs_words, is_pull) {
        rules.add_cvs(words);
    }
    let names = combined::names(&mut typed, is_pull.then_some(&remote))?;
    let sources = match &way {
        Way::Push(sources) => sources.len(),
        Way::Pull { sources, .. } => sources.len(),
    };
    if names.is_some() && sources != 1 {
        return Err(Refusal::new(SYNTAX, "with --files-from there is one source, below which the names are"));
    }
    let shell = remote_shell(typed.remote_shell.take(), rsync_rsh)?;
    notes.extend_from_slice(&shell.warnings);
    let protocol = typed.protocol.unwrap_or(Protocol::NEWEST);
    let incremental = typed.incremental.unwrap_or(true);
    let offer = Offer { protocol, checksum, compression: typed.compression(), incremental };
    let TypedOptions { push: options, flags, show, .. } = typed;
    Ok(TransferCommand { way, remote, options, rules, cvs_words, names, offer, flags, shell, show, notes })
}

/// What `-e` or else `RSYNC_RSH` says.
fn remote_shell(option: Option<OsString>, variable: Option<OsString>) -> Result<RemoteShell, Refusal> {
    let variable = variable.filter(|command| !command.is_empty()).map(|command| (command, "RSYNC_RSH"));
    let Some((command, origin)) = option.map(|command| (command, "-e")).or(variable) else {
        return Ok(RemoteShell::default());
    };
    let command = command.into_string().map_err(|_| Refusal::new(SYNTAX, format!("{origin} is not UTF-8")))?;
    Ok(RemoteShell::parse(&command, origin)?)
}

/// Which way the operands lead, and to or from where.
fn split_operands(mut operands: Vec<OsString>) -> Result<(Way, Remote), Refusal> {
    let unsupported = |message: &str| Refusal::new(UNSUPPORTED, message);
    let Some(last) = operands.pop().filter(|_| !operands.is_empty()) else {
        return Err(Refusal::new(
            SYNTAX,
            "a source and a destination are needed: SRC… [USER@]HOST:DEST, or [USER@]HOST:SRC… DEST",
        ));
    };
    let daemon = "rsync daemons (HOST::MODULE, rsync://) are not supported, only SSH (HOST:PATH)";
    let named = operand::show(&last);
    let destination = Operand::parse(last);
    let mut sources = Vec::with_capacity(operands.len());
    let mut remotes: Vec<Remote> = Vec::new();
    for operand in operands {
        let named = operand::show(&operand);
        match Operand::parse(operand) {
            Operand::Local(path) if path.as_os_str().is_empty() => {
                return Err(Refusal::new(SYNTAX, "an operand is empty; write . for the working directory"));
            }
            Operand::Local(path) => sources.push(path),
            Operand::Daemon => return Err(unsupported(daemon)),
            Operand::Remote(_) if matches!(destination, Operand::Remote(_)) => {
                let error = format!("source {named} and destination are both remote; write ./ before a local name");
                return Err(Refusal::new(SYNTAX, error));
            }
            Operand::Remote(remote) => remotes.push(remote),
            Operand::Senseless => {
                return Err(Refusal::new(SYNTAX, format!("{named} names no host; write ./ before a local name")));
            }
        }
    }
    match destination {
        Operand::Daemon => Err(unsupported(daemon)),
        Operand::Remote(remote) => Ok((Way::Push(sources), remote)),
        Operand::Senseless => Err(Refusal::new(SYNTAX, format!("the destination {named} names no host"))),
        Operand::Local(destination) => pull(&sources, remotes, destination),
    }
}

/// A pull: all sources lie on one NAS.
fn pull(local: &[PathBuf], remotes: Vec<Remote>, destination: PathBuf) -> Result<(Way, Remote), Refusal> {
    let Some(first) = remotes.first().cloned() else {
        let message = "copying from this machine to itself is not supported; source or destination needs a HOST:";
        return Err(Refusal::new(UNSUPPORTED, message));
    };
    if destination.as_os_str().is_empty() {
        return Err(Refusal::new(SYNTAX, "an operand is empty; write . for the working directory"));
    }
    let is_there = |remote: &Remote| (&remote.user, &remote.host) == (&first.user, &first.host);
    if !local.is_empty() || !remotes.iter().all(is_there) {
        return Err(Refusal::new(SYNTAX, "all sources must lie on the same NAS, with the same user"));
    }
    let sources = remotes.into_iter().map(|remote| remote.path).collect();
    Ok((Way::Pull { sources, destination }, first))
}
