use super::*;
use crate::tree::stamp::TICK;
use rustix::fs::FileType;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::os::unix::net::UnixListener;
use std::time::Instant;
use std::time::{Duration, UNIX_EPOCH};

use tempfile::TempDir;

fn pipe(path: &Path) {
    rustix::fs::mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
}

/// A folder whose files are older than a timer tick, so that stamps prove something at once.
fn root_with(files: &[(&str, &[u8])]) -> (TempDir, HeldFolder) {
    let dir = tempfile::tempdir().unwrap();
    for (name, content) in files {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    let root = HeldFolder::open(dir.path()).unwrap();
    (dir, root)
}

fn kind<T: std::fmt::Debug>(result: Result<T>) -> ErrorKind {
    result.unwrap_err().kind()
}

fn content(mut source: SourceFile) -> Vec<u8> {
    let mut all = Vec::new();
    let mut part = [0; 5];
    loop {
        match source.read(&mut part).unwrap() {
            0 => return all,
            n => all.extend_from_slice(&part[..n]),
        }
    }
}

#[test]
fn a_file_is_read_whole_and_described() {
    let (dir, root) = root_with(&[("a/doc", b"hello world")]);
    let path = dir.path().join("a/doc");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    let source = SourceFile::open_document(Some(&root), Path::new("a/doc")).unwrap();
    let meta = *source.meta();
    assert_eq!((meta.size, meta.permissions), (11, 0o640));
    let modified = fs::metadata(&path).unwrap().modified().unwrap();
    let mtime = Duration::new(u64::try_from(meta.mtime.seconds).unwrap(), meta.mtime.nanoseconds);
    assert_eq!(UNIX_EPOCH + mtime, modified);
    assert_eq!(meta.uid, rustix::process::geteuid().as_raw());
    assert!(source.unchanged());
    assert_eq!(content(source), b"hello world");
    assert_eq!(content(SourceFile::open_document(None, &path).unwrap()), b"hello world");
}

#[test]
fn a_file_that_grows_is_read_to_the_end_that_it_had() {
    let (dir, _) = root_with(&[("log", b"first")]);
    let path = dir.path().join("log");
    let mut source = SourceFile::open(&path).unwrap();
    fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(b" and more").unwrap();
    let mut part = [0; 5];
    assert_eq!((source.read(&mut part).unwrap(), &part), (5, b"first"));
    assert_eq!(source.read(&mut part).unwrap(), 0);
    assert!(!source.unchanged());
    // Files that the kernel makes up say no length.
    let made_up = SourceFile::open(Path::new("/proc/self/status")).unwrap();
    assert!(made_up.meta().size == 0 && !content(made_up).is_empty());
}

#[test]
fn what_is_no_regular_file_is_refused_without_waiting() {
    let (dir, root) = root_with(&[("file", b"x"), ("sub/file", b"x")]);
    pipe(&dir.path().join("pipe"));
    let _listener = UnixListener::bind(dir.path().join("socket")).unwrap();
    symlink("file", dir.path().join("link")).unwrap();
    symlink("nowhere", dir.path().join("dangling")).unwrap();
    symlink("loop", dir.path().join("loop")).unwrap();
    symlink("sub", dir.path().join("linked")).unwrap();
    let started = Instant::now();
    for (name, expected) in [
        ("pipe", ErrorKind::SourceNotRegular),
        ("socket", ErrorKind::SourceNotRegular),
        ("link", ErrorKind::SourceNotRegular),
        ("dangling", ErrorKind::SourceNotRegular),
        ("loop", ErrorKind::SourceNotRegular),
        ("sub", ErrorKind::SourceNotRegular),
        ("linked", ErrorKind::SourceNotRegular),
        ("missing", ErrorKind::SourceMissing),
        ("missing/file", ErrorKind::SourceMissing),
        ("file/below", ErrorKind::SourceMissing),
        (&"n".repeat(256), ErrorKind::SourceMissing),
        ("nul\0", ErrorKind::SourceMissing),
    ] {
        assert_eq!(kind(SourceFile::open(&dir.path().join(name))), expected, "{name}");
        assert_eq!(kind(SourceFile::open_beneath(&root, Path::new(name))), expected, "{name}");
    }
    for device in ["/dev/null", "/dev/zero", "/dev/tty"] {
        assert_eq!(kind(SourceFile::open(Path::new(device))), ErrorKind::SourceNotRegular);
    }
    assert!(started.elapsed() < Duration::from_secs(5));
}

#[test]
fn what_is_swapped_in_after_the_look_is_refused_without_waiting() {
    let (dir, _root) = root_with(&[("secret", b"s")]);
    let (fifo, link) = (dir.path().join("pipe"), dir.path().join("link"));
    pipe(&fifo);
    symlink("secret", &link).unwrap();
    // What happens from the second step on, as if the look had seen a regular file.
    let (done, wait) = std::sync::mpsc::channel();
    let opening = fifo.clone();
    std::thread::spawn(move || done.send(open_to_read(CWD, &opening)));
    let file = wait.recv_timeout(Duration::from_secs(5)).expect("opening a pipe waits").unwrap();
    assert_eq!(kind(SourceFile::opened(file, None, fifo.clone())), ErrorKind::SourceNotRegular);
    let refused = open_to_read(CWD, &link).map_err(|errno| cannot_open(&link, errno));
    assert_eq!(kind(refused), ErrorKind::SourceNotRegular);
}

#[test]
fn symlinks_on_the_way_are_followed_only_without_a_root() {
    let (outside, _) = root_with(&[("secret", b"s")]);
    let (dir, root) = root_with(&[("real/doc", b"d")]);
    symlink(outside.path(), dir.path().join("out")).unwrap();
    symlink("real", dir.path().join("alias")).unwrap();
    for name in ["out/secret", "alias/doc", "alias/missing"] {
        assert_eq!(kind(SourceFile::open_beneath(&root, Path::new(name))), ErrorKind::SourceOutside, "{name}");
        let absolute = dir.path().join(name);
        assert_eq!(kind(SourceFile::open_beneath(&root, &absolute)), ErrorKind::SourceOutside, "{name}");
    }
    assert_eq!(content(SourceFile::open(&dir.path().join("alias/doc")).unwrap()), b"d");
    let linked = dir.path().join("linked");
    symlink("real/doc", &linked).unwrap();
    assert_eq!(content(SourceFile::open_following(&linked).unwrap()), b"d");
}

#[test]
fn nothing_outside_the_root_is_opened() {
    let (dir, root) = root_with(&[("a/doc", b"d")]);
    let sibling = dir.path().with_extension("sibling");
    let name = dir.path().file_name().unwrap().to_str().unwrap();
    for path in ["/etc/passwd", "/", "..", "../x", "a/../../x", "a/../..", &format!("../{name}/a/doc")] {
        assert_eq!(kind(SourceFile::open_beneath(&root, Path::new(path))), ErrorKind::SourceOutside, "{path}");
    }
    // A name that only starts like the root's.
    assert_eq!(kind(SourceFile::open_beneath(&root, &sibling.join("x"))), ErrorKind::SourceOutside);
    assert_eq!(kind(SourceFile::open_beneath(&root, &dir.path().join("../x"))), ErrorKind::SourceOutside);
    for path in ["a/doc", "./a//doc", "a/../a/doc"] {
        assert_eq!(root.relative(Path::new(path)).unwrap(), Path::new("a/doc"));
        assert_eq!(content(SourceFile::open_beneath(&root, Path::new(path)).unwrap()), b"d", "{path}");
    }
    for path in ["", ".", "a/.."] {
        assert_eq!(kind(root.relative(Path::new(path))), ErrorKind::SourceNotRegular);
    }
}

#[test]
fn a_root_behind_a_symlink_takes_both_of_its_names() {
    let (dir, real) = root_with(&[("up/doc", b"d"), ("other/doc", b"o")]);
    let alias = dir.path().join("alias");
    symlink("up", &alias).unwrap();
    let root = HeldFolder::open(&alias).unwrap();
    assert_eq!(root.path(), real.path().join("up"));
    for path in [alias.join("doc"), real.path().join("up/doc"), PathBuf::from("doc")] {
        assert_eq!(content(SourceFile::open_beneath(&root, &path).unwrap()), b"d");
    }
    // The handle stays where it was opened.
    fs::remove_file(&alias).unwrap();
    symlink("other", &alias).unwrap();
    assert_eq!(content(SourceFile::open_beneath(&root, Path::new("doc")).unwrap()), b"d");
    let kind_of = |path: &str| HeldFolder::open(&dir.path().join(path)).unwrap_err().kind();
    assert_eq!(kind_of("none"), std::io::ErrorKind::NotFound);
    assert_eq!(kind_of("up/doc"), std::io::ErrorKind::NotADirectory);
}

#[test]
fn an_unreadable_file_is_called_unreadable() {
    let (dir, root) = root_with(&[("closed", b"x"), ("shut/file", b"x")]);
    fs::set_permissions(dir.path().join("closed"), fs::Permissions::from_mode(0o000)).unwrap();
    fs::set_permissions(dir.path().join("shut"), fs::Permissions::from_mode(0o000)).unwrap();
    if fs::File::open(dir.path().join("closed")).is_ok() {
        eprintln!("skipped: this user may read everything");
    } else {
        for name in ["closed", "shut/file"] {
            assert_eq!(kind(SourceFile::open(&dir.path().join(name))), ErrorKind::SourceUnreadable, "{name}");
            assert_eq!(kind(SourceFile::open_beneath(&root, Path::new(name))), ErrorKind::SourceUnreadable, "{name}");
        }
    }
    fs::set_permissions(dir.path().join("shut"), fs::Permissions::from_mode(0o700)).unwrap();
}

#[test]
fn odd_names_open() {
    let (dir, root) = root_with(&[]);
    let longest = [b'n'; 255];
    for name in [&b"line\nbreak"[..], b"\x1b[2J", b"\xff\xfe", b"-rf", b" ", b"...", b"a\\b", &longest] {
        let name = Path::new(OsStr::from_bytes(name));
        fs::write(dir.path().join(name), b"x").unwrap();
        assert_eq!(content(SourceFile::open_beneath(&root, name).unwrap()), b"x");
    }
    let error = SourceFile::open(Path::new("no\x1b[2Jfile\n")).unwrap_err();
    assert!(!error.message().contains(['\x1b', '\n']), "{error}");
}

/// Opens `doc`, lets `change` happen, and says whether the file still counts.
fn counts_after(change: impl FnOnce(&Path)) -> bool {
    let (dir, root) = root_with(&[("doc", b"content")]);
    let path = dir.path().join("doc");
    let plain = SourceFile::open(&path).unwrap();
    let beneath = SourceFile::open_beneath(&root, Path::new("doc")).unwrap();
    change(&path);
    assert_eq!(plain.unchanged(), beneath.unchanged());
    plain.unchanged()
}

#[test]
fn every_change_of_content_is_seen() {
    assert!(counts_after(|_| ()));
    assert!(counts_after(|path| drop(fs::read(path).unwrap())));
    let append = |path: &Path| fs::OpenOptions::new().append(true).open(path).unwrap().write_all(b"!").unwrap();
    assert!(!counts_after(append));
    assert!(!counts_after(|path| fs::OpenOptions::new().write(true).open(path).unwrap().set_len(3).unwrap()));
    assert!(!counts_after(|path| fs::remove_file(path).unwrap()));
    assert!(!counts_after(|path| fs::rename(path, path.with_extension("moved")).unwrap()));
    assert!(!counts_after(|path| {
        fs::write(path.with_extension("new"), b"CONTENT").unwrap();
        fs::rename(path.with_extension("new"), path).unwrap();
    }));
    assert!(!counts_after(|path| {
        fs::remove_file(path).unwrap();
        symlink("/etc/passwd", path).unwrap();
    }));
}

#[test]
fn a_path_that_leads_elsewhere_now_is_seen() {
    let (dir, _root) = root_with(&[("a/doc", b"content")]);
    let source = SourceFile::open(&dir.path().join("a/doc")).unwrap();
    // The file itself is untouched.
    fs::rename(dir.path().join("a"), dir.path().join("b")).unwrap();
    assert!(!source.unchanged());
}

#[test]
fn a_rewrite_with_the_time_set_back_is_seen() {
    let rewrite = |path: &Path| {
        let before = fs::metadata(path).unwrap();
        let file = fs::OpenOptions::new().write(true).open(path).unwrap();
        (&file).write_all(b"CONTENT").unwrap();
        file.set_modified(before.modified().unwrap()).unwrap();
        let after = fs::metadata(path).unwrap();
        assert_eq!((before.len(), before.modified().unwrap()), (after.len(), after.modified().unwrap()));
    };
    // Many times: a kernel that stamps with its timer tick would miss some without the wait at opening.
    for _ in 0..20 {
        assert!(!counts_after(rewrite));
    }
}

#[test]
fn a_fresh_file_waits_until_its_stamp_proves_something() {
    let (dir, _root) = root_with(&[("doc", b"content")]);
    let source = SourceFile::open(&dir.path().join("doc")).unwrap();
    assert!(source.stamp().has_to_wait().is_none());
    assert!(source.settled);
    // An old file does not wait: a hundred take less than two ticks each.
    let started = Instant::now();
    for _ in 0..100 {
        SourceFile::open(&dir.path().join("doc")).unwrap();
    }
    assert!(started.elapsed() < TICK * 50, "{:?}", started.elapsed());
}

#[test]
fn a_sum_is_kept_of_all_that_is_read_where_it_was_asked_for() {
    let (dir, _root) = root_with(&[("doc", b"abc")]);
    let path = dir.path().join("doc");
    let start = |source: &SourceFile| source.sha256().map(|sum| u32::from_be_bytes([sum[0], sum[1], sum[2], sum[3]]));
    let mut source = SourceFile::open(&path).unwrap().hashed();
    assert_eq!(start(&source), Some(0xe3b0_c442));
    // In pieces, the last of them past the end.
    while source.read(&mut [0; 2]).unwrap() > 0 {}
    assert_eq!(start(&source), Some(0xba78_16bf));
    assert_eq!(SourceFile::open(&path).unwrap().sha256(), None);
}

#[cfg(feature = "service")]
#[test]
fn an_empty_root_is_told_from_one_in_which_a_file_is_missing() {
    let (dir, root) = root_with(&[]);
    assert_eq!(kind(root.check()), ErrorKind::UploadsUnavailable);
    for placeholder in [".gitkeep", ".keep"] {
        fs::write(dir.path().join(placeholder), b"").unwrap();
    }
    fs::create_dir(dir.path().join("lost+found")).unwrap();
    assert_eq!(kind(root.check()), ErrorKind::UploadsUnavailable);
    fs::create_dir(dir.path().join("2024")).unwrap();
    root.check().unwrap();
    for errno in [Errno::MFILE, Errno::NFILE, Errno::NOMEM] {
        assert_eq!(cannot_open(dir.path(), errno).kind(), ErrorKind::ResourceShortage);
    }
    drop(dir);
    assert_eq!(kind(root.check()), ErrorKind::UploadsUnavailable, "it was deleted under our hands");
}
