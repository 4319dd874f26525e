//! Whether the NAS tells names apart that differ only in their spelling, such as `Scan.pdf` and `scan.pdf`.
//!
//! It is asked about the very names that are at stake, right before one of them is sent, by a dry run: file systems fold by
//! many rules, each folder may have its own, and an answer that was remembered would be wrong after a share had moved. Guarantees:
//! a document is sent only if its name is shown to be another file than each neighbour's copy, or if there is no such copy;
//! where neither is known it is not sent.

use std::collections::{BTreeMap, BTreeSet};

use super::prepared::{Neighbour, Prepared};
use super::report::{BatchReport, FailedDocument, Heard};
use crate::client::dry_run::ask_about;
use crate::client::login::Client;
use crate::client::nas::{self, Sum, Sums};
use crate::error::{ErrorKind, NasSyncError, Result};
use crate::folding::{decomposed, folded, respelt};
use crate::text;
use crate::tree::RemoteName;
use crate::wire::flist::FileMeta;
use crate::wire::iflags::ItemFlags;

/// Why a document is not sent beside its neighbour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Evidence {
    /// Their names are one file.
    OneFile,
    /// Nothing says whether they are.
    Unknown,
}

/// What the NAS says about a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    /// There is no such file.
    Absent,
    /// There is one. Two names with other answers to the same question are two files.
    There { asked: FileMeta, looks: Option<u32> },
    /// Nothing, or something else stands there.
    Silent,
}

type Answers = BTreeMap<Box<[u8]>, Answer>;

/// The names by which a document is told from one neighbour.
struct Names<'d> {
    /// The one of its copy.
    neighbour: &'d Neighbour,
    /// What may be that file: the document's own name, or that of a folder on the way to it.
    name: &'d [u8],
    /// Whether one of the two is a folder on the way to the other document.
    of_a_folder: bool,
    /// Names that nobody uses, and that are the same file where case makes no difference.
    unused: BTreeSet<Vec<u8>>,
}

/// Takes out the documents whose names the NAS does not tell from a neighbour's. Gives what may be sent.
pub(super) async fn keep_apart(
    client: &Client,
    folder: &str,
    documents: Vec<Prepared>,
    report: &mut BatchReport,
) -> Vec<Prepared> {
    if documents.iter().all(|document| document.neighbours.is_empty()) {
        return documents;
    }
    let names: Vec<Vec<Names<'_>>> = documents.iter().map(Names::about).collect();
    let answers = match ask(client, folder, names.iter().flatten()).await {
        Err(error) if matches!(error.kind(), ErrorKind::ConnectionLost | ErrorKind::Stalled) => {
            report.end(error, Heard::Handshake, client);
            drop(names);
            report.again = documents;
            return Vec::new();
        }
        answers => answers,
    };
    let answers = answers.as_ref().map(Option::as_ref);
    let refusals: Vec<_> = documents.iter().zip(&names).map(|(one, names)| refusal(one, names, answers)).collect();
    drop(names);
    let mut kept = Vec::with_capacity(documents.len());
    for (document, refusal) in documents.into_iter().zip(refusals) {
        match refusal {
            Some(error) => report.failed.push(FailedDocument { id: document.id, error }),
            None => kept.push(document),
        }
    }
    kept
}

