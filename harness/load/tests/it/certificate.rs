//! A certificate for servers on this machine, and the file that makes clients trust it.

use std::path::Path;
use std::sync::Arc;

use tempfile::TempPath;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// A certificate that nobody else signed.
pub(crate) struct Certificate {
    certificate: CertificateDer<'static>,
    key: rcgen::KeyPair,
    file: TempPath,
}

impl Certificate {
    /// One for some names or addresses.
    pub(crate) fn of(names: &[&str]) -> Self {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let certified = rcgen::generate_simple_self_signed(names).unwrap();
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), certified.cert.pem()).unwrap();
        Self {
            certificate: certified.cert.der().clone(),
            key: certified.signing_key,
            file: file.into_temp_path(),
        }
    }

    /// It in PEM form.
    pub(crate) fn path(&self) -> &Path {
        &self.file
    }

    /// A server that shows it and speaks these protocols, as ALPN names them.
    pub(crate) fn server(&self, protocols: &[&str]) -> Arc<ServerConfig> {
        let key = PrivateKeyDer::try_from(self.key.serialize_der()).unwrap();
        let mut config =
            ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_no_client_auth()
                .with_single_cert(vec![self.certificate.clone()], key)
                .unwrap();
        let protocols = protocols.iter().map(|name| name.as_bytes().to_vec());
        config.alpn_protocols = protocols.collect();
        Arc::new(config)
    }
}
