//! Users, passwords, permissions and TLS.
#![allow(clippy::unwrap_used)]

mod support;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use support::{brisk, llen, lpush, until_ok};
use valkey_connection::{Bell, Command, Connection, ErrorKind, Script};
use valkey_testkit::{TestServer, unique_name};

static FOREIGN: Script = Script::new("foreign", "return redis.call('GET', 'other')");

/// A file that goes away with the test.
struct SecretFile(PathBuf);

impl SecretFile {
    fn new(password: &str) -> Self {
        let file = Self(std::env::temp_dir().join(unique_name("valkit-password")));
        file.write(password);
        file
    }

    fn write(&self, password: &str) {
        std::fs::write(&self.0, format!("{password}\n")).unwrap();
    }
}

impl Drop for SecretFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[tokio::test]
async fn a_wrong_password_at_start_names_user_and_remedy_and_no_password() {
    let server = TestServer::builder().acl_user("app", "right-canary", "~* &* +@all").start().await.unwrap();
    let started = Instant::now();
    let error = Connection::connect(&brisk(&server.url_as("app", "wrong-canary"))).await.unwrap_err();
    assert!(started.elapsed() < Duration::from_secs(3));
    assert_eq!(error.kind(), ErrorKind::Auth, "{error}");
    assert!(error.is_not_sent() && !error.is_transient());
    let text = error.to_string();
    assert!(
        text.contains("user `app`") && text.contains("password file") && text.contains("WRONGPASS"),
        "{text}"
    );
    assert!(!format!("{error} {error:?}").contains("canary"));
}

#[tokio::test]
async fn a_password_that_is_missing_says_so() {
    let server = TestServer::builder().password("secret").start().await.unwrap();
    let error = Connection::connect(&brisk(&format!("valkey://{}", server.address()))).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Auth, "{error}");
    assert!(error.to_string().contains("none was given (set password_file or password)"), "{error}");
}

#[tokio::test]
async fn a_user_without_a_password_is_that_user_and_not_the_default_one() {
    let server =
        TestServer::builder().acl_user("open", "unused", "nopass ~* &* +@all").start().await.unwrap();
    let settings = brisk(&format!("valkey://open@{}", server.address()));
    let connection = Connection::connect(&settings).await.unwrap();
    let who = connection.execute(Command::new("ACL WHOAMI")).await.unwrap();
    assert_eq!(who.into_string().unwrap(), "open");
}

#[tokio::test]
async fn any_password_that_the_server_takes_works() {
    let server = TestServer::start().await.unwrap();
    for (user, password) in [
        ("plain", "with space"),
        ("od\"d", "q\"uo'te\\x41\\"),
        ("line", "one\r\nFLUSHALL"),
        ("ünïcode", "пароль #1 \t%00"),
    ] {
        server.cli(&["ACL", "SETUSER", user, "on", &format!(">{password}"), "~*", "+@all"]).await.unwrap();
        let settings = brisk(&format!("valkey://{}", server.address()))
            .username(Some(user.into()))
            .password(Some(password.into()));
        let connection = Connection::connect(&settings).await.unwrap();
        let who = connection.execute(Command::new("ACL WHOAMI")).await.unwrap();
        assert_eq!(who.into_string().unwrap(), user);
    }
}

#[tokio::test]
async fn a_password_file_that_is_not_there_says_so() {
    let server = TestServer::builder().password("secret").start().await.unwrap();
    let settings =
        brisk(&format!("valkey://{}", server.address())).password_file(Some("/nowhere/password".into()));
    let error = Connection::connect(&settings).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Auth, "{error}");
    assert!(error.to_string().contains("/nowhere/password"), "{error}");
}

#[tokio::test]
async fn a_rotated_password_is_read_again_without_a_restart() {
    let server = TestServer::builder().acl_user("app", "first", "~* &* +@all").start().await.unwrap();
    let file = SecretFile::new("first");
    let settings = brisk(&format!("valkey://{}", server.address()))
        .username(Some("app".into()))
        .password_file(Some(file.0.clone()));
    let connection = Connection::connect(&settings).await.unwrap();
    let mut dedicated = connection.dedicated().await.unwrap();
    let mut listener = connection.listen("bell").await.unwrap();

    // The secret changes on the server first, and whoever is connected is thrown out.
    server.cli(&["ACL", "SETUSER", "app", "resetpass", ">second"]).await.unwrap();
    server.cli(&["CLIENT", "KILL", "USER", "app"]).await.unwrap();
    let started = Instant::now();
    let error = loop {
        match connection.execute(llen("q")).await {
            Err(error) if error.kind() == ErrorKind::Auth => break error,
            _ => assert!(started.elapsed() < Duration::from_secs(5), "it never says why"),
        }
    };
    assert!(error.is_not_sent(), "{error:?}");
    while dedicated.execute(llen("q")).await.unwrap_err().kind() != ErrorKind::Auth {
        assert!(started.elapsed() < Duration::from_secs(5), "it never says why");
    }

    file.write("second");
    until_ok(Duration::from_secs(15), || connection.execute(llen("q"))).await;
    dedicated.execute(llen("q")).await.unwrap();
    let bell = tokio::time::timeout(Duration::from_secs(10), listener.recv()).await.unwrap();
    assert_eq!(bell, Bell::MaybeMissed);
}

