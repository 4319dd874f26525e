//! What is fuzzed: each decoder, the whole sender and the whole receiver, each as a function of bytes that a peer may send.
//!
//! None of them may panic, take memory without bound, or wait for ever; what else must hold is asserted. The first bytes of an
//! input choose what was agreed on before. The tests of the project run the same functions over the seeds, over seeds that
//! were changed at random, and over what fuzzing has found (`found/`).

use std::collections::VecDeque;
use std::fs;
use std::os::unix::fs::FileTypeExt as _;
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use nas_sync::internal::role::incoming::{Expected, Scope};
use nas_sync::internal::role::list::{PartSource, SendList, SendPart, Sources};
use nas_sync::internal::role::port::Port;
use nas_sync::internal::role::pull::{self, PullJob, To};
use nas_sync::internal::role::sender::{self, ChangedFile, Duties, Mode, SendJob};
use nas_sync::internal::tree::SourceFile;
use nas_sync::internal::wire::flist::{Entries, ListCoder, ListFields, Listed, idlist};
use nas_sync::internal::wire::handshake::Handshake;
use nas_sync::internal::wire::iflags::Item;
use nas_sync::internal::wire::int::{put_varint, put_vstring, varint};
use nas_sync::internal::wire::mux::{Demultiplexer, Frame, Framing};
use nas_sync::internal::wire::ndx::{DONE, LIST_EOF, NdxCoder, list_of_folder};
use nas_sync::internal::wire::negotiated::Negotiated;
use nas_sync::internal::wire::stats::{SenderStats, SenderTimes, decode_deleted};
use nas_sync::internal::wire::sums::{self, HeadLimits};
use nas_sync::internal::wire::token::{Token, TokenDecoder, TokenEncoder, ZlibHistory};
use nas_sync::internal::wire::{Decode, Reader};
use nas_sync::{
    ChecksumChoice, CompressionChoice, Content, EntryKind, FileEntry, FileMeta, NasSyncError, Offer, Protocol, Rules,
    Silent, StrongAlgorithm, TokenCoding,
};
use tokio::sync::mpsc;

/// One of them.
pub struct Target {
    pub name: &'static str,
    pub run: fn(&[u8]),
}

pub const TARGETS: [Target; 8] = [
    Target { name: "handshake", run: handshake },
    Target { name: "frames", run: frames },
    Target { name: "list", run: list },
    Target { name: "numbers", run: numbers },
    Target { name: "tokens", run: tokens },
    Target { name: "filter", run: filter },
    Target { name: "sender", run: sender },
    Target { name: "receiver", run: receiver },
];

/// Compressions, each with what a session of it is offered.
const CODINGS: [TokenCoding; 5] = [
    TokenCoding::Plain,
    TokenCoding::Zstd { level: 3 },
    TokenCoding::Lz4,
    TokenCoding::Zlibx { level: 6 },
    TokenCoding::Zlib { level: 6 },
];

/// What was offered, by a byte: one of six protocols and five compressions, with the list whole or in parts.
fn offer(choice: u8) -> Offer {
    let mut offer = Offer::default();
    offer.protocol = Protocol::new(27 + choice % 6).expect("27 to 32 are spoken");
    let coding = CODINGS[usize::from(choice / 6) % CODINGS.len()];
    if coding != TokenCoding::Plain {
        let old = choice % 6 < 3;
        offer.compression = CompressionChoice::Fixed(if old { TokenCoding::Zlib { level: 6 } } else { coding });
    }
    if choice >= 128 && choice % 6 >= 3 {
        offer.checksum = ChecksumChoice::Fixed { transfer: StrongAlgorithm::Md5, list: StrongAlgorithm::Md5 };
    }
    offer.incremental = choice >= 192 && choice % 6 >= 3;
    offer
}

/// What a usual server answers to that, up to its seed.
fn greeting(offer: &Offer) -> Vec<u8> {
    let mut hello = 32_i32.to_le_bytes().to_vec();
    if offer.protocol.number() >= 30 {
        put_varint(&mut hello, 0x1fe | i32::from(offer.incremental));
        if offer.checksum == ChecksumChoice::Negotiate {
            put_vstring(&mut hello, b"xxh128 xxh3 xxh64 md5");
        }
        if matches!(offer.compression, CompressionChoice::Negotiate { .. }) {
            put_vstring(&mut hello, b"zstd lz4 zlibx zlib none");
        }
    }
    hello.extend_from_slice(&7_i32.to_le_bytes());
    hello
}

