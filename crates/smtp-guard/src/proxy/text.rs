//! Version 1: a line.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{Header, InvalidHeader, canonical};

/// With the line's end.
const LONGEST: usize = 107;
const WORD: &[u8] = b"PROXY ";

pub(super) fn parse(bytes: &[u8]) -> Result<Option<(Header, usize)>, InvalidHeader> {
    let begun = &bytes[..bytes.len().min(WORD.len())];
    if !WORD.starts_with(begun) {
        return Err(InvalidHeader::Absent);
    }
    let window = &bytes[..bytes.len().min(LONGEST)];
    let Some(end) = window.windows(2).position(|pair| pair == b"\r\n") else {
        return if bytes.len() < LONGEST { Ok(None) } else { Err(InvalidHeader::LongLine) };
    };
    let line = std::str::from_utf8(&window[..end]).map_err(|_| InvalidHeader::Line)?;
    Ok(Some((header(line).ok_or(InvalidHeader::Line)?, end + 2)))
}

fn header(line: &str) -> Option<Header> {
    let mut words = line.split(' ');
    let (Some("PROXY"), family) = (words.next(), words.next()?) else { return None };
    if family == "UNKNOWN" {
        // Whatever follows is to be ignored.
        return Some(Header::Local);
    }
    let (client, server) = match family {
        "TCP4" => (
            IpAddr::V4(words.next()?.parse::<Ipv4Addr>().ok()?),
            IpAddr::V4(words.next()?.parse::<Ipv4Addr>().ok()?),
        ),
        "TCP6" => (
            IpAddr::V6(words.next()?.parse::<Ipv6Addr>().ok()?),
            IpAddr::V6(words.next()?.parse::<Ipv6Addr>().ok()?),
        ),
        _ => return None,
    };
    let (client, server) =
        (SocketAddr::new(client, port(words.next()?)?), SocketAddr::new(server, port(words.next()?)?));
    let header = Header::Proxied { client: canonical(client), server: canonical(server) };
    words.next().is_none().then_some(header)
}

/// Digits only: `parse` would take a sign, too.
fn port(text: &str) -> Option<u16> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}
