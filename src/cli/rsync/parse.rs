//! rsync's own option language, for `push` and for the name `rsync`.
//!
//! Guarantees: letters may be bundled, values attached or apart, later options undo earlier ones (`-a --no-owner`), and
//! an option that is not supported is refused by name before anything is done, with rsync's exit status. Never: an
//! option is silently ignored that would change what arrives.

#[cfg(test)]
mod tests;

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::PathBuf;

use super::numbers::Numbers;
use super::operand::{self, Operand, Remote};
use super::remote_shell::RemoteShell;
use super::table::{self, Known, Switch, Valued, Word};
use crate::config::Flags;
use crate::delta::strong::StrongAlgorithm;
use crate::error::{ErrorKind, NasSyncError};
use crate::wire::handshake::{ChecksumChoice, CompressionChoice, Offer, Protocol};
use crate::wire::server_args::PushOptions;
use crate::wire::token::TokenCoding;

/// rsync's exit status for a mistake in the command line.
const SYNTAX: u8 = 1;
/// rsync's exit status for a protocol version that cannot be spoken.
const PROTOCOL: u8 = 2;
/// rsync's exit status for an action that is not supported.
const UNSUPPORTED: u8 = 4;

/// Why a command line is refused.
#[derive(Debug)]
pub struct Refusal {
    /// rsync's exit status.
    pub exit: u8,
    /// The reason.
    pub error: NasSyncError,
}

impl From<NasSyncError> for Refusal {
    fn from(error: NasSyncError) -> Self {
        Self { exit: SYNTAX, error }
    }
}

fn refuse(exit: u8, message: impl AsRef<str>) -> Refusal {
    let error = NasSyncError::new(ErrorKind::Usage, message);
    Refusal { exit, error: error.with_solution("See `nas-sync push --help` for what is supported.") }
}

/// What a command line asks for.
#[derive(Debug)]
pub enum Request {
    /// How to use it.
    Help,
    /// Which version.
    Version,
    /// A push.
    Push(Box<PushCommand>),
}

/// What is shown while and after a push.
#[derive(Debug, Clone, Copy, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is an option that combines with all others")]
pub struct Show {
    /// `-v`, counted.
    pub verbose: u8,
    /// `-q`.
    pub quiet: bool,
    /// `--stats`.
    pub stats: bool,
    /// `--progress`.
    pub progress: bool,
    /// `-i`.
    pub itemize: bool,
    /// `--json`.
    pub json: bool,
    /// `-h`.
    pub numbers: Numbers,
}

/// A push as it was asked for.
#[derive(Debug)]
pub struct PushCommand {
    /// What to send.
    pub sources: Vec<PathBuf>,
    /// Where to.
    pub remote: Remote,
    /// What the server is asked to do.
    pub options: PushOptions,
    /// What the handshake offers.
    pub offer: Offer,
    /// The settings that were given as options, `--port` and the like, and nothing of `-e`.
    pub flags: Flags,
    /// `-e`, or `RSYNC_RSH`.
    pub shell: RemoteShell,
    /// What to show.
    pub show: Show,
    /// What a person should know before it starts.
    pub notes: Vec<String>,
}

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
    if parser.help || help_alone {
        return Ok(Request::Help);
    }
    if parser.version {
        return Ok(Request::Version);
    }
    parser.finish(rsync_rsh).map(|command| Request::Push(Box::new(command)))
}

#[derive(Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is an option that combines with all others")]
struct Parser {
    options: PushOptions,
    flags: Flags,
    show: Show,
    protocol: Option<Protocol>,
    compress: bool,
    /// The name of a compression method.
    compression: Option<String>,
    compress_level: Option<i32>,
    checksum: Option<ChecksumChoice>,
    rsh: Option<OsString>,
    partial: bool,
    help: bool,
    version: bool,
    operands: Vec<OsString>,
}

