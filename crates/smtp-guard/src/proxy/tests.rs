use proptest::prelude::*;

use super::*;

fn parse(bytes: &[u8]) -> Result<Option<(Header, usize)>, InvalidHeader> {
    Header::parse(bytes)
}

fn proxied(client: &str, server: &str) -> Header {
    Header::Proxied {
        client: client.parse().expect("an address"),
        server: server.parse().expect("an address"),
    }
}

/// Version 1 as balancers write it; we only read it.
fn line(client: SocketAddr, server: SocketAddr) -> String {
    let family = if client.is_ipv4() { "TCP4" } else { "TCP6" };
    format!("PROXY {family} {} {} {} {}\r\n", client.ip(), server.ip(), client.port(), server.port())
}

#[test]
fn lines_are_read_as_specified() {
    for (text, header) in [
        ("PROXY TCP4 192.0.2.7 203.0.113.1 51234 25\r\n", proxied("192.0.2.7:51234", "203.0.113.1:25")),
        ("PROXY TCP6 2001:db8::7 2001:db8::1 1 65535\r\n", proxied("[2001:db8::7]:1", "[2001:db8::1]:65535")),
        ("PROXY TCP6 ::ffff:192.0.2.7 ::1 1 2\r\n", proxied("192.0.2.7:1", "[::1]:2")),
        ("PROXY UNKNOWN\r\n", Header::Local),
        ("PROXY UNKNOWN ffff::ffff ffff::ffff 65535 65535\r\n", Header::Local),
    ] {
        assert_eq!(parse(text.as_bytes()), Ok(Some((header, text.len()))), "{text}");
    }
}

#[test]
fn lines_with_anything_else_in_them_are_refused() {
    for text in [
        "PROXY\r\n",
        "PROXY \r\n",
        "PROXY TCP4 192.0.2.7 203.0.113.1 51234\r\n",
        "PROXY TCP4 192.0.2.7 203.0.113.1 51234 25 26\r\n",
        "PROXY TCP4 192.0.2.7 203.0.113.1 51234 65536\r\n",
        "PROXY TCP4 192.0.2.7 203.0.113.1 +1 25\r\n",
        "PROXY TCP4 192.0.2.7 203.0.113.1  1 25\r\n",
        "PROXY TCP4 2001:db8::7 2001:db8::1 1 2\r\n",
        "PROXY TCP6 192.0.2.7 192.0.2.8 1 2\r\n",
        "PROXY UDP4 192.0.2.7 203.0.113.1 1 25\r\n",
        "PROXY TCP4 192.0.2.7 203.0.113.1 1 25\n\r\n",
        "proxy TCP4 192.0.2.7 203.0.113.1 1 25\r\n",
        "EHLO there\r\n",
        "\r\nx",
    ] {
        assert!(parse(text.as_bytes()).is_err(), "{text:?}");
    }
    assert_eq!(parse(format!("PROXY UNKNOWN {}", "x".repeat(93)).as_bytes()), Err(InvalidHeader::LongLine));
    assert_eq!(parse(b"PROXY UNKNOWN \xff\r\n"), Err(InvalidHeader::Line));
}

#[test]
fn bytes_are_read_as_specified() {
    let with = |command: u8, family: u8, body: &[u8]| {
        let length = (body.len() as u16).to_be_bytes();
        [&binary::SIGNATURE[..], &[command, family], &length, body].concat()
    };
    let addresses = [192, 0, 2, 7, 203, 0, 113, 1, 0xc8, 0x22, 0, 25];
    let header = proxied("192.0.2.7:51234", "203.0.113.1:25");
    let bytes = with(0x21, 0x11, &addresses);
    assert_eq!(parse(&bytes), Ok(Some((header, 28))));
    // What follows the addresses belongs to the header, and is of no interest.
    let more = with(0x21, 0x11, &[&addresses[..], &[0x04, 0, 3, 0, 0, 0]].concat());
    assert_eq!(parse(&more), Ok(Some((header, 34))));
    assert_eq!(parse(&with(0x20, 0x00, &[])), Ok(Some((Header::Local, 16))));
    // Of a local connection the addresses are to be ignored.
    assert_eq!(parse(&with(0x20, 0x11, &addresses)), Ok(Some((Header::Local, 28))));
    assert_eq!(parse(&with(0x21, 0x00, &[])), Ok(Some((Header::Local, 16))));
    assert_eq!(parse(&with(0x21, 0x31, &[0; 216])), Ok(Some((Header::Local, 232))));
    for (command, family, body) in [
        (0x11, 0x11, &addresses[..]),
        (0x31, 0x11, &addresses[..]),
        (0x22, 0x11, &addresses[..]),
        (0x21, 0x12, &addresses[..]),
        (0x21, 0x41, &addresses[..]),
        (0x21, 0x11, &addresses[..11]),
        (0x21, 0x21, &addresses[..]),
        (0x21, 0x11, &[0; LONGEST - 15]),
    ] {
        assert!(
            matches!(parse(&with(command, family, body)), Err(InvalidHeader::Binary(_))),
            "{command:x} {family:x}"
        );
    }
    assert_eq!(parse(b"\r\n\r\n\0\r\nQUIT "), Err(InvalidHeader::Absent));
}

