//! The program itself at a server that keeps to none of the limits of `protocol-notes/12-limits.md`: whatever that says, a pull
//! ends by itself, says why, takes little memory, and has written nothing where it does not belong.
//!
//! The server is bytes of this test behind a real sshd: what stands in for its rsync passes them on.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nas_sync::internal::wire::flist::{ListCoder, ListFields};
use nas_sync::internal::wire::int::{put_varint, put_vstring};
use nas_sync::internal::wire::mux::{Message, data_header};
use nas_sync::{CompressionChoice, Device, EntryKind, FileEntry, FileMeta, Offer, Special, TokenCoding};

use super::{FIELDS, FOLDER, Mock, one};
use crate::push_cli::shell;
use crate::push_cli::stock::snapshot;
use crate::support::cli::write_program;
use crate::support::sshd::user;
use crate::support::{Cli, Site, with};

/// More than a pull takes of a server that names few files, in KB.
const MOST_MEMORY: u64 = 64 << 10;
/// More than a busy machine needs for what ends by itself.
const IN_TIME: Duration = Duration::from_secs(60);
/// The idle limit where nothing else ends a session, and what is said of it.
const SILENCE: &str = "--timeout=2";
const STALLED: &str = "no progress";

/// What is in a folder.
type Content = BTreeMap<PathBuf, Vec<String>>;

/// What a server does.
struct Script {
    /// What it says at first, and once everything was asked for.
    says: [Vec<u8>; 2],
    /// What it says from then on, again and again; where that is nothing it falls silent.
    again: Vec<u8>,
}

impl From<Mock> for Script {
    fn from(mock: Mock) -> Self {
        Self { says: mock.session(), again: Vec::new() }
    }
}

impl Script {
    fn and_again(self, again: Vec<u8>) -> Self {
        Self { again, ..self }
    }

    /// Says it all into one pipe, and hears the other.
    fn run(self, [said, heard]: [PathBuf; 2]) {
        let Self { says: [first, then], again } = self;
        std::thread::spawn(move || {
            let (mut said, mut heard) = (File::options().write(true).open(said).unwrap(), File::open(heard).unwrap());
            if said.write_all(&first).is_err() {
                return;
            }
            // Its names of algorithms, the empty list of filters, and what is asked for, up to the first DONE.
            let (mut asked, mut buffer) = (Vec::new(), vec![0; 4096]);
            while !then.is_empty() && (asked.len() < 60 || asked.last() != Some(&0)) {
                match heard.read(&mut buffer) {
                    Ok(len @ 1..) => asked.extend_from_slice(&buffer[..len]),
                    _ => return,
                }
            }
            let hear = std::thread::spawn(move || std::io::copy(&mut heard, &mut std::io::sink()));
            let is_there = said.write_all(&then).is_ok();
            while is_there && !again.is_empty() && said.write_all(&again).is_ok() {}
            // The client leaves when it has had enough.
            drop(hear.join());
        });
    }
}

struct Hostile {
    site: Site,
    to: PathBuf,
    outside: PathBuf,
    number: usize,
}

