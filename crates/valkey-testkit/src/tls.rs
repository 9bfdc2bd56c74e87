//! A certificate authority for test servers and their clients.

use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

use crate::TestkitError;

/// Certificate and key, as PEM text.
type Pair = (String, String);

/// The authority, what it gave to clients, and what it gives to servers. The nodes of a cluster share one.
#[derive(Debug)]
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    ca: String,
    client: Pair,
    ca_path: PathBuf,
    certificate_path: PathBuf,
    key_path: PathBuf,
    _directory: Directory,
}

impl Authority {
    pub(crate) fn make() -> Result<Self, TestkitError> {
        let doing = "writing the test certificates";
        let (issuer, ca, client) =
            Self::try_make().map_err(|error| TestkitError::Certificate(error.into()))?;
        let directory = Directory::make().map_err(TestkitError::io(doing))?;
        let write = |name: &str, content: &str| {
            let path = directory.path.join(name);
            std::fs::write(&path, content).map(|()| path).map_err(TestkitError::io(doing))
        };
        Ok(Self {
            ca_path: write("ca.pem", &ca)?,
            certificate_path: write("client.pem", &client.0)?,
            key_path: write("client.key", &client.1)?,
            _directory: directory,
            issuer,
            ca,
            client,
        })
    }

    fn try_make() -> Result<(Issuer<'static, KeyPair>, String, Pair), rcgen::Error> {
        let key = KeyPair::generate()?;
        let mut ca = CertificateParams::default();
        ca.distinguished_name.push(DnType::CommonName, "valkey-testkit CA");
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        ca.key_usages =
            vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
        let certificate = ca.self_signed(&key)?.pem();
        let issuer = Issuer::new(ca, key);
        let client =
            issue(&issuer, "valkey-testkit client", Vec::new(), &[ExtendedKeyUsagePurpose::ClientAuth])?;
        Ok((issuer, certificate, client))
    }

    /// What a server at `ip` needs, by file name. Its certificate is also valid for `localhost` and for the loopback
    /// address, where proxies listen.
    pub(crate) fn server_files(&self, ip: IpAddr) -> Result<[(&'static str, String); 5], TestkitError> {
        let names = vec!["localhost".to_owned(), Ipv4Addr::LOCALHOST.to_string(), ip.to_string()];
        // A node of a cluster is a client of the others, with the same certificate.
        let both = [ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let (certificate, key) = issue(&self.issuer, "valkey-testkit server", names, &both)
            .map_err(|error| TestkitError::Certificate(error.into()))?;
        Ok([
            ("ca.pem", self.ca.clone()),
            ("server.pem", certificate),
            ("server.key", key),
            ("client.pem", self.client.0.clone()),
            ("client.key", self.client.1.clone()),
        ])
    }

    pub(crate) fn ca_path(&self) -> &Path {
        &self.ca_path
    }

    pub(crate) fn certificate_path(&self) -> &Path {
        &self.certificate_path
    }

    pub(crate) fn key_path(&self) -> &Path {
        &self.key_path
    }
}

/// A temporary directory that goes also when its process is killed: a shell removes it when its stdin ends.
#[derive(Debug)]
struct Directory {
    path: PathBuf,
    watcher: Child,
}

impl Directory {
    fn make() -> std::io::Result<Self> {
        let directory = tempfile::Builder::new().prefix("valkey-testkit-tls-").tempdir()?;
        let watcher = Command::new("sh")
            .args(["-c", r#"cat >/dev/null; rm -rf "$1""#, "sh"])
            .arg(directory.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()?;
        Ok(Self { path: directory.keep(), watcher })
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        drop(self.watcher.stdin.take());
        let _ = self.watcher.wait();
    }
}

fn issue(
    issuer: &Issuer<'_, KeyPair>,
    name: &str,
    subjects: Vec<String>,
    usages: &[ExtendedKeyUsagePurpose],
) -> Result<Pair, rcgen::Error> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::new(subjects)?;
    params.distinguished_name.push(DnType::CommonName, name);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = usages.to_vec();
    params.use_authority_key_identifier_extension = true;
    let certificate = params.signed_by(&key, issuer)?;
    Ok((certificate.pem(), key.serialize_pem()))
}
