//! A push: this end is the sender, and the other side acknowledges what it has stored.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::converse::{Intake, Needed, Opening, Outcome, Side, Terms, converse};
use super::deadline::{ProgressTimer, Receipts};
use crate::delta::StrongSum;
use crate::error::{ErrorKind, NasSyncError, Result};
use crate::role::agreement::Agreement;
use crate::role::event::{Event, Monitor};
use crate::role::list::{FileList, Parts, SendList, Sources, Summed};
use crate::role::sender::{self, ChangedFile, Duties, Mode, SendJob};
use crate::transport::Exec;
use crate::wire::flist::{Content, EntryKind};
use crate::wire::mux::Message;
use crate::wire::offer::Offer;

/// What is pushed.
#[derive(Clone)]
pub struct Push {
    /// What the server's arguments were made from.
    pub offer: Offer,
    /// The files.
    pub list: SendList,
    /// Where they are still to be found, if that is how.
    pub parts: Option<Parts>,
    /// Their contents.
    pub sources: Arc<dyn Sources>,
    /// Whether the list carries digests of the files' contents (`-c`).
    pub contents: Contents,
    /// Whether the server's arguments ask for acknowledgements.
    pub receipts: Receipts,
    /// About files that change meanwhile.
    pub changed: ChangedFile,
    /// Whether anything is transferred.
    pub mode: Mode,
    /// What follows from the receiver's options.
    pub duties: Duties,
    /// How long the session may go without progress in either direction.
    pub idle_limit: Duration,
    /// Who listens.
    pub monitor: Arc<dyn Monitor>,
}

/// What a file list says about the files' contents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Contents {
    /// Nothing.
    Unsummed,
    /// Their digests; every file is read once before the list goes out.
    Summed,
}

/// Runs one push to its end.
pub async fn push(exec: Exec, push: Push) -> Outcome {
    push_by(exec, Opening::SLOW, push).await
}

/// Runs one push to its end, from an opening that saves what round trips it can.
pub async fn push_by(exec: Exec, opening: Opening, push: Push) -> Outcome {
    let Push { offer, list, parts, sources, contents, receipts, changed, mode, duties, idle_limit, monitor } = push;
    let needed = match contents {
        Contents::Unsummed => Needed::ListTerms,
        Contents::Summed => Needed::Everything,
    };
    let terms = Terms { offer, needed, receipts, idle_limit, monitor: Arc::clone(&monitor) };
    converse(exec, opening, terms, move |agreement| {
        let (list, parts) = numbered(list, parts.as_ref(), &sources, contents, &agreement)?;
        let list = Arc::new(list);
        let mut acknowledgements = Acknowledgements { list: Arc::clone(&list), monitor: Arc::clone(&monitor) };
        let job = SendJob { list, parts, sources, changed, mode, duties };
        Ok(Side {
            intake: Intake::Bounded,
            role: Box::new(move |port| sender::run(job, agreement, port, &*monitor)),
            on_message: Box::new(move |message, timer| acknowledgements.note(&message, timer)),
        })
    })
    .await
}

/// The list as the session's protocol numbers it, and where its parts are to be found if it travels in some.
fn numbered(
    mut list: SendList,
    parts: Option<&Parts>,
    sources: &Arc<dyn Sources>,
    contents: Contents,
    agreement: &Agreement,
) -> Result<(FileList, Option<Parts>)> {
    let terms = agreement.list_terms();
    let sum = match (contents, agreement) {
        (Contents::Summed, Agreement::Whole(negotiated)) => Some(negotiated.list_sum),
        _ => None,
    };
    if let (Some(parts), true) = (parts, terms.is_incremental) {
        let summed = |sum: StrongSum| -> Parts {
            let (parts, sources) = (Arc::clone(parts), Arc::clone(sources));
            Arc::new(Mutex::new(Summed { parts, sources, sum }))
        };
        list.fields.digest = sum.map(|sum| sum.algorithm.digest_len());
        return Ok((list.in_parts(), Some(sum.map_or_else(|| Arc::clone(parts), summed))));
    }
    if let Some(parts) = parts {
        list.complete(parts)?;
    }
    if !terms.coding.content_flags {
        list.entries.retain(|entry| entry.kind != EntryKind::Directory(Content::Implied));
    }
    if let Some(sum) = sum {
        list.sum_contents(&**sources, sum);
    }
    Ok((list.number(terms.order)?, None))
}

/// Tells which files the receiver has acknowledged.
struct Acknowledgements {
    list: Arc<FileList>,
    monitor: Arc<dyn Monitor>,
}

impl Acknowledgements {
    /// A receiving server has no use for other messages; they change nothing here.
    fn note(&mut self, message: &Message, timer: &ProgressTimer) -> Result<()> {
        let ndx = match message {
            Message::Success(ndx) => *ndx,
            Message::Deleted(name) => {
                // The name of a folder ends with a zero.
                let (name, is_dir) = name.strip_suffix(b"\0").map_or((&**name, false), |name| (name, true));
                self.monitor.event(Event::Deleted { name, is_dir });
                return Ok(());
            }
            _ => return Ok(()),
        };
        // Servers acknowledge symlinks as well as files, and never a folder.
        let part = self.list.find(ndx);
        let entry = part.as_ref().and_then(|part| part.get(ndx)).filter(|entry| !entry.kind.is_dir());
        let (Some(part), Some(entry)) = (&part, entry) else {
            let message = format!("the NAS acknowledged entry {ndx}, which is no file of the list");
            return Err(NasSyncError::new(ErrorKind::Protocol, message));
        };
        // Only the first is news and progress, so that a peer cannot keep a session by repeating it.
        if part.acknowledge(ndx) {
            timer.progress();
            self.monitor.event(Event::Acknowledged { entry: &entry });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::role::ledger::Ledger;
    use crate::wire::flist::{Content, EntryKind, FileEntry, FileMeta, ListOrder};

    #[test]
    fn an_acknowledgement_that_comes_twice_counts_once_and_one_of_no_file_is_an_error() {
        let folder = FileEntry::new(b"a", EntryKind::Directory(Content::Unlisted), FileMeta::default());
        let file = FileEntry::new(b"a/b", EntryKind::File, FileMeta::default());
        let entries = [folder, FileEntry { tag: Some(0), ..file }].into_iter().collect();
        let list = Arc::new(SendList { entries, ..SendList::default() }.number(ListOrder::FilesFirst).unwrap());
        let ledger = Arc::new(Ledger::new(Arc::new(crate::role::event::Silent), 1));
        let mut acknowledgements = Acknowledgements { list, monitor: Arc::clone(&ledger) as Arc<dyn Monitor> };
        let timer = ProgressTimer::new(Receipts::Asked);
        for _ in 0..2 {
            acknowledgements.note(&Message::Success(1), &timer).unwrap();
        }
        for none in [0, 2, -1] {
            let error = acknowledgements.note(&Message::Success(none), &timer).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Protocol);
        }
        assert!(ledger.take().files[0].acknowledged);
    }
}
