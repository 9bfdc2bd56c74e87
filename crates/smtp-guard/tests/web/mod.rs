//! A node with a policy service whose metrics and health are looked at.

use std::net::SocketAddr;

use smtp_guard::settings::Listen;
use smtp_guard::{Guard, GuardSettings};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use valkey_config::Sources;
use valkey_testkit::unique_name;

pub(crate) async fn guard(url: &str, gate: &str) -> Guard {
    let text = format!(
        "[resources]\nvalkey_url = \"{url}\"\nvalkey_key_prefix = \"{}:\"\n[guard]\nnode_id = \"mx1\"\n\
         [http]\nlisten = \"127.0.0.1:0\"\n[policy]\nlisten = \"127.0.0.1:0\"\n\
         [policy.limits.client-day]\nper = \"client\"\nquota = \"1/10day\"\n[gate]\ncheck_timeout = \"5s\"\n{gate}",
        unique_name("http")
    );
    let sources = Sources::new("SMTP_GUARD_").toml_text("guard.toml", text);
    Guard::bind(GuardSettings::from_sources(&sources).unwrap().0).await.unwrap()
}

/// The head and the body of an answer.
pub(crate) async fn request(address: SocketAddr, line: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream
        .write_all(format!("{line} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes())
        .await
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_owned(), body.to_owned())
}

pub(crate) async fn ask(address: &Listen, instance: &str) -> String {
    let Listen::Tcp(address) = address else { panic!("{address} is no address") };
    let mut postfix = TcpStream::connect(address).await.unwrap();
    let question = format!(
        "request=smtpd_access_policy\nprotocol_state=RCPT\ninstance={instance}\nclient_address=192.0.2.7\n\
         sender=ada@example.org\nrecipient=bob@example.net\n\n"
    );
    postfix.write_all(question.as_bytes()).await.unwrap();
    let mut answer = vec![0; 200];
    let length = postfix.read(&mut answer).await.unwrap();
    String::from_utf8_lossy(&answer[..length]).into_owned()
}
