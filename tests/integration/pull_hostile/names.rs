//! Names that nobody asked for, and links that lead elsewhere, by the options of the pull.

use std::fs;
use std::os::unix::fs::symlink;

use nas_sync::internal::filter;
use nas_sync::internal::role::asked::{Naming, Reach};
use nas_sync::internal::role::incoming::Scope;
use nas_sync::internal::role::links::LinkRules;
use nas_sync::internal::role::pull::PullJob;
use nas_sync::{Content, EntryKind, Offer, Protocol, Rules};

use super::{FOLDER, Mock};
use crate::support::with;

const ON_THE_WAY: EntryKind<'static> = EntryKind::Directory(Content::Implied);

fn asked(source: &str, whole_paths: bool, reach: Reach) -> Mock {
    Mock { scope: Scope::of_sources(&[source.into()], Naming { whole_paths, reach }), ..Mock::new() }
}

fn rules(text: &str) -> filter::Scope {
    let rules = Rules::of_text(text, &mut |_| Err(std::io::ErrorKind::NotFound.into())).unwrap();
    filter::Scope::new(&rules)
}

#[test]
fn a_folder_comes_as_deep_as_it_was_asked_for() {
    let not_asked = "which was not asked for";
    let docs = |reach| asked("docs", false, reach).lists(b"docs", FOLDER);
    docs(Reach::Itself).lists(b"docs/a", EntryKind::File).ends_list().assert_refused(not_asked);
    docs(Reach::Content).lists(b"docs/a", EntryKind::File).ends_list().assert_refused(not_asked);
    docs(Reach::Whole)
        .lists(b".bashrc", EntryKind::File)
        .ends_list()
        .assert_refused("has .bashrc, which was not asked");
    docs(Reach::Whole).lists(b".", FOLDER).ends_list().assert_refused("an entry `.` that was not asked for");
    let inside = asked("docs/", false, Reach::Content).lists(b"a", FOLDER).lists(b"a/b", EntryKind::File).ends_list();
    inside.assert_refused("has a/b, which was not asked for");
}

#[test]
fn whole_paths_are_those_that_were_asked_for() {
    let path = || asked("/v/./docs/a", true, Reach::Whole).lists(b"docs", ON_THE_WAY);
    for name in [&b".bashrc"[..], b"docs/.bashrc", b"docs/b", b"v"] {
        path().lists(name, EntryKind::File).ends_list().assert_refused("which was not asked for");
    }
    asked("docs/a", true, Reach::Whole)
        .lists(b"docs", EntryKind::Symlink(b"/etc"))
        .ends_list()
        .assert_refused("docs, which was not asked for");
    path()
        .lists(b"docs/a", FOLDER)
        .lists(b"docs/a/b/c", EntryKind::File)
        .ends_list()
        .assert_refused("no folder that it could lie in");
    // A part of the first one has to lie in it, too.
    let first = Mock { scope: Scope::anything(true), ..Mock::offered(with!(Offer::default(), incremental: true)) };
    first.lists(b"d/file", EntryKind::File).ends_list().assert_refused("in its first part, which lies deeper");
}

#[test]
fn names_of_a_file_are_those_that_may_come() {
    let names: Vec<Vec<u8>> = ["a/b", "dir/", "*"].map(Into::into).into();
    let scope = || Scope::of_names(&names, Naming { whole_paths: true, reach: Reach::Content });
    let list = |name: &[u8]| {
        Mock { scope: scope(), ..Mock::new() }.lists(b"a", ON_THE_WAY).lists(name, EntryKind::File).ends_list()
    };
    for name in [&b"b"[..], b"a/c", b".bashrc"] {
        list(name).assert_refused("which was not asked for");
    }
    let to = tempfile::tempdir().unwrap();
    let good =
        Mock { scope: scope(), ..Mock::new() }.lists(b"dir", FOLDER).lists(b"dir/file", EntryKind::File).ends_list();
    good.sends(1, [0; 4]).literal(b"hello").ends_file(b"hello").goodbye().end(to.path()).0.unwrap();
    assert_eq!(fs::read_to_string(to.path().join("dir/file")).unwrap(), "hello");
}

#[test]
fn what_is_excluded_does_not_come() {
    let ruled = |text| Mock { scope: Scope::anything(false).ruled_by(rules(text)), ..Mock::new() };
    for (text, name) in
        [("- *.key", &b"id.key"[..]), ("+ a.key; - *.key; + *", b"b.key"), ("H .ssh", b".ssh"), ("- /x", b"x")]
    {
        ruled(text).lists(name, EntryKind::File).ends_list().assert_refused("which is excluded");
    }
    let below = ruled("- d/").lists(b"d", FOLDER).lists(b"d/file", EntryKind::File).ends_list();
    below.assert_refused("has d, which is excluded");
    // Rules that concern what is kept here, or that only the NAS can read, exclude nothing.
    for text in ["P file", ": .rules; - file", "+ file; - *"] {
        let to = tempfile::tempdir().unwrap();
        let mock = ruled(text).lists(b"file", EntryKind::File).ends_list();
        mock.sends(0, [0; 4]).literal(b"hello").ends_file(b"hello").goodbye().end(to.path()).0.unwrap();
        assert!(to.path().join("file").is_file(), "{text}");
    }
}