impl Parser {
    fn long(&mut self, text: &[u8], rest: &mut impl Iterator<Item = OsString>) -> Result<(), Refusal> {
        let (name, value) = match text.iter().position(|&byte| byte == b'=') {
            Some(at) => (&text[..at], Some(OsStr::from_bytes(&text[at + 1..]))),
            None => (text, None),
        };
        // No name of an option holds anything but ASCII.
        let name = String::from_utf8_lossy(name);
        let named = format!("--{name}");
        match (table::long(&name), value) {
            (Known::Yes(Word::Valued(valued)), Some(value)) => self.set(valued, &named, value.to_owned()),
            (Known::Yes(Word::Valued(valued)), None) => {
                let value = rest.next().ok_or_else(|| refuse(SYNTAX, format!("{named} needs a value")))?;
                self.set(valued, &named, value)
            }
            (Known::Yes(Word::Switch(_)) | Known::Off(_), Some(_)) => {
                Err(refuse(SYNTAX, format!("{named} takes no value")))
            }
            (Known::Yes(Word::Switch(switch)), None) => {
                self.switch(switch);
                Ok(())
            }
            (Known::Off(switch), None) => {
                self.switch_off(switch);
                Ok(())
            }
            (Known::NotYet, _) => Err(refuse(SYNTAX, format!("the option {named} of rsync is not supported yet"))),
            (Known::No, _) => Err(refuse(SYNTAX, format!("{named}: unknown option"))),
        }
    }

    fn short(&mut self, letters: &[u8], rest: &mut impl Iterator<Item = OsString>) -> Result<(), Refusal> {
        for (at, &letter) in letters.iter().enumerate() {
            let named = format!("-{}", crate::text::escape_bytes(&[letter]));
            match table::short(char::from(letter)) {
                Known::Yes(Word::Switch(switch)) => self.switch(switch),
                Known::Yes(Word::Valued(valued)) => {
                    let attached = &letters[at + 1..];
                    let attached = attached.strip_prefix(b"=").unwrap_or(attached);
                    let value = match attached {
                        [] => rest.next().ok_or_else(|| refuse(SYNTAX, format!("{named} needs a value")))?,
                        _ => OsString::from_vec(attached.to_vec()),
                    };
                    return self.set(valued, &named, value);
                }
                Known::NotYet => {
                    return Err(refuse(SYNTAX, format!("the option {named} of rsync is not supported yet")));
                }
                Known::Off(_) | Known::No => return Err(refuse(SYNTAX, format!("{named}: unknown option"))),
            }
        }
        Ok(())
    }

    fn switch(&mut self, switch: Switch) {
        match switch {
            Switch::Archive => {
                self.options.recursive = true;
                for part in [Switch::Links, Switch::Times, Switch::Permissions, Switch::Owner, Switch::Group] {
                    self.toggle(part, true);
                }
            }
            Switch::Verbose => self.show.verbose = self.show.verbose.saturating_add(1),
            Switch::OldCompress => self.compression = Some("zlib".into()),
            Switch::NewCompress => self.compression = Some("zlibx".into()),
            Switch::PartialProgress => (self.partial, self.show.progress) = (true, true),
            Switch::HumanReadable => {
                self.show.numbers = match self.show.numbers {
                    Numbers::Plain | Numbers::Separated => Numbers::Decimal,
                    Numbers::Decimal | Numbers::Binary => Numbers::Binary,
                }
            }
            Switch::Help => self.help = true,
            Switch::Version => self.version = true,
            other => self.toggle(other, true),
        }
    }

    fn switch_off(&mut self, switch: Switch) {
        match switch {
            Switch::Verbose => self.show.verbose = 0,
            Switch::HumanReadable => self.show.numbers = Numbers::Plain,
            Switch::Compress => (self.compress, self.compression, self.compress_level) = (false, None, None),
            other => self.toggle(other, false),
        }
    }

