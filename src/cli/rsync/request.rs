//! What a command line of rsync asks for, or why it is refused.

use std::path::PathBuf;

use super::numbers::Numbers;
use super::operand::Remote;
use super::progress_lines::About;
use super::remote_shell::RemoteShell;
use crate::cli::progress;
use crate::config::Flags;
use crate::error::{ErrorKind, NasSyncError};
use crate::filter::Rules;
use crate::wire::offer::Offer;
use crate::wire::server_args::PushOptions;

/// rsync's exit status for a mistake in the command line.
pub const SYNTAX: u8 = 1;
/// rsync's exit status for a protocol version that cannot be spoken.
pub const PROTOCOL: u8 = 2;
/// rsync's exit status for an action that is not supported.
pub const UNSUPPORTED: u8 = 4;

/// What stands in the solution of every refusal.
const SEE_HELP: &str = "See `nas-sync push --help` for what is supported.";

/// Why a command line is refused.
#[derive(Debug)]
pub struct Refusal {
    /// rsync's exit status.
    pub exit: u8,
    /// The reason.
    pub error: NasSyncError,
}

impl Refusal {
    /// A refusal that leaves it to the help to say what would be accepted.
    pub fn new(exit: u8, message: impl AsRef<str>) -> Self {
        let error = NasSyncError::new(ErrorKind::Usage, message);
        Self { exit, error: error.with_solution(SEE_HELP) }
    }

    /// With what may have been meant.
    pub fn with_hint(self, hint: &str) -> Self {
        let solution = format!("{hint} {}", self.error.solution());
        Self { error: self.error.with_solution(solution), ..self }
    }

    /// An option of rsync that is not supported, as it was typed, and what to use instead.
    pub fn of_option(typed: &str, instead: &str) -> Self {
        let message = format!("the option {typed} of rsync is not supported yet");
        let error = NasSyncError::new(ErrorKind::Usage, message);
        Self { exit: SYNTAX, error: error.with_solution(format!("{instead} {SEE_HELP}")) }
    }

    /// An option that a push has and a pull has not yet.
    pub fn of_push_option(typed: &str) -> Self {
        let message = format!("the option {typed} of rsync is not supported for a pull yet");
        let error = NasSyncError::new(ErrorKind::Usage, message);
        Self { exit: SYNTAX, error: error.with_solution(format!("Leave it out. {SEE_HELP}")) }
    }
}

impl From<NasSyncError> for Refusal {
    fn from(error: NasSyncError) -> Self {
        Self { exit: SYNTAX, error }
    }
}

/// What a command line asks for.
#[derive(Debug)]
pub enum Request {
    /// How to use it.
    Help,
    /// Which version.
    Version,
    /// A push or a pull.
    Transfer(Box<TransferCommand>),
}

/// How it is shown how far a transfer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Progress {
    /// Not at all.
    #[default]
    No,
    /// By rsync's lines.
    Lines(About),
    /// As the other commands show it.
    Own(progress::Show),
}

/// What is shown while and after a transfer.
#[derive(Debug, Clone, Copy, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is an option that combines with all others")]
pub struct Show {
    /// `-v`, counted.
    pub verbose: u8,
    /// `-q`.
    pub quiet: bool,
    /// `--stats`.
    pub stats: bool,
    /// `--progress`, `--info=progress2`.
    pub progress: Progress,
    /// `-i`.
    pub itemize: bool,
    /// `--json`.
    pub json: bool,
    /// `-h`.
    pub numbers: Numbers,
}

/// Which way files go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Way {
    /// These to the path on the NAS.
    Push(Vec<PathBuf>),
    /// Paths on the NAS, the first of which stands with the host, to a place here.
    Pull {
        /// The paths there.
        sources: Vec<Vec<u8>>,
        /// The place here.
        destination: PathBuf,
    },
}

/// The names of `--files-from`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NameList {
    /// Those in a file on this machine.
    Here(Vec<Vec<u8>>),
    /// Those in a file on the NAS.
    There {
        /// Its path.
        file: Vec<u8>,
        /// Whether they end with zero bytes.
        zero_ended: bool,
    },
}

/// A push or a pull as it was asked for.
#[derive(Debug)]
pub struct TransferCommand {
    /// Which way, and what.
    pub way: Way,
    /// The NAS, and for a push the path there.
    pub remote: Remote,
    /// rsync's options, as a push has them.
    pub options: PushOptions,
    /// Filter rules; of a pull without those of `--cvs-exclude`.
    pub rules: Rules,
    /// `--cvs-exclude`, and what it means beyond what CVS leaves out.
    pub cvs_words: Option<Vec<u8>>,
    /// The names of `--files-from`.
    pub names: Option<NameList>,
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
