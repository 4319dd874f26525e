//! What this NAS can do, as far as it is known: which options its rsync is asked for, and the level that follows.
//!
//! Everything is asked for until it is refused; a refusal rests on evidence, is remembered with the NAS and said once. See
//! `protocol-notes/15-levels-of-proof.md`.

use std::collections::{BTreeMap, BTreeSet};

use crate::error::{ErrorKind, NasSyncError, Result};
use crate::proof::{Capability, DurableBy, Level, Refusal};
use crate::wire::offer::Protocol;
use crate::wire::receiver_args::ReceiverOptions;
use crate::wire::server_args::PushOptions;

/// Whether folders travel with the documents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Folders {
    /// All names are flat.
    None,
    /// Folders on the way are made where they are missing; those that exist are left as they are.
    OnTheWay,
}

/// What a session and its documents are like, as far as its options depend on that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shape {
    pub folders: Folders,
    /// Whether a file has holes.
    pub sparse: bool,
    /// By what it is to last, where it can.
    pub durable_by: DurableBy,
    /// Whether documents may get their names, and be acknowledged, together at its end.
    pub together: bool,
}

impl Shape {
    /// Names without folders, files without holes, each flushed, named and acknowledged by itself.
    pub const PLAIN: Self =
        Self { folders: Folders::None, sparse: false, durable_by: DurableBy::File, together: false };
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
    /// What it refused, and how that is known; some of it not often enough yet to count.
    refusals: BTreeMap<Capability, Refusal>,
    /// Options that are left out to see whether the server takes the others.
    left_out: BTreeSet<Capability>,
    /// The level that nobody needs to go beyond, because a lower one is enough for what is configured.
    ceiling: Option<Level>,
}

impl Capabilities {
    /// What is left when this was refused. `required` is the level that is asked for, if any.
    pub fn without(refusals: impl IntoIterator<Item = Refusal>, required: Option<Level>) -> Self {
        let refusals = refusals.into_iter().map(|refusal| (refusal.capability, refusal)).collect();
        Self { refusals, left_out: BTreeSet::new(), ceiling: required }
    }

    /// Whether something may be asked for.
    pub fn has(&self, capability: Capability) -> bool {
        !self.left_out.contains(&capability) && !self.refusals.get(&capability).is_some_and(Refusal::counts)
    }

    /// What it refuses for certain.
    pub fn refused(&self) -> BTreeSet<Capability> {
        self.refusals.values().filter(|refusal| refusal.counts()).map(|refusal| refusal.capability).collect()
    }

    /// All that is known.
    pub fn refusals(&self) -> impl Iterator<Item = &Refusal> {
        self.refusals.values()
    }

    /// Notes a refusal, once more if it was known.
    pub fn refuse(&mut self, refusal: Refusal) {
        let known = self.refusals.get(&refusal.capability).map_or(0, |known| known.times);
        let refusal = Refusal { times: refusal.times.saturating_add(known), ..refusal };
        self.refusals.insert(refusal.capability, refusal);
    }

    /// It did what was asked, so an earlier refusal was one in passing.
    pub fn did(&mut self, capability: Capability) {
        self.refusals.remove(&capability);
    }

    /// Forgets what another server refused.
    pub fn forget_other_servers(&mut self, server: &str) {
        self.refusals.retain(|_, refusal| refusal.server == server);
    }

