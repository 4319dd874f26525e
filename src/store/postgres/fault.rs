//! PostgreSQL's errors in our words. A lock is told from a database that cannot be used; nothing is swallowed; no password
//! is shown.

use std::error::Error as _;
use std::io;

use tokio_postgres::Error;
use tokio_postgres::error::SqlState;

use super::login::Login;
use crate::database::Host;
use crate::error::{ErrorKind, NasSyncError};

/// Why a transaction did not come to its end.
#[derive(Debug)]
pub(super) enum Fault {
    /// The server, or the connection to it.
    Server(Error),
    /// No answer came in time.
    Silent,
    /// Nobody can say whether a commit took place.
    Unknown,
    /// What is found there is not as it must be, and what is to be done.
    Refused { what: String, solution: Option<String> },
    /// Something on this side.
    Here(NasSyncError),
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self::Server(error)
    }
}

impl From<NasSyncError> for Fault {
    fn from(error: NasSyncError) -> Self {
        Self::Here(error)
    }
}

impl Fault {
    /// Refuses what is found there.
    pub fn refused(what: impl Into<String>, solution: impl Into<Option<&'static str>>) -> Self {
        Self::Refused { what: what.into(), solution: solution.into().map(ToOwned::to_owned) }
    }

    /// Whether it is an answer of the server, and this one.
    pub fn is(&self, state: &SqlState) -> bool {
        matches!(self, Self::Server(error) if error.code() == Some(state))
    }

    fn class(&self) -> Option<&str> {
        match self {
            Self::Server(error) => error.code().map(|state| &state.code()[..2]),
            _ => None,
        }
    }

    /// Whether the connection is of no use any more.
    pub fn is_lost(&self) -> bool {
        match self {
            Self::Server(error) => match error.code() {
                Some(state) => {
                    self.class() == Some("08")
                        || state.code().starts_with("57P")
                        || *state == SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT
                }
                None => true,
            },
            Self::Silent | Self::Unknown => true,
            Self::Refused { .. } | Self::Here(_) => false,
        }
    }

    /// Whether the server is there and takes nobody for the moment.
    pub fn is_momentary(&self) -> bool {
        self.is(&SqlState::CANNOT_CONNECT_NOW) || self.is(&SqlState::TOO_MANY_CONNECTIONS)
    }

    /// Whether two transactions were in each other's way, and one had to go.
    pub fn is_conflict(&self) -> bool {
        self.is(&SqlState::T_R_SERIALIZATION_FAILURE) || self.is(&SqlState::T_R_DEADLOCK_DETECTED)
    }

    /// Whether nothing can be had by trying again soon: the server does not want this login.
    pub fn is_final(&self) -> bool {
        matches!(self.class(), Some("28" | "3D"))
            || matches!(self, Self::Refused { .. } | Self::Here(_))
            || self.tls().is_some()
    }

    /// Whether a row, or what watches over it, is to blame, and not the server, the connection or another transaction.
    pub fn is_about_rows(&self) -> bool {
        matches!(self.class(), Some("21" | "22" | "23" | "27" | "38" | "39" | "42" | "44" | "P0"))
    }

    /// What was wrong with TLS.
    fn tls(&self) -> Option<String> {
        match self {
            Self::Server(error) if error.to_string().contains("TLS") => Some(chain(error)),
            _ => None,
        }
    }

    /// The server's own words.
    pub fn words(&self) -> String {
        match self {
            Self::Server(error) => match error.as_db_error() {
                Some(said) => said.message().to_owned(),
                None => chain(error),
            },
            Self::Silent => "the server does not answer".to_owned(),
            Self::Unknown => {
                "the connection was lost while a commit was under way, and whether it took place is not known"
                    .to_owned()
            }
            Self::Refused { what, .. } => what.clone(),
            Self::Here(error) => error.message().to_owned(),
        }
    }