impl Hostile {
    fn new() -> Self {
        let site = Site::new();
        let [to, outside] = ["to", "outside"].map(|name| site.path(name));
        fs::create_dir(&to).unwrap();
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("file"), "mine").unwrap();
        fs::write(to.join("own"), "mine").unwrap();
        for name in ["a", "link"] {
            symlink(&outside, to.join(name)).unwrap();
        }
        Self { site, to, outside, number: 0 }
    }

    /// A program in the place of rsync that says and hears by two pipes, and those.
    fn server(&mut self) -> (PathBuf, [PathBuf; 2]) {
        self.number += 1;
        let path = |name: &str| self.site.path(&format!("{name}{}", self.number));
        let pipes = [path("said"), path("heard")];
        assert!(Command::new("mkfifo").args(&pipes).status().unwrap().success());
        let program = path("server");
        let [said, heard] = pipes.each_ref().map(|pipe| pipe.display());
        write_program(&program, &format!("#!/bin/sh\ncat {said} &\nexec cat >{heard}\n"));
        (program, pipes)
    }

    /// Pulls from it. It must end in time, with these words, in little memory, and change nothing.
    #[track_caller]
    fn refuses(&mut self, options: &str, script: impl Into<Script>, says: &str) {
        let before = self.content();
        let ended = self.pull_from(script, options);
        self.assert_refused(&ended, &before, says);
    }

    /// Pulls from a server that does this.
    #[track_caller]
    fn pull_from(&mut self, script: impl Into<Script>, options: &str) -> (String, i32, u64) {
        let (program, pipes) = self.server();
        script.into().run(pipes);
        self.pull(&program, options)
    }

    #[track_caller]
    fn refuses_program(&self, program: &Path, options: &str, says: &str) {
        let before = self.content();
        self.assert_refused(&self.pull(program, options), &before, says);
    }

    #[track_caller]
    fn assert_refused(&self, (stderr, code, memory): &(String, i32, u64), before: &Content, says: &str) {
        assert!(*code != 0, "{says}: it ended well: {stderr}");
        let error = stderr.lines().find(|line| line.starts_with("error: ")).unwrap_or_default();
        assert!(error.contains(says), "{says}: {stderr}");
        println!("{memory} KB: {error}");
        assert!(*memory < MOST_MEMORY, "{says}: {memory} KB");
        assert_eq!(self.content(), *before, "{says}");
        self.untouched(says);
    }

    /// What is in the destination; its own time changes with a file on its way.
    fn content(&self) -> Content {
        let mut content = snapshot(&self.to);
        content.remove(Path::new(""));
        content
    }

    #[track_caller]
    fn untouched(&self, says: &str) {
        let outside: Vec<_> = fs::read_dir(&self.outside).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(outside, ["file"], "{says}");
        assert_eq!(fs::read_to_string(self.outside.join("file")).unwrap(), "mine", "{says}");
    }

    /// What it says, how it ends, and the most memory that it takes, in KB.
    #[track_caller]
    fn pull(&self, program: &Path, options: &str) -> (String, i32, u64) {
        let mut cli = Cli::new(&self.site).named_rsync();
        cli.variables.retain(|name, _| matches!(name.as_str(), "PATH" | "HOME"));
        let mut words = vec!["-e".to_owned(), shell(&self.site), format!("--rsync-path={}", program.display())];
        words.extend(options.split_whitespace().map(ToOwned::to_owned));
        words.push(format!("{}@127.0.0.1:docs/", user()));
        words.push(self.to.to_str().unwrap().to_owned());
        let said = self.site.path("stderr");
        let mut child = cli
            .command(&words)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&said).unwrap())
            .spawn()
            .unwrap();
        let (started, mut most) = (Instant::now(), 0);
        let end = loop {
            if let Some(end) = child.try_wait().unwrap() {
                break end;
            }
            most = most.max(high_water(child.id()).unwrap_or(0));
            if started.elapsed() > IN_TIME {
                child.kill().unwrap();
                panic!("it goes on: {}", fs::read_to_string(&said).unwrap());
            }
            std::thread::sleep(Duration::from_millis(2));
        };
        assert!(most > 0, "it was never seen");
        (fs::read_to_string(said).unwrap(), end.code().expect("it ends by itself"), most)
    }
}

/// The most memory that a process has taken, in KB.
fn high_water(process: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix(" kB")?.parse().ok()
}

fn message(message: &Message) -> Vec<u8> {
    let mut frame = Vec::new();
    message.encode(&mut frame);
    frame
}

fn data(bytes: &[u8]) -> Vec<u8> {
    [&data_header(bytes.len()), bytes].concat()
}

/// A list with fields of its own.
fn with_fields(fields: ListFields) -> Mock {
    let mock = Mock::new();
    Mock { list: ListCoder::new(mock.negotiated.list_terms.coding, fields), ..mock }
}

#[test]
fn messages_stay_within_their_limits() {
    let mut hostile = Hostile::new();
    let text = |text: &[u8]| message(&Message::Info(text.to_vec().into()));
    for (frame, says) in [
        (text(&[b'x'; 8192]), "more than 1 MiB of text"),
        (message(&Message::ErrorXfer(vec![b'x'; 8192].into())), "more than 1 MiB of text"),
        (vec![0, 0, 0, 99 + 7], "99 is not a known message"),
        (vec![0, 0, 0, 6], "frame header"),
        ([&[1, 0x20, 0, 2 + 7][..], &[b'x'; 8193]].concat(), "8193 bytes for message 2"),
        (vec![3, 0, 0, 102 + 7, 1, 0, 0], "3 bytes for message 102"),
        (vec![5, 0, 0, 22 + 7, 1, 0, 0, 0, 0], "5 bytes for message 22"),
    ] {
        hostile.refuses("-rl", Script::from(one()).and_again(frame), says);
    }
    let mut hello = 32_i32.to_le_bytes().to_vec();
    put_varint(&mut hello, 0x1ae);
    put_vstring(&mut hello, &[b'x'; 300]);
    hostile.refuses("-rl", one().greets(hello), "checksum names");
    // What is said beside the session.
    let program = hostile.site.path("talks");
    write_program(&program, "#!/bin/sh\nyes 'a text without end' >&2\n");
    hostile.refuses_program(&program, "-rl --timeout=5", "error: ");
    write_program(&program, "#!/bin/sh\nyes 'a text without end'\n");
    hostile.refuses_program(&program, "-rl", "error: ");
}

