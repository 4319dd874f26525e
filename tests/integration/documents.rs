//! `Client::send_documents`: documents without a database, against a real sshd and rsync.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use nas_sync::{
    Client, ClientConfig, DocumentEvent, DocumentFacts, DocumentId, DocumentMonitor, DocumentOutcome, ErrorKind, Level,
    Naming, OutgoingDocument, RecordedEvent, RecordingMonitor, RemoteName, SendDocuments, Unmonitored, UserId,
};
use sha2::{Digest as _, Sha256};

use super::support::Site;

async fn client(site: &Site) -> Client {
    Client::connect(&ClientConfig::of(site.service().settings()).unwrap()).await.unwrap()
}

fn document(id: i64, path: PathBuf, name: &str) -> OutgoingDocument {
    OutgoingDocument::new(id, path, RemoteName::new(name).unwrap())
}

fn nas(site: &Site) -> String {
    site.path("nas").to_str().unwrap().to_owned()
}

/// Sends over a login of its own.
async fn send(site: &Site, request: SendDocuments) -> Vec<DocumentOutcome> {
    let client = client(site).await;
    let outcomes = client.send_documents(request, Arc::new(Unmonitored)).await.unwrap();
    client.disconnect().await;
    outcomes
}

fn kind(outcome: &DocumentOutcome) -> ErrorKind {
    outcome.result.as_ref().unwrap_err().kind()
}

#[tokio::test]
async fn each_document_gets_its_outcome_with_level_and_sum() {
    let site = Site::new();
    let (content, odd) = (b"an invoice".repeat(9_000), "Facture n° 7\nà payer.pdf");
    let documents = vec![
        document(42, site.upload("a.pdf", &content), &format!("2024/{odd}")),
        document(7, site.path("uploads/missing.pdf"), "missing.pdf"),
        document(8, site.upload("empty", b""), "empty"),
    ];
    let client = client(&site).await;
    let monitor = Arc::new(RecordingMonitor::default());
    let outcomes = client.send_documents(SendDocuments::new(nas(&site), documents), Arc::clone(&monitor) as _).await;
    client.disconnect().await;
    let outcomes = outcomes.unwrap();

    let ids: Vec<_> = outcomes.iter().map(|outcome| outcome.id.clone()).collect();
    assert_eq!(ids, [42, 7, 8].map(DocumentId::from), "in the caller's order");
    let stored = outcomes[0].result.as_ref().unwrap();
    assert_eq!((stored.level, stored.bytes), (Level::Durable, 90_000));
    assert_eq!(stored.sha256, Some(Sha256::digest(&content).into()));
    assert_eq!(site.stored(&format!("2024/{odd}")), Some(content));
    assert_eq!(kind(&outcomes[1]), ErrorKind::SourceMissing);
    assert_eq!((outcomes[2].result.is_ok(), site.stored("empty")), (true, Some(Vec::new())));

    let (a, empty) = (DocumentId::from(42), DocumentId::from(8));
    let events = monitor.events();
    assert!(events[0] == RecordedEvent::Planned(3, 90_000), "{events:?}");
    let of = |id: &DocumentId| -> Vec<RecordedEvent> {
        let all = [
            RecordedEvent::Started(id.clone()),
            RecordedEvent::Sent(id.clone()),
            RecordedEvent::Acknowledged(id.clone()),
            RecordedEvent::Recorded(id.clone(), Level::Durable),
        ];
        events.iter().filter(|event| all.contains(event)).cloned().collect()
    };
    for id in [&a, &empty] {
        assert_eq!(of(id).len(), 4, "{events:?}");
        assert_eq!(of(id).last(), Some(&RecordedEvent::Recorded(id.clone(), Level::Durable)), "{events:?}");
    }
    assert!(matches!(&events[1], RecordedEvent::Failed(Some(id), _) if *id == DocumentId::from(7)), "{events:?}");
    assert_eq!(monitor.bytes(), 90_000);
}

