//! The commands of `nas-sync`: one file each, with its arguments, its run and what it prints. What is shared stands in
//! `args`, `report` and `text`.
//!
//! Guarantees: a command ends with a documented exit status, and with `--json` every end prints its object. What follows
//! `push` and `pull` are rsync's language and left to [`super::rsync`]. Never: the environment is read by clap; the names in brackets
//! are help text.

mod add;
mod completions;
mod config;
mod doctor;
mod health;
mod index;
mod list;
mod man;
mod remove;
mod resend;
mod restore;
mod retry;
mod send;
mod serve;
mod setup;
mod status;
mod sync;
mod test;
mod verify;
mod watch;

use std::ffi::OsString;

use clap::{CommandFactory as _, Parser, Subcommand};
use serde_json::Value;

use crate::cli::args::{ConfigArgs, Talk};
use crate::cli::console::Console;
use crate::cli::hooks::Hooks;
use crate::cli::log;
use crate::cli::rsync;
use crate::cli::signals::Signals;
use crate::client::ClientConfig;
use crate::config::{Environment, Flags, LogFormat, Settings};
use crate::error::{NasSyncError, Result};
use crate::id::{DocumentId, UserId};
use crate::json;
use crate::service::NasSyncService;

/// Sends pending documents to a NAS by rsync over SSH, and records in SQLite or PostgreSQL what is stored there.
///
/// Neither rsync nor ssh is needed on this machine. Settings come from flags, then the environment, then a .env file in
/// the working directory. Each variable may also be given as NAME_FILE, the path of a file that holds the value.
#[derive(Debug, Parser)]
#[command(name = "nas-sync", version, propagate_version = false, arg_required_else_help = true, max_term_width = 120)]
#[command(
    after_help = "`nas-sync COMMAND -h` has a command's own flags and an example; --help has the settings, too.",
    after_long_help = "Secrets have no flags: NAS_KEY (text of the key), NAS_KEY_PASSPHRASE, NAS_PASSWORD (where no key \
    can be had), NAS_API_TOKEN. NAS_HOST_KEY pins one host key by its fingerprint.\n\nExit status: 0 all done, 1 some documents failed, 2 wrong usage or configuration, 3 the \
    NAS cannot be used, 4 the database cannot be used, 130/143 interrupted. `push` and `pull` end with rsync's codes."
)]
pub struct Cli {
    /// The first word that is no flag, and what belongs to it.
    #[command(subcommand)]
    pub command: Command,
    /// How much is said, and in which form.
    #[command(flatten)]
    pub talk: Talk,
    /// The flags of the configuration.
    #[command(flatten)]
    pub config: ConfigArgs,
}

/// Every command.
#[derive(Debug, Subcommand)]
#[expect(clippy::large_enum_variant, reason = "there is one, for the life of the program")]
pub enum Command {
    /// Those about documents.
    #[command(flatten)]
    Documents(DocumentsCommand),
    /// Check everything from the configuration to the level that documents reach, and say what to do; changes nothing
    #[command(after_help = "Example: nas-sync doctor")]
    Doctor,
    /// Copy files to a NAS with rsync's own options; see `push --help`
    #[command(disable_help_flag = true, override_usage = "nas-sync push [OPTIONS] SRC… [USER@]HOST:DEST")]
    Push {
        /// rsync's options and operands: [OPTIONS] SRC… [USER@]HOST:DEST
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "RSYNC ARGUMENTS")]
        arguments: Vec<OsString>,
    },
    /// Copy files from a NAS with rsync's own options; see `pull --help`
    #[command(disable_help_flag = true, override_usage = "nas-sync pull [OPTIONS] [USER@]HOST:SRC… DEST")]
    Pull {
        /// rsync's options and operands: [OPTIONS] [USER@]HOST:SRC… DEST
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "RSYNC ARGUMENTS")]
        arguments: Vec<OsString>,
    },
    /// Print what a shell completes, for package makers
    #[command(after_help = "Example: nas-sync completions bash >/etc/bash_completion.d/nas-sync")]
    Completions(completions::Completions),
    /// Print the manual page, for package makers
    #[command(after_help = "Example: nas-sync man --to /usr/local/share/man/man1")]
    Man(man::Man),
}

