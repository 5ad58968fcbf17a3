//! Whom a load's TLS connections trust.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use holdfast_core::experiment::{HttpVersion, Transport, Trust};
use tokio_rustls::rustls::client::Resumption;
use tokio_rustls::rustls::client::danger::{
    HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier,
};
use tokio_rustls::rustls::crypto::{CryptoProvider, aws_lc_rs};
use tokio_rustls::rustls::pki_types::pem::{self, PemObject as _};
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::{
    ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
};

/// Why no TLS connection can be made.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The file with authorities cannot be read.
    #[error("the certificate authorities in {} cannot be read", path.display())]
    Authorities {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: pem::Error,
    },
    /// One of them is no certificate.
    #[error("a certificate authority in {} cannot be used", path.display())]
    Authority {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: Error,
    },
    /// The file has none.
    #[error("{} has no certificate in PEM form", .0.display())]
    NoAuthority(PathBuf),
    /// The system has none.
    #[error(
        "the system has no certificate authorities; install them (package ca-certificates), or \
         name a file of them, or trust any certificate, in the load's `tls`"
    )]
    NoSystemAuthorities,
}

/// The settings that a transport asks for. It keeps no sessions: each connection pays for a whole
/// handshake, as a new customer's does.
pub(crate) fn config(transport: &Transport) -> Result<Arc<ClientConfig>, TlsError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .expect("the provider knows the usual protocol versions");
    let config = match roots(&transport.tls)? {
        Some(roots) => config.with_root_certificates(roots),
        None => config
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Trusting(provider))),
    };
    let mut config = config.with_no_client_auth();
    config.resumption = Resumption::disabled();
    config.alpn_protocols = vec![protocol(transport.http).to_vec()];
    Ok(Arc::new(config))
}

/// A version of HTTP as ALPN names it.
pub(crate) fn protocol(version: HttpVersion) -> &'static [u8] {
    match version {
        HttpVersion::Http1 => b"http/1.1",
        HttpVersion::Http2 => b"h2",
    }
}

/// The authorities to trust; `None`: no certificate is looked at.
fn roots(trust: &Trust) -> Result<Option<RootCertStore>, TlsError> {
    let mut roots = RootCertStore::empty();
    match trust {
        Trust::Anything => return Ok(None),
        Trust::System => {
            let found = rustls_native_certs::load_native_certs();
            for error in found.errors {
                tracing::warn!(%error, "some of the system's certificate authorities are unreadable");
            }
            let (usable, _) = roots.add_parsable_certificates(found.certs);
            if usable == 0 {
                return Err(TlsError::NoSystemAuthorities);
            }
        }
        Trust::Authorities(path) => {
            let unreadable = |source| TlsError::Authorities {
                path: path.clone(),
                source,
            };
            let certificates = CertificateDer::pem_file_iter(path).map_err(unreadable)?;
            for certificate in certificates {
                let added = roots.add(certificate.map_err(unreadable)?);
                added.map_err(|source| TlsError::Authority {
                    path: path.clone(),
                    source,
                })?;
            }
            if roots.is_empty() {
                return Err(TlsError::NoAuthority(path.clone()));
            }
        }
    }
    Ok(Some(roots))
}

/// Whether an error comes from TLS itself, not from the connection below it.
pub(crate) fn is_cause_of(error: &io::Error) -> bool {
    error
        .get_ref()
        .is_some_and(<dyn std::error::Error + Send + Sync>::is::<Error>)
}

/// Believes whatever a server says of itself.
#[derive(Debug)]
struct Trusting(Arc<CryptoProvider>);

impl ServerCertVerifier for Trusting {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
