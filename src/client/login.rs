//! One login, any number of rsync sessions over it. No database.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::config::ClientConfig;
use crate::blocking;
use crate::error::{ErrorKind, NasSyncError, Result};
use crate::role::event::{Event, Monitor};
use crate::session::{self, Contents, Opening, Outcome, Pace, Pull, Push};
use crate::text;
use crate::transport::ssh::{LoginProgress, SshClient};
use crate::transport::{Exec, ExecEvent, ExitStatus};
use crate::wire::handshake::{Ahead, Answer};
use crate::wire::offer::Offer;
use crate::wire::pull_args::{PullOptions, source_paths};
use crate::wire::server_args::{PushOptions, command_line, sending_command_line};

/// How long the NAS may take to say its rsync's version.
const VERSION_WAIT: Duration = Duration::from_secs(10);
/// The most bytes of that answer that are read.
const VERSION_LEN: usize = 16 * 1024;

/// How long a server may take to ask for the first file, before it is looked whether it can.
const FIRST_WORD: Duration = Duration::from_secs(10);
/// A command that no rsync answers, and how long the NAS may take for it.
const UNRELATED: &[u8] = b"echo nas-sync";
const UNRELATED_WAIT: Duration = Duration::from_secs(5);
/// Bytes of the protocol version that a server says first.
const PROTOCOL_LEN: usize = 4;

/// Whether the other side has said anything about the files of a session.
struct Answered {
    is_set: AtomicBool,
    monitor: Arc<dyn Monitor>,
}

impl Answered {
    /// Listens before this monitor does.
    fn before(monitor: Arc<dyn Monitor>) -> (Arc<Self>, Arc<dyn Monitor>) {
        let answered = Arc::new(Self { is_set: AtomicBool::new(false), monitor });
        let listening = Arc::clone(&answered) as Arc<dyn Monitor>;
        (answered, listening)
    }

    fn is_set(&self) -> bool {
        self.is_set.load(Ordering::Relaxed)
    }
}

impl Monitor for Answered {
    fn event(&self, event: Event<'_>) {
        // The work and the list are ours, and a complaint is no answer to them.
        if !matches!(event, Event::Begun { .. } | Event::Listed { .. } | Event::Text { .. }) {
            self.is_set.store(true, Ordering::Relaxed);
        }
        self.monitor.event(event);
    }
}

/// How sessions end whose two sides do not speak about the same options.
fn is_misunderstanding(error: &NasSyncError) -> bool {
    matches!(error.kind(), ErrorKind::Stalled | ErrorKind::Protocol | ErrorKind::RemoteFailed)
}

/// How long an rsync that is not needed may take to end.
const ABANDONED: Duration = Duration::from_secs(5);
/// The most entries of a list that is kept until it is known that it left under the right terms.
const MOST_KEPT: usize = 20_000;

/// What is known of how rsync on the NAS answers an offer.
#[derive(Debug, Default)]
enum Habit {
    #[default]
    Unknown,
    /// It has answered so.
    Answers(Answer),
    /// It has answered otherwise than it was counted on.
    Surprises,
}

/// The receiving rsync of a session that has not begun. Dropping it closes it.
#[derive(Debug)]
pub(crate) struct Started {
    exec: Exec,
    line: Vec<u8>,
    offer: Offer,
}

impl Started {
    /// Ends it, and waits for its end: there are wrappers that let in one rsync at a time.
    pub async fn abandon(self) {
        let Exec { mut reader, mut writer } = self.exec;
        let end = async {
            // One that has ended needs no end of its input.
            let _ = writer.finish().await;
            while reader.next().await.is_some() {}
        };
        // What does not end by itself is closed.
        let _ = tokio::time::timeout(ABANDONED, end).await;
    }
}

/// A login on a NAS. Sessions may run side by side. Clones are the same login.
#[derive(Debug, Clone)]
pub struct Client {
    ssh: Arc<SshClient>,
    rsync_path: String,
    idle_limit: Duration,
    /// Of all its sessions together.
    pace: Option<Arc<Pace>>,
    habit: Arc<Mutex<Habit>>,
    /// Who may wait with one command for the end of others.
    flush: Arc<Semaphore>,
}

