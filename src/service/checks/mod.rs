//! `doctor`: all that a sync needs, one check after the other, each with what it found and what to do about it.
//!
//! A check is one small function that gives a [`Finding`]. Guarantees: nothing stays behind on the NAS, and nothing is
//! written to the database or made beside it; what could not be looked at, because an earlier check failed or the NAS does
//! not say, is neither well nor a problem, and is named apart with the reason.

mod configuration;
mod database;
mod folder;
mod login;
mod nas;

use std::collections::BTreeMap;

use crate::client::vendor::{Vendor, advise};
use crate::config::Settings;
use crate::error::{NasSyncError, Result};

/// Every check, in the order in which they are shown.
pub const CHECKS: [&str; 30] = [
    "configuration",
    "environment",
    "name",
    "tcp",
    "ssh",
    "host_key",
    "key",
    "login",
    "exec",
    "shell",
    "rsync",
    "sessions",
    "folder",
    "writable",
    "room",
    "name_length",
    "case",
    "composition",
    "times",
    "clock",
    "flush",
    "level",
    "database",
    "schema",
    "journal",
    "index",
    "size",
    "locks",
    "copies",
    "uploads",
];

/// Why a check was not made.
const AN_EARLIER_ONE: &str = "an earlier check failed";

/// What a check found.
#[derive(Debug)]
pub enum Finding {
    /// All is well; what was seen.
    Ok(String),
    /// A sync works, and something should be known.
    Warning {
        /// What.
        message: String,
        /// What to do about it.
        solution: String,
    },
    /// A sync cannot work.
    Problem(NasSyncError),
}

impl Finding {
    fn ok(message: impl Into<String>) -> Self {
        Self::Ok(message.into())
    }

    fn warning(message: impl Into<String>, solution: impl Into<String>) -> Self {
        Self::Warning { message: message.into(), solution: solution.into() }
    }

    /// `ok`, `warning` or `problem`.
    pub fn status(&self) -> &'static str {
        match self {
            Self::Ok(_) => "ok",
            Self::Warning { .. } => "warning",
            Self::Problem(_) => "problem",
        }
    }

    /// What was found, safe to print.
    pub fn message(&self) -> &str {
        match self {
            Self::Ok(message) | Self::Warning { message, .. } => message,
            Self::Problem(error) => error.message(),
        }
    }

    /// What to do about it, if anything.
    pub fn solution(&self) -> Option<&str> {
        match self {
            Self::Ok(_) => None,
            Self::Warning { solution, .. } => Some(solution),
            Self::Problem(error) => Some(error.solution()),
        }
    }
}

/// All that the checks found.
#[derive(Debug, Default)]
pub struct Diagnosis {
    found: Vec<(&'static str, Finding)>,
    /// Checks that could not be made for a reason of their own.
    unknown: BTreeMap<&'static str, String>,
    /// What kind of NAS it looks like.
    pub vendor: Option<&'static Vendor>,
}

impl Diagnosis {
    fn note(&mut self, check: &'static str, finding: Finding) {
        debug_assert!(CHECKS.contains(&check), "{check}");
        let finding = match finding {
            Finding::Problem(error) => Finding::Problem(advise(error, self.vendor)),
            other => other,
        };
        // What is found later was looked at more closely.
        self.found.retain(|(made, _)| *made != check);
        self.found.push((check, finding));
    }

    fn problem(&mut self, check: &'static str, error: NasSyncError) {
        self.note(check, Finding::Problem(error));
    }

    fn not_known(&mut self, check: &'static str, why: impl Into<String>) {
        self.unknown.insert(check, why.into());
    }

    fn rank(check: &str) -> usize {
        CHECKS.iter().position(|known| *known == check).unwrap_or(CHECKS.len())
    }

    /// The checks that were made, in their order.
    pub fn findings(&self) -> Vec<(&'static str, &Finding)> {
        let mut found: Vec<_> = self.found.iter().map(|(check, finding)| (*check, finding)).collect();
        found.sort_by_key(|(check, _)| Self::rank(check));
        found
    }

    /// Those that could not be made, each with the reason.
    pub fn omitted(&self) -> Vec<(&'static str, &str)> {
        let is_made = |check: &str| self.found.iter().any(|(made, _)| *made == check);
        let why = |check: &str| self.unknown.get(check).map_or(AN_EARLIER_ONE, String::as_str);
        CHECKS.into_iter().filter(|check| !is_made(check)).map(|check| (check, why(check))).collect()
    }

    /// Whether a sync can work.
    pub fn is_healthy(&self) -> bool {
        self.exit_code() == 0
    }

    /// 0 where a sync can work, else the exit status of the first problem.
    pub fn exit_code(&self) -> u8 {
        let problem = |(_, finding): &(&str, &Finding)| match finding {
            Finding::Problem(error) => Some(error.kind().exit_code()),
            _ => None,
        };
        self.findings().iter().find_map(problem).unwrap_or(0)
    }
}

/// Makes all checks. `warnings` is what there is to say about the environment.
pub async fn examine(settings: Result<Settings>, warnings: &[String]) -> Diagnosis {
    let mut diagnosis = Diagnosis::default();
    diagnosis.note("environment", configuration::environment(warnings));
    diagnosis.note("configuration", configuration::configuration(settings.as_ref()));
    let Ok(settings) = settings else { return diagnosis };
    database::examine(&mut diagnosis, &settings).await;
    diagnosis.note("uploads", configuration::uploads(settings.clone()).await);
    if let Some(client) = login::log_in(&mut diagnosis, &settings).await {
        nas::examine(&mut diagnosis, &client, &settings).await;
        client.disconnect().await;
    }
    diagnosis
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn what_is_not_made_is_neither_well_nor_a_problem_and_the_first_problem_decides() {
        let mut diagnosis = Diagnosis::default();
        diagnosis.note("login", Finding::ok("in"));
        diagnosis.note("name", Finding::warning("odd", "even it"));
        assert!(diagnosis.is_healthy());
        diagnosis.not_known("clock", "it does not say");
        diagnosis.problem("database", NasSyncError::new(ErrorKind::DatabaseLocked, "locked"));
        assert_eq!(diagnosis.exit_code(), 4);
        diagnosis.problem("folder", NasSyncError::new(ErrorKind::DestinationMissing, "gone"));
        assert_eq!(diagnosis.exit_code(), 3, "the folder comes before the database");
        let made: Vec<_> = diagnosis.findings().iter().map(|(check, finding)| (*check, finding.status())).collect();
        assert_eq!(made, [("name", "warning"), ("login", "ok"), ("folder", "problem"), ("database", "problem")]);
        diagnosis.problem("name", NasSyncError::new(ErrorKind::NameNotResolved, "none"));
        assert_eq!(diagnosis.findings().len(), 4, "each check is there once");
        let omitted = diagnosis.omitted();
        assert_eq!(omitted.len(), CHECKS.len() - 4);
        assert!(omitted.contains(&("clock", "it does not say")) && omitted.contains(&("tcp", AN_EARLIER_ONE)));
    }
}
