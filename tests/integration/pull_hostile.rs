//! Servers that send and break the rules: each limit on what they may say ends the session with an error, and nothing is
//! written where it does not belong.
//!
//! The servers here are mocks, since no real one does this: bytes that were made up for the inbox of the receiving side.

mod limits;
mod names;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::{Arc, Mutex};

use bytes::{Bytes, BytesMut};
use nas_sync::internal::role::asked::Naming;
use nas_sync::internal::role::incoming::{Expected, Scope};
use nas_sync::internal::role::parts::Parts;
use nas_sync::internal::role::port::Port;
use nas_sync::internal::role::pull::{self, DeleteRules, PullJob, To};
use nas_sync::internal::wire::flist::{ListCoder, ListFields};
use nas_sync::internal::wire::handshake::Handshake;
use nas_sync::internal::wire::int::{put_varint, put_vstring};
use nas_sync::internal::wire::mux::{Framing, data_header};
use nas_sync::internal::wire::ndx::{DONE, LIST_EOF, NdxCoder};
use nas_sync::internal::wire::negotiated::Negotiated;
use nas_sync::internal::wire::offer::Offer;
use nas_sync::internal::wire::token::TokenEncoder;
use nas_sync::{
    CompressionChoice, Content, Device, EntryKind, ErrorKind, Event, Extras, FileEntry, FileId, FileMeta, Monitor,
    NasSyncError, Partial, Special, TokenCoding, Writing,
};
use tokio::sync::mpsc;

use crate::support::{until, with};

/// Data follows.
const TRANSFER: u16 = 0x8000;
/// The flag of a name of a file with several.
const LINKED: i32 = 0x0200;
pub const FOLDER: EntryKind<'static> = EntryKind::Directory(Content::Listed);

/// A made-up sender of protocol 32 without negotiated names.
pub struct Mock {
    hello: Vec<u8>,
    negotiated: Negotiated,
    list: ListCoder,
    ndx: NdxCoder,
    says: Vec<u8>,
    fields: ListFields,
    /// What it says once everything was asked for, and then each time that it has heard more.
    then: Vec<Vec<u8>>,
    scope: Scope,
    /// What happens when everything was asked for.
    meanwhile: Box<dyn FnOnce() + Send>,
    /// What it declines to send then.
    declines: Option<i32>,
    /// Whether the pull deletes what is not listed.
    deletes: bool,
    /// What else the pull does.
    shape: fn(PullJob) -> PullJob,
}

/// Writes down what fails.
#[derive(Default)]
struct Failures(Mutex<Vec<String>>);

impl Monitor for Failures {
    fn event(&self, event: Event<'_>) {
        if let Event::FileFailed { error, .. } = event {
            self.0.lock().unwrap().push(error.to_string());
        }
    }
}

pub const FIELDS: ListFields = ListFields { links: true, ..ListFields::NONE };

impl Mock {
    pub fn new() -> Self {
        Self::offered(Offer::default())
    }

    fn offered(offer: Offer) -> Self {
        let mut handshake = Handshake::start(offer, &mut Vec::new());
        let mut hello = 32_i32.to_le_bytes().to_vec();
        put_varint(&mut hello, if offer.incremental { 0x1af } else { 0x1ae });
        put_vstring(&mut hello, b"md5");
        hello.extend_from_slice(&7_i32.to_le_bytes());
        let negotiated = handshake.advance(&mut BytesMut::from(&*hello), &mut Vec::new()).unwrap().unwrap();
        Self {
            list: ListCoder::new(negotiated.list_terms.coding, FIELDS),
            ndx: NdxCoder::new(negotiated.ndx),
            negotiated,
            says: Vec::new(),
            fields: FIELDS,
            then: vec![Vec::new()],
            scope: Scope::anything(false),
            meanwhile: Box::new(|| {}),
            declines: None,
            deletes: false,
            shape: |job| job,
            hello,
        }
    }

    pub fn scope(&self) -> Scope {
        self.scope.clone()
    }

    /// One that sends its list in parts, of which the first has a root, a folder and what else is given.
    fn in_parts(more: &[&[u8]]) -> Self {
        let mock = Self::offered(with!(Offer::default(), incremental: true)).lists(b".", FOLDER).lists(b"d", FOLDER);
        more.iter().fold(mock, |mock, name| mock.lists(name, FOLDER)).ends_list()
    }