impl Client {
    /// Logs in. Ends within the connect timeout; errors as [`SshClient::connect`].
    pub async fn connect(config: &ClientConfig) -> Result<Self> {
        Self::connect_observed(config, &LoginProgress::default()).await
    }

    /// As [`Client::connect`], telling step by step what it comes to know.
    pub(crate) async fn connect_observed(config: &ClientConfig, progress: &LoginProgress) -> Result<Self> {
        let ssh = Arc::new(SshClient::connect_observed(&config.ssh, progress).await?);
        let (rsync_path, idle_limit) = (config.rsync_path.clone(), config.idle_limit);
        let pace = config.rate.map(|rate| Arc::new(Pace::new(rate)));
        Ok(Self { ssh, rsync_path, idle_limit, pace, habit: Arc::default(), flush: Arc::new(Semaphore::new(1)) })
    }

    /// The login itself.
    pub fn ssh(&self) -> &SshClient {
        &self.ssh
    }

    /// How long a session may go without progress.
    pub fn idle_limit(&self) -> Duration {
        self.idle_limit
    }

    /// The right to let a command wait for the end of others. One batch of a login has it at a time: who has a channel and waits
    /// for another must be the only one, or two of them could wait for each other.
    pub(super) async fn turn_to_flush(&self) -> Result<OwnedSemaphorePermit> {
        let closed = |_| NasSyncError::new(ErrorKind::Internal, "the login is being closed");
        Arc::clone(&self.flush).acquire_owned().await.map_err(closed)
    }

