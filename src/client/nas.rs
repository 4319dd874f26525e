//! Questions to the NAS beside rsync: flush the disks, say how much room is left, sum files.
//!
//! Every one may be refused: by a restricted shell, a forced command, a program that is missing. That is an answer, not
//! an error. Guarantees: an answer counts only when the NAS gave the agreed word for it, so a shell that swallows
//! commands and ends well is not believed; everything ends by a deadline; output is bounded; no name of a document is
//! ever on a command line.

use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::login::Client;
use super::space::parse_df;
use crate::error::{ErrorKind, NasSyncError, Result};
use crate::text;
use crate::transport::{Exec, ExecEvent, ExecWriter, ExitStatus};
use crate::tree::RemoteName;
use crate::wire::server_args::path_word;

pub use super::space::Space;

/// Proves that the commands before it ended well.
const FLUSHED: &str = "nas-sync-flushed";
/// Proves that a file is gone.
const REMOVED: &str = "nas-sync-removed";
/// What the NAS says about a folder.
const THERE: &str = "nas-sync-folder";
const NOT_THERE: &str = "nas-sync-no-folder";
/// What a shell that runs commands says.
#[cfg(feature = "cli")]
const ECHO: &str = "nas-sync-echo";
/// The SHA-256 of nothing. A NAS that can sum says it first.
const SUM_OF_NOTHING: &[u8] = b"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
/// Says one line for each file, in their order, whatever a file is called.
const SUM_EACH: &str = "for f do if test -h \"$f\"; then echo missing; elif test -f \"$f\"; then sha256sum <\"$f\" || \
                        echo unreadable; else echo missing; fi; done";
/// The most bytes that a short answer may have, with all that a shell says when it starts.
pub(super) const MOST: usize = 64 * 1024;
/// The most bytes of the line about one file.
const MOST_PER_SUM: usize = 80;
/// How long the NAS may take for what a shell does at once.
pub(super) const SHORT_WAIT: Duration = Duration::from_secs(15);
/// How long a script may take.
#[cfg(feature = "cli")]
const SCRIPT_WAIT: Duration = Duration::from_secs(60);
/// How much of a refusal is worth showing, in bytes.
pub(super) const SHOWN: usize = 300;

/// What to write through to the disks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flush {
    /// The folder itself, so that the names in it last. Where `sync` takes no folder it flushes everything instead.
    Folder,
    /// The file system that holds the folder. Old versions of `sync` cannot.
    FileSystem,
    /// All that the NAS has not written yet.
    Everything,
}

/// Whether the NAS flushed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Flushed {
    /// It said so.
    Yes,
    /// It did not; why, safe to print.
    Refused(String),
}

/// What a NAS says about one file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sum {
    /// Its SHA-256.
    Is([u8; 32]),
    /// There is no regular file of this name that the NAS user can see.
    Missing,
    /// It is there, and could not be read.
    Unreadable,
}

/// What a NAS says about files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sums {
    /// For each name, in their order.
    Said(Vec<Sum>),
    /// Nothing; why, safe to print.
    Refused(String),
}

/// Asks the NAS to write through what it has stored, and waits for it, `limit` at most. The path is that of the
/// destination folder, as a person writes it.
///
/// Fails when the connection is lost, with `Stalled` at the deadline, or with `Usage` for a path that cannot be written on a command line.
pub async fn flush(client: &Client, path: &str, scope: Flush, limit: Duration) -> Result<Flushed> {
    let line = flush_line(path, scope)?;
    Ok(
        match ask(client, Question { line, input: Bytes::new(), patience: Patience::Whole(limit), most: MOST }).await? {
            Answer::Refused(why) => Flushed::Refused(why),
            Answer::Output(said) if said.ended_well() && said.lines().next_back() == Some(FLUSHED.as_bytes()) => {
                Flushed::Yes
            }
            Answer::Output(said) => Flushed::Refused(said.refusal()),
        },
    )
}

fn flush_line(path: &str, scope: Flush) -> Result<Vec<u8>> {
    let line = match scope {
        Flush::Folder => [b"sync ", &word(path)?[..]].concat(),
        Flush::FileSystem => [b"sync -f ", &word(path)?[..]].concat(),
        Flush::Everything => b"sync".to_vec(),
    };
    Ok([&line, format!(" && echo {FLUSHED}").as_bytes()].concat())
}