    /// The part with the content of the folder of this number: these folders, and `file`.
    fn part(mut self, folder: i32, folders: &[&[u8]], file: &[u8]) -> Self {
        self.ndx.put(&mut self.says, -101 - folder);
        let mock = folders.iter().fold(self, |mock, name| mock.lists(name, FOLDER));
        mock.lists(file, EntryKind::File).ends_list()
    }

    /// The end of all parts.
    fn ends_parts(mut self) -> Self {
        self.ndx.put(&mut self.says, LIST_EOF);
        self
    }

    /// Greets in another way.
    pub fn greets(self, hello: Vec<u8>) -> Self {
        Self { hello, ..self }
    }

    /// Does something between the requests and the answers.
    pub fn when_asked(self, meanwhile: impl FnOnce() + Send + 'static) -> Self {
        Self { meanwhile: Box::new(meanwhile), ..self }
    }

    /// What it says as bytes of a whole session: up to the end of its list, and once everything was asked for.
    pub fn session(self) -> [Vec<u8>; 2] {
        let framed = |part: &[u8]| if part.is_empty() { Vec::new() } else { [&data_header(part.len()), part].concat() };
        [[self.hello, framed(&self.says)].concat(), framed(&self.then.concat())]
    }

    fn asked_for(source: &str) -> Self {
        Self { scope: Scope::of_sources(&[source.into()], Naming::TREES), ..Self::new() }
    }

    pub fn lists(mut self, name: &[u8], kind: EntryKind<'_>) -> Self {
        let meta = with!(FileMeta::default(), size: 5, permissions: 0o755);
        self.list.put(&FileEntry::new(name, kind, meta), &mut self.says);
        self
    }

    /// The pull asks for hard links.
    fn with_links(self) -> Self {
        let fields = ListFields { hard_links: true, ..FIELDS };
        Self { list: ListCoder::new(self.negotiated.list_terms.coding, fields), fields, ..self }
    }

    /// Lists the first name of a file with several.
    fn lists_first(mut self, name: &[u8], kind: EntryKind<'_>) -> Self {
        let meta = with!(FileMeta::default(), size: 5, permissions: 0o755);
        let extras = with!(Extras::default(), file: Some(FileId::default()));
        self.list.put(&with!(FileEntry::new(name, kind, meta), extras: extras), &mut self.says);
        self
    }

    /// Lists another name of a file, the entry of whose first name has this number as they are sent.
    fn lists_other(mut self, name: &[u8], first: i32) -> Self {
        put_varint(&mut self.says, LINKED);
        self.says.push(name.len().try_into().unwrap());
        self.says.extend_from_slice(name);
        put_varint(&mut self.says, first);
        self
    }

    pub fn ends_list(self) -> Self {
        self.ends_list_with(0)
    }

    /// Ends it with error bits.
    fn ends_list_with(mut self, errors: i32) -> Self {
        self.list.put_end(errors, &mut self.says);
        self
    }

    fn ndx(mut self, ndx: i32) -> Self {
        self.ndx.put(self.then.last_mut().unwrap(), ndx);
        self
    }

    pub fn raw(mut self, bytes: &[u8]) -> Self {
        self.then.last_mut().unwrap().extend_from_slice(bytes);
        self
    }

    /// Listens before it goes on.
    fn waits(mut self) -> Self {
        self.then.push(Vec::new());
        self
    }

    pub fn sends(self, ndx: i32, head: [i32; 4]) -> Self {
        self.ndx(ndx).raw(&TRANSFER.to_le_bytes()).raw(&head.map(i32::to_le_bytes).concat())
    }

    pub fn literal(self, data: &[u8]) -> Self {
        self.raw(&i32::try_from(data.len()).unwrap().to_le_bytes()).raw(data)
    }

    /// The end of a file, and its digest.
    pub fn ends_file(self, content: &[u8]) -> Self {
        let digest = self.negotiated.file_sum.digest(content);
        self.raw(&[0; 4]).raw(digest.as_bytes())
    }

    fn done(self, times: usize) -> Self {
        (0..times).fold(self, |mock, _| mock.ndx(DONE))
    }

