//! `push`, `pull`, and the name `rsync`: rsync's words, rsync's output, rsync's exit status.

use std::ffi::OsString;
use std::path::Path;
use std::sync::{Arc, Once};
use std::time::Duration;

use super::output;
use super::progress_lines::{About, ProgressLines};
use super::remote_shell::Keepalive;
use super::request::{NameList, Progress, Refusal, Show, TransferCommand, Way};
use crate::cli::console::Console;
use crate::cli::progress::{self, Display};
use crate::cli::signals::Signals;
use crate::client::{ClientConfig, Files, PullRequest, PushRequest, TransferReport, login_and_pull, login_and_push};
use crate::config::{Environment, Settings, local_user};
use crate::error::{ErrorKind, NasSyncError, Result};
use crate::json;
use crate::role::event::{Event, Monitor};
use crate::tree::Effect;
use crate::wire::pull_args::PullOptions;
use crate::wire::server_args::PushOptions;

/// How long a push may go without progress when `--timeout` says nothing: the NAS may be busy summing large files.
const IDLE_LIMIT: Duration = Duration::from_secs(3600);

/// What `--version` prints under rsync's name.
pub fn version() -> String {
    let newest = crate::wire::offer::Protocol::NEWEST;
    format!("nas-sync  version {}  protocol version {newest}", env!("CARGO_PKG_VERSION"))
}

/// A command line that is refused.
pub fn refused(refusal: &Refusal, console: &Console) -> u8 {
    console.error(&refusal.error);
    console.object(&json::push_failed(&refusal.error, refusal.exit));
    refusal.exit
}

/// Runs a push or a pull to its exit status.
pub async fn run(command: TransferCommand, console: &Console, mut signals: Signals) -> u8 {
    for note in &command.notes {
        console.note(&format!("note: {note}"));
    }
    let teller = Arc::new(Teller::begin(&command, console));
    let transferred = tokio::select! {
        transferred = transfer(&command, console, &teller) => transferred,
        _ = signals.next() => Err(NasSyncError::new(ErrorKind::Interrupted, "interrupted")),
    };
    teller.make_way();
    match transferred {
        Ok(report) => {
            tell(&command, &report, console);
            report.exit_code
        }
        Err(error) => {
            let error = in_push_words(error);
            let exit_code = error.kind().rsync_exit_code();
            console.error(&error);
            console.object(&json::push_failed(&error, exit_code));
            exit_code
        }
    }
}

async fn transfer(command: &TransferCommand, console: &Console, teller: &Arc<Teller>) -> Result<TransferReport> {
    let environment = Environment::of_process()?;
    for warning in environment.warnings() {
        console.note(&format!("warning: {warning}"));
    }
    let config = client_config(command, &environment.of_a_login())?;
    for warning in &config.warnings {
        console.note(&format!("warning: {warning}"));
    }
    let monitor = Arc::clone(teller) as Arc<dyn Monitor>;
    let result = match &command.way {
        Way::Push(sources) => {
            let request = PushRequest {
                files: match (&command.names, &sources[..]) {
                    (Some(NameList::Here(names)), [folder]) => {
                        Files::Listed { folder: folder.clone(), names: names.clone() }
                    }
                    _ => Files::Operands(sources.clone()),
                },
                destination: command.remote.path.clone(),
                options: command.options.clone(),
                offer: command.offer,
                rules: command.rules.clone(),
            };
            Box::pin(login_and_push(&config, request, monitor)).await
        }
        Way::Pull { sources, destination } => {
            let request = PullRequest {
                sources: sources.clone(),
                destination: destination.clone(),
                options: pull_options(command),
                offer: command.offer,
                rules: command.rules.clone(),
                names: match &command.names {
                    Some(NameList::Here(names)) => Some(names.clone()),
                    Some(NameList::There { .. }) | None => None,
                },
            };
            Box::pin(login_and_pull(&config, request, monitor)).await
        }
    };
    teller.finish(&result);
    result
}

/// The options of a pull.
fn pull_options(command: &TransferCommand) -> PullOptions {
    let options = &command.options;
    let (names_there, zero_ended) = match &command.names {
        Some(NameList::There { file, zero_ended }) => (Some(file.clone()), *zero_ended),
        Some(NameList::Here(_)) | None => (None, false),
    };
    PullOptions {
        cvs_exclude: command.cvs_words.clone(),
        names_there,
        zero_ended,
        recursive: options.recursive,
        links: options.links,
        devices: options.devices,
        specials: options.specials,
        owner: options.owner,
        group: options.group,
        permissions: options.permissions,
        times: options.times,
        atimes: options.atimes,
        hard_links: options.hard_links,
        omit_directory_times: options.omit_directory_times,
        dry_run: options.dry_run,
        whole_file: options.whole_file,
        checksum: options.checksum,
        ignore_times: options.ignore_times,
        numeric_ids: options.numeric_ids,
        timeout: options.timeout,
        fsync: options.fsync,
        remove_source_files: options.remove_source_files,
        sparse: options.sparse,
        copy_links: options.copy_links,
        copy_dirlinks: options.copy_dirlinks,
        copy_unsafe_links: options.copy_unsafe_links,
        one_file_system: options.one_file_system,
        relative: options.relative,
        no_implied_dirs: options.no_implied_dirs,
        dirs: options.dirs,
        keep_dirlinks: options.keep_dirlinks,
        munge_links: options.munge_links,
        receiver: options.receiver.clone(),
        ..PullOptions::default()
    }
}