/// The commands about documents: calls to the service, and what is said about their results.
#[derive(Debug, Subcommand)]
pub enum DocumentsCommand {
    /// Set a NAS up: from its address and a password to a key that logs in and a .env that works; asks what is missing
    #[command(
        after_help = "Example: nas-sync setup --nas-host 192.168.1.100 --nas-user backup --nas-path /volume1/documents"
    )]
    Setup(setup::Setup),
    /// Say what is configured; ends with 2 when something required is missing, 4 when the database cannot be used
    #[command(after_help = "Example: nas-sync config")]
    Config,
    /// Log in, start rsync on the NAS and prove that the destination is writable
    #[command(after_help = "Example: nas-sync test --accept-new-host-key")]
    Test,
    /// Register files as pending documents and print their ids
    #[command(after_help = "Example: nas-sync add --user 7 invoice.pdf 'Reçu n° 12.pdf'")]
    Add(add::Add),
    /// Send the pending documents, over one connection
    #[command(after_help = "Example: nas-sync sync --document 42 --dry-run")]
    Sync(sync::Sync),
    /// Send documents that standard input names, without a database
    #[command(after_help = "Example: nas-sync send --json-lines <documents.jsonl >outcomes.jsonl")]
    Send(send::Send),
    /// Forget waits and final failures: what is pending goes with the next sync
    #[command(after_help = "Example: nas-sync retry --document 42")]
    Retry(retry::Retry),
    /// Make synced documents pending again, because their files changed
    #[command(after_help = "Example: nas-sync resend --document 42")]
    Resend(resend::Resend),
    /// Fetch documents back from the NAS, checked against what was recorded of them
    #[command(after_help = "Example: nas-sync restore --document 42 --to /tmp/restored")]
    Restore(restore::Restore),
    /// Take documents back that `add` registered; the NAS keeps its copies
    #[command(after_help = "Example: nas-sync remove --document 42")]
    Remove(remove::Remove),
    /// List documents: their states, names on the NAS, levels and next tries
    #[command(after_help = "Example: nas-sync list --state failed")]
    List(list::List),
    /// Show how many documents are on the NAS, and why others are not
    #[command(after_help = "Example: nas-sync status --document 42")]
    Status(status::Status),
    /// Compare what is on the NAS with what was recorded, without moving the contents
    #[command(after_help = "Example: nas-sync verify --sample 5%")]
    Verify(verify::Verify),
    /// Sync what is pending and what becomes so, until stopped
    #[command(after_help = "Example: nas-sync watch --scan --user 7 --on-failure /usr/local/bin/tell-me")]
    Watch(watch::Watch),
    /// Do what `watch` does, and serve an HTTP API, metrics and a page for people
    #[command(after_help = "Example: nas-sync serve --listen 127.0.0.1:8730")]
    Serve(serve::Serve),
    /// Add an index over the pending rows to a table of somebody else's, for large tables
    #[command(after_help = "Example: nas-sync index")]
    Index(index::Index),
    /// Say whether `watch` is well, for a container's health check: ends with 0 or 1
    #[command(after_help = "Example: nas-sync health --max-age 60")]
    Health(health::Health),
}

/// Reads a command line whose first word is the program's name. Clap would take some of the options behind `push` and
/// `pull` for its own, and sees none of them.
pub fn parse(words: Vec<OsString>) -> Result<Cli, clap::Error> {
    if let Some(at) = words.iter().position(|word| word == "push" || word == "pull")
        && let Ok(mut cli) = Cli::try_parse_from(&words[..=at])
        && let Command::Push { arguments } | Command::Pull { arguments } = &mut cli.command
    {
        arguments.extend_from_slice(&words[at + 1..]);
        return Ok(cli);
    }
    Cli::try_parse_from(words)
}

impl DocumentsCommand {
    /// Whether it runs until it is stopped. What a service does is worth a log line without being asked.
    pub fn is_service(&self) -> bool {
        matches!(self, Self::Watch(_) | Self::Serve(_))
    }