    /// All DONEs and the statistics.
    pub fn goodbye(self) -> Self {
        self.done(3).raw(&[0; 15]).done(1)
    }

    /// How a pull into this folder ends that hears all this, and then the end of the stream; and which files failed.
    pub fn end(self, to: &Path) -> (Result<(), NasSyncError>, Vec<String>) {
        let (sink, mut frames) = mpsc::channel(8);
        let (port, feeder) = Port::new(Framing::Multiplexed, sink);
        feeder.push(Bytes::from(self.says)).unwrap();
        let expected = Expected { fields: self.fields, id_names: false, scope: self.scope, may_overlap: false };
        let rules = DeleteRules { when: None, limit: None, in_spite_of_errors: false, only_in_the_way: false };
        let deletion = self.deletes.then_some(rules);
        let job = PullJob { numeric_ids: true, deletion, ..PullJob::new(expected, To::Path(to.to_owned())) };
        let job = (self.shape)(job);
        let failures = Arc::new(Failures::default());
        let monitor = Arc::clone(&failures) as Arc<dyn Monitor>;
        let (then, negotiated, meanwhile) = (self.then, self.negotiated, self.meanwhile);
        let parts = Arc::new(Parts::default());
        let open = Arc::clone(&parts);
        let end = std::thread::scope(|scope| {
            scope.spawn(move || {
                // The empty list of filters, then what is asked for, up to the first DONE.
                let mut heard = Vec::new();
                while let Some(frame) = frames.blocking_recv() {
                    heard.extend_from_slice(&frame);
                    if heard.len() > 8 && heard.last() == Some(&0) {
                        break;
                    }
                }
                meanwhile();
                if let Some(ndx) = self.declines {
                    open.not_sent(ndx).unwrap();
                }
                for (number, part) in then.into_iter().enumerate() {
                    if number > 0 {
                        frames.blocking_recv();
                    }
                    feeder.push(Bytes::from(part)).unwrap();
                }
                drop(feeder);
                while frames.blocking_recv().is_some() {}
            });
            pull::run(job, negotiated, port, monitor, parts)
        });
        let failed = failures.0.lock().unwrap().clone();
        (end, failed)
    }

    #[track_caller]
    fn assert_refused(self, says: &str) {
        let to = tempfile::tempdir().unwrap();
        let place = to.path().join("here");
        fs::create_dir(&place).unwrap();
        let (end, _) = self.end(&place);
        let error = end.expect_err(says);
        assert_eq!(error.kind(), ErrorKind::Protocol, "{error}, and not: {says}");
        assert!(error.message().contains(says), "{error}, and not: {says}");
        assert_eq!(fs::read_dir(to.path()).unwrap().count(), 1);
        // The generator may still be at work for a moment; no file is left in the making.
        until("nothing is left in the making", std::time::Duration::from_secs(10), || {
            let names = fs::read_dir(&place).unwrap().map(|entry| entry.unwrap().file_name());
            names.into_iter().all(|name| !name.as_encoded_bytes().starts_with(b"."))
        });
        assert!(!place.join("file").exists());
    }
}

/// A list of one file, number 0.
fn one() -> Mock {
    Mock::new().lists(b"file", EntryKind::File).ends_list()
}

#[test]
fn the_mock_itself_is_a_server_that_can_be_pulled_from() {
    let to = tempfile::tempdir().unwrap();
    let (end, failed) = one().sends(0, [0; 4]).literal(b"hello").ends_file(b"hello").goodbye().end(to.path());
    end.unwrap();
    assert!(failed.is_empty(), "{failed:?}");
    assert_eq!(fs::read(to.path().join("file")).unwrap(), b"hello");
}

#[test]
fn a_list_may_come_in_parts() {
    let to = tempfile::tempdir().unwrap();
    // Numbers: ., d, the part's own, d/file.
    let mock = Mock::in_parts(&[]).part(1, &[], b"d/file").ends_parts().done(1).sends(4, [0; 4]);
    let (end, failed) = mock.literal(b"hello").ends_file(b"hello").waits().goodbye().end(to.path());
    end.unwrap();
    assert!(failed.is_empty(), "{failed:?}");
    assert_eq!(fs::read(to.path().join("d/file")).unwrap(), b"hello");
}