/// What to do, in the words of the command: `push` takes host, user, port and folder from there, and nothing that concerns
/// documents from anywhere.
fn in_push_words(error: NasSyncError) -> NasSyncError {
    let solution = IGNORED.iter().fold(error.solution().to_owned(), |text, (from, to)| text.replace(from, to));
    error.with_solution(solution)
}

/// Phrases of solutions that name what `push` does not read, and what is so instead; the longer before the shorter.
const IGNORED: [(&str, &str); 14] = [
    ("set NAS_PORT to the port it uses", "give the port it uses with --port"),
    ("Check that NAS_PORT is the SSH port", "Check that the port (--port) is the SSH port"),
    ("Check NAS_HOST, or use", "Check the name before the colon, or use"),
    ("uses to reach NAS_HOST", "uses to reach the NAS"),
    (
        "Run `nas-sync setup`, which lets a key in with the password, or put the public key into the user's authorized_keys on the NAS;",
        "Put the public key into the user's authorized_keys on the NAS (`ssh-copy-id` does it);",
    ),
    ("check NAS_USER", "check the user's name before the @"),
    ("or correct NAS_PATH", "or correct the path behind the colon"),
    ("NAS_FILE_TIMEOUT sets the limit, --timeout that of a push", "--timeout sets the limit"),
    (
        " Run `nas-sync setup`, which asks for what is needed; or set NAS_HOST, NAS_USER and NAS_PATH in the environment or in a .env file.",
        "",
    ),
    ("or leave NAS_DURABILITY unset", "or leave it unset"),
    ("; the documents stay pending", ""),
    ("; what was acknowledged stays recorded and is not sent twice", ""),
    ("; what was acknowledged is recorded", ""),
    ("Run sync again", "Run it again"),
];

/// What the options, `-e`, the environment and ssh_config say about the login: an option beats `-e`, that beats a variable,
/// and that beats a file of OpenSSH.
/// Host, user and port are the command's alone, because the variables may speak of another NAS.
fn client_config(command: &TransferCommand, environment: &Environment) -> Result<ClientConfig> {
    let (flags, shell) = (&command.flags, &command.shell);
    let mut settings = Settings::resolve(flags, environment)?;
    settings.host = Some(command.remote.host.clone());
    // As with ssh, a user in the remote shell's options beats the one before the host.
    settings.user = shell.user.clone().or_else(|| command.remote.user.clone());
    settings.path = Some(".".to_owned());
    settings.port = settings.port.or(shell.port);
    if let (None, Some(file)) = (&flags.ssh_config, &shell.config) {
        settings.ssh_config = file.clone();
    }
    settings.user = settings.nas_user().or_else(local_user);
    if settings.user.is_none() {
        return Err(NasSyncError::new(ErrorKind::Usage, "the user on the NAS is not known")
            .with_solution("Write USER@HOST:DEST."));
    }
    let mut config = ClientConfig::with_ssh_options(&settings, &shell.options)?;
    let ssh = &mut config.ssh;
    if flags.identity.is_none() && !shell.identities.is_empty() {
        ssh.identity = crate::transport::ssh::Identity::Files(shell.identities.clone());
    }
    if flags.known_hosts.is_none() && !shell.known_hosts.is_empty() {
        ssh.known_hosts.clone_from(&shell.known_hosts);
    }
    if let (false, Some(policy)) = (flags.accept_new_host_key, shell.unknown_host_key) {
        ssh.unknown_host_key = policy;
    }
    if let (None, Some(timeout)) = (&flags.connect_timeout, shell.connect_timeout) {
        ssh.connect_timeout = timeout;
    }
    if shell.ciphers.is_some() {
        ssh.ciphers.clone_from(&shell.ciphers);
    }
    match shell.keepalive {
        Some(Keepalive::After(silence)) => ssh.keepalive = Some(silence),
        Some(Keepalive::Never) => ssh.keepalive = None,
        None => {}
    }
    config.idle_limit = command.options.timeout.map_or(IDLE_LIMIT, |seconds| Duration::from_secs(u64::from(seconds)));
    Ok(config)
}

/// What is said at the end.
fn tell(command: &TransferCommand, report: &TransferReport, console: &Console) {
    let show = command.show;
    for warning in &report.warnings {
        if warning.effect() == Effect::None {
            console.note(&format!("note: {warning}"));
        } else {
            console.err(&format!("error: {warning}"));
        }
    }
    for (name, error) in &report.failures {
        console.err(&format!("error: {}: {error}", crate::text::escape_bytes(name)));
    }
    if let Some(error) = &report.error {
        console.error(&in_push_words(error.clone()));
    } else if report.exit_code != 0 {
        console.err(&format!("error: some files were not transferred; see above (exit status {})", report.exit_code));
    }
    if report.error.is_none() && !show.quiet {
        if show.stats {
            console.line(&format!("\n{}", output::stats(&report.stats, show.numbers)));
        }
        if show.stats || show.verbose > 0 {
            console.line(&format!("\n{}", output::trailer(report, show.numbers, command.options.dry_run)));
        }
    }
    console.object(&json::push(report));
}

