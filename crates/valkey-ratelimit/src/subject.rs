//! Whom a limit is about.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

/// Longer values are kept as a hash: nobody fills the store by making names long.
const LONGEST: usize = 96;

/// Whom a limit is about: an address, a network, a user, a sender. The same subject is the same text, whoever wrote it.
///
/// ```
/// use valkey_ratelimit::Subject;
///
/// // An IPv4 address is one subject, however it is written.
/// assert_eq!(Subject::ip("::ffff:192.0.2.7".parse()?), Subject::ip("192.0.2.7".parse()?));
/// assert_eq!(Subject::network("2001:db8:1:2:3::4".parse()?, 64).as_str(), "2001:db8:1:2::/64");
/// assert_eq!(Subject::text("ada@example.org").as_str(), "ada@example.org");
/// assert!(Subject::text("x".repeat(1_000)).as_str().len() < 100);
/// # Ok::<(), std::net::AddrParseError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Subject(String);

impl Subject {
    /// An address. An IPv4 address mapped into IPv6 is that IPv4 address.
    pub fn ip(address: IpAddr) -> Self {
        Self(address.to_canonical().to_string())
    }

    /// The network of an address with so many leading bits, as `192.0.2.0/24`. More bits than an address has are all of them.
    pub fn network(address: IpAddr, bits: u8) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => {
                let bits = bits.min(32);
                let masked = address.to_bits() & u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or(0);
                Self(format!("{}/{bits}", std::net::Ipv4Addr::from_bits(masked)))
            }
            IpAddr::V6(address) => {
                let bits = bits.min(128);
                let masked = address.to_bits() & u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0);
                Self(format!("{}/{bits}", Ipv6Addr::from_bits(masked)))
            }
        }
    }

    /// Any other text, such as a user or a sender's address. What is long, or has characters that have no place in a key, is
    /// kept as a hash of 128 bits.
    pub fn text(text: impl AsRef<str>) -> Self {
        let text = text.as_ref();
        let fits = text.len() <= LONGEST
            && text.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'{' | b'}' | b'#'));
        if fits { Self(text.to_owned()) } else { Self(format!("#{:032x}", hash(text.as_bytes()))) }
    }

    /// The text that stands in the key.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<IpAddr> for Subject {
    fn from(address: IpAddr) -> Self {
        Self::ip(address)
    }
}

/// FNV-1a with 128 bits (the parameters of draft-eastlake-fnv): the same in every version and on every machine, as keys that
/// nodes share have to be.
fn hash(bytes: &[u8]) -> u128 {
    const OFFSET: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;
    bytes.iter().fold(OFFSET, |hash, byte| (hash ^ u128::from(*byte)).wrapping_mul(PRIME))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_the_published_one() {
        assert_eq!(hash(b""), 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d);
        assert_eq!(hash(b"a"), 0xd228_cb69_6f1a_8caf_7891_2b70_4e4a_8964);
    }

    #[test]
    fn networks_are_masked() {
        let network = |address: &str, bits| Subject::network(address.parse().expect("an address"), bits).0;
        assert_eq!(network("192.0.2.77", 24), "192.0.2.0/24");
        assert_eq!(network("192.0.2.77", 0), "0.0.0.0/0");
        assert_eq!(network("192.0.2.77", 99), "192.0.2.77/32");
        assert_eq!(network("::ffff:192.0.2.77", 24), "192.0.2.0/24");
        assert_eq!(network("2001:db8:ffff:ffff::1", 48), "2001:db8:ffff::/48");
        assert_eq!(network("::1", 0), "::/0");
    }

    #[test]
    fn what_has_no_place_in_a_key_is_hashed() {
        for text in ["a b", "a\n", "ünï", "a{b}", "#a", &"x".repeat(97)] {
            let subject = Subject::text(text);
            assert!(subject.as_str().len() == 33 && subject.as_str().starts_with('#'), "{subject}");
        }
        assert_ne!(Subject::text("a b"), Subject::text("a  b"));
        assert_eq!(Subject::text("x".repeat(96)).as_str().len(), 96);
    }
}