#[test]
fn parts_of_a_list_are_those_that_it_has_announced() {
    let parts = || Mock::in_parts(&[b"e"]);
    parts().part(3, &[], b"f/file").assert_refused("has the content of folder 3, and has named 3");
    parts().part(0, &[], b"file").assert_refused("has the content of folder 0 twice, or of one that has none to list");
    let twice = parts().part(1, &[], b"d/a").part(1, &[], b"d/b");
    twice.assert_refused("has the content of folder 1 twice");
    parts().part(1, &[], b"e/file").assert_refused("has e/file as content of d");
    parts().part(1, &[], b"d/x/file").assert_refused("has d/x/file as content of d");
    parts().part(1, &[], b"file").assert_refused("has file as content of d");
    parts().part(1, &[], b"d/../file").assert_refused("a component `..`");
    let late = parts().part(1, &[b"d/x"], b"d/a").part(2, &[], b"e/a").part(3, &[], b"d/x/a");
    late.assert_refused("has the content of d/x out of turn");
    let deeper = Mock::offered(with!(Offer::default(), incremental: true)).lists(b"d", FOLDER);
    deeper.lists(b"d/file", EntryKind::File).ends_list().assert_refused("has d/file in its first part");
    parts().ends_parts().part(1, &[], b"d/file").assert_refused("a list behind the last");
    parts().ends_parts().ends_parts().assert_refused("ends twice");
    let unlisted = Mock::offered(with!(Offer::default(), incremental: true)).lists(b".", FOLDER);
    let unlisted = unlisted.lists(b"d", EntryKind::Directory(Content::Unlisted)).ends_list();
    unlisted.part(1, &[], b"d/file").assert_refused("or of one that has none to list");
    // A list that comes whole has none.
    Mock::new().lists(b"d", FOLDER).ends_list().ends_parts().raw(&[0; 4]).assert_refused("sent file -2");
}

#[test]
fn replies_are_of_parts_that_are_open() {
    for ndx in [0, 3, 5] {
        let mock = Mock::in_parts(&[]).part(1, &[], b"d/file").ends_parts().done(1);
        mock.sends(ndx, [0; 4]).assert_refused("which is in no part of the list that is open");
    }
    let early = Mock::in_parts(&[]).part(1, &[], b"d/file").ends_parts().done(2);
    early.assert_refused("ended the first phase before everything was asked for");
}

#[test]
fn nothing_is_deleted_in_a_folder_whose_content_does_not_come() {
    let to = tempfile::tempdir().unwrap();
    for folder in ["d", "e"] {
        fs::create_dir(to.path().join(folder)).unwrap();
        fs::write(to.path().join(folder).join("own"), "mine").unwrap();
    }
    let mock = Mock { deletes: true, ..Mock::in_parts(&[b"e"]).part(1, &[], b"d/file").ends_parts() };
    // Numbers: ., d, e, the part's own, d/file.
    let mock = mock.done(1).sends(5, [0; 4]).literal(b"hello").ends_file(b"hello").waits().goodbye();
    let (end, failed) = mock.end(to.path());
    end.unwrap();
    assert!(failed.is_empty(), "{failed:?}");
    let left = |name: &str| fs::exists(to.path().join(name)).unwrap();
    assert_eq!(["d/own", "d/file", "e/own"].map(left), [false, true, true]);
}

#[test]
fn names_that_lead_elsewhere_are_refused() {
    for (name, says) in [
        (&b"/etc/passwd"[..], "it starts with a slash"),
        (b"..", "a component `..`"),
        (b"../file", "a component `..`"),
        (b"a/../../file", "a component `..`"),
        (b"./file", "a component `.`"),
        (b"a//file", "an empty component"),
        (b"a\0b", "NUL"),
        (b"a/file", "no folder that it could lie in"),
        (b".", "an entry `.` that was not asked for"),
        (&[b'x'; 256], "a component of 256 bytes"),
    ] {
        Mock::new().lists(name, EntryKind::File).ends_list().assert_refused(says);
    }
    Mock::new()
        .lists(b"a", EntryKind::Symlink(b"/tmp"))
        .lists(b"a/file", EntryKind::File)
        .ends_list()
        .assert_refused("no folder that it could lie in");
    Mock::new().lists(b"a", EntryKind::File).lists(b"a", EntryKind::File).ends_list().assert_refused("names a twice");
    Mock::new().lists(b"a", FOLDER).lists(b"a", EntryKind::Symlink(b"/")).ends_list().assert_refused("names a twice");
    Mock::new().lists(b"a", EntryKind::Symlink(b"x\0y")).ends_list().assert_refused("NUL byte");
}

