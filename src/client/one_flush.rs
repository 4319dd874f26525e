//! One flush of the file system behind a batch, where rsync cannot flush each file. Why that proves the same, and where, is in
//! `protocol-notes/15-levels-of-proof.md#one-flush-behind-a-batch`.
//!
//! The command that flushes runs from before the first byte of the batch, in the destination folder: what it flushes is the
//! file system of then, in the boot of then, or it is no more and proves nothing.

use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::OwnedSemaphorePermit;

use super::login::Client;
use super::nas::{Flushed, MOST, SHORT_WAIT, SHOWN, late, lines, word};
use crate::error::{ErrorKind, NasSyncError, Result};
use crate::text;
use crate::transport::{Exec, ExecEvent, ExecReader, ExecWriter, ExitStatus};
use crate::tree::RemoteName;

/// What the command says about where it runs: kernel, release, type of the file system, number of its device.
const PLACE: &str = "nas-sync-place";
/// What it says when it waits for the end of the batch.
const READY: &str = "nas-sync-ready";
/// What it says when everything before has ended well.
const FLUSHED: &str = "nas-sync-flushed";
/// What it waits for; the names of the files follow.
const GO: &[u8] = b"go\n";
/// `read` takes no byte more than its line. Each file is flushed once more by itself, which costs little when there is
/// nothing left to write: it is how an error comes to light that another flush has been told of.
const SCRIPT: &str = "echo \"nas-sync-place $(uname -sr) $(stat -f -c %t .) $(stat -c %d .)\"; \
                      LC_ALL=C sync --help; echo nas-sync-ready; \
                      read go && sync -f . && \
                      xargs -0 sh -c \"sync \\\"\\$@\\\" && stat -c %d \\\"\\$@\\\"\" sh && echo nas-sync-flushed";
/// The file systems that are known to tell of writes that failed, by the number that `statfs` gives, in hexadecimal digits.
const FILE_SYSTEMS: [(&str, &str); 3] = [("ef53", "ext4"), ("58465342", "xfs"), ("9123683e", "btrfs")];
/// The first Linux whose `syncfs` does.
const LINUX: (u32, u32) = (5, 8);
/// The most bytes of the line about one file.
const MOST_PER_FILE: usize = 24;

/// A NAS that waits to flush what a batch has written.
#[derive(Debug)]
pub(crate) struct OneFlush {
    exec: Exec,
    heard: Heard,
    place: Place,
    _only_one: OwnedSemaphorePermit,
}

/// Whether a NAS is ready to flush.
#[derive(Debug)]
pub(crate) enum Ready {
    /// It is.
    Yes(Box<OneFlush>),
    /// It is not; why, safe to print.
    Refused(String),
}

impl OneFlush {
    /// Starts the command, behind those of other batches of the same login, and waits until it waits. It is refused where one flush proves less than one for each file.
    ///
    /// Fails when the connection is lost, or with `Usage` for a path that cannot be written on a command line.
    pub async fn ready(client: &Client, folder: &str) -> Result<Ready> {
        let line = [b"cd ", &word(folder)?[..], b" && exec sh -c '", SCRIPT.as_bytes(), b"'"].concat();
        // Who has a channel and waits for another must be the only one, or two of them could wait for each other.
        let only_one = client.only_flush().await?;
        if client.ssh().runs_one_command() {
            return Ok(Ready::Refused(String::from("the server runs one command at a time, and that is rsync")));
        }
        let mut exec = match client.ssh().exec(&line).await {
            Ok(exec) => exec,
            Err(error) if error.kind() == ErrorKind::ConnectionLost => return Err(error),
            Err(error) => return Ok(Ready::Refused(error.message().to_owned())),
        };
        let mut heard = Heard::default();
        if tokio::time::timeout(SHORT_WAIT, heard.listen(&mut exec.reader, Some(READY), MOST)).await.is_err() {
            return Ok(Ready::Refused(late(SHORT_WAIT).message().to_owned()));
        }
        if heard.exit.is_none() && !heard.says(READY) {
            return Err(lost(client));
        }
        let place = match heard.place() {
            Ok(place) => place,
            Err(why) => return Ok(Ready::Refused(why)),
        };
        Ok(Ready::Yes(Box::new(Self { exec, heard, place, _only_one: only_one })))
    }

