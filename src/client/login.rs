//! One login, any number of rsync sessions over it. No database.

use std::sync::Arc;
use std::time::Duration;

use super::config::ClientConfig;
use crate::error::{ErrorKind, NasSyncError, Result};
use crate::session::{self, Outcome, Push};
use crate::text;
use crate::transport::ssh::SshClient;
use crate::transport::{Exec, ExecEvent, ExitStatus};
use crate::wire::server_args::{PushOptions, command_line};

/// How long the NAS may take to say its rsync's version.
const VERSION_WAIT: Duration = Duration::from_secs(10);
/// The most bytes of that answer that are read.
const VERSION_LEN: usize = 16 * 1024;

/// A login on a NAS. Sessions may run side by side. Clones are the same login.
#[derive(Debug, Clone)]
pub struct Client {
    ssh: Arc<SshClient>,
    rsync_path: String,
    idle_limit: Duration,
}

impl Client {
    /// Logs in. Ends within the connect timeout; errors as [`SshClient::connect`].
    pub async fn connect(config: &ClientConfig) -> Result<Self> {
        let ssh = Arc::new(SshClient::connect(&config.ssh).await?);
        Ok(Self { ssh, rsync_path: config.rsync_path.clone(), idle_limit: config.idle_limit })
    }

    /// The login itself.
    pub fn ssh(&self) -> &SshClient {
        &self.ssh
    }

    /// How long a session may go without progress.
    pub fn idle_limit(&self) -> Duration {
        self.idle_limit
    }

    /// Starts the receiving rsync and runs one session against it.
    pub(crate) async fn session(&self, destination: &[u8], options: &PushOptions, push: Push) -> Result<Outcome> {
        let exec = self.start(&options.arguments(&push.offer, destination)).await?;
        let mut outcome = session::push(exec, push).await;
        // A broken connection knows more about its end than the session that ran over it.
        if let Err(error) = &outcome.result
            && error.kind() == ErrorKind::ConnectionLost
            && let Some(lost) = self.ssh.lost()
        {
            outcome.result = Err(lost.with_details(outcome.text.as_bytes()));
        }
        Ok(outcome)
    }

    async fn start(&self, arguments: &[Vec<u8>]) -> Result<Exec> {
        let line = command_line(&self.rsync_path, arguments)
            .map_err(|error| NasSyncError::new(ErrorKind::Usage, error.to_string()).with_source(error))?;
        tracing::debug!(command = %text::escape_bytes(&line), "starting rsync on the NAS");
        self.ssh.exec(&line).await
    }

    /// The version of rsync on the NAS, such as `3.1.3`. `None` where the NAS does not say; some allow nothing but
    /// `rsync --server`.
    pub async fn rsync_version(&self) -> Option<String> {
        let mut exec = self.start(&[b"--version".to_vec()]).await.ok()?;
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

    /// Says goodbye. Sessions that still run end.
    pub async fn disconnect(self) {
        self.ssh.disconnect().await;
    }
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
    fn versions_are_found_in_what_rsyncs_print() {
        assert_eq!(version_in(b"rsync  version 3.1.3  protocol version 31\nCopyright").as_deref(), Some("3.1.3"));
        assert_eq!(version_in(b"openrsync: protocol version 29").as_deref(), Some("29"));
        assert_eq!(version_in(b"nothing"), None);
    }
}
