//! One request to somebody who wants to be told, over plain TCP or TLS. Guarantees: it ends within its time, and of the answer
//! only the head is read.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::client::conn::http1;
use hyper::header::{CONNECTION, CONTENT_TYPE, HOST, USER_AGENT};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::config::WebUrl;
use crate::system_roots;

/// How long one request may take altogether.
const LONGEST: Duration = Duration::from_secs(15);

/// Sends an object, or asks without one. Fails when the answer is no success.
pub async fn send(url: &WebUrl, object: Option<&str>) -> io::Result<()> {
    let late = |_| io::Error::new(io::ErrorKind::TimedOut, format!("no answer within {} s", LONGEST.as_secs()));
    timeout(LONGEST, exchange(url, object)).await.map_err(late)?
}

async fn exchange(url: &WebUrl, object: Option<&str>) -> io::Result<()> {
    let stream = TcpStream::connect((url.host.as_str(), url.port)).await?;
    if !url.tls {
        return talk(stream, url, object).await;
    }
    let name = ServerName::try_from(url.host.clone()).map_err(io::Error::other)?;
    talk(connector()?.connect(name, stream).await?, url, object).await
}

fn connector() -> io::Result<TlsConnector> {
    // As OpenSSL has it, for a container that brings its own.
    let named = std::env::var_os("SSL_CERT_FILE").filter(|file| !file.is_empty()).map(PathBuf::from);
    let missing =
        || io::Error::other("this machine has no bundle of certificates (ca-certificates); SSL_CERT_FILE names one");
    let file = named.or_else(system_roots::bundle).ok_or_else(missing)?;
    let certificates = CertificateDer::pem_file_iter(&file)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| io::Error::other(format!("the certificates in {} cannot be used: {error}", file.display())))?;
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(certificates);
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

async fn talk(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    url: &WebUrl,
    object: Option<&str>,
) -> io::Result<()> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    let mut request = Request::builder()
        .method(if object.is_some() { Method::POST } else { Method::GET })
        .uri(&url.target)
        .header(HOST, url.authority())
        .header(USER_AGENT, concat!("nas-sync/", env!("CARGO_PKG_VERSION")))
        .header(CONNECTION, "close");
    if object.is_some() {
        request = request.header(CONTENT_TYPE, "application/json");
    }
    let body = Full::new(Bytes::from(object.unwrap_or_default().to_owned()));
    let request = request.body(body).map_err(io::Error::other)?;
    let _connection = AbortOnDrop(tokio::spawn(connection));
    let answer = sender.send_request(request).await.map_err(io::Error::other)?;
    match answer.status() {
        status if status.is_success() => Ok(()),
        status => Err(io::Error::other(format!("it answered with status {}", status.as_u16()))),
    }
}

/// What moves the bytes of one request, and ends with it.
struct AbortOnDrop(JoinHandle<hyper::Result<()>>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}
