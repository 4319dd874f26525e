//! `verify`: what is on the NAS against what was recorded, and what follows from it in the database.
//!
//! Guarantees: nothing is changed on the NAS; a document becomes `verified` only if its copy was compared as it stands
//! in its row; only documents whose copy is missing go again, and those whose copy differs and whose file here is what was
//! sent: else the copy may be the last good one.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use chrono::Utc;

use super::{DocumentError, NasSyncService};
use crate::blocking;
use crate::client::Client;
use crate::client::compare::{self, Comparison, Item};
use crate::error::{ErrorKind, NasSyncError, Result};
use crate::id::DocumentId;
use crate::store::{Access, Selection, Store, StoredCopy, SyncedCopy};
use crate::tree::{HeldFolder, RemoteName};

pub use crate::client::compare::Method;

/// What to verify and how.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct VerifyRequest {
    /// Which documents; of those only the synced ones can be compared.
    pub selection: Selection,
    /// A share of them, drawn anew each time; all of them without it.
    pub sample: Option<Sample>,
    /// How.
    pub method: Method,
    /// What becomes of documents whose copy differs or is missing.
    pub requeue: Requeue,
}

impl VerifyRequest {
    /// All synced documents of a selection, compared by a dry run; nothing is set pending. The fields can be changed.
    pub fn new(selection: Selection) -> Self {
        Self { selection, sample: None, method: Method::DryRun, requeue: Requeue::No }
    }
}

/// A share in percent, above 0 and up to 100. Written as `10%` or `10`, or with up to four decimals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    /// Out of a million.
    share: usize,
}

/// Whether documents whose copy differs or is missing are set pending again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Requeue {
    /// They stay as they are.
    No,
    /// They are.
    Yes,
}

/// What a verification found. Each document is in one of the lists, or equal.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct VerifyReport {
    /// Documents that were to be compared.
    pub total: usize,
    /// Documents about which something was found out, or tried to.
    pub checked: usize,
    /// Those whose copy is what was recorded.
    pub equal: usize,
    /// Those whose copy has another content.
    pub differing: Vec<DocumentId>,
    /// Those that have no copy.
    pub missing: Vec<DocumentId>,
    /// Those whose file here is no longer what was recorded; nothing is said about the copy.
    pub changed_here: Vec<DocumentId>,
    /// Those that could not be compared, and why.
    pub unknown: Vec<DocumentError>,
    /// Those of the differing and missing ones whose file here is gone, too.
    pub gone_here: Vec<DocumentId>,
    /// Those of the differing ones whose file here is not what was sent either, or is gone: they are never set pending.
    pub kept: Vec<DocumentId>,
    /// Documents that are pending again.
    pub requeued: usize,
    /// What ended the verification early.
    pub stopped: Option<NasSyncError>,
}

impl VerifyReport {
    /// Whether everything was compared and is equal.
    pub fn is_clean(&self) -> bool {
        self.stopped.is_none() && self.equal == self.total
    }
}

impl FromStr for Sample {
    type Err = NasSyncError;

    fn from_str(text: &str) -> Result<Self> {
        let bad = || NasSyncError::new(ErrorKind::Usage, "a sample is a share above 0 and up to 100, such as 10%");
        let number = text.strip_suffix('%').unwrap_or(text);
        let (whole, decimals) = number.split_once('.').unwrap_or((number, "0"));
        let are_digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        if !are_digits(whole) || !are_digits(decimals) || decimals.len() > 4 {
            return Err(bad());
        }
        match format!("{whole}{decimals:0<4}").parse() {
            Ok(share @ 1..=1_000_000) => Ok(Self { share }),
            _ => Err(bad()),
        }
    }
}

impl Sample {
    /// How many this share of so many is; at least one where there is one.
    fn of(self, count: usize) -> usize {
        count.saturating_mul(self.share).div_ceil(1_000_000).min(count)
    }
}

pub(super) async fn run(service: &NasSyncService, request: VerifyRequest) -> Result<VerifyReport> {
    let config = service.client_config()?;
    let (path, root) = (service.nas_path()?, service.root()?);
    let selection = request.selection.clone();
    let read = |store: Store| async move { store.synced_copies(selection).await };
    let copies = service.with_store(Access::ReadOnly, read).await?;
    let mut report = VerifyReport { unknown: absent(&request.selection, &copies), ..VerifyReport::default() };
    let (mut drawn, unrecorded) = recorded(sample(copies, request.sample));
    report.unknown.extend(unrecorded);
    report.checked = report.unknown.len();
    report.total = report.checked + drawn.len();
    if drawn.is_empty() {
        return Ok(report);
    }
    let client = match Client::connect(&config).await {
        Ok(client) => client,
        Err(error) => return Ok(VerifyReport { stopped: Some(error), ..report }),
    };
    while !drawn.is_empty() && report.stopped.is_none() {
        let later = drawn.split_off(drawn.len().min(compare::MOST_ITEMS));
        let part = std::mem::replace(&mut drawn, later);
        let items: Vec<Item> = part.iter().map(|copy| copy.item.clone()).collect();
        match compare::compare(&client, path, root.as_ref(), &items, request.method).await {
            Ok(comparisons) => report.take(service, root.clone(), part, comparisons, request.requeue).await?,
            Err(error) => report.stopped = Some(error),
        }
    }
    client.disconnect().await;
    if request.selection == Selection::all() && request.sample.is_none() && report.is_settled() {
        let place = service.connection()?.place();
        service.with_store(Access::Existing, |store| async move { store.set_place(place).await }).await?;
    }
    Ok(report)
}