fn agreed(choice: u8) -> Negotiated {
    let offer = offer(choice);
    let mut shaken = Handshake::start(offer, &mut Vec::new());
    let outcome = shaken.advance(&mut BytesMut::from(&*greeting(&offer)), &mut Vec::new());
    outcome.expect("it is a usual server").expect("and has said everything")
}

/// Bytes in pieces of this length.
fn pieces(bytes: &[u8], len: u8) -> impl Iterator<Item = &[u8]> {
    bytes.chunks(usize::from(len).max(1))
}

/// A server's first words mean the same however they are cut.
pub fn handshake(input: &[u8]) {
    let &[choice, len, ref bytes @ ..] = input else { return };
    let outcome = |len: u8| {
        let (mut said, mut rest) = (Vec::new(), BytesMut::new());
        let mut shaken = Handshake::start(offer(choice), &mut said);
        for piece in pieces(bytes, len) {
            rest.extend_from_slice(piece);
            match shaken.advance(&mut rest, &mut said) {
                Ok(None) => {}
                ended => return format!("{ended:?} {said:?}"),
            }
        }
        format!("it goes on {said:?}")
    };
    assert_eq!(outcome(len), outcome(u8::MAX));
}

/// Frames carry the same data and the same messages however they are cut.
pub fn frames(input: &[u8]) {
    let &[len, ref bytes @ ..] = input else { return };
    let taken = |len: usize| {
        let (mut data, mut messages, mut frames) = (Vec::new(), Vec::new(), Demultiplexer::default());
        for piece in bytes.chunks(len.max(1)) {
            let mut piece = Bytes::copy_from_slice(piece);
            loop {
                match frames.next(&mut piece) {
                    Ok(Some(Frame::Data(part))) => data.extend_from_slice(&part),
                    Ok(Some(Frame::Message(message))) => messages.push(format!("{message:?}")),
                    Ok(None) => break,
                    Err(error) => return (data, messages, Some(error)),
                }
            }
        }
        (data, messages, None)
    };
    assert_eq!(taken(len.into()), taken(bytes.len()));
}

fn fields(choice: u8) -> ListFields {
    let mut fields = ListFields::default();
    (fields.owner, fields.group, fields.links) = (choice & 1 != 0, choice & 2 != 0, choice & 4 != 0);
    (fields.devices, fields.specials) = (choice & 16 != 0, choice & 32 != 0);
    (fields.atimes, fields.hard_links) = (choice & 64 != 0, choice & 128 != 0);
    fields.digest = (choice & 8 != 0).then_some(16);
    fields
}

/// A list that can be read can be written, and is then read as it was.
pub fn list(input: &[u8]) {
    let &[choice, flags, ref bytes @ ..] = input else { return };
    let (terms, fields) = (agreed(choice).list_terms, fields(flags));
    let read = |bytes: &[u8]| {
        let (mut coder, mut reader, mut entries) =
            (ListCoder::new(terms.coding, fields), Reader::new(bytes), Entries::default());
        loop {
            match coder.take(&mut reader, &mut entries) {
                Ok(Listed::Entry) => {}
                Ok(Listed::End { errors }) => return Some((entries, errors)),
                Err(_) => return None,
            }
        }
    };
    let Some((entries, errors)) = read(bytes) else { return };
    let (mut coder, mut written) = (ListCoder::new(terms.coding, fields), Vec::new());
    for entry in entries.iter() {
        coder.put(&entry, &mut written);
    }
    coder.put_end(errors, &mut written);
    let (again, _) = read(&written).expect("what was written can be read");
    let shown = |entries: &Entries| {
        let show = |mut entry: FileEntry<'_>| {
            // Ids that were not agreed on are read, and not written.
            entry.meta.uid *= u32::from(fields.owner);
            entry.meta.gid *= u32::from(fields.group);
            format!("{entry:?}")
        };
        entries.iter().map(show).collect::<Vec<_>>()
    };
    assert_eq!(shown(&entries), shown(&again));
    for len in 0..written.len().min(64) {
        assert!(read(&written[..len]).is_none(), "the first {len} bytes are no list");
    }
}

