//! Names that differ only in their spelling: on shares where they are one file, and on those where they are not.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use nas_sync::{
    Client, ClientConfig, DocumentError, DocumentId, DocumentOutcome, ErrorKind, NasSyncError, OutgoingDocument,
    RemoteName, Requeue, Selection, SendDocuments, Unmonitored, VerifyRequest,
};

use crate::support::volume::Volume;
use crate::support::{Site, Sshd, with};

/// A site with the layout `tree` whose NAS folder lies on another file system.
fn on(volume: &Volume) -> Site {
    let mut site = at_home(Site::new());
    site.set("NAS_PATH", volume.path());
    site
}

/// The same on the file system of the test.
fn at_home(mut site: Site) -> Site {
    site.set("UPLOAD_DIR", site.path("uploads"));
    site.set("NAS_LAYOUT", "tree");
    site
}

/// What lies there under a name.
fn read(folder: &Path, name: &str) -> String {
    fs::read_to_string(folder.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// That the second of two documents is refused because of the first.
fn assert_refused(failed: &DocumentError, second: &DocumentId, first: &DocumentId, why: &str) {
    assert_eq!((failed.id.as_ref(), failed.error.kind()), (Some(second), ErrorKind::NameClash), "{failed}");
    let message = failed.error.message();
    assert!(message.contains(&format!("document {first} ")) && message.contains(why), "{message}");
    assert!(failed.error.solution().contains("{id}"), "{}", failed.error.solution());
}

const CASE: &str = "upper and lower case, and the NAS does not tell them apart";

#[tokio::test(flavor = "multi_thread")]
async fn where_two_names_are_one_file_the_second_document_fails_by_name() {
    let Some(volume) = Volume::caseless(16) else { return };
    // In one batch, in two runs, and in folders.
    let site = on(&volume);
    let first = site.document("Scan.pdf", b"first").await;
    let second = site.document("scan.pdf", b"second").await;
    let other = site.document("Other.pdf", b"other").await;
    let summary = site.sync().await;
    assert_eq!((summary.synced, summary.failed, summary.pending), (2, 1, 0), "{summary:?}");
    assert_refused(&summary.errors[0], &second, &first, CASE);
    let third = site.document("OTHER.pdf", b"third").await;
    let folder = site.document("Invoices/a.pdf", b"in a folder").await;
    let beside = site.document("invoices/b.pdf", b"beside").await;
    let summary = site.sync().await;
    assert_eq!((summary.synced, summary.failed), (2, 2), "{summary:?}");
    assert_refused(&summary.errors[1], &third, &other, CASE);
    let below = site.document("INVOICES/A.pdf", b"below").await;
    let as_folder = site.document("SCAN.PDF/x", b"as a folder").await;
    let summary = site.sync().await;
    assert_eq!((summary.synced, summary.failed), (0, 4), "{summary:?}");
    assert_refused(&summary.errors[2], &below, &folder, CASE);
    assert_refused(&summary.errors[3], &as_folder, &first, CASE);
    let stored = [("scan.pdf", "first"), ("other.pdf", "other"), ("invoices/a.pdf", "in a folder")];
    for (name, content) in stored {
        assert_eq!(read(&volume.path(), name), content);
    }
    assert_eq!(read(&volume.path(), "Invoices/b.pdf"), "beside", "document {beside}");
}

#[tokio::test(flavor = "multi_thread")]
async fn documents_that_share_a_file_since_before_do_not_take_turns() {
    let Some(volume) = Volume::caseless(16) else { return };
    let site = on(&volume);
    let first = site.document("Scan.pdf", b"first").await;
    assert_eq!(site.sync().await.synced, 1);
    let second = site.document("other", b"later").await;
    assert_eq!(site.sync().await.synced, 1);
    // As an older version left it: both are marked, and the second has overwritten the first.
    site.upload("scan.pdf", b"later");
    let path = site.path("uploads/scan.pdf");
    site.database()
        .execute_batch(&format!(
            "UPDATE documents SET file_path = '{0}' WHERE id = {second};
             UPDATE nas_sync_documents SET file_path = CAST('{0}' AS BLOB), remote_name = CAST('scan.pdf' AS BLOB)
             WHERE document_id = {second};
             DELETE FROM nas_sync_names; DROP INDEX nas_sync_names_folded;
             ALTER TABLE nas_sync_names DROP COLUMN folded; DROP TABLE nas_sync_refusals;
             ALTER TABLE nas_sync_attempts DROP COLUMN durable_by;
             ALTER TABLE nas_sync_documents DROP COLUMN last_error_solution; ALTER TABLE nas_sync_targets DROP COLUMN pause_solution;
             ALTER TABLE nas_sync_documents DROP COLUMN added_as;
             INSERT INTO nas_sync_names VALUES (CAST('Scan.pdf' AS BLOB), {first}), (CAST('scan.pdf' AS BLOB), {second});
             UPDATE nas_sync_meta SET value = 3 WHERE key = 'schema_version'",
            path.display()
        ))
        .unwrap();
    fs::remove_file(volume.path().join("other")).unwrap();
    fs::write(volume.path().join("Scan.pdf"), "later").unwrap();
    assert_eq!(site.sync().await.synced, 0, "this brings the tables up to date");
    for _ in 0..2 {
        let request = with!(VerifyRequest::new(Selection::all()), requeue: Requeue::Yes);
        let report = site.service().verify(request).await.unwrap();
        assert!(report.differing.iter().all(|id| *id == first), "{report:?}");
        let summary = site.sync().await;
        assert_eq!(summary.synced, 0, "{summary:?}");
        assert_refused(&summary.errors[0], &first, &second, CASE);
        assert_eq!(read(&volume.path(), "scan.pdf"), "later");
        site.service().retry(Selection::all()).await.unwrap();
    }
    // Both are to be sent anew: one of them has the file, and the other one fails.
    site.database().execute("UPDATE documents SET synced_to_nas = 0", []).unwrap();
    let summary = site.sync().await;
    assert_eq!((summary.synced, summary.failed), (1, 1), "{summary:?}");
    assert_refused(&summary.errors[0], &second, &first, CASE);
    assert_eq!(read(&volume.path(), "scan.pdf"), "first");
}

/// The same names where each is a file, on the file system of the test.
#[tokio::test(flavor = "multi_thread")]
async fn where_they_are_two_files_both_documents_are_stored_and_sent_anew() {
    let site = at_home(Site::new());
    let names = ["Scan.pdf", "scan.pdf", "SCAN.pdf", "é", "e\u{301}", "a", "A", "Inv/x", "inv/x", "inv/y", "INV"];
    // Where there is no third spelling to ask about, files of one size are known by their times.
    let upload = |at: usize, name: &str, content: &str| {
        let seconds = if name.len() < 4 { at as u64 } else { 0 };
        let file = fs::File::options().write(true).open(site.upload(name, content.as_bytes())).unwrap();
        file.set_modified(UNIX_EPOCH + Duration::from_secs(seconds)).unwrap();
    };
    for (at, name) in names.iter().enumerate() {
        site.document(name, b"1st").await;
        upload(at, name, "1st");
    }
    let summary = site.sync().await;
    assert_eq!((summary.synced, summary.failed), (names.len(), 0), "{summary:?}");
    // Each one again, of the same size, and with the others there.
    for (at, name) in names.iter().enumerate() {
        upload(at, name, &format!("{at:03}"));
        site.database()
            .execute("UPDATE documents SET synced_to_nas = 0 WHERE id = ?1", [i64::try_from(at + 1).unwrap()])
            .unwrap();
        let summary = site.sync().await;
        assert_eq!((summary.synced, summary.failed), (1, 0), "{name}: {summary:?}");
    }
    for (at, name) in names.iter().enumerate() {
        assert_eq!(read(&site.path("nas"), name), format!("{at:03}"));
    }
}

/// Where the NAS takes both compositions of a letter for one. A model, since no file system that normalizes can be had here:
/// a script that gives every file, before rsync runs, its other spelling as a second name.
#[tokio::test(flavor = "multi_thread")]
async fn two_compositions_of_one_letter_are_one_name_where_the_nas_takes_them_for_one() {
    let mut site = at_home(Site::new());
    site.wrap_rsync("cd \"$NAS\" && test -e \u{e9}.pdf && ln -f \u{e9}.pdf e\u{301}.pdf\ncd / && exec rsync \"$@\"");
    let first = site.document("\u{e9}.pdf", b"first").await;
    let second = site.document("e\u{301}.pdf", b"second").await;
    let summary = site.sync().await;
    assert_eq!((summary.synced, summary.failed), (1, 1), "{summary:?}");
    assert_refused(
        &summary.errors[0],
        &second,
        &first,
        "(Unicode normalisation), and the NAS does not tell them apart",
    );
    assert_eq!(site.stored("e\u{301}.pdf").unwrap(), b"first");
}

/// A NAS whose rsync says nothing in a dry run, as openrsync. A model: stock rsync that is told to leave all alone then.
fn silent(site: &mut Site) {
    site.wrap_rsync(
        "case \"$2\" in -*n*e.*) shift; set -- --server --existing --ignore-existing \"$@\";; esac\nexec rsync \"$@\"",
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn where_rsync_says_nothing_sha256sum_tells_and_without_it_the_second_document_is_refused() {
    let without = "ForceCommand case \"$SSH_ORIGINAL_COMMAND\" in *sha256sum*) exit 1;; esac; eval \"exec $SSH_ORIGINAL_COMMAND\"";
    for (server, synced) in [(Sshd::start(), 2), (Sshd::setup().line(without).start(), 1)] {
        let mut site = at_home(Site::with(server));
        silent(&mut site);
        let first = site.document("Scan.pdf", b"first").await;
        let second = site.document("scan.pdf", b"second").await;
        let summary = site.sync().await;
        assert_eq!((summary.synced, summary.failed), (synced, 2 - synced), "{summary:?}");
        assert_eq!(site.stored("Scan.pdf").unwrap(), b"first");
        if synced == 2 {
            assert_eq!(site.stored("scan.pdf").unwrap(), b"second");
        } else {
            assert_refused(&summary.errors[0], &second, &first, "cannot be found out");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_database_it_is_the_same() {
    let Some(volume) = Volume::caseless(16) else { return };
    for (site, are_one) in [(on(&volume), true), (Site::new(), false)] {
        let folder = site.service().settings().path.clone().unwrap();
        let document = |id: i64, name: &str| {
            OutgoingDocument::new(id, site.upload(&id.to_string(), name.as_bytes()), RemoteName::new(name).unwrap())
        };
        let documents =
            vec![document(1, "Scan.pdf"), document(2, "scan.pdf"), document(3, "x"), document(4, "SCAN.PDF")];
        let client = Client::connect(&ClientConfig::of(site.service().settings()).unwrap()).await.unwrap();
        let request = SendDocuments::new(folder.clone(), documents).jobs(4);
        let outcomes = client.send_documents(request, Arc::new(Unmonitored)).await.unwrap();
        client.disconnect().await;
        let kind = |outcome: &DocumentOutcome| outcome.result.as_ref().map(drop).map_err(NasSyncError::kind);
        let second = if are_one { Err(ErrorKind::NameClash) } else { Ok(()) };
        let kinds: Vec<_> = outcomes.iter().map(kind).collect();
        assert_eq!(kinds, [Ok(()), second, Ok(()), second], "{outcomes:?}");
        assert_eq!(read(Path::new(&folder), "Scan.pdf"), "Scan.pdf");
    }
}
