//! A private root, and the one certificate it gave.

use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::DoubleError;

/// A root nobody knows yet, and what a server needs that shows a certificate of it.
#[derive(Debug, Clone)]
pub(crate) struct Authority {
    ca_pem: String,
    server: Arc<ServerConfig>,
}

impl Authority {
    /// A new root, and a certificate for this name, and for the other if there is one: clients have to connect by it.
    pub(crate) fn for_server(fqdn: &str, alias: Option<&str>) -> Result<Self, DoubleError> {
        let refused = |reason: String| DoubleError::Certificate { fqdn: fqdn.to_owned(), reason };
        let (ca_pem, chain, key) = make(fqdn, alias).map_err(|error| refused(error.to_string()))?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut server = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| refused(error.to_string()))?
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .map_err(|error| refused(error.to_string()))?;
        server.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self { ca_pem, server: Arc::new(server) })
    }

    pub(crate) fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    pub(crate) fn server(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.server)
    }
}

type Chain = Vec<rustls::pki_types::CertificateDer<'static>>;

fn make(fqdn: &str, alias: Option<&str>) -> Result<(String, Chain, PrivateKeyDer<'static>), rcgen::Error> {
    let mut ca = CertificateParams::default();
    ca.distinguished_name.push(DnType::OrganizationName, fqdn);
    ca.distinguished_name.push(DnType::CommonName, "Certificate Authority");
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    ca.key_usages =
        vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
    let ca_key = KeyPair::generate()?;
    let root = ca.self_signed(&ca_key)?;
    let issuer = Issuer::new(ca, ca_key);

    let key = KeyPair::generate()?;
    let mut server =
        CertificateParams::new([fqdn].into_iter().chain(alias).map(str::to_owned).collect::<Vec<_>>())?;
    server.distinguished_name.push(DnType::CommonName, fqdn);
    server.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    server.use_authority_key_identifier_extension = true;
    let certificate = server.signed_by(&key, &issuer)?;

    let chain = vec![certificate.der().clone(), root.der().clone()];
    Ok((root.pem(), chain, PrivatePkcs8KeyDer::from(key.serialize_der()).into()))
}