    /// The switches that are simply on or off.
    fn toggle(&mut self, switch: Switch, on: bool) {
        let place = match switch {
            Switch::Recursive => &mut self.options.recursive,
            Switch::Links => &mut self.options.links,
            Switch::Times => &mut self.options.times,
            Switch::Permissions => &mut self.options.permissions,
            Switch::Owner => &mut self.options.owner,
            Switch::Group => &mut self.options.group,
            Switch::WholeFile => &mut self.options.whole_file,
            Switch::Checksum => &mut self.options.checksum,
            Switch::IgnoreTimes => &mut self.options.ignore_times,
            Switch::DryRun => &mut self.options.dry_run,
            Switch::OmitDirectoryTimes => &mut self.options.omit_directory_times,
            Switch::NumericIds => &mut self.options.numeric_ids,
            Switch::Compress => &mut self.compress,
            Switch::Quiet => &mut self.show.quiet,
            Switch::Stats => &mut self.show.stats,
            Switch::Progress => &mut self.show.progress,
            Switch::Itemize => &mut self.show.itemize,
            Switch::Json => &mut self.show.json,
            Switch::Partial => &mut self.partial,
            Switch::AcceptNewHostKey => &mut self.flags.accept_new_host_key,
            Switch::LegacySsh => &mut self.flags.legacy_ssh,
            Switch::Specials
            | Switch::Harmless
            | Switch::Archive
            | Switch::Verbose
            | Switch::OldCompress
            | Switch::NewCompress
            | Switch::PartialProgress
            | Switch::HumanReadable
            | Switch::Help
            | Switch::Version => return,
        };
        *place = on;
    }

    fn set(&mut self, valued: Valued, named: &str, value: OsString) -> Result<(), Refusal> {
        let wrong = |accepted: &str| {
            let value = crate::text::escape_bytes(value.as_bytes());
            refuse(SYNTAX, format!("{named} is \"{value}\", but must be {accepted}"))
        };
        let text = value.to_str().unwrap_or_default();
        match valued {
            Valued::Rsh => self.rsh = Some(value),
            Valued::RsyncPath => self.flags.rsync_path = Some(value),
            Valued::Port => self.flags.port = Some(value),
            Valued::Identity => self.flags.identity = Some(value),
            Valued::KnownHosts => self.flags.known_hosts = Some(value),
            Valued::ConnectTimeout => self.flags.connect_timeout = Some(value),
            Valued::Timeout => {
                let seconds = text.parse().ok().filter(|&seconds| seconds <= i32::MAX.unsigned_abs());
                self.options.timeout =
                    Some(seconds.ok_or_else(|| wrong("a whole number of seconds"))?).filter(|&seconds| seconds > 0);
            }
            Valued::Protocol => {
                let protocol = text.parse().ok().and_then(Protocol::new);
                self.protocol = Some(protocol.ok_or_else(|| Refusal { exit: PROTOCOL, ..wrong("from 27 to 32") })?);
            }
            Valued::CompressChoice => {
                if text != "auto" && !TokenCoding::NAMES.contains(&text) {
                    return Err(wrong(&format!("auto or one of {}", TokenCoding::NAMES.join(", "))));
                }
                self.compression = Some(text.to_owned());
            }
            Valued::CompressLevel => {
                self.compress_level = Some(text.parse().map_err(|_| wrong("a whole number"))?);
            }
            Valued::ChecksumChoice => {
                self.checksum = Some(checksum_choice(text).ok_or_else(|| {
                    let all = StrongAlgorithm::ALL.map(StrongAlgorithm::name).join(", ");
                    wrong(&format!("auto, or one or two of {all}, parted by a comma"))
                })?);
            }
            Valued::Info => {
                for item in text.split(',') {
                    match item.to_ascii_lowercase().trim_end_matches(|c: char| c.is_ascii_digit()) {
                        "progress" => self.show.progress = !item.ends_with('0'),
                        "stats" => self.show.stats = !item.ends_with('0'),
                        _ => return Err(wrong("progress or stats; other flags are not supported yet")),
                    }
                }
            }
        }
        Ok(())
    }

