//! The NAS loses power right after a run that ended well: what is recorded as durable is there when it is back.
//!
//! The NAS folder is on an ext4 of its own, which is shut down by its ioctl, unmounted and mounted again. Needs root.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader, ErrorKind};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::support::cli::write_program;
use crate::support::random::long;
use crate::support::volume::{Cut, RENEW, SHUT_DOWN, Volume};
use crate::support::{Cli, Site, Sshd, noise};

const DOCUMENTS: usize = 50;
const LAYOUTS: [&str; 2] = ["flat", "{year}/{month}/{id}_{name}"];
/// How documents are made to last, and what `uname` says for that: one flush behind a batch is not taken from an old kernel.
const WAYS: [(&str, &str); 2] = [("file", "echo Linux 4.4.302+"), ("batch", "exec /bin/uname \"$@\"")];

/// A site whose NAS can lose its power.
struct House {
    site: Site,
    cli: Cli,
    volume: Volume,
    documents: BTreeMap<i64, PathBuf>,
}

/// What a power cut did.
#[derive(Debug, Default)]
struct Survey {
    /// Documents by the level that is recorded, and by what makes them last.
    levels: BTreeMap<String, usize>,
    /// Of those recorded as durable: neither there nor equal.
    broken_promises: Vec<String>,
    /// Of the others.
    lost: usize,
}

impl House {
    /// `None` where no volume can be had.
    fn new(sshd: Sshd, layout: &str) -> Option<Self> {
        Some(Self::on(Volume::ext4(64)?, sshd, layout))
    }

    fn on(volume: Volume, sshd: Sshd, layout: &str) -> Self {
        let site = Site::with(sshd);
        let mut cli = Cli::new(&site);
        let nas = volume.path().join("nas");
        fs::create_dir(&nas).unwrap();
        cli.set("NAS_PATH", nas).set("NAS_LAYOUT", layout);
        let paths: Vec<PathBuf> = (0..DOCUMENTS)
            .map(|at| site.upload(&format!("document-{at:02}.pdf"), &noise(at * 997 % 40_000, at as u64)))
            .collect();
        let documents: BTreeMap<i64, PathBuf> = cli.add(1, &paths).into_iter().zip(paths).collect();
        // Months of their own, so that the template leads to many new folders.
        let spread = "UPDATE documents SET date = printf('20%02d-%02d-01', 10 + id % 7, 1 + id % 12)";
        site.database().execute(spread, []).unwrap();
        Self { site, cli, volume, documents }
    }

    /// Gives every document a new content and makes it pending.
    fn rewrite(&self) {
        for (id, path) in &self.documents {
            let mut content = fs::read(path).unwrap();
            content.iter_mut().step_by(1500).for_each(|byte| *byte ^= 0x5a);
            content.extend_from_slice(format!("the second version of {id}").as_bytes());
            fs::write(path, content).unwrap();
        }
        self.site.database().execute("UPDATE documents SET synced_to_nas = 0, synced_at = NULL", []).unwrap();
    }

    /// Syncs, cuts the power at once and looks at what is left.
    #[track_caller]
    fn sync_and_cut(&self, cut: Cut) -> Survey {
        self.volume.flush();
        let run = self.cli.line("sync");
        self.volume.cut_power(cut);
        run.ends(0);
        self.survey()
    }

    /// Compares what is recorded with what is there.
    #[track_caller]
    fn survey(&self) -> Survey {
        let database = self.site.database();
        let sql =
            "SELECT s.document_id, s.remote_name, s.level || ifnull(' ' || a.durable_by, '') FROM nas_sync_documents s
                   JOIN documents d ON d.id = s.document_id AND d.synced_to_nas = 1
                   JOIN nas_sync_attempts a ON a.id =
                       (SELECT max(id) FROM nas_sync_attempts WHERE document_id = s.document_id)";
        let mut statement = database.prepare(sql).unwrap();
        let rows = statement
            .query_map([], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, Vec<u8>>(1)?, row.get::<_, String>(2)?)))
            .unwrap();
        let mut survey = Survey::default();
        for row in rows {
            let (id, name, level) = row.unwrap();
            let name = String::from_utf8(name).unwrap();
            let there = match fs::read(self.volume.path().join("nas").join(&name)) {
                Err(error) if error.kind() == ErrorKind::NotFound => None,
                // A file that cannot be read is not lost.
                there => Some(there.unwrap()),
            };
            let equal = there == Some(fs::read(&self.documents[&id]).unwrap());
            let promised = level.starts_with("durable");
            *survey.levels.entry(level).or_default() += 1;
            match (equal, promised) {
                (true, _) => {}
                (false, true) => survey.broken_promises.push(name),
                (false, false) => survey.lost += 1,
            }
        }
        assert_eq!(survey.levels.values().sum::<usize>(), DOCUMENTS, "not all are marked");
        survey
    }
}