#[tokio::test]
async fn what_the_user_may_not_do_is_denied_by_name() {
    let rules = "resetchannels &bell ~queue:* +@all -flushall";
    let server = TestServer::builder().acl_user("app", "pw", rules).start().await.unwrap();
    let connection = Connection::connect(&brisk(&server.url())).await.unwrap();
    connection.execute(lpush("queue:q", "x")).await.unwrap();
    let denied = [
        connection.execute(lpush("other", "x")).await.unwrap_err(),
        connection.execute(Command::new("FLUSHALL")).await.unwrap_err(),
        connection.invoke(FOREIGN.call()).await.unwrap_err(),
        connection.listen("other").await.unwrap_err(),
    ];
    for error in denied {
        assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
        assert!(error.to_string().contains("user `app`"), "{error}");
    }
    connection.listen("bell").await.unwrap();
}

#[tokio::test]
async fn a_user_who_may_do_little_can_still_connect_and_wait() {
    let rules = "~q* +ping +lpush +blmove";
    let server = TestServer::builder().acl_user("app", "pw", rules).start().await.unwrap();
    let connection = Connection::connect(&brisk(&server.url())).await.unwrap();
    connection.execute(lpush("q", "x")).await.unwrap();
    let mut dedicated = connection.dedicated().await.unwrap();
    let moved = dedicated.blocking_move("q", "q2", Duration::from_millis(100)).await.unwrap();
    assert_eq!(moved.as_deref(), Some(&b"x"[..]));
    let clients = server.cli(&["CLIENT", "LIST"]).await.unwrap();
    assert!(!clients.contains("name=valkit"), "it may not set a name: {clients}");
}

#[tokio::test]
async fn our_connections_carry_their_name() {
    let server = TestServer::start().await.unwrap();
    let connection = Connection::connect(&brisk(&server.url()).client_name("orders".into())).await.unwrap();
    assert!(server.cli(&["CLIENT", "LIST"]).await.unwrap().contains("name=orders"));
    // Also after the driver has reconnected in place.
    server.cli(&["CLIENT", "KILL", "TYPE", "normal"]).await.unwrap();
    until_ok(Duration::from_secs(5), || connection.execute(llen("q"))).await;
    let started = Instant::now();
    while !server.cli(&["CLIENT", "LIST"]).await.unwrap().contains("name=orders") {
        assert!(started.elapsed() < Duration::from_secs(5), "the name is gone");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn tls_works_with_the_right_authority_and_name_only() {
    let server = TestServer::builder().tls().acl_user("app", "pw", "~* &* +@all").start().await.unwrap();
    let ca = server.tls_ca_path().unwrap().to_owned();
    let good = brisk(&server.url()).tls_ca_file(Some(ca));
    let connection = Connection::connect(&good).await.unwrap();
    connection.execute(lpush("q", "x")).await.unwrap();
    let mut dedicated = connection.dedicated().await.unwrap();
    let moved = dedicated.blocking_move("q", "r", Duration::from_millis(100)).await.unwrap();
    assert_eq!(moved.as_deref(), Some(&b"x"[..]));

    let error = Connection::connect(&brisk(&server.url())).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Tls, "an authority nobody knows: {error}");
    let renamed = good.clone().tls_server_name(Some("elsewhere.example".into()));
    let error = Connection::connect(&renamed).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Tls, "another name: {error}");
    let plain = brisk(&server.url().replace("valkeys://", "valkey://"));
    assert!(Connection::connect(&plain).await.is_err(), "plain text to a TLS port");
    Connection::connect(&brisk(&server.url()).tls_skip_verify(true)).await.unwrap();
}

#[tokio::test]
async fn client_certificates_are_presented() {
    let server = TestServer::builder().tls_client_certificates().start().await.unwrap();
    let base = brisk(&server.url()).tls_ca_file(server.tls_ca_path().map(Into::into));
    assert!(Connection::connect(&base).await.is_err(), "without a certificate");
    let with_certificate = base
        .tls_cert_file(server.tls_client_certificate_path().map(Into::into))
        .tls_key_file(server.tls_client_key_path().map(Into::into));
    let connection = Connection::connect(&with_certificate).await.unwrap();
    connection.execute(lpush("q", "x")).await.unwrap();
}

#[tokio::test]
async fn unusable_files_are_named() {
    let settings = brisk("valkeys://localhost").tls_ca_file(Some("/nowhere/ca.pem".into()));
    let error = Connection::connect(&settings).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Tls);
    assert!(error.to_string().contains("/nowhere/ca.pem"), "{error}");
}