#[test]
fn only_what_was_asked_for_may_come() {
    let refused = |source: &str, name: &[u8]| {
        let mock = Mock::asked_for(source).lists(name, EntryKind::File).ends_list();
        mock.assert_refused("which was not asked for");
    };
    refused("/docs/a.pdf", b"b.pdf");
    refused("/docs/a.pdf", b".bashrc");
    refused("docs/*.pdf", b"a.txt");
    refused("a[bc]", b"ad");
    Mock::asked_for("docs").lists(b".", FOLDER).ends_list().assert_refused("an entry `.` that was not asked for");
    for (source, name) in [("docs/*.pdf", &b"a.pdf"[..]), ("docs/", b"anything"), ("~", b"anything"), ("", b"anything")]
    {
        let to = tempfile::tempdir().unwrap();
        let mock = Mock::asked_for(source).lists(name, EntryKind::File).ends_list();
        mock.goodbye().end(&to.path().join("")).0.unwrap();
    }
}

#[test]
fn replies_are_those_to_requests() {
    one().sends(1, [0; 4]).assert_refused("sent file 1, the list has 1");
    one().sends(-2, [0; 4]).assert_refused("sent file -2, the list has 1");
    let folders = || Mock::new().lists(b"d", FOLDER).lists(b"l", EntryKind::Symlink(b"x")).ends_list();
    folders().sends(0, [0; 4]).assert_refused("which was not asked for");
    folders().sends(1, [0; 4]).assert_refused("which was not asked for");
    let twice = one().sends(0, [0; 4]).literal(b"hello").ends_file(b"hello").sends(0, [0; 4]);
    let to = tempfile::tempdir().unwrap();
    let error = twice.end(to.path()).0.unwrap_err();
    assert!(error.message().contains("which was not asked for"), "{error}");
    one().ndx(0).raw(&8_u16.to_le_bytes()).assert_refused("answered the request for entry 0 with another one");
    one().ndx(0).raw(&0x8800_u16.to_le_bytes()).raw(&[0x83]).assert_refused("answered the request for entry 0");
}

#[test]
fn heads_and_copies_stay_within_their_limits() {
    for (head, says) in [
        ([-1, 700, 2, 0], "block count"),
        ([1, 0, 2, 0], "block length"),
        ([1, 131_073, 2, 0], "block length"),
        ([1, 700, 17, 0], "strong sum length"),
        ([1, 700, 2, 701], "remainder"),
    ] {
        one().sends(0, head).assert_refused(says);
    }
    one().sends(0, [1, 5, 2, 0]).raw(&(-2_i32).to_le_bytes()).assert_refused("block 1 of 1 does not exist");
    one().sends(0, [0; 4]).raw(&(-1_i32).to_le_bytes()).assert_refused("block 0 of 0 does not exist");
}

#[test]
fn a_file_is_as_long_as_was_said() {
    let to = tempfile::tempdir().unwrap();
    let long = one().sends(0, [0; 4]).literal(b"hello!").ends_file(b"hello!").goodbye();
    let (end, failed) = long.end(to.path());
    end.unwrap();
    assert!(failed.len() == 1 && failed[0].contains("longer than the NAS said"), "{failed:?}");
    assert_eq!(fs::read_dir(to.path()).unwrap().count(), 0);
    // And not without end: each piece is dropped as it comes.
    let mut endless = one().sends(0, [0; 4]);
    for _ in 0..66 {
        endless = endless.literal(&vec![0; 1 << 20]);
    }
    // More than an inbox holds is never pushed at once by a real session.
    endless.then[0].truncate(nas_sync::internal::role::inbox::MAX_QUEUED);
    let error = endless.end(to.path()).0.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Protocol | ErrorKind::ConnectionLost), "{error}");
    assert_eq!(fs::read_dir(to.path()).unwrap().count(), 0);
}