/// What makes a mount namespace, such as a test beside this one, holds what is mounted then for as long as it runs.
#[test]
fn a_mount_namespace_that_is_made_meanwhile_keeps_no_volume_from_being_back() {
    let Some(volume) = Volume::ext4(8) else { return };
    fs::write(volume.path().join("flushed"), b"content").unwrap();
    volume.flush();
    let mut holder = Command::new("unshare")
        .args(["--mount", "sh", "-c", "echo holds; read end"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(holder.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "holds\n");
    fs::write(volume.path().join("not flushed"), b"content").unwrap();
    volume.cut_power(Cut::Nothing);
    assert_eq!(fs::read(volume.path().join("flushed")).unwrap(), b"content");
    assert!(!volume.path().join("not flushed").exists());
    drop(holder.stdin.take());
    holder.wait().unwrap();
}

#[test]
fn what_is_durable_survives_a_power_cut_of_the_nas() {
    for layout in LAYOUTS {
        for (way, kernel) in WAYS {
            for cut in Cut::ALL {
                let sshd = Sshd::setup().program("uname", kernel).start();
                let Some(house) = House::new(sshd, layout) else { return };
                for what in ["new", "replaced"] {
                    let survey = house.sync_and_cut(cut);
                    println!("{layout}, {way}, {cut:?}, {what} documents: {survey:?}");
                    assert!(survey.broken_promises.is_empty());
                    assert_eq!(survey.levels.get(&format!("durable {way}")), Some(&DOCUMENTS));
                    house.rewrite();
                }
            }
        }
    }
}

/// Shows that the test above can fail, and that the flush is needed: that of the folders behind files that were flushed one by
/// one, and that of everything.
#[test]
fn a_nas_that_swallows_the_flush_loses_what_it_had_renamed_last() {
    for swallows in ["exit 0", "case $1 in --help) exec /bin/sync --help;; esac"] {
        for layout in LAYOUTS {
            // Somebody else on this machine may flush everything in the very moment.
            let lost = (0..5).find_map(|_| {
                let sshd = Sshd::setup().program("sync", swallows).start();
                let survey = House::new(sshd, layout)?.sync_and_cut(Cut::Nothing);
                println!("{layout}, without a flush: {survey:?}");
                (!survey.broken_promises.is_empty()).then_some(survey)
            });
            assert!(
                lost.is_some() || Volume::ext4(8).is_none(),
                "{layout}: nothing is lost, so the flush proves nothing"
            );
        }
    }
}

/// Has its power cut once, and is back at once. The connections are gone, and nobody gets in until it is back.
const LOSE_POWER: &str = r#"
lose_power() {
    kill -STOP "$(cat "$LISTENER")"
    perl -e "$SHUT_DOWN" "$VOLUME" 2
    cd /
    process=$PPID
    ancestors=
    while [ "$process" -gt 1 ] && [ "$process" != "$(cat "$LISTENER")" ]; do
        ancestors="$ancestors $process"
        # Small numbers come with blanks in front.
        process=$(ps -o ppid= -p "$process" | tr -d " ")
    done
    kill -KILL $ancestors
    until umount "$VOLUME" 2>/dev/null; do perl -e 'select(undef, undef, undef, 0.005)'; done
    eval "$RENEW"
    mount -t ext4 -o loop,commit=600 "$IMAGE" "$VOLUME"
    kill -CONT "$(cat "$LISTENER")"
}
"#;
/// The real `rsync`, and a power cut when it has acknowledged everything.
const BEFORE: &str = r#"
rsync "$@"
status=$?
case "$*" in *" -n"*) exit $status;; esac
if test "$MOMENT" = before && mkdir "$HOUSE/cut" 2>/dev/null; then lose_power; fi
exit $status
"#;
/// The real `sync`, and a power cut while it runs, or between the file system and the files.
const WHILE: &str = r#"
. "${0%/*}/moment"
case "$MOMENT $1" in
*--help | before* | "between -f") ;;
*) if mkdir "$HOUSE/cut" 2>/dev/null; then
    if test "$MOMENT" != between; then
        /bin/sync "$@" &
        perl -e 'select(undef, undef, undef, shift)' "$MOMENT"
    fi
    lose_power
    exit 1
    fi;;
