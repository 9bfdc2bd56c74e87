//! A TLS server's certificate is signed by its authority, and it knows its own clients.

#![allow(clippy::unwrap_used, missing_docs)]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use valkey_testkit::{Cut, FaultProxy, TestServer};

fn config(ca: Option<&Path>, certificate: Option<(&Path, &Path)>) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    if let Some(ca) = ca {
        roots.add(CertificateDer::from_pem_file(ca).unwrap()).unwrap();
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let builder = builder.with_root_certificates(roots);
    match certificate {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let certificate = CertificateDer::from_pem_file(certificate).unwrap();
            builder
                .with_client_auth_cert(vec![certificate], PrivateKeyDer::from_pem_file(key).unwrap())
                .unwrap()
        }
    }
}

/// Handshake and a PING.
async fn ping(address: String, config: ClientConfig) -> std::io::Result<Vec<u8>> {
    let talk = move || {
        let host = address.rsplit_once(':').unwrap().0.to_owned();
        let name = ServerName::try_from(host).unwrap();
        let connection = ClientConnection::new(Arc::new(config), name).unwrap();
        let mut stream = StreamOwned::new(connection, TcpStream::connect(address)?);
        stream.write_all(b"PING\r\n")?;
        let mut pong = vec![0; 7];
        stream.read_exact(&mut pong)?;
        Ok(pong)
    };
    tokio::task::spawn_blocking(talk).await.unwrap()
}

#[tokio::test]
async fn the_authority_vouches_for_the_server_and_for_no_other() {
    let server = TestServer::builder().tls().start().await.unwrap();
    assert!(server.url().starts_with("valkeys://"));
    let (ca, address) = (server.tls_ca_path().unwrap(), server.address());
    assert_eq!(ping(address.clone(), config(Some(ca), None)).await.unwrap(), b"+PONG\r\n");
    assert_eq!(server.cli(&["PING"]).await.unwrap(), "PONG");
    let unknown = ping(address.clone(), config(None, None)).await.unwrap_err();
    assert!(unknown.to_string().contains("UnknownIssuer"), "{unknown}");
    let other = TestServer::builder().tls().start().await.unwrap();
    assert!(ping(other.address(), config(Some(ca), None)).await.is_err());
    // The same after a restart.
    server.restart().await.unwrap();
    assert_eq!(ping(address, config(Some(ca), None)).await.unwrap(), b"+PONG\r\n");
}

#[tokio::test]
async fn a_client_without_a_certificate_is_refused_where_one_is_asked_for() {
    let server = TestServer::builder().tls_client_certificates().start().await.unwrap();
    let ca = server.tls_ca_path();
    assert!(ping(server.address(), config(ca, None)).await.is_err());
    let certificate = server.tls_client_certificate_path().zip(server.tls_client_key_path());
    assert_eq!(ping(server.address(), config(ca, certificate)).await.unwrap(), b"+PONG\r\n");
    assert_eq!(server.cli(&["PING"]).await.unwrap(), "PONG");
}

#[tokio::test]
async fn tls_passes_a_proxy_and_can_be_cut_by_position() {
    let server = TestServer::builder().tls().start().await.unwrap();
    let proxy = FaultProxy::start(&server.address()).await.unwrap();
    assert_eq!(ping(proxy.address(), config(server.tls_ca_path(), None)).await.unwrap(), b"+PONG\r\n");
    let [report] = proxy.connections()[..] else { panic!("one connection") };
    let mut cut = proxy.arm(Cut::reply_before(report.reply_bytes / 2));
    assert!(ping(proxy.address(), config(server.tls_ca_path(), None)).await.is_err());
    cut.wait().await;
    assert_eq!(proxy.connections()[1].reply_bytes, report.reply_bytes / 2);
}
