//! The far side: disks that fill up or become read-only in the middle, files that belong to others, an rsync that is
//! stopped or killed. Each time what was stored stays recorded, nothing else is, and a later run does the rest.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::time::Duration;

use serde_json::Value;

use super::pending::Files;
use crate::nas_errors::{is_error, text};
use crate::support::chaos::{Fault, Pace};
use crate::support::cli::Run;
use crate::support::random::{Random, long};
use crate::support::{Chaos, Mounted, Site, is_root_or_skipped, noise, until};

/// Many enough bytes to be still under way when somebody looks. They are a hole here and zeros there.
const LARGE: u64 = 200_000_000;

/// One try, so that the run ends with the first trouble instead of outliving it.
fn one_try(site: &mut Site) {
    site.set("NAS_RETRIES", "0");
    site.set("NAS_JOBS", "1");
}

/// A run that stopped with this error and failed no document, but for one that was too large for what was left when it was asked.
#[track_caller]
fn stopped(run: &Run, kind: &str) -> Value {
    let object = run.ends(3).json();
    is_error(&object["error"], kind, run);
    let is_too_large = |document: &&Value| {
        document["error"]["message"].as_str().is_some_and(|message| message.starts_with("the NAS has "))
    };
    let too_large = object["documents"].as_array().unwrap().iter().filter(is_too_large).count();
    assert_eq!(object["failed"], too_large, "{}", run.all());
    object["error"].clone()
}

/// There is room enough when it is asked for; then somebody else takes it.
#[test]
fn a_full_disk_stops_the_run_and_room_lets_the_next_one_finish() {
    let mut site = Site::new();
    let Some(mounted) = Mounted::in_memory(&site.path("nas"), 2 << 20) else { return };
    // A file of that name is no document.
    site.upload("filler", b"");
    site.wrap_rsync(
        "mkdir \"$NAS/../first\" 2>/dev/null && head -c 1800000 /dev/zero >\"$NAS/filler\"\nexec rsync \"$@\"",
    );
    one_try(&mut site);
    let mut files = Files::default();
    files.add(&site, "a.pdf", b"content".to_vec());
    files.add(&site, "large.pdf", noise(1_000_000, 1));
    // The first of these, in the order of names, fit.
    for number in 10..40 {
        files.add(&site, &format!("c{number}.pdf"), noise(20_000, number + 2));
    }
    let run = Files::sync(&site);
    stopped(&run, "disk_full");
    let marked = files.check(&site, &run);
    assert!(marked < files.len() && site.stored("large.pdf").is_none(), "{}", run.all());
    // It stays full, and nothing is lost by trying again.
    let again = files.sync_left(&site);
    stopped(&again, "disk_full");
    assert!(files.check(&site, &again) >= marked, "{}", again.all());
    mounted.remount("size=8m");
    files.finish(&site);
}

/// A disk that becomes read-only as after an error of the disk itself, while a file is being written.
#[test]
fn a_disk_that_becomes_read_only_in_the_middle_of_a_file() {
    let mut site = Site::new();
    let (folder, image) = (site.path("nas"), site.path("image"));
    let Some(mounted) = Mounted::in_file(&folder, &image) else { return };
    let chaos = Chaos::before(site.sshd.port(), 1);
    chaos.plan(|_| Fault::pace(Pace::Throttle(3_000_000)));
    site.through(&chaos);
    site.wrap_rsync(
        "(until ls \"$NAS\"/.m.pdf.* >/dev/null 2>&1; do sleep 0.01; done; mount -o remount,abort \"$NAS\") \
         >/dev/null 2>&1 &\nexec rsync \"$@\"",
    );
    one_try(&mut site);
    let mut files = Files::default();
    files.add(&site, "a.pdf", b"content".to_vec());
    files.add(&site, "m.pdf", noise(9_000_000, 1));
    files.add(&site, "z.pdf", b"more".to_vec());
    let run = Files::sync(&site);
    stopped(&run, "read_only");
    files.check(&site, &run);
    assert_eq!(site.stored("m.pdf"), None);
    // Repaired: mounted anew. What had not reached the disk by then may be gone, so only the rest is looked at.
    let kept = site.marked();
    drop(mounted);
    let Some(_mounted) = Mounted::again(&folder, &image) else { return };
    site.variables.remove("NAS_RSYNC_PATH");
    files.sync_left(&site).ends(0);
    assert_eq!(site.marked().len(), files.len());
    files.check_those(&site, |id| !kept.iter().any(|(known, _)| *known == id));
}

