//! Every form of a server URL, and every way to get it wrong.

use super::*;
use valkey_config::{Scheme, ServerUrlError};

fn url(text: &str) -> ServerUrl {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

#[test]
fn schemes_decide_about_tls() {
    for (text, scheme) in [
        ("valkey://h", Scheme::Tcp),
        ("redis://h", Scheme::Tcp),
        ("valkeys://h", Scheme::Tls),
        ("REDISS://h", Scheme::Tls),
        ("h", Scheme::Bare),
        ("unix:///run/v.sock", Scheme::Unix),
        ("redis+unix:///run/v.sock", Scheme::Unix),
        ("/run/v.sock", Scheme::Unix),
    ] {
        assert_eq!(url(text).scheme(), scheme, "{text}");
        assert_eq!(url(text).is_tls(), scheme == Scheme::Tls, "{text}");
    }
}

#[test]
fn hosts_and_ports() {
    for (text, host, port) in [
        ("localhost:6379", "localhost", 6379),
        ("valkey", "valkey", 6379),
        ("valkey://h:", "h", 6379),
        ("valkey://h:1/", "h", 1),
        ("valkey://my_cache.svc-1.local:65535", "my_cache.svc-1.local", 65535),
        ("valkey://[::1]:7000", "::1", 7000),
        ("[2001:db8::1]", "2001:db8::1", 6379),
        ("::1", "::1", 6379),
        (" 192.0.2.1:7000 ", "192.0.2.1", 7000),
    ] {
        assert_eq!(
            (url(text).host(), url(text).port(), url(text).path()),
            (Some(host), Some(port), None),
            "{text}"
        );
    }
    assert_eq!(url("valkey://[::1]:7000").address(), "[::1]:7000");
    assert_eq!(ServerUrl::default().to_string(), "localhost:6379");
}

#[test]
fn credentials() {
    for (text, username, password) in [
        ("valkey://h", None, None),
        ("valkey://app@h", Some("app"), None),
        ("valkey://app:@h", Some("app"), None),
        ("valkey://:pw@h", None, Some("pw")),
        ("valkey://app:pw@h", Some("app"), Some("pw")),
        ("app:pw@h:1", Some("app"), Some("pw")),
        ("valkey://a%3ab:p%40%2F%c3%A9@h", Some("a:b"), Some("p@/é")),
        ("valkey://app:p:w@h", Some("app"), Some("p:w")),
        ("valkey://app:p@w@h", Some("app"), Some("p@w")),
        ("unix://app:pw@/run/v.sock", Some("app"), Some("pw")),
    ] {
        let url = url(text);
        assert_eq!((url.username(), url.password().map(Secret::expose)), (username, password), "{text}");
    }
}

#[test]
fn databases() {
    for (text, database) in [
        ("valkey://h/3", Some(3)),
        ("valkey://h/", None),
        ("h/0", Some(0)),
        ("unix:///run/v.sock?db=2", Some(2)),
        ("unix:///run/v.sock", None),
    ] {
        assert_eq!(url(text).database(), database, "{text}");
    }
}

#[test]
fn sockets_have_a_path_and_no_host() {
    let url = url("unix://app:pw@/run/val key.sock?db=2");
    assert_eq!(url.path(), Some("/run/val key.sock".as_ref()));
    assert_eq!((url.host(), url.port()), (None, None));
    assert_eq!(url.to_string(), "unix://app:[redacted]@/run/val key.sock?db=2");
    assert_eq!(url.clone().with_tls(), url, "a socket has no TLS");
}

#[test]
fn what_is_shown_is_redacted_and_canonical() {
    for (text, shown) in [
        ("redis://a%20b:pw@h/1", "valkey://a%20b:[redacted]@h:6379/1"),
        ("rediss://:pw@[::1]", "valkeys://:[redacted]@[::1]:6379"),
        ("h:1", "h:1"),
    ] {
        assert_eq!(url(text).to_string(), shown);
        assert_eq!(format!("{:?}", url(text)), format!("ServerUrl({shown})"));
    }
}

#[test]
fn mistakes_are_told_apart() {
    for (text, error) in [
        ("", ServerUrlError::Empty),
        ("  ", ServerUrlError::Empty),
        ("http://h", ServerUrlError::Scheme("http".to_owned())),
        ("x y://h", ServerUrlError::Host),
        ("valkey://", ServerUrlError::Host),
        ("valkey://a b", ServerUrlError::Host),
        ("valkey://[::1", ServerUrlError::Host),
        ("valkey://[localhost]", ServerUrlError::Host),
        ("valkey://h:0", ServerUrlError::Port),
        ("valkey://h:+1", ServerUrlError::Port),
        ("valkey://h:65536", ServerUrlError::Port),
        ("valkey://[::1]7000", ServerUrlError::Port),
        ("valkey://h/x", ServerUrlError::Database),
        ("valkey://h/+1", ServerUrlError::Database),
        ("valkey://h/4294967296", ServerUrlError::Database),
        ("valkey://h?db=1", ServerUrlError::Query),
        ("valkey://h#x", ServerUrlError::Query),
        ("unix:///s?x=1", ServerUrlError::Query),
        ("unix://run/s", ServerUrlError::SocketPath),
        ("unix:///", ServerUrlError::SocketPath),
        ("valkey://a:%4@h", ServerUrlError::PercentEncoding),
        ("valkey://a:%zz@h", ServerUrlError::PercentEncoding),
        ("valkey://a:%ff@h", ServerUrlError::PercentEncoding),
    ] {
        assert_eq!(text.parse::<ServerUrl>(), Err(error), "{text}");
    }
    assert_eq!(ServerUrl::new("h", 0), Err(ServerUrlError::Port));
    assert_eq!(ServerUrl::new("a:b", 1), Err(ServerUrlError::Host));
}