fn folder_line(path: &str) -> Result<Vec<u8>> {
    Ok([b"test -d ", &word(path)?[..], format!(" && echo {THERE} || echo {NOT_THERE}").as_bytes()].concat())
}

fn space_line(path: &str) -> Result<Vec<u8>> {
    Ok([b"df -Pk ", &word(path)?[..]].concat())
}

/// The commands about one folder that change nothing in it: to flush it, to see whether it is there, and how much room it has.
#[cfg(feature = "cli")]
pub(super) fn harmless_lines(path: &str) -> Result<Vec<Vec<u8>>> {
    let scopes = [Flush::Folder, Flush::FileSystem, Flush::Everything];
    let flushes = scopes.into_iter().map(|scope| flush_line(path, scope));
    flushes.chain([folder_line(path), space_line(path)]).collect()
}

/// Whether the destination folder is there. `None` where the NAS does not say. Fails when the connection is lost, or with
/// `Usage` for a path that cannot be written on a command line.
pub(crate) async fn has_folder(client: &Client, path: &str) -> Result<Option<bool>> {
    let line = folder_line(path)?;
    let patience = Patience::Whole(SHORT_WAIT);
    let answer = ask(client, Question { line, input: Bytes::new(), patience, most: MOST }).await?;
    let Answer::Output(said) = answer else { return Ok(None) };
    Ok(match said.lines().next_back() {
        Some(line) if line == THERE.as_bytes() => Some(true),
        Some(line) if line == NOT_THERE.as_bytes() => Some(false),
        _ => None,
    })
}

/// Removes a file of ours from the destination folder. Gives whether it is gone for certain. Fails when the connection is
/// lost, or with `Usage` for a path that cannot be written on a command line.
pub(super) async fn remove(client: &Client, path: &str, name: &str) -> Result<bool> {
    let file = word(&format!("{}/{name}", path.trim_end_matches('/')))?;
    let line = [b"rm -f ", &file[..], format!(" && echo {REMOVED}").as_bytes()].concat();
    let patience = Patience::Whole(SHORT_WAIT);
    let answer = ask(client, Question { line, input: Bytes::new(), patience, most: MOST }).await?;
    Ok(matches!(answer, Answer::Output(said) if said.lines().next_back() == Some(REMOVED.as_bytes())))
}

/// How much room is left where the destination folder is. `None` where the NAS does not say.
pub async fn free_space(client: &Client, path: &str) -> Option<Space> {
    let line = space_line(path).ok()?;
    let patience = Patience::Whole(SHORT_WAIT);
    match ask(client, Question { line, input: Bytes::new(), patience, most: MOST }).await {
        Ok(Answer::Output(said)) if said.ended_well() => parse_df(&said.stdout),
        _ => None,
    }
}

/// How a NAS takes a command that has nothing to do with rsync.
#[cfg(feature = "cli")]
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Echo {
    /// It ran it, and printed nothing else.
    Clean,
    /// It ran it, and printed this besides; safe to print.
    Noisy(String),
    /// It did something else, or nothing, and this is what it said; safe to print.
    Other(String),
}

/// Asks the NAS to run a harmless command. Fails when the connection is lost, or with `Stalled`.
#[cfg(feature = "cli")]
pub(crate) async fn echo(client: &Client) -> Result<Echo> {
    let (line, patience) = (format!("echo {ECHO}").into_bytes(), Patience::Whole(SHORT_WAIT));
    let said = match ask(client, Question { line, input: Bytes::new(), patience, most: MOST }).await? {
        Answer::Refused(why) => return Ok(Echo::Other(why)),
        Answer::Output(said) => said,
    };
    Ok(match said.lines().position(|line| line == ECHO.as_bytes()) {
        None => Echo::Other(said.refusal()),
        Some(_) if said.lines().count() == 1 => Echo::Clean,
        Some(_) => {
            let other = said.lines().find(|line| *line != ECHO.as_bytes()).unwrap_or_default();
            Echo::Noisy(text::escape_bytes_start(other, SHOWN))
        }
    })
}