/// In a folder where everybody may write and only owners may replace, as shared folders often are.
#[test]
fn files_of_somebody_else_cannot_be_replaced_and_do_not_keep_the_others() {
    if !is_root_or_skipped() {
        return;
    }
    let mut site = Site::new();
    fs::set_permissions(site.path(""), fs::Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(site.path("nas"), fs::Permissions::from_mode(0o1777)).unwrap();
    // The owner of such a folder may replace everything in it, so that must be somebody else, too.
    chown(site.path("nas"), Some(1), Some(1)).unwrap();
    site.wrap_rsync("exec setpriv --reuid 65534 --regid 65534 --clear-groups rsync \"$@\"");
    one_try(&mut site);
    let mut files = Files::default();
    for (name, mode) in [("readable.pdf", 0o644), ("secret.pdf", 0o600)] {
        fs::write(site.path("nas").join(name), b"an older version").unwrap();
        fs::set_permissions(site.path("nas").join(name), fs::Permissions::from_mode(mode)).unwrap();
        files.add(&site, name, noise(50_000, u64::from(mode)));
    }
    // Tries of which nothing was acknowledged may have left them.
    let tries = "INSERT INTO nas_sync_attempts (document_id, started_at, duration_ms, bytes, outcome)
                 SELECT id, '2024-01-15 12:00:00.000000', 1, 1, 'cut' FROM documents";
    assert_eq!(site.database().execute(tries, []).unwrap(), 2);
    for number in 0..5 {
        files.add(&site, &format!("new {number}.pdf"), noise(3_000, number));
    }
    let run = Files::sync(&site);
    let object = run.ends(1).json();
    assert_eq!((&object["synced"], &object["failed"]), (&Value::from(5), &Value::from(2)), "{}", run.all());
    for failure in object["failures"].as_array().unwrap() {
        is_error(&failure["error"], "permission_denied", &run);
    }
    assert_eq!(files.check(&site, &run), 5);
    assert_eq!(site.stored("secret.pdf").unwrap(), b"an older version");
    assert_eq!(site.stored("readable.pdf").unwrap(), b"an older version");
    // With the rights it needs it does the rest.
    fs::set_permissions(site.path("nas"), fs::Permissions::from_mode(0o777)).unwrap();
    files.finish(&site);
}

/// With a layout that makes folders, a folder in which none can be made takes nothing; that is no fault of the documents.
#[test]
fn a_folder_in_which_no_folder_can_be_made_stops_the_run_and_fails_no_document() {
    if !is_root_or_skipped() {
        return;
    }
    let mut site = Site::new();
    fs::set_permissions(site.path(""), fs::Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(site.path("nas"), fs::Permissions::from_mode(0o755)).unwrap();
    site.wrap_rsync("exec setpriv --reuid 65534 --regid 65534 --clear-groups rsync \"$@\"");
    site.set("UPLOAD_DIR", site.path("uploads"));
    site.set("NAS_LAYOUT", "tree");
    one_try(&mut site);
    let mut files = Files::default();
    for name in ["été/a.pdf", "été/01/b.pdf", "2026/c.pdf"] {
        files.add(&site, name, noise(3_000, 7));
    }
    let run = Files::sync(&site);
    let error = stopped(&run, "permission_denied");
    assert!(text(&error, "message").contains("mkdir"), "{error}");
    assert_eq!(files.check(&site, &run), 0);
    // Where one folder is there and the user's, its documents go; the others have the reason of theirs.
    fs::create_dir_all(site.path("nas/2026")).unwrap();
    chown(site.path("nas/2026"), Some(65534), Some(65534)).unwrap();
    let run = files.sync_left(&site);
    let object = run.ends(1).json();
    assert_eq!((&object["synced"], &object["failed"]), (&Value::from(1), &Value::from(2)), "{}", run.all());
    for failure in object["failures"].as_array().unwrap() {
        is_error(&failure["error"], "permission_denied", &run);
    }
    chown(site.path("nas"), Some(65534), Some(65534)).unwrap();
    files.finish(&site);
}

/// A large document among small ones.
fn files_with_a_large_one(site: &Site) -> Files {
    let mut files = Files::default();
    files.add(site, "a.pdf", b"content".to_vec());
    files.add_zeros(site, "big.pdf", LARGE);
    files.add(site, "z.pdf", b"more".to_vec());
    files
}

/// Stops processes of the first rsync once the large file is under way, waits for a word, and lets them go on. `which`
/// names them when `$p` leads the group of all of them. Later ones are left alone.
fn stop_the_first(which: &str) -> String {
    format!(
        "mkdir \"$NAS/../first\" 2>/dev/null || exec rsync \"$@\"\n\
         exec 3<&0; setsid rsync \"$@\" <&3 3<&- & p=$!; exec 3<&-\n\
         until ls \"$NAS\"/.big.pdf.* >/dev/null 2>&1; do sleep 0.01; done\n\
         stopped=$({which}); kill -s STOP -- $stopped\n\
         (until [ -e \"$NAS/../go\" ]; do sleep 0.05; done\n\
         kill -s CONT -- $stopped; while kill -s 0 -- -$p; do sleep 0.02; done; touch \"$NAS/../gone\") \
         </dev/null >/dev/null 2>&1 &\n\
         wait $p"
    )
}

#[test]
fn an_rsync_that_is_stopped_in_the_middle_of_a_file() {
    // All its processes, or only the receiver, while the generator lives on.
    for which in ["echo -$p", "pgrep -P $p"] {
        let mut site = Site::new();
        site.wrap_rsync(&stop_the_first(which));
        site.set("NAS_FILE_TIMEOUT", "3");
        one_try(&mut site);
        let files = files_with_a_large_one(&site);
        let run = Files::sync(&site);
        stopped(&run, "stalled");
        assert!(run.elapsed < Duration::from_secs(30), "{}", run.all());
        assert!(files.check(&site, &run) < 3 && site.stored("big.pdf").is_none(), "{}", run.all());
        // While it is still there, a later run does everything …
        site.set("NAS_FILE_TIMEOUT", "60");
        files.finish(&site);
        // … which stays so when it wakes up.
        fs::write(site.path("go"), "").unwrap();
        until("the rsync of the NAS is gone", Duration::from_secs(60), || site.path("gone").exists());
        files.check_those(&site, |_| true);
    }
}

#[test]
fn an_rsync_that_is_killed_in_the_middle_of_a_file() {
    let mut site = Site::new();
    site.wrap_rsync(
        "mkdir \"$NAS/../first\" 2>/dev/null || exec rsync \"$@\"\n\
         p=$$; (until ls \"$NAS\"/.big.pdf.* >/dev/null 2>&1; do sleep 0.01; done; kill -KILL $p) >/dev/null 2>&1 &\n\
         exec rsync \"$@\"",
    );
    one_try(&mut site);
    let files = files_with_a_large_one(&site);
    let run = Files::sync(&site);
    let error = stopped(&run, "connection_lost");
    assert!(text(&error, "message").contains("signal KILL"), "{}", run.all());
    assert!(files.check(&site, &run) < 3 && site.stored("big.pdf").is_none(), "{}", run.all());
    files.finish(&site);
}

/// At any moment, and each time another one; a run may go on with a new session by itself.
#[test]
fn an_rsync_that_is_killed_at_any_moment() {
    let mut random = Random::of_environment("killed there");
    let runs = if long() { 100 } else { 8 };
    let mut site = Site::new();
    let mut unfinished = 0;
    for run in 0..runs {
        let moment = random.time(Duration::from_millis(60)).as_secs_f64();
        site.wrap_rsync(&format!(
            "mkdir \"$NAS/../first {run}\" 2>/dev/null || exec rsync \"$@\"\n\
             p=$$; (sleep {moment}; kill -KILL $p) >/dev/null 2>&1 &\nexec rsync \"$@\""
        ));
        let mut files = Files::default();
        for number in 0..6 {
            let len = random.index(400_000);
            files.add(&site, &format!("{run}-{number}.pdf"), noise(len, random.next()));
        }
        let run = Files::sync(&site);
        let left = files.len() - files.check(&site, &run);
        // I5: 0 is said only when all is done.
        assert!(run.code != Some(0) || left == 0, "{}", run.all());
        unfinished += usize::from(left > 0);
        files.finish(&site);
    }
    println!("{runs} runs, {unfinished} of them left something to the next one");
}
