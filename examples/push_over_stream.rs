//! Pushes folders over a stream of one's own: here the pipes of a child process, which any command can be that leads to
//! `rsync --server`.
//!
//! Run it with `cargo run --example push_over_stream -- DESTINATION SOURCE…`.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::process::Stdio;
use std::sync::Arc;

use nas_sync::{ErrorKind, Files, NasSyncError, PushOptions, PushRequest, Silent, push_over};
use tokio::process::Command;

#[tokio::main]
async fn main() -> Result<(), NasSyncError> {
    let mut words = std::env::args_os().skip(1);
    let destination = words.next().ok_or_else(|| NasSyncError::new(ErrorKind::Usage, "where to?"))?;
    let mut options = PushOptions::default();
    (options.recursive, options.times, options.permissions) = (true, true, true);
    let files = Files::Operands(words.map(Into::into).collect());
    let request = PushRequest::new(files, destination.as_bytes(), options);

    let failed =
        |error: std::io::Error| NasSyncError::new(ErrorKind::RsyncMissing, "rsync did not start").with_source(error);
    let arguments = request.server_arguments();
    let server = Command::new("rsync")
        .args(arguments.iter().map(|word| OsStr::from_bytes(word)))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    let (Some(output), Some(input)) = (server.stdout, server.stdin) else {
        return Err(NasSyncError::new(ErrorKind::Internal, "the child process has no pipes"));
    };

    let report = push_over(tokio::io::join(output, input), request, Arc::new(Silent)).await?;
    println!(
        "{} of {} files sent, {} bytes",
        report.stats.transferred, report.stats.listed.files, report.stats.literal
    );
    report.error.map_or(Ok(()), Err)
}