/// Why a document is not sent, if so.
fn refusal(
    document: &Prepared,
    names: &[Names<'_>],
    answers: Result<Option<&Answers>, &NasSyncError>,
) -> Option<NasSyncError> {
    let one_file = |names: &Names<'_>, evidence| one_file(&document.name, names.neighbour, evidence);
    match answers {
        Ok(Some(answers)) => {
            names.iter().find(|names| !names.are_apart(answers)).map(|names| one_file(names, Evidence::OneFile))
        }
        Ok(None) => names.first().map(|names| one_file(names, Evidence::Unknown)),
        Err(error) => names.first().map(|_| error.clone()),
    }
}

/// The error of a document whose name is the same file on the NAS as another one's, or may be.
fn one_file(name: &RemoteName, neighbour: &Neighbour, evidence: Evidence) -> NasSyncError {
    let shown = |name: &RemoteName| text::escape_bytes(name.as_bytes());
    let (one, two) = (decomposed(name.as_bytes()), decomposed(neighbour.name.as_bytes()));
    let lower = |name: &[u8]| String::from_utf8_lossy(name).to_lowercase();
    // One of them may be a folder on the way to the other.
    let differ_in_case = lower(&one).split('/').zip(lower(&two).split('/')).all(|(one, two)| one == two);
    let differ = match (one == two, differ_in_case) {
        (true, _) => "in how accented letters are composed (Unicode normalisation)",
        (false, true) => "in upper and lower case",
        (false, false) => "in what some file systems take for nothing, such as case and dots at the end",
    };
    let said = match evidence {
        Evidence::OneFile => "the NAS does not tell them apart",
        Evidence::Unknown => "whether the NAS tells them apart cannot be found out: its rsync does not say it",
    };
    let (own, other, id) = (shown(name), shown(&neighbour.name), &neighbour.id);
    let message =
        format!("its name on the NAS, \"{own}\", and \"{other}\" of document {id} differ only {differ}, and {said}");
    NasSyncError::new(ErrorKind::NameClash, message)
}

impl<'d> Names<'d> {
    /// Those of a document and each of its neighbours.
    fn about(document: &'d Prepared) -> Vec<Self> {
        document.neighbours.iter().map(|neighbour| Self::of(&document.name, neighbour)).collect()
    }

    fn of(own: &'d RemoteName, neighbour: &'d Neighbour) -> Self {
        let paths = |name: &'d RemoteName| name.parents().chain([name.as_bytes()]).map(|path| (path, folded(path)));
        let pairs = paths(own).flat_map(|(own, form)| {
            paths(&neighbour.name).filter_map(move |(theirs, other)| (form == other).then_some((own, theirs)))
        });
        // The longest ones: one of them may be the folder of the other document.
        let (name, theirs) = pairs.last().unwrap_or((own.as_bytes(), neighbour.name.as_bytes()));
        let of_a_folder = name != own.as_bytes() || theirs != neighbour.name.as_bytes();
        Self { neighbour, name, of_a_folder, unused: respelt(theirs, name) }
    }

    /// What to ask: as if the neighbour's file were to be sent under each of the names.
    fn files(&self) -> impl Iterator<Item = (&[u8], FileMeta)> {
        let unused = self.unused.iter().map(Vec::as_slice);
        [self.neighbour.name.as_bytes(), self.name].into_iter().chain(unused).map(|name| (name, self.neighbour.meta))
    }

    /// Whether it is shown that the document's name is not the neighbour's copy.
    fn are_apart(&self, answers: &Answers) -> bool {
        let answer = |name: &[u8]| answers.get(name).copied().unwrap_or(Answer::Silent);
        let (copy, name) = (answer(self.neighbour.name.as_bytes()), answer(self.name));
        let is_other = match (copy, name) {
            (Answer::There { asked, looks: Some(one) }, Answer::There { asked: too, looks: Some(other) }) => {
                asked == too && one != other
            }
            _ => false,
        };
        let matters = || self.unused.iter().any(|name| answer(name) == Answer::Absent);
        copy == Answer::Absent || name == Answer::Absent || is_other || matters()
    }
}

/// What the NAS says about all these names; `None` where it does not say anything. Folders are asked about apart, because a list
/// cannot hold one name as a file and as a folder.
async fn ask<'n>(client: &Client, folder: &str, names: impl Iterator<Item = &'n Names<'n>>) -> Result<Option<Answers>> {
    let (folders, whole): (Vec<_>, Vec<_>) = names.partition(|names| names.of_a_folder);
    let mut answers = Answers::new();
    for names in [whole, folders].iter().filter(|names| !names.is_empty()) {
        let Some(found) = ask_at_once(client, folder, names).await? else { return Ok(None) };
        answers.extend(found);
    }
    Ok(Some(answers))
}

