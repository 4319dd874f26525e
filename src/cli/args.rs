//! The words of `nas-sync`: commands, switches, and the flags of the configuration.
//!
//! Guarantees: what comes out is validated except for the configuration's values, which are checked together with the
//! environment by [`Settings`](crate::config::Settings). Never: the environment is not read here; the names in
//! brackets are help text.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use super::commands::verify::VerifyArgs;
use super::commands::watch::{HealthArgs, WatchArgs};
use crate::config::Flags;
use crate::id::DocumentId;
use crate::store::Selection;

/// Sends pending documents to a NAS by rsync over SSH, and records in SQLite what is stored there.
///
/// Neither rsync nor ssh is needed on this machine. Settings come from flags, then the environment, then a .env file in
/// the working directory. Each variable may also be given as NAME_FILE, the path of a file that holds the value.
#[derive(Debug, Parser)]
#[command(name = "nas-sync", version, propagate_version = false, arg_required_else_help = true, max_term_width = 120)]
#[command(
    after_help = "Secrets have no flags: NAS_KEY (text of the key), NAS_KEY_PASSPHRASE. NAS_HOST_KEY pins one host \
    key by its fingerprint.\n\nExit status: 0 all done, 1 some documents failed, 2 wrong usage or configuration, 3 the \
    NAS cannot be used, 4 the database cannot be used, 130/143 interrupted. `push` ends with rsync's codes."
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// How to talk.
    #[command(flatten)]
    pub talk: Talk,
    /// The configuration's flags.
    #[command(flatten)]
    pub config: ConfigArgs,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Say what is configured; ends with 2 when something required is missing
    Config,
    /// Log in, start rsync on the NAS and prove that the destination is writable
    Test,
    /// Register files as pending documents and print their ids
    Add {
        /// Files to register
        #[arg(required = true, value_name = "PATH")]
        paths: Vec<PathBuf>,
        /// Whose documents they are
        #[arg(long, value_name = "ID", allow_negative_numbers = true)]
        user: i64,
    },
    /// Send the pending documents, over one connection
    Sync {
        /// Only those of this user
        #[arg(long, value_name = "ID", allow_negative_numbers = true)]
        user: Option<i64>,
        /// Only this document; may be given several times
        #[arg(long, value_name = "ID", allow_negative_numbers = true)]
        document: Vec<i64>,
    },
    /// Forget waits and final failures: what is pending goes with the next sync
    Retry {
        /// Only documents of this user
        #[arg(long, value_name = "ID", allow_negative_numbers = true)]
        user: Option<i64>,
        /// Only this document; may be given several times
        #[arg(long, value_name = "ID", allow_negative_numbers = true)]
        document: Vec<i64>,
    },
    /// Show how many documents are on the NAS, and why others are not
    Status {
        /// Only those of this user
        #[arg(long, value_name = "ID", allow_negative_numbers = true)]
        user: Option<i64>,
    },
    /// Compare what is on the NAS with what was recorded, without moving the contents
    Verify(VerifyArgs),
    /// Sync what is pending and what becomes so, until stopped
    Watch(WatchArgs),
    /// Say whether `watch` is well, for a container's health check: ends with 0 or 1
    Health(HealthArgs),
    /// Copy files to a NAS with rsync's own options; see `push --help`
    #[command(disable_help_flag = true)]
    Push {
        /// rsync's options and operands: [OPTIONS] SRC… [USER@]HOST:DEST
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "RSYNC ARGUMENTS")]
        arguments: Vec<OsString>,
    },
}

/// How to talk.
#[derive(Debug, Clone, Copy, Default, Args)]
pub struct Talk {
    /// Print one JSON object on stdout and nothing else there
    #[arg(long, global = true)]
    pub json: bool,
    /// Show results and errors only
    #[arg(short, long, global = true)]
    pub quiet: bool,
    /// Say more; twice for the details of the protocols
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
}