    /// Runs the command to its exit status.
    pub async fn run(self, mut flags: Flags, talk: Talk, console: &Console, signals: Signals) -> u8 {
        // Of the flags of the configuration these are of one command alone.
        match &self {
            Self::Watch(watch) => {
                watch.args.add_to(&mut flags);
                flags.metrics.clone_from(&watch.metrics);
            }
            Self::Serve(serve) => {
                serve.watch.add_to(&mut flags);
                flags.listen.clone_from(&serve.listen);
            }
            _ => {}
        }
        let failed = self.failure();
        let settings = self.settings(&flags, talk, console);
        let result = match settings {
            Ok(settings) => Box::pin(self.dispatch(settings, flags, talk, console, signals)).await,
            Err(error) => Err(error),
        };
        result.unwrap_or_else(|error| {
            console.error(&error);
            console.object(&failed(&error));
            error.kind().exit_code()
        })
    }

    /// The settings of this command, after what there is to warn about.
    fn settings(&self, flags: &Flags, talk: Talk, console: &Console) -> Result<Settings> {
        let environment = Environment::of_process()?;
        if matches!(self, Self::Health(_)) {
            // It runs every few seconds, and says one thing. `watch` has warned.
            return Settings::resolve(flags, &environment.of_the_database());
        }
        let settings = Settings::resolve(flags, &environment);
        if let Ok(settings) = &settings {
            let verbose = talk.verbose.saturating_add(u8::from(self.is_service()));
            console.write_log_as(settings.log_format);
            log::start(console, (!talk.quiet).then_some(verbose), settings.log_format);
        }
        for warning in environment.warnings() {
            console.note(&format!("warning: {warning}"));
        }
        let settings = settings?;
        if self.logs_in() {
            // What is wrong is said by the login itself.
            for warning in ClientConfig::of(&settings).iter().flat_map(|config| &config.warnings) {
                console.note(&format!("warning: {warning}"));
            }
        }
        Ok(settings)
    }

    fn logs_in(&self) -> bool {
        match self {
            Self::Setup(_)
            | Self::Test
            | Self::Sync(_)
            | Self::Send(_)
            | Self::Restore(_)
            | Self::Verify(_)
            | Self::Watch(_)
            | Self::Serve(_) => true,
            Self::Config
            | Self::Add(_)
            | Self::Retry(_)
            | Self::Resend(_)
            | Self::List(_)
            | Self::Status(_)
            | Self::Remove(_)
            | Self::Index(_)
            | Self::Health(_) => false,
        }
    }

    /// The ids that it names.
    fn ids(&self) -> (Option<&UserId>, &[DocumentId]) {
        match self {
            Self::Add(add) => (Some(&add.user), &[]),
            Self::Sync(sync) => sync.selection.ids(),
            Self::Retry(retry) => retry.selection.ids(),
            Self::Resend(resend) => resend.selection.ids(),
            Self::Restore(restore) => restore.selection.ids(),
            Self::Verify(verify) => verify.selection.ids(),
            Self::Remove(remove) => (None, &remove.documents),
            Self::Status(status) => (status.user.as_ref(), &status.documents),
            Self::List(list) => (list.user.as_ref(), &[]),
            Self::Watch(watch) => (watch.args.user.as_ref(), &[]),
            Self::Serve(serve) => (serve.watch.user.as_ref(), &[]),
            Self::Config | Self::Setup(_) | Self::Test | Self::Index(_) | Self::Health(_) | Self::Send(_) => {
                (None, &[])
            }
        }
    }

    /// What `--json` prints when the command could do nothing.
    fn failure(&self) -> fn(&NasSyncError) -> Value {
        match self {
            Self::Test | Self::Setup(_) => json::test_failed,
            Self::Sync(_) => json::sync_failed,
            _ => json::failed,
        }
    }

