//! One flush of the file system behind a batch, in place of one for each file. Why that proves the same, and where, is in
//! `protocol-notes/15-levels-of-proof.md#one-flush-behind-a-batch`.
//!
//! The command that flushes runs from before the first byte of the batch, in the destination folder: what it flushes is the
//! file system of then, in the boot of then, or it is no more and proves nothing.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Mutex, OwnedSemaphorePermit};
use tokio::time::timeout;

use super::login::Client;
use super::nas::{Flushed, MOST, SHORT_WAIT, SHOWN, late, lines, word};
use crate::error::{ErrorKind, NasSyncError, Result};
use crate::text;
use crate::transport::{Exec, ExecEvent, ExecReader, ExecWriter, ExitStatus};
use crate::tree::RemoteName;

/// What the command says about where it runs: kernel, release, type of the file system, number of its device.
const PLACE: &str = "nas-sync-place";
/// What it says when it waits to be told what to flush.
const READY: &str = "nas-sync-ready";
/// What it says when all of that has ended well.
const FLUSHED: &str = "nas-sync-flushed";
/// It reads how many bytes the names have, and how many files one program is to take; then the names. Neither `read` nor
/// `head` takes a byte more. Each file is flushed once more by itself: it is how an error comes to light that another flush has
/// been told of. Nothing is left to write then, but each waits for the disk, so that several do it side by side.
const SCRIPT: &str = "echo \"nas-sync-place $(uname -sr) $(stat -f -c %t .) $(stat -c %d .)\"; LC_ALL=C sync --help; \
                      echo | head -c 1 | xargs -0 -P 2 -n 1 true && echo nas-sync-ready || exit; \
                      while read bytes each; do \
                      sync -f . && head -c \"$bytes\" | xargs -0 -P 16 -n \"$each\" \
                      sh -c \"sync \\\"\\$@\\\" && stat -c %d \\\"\\$@\\\"\" sh && echo nas-sync-flushed || exit; done";
/// How many programs flush files side by side.
const SIDE_BY_SIDE: usize = 16;
/// The file systems that are known to tell of writes that failed, by the number that `statfs` gives, in hexadecimal digits.
const FILE_SYSTEMS: [(&str, &str); 3] = [("ef53", "ext4"), ("58465342", "xfs"), ("9123683e", "btrfs")];
/// The first Linux whose `syncfs` does.
const LINUX: (u32, u32) = (5, 8);
/// The most bytes of the line about one file.
const MOST_PER_FILE: usize = 24;

/// A NAS that waits to flush what a batch has written.
#[derive(Debug)]
pub(crate) struct OneFlush {
    evidence: String,
    command: Arc<Mutex<Command>>,
}

/// The command that does it.
#[derive(Debug)]
struct Command {
    exec: Exec,
    heard: Heard,
    place: Place,
    state: State,
    _turn: OwnedSemaphorePermit,
}

/// What can be asked of the command.
#[derive(Debug)]
enum State {
    /// To flush.
    Waits,
    /// Nothing: what it says next would be the answer to what it was asked before.
    Asked,
    /// Nothing: an error is told once, so that another flush would end well.
    Refused(String),
}

/// Whether a NAS is ready to flush.
#[derive(Debug)]
pub(crate) enum Ready {
    /// It is.
    Yes(OneFlush),
    /// It did not do what it was asked; why, safe to print. That may have been in passing.
    Refused(String),
    /// By its own words one flush is not enough there; why, safe to print.
    Unfit(String),
}

impl OneFlush {
    /// Starts the command in its turn, and waits until it waits. It is refused where one flush proves less than one for each file.
    ///
    /// Fails when the connection is lost, or with `Usage` for a path that cannot be written on a command line.
    pub async fn ready(client: &Client, folder: &str, turn: OwnedSemaphorePermit) -> Result<Ready> {
        let line = [b"cd ", &word(folder)?[..], b" && exec sh -c '", SCRIPT.as_bytes(), b"'"].concat();
        if client.ssh().runs_one_command() {
            return Ok(Ready::Refused(String::from("the server runs one command at a time, and that is rsync")));
        }
        let mut exec = match client.ssh().exec(&line).await {
            Ok(exec) => exec,
            Err(error) if error.kind() == ErrorKind::ConnectionLost => return Err(error),
            Err(error) => return Ok(Ready::Refused(error.message().to_owned())),
        };
        let mut heard = Heard::default();
        if timeout(SHORT_WAIT, heard.listen(&mut exec.reader, Some(READY), MOST)).await.is_err() {
            return Ok(Ready::Refused(late(SHORT_WAIT).message().to_owned()));
        }
        if heard.exit.is_none() && !heard.says(READY) {
            return Err(lost(client));
        }
        let place = match heard.place() {
            Ok(place) => place,
            Err(not_ready) => return Ok(not_ready),
        };
        let evidence = place.evidence.clone();
        let command = Command { exec, heard, place, state: State::Waits, _turn: turn };
        Ok(Ready::Yes(Self { evidence, command: Arc::new(Mutex::new(command)) }))
    }