esac
exec /bin/sync "$@"
"#;

/// When the power is cut: `before` the flush, so many seconds after it began, or `between` the file system and the files.
#[track_caller]
fn cut_at(moment: &str, layout: &str, (way, kernel): (&str, &str)) -> Option<()> {
    let sshd = Sshd::setup().program("sync", WHILE).program("uname", kernel).start();
    let mut house = House::new(sshd, layout)?;
    let variables = [
        ("HOUSE", house.site.path("")),
        ("VOLUME", house.volume.path()),
        ("IMAGE", house.volume.image()),
        ("LISTENER", house.site.sshd.path("pid")),
        ("SHUT_DOWN", PathBuf::from(SHUT_DOWN)),
        ("RENEW", PathBuf::from(RENEW)),
        ("MOMENT", PathBuf::from(moment)),
    ];
    let set: Vec<String> = variables.iter().map(|(name, value)| format!("{name}='{}'\n", value.display())).collect();
    fs::write(house.site.sshd.path("programs/moment"), format!("{}{LOSE_POWER}", set.concat())).unwrap();
    let rsync = house.site.path("rsync");
    write_program(&rsync, &format!("#!/bin/sh\n{}{LOSE_POWER}{BEFORE}", set.concat()));
    house.cli.set("NAS_RSYNC_PATH", rsync);
    house.volume.flush();
    let run = house.cli.line("sync");
    house.volume.cut_power(Cut::Nothing);
    assert!(house.site.path("cut").exists(), "{}", run.all());
    run.ends(0);
    let survey = house.survey();
    println!("{layout}, {way}, {moment}: {survey:?}");
    assert!(survey.broken_promises.is_empty(), "{survey:?}\n{}", run.all());
    assert_eq!(survey.levels.get(&format!("durable {way}")), Some(&DOCUMENTS), "{}", run.all());
    Some(())
}

#[test]
fn a_power_cut_in_the_middle_of_a_run_is_not_healed_by_a_later_flush() {
    let moments = ["before", "0.002", "between", "0", "0.001", "0.004", "0.01", "0.03"];
    let moments = &moments[..if long() { moments.len() } else { 3 }];
    for layout in LAYOUTS {
        for way in WAYS {
            for moment in moments {
                // Only the flush of a batch has two halves.
                if (way.0, *moment) != ("file", "between") && cut_at(moment, layout, way).is_none() {
                    return;
                }
            }
        }
    }
}

/// A disk that fails when it is written to at last. The second way is an ext4 that goes on all the same; in the third another
/// flush has been told of the error by the time of ours.
#[test]
fn what_a_failing_disk_lost_is_not_marked() {
    for (journal, another_flush) in [(true, false), (false, false), (false, true)] {
        let Some(volume) = Volume::failing(journal) else { return };
        let mut house = House::on(volume, Sshd::start(), "flat");
        let (rsync, volume) = (house.site.path("rsync"), house.volume.path());
        let flush = if another_flush { format!("sync -f '{}'\n", volume.display()) } else { String::new() };
        // An rsync from before 3.2.4, whose documents last by one flush behind the batch or not at all.
        let cannot = "case \"$*\" in *--fsync*) echo 'rsync: --fsync: unknown option' >&2; exit 1;; esac";
        let script = format!("#!/bin/sh\n{cannot}\nrsync \"$@\"\nstatus=$?\n{flush}exit $status\n");
        write_program(&rsync, &script);
        house.cli.set("NAS_RSYNC_PATH", rsync);
        house.cli.set("NAS_DURABILITY", "durable");
        house.volume.fail();
        let run = house.cli.line("sync");
        println!("journal: {journal}, another flush: {another_flush}: {}", run.all());
        assert_ne!(run.code, Some(0), "{}", run.all());
        assert!(run.all().contains("did not flush its disks"), "{}", run.all());
        assert_eq!(house.site.marked(), []);
    }
}