#[test]
fn what_does_not_match_its_digest_is_asked_for_once_more_and_thrown_away() {
    let to = tempfile::tempdir().unwrap();
    let wrong = |mock: Mock| mock.sends(0, [0; 4]).literal(b"hello").ends_file(b"other");
    let (end, failed) = wrong(wrong(one()).waits()).done(3).raw(&[0; 15]).done(1).end(to.path());
    end.unwrap();
    assert!(failed.len() == 1 && failed[0].contains("does not match its checksum, twice"), "{failed:?}");
    assert_eq!(fs::read_dir(to.path()).unwrap().count(), 0);
    let (end, failed) = one().goodbye().end(to.path());
    end.unwrap();
    assert!(failed.len() == 1 && failed[0].contains("did not send it"), "{failed:?}");
}

#[test]
fn names_of_one_file_refer_to_a_first_one_that_came_before() {
    // Numbers as they are sent: a, b, d, e.
    let mock = || {
        let mock = Mock::new().with_links().lists(b"a", EntryKind::File).lists_first(b"b", EntryKind::File);
        mock.lists(b"d", FOLDER)
    };
    for first in [3, 4, i32::MAX, -1, i32::MIN] {
        mock().lists_other(b"e", first).ends_list().assert_refused(&format!("to entry {first}, there are 3 so far"));
    }
    for first in [0, 2] {
        let refusal = format!("to entry {first}, which is the first of none");
        mock().lists_other(b"e", first).ends_list().assert_refused(&refusal);
    }
    mock()
        .lists_other(b"e", 1)
        .lists_other(b"f", 3)
        .ends_list()
        .assert_refused("to entry 3, which is the first of none");
    Mock::new().with_links().lists_first(b"d", FOLDER).ends_list().assert_refused("it is a folder");
    // In parts: ., d, e, the part's own, d/a.
    let parts = || {
        let offer = with!(Offer::default(), incremental: true);
        let mock = Mock::offered(offer).with_links().lists(b".", FOLDER).lists(b"d", FOLDER);
        let mut mock = mock.lists_first(b"e", EntryKind::File).ends_list();
        mock.ndx.put(&mut mock.says, -102);
        mock
    };
    for first in [0, 1, 2, 4] {
        let refusal = format!("to entry {first}, which is the first of none");
        parts().lists_other(b"d/a", first).ends_list().assert_refused(&refusal);
    }
    parts().lists_other(b"d/a", 5).ends_list().assert_refused("to entry 5, there are 5 so far");
}

/// Whether two names in a folder are of one file.
fn is_one_file(folder: &Path, names: [&str; 2]) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let [one, other] = names.map(|name| fs::symlink_metadata(folder.join(name)).unwrap());
    one.ino() == other.ino()
}

#[test]
fn another_name_of_a_file_comes_where_one_does_not() {
    let mock = || {
        let mock = Mock::new().with_links().lists_first(b"a", EntryKind::File);
        mock.lists_other(b"b", 0).lists_other(b"c", 0).ends_list()
    };
    let to = tempfile::tempdir().unwrap();
    // The last one is asked for first.
    let late = mock().done(1).waits().sends(1, [0; 4]).literal(b"hello").ends_file(b"hello").done(2);
    let (end, failed) = late.raw(&[0; 15]).done(1).end(to.path());
    end.unwrap();
    assert!(failed.len() == 1 && failed[0].contains("did not send it"), "{failed:?}");
    assert!(is_one_file(to.path(), ["a", "b"]) && !to.path().join("c").exists());
    let to = tempfile::tempdir().unwrap();
    let wrong = |mock: Mock| mock.sends(2, [0; 4]).literal(b"hello").ends_file(b"other");
    // When nothing can be asked for any more.
    let (end, failed) = wrong(wrong(mock()).waits().done(1).waits()).done(2).raw(&[0; 15]).done(1).end(to.path());
    end.unwrap();
    let failed = failed.join("\n");
    assert!(failed.contains("does not match its checksum, twice"), "{failed}");
    assert_eq!(failed.matches("another name of this file did not come").count(), 2, "{failed}");
    assert_eq!(fs::read_dir(to.path()).unwrap().count(), 0);
    let to = tempfile::tempdir().unwrap();
    let second = wrong(mock()).waits().sends(2, [0; 4]).literal(b"hello").ends_file(b"hello").goodbye().end(to.path());
    second.0.unwrap();
    assert!(is_one_file(to.path(), ["a", "b"]) && is_one_file(to.path(), ["b", "c"]));
}