/// A word of a script for a plain shell.
#[cfg(feature = "cli")]
pub(super) fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// Lets the NAS run a script in its own plain shell, whatever the user's login shell is. Where the
/// NAS runs no commands it says so instead. Fails when the connection is lost, or with `Stalled`.
#[cfg(feature = "cli")]
pub(super) async fn run_script(client: &Client, script: String) -> Result<Script> {
    let patience = Patience::Whole(SCRIPT_WAIT);
    let question = Question { line: b"sh".to_vec(), input: script.into(), patience, most: MOST };
    Ok(match ask(client, question).await? {
        Answer::Refused(why) => Script { lines: Vec::new(), refusal: why },
        Answer::Output(said) => {
            let lines = said.lines().map(|line| String::from_utf8_lossy(line).into_owned()).collect();
            Script { lines, refusal: said.refusal() }
        }
    })
}

/// What a script said.
#[cfg(feature = "cli")]
pub(super) struct Script {
    /// Its lines. Foreign text.
    pub lines: Vec<String>,
    /// The first of its errors, or else of its lines; safe to print.
    pub refusal: String,
}

/// Lets the NAS read files below the destination folder and say their SHA-256. Between two answers it may take `idle`,
/// so that must be enough to read the largest file.
///
/// Fails when the connection is lost, with `Stalled` at the deadline, or with `Usage` for a path that cannot be written on a command line.
pub async fn sha256_of(client: &Client, path: &str, names: &[RemoteName], idle: Duration) -> Result<Sums> {
    let mut line = [b"cd ", &word(path)?[..], b" && sha256sum </dev/null && exec xargs -0 sh -c "].concat();
    line.extend_from_slice(format!("'{SUM_EACH}' sh").as_bytes());
    let input: Vec<u8> = names.iter().flat_map(|name| [b"./", name.as_bytes(), b"\0"]).flatten().copied().collect();
    let most = MOST + names.len() * MOST_PER_SUM;
    let said = match ask(client, Question { line, input: input.into(), patience: Patience::Idle(idle), most }).await? {
        Answer::Output(said) => said,
        Answer::Refused(why) => return Ok(Sums::Refused(why)),
    };
    // Lines before the sum of nothing are those of a shell that starts.
    let mut lines = said.lines().skip_while(|line| !line.starts_with(SUM_OF_NOTHING));
    if !said.ended_well() || lines.next().is_none() {
        return Ok(Sums::Refused(said.refusal()));
    }
    let sums: Option<Vec<Sum>> = lines.map(parse_sum).collect();
    Ok(match sums {
        Some(sums) if sums.len() == names.len() => Sums::Said(sums),
        _ => Sums::Refused(String::from("the answer does not fit the files that were asked about")),
    })
}

fn parse_sum(line: &[u8]) -> Option<Sum> {
    match line {
        b"missing" => return Some(Sum::Missing),
        b"unreadable" => return Some(Sum::Unreadable),
        _ => {}
    }
    let (digits, rest) = line.split_first_chunk::<64>()?;
    if !digits.iter().all(u8::is_ascii_hexdigit) || !rest.first().is_none_or(u8::is_ascii_whitespace) {
        return None;
    }
    let digits = str::from_utf8(digits).ok()?;
    let mut sum = [0; 32];
    for (at, byte) in sum.iter_mut().enumerate() {
        *byte = u8::from_str_radix(digits.get(2 * at..2 * at + 2)?, 16).ok()?;
    }
    Some(Sum::Is(sum))
}

pub(super) fn word(path: &str) -> Result<Vec<u8>> {
    path_word(path.as_bytes())
        .map_err(|error| NasSyncError::new(ErrorKind::Usage, error.to_string()).with_source(error))
}

/// A command that may be refused.
struct Question {
    line: Vec<u8>,
    /// What it gets to read.
    input: Bytes,
    patience: Patience,
    /// The most bytes that it may say, on each stream.
    most: usize,
}

/// How long a command may take.
#[derive(Clone, Copy)]
enum Patience {
    /// From start to end.
    Whole(Duration),
    /// Between two outputs.
    Idle(Duration),
}

enum Answer {
    Output(CommandOutput),
    Refused(String),
}

/// What a command said until it ended.
struct CommandOutput {
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    exit: ExitStatus,
}

impl CommandOutput {
    /// Whether nothing speaks against its answer. What it says proves it; some servers never say how a command ended.
    fn ended_well(&self) -> bool {
        matches!(self.exit, ExitStatus::Code(0) | ExitStatus::NotSaid)
    }