#[tokio::test]
async fn names_that_would_meet_are_refused_and_cost_the_others_nothing() {
    let site = Site::new();
    let file = |name: &str| site.upload(name, name.as_bytes());
    let documents = vec![
        document(1, file("one"), "a"),
        document(2, file("two"), "a"),
        document(3, file("three"), "b"),
        document(4, file("four"), "b/c"),
        document(5, file("five"), "x/.rsync-partial/y"),
        document(6, file("six"), "d"),
    ];
    let outcomes = send(&site, SendDocuments::new(nas(&site), documents)).await;
    assert_eq!(kind(&outcomes[1]), ErrorKind::NameClash, "the first has the name");
    assert_eq!(kind(&outcomes[2]), ErrorKind::NameClash, "it is the folder of another one");
    assert_eq!(kind(&outcomes[4]), ErrorKind::NameUnsendable, "rsync needs that folder");
    for (at, name, content) in [(0, "a", "one"), (3, "b/c", "four"), (5, "d", "six")] {
        assert!(outcomes[at].result.is_ok(), "{outcomes:?}");
        assert_eq!(site.stored(name), Some(content.into()));
    }
}

#[tokio::test]
async fn a_key_that_stands_for_two_documents_is_refused_before_anything_is_sent() {
    let site = Site::new();
    let documents = vec![document(1, site.upload("a", b"a"), "a"), document(1, site.upload("b", b"b"), "b")];
    let client = client(&site).await;
    let error =
        client.send_documents(SendDocuments::new(nas(&site), documents), Arc::new(Unmonitored)).await.unwrap_err();
    client.disconnect().await;
    assert_eq!(error.kind(), ErrorKind::Usage);
    assert!(error.message().contains("the key 1 stands for two documents"), "{error}");
    assert_eq!(site.stored_names(), [""; 0]);
}

#[tokio::test]
async fn what_lies_outside_the_upload_folder_is_not_read() {
    let site = Site::new();
    let outside = site.path("secret");
    fs::write(&outside, "secret").unwrap();
    std::os::unix::fs::symlink(&outside, site.path("uploads/link")).unwrap();
    site.upload("a", b"inside");
    let documents = vec![
        document(1, "a".into(), "a"),
        document(2, "../secret".into(), "b"),
        document(3, "link".into(), "c"),
        document(4, outside, "d"),
    ];
    let request = SendDocuments::new(nas(&site), documents).below(site.path("uploads"));
    let outcomes = send(&site, request).await;
    assert!(outcomes[0].result.is_ok(), "{outcomes:?}");
    assert_eq!(kind(&outcomes[1]), ErrorKind::SourceOutside);
    assert_eq!(kind(&outcomes[2]), ErrorKind::SourceNotRegular);
    assert_eq!(kind(&outcomes[3]), ErrorKind::SourceOutside);
    assert_eq!(site.stored_names(), ["a"]);
}

#[tokio::test]
async fn a_level_that_the_nas_cannot_prove_is_a_failure_and_a_lower_one_is_told() {
    let mut site = Site::new();
    // A server of an old rsync, which neither flushes files nor acknowledges.
    site.wrap_rsync(
        "for word do case $word in --fsync|--remove-source-files) echo \"rsync: $word: unknown option\" >&2; exit 1;; \
         esac; done; exec rsync \"$@\"",
    );
    let documents = |site: &Site| vec![document(1, site.upload("a", b"a"), "a")];
    let outcomes = send(&site, SendDocuments::new(nas(&site), documents(&site))).await;
    assert_eq!(outcomes[0].result.as_ref().unwrap().level, Level::Sent, "{outcomes:?}");
    let outcomes = send(&site, SendDocuments::new(nas(&site), documents(&site)).require(Level::Durable)).await;
    assert_eq!(kind(&outcomes[0]), ErrorKind::DurabilityUnavailable, "{outcomes:?}");
}

#[tokio::test]
async fn many_documents_go_side_by_side_and_one_folder_that_refuses_holds_up_only_its_own() {
    let site = Site::new();
    for number in (0..60).step_by(10) {
        // A folder that is not empty, where a file should be.
        fs::create_dir_all(site.path(&format!("nas/locked/{number}/full"))).unwrap();
    }
    let documents: Vec<_> = (0..60)
        .map(|number| {
            let folder = if number % 10 == 0 { "locked" } else { "open" };
            let path = site.upload(&number.to_string(), format!("document {number}").as_bytes());
            document(number, path, &format!("{folder}/{number}"))
        })
        .collect();
    let outcomes = send(&site, SendDocuments::new(nas(&site), documents).jobs(3)).await;
    for (number, outcome) in outcomes.iter().enumerate() {
        let name = format!("open/{number}");
        if number % 10 == 0 {
            assert!(outcome.result.is_err(), "{outcome:?}");
        } else {
            assert!(outcome.result.is_ok(), "{outcome:?}");
            assert_eq!(site.stored(&name), Some(format!("document {number}").into_bytes()));
        }
    }
}