    /// What shows that one flush is enough there, safe to print.
    pub fn evidence(&self) -> &str {
        &self.evidence
    }

    /// Flushes, and looks whether all of these files lie on what was flushed. They must be there; `limit` is for all of it. What
    /// was refused once is refused from then on.
    ///
    /// Fails when the connection is lost, or with `Stalled` at the deadline.
    pub async fn flush(&self, client: &Client, names: &[&RemoteName], limit: Duration) -> Result<Flushed> {
        let list = names.iter().flat_map(|name| [b"./", name.as_bytes(), b"\0"]).flatten().copied().collect();
        let (command, files) = (Arc::clone(&self.command), names.len());
        // It goes on when nobody waits for it any more, and whoever asks next waits for its end.
        let flushing = tokio::spawn(async move {
            let mut command = command.lock().await;
            timeout(limit, command.flush(list, files)).await.ok().flatten()
        });
        let flushed = timeout(limit, flushing).await.ok().and_then(Result::ok).flatten();
        flushed.ok_or_else(|| client.ssh().lost().unwrap_or_else(|| late(limit)))
    }
}

impl Command {
    /// `None` when there is no answer.
    async fn flush(&mut self, list: Vec<u8>, files: usize) -> Option<Flushed> {
        match &self.state {
            State::Waits => self.state = State::Asked,
            State::Asked => return None,
            State::Refused(why) => return Some(Flushed::Refused(why.clone())),
        }
        self.heard = Heard::default();
        let Exec { reader, writer } = &mut self.exec;
        let question = [format!("{} {}\n", list.len(), files.div_ceil(SIDE_BY_SIDE)).into_bytes(), list].concat();
        {
            let mut asking = pin!(ask(writer, question.into()));
            let mut listening = pin!(self.heard.listen(reader, Some(FLUSHED), MOST + files * MOST_PER_FILE));
            tokio::select! {
                () = &mut listening => {}
                () = &mut asking => listening.as_mut().await,
            }
        }
        if self.heard.exit.is_none() && !self.heard.says(FLUSHED) {
            return None;
        }
        let flushed = self.heard.flushed(&self.place, files);
        self.state = match &flushed {
            Flushed::Yes => State::Waits,
            Flushed::Refused(why) => State::Refused(why.clone()),
        };
        Some(flushed)
    }
}

async fn ask(writer: &mut ExecWriter, question: Bytes) {
    // A command that ends without having read everything says why.
    let _ = writer.write(question).await;
}

fn lost(client: &Client) -> NasSyncError {
    client.ssh().lost().unwrap_or_else(|| {
        NasSyncError::new(ErrorKind::ConnectionLost, "the connection ended before the NAS had flushed its disks")
    })
}

/// Where the command runs.
#[derive(Debug, PartialEq, Eq)]
struct Place {
    evidence: String,
    /// The number of the device, as `stat` says it.
    device: Vec<u8>,
}

/// What the command has said.
#[derive(Debug, Default)]
struct Heard {
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    /// Once it has ended.
    exit: Option<ExitStatus>,
}

impl Heard {
    /// Listens until it has said this word, or has ended. What says more than `most` bytes counts as ended.
    async fn listen(&mut self, reader: &mut ExecReader, until: Option<&str>, most: usize) {
        while until.is_none_or(|word| !self.says(word)) && self.stdout.len() <= most {
            match reader.next().await {
                Some(ExecEvent::Stdout(bytes)) => self.stdout.extend_from_slice(&bytes),
                Some(ExecEvent::Stderr(bytes)) => {
                    self.stderr.extend_from_slice(&bytes[..bytes.len().min(most.saturating_sub(self.stderr.len()))]);
                }
                Some(ExecEvent::Exit(status)) => self.exit = Some(status),
                None => return,
            }
        }
        if self.stdout.len() > most {
            self.exit.get_or_insert(ExitStatus::NotSaid);
        }
    }

    fn says(&self, word: &str) -> bool {
        lines(&self.stdout).next_back() == Some(word.as_bytes())
    }