/// The configuration's flags, as they were typed.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Configuration")]
pub struct ConfigArgs {
    /// Name or address of the NAS [env: NAS_HOST]
    #[arg(long, global = true, value_name = "HOST")]
    nas_host: Option<OsString>,
    /// SSH user [env: NAS_USER]
    #[arg(long, global = true, value_name = "USER")]
    nas_user: Option<OsString>,
    /// Destination folder on the NAS [env: NAS_PATH]
    #[arg(long, global = true, value_name = "PATH")]
    nas_path: Option<OsString>,
    /// SSH port [env: NAS_PORT] [default: 22]
    #[arg(long, global = true, value_name = "PORT")]
    port: Option<OsString>,
    /// Private key [env: NAS_KEY_FILE] [default: ~/.ssh/id_ed25519, then id_ecdsa, id_rsa]
    #[arg(long, global = true, value_name = "FILE")]
    identity: Option<OsString>,
    /// Host keys [env: NAS_KNOWN_HOSTS] [default: ~/.ssh/known_hosts]
    #[arg(long, global = true, value_name = "FILE")]
    known_hosts: Option<OsString>,
    /// Trust an unknown host key on first use; a changed one never [env: NAS_ACCEPT_NEW_HOST_KEY]
    #[arg(long, global = true)]
    accept_new_host_key: bool,
    /// Allow old SSH algorithms, for old firmware [env: NAS_LEGACY_SSH]
    #[arg(long, global = true)]
    legacy_ssh: bool,
    /// SQLite database of the documents [env: NAS_DB] [default: nas-sync.db]
    #[arg(long, global = true, value_name = "FILE")]
    db: Option<OsString>,
    /// Root of the documents; nothing outside it is read [env: UPLOAD_DIR]
    #[arg(long, global = true, value_name = "DIR")]
    upload_dir: Option<OsString>,
    /// Names on the NAS: flat, tree or a template such as {year}/{id}_{name} [env: NAS_LAYOUT] [default: flat]
    #[arg(long, global = true, value_name = "LAYOUT")]
    layout: Option<OsString>,
    /// For TCP, key exchange and login together [env: NAS_CONNECT_TIMEOUT] [default: 30]
    #[arg(long, global = true, value_name = "SECONDS")]
    connect_timeout: Option<OsString>,
    /// Seconds that a session may go without progress [env: NAS_FILE_TIMEOUT] [default: 300]
    #[arg(long, global = true, value_name = "SECONDS")]
    file_timeout: Option<OsString>,
    /// Program started on the NAS [env: NAS_RSYNC_PATH] [default: rsync]
    #[arg(long, global = true, value_name = "PROGRAM")]
    rsync_path: Option<OsString>,
    /// Level required: sent, stored, durable or verified [env: NAS_DURABILITY] [default: the best the NAS can do, up to durable]
    #[arg(long, global = true, value_name = "LEVEL")]
    durability: Option<OsString>,
    /// Tries of a document after the first, before it has failed for good [env: NAS_RETRIES] [default: 5]
    #[arg(long, global = true, value_name = "N")]
    retries: Option<OsString>,
    /// rsync sessions side by side over the one login [env: NAS_JOBS] [default: 1]
    #[arg(long, global = true, value_name = "N")]
    jobs: Option<OsString>,
}

impl From<ConfigArgs> for Flags {
    fn from(args: ConfigArgs) -> Self {
        Self {
            nas_host: args.nas_host,
            nas_user: args.nas_user,
            nas_path: args.nas_path,
            port: args.port,
            identity: args.identity,
            known_hosts: args.known_hosts,
            accept_new_host_key: args.accept_new_host_key,
            legacy_ssh: args.legacy_ssh,
            db: args.db,
            upload_dir: args.upload_dir,
            layout: args.layout,
            connect_timeout: args.connect_timeout,
            file_timeout: args.file_timeout,
            rsync_path: args.rsync_path,
            durability: args.durability,
            retries: args.retries,
            jobs: args.jobs,
            // Only `watch` serves metrics, and has the flag.
            metrics: None,
        }
    }
}

/// The documents that `sync` and `retry` are about.
pub fn selection(user: Option<i64>, documents: &[i64]) -> Selection {
    let selection = user.map_or_else(Selection::all, Selection::of_user);
    if documents.is_empty() { selection } else { selection.only(documents.iter().copied().map(DocumentId::from)) }
}

/// Reads a command line whose first word is the program's name. What follows `push` is rsync's language and left to
/// [`super::rsync`], though clap would take some of its options for its own.
pub fn parse(words: Vec<OsString>) -> Result<Cli, clap::Error> {
    if let Some(at) = words.iter().position(|word| word == "push")
        && let Ok(mut cli) = Cli::try_parse_from(&words[..=at])
        && let Command::Push { arguments } = &mut cli.command
    {
        arguments.extend_from_slice(&words[at + 1..]);
        return Ok(cli);
    }
    Cli::try_parse_from(words)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

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
        assert!(matches!(cli.command, Command::Add { user: 7, .. }));
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
    fn selections() {
        assert_eq!(selection(None, &[]), Selection::all());
        assert_eq!(selection(Some(3), &[]), Selection::of_user(3));
        assert_eq!(selection(None, &[4]), Selection::documents([DocumentId::from(4)]));
        assert_eq!(selection(Some(3), &[4]), Selection::of_user(3).only([DocumentId::from(4)]));
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