#[test]
fn no_name_lies_below_a_link_where_the_way_is_not_listed() {
    let old = || {
        let offer = with!(Offer::default(), protocol: Protocol::new(29).unwrap());
        let scope = Scope::anything(true).lacking_the_way(true);
        let shape = |job| PullJob { leaves_way: true, ..job };
        Mock { scope, shape, ..Mock::offered(offer) }
    };
    for kind in [EntryKind::Symlink(b"/tmp"), EntryKind::File] {
        let below = old().lists(b"a/b/file", EntryKind::File).lists(b"a", kind).ends_list();
        below.assert_refused("no folder that it could lie in");
    }
}

/// A folder with a link to another one in it, in which there is a file.
fn with_a_link() -> [tempfile::TempDir; 2] {
    let [to, outside] = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    fs::write(outside.path().join("mine"), "mine").unwrap();
    symlink(outside.path(), to.path().join("d")).unwrap();
    [to, outside]
}

#[test]
fn links_to_folders_are_followed_only_where_that_is_asked_for() {
    for (shape, kind, follows) in [
        ((|job| job) as fn(PullJob) -> PullJob, FOLDER, false),
        (|job| PullJob { links: LinkRules { keeps_folders: true, ..LinkRules::default() }, ..job }, FOLDER, true),
        (|job| PullJob { leaves_way: true, ..job }, FOLDER, false),
        (|job| PullJob { leaves_way: true, ..job }, ON_THE_WAY, true),
    ] {
        let [to, outside] = with_a_link();
        let mock = Mock { shape, deletes: true, ..Mock::new() }.lists(b"d", kind).lists(b"d/file", EntryKind::File);
        let (end, failed) =
            mock.ends_list().sends(1, [0; 4]).literal(b"hello").ends_file(b"hello").goodbye().end(to.path());
        end.unwrap();
        assert!(failed.is_empty(), "{failed:?}");
        assert_eq!(outside.path().join("file").exists(), follows);
        assert_eq!(to.path().join("d").is_symlink(), follows);
        // Only what was listed as content is deleted, as rsync does through such a link, too.
        assert_eq!(outside.path().join("mine").exists(), !(follows && kind == FOLDER));
        assert_eq!(fs::read_to_string(to.path().join("d/file")).unwrap(), "hello");
    }
    // A link to a file, or to nothing, is no folder.
    for target in ["/etc/passwd", "nowhere"] {
        let to = tempfile::tempdir().unwrap();
        symlink(target, to.path().join("d")).unwrap();
        let shape = |job| PullJob { links: LinkRules { keeps_folders: true, ..LinkRules::default() }, ..job };
        let mock = Mock { shape, ..Mock::new() }.lists(b"d", FOLDER).ends_list().goodbye();
        mock.end(to.path()).0.unwrap();
        assert!(to.path().join("d").symlink_metadata().unwrap().is_dir(), "{target}");
    }
}

#[test]
fn links_are_left_out_or_made_unusable() {
    let long = [b'x'; 4090];
    let lists = |shape| {
        let mock = Mock { shape, ..Mock::new() }.lists(b"out", EntryKind::Symlink(b"/etc"));
        mock.lists(b"in", EntryKind::Symlink(b"file")).lists(b"long", EntryKind::Symlink(&long)).ends_list().goodbye()
    };
    let to = tempfile::tempdir().unwrap();
    lists(|job| PullJob { links: LinkRules { safe: true, ..LinkRules::default() }, ..job }).end(to.path()).0.unwrap();
    assert!(to.path().join("in").is_symlink() && !to.path().join("out").is_symlink());
    let to = tempfile::tempdir().unwrap();
    let (end, failed) =
        lists(|job| PullJob { links: LinkRules { munges: true, ..LinkRules::default() }, ..job }).end(to.path());
    end.unwrap();
    // With what stands in front it is longer than any link.
    assert!(failed.len() == 1 && failed[0].contains("Cannot make"), "{failed:?}");
    for (name, target) in [("out", "/rsyncd-munged//etc"), ("in", "/rsyncd-munged/file")] {
        assert_eq!(fs::read_link(to.path().join(name)).unwrap().to_str(), Some(target));
    }
}
