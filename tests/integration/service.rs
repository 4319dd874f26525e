//! The service from the row to the NAS and back, over a real sshd and the system's rsync.

use std::fs;
use std::sync::Arc;

use nas_sync::Silent;
use nas_sync::internal::wire::server_args::PushOptions;
use nas_sync::{Client, ErrorKind, Files, PushRequest, RemoteName, Selection, UserId};

use crate::support::{Site, Sshd, is_root_or_skipped, with};

#[tokio::test(flavor = "multi_thread")]
async fn one_hundred_and_twenty_of_121_documents_arrive() {
    let site = Site::new();
    let mut paths = Vec::new();
    for number in 0..121_usize {
        let content =
            if number == 7 { Vec::new() } else { format!("invoice {number}\n").repeat(number * 40).into_bytes() };
        paths.push(site.upload(&format!("Facture n° {number} à régler.pdf"), &content));
    }
    let ids = site.service().add(UserId::from(1), paths.clone()).await.unwrap();
    fs::remove_file(&paths[60]).unwrap();

    let summary = site.sync().await;
    assert_eq!((summary.total, summary.synced, summary.failed, summary.pending), (121, 120, 1, 0), "{summary:?}");
    assert!(summary.stopped.is_none());
    assert_eq!(summary.errors[0].id, Some(ids[60].clone()));
    assert_eq!(summary.errors[0].error.kind(), ErrorKind::SourceMissing);
    for (number, path) in paths.iter().enumerate().filter(|(number, _)| *number != 60) {
        let name = path.file_name().unwrap().to_str().unwrap();
        assert_eq!(site.stored(name).as_deref(), Some(&*fs::read(path).unwrap()), "{number}");
    }
    assert_eq!(site.stored_names().len(), 120);
    let stats = site.service().sync_stats(UserId::from(1)).await.unwrap();
    assert_eq!((stats.synced, stats.pending, stats.sync_percentage), (120, 1, 99.2));
    assert!(stats.last_sync.is_some());

    let again = site.sync().await;
    assert_eq!((again.total, again.synced, again.failed), (1, 0, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_same_size_same_time_copy_of_zeros_is_not_believed() {
    let site = Site::new();
    let path = site.upload("a.pdf", b"content");
    let there = site.path("nas/a.pdf");
    let time = fs::metadata(&path).unwrap().modified().unwrap();
    site.service().add(UserId::from(1), vec![path]).await.unwrap();
    assert_eq!(site.sync().await.synced, 1);
    fs::write(&there, [0; 7]).unwrap();
    fs::File::options().write(true).open(&there).unwrap().set_modified(time).unwrap();
    assert_eq!(site.service().resend(Selection::all()).await.unwrap(), 1);
    assert_eq!(site.sync().await.synced, 1);
    assert_eq!(site.stored("a.pdf").unwrap(), b"content");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_documents_never_land_on_one_name() {
    let site = Site::new();
    let first = site.document("a/scan.pdf", b"first").await;
    let second = site.document("b/scan.pdf", b"second").await;
    let summary = site.sync().await;
    assert_eq!((summary.synced, summary.failed), (1, 1));
    let failed = &summary.errors[0];
    assert_eq!((failed.id.clone(), failed.error.kind()), (Some(second), ErrorKind::NameClash));
    assert!(failed.error.message().contains(&first.to_string()), "{}", failed.error);
    assert_eq!(site.stored("scan.pdf").unwrap(), b"first");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tree_layout_makes_the_folders_it_needs_and_leaves_others_alone() {
    let mut site = Site::new();
    site.set("UPLOAD_DIR", site.path("uploads"));
    site.set("NAS_LAYOUT", "tree");
    fs::create_dir(site.path("nas/2024")).unwrap();
    let before = fs::metadata(site.path("nas/2024")).unwrap().permissions();
    for name in ["2024/01/a.pdf", "2024/02/a.pdf", "top.pdf"] {
        site.document(name, name.as_bytes()).await;
    }
    let summary = site.sync().await;
    assert_eq!((summary.synced, summary.failed), (3, 0), "{summary:?}");
    assert_eq!(site.stored("2024/02/a.pdf").unwrap(), b"2024/02/a.pdf");
    assert_eq!(fs::metadata(site.path("nas/2024")).unwrap().permissions(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn side_by_side_sessions_share_one_login() {
    let mut site = Site::new();
    site.set("NAS_JOBS", "4");
    for number in 0..40 {
        site.document(&format!("{number}.txt"), format!("{number}").as_bytes()).await;
    }
    let summary = site.sync().await;
    assert_eq!((summary.synced, summary.failed), (40, 0), "{summary:?}");
    assert_eq!(site.stored_names().len(), 40);
    assert_eq!(site.sshd.log().matches("Accepted publickey").count(), 1);
}

/// A server whose rsync knows nothing of acknowledgements, as very old ones. A model: a script that refuses the option.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_refuses_acknowledgements_is_believed_when_it_ends_well() {
    let mut site = Site::new();
    let script = site.path("old-rsync");
    let text = "#!/bin/sh\ncase \"$*\" in *--remove-source-files*) echo 'rsync: --remove-source-files: unknown option' >&2; exit 1;; esac\nexec rsync \"$@\"\n";
    write_program(&script, text);
    site.set("NAS_RSYNC_PATH", &script);
    site.document("a.pdf", b"content").await;
    let summary = site.sync().await;
    assert_eq!((summary.synced, summary.failed), (1, 0), "{summary:?}");
    assert_eq!(summary.warnings.len(), 1);
    assert_eq!(site.stored("a.pdf").unwrap(), b"content");
    // Several sessions side by side find it out at the same time.
    site.set("NAS_JOBS", "3");
    for number in 0..6 {
        site.document(&format!("{number}.pdf"), b"content").await;
    }
    let summary = site.sync().await;
    assert_eq!((summary.synced, summary.failed, summary.pending), (6, 0, 0), "{summary:?}");
    assert_eq!((summary.warnings.len(), summary.stopped.is_none()), (0, true), "said once: {summary:?}");
    site.set("NAS_DURABILITY", "stored");
    site.document("b.pdf", b"content").await;
    let summary = site.sync().await;
    assert_eq!((summary.synced, summary.pending), (0, 1));
    assert_eq!(summary.stopped.unwrap().kind(), ErrorKind::DurabilityUnavailable);
}

fn write_program(path: &std::path::Path, text: &str) {
    use std::os::unix::fs::PermissionsExt as _;
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_test_proves_writability_and_leaves_nothing_behind() {
    let site = Site::new();
    let report = site.service().test_connection().await.unwrap();
    assert!(report.host_key.starts_with("SHA256:"), "{report:?}");
    assert!(report.ssh_server.contains("OpenSSH"), "{report:?}");
    assert!(report.protocol >= 27 && report.rsync_version.is_some(), "{report:?}");
    assert!(site.stored_names().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn one_document_can_be_synced_by_id() {
    let site = Site::new();
    let id = site.document("a.pdf", b"content").await;
    let synced = site.service().sync_file(id.clone()).await.unwrap();
    assert_eq!((synced.remote_name.as_slice(), synced.bytes), (&b"a.pdf"[..], 7));
    assert_eq!(site.service().sync_file(id).await.unwrap(), synced);
    let missing = site.service().sync_file(nas_sync::DocumentId::from(99)).await.unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::DocumentNotFound);
}

/// Trouble with the NAS: the run stops with the right kind, nothing is marked, the document stays pending.
async fn stops_with(site: &Site, kind: ErrorKind) {
    site.document("a.pdf", b"content").await;
    let summary = site.sync().await;
    let stopped = summary.stopped.as_ref().unwrap_or_else(|| panic!("{kind}: {summary:?}"));
    assert_eq!(stopped.kind(), kind, "{stopped:?}");
    assert_eq!((summary.synced, summary.failed, summary.pending), (0, 0, 1), "{summary:?}");
    assert_eq!(site.pending().await, 1);
    let test = site.service().test_connection().await.unwrap_err();
    assert_eq!(test.kind(), kind, "{test:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_destination_is_named_and_never_made() {
    let mut site = Site::new();
    site.set("NAS_PATH", site.path("nas/not there"));
    stops_with(&site, ErrorKind::DestinationMissing).await;
    assert!(site.stored_names().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_rsync_is_named() {
    let mut site = Site::new();
    site.set("NAS_RSYNC_PATH", "rsync-that-is-not-there");
    stops_with(&site, ErrorKind::RsyncMissing).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stray_output_is_shown() {
    let mut site = Site::new();
    let script = site.path("chatty");
    write_program(&script, "#!/bin/sh\nprintf 'Welcome to \\033[31mNAS\\n'\nexec rsync \"$@\"\n");
    site.set("NAS_RSYNC_PATH", &script);
    stops_with(&site, ErrorKind::StrayOutput).await;
    let error = site.service().test_connection().await.unwrap_err();
    assert!(error.message().contains("Welcome to \\x1b[31mNAS"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vendor_that_refuses_after_the_login_is_not_called_a_wrong_password() {
    let mut site = Site::new();
    let script = site.path("vendor");
    write_program(&script, "#!/bin/sh\necho 'Permission denied, please try again.' >&2\nexit 43\n");
    site.set("NAS_RSYNC_PATH", &script);
    stops_with(&site, ErrorKind::ServiceDisabled).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_may_not_run_commands_is_told() {
    let site = Site::with(Sshd::setup().line("ForceCommand internal-sftp").start());
    site.document("a.pdf", b"content").await;
    let stopped = site.sync().await.stopped.expect("it stops");
    assert!(matches!(stopped.kind(), ErrorKind::ExecRefused | ErrorKind::StrayOutput), "{stopped:?}");
    assert_eq!(site.pending().await, 1);
}

/// The client without a database: several pushes over one login, names of their own, one bad file among good ones.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_pushes_named_files_and_trees_over_one_login() {
    let site = Site::new();
    let files: Vec<_> = ["one", "two"]
        .into_iter()
        .map(|name| (site.upload(name, name.as_bytes()), RemoteName::new(format!("new/folder/{name}.txt")).unwrap()))
        .chain([(site.path("gone"), RemoteName::new("gone").unwrap())])
        .collect();
    let client = Client::connect(&site.service().client_config().unwrap()).await.unwrap();
    let request = |files| {
        PushRequest::new(
            files,
            site.path("nas").into_os_string().into_encoded_bytes(),
            with!(PushOptions::default(), times: true, recursive: true),
        )
    };
    let report = client.push(request(Files::Named(files)), Arc::new(Silent)).await.unwrap();
    assert_eq!((report.exit_code, report.stats.transferred), (23, 2), "{report:?}");
    assert_eq!(&*report.failures[0].0, b"gone");
    assert_eq!(site.stored("new/folder/two.txt").unwrap(), b"two");

    let report = client.push(request(Files::Operands(vec![site.path("uploads")])), Arc::new(Silent)).await.unwrap();
    assert_eq!((report.exit_code, report.stats.created.files), (0, 2), "{report:?}");
    assert_eq!(site.stored("uploads/one").unwrap(), b"one");
    assert_eq!(site.sshd.log().matches("Accepted publickey").count(), 1);
    client.disconnect().await;
}

/// Stock receivers that acknowledge stop asking once ten files have failed; the others must go all the same.
#[tokio::test(flavor = "multi_thread")]
async fn many_documents_that_the_nas_cannot_store_do_not_keep_the_others() {
    use std::os::unix::fs::PermissionsExt as _;
    if !is_root_or_skipped() {
        return;
    }
    let mut site = Site::new();
    let script = site.path("unprivileged-rsync");
    write_program(&script, "#!/bin/sh\nexec setpriv --reuid=65534 --regid=65534 --clear-groups rsync \"$@\"\n");
    for (folder, mode) in [("", 0o755), ("nas", 0o755), ("nas/bad", 0o755), ("nas/good", 0o777)] {
        fs::create_dir_all(site.path(folder)).unwrap();
        fs::set_permissions(site.path(folder), fs::Permissions::from_mode(mode)).unwrap();
    }
    site.set("NAS_RSYNC_PATH", &script);
    site.set("UPLOAD_DIR", site.path("uploads"));
    site.set("NAS_LAYOUT", "tree");
    for number in 0..15 {
        site.document(&format!("bad/{number}.pdf"), &vec![b'x'; 50_000]).await;
    }
    for number in 0..30 {
        site.document(&format!("good/{number}.pdf"), &vec![b'y'; 50_000]).await;
    }
    let summary = site.sync().await;
    assert_eq!((summary.synced, summary.failed, summary.pending), (30, 15, 0), "{summary:?}");
    assert!(summary.stopped.is_none(), "{summary:?}");
    assert!(summary.errors.iter().all(|failed| failed.error.kind() == ErrorKind::PermissionDenied));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_never_takes_the_place_of_a_document_of_an_earlier_run() {
    let mut site = Site::new();
    site.set("UPLOAD_DIR", site.path("uploads"));
    site.set("NAS_LAYOUT", "tree");
    let first = site.document("a", b"one").await;
    assert_eq!(site.sync().await.synced, 1);
    fs::remove_file(site.path("uploads/a")).unwrap();
    let second = site.document("a/b", b"two").await;
    let summary = site.sync().await;
    let failed = &summary.errors[0];
    assert_eq!((failed.id.clone(), failed.error.kind()), (Some(second), ErrorKind::NameClash));
    assert!(failed.error.message().contains(&first.to_string()), "{}", failed.error);
    assert_eq!(site.stored("a").unwrap(), b"one");
}

/// Whether such a folder is entered is the NAS's decision (rsync 3.5.0 does not); replacing it would be ours.
#[tokio::test(flavor = "multi_thread")]
async fn a_symlink_on_the_nas_is_never_replaced_by_a_folder() {
    let mut site = Site::new();
    site.set("UPLOAD_DIR", site.path("uploads"));
    site.set("NAS_LAYOUT", "tree");
    fs::create_dir(site.path("elsewhere")).unwrap();
    std::os::unix::fs::symlink(site.path("elsewhere"), site.path("nas/2025")).unwrap();
    site.document("2025/a.pdf", b"content").await;
    let summary = site.sync().await;
    assert!(site.path("nas/2025").is_symlink(), "{summary:?}");
    assert_eq!(site.path("elsewhere/a.pdf").exists(), summary.synced == 1, "{summary:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_may_not_be_marked_does_not_keep_the_others() {
    let site = Site::new();
    let mut ids = Vec::new();
    for name in ["a", "b", "c"] {
        ids.push(site.document(name, name.as_bytes()).await);
    }
    let database = rusqlite::Connection::open(site.path("documents.db")).unwrap();
    let trigger = "CREATE TRIGGER t BEFORE UPDATE ON documents WHEN NEW.id = 2
                   BEGIN SELECT RAISE(ABORT, 'audited'); END";
    database.execute_batch(trigger).unwrap();
    let summary = site.sync().await;
    assert_eq!((summary.synced, summary.failed), (2, 1), "{summary:?}");
    assert_eq!(summary.errors[0].id, Some(ids[1].clone()));
    assert!(summary.errors[0].error.message().contains("audited"), "{}", summary.errors[0]);
    assert_eq!(site.pending().await, 1);
}