#[test]
fn lists_stay_within_their_limits() {
    let mut hostile = Hostile::new();
    let negative = || {
        let mut mock = Mock::new();
        let meta = with!(FileMeta::default(), size: u64::MAX, permissions: 0o644);
        mock.list.put(&FileEntry::new(b"file", EntryKind::File, meta), &mut mock.says);
        let at = mock.says.windows(8).position(|bytes| *bytes == i64::MAX.to_le_bytes()).unwrap();
        mock.says[at + 7] = 0xff;
        mock.ends_list()
    };
    let file = |name: &[u8]| Mock::new().lists(name, EntryKind::File).ends_list();
    for (mock, says) in [
        (file(b"/etc/cron.d/x"), "it starts with a slash"),
        (file(b"../outside/file"), "a component `..`"),
        (file(b"link/../../outside/x"), "a component `..`"),
        (file(b"link/file"), "no folder that it could lie in"),
        (file(b"a\0b"), "NUL"),
        (file(&[b'x'; 256]), "a component of 256 bytes"),
        (Mock::new().lists(b"x", EntryKind::File).lists(b"x", EntryKind::File).ends_list(), "names x twice"),
        (Mock::new().lists(b"x", FOLDER).lists(b"x", EntryKind::Symlink(b"/")).ends_list(), "names x twice"),
        (
            Mock::new().lists(b"x", EntryKind::Symlink(b"/")).lists(b"x/y", EntryKind::File).ends_list(),
            "no folder that it could lie in",
        ),
        (Mock::new().lists(b"x", EntryKind::Symlink(b"x\0y")).ends_list(), "NUL byte"),
        (negative(), "negative"),
    ] {
        hostile.refuses("-rl", mock, says);
    }
    let secret = || Mock::new().lists(b"id.key", EntryKind::File).ends_list();
    hostile.refuses("-rl --exclude=*.key", secret(), "has id.key, which is excluded");
    let deep = || Mock::new().lists(b"x", FOLDER).lists(b"x/y", EntryKind::File).ends_list();
    hostile.refuses("-dl", deep(), "has x/y, which was not asked for");
    hostile.refuses("-rlR", file(b".bashrc"), "has .bashrc, which was not asked for");
    let list = hostile.site.path("names");
    fs::write(&list, "a\nb\n").unwrap();
    hostile.refuses(&format!("-l --files-from={}", list.display()), file(b"c"), "has c, which was not asked for");
}

#[test]
fn names_of_users_come_to_an_end() {
    let mut hostile = Hostile::new();
    // A user of a number and of one letter, again and again.
    let ids = data(&[7, 1, b'u'].repeat(10_000));
    let fields = ListFields { owner: true, ..FIELDS };
    let whole = with_fields(fields).lists(b"file", EntryKind::File).ends_list();
    hostile.refuses("-rlo", Script::from(whole).and_again(ids), "names too many users");
}

#[test]
fn parts_are_those_that_were_announced() {
    let mut hostile = Hostile::new();
    let parts = || Mock::in_parts(&[b"e"]);
    for (mock, says) in [
        (parts().part(3, &[], b"f/file"), "has the content of folder 3, and has named 3"),
        (parts().part(1, &[], b"d/x").part(1, &[], b"d/y"), "has the content of folder 1 twice"),
        (parts().part(1, &[], b"e/file"), "has e/file as content of d"),
        (parts().part(1, &[], b"d/../../outside/x"), "a component `..`"),
        (parts().ends_parts().part(1, &[], b"d/file"), "a list behind the last"),
        (parts().ends_parts().ends_parts(), "ends twice"),
    ] {
        // What came before is made, and goes again.
        let [d, e] = ["d", "e"].map(|name| hostile.to.join(name));
        let (stderr, code, memory) = hostile.pull_from(mock, "-rl");
        assert!(code != 0 && stderr.contains(says) && memory < MOST_MEMORY, "{says}: {memory} KB, {stderr}");
        hostile.untouched(says);
        for folder in [d, e].iter().filter(|folder| folder.exists()) {
            assert_eq!(fs::read_dir(folder).unwrap().count(), 0, "{says}");
            fs::remove_dir(folder).unwrap();
        }
    }
}

