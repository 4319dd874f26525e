//! What is set here, and the folder of the documents.

use super::Finding;
use crate::blocking;
use crate::client::check::shape_of;
use crate::client::documents::open_upload_dir;
use crate::config::Settings;
use crate::error::{ErrorKind, NasSyncError, Result};
use crate::text;

/// Whether all that is needed is set, and makes sense.
pub(super) fn configuration(settings: Result<&Settings, &NasSyncError>) -> Finding {
    let settings = match settings {
        Ok(settings) => settings,
        Err(error) => return Finding::Problem(error.clone()),
    };
    let missing = settings.missing();
    if !missing.is_empty() {
        let message = format!("not configured, missing: {}", missing.join(", "));
        let error = NasSyncError::new(ErrorKind::NotConfigured, message);
        return Finding::Problem(error.with_solution(
            "Run `nas-sync setup`, which asks for them; or set them in the environment or in a .env file.",
        ));
    }
    if let Err(error) = shape_of(settings) {
        return Finding::Problem(error);
    }
    let show = |value: &Option<String>| text::escape(value.as_deref().unwrap_or_default());
    let (user, host, path) = (show(&settings.nas_user()), show(&settings.host), show(&settings.path));
    Finding::ok(format!("{user} at {host}, port {}, folder {path}", settings.nas_port()))
}

/// Names that look like settings and are none, and secrets that others can read.
pub(super) fn environment(warnings: &[String]) -> Finding {
    if warnings.is_empty() {
        return Finding::ok("nothing in it is unknown, or open to others");
    }
    Finding::warning(warnings.join("; "), "Correct or remove what is named.")
}

/// Whether the folder of the documents is there and holds something.
pub(super) async fn uploads(settings: Settings) -> Finding {
    let Some(folder) = settings.upload_dir else {
        return Finding::ok("UPLOAD_DIR is not set: documents have absolute paths, and may lie anywhere");
    };
    let shown = text::escape(&folder.to_string_lossy());
    let look = move || {
        open_upload_dir(&folder)?;
        let read = |error| NasSyncError::at_path(ErrorKind::UploadsUnavailable, "cannot read", &folder, error);
        Ok(std::fs::read_dir(&folder).map_err(read)?.next().is_none())
    };
    match blocking::run(look).await {
        Err(error) => Finding::Problem(error),
        Ok(true) => Finding::warning(
            format!("{shown} is empty"),
            "That is right where no document is there yet; else it is often a disk, share or volume that is not mounted.",
        ),
        Ok(false) => Finding::ok(format!("{shown} can be read")),
    }
}