/// Prints names while the transfer runs.
struct Teller {
    console: Console,
    show: Show,
    options: PushOptions,
    /// Whether files come from the NAS.
    received: bool,
    lines: Option<ProgressLines>,
    display: Option<Display>,
    /// That there is a list is told once, in however many parts it comes.
    listed: Once,
}

impl Teller {
    fn begin(command: &TransferCommand, console: &Console) -> Self {
        let (show, options) = (command.show, command.options.clone());
        let (mut lines, mut display) = (None, None);
        match show.progress {
            Progress::Lines(about) if !show.quiet => {
                lines = Some(ProgressLines::new(console.clone(), about, show.numbers));
            }
            Progress::Own(how) => display = Some(Display::begin(how, console, 0)),
            Progress::Lines(_) | Progress::No => {}
        }
        let received = matches!(command.way, Way::Pull { .. });
        Self { console: console.clone(), show, options, received, lines, display, listed: Once::new() }
    }

    fn finish(&self, result: &Result<TransferReport>) {
        if let Some(lines) = &self.lines {
            lines.finish();
        }
        if let Some(display) = &self.display {
            let sent = |report: &TransferReport| {
                (usize::try_from(report.stats.transferred).unwrap_or(usize::MAX), report.failures.len())
            };
            let (sent, failed) = result.as_ref().map_or((0, 0), sent);
            display.finish(sent, failed);
        }
    }

    /// As rsync does with names beside its progress.
    fn tells_of_the_list(&self) -> bool {
        let names = self.show.progress == Progress::Lines(About::Each) || self.show.verbose > 0;
        names && self.lines.is_some() && self.options.recursive
    }

    /// As rsync does: with `-i` in its letters, else where names are shown.
    fn deleted(&self, name: &[u8], is_dir: bool) {
        let name = crate::text::escape_bytes(name) + if is_dir { "/" } else { "" };
        if self.show.itemize {
            self.line(&format!("*deleting   {name}"));
        } else if self.show.verbose > 0 || self.show.progress == Progress::Lines(About::Each) {
            self.line(&format!("deleting {name}"));
        }
    }

    fn line(&self, line: &str) {
        self.make_way();
        self.console.line(line);
    }

    /// Something else is about to be said.
    fn make_way(&self) {
        if let Some(lines) = &self.lines {
            lines.make_way();
        }
    }
}

impl Monitor for Teller {
    fn event(&self, event: Event<'_>) {
        match &event {
            Event::Itemized { entry, flags, linked_to } if !self.show.quiet => {
                let names = self.show.verbose > 0 || self.show.progress == Progress::Lines(About::Each);
                if self.show.itemize && output::is_news(*flags) {
                    let letters = output::letters(entry, *flags, &self.options, self.received);
                    self.line(&format!("{letters} {}", output::name(entry, *linked_to)));
                } else if names && !self.show.itemize && output::is_update(entry, *flags) {
                    self.line(&output::name(entry, *linked_to));
                }
            }
            Event::Listed { .. } if self.tells_of_the_list() => self.listed.call_once(|| {
                self.line(if self.received {
                    "receiving incremental file list"
                } else {
                    "sending incremental file list"
                });
            }),
            Event::Deleted { name, is_dir } if !self.show.quiet => self.deleted(name, *is_dir),
            Event::Text { severity, text } => {
                self.make_way();
                progress::show_remote_text(&self.console, *severity, text);
            }
            _ => {}
        }
        if let Some(lines) = &self.lines {
            lines.event(&event);
        }
        if let Some(display) = &self.display {
            Monitor::event(display, event);
        }
    }
}

/// Whether a program was started under rsync's name.
pub fn is_rsync_name(program: Option<&OsString>) -> bool {
    program.and_then(|program| Path::new(program).file_name()).is_some_and(|name| name == "rsync")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_solution_of_a_push_names_what_a_push_ignores() {
        let of_documents = [
            ErrorKind::NotConfigured,
            ErrorKind::DurabilityUnavailable,
            ErrorKind::NameClash,
            ErrorKind::SourceOutside,
            ErrorKind::DatabaseUnusable,
            ErrorKind::DocumentNotFound,
        ];
        for kind in ErrorKind::ALL.iter().filter(|kind| !of_documents.contains(kind)) {
            let error = in_push_words(NasSyncError::new(*kind, "x"));
            for name in [
                "NAS_PORT",
                "NAS_HOST,",
                "NAS_HOST.",
                "NAS_USER",
                "NAS_PATH",
                "NAS_FILE_TIMEOUT",
                "pending",
                "recorded",
            ] {
                assert!(!error.solution().contains(name), "{kind}: {}", error.solution());
            }
        }
    }
}