    fn lines(&self) -> impl DoubleEndedIterator<Item = &[u8]> {
        lines(&self.stdout)
    }

    /// Why this is not the answer that was wanted.
    fn refusal(&self) -> String {
        let first = lines(&self.stderr).chain(self.lines()).next();
        match (first, &self.exit) {
            (Some(line), _) => text::escape_bytes_start(line, SHOWN),
            (None, ExitStatus::Code(status)) => format!("the command ended with status {status} and said nothing"),
            (None, ExitStatus::NotSaid) => String::from("the command ended and said nothing"),
            (None, ExitStatus::Signal(signal)) => format!("the command was ended by signal {signal}"),
        }
    }
}

pub(super) fn lines(text: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> + Clone {
    text.split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii).filter(|line| !line.is_empty())
}

/// Runs a command to its end. Reads while it writes, so that neither side can wait for the other for ever.
async fn ask(client: &Client, question: Question) -> Result<Answer> {
    let Question { line, input, patience, most } = question;
    tracing::debug!(command = %text::escape_bytes(&line), "asking the NAS");
    let Exec { mut reader, writer } = match client.ssh().exec(&line).await {
        Ok(exec) => exec,
        Err(error) if error.kind() == ErrorKind::ExecRefused => {
            return Ok(Answer::Refused(error.message().to_owned()));
        }
        Err(error) => return Err(error),
    };
    let (Patience::Whole(limit) | Patience::Idle(limit)) = patience;
    let mut deadline = pin!(tokio::time::sleep(limit));
    let mut feeding = pin!(feed(writer, input));
    let mut fed = false;
    let (mut stdout, mut stderr, mut exit) = (Vec::new(), Vec::new(), None);
    loop {
        let event = tokio::select! {
            event = reader.next() => event,
            () = &mut feeding, if !fed => {
                fed = true;
                continue;
            }
            // Slowness is no refusal: a busy NAS answers another time.
            () = &mut deadline => return Err(late(limit)),
        };
        match event {
            Some(ExecEvent::Stdout(bytes)) => stdout.extend_from_slice(&bytes),
            Some(ExecEvent::Stderr(bytes)) => {
                // Errors may be many; the first ones tell enough.
                stderr.extend_from_slice(&bytes[..bytes.len().min(most.saturating_sub(stderr.len()))]);
            }
            Some(ExecEvent::Exit(status)) => exit = Some(status),
            None => break,
        }
        if stdout.len() > most {
            return Ok(Answer::Refused(String::from("the answer is longer than any answer can be")));
        }
        if let Patience::Idle(limit) = patience {
            deadline.as_mut().reset(Instant::now() + limit);
        }
    }
    // Each command ends somehow, unless the connection broke first.
    let Some(exit) = exit else {
        return Err(client.ssh().lost().unwrap_or_else(|| {
            NasSyncError::new(ErrorKind::ConnectionLost, "the connection ended before a command on the NAS had")
        }));
    };
    Ok(Answer::Output(CommandOutput { stdout, stderr, exit }))
}

pub(super) fn late(limit: Duration) -> NasSyncError {
    let message = format!("the NAS did not answer a command within {} s", limit.as_secs_f32());
    NasSyncError::new(ErrorKind::Stalled, message).with_solution(
        "Check the NAS's load and disks, or raise NAS_FILE_TIMEOUT. Where the NAS never answers `sync`, set NAS_DURABILITY=stored.",
    )
}

/// Gives a command what it is to read, and says that this is all.
async fn feed(mut writer: ExecWriter, input: Bytes) {
    // A command that ends without having read everything says why on its other streams.
    if input.is_empty() || writer.write(input).await.is_ok() {
        let _ = writer.finish().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_sums_are_sums() {
        assert_eq!(parse_sum(&[SUM_OF_NOTHING, b"  -"].concat()).map(|sum| matches!(sum, Sum::Is(_))), Some(true));
        assert_eq!(parse_sum(b"missing"), Some(Sum::Missing));
        assert_eq!(parse_sum(&[SUM_OF_NOTHING, b"a"].concat()), None);
        assert_eq!(parse_sum(&SUM_OF_NOTHING[1..]), None);
        assert_eq!(parse_sum("+1".repeat(32).as_bytes()), None);
    }
}