    fn finish(mut self, rsync_rsh: Option<OsString>) -> Result<PushCommand, Refusal> {
        let (sources, remote) = split_operands(std::mem::take(&mut self.operands))?;
        let mut notes = Vec::new();
        let checksum = self.checksum.unwrap_or(ChecksumChoice::Negotiate);
        if let ChecksumChoice::Fixed { transfer, list } = checksum {
            if list == StrongAlgorithm::None && self.options.checksum {
                return Err(refuse(SYNTAX, "--checksum needs a checksum, and --checksum-choice says none"));
            }
            // Without a checksum nothing would notice a block that is wrongly taken from the old file.
            self.options.whole_file |= transfer == StrongAlgorithm::None;
        }
        if self.partial {
            notes.push("--partial is not supported yet: a file that is interrupted starts again next time".into());
        }
        let rsh = match self.rsh.take() {
            Some(command) => Some((command, "-e")),
            None => rsync_rsh.filter(|command| !command.is_empty()).map(|command| (command, "RSYNC_RSH")),
        };
        let shell = match rsh {
            Some((command, origin)) => {
                let command = command.into_string().map_err(|_| refuse(SYNTAX, format!("{origin} is not UTF-8")))?;
                RemoteShell::parse(&command, origin)?
            }
            None => RemoteShell::default(),
        };
        notes.extend_from_slice(&shell.warnings);
        let offer =
            Offer { protocol: self.protocol.unwrap_or(Protocol::NEWEST), checksum, compression: self.compression() };
        let (options, flags, show) = (self.options, self.flags, self.show);
        Ok(PushCommand { sources, remote, options, offer, flags, shell, show, notes })
    }

    /// A method or a level other than 0 asks for compression too.
    fn compression(&self) -> CompressionChoice {
        let level = self.compress_level;
        let method = self.compression.as_deref().filter(|method| *method != "auto");
        match method.map(|method| TokenCoding::from_name(method, level)) {
            Some(None | Some(TokenCoding::Plain)) => CompressionChoice::Off,
            Some(Some(coding)) => CompressionChoice::Fixed(coding),
            None if self.compress || self.compression.is_some() || level.is_some_and(|level| level != 0) => {
                CompressionChoice::Negotiate { level }
            }
            None => CompressionChoice::Off,
        }
    }
}

/// `auto`, one name for both uses, or two.
fn checksum_choice(text: &str) -> Option<ChecksumChoice> {
    if text == "auto" {
        return Some(ChecksumChoice::Negotiate);
    }
    let (transfer, list) = text.split_once(',').unwrap_or((text, text));
    let (transfer, list) = (StrongAlgorithm::from_name(transfer)?, StrongAlgorithm::from_name(list)?);
    Some(ChecksumChoice::Fixed { transfer, list })
}

/// Sources and destination of a push; every other direction is refused.
fn split_operands(mut operands: Vec<OsString>) -> Result<(Vec<PathBuf>, Remote), Refusal> {
    let unsupported = |message: &str| refuse(UNSUPPORTED, message);
    let Some(last) = operands.pop().filter(|_| !operands.is_empty()) else {
        return Err(refuse(SYNTAX, "a source and a destination are needed: SRC… [USER@]HOST:DEST"));
    };
    let daemon = "rsync daemons (HOST::MODULE, rsync://) are not supported, only SSH (HOST:PATH)";
    let named = operand::show(&last);
    let destination = Operand::parse(last);
    let mut sources = Vec::with_capacity(operands.len());
    let mut pulls = false;
    for operand in operands {
        let named = operand::show(&operand);
        match Operand::parse(operand) {
            Operand::Local(path) if path.as_os_str().is_empty() => {
                return Err(refuse(SYNTAX, "an operand is empty; write . for the working directory"));
            }
            Operand::Local(path) => sources.push(path),
            Operand::Daemon => return Err(unsupported(daemon)),
            Operand::Remote(_) if matches!(destination, Operand::Remote(_)) => {
                let error = format!("source {named} and destination are both remote; write ./ before a local name");
                return Err(refuse(SYNTAX, error));
            }
            Operand::Remote(_) => pulls = true,
            Operand::Senseless => {
                return Err(refuse(SYNTAX, format!("{named} names no host; write ./ before a local name")));
            }
        }
    }
    match destination {
        Operand::Daemon => Err(unsupported(daemon)),
        Operand::Remote(remote) => Ok((sources, remote)),
        Operand::Senseless => Err(refuse(SYNTAX, format!("the destination {named} names no host"))),
        Operand::Local(_) if pulls => Err(unsupported("copying from a NAS (pull) is not supported yet")),
        Operand::Local(_) => {
            Err(unsupported("copying from this machine to itself is not supported; the destination needs a HOST:"))
        }
    }
}
