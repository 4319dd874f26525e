//! Arguments that several commands share: how to talk, which documents, and the flags of the configuration.
//!
//! Guarantees: what comes out is validated except for the configuration's values, which are checked together with the
//! environment by [`Settings`](crate::config::Settings).

use std::ffi::OsString;

use clap::Args;

use crate::config::{Flags, whole_seconds};
use crate::id::{DocumentId, UserId};
use crate::store::Selection;

/// How much is said, and in which form.
#[derive(Debug, Clone, Copy, Default, Args)]
pub struct Talk {
    /// Print one JSON object on stdout and nothing else there
    #[arg(long, global = true)]
    pub json: bool,
    /// Show errors only, and what was asked for: no reports, warnings and progress
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
    #[arg(long, global = true, hide_short_help = true, value_name = "HOST")]
    nas_host: Option<OsString>,
    /// SSH user [env: NAS_USER]
    #[arg(long, global = true, hide_short_help = true, value_name = "USER")]
    nas_user: Option<OsString>,
    /// Destination folder on the NAS [env: NAS_PATH]
    #[arg(long, global = true, hide_short_help = true, value_name = "PATH")]
    nas_path: Option<OsString>,
    /// SSH port [env: NAS_PORT] [default: 22]
    #[arg(long, alias = "nas-port", global = true, hide_short_help = true, value_name = "PORT")]
    port: Option<OsString>,
    /// Private key [env: NAS_KEY_FILE] [default: ~/.ssh/id_ed25519, then id_ecdsa, id_rsa]
    #[arg(long, global = true, hide_short_help = true, value_name = "FILE")]
    identity: Option<OsString>,
    /// Host keys [env: NAS_KNOWN_HOSTS] [default: ~/.ssh/known_hosts]
    #[arg(long, global = true, hide_short_help = true, value_name = "FILE")]
    known_hosts: Option<OsString>,
    /// OpenSSH's configuration, or `none` [env: NAS_SSH_CONFIG] [default: ~/.ssh/config, then /etc/ssh/ssh_config]
    #[arg(long, global = true, hide_short_help = true, value_name = "FILE")]
    ssh_config: Option<OsString>,
    /// Trust an unknown host key on first use; a changed one never [env: NAS_ACCEPT_NEW_HOST_KEY]
    #[arg(long, global = true, hide_short_help = true)]
    accept_new_host_key: bool,
    /// Allow old SSH algorithms, for old firmware [env: NAS_LEGACY_SSH]
    #[arg(long, global = true, hide_short_help = true)]
    legacy_ssh: bool,
    /// Database of the documents: an SQLite file, or postgresql://… [env: NAS_DB] [default: nas-sync.db]
    #[arg(long, global = true, hide_short_help = true, value_name = "DATABASE")]
    db: Option<OsString>,
    /// Table of the documents, in PostgreSQL with its schema if need be [env: NAS_TABLE] [default: documents]
    #[arg(long, global = true, hide_short_help = true, value_name = "TABLE")]
    table: Option<OsString>,
    /// Root of the documents; nothing outside it is read [env: UPLOAD_DIR]
    #[arg(long, global = true, hide_short_help = true, value_name = "DIR")]
    upload_dir: Option<OsString>,
    /// Names on the NAS: flat, tree or a template such as {year}/{id}_{name} [env: NAS_LAYOUT] [default: flat]
    #[arg(long, global = true, hide_short_help = true, value_name = "LAYOUT")]
    layout: Option<OsString>,
    /// For TCP, key exchange and login together [env: NAS_CONNECT_TIMEOUT] [default: 30 s]
    #[arg(long, global = true, hide_short_help = true, value_name = "SECONDS")]
    connect_timeout: Option<OsString>,
    /// Seconds that a session may go without progress [env: NAS_FILE_TIMEOUT] [default: 300 s]
    #[arg(long, global = true, hide_short_help = true, value_name = "SECONDS")]
    file_timeout: Option<OsString>,
    /// Program started on the NAS [env: NAS_RSYNC_PATH] [default: rsync]
    #[arg(long, global = true, hide_short_help = true, value_name = "PROGRAM")]
    rsync_path: Option<OsString>,
    /// Level required: sent, stored, durable or verified [env: NAS_DURABILITY] [default: the best the NAS can do, up to durable]
    #[arg(long, global = true, hide_short_help = true, value_name = "LEVEL")]
    durability: Option<OsString>,
    /// Tries of a document after the first, before it has failed for good [env: NAS_RETRIES] [default: 5]
    #[arg(long, global = true, hide_short_help = true, value_name = "N")]
    retries: Option<OsString>,
    /// rsync sessions side by side over the one login: a number, or auto for as many as are measured to pay [env: NAS_JOBS] [default: auto]
    #[arg(long, global = true, hide_short_help = true, value_name = "N")]
    jobs: Option<OsString>,
    /// How fast all sessions together may send: KiB a second, or with a unit such as 1.5m [env: NAS_BWLIMIT] [default: no bound]
    #[arg(long, global = true, hide_short_help = true, value_name = "RATE")]
    bwlimit: Option<OsString>,
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
            ssh_config: args.ssh_config,
            accept_new_host_key: args.accept_new_host_key,
            legacy_ssh: args.legacy_ssh,
            db: args.db,
            table: args.table,
            upload_dir: args.upload_dir,
            layout: args.layout,
            connect_timeout: args.connect_timeout,
            file_timeout: args.file_timeout,
            rsync_path: args.rsync_path,
            durability: args.durability,
            retries: args.retries,
            jobs: args.jobs,
            bwlimit: args.bwlimit,
            // Only `watch` and `serve` have these.
            metrics: None,
            listen: None,
            scan_filter: None,
            log_format: None,
            on_success: None,
            on_failure: None,
            webhook_url: None,
            ping_url: None,
        }
    }
}

