//! Documents over a login of the pool; one that is lost on the way is made anew.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use nas_sync::{
    DocumentId, DocumentMonitor, DocumentOutcome, ErrorKind, FetchDocuments, FetchedDocument, Monitor, NasSyncError,
    Result, SendDocuments, StoredDocument,
};

use crate::pool::Pool;
use crate::progress::Shared;

/// How often in a row a login may be lost without a document that was stored. A kept one may have been cut off unnoticed.
const MOST_LOSSES: u32 = 2;
/// Between two of them.
const PAUSE: Duration = Duration::from_secs(1);

/// What became of a document.
pub type Outcome = (DocumentId, Result<StoredDocument>);

/// Sends documents. Gives their outcomes in the order of the request; fails only when nothing could be tried.
pub async fn send(
    pool: Arc<Pool>,
    mut request: SendDocuments,
    progress: Arc<Shared>,
    stop: impl Future<Output = ()> + Send,
) -> Result<Vec<Outcome>> {
    let order: Vec<DocumentId> = request.documents.iter().map(|document| document.id.clone()).collect();
    let mut settled: HashMap<DocumentId, Result<StoredDocument>> = HashMap::new();
    let (mut stop, mut losses) = (pin!(stop), 0);
    let rest = loop {
        let login = tokio::select! {
            login = pool.take() => login,
            () = &mut stop => Err(interrupted()),
        };
        let login = match login {
            Ok(login) => login,
            // Nothing has been tried.
            Err(error) if losses == 0 => return Err(error),
            Err(error) => break error,
        };
        let monitor = Arc::clone(&progress) as Arc<dyn DocumentMonitor>;
        let outcomes = login.client.send_documents_until(request.clone(), monitor, stop.as_mut()).await?;
        let lost = login.client.ssh().lost();
        login.keep();
        let mut stored = 0;
        for DocumentOutcome { id, result, .. } in outcomes {
            if !(lost.is_some() && result.as_ref().is_err_and(is_lost)) {
                stored += u32::from(result.is_ok());
                settled.insert(id, result);
            }
        }
        request.documents.retain(|document| !settled.contains_key(&document.id));
        let Some(lost) = lost.filter(|_| !request.documents.is_empty()) else { break unreached() };
        losses = if stored > 0 { 1 } else { losses + 1 };
        if losses > MOST_LOSSES {
            break lost;
        }
        tokio::select! {
            () = tokio::time::sleep(PAUSE) => {}
            () = &mut stop => break interrupted(),
        }
    };
    let outcome = |id: DocumentId| {
        let told = settled.remove(&id);
        let is_told = told.as_ref().is_some_and(|result| !result.as_ref().is_err_and(is_lost));
        let result = told.unwrap_or_else(|| Err(rest.clone()));
        if let (Err(error), false) = (&result, is_told) {
            progress.fail(&id, error);
        }
        (id, result)
    };
    Ok(order.into_iter().map(outcome).collect())
}

/// Fetches documents. Gives their outcomes in the order of the request; fails only when nothing could be tried.
pub async fn fetch(
    pool: Arc<Pool>,
    request: FetchDocuments,
    progress: Arc<Shared>,
    stop: impl Future<Output = ()> + Send,
) -> Result<Vec<FetchedDocument>> {
    let work = async {
        let mut losses = 0;
        loop {
            let login = pool.take().await?;
            let monitor = Arc::clone(&progress) as Arc<dyn Monitor>;
            let fetched = login.client.fetch_documents(request.clone(), monitor).await;
            let is_cut = login.client.ssh().lost().is_some();
            login.keep();
            losses += u32::from(is_cut);
            if !is_cut || losses > MOST_LOSSES {
                return fetched;
            }
            // What came whole is here, and costs little to ask for again.
            tokio::time::sleep(PAUSE).await;
        }
    };
    tokio::select! {
        fetched = work => fetched,
        () = stop => Err(interrupted()),
    }
}

fn is_lost(error: &NasSyncError) -> bool {
    error.kind() == ErrorKind::ConnectionLost
}

fn interrupted() -> NasSyncError {
    NasSyncError::new(ErrorKind::Interrupted, "interrupted before it was sent")
}

fn unreached() -> NasSyncError {
    NasSyncError::new(ErrorKind::NotAcknowledged, "it was not reached")
}