#[test]
fn names_of_one_file_in_several_parts_wait_for_each_other() {
    // Numbers as they are sorted: ., e, d, the part's own, d/a.
    let mock = || {
        let mut mock = Mock::offered(with!(Offer::default(), incremental: true)).with_links();
        mock.list.begin_part(1);
        let mut mock = mock.lists(b".", FOLDER).lists(b"d", FOLDER).lists_first(b"e", EntryKind::File).ends_list();
        mock.ndx.put(&mut mock.says, -102);
        mock.list.begin_part(5);
        mock.lists_first(b"d/a", EntryKind::File).ends_list().ends_parts()
    };
    let to = tempfile::tempdir().unwrap();
    let mock_sends = |mock: Mock, ndx| mock.sends(ndx, [0; 4]).literal(b"hello").ends_file(b"hello").waits().done(1);
    let (end, failed) = mock_sends(mock(), 5).goodbye().end(to.path());
    end.unwrap();
    assert!(failed.is_empty() && is_one_file(to.path(), ["e", "d/a"]), "{failed:?}");
    // The one that is asked for first is declined.
    let to = tempfile::tempdir().unwrap();
    let declining = Mock { declines: Some(5), ..mock_sends(mock().waits(), 2).goodbye() };
    let (end, failed) = declining.end(to.path());
    end.unwrap();
    assert!(failed.len() == 1 && failed[0].contains("did not send it"), "{failed:?}");
    assert!(to.path().join("e").exists() && !to.path().join("d/a").exists());
}

