//! Whom a limit is about.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use sha2::{Digest, Sha256};

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
#[derive(Clone)]
pub struct Subject {
    text: Arc<str>,
    address: Option<IpAddr>,
    tag: [u8; 2],
}

/// Tags are so many: enough for every node of a cluster to have some, few enough for batches to form.
const TAGS: u64 = 64;

impl Subject {
    /// An address. An IPv4 address mapped into IPv6 is that IPv4 address. A rule may count it by its network.
    pub fn ip(address: IpAddr) -> Self {
        let address = address.to_canonical();
        Self { text: address.to_string().into(), address: Some(address), tag: tag_of_address(address) }
    }

    /// The network of an address with so many leading bits, as `192.0.2.0/24`. More bits than an address has are all of them.
    pub fn network(address: IpAddr, bits: u8) -> Self {
        let (network, bits) = match address.to_canonical() {
            IpAddr::V4(address) => {
                let bits = bits.min(32);
                let masked = address.to_bits() & u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or(0);
                (IpAddr::from(Ipv4Addr::from_bits(masked)), bits)
            }
            IpAddr::V6(address) => {
                let bits = bits.min(128);
                let masked = address.to_bits() & u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0);
                (IpAddr::from(Ipv6Addr::from_bits(masked)), bits)
            }
        };
        Self { text: format!("{network}/{bits}").into(), address: None, tag: tag_of_address(network) }
    }

    /// Any other text, such as a user or a sender's address. What is long, or has characters that have no place in a key, is
    /// kept as a hash of 128 bits. The empty text is nobody's: whoever checks it is told so.
    pub fn text(text: impl AsRef<str>) -> Self {
        let text = text.as_ref();
        let fits = text.len() <= LONGEST
            && text.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'{' | b'}' | b'#'));
        let tag = tag(text.bytes());
        if fits {
            return Self { text: text.into(), address: None, tag };
        }
        // One that nobody finds collisions of: whoever did could use up what is another's.
        let hash = u128::from_be_bytes(*Sha256::digest(text).first_chunk().unwrap_or(&[0; 16]));
        Self { text: format!("#{hash:032x}").into(), address: None, tag }
    }

    /// Whoever comes after too many others: addresses are counted with all of their network, a /24 or a /48, and all else
    /// together. No other subject has this text.
    pub(crate) fn crowd(&self) -> Self {
        let of = |network: Self| Self { text: format!("#{network}").into(), address: None, tag: network.tag };
        match self.address {
            Some(address @ IpAddr::V4(_)) => of(Self::network(address, 24)),
            Some(address @ IpAddr::V6(_)) => of(Self::network(address, 48)),
            None => Self { text: "#rest".into(), address: None, tag: tag("#rest".bytes()) },
        }
    }

    /// The text that stands in the key.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether it says nothing.
    pub(crate) fn is_nobody(&self) -> bool {
        self.text.is_empty()
    }

    /// The address, if it is one.
    pub fn address(&self) -> Option<IpAddr> {
        self.address
    }

    /// The hash tag of its keys. The networks of an address have the same one, up to /24 and /48.
    pub(crate) fn tag(&self) -> [u8; 2] {
        self.tag
    }
}

fn tag_of_address(address: IpAddr) -> [u8; 2] {
    match address {
        IpAddr::V4(address) => tag(address.octets().into_iter().take(3)),
        IpAddr::V6(address) => tag(address.octets().into_iter().take(6)),
    }
}

/// FNV-1a with 64 bits, mixed as `MurmurHash3` ends: the same on every node, and neighbours among addresses are spread.
fn tag(bytes: impl Iterator<Item = u8>) -> [u8; 2] {
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    let mixed = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    let number = ((mixed ^ (mixed >> 33)) % TAGS) as u8;
    [b'0' + number / 10, b'0' + number % 10]
}

// The address and the tag follow from the text.
impl PartialEq for Subject {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Subject {}

impl Hash for Subject {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.text.hash(state);
    }
}

impl fmt::Debug for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Subject").field(&self.text).finish()
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl From<IpAddr> for Subject {
    fn from(address: IpAddr) -> Self {
        Self::ip(address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_are_masked() {
        let network =
            |address: &str, bits| Subject::network(address.parse().expect("an address"), bits).to_string();
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
        // The first half of the SHA-256 of "a b": nodes have to agree on it, whatever their version.
        assert_eq!(Subject::text("a b").as_str(), "#c8687a08aa5d6ed2044328fa6a697ab8");
    }

    #[test]
    fn all_networks_of_an_address_are_in_one_slot_and_subjects_are_spread() {
        let mut tags = std::collections::HashMap::new();
        for number in 0..6_400_u32 {
            let address = IpAddr::from(Ipv4Addr::from_bits(0x0a00_0000 + (number << 8) + number % 256));
            let subject = Subject::ip(address);
            assert_eq!(subject.tag(), Subject::network(address, 24).tag());
            *tags.entry(subject.tag()).or_insert(0) += 1;
        }
        assert_eq!(tags.len() as u64, TAGS);
        assert!(tags.values().all(|count| (50..200).contains(count)), "{tags:?}");
        let address: IpAddr = "2001:db8:1:2:3::4".parse().expect("an address");
        for bits in [64, 56, 48] {
            assert_eq!(Subject::ip(address).tag(), Subject::network(address, bits).tag());
        }
    }
}