/// Numbers, and what small records are made of.
pub fn numbers(input: &[u8]) {
    let &[choice, kind, ref bytes @ ..] = input else { return };
    let agreed = agreed(choice);
    let mut ndx = NdxCoder::new(agreed.ndx);
    let limits = HeadLimits { block_len: 131_072, strong_len: 16 };
    let mut reader = Reader::new(bytes);
    let mut one = |reader: &mut Reader<'_>| -> Decode<()> {
        match kind % 8 {
            0 => ndx.take(reader).map(drop),
            1 => Item::decode(agreed.items, reader).map(drop),
            2 => sums::decode_head(reader, limits).map(|head| {
                assert!(head.count == 0 || (1..=limits.block_len).contains(&head.block_len), "{head:?}");
                assert!(usize::from(head.strong_len) <= limits.strong_len, "{head:?}");
            }),
            3 => sums::decode_block(reader, choice % 17).map(drop),
            4 => decode_deleted(reader).map(drop),
            5 => SenderStats::decode(agreed.ints, SenderTimes::Said, reader).map(drop),
            6 => idlist::decode(&agreed.list_terms.coding, reader).map(drop),
            _ => varint(reader).map(drop),
        }
    };
    // Some records have no bytes.
    for _ in 0..input.len() {
        if one(&mut reader).is_err() {
            break;
        }
    }
}

/// Whatever a token stream says, no piece is larger than it may be.
pub fn tokens(input: &[u8]) {
    let &[choice, ref bytes @ ..] = input else { return };
    let coding = CODINGS[usize::from(choice) % CODINGS.len()];
    let mut decoder = TokenDecoder::new(coding, ZlibHistory::Whole).expect("the levels are valid");
    let mut reader = Reader::new(bytes);
    let mut total = 0;
    // What a few bytes unfold to is for the receiver to stop.
    while total < 1 << 22 {
        match decoder.next(&mut reader) {
            Ok(Token::Literal(data)) => {
                assert!(data.len() <= nas_sync::internal::wire::token::MAX_PIECE, "{} bytes", data.len());
                total += data.len() + 1;
            }
            Ok(Token::Copy { block }) => {
                assert!(block < 1 << 31);
                decoder.history(&bytes[..bytes.len().min(700)]);
                total += 1000;
            }
            Ok(Token::End) => total += 1,
            Err(_) => break,
        }
    }
}

/// Rules and a name, with a NUL between them.
pub fn filter(input: &[u8]) {
    let (rules, name) = input.split_at(input.iter().position(|&byte| byte == 0).unwrap_or(input.len()));
    let Ok(text) = std::str::from_utf8(rules) else { return };
    let missing = || std::io::Error::from(std::io::ErrorKind::NotFound);
    let Ok(rules) = Rules::of_text(text, &mut |_| Err(missing())) else { return };
    let scope = nas_sync::internal::filter::Scope::new(&rules);
    let Ok(scope) = scope.enter(b"top", &mut |_| Ok(Some(b"- *.tmp\n+ /keep\n!\n".to_vec()))) else { return };
    let name =
        nas_sync::internal::filter::Name { name: name.get(1..).unwrap_or_default(), is_dir: false, root: b"top" };
    scope.sends(name);
    rules.for_receiver().for_each(drop);
}

/// Files that a sender may be asked for.
struct Files {
    folder: tempfile::TempDir,
}

const CONTENTS: [(&[u8], usize); 4] = [(b"empty", 0), (b"folder/large", 100_000), (b"folder/small", 700), (b"one", 1)];

impl Files {
    fn get() -> Arc<Self> {
        static FILES: OnceLock<Arc<Files>> = OnceLock::new();
        Arc::clone(FILES.get_or_init(|| {
            let folder = tempfile::tempdir().expect("there is room for some files");
            for (number, (_, len)) in CONTENTS.iter().enumerate() {
                let content: Vec<u8> = (0..*len).map(|at| u8::try_from(at / 7 % 251).unwrap_or(0)).collect();
                fs::write(folder.path().join(number.to_string()), content).expect("and for these");
            }
            Arc::new(Self { folder })
        }))
    }

