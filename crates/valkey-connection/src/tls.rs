//! The TLS side: one provider (aws-lc-rs), roots from a file or the system, an optional client certificate.

use std::path::Path;
use std::sync::Arc;

use fred::types::config::{HostMapping, TlsConfig, TlsConnector, TlsHostMapping};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};

use crate::error::{Error, ErrorKind, Progress};
use crate::settings::{ConnectionSettings, Mode};

/// The driver's TLS configuration, or `None` when the connection is plain.
pub(crate) fn configure(settings: &ConnectionSettings) -> Result<Option<TlsConfig>, Error> {
    if !settings.uses_tls() {
        return Ok(None);
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| failure(format!("no TLS version is available: {error}")))?;
    let builder = if settings.tls_skip_verify {
        tracing::warn!(
            "tls_skip_verify is on: the server's certificate is NOT checked, anyone can pose as the server"
        );
        builder.dangerous().with_custom_certificate_verifier(Arc::new(AcceptAnything(provider)))
    } else {
        builder.with_root_certificates(roots(settings.tls_ca_file.as_deref())?)
    };
    let config = match (&settings.tls_cert_file, &settings.tls_key_file) {
        (Some(cert), Some(key)) => {
            builder.with_client_auth_cert(certificates(cert)?, private_key(key)?).map_err(|error| {
                failure(format!("the client certificate {} does not work: {error}", cert.display()))
            })?
        }
        _ => builder.with_no_client_auth(),
    };
    // Nodes of a cluster announce IP addresses; their certificates usually carry one common name.
    let hostnames = match (&settings.tls_server_name, settings.mode) {
        (Some(name), Mode::Cluster) => TlsHostMapping::Custom(Arc::new(OneName(name.clone()))),
        _ => TlsHostMapping::None,
    };
    Ok(Some(TlsConfig { connector: TlsConnector::from(config), hostnames }))
}

fn roots(ca_file: Option<&Path>) -> Result<RootCertStore, Error> {
    let mut store = RootCertStore::empty();
    if let Some(path) = ca_file {
        for certificate in certificates(path)? {
            store.add(certificate).map_err(|error| {
                failure(format!("a certificate in {} is not usable: {error}", path.display()))
            })?;
        }
    } else {
        let system = rustls_native_certs::load_native_certs();
        store.add_parsable_certificates(system.certs);
    }
    if store.is_empty() {
        return Err(failure(match ca_file {
            Some(path) => format!("there is no certificate in the CA file {}", path.display()),
            None => "the system has no CA certificates: set tls_ca_file".to_owned(),
        }));
    }
    Ok(store)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect)
        .map_err(|error| failure(format!("the certificate file {} is not readable: {error}", path.display())))
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, Error> {
    PrivateKeyDer::from_pem_file(path)
        .map_err(|error| failure(format!("the key file {} is not readable: {error}", path.display())))
}

fn failure(detail: String) -> Error {
    Error::new(ErrorKind::Tls, Progress::NotSent, detail)
}

/// The same certificate name for every node.
#[derive(Debug)]
struct OneName(String);

impl HostMapping for OneName {
    fn map(&self, _ip: &std::net::IpAddr, _default_host: &str) -> Option<String> {
        Some(self.0.clone())
    }
}

/// What `tls_skip_verify` asks for. Signatures are still checked: it costs nothing and finds broken peers.
#[derive(Debug)]
struct AcceptAnything(Arc<CryptoProvider>);

impl ServerCertVerifier for AcceptAnything {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