    /// The same, if no other batch has it.
    pub(super) fn free_turn_to_flush(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.flush).try_acquire_owned().ok()
    }

    /// Starts the receiving rsync and runs one session against it.
    pub(crate) async fn session(&self, destination: &[u8], options: &PushOptions, push: Push) -> Result<Outcome> {
        self.session_over(None, destination, options, push).await
    }

    /// The same, over an rsync that was started ahead if it is the right one.
    pub(crate) async fn session_over(
        &self,
        started: Option<Started>,
        destination: &[u8],
        options: &PushOptions,
        push: Push,
    ) -> Result<Outcome> {
        let ahead = self.ahead(&push);
        let spare = (ahead != Ahead::Never).then(|| push.clone());
        let mut outcome = Box::pin(self.session_by(ahead, started, destination, options, push)).await?;
        if outcome.surprised
            && let Some(push) = spare
        {
            *blocking::lock(&self.habit) = Habit::Surprises;
            outcome = Box::pin(self.session_by(Ahead::Never, None, destination, options, push)).await?;
        }
        if let (Some(answer), habit @ Habit::Unknown) = (outcome.answer, &mut *blocking::lock(&self.habit)) {
            *habit = Habit::Answers(answer);
        }
        Ok(outcome)
    }

    /// Whether the list of a session can leave before the NAS has said how it reads lists.
    fn ahead(&self, push: &Push) -> Ahead {
        if push.contents == Contents::Summed || push.parts.is_some() || push.list.entries.len() > MOST_KEPT {
            return Ahead::Never;
        }
        match *blocking::lock(&self.habit) {
            Habit::Unknown => Ahead::CountingOn(None),
            Habit::Answers(answer) => Ahead::CountingOn(Some(answer)),
            Habit::Surprises => Ahead::Never,
        }
    }

    async fn session_by(
        &self,
        ahead: Ahead,
        started: Option<Started>,
        destination: &[u8],
        options: &PushOptions,
        mut push: Push,
    ) -> Result<Outcome> {
        let line = self.line(&options.arguments(&push.offer, destination))?;
        let (exec, hello_sent) = match started {
            Some(started) if started.line == line && started.offer == push.offer => (started.exec, false),
            other => {
                if let Some(other) = other {
                    other.abandon().await;
                }
                (self.start(&line, session::hello(push.offer)).await?, true)
            }
        };
        let (answered, monitor) = Answered::before(Arc::clone(&push.monitor));
        push.monitor = monitor;
        let mut outcome = tokio::select! {
            outcome = Box::pin(session::push_by(exec, Opening { hello_sent, ahead, pace: self.pace.clone() }, push)) => outcome,
            () = Box::pin(self.until_fixed_command(&answered, options)) => return Err(session::fixed_command()),
        };
        if outcome.result.as_ref().is_err_and(is_misunderstanding)
            && !answered.is_set()
            && self.ssh.lost().is_none()
            && Box::pin(self.runs_fixed_command()).await
        {
            outcome.result = Err(session::fixed_command().with_details(outcome.text.as_bytes()));
        }
        self.explain_loss(&mut outcome);
        if let Err(error) = &outcome.result
            && error.kind() == ErrorKind::DestinationMissing
            && let Some(missing) = destination_missing(destination, outcome.text.as_bytes())
        {
            outcome.result = Err(missing);
        }
        Ok(outcome)
    }

    /// Starts the sending rsync and runs one session against it.
    pub(crate) async fn pull_session(&self, sources: &[Vec<u8>], options: &PullOptions, pull: Pull) -> Result<Outcome> {
        let paths = source_paths(sources);
        let bwlimit = self.pace.as_ref().map(|pace| pace.rate().kib());
        let options = PullOptions { bwlimit, ..options.clone() };
        let line = sending_command_line(&self.rsync_path, &options.arguments(&pull.offer), &paths)
            .map_err(|error| NasSyncError::new(ErrorKind::Usage, error.to_string()).with_source(error))?;
        let exec = self.start(&line, session::hello(pull.offer)).await?;
        let opening = Opening { hello_sent: true, ahead: Ahead::Never, pace: self.pace.clone() };
        let mut outcome = Box::pin(session::pull(exec, opening, pull)).await;
        self.explain_loss(&mut outcome);
        Ok(outcome)
    }

    /// A broken connection knows more about its end than the session that ran over it.
    fn explain_loss(&self, outcome: &mut Outcome) {
        if let Err(error) = &outcome.result
            && error.kind() == ErrorKind::ConnectionLost
            && let Some(lost) = self.ssh.lost()
        {
            outcome.result = Err(lost.with_details(outcome.text.as_bytes()));
        }
    }

    /// Starts the receiving rsync of a session that may follow, and says nothing to it: none touches a file before it has heard
    /// the other side's version. `None` where it does not start, which shows again when the session begins.
    pub(crate) async fn start_ahead(&self, destination: &[u8], options: &PushOptions, offer: Offer) -> Option<Started> {
        let line = self.line(&options.arguments(&offer, destination)).ok()?;
        let exec = self.start(&line, Bytes::new()).await.ok()?;
        Some(Started { exec, line, offer })
    }

    fn line(&self, arguments: &[Vec<u8>]) -> Result<Vec<u8>> {
        command_line(&self.rsync_path, arguments)
            .map_err(|error| NasSyncError::new(ErrorKind::Usage, error.to_string()).with_source(error))
    }

    async fn start(&self, line: &[u8], first_input: Bytes) -> Result<Exec> {
        tracing::debug!(command = %text::escape_bytes(line), "starting rsync on the NAS");
        self.ssh.exec_with_input(line, first_input).await
    }

    /// The version of rsync on the NAS, such as `3.1.3`. `None` where the NAS does not say; some allow nothing but
    /// `rsync --server`.
    pub async fn rsync_version(&self) -> Option<String> {
        let mut exec = self.start(&self.line(&[b"--version".to_vec()]).ok()?, Bytes::new()).await.ok()?;
        let mut output = Vec::new();
        let read = async {
            // Nothing is said to it, so that a program that reads its input ends too. One that has ended needs no word.
            let _ = exec.writer.finish().await;
            let mut ended_well = false;
            loop {
                match exec.reader.next().await {
                    Some(ExecEvent::Stdout(bytes)) if output.len() < VERSION_LEN => output.extend_from_slice(&bytes),
                    // Output may still follow.
                    Some(ExecEvent::Exit(status)) => {
                        ended_well = matches!(status, ExitStatus::Code(0) | ExitStatus::NotSaid);
                    }
                    Some(_) => {}
                    None => return ended_well.then_some(()),
                }
            }
        };
        tokio::time::timeout(VERSION_WAIT, read).await.ok()??;
        version_in(&output)
    }

    /// Returns when a server that was to ask for files has asked for none for a while, and runs a fixed command.
    async fn until_fixed_command(&self, answered: &Answered, options: &PushOptions) {
        // A server that is not to transfer all it is offered may have nothing to say for long.
        if options.ignore_times {
            tokio::time::sleep(FIRST_WORD).await;
            if !answered.is_set() && self.runs_fixed_command().await && !answered.is_set() {
                return;
            }
        }
        std::future::pending::<()>().await;
    }

    /// Whether the account runs one fixed command (`command="rsync --server …"` in authorized_keys), whatever it is asked
    /// for: then it says rsync's version in the answer to a question that has nothing to do with rsync.
    async fn runs_fixed_command(&self) -> bool {
        let answer = async {
            let mut exec = self.ssh.exec(UNRELATED).await.ok()?;
            // Without input, so that it ends. One that has ended needs no word.
            let _ = exec.writer.finish().await;
            let mut output = Vec::new();
            while output.len() < PROTOCOL_LEN
                && let Some(event) = exec.reader.next().await
            {
                if let ExecEvent::Stdout(bytes) = event {
                    output.extend_from_slice(&bytes);
                }
            }
            output.first_chunk::<PROTOCOL_LEN>().copied()
        };
        let answer = tokio::time::timeout(UNRELATED_WAIT, answer).await.ok().flatten();
        answer.is_some_and(|bytes| (20..=40).contains(&i32::from_le_bytes(bytes)))
    }

    /// Says goodbye. Sessions that still run end.
    pub async fn disconnect(self) {
        self.ssh.disconnect().await;
    }
}

