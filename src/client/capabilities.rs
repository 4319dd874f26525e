//! What this NAS can do, as far as it is known: which options its rsync is asked for, and the level that follows.
//!
//! Everything is asked for until it is refused; a refusal is remembered with the NAS and said once. See
//! `protocol-notes/15-levels-of-proof.md`.

use std::collections::BTreeSet;

use crate::error::{ErrorKind, NasSyncError, Result};
use crate::proof::{Capability, Level};
use crate::wire::server_args::PushOptions;

/// Whether folders travel with the documents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Folders {
    /// All names are flat.
    None,
    /// Folders on the way are made where they are missing; those that exist are left as they are.
    OnTheWay,
}

/// How the proof of a session reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Proof {
    /// The NAS acknowledges every file.
    Acknowledgements,
    /// The NAS cannot; a session that ended without any complaint is all there is.
    CleanEnd,
}

/// What a NAS has not refused.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Capabilities {
    refused: BTreeSet<Capability>,
    /// The level that nobody needs to go beyond, because a lower one is enough for what is configured.
    ceiling: Option<Level>,
}

impl Capabilities {
    /// What is left when this was refused. `required` is the level that is asked for, if any.
    pub fn without(refused: BTreeSet<Capability>, required: Option<Level>) -> Self {
        Self { refused, ceiling: required }
    }

    /// Whether something may be asked for.
    pub fn has(&self, capability: Capability) -> bool {
        !self.refused.contains(&capability)
    }

    /// What was refused.
    pub fn refused(&self) -> &BTreeSet<Capability> {
        &self.refused
    }

    /// Notes a refusal; `false` when it was known.
    pub fn refuse(&mut self, capability: Capability) -> bool {
        self.refused.insert(capability)
    }

    /// The level to aim at: the one that is required, else the best up to `durable`.
    fn aim(&self) -> Level {
        self.ceiling.unwrap_or(Level::Durable)
    }

    /// Whether documents are to survive a power cut of the NAS, and it may be able to do that.
    pub fn durable(&self) -> bool {
        self.aim() >= Level::Durable
            && [Capability::Acknowledge, Capability::Fsync, Capability::Flush]
                .into_iter()
                .all(|capability| self.has(capability))
    }

    /// The best level that can be reached.
    pub fn best(&self) -> Level {
        if !self.has(Capability::Acknowledge) {
            Level::Sent
        } else if self.durable() {
            self.aim()
        } else {
            Level::Stored
        }
    }

    /// Fails with `DurabilityUnavailable` when the required level cannot be reached.
    pub fn check(&self) -> Result<()> {
        let best = self.best();
        match self.ceiling {
            Some(required) if required > best => {
                let message =
                    format!("this NAS cannot prove the level {}, its best is {}", required.as_str(), best.as_str());
                Err(NasSyncError::new(ErrorKind::DurabilityUnavailable, message))
            }
            _ => Ok(()),
        }
    }

    /// How a session's proof reads.
    pub fn proof(&self) -> Proof {
        if self.has(Capability::Acknowledge) { Proof::Acknowledgements } else { Proof::CleanEnd }
    }

    /// How documents travel: with their times, whatever size and time the copy there has, and never with owner, group
    /// or mode.
    pub fn options(&self, folders: Folders) -> PushOptions {
        PushOptions {
            recursive: true,
            times: true,
            ignore_times: true,
            omit_directory_times: folders == Folders::OnTheWay,
            keep_dirlinks: folders == Folders::OnTheWay,
            acknowledge: self.has(Capability::Acknowledge),
            fsync: self.durable(),
            partial_dir: self.has(Capability::Partial),
            ..PushOptions::default()
        }
    }

    /// After a server refused its arguments: does without the option that its text names, else without everything that
    /// is not needed to store files. `false` when nothing was left to do without.
    pub fn learn_from(&mut self, asked: &Self, text: &[u8]) -> bool {
        let words = [
            (Capability::Fsync, "fsync", asked.durable()),
            (Capability::Partial, "partial-dir", asked.has(Capability::Partial)),
            (Capability::Acknowledge, "remove-source-files", asked.has(Capability::Acknowledge)),
        ];
        let said = String::from_utf8_lossy(text);
        let asked = || words.iter().filter(|(_, _, asked)| *asked);
        let named: Vec<_> = asked().filter(|(_, word, _)| said.contains(word)).collect();
        let blamed = if named.is_empty() { asked().collect() } else { named };
        for (capability, _, _) in &blamed {
            self.refuse(*capability);
        }
        !blamed.is_empty()
    }
}

/// What a person should know about a NAS that cannot do something; nothing where that changes no level.
pub(crate) fn warning(capability: Capability) -> Option<&'static str> {
    match capability {
        Capability::Acknowledge => {
            Some("this NAS's rsync cannot acknowledge single files; documents are recorded at the level `sent`")
        }
        Capability::Fsync => Some(
            "this NAS's rsync is too old to flush files to disk (`--fsync`); documents are recorded at the level `stored`, and a power cut of the NAS may still cost the last ones",
        ),
        Capability::Flush => Some(
            "this NAS does not let nas-sync run `sync`; documents are recorded at the level `stored`, and a power cut of the NAS may still cost the last ones",
        ),
        Capability::Partial | Capability::Space => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_level_follows_from_what_was_refused() {
        let best = |refused: &[Capability], required| {
            let capabilities = Capabilities::without(refused.iter().copied().collect(), required);
            (capabilities.best(), capabilities.check().is_ok())
        };
        assert_eq!(best(&[], None), (Level::Durable, true));
        assert_eq!(best(&[], Some(Level::Verified)), (Level::Verified, true));
        assert_eq!(best(&[], Some(Level::Stored)), (Level::Stored, true));
        assert_eq!(best(&[Capability::Flush], None), (Level::Stored, true));
        assert_eq!(best(&[Capability::Fsync], Some(Level::Durable)), (Level::Stored, false));
        assert_eq!(best(&[Capability::Acknowledge], None), (Level::Sent, true));
        assert_eq!(best(&[Capability::Acknowledge], Some(Level::Stored)), (Level::Sent, false));
        assert_eq!(best(&[Capability::Partial, Capability::Space], None), (Level::Durable, true));
    }

    #[test]
    fn a_named_option_is_left_away_alone() {
        let all = Capabilities::default();
        let mut capabilities = all.clone();
        assert!(capabilities.learn_from(&all, b"rsync: --fsync: unknown option\n"));
        assert_eq!(capabilities.refused().iter().collect::<Vec<_>>(), [&Capability::Fsync]);
        assert!(!capabilities.options(Folders::None).fsync);
        assert!(capabilities.options(Folders::None).partial_dir);
        // A text that names nothing: the smallest set, and then nothing is left.
        let before = capabilities.clone();
        assert!(capabilities.learn_from(&before, b"usage"));
        assert_eq!(capabilities.best(), Level::Sent);
        let before = capabilities.clone();
        assert!(!capabilities.learn_from(&before, b"usage"));
    }
}
