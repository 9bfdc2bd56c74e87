//! Who sends: many quiet clients, a few loud ones, and bursts of newcomers; a quarter of them over IPv6.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Clients that send now and then.
const QUIET: u64 = 20_000;

/// Clients that send all the time.
pub(crate) const LOUD: u64 = 5;

/// Messages of one newcomer in a burst.
const BURST: u64 = 40;

/// An endless row of clients; the same for the same seed, and for no other.
#[derive(Debug)]
pub(crate) struct Traffic {
    state: u64,
    seed: u64,
    sent: u64,
    bursts: u64,
}

/// One of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Client {
    pub(crate) address: IpAddr,
    /// Which of the loud ones it is, if it is one.
    pub(crate) loud: Option<u64>,
}

impl Traffic {
    pub(crate) fn new(seed: u64) -> Self {
        Self { state: seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1, seed, sent: 0, bursts: 0 }
    }

    /// Who comes next: 70 % quiet, 20 % loud, 10 % of a burst.
    pub(crate) fn next(&mut self) -> Client {
        self.sent += 1;
        let drawn = self.draw();
        match drawn % 10 {
            0..7 => Client { address: quiet((drawn / 10) % QUIET), loud: None },
            7 | 8 => {
                let loud = (drawn / 10) % LOUD;
                Client { address: loud_address(loud), loud: Some(loud) }
            }
            _ => {
                self.bursts += 1;
                Client { address: newcomer(self.seed, self.bursts / BURST), loud: None }
            }
        }
    }

    /// How many came so far.
    pub(crate) fn count(&self) -> u64 {
        self.sent
    }

    /// xorshift64*: good enough to mix clients, and needs nothing.
    fn draw(&mut self) -> u64 {
        self.state ^= self.state >> 12;
        self.state ^= self.state << 25;
        self.state ^= self.state >> 27;
        self.state.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 16
    }
}

/// Every fourth has IPv6, in a network of its own.
fn quiet(number: u64) -> IpAddr {
    if number.is_multiple_of(4) { six(0x1000, number) } else { four(10, number) }
}

fn loud_address(number: u64) -> IpAddr {
    if number == 0 { six(0x2000, number) } else { four(11, number) }
}

fn newcomer(seed: u64, number: u64) -> IpAddr {
    let number = (seed << 16) | (number & 0xffff);
    if number.is_multiple_of(4) { six(0x3000, number) } else { four(12, number) }
}

fn four(net: u8, number: u64) -> IpAddr {
    let [.., a, b, c] = number.to_be_bytes();
    IpAddr::V4(Ipv4Addr::new(net, a, b, c))
}

/// In the network that is for documents.
fn six(kind: u16, number: u64) -> IpAddr {
    let [high, low] = [(number >> 16) as u16, number as u16];
    IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, kind | (high & 0xfff), low, 0, 0, 0, 1))
}

/// The PROXY header, version 2, of a connection from there.
pub(crate) fn proxy_header(client: IpAddr) -> Vec<u8> {
    let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21".to_vec();
    let ports = [0x30, 0x39, 0, 25];
    match client {
        IpAddr::V4(client) => {
            header.extend([0x11, 0, 12]);
            header.extend(client.octets());
            header.extend([192, 0, 2, 1]);
        }
        IpAddr::V6(client) => {
            header.extend([0x21, 0, 36]);
            header.extend(client.octets());
            header.extend(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x25).octets());
        }
    }
    header.extend(ports);
    header
}

/// What Postfix asks about a recipient of a new message from there.
pub(crate) fn policy_request(client: IpAddr, instance: &str, into: &mut String) {
    into.clear();
    // Writing to a string does not fail.
    let _ = write!(
        into,
        "request=smtpd_access_policy\nprotocol_state=RCPT\nprotocol_name=ESMTP\nhelo_name=client.test\n\
         queue_id=\nsender=someone@sender.test\nrecipient=anybody@books.test\nrecipient_count=0\n\
         client_address={client}\nclient_name=unknown\nreverse_client_name=unknown\nclient_port=12345\n\
         server_address=192.0.2.1\nserver_port=25\ninstance={instance}\nsasl_method=\nsasl_username=\n\
         sasl_sender=\nsize=1024\nccert_subject=\nccert_issuer=\nccert_fingerprint=\nccert_pubkey_fingerprint=\n\
         encryption_protocol=\nencryption_cipher=\nencryption_keysize=0\netrn_domain=\nstress=\n\
         policy_context=\ncompatibility_level=3.6\nmail_version=3.7.11\n\n"
    );
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    #[test]
    fn the_mix_is_as_it_says() {
        let mut traffic = Traffic::new(7);
        let mut per_client: HashMap<IpAddr, u32> = HashMap::new();
        let mut loud = 0;
        for _ in 0..100_000 {
            let client = traffic.next();
            *per_client.entry(client.address).or_default() += 1;
            loud += u32::from(client.loud.is_some());
        }
        assert!((18_000..22_000).contains(&loud), "{loud} of the loud ones");
        let six = per_client.keys().filter(|address| address.is_ipv6()).count();
        assert!((per_client.len() / 5..per_client.len() / 3).contains(&six), "{six} of {}", per_client.len());
        assert!(per_client.len() > 15_000, "{} clients", per_client.len());
        assert!(per_client.values().filter(|count| **count > 1000).count() == LOUD as usize);
    }

    #[test]
    fn headers_have_the_length_they_say() {
        for (client, length) in [("192.0.2.7", 28), ("2001:db8::1", 52)] {
            let header = client.parse().map(proxy_header).unwrap_or_default();
            assert_eq!(header.len(), length);
            assert_eq!(usize::from(header[15]), length - 16);
        }
    }
}
