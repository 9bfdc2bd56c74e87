//! Version 2: bytes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{Header, InvalidHeader, LONGEST, canonical};

pub(super) const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// Up to the addresses.
const FIXED: usize = 16;
const VERSION: u8 = 0x20;
const LOCAL: u8 = 0x0;
const PROXY: u8 = 0x1;
const TCP4: u8 = 0x11;
const TCP6: u8 = 0x21;

pub(super) fn parse(bytes: &[u8]) -> Result<Option<(Header, usize)>, InvalidHeader> {
    let begun = &bytes[..bytes.len().min(SIGNATURE.len())];
    if !SIGNATURE.starts_with(begun) {
        return Err(InvalidHeader::Absent);
    }
    let Some(fixed) = bytes.get(..FIXED) else { return Ok(None) };
    let (command, family) = (fixed[12], fixed[13]);
    if command & 0xf0 != VERSION {
        return Err(InvalidHeader::Binary("it is of another version"));
    }
    let length = usize::from(u16::from_be_bytes([fixed[14], fixed[15]]));
    if FIXED + length > LONGEST {
        return Err(InvalidHeader::Binary("it is too long"));
    }
    let Some(body) = bytes.get(FIXED..FIXED + length) else { return Ok(None) };
    let header = match command & 0x0f {
        LOCAL => Header::Local,
        PROXY => proxied(family, body)?,
        _ => return Err(InvalidHeader::Binary("an unknown command")),
    };
    Ok(Some((header, FIXED + length)))
}

fn proxied(family: u8, body: &[u8]) -> Result<Header, InvalidHeader> {
    const SHORT: InvalidHeader = InvalidHeader::Binary("it is too short for its addresses");
    let port =
        |at: usize| body.get(at..at + 2).map(|port| u16::from_be_bytes([port[0], port[1]])).ok_or(SHORT);
    let v4 = |at: usize| {
        let bytes: [u8; 4] = body.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).ok_or(SHORT)?;
        Ok(IpAddr::V4(Ipv4Addr::from(bytes)))
    };
    let v6 = |at: usize| {
        let bytes: [u8; 16] = body.get(at..at + 16).and_then(|bytes| bytes.try_into().ok()).ok_or(SHORT)?;
        Ok(IpAddr::V6(Ipv6Addr::from(bytes)))
    };
    let (client, server) = match family {
        TCP4 => (SocketAddr::new(v4(0)?, port(8)?), SocketAddr::new(v4(4)?, port(10)?)),
        TCP6 => (SocketAddr::new(v6(0)?, port(32)?), SocketAddr::new(v6(16)?, port(34)?)),
        // Unspecified, or a Unix socket: nobody on a network.
        0x00 | 0x31 => return Ok(Header::Local),
        _ => return Err(InvalidHeader::Binary("no family and transport that carry SMTP")),
    };
    Ok(Header::Proxied { client: canonical(client), server: canonical(server) })
}

pub(super) fn write(header: &Header) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(FIXED + 36);
    bytes.extend(SIGNATURE);
    let Header::Proxied { client, server } = *header else {
        bytes.extend([VERSION | LOCAL, 0, 0, 0]);
        return bytes;
    };
    let (client, server) = (canonical(client), canonical(server));
    match client.ip() {
        IpAddr::V4(address) => {
            let server = if let IpAddr::V4(server) = server.ip() { server } else { Ipv4Addr::UNSPECIFIED };
            bytes.extend([VERSION | PROXY, TCP4, 0, 12]);
            bytes.extend(address.octets());
            bytes.extend(server.octets());
        }
        IpAddr::V6(address) => {
            let server = if let IpAddr::V6(server) = server.ip() { server } else { Ipv6Addr::UNSPECIFIED };
            bytes.extend([VERSION | PROXY, TCP6, 0, 36]);
            bytes.extend(address.octets());
            bytes.extend(server.octets());
        }
    }
    bytes.extend(client.port().to_be_bytes());
    bytes.extend(server.port().to_be_bytes());
    bytes
}