/// The folder that is missing, in plain words; what rsync said of it stands in the details. `None` where rsync speaks of
/// something else.
fn destination_missing(destination: &[u8], said: &[u8]) -> Option<NasSyncError> {
    let folder = destination.strip_suffix(b"/./").unwrap_or(destination);
    let folder = if folder.len() > 1 { folder.strip_suffix(b"/").unwrap_or(folder) } else { folder };
    let said_text = String::from_utf8_lossy(said);
    let shown = text::escape_bytes(folder);
    if folder.is_empty() || !said_text.contains(&*String::from_utf8_lossy(folder)) {
        return None;
    }
    let what = if said_text.contains("Not a directory") { "is not a folder" } else { "does not exist" };
    let error = NasSyncError::new(ErrorKind::DestinationMissing, format!("{shown} {what} on the NAS"));
    Some(error.with_details(said))
}

/// The word behind `version` in the first line of `rsync --version`.
fn version_in(output: &[u8]) -> Option<String> {
    let line = String::from_utf8_lossy(output.split(|&byte| byte == b'\n').next()?).into_owned();
    let mut words = line.split_whitespace();
    words.find(|word| *word == "version")?;
    words.next().map(text::escape)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_folder_is_named_first_and_without_jargon() {
        let said = b"rsync: [Receiver] change_dir#3 \"/volume1/docs\" failed: No such file or directory (2)\n";
        let error = destination_missing(b"/volume1/docs/./", said).unwrap();
        assert_eq!(error.message(), "/volume1/docs does not exist on the NAS");
        assert!(error.details().unwrap().contains("change_dir#3"));
        let said = b"rsync: change_dir#3 \"/volume1/docs\" failed: Not a directory (20)\n";
        assert_eq!(
            destination_missing(b"/volume1/docs/", said).unwrap().message(),
            "/volume1/docs is not a folder on the NAS"
        );
        assert!(destination_missing(b"/volume1/docs/./", b"sh: /bin/x: No such file or directory").is_none());
    }

    #[test]
    fn versions_are_found_in_what_rsyncs_print() {
        assert_eq!(version_in(b"rsync  version 3.1.3  protocol version 31\nCopyright").as_deref(), Some("3.1.3"));
        assert_eq!(version_in(b"openrsync: protocol version 29").as_deref(), Some("29"));
        assert_eq!(version_in(b"nothing"), None);
    }
}
