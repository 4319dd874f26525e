//! The folder on the NAS: chosen, made on request, and proved to be writable.

use super::Run;
use crate::client::account;
use crate::client::nas::has_folder;
use crate::client::{Client, ConnectionReport};
use crate::config::Flags;
use crate::error::{ErrorKind, NasSyncError, Result};
use crate::text;

/// How many folders are named in an error.
const NAMED: usize = 8;

/// Chooses the folder, where it is not known yet.
pub async fn choose(run: &mut Run<'_>, client: &Client) -> Result<()> {
    let Some(person) = run.person.clone() else { return Ok(()) };
    if run.settings.path.is_some() {
        return Ok(());
    }
    let known = account::folders(client).await?;
    if !known.is_empty() {
        run.console.err("Folders there that you can write to:");
        for (number, folder) in known.iter().enumerate() {
            run.console.err(&format!("{:>4}  {}", number + 1, text::escape(folder)));
        }
    }
    loop {
        let question = if known.is_empty() {
            "Folder on the NAS for the documents"
        } else {
            "Folder for the documents (a number, or another path)"
        };
        let answer = person.line(question, None).await?;
        let number = answer.parse::<usize>().ok().filter(|_| !known.is_empty());
        let path = match number.map(|number| number.checked_sub(1).and_then(|at| known.get(at))) {
            Some(Some(listed)) => listed.clone(),
            Some(None) => {
                run.console
                    .err(&format!("the list goes from 1 to {}; a folder of that name is ./{answer}", known.len()));
                continue;
            }
            None => answer,
        };
        let flags = Flags { nas_path: Some(path.into()), ..Flags::default() };
        let Some(path) = run.answered(&flags).and_then(|settings| settings.path) else { continue };
        if has_folder(client, &path).await? == Some(false) {
            if !person.agrees(&format!("{} is not there. Make it?", text::escape(&path))).await? {
                continue;
            }
            if let Err(error) = account::make_folder(client, &path).await {
                run.console.err(error.message());
                continue;
            }
            run.step("folder", &format!("made {}", text::escape(&path)));
        }
        run.settings.path = Some(path);
        return Ok(());
    }
}

/// Proves that documents can be stored in the folder; a person may choose another one where that fails.
pub async fn check(run: &mut Run<'_>, client: &Client) -> Result<ConnectionReport> {
    loop {
        let was_asked = run.settings.path.is_none();
        choose(run, client).await?;
        let error = match client.check(&run.settings).await {
            Ok(report) => return Ok(report),
            Err(error) => error,
        };
        if !(is_the_folders(&error) && was_asked && run.person.is_some()) {
            return Err(with_others(error, client).await);
        }
        run.console.err(error.message());
        run.settings.path = None;
    }
}

/// Whether another folder may do.
fn is_the_folders(error: &NasSyncError) -> bool {
    matches!(error.kind(), ErrorKind::DestinationMissing | ErrorKind::PermissionDenied | ErrorKind::ReadOnly)
}

/// The same error, with folders that would do where this one does not.
pub async fn with_others(error: NasSyncError, client: &Client) -> NasSyncError {
    if !is_the_folders(&error) {
        return error;
    }
    // A key that is held to one folder lists none.
    let others = account::folders(client).await.unwrap_or_default();
    if others.is_empty() {
        return error;
    }
    let others: Vec<String> = others.iter().take(NAMED).map(|folder| text::escape(folder)).collect();
    let solution = format!("{} This user can write to: {}.", error.solution(), others.join(", "));
    error.with_solution(solution)
}