#[tokio::test]
async fn a_nas_that_ends_in_the_middle_leaves_every_document_an_answer() {
    let mut site = Site::new();
    site.wrap_rsync("exec /bin/false");
    let documents = vec![document(1, site.upload("a", b"a"), "a"), document(2, site.upload("b", b"b"), "b")];
    let outcomes = send(&site, SendDocuments::new(nas(&site), documents)).await;
    assert_eq!(outcomes.len(), 2);
    for outcome in &outcomes {
        assert!(outcome.result.as_ref().unwrap_err().kind().concerns_nas(), "{outcome:?}");
    }
}

/// Says when the first document is acknowledged.
struct FirstStored(tokio::sync::Notify);

impl DocumentMonitor for FirstStored {
    fn event(&self, event: DocumentEvent<'_>) {
        if matches!(event, DocumentEvent::Acknowledged { .. }) {
            self.0.notify_one();
        }
    }
}

#[tokio::test]
async fn a_stop_ends_the_session_and_what_was_acknowledged_is_told() {
    let site = Site::new();
    let small = document(1, site.upload("small", b"small"), "small");
    let large = document(2, site.path("uploads/large"), "large");
    // Each of its zeros is read and hashed, which takes longer than the other one.
    fs::File::create(&large.path).unwrap().set_len(4 << 30).unwrap();
    let client = client(&site).await;
    let first = Arc::new(FirstStored(tokio::sync::Notify::new()));
    let request = SendDocuments::new(nas(&site), vec![small, large]);
    let stop = first.0.notified();
    let outcomes = client.send_documents_until(request, Arc::clone(&first) as _, stop).await.unwrap();
    client.disconnect().await;
    assert_eq!(outcomes[0].result.as_ref().unwrap().level, Level::Durable);
    assert_eq!(kind(&outcomes[1]), ErrorKind::Interrupted);
    assert_eq!((site.stored("small"), site.stored("large")), (Some(b"small".into()), None));
}

#[tokio::test]
async fn a_check_finds_what_a_sync_needs_and_names_are_those_of_the_layout() {
    let mut site = Site::new();
    site.set("UPLOAD_DIR", site.path("uploads"));
    site.set("NAS_LAYOUT", "{user_id}/{year}/{name}");
    let service = site.service();
    let client = client(&site).await;
    let report = client.check(service.settings()).await.unwrap();
    assert_eq!((report.level, report.protocol >= 30), (Level::Durable, true));
    assert!(site.stored_names().is_empty(), "it leaves nothing");

    let naming = Naming::of(service.settings()).unwrap();
    let (id, user, path) = (DocumentId::from(1), UserId::from(7), site.upload("a.pdf", b"a"));
    let mut facts = DocumentFacts::new(&id, &user, &path);
    let year = |name: &RemoteName| String::from_utf8(name.as_bytes()[2..6].to_vec()).unwrap();
    assert!(year(&naming.name(&facts).unwrap()).starts_with("20"), "the file's own date");
    facts.date = chrono::NaiveDate::from_ymd_opt(1999, 1, 1);
    (facts.path, facts.original_name) = (std::path::Path::new("gone.pdf"), Some("Reçu.pdf"));
    assert_eq!(naming.name(&facts).unwrap().as_bytes(), "7/1999/Reçu.pdf".as_bytes(), "no file is needed");
    facts.path = std::path::Path::new("../gone.pdf");
    assert_eq!(naming.name(&facts).unwrap_err().kind(), ErrorKind::SourceOutside);

    fs::remove_dir(site.path("nas")).unwrap();
    assert_eq!(client.check(service.settings()).await.unwrap_err().kind(), ErrorKind::DestinationMissing);
    client.disconnect().await;
}