    async fn dispatch(
        self,
        settings: Settings,
        flags: Flags,
        talk: Talk,
        console: &Console,
        signals: Signals,
    ) -> Result<u8> {
        let service = NasSyncService::new(settings);
        let (user, documents) = self.ids();
        service.check_ids(user, documents)?;
        match self {
            Self::Config => Ok(config::run(&service, console).await),
            Self::Setup(setup) => {
                let settings = service.settings().clone();
                or_signal(Box::pin(setup.run(settings, flags, console)), signals, console).await
            }
            Self::Test => or_signal(test::run(&service, console), signals, console).await,
            Self::Add(add) => or_signal(add.run(&service, console), signals, console).await,
            Self::Sync(sync) => Box::pin(sync.run(&service, talk, console, signals)).await,
            Self::Send(send) => Box::pin(send.run(&service, talk, console, signals)).await,
            Self::Retry(retry) => or_signal(retry.run(&service, console), signals, console).await,
            Self::Resend(resend) => or_signal(resend.run(&service, console), signals, console).await,
            Self::Remove(remove) => or_signal(remove.run(&service, console), signals, console).await,
            Self::List(list) => or_signal(list.run(&service, console), signals, console).await,
            Self::Index(index) => or_signal(index.run(&service, console), signals, console).await,
            Self::Status(status) => or_signal(status.run(&service, console), signals, console).await,
            Self::Restore(restore) => Box::pin(restore.run(&service, talk, console, signals)).await,
            Self::Verify(verify) => or_signal(Box::pin(verify.run(&service, console)), signals, console).await,
            Self::Watch(watch) => Box::pin(watch.run(&service, talk, console, signals)).await,
            Self::Serve(serve) => Box::pin(serve.run(&service, console, signals)).await,
            Self::Health(health) => Ok(health.run(service.settings(), console)),
        }
    }
}

/// `doctor`, which wants to say itself what is wrong with the environment and the settings.
pub async fn diagnose(flags: &Flags, talk: Talk, console: &Console, signals: Signals) -> u8 {
    log::start(console, (!talk.quiet).then_some(talk.verbose), LogFormat::Text);
    let environment = Environment::of_process();
    let mut warnings = environment.as_ref().map_or(Vec::new(), |environment| environment.warnings().to_vec());
    let settings = environment.and_then(|environment| Settings::resolve(flags, &environment));
    warnings.extend(settings.iter().flat_map(Hooks::faults));
    let run = async { Ok(doctor::run(settings, &warnings, console).await) };
    or_signal(Box::pin(run), signals, console).await.unwrap_or_else(|error: NasSyncError| error.kind().exit_code())
}

/// All that can be typed, rsync's options behind `push` and `pull` included, which clap does not read.
fn complete_command() -> clap::Command {
    let command = Cli::command();
    let global: Vec<_> = command.get_arguments().cloned().collect();
    let with_options = |copy: clap::Command| {
        copy.args(rsync::arguments().filter(|argument| {
            let is_global = |known: &clap::Arg| known.get_long() == argument.get_long();
            !global.iter().any(is_global)
        }))
    };
    command.mut_subcommand("push", with_options).mut_subcommand("pull", with_options)
}

/// Runs a command until a signal comes. Only for commands that leave nothing half-done when their future is dropped.
async fn or_signal(command: impl Future<Output = Result<u8>>, mut signals: Signals, console: &Console) -> Result<u8> {
    tokio::select! {
        result = command => result,
        stop = signals.next() => {
            console.end_line();
            Ok(stop.exit_code())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Result<Cli, clap::Error> {
        parse(line.split(' ').map(OsString::from).collect())
    }

    #[test]
    fn the_declaration_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn what_follows_push_is_left_alone() {
        let cli = words("nas-sync --json push -av --port 22 -- push h:d").unwrap();
        assert!(cli.talk.json);
        assert_eq!(cli.talk.verbose, 0);
        let Command::Push { arguments } = cli.command else { panic!("another command") };
        assert_eq!(arguments, ["-av", "--port", "22", "--", "push", "h:d"]);
        let cli = words("nas-sync add push --user 7").unwrap();
        assert!(
            matches!(cli.command, Command::Documents(DocumentsCommand::Add(add::Add { user, .. })) if user == UserId::from(7))
        );
    }

    #[test]
    fn flags_stand_before_and_behind_the_command() {
        for line in ["nas-sync --nas-host h sync --user 1 -q", "nas-sync -q sync --user 1 --nas-host h"] {
            let cli = words(line).unwrap();
            assert!(cli.talk.quiet);
            assert_eq!(Flags::from(cli.config).nas_host, Some("h".into()));
        }
    }

    #[test]
    fn every_configuration_flag_names_its_variable() {
        let command = Cli::command();
        let silent: Vec<_> = command
            .get_arguments()
            .filter(|arg| arg.get_help_heading() == Some("Configuration"))
            .filter(|arg| !arg.get_help().is_some_and(|help| help.to_string().contains("[env: ")))
            .map(|arg| arg.get_id().to_string())
            .collect();
        assert!(silent.is_empty(), "{silent:?}");
    }
}