    /// The error of one use of a database. `doing` completes "cannot … the database".
    pub fn into_error(self, doing: &str, login: &Login) -> NasSyncError {
        match self {
            Self::Here(error) => return error,
            Self::Refused { what, solution } => {
                let message = format!("the database {} cannot be used: {what}", login.shown());
                let error = NasSyncError::new(ErrorKind::DatabaseUnusable, message);
                return solution.map_or(error.clone(), |solution| error.with_solution(solution));
            }
            Self::Server(_) | Self::Silent | Self::Unknown => {}
        }
        let lock =
            [&SqlState::LOCK_NOT_AVAILABLE, &SqlState::T_R_DEADLOCK_DETECTED, &SqlState::T_R_SERIALIZATION_FAILURE];
        let kind = if lock.iter().any(|state| self.is(state)) {
            ErrorKind::DatabaseLocked
        } else {
            ErrorKind::DatabaseUnusable
        };
        let (words, solution) = (self.words(), self.solution(login));
        let mut error = NasSyncError::new(kind, format!("cannot {doing} the database {}: {words}", login.shown()));
        if let Some(solution) = solution {
            error = error.with_solution(solution);
        }
        if let Some(cause) = self.cause() {
            error = error.with_cause(cause);
        }
        let Self::Server(source) = self else { return error };
        if let Some(said) = source.as_db_error() {
            let more = [said.detail(), said.hint()].into_iter().flatten();
            let code = format!("SQLSTATE {}", said.code().code());
            error = error.with_details(more.chain([code.as_str()]).collect::<Vec<_>>().join("\n"));
        }
        error.with_source(source)
    }

    /// What it means, where that is known.
    fn cause(&self) -> Option<&'static str> {
        let Self::Server(error) = self else { return None };
        Some(match error.code()?.code() {
            "28P01" | "28000" => "The server does not let this user in.",
            "3D000" => "The server has no database of that name.",
            "42501" => "The server does not let this user do what is needed.",
            _ => return None,
        })
    }

    /// Where more can be said than "cannot be used".
    fn solution(&self, login: &Login) -> Option<String> {
        if self.tls().is_some() {
            return Some(
                "Check sslmode and sslrootcert in the URL, and the server's certificate: verify-full needs a certificate that names \
                 the host, signed by one in sslrootcert; sslmode=require does without."
                    .to_owned(),
            );
        }
        let Self::Server(error) = self else {
            return Some(
                "Check the server and the way to it, then run the command again; nothing was lost.".to_owned(),
            );
        };
        let Some(state) = error.code() else { return Some(unreachable(error, login)) };
        Some(match state.code() {
            "28P01" | "28000" => {
                "Check user and password: in NAS_DB, PGPASSWORD, or the file that PGPASSFILE names (~/.pgpass); and that \
                 pg_hba.conf of the server lets this user in from here."
                    .to_owned()
            }
            "3D000" => "Name a database that exists: the last part of the URL in NAS_DB or --db.".to_owned(),
            "53300" => "The server has no connection left: raise max_connections there, or put PgBouncer in front of it.".to_owned(),
            "57P03" => "The server is starting or recovering; run the command again in a moment.".to_owned(),
            "42501" => format!("Let the owner of the table or schema grant what is missing to {}.", login.user_shown()),
            "25006" => {
                "The server is a standby by now, or default_transaction_read_only was set: name the primary server in NAS_DB, or \
                 let it be taken back. Nothing was lost."
                    .to_owned()
            }
            "53100" => "Make room on the disk that holds the database, then run the command again.".to_owned(),
            "57014" => "The server is too slow, or the table very large: `nas-sync index` makes pending rows quick to find.".to_owned(),
            _ => return None,
        })
    }
}

/// A connection that does not come about.
fn unreachable(error: &Error, login: &Login) -> String {
    let io = error.source().and_then(|source| source.downcast_ref::<io::Error>()).map(io::Error::kind);
    let on_socket = login.hosts().iter().any(|(host, _)| matches!(host, Host::Unix(_)));
    match io {
        Some(io::ErrorKind::NotFound) if on_socket => {
            "No server listens on that socket: start PostgreSQL, or name the folder of its socket with ?host=/FOLDER, or its \
             host and port."
        }
        Some(io::ErrorKind::ConnectionRefused) => "Nothing listens there: start PostgreSQL, or correct host and port in NAS_DB.",
        _ => "Check host and port in NAS_DB, and that the server is up and reachable from this machine.",
    }
    .to_owned()
}

/// An error and what is underneath it.
fn chain(error: &Error) -> String {
    let mut text = error.to_string();
    let mut below = error.source();
    while let Some(error) = below {
        text = format!("{text}: {error}");
        below = error.source();
    }
    text
}