/// A copy of which enough was recorded to compare it.
struct Recorded {
    id: DocumentId,
    copy: StoredCopy,
    item: Item,
}

/// The copy of a file. Fails when its name cannot be one.
fn item(path: PathBuf, copy: &StoredCopy) -> Result<Item> {
    Ok(Item {
        name: RemoteName::new(&*copy.remote_name)?,
        path,
        bytes: copy.bytes,
        mtime: copy.mtime,
        sha256: copy.sha256,
    })
}

/// Documents that were named, and of which there is nothing to compare.
fn absent(selection: &Selection, copies: &[SyncedCopy]) -> Vec<DocumentError> {
    let Some(named) = &selection.documents else { return Vec::new() };
    let known: BTreeSet<&DocumentId> = copies.iter().map(|copy| &copy.id).collect();
    let missing: BTreeSet<&DocumentId> = named.iter().filter(|id| !known.contains(id)).collect();
    let error = |id: &DocumentId| {
        let message = "there is no synced document of this id, so there is nothing to compare";
        DocumentError { id: Some(id.clone()), error: NasSyncError::new(ErrorKind::DocumentNotFound, message) }
    };
    missing.into_iter().map(error).collect()
}

fn sample(copies: Vec<SyncedCopy>, sample: Option<Sample>) -> Vec<SyncedCopy> {
    let Some(sample) = sample else { return copies };
    let wanted = sample.of(copies.len());
    let mut drawn = fastrand::choose_multiple(copies, wanted);
    drawn.sort_by(|one, other| one.id.cmp(&other.id));
    drawn
}

/// Parts copies that can be compared from those of which too little was recorded.
fn recorded(copies: Vec<SyncedCopy>) -> (Vec<Recorded>, Vec<DocumentError>) {
    let (mut recorded, mut others) = (Vec::new(), Vec::new());
    for SyncedCopy { id, file_path, copy } in copies {
        let comparable = copy.ok_or_else(compare::unrecorded).and_then(|copy| {
            let item = item(file_path, &copy)?;
            Ok((copy, item))
        });
        match comparable {
            Ok((copy, item)) => recorded.push(Recorded { id, copy, item }),
            Err(error) => others.push(DocumentError { id: Some(id), error }),
        }
    }
    (recorded, others)
}

impl VerifyReport {
    /// Whether all that still counts as synced is there.
    fn is_settled(&self) -> bool {
        self.stopped.is_none() && self.equal + self.requeued == self.total
    }

    /// Takes in what was found about a part, and records what follows.
    async fn take(
        &mut self,
        service: &NasSyncService,
        root: Option<Arc<HeldFolder>>,
        part: Vec<Recorded>,
        comparisons: Vec<Comparison>,
        requeue: Requeue,
    ) -> Result<()> {
        let (mut equal, mut bad) = (Vec::new(), Vec::new());
        self.checked += part.len();
        for (recorded, comparison) in part.into_iter().zip(comparisons) {
            let id = recorded.id.clone();
            match comparison {
                Comparison::Equal => equal.push((id, recorded.copy)),
                Comparison::Differs => {
                    self.differing.push(id);
                    bad.push((recorded, Found::Another));
                }
                Comparison::Missing => {
                    self.missing.push(id);
                    bad.push((recorded, Found::Nothing));
                }
                Comparison::ChangedHere => self.changed_here.push(id),
                Comparison::Unknown(error) => self.unknown.push(DocumentError { id: Some(id), error }),
            }
        }
        self.equal += equal.len();
        let bad = blocking::run(move || Ok(with_files(root.as_deref(), bad))).await?;
        let mut again = Vec::new();
        for (Recorded { id, copy, .. }, found, here) in bad {
            if here == Here::Gone {
                self.gone_here.push(id.clone());
            }
            if found == Found::Another && here != Here::AsSent {
                self.kept.push(id);
            } else if requeue == Requeue::Yes {
                again.push((id, copy));
            }
        }
        if equal.is_empty() && again.is_empty() {
            return Ok(());
        }
        let record = |store: Store| async move { store.record_comparison(equal, again, Utc::now()).await };
        self.requeued += service.with_store(Access::Existing, record).await?;
        Ok(())
    }
}

/// What is on the NAS instead of the copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    Another,
    Nothing,
}

/// The file here, beside what was sent of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Here {
    AsSent,
    Gone,
    /// It is another one by now, or cannot be looked at.
    Another,
}

fn with_files(root: Option<&HeldFolder>, documents: Vec<(Recorded, Found)>) -> Vec<(Recorded, Found, Here)> {
    let here = |item: &Item| match item.is_unchanged(root) {
        Ok(true) => Here::AsSent,
        Err(error) if error.kind() == ErrorKind::SourceMissing => Here::Gone,
        Ok(false) | Err(_) => Here::Another,
    };
    let with_file = |(document, found): (Recorded, Found)| {
        let here = here(&document.item);
        (document, found, here)
    };
    documents.into_iter().map(with_file).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_shares() {
        let of = |text: &str, count| text.parse::<Sample>().map(|sample| sample.of(count)).ok();
        assert_eq!((of("10%", 1000), of("10", 1000), of("100%", 7)), (Some(100), Some(100), Some(7)));
        assert_eq!((of("1", 7), of("50", 3), of("0.5%", 1000), of("12.5", 8)), (Some(1), Some(2), Some(5), Some(1)));
        assert_eq!(of("10", 0), Some(0));
        for bad in ["", "%", "0", "0.0%", "101", "100.0001", "-1", "+5", "1e1", "5 %", "a", ".5", "5.", "0.00001"] {
            assert_eq!(of(bad, 1), None, "{bad}");
        }
    }
}