#[test]
fn symlinks_in_the_destination_are_not_followed() {
    let (to, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    fs::write(outside.path().join("file"), "mine").unwrap();
    symlink(outside.path(), to.path().join("a")).unwrap();
    symlink(outside.path().join("file"), to.path().join("file")).unwrap();
    let mock = Mock::new().lists(b"a", FOLDER).lists(b"a/file", EntryKind::File).lists(b"file", EntryKind::File);
    // Numbers: file, a, a/file.
    let mock = mock.ends_list().sends(0, [0; 4]).literal(b"hello").ends_file(b"hello");
    let mock = mock.sends(2, [0; 4]).literal(b"hello").ends_file(b"hello").goodbye();
    let (end, failed) = mock.end(to.path());
    end.unwrap();
    assert!(failed.is_empty(), "{failed:?}");
    assert_eq!(fs::read_to_string(outside.path().join("file")).unwrap(), "mine");
    for file in ["file", "a/file"] {
        assert_eq!(fs::read_to_string(to.path().join(file)).unwrap(), "hello");
        assert!(!to.path().join(file).is_symlink());
    }
}

#[test]
fn devices_and_pipes_that_were_not_asked_for_are_not_made() {
    let to = tempfile::tempdir().unwrap();
    let mock = Mock::new()
        .lists(b"device", EntryKind::Special(Special::Block(Device::default())))
        .lists(b"pipe", EntryKind::Special(Special::Pipe))
        .lists(b"socket", EntryKind::Special(Special::Socket))
        .ends_list()
        .goodbye();
    mock.end(&to.path().join("")).0.unwrap();
    assert_eq!(fs::read_dir(to.path()).unwrap().count(), 0);
}

#[test]
fn sizes_are_not_negative() {
    let mut mock = Mock::new();
    let meta = with!(FileMeta::default(), size: u64::MAX, permissions: 0o644);
    mock.list.put(&FileEntry::new(b"file", EntryKind::File, meta), &mut mock.says);
    // The largest number; with its first bit it is a negative one.
    let at = mock.says.windows(8).position(|bytes| *bytes == i64::MAX.to_le_bytes()).unwrap();
    mock.says[at + 7] = 0xff;
    mock.ends_list().assert_refused("negative");
}

#[test]
fn what_unpacks_without_end_is_thrown_away_as_it_comes() {
    for method in ["zlib", "zlibx", "zstd", "lz4"] {
        let coding = TokenCoding::from_name(method, None).unwrap();
        let mock = Mock::offered(with!(Offer::default(), compression: CompressionChoice::Fixed(coding)));
        // A few hundred bytes for each MiB of zeros.
        let mut encoder = TokenEncoder::new(coding, mock.negotiated.zlib_history).unwrap();
        let mut data = Vec::new();
        for _ in 0..80 {
            encoder.literal(&vec![0; 1 << 20], &mut data).unwrap();
        }
        encoder.end(&mut data).unwrap();
        assert!(data.len() < 1 << 20, "{method}: {} bytes", data.len());
        let bomb = mock.lists(b"file", EntryKind::File).ends_list().sends(0, [0; 4]).raw(&data);
        bomb.assert_refused("sends file file without end");
    }
}

/// A folder that is to be filled, in which links lead out of it, to a folder with something in it.
fn with_links_out() -> [tempfile::TempDir; 2] {
    let [to, outside] = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    fs::create_dir(outside.path().join("folder")).unwrap();
    fs::write(outside.path().join("folder/file"), "mine").unwrap();
    fs::create_dir(to.path().join("sub")).unwrap();
    fs::write(to.path().join("sub/file"), "old").unwrap();
    for name in ["link", "sub/link", "listed"] {
        symlink(outside.path(), to.path().join(name)).unwrap();
    }
    [to, outside]
}

#[test]
fn nothing_is_deleted_through_a_symlink() {
    let [to, outside] = with_links_out();
    let mock = Mock { deletes: true, ..Mock::new() }.lists(b".", EntryKind::Directory(Content::Argument));
    let (end, failed) = mock.lists(b"listed", FOLDER).ends_list().goodbye().end(to.path());
    end.unwrap();
    assert!(failed.is_empty(), "{failed:?}");
    assert_eq!(fs::read_to_string(outside.path().join("folder/file")).unwrap(), "mine");
    let names: Vec<_> = fs::read_dir(to.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["listed"]);
    assert!(to.path().join("listed").symlink_metadata().unwrap().is_dir());
}

#[test]
fn what_is_written_in_its_place_or_waits_stays_in_the_destination() {
    let [to, outside] = with_links_out();
    let shape = |job| PullJob { partial: Partial::Aside(b"link".to_vec()), ..job };
    let mock = Mock { shape, ..Mock::new() }.lists(b"file", EntryKind::File).ends_list();
    let (end, failed) = mock.sends(0, [0; 4]).literal(b"hello").ends_file(b"other").goodbye().end(to.path());
    end.unwrap();
    assert!(failed.len() == 1 && failed[0].contains("did not send it"), "{failed:?}");
    assert_eq!(
        fs::read_to_string(to.path().join("link/file")).unwrap(),
        "hello",
        "a folder has taken the link's place"
    );
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 1);
    for case in ["link", "a hard place"] {
        let [to, outside] = with_links_out();
        let target = outside.path().join("folder/file");
        symlink(&target, to.path().join("file")).unwrap();
        let path = to.path().join("file");
        let mock = Mock { shape: |job| PullJob { writing: Writing::InPlace, ..job }, ..Mock::new() };
        let mock = mock.lists(b"file", EntryKind::File).ends_list();
        let mock = if case == "link" { mock } else { mock.when_asked(move || symlink(&target, path).unwrap()) };
        let (end, failed) = mock.sends(0, [0; 4]).literal(b"hello").ends_file(b"hello").goodbye().end(to.path());
        end.unwrap();
        assert_eq!(failed.is_empty(), case == "link", "{failed:?}");
        assert_eq!(fs::read_to_string(outside.path().join("folder/file")).unwrap(), "mine");
    }
}

#[test]
fn nothing_is_deleted_when_not_everything_could_be_listed() {
    let [to, _outside] = with_links_out();
    let mock = Mock { deletes: true, ..Mock::new() }.lists(b".", EntryKind::Directory(Content::Argument));
    let (end, failed) = mock.ends_list_with(1).goodbye().end(to.path());
    end.unwrap();
    assert!(failed.len() == 1 && failed[0].contains("nothing is deleted"), "{failed:?}");
    assert_eq!(fs::read_dir(to.path()).unwrap().count(), 3);
}
