//! The objects that only commands print: of what was registered, and of what could not be done.

use serde_json::{Value, json};

use super::answers::{sync_of, test};
use super::documents::{planned, refused};
use super::service::{failure, sync};
use super::{error, id};
use crate::client::ConnectionReport;
use crate::error::NasSyncError;
use crate::id::DocumentId;
use crate::service::checks::{Diagnosis, Finding};
use crate::service::setup::NasKey;
use crate::service::{DocumentError, SyncPreview, SyncSummary};
use crate::store::Registered;
use crate::text;

/// A command that could do nothing.
pub fn failed(cause: &NasSyncError) -> Value {
    json!({ "error": error(cause) })
}

/// `push`, when it could not start.
pub fn push_failed(cause: &NasSyncError, exit_code: u8) -> Value {
    json!({ "exit_code": exit_code, "error": error(cause) })
}

/// `setup`
pub fn setup(report: &ConnectionReport, message: &str, key: Option<&NasKey>, written: &[String]) -> Value {
    let mut object = test(report, message);
    object["key_file"] = key.and_then(|key| key.file.as_deref()).map(path).into();
    object["public_key"] = key.map(|key| key.public.clone()).into();
    object["written"] = written.into();
    object
}

/// `setup --print-key`
pub fn setup_key(key: &NasKey, line: &str) -> Value {
    json!({ "key_file": key.file.as_deref().map(path), "public_key": key.public, "authorized_keys": line })
}

/// `doctor`
pub fn doctor(diagnosis: &Diagnosis) -> Value {
    let found = diagnosis.findings().into_iter().map(|(name, finding)| {
        let mut object = json!({ "name": name, "status": finding.status(), "message": finding.message() });
        if let Some(solution) = finding.solution() {
            object["solution"] = solution.into();
        }
        if let Finding::Problem(cause) = finding {
            object["error"] = error(cause);
        }
        object
    });
    let omitted = diagnosis.omitted().into_iter().map(|(name, why)| json!({ "name": name, "message": why }));
    json!({
        "healthy": diagnosis.is_healthy(),
        "checks": found.collect::<Vec<_>>(),
        "omitted": omitted.collect::<Vec<_>>(),
        "vendor": diagnosis.vendor.map(|vendor| vendor.name),
    })
}

fn path(path: &std::path::Path) -> String {
    text::escape_bytes(path.as_os_str().as_encoded_bytes())
}

/// `add`, and which of them were documents before or will fail.
pub fn add(registered: &[Registered], clashes: &[DocumentError]) -> Value {
    let known = registered.iter().filter(|registered| matches!(registered, Registered::Known { .. }));
    json!({
        "ids": registered.iter().map(|registered| id(registered.id())).collect::<Vec<_>>(),
        "known": known.map(|known| id(known.id())).collect::<Vec<_>>(),
        "clashes": clashes.iter().map(failure).collect::<Vec<_>>(),
    })
}

/// `remove`
pub fn remove(removed: &[DocumentId]) -> Value {
    json!({ "removed": removed.iter().map(id).collect::<Vec<_>>() })
}

/// `sync --dry-run`: as `sync` would, were the NAS there and nothing sent.
pub fn preview(preview: &SyncPreview) -> Value {
    let errors: Vec<_> = preview.refused.iter().chain(&preview.left_alone).cloned().collect();
    let (failed, pending) = (errors.len(), preview.sent.len() + preview.sending);
    let summary = SyncSummary { total: failed + pending, failed, pending, errors, ..SyncSummary::default() };
    let mut documents: Vec<_> = preview.sent.iter().map(planned).collect();
    documents.extend(preview.refused.iter().map(refused));
    let mut object = sync(&summary);
    object["documents"] = documents.into();
    object["more"] = false.into();
    object["dry_run"] = true.into();
    object
}

/// `index`
pub fn index(created: bool, notify_created: Option<bool>) -> Value {
    let mut object = json!({ "index": "nas_sync_pending", "created": created });
    if let Some(created) = notify_created {
        object["notify_created"] = created.into();
    }
    object
}

/// `sync`, when nothing could be looked at.
pub fn sync_failed(cause: &NasSyncError) -> Value {
    sync_of(&SyncSummary { stopped: Some(cause.clone()), ..SyncSummary::default() }, None)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::error::ErrorKind;
    use crate::json::verify;
    use crate::service::verify::VerifyReport;

    fn keys(object: &Value) -> Vec<&str> {
        object.as_object().unwrap().keys().map(String::as_str).collect()
    }

    #[test]
    fn sync_keeps_its_keys_and_types() {
        let error = NasSyncError::new(ErrorKind::SourceMissing, "gone");
        let failed = DocumentError { id: Some(DocumentId::from(42)), error };
        let mut summary =
            SyncSummary { total: 8, synced: 7, failed: 1, errors: vec![failed], ..SyncSummary::default() };
        summary.elapsed = Duration::from_millis(1500);
        let object = sync(&summary);
        assert_eq!(object["errors"], json!(["Document 42: gone"]));
        assert_eq!((&object["total"], &object["elapsed_ms"]), (&json!(8), &json!(1500)));
        assert!(object.get("error").is_none());
        let object = sync_failed(&NasSyncError::new(ErrorKind::DatabaseLocked, "x"));
        assert_eq!((&object["total"], &object["error"]["kind"]), (&json!(0), &json!("database_locked")));
    }

    #[test]
    fn errors_have_five_keys() {
        let object = error(&NasSyncError::new(ErrorKind::HostKeyChanged, "x").with_details("a\nb"));
        assert_eq!(keys(&object).len(), 5);
        assert_eq!(object["kind"], "host_key_changed");
        assert_eq!(object["details"], "a\nb");
    }

    #[test]
    fn verify_lists_ids_and_says_what_ended_it() {
        let missing =
            VerifyReport { total: 3, checked: 3, missing: vec![DocumentId::from(7)], ..VerifyReport::default() };
        assert_eq!(verify(&missing)["missing"], json!([7]));
        assert!(verify(&missing).get("error").is_none());
        let stopped = Some(NasSyncError::new(ErrorKind::ConnectionLost, "x"));
        let cut = VerifyReport { stopped, ..VerifyReport::default() };
        assert_eq!(verify(&cut)["error"]["kind"], "connection_lost");
    }

    #[test]
    fn serde_writes_the_same_objects() {
        let error = NasSyncError::new(ErrorKind::SourceMissing, "gone");
        let failed = DocumentError { id: Some(DocumentId::from("a")), error };
        let summary = SyncSummary { total: 1, failed: 1, errors: vec![failed], ..SyncSummary::default() };
        assert_eq!(serde_json::to_value(&summary).unwrap(), sync(&summary));
        assert_eq!(serde_json::to_value(&summary.errors[0]).unwrap()["id"], "a");
        assert_eq!(serde_json::to_string(&DocumentId::from(7)).unwrap(), "7");
    }
}