    /// The options that stock rsync may not know, and words that name them; those that are missed least first.
    pub fn options_to_doubt(&self, shape: Shape) -> Vec<(Capability, &'static [&'static str])> {
        let asked = self.options(shape);
        let options: [(Capability, &[&str], bool); 5] = [
            (Capability::Sparse, &["-S"], asked.sparse),
            (Capability::Folders, &["-K", "-O"], asked.keep_dirlinks),
            (Capability::Partial, &["partial-dir", "delay-updates"], asked.partial_dir),
            (Capability::Fsync, &["fsync"], asked.fsync),
            (Capability::Acknowledge, &["remove-source-files"], asked.acknowledge),
        ];
        options.into_iter().filter(|(.., asked)| *asked).map(|(capability, words, _)| (capability, words)).collect()
    }

    /// The same, asking for one thing less.
    #[must_use]
    pub fn leaving_out(&self, capability: Capability) -> Self {
        let mut less = self.clone();
        less.left_out.insert(capability);
        less
    }

    /// The level to aim at: the one that is required, else the best up to `durable`.
    fn aim(&self) -> Level {
        self.ceiling.unwrap_or(Level::Durable)
    }

    /// Whether documents are to survive a power cut of the NAS, and it may be able to do that.
    pub fn durable(&self) -> bool {
        self.durable_by(DurableBy::File) || self.durable_by(DurableBy::Batch)
    }

    /// The same, in one of the two ways.
    pub fn durable_by(&self, way: DurableBy) -> bool {
        let flushes = match way {
            DurableBy::File => Capability::Fsync,
            DurableBy::Batch => Capability::OneFlush,
        };
        self.aim() >= Level::Durable
            && [Capability::Acknowledge, Capability::Flush, flushes].into_iter().all(|capability| self.has(capability))
    }

    /// Whether the NAS is to acknowledge each file. Who asks for no more than `sent` gets it also where a server takes the
    /// option and never acknowledges.
    fn acknowledges(&self) -> bool {
        self.has(Capability::Acknowledge) && self.aim() >= Level::Stored
    }

    /// The best level that can be reached.
    pub fn best(&self) -> Level {
        if !self.acknowledges() {
            Level::Sent
        } else if self.durable() {
            self.aim()
        } else {
            Level::Stored
        }
    }

    /// Whether the best level is the one that is asked for.
    #[cfg(feature = "cli")]
    pub fn is_enough(&self) -> bool {
        self.ceiling.is_some_and(|required| self.best() >= required)
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

    /// Whether acknowledgements are asked for that this protocol does not have.
    pub fn wait_in_vain(&self, protocol: Option<Protocol>) -> bool {
        self.acknowledges() && protocol.is_some_and(|protocol| !protocol.acknowledges())
    }

    /// How a session's proof reads.
    pub fn proof(&self) -> Proof {
        if self.acknowledges() { Proof::Acknowledgements } else { Proof::CleanEnd }
    }

    /// How documents travel: with their times, whatever size and time the copy there has, and never with owner, group
    /// or mode. Folders that exist are left as they are, by one way or another.
    pub fn options(&self, shape: Shape) -> PushOptions {
        let on_the_way = shape.folders == Folders::OnTheWay;
        let listed = on_the_way && self.has(Capability::Folders);
        PushOptions {
            recursive: true,
            times: true,
            ignore_times: true,
            omit_directory_times: listed,
            keep_dirlinks: listed,
            no_implied_dirs: on_the_way && !listed,
            sparse: shape.sparse && self.has(Capability::Sparse),
            acknowledge: self.acknowledges(),
            fsync: shape.durable_by == DurableBy::File && self.durable_by(DurableBy::File),
            partial_dir: self.has(Capability::Partial),
            receiver: ReceiverOptions {
                delay_updates: shape.together && self.has(Capability::Partial),
                ..ReceiverOptions::default()
            },
            ..PushOptions::default()
        }
    }
}