/// A time within bounds, for clap.
pub fn seconds<const LEAST: u64, const MOST: u64>(text: &str) -> Result<u64, String> {
    let seconds = whole_seconds(text).filter(|seconds| (LEAST..=MOST).contains(seconds));
    seconds.ok_or_else(|| match MOST {
        u64::MAX => format!("it must be whole seconds, at least {LEAST}, such as 30, 30s or 5m"),
        most => format!("it must be whole seconds from {LEAST} to {most}, such as 30, 30s or 5m"),
    })
}

/// A user, for clap.
#[expect(clippy::unnecessary_wraps, reason = "the form that clap asks for")]
pub fn user(text: &str) -> Result<UserId, String> {
    let text = text.trim();
    Ok(text.parse::<i64>().map_or_else(|_| UserId::from(text), UserId::from))
}

/// A document, for clap.
#[expect(clippy::unnecessary_wraps, reason = "the form that clap asks for")]
pub fn document(text: &str) -> Result<DocumentId, String> {
    let text = text.trim();
    Ok(text.parse::<i64>().map_or_else(|_| DocumentId::from(text), DocumentId::from))
}

/// The documents that a command is about.
#[derive(Debug, Args)]
pub struct SelectionArgs {
    /// Only documents of this user
    #[arg(long, value_name = "ID", allow_negative_numbers = true, value_parser = user)]
    user: Option<UserId>,
    /// Only this document; may be given several times
    #[arg(long, value_name = "ID", allow_negative_numbers = true, value_parser = document)]
    document: Vec<DocumentId>,
}

impl SelectionArgs {
    /// Whose, and which.
    pub fn ids(&self) -> (Option<&UserId>, &[DocumentId]) {
        (self.user.as_ref(), &self.document)
    }

    /// Whether nothing narrows it down.
    pub fn is_everything(&self) -> bool {
        self.user.is_none() && self.document.is_empty()
    }

    /// All of them, unless some are named.
    pub fn selection(&self) -> Selection {
        let selection = self.user.clone().map_or_else(Selection::all, Selection::of_user);
        match self.document.as_slice() {
            [] => selection,
            documents => selection.only(documents.iter().cloned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selections() {
        let selection = |user: Option<i64>, document: &[i64]| {
            let document = document.iter().copied().map(DocumentId::from).collect();
            SelectionArgs { user: user.map(UserId::from), document }.selection()
        };
        assert_eq!(selection(None, &[]), Selection::all());
        assert_eq!(selection(Some(3), &[]), Selection::of_user(3));
        assert_eq!(selection(None, &[4]), Selection::documents([DocumentId::from(4)]));
        assert_eq!(selection(Some(3), &[4]), Selection::of_user(3).only([DocumentId::from(4)]));
    }
}