#[test]
fn families_that_differ_are_told_as_the_clients() {
    let mixed = proxied("192.0.2.7:1", "[2001:db8::1]:25");
    assert_eq!(parse(&mixed.to_bytes()), Ok(Some((proxied("192.0.2.7:1", "0.0.0.0:25"), 28))));
    let mixed = proxied("[2001:db8::7]:1", "192.0.2.1:25");
    assert_eq!(parse(&mixed.to_bytes()), Ok(Some((proxied("[2001:db8::7]:1", "[::]:25"), 52))));
    let mapped = proxied("[::ffff:192.0.2.7]:1", "[::ffff:192.0.2.1]:25");
    assert_eq!(parse(&mapped.to_bytes()), Ok(Some((proxied("192.0.2.7:1", "192.0.2.1:25"), 28))));
}

fn pair() -> impl Strategy<Value = (SocketAddr, SocketAddr)> {
    let v4 = any::<([u8; 4], u16)>().prop_map(|(address, port)| SocketAddr::from((address, port)));
    // Of documentation's network: one that stands for an IPv4 address would be read as that.
    let v6 = any::<([u8; 12], u16)>().prop_map(|(address, port)| {
        let mut bytes = [0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        bytes[4..].copy_from_slice(&address);
        SocketAddr::from((bytes, port))
    });
    prop_oneof![(v4.clone(), v4), (v6.clone(), v6)]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn what_is_written_is_read((client, server) in pair(), after in proptest::collection::vec(any::<u8>(), 0..40)) {
        let header = Header::Proxied { client, server };
        for bytes in [header.to_bytes(), line(client, server).into_bytes(), Header::Local.to_bytes()] {
            let whole = [&bytes[..], &after[..]].concat();
            let expected = if bytes == Header::Local.to_bytes() { Header::Local } else { header };
            prop_assert_eq!(parse(&whole), Ok(Some((expected, bytes.len()))));
            // Every part of it is a beginning, and nothing else.
            for end in 0..bytes.len() {
                prop_assert_eq!(parse(&bytes[..end]), Ok(None));
            }
        }
    }

    /// Whatever comes: no panic, no header longer than there are bytes, and an end after the longest one.
    #[test]
    fn garbage_is_told_from_headers(
        signature in prop_oneof![Just(&b""[..]), Just(&b"PROXY "[..]), Just(&b"PROXY TCP4 "[..]), Just(&binary::SIGNATURE[..])],
        garbage in proptest::collection::vec(any::<u8>(), 0..300),
        filler in any::<u8>(),
    ) {
        let mut bytes = [signature, &garbage[..]].concat();
        if let Ok(Some((_, length))) = parse(&bytes) {
            prop_assert!(length <= bytes.len());
        }
        bytes.resize(LONGEST, filler);
        prop_assert_ne!(parse(&bytes), Ok(None));
    }

    /// A header that comes byte by byte is the header that comes at once, and what follows it is kept.
    #[test]
    fn a_header_is_read_in_pieces((client, server) in pair(), cut in 1_usize..60, after in proptest::collection::vec(any::<u8>(), 0..40)) {
        let header = Header::Proxied { client, server };
        let bytes = [header.to_bytes(), after.clone()].concat();
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let (read, rest) = runtime.block_on(async {
            let (mut near, mut far) = tokio::io::duplex(cut);
            let writer = async {
                use tokio::io::AsyncWriteExt as _;
                far.write_all(&bytes).await.expect("somebody reads");
                drop(far);
            };
            let reader = async {
                use tokio::io::AsyncReadExt as _;
                let (header, mut rest) = read(&mut near).await.expect("a header");
                near.read_to_end(&mut rest).await.expect("an end");
                (header, rest)
            };
            tokio::join!(writer, reader).1
        });
        prop_assert_eq!(read, header);
        prop_assert_eq!(rest, after);
    }
}

#[tokio::test]
async fn a_connection_that_ends_too_early_has_no_header() {
    assert!(matches!(read(&mut &b"PROXY TCP4 192."[..]).await, Err(ReadError::Ended)));
    assert!(matches!(read(&mut &b""[..]).await, Err(ReadError::Ended)));
    assert!(matches!(read(&mut &[b'x'; 10_000][..]).await, Err(ReadError::Invalid(InvalidHeader::Absent))));
}