#[test]
fn replies_stay_within_their_limits() {
    let mut hostile = Hostile::new();
    for (mock, says) in [
        (one().sends(1, [0; 4]), "sent file 1, the list has 1"),
        (one().sends(-2, [0; 4]), "sent file -2, the list has 1"),
        (one().sends(0, [-1, 700, 2, 0]), "block count"),
        (one().sends(0, [1, 0, 2, 0]), "block length"),
        (one().sends(0, [1, i32::MAX, 2, 0]), "block length"),
        (one().sends(0, [1, 700, 17, 0]), "strong sum length"),
        (one().sends(0, [1, 700, 2, 701]), "remainder"),
        (one().sends(0, [0; 4]).raw(&(-1_i32).to_le_bytes()), "block 0 of 0 does not exist"),
        (one().ndx(0).raw(&0x8800_u16.to_le_bytes()).raw(&[0x83]), "answered the request for entry 0"),
        (
            Mock::new()
                .lists(b"device", EntryKind::Special(Special::Pipe))
                .lists(b"file", EntryKind::File)
                .ends_list()
                .sends(0, [0; 4]),
            "which was not asked for",
        ),
    ] {
        hostile.refuses("-rl", mock, says);
    }
    let hello = |mock: Mock| mock.sends(0, [0; 4]).literal(b"hello").ends_file(b"hello");
    let twice = hello(hello(one()));
    let (stderr, code, memory) = hostile.pull_from(twice, "-rl");
    assert!(code != 0 && stderr.contains("which was not asked for") && memory < MOST_MEMORY, "{memory} KB, {stderr}");
    assert_eq!(fs::read_to_string(hostile.to.join("file")).unwrap(), "hello");
}

#[test]
fn data_without_end_is_not_kept() {
    let mut hostile = Hostile::new();
    let literal = data(&[&(32_768_i32).to_le_bytes()[..], &vec![b'x'; 32_768]].concat());
    hostile.refuses("-rl", Script::from(one().sends(0, [0; 4])).and_again(literal), "sends file file without end");
    let endless = one().sends(0, [0; 4]).raw(&i32::MAX.to_le_bytes());
    hostile.refuses("-rl", Script::from(endless).and_again(data(&vec![b'x'; 32_768])), "sends file file without end");
    for method in ["zlib", "zlibx", "zstd", "lz4"] {
        let coding = TokenCoding::from_name(method, None).unwrap();
        let mock = Mock::offered(with!(Offer::default(), compression: CompressionChoice::Fixed(coding)));
        let mut encoder =
            nas_sync::internal::wire::token::TokenEncoder::new(coding, mock.negotiated.zlib_history).unwrap();
        let mut packed = Vec::new();
        for _ in 0..80 {
            encoder.literal(&vec![0; 1 << 20], &mut packed).unwrap();
        }
        let bomb = mock.lists(b"file", EntryKind::File).ends_list().sends(0, [0; 4]).raw(&packed);
        hostile.refuses(&format!("-rl --zc={method}"), bomb, "sends file file without end");
    }
}

#[test]
fn silence_and_what_is_no_progress_come_to_an_end() {
    let mut hostile = Hostile::new();
    let nothing = Script { says: [Vec::new(), Vec::new()], again: Vec::new() };
    hostile.refuses(&format!("-rl {SILENCE}"), nothing, STALLED);
    let silent = || Script::from(one().sends(0, [0; 4]).raw(&5_i32.to_le_bytes()).raw(b"hel"));
    hostile.refuses(&format!("-rl {SILENCE}"), silent(), STALLED);
    for again in [Message::Noop, Message::IoTimeout(3600), Message::IoError(2)] {
        hostile.refuses(&format!("-rl {SILENCE}"), silent().and_again(message(&again)), STALLED);
    }
    hostile.refuses(&format!("-rl {SILENCE}"), silent().and_again(data(b"")), STALLED);
    // Behind its goodbye nobody listens to what it says.
    let whole = one().sends(0, [0; 4]).literal(b"hello").ends_file(b"hello").goodbye();
    let talks = Script::from(whole).and_again(data(&vec![0; 32_768]));
    let (stderr, _, memory) = hostile.pull_from(talks, &format!("-rl {SILENCE}"));
    assert!(memory < MOST_MEMORY, "{memory} KB, {stderr}");
    hostile.untouched("behind the goodbye");
}

#[test]
fn nothing_is_made_that_was_not_asked_for() {
    let mut hostile = Hostile::new();
    let device = EntryKind::Special(Special::Block(Device { major: 8, minor: 0 }));
    let mock = Mock::new().lists(b"device", device).lists(b"pipe", EntryKind::Special(Special::Pipe));
    let mock = mock.lists(b"etc", EntryKind::Symlink(b"/etc")).lists(b"a", FOLDER).lists(b"a/file", EntryKind::File);
    // Numbers: device, etc, pipe, a, a/file.
    let mock = mock.ends_list().sends(4, [0; 4]).literal(b"hello").ends_file(b"hello").goodbye();
    let (stderr, code, memory) = hostile.pull_from(mock, "-rl");
    assert!(code == 0 && memory < MOST_MEMORY, "{code}: {memory} KB, {stderr}");
    hostile.untouched("a link in the place of a folder");
    assert_eq!(fs::read_to_string(hostile.to.join("a/file")).unwrap(), "hello");
    assert!(!hostile.to.join("a").is_symlink() && hostile.to.join("etc").is_symlink());
    assert!(!hostile.to.join("device").exists() && !hostile.to.join("pipe").exists());
}