async fn ask_at_once(client: &Client, folder: &str, names: &[&Names<'_>]) -> Result<Option<Answers>> {
    let mut asked = BTreeMap::new();
    for (name, meta) in names.iter().flat_map(|names| names.files()) {
        asked.entry(name).or_insert(meta);
    }
    // What two documents make of one name is left open.
    let folders: BTreeSet<&[u8]> = asked.keys().flat_map(|name| folders_of(name)).collect();
    asked.retain(|name, _| !folders.contains(name));
    let files = asked.into_iter().map(|(name, meta)| Ok((RemoteName::new(name)?, meta)));
    let files: Vec<(RemoteName, FileMeta)> = files.collect::<Result<_>>()?;
    let answers: Vec<Answer> = match ask_about(client, folder, &files).await? {
        Some(said) => said.into_iter().zip(&files).map(|(flags, (_, meta))| Answer::of_dry_run(flags, *meta)).collect(),
        None => match ask_for_sums(client, folder, &files).await? {
            Some(answers) => answers,
            None => return Ok(None),
        },
    };
    Ok(Some(files.into_iter().map(|(name, _)| name.into_bytes()).zip(answers).collect()))
}

fn folders_of(name: &[u8]) -> impl Iterator<Item = &[u8]> {
    name.iter().enumerate().filter(|&(_, &byte)| byte == b'/').map(|(at, _)| &name[..at])
}

/// Where rsync says nothing in a dry run: whether the files are there, which `sha256sum` has to know.
async fn ask_for_sums(client: &Client, folder: &str, files: &[(RemoteName, FileMeta)]) -> Result<Option<Vec<Answer>>> {
    let names: Vec<RemoteName> = files.iter().map(|(name, _)| name.clone()).collect();
    let answer = |(sum, (_, asked)): (Sum, &(RemoteName, FileMeta))| match sum {
        Sum::Missing => Answer::Absent,
        Sum::Is(_) | Sum::Unreadable => Answer::There { asked: *asked, looks: None },
    };
    Ok(match nas::sha256_of(client, folder, &names, client.idle_limit()).await? {
        Sums::Said(sums) => Some(sums.into_iter().zip(files).map(answer).collect()),
        Sums::Refused(_) => None,
    })
}

impl Answer {
    fn of_dry_run(flags: Option<ItemFlags>, asked: FileMeta) -> Self {
        match flags {
            None => Self::Silent,
            Some(flags) if flags.has(ItemFlags::NEW) => Self::Absent,
            Some(flags) => Self::There { asked, looks: Some(flags.0 & (ItemFlags::SIZE | ItemFlags::TIME)) },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEW: Option<u32> = Some(ItemFlags::TRANSFER | ItemFlags::NEW);
    const EQUAL: Option<u32> = Some(ItemFlags::TRANSFER);
    const LATER: Option<u32> = Some(ItemFlags::TRANSFER | ItemFlags::TIME);

    fn name(name: &str) -> RemoteName {
        RemoteName::new(name).expect("a name")
    }

    /// Whether names are told apart by what a dry run says about the neighbour's, the document's and an unused one.
    fn are_apart(own: &str, other: &str, said: [Option<u32>; 3]) -> bool {
        let (own, meta) = (name(own), FileMeta { size: 7, ..FileMeta::default() });
        let neighbour = Neighbour { id: 1.into(), name: name(other), meta };
        let names = Names::of(&own, &neighbour);
        let asked: Vec<(Box<[u8]>, FileMeta)> = names.files().map(|(name, meta)| (name.into(), meta)).collect();
        let answers = asked
            .into_iter()
            .zip(said)
            .map(|((name, meta), flags)| (name, Answer::of_dry_run(flags.map(ItemFlags), meta)));
        names.are_apart(&answers.collect())
    }

    #[test]
    fn only_a_proof_tells_names_apart() {
        let scan = |said| are_apart("scan.pdf", "Scan.pdf", said);
        assert!(scan([EQUAL, NEW, EQUAL]), "the name is free");
        assert!(scan([NEW, LATER, LATER]), "there is no copy that could be lost");
        assert!(scan([EQUAL, EQUAL, NEW]), "case matters, so the files are alike by chance");
        assert!(scan([EQUAL, LATER, EQUAL]), "they are two files");
        for nothing in [[EQUAL, EQUAL, EQUAL], [LATER, LATER, LATER], [EQUAL, None, EQUAL], [None, None, None]] {
            assert!(!scan(nothing), "{nothing:?}");
        }
        let composed = |said| are_apart("e\u{301}", "\u{e9}", said);
        assert!(composed([EQUAL, LATER, None]) && !composed([EQUAL, EQUAL, None]));
        assert!(are_apart("A/x", "a", [EQUAL, NEW, None]), "the folder is what may be the other's file");
    }

    #[test]
    fn files_that_were_asked_about_by_other_sizes_may_look_different_and_be_one() {
        let own = name("a");
        let neighbour = Neighbour { id: 1.into(), name: name("A"), meta: FileMeta::default() };
        let asked = FileMeta { size: 1, ..FileMeta::default() };
        let copy = Answer::of_dry_run(EQUAL.map(ItemFlags), FileMeta::default());
        let answers = [(b"A"[..].into(), copy), (b"a"[..].into(), Answer::of_dry_run(LATER.map(ItemFlags), asked))];
        assert!(!Names::of(&own, &neighbour).are_apart(&answers.into()));
    }
}
