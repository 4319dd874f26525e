//! What is on the NAS against what was recorded, by a dry run of the NAS's rsync and by its `sha256sum`.

use std::fs;
use std::path::Path;

use nas_sync::{DocumentId, ErrorKind, Selection, UserId};
use nas_sync::{Method, Requeue, VerifyReport, VerifyRequest};
use serde_json::json;

use crate::support::{Cli, Site, Sshd, is_root_or_skipped, noise, with};

const METHODS: [Method; 2] = [Method::DryRun, Method::Sha256sum];

fn all(method: Method) -> VerifyRequest {
    with!(VerifyRequest::new(Selection::all()), method: method)
}

/// The request that every test of a whole site makes: it ends well, or says why not.
async fn verify(site: &Site, request: VerifyRequest) -> VerifyReport {
    let report = site.service().verify(request).await.unwrap();
    assert!(report.stopped.is_none(), "{report:?}");
    let lists = [&report.differing, &report.missing, &report.changed_here].map(Vec::len).iter().sum::<usize>();
    assert_eq!(report.checked, report.equal + lists + report.unknown.len(), "{report:?}");
    report
}

/// A site whose documents are synced.
async fn synced(mut site: Site, names: &[&str]) -> (Site, Vec<DocumentId>) {
    site.set("UPLOAD_DIR", site.path("uploads"));
    site.set("NAS_LAYOUT", "tree");
    let paths = names.iter().map(|name| site.upload(name, format!("content of {name}").as_bytes())).collect();
    let ids = site.service().add(UserId::from(1), paths).await.unwrap();
    let summary = site.sync().await;
    assert_eq!(summary.synced, names.len(), "{summary:?}");
    (site, ids)
}

/// Other bytes of the same length, under the same time.
fn corrupt(path: &Path) {
    let time = fs::metadata(path).unwrap().modified().unwrap();
    let mut content = fs::read(path).unwrap();
    content[0] ^= 0xff;
    fs::write(path, content).unwrap();
    fs::File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
}

fn level(site: &Site, id: &DocumentId) -> String {
    let sql = "SELECT level || CASE WHEN verified_at IS NULL THEN '' ELSE ' seen' END
               FROM nas_sync_documents WHERE document_id = ?1";
    site.database().query_row(sql, [id.as_integer().unwrap()], |row| row.get(0)).unwrap()
}