/// What a person should know about a NAS that cannot do something; nothing where that changes no level.
pub(crate) fn warning(capability: Capability) -> Option<&'static str> {
    match capability {
        Capability::Acknowledge => {
            Some("this NAS's rsync cannot acknowledge single files; documents are recorded at the level `sent`")
        }
        Capability::Fsync => Some(
            "this NAS's rsync did not take `--fsync`, by which files are flushed to disk (versions before 3.2.4 do not know it, and a wrapper or a restricted key may refuse it); documents are recorded at the level `stored`, and a power cut of the NAS may still cost the last ones",
        ),
        Capability::Flush => Some(
            "this NAS does not let nas-sync run `sync`; documents are recorded at the level `stored`, and a power cut of the NAS may still cost the last ones",
        ),
        Capability::Partial | Capability::Folders | Capability::Sparse | Capability::OneFlush | Capability::Space => {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(capability: Capability) -> Refusal {
        Refusal::new(capability, "unknown option", "SSH-2.0-x")
    }

    #[test]
    fn the_level_follows_from_what_was_refused() {
        let best = |refused: &[Capability], required| {
            let mut capabilities = Capabilities::without([], required);
            refused.iter().chain(refused).for_each(|capability| capabilities.refuse(refusal(*capability)));
            (capabilities.best(), capabilities.check().is_ok())
        };
        assert_eq!(best(&[], None), (Level::Durable, true));
        assert_eq!(best(&[], Some(Level::Verified)), (Level::Verified, true));
        assert_eq!(best(&[], Some(Level::Stored)), (Level::Stored, true));
        assert_eq!(best(&[], Some(Level::Sent)), (Level::Sent, true));
        assert_eq!(best(&[Capability::Flush], None), (Level::Stored, true));
        assert_eq!(best(&[Capability::Fsync], Some(Level::Durable)), (Level::Durable, true));
        assert_eq!(best(&[Capability::OneFlush], Some(Level::Durable)), (Level::Durable, true));
        assert_eq!(best(&[Capability::Fsync, Capability::OneFlush], Some(Level::Durable)), (Level::Stored, false));
        assert_eq!(best(&[Capability::Acknowledge], None), (Level::Sent, true));
        assert_eq!(best(&[Capability::Acknowledge], Some(Level::Stored)), (Level::Sent, false));
        assert_eq!(best(&[Capability::Partial, Capability::Space], None), (Level::Durable, true));
    }

    #[test]
    fn a_command_that_failed_once_is_asked_for_again_and_twice_in_a_row_not() {
        let mut capabilities = Capabilities::default();
        capabilities.refuse(refusal(Capability::Flush));
        assert!(capabilities.durable());
        capabilities.did(Capability::Flush);
        capabilities.refuse(refusal(Capability::Flush));
        assert!(capabilities.durable());
        capabilities.refuse(refusal(Capability::Flush));
        assert!(!capabilities.durable());
        capabilities.forget_other_servers("SSH-2.0-x");
        assert!(!capabilities.durable());
        capabilities.forget_other_servers("SSH-2.0-y");
        assert!(capabilities.durable());
    }

    #[test]
    fn what_is_left_out_is_asked_for_again_by_others() {
        let all = Capabilities::default();
        let less = all.leaving_out(Capability::Fsync);
        assert!(!less.options(Shape::PLAIN).fsync && less.options(Shape::PLAIN).partial_dir);
        assert!(all.options(Shape::PLAIN).fsync);
    }

    #[test]
    fn each_file_is_flushed_where_the_whole_is_not() {
        let fsync = |durable_by| Capabilities::default().options(Shape { durable_by, ..Shape::PLAIN }).fsync;
        assert!(fsync(DurableBy::File) && !fsync(DurableBy::Batch));
    }

    #[test]
    fn existing_folders_are_left_alone_in_one_of_two_ways_and_holes_are_kept_where_there_are_any() {
        let shape = Shape { folders: Folders::OnTheWay, sparse: true, ..Shape::PLAIN };
        let mut capabilities = Capabilities::default();
        let all = capabilities.options(shape);
        assert!(all.keep_dirlinks && all.omit_directory_times && all.sparse && !all.no_implied_dirs);
        capabilities.refuse(refusal(Capability::Folders));
        capabilities.refuse(refusal(Capability::Sparse));
        let less = capabilities.options(shape);
        assert!(!less.keep_dirlinks && !less.omit_directory_times && !less.sparse && less.no_implied_dirs);
        let plain = Capabilities::default().options(Shape::PLAIN);
        assert!(!plain.keep_dirlinks && !plain.no_implied_dirs && !plain.sparse);
    }
}
