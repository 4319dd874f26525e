//! TLS as libpq means it: what is verified depends on `sslmode` alone.

use std::future::Future;
use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::tls::{ChannelBinding, MakeTlsConnect, TlsConnect, TlsStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream as RustlsStream;
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use tokio_rustls::rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::server::ParsedCertificate;
use tokio_rustls::rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

use super::fault::Fault;
use super::login::Login;
use crate::database::{RootCertificates, Tls};
use crate::error::{ErrorKind, NasSyncError};
use crate::system_roots;

/// Makes TLS connections as a URL asks for them.
#[derive(Clone)]
pub(super) struct Connector(TlsConnector);

impl Connector {
    pub fn new(login: &Login) -> Result<Self, Fault> {
        let provider = Arc::new(ring::default_provider());
        let verifier =
            Verifier { provider: Arc::clone(&provider), roots: roots(login)?, name: login.url.tls == Tls::VerifyFull };
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| unusable(&error.to_string()))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_no_client_auth();
        Ok(Self(TlsConnector::from(Arc::new(config))))
    }
}

/// The certificates to verify with; `None`: nothing is verified.
fn roots(login: &Login) -> Result<Option<Roots>, Fault> {
    let own = || login.file_in_home(".postgresql/root.crt");
    let file = match (&login.url.roots, login.url.tls) {
        (Some(RootCertificates::System), _) => {
            Some(system_roots::bundle().ok_or_else(|| unusable("this machine has no bundle of certificates (ca-certificates)"))?)
        }
        (_, Tls::Disable | Tls::Prefer) => None,
        (Some(RootCertificates::File(file)), _) => Some(file.clone()),
        (None, Tls::Require) => own(),
        (None, Tls::VerifyCa | Tls::VerifyFull) => Some(own().ok_or_else(|| {
            unusable("sslmode asks to verify the server, and there is no root certificate: name it with sslrootcert=FILE, or \
                      sslrootcert=system")
        })?),
    };
    file.map(|file| Roots::read(&file)).transpose()
}

fn unusable(what: &str) -> Fault {
    let solution = "Check sslmode and sslrootcert in the URL of the database.";
    NasSyncError::new(ErrorKind::DatabaseUnusable, format!("TLS to the database cannot be set up: {what}"))
        .with_solution(solution)
        .into()
}

#[derive(Debug)]
struct Roots {
    anchors: RootCertStore,
    /// A server's own certificate may stand among them: it then needs nobody to sign it.
    certificates: Vec<CertificateDer<'static>>,
}

impl Roots {
    fn read(file: &Path) -> Result<Self, Fault> {
        let wrong = |why: &dyn std::fmt::Display| {
            unusable(&format!("the root certificates in {} cannot be used: {why}", file.display()))
        };
        let read = CertificateDer::pem_file_iter(file).map_err(|error| wrong(&error))?;
        let certificates = read.collect::<Result<Vec<_>, _>>().map_err(|error| wrong(&error))?;
        if certificates.is_empty() {
            return Err(wrong(&"there is none"));
        }
        let mut anchors = RootCertStore::empty();
        anchors.add_parsable_certificates(certificates.iter().cloned());
        Ok(Self { anchors, certificates })
    }
}

/// Verifies a server's certificate as far as it was asked for.
#[derive(Debug)]
struct Verifier {
    provider: Arc<CryptoProvider>,
    roots: Option<Roots>,
    name: bool,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Some(roots) = &self.roots else { return Ok(ServerCertVerified::assertion()) };
        let certificate = ParsedCertificate::try_from(end_entity)?;
        if !roots.certificates.iter().any(|root| root == end_entity) {
            let algorithms = self.provider.signature_verification_algorithms.all;
            verify_server_cert_signed_by_trust_anchor(&certificate, &roots.anchors, intermediates, now, algorithms)?;
        }
        if self.name {
            verify_server_name(&certificate, server_name)?;
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// A connector with the name of the host.
pub(super) struct Named(TlsConnector, ServerName<'static>);

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> MakeTlsConnect<S> for Connector {
    type Stream = Stream<S>;
    type TlsConnect = Named;
    type Error = io::Error;

    fn make_tls_connect(&mut self, domain: &str) -> Result<Named, io::Error> {
        // Where there is no name no TLS comes about; anything will do.
        let name = if domain.is_empty() { "localhost" } else { domain };
        let name = ServerName::try_from(name.to_owned())
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        Ok(Named(self.0.clone(), name))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> TlsConnect<S> for Named {
    type Stream = Stream<S>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Stream<S>>> + Send>>;

    fn connect(self, stream: S) -> Self::Future {
        Box::pin(async move { self.0.connect(self.1, stream).await.map(Stream) })
    }
}

/// A TLS connection.
pub(super) struct Stream<S>(RustlsStream<S>);

impl<S: AsyncRead + AsyncWrite + Unpin> TlsStream for Stream<S> {
    fn channel_binding(&self) -> ChannelBinding {
        ChannelBinding::none()
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Stream<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, into)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Stream<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