fn set_level(site: &Site, id: &DocumentId, level: &str) {
    site.database()
        .execute("UPDATE nas_sync_documents SET level = ?1 WHERE document_id = ?2", (level, id.as_integer().unwrap()))
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn each_kind_of_copy_is_told_apart() {
    let names = ["equal", "bytes", "time", "missing", "d/in folder", "d/e/gone", "-dash\nline", "longer", "link"];
    for method in METHODS {
        let (site, ids) = synced(Site::new(), &names).await;
        let nas = |name: &str| site.path("nas").join(name);
        set_level(&site, &ids[0], "durable");
        set_level(&site, &ids[2], "stored");
        corrupt(&nas("bytes"));
        fs::File::options().write(true).open(nas("time")).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
        fs::remove_file(nas("missing")).unwrap();
        fs::remove_dir_all(nas("d/e")).unwrap();
        fs::write(nas("longer"), noise(1000, 1)).unwrap();
        fs::remove_file(nas("link")).unwrap();
        std::os::unix::fs::symlink("equal", nas("link")).unwrap();

        let report = verify(&site, all(method)).await;
        assert_eq!((report.total, report.checked, report.equal), (9, 9, 4), "{report:?}");
        assert_eq!(report.differing, [ids[1].clone(), ids[7].clone()], "{method:?}");
        assert_eq!(report.missing, [ids[3].clone(), ids[5].clone(), ids[8].clone()], "{method:?}");
        assert!(report.unknown.is_empty() && report.changed_here.is_empty(), "{report:?}");
        assert!(!report.is_clean());
        assert_eq!(level(&site, &ids[0]), "verified seen");
        assert_eq!(level(&site, &ids[2]), "stored seen", "a power cut may still take it");
        assert!(!level(&site, &ids[1]).contains("seen"));
        assert_eq!(site.pending().await, 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_differs_or_is_missing_goes_again_and_nothing_else_does() {
    let (site, ids) = synced(Site::new(), &["equal", "bytes", "missing", "here"]).await;
    corrupt(&site.path("nas/bytes"));
    fs::remove_file(site.path("nas/missing")).unwrap();
    // Somebody or something damaged the file here: the copy may be the last good one.
    corrupt(&site.path("uploads/here"));
    let request = with!(all(Method::DryRun), requeue: Requeue::Yes);
    let report = verify(&site, request.clone()).await;
    assert_eq!((&*report.differing, &*report.missing), (&ids[1..2], &ids[2..3]));
    assert_eq!((&*report.changed_here, report.requeued), (&ids[3..], 2));
    assert_eq!(site.pending().await, 2);
    assert_eq!(site.stored("here").unwrap(), b"content of here");
    assert_eq!(site.sync().await.synced, 2);
    assert_eq!(site.stored("bytes").unwrap(), b"content of bytes");
    let report = verify(&site, request).await;
    assert_eq!((report.equal, report.requeued), (3, 0), "{report:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn files_here_matter_to_the_dry_run_alone() {
    let (site, ids) = synced(Site::new(), &["gone", "longer", "same length", "touched", "folder/deep"]).await;
    let here = |name: &str| site.path("uploads").join(name);
    fs::remove_file(here("gone")).unwrap();
    fs::write(here("longer"), "content of longer, and more").unwrap();
    corrupt(&here("same length"));
    fs::File::options().write(true).open(here("touched")).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
    let report = verify(&site, all(Method::DryRun)).await;
    assert_eq!((&*report.changed_here, report.equal), (&ids[1..3], 2), "{report:?}");
    assert_eq!(report.unknown[0].id, Some(ids[0].clone()));
    assert_eq!(report.unknown[0].error.kind(), ErrorKind::SourceMissing);
    // Nothing is left to compare, so no session is needed.
    for name in ["touched", "folder/deep"] {
        fs::remove_file(here(name)).unwrap();
    }
    assert_eq!(verify(&site, all(Method::DryRun)).await.equal, 0);
    assert!(verify(&site, all(Method::Sha256sum)).await.is_clean());
}

/// However it is compared: what may be the last good copy is not replaced by a file that is another one by now.
#[tokio::test(flavor = "multi_thread")]
async fn a_document_whose_file_changed_here_never_goes_again() {
    for method in [Method::DryRun, Method::Sha256sum] {
        let (site, ids) = synced(Site::new(), &["edited", "gone", "touched", "kept"]).await;
        let here = |name: &str| site.path("uploads").join(name);
        fs::write(here("edited"), "content of nobody").unwrap();
        fs::remove_file(here("gone")).unwrap();
        fs::File::options().write(true).open(here("touched")).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
        for name in ["edited", "gone", "touched", "kept"] {
            corrupt(&site.path("nas").join(name));
        }
        let request = with!(VerifyRequest::new(Selection::all()), method: method, requeue: Requeue::Yes);
        let report = verify(&site, request).await;
        assert_eq!(report.requeued, 2, "{method:?}: {report:?}");
        let marked: Vec<DocumentId> = site.marked().into_iter().map(|(id, _)| id.into()).collect();
        assert_eq!(marked, &ids[..2], "{method:?}");
    }
}

/// Where nothing is on the NAS, there is nothing that could be the last good copy, and nothing that counts as synced.
#[tokio::test(flavor = "multi_thread")]
async fn a_document_that_is_missing_goes_again_whatever_became_of_its_file() {
    let (site, ids) = synced(Site::new(), &["gone", "edited", "gone and differs", "edited and differs"]).await;
    let (here, there) = (|name: &str| site.path("uploads").join(name), |name: &str| site.path("nas").join(name));
    for name in ["gone", "gone and differs"] {
        fs::remove_file(here(name)).unwrap();
    }
    for name in ["edited", "edited and differs"] {
        fs::write(here(name), "content of nobody").unwrap();
    }
    for name in ["gone", "edited"] {
        fs::remove_file(there(name)).unwrap();
    }
    for name in ["gone and differs", "edited and differs"] {
        corrupt(&there(name));
    }
    let request = with!(all(Method::Sha256sum), requeue: Requeue::Yes);
    let report = verify(&site, request).await;
    assert_eq!((&*report.missing, &*report.differing), (&ids[..2], &ids[2..]), "{report:?}");
    assert_eq!(
        (report.gone_here.clone(), &*report.kept),
        (vec![ids[0].clone(), ids[2].clone()], &ids[2..]),
        "{report:?}"
    );
    assert_eq!(report.requeued, 2);
    let marked: Vec<DocumentId> = site.marked().into_iter().map(|(id, _)| id.into()).collect();
    assert_eq!(marked, &ids[2..]);
    let run = Cli::new(&site).line("verify --sha256sum");
    let said = run.ends(1).all();
    assert!(
        said.contains("its file here is gone, so it stays") && said.contains("another one, too, so it stays"),
        "{said}"
    );
}

const AS_NOBODY: &str = "exec setpriv --reuid=65534 --regid=65534 --clear-groups";

/// The NAS user is nobody from the verification on.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_nas_cannot_look_at_is_not_called_equal() {
    use std::os::unix::fs::PermissionsExt as _;
    if !is_root_or_skipped() {
        return;
    }
    let sshd = Sshd::setup().program("xargs", &format!("{AS_NOBODY} /usr/bin/xargs \"$@\"")).start();
    let names = ["equal", "unreadable", "closed/a", "closed/b", "full", "empty"];
    let (mut site, ids) = synced(Site::with(sshd), &names).await;
    for (name, mode) in [("unreadable", 0), ("closed", 0), ("", 0o755), ("..", 0o755)] {
        fs::set_permissions(site.path("nas").join(name), fs::Permissions::from_mode(mode)).unwrap();
    }
    for name in ["full", "empty"] {
        fs::remove_file(site.path("nas").join(name)).unwrap();
        fs::create_dir(site.path("nas").join(name)).unwrap();
    }
    fs::write(site.path("nas/full/x"), "x").unwrap();
    site.wrap_rsync(&format!("{AS_NOBODY} rsync \"$@\""));
    let report = verify(&site, with!(all(Method::DryRun), requeue: Requeue::Yes)).await;
    assert_eq!(report.equal, 1, "{report:?}");
    assert_eq!((report.differing.len(), &*report.missing, report.requeued), (0, &ids[5..], 1));
    let unknown: Vec<_> =
        report.unknown.iter().map(|failed| (failed.id.clone().unwrap(), failed.error.kind())).collect();
    let denied = ErrorKind::PermissionDenied;
    assert_eq!(
        unknown,
        [
            (ids[1].clone(), denied),
            (ids[2].clone(), denied),
            (ids[3].clone(), denied),
            (ids[4].clone(), ErrorKind::RemoteFailed)
        ]
    );
}

/// An error that names nobody makes everything doubtful that was passed over in silence.
#[tokio::test(flavor = "multi_thread")]
async fn silence_after_an_unexplained_complaint_proves_nothing() {
    let (mut site, ids) = synced(Site::new(), &["a", "b"]).await;
    corrupt(&site.path("nas/b"));
    site.wrap_rsync("rsync \"$@\"; echo 'rsync: something is wrong: Input/output error (5)' >&2; exit 23");
    let report = verify(&site, all(Method::DryRun)).await;
    assert_eq!((report.equal, &*report.differing), (0, &ids[1..]), "{report:?}");
    assert_eq!(report.unknown[0].id, Some(ids[0].clone()));
    site.wrap_rsync("rsync \"$@\"; exit 23");
    assert_eq!(verify(&site, all(Method::DryRun)).await.equal, 0);
    site.wrap_rsync("stdbuf -o0 head -c 60 | rsync \"$@\"");
    let report = site.service().verify(all(Method::DryRun)).await.unwrap();
    assert!(report.stopped.is_some() && report.checked == 0 && report.total == 2, "{report:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn more_than_one_session_holds_and_samples() {
    let names: Vec<String> = (0..2050).map(|number| format!("{}/{number}", number % 7)).collect();
    let (site, ids) = synced(Site::new(), &names.iter().map(String::as_str).collect::<Vec<_>>()).await;
    for at in [0, 2049] {
        fs::remove_file(site.path("nas").join(&names[at])).unwrap();
    }
    corrupt(&site.path("nas").join(&names[1999]));
    let report = verify(&site, all(Method::DryRun)).await;
    assert_eq!(
        (&*report.missing, &*report.differing),
        (&[ids[0].clone(), ids[2049].clone()][..], &[ids[1999].clone()][..])
    );
    assert_eq!(report.equal, 2047);
    let sample = with!(all(Method::Sha256sum), sample: Some("1%".parse().unwrap()));
    assert_eq!(verify(&site, sample).await.checked, 21);
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_which_too_little_is_known() {
    let (site, ids) = synced(Site::new(), &["a", "b", "c", "d"]).await;
    let change = |sql: &str| assert_eq!(site.database().execute(sql, []).unwrap(), 1, "{sql}");
    change("DELETE FROM nas_sync_documents WHERE document_id = 1");
    change("UPDATE nas_sync_documents SET sha256 = NULL WHERE document_id = 2");
    change("UPDATE nas_sync_documents SET sha256 = NULL WHERE document_id = 3");
    change("UPDATE documents SET synced_to_nas = 0, synced_at = NULL WHERE id = 4");
    corrupt(&site.path("nas/c"));
    let report = verify(&site, all(Method::DryRun)).await;
    assert_eq!((report.total, report.equal, &*report.differing), (3, 1, &ids[2..3]), "{report:?}");
    assert_eq!(report.unknown[0].id, Some(ids[0].clone()));
    let report = verify(&site, all(Method::Sha256sum)).await;
    assert_eq!((report.equal, report.unknown.len()), (0, 3), "{report:?}");
    // Named documents must be there.
    let selection = Selection::documents(vec![ids[1].clone(), ids[3].clone(), DocumentId::from(99)]);
    let report = verify(&site, with!(all(Method::DryRun), selection: selection)).await;
    let unknown: Vec<_> =
        report.unknown.iter().map(|failed| failed.id.clone().unwrap().as_integer().unwrap()).collect();
    assert_eq!((report.equal, unknown), (1, vec![4, 99]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_nas_without_the_means_is_said_to_lack_them() {
    let (mut site, _) = synced(Site::new(), &["a"]).await;
    let only_rsync =
        "case \"$SSH_ORIGINAL_COMMAND\" in rsync*) eval \"$SSH_ORIGINAL_COMMAND\";; *) echo refused; exit 1;; esac";
    let mut other = Sshd::setup().line(format!("ForceCommand {only_rsync}")).start();
    site.set("NAS_PORT", other.port().to_string());
    site.set("NAS_KEY_FILE", other.path("user_ed25519"));
    site.set("NAS_KNOWN_HOSTS", other.config().known_hosts[0].clone());
    assert!(verify(&site, all(Method::DryRun)).await.is_clean());
    let report = site.service().verify(all(Method::Sha256sum)).await.unwrap();
    let error = report.stopped.unwrap();
    assert_eq!(error.kind(), ErrorKind::ExecRefused);
    assert!(error.message().contains("refused"), "{error}");
    other.kill();
    let report = site.service().verify(all(Method::DryRun)).await.unwrap();
    assert_eq!(report.stopped.unwrap().kind(), ErrorKind::ConnectionRefused);
}

/// The command: its words, its exit status, its object.
#[test]
fn on_the_command_line() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (site, _) = runtime.block_on(synced(Site::new(), &["a", "b", "c"]));
    let cli = Cli::new(&site);
    assert_eq!(cli.line("verify --all").ends(0).stdout, "3 of 3 documents equal\n");
    corrupt(&site.path("nas/a"));
    fs::remove_file(site.path("nas/b")).unwrap();
    let object = cli.line("verify --json --sample 100% --sha256sum").ends(1).json();
    assert_eq!((&object["checked"], &object["equal"]), (&3.into(), &1.into()));
    assert_eq!((&object["differing"], &object["missing"]), (&json!([1]), &json!([2])));
    assert_eq!((&object["changed_here"], &object["unknown"], &object["requeued"]), (&json!([]), &json!([]), &json!(0)));
    let run = cli.line("verify --document 1");
    assert!(run.ends(1).stderr.contains("differs; `nas-sync resend --document 1` sends"), "{}", run.stderr);
    let run = cli.line("verify --user 1 --document 1 --document 2 --requeue");
    assert_eq!(run.ends(1).stdout, "0 of 2 documents equal, 1 different, 1 missing, 2 pending again\n");
    assert!(run.stderr.contains("Document 1: its copy on the NAS differs\n"), "{}", run.stderr);
    assert!(run.stderr.contains("Document 2: it is missing on the NAS\n"), "{}", run.stderr);
    cli.line("sync").ends(0);
    cli.line("verify --sample 10").ends(0);
    for wrong in ["--sample 0", "--sample 200%", "--all --sample 1"] {
        cli.line(&format!("verify {wrong}")).ends(2);
    }
    let object = cli.line("verify --json --document 99").ends(1).json();
    assert_eq!(object["unknown"][0]["error"]["kind"], "document_not_found");
    fs::remove_file(site.path("uploads/c")).unwrap();
    let run = cli.line("verify --document 3");
    assert!(run.ends(1).stderr.contains("`nas-sync verify --sha256sum`"), "{}", run.stderr);
}

/// A NAS whose rsync asks for nothing in a dry run, as openrsync. A model: stock rsync that is told to leave all alone.
fn silent_in_dry_runs() -> Site {
    let mut site = Site::new();
    site.wrap_rsync(
        "case \"$2\" in -*n*e.*) shift; set -- --server --existing --ignore-existing \"$@\";; esac\nexec rsync \"$@\"",
    );
    site
}

#[tokio::test(flavor = "multi_thread")]
async fn the_silence_of_a_server_that_never_speaks_is_no_proof() {
    let (site, ids) = synced(silent_in_dry_runs(), &["a", "b", "c"]).await;
    corrupt(&site.path("nas/a"));
    fs::remove_file(site.path("nas/b")).unwrap();
    // `sha256sum` tells.
    let report = verify(&site, all(Method::DryRun)).await;
    assert_eq!((report.equal, &report.differing[..], &report.missing[..]), (1, &ids[..1], &ids[1..2]), "{report:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_way_can_tell_is_unknown_and_not_recorded() {
    let script = "case \"$SSH_ORIGINAL_COMMAND\" in *sha256sum*) exit 1;; esac; eval \"exec $SSH_ORIGINAL_COMMAND\"";
    let mut site = Site::with(Sshd::setup().line(format!("ForceCommand {script}")).start());
    let model = silent_in_dry_runs();
    site.set("NAS_RSYNC_PATH", model.variables["NAS_RSYNC_PATH"].clone());
    let (site, ids) = synced(site, &["a", "b"]).await;
    corrupt(&site.path("nas/a"));
    let report = verify(&site, all(Method::DryRun)).await;
    assert_eq!((report.equal, report.unknown.len()), (0, 2), "{report:?}");
    assert!(ids.iter().all(|id| !level(&site, id).ends_with("seen")));
}

/// A server that says 1 where stock rsync says 23, as openrsync. A model: a script behind the real one.
#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_behind_status_1_holds_up_only_its_own() {
    for refused in ["nothing", "--remove-source-files"] {
        let mut site = Site::new();
        site.wrap_rsync(&format!(
            "case \"$*\" in *{refused}*) exit 1;; esac\nrsync \"$@\"\nstatus=$?\ntest $status = 23 && exit 1\nexit $status"
        ));
        site.set("UPLOAD_DIR", site.path("uploads"));
        site.set("NAS_LAYOUT", "tree");
        // A folder with something in it where one document should be.
        fs::create_dir_all(site.path("nas/shut/21.pdf/in the way")).unwrap();
        let mut names: Vec<String> = (0..20).map(|number| format!("open/{number}.pdf")).collect();
        names.push("shut/21.pdf".to_owned());
        let paths = names.iter().map(|name| site.upload(name, b"content")).collect();
        site.service().add(UserId::from(1), paths).await.unwrap();
        let mut synced = 0;
        for _ in 0..2 {
            synced += site.sync().await.synced;
        }
        assert_eq!(synced, 20, "{refused}");
        assert!(!site.marked().contains(&(21, true)));
    }
}
