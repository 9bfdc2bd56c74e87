//! The steps of a ladder of networks.

use std::net::IpAddr;

use crate::quota::Quota;
use crate::subject::Subject;

/// A limit on all addresses of a network together, beside that of each: a step of a ladder.
///
/// Whoever has many addresses is met by the wider steps. Usual for IPv4 are /32 and /24; for IPv6, where a /64 is one
/// customer's, /64, /56 and /48; each step a few times as much as the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Network {
    /// Leading bits of an IPv4 address that make the network.
    pub v4: u8,
    /// Leading bits of an IPv6 address that make the network.
    pub v6: u8,
    /// What all its addresses may have together.
    pub quota: Quota,
}

/// Leading bits that make a network, of either family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Bits {
    pub(crate) v4: u8,
    pub(crate) v6: u8,
}

impl Bits {
    pub(crate) const ALL: Self = Self { v4: 32, v6: 128 };

    /// The subject of an address; with all bits it is the address itself.
    pub(crate) fn subject(self, address: IpAddr) -> Subject {
        let (bits, all) = match address {
            IpAddr::V4(_) => (self.v4, 32),
            IpAddr::V6(_) => (self.v6, 128),
        };
        if bits >= all { Subject::ip(address) } else { Subject::network(address, bits) }
    }
}

impl From<Network> for Bits {
    fn from(Network { v4, v6, .. }: Network) -> Self {
        Self { v4, v6 }
    }
}