    /// What shows that one flush is enough there, safe to print.
    pub fn evidence(&self) -> &str {
        &self.place.evidence
    }

    /// Flushes, and looks whether all of these files lie on what was flushed. They must be there; `limit` is for all of it.
    ///
    /// What was refused must not be asked for again: an error is told once. Fails when the connection is lost, or with
    /// `Stalled` at the deadline.
    pub async fn flush(self, client: &Client, names: &[&RemoteName], limit: Duration) -> Result<Flushed> {
        let Self { exec: Exec { mut reader, writer }, mut heard, place, _only_one } = self;
        heard.stdout.clear();
        let list: Vec<u8> = names.iter().flat_map(|name| [b"./", name.as_bytes(), b"\0"]).flatten().copied().collect();
        let most = MOST + names.len() * MOST_PER_FILE;
        let asked = async {
            let mut feeding = pin!(feed(writer, [GO, &list].concat().into()));
            let mut listening = pin!(heard.listen(&mut reader, None, most));
            tokio::select! {
                () = &mut listening => {}
                () = &mut feeding => listening.as_mut().await,
            }
        };
        tokio::time::timeout(limit, asked).await.map_err(|_| late(limit))?;
        if heard.exit.is_none() {
            return Err(lost(client));
        }
        Ok(heard.flushed(&place, names.len()))
    }
}

async fn feed(mut writer: ExecWriter, input: Bytes) {
    // A command that ends without having read everything says why.
    if writer.write(input).await.is_ok() {
        let _ = writer.finish().await;
    }
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
    fn place(&self) -> Result<Place, String> {
        let Some(said) =
            lines(&self.stdout).find_map(|line| line.strip_prefix(PLACE.as_bytes())).filter(|_| self.says(READY))
        else {
            return Err(self.refusal());
        };
        let shown = text::escape_bytes_start(said, SHOWN);
        let words: Vec<&[u8]> = said.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty()).collect();
        let &[kernel, release, file_system, device] = &words[..] else {
            return Err(format!("it does not say where it runs, but:{shown}"));
        };
        let name = FILE_SYSTEMS.iter().find(|(number, _)| file_system.eq_ignore_ascii_case(number.as_bytes()));
        let Some((_, name)) = name else {
            return Err(format!(
                "file systems of type {} are not known to tell of failed writes",
                words_of(file_system)
            ));
        };
        if kernel != b"Linux" || linux_of(release).is_none_or(|version| version < LINUX) {
            return Err(format!("{} {} does not tell of every failed write", words_of(kernel), words_of(release)));
        }
        if !contains(&self.stdout, b"--file-system") || !contains(&self.stdout, b"GNU coreutils") {
            return Err(String::from("its `sync` is not that of GNU coreutils, and others keep errors to themselves"));
        }
        Ok(Place { evidence: format!("Linux {}, {name}", words_of(release)), device: device.to_vec() })
    }

    /// Whether so many files were flushed, all of them there.
    fn flushed(&self, place: &Place, files: usize) -> Flushed {
        let ended_well = matches!(self.exit, Some(ExitStatus::Code(0) | ExitStatus::NotSaid));
        if !ended_well || !self.says(FLUSHED) {
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

    fn place(about: &str, help: &str) -> Result<Place, String> {
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
        let failed = Heard { exit: Some(ExitStatus::Code(1)), ..heard("2049\n2049\nnas-sync-flushed\n") };
        assert!(failed.flushed(&place, 2) != Flushed::Yes);
    }
}