    fn list() -> Entries {
        let entry = |name, kind, size| {
            let mut meta = FileMeta::default();
            (meta.size, meta.permissions) = (size as u64, 0o755);
            FileEntry::new(name, kind, meta)
        };
        let files = CONTENTS.iter().map(|(name, len)| entry(name, EntryKind::File, *len));
        [entry(b"folder", EntryKind::Directory(Content::Listed), 0)].into_iter().chain(files).collect()
    }
}

/// The same in parts: the top, and the folder.
struct InParts(VecDeque<SendPart>);

impl InParts {
    fn of(entries: &Entries) -> Self {
        let is_below = |entry: &FileEntry<'_>| entry.name.starts_with(b"folder/");
        let part = |folder: Option<&[u8]>| {
            let entries = entries.iter().filter(|entry| is_below(entry) == folder.is_some()).collect();
            SendPart { folder: folder.map(Box::from), entries, errors: 0 }
        };
        Self([part(None), part(Some(b"folder"))].into())
    }
}

impl PartSource for InParts {
    fn next(&mut self) -> Result<Option<SendPart>, NasSyncError> {
        Ok(self.0.pop_front())
    }
}

impl Sources for Files {
    fn open(&self, entry: &FileEntry<'_>) -> Result<SourceFile, NasSyncError> {
        let number = CONTENTS.iter().position(|(name, _)| *name == entry.name).expect("only what is listed is opened");
        SourceFile::open(&self.folder.path().join(number.to_string()))
    }
}

/// A whole sender, beside a receiver that says these bytes once it has the list.
pub fn sender(input: &[u8]) {
    let &[choice, len, ref bytes @ ..] = input else { return };
    let agreed = agreed(choice);
    let (sink, mut said) = mpsc::channel(8);
    let (port, feeder) = Port::new(agreed.list_terms.client_framing, sink);
    for piece in pieces(bytes, len) {
        if feeder.push(Bytes::copy_from_slice(piece)).is_err() {
            break;
        }
    }
    drop(feeder);
    let mut list = SendList::default();
    let mut parts: Option<Arc<Mutex<dyn PartSource>>> = None;
    let list = if agreed.list_terms.is_incremental {
        parts = Some(Arc::new(Mutex::new(InParts::of(&Files::list()))));
        list.in_parts()
    } else {
        list.entries = Files::list();
        list.number(agreed.list_terms.order).expect("no name is there twice")
    };
    let mode = if choice % 7 == 6 { Mode::DryRun } else { Mode::Transfer };
    let duties = Duties::default();
    let job =
        SendJob { list: list.into(), parts, sources: Files::get(), changed: ChangedFile::Invalidate, mode, duties };
    std::thread::scope(|scope| {
        scope.spawn(move || while said.blocking_recv().is_some() {});
        // Most of what it hears is wrong.
        let _ = sender::run(job, agreed.into(), port, &Silent);
    });
}

/// How long a receiver that says nothing is listened to, before it hears what is left.
const SILENCE: Duration = Duration::from_millis(5);

/// A whole receiver, beside a sender that says the first part of these bytes, and the rest once it has been asked for everything.
pub fn receiver(input: &[u8]) {
    let &[choice, flags, first, second, ref bytes @ ..] = input else { return };
    let (list, rest) = bytes.split_at(usize::from(u16::from_le_bytes([first, second])).min(bytes.len()));
    let agreed = agreed(choice);
    let folder = tempfile::tempdir().expect("there is room for a folder");
    let here = folder.path().join("here");
    fs::create_dir(&here).expect("and for one in it");
    fs::write(here.join("old"), [7; 5000]).expect("and for a file");
    std::os::unix::fs::symlink("..", here.join("up")).expect("and for a symlink");
    let (sink, said) = mpsc::channel(64);
    let (port, feeder) = Port::new(Framing::Multiplexed, sink);
    // Devices would be made, as root.
    let fields = ListFields { devices: false, ..fields(flags) };
    let expected = Expected { fields, id_names: false, scope: Scope::anything(false), may_overlap: flags & 16 != 0 };
    let mut job = PullJob::new(expected, To::Path(here.join("")));
    (job.numeric_ids, job.whole_file, job.dry_run) = (true, flags & 32 != 0, flags & 64 != 0);
    let _ = feeder.push(Bytes::copy_from_slice(list));
    std::thread::scope(|scope| {
        let rest = Bytes::copy_from_slice(rest);
        scope.spawn(move || {
            let said = listen(said);
            // It asks once it has the list, and otherwise waits for more of it.
            while let Ok(heard) = said.recv_timeout(SILENCE) {
                if heard.last() == Some(&0) && heard.len() > 8 {
                    break;
                }
            }
            let _ = feeder.push(rest);
            drop(feeder);
            while said.recv().is_ok() {}
        });
        let _ = pull::run(job, agreed, port, Arc::new(Silent), Arc::default());
    });
    let beside: Vec<_> = fs::read_dir(folder.path()).expect("it is still there").flatten().collect();
    assert!(beside.len() == 1, "it wrote outside of its folder: {beside:?}");
    check_kinds(&here, fields.specials);
}

