//! One request to somebody who wants to be told, over plain TCP or TLS. Guarantees: it ends within its time, and of the answer
//! only the status is read.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
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
/// The most that is read of an answer, in bytes.
const MOST: u64 = 1024;

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

async fn talk(mut stream: impl AsyncRead + AsyncWrite + Unpin, url: &WebUrl, object: Option<&str>) -> io::Result<()> {
    let method = if object.is_some() { "POST" } else { "GET" };
    let mut request = format!(
        "{method} {} HTTP/1.1\r\nHost: {}\r\nUser-Agent: nas-sync/{}\r\nConnection: close\r\n",
        url.target,
        url.authority(),
        env!("CARGO_PKG_VERSION")
    );
    if let Some(object) = object {
        request.push_str("Content-Type: application/json\r\nContent-Length: ");
        request.push_str(&object.len().to_string());
        request.push_str("\r\n");
    }
    request.push_str("\r\n");
    request.push_str(object.unwrap_or_default());
    stream.write_all(request.as_bytes()).await?;
    stream.flush().await?;
    let mut head = Vec::new();
    let mut answer = stream.take(MOST);
    while !head.contains(&b'\n') && answer.read_buf(&mut head).await? > 0 {}
    match status(&head) {
        Some(200..=299) => Ok(()),
        Some(status) => Err(io::Error::other(format!("it answered with status {status}"))),
        None => Err(io::Error::new(io::ErrorKind::InvalidData, "it does not answer in HTTP")),
    }
}

fn status(head: &[u8]) -> Option<u16> {
    let line = str::from_utf8(head.split(|byte| *byte == b'\n').next()?).ok()?;
    let mut words = line.split_ascii_whitespace();
    words.next().filter(|version| version.starts_with("HTTP/1."))?;
    words.next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_read_or_none_is_there() {
        assert_eq!(status(b"HTTP/1.1 204 No Content\r\nX: y\r\n"), Some(204));
        assert_eq!(status(b"HTTP/1.0 503\r\n"), Some(503));
        for other in [&b""[..], b"SSH-2.0-x\r\n", b"HTTP/1.1\r\n", b"HTTP/1.1 \xff\r\n"] {
            assert_eq!(status(other), None);
        }
    }
}