    /// Where it runs; why one flush is not enough there, or why it does not run.
    fn place(&self) -> Result<Place, Ready> {
        let Some(said) =
            lines(&self.stdout).find_map(|line| line.strip_prefix(PLACE.as_bytes())).filter(|_| self.says(READY))
        else {
            return Err(Ready::Refused(self.refusal()));
        };
        let shown = text::escape_bytes_start(said, SHOWN);
        let words: Vec<&[u8]> = said.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty()).collect();
        let &[kernel, release, file_system, device] = &words[..] else {
            return Err(Ready::Refused(format!("it does not say where it runs, but:{shown}")));
        };
        let name = FILE_SYSTEMS.iter().find(|(number, _)| file_system.eq_ignore_ascii_case(number.as_bytes()));
        let Some((_, name)) = name else {
            let file_system = words_of(file_system);
            return Err(Ready::Unfit(format!(
                "file systems of type {file_system} are not known to tell of failed writes"
            )));
        };
        if kernel != b"Linux" || linux_of(release).is_none_or(|version| version < LINUX) {
            let (kernel, release) = (words_of(kernel), words_of(release));
            return Err(Ready::Unfit(format!("{kernel} {release} does not tell of every failed write")));
        }
        if !contains(&self.stdout, b"--file-system") || !contains(&self.stdout, b"GNU coreutils") {
            let why = "its `sync` is not that of GNU coreutils, and others keep errors to themselves";
            return Err(Ready::Unfit(String::from(why)));
        }
        Ok(Place { evidence: format!("Linux {}, {name}", words_of(release)), device: device.to_vec() })
    }

    /// Whether so many files were flushed, all of them there.
    fn flushed(&self, place: &Place, files: usize) -> Flushed {
        if !self.says(FLUSHED) {
            return Flushed::Refused(self.refusal());
        }
        let mut devices = lines(&self.stdout).rev().skip(1);
        if devices.clone().count() == files && devices.all(|device| device == place.device) {
            Flushed::Yes
        } else {
            Flushed::Refused(String::from("not all files lie on the file system of the destination folder"))
        }
    }

    fn refusal(&self) -> String {
        let said = |text| lines(text).next().map(|line| text::escape_bytes_start(line, SHOWN));
        said(&self.stderr).unwrap_or_else(|| match &self.exit {
            Some(ExitStatus::Code(status)) => format!("the command ended with status {status}"),
            Some(ExitStatus::Signal(signal)) => format!("the command was ended by signal {signal}"),
            Some(ExitStatus::NotSaid) | None => String::from("the command did not end as it should"),
        })
    }
}

fn words_of(bytes: &[u8]) -> String {
    text::escape_bytes_start(bytes, SHOWN)
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

/// The first two numbers of a kernel's release, such as `5.10.55+`.
fn linux_of(release: &[u8]) -> Option<(u32, u32)> {
    let mut numbers = str::from_utf8(release).ok()?.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(stdout: &str) -> Heard {
        Heard { stdout: stdout.as_bytes().to_vec(), exit: Some(ExitStatus::Code(0)), ..Heard::default() }
    }

    fn place(about: &str, help: &str) -> Result<Place, Ready> {
        heard(&format!("Welcome!\n{PLACE} {about}\n{help}\n{READY}\n")).place()
    }

    const GNU: &str = "  -f, --file-system  x\nGNU coreutils online help: <y>";

    #[test]
    fn one_flush_is_enough_only_where_all_of_it_is_known() {
        let known = place("Linux 5.10.55+ ef53 2049", GNU).unwrap();
        assert_eq!(known, Place { evidence: String::from("Linux 5.10.55+, ext4"), device: b"2049".to_vec() });
        for release in ["5.8.0", "5.8", "6.1.0-qnap", "10.0"] {
            assert!(place(&format!("Linux {release} 58465342 1"), GNU).is_ok(), "{release}");
        }
        for about in [
            "Linux 5.7.19 ef53 2049",
            "Linux 4.4.302+ ef53 2049",
            "Linux 3.10 ef53 2049",
            "Linux six ef53 2049",
            "FreeBSD 14.1-RELEASE ef53 2049",
            "Linux 6.1 794c7630 2049",
            "Linux 6.1 6969 2049",
            "Linux 6.1 ef53",
            "Linux 6.1 2049",
            "Linux 6.1 ef53 2049 1",
        ] {
            assert!(place(about, GNU).is_err(), "{about}");
        }
        for help in ["BusyBox v1.36 sync [-df] [FILE]...", "  -f, --file-system\nuutils", "GNU coreutils 8.0"] {
            assert!(place("Linux 6.1 ef53 2049", help).is_err(), "{help}");
        }
        assert!(heard(&format!("{PLACE} Linux 6.1 ef53 2049\n{GNU}\n")).place().is_err(), "it does not wait");
    }

    #[test]
    fn a_flush_counts_when_every_file_lies_on_what_was_flushed() {
        let place = place("Linux 6.1 ef53 2049", GNU).unwrap();
        let flushed = |stdout: &str| heard(stdout).flushed(&place, 2) == Flushed::Yes;
        assert!(flushed("2049\n2049\nnas-sync-flushed\n"));
        for stdout in [
            "2049\n2050\nnas-sync-flushed\n",
            "2049\nnas-sync-flushed\n",
            "2049\n2049\n2049\nnas-sync-flushed\n",
            "2049\n2049\n",
            "nas-sync-flushed\n",
            "",
        ] {
            assert!(!flushed(stdout), "{stdout}");
        }
    }
}
