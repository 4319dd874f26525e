//! Files with holes take no more room on the NAS than they take here, where its rsync leaves holes.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::server::{Rsync, Server};
use crate::support::random::long;
use crate::support::{Cli, Site};

const MIB: u64 = 1 << 20;

/// A file that is almost nothing but holes.
fn with_holes(site: &Site, name: &str, len: u64) -> PathBuf {
    let path = site.upload(name, b"first");
    let file = File::options().write(true).open(&path).unwrap();
    file.set_len(len).unwrap();
    file.write_all_at(b"in the middle", len / 2).unwrap();
    path
}

/// The room that a file takes on its disk, in bytes.
fn room(path: &Path) -> u64 {
    fs::metadata(path).unwrap().blocks() * 512
}

fn same(left: &Path, right: &Path) -> bool {
    Command::new("cmp").arg("-s").args([left, right]).status().unwrap().success()
}

/// What the site knows to be refused.
fn refused(site: &Site) -> Vec<String> {
    let database = site.database();
    let mut statement = database.prepare("SELECT capability FROM nas_sync_refusals").unwrap();
    let rows = statement.query_map([], |row| row.get(0)).unwrap();
    rows.collect::<Result<_, _>>().unwrap()
}

#[test]
fn holes_stay_holes() {
    let nas = Server::default().start().unwrap();
    let len = if long() { 2048 * MIB } else { 128 * MIB };
    let cli = Cli::new(&nas.site);
    let path = with_holes(&nas.site, "disk.img", len);
    cli.add(1, &[path.clone(), nas.site.upload("a.pdf", b"content")]);
    let run = cli.line("sync --json");
    assert_eq!(run.ends(0).json()["synced"], 2, "{}", run.all());
    let copy = nas.share.join("disk.img");
    assert!(room(&copy) < MIB && same(&path, &copy), "{} bytes of {len}", room(&copy));
    // A delta keeps them, too.
    File::options().write(true).open(&path).unwrap().write_all_at(b"altered", len / 3).unwrap();
    nas.site.database().execute("UPDATE documents SET synced_to_nas = 0 WHERE id = 1", []).unwrap();
    let run = cli.line("sync --json");
    assert!(run.ends(0).json()["bytes_sent"].as_u64().unwrap() < MIB, "{}", run.all());
    assert!(room(&copy) < MIB && same(&path, &copy), "{} bytes of {len}", room(&copy));
    assert_eq!(refused(&nas.site), [""; 0]);
}

#[test]
fn a_server_without_holes_gets_all_the_zeros() {
    for aloud in [true, false] {
        let nas = Server::default().rsync(Rsync::Refuses { option: "-S", aloud }).start().unwrap();
        let cli = Cli::new(&nas.site);
        // Without holes nothing is asked for.
        cli.add(1, &[nas.site.upload("a.pdf", &vec![0; 2 << 20])]);
        cli.line("sync").ends(0);
        assert_eq!(refused(&nas.site), [""; 0]);
        let path = with_holes(&nas.site, "disk.img", 8 * MIB);
        cli.add(1, std::slice::from_ref(&path));
        let run = cli.line("sync --json");
        assert_eq!(run.ends(0).json()["synced"], 1, "{}", run.all());
        assert_eq!(run.json()["warnings"].as_array().map(Vec::len), Some(0), "{}", run.all());
        assert!(same(&path, &nas.share.join("disk.img")));
        assert_eq!(refused(&nas.site), ["sparse"]);
        let sql = "SELECT COUNT(*) FROM nas_sync_documents WHERE level = 'durable'";
        assert_eq!(nas.site.database().query_row(sql, [], |row| row.get::<_, i64>(0)), Ok(2));
    }
}
