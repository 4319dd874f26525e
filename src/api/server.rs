//! Connections: how many, and how long they may take for what.
//!
//! Guarantees: a request's head has 16 KiB and 10 seconds, also between two requests of one connection; an answer that nobody
//! takes ends its connection after 30 seconds; 64 peers are served at once, and for one more the one goes that has asked for
//! nothing for longest, so that whoever asks is answered at once however many say nothing. At the end, answers that are being
//! given have 3 seconds.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response};
use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::AsyncWriteExt as _;
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{sleep, timeout};
use tokio_io_timeout::TimeoutStream;

use super::listener::{Listener, Stream};

/// How long a head may take, and a connection be without a request.
const HEAD_TIME: Duration = Duration::from_secs(10);
/// The most that a head may be, in bytes.
const LONGEST_HEAD: usize = 16 * 1024;
/// The most fields that it may have.
const MOST_FIELDS: usize = 64;
/// How long a peer may take nothing of an answer.
const ANSWER_TIME: Duration = Duration::from_secs(30);
/// Peers at once.
const PEERS: usize = 64;
/// How long it rests when no connection can be accepted, for example for want of descriptors.
const REST: Duration = Duration::from_millis(500);
/// How long answers that are being given may take at the end.
const GOODBYE: Duration = Duration::from_secs(3);
/// What a peer hears for whom there is no place.
const FULL: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nRetry-After: 5\r\nConnection: close\r\n\r\n";

/// Answers requests while work goes on, and ends in order after it.
pub async fn around<T>(listener: Listener, router: Router, work: impl Future<Output = T>) -> T {
    let (end, ending) = watch::channel(false);
    // Dropped with this future, and all connections with it.
    let mut serving = JoinSet::new();
    serving.spawn(serve(listener, router, ending));
    let result = work.await;
    end.send_replace(true);
    // Who takes longer is cut off.
    let _ = timeout(GOODBYE, serving.join_next()).await;
    result
}

/// A peer, and the requests of it that are being answered.
struct Peer {
    task: AbortHandle,
    requests: Arc<AtomicUsize>,
}

async fn serve(listener: Listener, router: Router, mut ending: watch::Receiver<bool>) {
    let mut peers = JoinSet::new();
    // In the order in which they came.
    let mut present: VecDeque<Peer> = VecDeque::with_capacity(PEERS);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            // An error means that nobody can say it any more.
            _ = ending.changed() => break,
        };
        let mut stream = match accepted {
            Ok(stream) => stream,
            Err(error) => {
                tracing::debug!("a connection cannot be accepted: {error}");
                sleep(REST).await;
                continue;
            }
        };
        while peers.try_join_next().is_some() {}
        present.retain(|peer| !peer.task.is_finished());
        if present.len() >= PEERS {
            let idle = present.iter().position(|peer| peer.requests.load(Ordering::Relaxed) == 0);
            let Some(peer) = idle.and_then(|idle| present.remove(idle)) else {
                // A new connection has room for it; if not, it is not told.
                let _ = timeout(Duration::from_millis(10), stream.write_all(FULL)).await;
                continue;
            };
            peer.task.abort();
        }
        let requests = Arc::new(AtomicUsize::new(0));
        let task = peers.spawn(attend(stream, router.clone(), Arc::clone(&requests), ending.clone()));
        present.push_back(Peer { task, requests });
    }
    drop(listener);
    while peers.join_next().await.is_some() {}
}

/// One peer, from its first request to the end.
async fn attend(
    stream: Box<dyn Stream>,
    router: Router,
    requests: Arc<AtomicUsize>,
    mut ending: watch::Receiver<bool>,
) {
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(ANSWER_TIME));
    let router = TowerToHyperService::new(router);
    let service = service_fn(|request: Request<Incoming>| {
        let counted = Counted::new(&requests);
        let answering = router.call(request);
        async move {
            let answer: Response<Body> = answering.await?;
            Ok::<_, Infallible>(answer.map(|body| Held { body, _counted: counted }))
        }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD_TIME).max_buf_size(LONGEST_HEAD).max_headers(MOST_FIELDS);
    let mut connection = Box::pin(http.serve_connection(TokioIo::new(Box::pin(stream)), service));
    let ended = tokio::select! {
        ended = &mut connection => ended,
        _ = ending.changed() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!("a peer of the API: {error}");
    }
}

/// One request that is being answered.
struct Counted(Arc<AtomicUsize>);

impl Counted {
    fn new(requests: &Arc<AtomicUsize>) -> Self {
        requests.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(requests))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A body whose request is being answered until all of it is taken.
struct Held {
    body: Body,
    _counted: Counted,
}

impl HttpBody for Held {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
