//! A network, as it stands in settings.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;

/// A network such as `10.0.0.0/8`, or a single address. IPv4 networks written as IPv6 ones are IPv4 networks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Network(IpNet);

/// Text that is no network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected an address or a network such as 192.0.2.7, 10.0.0.0/8 or 2001:db8::/32")]
pub struct InvalidNetwork;

/// The bits that an IPv4 address mapped into IPv6 has in front.
const MAPPED: u8 = 96;

impl Network {
    /// Whether the address is in it.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.contains(&address.to_canonical())
    }
}

impl FromStr for Network {
    type Err = InvalidNetwork;

    fn from_str(text: &str) -> Result<Self, InvalidNetwork> {
        let network = match text.parse::<IpNet>() {
            Ok(network) => network,
            Err(_) => IpNet::from(text.parse::<IpAddr>().map_err(|_| InvalidNetwork)?),
        };
        let (address, bits) = (network.addr().to_canonical(), network.prefix_len());
        let bits = if address.is_ipv4() && network.addr().is_ipv6() {
            // A wider one has all IPv4 addresses in it, and others besides: nobody means that.
            bits.checked_sub(MAPPED).ok_or(InvalidNetwork)?
        } else {
            bits
        };
        IpNet::new(address, bits).map(|network| Self(network.trunc())).map_err(|_| InvalidNetwork)
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_networks_in_any_notation() {
        for (text, shown, inside, outside) in [
            ("10.0.0.0/8", "10.0.0.0/8", "10.255.0.1", "11.0.0.1"),
            ("10.1.2.3/8", "10.0.0.0/8", "::ffff:10.0.0.1", "::1"),
            ("192.0.2.7", "192.0.2.7/32", "192.0.2.7", "192.0.2.8"),
            ("::ffff:192.0.2.7", "192.0.2.7/32", "::ffff:192.0.2.7", "192.0.2.8"),
            ("::ffff:10.0.0.0/104", "10.0.0.0/8", "10.1.1.1", "11.0.0.1"),
            ("2001:db8::/32", "2001:db8::/32", "2001:db8:ffff::1", "2001:db9::1"),
            ("0.0.0.0/0", "0.0.0.0/0", "203.0.113.9", "2001:db8::1"),
        ] {
            let network: Network = text.parse().expect(text);
            assert_eq!(network.to_string(), shown);
            let contains = |address: &str| network.contains(address.parse().expect("an address"));
            assert!(contains(inside) && !contains(outside), "{text}");
        }
        for text in ["", "10.0.0.0/33", "10.0.0", "localhost", "::ffff:10.0.0.0/64", "10.0.0.0/-1", "*"] {
            assert_eq!(text.parse::<Network>(), Err(InvalidNetwork), "{text}");
        }
    }
}
