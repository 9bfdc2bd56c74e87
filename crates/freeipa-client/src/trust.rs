//! Whom to believe that a server is who it says.

use std::fmt;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

/// The certificate authorities that may vouch for the servers. There is no way to trust everybody.
///
/// FreeIPA has an authority of its own, whose certificate is on every member of the domain at `/etc/ipa/ca.crt`. The file
/// may hold several while a renewal is going on. It is read when the client is made: after a renewal make a new one.
#[derive(Clone)]
#[non_exhaustive]
pub enum Trust {
    /// Only those in this PEM bundle.
    Only(Vec<u8>),
    /// Those that the system trusts.
    System,
}

/// Why there is nobody to trust.
#[non_exhaustive]
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum InvalidTrust {
    /// The bundle holds no certificate.
    #[error("the CA bundle holds no certificate: give the PEM file that is /etc/ipa/ca.crt on the server")]
    Empty,
    /// Something in the bundle is no certificate.
    #[error(
        "certificate {number} of the CA bundle cannot be read: {reason}; give the PEM file that is /etc/ipa/ca.crt on the server"
    )]
    Certificate {
        /// Which one, from 1.
        number: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// The system has none.
    #[error(
        "this system trusts no certificate authority: install its bundle (ca-certificates), or give the CA of the domain"
    )]
    NoSystem,
}

impl Trust {
    /// TLS for one server.
    pub(crate) fn tls(&self) -> Result<ClientConfig, InvalidTrust> {
        let roots = match self {
            Self::Only(bundle) => own(bundle)?,
            Self::System => system()?,
        };
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("the provider has ciphers for the versions that are safe");
        Ok(builder.with_root_certificates(roots).with_no_client_auth())
    }
}

fn own(bundle: &[u8]) -> Result<RootCertStore, InvalidTrust> {
    let mut roots = RootCertStore::empty();
    for (index, certificate) in CertificateDer::pem_slice_iter(bundle).enumerate() {
        let unreadable = |reason: String| InvalidTrust::Certificate { number: index + 1, reason };
        let certificate = certificate.map_err(|error| unreadable(error.to_string()))?;
        roots.add(certificate).map_err(|error| unreadable(error.to_string()))?;
    }
    if roots.is_empty() { Err(InvalidTrust::Empty) } else { Ok(roots) }
}

fn system() -> Result<RootCertStore, InvalidTrust> {
    let mut roots = RootCertStore::empty();
    // One that cannot be read does no harm: servers that need it are then refused.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() { Err(InvalidTrust::NoSystem) } else { Ok(roots) }
}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Only(bundle) => write!(f, "Only({} bytes)", bundle.len()),
            Self::System => f.write_str("System"),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn ca() -> String {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut parameters = rcgen::CertificateParams::default();
        parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        parameters.self_signed(&key).unwrap().pem()
    }

    #[test]
    fn a_bundle_may_hold_several() {
        let bundle = format!("# old\n{}\n# new\n{}", ca(), ca());
        assert_eq!(own(bundle.as_bytes()).unwrap().len(), 2);
        assert!(Trust::Only(bundle.into_bytes()).tls().is_ok());
    }

    #[test]
    fn what_holds_no_certificate_is_refused() {
        assert_eq!(own(b"").unwrap_err(), InvalidTrust::Empty);
        assert_eq!(own(b"/etc/ipa/ca.crt").unwrap_err(), InvalidTrust::Empty);
        let key = rcgen::KeyPair::generate().unwrap().serialize_pem();
        assert_eq!(own(key.as_bytes()).unwrap_err(), InvalidTrust::Empty);
    }

    #[test]
    fn the_unreadable_one_is_named() {
        let bundle = format!("{}-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", ca());
        assert!(matches!(own(bundle.as_bytes()), Err(InvalidTrust::Certificate { number: 2, .. })));
    }
}