/// What a receiver says, with a deadline for hearing it.
fn listen(mut said: mpsc::Receiver<Bytes>) -> std::sync::mpsc::Receiver<Bytes> {
    let (heard, hearing) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        while let Some(frame) = said.blocking_recv() {
            // Nobody has to be listening.
            let _ = heard.send(frame);
        }
    });
    hearing
}

/// Nothing but files, folders and symlinks is made, and pipes and sockets where they were asked for.
fn check_kinds(folder: &Path, specials: bool) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let kind = entry.file_type().expect("it is there");
        let is_special = kind.is_fifo() || kind.is_socket();
        assert!(kind.is_file() || kind.is_dir() || kind.is_symlink() || specials && is_special, "{entry:?}");
        if kind.is_dir() {
            check_kinds(&entry.path(), specials);
        }
    }
}

/// What fuzzing of a target begins with: what usual peers say.
pub fn seeds(target: &str) -> Vec<Vec<u8>> {
    let of_each = |say: &dyn Fn(u8, &Negotiated) -> Vec<u8>| {
        (0..36)
            .chain([131, 132, 133])
            .chain(195..198)
            .chain(213..216)
            .map(|choice| say(choice, &agreed(choice)))
            .collect::<Vec<_>>()
    };
    match target {
        "handshake" => of_each(&|choice, _| [&[choice, 3][..], &greeting(&offer(choice))].concat()),
        "frames" => [
            &b"\x05\x00\x00\x07hello"[..],
            b"\x03\x00\x00\x08no\n\x01\x00\x00\x07x",
            b"\x04\x00\x00\x6c\x01\x00\x00\x00",
        ]
        .map(|said| [&[3], said].concat())
        .to_vec(),
        "list" => of_each(&|choice, agreed| [vec![choice, choice], coded_list(agreed, fields(choice))].concat()),
        "numbers" => (0..64)
            .map(|kind| {
                [&[kind, kind / 3][..], &[0xfe, 0x12, 0x80, 0, 0, 0, 1, 0, 0, 0, 3, b'a', b'b', b'c', 0, 0]].concat()
            })
            .collect(),
        "tokens" => {
            (0..5).map(|choice| [vec![choice], coded_file(CODINGS[usize::from(choice)], true)].concat()).collect()
        }
        "filter" => [
            &b"- *.tmp\0a/b.tmp"[..],
            b"+ /a/**/b\n- [[:alpha:]]?[!x-z]/***\n: .rules\n!\0a/c/b",
            b"merge,- x\nP keep\nR risk\nH hide/\nS show\ndir-merge,e-n .f\n-! */\n-s_p *~\0d/x~",
        ]
        .map(<[u8]>::to_vec)
        .to_vec(),
        "sender" => of_each(&|choice, agreed| [&[choice, 200][..], &requests(agreed)].concat()),
        "receiver" => of_each(&|choice, agreed| {
            let list = coded_list(agreed, fields(4));
            let len = u16::try_from(list.len()).expect("it is short").to_le_bytes();
            [&[choice, 4][..], &len, &list, &replies(agreed)].concat()
        }),
        _ => Vec::new(),
    }
}

/// The list of [`Files`] and a symlink, as a sender writes it. In parts this is the first, and what follows the others.
fn coded_list(agreed: &Negotiated, fields: ListFields) -> Vec<u8> {
    let mut coder = ListCoder::new(agreed.list_terms.coding, fields);
    let mut list = Files::list();
    list.push(&FileEntry::new(b"link", EntryKind::Symlink(b"one"), FileMeta::default()));
    if !agreed.list_terms.is_incremental {
        return coded_part(&mut coder, list, agreed);
    }
    let InParts(parts) = InParts::of(&list);
    let said = parts.into_iter().enumerate().map(|(number, part)| {
        let mut said = Vec::new();
        if part.folder.is_some() {
            NdxCoder::new(agreed.ndx).put(&mut said, list_of_folder(number - 1));
        }
        said.extend(coded_part(&mut coder, part.entries, agreed));
        said
    });
    said.collect::<Vec<_>>().concat()
}

