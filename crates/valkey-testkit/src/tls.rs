//! A certificate authority for one test server, with a certificate for it and one for its clients.

use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use tempfile::TempDir;

use crate::TestkitError;

/// What clients need, as files of this machine.
#[derive(Debug)]
pub(crate) struct ClientFiles {
    ca: PathBuf,
    certificate: PathBuf,
    key: PathBuf,
    _directory: TempDir,
}

/// All of it, as PEM text.
pub(crate) struct Certificates {
    pub(crate) ca: String,
    pub(crate) server: (String, String),
    pub(crate) client: (String, String),
}

impl Certificates {
    /// The server's certificate is valid for `ip`, for `localhost` and for the loopback address, where proxies listen.
    pub(crate) fn make(ip: IpAddr) -> Result<Self, TestkitError> {
        Self::try_make(ip).map_err(|error| TestkitError::Certificate(error.into()))
    }

    fn try_make(ip: IpAddr) -> Result<Self, rcgen::Error> {
        let ca_key = KeyPair::generate()?;
        let mut ca = CertificateParams::default();
        ca.distinguished_name.push(DnType::CommonName, "valkey-testkit CA");
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        ca.key_usages =
            vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
        let ca_certificate = ca.self_signed(&ca_key)?.pem();
        let issuer = Issuer::new(ca, ca_key);

        let names = vec!["localhost".to_owned(), Ipv4Addr::LOCALHOST.to_string(), ip.to_string()];
        // A node of a cluster is a client of the others, with the same certificate.
        let both = [ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let server = issue(&issuer, "valkey-testkit server", names, &both)?;
        let client =
            issue(&issuer, "valkey-testkit client", Vec::new(), &[ExtendedKeyUsagePurpose::ClientAuth])?;
        Ok(Self { ca: ca_certificate, server, client })
    }

    pub(crate) fn write_client_files(&self) -> Result<ClientFiles, TestkitError> {
        let doing = "writing the test certificates";
        let directory = tempfile::Builder::new()
            .prefix("valkey-testkit-tls-")
            .tempdir()
            .map_err(TestkitError::io(doing))?;
        let write = |name: &str, content: &str| {
            let path = directory.path().join(name);
            std::fs::write(&path, content).map(|()| path).map_err(TestkitError::io(doing))
        };
        Ok(ClientFiles {
            ca: write("ca.pem", &self.ca)?,
            certificate: write("client.pem", &self.client.0)?,
            key: write("client.key", &self.client.1)?,
            _directory: directory,
        })
    }
}

impl ClientFiles {
    pub(crate) fn ca(&self) -> &Path {
        &self.ca
    }

    pub(crate) fn certificate(&self) -> &Path {
        &self.certificate
    }

    pub(crate) fn key(&self) -> &Path {
        &self.key
    }
}

/// Certificate and key.
fn issue(
    issuer: &Issuer<'_, KeyPair>,
    name: &str,
    subjects: Vec<String>,
    usages: &[ExtendedKeyUsagePurpose],
) -> Result<(String, String), rcgen::Error> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::new(subjects)?;
    params.distinguished_name.push(DnType::CommonName, name);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = usages.to_vec();
    params.use_authority_key_identifier_extension = true;
    let certificate = params.signed_by(&key, issuer)?;
    Ok((certificate.pem(), key.serialize_pem()))
}