fn coded_part(coder: &mut ListCoder, mut entries: Entries, agreed: &Negotiated) -> Vec<u8> {
    let mut said = Vec::new();
    entries.sort(agreed.list_terms.order);
    for entry in entries.iter() {
        coder.put(&entry, &mut said);
    }
    coder.put_end(0, &mut said);
    said
}

/// A coder of numbers, behind the part of [`coded_list`] that has one.
fn behind_parts(agreed: &Negotiated, said: &mut Vec<u8>) -> NdxCoder {
    let mut ndx = NdxCoder::new(agreed.ndx);
    if agreed.list_terms.is_incremental {
        ndx.put(&mut Vec::new(), list_of_folder(0));
        ndx.put(said, LIST_EOF);
    }
    ndx
}

/// A file as tokens, with a copied block.
fn coded_file(coding: TokenCoding, copies: bool) -> Vec<u8> {
    let mut encoder = TokenEncoder::new(coding, ZlibHistory::Whole).expect("the levels are valid");
    let mut said = Vec::new();
    let told = "it fits";
    encoder.literal(b"some words, some words, some other words", &mut said).expect(told);
    if copies {
        encoder.copy(0, &[7; 700], &mut said).expect(told);
        encoder.literal(b"and the end", &mut said).expect(told);
    }
    encoder.end(&mut said).expect(told);
    said
}

const TRANSFER: [u8; 2] = 0x8000_u16.to_le_bytes();

fn record(agreed: &Negotiated, ndx: &mut NdxCoder, number: i32, said: &mut Vec<u8>) {
    ndx.put(said, number);
    if agreed.protocol.number() >= 29 {
        said.extend_from_slice(&TRANSFER);
    }
}

/// What a receiver asks for: each file, one of them by a block that is here.
fn requests(agreed: &Negotiated) -> Vec<u8> {
    let (mut ndx, mut said) = (NdxCoder::new(agreed.ndx), Vec::new());
    let numbers = if agreed.list_terms.is_incremental { [1, 2, 5, 6] } else { [0, 1, 3, 4] };
    for number in numbers {
        record(agreed, &mut ndx, number, &mut said);
        let has_basis = number == numbers[2];
        let head: [i32; 4] = if has_basis { [1, 700, 2, 0] } else { [0; 4] };
        said.extend(head.iter().flat_map(|field| field.to_le_bytes()));
        if has_basis {
            said.extend_from_slice(&[1, 2, 3, 4, 5, 6]);
        }
    }
    for _ in 0..if agreed.list_terms.is_incremental { 8 } else { 5 } {
        ndx.put(&mut said, DONE);
    }
    said
}

/// What a sender replies to that.
fn replies(agreed: &Negotiated) -> Vec<u8> {
    let mut said = Vec::new();
    let mut ndx = behind_parts(agreed, &mut said);
    let mut encoder = TokenEncoder::new(agreed.tokens, agreed.zlib_history).expect("the levels are valid");
    // In parts the first entry is 1, and the folder's content begins behind a number for the folder.
    let numbers = if agreed.list_terms.is_incremental { [1, 3, 6, 7] } else { [0, 2, 4, 5] };
    for (number, len) in numbers.into_iter().zip([0, 1, 100_000, 700]) {
        record(agreed, &mut ndx, number, &mut said);
        said.extend_from_slice(&[0; 16]);
        let content = vec![7; len];
        encoder.literal(&content, &mut said).and_then(|()| encoder.end(&mut said)).expect("it fits");
        said.extend_from_slice(agreed.file_sum.digest(&content).as_bytes());
    }
    // Each part is done with, too.
    for _ in 0..if agreed.list_terms.is_incremental { 5 } else { 3 } {
        ndx.put(&mut said, DONE);
    }
    said.extend_from_slice(&[0; 15]);
    ndx.put(&mut said, DONE);
    said
}
